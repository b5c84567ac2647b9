using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Segments;

/// <summary>Builds expressions by hand.</summary>
internal static class Build
{
    public const long Second = 1000;
    public const long Minute = 60 * Second;
    public const long Hour = 60 * Minute;
    public const long Day = 24 * Hour;

    public static NowExpression Now { get; } = new();

    public static CdpModel Cdp(IEnumerable<(string Name, Expression Value)>? computed = null, IEnumerable<(string Id, Expression When)>? segments = null) => new()
    {
        Text = string.Empty,
        Version = 1,
        Computed = [.. (computed ?? []).Select(one => new ComputedDefinition(one.Name, one.Value))],
        Segments = [.. (segments ?? []).Select(one => new SegmentDefinition(one.Id, one.Id, one.When, 1))],
    };

    public static CdpModel Computed(Expression value) => Cdp(computed: [("x", value)]);

    public static CdpModel Segment(Expression when) => Cdp(segments: [("s", when)]);

    /// <summary>A rule in the model's language.</summary>
    public static Expression Rule(string text)
    {
        ExpressionResult result = ExpressionReader.ReadCondition(text);
        return result.Expression ?? throw new ArgumentException(string.Join('\n', result.Errors), nameof(text));
    }

    public static LiteralExpression Literal(object? value) => new(value is int number ? (double)number : value);

    public static ListExpression List(params object?[] items) => new([.. items.Select(Literal)]);

    public static PathExpression Trait(params string[] path) => new(PathRoot.Traits, [.. path]);

    public static PathExpression Property(params string[] path) => new(PathRoot.Properties, [.. path]);

    public static PathExpression Context(params string[] path) => new(PathRoot.Context, [.. path]);

    public static CompareExpression Compare(Expression left, CompareOperator @operator, Expression right) => new(@operator, left, right);

    public static LogicExpression And(params Expression[] operands) => new(true, [.. operands]);

    public static LogicExpression Or(params Expression[] operands) => new(false, [.. operands]);

    public static FunctionExpression Function(EventFunction kind, string name, string? property = null, long windowMs = 0, Expression? where = null) =>
        new(kind, [name], property is null ? null : Property(property), windowMs, where);
}
