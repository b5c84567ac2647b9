using System.Net.Mail;

namespace StreamCdp.Engine.Model;

/// <summary>Reads a destination that sends mails.</summary>
internal sealed class EmailReader(ModelDraft draft, IReadOnlyList<SourceDefinition> sources, IReadOnlyList<IdentifierDefinition> identifiers, IReadOnlyList<TraitDefinition> traits, IReadOnlyList<ConsentDefinition> consents)
{
    public static readonly string[] Keys = ["url", "user", "secret", "from", "unsubscribe", "ca", "allow_plain", "at_most", "actions"];

    public DestinationDefinition Read(DestinationItem item)
    {
        if (!identifiers.Any(identifier => identifier.Type == "email"))
        {
            draft.Error(item.IdOffset, "mails go to identifiers.email: add { type: email, limit: 5, from: [traits.email], normalize: email } to identifiers");
        }

        bool allowsPlain = draft.OneOf(item.Keys, "allow_plain", new Dictionary<string, bool> { ["true"] = true, ["false"] = false }, false);
        bool hasUser = item.Keys.ContainsKey("user");
        string user = hasUser && draft.Text(item.Keys["user"], "user") is { } scalar ? item.Sections.FromEnvironment(scalar, "user") ?? "" : "";
        if (hasUser != item.Keys.ContainsKey("secret"))
        {
            draft.Error(item.Node.Offset, "user and secret go together: give both, or none where the server asks for no login");
        }

        IReadOnlyList<ActionDefinition> actions = ActionReader.Read(item, sends: true, []);
        if (actions.Count == 0 && !draft.HasErrors)
        {
            draft.Error(item.Node.Offset, "an email destination sends nothing without actions: add { id: welcome, on: { entered: new_customers }, send: { subject: Welcome, text: Hello } } to actions");
        }

        return new DestinationDefinition
        {
            Id = item.Id,
            Kind = item.Kind,
            Url = Url(item, allowsPlain),
            Secret = item.Keys.ContainsKey("secret") ? item.Password("an email destination") ?? "" : "",
            AllowsHttp = allowsPlain,
            RequestsPerSecond = item.Number("rate", 10),
            TimeoutMs = item.Timeout(30_000),
            Email = new EmailDefinition(From(item), user, item.Keys.TryGetValue("ca", out YamlNode? ca) && draft.Text(ca, "ca") is { } file ? file.Value : "", Unsubscribe(item)),
            AtMost = ActionReader.AtMost(item),
            Actions = actions,
        };
    }

    private Uri? Url(DestinationItem item, bool allowsPlain)
    {
        if (draft.Required(item.Keys, item.Node, "url", "an email destination") is not { } scalar || item.Sections.FromEnvironment(scalar, "url") is not { } text)
        {
            return null;
        }

        if (!Uri.TryCreate(text, UriKind.Absolute, out Uri? url) || url.Scheme is not ("smtp" or "smtps") || url.Host.Length == 0 || url.AbsolutePath.Length > 1)
        {
            draft.Error(scalar.Offset, "expected url to be an address such as smtp://mail.example.com:587 (STARTTLS) or smtps://mail.example.com");
        }
        else if (url.UserInfo.Length > 0)
        {
            draft.Error(scalar.Offset, "url has a user or a password in it, which is refused: write user and secret");
        }
        else
        {
            if (url.Scheme == "smtp" && allowsPlain && item.Keys.ContainsKey("secret") && !url.IsLoopback)
            {
                draft.Note(scalar.Offset, "allow_plain lets the login go unencrypted where the server has no STARTTLS");
            }

            return url;
        }

        return null;
    }

    private string From(DestinationItem item)
    {
        if (draft.Required(item.Keys, item.Node, "from", "an email destination") is not { } scalar)
        {
            return "";
        }

        if (!MailAddress.TryCreate(scalar.Value, out _))
        {
            draft.Error(scalar.Offset, "expected from to be an address such as Shop <hello@shop.example>");
        }

        return scalar.Value;
    }

    private Uri? Unsubscribe(DestinationItem item)
    {
        if (!item.Keys.TryGetValue("unsubscribe", out YamlNode? node) || draft.Text(node, "unsubscribe") is not { } scalar || item.Sections.FromEnvironment(scalar, "unsubscribe") is not { } text)
        {
            return null;
        }

        if (!item.Keys.ContainsKey("purpose"))
        {
            draft.Error(scalar.Offset, "unsubscribe takes back the consent to a purpose: add purpose, such as purpose: marketing");
        }

        string? purpose = item.Keys.TryGetValue("purpose", out YamlNode? named) ? (named as YamlScalar)?.Value : null;
        string? trait = consents.FirstOrDefault(consent => consent.Purpose == purpose)?.Path.Path[0];
        if (traits.FirstOrDefault(candidate => candidate.Name == trait) is { } rules && (rules.From is not null || rules.Merge != TraitMerge.Latest || (rules.Prefer.Count > 0 && rules.Prefer[0] != item.Id)))
        {
            draft.Error(scalar.Offset, $"the rules of the trait {trait} would keep the consent of who unsubscribes: it has to be merge: latest, without from:, and prefer:, where it is given, begins with {item.Id}");
        }

        if (!sources.Any(source => source.Id == item.Id && source.Trusted))
        {
            draft.Error(scalar.Offset, $"who unsubscribes is an event: add {{ id: {item.Id}, kind: server }} to sources");
        }

        if (!Uri.TryCreate(text, UriKind.Absolute, out Uri? url) || url.Scheme is not ("https" or "http") || (url.Scheme == "http" && !url.IsLoopback))
        {
            draft.Error(scalar.Offset, "expected unsubscribe to be the public https address of this server, such as https://cdp.example.com");
            return null;
        }

        return url;
    }
}
