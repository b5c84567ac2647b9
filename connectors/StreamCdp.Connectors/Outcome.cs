namespace StreamCdp.Connectors;

/// <summary>What became of a change.</summary>
public enum OutcomeKind
{
    /// <summary>The other side has it.</summary>
    Taken,

    /// <summary>The other side will never take it: it becomes a dead letter.</summary>
    Refused,

    /// <summary>Not now: the kit sends it again.</summary>
    TryAgain,
}

/// <summary>What became of one change of a batch.</summary>
/// <param name="Kind">What.</param>
/// <param name="Reason">For people; empty for a change that was taken. It stands in the dead letter, never in a log line.</param>
/// <param name="RetryAfter">For <see cref="OutcomeKind.TryAgain"/>: the other side's wish; null: the kit's back-off.</param>
public sealed record Outcome(OutcomeKind Kind, string Reason = "", TimeSpan? RetryAfter = null)
{
    /// <summary>Of <see cref="OutcomeKind.Refused"/>: nobody knows whether the other side has it. It counts as done, and only a person sends it again.</summary>
    public bool MayBeDone { get; init; }

    /// <summary>Of <see cref="OutcomeKind.Refused"/>, and of actions: the person's id there, such as an address, is none, and no other call with it will be taken either.</summary>
    public bool IsOfTarget { get; init; }

    /// <summary>The other side has it.</summary>
    public static Outcome Taken { get; } = new(OutcomeKind.Taken);

    /// <summary>The other side will never take it.</summary>
    public static Outcome Refused(string reason) => new(OutcomeKind.Refused, reason);

    /// <summary>Nobody knows whether the other side has it.</summary>
    public static Outcome Unknown(string reason) => new(OutcomeKind.Refused, reason) { MayBeDone = true };

    /// <summary>Not now.</summary>
    public static Outcome TryAgain(string reason, TimeSpan? retryAfter = null) => new(OutcomeKind.TryAgain, reason, retryAfter);

    /// <summary>The same outcome for each change of a batch.</summary>
    public static IReadOnlyList<Outcome> ForAll(Outcome outcome, int count) => [.. Enumerable.Repeat(outcome, count)];
}
