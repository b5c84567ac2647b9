using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace StreamCdp.Schemas;

/// <summary>Reads Avro's binary encoding. A malformed input sets <see cref="Failed"/> and every later value is 0 or empty, so that a reader needs one check at its end.</summary>
/// <remarks>Never throws, never allocates; spans point into the input. Text is not checked to be UTF-8.</remarks>
/// <param name="bytes">An Avro body.</param>
public ref struct AvroReader(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;

    /// <summary>Bytes read.</summary>
    public int Position { get; private set; }

    /// <summary>The input is cut or no Avro of the asked types.</summary>
    public bool Failed { get; private set; }

    /// <summary>Everything was read and nothing was wrong.</summary>
    public readonly bool IsCompleteAndValid => !Failed && Position == _bytes.Length;

    /// <summary>Bytes not yet read.</summary>
    public readonly int Remaining => _bytes.Length - Position;

    /// <summary>The input from a position up to here.</summary>
    public readonly ReadOnlySpan<byte> Since(int start) => _bytes[start..Position];

    /// <summary>An Avro long.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public long ReadLong()
    {
        int position = Position;
        if ((uint)position < (uint)_bytes.Length && _bytes[position] < 0x80)
        {
            Position = position + 1;
            int one = _bytes[position];
            return (one >> 1) ^ -(one & 1);
        }

        return ReadLongerLong();
    }

    /// <summary>An Avro int; outside 32 bits it is malformed.</summary>
    public int ReadInt()
    {
        long value = ReadLong();
        if (value != (int)value)
        {
            Fail();
            return 0;
        }

        return (int)value;
    }

    /// <summary>The position of an enum's symbol, 0 to <paramref name="symbols"/> − 1.</summary>
    public int ReadEnum(int symbols)
    {
        long value = ReadLong();
        if ((ulong)value >= (ulong)symbols)
        {
            Fail();
            return 0;
        }

        return (int)value;
    }

    /// <summary>An Avro boolean: one byte, 0 or 1.</summary>
    public bool ReadBoolean()
    {
        if (Position >= _bytes.Length || _bytes[Position] > 1)
        {
            Fail();
            return false;
        }

        return _bytes[Position++] == 1;
    }

    /// <summary>Avro bytes or an Avro string.</summary>
    public ReadOnlySpan<byte> ReadBytes()
    {
        long length = ReadLong();
        if ((ulong)length > (ulong)Remaining)
        {
            Fail();
            return default;
        }

        ReadOnlySpan<byte> value = _bytes.Slice(Position, (int)length);
        Position += (int)length;
        return value;
    }

    /// <summary>Union of null and bytes or string; null is empty.</summary>
    public ReadOnlySpan<byte> ReadOptionalBytes() => ReadEnum(2) == 0 ? default : ReadBytes();

    /// <summary>Union of null and long.</summary>
    public long? ReadOptionalLong() => ReadEnum(2) == 0 ? null : ReadLong();

    /// <summary>A profile id as an Avro fixed of 16 bytes, big endian.</summary>
    public UInt128 ReadFixedId()
    {
        if (Remaining < 16)
        {
            Fail();
            return default;
        }

        UInt128 value = BinaryPrimitives.ReadUInt128BigEndian(_bytes[Position..]);
        Position += 16;
        return value;
    }

    /// <summary>A profile id as an Avro string of 32 hex digits.</summary>
    public UInt128 ReadTextId()
    {
        ReadOnlySpan<byte> text = ReadBytes();
        if (text.Length != 32 || !UInt128.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out UInt128 id))
        {
            Fail();
            return default;
        }

        return id;
    }

    /// <summary>Union of null and a profile id as text.</summary>
    public UInt128? ReadOptionalTextId() => ReadEnum(2) == 0 ? null : ReadTextId();

    /// <summary>Reads over an Avro array and checks every item of it.</summary>
    public AvroList<TItem> ReadList<TItem>()
        where TItem : struct, IAvroItem<TItem>, allows ref struct
    {
        int start = Position;
        int count = 0;
        while (TryReadBlock(out int items, out int end))
        {
            count += items;
            for (; items > 0 && !Failed; items--)
            {
                _ = TItem.Read(ref this);
            }

            if (end >= 0 && end != Position)
            {
                Fail();
            }
        }

        return Failed ? default : new AvroList<TItem>(_bytes[start..Position], count);
    }

    /// <summary>Reads the head of an array's next block; false at the array's end.</summary>
    /// <param name="items">Items in the block, 1 or more.</param>
    /// <param name="end">Position behind the block, −1 where the block does not say it.</param>
    internal bool TryReadBlock(out int items, out int end)
    {
        long count = ReadLong();
        end = -1;
        if (count < 0)
        {
            count = unchecked(-count);
            long size = ReadLong();
            if ((ulong)size > (ulong)Remaining)
            {
                Fail();
            }

            end = Failed ? -1 : Position + (int)size;
        }

        // Every item takes a byte at least, so a count beyond the rest is a lie: no loop is longer than the input.
        if ((ulong)count > (ulong)Remaining)
        {
            Fail();
        }

        items = Failed ? 0 : (int)count;
        return items > 0;
    }

    private void Fail()
    {
        Failed = true;
        Position = _bytes.Length;
    }

    private long ReadLongerLong()
    {
        if (Remaining >= sizeof(ulong))
        {
            // Up to 8 bytes at once: cut behind the first byte without a continuation bit, then push the groups of 7 bits together.
            ulong word = BinaryPrimitives.ReadUInt64LittleEndian(_bytes[Position..]);
            ulong ends = ~word & 0x8080_8080_8080_8080;
            if (ends != 0)
            {
                word &= ends ^ (ends - 1);
                word = (word & 0x007F_007F_007F_007F) | ((word & 0x7F00_7F00_7F00_7F00) >> 1);
                word = (word & 0x0000_3FFF_0000_3FFF) | ((word & 0x3FFF_0000_3FFF_0000) >> 2);
                word = (word & 0x0000_0000_0FFF_FFFF) | ((word & 0x0FFF_FFFF_0000_0000) >> 4);
                Position += (BitOperations.TrailingZeroCount(ends) + 1) / 8;
                return (long)(word >> 1) ^ -(long)(word & 1);
            }
        }

        return ReadLongByByte();
    }

    private long ReadLongByByte()
    {
        ulong value = 0;
        int position = Position;
        for (int shift = 0; shift < 64 && position < _bytes.Length; shift += 7)
        {
            byte next = _bytes[position++];
            if (shift == 63 && next > 1)
            {
                break;
            }

            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
            {
                Position = position;
                return (long)(value >> 1) ^ -(long)(value & 1);
            }
        }

        Fail();
        return 0;
    }
}
