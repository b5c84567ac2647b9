using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Runtime;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Pipeline.Identity;

/// <summary>Whose time a shard's <em>now</em> follows (RULES.md §4.3).</summary>
public enum ClockMode
{
    /// <summary>Ticks carry wall time.</summary>
    Wall,

    /// <summary>Ticks carry the latest event time of the workspace: imports, back-tests, tests.</summary>
    Event,
}

/// <summary>Drops repeats, validates, finds each event's profile and passes it on. Reads events and identity-map, writes profile-events, identity-links and dead-letters.</summary>
/// <remarks>
/// An event whose identifiers the map does not show as one person waits for the resolver, and behind it only events that share an identifier or
/// a profile with it. What a crash interrupts is found again in the router's own output (<see cref="Routed"/>), so no event is passed on twice.
/// Cost without waiting: 0 B an event.
/// </remarks>
internal sealed class Router
{
    private const int MaxRejected = 65_536;

    private readonly EventReader _reader;
    private readonly CdpModel _model;
    private readonly byte[][] _types;
    private readonly Dictionary<string, bool> _trusted = new(StringComparer.Ordinal);
    private readonly Dictionary<string, bool>.AlternateLookup<ReadOnlySpan<char>> _trustedByText;
    private readonly IStateStore _map;
    private readonly RepeatFilter _repeats;
    private readonly IEffects _effects;
    private readonly SchemaIds _schemas;
    private readonly DerivedId _ids;
    private readonly ClockMode _clockMode;
    private readonly int _shards;
    private readonly int _maxWaiting;
    private readonly JsonPathScanner _jsonEnvelope = new([["receivedAt"], ["source"], ["writeKey"]]);
    private readonly JsonSlice[] _jsonSlots = new JsonSlice[3];
    private readonly IdentifierListWriter _identifiers = new();
    private UInt128[] _hashes = new UInt128[64];
    private UInt128[] _profiles = new UInt128[64];
    private bool[] _known = new bool[64];
    private bool[] _kept = new bool[64];
    private readonly Dictionary<UInt128, long> _rejected = [];
    private readonly Queue<UInt128> _rejectedOrder = [];
    private readonly List<Waiting> _waiting = [];
    private readonly Stack<Waiting> _free = [];
    private readonly List<(int End, long TimestampMs)> _links = [];
    private byte[] _linkBytes = new byte[4096];
    private readonly Dictionary<(int Partition, long Offset), Waiting> _asked = [];
    private readonly HashSet<UInt128> _blocked = [];
    private readonly List<(UInt128 Identifier, UInt128 Profile)> _decided = [];
    private long _decidedLink = -1;
    private long _decidedFrom;
    private byte[] _read = new byte[64];
    private byte[] _write = new byte[2048];
    private Waiting _current = new();
    private bool _answered;
    private bool _hasUndecided;

    /// <param name="model">Identifiers and sources.</param>
    /// <param name="map">Identifier hash → canonical id: what identity-map says.</param>
    /// <param name="repeats">Kept messageIds.</param>
    /// <param name="effects">Where records go.</param>
    /// <param name="schemas">Schema ids to write with.</param>
    /// <param name="ids">Ids of lone identifiers.</param>
    /// <param name="shards">Partitions of profile-events.</param>
    /// <param name="clockMode">Whose time ticks carry.</param>
    /// <param name="generation">Grows with each start: shards ignore what an older run of this router still writes.</param>
    /// <param name="maxWaiting">Events that may wait for decisions; beyond it the router reads no further.</param>
    public Router(CdpModel model, IStateStore map, RepeatFilter repeats, IEffects effects, SchemaIds schemas, DerivedId ids, int shards, ClockMode clockMode, long generation, int maxWaiting = 10_000)
    {
        _model = model;
        _reader = new EventReader(model);
        _types = [.. model.Identifiers.Select(identifier => Encoding.UTF8.GetBytes(identifier.Type))];
        foreach (SourceDefinition source in model.Sources)
        {
            _trusted[source.Id] = source.Trusted;
        }

        _trustedByText = _trusted.GetAlternateLookup<ReadOnlySpan<char>>();
        _map = map;
        _repeats = repeats;
        _effects = effects;
        _schemas = schemas;
        _ids = ids;
        _shards = shards;
        _clockMode = clockMode;
        _maxWaiting = maxWaiting;
        Generation = generation;
    }

    /// <summary>Number of this run.</summary>
    public long Generation { get; }

    /// <summary>Latest event time of the events passed on, Unix ms; <see cref="long.MinValue"/> before the first.</summary>
    public long Clock { get; set; } = long.MinValue;

    /// <summary>Latest clock that was sent to all shards.</summary>
    public long ClockSent { get; set; } = long.MinValue;

    /// <summary>Latest clock up to and with which time was settled in all shards.</summary>
    public long ClockSettled { get; private set; } = long.MinValue;

    /// <summary>Events that the last run passed on after its checkpoint; they are not passed on again. Entries go as their events come by.</summary>
    public HashSet<(int Partition, long Offset)> Routed { get; } = [];

    /// <summary>Events that the last run asked the resolver about and did not pass on: they are asked about again, whatever the map shows by now.</summary>
    public HashSet<(int Partition, long Offset)> AskedBefore { get; } = [];

    /// <summary>Events that wait, in the order in which they came.</summary>
    public IEnumerable<WaitingEvent> EventsWaiting => _waiting.Select(waiting => new WaitingEvent(
        waiting.Partition, waiting.Offset, waiting.Now, waiting.IsAsked || AskedBefore.Contains((waiting.Partition, waiting.Offset)), waiting.IsUndecided));

    /// <summary>Passed on.</summary>
    public long Processed { get; private set; }

    /// <summary>Dropped as repeats.</summary>
    public long Duplicates { get; private set; }

    /// <summary>Refused, by problem.</summary>
    public long[] DeadLetters { get; } = new long[Enum.GetValues<EventProblem>().Length];

    /// <summary>Identifiers left out by a rule without asking the resolver, because it has left them out before: limit, merge_by. The resolver counts those that it is asked about.</summary>
    public IReadOnlyDictionary<string, long> Rejections => _rejections;

    private readonly Dictionary<string, long> _rejections = new(StringComparer.Ordinal) { ["limit"] = 0, ["merge_by"] = 0 };

    /// <summary>Events that wait for a decision, or behind one that does.</summary>
    public int WaitingCount => _waiting.Count;

    /// <summary>Whether the next event may be read: with the event clock one decision at a time, so that no clock runs ahead of a merge.</summary>
    /// <remarks>Nor while it is open whether an event is a dead letter: until then nobody knows whether its messageId and its time count.</remarks>
    public bool CanRead => !_hasUndecided && (_clockMode == ClockMode.Event ? _waiting.Count == 0 : _waiting.Count < _maxWaiting);

    /// <summary>The first offset of a partition that is not done.</summary>
    public long FirstWaiting(int partition, long position)
    {
        foreach (Waiting waiting in _waiting)
        {
            if (waiting.Partition == partition)
            {
                position = Math.Min(position, waiting.Offset);
            }
        }

        return position;
    }

    /// <summary>When the first of those that wait was received, Unix ms, where that is before an instant; else the instant.</summary>
    public long FirstWaitingMs(long nowMs)
    {
        foreach (Waiting waiting in _waiting)
        {
            nowMs = Math.Min(nowMs, waiting.TimestampMs);
        }

        return nowMs;
    }

    /// <summary>Tells every shard that from here on only this run of the router counts.</summary>
    /// <param name="partitions">Partitions of events.</param>
    /// <param name="timestampMs">Record time.</param>
    public void Fence(int partitions, long timestampMs)
    {
        for (int shard = 0; shard < _shards; shard++)
        {
            for (int partition = 0; partition < partitions; partition++)
            {
                Append(shard, new ProfileEvent { Kind = ProfileEventKind.Fence, OriginPartition = partition, Generation = Generation }, timestampMs);
            }
        }
    }

    /// <summary>Sends the time to every shard.</summary>
    /// <param name="nowMs">Wall time; with the event clock its own clock is sent, when it is new.</param>
    /// <remarks>
    /// Where ticks of the event clock stand depends on when the router was idle, so they must change nothing: they make due what lies before the
    /// clock. What falls on the clock itself is left to the events of that instant that may still come (RULES.md §7), and to <see cref="Settle"/>.
    /// </remarks>
    public void Tick(long nowMs)
    {
        if (_clockMode == ClockMode.Wall)
        {
            Tick(nowMs, dueAt: 0, nowMs);
        }
        else if (Clock != ClockSent)
        {
            ClockSent = Clock;
            Tick(Clock, Clock - 1, nowMs);
        }
    }

    /// <summary>Sends the time to every shard and makes due all that it changes, what falls on this very instant, too: somebody wants to read.</summary>
    /// <param name="nowMs">Wall time.</param>
    public void Settle(long nowMs)
    {
        if (_clockMode == ClockMode.Wall)
        {
            Tick(nowMs);
        }
        else if (Clock != ClockSettled)
        {
            ClockSent = ClockSettled = Clock;
            Tick(Clock, dueAt: 0, nowMs);
        }
    }

    private void Tick(long now, long dueAt, long timestampMs)
    {
        for (int shard = 0; shard < _shards; shard++)
        {
            Append(shard, new ProfileEvent { Kind = ProfileEventKind.Tick, Now = now, EventTime = dueAt, Generation = Generation }, timestampMs);
        }
    }

    /// <summary>Offset in identity-map of the first decision that is not in the map because the outcome of its link is to come; else a position.</summary>
    public long FirstUndecided(long position) => _decided.Count > 0 ? _decidedFrom : position;

    /// <summary>Takes a record of identity-map. After a batch of them call <see cref="GoOn"/>.</summary>
    /// <remarks>Decisions count with their outcome or any record of a later link, as for <see cref="Resolver.Replay"/>. Those that a crash cut off come again.</remarks>
    public void ApplyDecision(in LogRecord record)
    {
        if (!WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) || !IdentityDecision.TryRead(body, out IdentityDecision decision))
        {
            return;
        }

        if (decision.Kind == DecisionKind.Decision)
        {
            if (decision.LinkOffset != _decidedLink)
            {
                ApplyDecided(before: decision.LinkOffset);
                _decidedLink = decision.LinkOffset;
            }

            if (_decided.Count == 0)
            {
                _decidedFrom = record.Offset;
            }

            _decided.Add((Hash128.OfIdentifier(decision.Type, decision.Value), decision.ProfileId));
            return;
        }

        ApplyDecided(before: decision.Kind == DecisionKind.Outcome ? decision.Epoch + 1 : decision.LinkOffset);
        if (decision.Kind == DecisionKind.Outcome && _asked.Remove((decision.OriginPartition, decision.OriginOffset), out Waiting? waiting))
        {
            // Routed here and not later: the map is exactly as of this decision now.
            waiting.IsDone = true;
            _answered = true;
            Load(waiting);
            CrashPoint.Hit(CrashPoint.RouterAnswered);
            RouteDecided(waiting, decision);
        }
    }

    /// <summary>Of one link all decisions or none: with some of them the map would show one person as two, and an event could pass one that waits for the others.</summary>
    private void ApplyDecided(long before)
    {
        Span<byte> id = stackalloc byte[16];
        foreach ((UInt128 identifier, UInt128 profile) in _decided)
        {
            if (_decidedLink < before)
            {
                CanonicalId.Write(id, profile);
                _map.Write(identifier, id);
            }
        }

        _decided.Clear();
    }

    /// <summary>Passes on what waited behind events that have their decision now.</summary>
    public void GoOn()
    {
        if (!_answered)
        {
            return;
        }

        _answered = false;
        RemoveDone();
        _blocked.Clear();
        foreach (Waiting waiting in _waiting)
        {
            if (!waiting.IsAsked)
            {
                Load(waiting);
                FindProfiles();
                if (!IsBlocked() && TryRoute(waiting))
                {
                    waiting.IsDone = true;
                    continue;
                }
            }
            else
            {
                Load(waiting);
                FindProfiles();
            }

            Block();
        }

        RemoveDone();
    }

    private void RemoveDone()
    {
        int kept = 0;
        for (int i = 0; i < _waiting.Count; i++)
        {
            Waiting waiting = _waiting[i];
            if (!waiting.IsDone)
            {
                _waiting[kept++] = waiting;
                continue;
            }

            waiting.IsDone = waiting.IsAsked = false;
            _free.Push(waiting); // At most as many as may wait.
        }

        _waiting.RemoveRange(kept, _waiting.Count - kept);
    }

    /// <summary>Sends the questions of this batch, after the events passed on before them are durable.</summary>
    /// <remarks>Else a crash could keep a question and lose such an event, which would then be passed on to the profile as merged, and not as it was.</remarks>
    public void SendLinks()
    {
        if (_links.Count == 0)
        {
            return;
        }

        _effects.WaitDurable(StageLog.ProfileEvents);
        int start = 0;
        foreach ((int end, long timestampMs) in _links)
        {
            _effects.Append(StageLog.IdentityLinks, 0, "workspace"u8, _linkBytes.AsSpan(start, end - start), timestampMs);
            start = end;
        }

        _links.Clear();
        CrashPoint.Hit(CrashPoint.RouterAsked);
    }

    /// <summary>Takes a record of events. After a batch of them call <see cref="SendLinks"/>.</summary>
    public void Apply(in LogRecord record)
    {
        if (!TryOpen(record, out CustomerEvent envelope, out EventType typeOfPath))
        {
            Refuse(record, envelope, EventProblem.Unreadable);
            return;
        }

        if (!EventTimestamp.IsRepresentable(envelope.ReceivedAt))
        {
            Refuse(record, envelope, EventProblem.ReceivedAtUnreadable);
            return;
        }

        EventProblem problem = _reader.Read(envelope.Payload, envelope.Context, typeOfPath);
        if (problem != EventProblem.None)
        {
            Refuse(record, envelope, problem);
            return;
        }

        ReadOnlySpan<byte> messageId = envelope.MessageId.IsEmpty ? _reader.MessageId : envelope.MessageId;
        long eventTime = _reader.EventTime(envelope.ReceivedAt, envelope.SentAt, envelope.Import);
        Waiting current = Current(record);
        current.IsUndecided = IsUndecided && !Routed.Contains((record.Partition, record.Offset));
        if (!current.IsUndecided && !TryAccept(current, envelope, messageId, eventTime))
        {
            return;
        }

        FindProfiles();
        if (_waiting.Count > 0 && IsBlocked())
        {
            Wait(current, record);
            return;
        }

        if (!TryRoute(current, envelope, messageId, eventTime))
        {
            Wait(current, record);
        }
    }

    private Waiting Current(in LogRecord record)
    {
        (_current.Partition, _current.Offset, _current.TimestampMs, _current.Now) = (record.Partition, record.Offset, record.TimestampMs, 0);
        return _current;
    }

    private void Refuse(in LogRecord record, in CustomerEvent envelope, EventProblem problem)
    {
        if (Routed.Count == 0 || !Routed.Remove((record.Partition, record.Offset))) // The last run passed it on, by the model of then.
        {
            DeadLetter(record, envelope, problem);
        }
    }

    /// <summary>Takes an event that waited in the last run, before any other is read. Those that were asked about come first: they share nothing with each other.</summary>
    /// <param name="record">The event.</param>
    /// <param name="waiting">What the last run knew of it.</param>
    /// <param name="isRead">It does not come by again. Else it does, and counts for the filter of repeats only.</param>
    /// <remarks>
    /// None of the same person's, in another partition, may be passed on before it: else a merge that was decided after its own could come first,
    /// and the shard would wait for ever, with each behind the other.
    /// </remarks>
    public void WaitAgain(in LogRecord record, in WaitingEvent waiting, bool isRead)
    {
        EventProblem problem = !TryOpen(record, out CustomerEvent envelope, out EventType typeOfPath) ? EventProblem.Unreadable : _reader.Read(envelope.Payload, envelope.Context, typeOfPath);
        bool isUndecided = IsUndecided && !(isRead && Routed.Contains((record.Partition, record.Offset)));
        if (problem != EventProblem.None || (isUndecided && !isRead))
        {
            if (isRead)
            {
                Refuse(record, envelope, problem); // By the model of now.
            }

            return; // What is open to be a dead letter merges nobody: it may come by first, with what the filter of repeats knows by then.
        }

        ReadOnlySpan<byte> messageId = envelope.MessageId.IsEmpty ? _reader.MessageId : envelope.MessageId;
        long eventTime = _reader.EventTime(envelope.ReceivedAt, envelope.SentAt, envelope.Import);
        Waiting current = Current(record);
        current.IsUndecided = isUndecided;
        if (waiting.IsUndecided && !isUndecided && isRead)
        {
            if (!TryAccept(current, envelope, messageId, eventTime))
            {
                return;
            }
        }
        else if (_clockMode == ClockMode.Event)
        {
            current.Now = Math.Max(waiting.Now, Math.Max(Clock, eventTime));
        }

        if (!isRead)
        {
            Routed.Add((record.Partition, record.Offset));
        }

        FindProfiles();
        if ((!waiting.IsAsked && _waiting.Count > 0 && IsBlocked()) || !TryRoute(current, envelope, messageId, eventTime))
        {
            Wait(current, record);
        }
    }

    /// <summary>The event has nothing but a previousId that can only be a user_id: where it is not known as one, no identifier is left (RULES.md §1.5, §1.6).</summary>
    private bool IsUndecided => _reader.IdentifierCount == 0 && _reader.PreviousAnonymousId.IsEmpty;

    /// <summary>Takes in the messageId and the time of an event that is no dead letter; false where it repeats another, or was passed on before a crash.</summary>
    private bool TryAccept(Waiting waiting, in CustomerEvent envelope, ReadOnlySpan<byte> messageId, long eventTime)
    {
        bool isRouted = Routed.Count > 0 && Routed.Remove((waiting.Partition, waiting.Offset));
        if (!messageId.IsEmpty && _repeats.IsRepeat(Hash128.Of(messageId), _reader.SenderHash, envelope.ReceivedAt, waiting.Partition, waiting.Offset) && !isRouted)
        {
            Duplicates++;
            return false;
        }

        long now = Math.Max(Clock, eventTime);
        if (isRouted)
        {
            Clock = now;
            AskedBefore.Remove((waiting.Partition, waiting.Offset));
            return false;
        }

        waiting.Now = _clockMode == ClockMode.Event ? now : 0; // The clock itself follows when the event is passed on: no tick may overtake the merge that it waits for.
        return true;
    }

    /// <summary>Whose an identifier is, by the map as it is now; a lone anonymous id has its derived profile.</summary>
    public bool TryFind(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value, out UInt128 profile)
    {
        UInt128 hash = Hash128.OfIdentifier(type, value);
        if (_map.Read(hash, ref _read) >= 0)
        {
            profile = CanonicalId.Read(_read);
            return true;
        }

        profile = _ids.OfLone(hash);
        return type.SequenceEqual("anonymous_id"u8);
    }

    /// <summary>Where the event with a messageId stands.</summary>
    public bool TryTrace(ReadOnlySpan<byte> messageId, out int partition, out long offset) => _repeats.TryFind(Hash128.Of(messageId), out partition, out offset);

    private bool TryOpen(in LogRecord record, out CustomerEvent envelope, out EventType typeOfPath)
    {
        typeOfPath = EventType.Unknown;
        if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body))
        {
            if (!CustomerEvent.TryRead(body, out envelope))
            {
                envelope = new CustomerEvent { Payload = record.Value, ReceivedAt = record.TimestampMs };
                return false;
            }

            typeOfPath = EventTypeText.Parse(envelope.Type);
            envelope.SentAt = envelope.SentAt is long sentAt && EventTimestamp.IsRepresentable(sentAt) ? sentAt : null; // Unreadable counts as missing (RULES.md §1.5).
            return true;
        }

        // JSON in the Segment shape, written to the log by somebody's own producer.
        envelope = new CustomerEvent { Payload = record.Value, ReceivedAt = record.TimestampMs, Import = true, Source = "kafka"u8 };
        if (!_jsonEnvelope.Scan(record.Value, _jsonSlots))
        {
            return false;
        }

        if (EventTimestamp.TryRead(_jsonSlots[0].In(record.Value), _jsonSlots[0].Kind, out long receivedAt))
        {
            envelope.ReceivedAt = receivedAt;
            envelope.Import = false;
        }

        if (_jsonSlots[1] is { Kind: JsonTokenType.String, IsEscaped: false, Length: > 0 and <= 128 })
        {
            envelope.Source = _jsonSlots[1].In(record.Value);
        }
        else if (_jsonSlots[2] is { Kind: JsonTokenType.String, IsEscaped: false })
        {
            string key = Encoding.UTF8.GetString(_jsonSlots[2].In(record.Value));
            if (_model.Sources.FirstOrDefault(source => source.WriteKey == key) is SourceDefinition found)
            {
                envelope.Source = Encoding.UTF8.GetBytes(found.Id);
            }
        }

        return true;
    }

    /// <summary>Reads a waiting event again.</summary>
    private void Load(Waiting waiting)
    {
        bool opened = TryOpen(waiting.Record, out CustomerEvent envelope, out EventType typeOfPath);
        EventProblem problem = _reader.Read(envelope.Payload, envelope.Context, typeOfPath);
        Debug.Assert(opened && problem == EventProblem.None, "Only a good event waits.");
    }

    private void FindProfiles()
    {
        int count = _reader.IdentifierCount;
        if (_hashes.Length <= count)
        {
            int length = (count + 1) * 2; // One more than there are: an alias's previousId may join them.
            (_hashes, _profiles, _known, _kept) = (new UInt128[length], new UInt128[length], new bool[length], new bool[length]);
        }

        for (int i = 0; i < count; i++)
        {
            _hashes[i] = _reader.IdentifierHash(i);
            _known[i] = _map.Read(_hashes[i], ref _read) >= 0;
            _profiles[i] = _known[i] ? CanonicalId.Read(_read) : IsAnonymous(i) ? _ids.OfLone(_hashes[i]) : _hashes[i];
        }
    }

    private bool IsAnonymous(int i) => _reader.IdentifierType(i) == _reader.AnonymousIdType;

    private bool IsBlocked()
    {
        int count = _reader.IdentifierCount;
        for (int i = 0; i < count; i++)
        {
            if (_blocked.Contains(_hashes[i]) || _blocked.Contains(_profiles[i]))
            {
                return true;
            }
        }

        return IsBlocked("user_id"u8, _reader.PreviousUserId) || IsBlocked("anonymous_id"u8, _reader.PreviousAnonymousId);
    }

    private bool IsBlocked(ReadOnlySpan<byte> type, ReadOnlySpan<byte> previousId)
    {
        if (previousId.IsEmpty)
        {
            return false;
        }

        UInt128 hash = Hash128.OfIdentifier(type, previousId);
        return _blocked.Contains(hash) || _blocked.Contains(ProfileOf(hash));
    }

    private UInt128 ProfileOf(UInt128 hash) => _map.Read(hash, ref _read) >= 0 ? CanonicalId.Read(_read) : _ids.OfLone(hash);

    private void Block()
    {
        int count = _reader.IdentifierCount;
        for (int i = 0; i < count; i++)
        {
            _blocked.Add(_hashes[i]);
            _blocked.Add(_profiles[i]);
        }

        Block("user_id"u8, _reader.PreviousUserId);
        Block("anonymous_id"u8, _reader.PreviousAnonymousId);
    }

    private void Block(ReadOnlySpan<byte> type, ReadOnlySpan<byte> previousId)
    {
        if (!previousId.IsEmpty)
        {
            UInt128 hash = Hash128.OfIdentifier(type, previousId);
            _blocked.Add(hash);
            _blocked.Add(ProfileOf(hash));
        }
    }

    private void Wait(Waiting waiting, in LogRecord record)
    {
        _current = _free.TryPop(out Waiting? free) ? free : new Waiting();
        waiting.Keep(record.Value);
        _waiting.Add(waiting);
        _hasUndecided |= waiting.IsUndecided;
        if (waiting.IsAsked)
        {
            _asked[(waiting.Partition, waiting.Offset)] = waiting;
        }

        Block();
    }

    private bool TryRoute(Waiting waiting)
    {
        TryOpen(waiting.Record, out CustomerEvent envelope, out _);
        ReadOnlySpan<byte> messageId = envelope.MessageId.IsEmpty ? _reader.MessageId : envelope.MessageId;
        long eventTime = _reader.EventTime(envelope.ReceivedAt, envelope.SentAt, envelope.Import);
        bool routed = TryRoute(waiting, envelope, messageId, eventTime);
        if (waiting.IsAsked)
        {
            _asked[(waiting.Partition, waiting.Offset)] = waiting;
        }

        return routed;
    }

    /// <summary>Passes the event on where the map shows whose it is; else asks the resolver.</summary>
    private bool TryRoute(Waiting waiting, in CustomerEvent envelope, ReadOnlySpan<byte> messageId, long eventTime)
    {
        int count = _reader.IdentifierCount;
        bool askAgain = AskedBefore.Count > 0 && AskedBefore.Remove((waiting.Partition, waiting.Offset));
        if (!askAgain && !_reader.HasPreviousId && TryKeep(count, IsTrusted(envelope.Source)))
        {
            Route(waiting, envelope, messageId, eventTime, _profiles[0], default);
            return true;
        }

        waiting.IsAsked = true;
        Ask(waiting, envelope, messageId, eventTime, count);
        return false;
    }

    /// <summary>Says in <see cref="_kept"/> which identifiers count, where that needs no new decision.</summary>
    private bool TryKeep(int count, bool trusted)
    {
        _kept[0] = true;
        if (count == 1)
        {
            return _known[0] || IsAnonymous(0);
        }

        bool one = _known[0];
        for (int i = 1; i < count && one; i++)
        {
            one = _known[i] && _profiles[i] == _profiles[0];
        }

        if (one)
        {
            _kept.AsSpan(0, count).Fill(true);
            return true;
        }

        if (_rejected.Count == 0 || count > KeptMask.LowBits || !_rejected.TryGetValue(ListHash(count, trusted), out long kept))
        {
            return false;
        }

        // The resolver left some of these identifiers out before. Profiles only grow, so it would again; those that joined meanwhile are kept.
        bool alone = true;
        for (int i = 1; i < count; i++)
        {
            _kept[i] = _known[i] && _known[0] && _profiles[i] == _profiles[0];
            alone &= !_kept[i];
            if (!_kept[i] && KeptMask.Has(kept, default, i))
            {
                return false;
            }
        }

        if (!_known[0] && !(alone && IsAnonymous(0)))
        {
            return false;
        }

        bool firstIsBound = !trusted && _known[0] && MergesByServer(0);
        for (int i = 1; i < count; i++)
        {
            if (!_kept[i])
            {
                _rejections[firstIsBound || (!trusted && _known[i] && MergesByServer(i)) ? "merge_by" : "limit"]++;
            }
        }

        return true;
    }

    private bool MergesByServer(int i) => _model.Identifiers[_reader.IdentifierType(i)].MergeByServer;

    private UInt128 ListHash(int count, bool trusted) =>
        Hash128.Of(MemoryMarshal.AsBytes(_hashes.AsSpan(0, count))) ^ (trusted ? UInt128.One : UInt128.Zero);

    private bool IsTrusted(ReadOnlySpan<byte> source)
    {
        Span<char> text = stackalloc char[256];
        if (source.Length > text.Length)
        {
            return false;
        }

        int length = Encoding.UTF8.GetChars(source, text);
        return !_trustedByText.TryGetValue(text[..length], out bool trusted) || trusted; // A source that the model does not name wrote to the log itself: a server.
    }

    private void Ask(Waiting waiting, in CustomerEvent envelope, ReadOnlySpan<byte> messageId, long eventTime, int count)
    {
        _identifiers.Clear();
        for (int i = 0; i < count; i++)
        {
            _identifiers.Add(_types[_reader.IdentifierType(i)], _reader.IdentifierValue(i));
        }

        var link = new IdentityLink
        {
            Kind = LinkKind.Link,
            OriginPartition = waiting.Partition,
            OriginOffset = waiting.Offset,
            MessageId = messageId,
            Source = envelope.Source,
            Trusted = IsTrusted(envelope.Source),
            Now = waiting.Now,
            EventTime = eventTime,
            ModelVersion = (long)_model.Version,
            AliasPreviousId = _reader.PreviousAnonymousId,
            AliasPreviousUserId = _reader.PreviousUserId,
            Identifiers = _identifiers.List,
        };
        int start = _links.Count == 0 ? 0 : _links[^1].End;
        int end = link.WriteTo(ref _linkBytes, WireFormat.WriteHeader(ref _linkBytes, start, _schemas[RecordType.IdentityLink]));
        _links.Add((end, waiting.TimestampMs));
    }

    private void RouteDecided(Waiting waiting, in IdentityDecision decision)
    {
        TryOpen(waiting.Record, out CustomerEvent envelope, out _);
        ReadOnlySpan<byte> messageId = envelope.MessageId.IsEmpty ? _reader.MessageId : envelope.MessageId;
        long eventTime = _reader.EventTime(envelope.ReceivedAt, envelope.SentAt, envelope.Import);
        if (waiting.IsUndecided)
        {
            waiting.IsUndecided = _hasUndecided = false;
            if (!KeptMask.Has(decision.Kept, decision.KeptMore, _reader.IdentifierCount))
            {
                DeadLetter(waiting.Record, envelope, EventProblem.NoIdentifier);
                return;
            }

            if (!TryAccept(waiting, envelope, messageId, eventTime))
            {
                return;
            }
        }

        int count = _reader.IdentifierCount;
        FindProfiles();
        bool all = true;
        for (int i = 0; i < count; i++)
        {
            _kept[i] = KeptMask.Has(decision.Kept, decision.KeptMore, i);
            all &= _kept[i];
        }

        if (!all && !decision.Capped && !_reader.HasPreviousId && count <= KeptMask.LowBits) // Of a capped one it would not be known by which rule each was left out.
        {
            UInt128 list = ListHash(count, IsTrusted(envelope.Source));
            if (_rejected.TryAdd(list, decision.Kept))
            {
                _rejectedOrder.Enqueue(list);
                if (_rejectedOrder.Count > MaxRejected)
                {
                    _rejected.Remove(_rejectedOrder.Dequeue());
                }
            }
        }

        if (_reader.HasPreviousId && KeptMask.Has(decision.Kept, decision.KeptMore, count))
        {
            int place = _reader.AddPreviousId(decision.AliasIsUser);
            if (place >= 0)
            {
                _kept.AsSpan(place, count - place).CopyTo(_kept.AsSpan(place + 1));
                _kept[place] = true;
            }
        }

        Route(waiting, envelope, messageId, eventTime, decision.ProfileId, decision);
    }

    private void Route(Waiting waiting, in CustomerEvent envelope, ReadOnlySpan<byte> messageId, long eventTime, UInt128 profile, in IdentityDecision decision)
    {
        _identifiers.Clear();
        int count = _reader.IdentifierCount;
        for (int i = 0; i < count; i++)
        {
            if (_kept[i])
            {
                _identifiers.Add(_types[_reader.IdentifierType(i)], _reader.IdentifierValue(i));
            }
        }

        bool merges = decision.Merged > 0;
        var routed = new ProfileEvent
        {
            Kind = ProfileEventKind.Event,
            ProfileId = profile,
            OriginPartition = waiting.Partition,
            OriginOffset = waiting.Offset,
            Generation = Generation,
            LinkOffset = merges ? decision.LinkOffset : -1,
            Merged = decision.Merged,
            RequiresLink = merges ? decision.RequiresLink : -1,
            Now = waiting.Now,
            EventTime = eventTime,
            ReceivedAt = envelope.ReceivedAt,
            Source = envelope.Source,
            MessageId = messageId,
            Identifiers = _identifiers.List,
            Context = envelope.Context,
            Payload = envelope.Payload,
            EventType = (int)_reader.Type,
        };
        Append(CanonicalId.Shard(profile, _shards), routed, envelope.ReceivedAt);
        Clock = Math.Max(Clock, Math.Max(eventTime, waiting.Now)); // One that waited in the last run knows of events before it that come by later.
        Processed++;
    }

    private void Append(int shard, in ProfileEvent record, long timestampMs)
    {
        int end = record.WriteTo(ref _write, WireFormat.WriteHeader(ref _write, 0, _schemas[RecordType.ProfileEvent]));
        Span<byte> key = stackalloc byte[16];
        CanonicalId.Write(key, record.ProfileId);
        _effects.Append(StageLog.ProfileEvents, shard, record.Kind == ProfileEventKind.Event ? key : default, _write.AsSpan(0, end), timestampMs);
    }

    private void DeadLetter(in LogRecord record, in CustomerEvent envelope, EventProblem problem)
    {
        DeadLetters[(int)problem]++;
        var letter = new DeadLetter
        {
            OriginLog = "events"u8,
            OriginPartition = record.Partition,
            OriginOffset = record.Offset,
            Source = envelope.Source,
            At = record.TimestampMs,
            Reason = Encoding.UTF8.GetBytes(problem.Reason()),
            Field = Encoding.UTF8.GetBytes(problem.Field()),
            Detail = Encoding.UTF8.GetBytes(problem.Message()),
            Payload = envelope.Payload,
            Context = envelope.Context,
            ReceivedAt = envelope.ReceivedAt,
            SentAt = envelope.SentAt,
            Import = envelope.Import,
            EventType = envelope.Type,
        };
        int end = letter.WriteTo(ref _write, WireFormat.WriteHeader(ref _write, 0, _schemas[RecordType.DeadLetter]));
        _effects.Append(StageLog.DeadLetters, 0, default, _write.AsSpan(0, end), EventTimestamp.Nearest(record.TimestampMs));
    }

    /// <summary>An event on its way; kept on the heap only while it waits.</summary>
    private sealed class Waiting
    {
        public int Partition;
        public long Offset;
        public long TimestampMs;
        public long Now;
        private byte[] _value = [];
        private int _length;
        public bool IsAsked;
        public bool IsDone;
        public bool IsUndecided;

        public LogRecord Record => new() { Partition = Partition, Offset = Offset, TimestampMs = TimestampMs, Value = _value.AsSpan(0, _length) };

        public void Keep(ReadOnlySpan<byte> value)
        {
            if (_value.Length < value.Length)
            {
                _value = new byte[value.Length * 2];
            }

            value.CopyTo(_value);
            _length = value.Length;
        }
    }
}
