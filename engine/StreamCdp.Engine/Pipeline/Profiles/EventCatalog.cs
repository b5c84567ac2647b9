using System.Text;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Segments;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>Counts which events a shard has applied, and looks into some of them: names, paths, types and shapes, never values.</summary>
/// <remarks>
/// A checkpoint has it, so a restart knows it; nothing else depends on it. A crash in the moment of a checkpoint may lose the count of some events, whose profiles were saved and which are not applied again.
/// Bounded whatever is sent: so many names, paths, bytes of a key, levels; what has no room is counted. Of each name the first <see cref="LookedAlways"/> events are looked into, then one of
/// <see cref="LookedOneOf"/>, so that an event costs one look-up, and 0 B once its names are known.
/// </remarks>
internal sealed class EventCatalog
{
    /// <summary>Names, each page and screen one.</summary>
    public const int MaxEvents = 1_000;

    /// <summary>Of them names of pages and screens, which sites make of titles.</summary>
    public const int MaxPages = 300;

    /// <summary>Paths of one event.</summary>
    public const int MaxPathsOfEvent = 200;

    /// <summary>Paths of a shard.</summary>
    public const int MaxPaths = 20_000;

    /// <summary>Bytes of a name or a key; longer ones are not listed.</summary>
    public const int MaxKeyBytes = 100;

    private const int LookedAlways = 100;
    private const int LookedOneOf = 64;
    private const int MaxShape = 24;

    private readonly Dictionary<byte[], Entry> _events = new(BytesComparer.Instance);
    private readonly Dictionary<byte[], Entry>.AlternateLookup<ReadOnlySpan<byte>> _byName;
    private readonly Paths _traits = new(PathRoot.Traits);
    private readonly Paths _context = new(PathRoot.Context);
    private readonly JsonMembers _root = new();
    private readonly JsonMembers[] _levels = [.. Enumerable.Range(0, SeenPath.MaxDepth).Select(_ => new JsonMembers())];
    private readonly byte[] _name = new byte[1 + (3 * MaxKeyBytes)];
    private readonly byte[] _path = new byte[SeenPath.MaxDepth * (MaxKeyBytes + 1)];
    private byte[] _text = new byte[256];
    private int _pages;
    private int _paths;
    private long _eventsLeftOut;
    private long _pathsLeftOut;

    public EventCatalog() => _byName = _events.GetAlternateLookup<ReadOnlySpan<byte>>();

    /// <summary>Counts an event and, now and then, looks into it.</summary>
    /// <param name="e">The event.</param>
    /// <param name="traits">Its traits, an object, or empty.</param>
    /// <param name="context">Its context, an object, or empty.</param>
    public void Observe(scoped in EventView e, ReadOnlySpan<byte> traits, ReadOnlySpan<byte> context)
    {
        if (e.Type is EventType.Page or EventType.Screen)
        {
            Count(e, "*"u8);
            if (!e.Name.IsEmpty && !e.Name.SequenceEqual("*"u8))
            {
                Count(e, e.Name);
            }

            Look(e, Find(e.Type, "*"u8), traits, context);
            return;
        }

        Look(e, Count(e, e.Name), traits, context);
    }

    /// <summary>What is known, as it stands here: <see cref="SeenSchema.Merge"/> makes an answer of it, away from the shard's thread.</summary>
    public SeenSchema ToSchema() => new()
    {
        Events = [.. _events.Values.Select(entry => new SeenEvent(entry.Type, entry.Name)
        {
            Count = entry.Count,
            LookedAt = entry.LookedAt,
            FirstAt = entry.FirstAt,
            LastAt = entry.LastAt,
            Properties = entry.Properties.ToList(),
        })],
        Traits = _traits.ToList(),
        Context = _context.ToList(),
        EventsLeftOut = _eventsLeftOut,
        PathsLeftOut = _pathsLeftOut,
    };

    /// <summary>Takes over what a checkpoint has.</summary>
    public void Restore(SeenSchema schema)
    {
        foreach (SeenEvent seen in schema.Events)
        {
            EventType type = Enum.Parse<EventType>(seen.Type, ignoreCase: true);
            byte[] name = Encoding.UTF8.GetBytes(OwnName(type, seen.Name));
            if (Find(type, name) is not null)
            {
                continue; // Two names of broken UTF-8 that read the same.
            }

            Entry entry = Add(type, Key(type, name));
            (entry.Count, entry.LookedAt, entry.FirstAt, entry.LastAt) = (seen.Count, seen.LookedAt, seen.FirstAt, seen.LastAt);
            _pages += type is EventType.Page or EventType.Screen ? 1 : 0;
            _paths += entry.Properties.Restore(seen.Properties);
        }

        _paths += _traits.Restore(schema.Traits) + _context.Restore(schema.Context);
        (_eventsLeftOut, _pathsLeftOut) = (schema.EventsLeftOut, schema.PathsLeftOut);
    }

    private static string OwnName(EventType type, string? name) => name is null ? "" : type switch { EventType.Page => name[EventNames.Page.Length..], EventType.Screen => name[EventNames.Screen.Length..], _ => name };

    /// <summary>The type's number, then the name.</summary>
    private ReadOnlySpan<byte> Key(EventType type, ReadOnlySpan<byte> name)
    {
        _name[0] = (byte)type;
        name.CopyTo(_name.AsSpan(1));
        return _name.AsSpan(0, 1 + name.Length);
    }

    private Entry? Find(EventType type, ReadOnlySpan<byte> name) => _byName.TryGetValue(Key(type, name), out Entry? entry) ? entry : null;

    private Entry? Count(scoped in EventView e, ReadOnlySpan<byte> name)
    {
        if (name.Length > MaxKeyBytes)
        {
            _eventsLeftOut++;
            return null;
        }

        ReadOnlySpan<byte> key = Key(e.Type, name);
        if (!_byName.TryGetValue(key, out Entry? entry))
        {
            bool isAlways = e.Type is EventType.Identify or EventType.Group or EventType.Alias || name.SequenceEqual("*"u8); // A handful, and traits and page properties hang on them.
            bool isPage = e.Type is EventType.Page or EventType.Screen;
            if (!isAlways && (_events.Count >= MaxEvents || (isPage && _pages >= MaxPages)))
            {
                _eventsLeftOut++;
                return null;
            }

            _pages += isPage ? 1 : 0;
            entry = Add(e.Type, key);
            entry.FirstAt = entry.LastAt = e.Order.TimeMs;
        }

        entry.Count++;
        entry.FirstAt = Math.Min(entry.FirstAt, e.Order.TimeMs);
        entry.LastAt = Math.Max(entry.LastAt, e.Order.TimeMs);
        return entry;
    }

    private Entry Add(EventType type, ReadOnlySpan<byte> key)
    {
        string own = Encoding.UTF8.GetString(key[1..]);
        string? name = type switch { EventType.Track => own, EventType.Page => EventNames.Page + own, EventType.Screen => EventNames.Screen + own, _ => null };
        var entry = new Entry(type.ToString().ToLowerInvariant(), name);
        _events.Add(key.ToArray(), entry);
        return entry;
    }

    private void Look(scoped in EventView e, Entry? entry, ReadOnlySpan<byte> traits, ReadOnlySpan<byte> context)
    {
        if (entry is null || (entry.Count > LookedAlways && entry.Count % LookedOneOf != 0))
        {
            return;
        }

        entry.LookedAt++;
        _root.Find(e.Payload);
        foreach (ref readonly JsonMember member in _root.Found)
        {
            ReadOnlySpan<byte> value = e.Payload[member.Value];
            if (value[0] == '{' && _root.Name(e.Payload, member).SequenceEqual("properties"u8))
            {
                Walk(value, entry.Properties, 0, 0);
            }
        }

        if (e.Type == EventType.Identify && !traits.IsEmpty)
        {
            Walk(traits, _traits, 0, 0);
        }

        if (!context.IsEmpty)
        {
            Walk(context, _context, 0, 0);
        }
    }

    private void Walk(ReadOnlySpan<byte> json, Paths paths, int depth, int length)
    {
        JsonMembers level = _levels[depth];
        level.Find(json);
        foreach (ref readonly JsonMember member in level.Found)
        {
            ReadOnlySpan<byte> name = level.Name(json, member);
            if (name.Length is 0 or > MaxKeyBytes)
            {
                continue; // No rule asks for it.
            }

            name.CopyTo(_path.AsSpan(length));
            int end = length + name.Length;
            ReadOnlySpan<byte> value = json[member.Value];
            if (!paths.TryCount(_path.AsSpan(0, end), ref _paths, out PathEntry? entry))
            {
                _pathsLeftOut++;
                continue;
            }

            Note(entry, value);
            if (value[0] == '{' && depth + 1 < SeenPath.MaxDepth)
            {
                _path[end] = 0;
                Walk(value, paths, depth + 1, end + 1);
            }
        }
    }

    private void Note(PathEntry entry, ReadOnlySpan<byte> value)
    {
        switch (value[0])
        {
            case (byte)'{':
                entry.Types |= SeenTypes.Object;
                return;
            case (byte)'[':
                entry.Types |= SeenTypes.List;
                return;
            case (byte)'t' or (byte)'f':
                entry.Types |= SeenTypes.Boolean;
                return;
            case (byte)'n':
                entry.Types |= SeenTypes.Null;
                return;
            case (byte)'"':
                ReadOnlySpan<byte> text = value[1..^1];
                text = text.Contains((byte)'\\') ? Segments.JsonText.Unescape(text, ref _text) : text;
                entry.Types |= IsoDate.TryParse(text, out _, out _) ? SeenTypes.Date : SeenTypes.Text;
                AddShape(entry, text);
                return;
            default:
                entry.Types |= SeenTypes.Number;
                AddShape(entry, value);
                return;
        }
    }

    private static void AddShape(PathEntry entry, ReadOnlySpan<byte> text)
    {
        if (entry.Shapes.Count >= SeenPath.MaxShapes || text.IsEmpty)
        {
            return;
        }

        Span<char> shape = stackalloc char[MaxShape];
        int length = ShapeOf(text, shape);
        foreach (string known in entry.Shapes)
        {
            if (shape[..length].SequenceEqual(known))
            {
                return;
            }
        }

        entry.Shapes.Add(new string(shape[..length]));
    }

    /// <summary>Letters as one a or A, each digit as 9, signs as they are: enough to see what kind of text it is, and nothing of what it says.</summary>
    private static int ShapeOf(ReadOnlySpan<byte> text, Span<char> shape)
    {
        int length = 0;
        for (int i = 0; i < text.Length && length < shape.Length; i++)
        {
            char kind = text[i] switch
            {
                >= (byte)'0' and <= (byte)'9' => '9',
                >= (byte)'A' and <= (byte)'Z' => 'A',
                >= (byte)'a' and <= (byte)'z' or >= 0x80 => 'a', // What is beyond ASCII is mostly letters.
                < 0x20 or 0x7f => ' ',
                byte sign => (char)sign,
            };
            bool isLetter = kind is 'a' or 'A';
            if (isLetter && length > 0 && shape[length - 1] is 'a' or 'A')
            {
                shape[length - 1] = shape[length - 1] == 'A' && kind == 'A' ? 'A' : 'a';
                continue;
            }

            shape[length++] = kind;
        }

        return length;
    }

    [Flags]
    private enum SeenTypes
    {
        None = 0,
        Null = 1,
        Boolean = 2,
        Number = 4,
        Text = 8,
        Date = 16,
        List = 32,
        Object = 64,
    }

    private sealed class Entry(string type, string? name)
    {
        public string Type => type;

        public string? Name => name;

        public long Count { get; set; }

        public long LookedAt { get; set; }

        public long FirstAt { get; set; }

        public long LastAt { get; set; }

        public Paths Properties { get; } = new(PathRoot.Properties);
    }

    private sealed class PathEntry(string text)
    {
        public string Text => text;

        public long Seen { get; set; }

        public SeenTypes Types { get; set; }

        public List<string> Shapes { get; init; } = [];
    }

    /// <summary>Paths below one root, by their keys with a zero between.</summary>
    private sealed class Paths
    {
        private static readonly string[][] s_types = [.. Enumerable.Range(0, 128).Select(types => Enum.GetValues<SeenTypes>().Where(type => type != SeenTypes.None && ((SeenTypes)types).HasFlag(type)).Select(type => type.ToString().ToLowerInvariant()).ToArray())];

        private readonly PathRoot _root;
        private readonly Dictionary<byte[], PathEntry> _entries = new(BytesComparer.Instance);
        private readonly Dictionary<byte[], PathEntry>.AlternateLookup<ReadOnlySpan<byte>> _byKeys;

        public Paths(PathRoot root)
        {
            _root = root;
            _byKeys = _entries.GetAlternateLookup<ReadOnlySpan<byte>>();
        }

        public bool TryCount(ReadOnlySpan<byte> keys, ref int all, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out PathEntry? entry)
        {
            if (!_byKeys.TryGetValue(keys, out entry))
            {
                if (_entries.Count >= MaxPathsOfEvent || all >= MaxPaths)
                {
                    return false;
                }

                all++;
                entry = new PathEntry(new PathExpression(_root, new EquatableList<string>(Encoding.UTF8.GetString(keys).Split('\0'))).ToString());
                _entries.Add(keys.ToArray(), entry);
            }

            entry.Seen++;
            return true;
        }

        public List<SeenPath> ToList() => [.. _entries.Values.Select(entry => new SeenPath(entry.Text)
        {
            Seen = entry.Seen,
            Types = s_types[(int)entry.Types],
            Shapes = [.. entry.Shapes],
        })];

        public int Restore(IReadOnlyList<SeenPath> paths)
        {
            foreach (SeenPath path in paths)
            {
                List<ExpressionError> errors = [];
                if (ExpressionParser.ParseEventPath(path.Path, errors) is { } keys)
                {
                    _entries[Encoding.UTF8.GetBytes(string.Join('\0', keys[1..]))] = new PathEntry(path.Path)
                    {
                        Seen = path.Seen,
                        Types = path.Types.Aggregate(SeenTypes.None, (types, type) => types | Enum.Parse<SeenTypes>(type, ignoreCase: true)),
                        Shapes = [.. path.Shapes],
                    };
                }
            }

            return _entries.Count;
        }
    }
}
