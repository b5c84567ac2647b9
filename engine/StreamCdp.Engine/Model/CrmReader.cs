namespace StreamCdp.Engine.Model;

/// <summary>Reads a CRM: hubspot, tryton.</summary>
internal sealed class CrmReader(ModelDraft draft, IReadOnlyList<SourceDefinition> sources, IReadOnlyList<IdentifierDefinition> identifiers, IReadOnlyList<TraitDefinition> traits)
{
    public static readonly string[] Keys = ["url", "user", "secret", "contacts", "start", "poll", "reconcile", "delete", "api_version", "activities", "webhook", "allow_http", "at_most", "actions"];

    private const string HubSpot = "https://api.hubapi.com";

    private static readonly string[] ContactsKeys = ["create", "lists", "fields"];
    private static readonly string[] FieldKeys = ["value", "direction", "policy"];
    private static readonly Dictionary<string, SyncDirection> Directions = new() { ["both"] = SyncDirection.Both, ["in"] = SyncDirection.In, ["out"] = SyncDirection.Out };
    private static readonly Dictionary<string, SyncPolicy> Policies = new() { ["crm_wins"] = SyncPolicy.CrmWins, ["streamcdp_wins"] = SyncPolicy.StreamCdpWins, ["newest"] = SyncPolicy.Newest, ["fill_empty"] = SyncPolicy.FillEmpty };

    public DestinationDefinition Read(DestinationItem item)
    {
        string kind = item.Kind;
        if (item.Before.Any(destination => destination.Kind == kind))
        {
            draft.Error(item.IdOffset, $"there is a {kind} already; two accounts would give the same {kind}_contact_id to different persons");
        }

        if (item.Id.Length > 0 && !sources.Any(source => source.Id == item.Id && source.Kind == "crm" && source.Trusted))
        {
            draft.Error(item.IdOffset, $"a CRM brings events, too: add {{ id: {item.Id}, kind: crm }} to sources");
        }

        string idType = kind + "_contact_id";
        if (!identifiers.Any(identifier => identifier.Type == idType))
        {
            draft.Error(item.IdOffset, $"its contacts need an identifier: add {{ type: {idType}, limit: 100 }} to identifiers, after those that name a person");
        }

        string user = "";
        if (kind == "tryton" && draft.Required(item.Keys, item.Node, "user", "a Tryton") is { } scalar)
        {
            user = item.Sections.FromEnvironment(scalar, "user") ?? "";
        }
        else if (kind != "tryton" && item.Keys.TryGetValue("user", out YamlNode? unused))
        {
            draft.Error(unused.Offset, $"{kind} has no user: its secret says who it is");
        }

        string apiVersion = "v3";
        if (item.Keys.TryGetValue("api_version", out YamlNode? version))
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

        string[] activities = kind == "hubspot" ? ["call", "email", "meeting", "note", "task"] : ["note"];
        bool allowsHttp = item.IsOn("allow_http");
        IReadOnlyDictionary<string, YamlNode>? contactKeys = item.Keys.TryGetValue("contacts", out YamlNode? node) ? draft.Item(node, "contacts", "{ fields: { name: traits.name } }", ContactsKeys) : null;
        DestinationItem contacts = item with { Keys = contactKeys ?? new Dictionary<string, YamlNode>() };
        return new DestinationDefinition
        {
            Id = item.Id,
            Kind = kind,
            Url = kind == "hubspot" && !item.Keys.ContainsKey("url") ? new Uri(HubSpot) : item.Url(allowsHttp),
            Secret = item.Secret("a CRM", isSigning: false) ?? "",
            AllowsHttp = allowsHttp,
            StartsPaused = item.StartsPaused(),
            RequestsPerSecond = item.Number("rate", kind == "hubspot" ? 9 : 20),
            TimeoutMs = item.Timeout(30_000),
            AtMost = ActionReader.AtMost(item),
            Actions = ActionReader.Read(item, sends: false, kind == "hubspot" ? ["task", "note", "deal"] : ["note", "deal"]),
            Crm = new CrmDefinition
            {
                User = user,
                ApiVersion = apiVersion,
                Activities = item.Words("activities", string.Join(", ", activities), word => activities.Contains(word) ? null : $"{kind} has {string.Join(", ", activities)}, found \"{ModelDraft.Short(word)}\"{Suggestion.For(word, activities)}"),
                Fields = Fields(contacts),
                Create = contacts.Segments("create"),
                Lists = contacts.Segments("lists"),
                Webhook = Webhook(item),
                PollMs = item.Duration("poll", 5_000, 1_000, 3_600_000, "1s to 1h"),
                DeletesAtMost = Deletes(item),
                ReconcileMs = item.Duration("reconcile", 24L * 3600 * 1000, 60_000, 30L * 24 * 3600 * 1000, "1m to 30d"),
            },
        };
    }

    private int? Deletes(DestinationItem item)
    {
        if (!item.Keys.TryGetValue("delete", out YamlNode? node) || draft.Item(node, "delete", "{ without_consent: true, at_most: 100 }", ["without_consent", "at_most"]) is not { } keys)
        {
            return null;
        }

        if (!item.Keys.ContainsKey("purpose"))
        {
            draft.Error(node.Offset, "whose contact is to be deleted, the consent says: add purpose, one of privacy.consent");
        }

        DestinationItem delete = item with { Keys = keys, Node = node };
        int atMost = delete.Number("at_most", 100);
        return draft.Required(keys, node, "without_consent", "delete") is not null && delete.IsOn("without_consent") ? atMost : null;
    }

    private List<CrmFieldDefinition> Fields(DestinationItem contacts)
    {
        List<CrmFieldDefinition> fields = [];
        foreach ((YamlScalar name, YamlNode value) in draft.Entries(contacts.Keys.GetValueOrDefault("fields"), "fields"))
        {
            if (name.Value.Length is 0 or > 100)
            {
                draft.Error(name.Offset, "the name of a field has 1 to 100 characters");
            }

            IReadOnlyDictionary<string, YamlNode>? keys = value is YamlMap ? draft.Item(value, "a field", "{ value: traits.name, direction: both, policy: crm_wins }", FieldKeys) : new Dictionary<string, YamlNode> { ["value"] = value };
            if (keys is null || draft.Required(keys, value, "value", "a field") is not { } scalar)
            {
                continue;
            }

            bool isSegments = scalar.Value == "segments";
            PathExpression? path = isSegments ? null : contacts.Path(scalar);
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

    private CrmWebhookDefinition? Webhook(DestinationItem item)
    {
        if (!item.Keys.TryGetValue("webhook", out YamlNode? node) || draft.Item(node, "webhook", "{ url: https://cdp.example.com/v1/webhooks/hubspot, secret: env:HUBSPOT_CLIENT_SECRET }", ["url", "secret"]) is not { } keys)
        {
            return null;
        }

        if (item.Kind != "hubspot")
        {
            draft.Error(node.Offset, $"{item.Kind} sends no webhooks");
        }

        DestinationItem webhook = item with { Keys = keys, Node = node };
        string? secret = webhook.Secret("a webhook", isSigning: false);
        Uri? url = webhook.Url(allowsHttp: false);
        string path = "/v1/webhooks/" + item.Id;
        if (url is not null && !url.AbsolutePath.EndsWith(path, StringComparison.Ordinal))
        {
            draft.Error(keys["url"].Offset, $"expected url to be the public address of this server with {path} at its end");
        }

        return url is null || secret is null ? null : new CrmWebhookDefinition(url, secret);
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
}
