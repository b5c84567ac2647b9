using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>RULES.md §1, §2 (sender) and §4.1: what one event says by itself.</summary>
/// <param name="model">The types of identifiers.</param>
/// <param name="isKnownUser">Whether a user_id is known (§3.4), for <c>previousId</c>.</param>
/// <param name="count">Hears of invalid and blocked values.</param>
internal sealed partial class OracleReader(CdpModel model, Func<string, bool> isKnownUser, Action<string> count)
{
    public const int MaxBytes = 32_768;
    private static readonly string[] s_types = ["track", "identify", "page", "screen", "group", "alias"];

    public (OracleRecord? Record, OracleOutcome? DeadLetter) Read(OracleEvent input, int log)
    {
        if (Encoding.UTF8.GetByteCount(input.Json) > MaxBytes)
        {
            return Dead(null, "larger than 32768 bytes");
        }

        JsonElement root;
        try
        {
            root = JsonElement.Parse(input.Json);
        }
        catch (JsonException)
        {
            return Dead(null, "no JSON");
        }

        if (root.ValueKind != JsonValueKind.Object)
        {
            return Dead(null, "no object");
        }

        string? type = Text(root, "type");
        if (type is null || !s_types.Contains(type))
        {
            return Dead("type", "missing or unknown");
        }

        if (type == "track" && string.IsNullOrEmpty(Text(root, "event")))
        {
            return Dead("event", "a track without the event's name");
        }

        foreach (string field in (string[])["properties", "traits", "context"])
        {
            if (OracleRecord.Child(root, field).ValueKind is not (JsonValueKind.Undefined or JsonValueKind.Null or JsonValueKind.Object))
            {
                return Dead(field, "neither an object nor null");
            }
        }

        JsonElement timestamp = OracleRecord.Child(root, "timestamp");
        if (!OracleRecord.IsAbsent(timestamp) && Instant(timestamp) is null)
        {
            return Dead("timestamp", "neither ISO 8601 nor whole milliseconds");
        }

        JsonElement context = OracleRecord.Child(root, "context");
        if (context.ValueKind == JsonValueKind.Undefined && input.BatchContextJson is not null)
        {
            JsonElement ofBatch = JsonElement.Parse(input.BatchContextJson);
            context = ofBatch.ValueKind == JsonValueKind.Object ? ofBatch : default;
        }

        // previousId may be the last identifier of its type, never the sender's anonymous_id.
        List<OracleIdentifier> own = Identifiers(root, context, previousIdType: null);
        List<OracleIdentifier> all = type == "alias" ? Identifiers(root, context, PreviousIdType(root)) : own;
        if (all.Count == 0)
        {
            return Dead("userId, anonymousId", "no identifier left");
        }

        // What nothing but its previousId names is sent by that, as an anonymous_id where it can be one: the state of the world must not choose the sender.
        List<OracleIdentifier> senders = [.. own.Where(id => id.Type == "anonymous_id"), .. own, .. Identifiers(root, context, "anonymous_id"), .. all];
        HashSet<long> dates = [];
        CollectDates(root, dates);
        CollectDates(context, dates);
        return (new OracleRecord
        {
            Log = log,
            Root = root,
            Context = context,
            Type = type,
            Name = type switch { "track" => Text(root, "event"), "page" or "screen" => Text(root, "name") ?? "", _ => null },
            MessageId = Text(root, "messageId") is { Length: > 0 } id ? id : null,
            SourceId = input.SourceId,
            ReceivedAtMs = input.ReceivedAtMs,
            TimeMs = EventTime(root, input),
            Identifiers = all,
            Sender = senders[0],
            Dates = dates,
        }, null);
    }

    private static (OracleRecord?, OracleOutcome?) Dead(string? field, string reason) => (null, new OracleOutcome(OracleVerdict.DeadLetter, field, reason, null));

    /// <summary>RULES.md §1.1 and §1.6.</summary>
    private List<OracleIdentifier> Identifiers(JsonElement root, JsonElement context, string? previousIdType)
    {
        List<OracleIdentifier> found = [];
        foreach (IdentifierDefinition type in model.Identifiers)
        {
            List<JsonElement> places = [];
            if (type.Type == "user_id")
            {
                places.Add(OracleRecord.Child(root, "userId"));
            }
            else if (type.Type == "anonymous_id")
            {
                places.Add(OracleRecord.Child(root, "anonymousId"));
            }

            foreach (string[] path in type.From)
            {
                JsonElement at = path[0] == "context" ? context : OracleRecord.Child(root, path[0]);
                places.Add(path.Skip(1).Aggregate(at, OracleRecord.Child));
            }

            JsonElement external = OracleRecord.Child(context, "externalIds");
            if (external.ValueKind == JsonValueKind.Array)
            {
                foreach (JsonElement item in external.EnumerateArray())
                {
                    JsonElement collection = OracleRecord.Child(item, "collection");
                    bool isOfUsers = OracleRecord.IsAbsent(collection) || (collection.ValueKind == JsonValueKind.String && collection.GetString() == "users");
                    if (isOfUsers && Text(item, "type") == type.Type)
                    {
                        places.Add(OracleRecord.Child(item, "id"));
                    }
                }
            }

            if (previousIdType == type.Type)
            {
                places.Add(OracleRecord.Child(root, "previousId"));
            }

            foreach (JsonElement place in places)
            {
                if (OracleIdentifiers.Read(type, place, count) is { } value && !found.Contains(new OracleIdentifier(type.Type, value)))
                {
                    found.Add(new OracleIdentifier(type.Type, value));
                }
            }
        }

        return found;
    }

    private string PreviousIdType(JsonElement root)
    {
        IdentifierDefinition? user = model.Identifiers.FirstOrDefault(type => type.Type == "user_id");
        string? asUser = user is null ? null : OracleIdentifiers.Read(user, OracleRecord.Child(root, "previousId"), _ => { });
        return asUser is not null && isKnownUser(asUser) ? "user_id" : "anonymous_id";
    }

    /// <summary>RULES.md §4.1.</summary>
    private static long EventTime(JsonElement root, OracleEvent input)
    {
        long received = input.ReceivedAtMs;
        long? original = Instant(OracleRecord.Child(root, "originalTimestamp"));
        long? timestamp = Instant(OracleRecord.Child(root, "timestamp"));
        long? sent = Instant(OracleRecord.Child(root, "sentAt")) ?? input.BatchSentAtMs;
        long? client = original ?? timestamp;

        long time;
        if (client is null)
        {
            time = received;
        }
        else if (input.Import)
        {
            time = client.Value;
        }
        else if (original is not null && timestamp is not null)
        {
            time = timestamp.Value;
        }
        else if (sent is not null && Math.Abs(sent.Value - received) >= 1000)
        {
            time = received - (sent.Value - client.Value);
        }
        else
        {
            time = client.Value;
        }

        return Math.Min(time, received);
    }

    private static long? Instant(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String when OracleTime.TryParse(value.GetString()!, out long ms, out _) => ms,
        JsonValueKind.Number when Integer().IsMatch(value.GetRawText()) && value.TryGetInt64(out long ms) && Math.Abs((decimal)ms) <= 253_402_300_799_999 => ms,
        _ => null,
    };

    private static string? Text(JsonElement parent, string key) =>
        OracleRecord.Child(parent, key) is { ValueKind: JsonValueKind.String } value ? value.GetString() : null;

    private static void CollectDates(JsonElement value, HashSet<long> dates)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.String when OracleTime.TryParse(value.GetString()!, out long ms, out _):
                dates.Add(ms);
                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in value.EnumerateArray())
                {
                    CollectDates(item, dates);
                }

                break;
            case JsonValueKind.Object:
                foreach (JsonProperty property in value.EnumerateObject())
                {
                    CollectDates(property.Value, dates);
                }

                break;
        }
    }

    [GeneratedRegex(@"\A-?[0-9]+\z")]
    private static partial Regex Integer();
}
