using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline.Identity;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Runtime;

/// <summary>Moves the router.</summary>
internal sealed class RouterRunner : StageRunner
{
    private const string Stage = "route";
    private const int Batch = 512;
    private const int BatchBehind = 4096; // Far behind, questions are rarer: each batch of them waits for a commit.
    private const int BacklogTickMs = 100;

    private readonly EngineLogs _logs;
    private readonly EngineOptions _options;
    private readonly LogEffects _effects;
    private readonly IStateStore _map;
    private readonly IStateStore _repeatStore;
    private readonly RepeatFilter _repeats;
    private readonly Checkpointer<RouterManifest> _checkpointer;
    private readonly ILogReader[] _events;
    private readonly RouterManifest _restored;
    private readonly ILogReader _decisions;
    private readonly Func<bool> _isTooFarAhead;
    private readonly long[] _readAt;
    private long _nextTick;
    private long _ticked = long.MinValue;
    private bool _isHeldUp;

    /// <summary>Restores the router from its newest good checkpoint and from what it appended after it.</summary>
    /// <param name="logs">All logs.</param>
    /// <param name="options">Sizes.</param>
    /// <param name="model">Identifiers and sources.</param>
    /// <param name="home">State.</param>
    /// <param name="schemas">Schema ids.</param>
    /// <param name="nowMs">Wall time: the generation of this run.</param>
    /// <param name="warn">Told which checkpoints were unusable.</param>
    /// <param name="isTooFarAhead">So much waits in a shard that no more is passed on.</param>
    public RouterRunner(EngineLogs logs, EngineOptions options, CdpModel model, IStateHome home, SchemaIds schemas, long nowMs, Action<string> warn, Func<bool> isTooFarAhead)
        : base(Stage, new WorkSignal())
    {
        _isTooFarAhead = isTooFarAhead;
        _logs = logs;
        _options = options;
        List<(long Number, Checkpointer<RouterManifest>.Manifest Manifest)> manifests = [.. Checkpointer<RouterManifest>.Read(Stage, home)];
        RouterManifest? restored = Restore(home, manifests, warn, out _map, out _repeatStore);
        if (restored is null && Enumerable.Range(0, logs.ProfileEvents.Partitions).Any(shard => logs.ProfileEvents.BeginOffset(shard) > 0))
        {
            throw new CheckpointFailedException($"The router has no usable checkpoint, and the log profile-events no longer has its first records: it cannot know which events were passed on, and some would count twice. Put back a copy of the state directory that is younger than {EngineOptions.Section}:RetainProfileEventsMs, or start anew with an empty data directory and import again.");
        }

        if (restored is not null && restored.ShardEnds.Where((end, shard) => end < logs.ProfileEvents.BeginOffset(shard)).Any())
        {
            throw new CheckpointFailedException($"The router's checkpoint is older than what the log profile-events still has: it cannot know which events were passed on, and some would count twice. Put back a copy of the state directory that is younger than {EngineOptions.Section}:RetainProfileEventsMs, or start anew with an empty data directory and import again.");
        }

        RouterManifest manifest = restored ?? new RouterManifest
        {
            Positions = [.. Enumerable.Range(0, logs.Events.Partitions).Select(logs.Events.BeginOffset)],
            ShardEnds = [.. Enumerable.Range(0, logs.ProfileEvents.Partitions).Select(logs.ProfileEvents.BeginOffset)],
            LinksEnd = logs.IdentityLinks.BeginOffset(0),
        };
        _effects = new LogEffects((StageLog.ProfileEvents, logs.ProfileEvents), (StageLog.IdentityLinks, logs.IdentityLinks), (StageLog.DeadLetters, logs.DeadLetters));
        _repeats = new RepeatFilter(_repeatStore, options.DedupWindowMs) { LatestSharedMs = manifest.LatestSharedMs };
        long generation = Math.Max(nowMs, manifest.Generation + 1);
        Router = new Router(model, _map, _repeats, _effects, schemas, new DerivedId(options.WorkspaceKey), logs.ProfileEvents.Partitions, options.Clock, generation, options.MaxWaiting)
        {
            Clock = manifest.Clock,
            ClockSent = long.MinValue,
        };
        _checkpointer = new Checkpointer<RouterManifest>(Stage, home, _effects, [_map, _repeatStore]);
        _checkpointer.Continue(manifests);

        Router.Fence(logs.Events.Partitions, nowMs);
        _effects.WaitDurable(StageLog.ProfileEvents);
        _restored = manifest;
        var waiting = new OrderedDictionary<(int Partition, long Offset), WaitingEvent>(manifest.Waiting.Concat(manifest.Asked.Select(asked => asked with { IsAsked = true })).Select(waiting => KeyValuePair.Create((waiting.Partition, waiting.Offset), waiting)));
        FindRouted(manifest, waiting);
        FindAsked(manifest, waiting);

        _decisions = logs.IdentityMap.OpenReader(0, manifest.MapPosition, Signal);
        long end = logs.IdentityMap.EndOffset(0);
        while (_decisions.TryReadBefore(end, out LogRecord record))
        {
            Router.ApplyDecision(record);
        }

        WaitAgain(waiting.Values.Where(waiting => waiting.IsAsked).OrderBy(waiting => waiting.Partition).ThenBy(waiting => waiting.Offset));
        WaitAgain(waiting.Values.Where(waiting => !waiting.IsAsked));
        _readAt = [.. Enumerable.Repeat(long.MinValue, logs.Events.Partitions)];
        _events = [.. Enumerable.Range(0, logs.Events.Partitions).Select(partition => logs.Events.OpenReader(partition, manifest.Positions[partition], Signal))];
    }

    /// <summary>Partitions of events and of profile-events when a checkpoint was saved last; null before the first.</summary>
    public static (int Events, int Shards)? SavedPartitions(IStateHome home) =>
        Checkpointer<RouterManifest>.Read(Stage, home).Select(saved => ((int, int)?)(saved.Manifest.State.Positions.Length, saved.Manifest.State.ShardEnds.Length)).FirstOrDefault();

    /// <summary>The stage.</summary>
    public Router Router { get; }

    /// <summary>Received → taken by this stage, one value a batch.</summary>
    public LocalHistogram Latency { get; } = new();

    /// <summary>Bytes of its stores in memory and on disk.</summary>
    public (long Memory, long Disk) StateBytes => (_map.MemoryBytes + _repeatStore.MemoryBytes, _map.DiskBytes + _repeatStore.DiskBytes);

    /// <inheritdoc/>
    public override bool IsSaving => _checkpointer.IsRunning;

    /// <inheritdoc/>
    public override bool IsHeldUp => _isHeldUp;

    /// <summary>First offset of a partition of events that is not passed on.</summary>
    public long Position(int partition) => Router.FirstWaiting(partition, _events[partition].Position);

    /// <summary>Offset of the next decision to take.</summary>
    public long DecisionPosition => _decisions.Position;

    /// <summary>Settles the time in all shards where they may be behind it.</summary>
    /// <param name="nowMs">Wall time, before which all that was received is passed on.</param>
    /// <returns>True once that is durable. Ask again until then: a wait here would hold up every event.</returns>
    public Func<bool> FlushClock(long nowMs)
    {
        Router.Settle(nowMs);
        return _effects.UntilDurable();
    }

    /// <inheritdoc/>
    public override bool Step(long nowMs)
    {
        bool worked = Answer();
        bool decided = false;
        long last = 0;
        while (_decisions.TryRead(out LogRecord decision))
        {
            Router.ApplyDecision(decision);
            decided = true;
        }

        if (decided)
        {
            Router.GoOn();
            worked = true;
        }

        _isHeldUp = _isTooFarAhead();
        long readUntil = nowMs; // What is received from now on is behind the ends.
        for (int partition = 0; partition < _events.Length; partition++)
        {
            long end = _logs.Events.EndOffset(partition);
            int batch = _isHeldUp ? 0 : end - _events[partition].Position > 4 * BatchBehind ? BatchBehind : Batch;
            for (int i = 0; i < batch && Router.CanRead && _events[partition].TryRead(out LogRecord record); i++)
            {
                Router.Apply(record);
                worked = true;
                last = record.TimestampMs;
                _readAt[partition] = Math.Max(_readAt[partition], last);
            }

            readUntil = ReadUntil(partition, end, readUntil);
        }

        if (last > 0)
        {
            Latency.ObserveMs(nowMs - last); // One for each batch: its last event.
        }

        Router.SendLinks();
        if (_options.Clock == ClockMode.Event)
        {
            if (!worked && !_isHeldUp && Router.WaitingCount == 0)
            {
                Router.Tick(nowMs);
            }
        }
        else if (nowMs >= _nextTick && readUntil > long.MinValue)
        {
            long time = Router.FirstWaitingMs(readUntil);
            _ticked = Math.Max(_ticked, time); // Records of others may have any time.
            Router.Tick(_ticked);
            _nextTick = nowMs + (time < nowMs ? Math.Min(_options.TickMs, BacklogTickMs) : _options.TickMs);
        }

        Save(nowMs, _options.CheckpointMs);
        return worked;
    }

    /// <inheritdoc/>
    protected override void Begin()
    {
        _checkpointer.Begin(new RouterManifest
        {
            Positions = [.. _events.Select(reader => reader.Position)],
            Waiting = [.. Router.EventsWaiting, .. Router.AskedBefore.Where(asked => asked.Offset >= _events[asked.Partition].Position).Select(asked => new WaitingEvent(asked.Partition, asked.Offset, 0, IsAsked: true, IsUndecided: true))],
            MapPosition = Router.FirstUndecided(_decisions.Position),
            // As long as events of the last run have not come by again, the next restart must find them where this one did.
            ShardEnds = Router.Routed.Count > 0 ? _restored.ShardEnds : [.. Enumerable.Range(0, _logs.ProfileEvents.Partitions).Select(_logs.ProfileEvents.EndOffset)],
            LinksEnd = _logs.IdentityLinks.EndOffset(0),
            Clock = Router.Clock,
            LatestSharedMs = _repeats.LatestSharedMs,
            Generation = Router.Generation,
        });
        _repeats.BeginSave();
    }

    /// <inheritdoc/>
    protected override bool Poll()
    {
        try
        {
            return _checkpointer.Poll();
        }
        finally
        {
            if (!_checkpointer.IsRunning)
            {
                _repeats.EndSave();
            }
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        foreach (ILogReader reader in _events)
        {
            reader.Dispose();
        }

        _decisions.Dispose();
        _effects.Dispose();
        _map.Dispose();
        _repeatStore.Dispose();
        base.Dispose();
    }

    private RouterManifest? Restore(IStateHome home, List<(long Number, Checkpointer<RouterManifest>.Manifest Manifest)> manifests, Action<string> warn, out IStateStore map, out IStateStore repeats)
    {
        foreach ((long number, Checkpointer<RouterManifest>.Manifest manifest) in manifests)
        {
            IStateStore? opened = null;
            try
            {
                opened = home.Open(Stage, "map", StoreKind.Updated, _options.MapSizes, manifest.Stores[0]);
                repeats = home.Open(Stage, "repeats", StoreKind.AppendOnly, _options.RepeatSizes, manifest.Stores[1]);
                map = opened;
                return manifest.State;
            }
            catch (CheckpointFailedException error)
            {
                opened?.Dispose();
                warn($"Checkpoint {number} of the router is not usable: {error.Message}");
            }
        }

        map = home.Open(Stage, "map", StoreKind.Updated, _options.MapSizes, null);
        repeats = home.Open(Stage, "repeats", StoreKind.AppendOnly, _options.RepeatSizes, null);
        return null;
    }

    /// <summary>Up to when the router has read what was received: an event that it has not read is not passed by time that came after it. <see cref="long.MinValue"/>: not known.</summary>
    private long ReadUntil(int partition, long end, long nowMs) => _events[partition].Position < end ? Math.Min(nowMs, _readAt[partition]) : nowMs;

    /// <summary>Reads its own output after the checkpoint: events in it are not passed on again.</summary>
    /// <param name="manifest">The checkpoint.</param>
    /// <param name="waiting">What waited then; what was passed on goes from it.</param>
    private void FindRouted(RouterManifest manifest, OrderedDictionary<(int Partition, long Offset), WaitingEvent> waiting)
    {
        for (int shard = 0; shard < _logs.ProfileEvents.Partitions; shard++)
        {
            using ILogReader reader = _logs.ProfileEvents.OpenReader(shard, Math.Max(manifest.ShardEnds[shard], _logs.ProfileEvents.BeginOffset(shard)));
            long end = _logs.ProfileEvents.EndOffset(shard);
            var fences = new Dictionary<int, long>();
            while (reader.TryReadBefore(end, out LogRecord record))
            {
                if (!WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) || !ProfileEvent.TryRead(body, out ProfileEvent routed))
                {
                    continue;
                }

                if (routed.Kind == ProfileEventKind.Fence)
                {
                    fences[routed.OriginPartition] = routed.Generation;
                }

                if (routed.Kind != ProfileEventKind.Event || routed.Generation < fences.GetValueOrDefault(routed.OriginPartition, long.MinValue))
                {
                    continue; // Shards do not take what an older run wrote behind a fence.
                }

                (int, long) origin = (routed.OriginPartition, routed.OriginOffset);
                if (waiting.TryGetValue(origin, out WaitingEvent known) && known.IsUndecided && routed.OriginOffset < manifest.Positions[routed.OriginPartition])
                {
                    Router.Routed.Add(origin); // Its messageId is not taken in yet: it stays among them for that.
                    continue;
                }

                if (waiting.Remove(origin))
                {
                    Router.Clock = Math.Max(Router.Clock, Math.Max(routed.EventTime, routed.Now)); // It does not come by again.
                }

                if (routed.OriginOffset >= manifest.Positions[routed.OriginPartition])
                {
                    Router.Routed.Add(origin);
                }
            }
        }
    }

    /// <summary>Reads its own questions after the checkpoint: such an event must get the same answer again, with the merges that its shard waits for.</summary>
    /// <param name="manifest">The checkpoint.</param>
    /// <param name="waiting">What waited then and is not passed on. What was asked about meanwhile waits, too.</param>
    private void FindAsked(RouterManifest manifest, OrderedDictionary<(int Partition, long Offset), WaitingEvent> waiting)
    {
        using ILogReader reader = _logs.IdentityLinks.OpenReader(0, Math.Max(manifest.LinksEnd, _logs.IdentityLinks.BeginOffset(0)));
        long end = _logs.IdentityLinks.EndOffset(0);
        while (reader.TryReadBefore(end, out LogRecord record))
        {
            if (!WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) || !IdentityLink.TryRead(body, out IdentityLink link) || link.Kind != LinkKind.Link)
            {
                continue;
            }

            (int, long) origin = (link.OriginPartition, link.OriginOffset);
            if (waiting.TryGetValue(origin, out WaitingEvent known))
            {
                waiting[origin] = known with { IsAsked = true };
            }
            else if (link.OriginOffset >= manifest.Positions[link.OriginPartition] && !Router.Routed.Contains(origin))
            {
                waiting[origin] = new WaitingEvent(link.OriginPartition, link.OriginOffset, link.Now, IsAsked: true, IsUndecided: false);
            }
        }

        Router.AskedBefore.UnionWith(waiting.Where(waiting => waiting.Value.IsAsked).Select(waiting => waiting.Key));
    }

    /// <param name="waiting">Of each partition in the order of its log.</param>
    private void WaitAgain(IEnumerable<WaitingEvent> waiting)
    {
        var readers = new ILogReader?[_logs.Events.Partitions];
        try
        {
            foreach (WaitingEvent next in waiting)
            {
                ILogReader reader = readers[next.Partition] ??= _logs.Events.OpenReader(next.Partition, next.Offset);
                while (reader.TryReadBefore(next.Offset + 1, out LogRecord record))
                {
                    if (record.Offset == next.Offset)
                    {
                        Router.WaitAgain(record, next, isRead: next.Offset < _restored.Positions[next.Partition]);
                    }
                }
            }
        }
        finally
        {
            foreach (ILogReader? reader in readers)
            {
                reader?.Dispose();
            }
        }
    }
}

/// <summary>What a checkpoint of the router holds beyond its stores.</summary>
internal sealed record RouterManifest
{
    /// <summary>Where to read each partition of events.</summary>
    public long[] Positions { get; init; } = [];

    /// <summary>Where to read identity-map.</summary>
    public long MapPosition { get; init; }

    /// <summary>Of each partition of profile-events: what was passed on of the events that wait, or from <see cref="Positions"/> on, stands behind it.</summary>
    public long[] ShardEnds { get; init; } = [];

    /// <summary>Durable end of identity-links.</summary>
    public long LinksEnd { get; init; }

    /// <summary>Events that are not passed on yet, in the order in which they may be; of those that were asked about, some may not have been read: their offsets are not below <see cref="Positions"/>.</summary>
    public IReadOnlyList<WaitingEvent> Waiting { get; init; } = [];

    /// <summary>Of older checkpoints, whose <see cref="Positions"/> are those of the first that wait: events that wait for an answer.</summary>
    public IReadOnlyList<WaitingEvent> Asked { get; init; } = [];

    /// <summary>Latest event time.</summary>
    public long Clock { get; init; } = long.MinValue;

    /// <summary>Of the filter of repeats.</summary>
    public long LatestSharedMs { get; init; } = long.MinValue;

    /// <summary>Of the run that saved.</summary>
    public long Generation { get; init; }
}

/// <summary>An event that waits in the router.</summary>
/// <param name="Partition">Of events.</param>
/// <param name="Offset">In it.</param>
/// <param name="Now">The event clock when it came, Unix ms; 0 with ticks of wall time.</param>
/// <param name="IsAsked">For an answer of the resolver; else behind one that does.</param>
/// <param name="IsUndecided">It is open whether it is a dead letter: its messageId is not taken in.</param>
internal readonly record struct WaitingEvent(int Partition, long Offset, long Now, bool IsAsked, bool IsUndecided);
