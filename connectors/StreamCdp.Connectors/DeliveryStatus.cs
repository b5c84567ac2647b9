namespace StreamCdp.Connectors;

/// <summary>What a destination does.</summary>
internal enum DeliveryState
{
    /// <summary>It sends, or has nothing to send.</summary>
    Running,

    /// <summary>The other side is away or asked to wait; it goes on by itself.</summary>
    Waiting,

    /// <summary>Somebody, or the other side for good, paused it; it goes on when it is resumed.</summary>
    Paused,

    /// <summary>It cannot go on; a person is needed.</summary>
    Stopped,
}

/// <summary>A destination as it is shown. No secret and no personal data is in it.</summary>
/// <param name="Id">Id of the model.</param>
/// <param name="Kind">Kind of the model.</param>
/// <param name="IsCrm">It goes both ways.</param>
/// <param name="Target">Where it sends.</param>
/// <param name="State">What it does.</param>
/// <param name="Reason">Why it waits, is paused or stopped, and what to do; while it runs empty, or what it does not do now.</param>
/// <param name="LagRecords">Records of the logs that it has not dealt with.</param>
/// <param name="LagSeconds">How long the oldest change that waits has been in the log; 0: none waits.</param>
/// <param name="LagInSeconds">Since when a CRM was not asked for news to the end; null: it is no CRM, or was not asked yet.</param>
/// <param name="BudgetLeft">Requests that could be made at once now.</param>
/// <param name="Requests">Since the start of the process.</param>
/// <param name="Taken">Changes that the other side took since then.</param>
/// <param name="DeadLetters">Changes that it refused since then.</param>
/// <param name="Retries">Requests that were tried again since then.</param>
/// <param name="LastError">The last thing that went wrong since then; null: nothing did.</param>
/// <param name="LastErrorAt">When.</param>
/// <param name="Conflicts">Of a CRM, fields that both sides had changed and that are kept to be looked at; null: it is none, or has not begun.</param>
/// <param name="DeletedToday">Of a CRM with delete, contacts that were deleted there today (UTC), over restarts; null: it deletes none, or has not begun.</param>
internal sealed record DeliveryStatus(
    string Id,
    string Kind,
    bool IsCrm,
    string Target,
    DeliveryState State,
    string Reason,
    long LagRecords,
    double LagSeconds,
    double? LagInSeconds,
    double BudgetLeft,
    long Requests,
    long Taken,
    long DeadLetters,
    long Retries,
    string? LastError,
    DateTimeOffset? LastErrorAt,
    long? Conflicts = null,
    long? DeletedToday = null);

/// <summary>What talks to one outside system: a destination that changes are sent to, or a CRM in both directions.</summary>
internal interface IConnection : IAsyncDisposable
{
    /// <summary>Id of the model.</summary>
    string Id { get; }

    /// <summary>What it does now.</summary>
    DeliveryStatus Status();

    /// <summary>Brings the gauges up to date, before they are read.</summary>
    void Measure(ConnectorMetrics metrics);

    /// <summary>Holds it: what is under way is finished, then nothing is sent until <see cref="Resume"/>, also after a restart.</summary>
    void Pause(string reason);

    /// <summary>Goes on.</summary>
    void Resume();

    /// <summary>Takes a refused change to send again, if it is still true then; false: there is no room now.</summary>
    bool TryReplay(ProfileChange change, int partition, long offset);

    /// <summary>Runs until the token is cancelled.</summary>
    Task RunAsync(LogWake wake, CancellationToken stop);
}
