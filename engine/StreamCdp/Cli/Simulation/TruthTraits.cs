using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli.Simulation;

/// <summary>Sent traits of one person: RULES.md §5.</summary>
internal static class TruthTraits
{
    /// <summary>All traits that are not null.</summary>
    /// <param name="model">Declared traits.</param>
    /// <param name="events">In order (§4.2).</param>
    public static Dictionary<string, object?> Of(CdpModel model, List<TruthEvent> events)
    {
        var writes = new Dictionary<string, List<(JsonElement Value, string SourceId)>>();
        foreach (TruthEvent sent in events)
        {
            foreach (TraitDefinition declared in model.Traits)
            {
                if (declared.From is { } from && TruthValue.At(sent.Json, from) is { } value)
                {
                    Add(declared.Name, value, sent.SourceId);
                }
            }

            if (sent.Type == "identify")
            {
                foreach ((string name, JsonElement value) in IdentifyTraits(sent.Json))
                {
                    if (model.Traits.FirstOrDefault(trait => trait.Name == name)?.From is null)
                    {
                        Add(name, value, sent.SourceId);
                    }
                }
            }
        }

        var traits = new Dictionary<string, object?>();
        foreach ((string name, List<(JsonElement Value, string SourceId)> all) in writes)
        {
            TraitDefinition? declared = model.Traits.FirstOrDefault(trait => trait.Name == name);
            if (Merge(model, declared, all) is { } value)
            {
                traits[name] = value;
            }
        }

        return traits;

        void Add(string name, JsonElement value, string sourceId)
        {
            if (!writes.TryGetValue(name, out List<(JsonElement, string)>? list))
            {
                writes.Add(name, list = []);
            }

            list.Add((value, sourceId));
        }
    }

    private static Dictionary<string, JsonElement> IdentifyTraits(JsonElement json)
    {
        var traits = new Dictionary<string, JsonElement>();
        foreach (string[] path in (string[][])[["context", "traits"], ["traits"]])
        {
            if (TruthValue.At(json, path) is { ValueKind: JsonValueKind.Object } found)
            {
                foreach (JsonProperty property in found.EnumerateObject())
                {
                    traits[property.Name] = property.Value;
                }
            }
        }

        return traits;
    }

    private static object? Merge(CdpModel model, TraitDefinition? declared, List<(JsonElement Value, string SourceId)> writes)
    {
        switch (declared?.Merge ?? TraitMerge.Latest)
        {
            case TraitMerge.First:
                return writes.Select(write => TruthValue.Of(write.Value)).FirstOrDefault(value => value is not null);
            case TraitMerge.Min:
                return writes.Where(write => write.Value.ValueKind == JsonValueKind.Number).Select(write => (object?)write.Value.GetDouble()).Min();
            case TraitMerge.Max:
                return writes.Where(write => write.Value.ValueKind == JsonValueKind.Number).Select(write => (object?)write.Value.GetDouble()).Max();
            case TraitMerge.Union:
                return Union(writes.Select(write => TruthValue.Of(write.Value)));
            case TraitMerge.Latest:
            default:
                IReadOnlyList<string> prefer = declared?.Prefer ?? [];
                return TruthValue.Of(writes.Select((write, i) => (write, Rank: Rank(model, prefer, write.SourceId), i)).OrderByDescending(w => w.Rank).ThenBy(w => w.i).Last().write.Value);
        }
    }

    /// <summary>0 for the most preferred source.</summary>
    private static int Rank(CdpModel model, IReadOnlyList<string> prefer, string sourceId)
    {
        string? kind = model.Sources.FirstOrDefault(source => source.Id == sourceId)?.Kind;
        for (int i = 0; i < prefer.Count; i++)
        {
            if (prefer[i] == sourceId || prefer[i] == kind)
            {
                return i;
            }
        }

        return prefer.Count;
    }

    private static List<object?>? Union(IEnumerable<object?> values)
    {
        var union = new List<object?>();
        foreach (object? value in values.SelectMany(value => value is List<object?> list ? list : [value]))
        {
            if (value is bool or double or string && !union.Any(known => TruthValue.AreEqual(known, value)))
            {
                union.Add(value);
            }
        }

        return union.Count == 0 ? null : union;
    }
}
