using System.Net;

namespace StreamCdp.Engine.Model;

/// <summary>Where changes go. <c>secret: env:NAME</c> and <c>url: env:NAME</c> are resolved when the model is read.</summary>
public sealed record DestinationDefinition
{
    /// <summary>Name, also in metrics and dead letters.</summary>
    public required string Id { get; init; }

    /// <summary>webhook, kafka, file, email, or a CRM: hubspot, tryton.</summary>
    public required string Kind { get; init; }

    /// <summary>Where it sends, for kinds with an address; its path may be a secret.</summary>
    public Uri? Url { get; init; }

    /// <summary>What its requests are signed with; of a CRM the password or token, of Kafka the password. Empty: none.</summary>
    public string Secret { get; init; } = "";

    /// <summary>Where its keys stand in the file, by line and column from 1; a key below another one as contacts.fields.name.</summary>
    public IReadOnlyDictionary<string, (int Line, int Column)> Places { get; init; } = new Dictionary<string, (int Line, int Column)>();

    /// <summary>Which topic of which brokers; null: no Kafka.</summary>
    public KafkaDefinition? Kafka { get; init; }

    /// <summary>Which files; null: none.</summary>
    public FileDefinition? File { get; init; }

    /// <summary>What goes both ways; null: no CRM.</summary>
    public CrmDefinition? Crm { get; init; }

    /// <summary>How mails are sent; null: it sends none.</summary>
    public EmailDefinition? Email { get; init; }

    /// <summary>What is done for people who enter or leave segments, in the file's order.</summary>
    public IReadOnlyList<ActionDefinition> Actions { get; init; } = [];

    /// <summary>How often at most one person is sent something, over all actions; null: no limit beside theirs.</summary>
    public ActionLimit? AtMost { get; init; }

    /// <summary>What people must have consented to; null: it needs no consent.</summary>
    public ConsentDefinition? Consent { get; init; }

    /// <summary>http is allowed beyond this machine.</summary>
    public bool AllowsHttp { get; init; }

    /// <summary>A new one begins paused, so that somebody looks at its plan first.</summary>
    public bool StartsPaused { get; init; }

    /// <summary>Only these segments; empty: all.</summary>
    public IReadOnlyList<string> Segments { get; init; } = [];

    /// <summary>Gets membership changes.</summary>
    public bool SendsMemberships { get; init; } = true;

    /// <summary>Gets changed profiles.</summary>
    public bool SendsProfiles { get; init; }

    /// <summary>Mapped fields, in the file's order; empty: no mapping.</summary>
    public IReadOnlyList<FieldDefinition> Fields { get; init; } = [];

    /// <summary>Changes of a request at most.</summary>
    public int BatchLimit { get; init; } = 100;

    /// <summary>Requests a second at most.</summary>
    public int RequestsPerSecond { get; init; } = 50;

    /// <summary>How long a request may take, ms.</summary>
    public long TimeoutMs { get; init; } = 10_000;

    /// <summary>Where it sends, as shown to people: nothing that is a secret.</summary>
    public string Target => Kafka is not null ? $"{Kafka.Brokers}/{Kafka.Topic}" : File?.Path ?? Url?.GetLeftPart(UriPartial.Authority) ?? "";

    /// <summary>What is wrong with an address to send to; null: nothing.</summary>
    /// <param name="text">The address.</param>
    /// <param name="allowsHttp">http is allowed beyond this machine.</param>
    public static string? UrlError(string text, bool allowsHttp)
    {
        if (!Uri.TryCreate(text, UriKind.Absolute, out Uri? url) || url.Scheme is not ("http" or "https"))
        {
            return "expected url to be an address such as https://example.com/hook";
        }

        if (url.UserInfo.Length > 0)
        {
            return "url has a user or a password in it, which is refused: requests are signed instead";
        }

        return url.Scheme == "http" && !allowsHttp && !IsThisMachine(url)
            ? $"url is http to {ModelDraft.Short(url.Host)}, so everybody on the way can read it; use https, or write allow_http: true"
            : null;
    }

    private static bool IsThisMachine(Uri url) => url.Host == "localhost" || (IPAddress.TryParse(url.Host.Trim('[', ']'), out IPAddress? address) && IPAddress.IsLoopback(address));
}

/// <summary>A value of the profile under the name that the other side knows.</summary>
/// <param name="Name">Key of the mapping.</param>
/// <param name="Path">traits.…, computed.x or identifiers.x (a list).</param>
public sealed record FieldDefinition(string Name, PathExpression Path);

/// <summary>A topic that changes are written to.</summary>
public sealed record KafkaDefinition
{
    /// <summary>host:port of the brokers to ask first, separated by commas.</summary>
    public required string Brokers { get; init; }

    /// <summary>Its name.</summary>
    public required string Topic { get; init; }

    /// <summary>The connection is encrypted.</summary>
    public bool Tls { get; init; }

    /// <summary>File with the certificates to trust, PEM; null: the system's.</summary>
    public string? CaPath { get; init; }

    /// <summary>User for SASL; null: no login.</summary>
    public string? User { get; init; }

    /// <summary>PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.</summary>
    public string Sasl { get; init; } = "SCRAM-SHA-512";

    /// <summary>All brokers are on this machine.</summary>
    public bool IsThisMachine => Brokers.Split(',').All(broker => IPEndPoint.TryParse(broker.Trim(), out IPEndPoint? address) ? IPAddress.IsLoopback(address.Address) : broker.Trim().StartsWith("localhost:", StringComparison.Ordinal));

    /// <summary>What is wrong with a list of brokers; null: nothing.</summary>
    /// <param name="text">host:port, separated by commas.</param>
    public static string? BrokersError(string text) =>
        Array.Find((text ?? "").Split(','), broker => !Uri.TryCreate("kafka://" + broker.Trim(), UriKind.Absolute, out Uri? url) || url.Port is < 1 || url.Host.Length == 0 || url.UserInfo.Length > 0 || url.PathAndQuery is not ("" or "/")) is { } wrong
            ? $"expected brokers to be host:port, separated by commas, such as \"a.example:9092,b.example:9092\"; {(wrong.Contains('@', StringComparison.Ordinal) ? "a user or password has no place in it" : $"\"{ModelDraft.Short(wrong.Trim())}\" is none")}"
            : null;

    /// <summary>What is wrong with the name of a topic; null: nothing.</summary>
    /// <param name="text">The name.</param>
    public static string? TopicError(string text) =>
        text is "." or ".." || text is not { Length: > 0 and <= 249 } || text.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('.' or '_' or '-'))
            ? $"expected topic to be a name of 1 to 249 of A-Z a-z 0-9 . _ -, found \"{ModelDraft.Short(text ?? "")}\""
            : null;
}

/// <summary>Files that changes are written to.</summary>
public sealed record FileDefinition
{
    /// <summary>Directory and name with {date} and, if wanted, {time}; .ndjson or .csv.</summary>
    public required string Path { get; init; }

    /// <summary>A file ends at the next whole multiple of this, UTC, ms.</summary>
    public long RotateMs { get; init; } = 3_600_000;

    /// <summary>From this size on a file takes no more, MiB.</summary>
    public int MaxMib { get; init; } = 100;

    /// <summary>The group may read them; else the user alone.</summary>
    public bool IsGroupReadable { get; init; }

    /// <summary>In a CSV, text that a spreadsheet would run as a formula gets a ' before it.</summary>
    public bool EscapesFormulas { get; init; }

    /// <summary>Columns of a CSV that each change has, before the mapped fields.</summary>
    public static IReadOnlyList<string> OwnColumns { get; } = ["id", "type", "profile_id", "version", "at", "segment", "reason", "merged_into"];

    /// <summary>They are CSV; else NDJSON.</summary>
    public bool IsCsv => Path.EndsWith(".csv", StringComparison.Ordinal);

    /// <summary>What is wrong with a path; null: nothing.</summary>
    /// <param name="text">The path.</param>
    public static string? PathError(string text)
    {
        string name = System.IO.Path.GetFileName(text ?? "");
        string without = name.Replace("{date}", "", StringComparison.Ordinal).Replace("{time}", "", StringComparison.Ordinal);
        return !name.EndsWith(".ndjson", StringComparison.Ordinal) && !name.EndsWith(".csv", StringComparison.Ordinal) ? "expected path to end with .ndjson or .csv, such as exports/{date}.ndjson"
            : name.Split("{date}").Length != 2 || name.Split("{time}").Length > 2 ? "expected the name in path to have {date} once and {time} at most once, such as exports/{date}T{time}.ndjson: else all files had the same name"
            : without.AsSpan().ContainsAny("{}") || System.IO.Path.GetDirectoryName(text).AsSpan().ContainsAny("{}") ? "path has other braces than {date} and {time} in its name"
            : null;
    }
}

/// <summary>What goes both ways between the profiles and a CRM.</summary>
public sealed record CrmDefinition
{
    /// <summary>Login; empty where the secret alone says who it is.</summary>
    public string User { get; init; } = "";

    /// <summary>Of HubSpot: v3, or a date such as 2026-03.</summary>
    public string ApiVersion { get; init; } = "v3";

    /// <summary>Types of activities that come in: call, email, meeting, note, task; empty: none.</summary>
    public IReadOnlyList<string> Activities { get; init; } = [];

    /// <summary>Where the CRM tells of changes; null: it does not.</summary>
    public CrmWebhookDefinition? Webhook { get; init; }

    /// <summary>Mapped fields of contacts, in the file's order.</summary>
    public IReadOnlyList<CrmFieldDefinition> Fields { get; init; } = [];

    /// <summary>Members of these segments get a contact where they have none; empty: none is made.</summary>
    public IReadOnlyList<string> Create { get; init; } = [];

    /// <summary>Segments that are lists in the CRM.</summary>
    public IReadOnlyList<string> Lists { get; init; } = [];

    /// <summary>Contacts that StreamCdp made are deleted when their people do not consent, so many a day at most; null: none is.</summary>
    public int? DeletesAtMost { get; init; }

    /// <summary>How often it is asked for what is new, ms.</summary>
    public long PollMs { get; init; } = 5_000;

    /// <summary>How often everything is read again, ms.</summary>
    public long ReconcileMs { get; init; } = 24L * 3600 * 1000;
}

/// <summary>Where a CRM tells of changes.</summary>
/// <param name="Url">The address that it was given: it ends with /v1/webhooks/ and the destination's id.</param>
/// <param name="Secret">What it signs with.</param>
public sealed record CrmWebhookDefinition(Uri Url, string Secret);

/// <summary>A mapped field of a CRM's contacts.</summary>
/// <param name="Field">The CRM's name.</param>
/// <param name="Value">traits.x, identifiers.x or computed.x; null: the segments.</param>
/// <param name="Direction">Which way changes go.</param>
/// <param name="Policy">Who wins where both sides changed.</param>
public sealed record CrmFieldDefinition(string Field, PathExpression? Value, SyncDirection Direction, SyncPolicy Policy);
