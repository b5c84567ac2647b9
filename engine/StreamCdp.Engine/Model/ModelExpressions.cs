using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace StreamCdp.Engine.Model;

/// <summary>Reads the sections with expressions: computed and segments, with their names, cycles, types and versions.</summary>
internal sealed class ModelExpressions(ModelDraft draft, string[] identifierTypes)
{
    private readonly List<Draft> _computed = [];
    private readonly List<Draft> _segments = [];

    /// <summary>What can be named, once all sections are read.</summary>
    public ExpressionNames Names => new(_computed.Select(computed => computed.Id), _segments.Select(segment => segment.Id), identifierTypes);

    public void ReadComputed(YamlNode? section)
    {
        foreach ((YamlScalar key, YamlNode value) in draft.Entries(section, "computed"))
        {
            CheckId(key, "a computed trait");
            IReadOnlyDictionary<string, YamlNode>? keys = draft.Item(value, "a computed trait", "{ value: 'count(\"Order Completed\", within: 90d)' }", ["value"]);
            YamlScalar? text = keys is null ? null : draft.Required(keys, value, "value", "a computed trait");
            _computed.Add(Parse(key, key.Value, text));
        }
    }

    public void ReadSegments(YamlNode? section, bool isOfApi = false)
    {
        foreach ((YamlScalar key, YamlNode value) in draft.Entries(section, isOfApi ? ApiSegments.Section : "segments"))
        {
            if (isOfApi && _segments.Any(other => other.Id == key.Value))
            {
                draft.Error(key.Offset, $"the API wrote a segment {ModelDraft.Short(key.Value)}, and cdp.yaml has one of that name, too");
                continue;
            }

            CheckId(key, "a segment");
            IReadOnlyDictionary<string, YamlNode>? keys = draft.Item(value, "a segment", "{ name: Big spenders, when: 'sum(\"Order Completed\", properties.revenue) >= 500' }", ["name", "when"]);
            YamlScalar? text = keys is null ? null : draft.Required(keys, value, "when", "a segment");
            string? name = keys is not null && keys.TryGetValue("name", out YamlNode? nameNode) ? draft.Text(nameNode, "name")?.Value : null;
            _segments.Add(Parse(key, name ?? key.Value, text) with { IsOfApi = isOfApi });
        }
    }

    /// <summary>Checks all together. What it gives is good only if the draft has no errors.</summary>
    public (IReadOnlyList<ComputedDefinition> Computed, IReadOnlyList<SegmentDefinition> Segments) Check()
    {
        CheckNames();
        IReadOnlyList<int> computedOrder = Order(_computed, PathRoot.Computed, "computed traits");
        IReadOnlyList<int> segmentOrder = Order(_segments, null, "segments");
        Dictionary<string, ExpressionType> types = [];
        Dictionary<string, ulong> computedVersions = [];
        Dictionary<string, ulong> segmentVersions = [];
        foreach (int index in computedOrder)
        {
            Draft computed = _computed[index];
            if (computed.Parsed is not null)
            {
                types[computed.Id] = Checked(computed, errors => ExpressionChecker.CheckValue(computed.Parsed, Type, errors));
                computedVersions[computed.Id] = Version(computed, computedVersions, segmentVersions);
            }
        }

        List<SegmentDefinition> segments = [];
        foreach (int index in segmentOrder)
        {
            Draft segment = _segments[index];
            if (segment.Parsed is not null)
            {
                Checked(segment, errors =>
                {
                    ExpressionChecker.CheckCondition(segment.Parsed, Type, errors);
                    return ExpressionType.Boolean;
                });
                segmentVersions[segment.Id] = Version(segment, computedVersions, segmentVersions);
                segments.Add(new SegmentDefinition(segment.Id, segment.Name, segment.Parsed.Root, segmentVersions[segment.Id]) { IsOfApi = segment.IsOfApi });
            }
        }

        return ([.. _computed.Where(computed => computed.Parsed is not null).Select(computed => new ComputedDefinition(computed.Id, computed.Parsed!.Root))], segments);

        ExpressionType Type(string name) => types.GetValueOrDefault(name, ExpressionType.Any);
    }

    /// <summary>Notes names that no event has brought yet.</summary>
    public void Note(SeenNames seen)
    {
        foreach (Draft of in _computed.Concat(_segments).Where(of => of.Parsed is not null))
        {
            foreach (ExpressionError note in seen.Notes(of.Parsed!))
            {
                draft.Note(of.Places[Math.Min(note.Offset, of.Places.Length - 1)], note.Message);
            }
        }
    }

    private static ulong Version(Draft of, Dictionary<string, ulong> computed, Dictionary<string, ulong> segments)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(of.Parsed!.Root.ToString()!));
        Span<byte> bytes = stackalloc byte[8];
        foreach (ExpressionReference reference in of.Parsed.References)
        {
            if (reference.Root != PathRoot.Identifiers && (reference.Root is null ? segments : computed).TryGetValue(reference.Name, out ulong used))
            {
                BinaryPrimitives.WriteUInt64BigEndian(bytes, used);
                hash.AppendData(bytes);
            }
        }

        return BinaryPrimitives.ReadUInt64BigEndian(hash.GetHashAndReset());
    }

    private void CheckId(YamlScalar key, string what)
    {
        if (!ModelDraft.IsName(key.Value))
        {
            draft.Error(key.Offset, $"the name \"{ModelDraft.Short(key.Value)}\" of {what} is not allowed; allowed are 1 to 100 of A-Z a-z 0-9 _ - .");
        }
    }

    private Draft Parse(YamlScalar key, string name, YamlScalar? text)
    {
        if (text is null)
        {
            return new Draft(key.Value, name, null, []);
        }

        List<ExpressionError> errors = [];
        int[] places = ScalarPlaces.Of(draft.Source.Text, text);
        ParsedExpression? parsed = ExpressionParser.Parse(text.Value, errors);
        Report(errors, places);
        return new Draft(key.Value, name, parsed, places);
    }

    private ExpressionType Checked(Draft of, Func<List<ExpressionError>, ExpressionType> check)
    {
        List<ExpressionError> errors = [];
        ExpressionType type = check(errors);
        Report(errors, of.Places);
        return errors.Count > 0 ? ExpressionType.Any : type;
    }

    private void Report(List<ExpressionError> errors, int[] places)
    {
        foreach (ExpressionError error in errors)
        {
            draft.Error(places[Math.Min(error.Offset, places.Length - 1)], error.Message);
        }
    }

    private void CheckNames()
    {
        ExpressionNames names = Names;
        foreach ((Draft of, bool isCondition) in _computed.Select(of => (of, false)).Concat(_segments.Select(of => (of, true))))
        {
            foreach (ExpressionReference reference in of.Parsed?.References ?? [])
            {
                if (names.Error(reference, isCondition) is { } error)
                {
                    draft.Error(of.Places[reference.Offset], error);
                }
            }
        }
    }

    /// <summary>Indexes in an order in which each comes after those that it uses, else as in the file; cycles are reported.</summary>
    private IReadOnlyList<int> Order(List<Draft> drafts, PathRoot? root, string what)
    {
        Dictionary<string, int> indexes = [];
        for (int i = 0; i < drafts.Count; i++)
        {
            indexes.TryAdd(drafts[i].Id, i);
        }

        List<(int Index, int Offset)>[] uses = [.. drafts.Select(of => (of.Parsed?.References ?? [])
            .Where(reference => reference.Root == root && indexes.ContainsKey(reference.Name))
            .Select(reference => (indexes[reference.Name], of.Places[reference.Offset]))
            .DistinctBy(use => use.Item1)
            .ToList())];
        IReadOnlyList<int> order = UseOrder.Of([.. uses.Select(of => of.Select(use => use.Index).ToArray())], out IReadOnlyList<int[]> cycles);
        foreach (int[] cycle in cycles)
        {
            string names = string.Join(" → ", cycle.Append(cycle[0]).Select(index => drafts[index].Id));
            int offset = uses[cycle[0]].First(use => use.Index == cycle[1 % cycle.Length]).Offset;
            draft.Error(offset, cycle.Length == 1 ? $"{drafts[cycle[0]].Id} uses itself" : $"the {what} use each other in a circle: {ModelDraft.Short(names)}");
        }

        return order;
    }

    private sealed record Draft(string Id, string Name, ParsedExpression? Parsed, int[] Places)
    {
        public bool IsOfApi { get; init; }
    }
}
