namespace StreamCdp.Engine.Model;

/// <summary>The event functions of a model.</summary>
internal static class ModelFunctions
{
    /// <summary>Normal texts of all event functions in computed traits and segments, each once.</summary>
    public static IEnumerable<string> Of(CdpModel model) =>
        model.Computed.SelectMany(computed => Of(computed.Value)).Concat(model.Segments.SelectMany(segment => Of(segment, model))).Distinct(StringComparer.Ordinal);

    /// <summary>Normal texts of the functions that a segment depends on, also by the computed traits and segments that it uses.</summary>
    public static IEnumerable<string> Of(SegmentDefinition segment, CdpModel model)
    {
        foreach (Expression part in Parts(segment.When))
        {
            switch (part)
            {
                case FunctionExpression function:
                    yield return function.ToString();
                    break;
                case PathExpression { Root: PathRoot.Computed } path when model.Computed.FirstOrDefault(computed => computed.Name == path.Path[0]) is ComputedDefinition computed:
                    foreach (string text in Of(computed.Value))
                    {
                        yield return text;
                    }

                    break;
                case InSegmentExpression used when model.Segments.FirstOrDefault(other => other.Id == used.SegmentId) is SegmentDefinition other:
                    foreach (string text in Of(other, model))
                    {
                        yield return text;
                    }

                    break;
            }
        }
    }

    private static IEnumerable<string> Of(Expression expression) => Parts(expression).OfType<FunctionExpression>().Select(function => function.ToString());

    private static IEnumerable<Expression> Parts(Expression expression)
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
