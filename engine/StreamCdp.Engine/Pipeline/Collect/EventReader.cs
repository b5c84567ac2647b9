using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Reads what identity and time need from one event: type, name, messageId, times, identifiers, sender (RULES.md §1, §2, §4.1).</summary>
/// <remarks>
/// One for each thread; results hold until the next <see cref="Read"/>. The JSON is walked once (external ids a second time, only where there are some).
/// Cost: 0 B an event, except phone numbers without country code and patterns (<see cref="IdentifierRule"/>), and exceptions for text that is not JSON.
/// </remarks>
internal sealed class EventReader
{
    /// <summary>Largest event, bytes of its JSON as sent (RULES.md §1.5).</summary>
    public const int MaxBytes = 32_768;

    private const int TypeSlot = 0;
    private const int EventSlot = 1;
    private const int NameSlot = 2;
    private const int UserIdSlot = 3;
    private const int AnonymousIdSlot = 4;
    private const int PreviousIdSlot = 5;
    private const int MessageIdSlot = 6;
    private const int TimestampSlot = 7;
    private const int OriginalTimestampSlot = 8;
    private const int SentAtSlot = 9;
    private const int PropertiesSlot = 10;
    private const int TraitsSlot = 11;
    private const int ContextSlot = 12;
    private const int ExternalIdsSlot = 13;

    private static readonly string[][] s_fixedPaths =
    [
        ["type"], ["event"], ["name"], ["userId"], ["anonymousId"], ["previousId"], ["messageId"], ["timestamp"], ["originalTimestamp"], ["sentAt"],
        ["properties"], ["traits"], ["context"], ["context", "externalIds"],
    ];

    private readonly TypeRules[] _types;
    private readonly int _userIdType = -1;
    private readonly int _anonymousIdType = -1;
    private readonly JsonPathScanner _scanner;
    private readonly JsonSlice[] _slots;
    private readonly JsonPathScanner _batchScanner; // Paths below context, for events without a context of their own.
    private readonly JsonSlice[] _batchSlots;

    private byte[] _bytes = new byte[1024]; // "type:value" of each identifier, name, messageId.
    private int _used;
    private byte[] _scratch = new byte[1024];
    private Found[] _found = new Found[8];
    private External[] _externals = new External[8];
    private int _externalCount;
    private Range _name;
    private Range _messageId;
    private Range _previousUserId;
    private Range _previousAnonymousId;
    private Range _sender;

    /// <exception cref="NotSupportedException">A blocked pattern of the model needs backtracking.</exception>
    public EventReader(CdpModel model)
    {
        var paths = new List<IReadOnlyList<string>>(s_fixedPaths);
        var batchPaths = new List<IReadOnlyList<string>> { new[] { "externalIds" } };
        _types = new TypeRules[model.Identifiers.Count];
        for (int type = 0; type < _types.Length; type++)
        {
            IdentifierDefinition definition = model.Identifiers[type];
            var places = new List<Place>();
            if (definition.Type == "user_id")
            {
                _userIdType = type;
                places.Add(new Place(UserIdSlot, -1));
            }
            else if (definition.Type == "anonymous_id")
            {
                _anonymousIdType = type;
                places.Add(new Place(AnonymousIdSlot, -1));
            }

            foreach (string[] path in definition.From)
            {
                bool inContext = path.Length > 1 && path[0] == "context";
                places.Add(new Place(paths.Count, inContext ? batchPaths.Count : -1));
                paths.Add(path);
                if (inContext)
                {
                    batchPaths.Add(path[1..]);
                }
            }

            byte[] prefix = [.. Encoding.UTF8.GetBytes(definition.Type), Hash128.Separator];
            _types[type] = new TypeRules(prefix, new IdentifierRule(definition), [.. places]);
        }

        _scanner = new JsonPathScanner(paths);
        _slots = new JsonSlice[paths.Count];
        _batchScanner = new JsonPathScanner(batchPaths);
        _batchSlots = new JsonSlice[batchPaths.Count];
    }

    /// <summary>Type of the event.</summary>
    public EventType Type { get; private set; }

    /// <summary>Name, unescaped: the text of <c>event</c> for track, of <c>name</c> for page and screen (may be empty); empty for the rest.</summary>
    public ReadOnlySpan<byte> Name => _bytes.AsSpan(_name);

    /// <summary>messageId, unescaped; empty where it is missing or no text.</summary>
    public ReadOnlySpan<byte> MessageId => _bytes.AsSpan(_messageId);

    /// <summary><c>timestamp</c>, Unix ms.</summary>
    public long? Timestamp { get; private set; }

    /// <summary><c>originalTimestamp</c>, Unix ms; null also where it is unreadable.</summary>
    public long? OriginalTimestamp { get; private set; }

    /// <summary><c>sentAt</c> of the event, Unix ms; null also where it is unreadable.</summary>
    public long? SentAt { get; private set; }

    /// <summary>Identifiers, in the order of RULES.md §1.1, without repeats; <c>previousId</c> only after <see cref="AddPreviousId"/>.</summary>
    public int IdentifierCount { get; private set; }

    /// <summary>Place of the sender among the identifiers: the first anonymous_id, else the first. −1 while an alias has nothing but its <c>previousId</c>.</summary>
    public int SenderIndex { get; private set; }

    /// <summary><c>type:value</c> of the sender, UTF-8. An alias with nothing but a previousId is sent by that, as an anonymous_id where it can be one.</summary>
    public ReadOnlySpan<byte> SenderKey => _bytes.AsSpan(_sender);

    /// <summary>Hash of the sender: its partition, and the sender of RULES.md §2.</summary>
    public UInt128 SenderHash => Hash128.Of(SenderKey);

    /// <summary>An alias whose <c>previousId</c> can be a user_id or an anonymous_id: decide which and call <see cref="AddPreviousId"/>.
    /// Where that adds nothing and <see cref="IdentifierCount"/> is 0, the event is a dead letter after all (<see cref="EventProblem.NoIdentifier"/>).</summary>
    public bool HasPreviousId { get; private set; }

    /// <summary>The <c>previousId</c> as a user_id, normalised; empty where it cannot be one (invalid, blocked, no such type in the model).</summary>
    public ReadOnlySpan<byte> PreviousUserId => _bytes.AsSpan(_previousUserId);

    /// <summary>The <c>previousId</c> as an anonymous_id, normalised; empty where it cannot be one.</summary>
    public ReadOnlySpan<byte> PreviousAnonymousId => _bytes.AsSpan(_previousAnonymousId);

    /// <summary>The event has no <c>context</c> key, so that of its batch counts.</summary>
    public bool UsesBatchContext { get; private set; }

    /// <summary>Index of user_id in the model's identifiers; −1 where it has none.</summary>
    public int UserIdType => _userIdType;

    /// <summary>Index of anonymous_id in the model's identifiers; −1 where it has none.</summary>
    public int AnonymousIdType => _anonymousIdType;

    /// <summary>Identifiers dropped because they are no value of their type, since the reader was made.</summary>
    public long InvalidIdentifiers { get; private set; }

    /// <summary>Identifiers dropped because they are blocked, since the reader was made.</summary>
    public long BlockedIdentifiers { get; private set; }

    /// <summary>Normalised value of an identifier, UTF-8.</summary>
    public ReadOnlySpan<byte> IdentifierValue(int index)
    {
        Debug.Assert(index < IdentifierCount, "No such identifier.");
        return _bytes.AsSpan(_found[index].Value);
    }

    /// <summary>Its type: index into <see cref="CdpModel.Identifiers"/>.</summary>
    public int IdentifierType(int index) => _found[index].Type;

    /// <summary>Reads an event.</summary>
    /// <param name="payload">Its JSON as sent; must stay unchanged only during the call.</param>
    /// <param name="batchContext">JSON of the batch's <c>context</c>, for an event that has no such key; empty for none.</param>
    /// <param name="typeOfPath">Type where the event lacks <c>type</c> (missing or null): of the HTTP path, or of the record.</param>
    /// <returns>Why it is a dead letter, or <see cref="EventProblem.None"/>. Type, messageId and times are filled as far as they were read.</returns>
    public EventProblem Read(ReadOnlySpan<byte> payload, ReadOnlySpan<byte> batchContext, EventType typeOfPath = EventType.Unknown)
    {
        Clear();
        if (payload.Length > MaxBytes)
        {
            return EventProblem.TooLarge;
        }

        if (!Utf8.IsValid(payload) || !_scanner.Scan(payload, _slots))
        {
            return EventProblem.Unreadable;
        }

        UsesBatchContext = _slots[ContextSlot].Kind == JsonTokenType.None;
        _messageId = ReadText(payload, _slots[MessageIdSlot]);
        EventProblem problem = ReadType(payload, typeOfPath);
        problem = problem != EventProblem.None ? problem : CheckObjects();
        problem = problem != EventProblem.None ? problem : ReadTimes(payload);
        if (problem != EventProblem.None)
        {
            return problem;
        }

        ReadIdentifiers(payload, batchContext);
        return FindSender() ? EventProblem.None : EventProblem.NoIdentifier;
    }

    /// <summary>Event time (RULES.md §4.1), Unix ms.</summary>
    /// <param name="receivedAt">When the collector received it, or the record time, Unix ms.</param>
    /// <param name="batchSentAt"><c>sentAt</c> of the batch; that of the event wins.</param>
    /// <param name="asIs">The client's time is taken as it is (command <c>import</c>).</param>
    public long EventTime(long receivedAt, long? batchSentAt, bool asIs)
    {
        long? clientTime = OriginalTimestamp ?? Timestamp;
        long time = receivedAt;
        if (clientTime is long client)
        {
            long? sentAt = SentAt ?? batchSentAt;
            time = asIs ? client
                : OriginalTimestamp is not null && Timestamp is long corrected ? corrected
                : sentAt is long sent && Math.Abs(sent - receivedAt) >= 1000 ? receivedAt - (sent - client)
                : client;
        }

        return Math.Clamp(time, EventTimestamp.MinMs, Math.Max(receivedAt, EventTimestamp.MinMs)); // Year 1 with sentAt in 9999 would lie before every calendar.
    }

    /// <summary>Puts the <c>previousId</c> of an alias among the identifiers, last within its type (RULES.md §1.6). Call it at most once an event.</summary>
    /// <param name="isUserId">It is known as a user_id; else it is an anonymous_id. Where it cannot be what is asked for, nothing is added.</param>
    /// <returns>Its index, and those behind it move up by one; −1 where it is invalid as this type, or repeats an identifier.</returns>
    public int AddPreviousId(bool isUserId)
    {
        int type = isUserId ? _userIdType : _anonymousIdType;
        Range value = isUserId ? _previousUserId : _previousAnonymousId;
        if (type < 0 || Length(value) == 0 || IsRepeat(type, _bytes.AsSpan(value)))
        {
            return -1;
        }

        int index = IdentifierCount;
        while (index > 0 && _found[index - 1].Type > type)
        {
            index--;
        }

        Reserve(ref _found, IdentifierCount + 1);
        Array.Copy(_found, index, _found, index + 1, IdentifierCount - index);
        _found[index] = new Found(type, value);
        IdentifierCount++;
        SenderIndex = SenderIndex < 0 ? index : SenderIndex >= index ? SenderIndex + 1 : SenderIndex;
        return index;
    }

    /// <summary><c>type:value</c> of an identifier, UTF-8: its key in the identity map.</summary>
    public ReadOnlySpan<byte> IdentifierKey(int index) => _bytes.AsSpan(Key(_found[index]));

    /// <summary>Hash of an identifier.</summary>
    public UInt128 IdentifierHash(int index) => Hash128.Of(IdentifierKey(index));

    private void Clear()
    {
        Type = EventType.Unknown;
        _used = 0;
        IdentifierCount = 0;
        SenderIndex = -1;
        _externalCount = 0;
        _name = default;
        _messageId = default;
        _previousUserId = default;
        _previousAnonymousId = default;
        _sender = default;
        HasPreviousId = false;
        Timestamp = null;
        OriginalTimestamp = null;
        SentAt = null;
        UsesBatchContext = false;
    }

    private EventProblem ReadType(ReadOnlySpan<byte> payload, EventType typeOfPath)
    {
        JsonSlice slice = _slots[TypeSlot];
        Type = slice.IsAbsent ? typeOfPath : slice.Kind == JsonTokenType.String ? EventTypeText.Parse(Text(payload, slice)) : EventType.Unknown;
        switch (Type)
        {
            case EventType.Unknown:
                return slice.IsAbsent ? EventProblem.TypeMissing : EventProblem.TypeUnknown;
            case EventType.Track:
                _name = ReadText(payload, _slots[EventSlot]);
                return Length(_name) == 0 ? EventProblem.EventMissing : EventProblem.None;
            case EventType.Page or EventType.Screen:
                _name = ReadText(payload, _slots[NameSlot]);
                return EventProblem.None;
            default:
                return EventProblem.None;
        }
    }

    private EventProblem CheckObjects()
    {
        return
            !IsObjectOrAbsent(_slots[PropertiesSlot]) ? EventProblem.PropertiesNotObject :
            !IsObjectOrAbsent(_slots[TraitsSlot]) ? EventProblem.TraitsNotObject :
            !IsObjectOrAbsent(_slots[ContextSlot]) ? EventProblem.ContextNotObject :
            EventProblem.None;

        static bool IsObjectOrAbsent(JsonSlice slice) => slice.IsAbsent || slice.Kind == JsonTokenType.StartObject;
    }

    private EventProblem ReadTimes(ReadOnlySpan<byte> payload)
    {
        OriginalTimestamp = ReadTime(payload, _slots[OriginalTimestampSlot]);
        SentAt = ReadTime(payload, _slots[SentAtSlot]);
        Timestamp = ReadTime(payload, _slots[TimestampSlot]);
        return Timestamp is null && !_slots[TimestampSlot].IsAbsent ? EventProblem.TimestampUnreadable : EventProblem.None;
    }

    private long? ReadTime(ReadOnlySpan<byte> payload, JsonSlice slice) =>
        !slice.IsAbsent && EventTimestamp.TryRead(Text(payload, slice), slice.Kind, out long unixMs) ? unixMs : null;

    private void ReadIdentifiers(ReadOnlySpan<byte> payload, ReadOnlySpan<byte> batchContext)
    {
        bool fromBatch = UsesBatchContext && !batchContext.IsEmpty && _batchScanner.Scan(batchContext, _batchSlots);
        ReadOnlySpan<byte> externalSource = fromBatch ? batchContext : payload;
        ReadExternals(externalSource, fromBatch ? _batchSlots[0] : _slots[ExternalIdsSlot]);
        for (int type = 0; type < _types.Length; type++)
        {
            foreach (Place place in _types[type].Places)
            {
                if (fromBatch && place.BatchSlot >= 0)
                {
                    Add(type, batchContext, _batchSlots[place.BatchSlot]);
                }
                else
                {
                    Add(type, payload, _slots[place.Slot]);
                }
            }

            for (int i = 0; i < _externalCount; i++)
            {
                if (_externals[i].Type == type)
                {
                    Add(type, externalSource, _externals[i].Id);
                }
            }
        }

        if (Type == EventType.Alias)
        {
            _previousUserId = ReadPrevious(_userIdType, payload);
            _previousAnonymousId = ReadPrevious(_anonymousIdType, payload);
            HasPreviousId = Length(_previousUserId) > 0 || Length(_previousAnonymousId) > 0;
        }
    }

    private void ReadExternals(ReadOnlySpan<byte> source, JsonSlice array)
    {
        if (array.Kind != JsonTokenType.StartArray)
        {
            return;
        }

        // The scanner has read this text already: it is well-formed and not too deep.
        var reader = new Utf8JsonReader(array.In(source), new JsonReaderOptions { MaxDepth = JsonPathScanner.MaxDepth });
        reader.Read();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.StartObject)
            {
                reader.Skip();
                continue;
            }

            JsonSlice id = default;
            JsonSlice type = default;
            JsonSlice collection = default;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                int field = JsonText.Is(ref reader, "id"u8) ? 0 : JsonText.Is(ref reader, "type"u8) ? 1 : JsonText.Is(ref reader, "collection"u8) ? 2 : 3;
                reader.Read();
                int start = (int)reader.TokenStartIndex;
                JsonTokenType kind = reader.TokenType;
                bool escaped = kind == JsonTokenType.String && reader.ValueIsEscaped;
                reader.Skip();
                int length = (int)reader.BytesConsumed - start;
                JsonSlice value = kind == JsonTokenType.String
                    ? new JsonSlice(array.Offset + start + 1, length - 2, kind, escaped)
                    : new JsonSlice(array.Offset + start, length, kind, false);
                (id, type, collection) = field switch
                {
                    0 => (value, type, collection),
                    1 => (id, value, collection),
                    2 => (id, type, value),
                    _ => (id, type, collection),
                };
            }

            if (type.Kind == JsonTokenType.String && (collection.IsAbsent || (collection.Kind == JsonTokenType.String && Text(source, collection).SequenceEqual("users"u8))))
            {
                int index = IndexOfType(Text(source, type));
                if (index >= 0)
                {
                    Reserve(ref _externals, _externalCount + 1);
                    _externals[_externalCount++] = new External(index, id);
                }
            }
        }
    }

    private int IndexOfType(ReadOnlySpan<byte> name)
    {
        for (int type = 0; type < _types.Length; type++)
        {
            if (_types[type].Prefix.AsSpan()[..^1].SequenceEqual(name))
            {
                return type;
            }
        }

        return -1;
    }

    private void Add(int type, ReadOnlySpan<byte> source, JsonSlice slice)
    {
        if (TryTake(type, source, slice, out ReadOnlySpan<byte> value) && !IsRepeat(type, value))
        {
            Reserve(ref _found, IdentifierCount + 1);
            _found[IdentifierCount++] = new Found(type, Keep(type, value));
        }
    }

    private Range ReadPrevious(int type, ReadOnlySpan<byte> payload) =>
        type >= 0 && TryTake(type, payload, _slots[PreviousIdSlot], out ReadOnlySpan<byte> value) ? Keep(type, value) : default;

    private bool TryTake(int type, ReadOnlySpan<byte> source, JsonSlice slice, out ReadOnlySpan<byte> value)
    {
        value = default;
        if (slice.IsAbsent)
        {
            return false;
        }

        bool isScalar = slice.Kind == JsonTokenType.String || (slice.Kind == JsonTokenType.Number && !slice.In(source).ContainsAny(".eE"u8));
        switch (isScalar ? _types[type].Rule.Apply(Text(source, slice), out value) : IdentifierOutcome.Invalid)
        {
            case IdentifierOutcome.Taken:
                return true;
            case IdentifierOutcome.Invalid:
                InvalidIdentifiers++;
                return false;
            case IdentifierOutcome.Blocked:
                BlockedIdentifiers++;
                return false;
            default:
                return false;
        }
    }

    private bool IsRepeat(int type, ReadOnlySpan<byte> value)
    {
        for (int i = IdentifierCount - 1; i >= 0 && _found[i].Type >= type; i--)
        {
            if (_found[i].Type == type && value.SequenceEqual(_bytes.AsSpan(_found[i].Value)))
            {
                return true;
            }
        }

        return false;
    }

    private bool FindSender()
    {
        if (IdentifierCount == 0)
        {
            bool isAnonymous = Length(_previousAnonymousId) > 0;
            _sender = !HasPreviousId ? default : isAnonymous ? Key(new Found(_anonymousIdType, _previousAnonymousId)) : Key(new Found(_userIdType, _previousUserId));
            return HasPreviousId;
        }

        SenderIndex = 0;
        for (int i = 0; i < IdentifierCount; i++)
        {
            if (_found[i].Type == _anonymousIdType)
            {
                SenderIndex = i;
                break;
            }
        }

        _sender = Key(_found[SenderIndex]);
        return true;
    }

    private Range Key(Found found) => (found.Value.Start.Value - _types[found.Type].Prefix.Length)..found.Value.End;

    private Range Keep(int type, ReadOnlySpan<byte> value)
    {
        byte[] prefix = _types[type].Prefix;
        Reserve(ref _bytes, _used + prefix.Length + value.Length);
        prefix.CopyTo(_bytes, _used);
        int start = _used + prefix.Length;
        value.CopyTo(_bytes.AsSpan(start));
        _used = start + value.Length;
        return start.._used;
    }

    private Range ReadText(ReadOnlySpan<byte> payload, JsonSlice slice)
    {
        if (slice.Kind != JsonTokenType.String)
        {
            return default;
        }

        ReadOnlySpan<byte> text = Text(payload, slice);
        Reserve(ref _bytes, _used + text.Length);
        text.CopyTo(_bytes.AsSpan(_used));
        int start = _used;
        _used += text.Length;
        return start.._used;
    }

    /// <summary>Unescaped text, or the bytes of another value; valid until the next call.</summary>
    private ReadOnlySpan<byte> Text(ReadOnlySpan<byte> source, JsonSlice slice)
    {
        ReadOnlySpan<byte> raw = slice.In(source);
        if (!slice.IsEscaped)
        {
            return raw;
        }

        Reserve(ref _scratch, raw.Length);
        return _scratch.AsSpan(0, JsonText.Unescape(raw, _scratch));
    }

    private static int Length(Range range) => range.End.Value - range.Start.Value;

    private static void Reserve<T>(ref T[] array, int length)
    {
        if (array.Length < length)
        {
            Array.Resize(ref array, Math.Max(length, array.Length * 2));
        }
    }

    private readonly record struct Place(int Slot, int BatchSlot);

    private readonly record struct External(int Type, JsonSlice Id);

    private readonly record struct Found(int Type, Range Value);

    private sealed record TypeRules(byte[] Prefix, IdentifierRule Rule, Place[] Places);
}
