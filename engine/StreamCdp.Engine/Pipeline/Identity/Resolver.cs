using System.Diagnostics;
using System.Text;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Runtime;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Pipeline.Identity;

/// <summary>Decides which identifiers are one person: the only place that does (RULES.md §3). Reads identity-links, writes identity-map and merge commands.</summary>
/// <remarks>
/// Of one link, merge commands become durable before its decisions, and the outcome is the last of those: so after a crash the last outcome in
/// identity-map says where to go on, and everything before it is complete.
/// </remarks>
internal sealed class Resolver
{
    /// <summary>Outcomes kept to answer a router that asks again after a crash; more than routers can have waiting.</summary>
    public const int OutcomesKept = 65_536;

    /// <summary>Identifiers a profile may have, whatever the model says (RULES.md §3.7).</summary>
    public const int DefaultMaxIdentifiers = 1_000;

    private readonly IStateStore _identifiers;
    private readonly IStateStore _profiles;
    private readonly IEffects _effects;
    private readonly SchemaIds _schemas;
    private readonly DerivedId _ids;
    private readonly int _shards;
    private readonly int _maxIdentifiers;
    private readonly Func<ulong, CdpModel> _models;
    private CdpModel _model = null!;
    private readonly Dictionary<(int Partition, long Offset), Outcome> _outcomes = [];
    private readonly Queue<(int Partition, long Offset)> _outcomeOrder = [];
    private readonly List<Wanted> _wanted = [];
    private readonly List<Reached> _reached = [];
    private int[] _counts = [];
    private int[] _more = [];
    private byte[][] _types = [];
    private int _userIdType;
    private int _anonymousIdType;
    private byte[] _values = new byte[1024];
    private int _valuesUsed;
    private byte[] _pendingBytes = new byte[4096];
    private int _pendingUsed;
    private readonly IdentityRecord _survivor = new();
    private readonly IdentityRecord _loser = new();
    private readonly List<(int Start, int KeyLength, int ValueLength)> _pending = [];
    private byte[] _read = new byte[1024];
    private byte[] _write = new byte[1024];
    private readonly List<(byte[] Type, byte[] Value, UInt128 Profile, long Epoch, bool Merges)> _replayed = [];
    private long _replayedLink = -1;
    private bool _commands;

    /// <param name="model">Limits and order of identifier types.</param>
    /// <param name="models">Checked models by version, for a change of the model in the log.</param>
    /// <param name="identifiers">Identifier hash → canonical id.</param>
    /// <param name="profiles">Canonical id → <see cref="IdentityRecord"/>.</param>
    /// <param name="effects">Where decisions and commands go.</param>
    /// <param name="schemas">Schema ids to write with.</param>
    /// <param name="ids">Ids of new profiles.</param>
    /// <param name="shards">Partitions of profile-events.</param>
    /// <param name="maxIdentifiers">Cap of a profile.</param>
    public Resolver(CdpModel model, Func<ulong, CdpModel> models, IStateStore identifiers, IStateStore profiles, IEffects effects, SchemaIds schemas, DerivedId ids, int shards, int maxIdentifiers = DefaultMaxIdentifiers)
    {
        _models = models;
        _identifiers = identifiers;
        _profiles = profiles;
        _effects = effects;
        _schemas = schemas;
        _ids = ids;
        _shards = shards;
        _maxIdentifiers = maxIdentifiers;
        UseModel(model);
    }

    /// <summary>Offset in identity-links of the last link decided on; −1 for none.</summary>
    public long LastLink { get; private set; } = -1;

    /// <summary>Version of the model that decides.</summary>
    public ulong ModelVersion => _model.Version;

    /// <summary>Merges decided.</summary>
    public long Merges { get; private set; }

    /// <summary>Identifiers left out, by rule: limit, merge_by, cap.</summary>
    public IReadOnlyDictionary<string, long> Rejections => _rejections;

    private readonly Dictionary<string, long> _rejections = new(StringComparer.Ordinal) { ["limit"] = 0, ["merge_by"] = 0, ["cap"] = 0 };

    /// <summary>Recent outcomes, oldest first, to be saved with a checkpoint.</summary>
    public IEnumerable<Outcome> RecentOutcomes => _outcomeOrder.Select(origin => _outcomes[origin]);

    /// <summary>Takes over what a checkpoint knew.</summary>
    public void Restore(long lastLink, IEnumerable<Outcome> outcomes)
    {
        LastLink = lastLink;
        foreach (Outcome outcome in outcomes)
        {
            Remember(outcome);
        }
    }

    /// <summary>Takes over what was decided after the checkpoint, from its own records in identity-map.</summary>
    /// <remarks>
    /// A crash may cut off the records of a link; it is decided on again then, before any later one. So decisions count with their outcome, which is the last of
    /// them, or with any record of a later link: then the outcome was there, and compaction removed it.
    /// </remarks>
    public void Replay(in LogRecord decision)
    {
        if (!WireFormat.TryRead(decision.Value, out _, out ReadOnlySpan<byte> body) || !IdentityDecision.TryRead(body, out IdentityDecision record))
        {
            return;
        }

        switch (record.Kind)
        {
            case DecisionKind.Decision:
                if (_replayedLink != record.LinkOffset)
                {
                    ApplyReplayed(before: record.LinkOffset);
                    _replayedLink = record.LinkOffset;
                }

                _replayed.Add((record.Type.ToArray(), record.Value.ToArray(), record.ProfileId, record.Epoch, record.Merged > 0));
                break;
            case DecisionKind.Model:
                ApplyReplayed(before: record.LinkOffset);
                LastLink = record.LinkOffset;
                UseModel(_models((ulong)record.Epoch));
                break;
            default:
                ApplyReplayed(before: record.Epoch + 1);
                LastLink = Math.Max(LastLink, record.Epoch);
                Remember(Outcome.Of(record));
                break;
        }
    }

    private void ApplyReplayed(long before)
    {
        if (_replayedLink >= before)
        {
            _replayed.Clear(); // Cut off.
            return;
        }

        foreach ((byte[] type, byte[] value, UInt128 profile, long epoch, bool merges) in _replayed)
        {
            Move(type, value, profile, epoch);
            if (merges && _survivor.LastMergeLink < _replayedLink)
            {
                _survivor.LastMergeLink = _replayedLink;
                Store(_survivor);
            }

            LastLink = Math.Max(LastLink, _replayedLink);
        }

        _replayed.Clear();
    }

    /// <summary>Decides on one link.</summary>
    public void Apply(in LogRecord link)
    {
        if (link.Offset <= LastLink)
        {
            return;
        }

        if (!WireFormat.TryRead(link.Value, out _, out ReadOnlySpan<byte> body) || !IdentityLink.TryRead(body, out IdentityLink record))
        {
            return;
        }

        LastLink = link.Offset;
        _replayed.Clear();
        if (record.Kind == LinkKind.Model)
        {
            UseModel(_models((ulong)record.ModelVersion));
            var change = new IdentityDecision { Kind = DecisionKind.Model, Epoch = record.ModelVersion, LinkOffset = link.Offset };
            Queue("#model"u8, change);
            return;
        }

        if (_outcomes.TryGetValue((record.OriginPartition, record.OriginOffset), out Outcome known))
        {
            QueueOutcome(known, link.Offset); // A router asks again after a crash: the answer is the one it would have got.
            return;
        }

        Decide(record, link.Offset, link.TimestampMs);
    }

    /// <summary>Makes what was decided since the last call visible: commands first, and only when they are durable the decisions.</summary>
    public void Flush(long timestampMs)
    {
        if (_pending.Count == 0)
        {
            return;
        }

        if (_commands)
        {
            _effects.WaitDurable(StageLog.ProfileEvents);
            _commands = false;
            CrashPoint.Hit(CrashPoint.ResolverCommandsDurable);
        }

        foreach ((int start, int keyLength, int valueLength) in _pending)
        {
            _effects.Append(StageLog.IdentityMap, 0, _pendingBytes.AsSpan(start, keyLength), _pendingBytes.AsSpan(start + keyLength, valueLength), timestampMs);
        }

        _pending.Clear();
        _pendingUsed = 0;
    }

    /// <summary>Calls back for each recent or stored fact that a profile lookup needs: whose an identifier is.</summary>
    public bool TryFind(UInt128 identifier, out UInt128 profile)
    {
        int length = _identifiers.Read(identifier, ref _read);
        profile = length < 0 ? default : CanonicalId.Read(_read);
        return length >= 0;
    }

    private void Decide(in IdentityLink link, long offset, long timestampMs)
    {
        Want(link);
        if (_wanted.Count == 0)
        {
            Answer(new Outcome(link.OriginPartition, link.OriginOffset, offset, default, 0, -1, 0, AliasIsUser: false, KeptMore: null, Capped: false), offset); // Nothing is kept: the router makes it a dead letter.
            return;
        }

        _reached.Clear();
        Array.Clear(_counts);
        long kept = 0;
        byte[]? keptMore = null;
        long capped = _rejections["cap"];
        bool aliasIsUser = false;
        for (int i = 0; i < _wanted.Count; i++)
        {
            Wanted wanted = _wanted[i];
            if (wanted.Place == link.Identifiers.Count)
            {
                aliasIsUser = wanted.Type == _userIdType;
            }

            if (i == 0 ? Begin(ref wanted) : TryJoin(ref wanted, link.Trusted))
            {
                KeptMask.Add(ref kept, ref keptMore, wanted.Place);
                wanted.IsKept = true;
            }

            _wanted[i] = wanted;
        }

        bool firstUse = !_wanted[0].IsKnown && _wanted[0].Type != _anonymousIdType;
        int joined = 0;
        bool anyNew = false;
        foreach (Wanted wanted in _wanted)
        {
            joined += wanted.IsKept ? 1 : 0;
            anyNew |= wanted is { IsKept: true, IsKnown: false };
        }

        bool links = _reached.Count > 1 || (anyNew && joined > 1);
        int survivor = Survivor();
        UInt128 id = _reached[survivor].Id;
        var outcome = new Outcome(link.OriginPartition, link.OriginOffset, offset, id, 0, -1, kept, aliasIsUser, keptMore, _rejections["cap"] > capped);
        if (links || firstUse)
        {
            outcome = Join(link, offset, timestampMs, survivor, outcome);
        }

        Answer(outcome, offset);

        bool Begin(ref Wanted first)
        {
            _reached.Add(Reach(ref first, offset));
            AddCounts(_reached[0], first);
            return true;
        }
    }

    /// <summary>Lists the identifiers of the event in order, the alias's previousId last within its type (RULES.md §1.6).</summary>
    private void Want(in IdentityLink link)
    {
        _wanted.Clear();
        _valuesUsed = 0;
        int place = 0;
        foreach (Identifier identifier in link.Identifiers)
        {
            _wanted.Add(Look(TypeIndex(identifier.Type), identifier.Type, identifier.Value, place++));
        }

        Wanted alias = link.AliasPreviousUserId.IsEmpty ? default : Look(_userIdType, "user_id"u8, link.AliasPreviousUserId, place);
        if (!alias.IsKnown)
        {
            if (link.AliasPreviousId.IsEmpty)
            {
                return; // None, or one that could only be a user_id and is not known as one.
            }

            alias = Look(_anonymousIdType, "anonymous_id"u8, link.AliasPreviousId, place);
        }

        int before = 0;
        foreach (Wanted wanted in _wanted)
        {
            if (wanted.Hash == alias.Hash)
            {
                return; // It names an identifier twice.
            }

            before += wanted.Type <= alias.Type ? 1 : 0;
        }

        _wanted.Insert(before, alias);
    }

    private Wanted Look(int type, ReadOnlySpan<byte> typeText, ReadOnlySpan<byte> value, int place)
    {
        UInt128 hash = Hash128.OfIdentifier(typeText, value);
        bool known = TryFind(hash, out UInt128 profile);
        if (_values.Length < _valuesUsed + value.Length)
        {
            Array.Resize(ref _values, (_valuesUsed + value.Length) * 2);
        }

        value.CopyTo(_values.AsSpan(_valuesUsed));
        var wanted = new Wanted { Type = type, ValueOffset = _valuesUsed, ValueLength = value.Length, Place = place, Hash = hash, IsKnown = known, Profile = profile };
        _valuesUsed += value.Length;
        return wanted;
    }

    private Reached Reach(ref Wanted wanted, long offset)
    {
        if (wanted.IsKnown)
        {
            bool found = Load(wanted.Profile, _loser);
            Debug.Assert(found, "A known identifier has no profile.");
            return new Reached(wanted.Profile, _loser.Epoch, IsDecided: true, HasState: true);
        }

        // An anonymous id that no decision names has the derived profile, with what it did alone; any other unknown identifier has nothing yet.
        bool anonymous = wanted.Type == _anonymousIdType;
        wanted.Profile = anonymous ? _ids.OfLone(wanted.Hash) : _ids.OfDecision(offset);
        return new Reached(wanted.Profile, long.MaxValue, IsDecided: false, HasState: anonymous);
    }

    /// <summary>RULES.md §3.1–3.3 and §3.7 for the next identifier.</summary>
    private bool TryJoin(ref Wanted wanted, bool trusted)
    {
        if (wanted.IsKnown)
        {
            foreach (Reached reached in _reached)
            {
                if (reached.Id == wanted.Profile)
                {
                    return true;
                }
            }
        }

        if (!trusted && ((wanted.IsKnown && MergesByServer(wanted.Type)) || (_wanted[0].IsKnown && MergesByServer(_wanted[0].Type))))
        {
            _rejections["merge_by"]++;
            return false;
        }

        int total = 0;
        foreach (int count in _counts)
        {
            total += count;
        }

        Array.Clear(_more);
        if (wanted.IsKnown)
        {
            Load(wanted.Profile, _loser);
            foreach (IdentityRecord.IdentifierText identifier in _loser)
            {
                _more[TypeIndex(identifier.Type)]++;
                total++;
            }
        }
        else
        {
            _more[wanted.Type] = 1;
            total++;
        }

        for (int type = 0; type < _more.Length; type++)
        {
            if (_more[type] > 0 && _counts[type] + _more[type] > Limit(type))
            {
                _rejections["limit"]++;
                return false;
            }
        }

        if (total > _maxIdentifiers)
        {
            _rejections["cap"]++;
            return false;
        }

        if (wanted.IsKnown || wanted.Type == _anonymousIdType)
        {
            _reached.Add(Reach(ref wanted, -1));
        }

        for (int type = 0; type < _more.Length; type++)
        {
            _counts[type] += _more[type];
        }

        return true;
    }

    private void AddCounts(Reached reached, Wanted first)
    {
        if (!reached.IsDecided)
        {
            _counts[first.Type] = 1;
            return;
        }

        foreach (IdentityRecord.IdentifierText identifier in _loser)
        {
            _counts[TypeIndex(identifier.Type)]++;
        }
    }

    /// <summary>RULES.md §3.5: the lowest epoch; else the first in the event's order.</summary>
    private int Survivor()
    {
        int best = 0;
        for (int i = 1; i < _reached.Count; i++)
        {
            if (_reached[i].Epoch < _reached[best].Epoch)
            {
                best = i;
            }
        }

        return best;
    }

    private Outcome Join(in IdentityLink link, long offset, long timestampMs, int survivor, Outcome outcome)
    {
        Reached winner = _reached[survivor];
        bool merges = false;
        foreach (Reached reached in _reached)
        {
            merges |= reached.Id != winner.Id && (reached.IsDecided || reached.HasState);
        }

        if (winner.IsDecided)
        {
            Load(winner.Id, _survivor);
        }
        else
        {
            _survivor.Reset(winner.Id, offset);
        }

        int position = 0;
        int merged = 0;
        foreach (Wanted wanted in _wanted)
        {
            if (!wanted.IsKept)
            {
                continue;
            }

            if (!wanted.IsKnown)
            {
                ReadOnlySpan<byte> newValue = _values.AsSpan(wanted.ValueOffset, wanted.ValueLength);
                _survivor.Add(_types[wanted.Type], newValue);
                Decided(wanted.Hash, _types[wanted.Type], newValue);
                continue;
            }

            if (wanted.Profile == winner.Id || !Load(wanted.Profile, _loser))
            {
                continue; // Of the survivor, or of a loser that an identifier before it has brought.
            }

            foreach (IdentityRecord.IdentifierText identifier in _loser)
            {
                _survivor.Add(identifier.Type, identifier.Value);
                Decided(Hash128.OfIdentifier(identifier.Type, identifier.Value), identifier.Type, identifier.Value);
            }

            Command(link, wanted.Profile, winner.Id, offset, _loser.LastMergeLink, timestampMs);
            merged++;
            _profiles.Delete(wanted.Profile);
        }

        foreach (Reached reached in _reached)
        {
            if (!reached.IsDecided && reached.HasState && reached.Id != winner.Id)
            {
                Command(link, reached.Id, winner.Id, offset, -1, timestampMs);
                merged++;
            }
        }

        outcome = outcome with { Merged = merged, RequiresLink = merged > 0 ? _survivor.LastMergeLink : -1 };
        if (merged > 0)
        {
            Merges += merged;
            _survivor.LastMergeLink = offset;
        }

        Store(_survivor);
        return outcome;

        void Decided(UInt128 hash, ReadOnlySpan<byte> type, ReadOnlySpan<byte> value)
        {
            Span<byte> id = stackalloc byte[16];
            CanonicalId.Write(id, winner.Id);
            _identifiers.Write(hash, id);
            var decision = new IdentityDecision
            {
                Kind = DecisionKind.Decision,
                Type = type,
                Value = value,
                ProfileId = winner.Id,
                Epoch = _survivor.Epoch,
                LinkOffset = offset,
                Position = position++,
                Merged = merges ? 1 : 0,
            };
            Span<byte> key = stackalloc byte[512];
            int keyLength = type.Length + 1 + value.Length;
            key = keyLength <= key.Length ? key[..keyLength] : new byte[keyLength];
            type.CopyTo(key);
            key[type.Length] = Hash128.Separator;
            value.CopyTo(key[(type.Length + 1)..]);
            Queue(key, decision);
        }
    }

    private void Command(in IdentityLink link, UInt128 loser, UInt128 into, long offset, long requires, long timestampMs)
    {
        var command = new ProfileEvent
        {
            Kind = ProfileEventKind.Merge,
            ProfileId = loser,
            Into = into,
            LinkOffset = offset,
            RequiresLink = requires,
            Now = link.Now,
            EventTime = link.EventTime,
            OriginPartition = link.OriginPartition,
            OriginOffset = link.OriginOffset,
            MessageId = link.MessageId,
        };
        int end = command.WriteTo(ref _write, WireFormat.WriteHeader(ref _write, 0, _schemas[RecordType.ProfileEvent]));
        Span<byte> key = stackalloc byte[16];
        CanonicalId.Write(key, loser);
        _effects.Append(StageLog.ProfileEvents, CanonicalId.Shard(loser, _shards), key, _write.AsSpan(0, end), timestampMs);
        _commands = true;
    }

    private void Move(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value, UInt128 profile, long epoch)
    {
        UInt128 hash = Hash128.OfIdentifier(type, value);
        if (TryFind(hash, out UInt128 old) && old != profile && Load(old, _loser))
        {
            _loser.Remove(type, value);
            if (_loser.Count == 0)
            {
                _profiles.Delete(old);
            }
            else
            {
                Store(_loser);
            }
        }

        if (!Load(profile, _survivor))
        {
            _survivor.Reset(profile, epoch);
        }

        if (!_survivor.Has(type, value))
        {
            _survivor.Add(type, value);
        }

        Store(_survivor);
        Span<byte> id = stackalloc byte[16];
        CanonicalId.Write(id, profile);
        _identifiers.Write(hash, id);
    }

    private bool Load(UInt128 id, IdentityRecord record)
    {
        int length = _profiles.Read(id, ref _read);
        if (length < 0)
        {
            return false;
        }

        record.Read(id, _read.AsSpan(0, length));
        return true;
    }

    private void Store(IdentityRecord record) => _profiles.Write(record.Id, record.Write());

    private void Answer(Outcome outcome, long link)
    {
        Remember(outcome);
        QueueOutcome(outcome, link);
    }

    /// <summary>Says what became of an event, to the router that asked with a link.</summary>
    /// <remarks>Keys go round: compaction keeps as many outcomes as are remembered, so that a resolver that lost its state still gives the same answers.</remarks>
    private void QueueOutcome(Outcome outcome, long link)
    {
        var record = new IdentityDecision
        {
            Kind = DecisionKind.Outcome,
            Epoch = link,
            ProfileId = outcome.Profile,
            LinkOffset = outcome.LinkOffset,
            OriginPartition = outcome.Partition,
            OriginOffset = outcome.Offset,
            Merged = outcome.Merged,
            RequiresLink = outcome.RequiresLink,
            Kept = outcome.Kept,
            AliasIsUser = outcome.AliasIsUser,
            KeptMore = outcome.KeptMore,
            Capped = outcome.Capped,
        };
        Span<byte> key = stackalloc byte[32];
        "#outcome:"u8.CopyTo(key);
        (link % OutcomesKept).TryFormat(key[9..], out int digits);
        Queue(key[..(9 + digits)], record);
    }

    private void Queue(ReadOnlySpan<byte> key, in IdentityDecision decision)
    {
        int end = decision.WriteTo(ref _write, WireFormat.WriteHeader(ref _write, 0, _schemas[RecordType.IdentityDecision]));
        int start = _pendingUsed;
        _pendingUsed += key.Length + end;
        if (_pendingBytes.Length < _pendingUsed)
        {
            Array.Resize(ref _pendingBytes, _pendingUsed * 2);
        }

        key.CopyTo(_pendingBytes.AsSpan(start));
        _write.AsSpan(0, end).CopyTo(_pendingBytes.AsSpan(start + key.Length));
        _pending.Add((start, key.Length, end));
    }

    private void Remember(Outcome outcome)
    {
        if (!_outcomes.TryAdd((outcome.Partition, outcome.Offset), outcome))
        {
            return;
        }

        _outcomeOrder.Enqueue((outcome.Partition, outcome.Offset));
        if (_outcomeOrder.Count > OutcomesKept)
        {
            _outcomes.Remove(_outcomeOrder.Dequeue());
        }
    }

    private void UseModel(CdpModel model)
    {
        _model = model;
        _types = [.. model.Identifiers.Select(identifier => Encoding.UTF8.GetBytes(identifier.Type))];
        _counts = new int[_types.Length + 1];
        _more = new int[_types.Length + 1];
        _userIdType = TypeIndex("user_id"u8);
        _anonymousIdType = TypeIndex("anonymous_id"u8);
    }

    /// <summary>Place in the model; one past the last for a type that the model no longer names.</summary>
    private int TypeIndex(ReadOnlySpan<byte> type)
    {
        for (int i = 0; i < _types.Length; i++)
        {
            if (type.SequenceEqual(_types[i]))
            {
                return i;
            }
        }

        return _types.Length;
    }

    /// <summary>None for a type that the model no longer names: who has one of it could otherwise never be joined again.</summary>
    private int Limit(int type) => type == _types.Length ? int.MaxValue : _model.Identifiers[type].Limit;

    private bool MergesByServer(int type) => type != _types.Length && _model.Identifiers[type].MergeByServer;

    /// <summary>What became of one link.</summary>
    internal readonly record struct Outcome(int Partition, long Offset, long LinkOffset, UInt128 Profile, int Merged, long RequiresLink, long Kept, bool AliasIsUser, byte[]? KeptMore, bool Capped)
    {
        /// <summary>From its record.</summary>
        public static Outcome Of(in IdentityDecision record) =>
            new(record.OriginPartition, record.OriginOffset, record.LinkOffset, record.ProfileId, record.Merged, record.RequiresLink, record.Kept, record.AliasIsUser, record.KeptMore.IsEmpty ? null : record.KeptMore.ToArray(), record.Capped);
    }

    private struct Wanted
    {
        public int Type;
        public int ValueOffset;
        public int ValueLength;
        public int Place;
        public UInt128 Hash;
        public UInt128 Profile;
        public bool IsKnown;
        public bool IsKept;
    }

    private readonly record struct Reached(UInt128 Id, long Epoch, bool IsDecided, bool HasState);
}
