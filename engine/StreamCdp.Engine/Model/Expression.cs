namespace StreamCdp.Engine.Model;

/// <summary>An expression of the model language (DESIGN §5.2), parsed and type-checked. <see cref="object.ToString"/> gives its normal text, which parses to an equal tree.</summary>
public abstract record Expression
{
    /// <summary>What it evaluates to.</summary>
    public abstract ExpressionType Type { get; }
}

/// <summary>Static type of an expression; <see cref="Any"/> where only the data knows (traits, properties).</summary>
public enum ExpressionType
{
    /// <summary>Known only from the data.</summary>
    Any,

    /// <summary>true or false.</summary>
    Boolean,

    /// <summary>A number.</summary>
    Number,

    /// <summary>Text.</summary>
    Text,

    /// <summary>A date literal, or <c>now</c>: an instant.</summary>
    Date,

    /// <summary>A list.</summary>
    List,
}

/// <summary>A literal: null, true, a double, a string.</summary>
/// <param name="Value">null, bool, double or string.</param>
public sealed record LiteralExpression(object? Value) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => Value switch { bool => ExpressionType.Boolean, double => ExpressionType.Number, string => ExpressionType.Text, _ => ExpressionType.Any };

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary>A list of literals: <c>["DE","FR"]</c>.</summary>
public sealed record ListExpression(EquatableList<LiteralExpression> Items) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => ExpressionType.List;

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary><c>now</c>.</summary>
public sealed record NowExpression : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => ExpressionType.Date;

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary>A value read from somewhere: <c>traits.a.b</c>, <c>computed.x</c>, <c>identifiers.email</c>, and inside <c>where:</c> <c>properties.x</c>, <c>context.y</c>, <c>type</c>, <c>event</c>.</summary>
/// <param name="Root">Where from.</param>
/// <param name="Path">Keys below the root; empty for <c>type</c> and <c>event</c>.</param>
public sealed record PathExpression(PathRoot Root, EquatableList<string> Path) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => Root switch { PathRoot.EventType or PathRoot.EventName => ExpressionType.Text, PathRoot.Identifiers => ExpressionType.List, _ => ExpressionType.Any };

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary>First word of a path.</summary>
public enum PathRoot
{
    /// <summary>Traits of the profile.</summary>
    Traits,

    /// <summary>Computed traits.</summary>
    Computed,

    /// <summary>Identifier values of a type, a list.</summary>
    Identifiers,

    /// <summary>Properties of the event (only inside where: and as a function's path).</summary>
    Properties,

    /// <summary>Context of the event.</summary>
    Context,

    /// <summary>The event's type: track, page, …</summary>
    EventType,

    /// <summary>The event's name.</summary>
    EventName,
}

/// <summary><c>and</c>, <c>or</c> of two or more.</summary>
public sealed record LogicExpression(bool IsAnd, EquatableList<Expression> Operands) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => ExpressionType.Boolean;

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary><c>not x</c>.</summary>
public sealed record NotExpression(Expression Operand) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => ExpressionType.Boolean;

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary>A comparison of RULES.md §6.6.</summary>
public sealed record CompareExpression(CompareOperator Operator, Expression Left, Expression Right) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => ExpressionType.Boolean;

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary>Comparison operators.</summary>
public enum CompareOperator
{
    /// <summary>==</summary>
    Equal,

    /// <summary>!=</summary>
    NotEqual,

    /// <summary>&lt;</summary>
    Less,

    /// <summary>&lt;=</summary>
    LessOrEqual,

    /// <summary>&gt;</summary>
    Greater,

    /// <summary>&gt;=</summary>
    GreaterOrEqual,

    /// <summary>in</summary>
    In,

    /// <summary>contains</summary>
    Contains,

    /// <summary>starts_with</summary>
    StartsWith,

    /// <summary>ends_with</summary>
    EndsWith,
}

/// <summary><c>traits.x exists</c>: not null.</summary>
public sealed record ExistsExpression(Expression Operand) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => ExpressionType.Boolean;

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary><c>d within next 7d</c>, <c>d within last 7d</c>.</summary>
/// <param name="Operand">Text in ISO 8601.</param>
/// <param name="IsNext">next: <c>now ≤ d &lt; now + W</c>; last: <c>now − W &lt; d ≤ now</c>.</param>
/// <param name="WindowMs">W, ms.</param>
public sealed record DateWithinExpression(Expression Operand, bool IsNext, long WindowMs) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => ExpressionType.Boolean;

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary>An event function, for example <c>sum("Order Completed", properties.revenue, within: 90d, where: properties.currency == "EUR")</c>.</summary>
/// <param name="Kind">Which.</param>
/// <param name="Events">One name (<c>"*"</c> all, <c>"page:*"</c> all pages, <c>"page:Home"</c>); two or more for a sequence.</param>
/// <param name="ValuePath">The value's path (root Properties or Context), for those that have one.</param>
/// <param name="WindowMs">Window, ms; 0: ever.</param>
/// <param name="Where">Predicate over the event alone, or null.</param>
public sealed record FunctionExpression(EventFunction Kind, EquatableList<string> Events, PathExpression? ValuePath, long WindowMs, Expression? Where) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => Kind switch
    {
        EventFunction.Happened or EventFunction.Sequence => ExpressionType.Boolean,
        EventFunction.First or EventFunction.Last or EventFunction.MostFrequent => ExpressionType.Any,
        _ => ExpressionType.Number,
    };

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary>Event functions (RULES.md §6).</summary>
public enum EventFunction
{
    /// <summary>Number of events.</summary>
    Count,

    /// <summary>Exact sum.</summary>
    Sum,

    /// <summary>Smallest number.</summary>
    Min,

    /// <summary>Largest number.</summary>
    Max,

    /// <summary>Exact sum / count.</summary>
    Avg,

    /// <summary>Value of the event lowest in order.</summary>
    First,

    /// <summary>Value of the event highest in order.</summary>
    Last,

    /// <summary>Some event is in the window.</summary>
    Happened,

    /// <summary>Number of different values.</summary>
    UniqueCount,

    /// <summary>The value that came most often.</summary>
    MostFrequent,

    /// <summary>Events in strictly increasing order.</summary>
    Sequence,
}

/// <summary><c>in_segment("big_spenders")</c>.</summary>
public sealed record InSegmentExpression(string SegmentId) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => ExpressionType.Boolean;

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}

/// <summary>A function over a collection of the profile: <c>count(deals, …)</c>, <c>sum(deals, amount, …)</c>, <c>exists(deals, …)</c>. Its records are the profile's CRM records of now.</summary>
/// <param name="Function">count, sum or exists.</param>
/// <param name="Collection">deals, contacts, leads, companies or activities.</param>
/// <param name="Field">For sum.</param>
/// <param name="Where">Predicate over the record's fields (root Properties), or null; <c>source</c> and <c>id</c> are those of the record.</param>
public sealed record CollectionExpression(string Function, string Collection, EquatableList<string>? Field, Expression? Where) : Expression
{
    /// <inheritdoc/>
    public override ExpressionType Type => Function == "exists" ? ExpressionType.Boolean : ExpressionType.Number;

    /// <inheritdoc/>
    public override string ToString() => ExpressionText.Of(this);
}
