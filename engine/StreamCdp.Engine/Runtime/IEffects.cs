namespace StreamCdp.Engine.Runtime;

/// <summary>Logs that stages write.</summary>
internal enum StageLog
{
    /// <summary>Router to resolver.</summary>
    IdentityLinks,

    /// <summary>Resolver to routers.</summary>
    IdentityMap,

    /// <summary>Router, resolver and shards to shards.</summary>
    ProfileEvents,

    /// <summary>Shards to readers.</summary>
    Profiles,

    /// <summary>Shards to readers.</summary>
    Memberships,

    /// <summary>Router to people.</summary>
    DeadLetters,
}

/// <summary>Where the appends of a stage go: the real logs, or the simulated ones. A stage knows no clock, socket or task.</summary>
internal interface IEffects
{
    /// <summary>Appends a record; it becomes durable later, in order with the stage's other appends to that partition.</summary>
    void Append(StageLog log, int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs);

    /// <summary>Waits until everything appended to a log is durable.</summary>
    void WaitDurable(StageLog log);
}
