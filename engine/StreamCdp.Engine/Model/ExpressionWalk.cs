namespace StreamCdp.Engine.Model;

/// <summary>Walks an expression.</summary>
internal static class ExpressionWalk
{
    /// <summary>The expression and all below it, in the order of the text; what is inside <c>where:</c> too.</summary>
    public static IEnumerable<Expression> Nodes(Expression expression)
    {
        yield return expression;
        foreach (Expression child in Children(expression))
        {
            foreach (Expression node in Nodes(child))
            {
                yield return node;
            }
        }
    }

    private static IEnumerable<Expression> Children(Expression expression) => expression switch
    {
        ListExpression list => list.Items,
        LogicExpression logic => logic.Operands,
        NotExpression not => [not.Operand],
        CompareExpression compare => [compare.Left, compare.Right],
        ExistsExpression exists => [exists.Operand],
        DateWithinExpression within => [within.Operand],
        FunctionExpression function => new Expression?[] { function.ValuePath, function.Where }.OfType<Expression>(),
        CollectionExpression { Where: { } where } => [where],
        _ => [],
    };
}
