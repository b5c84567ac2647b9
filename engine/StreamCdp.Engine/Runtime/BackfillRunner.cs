using System.Text.Json;
using System.Text.Json.Serialization;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Runtime;

/// <summary>Counts history again for rules that have not seen all of it, while the shards go on, and then lets all of them switch (adr/0011).</summary>
/// <remarks>
/// The retained events of the shards' own logs are counted by the profile that they were routed to; merges need no care, because states of the same person are joined in any order, wherever the profile
/// went since. All that a shard needs is in its log, so that a replay does the same. After a crash it goes on where it was: the log says what was written.
/// Memory: a slice of the profiles at a time, about <see cref="ProfilesOfSlice"/> of them; the logs are read once for each slice.
/// </remarks>
internal sealed class BackfillRunner : StageRunner
{
    private const string Stage = "backfill";
    private const int MostAhead = 1_000;
    private const int Hops = 2;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly EngineLogs _logs;
    private readonly IReadOnlyList<ProfilerRunner> _shards;
    private readonly Func<ulong, CdpModel> _models;
    private readonly IStateHome _home;
    private readonly SchemaIds _schemas;
    private readonly ILogWriter _writer;
    private readonly Dictionary<UInt128, byte[]> _counted = [];
    private readonly HashSet<UInt128> _written = [];
    private readonly Dictionary<int, long> _fences = [];
    private readonly ProfileState _profile = new();
    private BackfillState? _state;
    private SegmentEngine? _engine;
    private EventScan? _scan;
    private ILogReader? _reader;
    private Dictionary<UInt128, byte[]>.Enumerator _toWrite;
    private bool _isWriting;
    private byte[] _buffer = new byte[4096];
    private byte[] _payload = new byte[4096];
    private byte[] _record = new byte[4096];
    private long _number;
    private int _readShard;
    private bool _isAppended;
    private bool _isLooking;
    private (int Hops, long[] Ends)? _arrival;

    /// <summary>Goes on with what an earlier run began, when it is moved.</summary>
    public BackfillRunner(EngineLogs logs, IReadOnlyList<ProfilerRunner> shards, Func<ulong, CdpModel> models, IStateHome home, SchemaIds schemas)
        : base(Stage, new WorkSignal())
    {
        (_logs, _shards, _models, _home, _schemas) = (logs, shards, models, home, schemas);
        _writer = logs.ProfileEvents.OpenWriter();
        _state = Saved(home);
        _number = _home.Manifests(Stage).Select(manifest => manifest.Number).DefaultIfEmpty().Max();
        _isLooking = _state is not null;
    }

    /// <summary>Records of one step. No output depends on it.</summary>
    public int Batch { get; set; } = 2_000;

    /// <summary>Profiles that are counted at a time.</summary>
    public int ProfilesOfSlice { get; set; } = 250_000;

    /// <summary>How far it is; null: there is none.</summary>
    public BackfillStatus? Status { get; private set; }

    /// <summary>The model that is served when the one under way is done; null: none is.</summary>
    public ulong? Target => _state?.Plan.ModelVersion;

    /// <inheritdoc/>
    public override bool IsSaving => false;

    /// <summary>The backfill that an earlier run began and did not end; null: none.</summary>
    private static BackfillState? Saved(IStateHome home)
    {
        foreach ((long _, byte[] json) in home.Manifests(Stage))
        {
            try
            {
                return JsonSerializer.Deserialize(json, BackfillStateJson.Default.BackfillState) is { Phase: not BackfillPhase.Done } state ? state : null;
            }
            catch (JsonException)
            {
                // Cut by a crash before it was renamed into place: the older one counts.
            }
        }

        return null;
    }

    /// <summary>Begins; on this stage's thread. One that is under way ends without a result.</summary>
    /// <param name="model">Served when it is done; the log <c>models</c> has it.</param>
    /// <param name="states">Of that model, by <see cref="CompiledFunction.Shared"/>.</param>
    /// <param name="nowMs">Wall time; ids grow with it.</param>
    public void Start(CdpModel model, IReadOnlyList<string> states, long nowMs)
    {
        long id = Math.Max(nowMs, _shards.Max(shard => Math.Max(shard.Profiler.Epoch, Math.Max(shard.Profiler.Prepared?.Id ?? 0, shard.Profiler.Finished?.Id ?? 0))) + 1);
        id = Math.Max(id, (_state?.Plan.Id ?? 0) + 1);
        Save(new BackfillState { Plan = new BackfillPlan { Id = id, ModelVersion = model.Version, States = states }, From = Ends() });
        Reset();
        _isLooking = false;
    }

    /// <summary>Ends what is under way without a result; on this stage's thread.</summary>
    public void Cancel()
    {
        if (_state is not null)
        {
            Save(_state with { Phase = BackfillPhase.Done });
            Reset();
        }
    }

    /// <summary>The earliest event that is retained; 0: all are. On this stage's thread.</summary>
    public long RetainedSince() => Since();

    /// <inheritdoc/>
    public override bool Step(long nowMs)
    {
        bool worked = Answer();
        if (_state is null)
        {
            return worked;
        }

        try
        {
            worked |= Go(nowMs);
            CheckpointProblem = null;
        }
        catch (LogTruncatedException)
        {
            TakeTruncated();
        }
        catch (Exception exception) when (exception is (IOException or UnauthorizedAccessException or CheckpointFailedException) and not LogUnavailableException)
        {
            CheckpointProblem = $"The backfill waits: {exception.Message}"; // Only its own notes are on that disk; the shards go on.
        }

        Report();
        return worked;
    }

    /// <summary>Retention went over what was being read: the slice is counted again from what is left, and says so. Where what was written is gone, too, nobody knows who has it, nor where counting began.</summary>
    private void TakeTruncated()
    {
        if (_state!.Phase != BackfillPhase.Read || Enumerable.Range(0, _shards.Count).Any(shard => _state.CountAt[shard] < _logs.ProfileEvents.BeginOffset(shard)))
        {
            Cancel();
            CheckpointProblem = "The backfill ended without a result: it was slower than the retention of profile-events (StreamCdp:Engine:RetainProfileEventsMs). Make that longer, and begin it again.";
            return;
        }

        Save(_state with { SinceMs = Since() });
        Reset();
        _isLooking = true;
    }

    private bool Go(long nowMs) => _state!.Phase switch
    {
        BackfillPhase.Prepare => Send(BackfillStep.Prepare, _state.Plan, nowMs, shard => shard.Profiler.Prepared?.Id == _state.Plan.Id || shard.Profiler.Epoch >= _state.Plan.Id, () => _state with { Phase = BackfillPhase.Count, From = Ends() }),
        BackfillPhase.Count => Send(BackfillStep.Count, _state.Plan, nowMs, shard => shard.Profiler.Epoch >= _state.Plan.Id, Counted),
        BackfillPhase.Read => Read(nowMs),
        BackfillPhase.Finish => Send(BackfillStep.Finish, _state.Plan with { SinceMs = _state.SinceMs }, nowMs, shard => shard.Profiler.Finished?.Id >= _state.Plan.Id, () => _state with { Phase = BackfillPhase.Done }),
        _ => false,
    };

    /// <inheritdoc/>
    public override void Dispose()
    {
        _reader?.Dispose();
        _writer.Dispose();
        base.Dispose();
    }

    /// <inheritdoc/>
    protected override void Begin()
    {
    }

    /// <inheritdoc/>
    protected override bool Poll() => false;

    /// <summary>Tells every shard a step, and goes on when all have taken it. A step that comes twice changes nothing: only the first counts.</summary>
    private bool Send(BackfillStep step, BackfillPlan plan, long nowMs, Func<ProfilerRunner, bool> isTaken, Func<BackfillState> next)
    {
        if (!_isAppended)
        {
            byte[] json = plan.ToJson();
            for (int shard = 0; shard < _shards.Count; shard++)
            {
                Append(shard, new ProfileEvent { Kind = ProfileEventKind.Backfill, EventType = (int)step, Generation = plan.Id, Payload = json }, nowMs);
            }

            _isAppended = true;
            return true;
        }

        if (!IsDurable() || !_shards.All(isTaken))
        {
            return false;
        }

        Save(next()); // Where that fails nothing of this step is done again.
        _isAppended = false;
        return true;
    }

    /// <summary>All shards count: where each began.</summary>
    private BackfillState Counted()
    {
        BackfillState state = _state!;
        long[] at = [.. Enumerable.Range(0, _shards.Count).Select(shard => Find(shard, state.From[shard], BackfillStep.Count, state.Plan.Id))];
        long profiles = _shards.Sum(shard => shard.Profiler.ProfileCount);
        return state with { Phase = BackfillPhase.Read, CountAt = at, SinceMs = Since(), Slices = (int)((profiles / ProfilesOfSlice) + 1) };
    }

    /// <summary>The first retained record of the shard whose begin was removed last, Unix ms; 0: every shard has everything.</summary>
    private long Since()
    {
        long since = 0;
        for (int shard = 0; shard < _shards.Count; shard++)
        {
            long begin = _logs.ProfileEvents.BeginOffset(shard);
            if (begin > 0)
            {
                using ILogReader reader = _logs.ProfileEvents.OpenReader(shard, begin);
                since = Math.Max(since, reader.TryReadBefore(Ends()[shard], out LogRecord first) ? Math.Max(1, first.TimestampMs) : 1);
            }
        }

        return since;
    }

    private long Find(int shard, long from, BackfillStep step, long id)
    {
        using ILogReader reader = _logs.ProfileEvents.OpenReader(shard, from);
        long end = Ends()[shard];
        while (reader.TryReadBefore(end, out LogRecord record))
        {
            if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && ProfileEvent.TryRead(body, out ProfileEvent e) && e.Kind == ProfileEventKind.Backfill && e.EventType == (int)step && e.Generation == id)
            {
                return record.Offset;
            }
        }

        throw new InvalidDataException($"Shard {shard} counts for backfill {id}, and its log has no such step from {from} on.");
    }

    /// <summary>Reads, and then writes, a part of a slice.</summary>
    private bool Read(long nowMs)
    {
        if (_engine is null)
        {
            CdpModel model = _models(_state!.Plan.ModelVersion);
            Dictionary<string, FunctionExpression> states = SegmentCompiler.States(model);
            _engine = new SegmentEngine(model with { Segments = [], Computed = [] }, null, new PreparedStates(_state.Plan.Id, [.. _state.Plan.States.Select(shared => KeyValuePair.Create(shared, states.GetValueOrDefault(shared) ?? PreparedStates.Nothing))]));
            _scan = new EventScan(_engine.EventPaths, []);
        }

        if (_isLooking)
        {
            FindWritten();
            _isLooking = false;
        }

        if (_isWriting)
        {
            return Write(nowMs);
        }

        for (int i = 0; i < Batch; i++)
        {
            if (_readShard == _shards.Count)
            {
                (_toWrite, _isWriting) = (_counted.GetEnumerator(), true);
                return true;
            }

            if (_reader is null)
            {
                _fences.Clear();
                _reader = _logs.ProfileEvents.OpenReader(_readShard, _logs.ProfileEvents.BeginOffset(_readShard));
            }

            LogRecord record = default;
            if (_reader.Position < _state!.CountAt[_readShard] && !_reader.TryRead(out record))
            {
                return i > 0; // A log that is elsewhere may have more on its way.
            }

            if (_reader.Position > _state.CountAt[_readShard] || record.Value.IsEmpty || record.Offset >= _state.CountAt[_readShard])
            {
                _reader.Dispose();
                _reader = null;
                _readShard++;
                continue;
            }

            Count(record);
        }

        return true;
    }

    private void Count(in LogRecord record)
    {
        if (!WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) || !ProfileEvent.TryRead(body, out ProfileEvent e))
        {
            return;
        }

        if (e.Kind == ProfileEventKind.Fence)
        {
            _fences[e.OriginPartition] = Math.Max(e.Generation, _fences.GetValueOrDefault(e.OriginPartition, long.MinValue));
        }

        if (e.Kind != ProfileEventKind.Event || (ulong)e.ProfileId % (ulong)_state!.Slices != (ulong)_state.Slice || (_fences.TryGetValue(e.OriginPartition, out long fence) && e.Generation < fence))
        {
            return;
        }

        if (_counted.TryGetValue(e.ProfileId, out byte[]? saved))
        {
            _profile.Read(e.ProfileId, saved);
        }
        else
        {
            _profile.Reset(e.ProfileId);
        }

        _engine!.Begin(_profile, 0); // It forgets what it has noted of the event before.
        _engine.Apply(_profile, _scan!.Read(e));
        if (_profile.Functions.Length > 0)
        {
            _counted[e.ProfileId] = _record.AsSpan(0, _profile.Write(ref _record)).ToArray();
        }
    }

    /// <summary>What an earlier run has written of this slice.</summary>
    private void FindWritten()
    {
        for (int shard = 0; shard < _shards.Count; shard++)
        {
            using ILogReader reader = _logs.ProfileEvents.OpenReader(shard, _state!.CountAt[shard]);
            long end = Ends()[shard];
            while (reader.TryReadBefore(end, out LogRecord record))
            {
                if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && ProfileEvent.TryRead(body, out ProfileEvent e) && e.Kind == ProfileEventKind.Backfill && e.EventType == (int)BackfillStep.States && e.Generation == _state.Plan.Id)
                {
                    _written.Add(e.ProfileId);
                }
            }
        }
    }

    private bool Write(long nowMs)
    {
        if (_writer.Appended - _writer.Durable > MostAhead || _shards.Any(shard => _logs.ProfileEvents.EndOffset(shard.Shard) - shard.Position > MostAhead))
        {
            return false; // Events must not stand behind hundreds of thousands of states.
        }

        for (int i = 0; i < Math.Min(Batch, MostAhead); i++)
        {
            if (!_toWrite.MoveNext())
            {
                if (!IsDurable() || (_state!.Slice + 1 == _state.Slices && !HasArrived()))
                {
                    return false; // The enumerator stays at its end, and is asked again.
                }

                Save(_state with { Slice = _state.Slice + 1, Phase = _state.Slice + 1 == _state.Slices ? BackfillPhase.Finish : BackfillPhase.Read, SinceMs = Math.Max(_state.SinceMs, Since()) });
                Reset();
                return true;
            }

            (UInt128 id, byte[] saved) = _toWrite.Current;
            if (!_written.Contains(id))
            {
                _profile.Read(id, saved);
                int length = WriteStates();
                Append(CanonicalId.Shard(id, _shards.Count), new ProfileEvent { Kind = ProfileEventKind.Backfill, EventType = (int)BackfillStep.States, Generation = _state!.Plan.Id, ProfileId = id, Payload = _payload.AsSpan(0, length) }, nowMs);
            }
        }

        return true;
    }

    private bool IsDurable() => _writer.Fault is { } fault ? throw new LogUnavailableException(fault.Message, fault) : _writer.Durable >= _writer.Appended;

    /// <summary>Everybody has his states, also where they had to follow a merge to another shard: each shard has read what was there after the last of them was written, and then what was there when all had.</summary>
    private bool HasArrived()
    {
        _arrival ??= (0, Ends());
        (int hops, long[] ends) = _arrival.Value;
        if (!Enumerable.Range(0, _shards.Count).All(shard => _shards[shard].Position >= ends[shard]))
        {
            return false;
        }

        _arrival = (hops + 1, Ends());
        return hops + 1 >= Hops;
    }

    private int WriteStates()
    {
        int most = 16;
        foreach (ref readonly FunctionEntry entry in _profile.Functions)
        {
            most += entry.State.Length + 16;
        }

        if (_payload.Length < most)
        {
            _payload = new byte[most * 2];
        }

        var writer = new StateWriter(_payload);
        for (int i = 0; i < _engine!.Prepared.Count; i++)
        {
            ReadOnlySpan<byte> state = _profile.Function(_engine.Prepared[i].Key);
            if (!state.IsEmpty)
            {
                writer.Unsigned((ulong)i);
                writer.Bytes(state);
            }
        }

        return writer.Position;
    }

    private void Append(int shard, ProfileEvent e, long nowMs)
    {
        int end = e.WriteTo(ref _buffer, WireFormat.WriteHeader(ref _buffer, 0, _schemas[RecordType.ProfileEvent]));
        _writer.Append(shard, default, _buffer.AsSpan(0, end), nowMs);
    }

    /// <summary>As the log says now: what was asked a moment ago may be behind.</summary>
    private long[] Ends() => [.. _logs.ProfileEvents.AskEndOffsetsAsync(s_patience).AsTask().GetAwaiter().GetResult()]; // This thread has nothing else to do.

    private void Reset()
    {
        _reader?.Dispose();
        (_reader, _isWriting, _readShard, _isAppended, _arrival) = (null, false, 0, false, null);
        _counted.Clear();
        _written.Clear();
        if (_state?.Phase != BackfillPhase.Read)
        {
            (_engine, _scan) = (null, null);
        }
    }

    private void Save(BackfillState state)
    {
        if (state.Plan != _state?.Plan)
        {
            (_engine, _scan) = (null, null);
        }

        _home.WriteManifest(Stage, ++_number, JsonSerializer.SerializeToUtf8Bytes(state, BackfillStateJson.Default.BackfillState));
        foreach ((long number, byte[] _) in _home.Manifests(Stage).Where(manifest => manifest.Number < _number - 1).ToList())
        {
            _home.RemoveManifest(Stage, number);
        }

        _state = state.Phase == BackfillPhase.Done ? null : state;
        Report();
    }

    private void Report()
    {
        if (_state is not { } state)
        {
            Status = null;
            return;
        }

        double total = 0;
        double done = 0;
        if (state.Phase == BackfillPhase.Read)
        {
            for (int shard = 0; shard < _shards.Count; shard++)
            {
                double length = Math.Max(1, state.CountAt[shard] - _logs.ProfileEvents.BeginOffset(shard));
                total += length;
                done += shard < _readShard ? length : shard == _readShard && _reader is not null ? Math.Max(0, _reader.Position - _logs.ProfileEvents.BeginOffset(shard)) : 0;
            }

            done = (state.Slice + (done / total)) / state.Slices;
        }

        Status = new BackfillStatus(state.Plan.Id, state.Plan.ModelVersion, state.Plan.States, state.Phase switch
        {
            BackfillPhase.Prepare or BackfillPhase.Count => "preparing",
            BackfillPhase.Read => _isWriting ? "writing" : "counting",
            _ => "switching",
        }, state.Phase == BackfillPhase.Finish ? 1 : done);
    }
}

/// <summary>How far a backfill is.</summary>
/// <param name="Id">Grows with each.</param>
/// <param name="ModelVersion">Served when it is done.</param>
/// <param name="States">What is counted.</param>
/// <param name="Phase">preparing, counting, writing, switching.</param>
/// <param name="Done">0 to 1.</param>
internal sealed record BackfillStatus(long Id, ulong ModelVersion, IReadOnlyList<string> States, string Phase, double Done);

/// <summary>Where a backfill is.</summary>
internal enum BackfillPhase
{
    /// <summary>The shards get to know the new states.</summary>
    Prepare,

    /// <summary>The shards begin to count.</summary>
    Count,

    /// <summary>History is counted and written, slice by slice.</summary>
    Read,

    /// <summary>The shards switch.</summary>
    Finish,

    /// <summary>It is done.</summary>
    Done,
}

/// <summary>What a backfill goes on from after a crash.</summary>
internal sealed record BackfillState
{
    /// <summary>What is counted.</summary>
    public required BackfillPlan Plan { get; init; }

    /// <summary>Where it is.</summary>
    public BackfillPhase Phase { get; init; }

    /// <summary>By shard: the step under way stands behind this offset.</summary>
    public long[] From { get; init; } = [];

    /// <summary>By shard: from here on it counts by itself.</summary>
    public long[] CountAt { get; init; } = [];

    /// <summary>The first retained event, Unix ms; 0: everything was retained.</summary>
    public long SinceMs { get; init; }

    /// <summary>The slice under way.</summary>
    public int Slice { get; init; }

    /// <summary>All slices.</summary>
    public int Slices { get; init; }
}

[JsonSerializable(typeof(BackfillState))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UseStringEnumConverter = true)]
internal sealed partial class BackfillStateJson : JsonSerializerContext;
