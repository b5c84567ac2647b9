namespace StreamCdp.Engine.Model;

/// <summary>The event functions of a model. Functions of collections are none: they look at records that are in the profile, and so need no backfill.</summary>
internal static class ModelFunctions
{
    /// <summary>Normal texts of all event functions in computed traits and segments, each once.</summary>
    public static IEnumerable<string> Of(CdpModel model) =>
        model.Computed.Select(computed => computed.Value).Concat(model.Segments.Select(segment => segment.When))
            .SelectMany(expression => Parts(expression).OfType<FunctionExpression>()).Select(function => function.ToString()).Distinct(StringComparer.Ordinal);

    /// <summary>The functions that a rule or a computed value depends on, also by the computed traits and segments that it uses.</summary>
    public static IEnumerable<FunctionExpression> Of(Expression expression, CdpModel model)
    {
        foreach (Expression part in Parts(expression))
        {
            Expression? used = part switch
            {
                PathExpression { Root: PathRoot.Computed } path => model.Computed.FirstOrDefault(computed => computed.Name == path.Path[0])?.Value,
                InSegmentExpression segment => model.Segments.FirstOrDefault(other => other.Id == segment.SegmentId)?.When,
                _ => null,
            };
            if (part is FunctionExpression function)
            {
                yield return function;
            }
            else if (used is not null)
            {
                foreach (FunctionExpression further in Of(used, model))
                {
                    yield return further;
                }
            }
        }
    }

    /// <summary>A function that began to count at an instant lacks nothing any more: all that it did not see is out of its window.</summary>
    /// <param name="function">Without a window it never is complete.</param>
    /// <param name="sinceMs">It saw no event at or before this one, Unix ms.</param>
    /// <param name="nowMs">Now of the shard, Unix ms.</param>
    public static bool IsComplete(FunctionExpression function, long sinceMs, long nowMs)
    {
        if (function.WindowMs == 0)
        {
            return false;
        }

        if (function.Kind is EventFunction.Happened or EventFunction.Sequence)
        {
            return sinceMs <= nowMs - function.WindowMs;
        }

        // Buckets: an event counts a little longer than the window (RULES.md §6.3).
        long width = ModelReport.BucketWidthMs(function.WindowMs);
        return Bucket(nowMs) - Bucket(sinceMs) >= (function.WindowMs + width - 1) / width;

        long Bucket(long ms) => (long)Math.Floor((decimal)ms / width);
    }

    /// <summary>The expression and all below it, but not what is inside functions and collections: they see events and records alone.</summary>
    internal static IEnumerable<Expression> Parts(Expression expression)
    {
        yield return expression;
        IEnumerable<Expression> children = expression switch
        {
            LogicExpression logic => logic.Operands,
            NotExpression not => [not.Operand],
            CompareExpression compare => [compare.Left, compare.Right],
            ExistsExpression exists => [exists.Operand],
            DateWithinExpression date => [date.Operand],
            _ => [],
        };
        foreach (Expression part in children.SelectMany(Parts))
        {
            yield return part;
        }
    }
}
