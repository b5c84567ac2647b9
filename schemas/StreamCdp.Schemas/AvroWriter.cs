using System.Buffers.Binary;
using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace StreamCdp.Schemas;

/// <summary>Writes Avro's binary encoding into an array that grows. Cost: no allocation once the array is large enough.</summary>
public ref struct AvroWriter
{
    /// <summary>Most bytes that a long, an int, an enum or a length takes.</summary>
    public const int MaxLongBytes = 10;

    private readonly ref byte[] _buffer;
    private Span<byte> _bytes;

    /// <summary>Starts writing.</summary>
    /// <param name="buffer">Replaced by a larger copy where it is too small.</param>
    /// <param name="position">Where to begin; the bytes before it are kept, those behind it are not.</param>
    public AvroWriter(ref byte[] buffer, int position)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        Debug.Assert((uint)position <= (uint)buffer.Length, "The position lies outside the buffer.");
        _buffer = ref buffer;
        _bytes = buffer;
        Position = position;
    }

    /// <summary>Where the next byte goes.</summary>
    public int Position { get; private set; }

    /// <summary>Makes room, so that the writes of so many bytes do not grow the array one by one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Reserve(int bytes)
    {
        if (_bytes.Length - Position < bytes)
        {
            Grow(bytes);
        }
    }

    /// <summary>An Avro long, an int or the position of an enum's symbol.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void WriteLong(long value)
    {
        Reserve(MaxLongBytes);
        Position += WriteLong(_bytes[Position..], value);
    }

    /// <summary>An Avro boolean.</summary>
    public void WriteBoolean(bool value)
    {
        Reserve(1);
        _bytes[Position++] = value ? (byte)1 : (byte)0;
    }

    /// <summary>Avro bytes or an Avro string.</summary>
    public void WriteBytes(scoped ReadOnlySpan<byte> value)
    {
        Reserve(MaxLongBytes + value.Length);
        Position += WriteLong(_bytes[Position..], value.Length);
        value.CopyTo(_bytes[Position..]);
        Position += value.Length;
    }

    /// <summary>Union of null and bytes or string; empty is null.</summary>
    public void WriteOptionalBytes(scoped ReadOnlySpan<byte> value)
    {
        WriteLong(value.IsEmpty ? 0 : 1);
        if (!value.IsEmpty)
        {
            WriteBytes(value);
        }
    }

    /// <summary>Union of null and long.</summary>
    public void WriteOptionalLong(long? value)
    {
        WriteLong(value.HasValue ? 1 : 0);
        if (value.HasValue)
        {
            WriteLong(value.GetValueOrDefault());
        }
    }

    /// <summary>A profile id as an Avro fixed of 16 bytes, big endian.</summary>
    public void WriteFixedId(UInt128 id)
    {
        Reserve(16);
        BinaryPrimitives.WriteUInt128BigEndian(_bytes[Position..], id);
        Position += 16;
    }

    /// <summary>A profile id as an Avro string of 32 lower-case hex digits.</summary>
    public void WriteTextId(UInt128 id)
    {
        WriteLong(32);
        Reserve(32);
        Span<byte> bytes = stackalloc byte[16];
        BinaryPrimitives.WriteUInt128BigEndian(bytes, id);
        bool written = Convert.TryToHexStringLower(bytes, _bytes.Slice(Position, 32), out int length); // Ten times as fast as UInt128.TryFormat.
        Debug.Assert(written && length == 32, "32 hex digits hold every id.");
        Position += 32;
    }

    /// <summary>Union of null and a profile id as text.</summary>
    public void WriteOptionalTextId(UInt128? id)
    {
        WriteLong(id.HasValue ? 1 : 0);
        if (id.HasValue)
        {
            WriteTextId(id.GetValueOrDefault());
        }
    }

    /// <summary>An Avro array, as it is encoded already.</summary>
    public void WriteList<TItem>(scoped AvroList<TItem> list)
        where TItem : struct, IAvroItem<TItem>, allows ref struct
    {
        if (list.Encoded.IsEmpty)
        {
            WriteLong(0);
            return;
        }

        Reserve(list.Encoded.Length);
        list.Encoded.CopyTo(_bytes[Position..]);
        Position += list.Encoded.Length;
    }

    /// <summary>Writes an Avro long and returns the bytes taken, 1 to 10.</summary>
    /// <param name="target">Has room for <see cref="MaxLongBytes"/>; what lies behind the long may be overwritten.</param>
    /// <param name="value">The number.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int WriteLong(Span<byte> target, long value)
    {
        ulong rest = (ulong)((value << 1) ^ (value >> 63));
        if (rest < 0x80)
        {
            target[0] = (byte)rest;
            return 1;
        }

        return WriteLongerLong(target, rest);
    }

    private static int WriteLongerLong(Span<byte> target, ulong rest)
    {
        int length = 0;
        if (rest < 1UL << 56)
        {
            // Up to 8 bytes at once: pull the groups of 7 bits apart, then set the continuation bit of all but the last.
            length = (BitOperations.Log2(rest) / 7) + 1;
            rest = (rest & 0x0000_0000_0FFF_FFFF) | ((rest & 0x00FF_FFFF_F000_0000) << 4);
            rest = (rest & 0x0000_3FFF_0000_3FFF) | ((rest & 0x0FFF_C000_0FFF_C000) << 2);
            rest = (rest & 0x007F_007F_007F_007F) | ((rest & 0x3F80_3F80_3F80_3F80) << 1);
            rest |= 0x8080_8080_8080_8080 & ((1UL << ((8 * length) - 8)) - 1);
            BinaryPrimitives.WriteUInt64LittleEndian(target, rest);
            return length;
        }

        while (rest >= 0x80)
        {
            target[length++] = (byte)(rest | 0x80);
            rest >>= 7;
        }

        target[length] = (byte)rest;
        return length + 1;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Grow(int bytes)
    {
        int needed = checked(Position + bytes);
        int twice = (int)Math.Min((long)_buffer.Length * 2, Array.MaxLength);
        var larger = new byte[Math.Max(Math.Max(needed, twice), 256)];
        _buffer.AsSpan(0, Position).CopyTo(larger);
        _buffer = larger;
        _bytes = larger;
    }
}
