using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>What a checkpoint of a shard holds beyond its store.</summary>
internal sealed record ProfilerSnapshot
{
    /// <summary>The shard's now, Unix ms.</summary>
    public long Now { get; init; }

    /// <summary>Up to and with this instant ticks have asked for all that time changes, Unix ms; timers may still have to fire.</summary>
    public long DueAt { get; init; } = long.MinValue;

    /// <summary>Model that the shard computes with.</summary>
    public ulong ModelVersion { get; init; }

    /// <summary>Newest router run by partition of events.</summary>
    public Dictionary<int, long> Fences { get; init; } = [];

    /// <summary>Place of the last record taken from each other shard.</summary>
    public Dictionary<int, long> Received { get; init; } = [];

    /// <summary>What its events looked like.</summary>
    public SeenSchema Schema { get; init; } = SeenSchema.Empty;

    /// <summary>Functions that started later than the shard.</summary>
    public Dictionary<string, long> FunctionsSince { get; init; } = [];

    /// <summary>Of states that come from a backfill its id.</summary>
    public Dictionary<string, long> Epochs { get; init; } = [];

    /// <summary>Id of the latest backfill that began to count.</summary>
    public long Epoch { get; init; }

    /// <summary>The backfill that the shard counts for.</summary>
    public BackfillPlan? Prepared { get; init; }

    /// <summary>The backfill that was done last.</summary>
    public BackfillPlan? Finished { get; init; }

    /// <summary>Records that wait for a merge.</summary>
    public List<PendingSnapshot> Pending { get; init; } = [];
}

/// <summary>What waits for one profile.</summary>
internal sealed record PendingSnapshot(string Profile, List<QueuedSnapshot> Queue, List<TransferSnapshot> Transfers);

/// <summary>A record that waits.</summary>
internal sealed record QueuedSnapshot(byte[] Value, long Now, long TimestampMs, long DueAt = long.MinValue, long Epoch = 0);

/// <summary>The record of a merged profile that came before its event.</summary>
internal sealed record TransferSnapshot(long Link, string Loser, byte[] Record);
