using StreamCdp.Engine.Logs;

namespace StreamCdp.Engine.Runtime;

/// <summary>The logs of DESIGN §5.4, opened with their settings.</summary>
internal sealed class EngineLogs
{
    private const long LongMs = 10L * 366 * 24 * 3600 * 1000;

    /// <summary>Opens all, making those that are missing.</summary>
    /// <exception cref="LogUnfitException">An output has fewer partitions than there are shards.</exception>
    public EngineLogs(ILogStore store, EngineOptions options)
    {
        Events = OpenEvents(store, options);
        IdentityLinks = store.Open(new LogDefinition("identity-links", 1, LogCleanup.Delete, LongMs, IsReadOnce: true));
        IdentityMap = store.Open(new LogDefinition("identity-map", 1, LogCleanup.Compact));
        ProfileEvents = store.Open(new LogDefinition("profile-events", options.Shards, LogCleanup.Delete, options.RetainProfileEventsMs, IsReadOnce: true));
        Profiles = store.Open(new LogDefinition("profiles", ProfileEvents.Partitions, LogCleanup.Compact));
        Memberships = store.Open(new LogDefinition("memberships", ProfileEvents.Partitions, LogCleanup.Compact));
        Models = store.Open(new LogDefinition("models", 1, LogCleanup.Compact));
        DeadLetters = OpenDeadLetters(store);
        foreach (ILog output in (ILog[])[Profiles, Memberships])
        {
            if (output.Partitions < ProfileEvents.Partitions) // More do no harm: they stay empty.
            {
                throw new LogUnfitException(
                    $"Log {output.Name} has {Count(output.Partitions)} and profile-events has {ProfileEvents.Partitions}; needed are as many, because a shard writes to the partition of its own number. "
                    + $"Give {output.Name} {Count(ProfileEvents.Partitions)} (Kafka: kafka-topics.sh --alter --topic <prefix>{output.Name} --partitions {ProfileEvents.Partitions}), or put back the copy of the logs that belong together.");
            }
        }
    }

    /// <summary>What happened, by sender.</summary>
    public ILog Events { get; }

    /// <summary>Questions to the resolver.</summary>
    public ILog IdentityLinks { get; }

    /// <summary>Its answers.</summary>
    public ILog IdentityMap { get; }

    /// <summary>Events and commands, by profile.</summary>
    public ILog ProfileEvents { get; }

    /// <summary>Profiles.</summary>
    public ILog Profiles { get; }

    /// <summary>Membership changes.</summary>
    public ILog Memberships { get; }

    /// <summary>Versions of the model.</summary>
    public ILog Models { get; }

    /// <summary>Refused events.</summary>
    public ILog DeadLetters { get; }

    /// <summary>Opens <c>events</c> alone, for a process that only collects.</summary>
    public static ILog OpenEvents(ILogStore store, EngineOptions options) => store.Open(new LogDefinition("events", options.EventPartitions, LogCleanup.Delete, options.RetainEventsMs));

    /// <summary>Opens <c>dead-letters</c> alone, for a process that only collects.</summary>
    public static ILog OpenDeadLetters(ILogStore store) => store.Open(new LogDefinition("dead-letters", 1, LogCleanup.Delete, LongMs));

    /// <summary>Refuses logs that got more or fewer partitions than they had when the state was saved: people would change shard, and devices their order.</summary>
    /// <param name="events">Partitions of events then.</param>
    /// <param name="shards">Partitions of profile-events then.</param>
    /// <exception cref="LogUnfitException">They did.</exception>
    public void MustBeAsSaved(int events, int shards)
    {
        Check(Events, events, "a device would go on in another partition, and its events lose their order");
        Check(ProfileEvents, shards, "people would be looked for in shards that do not have them");

        static void Check(ILog log, int saved, string consequence)
        {
            if (log.Partitions != saved)
            {
                throw new LogUnfitException(
                    $"Log {log.Name} has {Count(log.Partitions)}; needed are {saved}, as when the state was saved: else {consequence}. The number cannot be changed later, and Kafka cannot take partitions away: "
                    + "put back the logs as they were, or start with another StreamCdp:Kafka:TopicPrefix and an empty data directory, and import again.");
            }
        }
    }

    private static string Count(int partitions) => partitions == 1 ? "1 partition" : $"{partitions} partitions";

    /// <summary>Each log.</summary>
    public IEnumerable<ILog> All => [Events, IdentityLinks, IdentityMap, ProfileEvents, Profiles, Memberships, Models, DeadLetters];
}
