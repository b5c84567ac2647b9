namespace StreamCdp.Engine.Model;

/// <summary>Reads the section destinations: what all kinds have, and each kind by its own reader.</summary>
internal sealed class ModelDestinations
{
    /// <summary>Of all kinds, before and after the kind's own: the order in which a message names them.</summary>
    private static readonly string[] First = ["id", "kind"];
    private static readonly string[] Last = ["rate", "timeout", "purpose"];

    private readonly ModelDraft _draft;
    private readonly ModelSections _sections;
    private readonly ExpressionNames _names;
    private readonly IReadOnlyList<ConsentDefinition> _consents;
    private readonly Dictionary<string, DestinationKind> _kinds;

    public ModelDestinations(ModelDraft draft, ModelSections sections, ExpressionNames names, IReadOnlyList<SourceDefinition> sources, IReadOnlyList<IdentifierDefinition> identifiers, IReadOnlyList<TraitDefinition> traits, IReadOnlyList<ConsentDefinition> consents)
    {
        (_draft, _sections, _names, _consents) = (draft, sections, names, consents);
        var crm = new DestinationKind(CrmReader.Keys, new CrmReader(draft, sources, identifiers, traits).Read);
        _kinds = new()
        {
            ["webhook"] = new DestinationKind(WebhookReader.Keys, WebhookReader.Read),
            ["kafka"] = new DestinationKind(KafkaReader.Keys, KafkaReader.Read),
            ["file"] = new DestinationKind(FileReader.Keys, FileReader.Read),
            ["hubspot"] = crm,
            ["tryton"] = crm,
            ["email"] = new DestinationKind(EmailReader.Keys, new EmailReader(draft, sources, identifiers, traits, consents).Read),
        };
    }

    public IReadOnlyList<DestinationDefinition> Read(YamlNode? section)
    {
        List<DestinationDefinition> destinations = [];
        foreach (YamlNode item in _draft.Items(section, "destinations"))
        {
            if (Destination(item, destinations) is { } destination)
            {
                destinations.Add(destination);
            }
        }

        return destinations;
    }

    private DestinationDefinition? Destination(YamlNode node, List<DestinationDefinition> before)
    {
        DestinationKind kind = _kinds.GetValueOrDefault(KindOf(node) ?? "", _kinds["webhook"]); // Of an unknown kind the rest is read, too: its errors are told at once.
        if (_draft.Item(node, "a destination", "{ id: hook, kind: webhook, url: https://example.com/hook, secret: env:HOOK_SECRET }", [.. First, .. kind.Keys, .. Last]) is not { } keys)
        {
            return null;
        }

        YamlScalar? idScalar = _draft.Required(keys, node, "id", "a destination");
        string? id = _draft.Name(idScalar, "id");
        if (id is not null && before.Any(destination => destination.Id == id))
        {
            _draft.Error(idScalar!.Offset, $"there is already a destination with the id \"{id}\"");
        }

        YamlScalar? kindScalar = _draft.Required(keys, node, "kind", "a destination");
        if (kindScalar is not null && !_kinds.ContainsKey(kindScalar.Value))
        {
            _draft.Error(kindScalar.Offset, $"there is no kind of destination called \"{ModelDraft.Short(kindScalar.Value)}\"{(Suggestion.For(kindScalar.Value, _kinds.Keys) is { Length: > 0 } near ? near : $"; known are {string.Join(", ", _kinds.Keys)}")}");
        }

        DestinationDefinition destination = kind.Read(new DestinationItem(_draft, _sections, _names, node, keys)
        {
            Id = id ?? "",
            IdOffset = idScalar?.Offset ?? node.Offset,
            Kind = kindScalar?.Value ?? "",
            Before = before,
        });
        return destination with { Consent = Consent(keys), Places = Places((YamlMap)node) };
    }

    private ConsentDefinition? Consent(IReadOnlyDictionary<string, YamlNode> keys)
    {
        if (!keys.TryGetValue("purpose", out YamlNode? node) || _draft.Text(node, "purpose") is not { } purpose)
        {
            return null;
        }

        ConsentDefinition? consent = _consents.FirstOrDefault(candidate => candidate.Purpose == purpose.Value);
        if (consent is null)
        {
            _draft.Error(purpose.Offset, $"there is no consent to \"{ModelDraft.Short(purpose.Value)}\"{(Suggestion.For(purpose.Value, _consents.Select(candidate => candidate.Purpose)) is { Length: > 0 } near ? near : $": add privacy: {{ consent: {{ {ModelDraft.Short(purpose.Value)}: traits.consent.{ModelDraft.Short(purpose.Value)} }} }}")}");
        }

        return consent;
    }

    /// <summary>Of a key its value, which is what a message about it points to; below it, as in fields, the name itself.</summary>
    private Dictionary<string, (int Line, int Column)> Places(YamlMap destination)
    {
        Dictionary<string, (int Line, int Column)> places = [];
        Add(destination, "");
        return places;

        void Add(YamlMap map, string prefix)
        {
            foreach ((YamlScalar key, YamlNode value) in map.Entries)
            {
                places[prefix + key.Value] = _draft.Source.Place(prefix.Length == 0 ? value.Offset : key.Offset);
                if (value is YamlMap inner)
                {
                    Add(inner, prefix + key.Value + ".");
                }
            }
        }
    }

    private static string? KindOf(YamlNode node) => node is YamlMap map ? map.Entries.Where(entry => entry.Key.Value == "kind").Select(entry => (entry.Value as YamlScalar)?.Value).FirstOrDefault() : null;
}

/// <summary>How a kind is read.</summary>
/// <param name="Keys">Its own keys, beside those of all kinds.</param>
/// <param name="Read">Reads an item with these keys; what is wrong goes to the draft.</param>
internal sealed record DestinationKind(string[] Keys, Func<DestinationItem, DestinationDefinition> Read);
