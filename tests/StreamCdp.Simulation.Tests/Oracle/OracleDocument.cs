using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>A person as the profile JSON of DESIGN §5.3, without id, version, updated_at and merged_from.</summary>
/// <remarks>A union is an array in order of adding: compare it as a set. Numbers compare as numbers.</remarks>
internal static class OracleDocument
{
    /// <param name="world">The model, and now.</param>
    /// <param name="person">One that is nobody else by now.</param>
    /// <param name="nowMs">For computed values; null: now.</param>
    public static JsonObject Of(OracleWorld world, OraclePerson person, long? nowMs = null)
    {
        Dictionary<string, OracleTrait> traits = OracleTraits.Of(world.Model, person);
        return new JsonObject
        {
            ["created_at"] = OracleTime.Format(person.CreatedAtMs),
            ["identifiers"] = new JsonArray([.. person.Identifiers.Select(identifier => Identifier(person, identifier))]),
            ["traits"] = new JsonObject(traits.Select(trait => KeyValuePair.Create(trait.Key, Json(trait.Value)))),
            ["provenance"] = new JsonObject(traits.Select(trait => KeyValuePair.Create(trait.Key, (JsonNode?)new JsonObject
            {
                ["source"] = trait.Value.By.SourceId,
                ["at"] = OracleTime.Format(trait.Value.By.TimeMs),
            }))),
            ["computed"] = Computed(world.Model, person, nowMs ?? world.NowMs),
            ["notes"] = Notes(world.Model, person, nowMs ?? world.NowMs),
            ["segments"] = new JsonArray([.. world.Model.Segments.Where(segment => person.Memberships.ContainsKey(segment.Id)).Select(segment => new JsonObject
            {
                ["id"] = segment.Id,
                ["since"] = OracleTime.Format(person.Memberships[segment.Id]),
            })]),
            ["crm"] = new JsonObject(OracleCrm.Of(world.Model, person).GroupBy(record => record.Collection).Select(collection => KeyValuePair.Create(collection.Key, (JsonNode?)new JsonArray([.. collection.Select(Crm)])))),
            ["activity"] = new JsonObject
            {
                ["first_seen"] = OracleTime.Format(person.CreatedAtMs),
                ["last_seen"] = OracleTime.Format(person.LastSeenMs),
                ["events"] = person.Events.Count,
            },
        };
    }

    /// <summary>The same JSON: keys in any order, numbers by value (the last bits of a double may differ), and lists of scalars as sets, because a union has no order.</summary>
    public static bool AreAlike(JsonNode? left, JsonNode? right) => (left, right) switch
    {
        (null, null) => true,
        (JsonObject a, JsonObject b) => a.Count == b.Count && a.All(pair => b.TryGetPropertyValue(pair.Key, out JsonNode? other) && AreAlike(pair.Value, other)),
        (JsonArray a, JsonArray b) when a.All(item => item is JsonValue) => a.Count == b.Count && a.All(item => b.Any(other => AreAlike(item, other))),
        (JsonArray a, JsonArray b) => a.Count == b.Count && a.Zip(b).All(pair => AreAlike(pair.First, pair.Second)),
        (JsonValue a, JsonValue b) when a.GetValueKind() == JsonValueKind.Number && b.GetValueKind() == JsonValueKind.Number => AreClose(Number(a), Number(b)),
        (JsonValue a, JsonValue b) => a.GetValueKind() == b.GetValueKind() && (a.GetValueKind() != JsonValueKind.String || a.GetValue<string>() == b.GetValue<string>()),
        _ => false,
    };

    private static double Number(JsonValue value) => double.Parse(value.ToJsonString());

    private static bool AreClose(double a, double b) => Math.Abs(a - b) <= 1e-12 * Math.Max(Math.Abs(a), Math.Abs(b));

    private static JsonObject Identifier(OraclePerson person, OracleIdentifier identifier)
    {
        (long first, long last, string source) = person.Seen(identifier);
        return new JsonObject
        {
            ["type"] = identifier.Type,
            ["value"] = identifier.Value,
            ["first_seen"] = OracleTime.Format(first),
            ["last_seen"] = OracleTime.Format(last),
            ["source"] = source,
        };
    }

    private static JsonObject Crm(OracleCrmRecord record)
    {
        var json = new JsonObject { ["id"] = record.Id, ["source"] = record.Source };
        foreach (JsonProperty field in record.Fields.EnumerateObject().Where(field => field.Name is not ("id" or "source")))
        {
            json[field.Name] = JsonNode.Parse(field.Value.GetRawText());
        }

        return json;
    }

    private static JsonNode? Json(OracleTrait trait) =>
        trait.IsUnion ? new JsonArray([.. trait.Items.Select(item => JsonNode.Parse(item.GetRawText()))]) : JsonNode.Parse(trait.Items[0].GetRawText());

    private static JsonObject Computed(CdpModel model, OraclePerson person, long nowMs)
    {
        var evaluation = new OracleEvaluation(model, person, nowMs);
        var computed = new JsonObject();
        foreach (ComputedDefinition definition in model.Computed)
        {
            computed[definition.Name] = evaluation.Raw(definition.Value) switch
            {
                bool boolean => JsonValue.Create(boolean),
                double number => JsonValue.Create(number),
                decimal number => JsonValue.Create(number / 1.0000000000000000000000000000m), // Trailing zeros go.
                string text => JsonValue.Create(text),
                OracleInstant instant => JsonValue.Create(OracleTime.Format(instant.UnixMs)),
                List<object?> list => JsonSerializer.SerializeToNode(list),
                JsonElement { ValueKind: not (JsonValueKind.Undefined or JsonValueKind.Null) } json => JsonNode.Parse(json.GetRawText()),
                _ => null,
            };
        }

        return computed;
    }

    private static JsonObject Notes(CdpModel model, OraclePerson person, long nowMs)
    {
        var evaluation = new OracleEvaluation(model, person, nowMs);
        var notes = new JsonObject();
        foreach (ComputedDefinition definition in model.Computed)
        {
            if (definition.Value is FunctionExpression { Kind: EventFunction.UniqueCount } unique && evaluation.DifferentValues(unique) > 256)
            {
                notes.Add(definition.Name, "saturated");
            }
            else if (definition.Value is FunctionExpression { Kind: EventFunction.MostFrequent } frequent && evaluation.DifferentValues(frequent) > 64)
            {
                notes.Add(definition.Name, "approximate");
            }
        }

        if (OracleCrm.IsLimited(model, person))
        {
            notes.Add("crm", "limited");
        }

        return notes;
    }
}
