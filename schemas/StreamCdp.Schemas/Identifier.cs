namespace StreamCdp.Schemas;

/// <summary>An identifier of a person, in <c>IdentityLink</c> and <c>ProfileEvent</c>.</summary>
public readonly ref struct Identifier : IAvroItem<Identifier>
{
    /// <summary>Makes one.</summary>
    public Identifier(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value)
    {
        Type = type;
        Value = value;
    }

    /// <summary>Type of the model, UTF-8.</summary>
    public ReadOnlySpan<byte> Type { get; }

    /// <summary>Normalised value, UTF-8.</summary>
    public ReadOnlySpan<byte> Value { get; }

    /// <inheritdoc/>
    public static Identifier Read(scoped ref AvroReader reader) => new(reader.ReadBytes(), reader.ReadBytes());
}

/// <summary>Builds a list of identifiers; kept by its stage and used again for each record. Cost: no allocation once its buffer has grown.</summary>
/// <example><code>
/// writer.Clear();
/// writer.Add("email"u8, value);
/// var link = new IdentityLink { Identifiers = writer.List };
/// </code></example>
public sealed class IdentifierListWriter
{
    // The array begins with its count, which is known last: room for the longest, filled from the right.
    private const int Head = 5;

    private byte[] _buffer = new byte[256];
    private int _end = Head;

    /// <summary>Identifiers added since <see cref="Clear"/>.</summary>
    public int Count { get; private set; }

    /// <summary>The list. It points into this writer: good until the next <see cref="Add"/> or <see cref="Clear"/>.</summary>
    public AvroList<Identifier> List
    {
        get
        {
            if (Count == 0)
            {
                return default;
            }

            Span<byte> head = stackalloc byte[AvroWriter.MaxLongBytes];
            int length = AvroWriter.WriteLong(head, Count);
            head[..length].CopyTo(_buffer.AsSpan(Head - length));
            _buffer[_end] = 0;
            return new AvroList<Identifier>(_buffer.AsSpan(Head - length, length + _end - Head + 1), Count);
        }
    }

    /// <summary>Forgets all identifiers.</summary>
    public void Clear()
    {
        _end = Head;
        Count = 0;
    }

    /// <summary>Adds an identifier at the end.</summary>
    public void Add(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value)
    {
        var writer = new AvroWriter(ref _buffer, _end);
        writer.Reserve(type.Length + value.Length + (2 * AvroWriter.MaxLongBytes) + 1);
        writer.WriteBytes(type);
        writer.WriteBytes(value);
        _end = writer.Position;
        Count++;
    }
}
