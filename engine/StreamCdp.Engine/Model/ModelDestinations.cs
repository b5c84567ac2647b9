using System.Globalization;

namespace StreamCdp.Engine.Model;

/// <summary>Reads the section destinations.</summary>
internal sealed class ModelDestinations(ModelDraft draft, ModelSections sections, ExpressionNames names)
{
    private const int ShortSecret = 16;

    private static readonly string[] Known = ["id", "kind", "url", "secret", "segments", "send", "fields", "allow_http", "batch", "rate", "timeout", "purpose"];

    private static readonly string[] Kinds = ["webhook"];

    private static readonly string[] Sends = ["memberships", "profiles"];

    public IReadOnlyList<DestinationDefinition> Read(YamlNode? section)
    {
        List<DestinationDefinition> destinations = [];
        foreach (YamlNode item in draft.Items(section, "destinations"))
        {
            if (Destination(item, destinations) is { } destination)
            {
                destinations.Add(destination);
            }
        }

        return destinations;
    }

    private DestinationDefinition? Destination(YamlNode item, List<DestinationDefinition> before)
    {
        if (draft.Item(item, "a destination", "{ id: hook, kind: webhook, url: https://example.com/hook, secret: env:HOOK_SECRET }", Known) is not { } keys)
        {
            return null;
        }

        YamlScalar? idScalar = draft.Required(keys, item, "id", "a destination");
        string? id = draft.Name(idScalar, "id");
        if (id is not null && before.Any(destination => destination.Id == id))
        {
            draft.Error(idScalar!.Offset, $"there is already a destination with the id \"{id}\"");
        }

        if (draft.Required(keys, item, "kind", "a destination") is { } kind && !Kinds.Contains(kind.Value))
        {
            draft.Error(kind.Offset, $"there is no kind of destination called \"{ModelDraft.Short(kind.Value)}\"{(Suggestion.For(kind.Value, Kinds) is { Length: > 0 } near ? near : $"; known are {string.Join(", ", Kinds)}")}");
        }

        if (keys.TryGetValue("purpose", out YamlNode? purpose))
        {
            draft.Error(purpose.Offset, "purpose is not yet evaluated by this version: everybody would be sent, with consent or without");
        }

        bool allowsHttp = draft.OneOf(keys, "allow_http", new Dictionary<string, bool> { ["true"] = true, ["false"] = false }, false);
        Uri? url = Url(item, keys, allowsHttp);
        string? secret = Secret(item, keys);
        List<string> send = Words(keys, "send", "memberships and profiles", word => Sends.Contains(word) ? null : $"expected memberships or profiles, found \"{ModelDraft.Short(word)}\"{Suggestion.For(word, Sends)}");
        return new DestinationDefinition
        {
            Id = id ?? "",
            Kind = Kinds[0],
            Url = url ?? new Uri("https://error.invalid/"),
            Secret = secret ?? "",
            AllowsHttp = allowsHttp,
            Segments = Words(keys, "segments", "segments; without the key there are all", word => names.Error(new ExpressionReference(null, word, 0), isCondition: true)),
            SendsMemberships = send.Count == 0 || send.Contains("memberships"),
            SendsProfiles = send.Contains("profiles"),
            Fields = Fields(keys),
            BatchLimit = Number(keys, "batch", 100),
            RequestsPerSecond = Number(keys, "rate", 50),
            TimeoutMs = Timeout(keys),
        };
    }

    private Uri? Url(YamlNode item, IReadOnlyDictionary<string, YamlNode> keys, bool allowsHttp)
    {
        if (draft.Required(keys, item, "url", "a webhook") is not { } scalar || sections.FromEnvironment(scalar, "url") is not { } text)
        {
            return null;
        }

        if (DestinationDefinition.UrlError(text, allowsHttp) is { } error)
        {
            draft.Error(scalar.Offset, error);
            return null;
        }

        return new Uri(text);
    }

    private string? Secret(YamlNode item, IReadOnlyDictionary<string, YamlNode> keys)
    {
        if (draft.Required(keys, item, "secret", "a webhook") is not { } scalar)
        {
            return null;
        }

        if (!scalar.Value.StartsWith("env:", StringComparison.Ordinal))
        {
            draft.Error(scalar.Offset, "expected secret to be the name of an environment variable, such as env:HOOK_SECRET: the file is no place for a secret");
            return null;
        }

        string? secret = sections.Secret(scalar, "secret");
        if (secret?.Length is < ShortSecret)
        {
            draft.Note(scalar.Offset, $"secret has fewer than {ShortSecret} characters; whoever guesses it can sign as this server");
        }

        return secret;
    }

    private List<string> Words(IReadOnlyDictionary<string, YamlNode> keys, string key, string what, Func<string, string?> error)
    {
        List<string> words = [];
        if (!keys.TryGetValue(key, out YamlNode? node))
        {
            return words;
        }

        foreach (YamlNode item in draft.Items(node, key))
        {
            if (draft.Text(item, key) is not { } scalar)
            {
                continue;
            }

            if (error(scalar.Value) is { } problem)
            {
                draft.Error(scalar.Offset, problem);
            }
            else if (words.Contains(scalar.Value))
            {
                draft.Error(scalar.Offset, $"\"{ModelDraft.Short(scalar.Value)}\" is given twice in {key}");
            }
            else
            {
                words.Add(scalar.Value);
            }
        }

        if (node is YamlList { Items.Count: 0 } or YamlScalar { IsNull: true })
        {
            draft.Error(node.Offset, $"expected {key} to name some of {what}, found nothing");
        }

        return words;
    }

    private List<FieldDefinition> Fields(IReadOnlyDictionary<string, YamlNode> keys)
    {
        List<FieldDefinition> fields = [];
        foreach ((YamlScalar name, YamlNode value) in draft.Entries(keys.GetValueOrDefault("fields"), "fields"))
        {
            if (name.Value.Length is 0 or > 100)
            {
                draft.Error(name.Offset, "the name of a field has 1 to 100 characters");
            }

            if (draft.Text(value, "a field") is { } scalar && Path(scalar) is { } path)
            {
                fields.Add(new FieldDefinition(name.Value, path));
            }
        }

        return fields;
    }

    private PathExpression? Path(YamlScalar scalar)
    {
        int[] places = ScalarPlaces.Of(draft.Source.Text, scalar);
        List<ExpressionError> errors = [];
        ParsedExpression? parsed = ExpressionParser.Parse(scalar.Value, errors);
        foreach (ExpressionError error in errors)
        {
            draft.Error(places[Math.Min(error.Offset, places.Length - 1)], error.Message);
        }

        if (parsed is null || errors.Count > 0)
        {
            return null;
        }

        if (parsed.Root is not PathExpression { Root: PathRoot.Traits or PathRoot.Computed or PathRoot.Identifiers } path)
        {
            draft.Error(scalar.Offset, $"expected a path such as traits.plan, computed.revenue or identifiers.email, found {ModelDraft.Short(parsed.Root.ToString()!)}");
            return null;
        }

        foreach (ExpressionReference reference in parsed.References)
        {
            if (names.Error(reference, isCondition: false) is { } error)
            {
                draft.Error(places[reference.Offset], error);
            }
        }

        return path;
    }

    private int Number(IReadOnlyDictionary<string, YamlNode> keys, string key, int fallback)
    {
        if (!keys.TryGetValue(key, out YamlNode? node))
        {
            return fallback;
        }

        if (node is YamlScalar scalar && int.TryParse(scalar.Value, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number is >= 1 and <= 1000)
        {
            return number;
        }

        draft.Error(node.Offset, $"expected {key} to be a whole number from 1 to 1000, found {ModelDraft.Kind(node)}");
        return fallback;
    }

    private long Timeout(IReadOnlyDictionary<string, YamlNode> keys)
    {
        const long Fallback = 10_000;
        if (!keys.TryGetValue("timeout", out YamlNode? node))
        {
            return Fallback;
        }

        if (node is YamlScalar { Value: [.. string number, 's' or 'm'] text } && int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int count))
        {
            long milliseconds = count * (text[^1] == 's' ? 1000L : 60_000L);
            if (milliseconds is >= 1000 and <= 300_000)
            {
                return milliseconds;
            }
        }

        draft.Error(node.Offset, $"expected timeout to be 1s to 5m, found {ModelDraft.Kind(node)}");
        return Fallback;
    }
}
