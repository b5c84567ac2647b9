namespace StreamCdp.Cli.Simulation;

/// <summary>Where the shop's calls go: a collector by HTTP, or the topic <c>events</c>.</summary>
internal interface IShopTarget
{
    /// <summary>When an event counts as received is in the event itself, and not for the server to say.</summary>
    bool SetsReceivedAt { get; }

    /// <summary>Sends a call once.</summary>
    /// <param name="call">What to send; <see cref="SentEvent.SentMs"/> of its events is set.</param>
    Task<CallResult> SendAsync(ShopCall call);
}

/// <summary>What became of a call.</summary>
internal enum CallOutcome
{
    /// <summary>Its events are durable.</summary>
    Acknowledged,

    /// <summary>Nobody knows whether they are: send the same again.</summary>
    TryAgain,

    /// <summary>Sending it again would not help.</summary>
    GivenUp,
}

/// <summary>The answer to one sending of a call.</summary>
/// <param name="Outcome">What became of it.</param>
/// <param name="Problem">Why it was not acknowledged; null: it was.</param>
/// <param name="RetryAfter">When to send again; null: the sender decides.</param>
internal readonly record struct CallResult(CallOutcome Outcome, string? Problem = null, TimeSpan? RetryAfter = null);
