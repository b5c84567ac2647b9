using StreamCdp.Engine.Logs;

namespace StreamCdp.Engine.Runtime;

/// <summary>The logs of DESIGN §5.4, opened with their settings.</summary>
internal sealed class EngineLogs
{
    private const long LongMs = 10L * 366 * 24 * 3600 * 1000;

    /// <summary>Opens all, making those that are missing.</summary>
    public EngineLogs(ILogStore store, EngineOptions options)
    {
        Events = OpenEvents(store, options);
        IdentityLinks = store.Open(new LogDefinition("identity-links", 1, LogCleanup.Delete, LongMs, IsReadOnce: true));
        IdentityMap = store.Open(new LogDefinition("identity-map", 1, LogCleanup.Compact));
        ProfileEvents = store.Open(new LogDefinition("profile-events", options.Shards, LogCleanup.Delete, options.RetainProfileEventsMs, IsReadOnce: true));
        Profiles = store.Open(new LogDefinition("profiles", options.Shards, LogCleanup.Compact));
        Memberships = store.Open(new LogDefinition("memberships", options.Shards, LogCleanup.Compact));
        Models = store.Open(new LogDefinition("models", 1, LogCleanup.Compact));
        DeadLetters = OpenDeadLetters(store);
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

    /// <summary>Each log.</summary>
    public IEnumerable<ILog> All => [Events, IdentityLinks, IdentityMap, ProfileEvents, Profiles, Memberships, Models, DeadLetters];
}
