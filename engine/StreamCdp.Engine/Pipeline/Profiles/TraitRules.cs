using System.Buffers.Text;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>How much of sent traits a profile keeps, so that nobody who knows a public write key can make a profile larger than a store and a log take.</summary>
/// <param name="MaxTraits">Traits that the model does not declare; removed ones count.</param>
/// <param name="MaxBytes">Names and values of the declared traits together, and of the others, bytes of JSON; of a union also who brought each element.</param>
/// <param name="MaxListItems">Elements of a union.</param>
internal sealed record TraitLimits(int MaxTraits = 1_000, int MaxBytes = 128 << 10, int MaxListItems = 1_000);

/// <summary>Writes of traits that were not kept.</summary>
internal sealed class TraitsSkipped
{
    /// <summary>Beyond <see cref="TraitLimits.MaxTraits"/>.</summary>
    public long TooMany;

    /// <summary>Beyond <see cref="TraitLimits.MaxBytes"/>.</summary>
    public long TooLarge;

    /// <summary>Beyond <see cref="TraitLimits.MaxListItems"/>.</summary>
    public long TooManyItems;
}

/// <summary>How writes of sent traits become one value with its provenance (RULES.md §5).</summary>
internal sealed class TraitRules
{
    private readonly Declared[] _declared;
    private readonly TraitLimits _limits;
    private readonly TraitsSkipped _skipped;
    private readonly Dictionary<string, string> _kinds = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string>.AlternateLookup<ReadOnlySpan<char>> _kindsByText;
    private readonly JsonMembers _members = new();
    private readonly List<Element> _elements = [];
    private byte[] _union = new byte[1024];
    private byte[] _left = new byte[256];
    private byte[] _right = new byte[256];

    /// <param name="model">Declared traits and the kinds of sources.</param>
    /// <param name="firstSlot">Slot of the first of <see cref="Paths"/> in the caller's scan.</param>
    /// <param name="limits">What a profile keeps.</param>
    /// <param name="skipped">Counts what it does not.</param>
    public TraitRules(CdpModel model, int firstSlot, TraitLimits? limits = null, TraitsSkipped? skipped = null)
    {
        _limits = limits ?? new TraitLimits();
        _skipped = skipped ?? new TraitsSkipped();
        _declared = [.. model.Traits.Select(trait => new Declared(Encoding.UTF8.GetBytes(trait.Name), trait.Merge, [.. trait.Prefer], trait.From))];
        var paths = new List<string[]>();
        foreach (Declared trait in _declared)
        {
            if (trait.From is not null)
            {
                trait.Slot = firstSlot + paths.Count;
                paths.Add(trait.From);
            }
        }

        Paths = paths;
        foreach (SourceDefinition source in model.Sources)
        {
            _kinds[source.Id] = source.Kind;
        }

        _kindsByText = _kinds.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    /// <summary>JSON paths that the caller scans for.</summary>
    public IReadOnlyList<IReadOnlyList<string>> Paths { get; }

    /// <summary>Applies what an event writes.</summary>
    /// <param name="profile">Changed.</param>
    /// <param name="e">Slots with <see cref="Paths"/>.</param>
    /// <param name="traits">JSON object of the event's <c>traits</c>, or empty.</param>
    /// <param name="contextTraits">JSON object of <c>context.traits</c>, or empty.</param>
    /// <param name="source">Id of the source.</param>
    public void Apply(ProfileState profile, in EventView e, ReadOnlySpan<byte> traits, ReadOnlySpan<byte> contextTraits, ReadOnlySpan<byte> source)
    {
        foreach (Declared trait in _declared)
        {
            if (trait.From is null || e.Slots[trait.Slot] is not { Kind: not JsonTokenType.None } slice)
            {
                continue;
            }

            ReadOnlySpan<byte> json = trait.From[0] == "context" ? e.ContextPayload : e.Payload;
            ReadOnlySpan<byte> value = slice.Kind == JsonTokenType.String ? json.Slice(slice.Offset - 1, slice.Length + 2) : slice.In(json);
            Write(profile, trait.Name, slice.Kind == JsonTokenType.Null ? default : value, source, e.Order, trait);
        }

        if (e.Type != EventType.Identify)
        {
            return;
        }

        WriteAll(profile, traits, default, source, e.Order);
        WriteAll(profile, contextTraits, traits, source, e.Order);
    }

    /// <summary>Adds the loser's writes to the survivor's, as if one person had all events.</summary>
    public void Merge(ProfileState survivor, ProfileState loser)
    {
        survivor.IsTraitsLimited |= loser.IsTraitsLimited;
        foreach (ref TraitEntry entry in loser.Traits)
        {
            ReadOnlySpan<byte> name = loser.Bytes(entry.Name);
            if (entry.Detail.Length > 0)
            {
                MergeUnion(survivor, name, loser.Bytes(entry.Detail));
                continue;
            }

            Write(survivor, name, loser.Bytes(entry.Value), loser.Bytes(entry.Source), entry.Order, Find(name));
        }
    }

    private void WriteAll(ProfileState profile, ReadOnlySpan<byte> traits, ReadOnlySpan<byte> unlessIn, ReadOnlySpan<byte> source, EventOrder order)
    {
        if (traits.IsEmpty)
        {
            return;
        }

        _members.Find(traits);
        foreach (JsonMember member in _members.Found)
        {
            ReadOnlySpan<byte> name = _members.Name(traits, member);
            Declared? declared = Find(name);
            if (declared?.From is not null)
            {
                continue; // It reads that path and no other.
            }

            if (!unlessIn.IsEmpty && Has(unlessIn, name))
            {
                continue;
            }

            Write(profile, name, member.IsNull ? default : traits[member.Value], source, order, declared);
        }
    }

    private static bool Has(ReadOnlySpan<byte> json, ReadOnlySpan<byte> name)
    {
        var reader = new Utf8JsonReader(json);
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (JsonText.Is(ref reader, name))
            {
                return true;
            }

            reader.Read();
            reader.Skip();
        }

        return false;
    }

    private Declared? Find(ReadOnlySpan<byte> name)
    {
        foreach (Declared trait in _declared)
        {
            if (name.SequenceEqual(trait.Name))
            {
                return trait;
            }
        }

        return null;
    }

    /// <param name="profile">Changed.</param>
    /// <param name="name">Top-level key.</param>
    /// <param name="value">JSON text; empty: null.</param>
    /// <param name="source">Id.</param>
    /// <param name="order">Of the write.</param>
    /// <param name="declared">Null: latest.</param>
    private void Write(ProfileState profile, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, ReadOnlySpan<byte> source, EventOrder order, Declared? declared)
    {
        TraitMerge merge = declared?.Merge ?? TraitMerge.Latest;
        if (merge != TraitMerge.Latest && value.IsEmpty)
        {
            return; // They ignore null.
        }

        if (merge == TraitMerge.Union)
        {
            WriteUnion(profile, name, value, source, order);
            return;
        }

        double number = 0;
        if (merge is TraitMerge.Min or TraitMerge.Max && (!Utf8Parser.TryParse(value, out number, out int read) || read != value.Length))
        {
            return;
        }

        int index = profile.IndexOfTrait(name);
        if (index < 0)
        {
            if (!HasRoom(profile, index, name.Length, value.Length, declared))
            {
                return;
            }

            ref TraitEntry added = ref profile.AddTrait(name);
            added.Value = profile.Add(value);
            added.Source = profile.Add(source);
            added.Order = order;
            return;
        }

        ref TraitEntry entry = ref profile.Traits[index];
        bool wins;
        switch (merge)
        {
            case TraitMerge.First:
                wins = order < entry.Order;
                break;
            case TraitMerge.Min or TraitMerge.Max:
                wins = !Utf8Parser.TryParse(profile.Bytes(entry.Value), out double old, out _) || (number == old ? order < entry.Order : merge == TraitMerge.Min ? number < old : number > old);
                break;
            default:
                int rank = Rank(declared, source);
                int oldRank = Rank(declared, profile.Bytes(entry.Source));
                wins = rank < oldRank || (rank == oldRank && order > entry.Order);
                break;
        }

        if (wins && (value.Length <= entry.Value.Length || HasRoom(profile, index, name.Length, value.Length, declared)))
        {
            entry.Value = value.SequenceEqual(profile.Bytes(entry.Value)) ? entry.Value : profile.Add(value);
            entry.Source = source.SequenceEqual(profile.Bytes(entry.Source)) ? entry.Source : profile.Add(source);
            entry.Order = order;
        }
    }

    /// <summary>Whether a value may be kept, of a trait at its place or, −1, of a new one; else that is counted and noted.</summary>
    private bool HasRoom(ProfileState profile, int index, int nameBytes, int valueBytes, Declared? declared)
    {
        if (declared is null && index < 0 && profile.Traits.Length >= _limits.MaxTraits && Undeclared(profile) >= _limits.MaxTraits)
        {
            _skipped.TooMany++;
            profile.IsTraitsLimited = true;
            return false;
        }

        if (profile.ArenaUsed + nameBytes + valueBytes <= _limits.MaxBytes)
        {
            return true; // All that the profile has is no more.
        }

        // Declared ones have a room of their own: nobody can fill it with others.
        int bytes = nameBytes + valueBytes;
        for (int i = 0; i < profile.Traits.Length; i++)
        {
            ref TraitEntry entry = ref profile.Traits[i];
            if (i != index && (Find(profile.Bytes(entry.Name)) is null) == (declared is null))
            {
                bytes += entry.Name.Length + entry.Value.Length + entry.Detail.Length;
            }
        }

        if (bytes <= _limits.MaxBytes)
        {
            return true;
        }

        _skipped.TooLarge++;
        profile.IsTraitsLimited = true;
        return false;
    }

    private int Undeclared(ProfileState profile)
    {
        int count = 0;
        foreach (ref TraitEntry entry in profile.Traits)
        {
            count += Find(profile.Bytes(entry.Name)) is null ? 1 : 0;
        }

        return count;
    }

    /// <summary>Place of a source in <c>prefer</c>, by its id or its kind; smaller is better.</summary>
    private int Rank(Declared? declared, ReadOnlySpan<byte> source)
    {
        if (declared is null || declared.Prefer.Length == 0)
        {
            return 0;
        }

        Span<char> chars = stackalloc char[256];
        int length = source.Length <= chars.Length ? Encoding.UTF8.GetChars(source, chars) : 0;
        ReadOnlySpan<char> id = chars[..length];
        ReadOnlySpan<char> kind = _kindsByText.TryGetValue(id, out string? known) ? known : default;
        for (int rank = 0; rank < declared.Prefer.Length; rank++)
        {
            ReadOnlySpan<char> preferred = declared.Prefer[rank];
            if (preferred.SequenceEqual(id) || preferred.SequenceEqual(kind))
            {
                return rank;
            }
        }

        return declared.Prefer.Length;
    }

    /// <summary>Adds all scalars of a value to a union; each element belongs to the earliest event that brought it, whatever came first.</summary>
    private void WriteUnion(ProfileState profile, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value, ReadOnlySpan<byte> source, EventOrder order)
    {
        LoadUnion(profile, name);
        bool changed = false;
        var reader = new Utf8JsonReader(value);
        while (reader.Read())
        {
            if (reader.TokenType == JsonTokenType.StartObject)
            {
                reader.Skip();
            }
            else if (reader.TokenType is not (JsonTokenType.StartArray or JsonTokenType.EndArray or JsonTokenType.Null))
            {
                changed |= AddElement(profile, value[(int)reader.TokenStartIndex..(int)reader.BytesConsumed], source, order);
            }
        }

        if (changed)
        {
            StoreUnion(profile, name);
        }
    }

    private void MergeUnion(ProfileState survivor, ReadOnlySpan<byte> name, ReadOnlySpan<byte> detail)
    {
        LoadUnion(survivor, name);
        bool changed = false;
        foreach (Element element in ReadElements(detail))
        {
            changed |= AddElement(survivor, element.Json, element.Source, element.Order);
        }

        if (changed)
        {
            StoreUnion(survivor, name);
        }
    }

    private void LoadUnion(ProfileState profile, ReadOnlySpan<byte> name)
    {
        _elements.Clear();
        int index = profile.IndexOfTrait(name);
        if (index >= 0)
        {
            _elements.AddRange(ReadElements(profile.Bytes(profile.Traits[index].Detail)));
        }
    }

    private bool AddElement(ProfileState profile, ReadOnlySpan<byte> json, ReadOnlySpan<byte> source, EventOrder order)
    {
        for (int i = 0; i < _elements.Count; i++)
        {
            if (IsSameScalar(json, _elements[i].Json))
            {
                bool earlier = order < _elements[i].Order;
                if (earlier)
                {
                    _elements[i] = new Element(json.ToArray(), source.ToArray(), order);
                }

                return earlier;
            }
        }

        if (_elements.Count >= _limits.MaxListItems)
        {
            _skipped.TooManyItems++;
            profile.IsTraitsLimited = true;
            return false;
        }

        _elements.Add(new Element(json.ToArray(), source.ToArray(), order));
        return true;
    }

    /// <summary>Text by what it says, numbers as doubles, as in every comparison (RULES.md §6.6): however they are written.</summary>
    private bool IsSameScalar(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right)
    {
        if (left.SequenceEqual(right))
        {
            return true;
        }

        if (left[0] == (byte)'"' && right[0] == (byte)'"')
        {
            return Unescaped(left, ref _left).SequenceEqual(Unescaped(right, ref _right));
        }

        return Utf8Parser.TryParse(left, out double leftNumber, out int leftLength) && leftLength == left.Length
            && Utf8Parser.TryParse(right, out double rightNumber, out int rightLength) && rightLength == right.Length
            && leftNumber == rightNumber;
    }

    private static ReadOnlySpan<byte> Unescaped(ReadOnlySpan<byte> text, ref byte[] buffer)
    {
        text = text[1..^1];
        if (!text.Contains((byte)'\\'))
        {
            return text;
        }

        if (buffer.Length < text.Length)
        {
            buffer = new byte[text.Length * 2];
        }

        return buffer.AsSpan(0, JsonText.Unescape(text, buffer));
    }

    /// <summary>Writes the JSON array, in order of adding, and who added each element; the provenance is that of the latest.</summary>
    private void StoreUnion(ProfileState profile, ReadOnlySpan<byte> name)
    {
        _elements.Sort((left, right) => left.Order != right.Order ? left.Order.CompareTo(right.Order) : left.Json.AsSpan().SequenceCompareTo(right.Json));
        int most = 2 + _elements.Sum(element => element.Json.Length + 1);
        int mostDetail = _elements.Sum(element => element.Json.Length + element.Source.Length + 44);
        if (_union.Length < most + mostDetail)
        {
            _union = new byte[(most + mostDetail) * 2];
        }

        int length = 0;
        _union[length++] = (byte)'[';
        var detail = new RecordWriter(_union.AsSpan(most));
        foreach (Element element in _elements)
        {
            if (length > 1)
            {
                _union[length++] = (byte)',';
            }

            element.Json.CopyTo(_union, length);
            length += element.Json.Length;
            detail.Signed(element.Order.TimeMs);
            detail.Signed(element.Order.Offset);
            detail.Signed(element.Order.Partition);
            detail.Bytes(element.Json);
            detail.Bytes(element.Source);
        }

        _union[length++] = (byte)']';
        int index = profile.IndexOfTrait(name);
        if (!HasRoom(profile, index, name.Length, length + detail.Position, Find(name)))
        {
            return;
        }

        Slice value = profile.Add(_union.AsSpan(0, length));
        Slice details = profile.Add(_union.AsSpan(most, detail.Position));
        Slice by = profile.Add(_elements[^1].Source);
        ref TraitEntry entry = ref index < 0 ? ref profile.AddTrait(name) : ref profile.Traits[index];
        entry.Value = value;
        entry.Detail = details;
        entry.Source = by;
        entry.Order = _elements[^1].Order;
    }

    private static List<Element> ReadElements(ReadOnlySpan<byte> detail)
    {
        var elements = new List<Element>();
        var reader = new RecordReader(detail);
        while (!reader.IsAtEnd)
        {
            var order = new EventOrder(reader.Signed(), reader.Signed(), (int)reader.Signed());
            Slice json = reader.Slice();
            Slice source = reader.Slice();
            elements.Add(new Element(detail.Slice(json.Offset, json.Length).ToArray(), detail.Slice(source.Offset, source.Length).ToArray(), order));
        }

        return elements;
    }

    private readonly record struct Element(byte[] Json, byte[] Source, EventOrder Order);

    private sealed class Declared(byte[] name, TraitMerge merge, string[] prefer, string[]? from)
    {
        public byte[] Name => name;

        public TraitMerge Merge => merge;

        public string[] Prefer => prefer;

        public string[]? From => from;

        public int Slot { get; set; }
    }
}
