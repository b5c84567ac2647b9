using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>Bytes inside the arena of a <see cref="ProfileState"/>.</summary>
internal readonly record struct Slice(int Offset, int Length);

/// <summary>An identifier of a profile.</summary>
internal struct IdentifierEntry
{
    /// <summary>Type, UTF-8.</summary>
    public Slice Type;

    /// <summary>Normalised value, UTF-8.</summary>
    public Slice Value;

    /// <summary>Source of the earliest event that names it.</summary>
    public Slice Source;

    /// <summary>Earliest event time, Unix ms.</summary>
    public long FirstSeen;

    /// <summary>Latest event time, Unix ms.</summary>
    public long LastSeen;
}

/// <summary>A sent trait, with the write that gave it.</summary>
internal struct TraitEntry
{
    /// <summary>Top-level key, UTF-8, unescaped.</summary>
    public Slice Name;

    /// <summary>JSON text of the value; empty: removed by a null (kept so that an older write does not bring it back).</summary>
    public Slice Value;

    /// <summary>Source of the write.</summary>
    public Slice Source;

    /// <summary>Order of the write.</summary>
    public EventOrder Order;

    /// <summary>Of a union: who added each element, in a layout that only <see cref="TraitRules"/> knows; else empty.</summary>
    public Slice Detail;
}

/// <summary>State of one event function.</summary>
internal struct FunctionEntry
{
    /// <summary>Key of the function in the model (hash of its normal text).</summary>
    public uint Key;

    /// <summary>Its state, in a layout that only the function knows.</summary>
    public Slice State;

    /// <summary>The first instant at which time changes a value of the state, as the owner of <see cref="ProfileState.KeepDeadlinesOf"/> found it, Unix ms; <see cref="long.MinValue"/>: not known. Not in the record.</summary>
    public long Deadline;
}

/// <summary>A membership.</summary>
internal struct MembershipEntry
{
    /// <summary>Key of the segment (hash of its id).</summary>
    public uint Key;

    /// <summary>Since when, Unix ms.</summary>
    public long Since;
}

/// <summary>A record of a CRM, with the write that gave it.</summary>
internal struct CrmEntry
{
    /// <summary>What it is.</summary>
    public CrmObject Object;

    /// <summary>Id of the source of the write; part of the record's key.</summary>
    public Slice Source;

    /// <summary>Id in the CRM, UTF-8.</summary>
    public Slice Id;

    /// <summary>JSON object of its fields as <see cref="CrmRules"/> keeps them; empty: gone (kept so that an older write does not bring it back).</summary>
    public Slice Fields;

    /// <summary>Order of the write.</summary>
    public EventOrder Order;
}

/// <summary>An event of the profile, by its place in the log <c>events</c>.</summary>
internal readonly record struct RecentEvent(int Partition, long Offset);

/// <summary>One profile, decoded for a change: a worker has a few and uses them again for each event.</summary>
/// <remarks>
/// Layout of the record: one format byte, then variable-length integers and length-prefixed bytes, in the order of <see cref="Write"/>. A profile
/// without CRM records is written without their part, in the format of the first version.
/// Decoding copies the record once into the arena and keeps slices; values that change are appended to the arena and the old bytes are left
/// behind, until encoding writes what is live. Cost: no allocation once the arrays have grown.
/// </remarks>
internal sealed class ProfileState
{
    /// <summary>Events kept by place for <c>GET …/events</c>: enough for a support screen, 6 to 8 bytes each.</summary>
    public const int MaxRecent = 32;

    /// <summary>Bytes that a CRM record takes beyond its texts, about.</summary>
    public const int CrmEntryBytes = 32;

    private const byte Format = 4; // 1 had other keys of functions with windows, 2 is a redirect.
    private const byte CrmFormat = 5;
    private const int TraitsLimited = 1 << 6;
    private const int FunctionsLimited = 1 << 7;
    private const int FunctionHints = 64;

    private byte[] _arena = new byte[4096];
    private int _used;
    private IdentifierEntry[] _identifiers = new IdentifierEntry[8];
    private TraitEntry[] _traits = new TraitEntry[16];
    private FunctionEntry[] _functions = new FunctionEntry[32];
    private object? _deadlinesOf; // Who found the deadlines of functions; null: none are known.
    private uint[] _functionKeys = new uint[32]; // Of the same places, close together: a look-up touches less memory.
    private MembershipEntry[] _memberships = new MembershipEntry[16];
    private UInt128[] _mergedFrom = new UInt128[4];
    private CrmEntry[] _crm = [];
    private readonly EventOrder[] _crmFloors = new EventOrder[CrmObjects.Count];
    private readonly RecentEvent[] _recent = new RecentEvent[MaxRecent];
    private readonly byte[] _functionHints = new byte[FunctionHints];
    private int _identifierCount;
    private int _traitCount;
    private int _functionCount;
    private int _membershipCount;
    private int _mergedFromCount;
    private int _recentCount;
    private int _crmCount;

    /// <summary>Canonical id.</summary>
    public UInt128 Id { get; set; }

    /// <summary>Grows by one with each change of the profile or of a membership.</summary>
    public long Version { get; set; }

    /// <summary>Applied events.</summary>
    public long EventCount { get; set; }

    /// <summary>Earliest event time, Unix ms; meaningless while <see cref="EventCount"/> is 0.</summary>
    public long FirstSeen { get; set; }

    /// <summary>Latest event time, Unix ms.</summary>
    public long LastSeen { get; set; }

    /// <summary>Instant at which the profile last changed (the shard's now), Unix ms.</summary>
    public long UpdatedAt { get; set; }

    /// <summary>Everything that time changed before this instant is done, Unix ms.</summary>
    public long AdvancedTo { get; set; }

    /// <summary>The timer that the shard holds for this profile, Unix ms; <see cref="long.MaxValue"/>: none.</summary>
    public long ArmedDeadline { get; set; }

    /// <summary>Offset in <c>identity-links</c> of the last merge applied, −1 for none.</summary>
    public long LastLink { get; set; }

    /// <summary>Offset in <c>profile-events</c> of the last record applied.</summary>
    public long SourceOffset { get; set; }

    /// <summary>Identifiers in order of joining.</summary>
    public Span<IdentifierEntry> Identifiers => _identifiers.AsSpan(0, _identifierCount);

    /// <summary>Sent traits, in order of first arrival; removed ones have an empty value.</summary>
    public Span<TraitEntry> Traits => _traits.AsSpan(0, _traitCount);

    /// <summary>Function states, sorted by key.</summary>
    public Span<FunctionEntry> Functions => _functions.AsSpan(0, _functionCount);

    /// <summary>Memberships, sorted by key.</summary>
    public Span<MembershipEntry> Memberships => _memberships.AsSpan(0, _membershipCount);

    /// <summary>Profiles that this one took over, oldest first.</summary>
    public ReadOnlySpan<UInt128> MergedFrom => _mergedFrom.AsSpan(0, _mergedFromCount);

    /// <summary>The latest events, oldest first, at most <see cref="MaxRecent"/>.</summary>
    public ReadOnlySpan<RecentEvent> Recent => _recent.AsSpan(0, _recentCount);

    /// <summary>CRM records, sorted by object, source and id; gone ones have no fields.</summary>
    public Span<CrmEntry> Crm => _crm.AsSpan(0, _crmCount);

    /// <summary>What the CRM records take, about; at most <see cref="CrmRules.MaxBytes"/> once a change is done.</summary>
    public int CrmBytes { get; private set; }

    /// <summary>A CRM record came whose fields were too long to keep.</summary>
    public bool HasSkippedCrm { get; set; }

    /// <summary>The states of functions were so large that one took in nothing more.</summary>
    public bool IsFunctionsLimited { get; set; }

    /// <summary>A trait, or an element of one, came for which there was no room.</summary>
    public bool IsTraitsLimited { get; set; }

    /// <summary>By object: no write up to and with this one is kept, because there were too many; <see cref="EventOrder.None"/> where there never were.</summary>
    public Span<EventOrder> CrmFloors => _crmFloors;

    /// <summary>Whether something of the CRM's is not in <see cref="Crm"/>.</summary>
    public bool IsCrmLimited => HasSkippedCrm || CrmFloors.ContainsAnyExcept(EventOrder.None);

    /// <summary>Bytes of the arena that are in use, with those that values which grew left behind.</summary>
    public int ArenaUsed => _used;

    /// <summary>Size of what can grow large: the arena and the list of CRM records.</summary>
    public int HeldBytes => _arena.Length + (_crm.Length * Unsafe.SizeOf<CrmEntry>());

    /// <summary>The bytes of a slice; valid until the next change of this profile.</summary>
    public ReadOnlySpan<byte> Bytes(Slice slice) => _arena.AsSpan(slice.Offset, slice.Length);

    /// <summary>Makes it a new, empty profile.</summary>
    public void Reset(UInt128 id)
    {
        Id = id;
        Version = EventCount = FirstSeen = LastSeen = UpdatedAt = 0;
        AdvancedTo = long.MinValue;
        ArmedDeadline = long.MaxValue;
        LastLink = SourceOffset = -1;
        _used = _identifierCount = _traitCount = _functionCount = _membershipCount = _mergedFromCount = _recentCount = _crmCount = CrmBytes = 0;
        HasSkippedCrm = IsTraitsLimited = IsFunctionsLimited = false;
        CrmFloors.Fill(EventOrder.None);
        _deadlinesOf = null;
    }

    /// <summary>Forgets deadlines that somebody else found.</summary>
    public void KeepDeadlinesOf(object owner)
    {
        if (!ReferenceEquals(_deadlinesOf, owner))
        {
            _deadlinesOf = owner;
            foreach (ref FunctionEntry entry in Functions)
            {
                entry.Deadline = long.MinValue;
            }
        }
    }

    /// <summary>Copies bytes into the arena.</summary>
    public Slice Add(ReadOnlySpan<byte> bytes)
    {
        Slice slice = Reserve(bytes.Length);
        bytes.CopyTo(_arena.AsSpan(slice.Offset));
        return slice;
    }

    /// <summary>Adds an identifier at the end.</summary>
    public ref IdentifierEntry AddIdentifier(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value, ReadOnlySpan<byte> source)
    {
        Grow(ref _identifiers, _identifierCount);
        ref IdentifierEntry entry = ref _identifiers[_identifierCount++];
        entry = new IdentifierEntry { Type = Add(type), Value = Add(value), Source = Add(source) };
        return ref entry;
    }

    /// <summary>Position of an identifier in <see cref="Identifiers"/>, −1 where the profile lacks it.</summary>
    public int IndexOfIdentifier(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value)
    {
        for (int i = 0; i < _identifierCount; i++)
        {
            if (Bytes(_identifiers[i].Value).SequenceEqual(value) && Bytes(_identifiers[i].Type).SequenceEqual(type))
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Position of a trait in <see cref="Traits"/>, −1 where it was never written.</summary>
    public int IndexOfTrait(ReadOnlySpan<byte> name)
    {
        for (int i = 0; i < _traitCount; i++)
        {
            if (Bytes(_traits[i].Name).SequenceEqual(name))
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>The JSON text of a trait; empty where it is missing or removed.</summary>
    public ReadOnlySpan<byte> Trait(ReadOnlySpan<byte> name)
    {
        int index = IndexOfTrait(name);
        return index < 0 ? default : Bytes(_traits[index].Value);
    }

    /// <summary>Adds a trait that the profile lacks.</summary>
    public ref TraitEntry AddTrait(ReadOnlySpan<byte> name)
    {
        Grow(ref _traits, _traitCount);
        ref TraitEntry entry = ref _traits[_traitCount++];
        entry = new TraitEntry { Name = Add(name) };
        return ref entry;
    }

    /// <summary>The state of a function; empty where it has none.</summary>
    public ReadOnlySpan<byte> Function(uint key) => FunctionAt(IndexOfFunction(key));

    /// <summary>The state of a function; empty where it has none.</summary>
    /// <param name="index">By <see cref="IndexOfFunction"/>.</param>
    public ReadOnlySpan<byte> FunctionAt(int index) => index < 0 ? default : Bytes(_functions[index].State);

    /// <summary>Makes room for a function's state and returns it for writing: the old bytes, cut or filled up with zeros to the new length.</summary>
    /// <param name="index">By <see cref="IndexOfFunction"/>.</param>
    /// <param name="key">Of the function.</param>
    /// <param name="length">Bytes.</param>
    public Span<byte> FunctionForWrite(int index, uint key, int length)
    {
        if (index < 0)
        {
            index = ~index;
            Grow(ref _functions, _functionCount);
            Grow(ref _functionKeys, _functionCount);
            _functions.AsSpan(index, _functionCount - index).CopyTo(_functions.AsSpan(index + 1));
            _functionKeys.AsSpan(index, _functionCount - index).CopyTo(_functionKeys.AsSpan(index + 1));
            _functionCount++;
            _functions[index] = new FunctionEntry { Key = key };
            _functionKeys[index] = key;
        }

        ref FunctionEntry entry = ref _functions[index];
        entry.Deadline = long.MinValue;
        if (entry.State.Length < length)
        {
            Slice old = entry.State;
            entry.State = Reserve(length);
            Span<byte> bytes = _arena.AsSpan(entry.State.Offset, length);
            _arena.AsSpan(old.Offset, old.Length).CopyTo(bytes);
            bytes[old.Length..].Clear();
        }
        else
        {
            entry.State = entry.State with { Length = length };
        }

        return _arena.AsSpan(entry.State.Offset, length);
    }

    /// <summary>Forgets a function's state (its model is gone).</summary>
    public void RemoveFunction(uint key)
    {
        int index = IndexOfFunction(key);
        if (index >= 0)
        {
            _functions.AsSpan(index + 1, _functionCount - index - 1).CopyTo(_functions.AsSpan(index));
            _functionKeys.AsSpan(index + 1, _functionCount - index - 1).CopyTo(_functionKeys.AsSpan(index));
            _functionCount--;
        }
    }

    /// <summary>Whether the profile is in a segment, and since when.</summary>
    public bool IsMember(uint key, out long since)
    {
        int index = IndexOfMembership(key);
        since = index < 0 ? 0 : _memberships[index].Since;
        return index >= 0;
    }

    /// <summary>Enters a segment; false where it is in it.</summary>
    public bool Enter(uint key, long since)
    {
        int index = IndexOfMembership(key);
        if (index >= 0)
        {
            return false;
        }

        index = ~index;
        Grow(ref _memberships, _membershipCount);
        _memberships.AsSpan(index, _membershipCount - index).CopyTo(_memberships.AsSpan(index + 1));
        _membershipCount++;
        _memberships[index] = new MembershipEntry { Key = key, Since = since };
        return true;
    }

    /// <summary>Leaves a segment; false where it is not in it.</summary>
    public bool Exit(uint key)
    {
        int index = IndexOfMembership(key);
        if (index < 0)
        {
            return false;
        }

        _memberships.AsSpan(index + 1, _membershipCount - index - 1).CopyTo(_memberships.AsSpan(index));
        _membershipCount--;
        return true;
    }

    /// <summary>Position of a CRM record in <see cref="Crm"/>; of one that the profile lacks, the complement of where it belongs.</summary>
    public int IndexOfCrm(CrmObject type, ReadOnlySpan<byte> source, ReadOnlySpan<byte> id)
    {
        int low = 0;
        int high = _crmCount - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            ref CrmEntry entry = ref _crm[middle];
            int order = (byte)entry.Object - (byte)type; // CompareTo of an enum would allocate.
            order = order != 0 ? order : Bytes(entry.Source).SequenceCompareTo(source);
            order = order != 0 ? order : Bytes(entry.Id).SequenceCompareTo(id);
            if (order == 0)
            {
                return middle;
            }

            if (order < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle - 1;
            }
        }

        return ~low;
    }

    /// <summary>The records of one collection, gone ones too, sorted by source and id.</summary>
    public ReadOnlySpan<CrmEntry> CrmOf(CrmObject type)
    {
        if (_crmCount == 0)
        {
            return default;
        }

        int start = ~IndexOfCrm(type, default, default); // No source is empty: this is where the first one is, or would be.
        int end = ~IndexOfCrm(type + 1, default, default);
        return _crm.AsSpan(start..end);
    }

    /// <summary>Adds a CRM record that the profile lacks, without fields.</summary>
    /// <param name="index">Where it belongs (<see cref="IndexOfCrm"/>).</param>
    /// <param name="type">What it is.</param>
    /// <param name="source">Id of the source.</param>
    /// <param name="id">Id in the CRM.</param>
    public void AddCrm(int index, CrmObject type, ReadOnlySpan<byte> source, ReadOnlySpan<byte> id)
    {
        Grow(ref _crm, _crmCount);
        _crm.AsSpan(index, _crmCount - index).CopyTo(_crm.AsSpan(index + 1));
        _crmCount++;
        _crm[index] = new CrmEntry { Object = type, Source = Add(source), Id = Add(id) };
        CrmBytes += CrmEntryBytes + source.Length + id.Length;
    }

    /// <summary>Replaces the fields of a CRM record; empty: gone.</summary>
    public void SetCrm(int index, ReadOnlySpan<byte> fields, EventOrder order)
    {
        ref CrmEntry entry = ref _crm[index];
        CrmBytes += fields.Length - entry.Fields.Length;
        entry.Fields = fields.SequenceEqual(Bytes(entry.Fields)) ? entry.Fields : Add(fields);
        entry.Order = order;
    }

    /// <summary>Forgets a CRM record.</summary>
    public void RemoveCrm(int index)
    {
        ref CrmEntry entry = ref _crm[index];
        CrmBytes -= CrmEntryBytes + entry.Source.Length + entry.Id.Length + entry.Fields.Length;
        _crm.AsSpan(index + 1, _crmCount - index - 1).CopyTo(_crm.AsSpan(index));
        _crmCount--;
    }

    /// <summary>Notes a profile that this one took over.</summary>
    public void AddMergedFrom(UInt128 id)
    {
        Grow(ref _mergedFrom, _mergedFromCount);
        _mergedFrom[_mergedFromCount++] = id;
    }

    /// <summary>Notes an event; the oldest goes when there are <see cref="MaxRecent"/>.</summary>
    public void AddRecent(int partition, long offset)
    {
        if (_recentCount == MaxRecent)
        {
            _recent.AsSpan(1).CopyTo(_recent);
            _recentCount--;
        }

        _recent[_recentCount++] = new RecentEvent(partition, offset);
    }

    /// <summary>Replaces the recent events; at most <see cref="MaxRecent"/>.</summary>
    public void SetRecent(ReadOnlySpan<RecentEvent> events)
    {
        events.CopyTo(_recent);
        _recentCount = events.Length;
    }

    /// <summary>Decodes a record written by <see cref="Write"/>.</summary>
    /// <exception cref="InvalidDataException">The bytes are no profile record of this format.</exception>
    public void Read(UInt128 id, ReadOnlySpan<byte> record)
    {
        Reset(id);
        if (_arena.Length < record.Length)
        {
            _arena = new byte[Math.Max(record.Length + (record.Length / 2), 4096)];
        }

        record.CopyTo(_arena);
        _used = record.Length;
        var reader = new RecordReader(_arena.AsSpan(0, _used));
        byte format = reader.Byte();
        if (format is not (Format or CrmFormat))
        {
            throw new InvalidDataException($"A profile record has format {format}, this version reads {Format} and {CrmFormat}. Delete the state directory: the logs have everything.");
        }

        Version = reader.Unsigned();
        EventCount = reader.Unsigned();
        FirstSeen = reader.Signed();
        LastSeen = reader.Signed();
        UpdatedAt = reader.Signed();
        AdvancedTo = reader.Fixed();
        ArmedDeadline = reader.Fixed();
        LastLink = reader.Signed();
        SourceOffset = reader.Signed();

        int count = (int)reader.Unsigned();
        Grow(ref _identifiers, count);
        for (_identifierCount = 0; _identifierCount < count; _identifierCount++)
        {
            long first = reader.Signed();
            _identifiers[_identifierCount] = new IdentifierEntry { FirstSeen = first, LastSeen = first + reader.Signed(), Type = reader.Slice(), Value = reader.Slice(), Source = reader.Slice() };
        }

        count = (int)reader.Unsigned();
        Grow(ref _traits, count);
        for (_traitCount = 0; _traitCount < count; _traitCount++)
        {
            _traits[_traitCount] = new TraitEntry
            {
                Order = new EventOrder(reader.Signed(), reader.Signed(), (int)reader.Signed()),
                Name = reader.Slice(),
                Value = reader.Slice(),
                Source = reader.Slice(),
                Detail = reader.Slice(),
            };
        }

        count = (int)reader.Unsigned();
        Grow(ref _functions, count);
        Grow(ref _functionKeys, count);
        for (_functionCount = 0; _functionCount < count; _functionCount++)
        {
            uint key = reader.Key();
            _functionKeys[_functionCount] = key;
            _functions[_functionCount] = new FunctionEntry { Key = key, State = reader.Slice() };
        }

        count = (int)reader.Unsigned();
        Grow(ref _memberships, count);
        for (_membershipCount = 0; _membershipCount < count; _membershipCount++)
        {
            _memberships[_membershipCount] = new MembershipEntry { Key = reader.Key(), Since = reader.Signed() };
        }

        count = (int)reader.Unsigned();
        Grow(ref _mergedFrom, count);
        for (_mergedFromCount = 0; _mergedFromCount < count; _mergedFromCount++)
        {
            _mergedFrom[_mergedFromCount] = reader.Id();
        }

        count = (int)reader.Unsigned();
        for (_recentCount = 0; _recentCount < count; _recentCount++)
        {
            _recent[_recentCount] = new RecentEvent((int)reader.Unsigned(), reader.Unsigned());
        }

        if (format == CrmFormat)
        {
            ReadCrm(ref reader);
        }
    }

    /// <summary>Encodes the profile.</summary>
    /// <param name="buffer">Grown where it is too small.</param>
    /// <returns>Bytes written.</returns>
    public int Write(ref byte[] buffer)
    {
        bool hasCrm = _crmCount > 0 || IsCrmLimited || IsTraitsLimited || IsFunctionsLimited;
        int most = _used + 320 + (_crmCount * 48) + (_identifierCount * 40) + (_traitCount * 56) + (_functionCount * 12) + (_membershipCount * 16) + (_mergedFromCount * 16) + (_recentCount * 20);
        if (buffer.Length < most)
        {
            buffer = new byte[most * 2];
        }

        var writer = new RecordWriter(buffer);
        writer.Byte(hasCrm ? CrmFormat : Format);
        writer.Unsigned(Version);
        writer.Unsigned(EventCount);
        writer.Signed(FirstSeen);
        writer.Signed(LastSeen);
        writer.Signed(UpdatedAt);
        writer.Fixed(AdvancedTo);
        writer.Fixed(ArmedDeadline);
        writer.Signed(LastLink);
        writer.Signed(SourceOffset);

        writer.Unsigned(_identifierCount);
        foreach (ref IdentifierEntry entry in Identifiers)
        {
            writer.Signed(entry.FirstSeen);
            writer.Signed(entry.LastSeen - entry.FirstSeen);
            writer.Bytes(Bytes(entry.Type));
            writer.Bytes(Bytes(entry.Value));
            writer.Bytes(Bytes(entry.Source));
        }

        writer.Unsigned(_traitCount);
        foreach (ref TraitEntry entry in Traits)
        {
            writer.Signed(entry.Order.TimeMs);
            writer.Signed(entry.Order.Offset);
            writer.Signed(entry.Order.Partition);
            writer.Bytes(Bytes(entry.Name));
            writer.Bytes(Bytes(entry.Value));
            writer.Bytes(Bytes(entry.Source));
            writer.Bytes(Bytes(entry.Detail));
        }

        writer.Unsigned(_functionCount);
        foreach (ref FunctionEntry entry in Functions)
        {
            writer.Key(entry.Key);
            writer.Bytes(Bytes(entry.State));
        }

        writer.Unsigned(_membershipCount);
        foreach (ref MembershipEntry entry in Memberships)
        {
            writer.Key(entry.Key);
            writer.Signed(entry.Since);
        }

        writer.Unsigned(_mergedFromCount);
        foreach (UInt128 id in MergedFrom)
        {
            writer.Id(id);
        }

        writer.Unsigned(_recentCount);
        foreach (RecentEvent recent in Recent)
        {
            writer.Unsigned(recent.Partition);
            writer.Unsigned(recent.Offset);
        }

        if (hasCrm)
        {
            WriteCrm(ref writer);
        }

        return writer.Position;
    }

    private void ReadCrm(ref RecordReader reader)
    {
        int flags = reader.Byte(); // Bit 0: skipped; bit 1 + n: object n has a floor; bit 6: traits are limited, bit 7: functions.
        HasSkippedCrm = (flags & 1) != 0;
        IsTraitsLimited = (flags & TraitsLimited) != 0;
        IsFunctionsLimited = (flags & FunctionsLimited) != 0;
        for (int i = 0; i < _crmFloors.Length; i++)
        {
            if ((flags & (2 << i)) != 0)
            {
                _crmFloors[i] = new EventOrder(reader.Signed(), reader.Signed(), (int)reader.Signed());
            }
        }

        int count = (int)reader.Unsigned();
        Grow(ref _crm, count);
        for (_crmCount = 0; _crmCount < count; _crmCount++)
        {
            var entry = new CrmEntry
            {
                Object = (CrmObject)reader.Byte(),
                Order = new EventOrder(reader.Signed(), reader.Signed(), (int)reader.Signed()),
                Source = reader.Slice(),
                Id = reader.Slice(),
                Fields = reader.Slice(),
            };
            _crm[_crmCount] = entry;
            CrmBytes += CrmEntryBytes + entry.Source.Length + entry.Id.Length + entry.Fields.Length;
        }
    }

    private void WriteCrm(ref RecordWriter writer)
    {
        int flags = (HasSkippedCrm ? 1 : 0) | (IsTraitsLimited ? TraitsLimited : 0) | (IsFunctionsLimited ? FunctionsLimited : 0);
        for (int i = 0; i < _crmFloors.Length; i++)
        {
            flags |= _crmFloors[i] == EventOrder.None ? 0 : 2 << i;
        }

        writer.Byte((byte)flags);
        foreach (EventOrder floor in _crmFloors)
        {
            if (floor != EventOrder.None)
            {
                writer.Signed(floor.TimeMs);
                writer.Signed(floor.Offset);
                writer.Signed(floor.Partition);
            }
        }

        writer.Unsigned(_crmCount);
        foreach (ref CrmEntry entry in Crm)
        {
            writer.Byte((byte)entry.Object);
            writer.Signed(entry.Order.TimeMs);
            writer.Signed(entry.Order.Offset);
            writer.Signed(entry.Order.Partition);
            writer.Bytes(Bytes(entry.Source));
            writer.Bytes(Bytes(entry.Id));
            writer.Bytes(Bytes(entry.Fields));
        }
    }

    /// <summary>Position of a function in <see cref="Functions"/>; of one of which the profile has no state, the complement of where it belongs. Good until another gets its first state or is forgotten.</summary>
    public int IndexOfFunction(uint key)
    {
        // An event asks for the same few again and again.
        ref byte hint = ref _functionHints[key % FunctionHints];
        if (hint < _functionCount && _functionKeys[hint] == key)
        {
            return hint;
        }

        int low = 0;
        int high = _functionCount - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            uint found = _functionKeys[middle];
            if (found == key)
            {
                hint = (byte)Math.Min(middle, byte.MaxValue);
                return middle;
            }

            if (found < key)
            {
                low = middle + 1;
            }
            else
            {
                high = middle - 1;
            }
        }

        return ~low;
    }

    private int IndexOfMembership(uint key)
    {
        int low = 0;
        int high = _membershipCount - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            uint found = _memberships[middle].Key;
            if (found == key)
            {
                return middle;
            }

            (low, high) = found < key ? (middle + 1, high) : (low, middle - 1);
        }

        return ~low;
    }

    private Slice Reserve(int length)
    {
        if (_used + length > _arena.Length)
        {
            Array.Resize(ref _arena, Math.Max(_arena.Length * 2, _used + length));
        }

        var slice = new Slice(_used, length);
        _used += length;
        return slice;
    }

    private static void Grow<T>(ref T[] array, int needed)
    {
        if (needed >= array.Length)
        {
            Array.Resize(ref array, Math.Max(array.Length * 2, needed + 1));
        }
    }
}

/// <summary>Reads the parts of a profile record; offsets are those of the span it was given.</summary>
internal ref struct RecordReader(ReadOnlySpan<byte> bytes)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;
    private int _position;

    /// <summary>Everything was read.</summary>
    public readonly bool IsAtEnd => _position == _bytes.Length;

    /// <summary>One byte.</summary>
    public byte Byte() => _bytes[_position++];

    /// <summary>LEB128, 0 or more.</summary>
    public long Unsigned()
    {
        ulong value = 0;
        int shift = 0;
        byte next;
        do
        {
            next = _bytes[_position++];
            value |= (ulong)(next & 0x7F) << shift;
            shift += 7;
        }
        while (next >= 0x80);
        return (long)value;
    }

    /// <summary>Zigzag LEB128.</summary>
    public long Signed()
    {
        ulong value = (ulong)Unsigned();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    /// <summary>8 bytes, for values that are mostly extremes.</summary>
    public long Fixed()
    {
        long value = BinaryPrimitives.ReadInt64LittleEndian(_bytes[_position..]);
        _position += 8;
        return value;
    }

    /// <summary>4 bytes.</summary>
    public uint Key()
    {
        uint value = BinaryPrimitives.ReadUInt32LittleEndian(_bytes[_position..]);
        _position += 4;
        return value;
    }

    /// <summary>16 bytes.</summary>
    public UInt128 Id()
    {
        UInt128 value = BinaryPrimitives.ReadUInt128BigEndian(_bytes[_position..]);
        _position += 16;
        return value;
    }

    /// <summary>Length-prefixed bytes.</summary>
    public Slice Slice()
    {
        int length = (int)Unsigned();
        if ((uint)length > (uint)(_bytes.Length - _position))
        {
            throw new InvalidDataException("A profile record is cut.");
        }

        var slice = new Slice(_position, length);
        _position += length;
        return slice;
    }
}

/// <summary>Writes the parts of a profile record into a buffer that is large enough.</summary>
internal ref struct RecordWriter(Span<byte> buffer)
{
    private readonly Span<byte> _buffer = buffer;

    /// <summary>Bytes written.</summary>
    public int Position { get; private set; }

    /// <summary>One byte.</summary>
    public void Byte(byte value) => _buffer[Position++] = value;

    /// <summary>LEB128, 0 or more.</summary>
    public void Unsigned(long value)
    {
        ulong rest = (ulong)value;
        while (rest >= 0x80)
        {
            _buffer[Position++] = (byte)(rest | 0x80);
            rest >>= 7;
        }

        _buffer[Position++] = (byte)rest;
    }

    /// <summary>Zigzag LEB128.</summary>
    public void Signed(long value) => Unsigned((value << 1) ^ (value >> 63));

    /// <summary>8 bytes.</summary>
    public void Fixed(long value)
    {
        BinaryPrimitives.WriteInt64LittleEndian(_buffer[Position..], value);
        Position += 8;
    }

    /// <summary>4 bytes.</summary>
    public void Key(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_buffer[Position..], value);
        Position += 4;
    }

    /// <summary>16 bytes.</summary>
    public void Id(UInt128 value)
    {
        BinaryPrimitives.WriteUInt128BigEndian(_buffer[Position..], value);
        Position += 16;
    }

    /// <summary>Length-prefixed bytes.</summary>
    public void Bytes(ReadOnlySpan<byte> value)
    {
        Unsigned(value.Length);
        value.CopyTo(_buffer[Position..]);
        Position += value.Length;
    }
}
