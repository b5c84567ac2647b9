using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Runtime;

/// <summary>Moves the profiler of one shard.</summary>
internal sealed class ProfilerRunner : StageRunner
{
    private const int FarBehind = 10_000;

    private readonly EngineLogs _logs;
    private readonly EngineOptions _options;
    private readonly int _shard;
    private readonly LogEffects _effects;
    private readonly IStateStore _store;
    private readonly Checkpointer<ProfilerManifest> _checkpointer;
    private readonly ILogReader _records;
    private readonly TimeProvider _time;
    private readonly long _emittedFrom;

    /// <summary>Restores a shard from its newest good checkpoint; its log does the rest.</summary>
    public ProfilerRunner(int shard, EngineLogs logs, EngineOptions options, CdpModel model, Func<ulong, CdpModel> models, IStateHome home, SchemaIds schemas, TimeProvider time, Action<string> warn)
        : base($"profile {shard}", new WorkSignal())
    {
        _logs = logs;
        _options = options;
        _shard = shard;
        _time = time;
        string stage = $"profile-{shard}";
        List<(long Number, Checkpointer<ProfilerManifest>.Manifest Manifest)> manifests = [.. Checkpointer<ProfilerManifest>.Read(stage, home)];
        ProfilerManifest? manifest = Restore(stage, home, manifests, warn, out _store);
        _effects = new LogEffects((StageLog.ProfileEvents, logs.ProfileEvents), (StageLog.Profiles, logs.Profiles), (StageLog.Memberships, logs.Memberships));
        if (manifest is null && logs.ProfileEvents.BeginOffset(shard) > 0)
        {
            throw new CheckpointFailedException($"Shard {shard} has no usable checkpoint, and the log profile-events no longer has its first records: profiles would be incomplete. Put back a copy of the state directory that is younger than {EngineOptions.Section}:RetainProfileEventsMs, or start anew with an empty data directory and import again.");
        }

        CdpModel first = manifest is null ? model : models(manifest.Snapshot.ModelVersion);
        Profiler = new Profiler(shard, logs.ProfileEvents.Partitions, first, models, _store, _effects, schemas, options.CachedProfiles, options.TraitLimits);
        Profiler.Restore(manifest?.Snapshot);
        _emittedFrom = manifest?.MembershipsEnd ?? logs.Memberships.BeginOffset(shard);
        FindEmitted();
        _checkpointer = new Checkpointer<ProfilerManifest>(stage, home, _effects, [_store]);
        _checkpointer.Continue(manifests);
        _records = logs.ProfileEvents.OpenReader(shard, manifest?.Position ?? 0, Signal);
    }

    /// <summary>The stage.</summary>
    public Profiler Profiler { get; }

    /// <summary>Its partition of profile-events.</summary>
    public int Shard => _shard;

    /// <summary>Offset of the next record.</summary>
    public long Position => _records.Position;

    /// <summary>Records that wait for it.</summary>
    public long Lag => Math.Max(0, _logs.ProfileEvents.EndOffset(_shard) - _records.Position);

    /// <summary>More records wait behind merges than may, and shards still read what will let them go. Where all is read nothing is won by waiting.</summary>
    public static bool AreFarBehind(ProfilerRunner[] shards, int mostQueued) => Array.Exists(shards, shard => shard.Profiler.QueuedCount > mostQueued) && Array.Exists(shards, shard => shard.Lag > 0);

    /// <summary>Received → membership appended.</summary>
    public LocalHistogram Latency { get; } = new();

    /// <summary>Received → taken by this stage, one value a batch.</summary>
    public LocalHistogram StageLatency { get; } = new();

    /// <summary>Bytes of its store in memory and on disk.</summary>
    public (long Memory, long Disk) StateBytes => (_store.MemoryBytes, _store.DiskBytes);

    /// <summary>Records of one step. No output depends on it.</summary>
    public int Batch { get; set; } = 512;

    /// <summary>Timers and profiles of one step: about 1 ms. No output depends on it.</summary>
    public int Part { get; set; } = 256;

    /// <inheritdoc/>
    public override bool IsSaving => _checkpointer.IsRunning;

    /// <summary>Whether everything that the shard appended so far is durable, and so can be read.</summary>
    public Func<bool> Outputs() => _effects.UntilDurable();

    /// <inheritdoc/>
    public override bool Step(long nowMs)
    {
        bool worked = Answer();
        long last = 0;
        Profiler.IsBehind = Lag > FarBehind;
        for (int i = 0; i < Batch && _records.TryRead(out LogRecord record); i++)
        {
            Profiler.Apply(record);
            worked = true;
            last = record.TimestampMs;
        }

        if (last > 0)
        {
            StageLatency.ObserveMs(nowMs - last); // One for each batch: its last record.
        }

        if (Profiler.HasWork)
        {
            Profiler.WorkOff(Part);
            worked = true;
        }

        if (Profiler.EmittedFor.Count > 0)
        {
            long now = _time.GetUtcNow().ToUnixTimeMilliseconds();
            foreach (long receivedAt in Profiler.EmittedFor)
            {
                Latency.ObserveMs(now - receivedAt);
            }

            Profiler.EmittedFor.Clear();
        }

        Save(nowMs, _options.CheckpointMs);

        return worked;
    }

    /// <inheritdoc/>
    protected override void Begin()
    {
        Profiler.QueueFlush();
        _checkpointer.Begin(new ProfilerManifest
        {
            Position = _records.Position,
            // As long as changes of the last run have not come by again, the next restart must find them where this one did.
            MembershipsEnd = Profiler.Emitted.Count > 0 ? _emittedFrom : _logs.Memberships.EndOffset(_shard),
            Snapshot = Profiler.Save(),
        });
    }

    /// <inheritdoc/>
    protected override bool Poll() => !Profiler.IsFlushing && _checkpointer.Poll(); // Changed profiles are in their log before the position behind them counts.

    /// <inheritdoc/>
    public override void Dispose()
    {
        _records.Dispose();
        _effects.Dispose();
        Profiler.Dispose();
        _store.Dispose();
        base.Dispose();
    }

    private ProfilerManifest? Restore(string stage, IStateHome home, List<(long Number, Checkpointer<ProfilerManifest>.Manifest Manifest)> manifests, Action<string> warn, out IStateStore store)
    {
        foreach ((long number, Checkpointer<ProfilerManifest>.Manifest manifest) in manifests)
        {
            try
            {
                store = home.Open(stage, "profiles", StoreKind.Updated, _options.ShardSizes, manifest.Stores[0]);
                return manifest.State;
            }
            catch (CheckpointFailedException error)
            {
                warn($"Checkpoint {number} of shard {_shard} is not usable: {error.Message}");
            }
        }

        store = home.Open(stage, "profiles", StoreKind.Updated, _options.ShardSizes, null);
        return null;
    }

    /// <summary>Reads its own output after the checkpoint: those changes are not appended again. Compaction may have left only the last of them; each before it was appended, too.</summary>
    private void FindEmitted()
    {
        using ILogReader reader = _logs.Memberships.OpenReader(_shard, _emittedFrom);
        long end = _logs.Memberships.EndOffset(_shard);
        while (reader.TryReadBefore(end, out LogRecord record))
        {
            if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && SegmentMembership.TryRead(body, out SegmentMembership membership))
            {
                Profiler.Emitted[membership.ProfileId] = Math.Max(membership.Version, Profiler.Emitted.GetValueOrDefault(membership.ProfileId));
            }
        }
    }
}

/// <summary>What a checkpoint of a shard holds beyond its store.</summary>
internal sealed record ProfilerManifest
{
    /// <summary>Where to read profile-events.</summary>
    public long Position { get; init; }

    /// <summary>Durable end of memberships.</summary>
    public long MembershipsEnd { get; init; }

    /// <summary>State besides the store.</summary>
    public required ProfilerSnapshot Snapshot { get; init; }
}
