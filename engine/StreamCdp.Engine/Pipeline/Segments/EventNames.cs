using System.Text;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Which functions an event touches, by its name (RULES.md §6.5).</summary>
/// <remarks>
/// <c>"*"</c> is every event of any type; a page or screen is called by its name with the prefix, any page is <c>"page:*"</c>. A name with such a prefix never means a track.
/// A lookup hashes the name's bytes once and does not allocate.
/// </remarks>
internal sealed class EventNames
{
    internal const string Every = "*";
    internal const string Page = "page:";
    internal const string Screen = "screen:";

    private readonly CompiledFunction[] _every;
    private readonly Table _tracks;
    private readonly Table _pages;
    private readonly Table _screens;

    /// <param name="functions">All functions.</param>
    public EventNames(IReadOnlyList<CompiledFunction> functions)
    {
        _every = [.. functions.Where(function => function.Definition.Events.Contains(Every))];
        _tracks = new Table(functions, string.Empty, _every);
        _pages = new Table(functions, Page, _every);
        _screens = new Table(functions, Screen, _every);
    }

    /// <summary>The functions that an event touches.</summary>
    /// <param name="type">Types other than track, page and screen have no name.</param>
    /// <param name="name">Unescaped, without prefix.</param>
    public CompiledFunction[] Find(EventType type, ReadOnlySpan<byte> name) => type switch
    {
        EventType.Track => _tracks.Find(name),
        EventType.Page => _pages.Find(name),
        EventType.Screen => _screens.Find(name),
        _ => _every,
    };

    private sealed class Table
    {
        private readonly CompiledFunction[] _others;
        private readonly Dictionary<byte[], CompiledFunction[]>.AlternateLookup<ReadOnlySpan<byte>> _byName;

        public Table(IReadOnlyList<CompiledFunction> functions, string prefix, CompiledFunction[] every)
        {
            string any = prefix + Every;
            _others = prefix.Length == 0 ? every : [.. functions.Where(IsOfAll)];
            var byName = new Dictionary<byte[], CompiledFunction[]>(BytesComparer.Instance);
            foreach (string name in functions.SelectMany(function => function.Definition.Events).Distinct(StringComparer.Ordinal).Where(IsOne))
            {
                byName.Add(Encoding.UTF8.GetBytes(name[prefix.Length..]), [.. _others, .. functions.Where(function => function.Definition.Events.Contains(name) && !IsOfAll(function))]);
            }

            _byName = byName.GetAlternateLookup<ReadOnlySpan<byte>>();

            bool IsOfAll(CompiledFunction function) => function.Definition.Events.Any(name => name == Every || name == any);

            bool IsOne(string name) => HasPrefix(name) && name != any && name != Every;

            bool HasPrefix(string name) => prefix.Length > 0
                ? name.StartsWith(prefix, StringComparison.Ordinal)
                : !name.StartsWith(Page, StringComparison.Ordinal) && !name.StartsWith(Screen, StringComparison.Ordinal);
        }

        public CompiledFunction[] Find(ReadOnlySpan<byte> name) => _byName.TryGetValue(name, out CompiledFunction[]? found) ? found : _others;
    }

    private sealed class BytesComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
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
