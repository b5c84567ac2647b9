using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Identity;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Engine.Runtime;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;
using StreamCdp.Simulation.Tests.Generators;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>The real stages on simulated logs and a simulated disk, moved by one seeded hand: any order, commits, checkpoints and crashes at any moment.</summary>
internal sealed class SimulatedEngine : IDisposable
{
    private const int FewQueued = 3;

    private readonly SimulatedLogs _logs = new();
    private readonly Dictionary<UInt128, SortedDictionary<long, OracleChange>> _changes = [];
    private MemoryStateHome _home = new();
    private readonly EngineOptions _options;
    private readonly Dictionary<ulong, CdpModel> _models = [];
    private readonly SettableTime _time = new();
    private CdpModel _model;
    private ILogWriter _events = null!;
    private EngineLogs _opened = null!;
    private RouterRunner _router = null!;
    private ResolverRunner _resolver = null!;
    private ProfilerRunner[] _shards = [];
    private BackfillRunner _backfill = null!;
    private byte[] _buffer = new byte[1024];
    private int _mostQueued = FewQueued; // In a shard: so the router is held up now and then.
    private long _generation;
    private long _begun;

    public SimulatedEngine(CdpModel model, OracleClock clock, TimeSpan dedupWindow, int shards, long tickMs = long.MaxValue / 4, int eventPartitions = 1)
    {
        _model = _models[model.Version] = model;
        _options = new EngineOptions
        {
            Shards = shards,
            EventPartitions = eventPartitions,
            Clock = clock == OracleClock.Event ? ClockMode.Event : ClockMode.Wall,
            DedupWindowMs = (long)dedupWindow.TotalMilliseconds,
            CheckpointMs = long.MaxValue / 4,
            TickMs = tickMs,
            CachedProfiles = 2, // Profiles go out of the cache and come back all the time.
        };
        Open();
    }

    /// <summary>Crashes so far.</summary>
    public int Crashes { get; private set; }

    /// <summary>Identifiers left out by a rule since the last start, whoever found it.</summary>
    public long Rejected(string rule) => _router.Router.Rejections.GetValueOrDefault(rule) + _resolver.Resolver.Rejections[rule];

    /// <summary>All stages.</summary>
    private IEnumerable<StageRunner> Runners => [_router, _resolver, .. _shards];

    public void Feed(OracleEvent e, int partition = 0)
    {
        var record = new CustomerEvent
        {
            Source = Encoding.UTF8.GetBytes(e.SourceId),
            ReceivedAt = e.ReceivedAtMs,
            SentAt = e.BatchSentAtMs,
            Import = e.Import,
            Context = e.BatchContextJson is null ? default : Encoding.UTF8.GetBytes(e.BatchContextJson),
            Payload = Encoding.UTF8.GetBytes(e.Json),
        };
        int end = record.WriteTo(ref _buffer, WireFormat.WriteHeader(ref _buffer, 0, SchemaIds.BuiltIn[RecordType.CustomerEvent]));
        _events.WaitDurable(_events.Append(partition, default, _buffer.AsSpan(0, end), e.ReceivedAtMs));
    }

    /// <summary>A tick of the wall clock, after all before it is done.</summary>
    public void Tick(long nowMs)
    {
        Quiet();
        _router.Router.Tick(nowMs);
        Quiet();
    }

    /// <summary>Starts again with another model, as the engine does: with a marker in each shard's log, and one for the resolver.</summary>
    public void ChangeModel(CdpModel model)
    {
        Quiet();
        foreach (StageRunner runner in Runners)
        {
            runner.BeginCheckpoint(0);
        }

        Quiet();
        using (ILogWriter shards = _opened.ProfileEvents.OpenWriter())
        using (ILogWriter links = _opened.IdentityLinks.OpenWriter())
        {
            int end = new ProfileEvent { Kind = ProfileEventKind.Model, Generation = (long)model.Version }.WriteTo(ref _buffer, WireFormat.WriteHeader(ref _buffer, 0, SchemaIds.BuiltIn[RecordType.ProfileEvent]));
            for (int shard = 0; shard < _options.Shards; shard++)
            {
                shards.Append(shard, default, _buffer.AsSpan(0, end), 0);
            }

            end = new IdentityLink { Kind = LinkKind.Model, ModelVersion = (long)model.Version }.WriteTo(ref _buffer, WireFormat.WriteHeader(ref _buffer, 0, SchemaIds.BuiltIn[RecordType.IdentityLink]));
            links.Append(0, default, _buffer.AsSpan(0, end), 0);
            _logs.CommitAll();
        }

        foreach (StageRunner runner in Runners)
        {
            runner.Dispose();
        }

        _backfill.Dispose();
        _model = _models[model.Version] = model;
        Open();
        Quiet();
    }

    /// <summary>Lets history be counted for another model, which is served when that is done.</summary>
    public void StartBackfill(CdpModel model)
    {
        _models[model.Version] = model;
        _backfill.Start(model, [.. SegmentCompiler.States(model).Keys], ++_begun); // A clock goes on, whatever a crash took.
    }

    /// <summary>Somebody goes back to the model that was started with, while history is counted for another.</summary>
    public void Revert()
    {
        _backfill.Cancel();
        using ILogWriter shards = _opened.ProfileEvents.OpenWriter();
        int end = new ProfileEvent { Kind = ProfileEventKind.Model, Generation = (long)_model.Version }.WriteTo(ref _buffer, WireFormat.WriteHeader(ref _buffer, 0, SchemaIds.BuiltIn[RecordType.ProfileEvent]));
        for (int shard = 0; shard < _options.Shards; shard++)
        {
            shards.Append(shard, default, _buffer.AsSpan(0, end), 0);
        }

        _logs.CommitAll();
    }

    /// <summary>All shards serve this model.</summary>
    public bool IsServed(CdpModel model) => _shards.All(shard => shard.Profiler.Model.Version == model.Version);

    /// <summary>History is being counted.</summary>
    public bool IsBackfilling => _backfill.Target is not null;

    /// <summary>A part of a backfill; it may be cut by a crash.</summary>
    public void MoveBackfill(Choice choice)
    {
        (_backfill.Batch, _backfill.ProfilesOfSlice) = (1 + choice.Below(5), 1 + choice.Below(4));
        _backfill.Step(0);
    }

    /// <summary>What a reader that waits asks for: everything up to and with now.</summary>
    public void Settle()
    {
        Quiet();
        _router.FlushClock(0);
        Quiet();
    }

    /// <summary>A tick of the wall clock after all that was routed before it; how far the shards are is left to <see cref="MoveShards"/>.</summary>
    public void TickAhead(long nowMs)
    {
        Route();
        _router.Router.Tick(nowMs);
    }

    /// <summary>Events that the router has passed on.</summary>
    public long Routed => _router.Position(0);

    /// <summary>Records that wait in shards for somebody who merges.</summary>
    public int Queued => _shards.Sum(shard => shard.Profiler.QueuedCount);

    /// <summary>A step of router and resolver each.</summary>
    public void MoveRouter(long nowMs)
    {
        _logs.CommitAll();
        _router.Step(nowMs);
        _logs.CommitAll();
        _resolver.Step(nowMs);
    }

    /// <summary>A shard does what it has.</summary>
    public void MoveShard(int shard)
    {
        _logs.CommitAll();
        _shards[shard].Step(0);
    }

    /// <summary>Runs router and resolver until they have nothing to do, and the shards not at all.</summary>
    public void Route()
    {
        _mostQueued = int.MaxValue;
        for (int idle = 0; idle < 3;)
        {
            _logs.CommitAll();
            idle = _router.Step(0) | _resolver.Step(0) ? 0 : idle + 1;
        }

        _mostQueued = FewQueued;
    }

    /// <summary>Some shards do a few records and a few timers.</summary>
    public void MoveShards(Choice choice)
    {
        for (int moves = choice.Below(4); moves > 0; moves--)
        {
            _logs.CommitAll();
            StepShard(choice.Of(_shards), choice);
        }
    }

    /// <summary>One random move.</summary>
    public void Move(Choice choice, bool mayCrash)
    {
        int move = choice.Below(100);
        if (mayCrash && move < 2)
        {
            Crash(choice);
        }
        else if (mayCrash && move < 4)
        {
            Compact();
        }
        else if (move < 6)
        {
            choice.Of<StageRunner>([.. Runners]).BeginCheckpoint(0);
        }
        else if (move < 40)
        {
            ((SimulatedLog)choice.Of<ILog>([.. _opened.All])).Commit();
        }
        else if (move < 44)
        {
            _router.Router.Tick(0); // Of the event clock, in a moment in which the router might have been idle.
        }
        else if (choice.Of<StageRunner>([.. Runners]) is ProfilerRunner shard)
        {
            StepShard(shard, choice);
        }
        else
        {
            _ = choice.Percent(50) ? _router.Step(0) : _resolver.Step(0);
        }
    }

    /// <summary>Runs until nothing moves any more.</summary>
    public void Quiet()
    {
        for (int idle = 0; idle < 3;)
        {
            _logs.CommitAll();
            bool worked = false;
            foreach (StageRunner runner in Runners)
            {
                worked |= runner.Step(0);
            }

            worked |= _backfill.Step(0);
            idle = worked ? 0 : idle + 1;
        }
    }

    /// <summary>Retention removes some of what the shards have read; true: there was something.</summary>
    public bool Retain(Choice choice)
    {
        ProfilerRunner shard = choice.Of(_shards);
        long before = _opened.ProfileEvents.BeginOffset(shard.Shard);
        _opened.ProfileEvents.Truncate(shard.Shard, choice.Below((int)shard.Position + 1));
        return _opened.ProfileEvents.BeginOffset(shard.Shard) > before;
    }

    /// <summary>Functions that are not exact for all of history, and say so.</summary>
    public IEnumerable<string> Inexact => _shards.SelectMany(shard => shard.Profiler.FunctionsSince.Keys);

    /// <summary>Saves all stages.</summary>
    public void Checkpoint()
    {
        foreach (StageRunner runner in Runners)
        {
            runner.BeginCheckpoint(0);
        }
    }

    /// <summary>Kills the process: what is not durable may be lost, stores are as they were last saved.</summary>
    public void Crash(Choice choice)
    {
        Crashes++;
        foreach (StageRunner runner in Runners)
        {
            runner.Dispose();
        }

        _backfill.Dispose();

        _logs.Crash(new Random(choice.Below(int.MaxValue)));
        if (choice.Below(4) == 0)
        {
            _home = new MemoryStateHome(); // The disk with the state is gone, too: the logs alone must do.
        }

        Open();
    }

    /// <summary>Compacted logs forget all but the last record of a key.</summary>
    public void Compact()
    {
        Collect();
        foreach (ILog log in _opened.All)
        {
            if (((SimulatedLog)log).Cleanup == LogCleanup.Compact && (log != _opened.IdentityMap || EndsWithOutcome(log)))
            {
                ((SimulatedLog)log).Compact();
            }
        }
    }

    /// <summary>What a crash cut off of a link's decisions is in the segment being written, which no log compacts.</summary>
    private static bool EndsWithOutcome(ILog log)
    {
        bool outcome = true;
        using ILogReader reader = log.OpenReader(0, 0);
        while (reader.TryRead(out LogRecord record))
        {
            Assert.True(WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body));
            Assert.True(IdentityDecision.TryRead(body, out IdentityDecision decision));
            outcome = decision.Kind != DecisionKind.Decision;
        }

        return outcome;
    }

    /// <summary>The profile that an identifier points to: id and document as the query API gives it.</summary>
    public (UInt128 Id, JsonObject Document)? Profile(string type, string value)
    {
        if (!_router.Router.TryFind(Encoding.UTF8.GetBytes(type), Encoding.UTF8.GetBytes(value), out UInt128 id))
        {
            return null;
        }

        Profiler profiler = _shards[CanonicalId.Shard(id, _shards.Length)].Profiler;
        if (!profiler.TryGet(id, out UInt128? redirect, out ProfileState profile))
        {
            Assert.Null(redirect);
            return null;
        }

        return (id, (JsonObject)JsonNode.Parse(Document(profiler, profile))!);
    }

    /// <summary>All profiles by id, as the query API gives them, byte for byte.</summary>
    public SortedDictionary<string, string> Documents()
    {
        var documents = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (Profiler profiler in _shards.Select(shard => shard.Profiler))
        {
            List<UInt128> ids = [];
            using IStoreScan scan = profiler.OpenScan();
            while (Profiler.Next(scan, 100, ids))
            {
            }

            foreach (UInt128 id in ids)
            {
                Assert.True(profiler.TryGet(id, out _, out ProfileState profile));
                documents.Add(CanonicalId.Text(id), Encoding.UTF8.GetString(Document(profiler, profile)));
            }
        }

        return documents;
    }

    private static byte[] Document(Profiler profiler, ProfileState profile)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            ProfileDocument.Write(writer, profile, profiler.Segments, profiler.Now, ProfileParts.Default);
        }

        return stream.ToArray();
    }

    /// <summary>Membership changes by profile, in order of version, repeats included once.</summary>
    public Dictionary<UInt128, List<OracleChange>> Changes()
    {
        Collect();
        return _changes.ToDictionary(changes => changes.Key, changes => changes.Value.Values.ToList());
    }

    /// <summary>Notes the changes that are in the log, before compaction takes some of them.</summary>
    private void Collect()
    {
        var latest = new Dictionary<(UInt128 Profile, string Segment), long>();
        for (int shard = 0; shard < _shards.Length; shard++)
        {
            using ILogReader reader = _opened.Memberships.OpenReader(shard, 0);
            while (reader.TryRead(out LogRecord record))
            {
                Assert.True(WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body));
                Assert.True(SegmentMembership.TryRead(body, out SegmentMembership change));
                if (!_changes.TryGetValue(change.ProfileId, out SortedDictionary<long, OracleChange>? changes))
                {
                    _changes[change.ProfileId] = changes = [];
                }

                // Compaction keeps the last record of a profile and segment: it must be the latest.
                (UInt128, string) key = (change.ProfileId, Encoding.UTF8.GetString(change.Segment));
                Assert.True(latest.GetValueOrDefault(key) <= change.Version, $"Version {change.Version} of {key} stands behind {latest.GetValueOrDefault(key)}.\n{Dump()}");
                latest[key] = change.Version;

                var mapped = new OracleChange(
                    Encoding.UTF8.GetString(change.Segment),
                    change.Change == MembershipChange.Entered,
                    change.At,
                    change.Cause.IsEmpty ? null : Encoding.UTF8.GetString(change.Cause),
                    change.Reason switch { MembershipReason.Time => OracleReason.Time, MembershipReason.Merge => OracleReason.Merge, MembershipReason.Event => OracleReason.Event, _ => OracleReason.Edit });
                if (!changes.TryAdd(change.Version, mapped))
                {
                    Assert.Equal(changes[change.Version], mapped); // A repeat says the same.
                }
            }
        }
    }

    /// <summary>The internal logs as text, to see what happened.</summary>
    public string Dump()
    {
        var text = new StringBuilder();
        foreach (ILog log in (ILog[])[_opened.IdentityLinks, _opened.IdentityMap, _opened.ProfileEvents, _opened.Memberships])
        {
            for (int partition = 0; partition < log.Partitions; partition++)
            {
                using ILogReader reader = log.OpenReader(partition, 0);
                while (reader.TryRead(out LogRecord record))
                {
                    WireFormat.TryRead(record.Value, out int schema, out ReadOnlySpan<byte> body);
                    text.Append($"{log.Name} {partition}:{record.Offset} ");
                    if (schema == (int)RecordType.ProfileEvent && ProfileEvent.TryRead(body, out ProfileEvent e))
                    {
                        text.AppendLine($"{e.Kind} {CanonicalId.Text(e.ProfileId)[..6]} into {CanonicalId.Text(e.Into)[..6]} origin {e.OriginPartition}:{e.OriginOffset} gen {e.Generation} link {e.LinkOffset} merged {e.Merged} requires {e.RequiresLink} from {e.SourceShard}:{e.SourceOffset >> 20}.{e.SourceOffset & 0xFFFFF} now {e.Now} payload {e.Payload.Length}");
                    }
                    else if (schema == (int)RecordType.SegmentMembership && SegmentMembership.TryRead(body, out SegmentMembership change))
                    {
                        text.AppendLine($"{CanonicalId.Text(change.ProfileId)[..6]} {Encoding.UTF8.GetString(change.Segment)} {change.Change} at {change.At} version {change.Version} {change.Reason} source {change.SourceOffset}");
                    }
                    else if (schema == (int)RecordType.IdentityLink && IdentityLink.TryRead(body, out IdentityLink link))
                    {
                        text.AppendLine($"{link.Kind} origin {link.OriginPartition}:{link.OriginOffset} identifiers {link.Identifiers.Count}");
                    }
                    else if (schema == (int)RecordType.IdentityDecision && IdentityDecision.TryRead(body, out IdentityDecision decision))
                    {
                        text.AppendLine($"{decision.Kind} {Encoding.UTF8.GetString(decision.Type)}:{Encoding.UTF8.GetString(decision.Value)} {CanonicalId.Text(decision.ProfileId)[..6]} link {decision.LinkOffset} origin {decision.OriginPartition}:{decision.OriginOffset} merged {decision.Merged} kept {decision.Kept}");
                    }
                }
            }
        }

        return text.ToString();
    }

    public void Dispose()
    {
        foreach (StageRunner runner in Runners)
        {
            runner.Dispose();
        }

        _backfill.Dispose();
    }

    private static void StepShard(ProfilerRunner shard, Choice choice)
    {
        (int batch, int part) = (shard.Batch, shard.Part);
        (shard.Batch, shard.Part) = (choice.Below(4), choice.Below(3));
        shard.Step(0);
        (shard.Batch, shard.Part) = (batch, part);
    }

    private void Open()
    {
        _opened = new EngineLogs(_logs, _options);
        _events = _opened.Events.OpenWriter(); // Of the collector: a crash took the one before.
        List<string> warnings = [];
        _shards = [.. Enumerable.Range(0, _options.Shards).Select(shard => new ProfilerRunner(shard, _opened, _options, _model, version => _models[version], _home, SchemaIds.BuiltIn, _time, warnings.Add))];
        _backfill = new BackfillRunner(_opened, _shards, version => _models[version], _home, SchemaIds.BuiltIn);
        _resolver = new ResolverRunner(_opened, _options, _model, version => _models[version], _home, SchemaIds.BuiltIn, 0, warnings.Add);
        _router = new RouterRunner(_opened, _options, _model, _home, SchemaIds.BuiltIn, ++_generation, warnings.Add, () => ProfilerRunner.AreFarBehind(_shards, _mostQueued));
        Assert.Empty(warnings);
    }

    private sealed class SettableTime : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch;
    }
}
