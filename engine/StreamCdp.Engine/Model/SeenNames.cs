namespace StreamCdp.Engine.Model;

/// <summary>Says which names of an expression no event has brought yet, with the one that was probably meant.</summary>
/// <remarks>Notes, never errors: a rule may be written before the site sends what it asks for.</remarks>
internal sealed class SeenNames
{
    private const string AllPages = "page:*";
    private const string AllScreens = "screen:*";

    private readonly SeenSchema _schema;
    private readonly Dictionary<string, SeenEvent> _events;
    private readonly HashSet<string> _traits;

    /// <param name="schema">What was seen.</param>
    /// <param name="declaredTraits">Of the model: they come from other places than identify.</param>
    public SeenNames(SeenSchema schema, IEnumerable<string> declaredTraits)
    {
        _schema = schema;
        _events = schema.Events.Where(e => e.Name is not null && (e.Type != "track" || !IsPage(e.Name))).ToDictionary(e => e.Name!, StringComparer.Ordinal); // A track called like a page is never meant (RULES.md §6.5).
        _traits = [.. declaredTraits.Select(name => Text(PathRoot.Traits, name))];
    }

    /// <summary>Notes with their offsets in the expression.</summary>
    public IEnumerable<ExpressionError> Notes(ParsedExpression parsed)
    {
        if (_schema.Events.Count == 0)
        {
            yield break; // A server without events knows nothing about names.
        }

        foreach (Expression node in ModelFunctions.Parts(parsed.Root))
        {
            int offset = parsed.Offsets.GetValueOrDefault(node);
            switch (node)
            {
                case FunctionExpression function:
                    foreach (ExpressionError note in OfFunction(function, parsed))
                    {
                        yield return note;
                    }

                    break;
                case PathExpression { Root: PathRoot.Traits } path when Unknown(path, _schema.Traits.Select(seen => seen.Path).Concat(_traits)) is { } advice:
                    yield return new ExpressionError(offset, $"no identify that was looked into had {path}{advice}");
                    break;
            }
        }
    }

    private static bool IsPage(string name) => name.StartsWith("page:", StringComparison.Ordinal) || name.StartsWith("screen:", StringComparison.Ordinal);

    private IEnumerable<ExpressionError> OfFunction(FunctionExpression function, ParsedExpression parsed)
    {
        var meant = new List<SeenEvent>();
        foreach (string name in function.Events)
        {
            if (name is "*")
            {
                meant.AddRange(_schema.Events);
            }
            else if (_events.TryGetValue(name, out SeenEvent? seen))
            {
                // Page names share their properties.
                meant.Add(name.StartsWith("page:", StringComparison.Ordinal) ? _events.GetValueOrDefault(AllPages, seen)
                    : name.StartsWith("screen:", StringComparison.Ordinal) ? _events.GetValueOrDefault(AllScreens, seen) : seen);
            }
            else if (Suggestion.Nearest(name, _events.Keys) is { } near)
            {
                yield return new ExpressionError(parsed.Offsets.GetValueOrDefault(function), $"no event {ExpressionText.Quoted(name)} has come yet; did you mean {ExpressionText.Quoted(near)}?");
            }
            else if (_schema.EventsLeftOut == 0)
            {
                yield return new ExpressionError(parsed.Offsets.GetValueOrDefault(function), $"no event {ExpressionText.Quoted(name)} has come yet");
            }
        }

        long looked = meant.Sum(e => e.LookedAt);
        if (looked == 0)
        {
            yield break;
        }

        string[] properties = [.. meant.SelectMany(e => e.Properties).Select(path => path.Path)];
        IEnumerable<PathExpression> paths = (function.ValuePath is { } value ? [value] : Array.Empty<PathExpression>())
            .Concat(function.Where is { } where ? ModelFunctions.Parts(where).OfType<PathExpression>() : []);
        foreach (PathExpression path in paths)
        {
            string? advice = path.Root switch
            {
                PathRoot.Properties => Unknown(path, properties),
                PathRoot.Context => Unknown(path, _schema.Context.Select(seen => seen.Path)),
                _ => null,
            };
            if (advice is not null)
            {
                string of = path.Root == PathRoot.Context ? "no event" : $"no {string.Join(" or ", function.Events.Select(ExpressionText.Quoted))}";
                yield return new ExpressionError(parsed.Offsets.GetValueOrDefault(path), $"{of} of the {looked} looked into had {path}{advice}");
            }
        }
    }

    /// <summary>Null where the path was seen; else what to say behind that, maybe nothing.</summary>
    private string? Unknown(PathExpression path, IEnumerable<string> seen)
    {
        if (_schema.PathsLeftOut > 0)
        {
            return null; // What had no room may be this one.
        }

        string text = path.ToString();
        string[] known = [.. seen];
        if (known.Contains(text, StringComparer.Ordinal) || path.Path.Count > SeenPath.MaxDepth)
        {
            return null;
        }

        int root = ExpressionWords.Of(path.Root).Length; // It is the same in all: only what differs says how near two are.
        return Suggestion.Nearest(text[root..], known.Select(other => other[root..])) is { } near ? $"; did you mean {text.AsSpan(0, root)}{near}?" : "";
    }

    private static string Text(PathRoot root, string key) => new PathExpression(root, new EquatableList<string>([key])).ToString();
}
