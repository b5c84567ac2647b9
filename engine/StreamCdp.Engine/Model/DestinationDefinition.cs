using System.Net;

namespace StreamCdp.Engine.Model;

/// <summary>Where changes go. <c>secret: env:NAME</c> and <c>url: env:NAME</c> are resolved when the model is read.</summary>
public sealed record DestinationDefinition
{
    /// <summary>Name, also in metrics and dead letters.</summary>
    public required string Id { get; init; }

    /// <summary>webhook, or a CRM: hubspot, tryton.</summary>
    public required string Kind { get; init; }

    /// <summary>Where it sends; its path may be a secret.</summary>
    public required Uri Url { get; init; }

    /// <summary>What its requests are signed with; of a CRM the password or token.</summary>
    public required string Secret { get; init; }

    /// <summary>What goes both ways; null: no CRM.</summary>
    public CrmDefinition? Crm { get; init; }

    /// <summary>http is allowed beyond this machine.</summary>
    public bool AllowsHttp { get; init; }

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

/// <summary>What goes both ways between the profiles and a CRM.</summary>
public sealed record CrmDefinition
{
    /// <summary>Login; empty where the secret alone says who it is.</summary>
    public string User { get; init; } = "";

    /// <summary>Of HubSpot: v3, or a date such as 2026-03.</summary>
    public string ApiVersion { get; init; } = "v3";

    /// <summary>Mapped fields of contacts, in the file's order.</summary>
    public IReadOnlyList<CrmFieldDefinition> Fields { get; init; } = [];

    /// <summary>Members of these segments get a contact where they have none; empty: none is made.</summary>
    public IReadOnlyList<string> Create { get; init; } = [];

    /// <summary>Segments that are lists in the CRM.</summary>
    public IReadOnlyList<string> Lists { get; init; } = [];

    /// <summary>A new one begins paused, so that somebody looks at its plan first.</summary>
    public bool StartsPaused { get; init; }

    /// <summary>How often it is asked for what is new, ms.</summary>
    public long PollMs { get; init; } = 5_000;

    /// <summary>How often everything is read again, ms.</summary>
    public long ReconcileMs { get; init; } = 24L * 3600 * 1000;
}

/// <summary>A mapped field of a CRM's contacts.</summary>
/// <param name="Field">The CRM's name.</param>
/// <param name="Value">traits.x, identifiers.x or computed.x; null: the segments.</param>
/// <param name="Direction">Which way changes go.</param>
/// <param name="Policy">Who wins where both sides changed.</param>
public sealed record CrmFieldDefinition(string Field, PathExpression? Value, SyncDirection Direction, SyncPolicy Policy);
