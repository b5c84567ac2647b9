namespace StreamCdp.Cli.Simulation;

/// <summary>Where a call carries its write key; real SDKs use all of these (facts/tracking-clients.md §1.2).</summary>
internal enum KeyPlace
{
    /// <summary>Basic user name.</summary>
    Basic,

    /// <summary>Header X-Write-Key.</summary>
    Header,

    /// <summary><c>writeKey</c> in the body.</summary>
    Body,
}

/// <summary>One HTTP call of the shop.</summary>
/// <param name="Path">For example <c>/v1/batch</c>.</param>
/// <param name="Body">JSON as sent.</param>
/// <param name="Source">Who sends.</param>
/// <param name="KeyPlace">Where the write key goes; in <see cref="KeyPlace.Body"/> it is in <paramref name="Body"/> already.</param>
/// <param name="Events">What is in it, in order.</param>
internal sealed record ShopCall(string Path, ReadOnlyMemory<byte> Body, ShopSource Source, KeyPlace KeyPlace, IReadOnlyList<SentEvent> Events);

/// <summary>One event as it was sent, with what is known about when the server received it.</summary>
/// <param name="Json">The event alone.</param>
/// <param name="SourceId">Source of the model.</param>
/// <param name="BatchSentAt"><c>sentAt</c> of its batch, or null.</param>
internal sealed record SentEvent(ReadOnlyMemory<byte> Json, string SourceId, string? BatchSentAt)
{
    /// <summary>Not received before, Unix ms.</summary>
    public long SentMs { get; set; }

    /// <summary>Received at or before, Unix ms; 0: never acknowledged.</summary>
    public long AcknowledgedMs { get; set; }
}
