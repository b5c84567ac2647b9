namespace StreamCdp.Engine.Model;

/// <summary>Collects errors and notes while a model is read, and asks nodes for what they should be.</summary>
internal sealed class ModelDraft(string fileName, SourceText source)
{
    /// <summary>Errors beyond this many say nothing new.</summary>
    private const int MaxErrors = 500;

    private readonly List<ModelError> _errors = [];
    private readonly List<ModelNote> _notes = [];

    public SourceText Source { get; } = source;

    public bool HasErrors => _errors.Count > 0;

    /// <summary>A name that is an id everywhere: URL, metric label, log.</summary>
    public static bool IsName(string text) =>
        text.Length is > 0 and <= 100 && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.');

    public static int KeyOffset(YamlMap map, string key) => map.Entries.First(entry => entry.Key.Value == key).Key.Offset;

    public void Error(int offset, string message)
    {
        if (_errors.Count < MaxErrors)
        {
            (int line, int column) = Source.Place(offset);
            _errors.Add(new ModelError(fileName, line, column, message));
        }
    }

    public void Note(int offset, string message)
    {
        (int line, int column) = Source.Place(offset);
        _notes.Add(new ModelNote(fileName, line, column, message));
    }

    public ModelResult Result(CdpModel? model) => new(
        model,
        [.. _errors.Distinct().OrderBy(error => error.Line).ThenBy(error => error.Column)],
        [.. _notes.OrderBy(note => note.Line).ThenBy(note => note.Column)]);

    /// <summary>The known keys of a mapping; each other key is an error.</summary>
    public IReadOnlyDictionary<string, YamlNode> Keys(YamlMap map, string of, string[] known)
    {
        Dictionary<string, YamlNode> found = [];
        foreach ((YamlScalar key, YamlNode value) in map.Entries)
        {
            if (known.Contains(key.Value))
            {
                found[key.Value] = value;
            }
            else
            {
                string suggestion = Suggestion.For(key.Value, known);
                Error(key.Offset, $"{of} has no key \"{Short(key.Value)}\"{(suggestion.Length > 0 ? suggestion : $"; known are {string.Join(", ", known)}")}");
            }
        }

        return found;
    }

    /// <summary>Items of a section that is a list; a missing or empty one has none.</summary>
    public IReadOnlyList<YamlNode> Items(YamlNode? node, string what)
    {
        switch (node)
        {
            case null or YamlScalar { IsNull: true }:
                return [];
            case YamlList list:
                return list.Items;
            default:
                Error(node.Offset, $"{what} is a list, found {Kind(node)}");
                return [];
        }
    }

    /// <summary>Entries of a section that is a mapping; a missing or empty one has none.</summary>
    public IReadOnlyList<(YamlScalar Key, YamlNode Value)> Entries(YamlNode? node, string what)
    {
        switch (node)
        {
            case null or YamlScalar { IsNull: true }:
                return [];
            case YamlMap map:
                return map.Entries;
            default:
                Error(node.Offset, $"{what} is a mapping, found {Kind(node)}");
                return [];
        }
    }

    /// <summary>The mapping that an item must be, with its known keys; null, and an error, when it is none.</summary>
    public IReadOnlyDictionary<string, YamlNode>? Item(YamlNode node, string what, string example, string[] known)
    {
        if (node is YamlMap map)
        {
            return Keys(map, what, known);
        }

        Error(node.Offset, $"{what} is a mapping such as {example}, found {Kind(node)}");
        return null;
    }

    /// <summary>Text that must be there; null, and an error, when it is not.</summary>
    public YamlScalar? Required(IReadOnlyDictionary<string, YamlNode> keys, YamlNode of, string key, string what)
    {
        if (!keys.TryGetValue(key, out YamlNode? node))
        {
            Error(of.Offset, $"{what} needs {key}");
            return null;
        }

        return Text(node, key);
    }

    /// <summary>A scalar with text; null, and an error, when it is none.</summary>
    public YamlScalar? Text(YamlNode node, string key)
    {
        if (node is YamlScalar { IsNull: false } scalar && scalar.Value.Length > 0)
        {
            return scalar;
        }

        Error(node.Offset, $"{key} is text, found {Kind(node)}");
        return null;
    }

    /// <summary>An id that must be there.</summary>
    public string? Name(YamlScalar? scalar, string key)
    {
        if (scalar is null || IsName(scalar.Value))
        {
            return scalar?.Value;
        }

        Error(scalar.Offset, $"{key} \"{Short(scalar.Value)}\" is not allowed; allowed are 1 to 100 of A-Z a-z 0-9 _ - .");
        return null;
    }

    /// <summary>One of a few words; the fallback, and an error, when it is none of them.</summary>
    public T OneOf<T>(IReadOnlyDictionary<string, YamlNode> keys, string key, IReadOnlyDictionary<string, T> words, T fallback)
    {
        if (!keys.TryGetValue(key, out YamlNode? node) || Text(node, key) is not { } scalar)
        {
            return fallback;
        }

        if (words.TryGetValue(scalar.Value, out T? value))
        {
            return value;
        }

        Error(scalar.Offset, $"expected {key} to be {string.Join(" or ", words.Keys)}, found \"{Short(scalar.Value)}\"{Suggestion.For(scalar.Value, words.Keys)}");
        return fallback;
    }

    public static string Short(string text) => text.Length <= 60 ? text : $"{text.AsSpan(0, 59)}…";

    public static string Kind(YamlNode node) => node switch
    {
        YamlMap => "a mapping",
        YamlList => "a list",
        YamlScalar { IsNull: true } or YamlScalar { Value: "" } => "nothing",
        YamlScalar scalar => $"\"{Short(scalar.Value)}\"",
        _ => "something else",
    };
}
