namespace StreamCdp.Engine.Model;

/// <summary>The normal text of an expression.</summary>
internal static class ExpressionText
{
    /// <summary>Parses to an equal tree.</summary>
    public static string Of(Expression expression) => throw new NotSupportedException(expression.GetType().Name);
}
