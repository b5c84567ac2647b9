namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Why an event is a dead letter (RULES.md §1.5).</summary>
internal enum EventProblem : byte
{
    /// <summary>It is good.</summary>
    None,

    /// <summary>Larger than <see cref="EventReader.MaxBytes"/>.</summary>
    TooLarge,

    /// <summary>Not one JSON object in UTF-8, or nested deeper than <see cref="JsonPathScanner.MaxDepth"/>.</summary>
    Unreadable,

    /// <summary>No <c>type</c>.</summary>
    TypeMissing,

    /// <summary>A <c>type</c> that does not exist.</summary>
    TypeUnknown,

    /// <summary>A track without text in <c>event</c>.</summary>
    EventMissing,

    /// <summary><c>properties</c> is neither an object nor null.</summary>
    PropertiesNotObject,

    /// <summary><c>traits</c> is neither an object nor null.</summary>
    TraitsNotObject,

    /// <summary><c>context</c> is neither an object nor null.</summary>
    ContextNotObject,

    /// <summary><c>timestamp</c> is neither ISO 8601 nor a whole number of milliseconds.</summary>
    TimestampUnreadable,

    /// <summary>No identifier is left.</summary>
    NoIdentifier,

    /// <summary>In a record that others wrote to the log: a received time, or record time in its place, that no calendar has.</summary>
    ReceivedAtUnreadable,

    /// <summary>It has no <c>context</c> of its own, and that of its batch is too large to be stored with each event, or no UTF-8.</summary>
    BatchContextUnusable,
}

/// <summary>Words for <see cref="EventProblem"/>: the same in dead letters, metrics and documentation.</summary>
internal static class EventProblemText
{
    /// <summary>Short name, a label of metrics and the <c>reason</c> of a dead letter.</summary>
    public static string Reason(this EventProblem problem) => problem switch
    {
        EventProblem.None => "none",
        EventProblem.TooLarge => "too_large",
        EventProblem.Unreadable => "invalid_json",
        EventProblem.TypeMissing or EventProblem.TypeUnknown => "unknown_type",
        EventProblem.EventMissing => "missing_event",
        EventProblem.PropertiesNotObject or EventProblem.TraitsNotObject or EventProblem.ContextNotObject => "not_an_object",
        EventProblem.TimestampUnreadable or EventProblem.ReceivedAtUnreadable => "bad_timestamp",
        EventProblem.NoIdentifier => "no_identifier",
        EventProblem.BatchContextUnusable => "bad_batch_context",
        _ => "unknown",
    };

    /// <summary>The field that is wrong; empty where it is the whole event.</summary>
    public static string Field(this EventProblem problem) => problem switch
    {
        EventProblem.TypeMissing or EventProblem.TypeUnknown => "type",
        EventProblem.EventMissing => "event",
        EventProblem.PropertiesNotObject => "properties",
        EventProblem.TraitsNotObject => "traits",
        EventProblem.ContextNotObject or EventProblem.BatchContextUnusable => "context",
        EventProblem.TimestampUnreadable => "timestamp",
        EventProblem.NoIdentifier => "userId, anonymousId",
        EventProblem.ReceivedAtUnreadable => "receivedAt",
        _ => "",
    };

    /// <summary>A sentence for people: what is wrong and what is allowed. Never holds personal data.</summary>
    public static string Message(this EventProblem problem) => problem switch
    {
        EventProblem.None => "",
        EventProblem.TooLarge => $"The event is larger than {EventReader.MaxBytes} bytes.",
        EventProblem.Unreadable => $"The event is not one JSON object in UTF-8, nested at most {JsonPathScanner.MaxDepth} deep.",
        EventProblem.TypeMissing => "type is missing; allowed are track, identify, page, screen, group, alias.",
        EventProblem.TypeUnknown => "type is unknown; allowed are track, identify, page, screen, group, alias (in lower case).",
        EventProblem.EventMissing => "A track needs its name as text in event.",
        EventProblem.PropertiesNotObject => "properties must be an object or null.",
        EventProblem.TraitsNotObject => "traits must be an object or null.",
        EventProblem.ContextNotObject => "context must be an object or null.",
        EventProblem.TimestampUnreadable => "timestamp must be ISO 8601 text or a whole number of milliseconds.",
        EventProblem.ReceivedAtUnreadable => "receivedAt, or the time of a record without it, must be milliseconds since 1970 in the years 1 to 9999. Producers that write microseconds or seconds must convert them.",
        EventProblem.BatchContextUnusable => $"The context of the batch, which counts for this event because it has none, is larger than {CollectOptions.Section}:{nameof(CollectOptions.MaxBatchContextBytes)} or not UTF-8; it is not kept. Put a context into each event that needs one.",
        EventProblem.NoIdentifier => "No identifier is left: userId, anonymousId and the paths of the model are missing, empty, invalid or blocked.",
        _ => "",
    };
}
