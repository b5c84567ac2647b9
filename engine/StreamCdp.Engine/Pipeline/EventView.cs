namespace StreamCdp.Engine.Pipeline;

/// <summary>Types of events (RULES.md §1.5).</summary>
internal enum EventType : byte
{
    /// <summary>No known type: a dead letter.</summary>
    Unknown,

    /// <summary>Something a person did.</summary>
    Track,

    /// <summary>Who a person is.</summary>
    Identify,

    /// <summary>A page viewed.</summary>
    Page,

    /// <summary>A screen of an app viewed.</summary>
    Screen,

    /// <summary>A person in a group.</summary>
    Group,

    /// <summary>Two identifiers are one person.</summary>
    Alias,
}

/// <summary>Order of the events of one person (RULES.md §4.2): event time, then place in the log <c>events</c>.</summary>
/// <param name="TimeMs">Event time, Unix ms.</param>
/// <param name="Offset">Offset of its own arrival in the log <c>events</c>.</param>
/// <param name="Partition">Breaks the tie between partitions, so that the order is total.</param>
internal readonly record struct EventOrder(long TimeMs, long Offset, int Partition) : IComparable<EventOrder>
{
    /// <summary>Before every event.</summary>
    public static readonly EventOrder None = new(long.MinValue, -1, -1);

    /// <inheritdoc/>
    public int CompareTo(EventOrder other) =>
        TimeMs != other.TimeMs ? TimeMs.CompareTo(other.TimeMs) :
        Offset != other.Offset ? Offset.CompareTo(other.Offset) :
        Partition.CompareTo(other.Partition);

    /// <summary>Earlier.</summary>
    public static bool operator <(EventOrder left, EventOrder right) => left.CompareTo(right) < 0;

    /// <summary>Later.</summary>
    public static bool operator >(EventOrder left, EventOrder right) => left.CompareTo(right) > 0;

    /// <summary>Earlier or the same.</summary>
    public static bool operator <=(EventOrder left, EventOrder right) => left.CompareTo(right) <= 0;

    /// <summary>Later or the same.</summary>
    public static bool operator >=(EventOrder left, EventOrder right) => left.CompareTo(right) >= 0;
}

/// <summary>One event as the profiler sees it: spans over the record, nothing copied.</summary>
internal readonly ref struct EventView
{
    /// <summary>The event's JSON.</summary>
    public ReadOnlySpan<byte> Payload { get; init; }

    /// <summary>The JSON that the slots of <c>context.*</c> paths refer to, where the context came with the batch; empty: <see cref="Payload"/>.</summary>
    public ReadOnlySpan<byte> ContextPayload { get; init; }

    /// <summary>What the paths of <c>SegmentEngine.EventPaths</c> found in <see cref="Payload"/> (paths under <c>context</c>: in <see cref="ContextPayload"/>), by slot.</summary>
    public ReadOnlySpan<JsonSlice> Slots { get; init; }

    /// <summary>Its type.</summary>
    public EventType Type { get; init; }

    /// <summary>Name, UTF-8, unescaped: the text of <c>event</c> for track; <c>name</c> for page and screen (may be empty); empty for the rest.</summary>
    public ReadOnlySpan<byte> Name { get; init; }

    /// <summary>Its time and place.</summary>
    public EventOrder Order { get; init; }
}
