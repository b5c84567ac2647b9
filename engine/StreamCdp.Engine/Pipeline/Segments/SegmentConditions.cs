namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>The conditions of all segments: each is a list of parts that must all hold, or not hold.</summary>
/// <remarks>
/// Most rules of marketing people are conditions joined by <c>and</c>. As numbers, one behind the other, they are found without a walk through nodes that are spread over memory, and what is true of a leaf is found
/// out once in an evaluation, however many segments use it: a third less time in <see cref="SegmentEngine.EvaluateChanged"/> with a thousand segments (<c>perf</c>, issue 6). What is not of that form is a part as a whole.
/// </remarks>
internal sealed class SegmentConditions
{
    private readonly Node[] _parts;
    private readonly IndexLists _ofSegment;
    private readonly long[] _known;

    /// <param name="segments">Compiled.</param>
    /// <param name="leaves">Conditions that functions alone decide: the first parts.</param>
    public SegmentConditions(IReadOnlyList<Node> segments, IReadOnlyList<SegmentLeaf> leaves)
    {
        List<Node> parts = [.. leaves.Select(leaf => leaf.Node)];
        var partOf = new Dictionary<Node, int>(ReferenceEqualityComparer.Instance);
        for (int leaf = 0; leaf < parts.Count; leaf++)
        {
            partOf.TryAdd(parts[leaf], leaf); // A computed trait and the function that it is are two leaves of one node.
        }

        _ofSegment = new IndexLists([.. segments.Select(segment => Split(segment).Select(part => (PartOf(part.Node) << 1) | (part.IsNot ? 1 : 0)).Distinct().ToArray())]);
        _parts = [.. parts];
        _known = new long[leaves.Count];

        int PartOf(Node node)
        {
            if (!partOf.TryGetValue(node, out int part))
            {
                partOf.Add(node, part = parts.Count);
                parts.Add(node);
            }

            return part;
        }

        IEnumerable<(Node Node, bool IsNot)> Split(Node node) => node switch
        {
            _ when partOf.ContainsKey(node) => [(node, false)],
            LogicNode { IsAnd: true } and => and.Operands.SelectMany(Split),
            NotNode { Operand: var operand } when partOf.ContainsKey(operand) || operand is not (LogicNode or NotNode) => [(operand, true)],
            _ => [(node, false)],
        };
    }

    /// <summary>Whether a segment's condition is true.</summary>
    public bool Test(int segment, scoped ref EvaluationContext context)
    {
        ReadOnlySpan<int> parts = _ofSegment[segment];
        foreach (int part in parts)
        {
            int leaf = part >> 1;
            if (leaf < _known.Length && _known[leaf] == Known(context.Stamp, (part & 1) != 0))
            {
                return false; // Known already: the others need not be looked at.
            }
        }

        foreach (int part in parts)
        {
            if (Holds(part >> 1, ref context) == ((part & 1) != 0))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Whether a part is true; of a leaf it is found out once in an evaluation.</summary>
    public bool Holds(int part, scoped ref EvaluationContext context)
    {
        if (part >= _known.Length)
        {
            return _parts[part].Test(ref context); // The membership that it asks for may change meanwhile.
        }

        long known = _known[part];
        if (known >> 1 == context.Stamp)
        {
            return (known & 1) != 0;
        }

        bool holds = _parts[part].Test(ref context);
        _known[part] = Known(context.Stamp, holds);
        return holds;
    }

    private static long Known(long stamp, bool holds) => (stamp << 1) | (holds ? 1L : 0L);
}

/// <summary>Lists of indexes in one array.</summary>
internal readonly struct IndexLists
{
    private readonly int[] _starts;
    private readonly int[] _items;

    public IndexLists(IReadOnlyList<int[]> lists)
    {
        _items = [.. lists.SelectMany(list => list)];
        _starts = new int[lists.Count + 1];
        for (int i = 0; i < lists.Count; i++)
        {
            _starts[i + 1] = _starts[i] + lists[i].Length;
        }
    }

    /// <summary>One of them.</summary>
    public ReadOnlySpan<int> this[int list] => _items.AsSpan(_starts[list], _starts[list + 1] - _starts[list]);
}
