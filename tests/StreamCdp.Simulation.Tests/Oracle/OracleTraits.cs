using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>One write of a trait.</summary>
internal sealed record OracleWrite(OracleRecord Event, JsonElement Value);

/// <summary>A trait's value with its provenance.</summary>
/// <param name="Items">The value; more than one thing only for <see cref="TraitMerge.Union"/>.</param>
/// <param name="IsUnion">The value is the set of <paramref name="Items"/>.</param>
/// <param name="By">The write that gave it.</param>
internal sealed record OracleTrait(IReadOnlyList<JsonElement> Items, bool IsUnion, OracleRecord By);

/// <summary>RULES.md §5: traits from all events.</summary>
internal static class OracleTraits
{
    /// <summary>All traits that have a value.</summary>
    public static Dictionary<string, OracleTrait> Of(CdpModel model, OraclePerson person)
    {
        Dictionary<string, OracleTrait> traits = [];
        foreach (string name in person.Events.SelectMany(e => SentNames(e)).Concat(model.Traits.Select(trait => trait.Name)).Distinct())
        {
            if (Of(model, person, name) is { } trait)
            {
                traits.Add(name, trait);
            }
        }

        return traits;
    }

    /// <summary>One trait; null where it has no value.</summary>
    public static OracleTrait? Of(CdpModel model, OraclePerson person, string name)
    {
        TraitDefinition rule = model.Traits.FirstOrDefault(trait => trait.Name == name) ?? new TraitDefinition(name, TraitMerge.Latest, [], null);
        List<OracleWrite> writes = [.. person.Events.Select(e => new OracleWrite(e, Written(e, rule))).Where(write => write.Value.ValueKind != JsonValueKind.Undefined)];
        List<OracleWrite> notNull = [.. writes.Where(write => write.Value.ValueKind != JsonValueKind.Null)];
        List<OracleWrite> numbers = [.. notNull.Where(write => write.Value.ValueKind == JsonValueKind.Number)];
        OracleWrite? winner = rule.Merge switch
        {
            TraitMerge.Latest => writes.GroupBy(write => Rank(model, rule, write.Event.SourceId)).MinBy(group => group.Key)?.Last(),
            TraitMerge.First => notNull.FirstOrDefault(),
            TraitMerge.Min => numbers.FirstOrDefault(write => write.Value.GetDouble() == numbers.Min(other => other.Value.GetDouble())),
            TraitMerge.Max => numbers.FirstOrDefault(write => write.Value.GetDouble() == numbers.Max(other => other.Value.GetDouble())),
            _ => null,
        };
        return rule.Merge == TraitMerge.Union ? Union(notNull) : winner is null || winner.Value.ValueKind == JsonValueKind.Null ? null : new OracleTrait([winner.Value], false, winner.Event);
    }

    private static OracleTrait? Union(List<OracleWrite> writes)
    {
        List<JsonElement> items = [];
        OracleRecord? by = null;
        foreach (OracleWrite write in writes)
        {
            foreach (JsonElement scalar in Scalars(write.Value))
            {
                if (!items.Any(item => OracleValue.AreEqual(OracleValue.Plain(item), OracleValue.Plain(scalar))))
                {
                    items.Add(scalar);
                    by = write.Event;
                }
            }
        }

        return by is null ? null : new OracleTrait(items, true, by);
    }

    private static IEnumerable<JsonElement> Scalars(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array => value.EnumerateArray().SelectMany(Scalars),
        JsonValueKind.String or JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False => [value],
        _ => [],
    };

    /// <summary>0 is best.</summary>
    private static int Rank(CdpModel model, TraitDefinition rule, string sourceId)
    {
        string? kind = model.Sources.FirstOrDefault(source => source.Id == sourceId)?.Kind;
        for (int i = 0; i < rule.Prefer.Count; i++)
        {
            if (rule.Prefer[i] == sourceId || rule.Prefer[i] == kind)
            {
                return i;
            }
        }

        return rule.Prefer.Count;
    }

    private static JsonElement Written(OracleRecord e, TraitDefinition rule)
    {
        if (rule.From is not null)
        {
            return e.At(rule.From);
        }

        if (e.Type != "identify")
        {
            return default;
        }

        JsonElement own = e.At(["traits", rule.Name]);
        return own.ValueKind != JsonValueKind.Undefined ? own : e.At(["context", "traits", rule.Name]);
    }

    private static IEnumerable<string> SentNames(OracleRecord e)
    {
        if (e.Type == "identify")
        {
            foreach (JsonElement place in (JsonElement[])[e.At(["traits"]), e.At(["context", "traits"])])
            {
                if (place.ValueKind == JsonValueKind.Object)
                {
                    foreach (JsonProperty property in place.EnumerateObject())
                    {
                        yield return property.Name;
                    }
                }
            }
        }
    }
}
