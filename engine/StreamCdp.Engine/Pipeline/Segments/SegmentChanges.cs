namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>One entry into or exit from a segment.</summary>
/// <param name="Segment">Index in <see cref="SegmentEngine.Segments"/>; −1: the model no longer has the segment, only its key is known.</param>
/// <param name="Key">Key of the membership in the profile.</param>
/// <param name="Entered">False: exited.</param>
internal readonly record struct SegmentChange(int Segment, uint Key, bool Entered);

/// <summary>A list of changes that the caller keeps and clears: it allocates only while it grows.</summary>
internal struct SegmentChanges
{
    private SegmentChange[]? _items;

    /// <summary>Changes since <see cref="Clear"/>.</summary>
    public int Count { get; private set; }

    /// <summary>The changes, in the order in which they were found.</summary>
    public readonly ReadOnlySpan<SegmentChange> Items => _items.AsSpan(0, Count);

    /// <summary>One of <see cref="Items"/>.</summary>
    public readonly SegmentChange this[int index] => Items[index];

    /// <summary>Forgets all changes.</summary>
    public void Clear() => Count = 0;

    /// <summary>Appends a change.</summary>
    public void Add(SegmentChange change)
    {
        if (_items is null || Count == _items.Length)
        {
            Array.Resize(ref _items, Math.Max(16, Count * 2));
        }

        _items[Count++] = change;
    }
}
