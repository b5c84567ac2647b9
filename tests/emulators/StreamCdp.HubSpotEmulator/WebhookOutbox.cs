using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

namespace StreamCdp.HubSpotEmulator;

/// <summary>A request that HubSpot sends to a webhook.</summary>
public sealed record WebhookRequest(string Method, Uri Uri, string Body, string Timestamp, string Signature);

/// <summary>Events that webhooks have not been told of yet.</summary>
internal sealed class WebhookOutbox
{
    private const int MostEventsOfARequest = 100;
    private readonly List<JsonObject> _events = [];
    private long _nextEventId = 1;

    public void Add(string kind, string what, long id, DateTimeOffset at, string source) => _events.Add(Event(kind, what, id, at, source));

    public void AddProperty(string kind, long id, string property, string value, DateTimeOffset at, string source)
    {
        JsonObject json = Event(kind, "propertyChange", id, at, source);
        json["propertyName"] = property;
        json["propertyValue"] = value;
        _events.Add(json);
    }

    public void AddMerge(string kind, long primary, IEnumerable<long> merged, long survivor, DateTimeOffset at)
    {
        JsonObject json = Event(kind, "merge", primary, at, "MERGE_OBJECTS");
        json["primaryObjectId"] = primary;
        json["mergedObjectIds"] = new JsonArray([.. merged.Select(id => (JsonNode)id)]);
        json["newObjectId"] = survivor;
        json["numberOfPropertiesMoved"] = 1;
        _events.Add(json);
    }

    public void AddAssociation(string from, long fromId, string to, long toId, DateTimeOffset at)
    {
        JsonObject json = Event(from, "associationChange", fromId, at, "USER");
        json.Remove("objectId");
        json["fromObjectId"] = fromId;
        json["toObjectId"] = toId;
        json["associationRemoved"] = false;
        json["associationType"] = $"{Singular(from)}_TO_{Singular(to)}".ToUpperInvariant();
        (json["fromObjectTypeId"], json["toObjectTypeId"]) = (HubSpotAccount.TypeOf(from), HubSpotAccount.TypeOf(to));
        _events.Add(json);
    }

    /// <summary>All that is to be told, signed; then nothing is left.</summary>
    public IReadOnlyList<WebhookRequest> Take(Uri target, string secret, DateTimeOffset now)
    {
        var requests = new List<WebhookRequest>();
        foreach (JsonObject[] chunk in _events.Chunk(MostEventsOfARequest))
        {
            string body = new JsonArray([.. chunk]).ToJsonString();
            string timestamp = now.ToUnixTimeMilliseconds().ToString(CultureInfo.InvariantCulture);
            string signature = Convert.ToBase64String(HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), Encoding.UTF8.GetBytes("POST" + target.OriginalString + body + timestamp)));
            requests.Add(new WebhookRequest("POST", target, body, timestamp, signature));
        }

        _events.Clear();
        return requests;
    }

    private JsonObject Event(string kind, string what, long id, DateTimeOffset at, string source) => new()
    {
        ["eventId"] = _nextEventId++,
        ["subscriptionId"] = 1,
        ["portalId"] = HubSpotAccount.PortalId,
        ["appId"] = 1,
        ["occurredAt"] = at.ToUnixTimeMilliseconds(),
        ["subscriptionType"] = HubSpotAccount.IsActivity(kind) ? $"object.{what}" : $"{Singular(kind)}.{what}", // Activities have the generic kind of webhooks alone.
        ["objectTypeId"] = HubSpotAccount.TypeOf(kind),
        ["attemptNumber"] = 0,
        ["objectId"] = id,
        ["changeSource"] = source,
    };

    private static string Singular(string kind) => kind == HubSpotAccount.Companies ? "company" : kind[..^1];
}
