using System.Buffers.Binary;

namespace StreamCdp.Engine.Pipeline.Identity;

/// <summary>What the resolver knows of one decided profile: its epoch and its identifiers, in order of joining.</summary>
/// <remarks>Layout: epoch (8 bytes), last merge (8 bytes), then for each identifier type and value, each length-prefixed.</remarks>
internal sealed class IdentityRecord
{
    private byte[] _bytes = new byte[512];
    private int _length = HeaderBytes;

    private const int HeaderBytes = 16;

    /// <summary>The profile.</summary>
    public UInt128 Id { get; set; }

    /// <summary>Number of the profile's first decision (RULES.md §3.4).</summary>
    public long Epoch { get; set; }

    /// <summary>Offset of the last link that merged another profile into this one; −1 for none.</summary>
    public long LastMergeLink { get; set; }

    /// <summary>Number of identifiers.</summary>
    public int Count { get; private set; }

    /// <summary>Makes it an empty profile.</summary>
    public void Reset(UInt128 id, long epoch)
    {
        Id = id;
        Epoch = epoch;
        LastMergeLink = -1;
        Count = 0;
        _length = HeaderBytes;
    }

    /// <summary>Decodes a stored record.</summary>
    public void Read(UInt128 id, ReadOnlySpan<byte> stored)
    {
        Reset(id, BinaryPrimitives.ReadInt64LittleEndian(stored));
        LastMergeLink = BinaryPrimitives.ReadInt64LittleEndian(stored[8..]);
        if (_bytes.Length < stored.Length)
        {
            _bytes = new byte[stored.Length * 2];
        }

        stored.CopyTo(_bytes);
        _length = stored.Length;
        foreach (IdentifierText _ in this)
        {
            Count++;
        }
    }

    /// <summary>The record to store.</summary>
    public ReadOnlySpan<byte> Write()
    {
        BinaryPrimitives.WriteInt64LittleEndian(_bytes, Epoch);
        BinaryPrimitives.WriteInt64LittleEndian(_bytes.AsSpan(8), LastMergeLink);
        return _bytes.AsSpan(0, _length);
    }

    /// <summary>Adds an identifier at the end.</summary>
    public void Add(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value)
    {
        int needed = _length + 8 + type.Length + value.Length;
        if (_bytes.Length < needed)
        {
            Array.Resize(ref _bytes, needed * 2);
        }

        _length += WritePart(_bytes.AsSpan(_length), type);
        _length += WritePart(_bytes.AsSpan(_length), value);
        Count++;
    }

    /// <summary>Removes an identifier; nothing happens where the profile lacks it.</summary>
    public void Remove(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value)
    {
        foreach (IdentifierText identifier in this)
        {
            if (identifier.Type.SequenceEqual(type) && identifier.Value.SequenceEqual(value))
            {
                _bytes.AsSpan(identifier.End, _length - identifier.End).CopyTo(_bytes.AsSpan(identifier.Start));
                _length -= identifier.End - identifier.Start;
                Count--;
                return;
            }
        }
    }

    /// <summary>Whether the profile has an identifier.</summary>
    public bool Has(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value)
    {
        foreach (IdentifierText identifier in this)
        {
            if (identifier.Value.SequenceEqual(value) && identifier.Type.SequenceEqual(type))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Goes through the identifiers.</summary>
    public Enumerator GetEnumerator() => new(_bytes.AsSpan(0, _length));

    private static int WritePart(Span<byte> target, ReadOnlySpan<byte> text)
    {
        BinaryPrimitives.WriteInt32LittleEndian(target, text.Length);
        text.CopyTo(target[4..]);
        return 4 + text.Length;
    }

    /// <summary>One identifier in the record.</summary>
    internal readonly ref struct IdentifierText(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value, int start, int end)
    {
        /// <summary>Type, UTF-8.</summary>
        public ReadOnlySpan<byte> Type { get; } = type;

        /// <summary>Value, UTF-8.</summary>
        public ReadOnlySpan<byte> Value { get; } = value;

        /// <summary>First byte in the record.</summary>
        public int Start { get; } = start;

        /// <summary>Byte after the last.</summary>
        public int End { get; } = end;
    }

    /// <summary>Decodes identifier by identifier.</summary>
    internal ref struct Enumerator(ReadOnlySpan<byte> bytes)
    {
        private readonly ReadOnlySpan<byte> _bytes = bytes;
        private int _position = HeaderBytes;

        /// <summary>The identifier.</summary>
        public IdentifierText Current { get; private set; }

        /// <summary>Goes on.</summary>
        public bool MoveNext()
        {
            if (_position >= _bytes.Length)
            {
                return false;
            }

            int start = _position;
            ReadOnlySpan<byte> type = Part();
            ReadOnlySpan<byte> value = Part();
            Current = new IdentifierText(type, value, start, _position);
            return true;
        }

        private ReadOnlySpan<byte> Part()
        {
            int length = BinaryPrimitives.ReadInt32LittleEndian(_bytes[_position..]);
            ReadOnlySpan<byte> part = _bytes.Slice(_position + 4, length);
            _position += 4 + length;
            return part;
        }
    }
}
