using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>CRM records that were not kept.</summary>
internal sealed class CrmSkipped
{
    /// <summary><c>context.crm</c> that says no record: the event counts, this part of it does not.</summary>
    public long Malformed;

    /// <summary>Fields of more than <see cref="CrmRules.MaxFieldsBytes"/>.</summary>
    public long TooLong;

    /// <summary>Records beyond <see cref="CrmRules.MaxRecords"/> or <see cref="CrmRules.MaxBytes"/>.</summary>
    public long TooMany;
}

/// <summary>How <c>context.crm</c> of events becomes the CRM records of a profile (RULES.md §8).</summary>
/// <remarks>
/// By key (object, source, id) the write highest in order wins, gone or not. A profile keeps the <see cref="MaxRecords"/> keys of an object whose winning writes are highest in
/// order. That is a function of the set of writes: a key's order only grows, so one that is pushed out stays out until a write comes that belongs in; so late events and merges
/// need no care of their own. Only beyond <see cref="MaxBytes"/> what is kept depends on which record came first.
/// <para>Cost: an event of another source one comparison of its name with each CRM source's; a record one walk of its context and one of its fields, without allocation.</para>
/// </remarks>
internal sealed class CrmRules
{
    /// <summary>Records of one object of a profile, gone ones included: some hundred times what a person has; a collection function walks them all.</summary>
    public const int MaxRecords = 1_000;

    /// <summary>Longest fields of a record, bytes of JSON without white space: a quarter of what an event may have.</summary>
    public const int MaxFieldsBytes = 8_192;

    /// <summary>All records of a profile, bytes: with a quarter of room to grow they fit a page of the store (<see cref="State.FasterStore"/>), which has 512 KiB or more from 16 MiB of pages a shard on.</summary>
    public const int MaxBytes = 384 << 10;

    /// <summary>Longest id, characters (Unicode code points).</summary>
    public const int MaxIdCharacters = 100;

    private const int CrmSlot = 0;
    private const int ObjectSlot = 1;
    private const int IdSlot = 2;
    private const int FieldsSlot = 3;

    private static readonly JsonPathScanner s_scanner = new([["crm"], ["crm", "object"], ["crm", "id"], ["crm", "fields"]]);

    private readonly byte[][] _sources;
    private readonly CrmSkipped _skipped;
    private readonly JsonSlice[] _slots = new JsonSlice[s_scanner.SlotCount];
    private readonly JsonMembers _members = new();
    private readonly byte[] _minified = new byte[MaxFieldsBytes];
    private readonly byte[] _fields = new byte[MaxFieldsBytes];
    private byte[] _text = new byte[256];

    /// <param name="model">Its sources of kind crm that are trusted bring CRM records.</param>
    /// <param name="skipped">Counts what is not kept.</param>
    public CrmRules(CdpModel model, CrmSkipped skipped)
    {
        _sources = [.. model.Sources.Where(source => source is { Kind: "crm", Trusted: true }).Select(source => Encoding.UTF8.GetBytes(source.Id))];
        _skipped = skipped;
    }

    /// <summary>Whether events of a source may bring CRM records.</summary>
    public bool IsCrm(ReadOnlySpan<byte> source)
    {
        foreach (byte[] crm in _sources)
        {
            if (source.SequenceEqual(crm))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Applies the record of an event.</summary>
    /// <param name="profile">Changed.</param>
    /// <param name="context">JSON object of the event's context, accepted before.</param>
    /// <param name="source">Id of the source, one of kind crm.</param>
    /// <param name="order">Of the event.</param>
    public void Apply(ProfileState profile, ReadOnlySpan<byte> context, ReadOnlySpan<byte> source, EventOrder order)
    {
        s_scanner.ScanAccepted(context, _slots);
        if (_slots[CrmSlot].IsAbsent)
        {
            return;
        }

        if (_slots[CrmSlot].Kind != JsonTokenType.StartObject || !TryObject(context, out CrmObject type)
            || _slots[FieldsSlot].Kind is not (JsonTokenType.StartObject or JsonTokenType.Null) || !TryId(context, out ReadOnlySpan<byte> id))
        {
            _skipped.Malformed++;
            return;
        }

        ReadOnlySpan<byte> fields = default;
        if (_slots[FieldsSlot].Kind == JsonTokenType.StartObject && !TryNormalise(_slots[FieldsSlot].In(context), out fields))
        {
            _skipped.TooLong++;
            profile.HasSkippedCrm = true;
            return;
        }

        Write(profile, type, source, id, fields, order);
    }

    /// <summary>Adds the loser's writes to the survivor's, as if one person had all events (RULES.md §3.8).</summary>
    public void Merge(ProfileState survivor, ProfileState loser)
    {
        survivor.HasSkippedCrm |= loser.HasSkippedCrm;
        for (int i = 0; i < CrmObjects.Count; i++)
        {
            if (loser.CrmFloors[i] > survivor.CrmFloors[i])
            {
                survivor.CrmFloors[i] = loser.CrmFloors[i];
                DropUpToFloor(survivor, (CrmObject)i);
            }
        }

        foreach (ref CrmEntry entry in loser.Crm)
        {
            Write(survivor, entry.Object, loser.Bytes(entry.Source), loser.Bytes(entry.Id), loser.Bytes(entry.Fields), entry.Order);
        }
    }

    private static void DropUpToFloor(ProfileState profile, CrmObject type)
    {
        for (int i = profile.Crm.Length - 1; i >= 0; i--)
        {
            if (profile.Crm[i].Object == type && profile.Crm[i].Order <= profile.CrmFloors[(int)type])
            {
                profile.RemoveCrm(i);
            }
        }
    }

    private void Write(ProfileState profile, CrmObject type, ReadOnlySpan<byte> source, ReadOnlySpan<byte> id, ReadOnlySpan<byte> fields, EventOrder order)
    {
        int index = profile.IndexOfCrm(type, source, id);
        if (index >= 0)
        {
            if (order <= profile.Crm[index].Order)
            {
                return;
            }
        }
        else
        {
            if (order <= profile.CrmFloors[(int)type])
            {
                _skipped.TooMany++;
                return;
            }

            index = ~index;
            profile.AddCrm(index, type, source, id);
        }

        profile.SetCrm(index, fields, order);
        if (profile.CrmOf(type).Length > MaxRecords)
        {
            DropLowest(profile, type);
        }

        while (profile.CrmBytes > MaxBytes)
        {
            DropLowest(profile, null);
        }
    }

    /// <summary>Drops the record lowest in order, of one object or of all.</summary>
    private void DropLowest(ProfileState profile, CrmObject? type)
    {
        int lowest = -1;
        for (int i = 0; i < profile.Crm.Length; i++)
        {
            if ((type is null || profile.Crm[i].Object == type) && (lowest < 0 || profile.Crm[i].Order < profile.Crm[lowest].Order))
            {
                lowest = i;
            }
        }

        ref EventOrder floor = ref profile.CrmFloors[(int)profile.Crm[lowest].Object];
        floor = profile.Crm[lowest].Order > floor ? profile.Crm[lowest].Order : floor;
        profile.RemoveCrm(lowest);
        _skipped.TooMany++;
    }

    private bool TryObject(ReadOnlySpan<byte> context, out CrmObject type)
    {
        type = default;
        return _slots[ObjectSlot].Kind == JsonTokenType.String && CrmObjects.TryParse(Text(context, _slots[ObjectSlot]), out type);
    }

    /// <summary>1 to 100 characters of text, or the decimal text of a JSON integer.</summary>
    private bool TryId(ReadOnlySpan<byte> context, out ReadOnlySpan<byte> id)
    {
        JsonSlice slice = _slots[IdSlot];
        id = slice.Kind is JsonTokenType.String ? Text(context, slice) : slice.In(context);
        if (slice.Kind != JsonTokenType.String && (slice.Kind != JsonTokenType.Number || id.ContainsAny(".eE"u8)))
        {
            return false;
        }

        int characters = 0;
        foreach (byte next in id)
        {
            characters += (next & 0xC0) != 0x80 ? 1 : 0; // Not one that goes on with a character of UTF-8.
        }

        return characters is > 0 and <= MaxIdCharacters;
    }

    private ReadOnlySpan<byte> Text(ReadOnlySpan<byte> context, JsonSlice slice)
    {
        ReadOnlySpan<byte> text = slice.In(context);
        if (!slice.IsEscaped)
        {
            return text;
        }

        if (_text.Length < text.Length)
        {
            _text = new byte[text.Length * 2];
        }

        return _text.AsSpan(0, JsonText.Unescape(text, _text));
    }

    /// <summary>Without white space, each field once (of a key that comes twice the last one counts), and without those that the record's own source and id hide.</summary>
    private bool TryNormalise(ReadOnlySpan<byte> json, out ReadOnlySpan<byte> fields)
    {
        int length = Segments.JsonText.Minify(json, _minified);
        fields = default;
        if (length < 0)
        {
            return false;
        }

        ReadOnlySpan<byte> minified = _minified.AsSpan(0, length);
        _members.Find(minified);
        int end = 0;
        _fields[end++] = (byte)'{';
        foreach (JsonMember member in _members.Found)
        {
            ReadOnlySpan<byte> name = _members.Name(minified, member);
            if (name.SequenceEqual("id"u8) || name.SequenceEqual("source"u8))
            {
                continue;
            }

            if (end > 1)
            {
                _fields[end++] = (byte)',';
            }

            ReadOnlySpan<byte> whole = minified[(member.Name.Start.Value - 1)..member.Value.End.Value];
            whole.CopyTo(_fields.AsSpan(end));
            end += whole.Length;
        }

        _fields[end++] = (byte)'}';
        fields = _fields.AsSpan(0, end);
        return true;
    }
}
