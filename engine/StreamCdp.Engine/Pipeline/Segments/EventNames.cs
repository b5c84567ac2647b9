using System.Text;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Which functions an event touches, by its name (RULES.md §6.5) and by the values that their <c>where:</c> asks for.</summary>
/// <remarks>
/// <c>"*"</c> is every event of any type; a page or screen is called by its name with the prefix, any page is <c>"page:*"</c>. A name with such a prefix never means a track.
/// So what an event costs does not grow with the functions of other events, nor with those of its own that ask for another value. A lookup hashes the bytes once and does not allocate.
/// </remarks>
internal sealed class EventNames
{
    internal const string Every = "*";
    internal const string Page = "page:";
    internal const string Screen = "screen:";

    private readonly FunctionsByValue _every;
    private readonly Table _tracks;
    private readonly Table _pages;
    private readonly Table _screens;

    /// <param name="functions">All functions.</param>
    public EventNames(IReadOnlyList<CompiledFunction> functions)
    {
        _every = new FunctionsByValue([.. functions.Where(function => function.Definition.Events.Contains(Every))]);
        _tracks = new Table(functions, string.Empty);
        _pages = new Table(functions, Page);
        _screens = new Table(functions, Screen);
    }

    /// <summary>The functions that an event touches, as far as its name says.</summary>
    /// <param name="type">Types other than track, page and screen have no name.</param>
    /// <param name="name">Unescaped, without prefix.</param>
    public FunctionsByValue Find(EventType type, ReadOnlySpan<byte> name) => type switch
    {
        EventType.Track => _tracks.Find(name),
        EventType.Page => _pages.Find(name),
        EventType.Screen => _screens.Find(name),
        _ => _every,
    };

    private sealed class Table
    {
        private readonly FunctionsByValue _others;
        private readonly Dictionary<byte[], FunctionsByValue>.AlternateLookup<ReadOnlySpan<byte>> _byName;

        public Table(IReadOnlyList<CompiledFunction> functions, string prefix)
        {
            string any = prefix + Every;
            _others = new FunctionsByValue([.. functions.Where(IsOfAll)]);
            var byName = new Dictionary<byte[], FunctionsByValue>(BytesComparer.Instance);
            foreach (string name in functions.SelectMany(function => function.Definition.Events).Distinct(StringComparer.Ordinal).Where(IsOne))
            {
                byName.Add(Encoding.UTF8.GetBytes(name[prefix.Length..]), new FunctionsByValue([.. functions.Where(function => IsOfAll(function) || function.Definition.Events.Contains(name))]));
            }

            _byName = byName.GetAlternateLookup<ReadOnlySpan<byte>>();

            bool IsOfAll(CompiledFunction function) => function.Definition.Events.Any(name => name == Every || name == any);

            bool IsOne(string name) => HasPrefix(name) && name != any && name != Every;

            bool HasPrefix(string name) => prefix.Length > 0
                ? name.StartsWith(prefix, StringComparison.Ordinal)
                : !name.StartsWith(Page, StringComparison.Ordinal) && !name.StartsWith(Screen, StringComparison.Ordinal);
        }

        public FunctionsByValue Find(ReadOnlySpan<byte> name) => _byName.TryGetValue(name, out FunctionsByValue? found) ? found : _others;
    }
}

/// <summary>A path of the event that must hold one of some texts.</summary>
/// <param name="Slot">Slot in <see cref="EventView.Slots"/>.</param>
/// <param name="InContext">The slot refers to <see cref="EventView.ContextPayload"/>.</param>
/// <param name="Texts">UTF-8.</param>
internal sealed record ValueSelector(int Slot, bool InContext, IReadOnlyList<byte[]> Texts);

/// <summary>Functions of an event's name, those that ask for a text under that text.</summary>
internal sealed class FunctionsByValue
{
    public FunctionsByValue(IReadOnlyList<CompiledFunction> functions)
    {
        Always = [.. functions.Where(function => function.Selector is null)];
        Indexes = [.. functions.Where(function => function.Selector is not null).GroupBy(function => (function.Selector!.Slot, function.Selector.InContext)).Select(group => new Index(group.Key.Slot, group.Key.InContext, [.. group]))];
    }

    /// <summary>Those that every event of the name may touch.</summary>
    public CompiledFunction[] Always { get; }

    /// <summary>The others, by the path that they look at.</summary>
    public Index[] Indexes { get; }

    /// <summary>Functions that look at one path.</summary>
    internal sealed class Index
    {
        private readonly Dictionary<byte[], CompiledFunction[]>.AlternateLookup<ReadOnlySpan<byte>> _byText;

        public Index(int slot, bool inContext, CompiledFunction[] functions)
        {
            (Slot, InContext) = (slot, inContext);
            _byText = functions.SelectMany(function => function.Selector!.Texts.Select(text => (Text: text, Function: function)))
                .GroupBy(pair => pair.Text, BytesComparer.Instance)
                .ToDictionary(group => group.Key, group => group.Select(pair => pair.Function).Distinct().ToArray(), BytesComparer.Instance)
                .GetAlternateLookup<ReadOnlySpan<byte>>();
        }

        /// <summary>Slot of the path.</summary>
        public int Slot { get; }

        /// <summary>It refers to the context's JSON.</summary>
        public bool InContext { get; }

        /// <summary>Functions that ask for this text.</summary>
        public CompiledFunction[] Find(ReadOnlySpan<byte> text) => _byText.TryGetValue(text, out CompiledFunction[]? found) ? found : [];
    }
}

/// <summary>Bytes as a key.</summary>
internal sealed class BytesComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
{
    public static BytesComparer Instance { get; } = new();

    public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

    public int GetHashCode(byte[] obj) => GetHashCode(obj.AsSpan());

    public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

    public int GetHashCode(ReadOnlySpan<byte> alternate)
    {
        HashCode hash = default;
        hash.AddBytes(alternate);
        return hash.ToHashCode();
    }

    public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();
}

/// <summary>One event's name of a function: which events it means.</summary>
internal sealed class EventNamePattern
{
    private readonly EventType? _type;
    private readonly byte[]? _name;

    /// <param name="name">As in the model.</param>
    public EventNamePattern(string name)
    {
        if (name == EventNames.Every)
        {
            return;
        }

        (_type, string own) = name.StartsWith(EventNames.Page, StringComparison.Ordinal) ? (EventType.Page, name[EventNames.Page.Length..])
            : name.StartsWith(EventNames.Screen, StringComparison.Ordinal) ? (EventType.Screen, name[EventNames.Screen.Length..])
            : ((EventType?)EventType.Track, name);
        _name = own == EventNames.Every ? null : Encoding.UTF8.GetBytes(own);
    }

    /// <summary>Whether it means this event.</summary>
    public bool IsMatch(EventType type, ReadOnlySpan<byte> name) => (_type is null || _type == type) && (_name is null || name.SequenceEqual(_name));
}
