using System.Globalization;

namespace StreamCdp.Engine.Model;

/// <summary>Reads the section destinations.</summary>
internal sealed class ModelDestinations(ModelDraft draft, ModelSections sections, ExpressionNames names, IReadOnlyList<SourceDefinition> sources, IReadOnlyList<IdentifierDefinition> identifiers, IReadOnlyList<TraitDefinition> traits)
{
    private const int ShortSecret = 16;
    private const string HubSpot = "https://api.hubapi.com";

    private static readonly string[] Known = ["id", "kind", "url", "secret", "segments", "send", "fields", "allow_http", "batch", "rate", "timeout", "purpose"];

    private static readonly string[] CrmKnown = ["id", "kind", "url", "user", "secret", "contacts", "start", "poll", "reconcile", "api_version", "allow_http", "rate", "timeout", "purpose"];
    private static readonly string[] ContactsKnown = ["create", "lists", "fields"];
    private static readonly string[] FieldKnown = ["value", "direction", "policy"];
    private static readonly string[] Kinds = ["webhook", "hubspot", "tryton"];
    private static readonly Dictionary<string, SyncDirection> Directions = new() { ["both"] = SyncDirection.Both, ["in"] = SyncDirection.In, ["out"] = SyncDirection.Out };
    private static readonly Dictionary<string, SyncPolicy> Policies = new() { ["crm_wins"] = SyncPolicy.CrmWins, ["streamcdp_wins"] = SyncPolicy.StreamCdpWins, ["newest"] = SyncPolicy.Newest, ["fill_empty"] = SyncPolicy.FillEmpty };

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
        if (draft.Item(item, "a destination", "{ id: hook, kind: webhook, url: https://example.com/hook, secret: env:HOOK_SECRET }", IsCrm(item) ? CrmKnown : Known) is not { } keys)
        {
            return null;
        }

        YamlScalar? idScalar = draft.Required(keys, item, "id", "a destination");
        string? id = draft.Name(idScalar, "id");
        if (id is not null && before.Any(destination => destination.Id == id))
        {
            draft.Error(idScalar!.Offset, $"there is already a destination with the id \"{id}\"");
        }

        YamlScalar? kind = draft.Required(keys, item, "kind", "a destination");
        if (kind is not null && !Kinds.Contains(kind.Value))
        {
            draft.Error(kind.Offset, $"there is no kind of destination called \"{ModelDraft.Short(kind.Value)}\"{(Suggestion.For(kind.Value, Kinds) is { Length: > 0 } near ? near : $"; known are {string.Join(", ", Kinds)}")}");
        }

        if (keys.TryGetValue("purpose", out YamlNode? purpose))
        {
            draft.Error(purpose.Offset, "purpose is not yet evaluated by this version: everybody would be sent, with consent or without");
        }

        bool allowsHttp = draft.OneOf(keys, "allow_http", new Dictionary<string, bool> { ["true"] = true, ["false"] = false }, false);
        Uri? url = kind?.Value == "hubspot" && !keys.ContainsKey("url") ? new Uri(HubSpot) : Url(item, keys, allowsHttp);
        if (IsCrm(item))
        {
            return Crm(keys, id ?? "", idScalar?.Offset ?? item.Offset, kind!.Value, item, url, allowsHttp, before);
        }

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
            TimeoutMs = Timeout(keys, 10_000),
        };
    }

    private static bool IsCrm(YamlNode item) => item is YamlMap map && map.Entries.Any(entry => entry.Key.Value == "kind" && entry.Value is YamlScalar { Value: "hubspot" or "tryton" });

    private DestinationDefinition Crm(IReadOnlyDictionary<string, YamlNode> keys, string id, int offset, string kind, YamlNode item, Uri? url, bool allowsHttp, List<DestinationDefinition> before)
    {
        if (before.Any(destination => destination.Kind == kind))
        {
            draft.Error(offset, $"there is a {kind} already; two accounts would give the same {kind}_contact_id to different persons");
        }

        if (id.Length > 0 && !sources.Any(source => source.Id == id && source.Kind == "crm" && source.Trusted))
        {
            draft.Error(offset, $"a CRM brings events, too: add {{ id: {id}, kind: crm }} to sources");
        }

        string idType = kind + "_contact_id";
        if (!identifiers.Any(identifier => identifier.Type == idType))
        {
            draft.Error(offset, $"its contacts need an identifier: add {{ type: {idType}, limit: 100 }} to identifiers, after those that name a person");
        }

        string user = "";
        if (kind == "tryton" && draft.Required(keys, item, "user", "a Tryton") is { } scalar)
        {
            user = sections.FromEnvironment(scalar, "user") ?? "";
        }
        else if (kind != "tryton" && keys.TryGetValue("user", out YamlNode? unused))
        {
            draft.Error(unused.Offset, $"{kind} has no user: its secret says who it is");
        }

        string apiVersion = "v3";
        if (keys.TryGetValue("api_version", out YamlNode? version))
        {
            if (kind != "hubspot")
            {
                draft.Error(version.Offset, $"{kind} has no api_version");
            }
            else if (draft.Text(version, "api_version") is { } text)
            {
                apiVersion = text.Value;
            }
        }

        IReadOnlyDictionary<string, YamlNode> contacts = keys.TryGetValue("contacts", out YamlNode? node) ? draft.Item(node, "contacts", "{ fields: { name: traits.name } }", ContactsKnown) ?? new Dictionary<string, YamlNode>() : new Dictionary<string, YamlNode>();
        return new DestinationDefinition
        {
            Id = id,
            Kind = kind,
            Url = url ?? new Uri("https://error.invalid/"),
            Secret = Secret(item, keys, isSigning: false) ?? "",
            AllowsHttp = allowsHttp,
            RequestsPerSecond = Number(keys, "rate", kind == "hubspot" ? 9 : 20),
            TimeoutMs = Timeout(keys, 30_000),
            Crm = new CrmDefinition
            {
                User = user,
                ApiVersion = apiVersion,
                Fields = CrmFields(contacts),
                Create = Segments(contacts, "create"),
                Lists = Segments(contacts, "lists"),
                StartsPaused = StartsPaused(keys),
                PollMs = Duration(keys, "poll", 5_000, 1_000, 3_600_000, "1s to 1h"),
                ReconcileMs = Duration(keys, "reconcile", 24L * 3600 * 1000, 60_000, 30L * 24 * 3600 * 1000, "1m to 30d"),
            },
        };
    }

    private List<string> Segments(IReadOnlyDictionary<string, YamlNode> keys, string key) => Words(keys, key, "segments", word => names.Error(new ExpressionReference(null, word, 0), isCondition: true));

    private bool StartsPaused(IReadOnlyDictionary<string, YamlNode> keys)
    {
        if (!keys.TryGetValue("start", out YamlNode? node) || draft.Text(node, "start") is not { } start)
        {
            return false;
        }

        if (start.Value is not ("running" or "paused"))
        {
            draft.Error(start.Offset, $"start is {start.Value}; allowed are running and paused");
        }

        return start.Value == "paused";
    }

    private List<CrmFieldDefinition> CrmFields(IReadOnlyDictionary<string, YamlNode> contacts)
    {
        List<CrmFieldDefinition> fields = [];
        foreach ((YamlScalar name, YamlNode value) in draft.Entries(contacts.GetValueOrDefault("fields"), "fields"))
        {
            if (name.Value.Length is 0 or > 100)
            {
                draft.Error(name.Offset, "the name of a field has 1 to 100 characters");
            }

            IReadOnlyDictionary<string, YamlNode>? keys = value is YamlMap ? draft.Item(value, "a field", "{ value: traits.name, direction: both, policy: crm_wins }", FieldKnown) : new Dictionary<string, YamlNode> { ["value"] = value };
            if (keys is null || draft.Required(keys, value, "value", "a field") is not { } scalar)
            {
                continue;
            }

            bool isSegments = scalar.Value == "segments";
            PathExpression? path = isSegments ? null : Path(scalar);
            if (path is null && !isSegments)
            {
                continue;
            }

            bool isOutOnly = isSegments || path!.Root == PathRoot.Computed;
            SyncDirection direction = draft.OneOf(keys, "direction", Directions, isOutOnly ? SyncDirection.Out : SyncDirection.Both);
            if (isOutOnly && direction != SyncDirection.Out)
            {
                draft.Error(keys["direction"].Offset, $"{ModelDraft.Short(scalar.Value)} is made by StreamCdp, so it only goes out; write direction: out, or leave it away");
            }

            if (!isOutOnly && direction != SyncDirection.Out && path!.Root == PathRoot.Traits)
            {
                CheckInbound(scalar, path);
            }

            SyncPolicy policy = draft.OneOf(keys, "policy", Policies, isOutOnly ? SyncPolicy.StreamCdpWins : path!.Root == PathRoot.Identifiers ? SyncPolicy.FillEmpty : SyncPolicy.CrmWins);
            if (!isOutOnly && path!.Root == PathRoot.Identifiers && policy != SyncPolicy.FillEmpty)
            {
                draft.Error(keys["policy"].Offset, "an identifier is never replaced, on neither side: only policy: fill_empty is allowed");
            }

            fields.Add(new CrmFieldDefinition(name.Value, path, direction, policy));
        }

        return fields;
    }

    private void CheckInbound(YamlScalar scalar, PathExpression path)
    {
        if (path.Path.Count > 1)
        {
            draft.Error(scalar.Offset, $"a trait is replaced whole, so {ModelDraft.Short(scalar.Value)} cannot come from a CRM alone; map it to a trait of its own, or write direction: out");
        }
        else if (traits.Any(trait => trait.Name == path.Path[0] && trait.From is not null))
        {
            draft.Error(scalar.Offset, $"the trait {path.Path[0]} reads only its from:, so a CRM cannot write it; map another trait, or write direction: out");
        }
    }

    private Uri? Url(YamlNode item, IReadOnlyDictionary<string, YamlNode> keys, bool allowsHttp)
    {
        if (draft.Required(keys, item, "url", "a destination") is not { } scalar || sections.FromEnvironment(scalar, "url") is not { } text)
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

    private string? Secret(YamlNode item, IReadOnlyDictionary<string, YamlNode> keys, bool isSigning = true)
    {
        if (draft.Required(keys, item, "secret", isSigning ? "a webhook" : "a CRM") is not { } scalar)
        {
            return null;
        }

        if (!scalar.Value.StartsWith("env:", StringComparison.Ordinal))
        {
            draft.Error(scalar.Offset, "expected secret to be the name of an environment variable, such as env:HOOK_SECRET: the file is no place for a secret");
            return null;
        }

        string? secret = sections.Secret(scalar, "secret");
        if (isSigning && secret?.Length is < ShortSecret)
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

    private long Duration(IReadOnlyDictionary<string, YamlNode> keys, string key, long fallback, long least, long most, string range)
    {
        if (!keys.TryGetValue(key, out YamlNode? node))
        {
            return fallback;
        }

        if (node is YamlScalar { Value: [.. string number, 's' or 'm' or 'h' or 'd'] text } && int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int count))
        {
            long milliseconds = count * (text[^1] switch { 's' => 1000L, 'm' => 60_000L, 'h' => 3_600_000L, _ => 86_400_000L });
            if (milliseconds >= least && milliseconds <= most)
            {
                return milliseconds;
            }
        }

        draft.Error(node.Offset, $"expected {key} to be {range}, found {ModelDraft.Kind(node)}");
        return fallback;
    }

    private long Timeout(IReadOnlyDictionary<string, YamlNode> keys, long fallback) => Duration(keys, "timeout", fallback, 1000, 300_000, "1s to 5m");
}
