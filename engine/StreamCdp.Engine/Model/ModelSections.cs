using System.Globalization;
using PhoneNumbers;

namespace StreamCdp.Engine.Model;

/// <summary>Reads the sections without expressions: sources, api_keys, identifiers, traits; and secrets, for all sections that have them.</summary>
internal sealed class ModelSections(ModelDraft draft, Func<string, string?> environment, Func<string, string>? files)
{
    private static readonly string[] Kinds = ["website", "app", "server", "import", "crm", "kafka", "webhook", "hubspot", "salesforce", "tryton"];

    private static readonly string[] PublicKinds = ["website", "app"];

    private static readonly string[] Scopes = ["read", "write", "admin"];

    private static readonly Dictionary<string, bool> Trust = new() { ["public"] = false, ["server"] = true };

    private static readonly Dictionary<string, IdentifierNormalization> Normalizations = new()
    {
        ["email"] = IdentifierNormalization.Email,
        ["e164"] = IdentifierNormalization.E164,
        ["none"] = IdentifierNormalization.None,
    };

    private static readonly Dictionary<string, TraitMerge> Merges = new()
    {
        ["latest"] = TraitMerge.Latest,
        ["first"] = TraitMerge.First,
        ["min"] = TraitMerge.Min,
        ["max"] = TraitMerge.Max,
        ["union"] = TraitMerge.Union,
    };

    /// <summary>Secret → where it was first given, so that no key opens two doors.</summary>
    private readonly Dictionary<string, int> _secrets = [];

    /// <summary>What a model without the section has.</summary>
    public static IReadOnlyList<IdentifierDefinition> DefaultIdentifiers { get; } =
    [
        new() { Type = "user_id", Limit = 1 },
        new() { Type = "email", Limit = 5, From = [["traits", "email"], ["context", "traits", "email"]], Normalize = IdentifierNormalization.Email },
        new() { Type = "phone", Limit = 5, From = [["traits", "phone"]], Normalize = IdentifierNormalization.E164 },
        new() { Type = "anonymous_id", Limit = 100 },
    ];

    public IReadOnlyList<SourceDefinition> Sources(YamlNode? section)
    {
        List<SourceDefinition> sources = [];
        foreach (YamlNode item in draft.Items(section, "sources"))
        {
            if (draft.Item(item, "a source", "{ id: web, write_key: env:WEB_WRITE_KEY, kind: website }", ["id", "write_key", "kind", "trust"]) is not { } keys)
            {
                continue;
            }

            YamlScalar? idScalar = draft.Required(keys, item, "id", "a source");
            string? id = draft.Name(idScalar, "id");
            if (id is not null && sources.Any(source => source.Id == id))
            {
                draft.Error(idScalar!.Offset, $"there is already a source with the id \"{id}\"");
            }

            string? kind = draft.Required(keys, item, "kind", "a source") is { } kindScalar ? Kind(kindScalar, keys.ContainsKey("trust")) : null;
            bool trusted = draft.OneOf(keys, "trust", Trust, kind is not null && !PublicKinds.Contains(kind));
            string? writeKey = keys.TryGetValue("write_key", out YamlNode? key) && key is not YamlScalar { IsNull: true } ? Secret(key, "write_key") : null;
            sources.Add(new SourceDefinition(id ?? "", writeKey, kind ?? "", trusted));
        }

        return sources;
    }

    public IReadOnlyList<ApiKeyDefinition> ApiKeys(YamlNode? section)
    {
        List<ApiKeyDefinition> apiKeys = [];
        foreach (YamlNode item in draft.Items(section, "api_keys"))
        {
            if (draft.Item(item, "an API key", "{ id: ops, key: env:STREAMCDP_API_KEY, scopes: [read] }", ["id", "key", "scopes"]) is not { } keys)
            {
                continue;
            }

            YamlScalar? idScalar = draft.Required(keys, item, "id", "an API key");
            string? id = draft.Name(idScalar, "id");
            if (id is not null && apiKeys.Any(apiKey => apiKey.Id == id))
            {
                draft.Error(idScalar!.Offset, $"there is already an API key with the id \"{id}\"");
            }

            string? key = keys.TryGetValue("key", out YamlNode? node) ? Secret(node, "key") : null;
            if (node is null)
            {
                draft.Error(item.Offset, "an API key needs key");
            }

            apiKeys.Add(new ApiKeyDefinition(id ?? "", key ?? "", ReadScopes(item, keys)));
        }

        return apiKeys;
    }

    public IReadOnlyList<IdentifierDefinition> Identifiers(YamlNode? section)
    {
        if (section is null)
        {
            return DefaultIdentifiers;
        }

        List<IdentifierDefinition> identifiers = [];
        foreach (YamlNode item in draft.Items(section, "identifiers"))
        {
            if (Identifier(item, identifiers) is { } identifier)
            {
                identifiers.Add(identifier);
            }
        }

        if (!draft.HasErrors && identifiers.Count == 0)
        {
            draft.Error(section.Offset, "identifiers needs one type at least; without the section there are user_id, email, phone and anonymous_id");
        }

        foreach ((string type, string field) in (ReadOnlySpan<(string, string)>)[("user_id", "userId"), ("anonymous_id", "anonymousId")])
        {
            if (!draft.HasErrors && identifiers.All(identifier => identifier.Type != type))
            {
                draft.Note(section.Offset, $"identifiers does not name {type}: the {field} of events is not used");
            }
        }

        return identifiers;
    }

    public IReadOnlyList<TraitDefinition> Traits(YamlNode? section, IReadOnlyList<SourceDefinition> sources)
    {
        List<TraitDefinition> traits = [];
        foreach ((YamlScalar key, YamlNode value) in draft.Entries(section, "traits"))
        {
            if (key.Value.Length == 0)
            {
                draft.Error(key.Offset, "a trait needs a name");
            }

            if (value is YamlScalar { IsNull: true })
            {
                traits.Add(new TraitDefinition(key.Value, TraitMerge.Latest, [], null));
                continue;
            }

            if (draft.Item(value, "a trait", "{ merge: latest, prefer: [crm, web] }", ["merge", "prefer", "from"]) is not { } keys)
            {
                continue;
            }

            TraitMerge merge = draft.OneOf(keys, "merge", Merges, TraitMerge.Latest);
            List<string> prefer = keys.TryGetValue("prefer", out YamlNode? preferNode) ? Prefer(preferNode, sources) : [];
            if (prefer.Count > 0 && merge != TraitMerge.Latest)
            {
                draft.Error(preferNode!.Offset, "prefer goes only with merge: latest");
            }

            string[]? from = keys.TryGetValue("from", out YamlNode? fromNode) ? Path(fromNode) : null;
            traits.Add(new TraitDefinition(key.Value, merge, prefer, from));
        }

        return traits;
    }

    private string Kind(YamlScalar scalar, bool trustIsGiven)
    {
        string kind = scalar.Value;
        if (draft.Name(scalar, "kind") is null || Kinds.Contains(kind))
        {
            return kind;
        }

        if (Suggestion.Nearest(kind, Kinds) is { } near)
        {
            // Not a note: a misspelt "website" would be trusted.
            draft.Error(scalar.Offset, $"there is no kind of source called \"{kind}\"; did you mean \"{near}\"?");
        }
        else if (!trustIsGiven)
        {
            draft.Note(scalar.Offset, $"the kind \"{kind}\" is not website or app, so its events are trusted; write trust: public if its key is in a browser or an app");
        }

        return kind;
    }

    private List<string> ReadScopes(YamlNode item, IReadOnlyDictionary<string, YamlNode> keys)
    {
        if (!keys.TryGetValue("scopes", out YamlNode? node))
        {
            draft.Error(item.Offset, "an API key needs scopes, such as [read]");
            return [];
        }

        List<string> scopes = [];
        foreach (YamlNode scope in draft.Items(node, "scopes"))
        {
            if (draft.Text(scope, "a scope") is not { } scalar)
            {
                continue;
            }

            if (!Scopes.Contains(scalar.Value))
            {
                draft.Error(scalar.Offset, $"expected a scope of read, write, admin, found \"{ModelDraft.Short(scalar.Value)}\"{Suggestion.For(scalar.Value, Scopes)}");
            }
            else if (!scopes.Contains(scalar.Value))
            {
                scopes.Add(scalar.Value);
            }
        }

        if (node is YamlList { Items.Count: 0 } or YamlScalar { IsNull: true })
        {
            draft.Error(node.Offset, "an API key needs scopes, such as [read]");
        }

        return scopes;
    }

    private IdentifierDefinition? Identifier(YamlNode item, List<IdentifierDefinition> before)
    {
        string[] known = ["type", "limit", "from", "normalize", "default_country", "merge_by", "blocked", "blocked_defaults", "shared"];
        if (draft.Item(item, "an identifier", "{ type: email, limit: 5, from: [traits.email] }", known) is not { } keys)
        {
            return null;
        }

        YamlScalar? typeScalar = draft.Required(keys, item, "type", "an identifier");
        string? type = draft.Name(typeScalar, "type");
        if (type is "group_id" or "groupId")
        {
            draft.Error(typeScalar!.Offset, $"{type} is refused: a group is never a person's identifier");
        }
        else if (type is not null && before.Any(identifier => identifier.Type == type))
        {
            draft.Error(typeScalar!.Offset, $"the identifier type \"{type}\" is given twice");
        }

        List<string[]> from = [];
        if (keys.TryGetValue("from", out YamlNode? fromNode))
        {
            IReadOnlyList<YamlNode> paths = fromNode is YamlScalar { IsNull: false } ? [fromNode] : draft.Items(fromNode, "from");
            from.AddRange(paths.Select(Path).OfType<string[]>());
        }

        IdentifierNormalization normalize = draft.OneOf(keys, "normalize", Normalizations, IdentifierNormalization.None);
        draft.OneOf(keys, "merge_by", new Dictionary<string, bool> { ["server"] = true }, false);
        if (keys.TryGetValue("shared", out YamlNode? shared) && draft.OneOf(keys, "shared", new Dictionary<string, bool> { ["latest"] = true }, false))
        {
            draft.Error(shared.Offset, "shared: latest is not yet evaluated by this version");
        }

        (List<string> blocked, List<string> patterns) = Blocked(keys);
        return new IdentifierDefinition
        {
            Type = type ?? "",
            Limit = Limit(keys, type),
            From = from,
            Normalize = normalize,
            DefaultCountry = Country(keys, normalize),
            MergeByServer = keys.ContainsKey("merge_by"),
            Blocked = blocked,
            BlockedPatterns = patterns,
            BlockedDefaults = draft.OneOf(keys, "blocked_defaults", new Dictionary<string, bool> { ["true"] = true, ["false"] = false }, true),
        };
    }

    private int Limit(IReadOnlyDictionary<string, YamlNode> keys, string? type)
    {
        if (!keys.TryGetValue("limit", out YamlNode? node))
        {
            return type switch { "user_id" => 1, "anonymous_id" => 100, _ => 5 };
        }

        if (node is YamlScalar scalar && int.TryParse(scalar.Value, NumberStyles.None, CultureInfo.InvariantCulture, out int limit) && limit >= 1)
        {
            return limit;
        }

        draft.Error(node.Offset, $"expected limit to be a whole number from 1, found {ModelDraft.Kind(node)}");
        return 1;
    }

    private string? Country(IReadOnlyDictionary<string, YamlNode> keys, IdentifierNormalization normalize)
    {
        if (!keys.TryGetValue("default_country", out YamlNode? node) || draft.Text(node, "default_country") is not { } scalar)
        {
            return null;
        }

        if (normalize != IdentifierNormalization.E164)
        {
            draft.Error(scalar.Offset, "default_country goes only with normalize: e164");
        }

        IReadOnlyCollection<string> regions = [.. PhoneNumberUtil.GetInstance().GetSupportedRegions()];
        if (!regions.Contains(scalar.Value))
        {
            string upper = scalar.Value.ToUpperInvariant();
            draft.Error(scalar.Offset, $"expected default_country to be a region such as DE, found \"{ModelDraft.Short(scalar.Value)}\"{(regions.Contains(upper) ? $"; did you mean \"{upper}\"?" : "")}");
        }

        return scalar.Value;
    }

    private (List<string> Values, List<string> Patterns) Blocked(IReadOnlyDictionary<string, YamlNode> keys)
    {
        List<string> values = [];
        List<string> patterns = [];
        if (!keys.TryGetValue("blocked", out YamlNode? node))
        {
            return (values, patterns);
        }

        foreach (YamlNode item in draft.Items(node, "blocked"))
        {
            // Unlike elsewhere null, as in blocked: [null], is a word to block.
            if (item is not YamlScalar scalar || scalar.Value.Length == 0)
            {
                draft.Error(item.Offset, $"a blocked value is text, found {ModelDraft.Kind(item)}");
            }
            else if (scalar.Value.Length > 1 && scalar.Value[0] == '/' && scalar.Value[^1] == '/')
            {
                string pattern = scalar.Value[1..^1];
                if (pattern.Length == 0)
                {
                    draft.Error(scalar.Offset, "a blocked pattern is not empty");
                }
                else if (BlockedPattern.Error(pattern) is { } error)
                {
                    draft.Error(scalar.Offset, $"the pattern {ModelDraft.Short(scalar.Value)} is not allowed: {error}");
                }

                patterns.Add(pattern);
            }
            else
            {
                values.Add(scalar.Value);
            }
        }

        return (values, patterns);
    }

    private List<string> Prefer(YamlNode node, IReadOnlyList<SourceDefinition> sources)
    {
        List<string> prefer = [];
        foreach (YamlNode item in draft.Items(node, "prefer"))
        {
            if (draft.Text(item, "a preferred source") is not { } scalar)
            {
                continue;
            }

            if (prefer.Contains(scalar.Value))
            {
                draft.Error(scalar.Offset, $"\"{ModelDraft.Short(scalar.Value)}\" is preferred twice");
            }
            else if (!Kinds.Contains(scalar.Value) && sources.All(source => source.Id != scalar.Value && source.Kind != scalar.Value))
            {
                string[] known = [.. sources.Select(source => source.Id), .. sources.Select(source => source.Kind), .. Kinds];
                draft.Error(scalar.Offset, $"there is no source and no kind of source called \"{ModelDraft.Short(scalar.Value)}\"{Suggestion.For(scalar.Value, known)}");
            }

            prefer.Add(scalar.Value);
        }

        return prefer;
    }

    private string[]? Path(YamlNode node)
    {
        if (draft.Text(node, "from") is not { } scalar)
        {
            return null;
        }

        List<ExpressionError> errors = [];
        string[]? path = ExpressionParser.ParseEventPath(scalar.Value, errors);
        if (errors.Count > 0)
        {
            int[] places = ScalarPlaces.Of(draft.Source.Text, scalar);
            foreach (ExpressionError error in errors)
            {
                draft.Error(places[error.Offset], error.Message);
            }
        }

        return path;
    }

    /// <summary>Text of a file that the model names; null, and an error, where it cannot be read.</summary>
    public string? FromFile(YamlScalar scalar, string key)
    {
        string path = ModelDraft.Short(scalar.Value);
        try
        {
            string? text = files?.Invoke(scalar.Value);
            string? problem = text is null ? "and this model is no file, so there is no place to look for it; write the text itself"
                : text.Length > ModelReader.MaxLength ? $"which has {text.Length} characters; allowed are {ModelReader.MaxLength}"
                : string.IsNullOrWhiteSpace(text) ? "which is empty" : null;
            if (problem is null)
            {
                return text;
            }

            draft.Error(scalar.Offset, $"{key} is {path}, {problem}");
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            draft.Error(scalar.Offset, $"{key} is {path}, which is not there; a path begins in the directory of the model");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            draft.Error(scalar.Offset, $"{key} is {path}, which cannot be read: {exception.Message}");
        }

        return null;
    }

    /// <summary>The text, or the environment variable that it names; null, and an error, where that is missing.</summary>
    public string? FromEnvironment(YamlScalar scalar, string key)
    {
        if (!scalar.Value.StartsWith("env:", StringComparison.Ordinal))
        {
            return scalar.Value;
        }

        string name = scalar.Value[4..];
        if (name.Length == 0)
        {
            draft.Error(scalar.Offset, "expected the name of an environment variable after env:");
            return null;
        }

        string? found = environment(name);
        if (string.IsNullOrEmpty(found))
        {
            draft.Error(scalar.Offset, $"the environment variable {ModelDraft.Short(name)} is {(found is null ? "not set" : "empty")}; {key} needs it");
            return null;
        }

        return found;
    }

    /// <summary>A secret; null, and an error, where there is none or another one is the same.</summary>
    public string? Secret(YamlNode node, string key)
    {
        if (draft.Text(node, key) is not { } scalar)
        {
            return null;
        }

        if (FromEnvironment(scalar, key) is not { } value)
        {
            return null;
        }

        if (!_secrets.TryAdd(value, scalar.Offset))
        {
            draft.Error(scalar.Offset, $"this {key} is the same as the one in line {draft.Source.Place(_secrets[value]).Line}; each needs its own");
        }

        return value;
    }
}
