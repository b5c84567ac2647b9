using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Engine.Runtime;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>Keeps the profiles of one shard: applies events, merges, and the passing of time; emits membership changes at once and changed profiles at ticks.</summary>
/// <remarks>
/// A pure function of its partition of profile-events. A profile record holds the offset of the last record applied to it, so redo after a
/// crash does nothing twice. A linking event waits in its survivor's shard for the records of the profiles that it merges, and what comes later
/// for that profile waits behind it: so an event and the merge that it caused are evaluated once, together (RULES.md §7: nothing flaps).
/// Cost: about 2 µs and 0 B an event (bench: ProfilerBenchmarks).
/// </remarks>
internal sealed class Profiler : IDisposable
{
    private const byte RedirectFormat = 2;
    private const long MostFlushMs = 10_000;
    private const int MaxDirty = 200_000;
    private const int MaxFreePending = 1_024;
    private static readonly ArrayPool<byte> s_waiting = ArrayPool<byte>.Create(maxArrayLength: 1 << 20, maxArraysPerBucket: 4_096); // The shared pool keeps too few for all that waits behind merges.

    private readonly int _shard;
    private readonly int _shards;
    private readonly IStateStore _store;
    private readonly IEffects _effects;
    private readonly SchemaIds _schemas;
    private readonly Func<ulong, CdpModel> _models;
    private readonly ProfileCache _cache;
    private readonly TraitLimits _traitLimits;
    private readonly EventCatalog _catalog = new();
    private readonly ProfileState _passing = new();
    private readonly ProfileState _loser = new();
    private readonly PriorityQueue<UInt128, long> _timers = new();
    private readonly HashSet<UInt128> _dirty = [];
    private readonly Dictionary<UInt128, Pending> _pending = [];
    private readonly Stack<Pending> _freePending = [];
    private readonly Dictionary<int, long> _fences = [];
    private readonly Dictionary<int, long> _received = [];
    private readonly ArrayBufferWriter<byte> _json = new(4096);
    private readonly Utf8JsonWriter _jsonWriter;
    private readonly Queue<UInt128> _flushing = [];
    private ProfileState _profile;
    private CdpModel _model;
    private SegmentEngine _segments = null!;
    private TraitRules _traits = null!;
    private CrmRules _crm = null!;
    private EventScan _scan = null!;
    private BackfillPlan? _prepared;
    private BackfillPlan? _finished;
    private Dictionary<string, long> _epochs = new(StringComparer.Ordinal);
    private uint?[] _stateKeys = [];
    private long _epoch;
    private byte[][] _segmentIds = [];
    private SegmentMembers[] _members = [];
    private byte[][] _segmentVersions = [];
    private SegmentChanges _changes;
    private byte[] _read = new byte[4096];
    private byte[] _write = new byte[4096];
    private byte[] _record = new byte[4096];
    private byte[] _key = new byte[64];
    private long _offset;
    private long _timestampMs;
    private int _sent;
    private long _redirectOffset;
    private long _dueAt = long.MinValue;
    private long _flushedAt;
    private bool _profileExists;

    /// <param name="shard">Partition of profile-events.</param>
    /// <param name="shards">Partitions of profile-events.</param>
    /// <param name="model">Valid until the log names another.</param>
    /// <param name="models">Checked models by version.</param>
    /// <param name="store">Canonical id → profile record or redirect.</param>
    /// <param name="effects">Where records go.</param>
    /// <param name="schemas">Schema ids to write with.</param>
    /// <param name="cachedProfiles">Decoded profiles that are held; a power of two.</param>
    /// <param name="traitLimits">How much of sent traits a profile keeps; null: the defaults.</param>
    public Profiler(int shard, int shards, CdpModel model, Func<ulong, CdpModel> models, IStateStore store, IEffects effects, SchemaIds schemas, int cachedProfiles = ProfileCache.DefaultPlaces, TraitLimits? traitLimits = null)
    {
        _traitLimits = traitLimits ?? new TraitLimits();
        _shard = shard;
        _shards = shards;
        _models = models;
        _store = store;
        _cache = new ProfileCache(store, cachedProfiles);
        _profile = _passing;
        _effects = effects;
        _schemas = schemas;
        _jsonWriter = new Utf8JsonWriter(_json, new JsonWriterOptions { SkipValidation = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        _model = Served = model;
        UseModel(model);
    }

    /// <summary>The shard's now, Unix ms; <see cref="long.MinValue"/> before the first record.</summary>
    public long Now { get; private set; } = long.MinValue;

    /// <summary>Model that the shard computes with.</summary>
    public CdpModel Model => _model;

    /// <summary>Model that every profile has been evaluated with: for a moment after a change the one before.</summary>
    public CdpModel Served { get; private set; }

    /// <summary>Functions of <see cref="Model"/>.</summary>
    public SegmentEngine Segments => _segments;

    /// <summary>Members by segment id.</summary>
    public Dictionary<string, SegmentMembers> Members { get; private set; } = new(StringComparer.Ordinal);

    /// <summary>Event functions that started later than the shard, by normal text, with the instant from which on they count, Unix ms.</summary>
    public IReadOnlyDictionary<string, long> FunctionsSince { get; private set; } = new Dictionary<string, long>(StringComparer.Ordinal);

    /// <summary>Of states that come from a backfill its id, by <see cref="CompiledFunction.Shared"/>.</summary>
    public IReadOnlyDictionary<string, long> Epochs => _epochs;

    /// <summary>The backfill that the shard counts for; null: none.</summary>
    public BackfillPlan? Prepared => _prepared;

    /// <summary>Id of the latest backfill that began to count; 0: none.</summary>
    public long Epoch => _epoch;

    /// <summary>The backfill that was done last; null: none.</summary>
    public BackfillPlan? Finished => _finished;

    /// <summary>Of the membership changes that the last run appended after its checkpoint, the highest version by profile. Up to it they are not appended again.</summary>
    public Dictionary<UInt128, long> Emitted { get; } = [];

    /// <summary>Profiles, without redirects.</summary>
    public long ProfileCount { get; private set; }

    /// <summary>Events applied.</summary>
    public long Applied { get; private set; }

    /// <summary>Late events sent on to a survivor, and records of merged profiles sent to theirs.</summary>
    public long SentOn { get; private set; }

    /// <summary>CRM records that were not kept since the start.</summary>
    public CrmSkipped CrmSkipped { get; } = new();

    /// <summary>Writes of traits that were not kept since the start.</summary>
    public TraitsSkipped TraitsSkipped { get; } = new();

    /// <summary>Entered and exited since the start, by segment index of the model.</summary>
    public (long Entered, long Exited)[] ChangeCounts { get; private set; } = [];

    /// <summary>Receive time of the events whose membership changes were appended since the list was cleared, for the latency metric; Unix ms.</summary>
    public List<long> EmittedFor { get; } = [];

    /// <summary>Profiles that wait for the record of a merged one.</summary>
    public int PendingCount => _pending.Count;

    /// <summary>Records of profile-events that wait with them, in memory.</summary>
    public int QueuedCount { get; private set; }

    /// <summary>What the events looked like that were applied.</summary>
    public SeenSchema Schema() => _catalog.ToSchema();

    /// <summary>Takes a record of profile-events.</summary>
    public void Apply(in LogRecord record)
    {
        _offset = record.Offset;
        _timestampMs = record.TimestampMs;
        _sent = 0;
        if (!WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) || !ProfileEvent.TryRead(body, out ProfileEvent e))
        {
            throw new LogCorruptException("profile-events", _shard, record.Offset, "the record is none of ours");
        }

        switch (e.Kind)
        {
            case ProfileEventKind.Event:
                if (_fences.TryGetValue(e.OriginPartition, out long fence) && e.Generation < fence)
                {
                    return; // An older run of the router still wrote; the new one has passed this event on.
                }

                Take(e, record.Value, _epoch);
                break;
            case ProfileEventKind.Tick:
                Now = Math.Max(Now, e.Now);
                _dueAt = Math.Max(_dueAt, e.EventTime != 0 ? e.EventTime : Now);
                if (!IsBehind || e.Now - _flushedAt >= MostFlushMs)
                {
                    _flushedAt = e.Now;
                    QueueFlush();
                }

                break;
            case ProfileEventKind.Fence:
                _fences[e.OriginPartition] = Math.Max(e.Generation, _fences.GetValueOrDefault(e.OriginPartition, long.MinValue));
                break;
            case ProfileEventKind.Merge:
                Take(e, record.Value, _epoch);
                break;
            case ProfileEventKind.Transfer:
                if (IsNew(e))
                {
                    TakeTransfer(e);
                }

                break;
            case ProfileEventKind.Forward:
                if (IsNew(e) && WireFormat.TryRead(e.Payload, out _, out ReadOnlySpan<byte> inner) && ProfileEvent.TryRead(inner, out ProfileEvent forwarded))
                {
                    forwarded.ProfileId = e.ProfileId;
                    Take(forwarded, e.Payload, e.Generation);
                }

                break;
            case ProfileEventKind.Model:
                ChangeModel(_models((ulong)e.Generation)); // A marker has no generation of its own: the field holds the model's version.
                break;
            case ProfileEventKind.Backfill:
                TakeBackfill(e, record.Value);
                break;
        }
    }

    /// <summary>Timers that the last tick made due have not all fired, or changed profiles wait to be written.</summary>
    public bool HasWork => _flushing.Count > 0 || (_timers.TryPeek(out _, out long deadline) && deadline <= _dueAt);

    /// <summary>Changed profiles that wait to be written to the log profiles.</summary>
    public bool IsFlushing => _flushing.Count > 0;

    /// <summary>Does a part of what the last tick asked for, so that no tick makes events wait: what is due at an event's profile is done before it, anyway.</summary>
    /// <param name="most">Timers to fire and profiles to write, each.</param>
    public void WorkOff(int most)
    {
        for (int i = 0; i < most && _timers.TryPeek(out UInt128 id, out long deadline) && deadline <= _dueAt; i++)
        {
            _timers.Dequeue();
            Fire(id, deadline);
        }

        for (int i = 0; i < most && _flushing.TryDequeue(out UInt128 id); i++)
        {
            if (TryLoad(id, keep: false, out _))
            {
                EmitProfile();
            }
        }
    }

    /// <summary>The reader is far from the log's end: changed profiles are written less often, because most will change again before anybody could read them.</summary>
    public bool IsBehind { get; set; }

    /// <summary>Lets <see cref="WorkOff"/> write all profiles changed so far.</summary>
    public void QueueFlush()
    {
        foreach (UInt128 id in _dirty)
        {
            _flushing.Enqueue(id);
        }

        _dirty.Clear();
        _cache.ClearQueued();
    }

    /// <summary>Reads a profile for an answer.</summary>
    /// <param name="id">Canonical id; redirects of this shard are followed by the caller.</param>
    /// <param name="redirect">Where the profile went.</param>
    /// <param name="profile">The profile, valid until the next call.</param>
    /// <returns>False where there is no such profile here.</returns>
    public bool TryGet(UInt128 id, out UInt128? redirect, out ProfileState profile)
    {
        bool found = TryLoad(id, keep: false, out redirect);
        profile = _profile;
        return found;
    }

    /// <summary>Begins to look at all profiles that there are now, a part at a time.</summary>
    public IStoreScan OpenScan()
    {
        _cache.WriteBack();
        return _store.OpenScan();
    }

    /// <summary>Ids of the next profiles, in no order; one that changes meanwhile may come twice.</summary>
    /// <returns>False: there are no more.</returns>
    public static bool Next(IStoreScan scan, int records, List<UInt128> ids) => scan.MoveOn(records, (id, value) =>
    {
        if (value[0] != RedirectFormat)
        {
            ids.Add(id);
        }
    });

    private List<UInt128> AllIds()
    {
        var ids = new List<UInt128>();
        using IStoreScan scan = OpenScan();
        while (Next(scan, int.MaxValue, ids))
        {
        }

        return ids;
    }

    /// <summary>Generation of the youngest router that wrote to this shard.</summary>
    public long LatestFence => _fences.Count == 0 ? long.MinValue : _fences.Values.Max();

    /// <summary>Everything that a checkpoint needs beyond the store.</summary>
    public ProfilerSnapshot Save()
    {
        _cache.WriteBack(); // The store is saved next.
        return new ProfilerSnapshot
        {
            Now = Now,
            DueAt = _dueAt,
            ModelVersion = _model.Version,
            Fences = new Dictionary<int, long>(_fences),
            Received = new Dictionary<int, long>(_received),
            Schema = _catalog.ToSchema(),
            FunctionsSince = new Dictionary<string, long>(FunctionsSince),
            Epochs = new Dictionary<string, long>(_epochs),
            Epoch = _epoch,
            Prepared = _prepared,
            Finished = _finished,
            Pending = [.. _pending.Select(pending => new PendingSnapshot(
                CanonicalId.Text(pending.Key),
                [.. pending.Value.Queue.Select(queued => new QueuedSnapshot(queued.Value.Bytes.ToArray(), queued.Now, queued.TimestampMs, queued.DueAt, queued.Epoch))],
                [.. pending.Value.Transfers.Select(transfer => new TransferSnapshot(transfer.Link, CanonicalId.Text(transfer.Loser), transfer.Record.Bytes.ToArray()))]))],
        };
    }

    /// <summary>Takes over a checkpoint and indexes the store: timers, members, number of profiles.</summary>
    public void Restore(ProfilerSnapshot? snapshot)
    {
        if (snapshot is not null)
        {
            Now = snapshot.Now;
            _dueAt = snapshot.DueAt;
            foreach ((int partition, long generation) in snapshot.Fences)
            {
                _fences[partition] = generation;
            }

            foreach ((int shard, long offset) in snapshot.Received)
            {
                _received[shard] = offset;
            }

            _catalog.Restore(snapshot.Schema);
            FunctionsSince = new Dictionary<string, long>(snapshot.FunctionsSince);
            (_epoch, _prepared, _finished) = (snapshot.Epoch, snapshot.Prepared, snapshot.Finished);
            if (_prepared is not null || snapshot.Epochs.Count > 0)
            {
                _epochs = new Dictionary<string, long>(snapshot.Epochs, StringComparer.Ordinal);
                Compile();
            }

            foreach (PendingSnapshot saved in snapshot.Pending)
            {
                UInt128 id = CanonicalId.Parse(saved.Profile);
                var pending = new Pending();
                QueuedCount += saved.Queue.Count;
                pending.Queue.AddRange(saved.Queue.Select(queued => new Queued(Rented.Copy(queued.Value), queued.Now, queued.DueAt, queued.TimestampMs, queued.Epoch)));
                foreach (TransferSnapshot transfer in saved.Transfers)
                {
                    pending.Transfers.Add(new Transfer(transfer.Link, CanonicalId.Parse(transfer.Loser), Rented.Copy(transfer.Record)));
                }

                _pending[id] = pending;
            }
        }

        _store.Scan((id, value) =>
        {
            if (value[0] == RedirectFormat)
            {
                return;
            }

            _profile.Read(id, value);
            ProfileCount++;
            foreach (MembershipEntry membership in _profile.Memberships)
            {
                if (_segments.SegmentIndex(membership.Key) is >= 0 and int segment)
                {
                    _members[segment].Set(id, membership.Since);
                }
            }

            if (_profile.ArmedDeadline != long.MaxValue)
            {
                _timers.Enqueue(id, _profile.ArmedDeadline);
            }
        });
    }

    /// <inheritdoc/>
    public void Dispose() => _jsonWriter.Dispose();

    private bool IsNew(in ProfileEvent e)
    {
        if (e.SourceOffset <= _received.GetValueOrDefault(e.SourceShard, -1))
        {
            return false;
        }

        _received[e.SourceShard] = e.SourceOffset;
        return true;
    }

    /// <summary>An event or a merge command for a profile: applied now, or queued behind a merge that is not complete.</summary>
    /// <param name="e">The record.</param>
    /// <param name="value">Its bytes.</param>
    /// <param name="epoch">The latest backfill that had begun to count when it came.</param>
    private void Take(in ProfileEvent e, ReadOnlySpan<byte> value, long epoch)
    {
        long now = Math.Max(Now, e.Now != 0 ? e.Now : e.EventTime); // A merge command has the time of its event: what time did to the loser before comes first.
        Now = now;
        if (_pending.Count > 0 && _pending.TryGetValue(e.ProfileId, out Pending? pending) && pending.Queue.Count > 0)
        {
            Queue(pending, value, now, epoch);
            return;
        }

        bool exists = TryLoad(e.ProfileId, keep: true, out UInt128? redirect);
        if (redirect is UInt128 target)
        {
            Forward(e, value, target, epoch);
            return;
        }

        if (exists && _offset <= _profile.SourceOffset)
        {
            return; // Redo: it is in the record already.
        }

        if (!exists)
        {
            if (e.Kind == ProfileEventKind.Backfill)
            {
                AddToTransfer(e);
                return;
            }

            _profile.Reset(e.ProfileId);
        }

        _profileExists = exists;
        if (!IsReady(e))
        {
            if (!_pending.TryGetValue(e.ProfileId, out pending))
            {
                pending = AddPending(e.ProfileId);
            }

            Queue(pending, value, now, epoch);
            return;
        }

        if (ApplyReady(e, now, _dueAt, epoch))
        {
            Store();
            if (CrashPoint.IsArmed && _changes.Count > 0)
            {
                CrashPoint.Hit(CrashPoint.ProfileWritten); // Only where there is an output to lose.
            }
        }

        if (_pending.Count > 0)
        {
            DropIfEmpty(e.ProfileId);
        }
    }

    /// <summary>The record of a merged profile has come: what waited for it may go on.</summary>
    private void TakeTransfer(in ProfileEvent e)
    {
        bool exists = TryLoad(e.ProfileId, keep: true, out UInt128? redirect);
        if (redirect is UInt128 target)
        {
            if (_offset <= _redirectOffset)
            {
                if (_pending.Remove(e.ProfileId, out Pending? gone))
                {
                    QueuedCount -= gone.Queue.Count; // Redo: all that waited was applied before the redirect.
                }

                return;
            }

            var onward = new ProfileEvent
            {
                Kind = ProfileEventKind.Transfer,
                ProfileId = target,
                LinkOffset = e.LinkOffset,
                Into = e.Into,
                Payload = e.Payload,
            };
            Send(target, onward);
            return;
        }

        _pending.TryGetValue(e.ProfileId, out Pending? pending);
        if (exists && _profile.LastLink >= e.LinkOffset)
        {
            if (pending is not null)
            {
                Drain(e.ProfileId, pending); // Redo: what waited for it is in the record, too.
            }

            return;
        }

        pending ??= AddPending(e.ProfileId);
        pending.Transfers.Add(new Transfer(e.LinkOffset, e.Into, Rented.Copy(e.Payload)));
        Drain(e.ProfileId, pending);
    }

    private void Drain(UInt128 id, Pending pending)
    {
        if (pending.Queue.Count == 0)
        {
            return;
        }

        bool exists = TryLoad(id, keep: true, out _);
        if (!exists)
        {
            _profile.Reset(id);
        }

        _profileExists = exists;
        bool redo = exists && _offset <= _profile.SourceOffset;
        bool changed = false;
        int done = 0;
        while (done < pending.Queue.Count)
        {
            Queued queued = pending.Queue[done];
            WireFormat.TryRead(queued.Value.Bytes, out _, out ReadOnlySpan<byte> body);
            ProfileEvent.TryRead(body, out ProfileEvent e);
            e.ProfileId = id;
            if (redo ? e.RequiresLink > _profile.LastLink || (e.Merged > 0 && e.LinkOffset > _profile.LastLink) : !IsReady(e))
            {
                break; // Also where all before it was applied by the last run, at this very record: it waits for another one.
            }

            done++;
            if (redo)
            {
                continue;
            }

            if (!ApplyReady(e, queued.Now, queued.DueAt, queued.Epoch))
            {
                // It became a redirect: what waits behind belongs to the survivor now.
                changed = false;
                UInt128 target = e.Into;
                _redirectOffset = -1;
                for (; done < pending.Queue.Count; done++)
                {
                    WireFormat.TryRead(pending.Queue[done].Value.Bytes, out _, out body);
                    ProfileEvent.TryRead(body, out ProfileEvent late);
                    late.ProfileId = id;
                    Forward(late, pending.Queue[done].Value.Bytes, target, pending.Queue[done].Epoch);
                }

                break;
            }

            changed = true;
        }

        for (int i = 0; i < done; i++)
        {
            pending.Queue[i].Value.Return();
        }

        pending.Queue.RemoveRange(0, done);
        QueuedCount -= done;
        if (redo)
        {
            long applied = _profile.LastLink;
            pending.Transfers.RemoveAll(transfer => transfer.Link <= applied);
        }

        if (changed)
        {
            if (_profile.ArmedDeadline != long.MaxValue)
            {
                _timers.Enqueue(id, _profile.ArmedDeadline); // A timer that came while it waited was passed over.
            }

            Store();
        }

        DropIfEmpty(id);
    }

    private void DropIfEmpty(UInt128 id)
    {
        if (_pending.TryGetValue(id, out Pending? pending) && pending.Queue.Count == 0 && pending.Transfers.Count == 0)
        {
            _pending.Remove(id);
            if (_freePending.Count < MaxFreePending)
            {
                _freePending.Push(pending);
            }
        }
    }

    private void Queue(Pending pending, ReadOnlySpan<byte> value, long now, long epoch)
    {
        pending.Queue.Add(new Queued(Rented.Copy(value), now, _dueAt, _timestampMs, epoch));
        QueuedCount++;
    }

    private Pending AddPending(UInt128 id)
    {
        if (!_freePending.TryPop(out Pending? pending))
        {
            pending = new Pending();
        }

        _pending[id] = pending;
        return pending;
    }

    /// <summary>Whether all that a record depends on has been applied to the loaded profile.</summary>
    private bool IsReady(in ProfileEvent e)
    {
        if (e.RequiresLink >= 0 && _profile.LastLink < e.RequiresLink)
        {
            return false;
        }

        if (e.Kind != ProfileEventKind.Event || e.Merged == 0)
        {
            return true;
        }

        if (!_pending.TryGetValue(e.ProfileId, out Pending? pending))
        {
            return false;
        }

        int arrived = 0;
        foreach (Transfer transfer in pending.Transfers)
        {
            arrived += transfer.Link == e.LinkOffset ? 1 : 0;
        }

        return arrived >= e.Merged;
    }

    /// <summary>Applies a record to the loaded profile.</summary>
    /// <param name="e">The record.</param>
    /// <param name="now">The shard's now at the record.</param>
    /// <param name="dueAt">What the tick before the record in the log asked for: it comes first, whether its timer has fired by now or not.</param>
    /// <param name="epoch">The latest backfill that had begun to count when it came.</param>
    /// <returns>False where the profile is gone: merged into another.</returns>
    private bool ApplyReady(in ProfileEvent e, long now, long dueAt, long epoch)
    {
        now = Math.Max(now, _profile.AdvancedTo); // It may have waited for a merge while the model changed: what was evaluated since is not evaluated for an instant before.
        Advance(Math.Min(dueAt, now), inclusive: true);
        if (e.Merged > 0)
        {
            now = Math.Max(now, LatestTransferred(e)); // This shard applies the events of the merged profiles now, and its now is never before one (RULES.md §4.3).
            Now = Math.Max(Now, now);
        }

        Advance(now, inclusive: false);
        if (e.Kind == ProfileEventKind.Merge)
        {
            MergeAway(e);
            return false;
        }

        if (e.Kind == ProfileEventKind.Backfill)
        {
            return ApplyStates(e, now);
        }

        bool isDue = _profile.ArmedDeadline <= now; // What falls on the same instant is evaluated with the event (RULES.md §7).
        _segments.Begin(_profile, now);
        bool merged = e.Merged > 0 && MergeIn(e);
        ApplyEvent(e, now, epoch);
        _changes.Clear();
        long deadline = long.MinValue;
        if (isDue)
        {
            _segments.Evaluate(_profile, now, ref _changes);
        }
        else
        {
            deadline = _segments.EvaluateChanged(_profile, isNew: !_profileExists, now, ref _changes);
        }

        _profile.AdvancedTo = Math.Max(_profile.AdvancedTo, now);
        if (CrashPoint.IsArmed && _changes.Count > 0)
        {
            CrashPoint.Hit(CrashPoint.ProfileChanged);
        }

        Emit(now, merged ? MembershipReason.Merge : MembershipReason.Event, e.MessageId, e.ReceivedAt); // They are evaluated together, so what a merging event changes follows from the merge.
        if (deadline == long.MinValue)
        {
            Arm();
        }
        else
        {
            Arm(deadline);
        }

        Applied++;
        if (!_profileExists)
        {
            _profileExists = true;
            ProfileCount++;
        }

        return true;
    }

    private void ApplyEvent(in ProfileEvent e, long now, long epoch)
    {
        var order = new EventOrder(e.EventTime, e.OriginOffset, e.OriginPartition);
        foreach (Identifier identifier in e.Identifiers)
        {
            Name(identifier.Type, identifier.Value, e.Source, order);
        }

        EventView view = _scan.Read(e);
        ReadOnlySpan<byte> traits = Object(_scan.Traits, e.Payload);
        ReadOnlySpan<byte> contextTraits = Object(_scan.ContextTraits, view.ContextPayload);
        ReadOnlySpan<byte> context = _scan.IsOfBatch ? e.Context : Object(_scan.Context, e.Payload);
        _traits.Apply(_profile, view, traits, contextTraits, e.Source);
        if (_crm.IsCrm(e.Source) && !context.IsEmpty)
        {
            _segments.CrmChanged();
            _crm.Apply(_profile, context, e.Source, order);
        }

        _catalog.Observe(view, traits.IsEmpty ? contextTraits : traits, context);

        _segments.Apply(_profile, view, epoch);
        if (_profile.EventCount == 0)
        {
            _profile.FirstSeen = _profile.LastSeen = e.EventTime;
        }

        _profile.FirstSeen = Math.Min(_profile.FirstSeen, e.EventTime);
        _profile.LastSeen = Math.Max(_profile.LastSeen, e.EventTime);
        _profile.EventCount++;
        _profile.AddRecent(e.OriginPartition, e.OriginOffset);
        _profile.Version++;
        _profile.UpdatedAt = Math.Max(_profile.UpdatedAt, now);
        if (e.Merged > 0)
        {
            _profile.LastLink = e.LinkOffset;
        }
    }

    private static ReadOnlySpan<byte> Object(JsonSlice slice, ReadOnlySpan<byte> json) => slice.Kind == JsonTokenType.StartObject ? slice.In(json) : default;

    private void Name(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value, ReadOnlySpan<byte> source, EventOrder order)
    {
        int index = _profile.IndexOfIdentifier(type, value);
        if (index < 0)
        {
            ref IdentifierEntry added = ref _profile.AddIdentifier(type, value, source);
            added.FirstSeen = added.LastSeen = order.TimeMs;
            return;
        }

        ref IdentifierEntry entry = ref _profile.Identifiers[index];
        entry.LastSeen = Math.Max(entry.LastSeen, order.TimeMs);
        if (order.TimeMs < entry.FirstSeen)
        {
            entry.FirstSeen = order.TimeMs;
            entry.Source = _profile.Add(source);
        }
    }

    /// <summary>Latest event time of the profiles that an event merges; <see cref="long.MinValue"/> where they had no events.</summary>
    private long LatestTransferred(in ProfileEvent e)
    {
        long latest = long.MinValue;
        foreach (Transfer transfer in _pending[e.ProfileId].Transfers)
        {
            if (transfer.Link == e.LinkOffset && transfer.Record.Length > 0)
            {
                _loser.Read(transfer.Loser, transfer.Record.Bytes);
                latest = _loser.EventCount > 0 ? Math.Max(latest, _loser.LastSeen) : latest;
            }
        }

        return latest;
    }

    /// <summary>Takes in the records of the profiles that this event merged, in the order in which its identifiers reached them.</summary>
    /// <returns>False where none of them had anything: a profile that only the identifiers of this event could have had.</returns>
    private bool MergeIn(in ProfileEvent e)
    {
        bool any = false;
        Pending pending = _pending[e.ProfileId];
        var order = new EventOrder(e.EventTime, e.OriginOffset, e.OriginPartition);
        foreach (Identifier identifier in e.Identifiers)
        {
            if (_profile.IndexOfIdentifier(identifier.Type, identifier.Value) >= 0)
            {
                continue;
            }

            bool brought = false;
            for (int i = 0; i < pending.Transfers.Count && !brought; i++)
            {
                Transfer transfer = pending.Transfers[i];
                if (transfer.Link != e.LinkOffset || transfer.Record.Length == 0)
                {
                    continue;
                }

                _loser.Read(transfer.Loser, transfer.Record.Bytes);
                if (_loser.IndexOfIdentifier(identifier.Type, identifier.Value) >= 0)
                {
                    MergeOne();
                    transfer.Record.Return();
                    pending.Transfers.RemoveAt(i);
                    any = brought = true;
                }
            }

            if (!brought)
            {
                Name(identifier.Type, identifier.Value, e.Source, order);
            }
        }

        for (int i = pending.Transfers.Count - 1; i >= 0; i--)
        {
            Transfer transfer = pending.Transfers[i];
            if (transfer.Link != e.LinkOffset)
            {
                continue;
            }

            if (transfer.Record.Length > 0)
            {
                _loser.Read(transfer.Loser, transfer.Record.Bytes);
                MergeOne();
                any = true;
            }

            transfer.Record.Return();
            pending.Transfers.RemoveAt(i);
        }

        return any;
    }

    private void MergeOne()
    {
        foreach (ref IdentifierEntry identifier in _loser.Identifiers)
        {
            ReadOnlySpan<byte> type = _loser.Bytes(identifier.Type);
            ReadOnlySpan<byte> value = _loser.Bytes(identifier.Value);
            int index = _profile.IndexOfIdentifier(type, value);
            if (index < 0)
            {
                ref IdentifierEntry added = ref _profile.AddIdentifier(type, value, _loser.Bytes(identifier.Source));
                added.FirstSeen = identifier.FirstSeen;
                added.LastSeen = identifier.LastSeen;
                continue;
            }

            ref IdentifierEntry entry = ref _profile.Identifiers[index];
            entry.LastSeen = Math.Max(entry.LastSeen, identifier.LastSeen);
            if (identifier.FirstSeen < entry.FirstSeen)
            {
                entry.FirstSeen = identifier.FirstSeen;
                entry.Source = _profile.Add(_loser.Bytes(identifier.Source));
            }
        }

        _traits.Merge(_profile, _loser);
        _crm.Merge(_profile, _loser);
        _segments.Merge(_profile, _loser);
        if (_loser.EventCount > 0)
        {
            _profile.FirstSeen = _profile.EventCount == 0 ? _loser.FirstSeen : Math.Min(_profile.FirstSeen, _loser.FirstSeen);
            _profile.LastSeen = _profile.EventCount == 0 ? _loser.LastSeen : Math.Max(_profile.LastSeen, _loser.LastSeen);
            _profile.EventCount += _loser.EventCount;
        }

        _profile.Version = Math.Max(_profile.Version, _loser.Version) + 1;
        foreach (UInt128 id in _loser.MergedFrom)
        {
            _profile.AddMergedFrom(id);
        }

        _profile.AddMergedFrom(_loser.Id);
        MergeRecent();
    }

    private void MergeRecent()
    {
        Span<RecentEvent> all = stackalloc RecentEvent[2 * ProfileState.MaxRecent];
        _loser.Recent.CopyTo(all);
        _profile.Recent.CopyTo(all[_loser.Recent.Length..]);
        int count = _loser.Recent.Length + _profile.Recent.Length;
        all = all[..count];
        all.Sort((left, right) => left.Offset != right.Offset ? left.Offset.CompareTo(right.Offset) : left.Partition.CompareTo(right.Partition));
        _profile.SetRecent(all[Math.Max(0, count - ProfileState.MaxRecent)..]);
    }

    /// <summary>This profile ends: its record goes to the survivor, a redirect stays, and no exit is emitted (RULES.md §3.8).</summary>
    private void MergeAway(in ProfileEvent e)
    {
        int length = 0;
        if (_profileExists)
        {
            foreach (MembershipEntry membership in _profile.Memberships)
            {
                if (_segments.SegmentIndex(membership.Key) is >= 0 and int segment)
                {
                    _members[segment].Remove(_profile.Id);
                }
            }

            length = _profile.Write(ref _record);
            ProfileCount--;
            EmitMergedInto(e.Into);
        }

        var transfer = new ProfileEvent { Kind = ProfileEventKind.Transfer, ProfileId = e.Into, Into = e.ProfileId, LinkOffset = e.LinkOffset, Payload = _record.AsSpan(0, length) };
        Send(e.Into, transfer);
        Span<byte> redirect = stackalloc byte[33];
        redirect[0] = RedirectFormat;
        CanonicalId.Write(redirect[1..], e.Into);
        BinaryPrimitives.WriteInt64LittleEndian(redirect[17..], e.LinkOffset);
        BinaryPrimitives.WriteInt64LittleEndian(redirect[25..], _offset);
        _cache.Forget(e.ProfileId);
        _store.Write(e.ProfileId, redirect);
        _dirty.Remove(e.ProfileId);
        CrashPoint.Hit(CrashPoint.ProfileMergedAway);
    }

    private void Forward(in ProfileEvent e, ReadOnlySpan<byte> value, UInt128 target, long epoch)
    {
        if (_offset <= _redirectOffset)
        {
            return; // Redo: it was applied before the merge, or sent on then.
        }

        if (e.Kind == ProfileEventKind.Merge)
        {
            return; // Redo of the command that made the redirect.
        }

        var forward = new ProfileEvent { Kind = ProfileEventKind.Forward, ProfileId = target, Generation = epoch, Payload = value };
        Send(target, forward);
    }

    private void Send(UInt128 target, ProfileEvent record)
    {
        record.SourceShard = _shard;
        record.SourceOffset = (_offset << 20) | (uint)_sent++;
        int end = record.WriteTo(ref _write, WireFormat.WriteHeader(ref _write, 0, _schemas[RecordType.ProfileEvent]));
        Span<byte> key = stackalloc byte[16];
        CanonicalId.Write(key, target);
        _effects.Append(StageLog.ProfileEvents, CanonicalId.Shard(target, _shards), key, _write.AsSpan(0, end), _timestampMs);
        SentOn++;
    }

    /// <summary>Does what time did to the loaded profile, each change at its own instant (RULES.md §7).</summary>
    private bool Advance(long now, bool inclusive)
    {
        if (_profile.ArmedDeadline > now || (_profile.ArmedDeadline == now && !inclusive))
        {
            return false; // The armed timer is never later than the next deadline.
        }

        bool changed = false;
        long deadline = _segments.NextDeadline(_profile, _profile.AdvancedTo);
        while (deadline < now || (inclusive && deadline == now))
        {
            _changes.Clear();
            _segments.EvaluateDue(_profile, deadline, ref _changes);
            _profile.AdvancedTo = deadline;
            if (_changes.Count > 0)
            {
                changed = true;
                _profile.UpdatedAt = Math.Max(_profile.UpdatedAt, deadline);
                Emit(deadline, MembershipReason.Time, default, 0);
            }

            deadline = _segments.NextDeadline(_profile, deadline);
        }

        _profile.ArmedDeadline = long.MaxValue;
        Arm(deadline);
        return changed;
    }

    private void Fire(UInt128 id, long deadline)
    {
        if ((_pending.Count > 0 && _pending.TryGetValue(id, out Pending? pending) && pending.Queue.Count > 0) || !TryLoad(id, keep: false, out _) || _profile.ArmedDeadline != deadline)
        {
            return; // It waits for a merge, is gone, or has a newer timer.
        }

        _profileExists = true;
        Advance(_dueAt, inclusive: true);
        Store();
    }

    /// <summary>Sets the timer of the loaded profile where the next deadline is before the armed one; a later one is found when the armed one fires.</summary>
    private void Arm() => Arm(_segments.NextDeadline(_profile, _profile.AdvancedTo));

    private void Arm(long next)
    {
        if (next < _profile.ArmedDeadline)
        {
            _profile.ArmedDeadline = next;
            _timers.Enqueue(_profile.Id, next);
        }
    }

    /// <summary>The loaded profile changed.</summary>
    private void Store()
    {
        _profile.SourceOffset = _offset;
        Changed();
    }

    private void Changed()
    {
        if (_cache.Changed(_profile) && _dirty.Add(_profile.Id) && _dirty.Count >= MaxDirty)
        {
            QueueFlush();
        }
    }

    /// <summary>Makes a profile the loaded one.</summary>
    /// <param name="id">Which.</param>
    /// <param name="keep">It will probably change again soon. What a timer or a question looks at in passing would only push out the profiles of current events.</param>
    /// <param name="redirect">Where a merged one went.</param>
    /// <returns>False where there is none; with <paramref name="keep"/> and no redirect the loaded one may then become it.</returns>
    private bool TryLoad(UInt128 id, bool keep, out UInt128? redirect)
    {
        redirect = null;
        if (_cache.TryGet(id, out ProfileState? held))
        {
            _profile = held;
            return true;
        }

        int length = _store.Read(id, ref _read);
        if (length >= 0 && _read[0] == RedirectFormat)
        {
            redirect = CanonicalId.Read(_read.AsSpan(1));
            _redirectOffset = BinaryPrimitives.ReadInt64LittleEndian(_read.AsSpan(25));
            return false;
        }

        _profile = keep ? _cache.Claim(id, Math.Max(0, length)) : _passing;
        if (length < 0)
        {
            return false;
        }

        _profile.Read(id, _read.AsSpan(0, length));
        if (keep)
        {
            _cache.Keep(_profile);
        }

        return true;
    }

    private void Emit(long at, MembershipReason reason, ReadOnlySpan<byte> messageId, long receivedAt)
    {
        for (int i = 0; i < _changes.Count; i++)
        {
            SegmentChange change = _changes[i];
            _profile.Version++;
            if (change.Segment < 0)
            {
                continue; // The model no longer names it: its exit was emitted by ChangeModel.
            }

            SegmentMembers members = _members[change.Segment];
            ref (long Entered, long Exited) counts = ref ChangeCounts[change.Segment];
            if (change.Entered)
            {
                members.Set(_profile.Id, at);
                counts.Entered++;
            }
            else
            {
                members.Remove(_profile.Id);
                counts.Exited++;
            }

            EmitMembership(_segmentIds[change.Segment], _segmentVersions[change.Segment], change.Entered, at, reason, messageId);
            if (receivedAt > 0)
            {
                EmittedFor.Add(receivedAt);
            }
        }
    }

    private void EmitMembership(byte[] segment, byte[] version, bool entered, long at, MembershipReason reason, ReadOnlySpan<byte> messageId)
    {
        if (Emitted.Count > 0 && Emitted.TryGetValue(_profile.Id, out long emitted))
        {
            if (_profile.Version >= emitted)
            {
                Emitted.Remove(_profile.Id);
            }

            if (_profile.Version <= emitted)
            {
                return;
            }
        }

        var membership = new SegmentMembership
        {
            ProfileId = _profile.Id,
            Segment = segment,
            SegmentVersion = version,
            Change = entered ? MembershipChange.Entered : MembershipChange.Exited,
            At = at,
            Cause = messageId,
            Reason = reason,
            SourceTs = _timestampMs,
            SourceOffset = _offset,
            Version = _profile.Version,
            Backfill = reason == MembershipReason.Backfill,
        };
        int end = membership.WriteTo(ref _write, WireFormat.WriteHeader(ref _write, 0, _schemas[RecordType.SegmentMembership]));
        int keyLength = 33 + segment.Length;
        if (_key.Length < keyLength)
        {
            _key = new byte[keyLength * 2];
        }

        CanonicalId.WriteText(_key, _profile.Id);
        _key[32] = (byte)':';
        segment.CopyTo(_key, 33);
        _effects.Append(StageLog.Memberships, _shard, _key.AsSpan(0, keyLength), _write.AsSpan(0, end), _timestampMs);
    }

    /// <summary>Writes the loaded profile to its log.</summary>
    private void EmitProfile()
    {
        _json.ResetWrittenCount();
        _jsonWriter.Reset();
        ProfileDocument.WriteTraits(_jsonWriter, _profile);
        _jsonWriter.Flush();
        int traits = _json.WrittenCount;
        _jsonWriter.Reset();
        ProfileDocument.WriteProvenance(_jsonWriter, _profile);
        _jsonWriter.Flush();
        int provenance = _json.WrittenCount;
        _jsonWriter.Reset();
        _segments.WriteComputed(_jsonWriter, _profile, Now);
        _jsonWriter.Flush();
        int computed = _json.WrittenCount;
        if (_profile.Crm.Length > 0)
        {
            _jsonWriter.Reset();
            ProfileDocument.WriteCrm(_jsonWriter, _profile);
            _jsonWriter.Flush();
        }

        ReadOnlySpan<byte> json = _json.WrittenSpan;
        var writer = new ProfileWriter(ref _write, WireFormat.WriteHeader(ref _write, 0, _schemas[RecordType.Profile]));
        writer.Head(_profile.Id, _profile.Version, _profile.FirstSeen, _profile.UpdatedAt, _profile.SourceOffset, null);
        writer.Identifiers(_profile.Identifiers.Length);
        foreach (ref IdentifierEntry identifier in _profile.Identifiers)
        {
            writer.Identifier(_profile.Bytes(identifier.Type), _profile.Bytes(identifier.Value), identifier.FirstSeen, identifier.LastSeen, _profile.Bytes(identifier.Source));
        }

        writer.Json(json[..traits], json[traits..provenance], json[provenance..computed]);
        int memberships = 0;
        foreach (ref MembershipEntry membership in _profile.Memberships)
        {
            memberships += _segments.SegmentIndex(membership.Key) >= 0 ? 1 : 0;
        }

        writer.Segments(memberships);
        foreach (ref MembershipEntry membership in _profile.Memberships)
        {
            if (_segments.SegmentIndex(membership.Key) is >= 0 and int segment)
            {
                writer.Segment(_segmentIds[segment], membership.Since);
            }
        }

        writer.Activity(_profile.FirstSeen, _profile.LastSeen, _profile.EventCount);
        writer.MergedFrom(_profile.MergedFrom.Length);
        foreach (UInt128 id in _profile.MergedFrom)
        {
            writer.MergedProfile(id);
        }

        writer.Crm(json[computed..]);
        int end = writer.End();
        AppendProfile(end);
    }

    private void EmitMergedInto(UInt128 into)
    {
        var writer = new ProfileWriter(ref _write, WireFormat.WriteHeader(ref _write, 0, _schemas[RecordType.Profile]));
        writer.Head(_profile.Id, _profile.Version + 1, _profile.FirstSeen, _profile.UpdatedAt, _offset, into);
        writer.Identifiers(0);
        writer.Json(default, default, default);
        writer.Segments(0);
        writer.Activity(_profile.FirstSeen, _profile.LastSeen, _profile.EventCount);
        writer.MergedFrom(0);
        AppendProfile(writer.End());
    }

    private void AppendProfile(int end)
    {
        Span<byte> key = stackalloc byte[32];
        CanonicalId.WriteText(key, _profile.Id);
        _effects.Append(StageLog.Profiles, _shard, key, _write.AsSpan(0, end), _timestampMs);
    }

    private void UseModel(CdpModel model)
    {
        _model = model;
        Compile();
        _segmentIds = [.. model.Segments.Select(segment => Encoding.UTF8.GetBytes(segment.Id))];
        _segmentVersions = [.. model.Segments.Select(segment => Encoding.UTF8.GetBytes(segment.Version.ToString("x16")))];
        ChangeCounts = new (long, long)[model.Segments.Count];
        var members = new Dictionary<string, SegmentMembers>(StringComparer.Ordinal);
        foreach (SegmentDefinition segment in model.Segments)
        {
            members[segment.Id] = Members.GetValueOrDefault(segment.Id) ?? new SegmentMembers();
        }

        _members = [.. model.Segments.Select(segment => members[segment.Id])];
        Members = members;
    }

    private void Compile()
    {
        PreparedStates? prepared = null;
        if (_prepared is not null)
        {
            Dictionary<string, FunctionExpression> states = SegmentCompiler.States(_models(_prepared.ModelVersion));
            prepared = new PreparedStates(_prepared.Id, [.. _prepared.States.Select(shared => KeyValuePair.Create(shared, states.GetValueOrDefault(shared) ?? PreparedStates.Nothing))]);
        }

        _segments = new SegmentEngine(_model, _epochs, prepared);
        _traits = new TraitRules(_model, EventScan.FirstTraitSlot(_segments.EventPaths.Count), _traitLimits, TraitsSkipped);
        _crm = new CrmRules(_model, CrmSkipped);
        _scan = new EventScan(_segments.EventPaths, _traits.Paths);
        BackfillPlan? plan = _prepared ?? _finished;
        _stateKeys = plan is null ? [] : plan == _prepared ? [.. _segments.Prepared.Select(state => (uint?)state.Key)] : [.. plan.States.Select(shared => _segments.StateKey(shared, plan.Id))];
    }

    /// <summary>A step of counting history again (adr/0011): prepare and count go to all shards before the history is read, the states of each profile follow, then finish.</summary>
    private void TakeBackfill(in ProfileEvent e, ReadOnlySpan<byte> value)
    {
        switch ((BackfillStep)e.EventType)
        {
            case BackfillStep.Prepare:
                _prepared = BackfillPlan.Parse(e.Payload);
                Compile();
                break;
            case BackfillStep.Count when _prepared?.Id == e.Generation:
                _epoch = e.Generation;
                break;
            case BackfillStep.States:
                Take(e, value, _epoch);
                break;
            case BackfillStep.Finish when _prepared?.Id == e.Generation:
                BackfillPlan done = _finished = _prepared;
                _prepared = null;
                _epochs = new Dictionary<string, long>(_epochs, StringComparer.Ordinal);
                foreach (string shared in done.States)
                {
                    _epochs[shared] = done.Id;
                }

                ChangeModel(_models(done.ModelVersion), BackfillPlan.Parse(e.Payload));
                break;
        }
    }

    /// <summary>Adds what history has for the loaded profile.</summary>
    /// <returns>Always true: the profile stays.</returns>
    private bool ApplyStates(in ProfileEvent e, long now)
    {
        if (!IsOfPlan(e))
        {
            return true;
        }

        AddStates(_profile, e.Payload);
        if (_prepared is null)
        {
            // It had to follow a merge to another shard, and the new rules are served already.
            _changes.Clear();
            _segments.Evaluate(_profile, now, ref _changes);
            _profile.AdvancedTo = Math.Max(_profile.AdvancedTo, now);
            Emit(now, MembershipReason.Backfill, default, 0);
            Arm();
        }

        return true;
    }

    /// <summary>The states are those that the shard counts for, or has counted for last.</summary>
    private bool IsOfPlan(in ProfileEvent e) => (_prepared ?? _finished)?.Id == e.Generation;

    private void AddStates(ProfileState profile, ReadOnlySpan<byte> states)
    {
        var reader = new StateReader(states);
        while (!reader.IsAtEnd)
        {
            int index = (int)reader.Unsigned();
            ReadOnlySpan<byte> state = reader.Bytes();
            if (index < _stateKeys.Length && _stateKeys[index] is { } key)
            {
                _segments.Add(profile, key, state);
            }
        }
    }

    /// <summary>Adds states to a profile that has come for a survivor which has no record yet: it takes them over with its first event.</summary>
    private void AddToTransfer(in ProfileEvent e)
    {
        if (!IsOfPlan(e) || !_pending.TryGetValue(e.ProfileId, out Pending? pending))
        {
            return; // History alone makes no profile.
        }

        int index = pending.Transfers.FindIndex(transfer => transfer.Record.Length > 0);
        if (index >= 0)
        {
            Transfer transfer = pending.Transfers[index];
            _loser.Read(transfer.Loser, transfer.Record.Bytes);
            AddStates(_loser, e.Payload);
            int length = _loser.Write(ref _record);
            pending.Transfers[index] = transfer with { Record = Rented.Copy(_record.AsSpan(0, length)) };
            transfer.Record.Return();
        }
    }

    /// <summary>From here on another model counts: every profile is evaluated with it, new functions start from now.</summary>
    /// <param name="model">The model.</param>
    /// <param name="backfill">A backfill that brought what it needs of history; null: none.</param>
    private void ChangeModel(CdpModel model, BackfillPlan? backfill = null)
    {
        if (backfill is null && _prepared is not null && _prepared.ModelVersion != model.Version)
        {
            _prepared = null; // Counted for a model that is not wanted any more.
            Compile();
        }

        if (model.Version == _model.Version && backfill is null)
        {
            return;
        }

        MembershipReason reason = backfill is null ? MembershipReason.Edit : MembershipReason.Backfill;
        _prepared = null; // Counted for a model that is not wanted any more.
        PassTimeForAll();
        CdpModel old = _model;
        HashSet<string> known = [.. ModelFunctions.Of(old)];
        HashSet<string> counted = [.. backfill?.States ?? []];
        HashSet<string> exact = [.. SegmentCompiler.FunctionsOf(model).Where(function => counted.Contains(CompiledFunction.Shared(function).ToString())).Select(function => function.ToString())];
        UseModel(model);
        var since = new Dictionary<string, long>(); // One that went away and comes back starts again: its state went, too.
        foreach (string function in ModelFunctions.Of(model))
        {
            if (exact.Contains(function))
            {
                if (backfill!.SinceMs > 0)
                {
                    since[function] = backfill.SinceMs;
                }
            }
            else if (!known.Contains(function) && ProfileCount > 0)
            {
                since[function] = Now;
            }
            else if (known.Contains(function) && FunctionsSince.TryGetValue(function, out long began))
            {
                since[function] = began;
            }
        }

        FunctionsSince = since; // Whole, because the query API reads it from its own threads.

        Dictionary<uint, SegmentDefinition> gone = [];
        var before = new SegmentEngine(old);
        for (int i = 0; i < old.Segments.Count; i++)
        {
            if (_segments.SegmentIndex(before.SegmentKey(i)) < 0)
            {
                gone[before.SegmentKey(i)] = old.Segments[i];
            }
        }

        foreach (UInt128 id in AllIds())
        {
            if (!TryLoad(id, keep: false, out _) || _offset <= _profile.SourceOffset)
            {
                continue;
            }

            _profileExists = true;
            _changes.Clear();
            _segments.RemoveUnknown(_profile, ref _changes);
            for (int i = 0; i < _changes.Count; i++)
            {
                if (gone.TryGetValue(_changes[i].Key, out SegmentDefinition? segment))
                {
                    _profile.Version++;
                    EmitMembership(Encoding.UTF8.GetBytes(segment.Id), Encoding.UTF8.GetBytes(segment.Version.ToString("x16")), entered: false, Now, reason, default);
                }
            }

            _changes.Clear();
            _segments.Evaluate(_profile, Now, ref _changes);
            _profile.AdvancedTo = Math.Max(_profile.AdvancedTo, Now);
            Emit(Now, reason, default, 0);
            _profile.ArmedDeadline = long.MaxValue;
            Arm();
            Store();
        }

        Served = model;
    }

    /// <summary>Does what time did up to now to every profile, while the old model's rules are there to say what.</summary>
    private void PassTimeForAll()
    {
        foreach (UInt128 id in AllIds())
        {
            bool waits = _pending.TryGetValue(id, out Pending? pending) && pending.Queue.Count > 0; // For a merge: what is queued comes before.
            if (waits || !TryLoad(id, keep: false, out _) || _offset <= _profile.SourceOffset || !Advance(Now, inclusive: true))
            {
                continue;
            }

            Changed(); // Not Store: this record is not done yet with the profile.
        }
    }

    /// <summary>Bytes that wait for a short time, in an array of the pool.</summary>
    private readonly record struct Rented(byte[] Array, int Length)
    {
        public ReadOnlySpan<byte> Bytes => Array.AsSpan(0, Length);

        public static Rented Copy(ReadOnlySpan<byte> bytes)
        {
            byte[] array = s_waiting.Rent(bytes.Length);
            bytes.CopyTo(array);
            return new Rented(array, bytes.Length);
        }

        public void Return() => s_waiting.Return(Array);
    }

    private readonly record struct Queued(Rented Value, long Now, long DueAt, long TimestampMs, long Epoch);

    private readonly record struct Transfer(long Link, UInt128 Loser, Rented Record);

    private sealed class Pending
    {
        public List<Queued> Queue { get; } = [];

        public List<Transfer> Transfers { get; } = [];
    }
}
