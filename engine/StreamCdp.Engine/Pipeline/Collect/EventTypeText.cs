namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Names of event types, as in the Segment API.</summary>
internal static class EventTypeText
{
    /// <summary>By the exact text of <c>type</c>; anything else is <see cref="EventType.Unknown"/>.</summary>
    public static EventType Parse(ReadOnlySpan<byte> text)
    {
        return
            text.SequenceEqual("track"u8) ? EventType.Track :
            text.SequenceEqual("identify"u8) ? EventType.Identify :
            text.SequenceEqual("page"u8) ? EventType.Page :
            text.SequenceEqual("screen"u8) ? EventType.Screen :
            text.SequenceEqual("group"u8) ? EventType.Group :
            text.SequenceEqual("alias"u8) ? EventType.Alias :
            EventType.Unknown;
    }

    /// <summary>The text, UTF-8; empty for <see cref="EventType.Unknown"/>.</summary>
    public static ReadOnlySpan<byte> Text(EventType type) => type switch
    {
        EventType.Track => "track"u8,
        EventType.Identify => "identify"u8,
        EventType.Page => "page"u8,
        EventType.Screen => "screen"u8,
        EventType.Group => "group"u8,
        EventType.Alias => "alias"u8,
        _ => default,
    };
}
