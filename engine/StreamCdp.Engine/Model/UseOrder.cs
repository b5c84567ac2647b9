namespace StreamCdp.Engine.Model;

/// <summary>Orders things that use each other.</summary>
public static class UseOrder
{
    /// <summary>Computed traits in an order in which each comes after those that it uses by <c>computed.x</c>, else as in the model.</summary>
    /// <remarks>A checked model has no cycle, so all are in it.</remarks>
    public static IReadOnlyList<ComputedDefinition> Of(IReadOnlyList<ComputedDefinition> computed)
    {
        ArgumentNullException.ThrowIfNull(computed);
        Dictionary<string, int> indexes = [];
        for (int i = 0; i < computed.Count; i++)
        {
            indexes.TryAdd(computed[i].Name, i);
        }

        int[][] uses = [.. computed.Select(definition => ExpressionWalk.Nodes(definition.Value)
            .OfType<PathExpression>()
            .Where(path => path.Root == PathRoot.Computed && indexes.ContainsKey(path.Path[0]))
            .Select(path => indexes[path.Path[0]])
            .ToArray())];
        return [.. Of(uses, out _).Select(index => computed[index])];
    }

    /// <summary>Indexes, each after those that it uses, else in their own order; those on a cycle, or using one, at the end.</summary>
    /// <param name="uses">For each index those that it uses.</param>
    /// <param name="cycles">One cycle of each knot, beginning with its lowest index.</param>
    internal static IReadOnlyList<int> Of(IReadOnlyList<int[]> uses, out IReadOnlyList<int[]> cycles)
    {
        int[] open = new int[uses.Count];
        List<int>[] users = new List<int>[uses.Count];
        PriorityQueue<int, int> ready = new();
        for (int i = 0; i < uses.Count; i++)
        {
            foreach (int used in uses[i].Distinct())
            {
                open[i]++;
                (users[used] ??= []).Add(i);
            }

            if (open[i] == 0)
            {
                ready.Enqueue(i, i);
            }
        }

        List<int> order = new(uses.Count);
        while (ready.TryDequeue(out int index, out _))
        {
            order.Add(index);
            foreach (int user in users[index] ?? [])
            {
                if (--open[user] == 0)
                {
                    ready.Enqueue(user, user);
                }
            }
        }

        HashSet<int> left = [.. Enumerable.Range(0, uses.Count).Where(index => open[index] > 0)];
        cycles = Cycles(uses, left);
        order.AddRange(left.Order());
        return order;
    }

    private static List<int[]> Cycles(IReadOnlyList<int[]> uses, HashSet<int> left)
    {
        // Each one left uses one that is left: walking on, the way must come back to itself.
        List<int[]> cycles = [];
        HashSet<int> seen = [];
        foreach (int start in left.Order())
        {
            List<int> way = [];
            Dictionary<int, int> position = [];
            int at = start;
            while (!seen.Contains(at) && position.TryAdd(at, way.Count))
            {
                way.Add(at);
                at = uses[at].First(left.Contains);
            }

            if (!seen.Contains(at))
            {
                List<int> cycle = way[position[at]..];
                int lowest = cycle.IndexOf(cycle.Min());
                cycles.Add([.. cycle[lowest..], .. cycle[..lowest]]);
            }

            seen.UnionWith(way);
        }

        return cycles;
    }
}
