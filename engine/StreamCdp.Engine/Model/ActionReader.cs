using System.Globalization;

namespace StreamCdp.Engine.Model;

/// <summary>Reads the actions of a destination.</summary>
internal static class ActionReader
{
    private static readonly string[] OnKeys = ["entered", "exited"];
    private static readonly string[] SendKeys = ["subject", "text", "html", "text_file", "html_file"];
    private const string OfFile = "_file";
    private static readonly Dictionary<string, string[]> Objects = new()
    {
        ["task"] = ["subject", "text"],
        ["note"] = ["text"],
        ["deal"] = ["name", "amount", "currency", "pipeline", "stage"],
    };

    /// <summary>All actions of a destination.</summary>
    /// <param name="item">It has the key <c>actions</c>, or not.</param>
    /// <param name="sends">It sends messages; else it makes records and changes lists.</param>
    /// <param name="objects">What it can make.</param>
    public static IReadOnlyList<ActionDefinition> Read(DestinationItem item, bool sends, IReadOnlyCollection<string> objects)
    {
        ModelDraft draft = item.Draft;
        List<ActionDefinition> actions = [];
        string[] verbs = sends ? ["send"] : ["create", "fields", "add_to", "remove_from"];
        string example = sends ? "{ id: welcome, on: { entered: new_customers }, send: { subject: Welcome, text: Hello } }" : "{ id: call, on: { entered: big_spenders }, create: task, fields: { subject: Call them } }";
        foreach (YamlNode node in draft.Items(item.Keys.GetValueOrDefault("actions"), "actions"))
        {
            if (draft.Item(node, "an action", example, ["id", "on", "after", "at_most", "backfill", .. verbs]) is not { } keys)
            {
                continue;
            }

            DestinationItem action = item with { Keys = keys, Node = node };
            YamlScalar? idScalar = draft.Required(keys, node, "id", "an action");
            string? id = draft.Name(idScalar, "id");
            if (id is not null && actions.Any(other => other.Id == id))
            {
                draft.Error(idScalar!.Offset, $"there is already an action with the id \"{id}\"");
            }

            (string segment, bool onEntered) = On(action);
            (ActionVerb verb, string what, IReadOnlyDictionary<string, MessageTemplate> fields) = sends ? (ActionVerb.Send, "", Message(action)) : Record(action, objects);
            actions.Add(new ActionDefinition
            {
                Id = id ?? "",
                Segment = segment,
                OnEntered = onEntered,
                AfterMs = action.Duration("after", 0, 1_000, 90L * 24 * 3600 * 1000, "1s to 90d"),
                AtMost = AtMost(action),
                Backfill = draft.OneOf(keys, "backfill", new Dictionary<string, bool> { ["true"] = true, ["false"] = false }, false),
                Verb = verb,
                What = what,
                Fields = fields,
            });
        }

        return actions;
    }

    /// <summary>A frequency cap, such as <c>1 per 7d</c>.</summary>
    public static ActionLimit? AtMost(DestinationItem item)
    {
        if (!item.Keys.TryGetValue("at_most", out YamlNode? node))
        {
            return null;
        }

        if (node is YamlScalar { Value: { } text } && text.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var times, "per", var window]
            && int.TryParse(times, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count is >= 1 and <= 1000
            && DestinationItem.Milliseconds(window) is >= 60_000 and <= 400L * 24 * 3600 * 1000 and long within)
        {
            return new ActionLimit(count, within);
        }

        item.Draft.Error(node.Offset, $"expected at_most to be a number of times and a time from 1m to 400d, such as 1 per 7d, found {ModelDraft.Kind(node)}");
        return null;
    }

    private static (string Segment, bool OnEntered) On(DestinationItem action)
    {
        ModelDraft draft = action.Draft;
        if (!action.Keys.TryGetValue("on", out YamlNode? node))
        {
            draft.Error(action.Node.Offset, "an action needs on: which change starts it, such as on: { entered: big_spenders }");
            return ("", true);
        }

        if (draft.Item(node, "on", "{ entered: big_spenders }", OnKeys) is not { } keys)
        {
            return ("", true);
        }

        if (keys.Count != 1)
        {
            draft.Error(node.Offset, "expected on to have either entered or exited, with the id of a segment");
            return ("", true);
        }

        (string change, YamlNode value) = keys.First();
        if (draft.Text(value, change) is not { } segment)
        {
            return ("", true);
        }

        if (action.Names.Error(new ExpressionReference(null, segment.Value, 0), isCondition: true) is { } error)
        {
            draft.Error(segment.Offset, error);
        }

        return (segment.Value, change == "entered");
    }

    private static Dictionary<string, MessageTemplate> Message(DestinationItem action)
    {
        if (!action.Keys.TryGetValue("send", out YamlNode? node))
        {
            action.Draft.Error(action.Node.Offset, "an action needs send: { subject, text } here, html beside or instead of text");
            return [];
        }

        if (action.Draft.Item(node, "send", "{ subject: Welcome, text: Hello }", SendKeys) is not { } keys)
        {
            return [];
        }

        foreach (string body in (string[])["text", "html"])
        {
            if (keys.ContainsKey(body) && keys.TryGetValue(body + OfFile, out YamlNode? file))
            {
                action.Draft.Error(file.Offset, $"{body} stands here and in {body}{OfFile}; allowed is one of both");
            }
        }

        Dictionary<string, MessageTemplate> templates = Templates(action, keys);
        if (!keys.ContainsKey("subject") || !keys.Keys.Any(key => key != "subject"))
        {
            action.Draft.Error(node.Offset, "a mail needs subject and text, or subject and html, or all three");
        }

        return templates;
    }

    private static (ActionVerb Verb, string What, IReadOnlyDictionary<string, MessageTemplate> Fields) Record(DestinationItem action, IReadOnlyCollection<string> objects)
    {
        ModelDraft draft = action.Draft;
        string[] given = [.. ((string[])["create", "add_to", "remove_from"]).Where(action.Keys.ContainsKey)];
        if (given.Length != 1)
        {
            draft.Error(action.Node.Offset, "an action does one thing here: create, add_to or remove_from");
            return (ActionVerb.Create, "", new Dictionary<string, MessageTemplate>());
        }

        string text = draft.Text(action.Keys[given[0]], given[0])?.Value ?? "";
        bool hasFields = action.Keys.TryGetValue("fields", out YamlNode? node);
        if (given[0] != "create")
        {
            if (hasFields)
            {
                draft.Error(node!.Offset, $"{given[0]} has no fields");
            }

            return (given[0] == "add_to" ? ActionVerb.AddTo : ActionVerb.RemoveFrom, text, new Dictionary<string, MessageTemplate>());
        }

        if (!objects.Contains(text))
        {
            bool isCampaign = text.StartsWith("campaign", StringComparison.OrdinalIgnoreCase);
            draft.Error(action.Keys["create"].Offset, isCampaign
                ? $"{action.Kind} has no campaign members: put the person {(action.Kind == "hubspot" ? "on a static list, which a campaign can take up" : "into a category")}: add_to and its name"
                : $"{action.Kind} cannot make a {ModelDraft.Short(text)}{(Suggestion.For(text, objects) is { Length: > 0 } near ? near : $"; it makes {string.Join(", ", objects)}")}");
            return (ActionVerb.Create, text, new Dictionary<string, MessageTemplate>());
        }

        string[] known = text == "deal" && action.Kind == "tryton" ? ["name", "amount", "stage"] : Objects[text];
        if (!hasFields || draft.Item(node!, "fields", $"{{ {known[0]}: Call them }}", known) is not { } keys)
        {
            draft.Error(action.Node.Offset, $"a {text} needs fields, at least {Objects[text][0]}");
            return (ActionVerb.Create, text, new Dictionary<string, MessageTemplate>());
        }

        if (!keys.ContainsKey(Objects[text][0]))
        {
            draft.Error(node!.Offset, $"a {text} needs {Objects[text][0]}");
        }

        return (ActionVerb.Create, text, Templates(action, keys));
    }

    private static Dictionary<string, MessageTemplate> Templates(DestinationItem action, IReadOnlyDictionary<string, YamlNode> keys)
    {
        var templates = new Dictionary<string, MessageTemplate>(StringComparer.Ordinal);
        foreach ((string name, YamlNode value) in keys)
        {
            if (action.Draft.Text(value, name) is not { } scalar)
            {
                continue;
            }

            bool isFile = name.EndsWith(OfFile, StringComparison.Ordinal);
            if ((isFile ? action.Sections.FromFile(scalar, name) : scalar.Value) is not { } text)
            {
                continue;
            }

            MessageTemplate? template = MessageTemplate.Parse(text, out string? error);
            error ??= template!.Names.Select(path => Unknown(action, path) is { } unknown ? unknown + MessageTemplate.Place(text, path) : null).FirstOrDefault(unknown => unknown is not null);
            if (error is not null)
            {
                action.Draft.Error(scalar.Offset, $"{(isFile ? ModelDraft.Short(scalar.Value) : name)} is no good template: {error}");
            }
            else
            {
                templates[isFile ? name[..^OfFile.Length] : name] = template!;
            }
        }

        return templates;
    }

    /// <summary>A computed trait or identifier that the model does not have; traits can be any.</summary>
    private static string? Unknown(DestinationItem action, string path)
    {
        string[] parts = path.Split('.');
        return parts switch
        {
            ["computed", var name, ..] => action.Names.Error(new ExpressionReference(PathRoot.Computed, name, 0), isCondition: false),
            ["identifiers", var name, ..] => action.Names.Error(new ExpressionReference(PathRoot.Identifiers, name, 0), isCondition: false),
            _ => null,
        };
    }
}
