using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline.Identity;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Runtime;

/// <summary>Moves the resolver.</summary>
internal sealed class ResolverRunner : StageRunner
{
    private const string Stage = "resolve";
    private const int Batch = 512;

    private readonly EngineLogs _logs;
    private readonly EngineOptions _options;
    private readonly LogEffects _effects;
    private readonly IStateStore _identifiers;
    private readonly IStateStore _profiles;
    private readonly Checkpointer<ResolverManifest> _checkpointer;
    private readonly ILogReader _links;

    /// <summary>Restores the resolver from its newest good checkpoint and from what it decided after it.</summary>
    public ResolverRunner(EngineLogs logs, EngineOptions options, CdpModel model, Func<ulong, CdpModel> models, IStateHome home, SchemaIds schemas, long nowMs, Action<string> warn)
        : base(Stage, new WorkSignal())
    {
        _logs = logs;
        _options = options;
        List<(long Number, Checkpointer<ResolverManifest>.Manifest Manifest)> manifests = [.. Checkpointer<ResolverManifest>.Read(Stage, home)];
        ResolverManifest? manifest = Restore(home, manifests, warn, out _identifiers, out _profiles);
        _effects = new LogEffects((StageLog.IdentityMap, logs.IdentityMap), (StageLog.ProfileEvents, logs.ProfileEvents));
        CdpModel first = manifest is null ? model : models(manifest.ModelVersion);
        Resolver = new Resolver(first, models, _identifiers, _profiles, _effects, schemas, new DerivedId(options.WorkspaceKey), logs.ProfileEvents.Partitions, options.MaxIdentifiers);
        if (manifest is not null)
        {
            Resolver.Restore(manifest.LastLink, manifest.Outcomes);
        }

        using (ILogReader decided = logs.IdentityMap.OpenReader(0, manifest?.MapPosition ?? 0))
        {
            long end = logs.IdentityMap.EndOffset(0);
            while (decided.TryReadBefore(end, out LogRecord record))
            {
                Resolver.Replay(record);
            }
        }

        _checkpointer = new Checkpointer<ResolverManifest>(Stage, home, _effects, [_identifiers, _profiles]);
        _checkpointer.Continue(manifests);
        _links = logs.IdentityLinks.OpenReader(0, Math.Max(Resolver.LastLink + 1, logs.IdentityLinks.BeginOffset(0)), Signal);
    }

    /// <summary>The stage.</summary>
    public Resolver Resolver { get; }

    /// <summary>Offset of the next link to decide on.</summary>
    public long Position => _links.Position;

    /// <summary>Asked → decided, one value a batch.</summary>
    public LocalHistogram Latency { get; } = new();

    /// <summary>Bytes of its stores in memory and on disk.</summary>
    public (long Memory, long Disk) StateBytes => (_identifiers.MemoryBytes + _profiles.MemoryBytes, _identifiers.DiskBytes + _profiles.DiskBytes);

    /// <inheritdoc/>
    public override bool IsSaving => _checkpointer.IsRunning;

    /// <inheritdoc/>
    public override bool Step(long nowMs)
    {
        bool worked = Answer();
        long last = 0;
        for (int i = 0; i < Batch && _links.TryRead(out LogRecord link); i++)
        {
            Resolver.Apply(link);
            worked = true;
            last = link.TimestampMs;
        }

        if (last > 0)
        {
            Latency.ObserveMs(nowMs - last); // One for each batch: its last link.
        }

        Resolver.Flush(nowMs);
        Save(nowMs, _options.CheckpointMs);

        return worked;
    }

    /// <inheritdoc/>
    protected override void Begin()
    {
        _checkpointer.Begin(new ResolverManifest
        {
            MapPosition = _logs.IdentityMap.EndOffset(0),
            LastLink = Resolver.LastLink,
            ModelVersion = Resolver.ModelVersion,
            Outcomes = [.. Resolver.RecentOutcomes],
        });
    }

    /// <inheritdoc/>
    protected override bool Poll() => _checkpointer.Poll();

    /// <inheritdoc/>
    public override void Dispose()
    {
        _links.Dispose();
        _effects.Dispose();
        _identifiers.Dispose();
        _profiles.Dispose();
        base.Dispose();
    }

    private ResolverManifest? Restore(IStateHome home, List<(long Number, Checkpointer<ResolverManifest>.Manifest Manifest)> manifests, Action<string> warn, out IStateStore identifiers, out IStateStore profiles)
    {
        foreach ((long number, Checkpointer<ResolverManifest>.Manifest manifest) in manifests)
        {
            IStateStore? opened = null;
            try
            {
                opened = home.Open(Stage, "identifiers", StoreKind.Updated, _options.ResolverSizes, manifest.Stores[0]);
                profiles = home.Open(Stage, "profiles", StoreKind.Updated, _options.ResolverProfileSizes, manifest.Stores[1]);
                identifiers = opened;
                return manifest.State;
            }
            catch (CheckpointFailedException error)
            {
                opened?.Dispose();
                warn($"Checkpoint {number} of the resolver is not usable: {error.Message}");
            }
        }

        identifiers = home.Open(Stage, "identifiers", StoreKind.Updated, _options.ResolverSizes, null);
        profiles = home.Open(Stage, "profiles", StoreKind.Updated, _options.ResolverProfileSizes, null);
        return null;
    }
}

/// <summary>What a checkpoint of the resolver holds beyond its stores.</summary>
internal sealed record ResolverManifest
{
    /// <summary>Durable end of identity-map: its own decisions after it are taken from there.</summary>
    public long MapPosition { get; init; }

    /// <summary>Last link decided on; where identity-map has later outcomes, those count.</summary>
    public long LastLink { get; init; } = -1;

    /// <summary>Model that decided.</summary>
    public ulong ModelVersion { get; init; }

    /// <summary>Recent outcomes, oldest first.</summary>
    public IReadOnlyList<Resolver.Outcome> Outcomes { get; init; } = [];
}
