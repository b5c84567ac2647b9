using System.Text.RegularExpressions;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.HubSpot;

/// <summary>Which HubSpot account, and how it is talked to.</summary>
public sealed partial record HubSpotOptions
{
    /// <summary>Where the API is. Default https://api.hubapi.com, which serves all regions.</summary>
    public Uri BaseUrl { get; init; } = new("https://api.hubapi.com");

    /// <summary>http is allowed beyond this machine: then anybody on the way reads what is sent.</summary>
    public bool AllowsHttp { get; init; }

    /// <summary>Token of a private app. Null: OAuth.</summary>
    public string? AccessToken { get; init; }

    /// <summary>OAuth client; null with <see cref="AccessToken"/>.</summary>
    public string? ClientId { get; init; }

    /// <summary>Secret of the OAuth client.</summary>
    public string? ClientSecret { get; init; }

    /// <summary>What the account gave the OAuth client. Null: the token is had by client credentials.</summary>
    public string? RefreshToken { get; init; }

    /// <summary><c>v3</c>, or a date such as <c>2026-03</c>: HubSpot's newer paths. Default v3, which all official clients call.</summary>
    public string ApiVersion { get; init; } = "v3";

    /// <summary>Property that holds StreamCdp's id; it has unique values, and cannot be made so later. Lower case letters, digits and _. Default streamcdp_id.</summary>
    public string IdProperty { get; init; } = "streamcdp_id";

    /// <summary>How long a request may take. 1 s to 5 min, default 30 s: a page of 200 wide records needs a few.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How late search may find a change. 0 to 1 h, default 1 min: users report up to 30 s. <see cref="CrmPage.ServerTime"/> is this much before HubSpot's clock, so that the next read covers what was late.
    /// </summary>
    public TimeSpan SearchLag { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>Records of a page of changes. 1 to 200, default 200, which is HubSpot's limit.</summary>
    public int PageRecords { get; init; } = 200;

    /// <summary>Changes end with a listing of all archived records, so that deletions are told there, too. Costs a request for each 100 archived records each time, so default off: <see cref="ISource.IdsAsync"/> and webhooks tell of them.</summary>
    public bool ListsArchived { get; init; }

    /// <summary>The account's time zone, IANA name, in which a daily limit ends at midnight. Default null: UTC.</summary>
    public string? TimeZone { get; init; }

    /// <summary>Properties that are read, by object; what the connector itself needs is read besides. Default null, and of an object that is not there: all that the account has.</summary>
    public IReadOnlyDictionary<CrmObject, IReadOnlyList<string>>? Properties { get; init; }

    /// <summary>Types of activities that are read: call, email, meeting, note, task. Default none: each costs a search with every look for changes.</summary>
    public IReadOnlyList<string> Activities { get; init; } = [];

    /// <summary>Every broken rule, each with its name, its value and what is allowed; secrets are not shown. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (DestinationDefinition.UrlError(BaseUrl.OriginalString, AllowsHttp) is { } error)
        {
            yield return error;
        }

        bool isOAuth = ClientId is not null || ClientSecret is not null || RefreshToken is not null;
        if (AccessToken is null && !isOAuth)
        {
            yield return "AccessToken is missing; give the token of a private app, or ClientId and ClientSecret of an OAuth app";
        }

        if (AccessToken is not null && isOAuth)
        {
            yield return "AccessToken stands beside ClientId, ClientSecret or RefreshToken; allowed is one of both";
        }

        if (AccessToken is not null && !Token().IsMatch(AccessToken))
        {
            yield return "AccessToken has characters that a token cannot have, or none; copy it again";
        }

        if (isOAuth && (string.IsNullOrEmpty(ClientId) || string.IsNullOrEmpty(ClientSecret)))
        {
            yield return "ClientId or ClientSecret is missing; OAuth needs both";
        }

        if (RefreshToken is { Length: 0 })
        {
            yield return "RefreshToken is empty; leave it out for client credentials";
        }

        if (!Version().IsMatch(ApiVersion))
        {
            yield return $"ApiVersion is {ApiVersion}; allowed are v3 and a date such as 2026-03";
        }

        if (!PropertyName().IsMatch(IdProperty))
        {
            yield return $"IdProperty is {IdProperty}; allowed are lower case letters, digits and _, beginning with a letter, 100 at most";
        }

        if (Timeout < TimeSpan.FromSeconds(1) || Timeout > TimeSpan.FromMinutes(5))
        {
            yield return $"Timeout is {Timeout.TotalSeconds:0.###} s; allowed are 1 s to 5 min";
        }

        if (SearchLag < TimeSpan.Zero || SearchLag > TimeSpan.FromHours(1))
        {
            yield return $"SearchLag is {SearchLag.TotalSeconds:0.###} s; allowed are 0 to 1 h";
        }

        if (PageRecords is < 1 or > 200)
        {
            yield return $"PageRecords is {PageRecords}; allowed are 1 to 200";
        }

        if (Activities.FirstOrDefault(kind => HubSpotActivity.All.All(activity => activity.Kind != kind)) is { } unknown)
        {
            yield return $"Activities has {unknown}; allowed are {string.Join(", ", HubSpotActivity.All.Select(activity => activity.Kind))}";
        }

        if (TimeZone is not null && !TimeZoneInfo.TryFindSystemTimeZoneById(TimeZone, out _))
        {
            yield return $"TimeZone is {TimeZone}, which this machine does not know; allowed are IANA names such as Europe/Berlin";
        }
    }

    /// <summary>Without the secrets, which a record would show.</summary>
    public override string ToString() => $"HubSpot at {BaseUrl.GetLeftPart(UriPartial.Authority)}, {ApiVersion}";

    [GeneratedRegex(@"^(v3|\d{4}-\d{2}(-beta)?)\z")]
    private static partial Regex Version();

    [GeneratedRegex(@"^[a-z][a-z0-9_]{0,99}\z")]
    internal static partial Regex PropertyName();

    [GeneratedRegex(@"^[\x21-\x7e]+\z")]
    private static partial Regex Token();
}
