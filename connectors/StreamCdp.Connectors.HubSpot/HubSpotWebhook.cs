using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

/// <summary>What HubSpot's webhooks say. They come twice, late and in any order, and a merge tells of no changed value: so they are hints, and what is read is the truth.</summary>
public static class HubSpotWebhook
{
    /// <summary>Header with the signature.</summary>
    public const string SignatureHeader = "X-HubSpot-Signature-v3";

    /// <summary>Header with the time of the request, Unix milliseconds.</summary>
    public const string TimestampHeader = "X-HubSpot-Request-Timestamp";

    private static readonly TimeSpan s_maxAge = TimeSpan.FromMinutes(5);

    /// <summary>What HubSpot does not escape when it signs: all but the question mark, which begins the query.</summary>
    private static readonly (string Escaped, string Character)[] s_unescaped =
        [("%3A", ":"), ("%2F", "/"), ("%40", "@"), ("%21", "!"), ("%24", "$"), ("%27", "'"), ("%28", "("), ("%29", ")"), ("%2A", "*"), ("%2C", ","), ("%3B", ";")];

    /// <summary>Whether HubSpot sent a request: base64 of HMAC-SHA256, with the app's secret, of method, address, body and timestamp.</summary>
    /// <param name="secret">The app's client secret.</param>
    /// <param name="method">POST.</param>
    /// <param name="address">The whole address that HubSpot was given, which behind a proxy is not the one that arrives here.</param>
    /// <param name="body">As it came.</param>
    /// <param name="timestamp">Of the header; null: there was none.</param>
    /// <param name="signature">Of the header; null: there was none.</param>
    /// <param name="now">A request of more than 5 minutes before or after is not taken, so that nobody can send an old one again.</param>
    public static bool IsSigned(string secret, string method, string address, ReadOnlySpan<byte> body, string? timestamp, string? signature, DateTimeOffset now)
    {
        ArgumentException.ThrowIfNullOrEmpty(secret);
        ArgumentNullException.ThrowIfNull(address);
        if (signature is null || !long.TryParse(timestamp, NumberStyles.None, CultureInfo.InvariantCulture, out long milliseconds)
            || Math.Abs((double)now.ToUnixTimeMilliseconds() - milliseconds) > s_maxAge.TotalMilliseconds)
        {
            return false;
        }

        Span<byte> given = stackalloc byte[HMACSHA256.HashSizeInBytes];
        if (!Convert.TryFromBase64String(signature, given, out int length) || length != given.Length)
        {
            return false;
        }

        string unescaped = address;
        foreach ((string escaped, string character) in s_unescaped)
        {
            unescaped = unescaped.Replace(escaped, character, StringComparison.OrdinalIgnoreCase);
        }

        using var hmac = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, Encoding.UTF8.GetBytes(secret));
        hmac.AppendData(Encoding.UTF8.GetBytes(method + unescaped));
        hmac.AppendData(body);
        hmac.AppendData(Encoding.UTF8.GetBytes(timestamp));
        return CryptographicOperations.FixedTimeEquals(hmac.GetHashAndReset(), given);
    }

    /// <summary>Records that a request tells of, each once, in its order; events of other objects are left out.</summary>
    /// <exception cref="JsonException">The body is not what HubSpot sends.</exception>
    public static IReadOnlyList<CrmHint> Read(ReadOnlySpan<byte> body)
    {
        JsonElement events = JsonElement.Parse(body);
        if (events.ValueKind != JsonValueKind.Array)
        {
            throw new JsonException("HubSpot sends an array of events.");
        }

        var hints = new List<CrmHint>();
        var seen = new HashSet<CrmHint>();
        foreach (JsonElement e in events.EnumerateArray().Where(e => e.ValueKind == JsonValueKind.Object))
        {
            string[] type = Text(e, "subscriptionType").Split('.', 2);
            if (type[^1].StartsWith("associationChange", StringComparison.OrdinalIgnoreCase))
            {
                string[] ends = Text(e, "associationType").Split("_TO_", 2);
                Add(KindOf(ends[0]) ?? KindOf(Text(e, "fromObjectTypeId")), e, "fromObjectId");
                Add(KindOf(ends[^1]) ?? KindOf(Text(e, "toObjectTypeId")), e, "toObjectId");
                continue;
            }

            Func<string, CrmHint>? kind = KindOf(type[0]) ?? KindOf(Text(e, "objectTypeId"));
            Add(kind, e, "newObjectId");
            Add(kind, e, "primaryObjectId");
            Add(kind, e, "objectId");
            if (e.TryGetProperty("mergedObjectIds", out JsonElement merged) && merged.ValueKind == JsonValueKind.Array)
            {
                foreach (JsonElement loser in merged.EnumerateArray())
                {
                    AddId(kind, loser);
                }
            }
        }

        return hints;

        void Add(Func<string, CrmHint>? kind, JsonElement e, string name)
        {
            if (e.TryGetProperty(name, out JsonElement id))
            {
                AddId(kind, id);
            }
        }

        void AddId(Func<string, CrmHint>? kind, JsonElement id)
        {
            string text = id.ValueKind is JsonValueKind.Number or JsonValueKind.String ? id.ToString() : "";
            if (kind is not null && text.Length is > 0 and <= 20 && text.All(char.IsAsciiDigit) && kind(text) is var hint && seen.Add(hint))
            {
                hints.Add(hint);
            }
        }
    }

    /// <summary>Makes a hint of HubSpot's id; null: it is an object that is not read.</summary>
    private static Func<string, CrmHint>? KindOf(string name) => name.ToLowerInvariant() switch
    {
        "contact" or "0-1" => id => new CrmHint(CrmObject.Contact, id),
        "company" or "0-2" => id => new CrmHint(CrmObject.Company, id),
        "deal" or "0-3" => id => new CrmHint(CrmObject.Deal, id),
        var other => HubSpotActivity.All.FirstOrDefault(activity => activity.TypeId == other || activity.Kind == other) is { } activity ? id => new CrmHint(CrmObject.Activity, activity.Id(id)) : null,
    };

    private static string Text(JsonElement json, string name) => json.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
}

/// <summary>Takes HubSpot's webhooks.</summary>
/// <param name="secret">The app's client secret.</param>
/// <param name="address">The address that HubSpot was given, which it signs.</param>
public sealed class HubSpotWebhookReader(string secret, Uri address) : ICrmWebhook
{
    /// <inheritdoc/>
    public IReadOnlyList<CrmHint>? Read(string method, Func<string, string?> header, ReadOnlySpan<byte> body, DateTimeOffset now)
    {
        ArgumentNullException.ThrowIfNull(header);
        return HubSpotWebhook.IsSigned(secret, method, address.OriginalString, body, header(HubSpotWebhook.TimestampHeader), header(HubSpotWebhook.SignatureHeader), now) ? HubSpotWebhook.Read(body) : null;
    }
}
