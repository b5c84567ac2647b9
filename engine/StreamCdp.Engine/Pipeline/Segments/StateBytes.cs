using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Reads the parts of a function's state.</summary>
internal ref struct StateReader(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;

    /// <summary>Bytes read.</summary>
    public int Position { get; private set; }

    /// <summary>Nothing is left.</summary>
    public readonly bool IsAtEnd => Position == _bytes.Length;

    /// <summary>What is left.</summary>
    public readonly ReadOnlySpan<byte> Rest => _bytes[Position..];

    /// <summary>LEB128.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ulong Unsigned()
    {
        byte first = _bytes[Position++];
        return first < 0x80 ? first : UnsignedRest(first);
    }

    /// <summary>Zigzag LEB128.</summary>
    public long Signed()
    {
        ulong value = Unsigned();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    /// <summary>Zigzag LEB128 of 128 bits.</summary>
    public Int128 Wide()
    {
        const int BitsAtOnce = 63;
        ulong low = 0;
        int shift = 0;
        byte next;
        do
        {
            next = _bytes[Position++];
            low |= (ulong)(next & 0x7F) << shift;
            shift += 7;
        }
        while (next >= 0x80 && shift < BitsAtOnce);
        if (next < 0x80)
        {
            return (long)(low >> 1) ^ -(long)(low & 1);
        }

        UInt128 value = low;
        do
        {
            next = _bytes[Position++];
            value |= (UInt128)(ulong)(next & 0x7F) << shift;
            shift += 7;
        }
        while (next >= 0x80);
        return (Int128)(value >> 1) ^ -(Int128)(value & 1);
    }

    /// <summary>Passes over one LEB128 of any length.</summary>
    public void SkipVarint()
    {
        while (_bytes[Position++] >= 0x80)
        {
        }
    }

    /// <summary>8 bytes.</summary>
    public double Double()
    {
        double value = BinaryPrimitives.ReadDoubleLittleEndian(_bytes[Position..]);
        Position += sizeof(double);
        return value;
    }

    /// <summary>Length-prefixed bytes.</summary>
    public ReadOnlySpan<byte> Bytes()
    {
        int length = (int)Unsigned();
        ReadOnlySpan<byte> value = _bytes.Slice(Position, length);
        Position += length;
        return value;
    }

    /// <summary>Passes over bytes.</summary>
    public void Skip(int count) => Position += count;

    /// <summary>Time, offset, partition.</summary>
    public EventOrder Order() => new(Signed(), Signed(), (int)Signed());

    private ulong UnsignedRest(byte first)
    {
        ulong value = first & 0x7Fu;
        int shift = 7;
        byte next;
        do
        {
            next = _bytes[Position++];
            value |= (ulong)(next & 0x7F) << shift;
            shift += 7;
        }
        while (next >= 0x80);
        return value;
    }
}

/// <summary>Writes the parts of a function's state into a buffer that is large enough.</summary>
internal ref struct StateWriter(Span<byte> buffer)
{
    private readonly Span<byte> _buffer = buffer;

    /// <summary>Bytes written.</summary>
    public int Position { get; private set; }

    /// <summary>LEB128.</summary>
    public void Unsigned(ulong value)
    {
        while (value >= 0x80)
        {
            _buffer[Position++] = (byte)(value | 0x80);
            value >>= 7;
        }

        _buffer[Position++] = (byte)value;
    }

    /// <summary>Zigzag LEB128.</summary>
    public void Signed(long value) => Unsigned((ulong)((value << 1) ^ (value >> 63)));

    /// <summary>Zigzag LEB128 of 128 bits.</summary>
    public void Wide(Int128 value)
    {
        var rest = (UInt128)((value << 1) ^ (value >> 127));
        while (rest > ulong.MaxValue)
        {
            _buffer[Position++] = (byte)((byte)rest | 0x80);
            rest >>= 7;
        }

        Unsigned((ulong)rest);
    }

    /// <summary>8 bytes.</summary>
    public void Double(double value)
    {
        BinaryPrimitives.WriteDoubleLittleEndian(_buffer[Position..], value);
        Position += sizeof(double);
    }

    /// <summary>Bytes as they are.</summary>
    public void Raw(scoped ReadOnlySpan<byte> value)
    {
        value.CopyTo(_buffer[Position..]);
        Position += value.Length;
    }

    /// <summary>Length-prefixed bytes.</summary>
    public void Bytes(scoped ReadOnlySpan<byte> value)
    {
        Unsigned((ulong)value.Length);
        Raw(value);
    }

    /// <summary>Time, offset, partition.</summary>
    public void Order(EventOrder order)
    {
        Signed(order.TimeMs);
        Signed(order.Offset);
        Signed(order.Partition);
    }
}
