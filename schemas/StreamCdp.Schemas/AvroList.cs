namespace StreamCdp.Schemas;

/// <summary>An item of an Avro array that is read in place.</summary>
/// <typeparam name="TSelf">The item's own type.</typeparam>
public interface IAvroItem<TSelf>
    where TSelf : struct, IAvroItem<TSelf>, allows ref struct
{
    /// <summary>Reads one item; a malformed one shows in <see cref="AvroReader.Failed"/>.</summary>
#pragma warning disable CA1000 // Called only through the constraint, which knows the type.
    static abstract TSelf Read(scoped ref AvroReader reader);
#pragma warning restore CA1000
}

/// <summary>A checked Avro array, still encoded: <c>foreach</c> decodes item by item and allocates nothing. The default is empty.</summary>
/// <typeparam name="TItem">What the array holds.</typeparam>
public readonly ref struct AvroList<TItem>
    where TItem : struct, IAvroItem<TItem>, allows ref struct
{
    internal AvroList(ReadOnlySpan<byte> encoded, int count)
    {
        Encoded = encoded;
        Count = count;
    }

    /// <summary>Number of items.</summary>
    public int Count { get; }

    /// <summary>The whole array as Avro encodes it, with its end mark; to copy or to keep. Empty only in the default.</summary>
    public ReadOnlySpan<byte> Encoded { get; }

    /// <summary>Reads an array that was kept as bytes; empty bytes are an empty list.</summary>
    /// <returns>False where the bytes are not exactly one array.</returns>
#pragma warning disable CA1000 // AvroList<Identifier>.TryRead says what is read.
    public static bool TryRead(ReadOnlySpan<byte> encoded, out AvroList<TItem> list)
#pragma warning restore CA1000
    {
        list = default;
        if (encoded.IsEmpty)
        {
            return true;
        }

        var reader = new AvroReader(encoded);
        AvroList<TItem> read = reader.ReadList<TItem>();
        if (!reader.IsCompleteAndValid)
        {
            return false;
        }

        list = read;
        return true;
    }

    /// <summary>For <c>foreach</c>.</summary>
    public Enumerator GetEnumerator() => new(Encoded);

    /// <summary>Decodes item by item.</summary>
    public ref struct Enumerator
    {
        private AvroReader _reader;
        private int _left;

        internal Enumerator(ReadOnlySpan<byte> encoded) => _reader = new AvroReader(encoded);

        /// <summary>The item.</summary>
        public TItem Current { get; private set; }

        /// <summary>Goes to the next item; false at the end.</summary>
        public bool MoveNext()
        {
            if (_left == 0 && (_reader.Remaining == 0 || !_reader.TryReadBlock(out _left, out _)))
            {
                return false;
            }

            _left--;
            Current = TItem.Read(ref _reader);
            return true;
        }
    }
}
