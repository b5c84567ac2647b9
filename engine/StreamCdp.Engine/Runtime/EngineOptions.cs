using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Pipeline.Identity;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.State;

namespace StreamCdp.Engine.Runtime;

/// <summary>Sizes and times of the engine.</summary>
public sealed record EngineOptions
{
    /// <summary>Section of these settings.</summary>
    public const string Section = "StreamCdp:Engine";

    private const int BytesOfIdentifier = IdentifierRule.MaxBytes + 24;
    private const int BytesOfMemberships = 100 << 10;

    /// <summary>Partitions of the log events where it is made. 1 to 1024, default 1: one router thread keeps up with one machine's collector.</summary>
    public int EventPartitions { get; init; } = 1;

    /// <summary>Shards (partitions of profile-events) where they are made. 1 to 1024, default 1 for each 2 cores.</summary>
    public int Shards { get; init; } = Math.Max(1, Environment.ProcessorCount / 2);

    /// <summary>Memory of the pages of all stores together, bytes. 64 MiB to 1 TiB, default 1 GiB: 6/8 profiles, 1/8 identity, 1/8 messageIds. What does not fit is on disk. Their indexes come on top: 1/8 of it, at most 4/5 with tens of millions of messageIds in the window.</summary>
    public long MemoryBytes { get; init; } = 1L << 30;

    /// <summary>How long a messageId is known, ms. 1 s to 30 days, default 24 h (RULES.md §2).</summary>
    public long DedupWindowMs { get; init; } = 24L * 3600 * 1000;

    /// <summary>Time between two checkpoints of a stage, ms. 1 s to 1 h, default 60 s: what a restart has to read again.</summary>
    public long CheckpointMs { get; init; } = 60_000;

    /// <summary>Time between two ticks, ms. 50 to 60 000, default 1000: how late a change by time may be emitted. While a backlog of events is read, time goes as they came.</summary>
    public long TickMs { get; init; } = 1_000;

    /// <summary>Whose time the shards follow.</summary>
    public ClockMode Clock { get; init; } = ClockMode.Wall;

    /// <summary>Secret from which ids of profiles are derived; the same on all instances, never changed.</summary>
    public string WorkspaceKey { get; init; } = "streamcdp";

    /// <summary>Identifiers a profile may have. 10 to 8000, default 1000 (RULES.md §3.7).</summary>
    public int MaxIdentifiers { get; init; } = Resolver.DefaultMaxIdentifiers;

    /// <summary>Traits that a profile keeps beside those that the model declares. 10 to 10 000, default 1000; what is beyond is counted, and the profile's notes say <c>"traits": "limited"</c>.</summary>
    public int MaxTraits { get; init; } = new TraitLimits().MaxTraits;

    /// <summary>Names and values of a profile's declared traits together, and of its others, bytes. 16 384 to 524 288, default 131 072 each.</summary>
    public int MaxTraitBytes { get; init; } = new TraitLimits().MaxBytes;

    /// <summary>Elements of a trait with <c>merge: union</c>. 10 to 10 000, default 1000.</summary>
    public int MaxListItems { get; init; } = new TraitLimits().MaxListItems;

    /// <summary>Events that may wait for identity decisions. 100 to 50 000, default 10 000; then the router reads no further.</summary>
    public int MaxWaiting { get; init; } = 10_000;

    /// <summary>Profiles that a shard holds decoded, 7 KiB each. A power of two from 1 to 1 048 576, default 4096.</summary>
    public int CachedProfiles { get; init; } = ProfileCache.DefaultPlaces;

    /// <summary>How long events are kept, ms; −1 for ever, default 400 days (privacy.retain_events comes with the privacy work).</summary>
    public long RetainEventsMs { get; init; } = 400L * 24 * 3600 * 1000;

    /// <summary>How long the internal log profile-events is kept, ms; −1 for ever, default 400 days, as events: how far back a backfill counts, and how old a checkpoint may be to restart from. It takes about as much disk as events.</summary>
    public long RetainProfileEventsMs { get; init; } = 400L * 24 * 3600 * 1000;

    /// <summary>Every broken rule, each with its key, its value and what is allowed. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        foreach ((string name, long value, long least, long most) in new[]
        {
            (nameof(EventPartitions), EventPartitions, 1L, 1024L),
            (nameof(Shards), Shards, 1, 1024),
            (nameof(MemoryBytes), MemoryBytes, 64L << 20, 1L << 40),
            (nameof(DedupWindowMs), DedupWindowMs, 1_000, 30L * 24 * 3600 * 1000),
            (nameof(CheckpointMs), CheckpointMs, 1_000, 3_600_000),
            (nameof(TickMs), TickMs, 50, 60_000),
            (nameof(MaxIdentifiers), MaxIdentifiers, 10, 8_000),
            (nameof(MaxTraits), MaxTraits, 10, 10_000),
            (nameof(MaxTraitBytes), MaxTraitBytes, 16 << 10, 512 << 10),
            (nameof(MaxListItems), MaxListItems, 10, 10_000),
            (nameof(MaxWaiting), MaxWaiting, 100, 50_000),
            (nameof(CachedProfiles), CachedProfiles, 1, 1 << 20),
        })
        {
            if (value < least || value > most)
            {
                yield return $"{Section}:{name} is {value}; allowed are {least} to {most}.";
            }
        }

        foreach ((string name, long value) in new[] { (nameof(RetainEventsMs), RetainEventsMs), (nameof(RetainProfileEventsMs), RetainProfileEventsMs) })
        {
            if (value is not -1 and < 3_600_000)
            {
                yield return $"{Section}:{name} is {value}; allowed are -1 (for ever) and 3600000 (1 h) or more.";
            }
        }

        if (MemoryBytes / 8 * 6 / Shards < 8 * PageOfProfiles && MemoryBytes >= 64 << 20 && Shards >= 1 && MaxIdentifiers is > 0 and <= 8_000)
        {
            yield return $"{Section}:MemoryBytes is {MemoryBytes}; allowed are {8 * PageOfProfiles / 6 * 8 * Shards} or more with {Shards} shards: each holds eight pages, and the largest profile must fit one.";
        }

        if (!int.IsPow2(CachedProfiles))
        {
            yield return $"{Section}:CachedProfiles is {CachedProfiles}; allowed are powers of two.";
        }

        if (string.IsNullOrEmpty(WorkspaceKey))
        {
            yield return $"{Section}:WorkspaceKey is empty; allowed is any text.";
        }
    }

    /// <summary>The largest profile, with a quarter more to grow in place: identifiers, traits, CRM records, states of functions, memberships. 2 MiB with the defaults, 8 at most.</summary>
    private long PageOfProfiles => (long)System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)((((long)MaxIdentifiers * BytesOfIdentifier) + (2L * MaxTraitBytes) + CrmRules.MaxBytes + Pipeline.Segments.SegmentEngine.MaxFunctionBytes + BytesOfMemberships) * 5 / 4));

    internal TraitLimits TraitLimits => new(MaxTraits, MaxTraitBytes, MaxListItems);

    internal StoreSizes ShardSizes => Sizes(MemoryBytes / 8 * 6 / Shards) with { PageBytes = PageOfProfiles };

    internal StoreSizes MapSizes => Sizes(MemoryBytes / 32);

    internal StoreSizes ResolverSizes => Sizes(MemoryBytes / 32);

    internal StoreSizes ResolverProfileSizes => Sizes(MemoryBytes / 16);

    internal StoreSizes RepeatSizes => new(MemoryBytes / 8, Math.Clamp(MemoryBytes / 16, 1 << 20, 1 << 28)); // At tens of millions of ids the index grows to ten times this, and no further.

    /// <summary>The index may grow to ten times what it begins with (<see cref="FasterStore"/>): to a sixth of the pages.</summary>
    private static StoreSizes Sizes(long bytes) => new(bytes, Math.Clamp(bytes / 64, 1 << 20, 1 << 30));
}
