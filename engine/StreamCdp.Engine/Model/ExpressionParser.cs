using System.Runtime.CompilerServices;

namespace StreamCdp.Engine.Model;

/// <summary>A name that an expression uses, with its place: computed.x, in_segment("x"), identifiers.x.</summary>
internal readonly record struct ExpressionReference(PathRoot? Root, string Name, int Offset);

/// <summary>A parsed expression, not yet type-checked.</summary>
/// <param name="Root">The tree.</param>
/// <param name="Offsets">Where each node begins, by reference.</param>
/// <param name="References">Names used, in the order of the text; Root is null for in_segment.</param>
internal sealed record ParsedExpression(Expression Root, IReadOnlyDictionary<Expression, int> Offsets, IReadOnlyList<ExpressionReference> References);

/// <summary>Recursive descent over the grammar of DESIGN §5.2: or, and, not, comparison, operand.</summary>
/// <remarks>
/// The first syntax error ends the reading; errors of place and meaning (properties outside where, a function without its path) are collected.
/// Depth and length are limited (<see cref="ExpressionWords"/>), so that no text overflows the stack.
/// </remarks>
internal sealed class ExpressionParser
{
    private static readonly string[] AfterOperand =
        ["and", "or", "==", "!=", "<", "<=", ">", ">=", "in", "contains", "starts_with", "ends_with", "exists", "within"];

    private readonly List<ExpressionToken> _tokens;
    private readonly List<ExpressionError> _errors;
    private readonly Dictionary<Expression, int> _offsets = new(Identity.Instance);
    private readonly List<ExpressionReference> _references = [];
    private int _next;
    private int _depth;
    private Scope _scope = Scope.Profile;

    private ExpressionParser(List<ExpressionToken> tokens, List<ExpressionError> errors) => (_tokens, _errors) = (tokens, errors);

    private enum Scope
    {
        /// <summary>when: and value:.</summary>
        Profile,

        /// <summary>where: of an event function.</summary>
        Event,

        /// <summary>where: of a collection.</summary>
        Item,
    }

    private ExpressionToken Current => _tokens[_next];

    /// <summary>Parses; adds to <paramref name="errors"/>, and gives null, when the text is no expression.</summary>
    public static ParsedExpression? Parse(string text, List<ExpressionError> errors)
    {
        if (text.Length > ExpressionWords.MaxLength)
        {
            errors.Add(new ExpressionError(0, $"the expression has {text.Length} characters; allowed are {ExpressionWords.MaxLength}"));
            return null;
        }

        if (ExpressionLexer.Read(text, out ExpressionError error) is not { } tokens)
        {
            errors.Add(error);
            return null;
        }

        ExpressionParser parser = new(tokens, errors);
        if (parser.Or() is not { } root)
        {
            return null;
        }

        if (parser.Current.Kind != ExpressionTokenKind.End)
        {
            parser.FailAfterOperand("the end");
            return null;
        }

        return new ParsedExpression(root, parser._offsets, parser._references);
    }

    /// <summary>A path as in <c>from: [traits.email]</c>: root and keys; null, and an error, when it is none.</summary>
    public static string[]? ParseEventPath(string text, List<ExpressionError> errors)
    {
        if (text.Length > ExpressionWords.MaxLength || ExpressionLexer.Read(text, out ExpressionError error) is not { } tokens)
        {
            errors.Add(new ExpressionError(0, $"expected a path such as traits.email, found \"{(text.Length > 40 ? text[..40] + "…" : text)}\""));
            return null;
        }

        ExpressionParser parser = new(tokens, errors);
        ExpressionToken root = parser.Current;
        string[] roots = ["traits", "context", "properties"];
        if (root.Kind != ExpressionTokenKind.Word || !roots.Contains(root.Value))
        {
            errors.Add(new ExpressionError(root.Start, $"expected a path that begins with traits, context or properties, {root.Found}{Suggestion.For(root.Value, roots)}"));
            return null;
        }

        parser._next++;
        if (parser.Keys(root) is not { } keys)
        {
            return null;
        }

        if (parser.Current.Kind != ExpressionTokenKind.End)
        {
            errors.Add(new ExpressionError(parser.Current.Start, $"expected the end of the path, {parser.Current.Found}"));
            return null;
        }

        return [root.Value, .. keys];
    }

    private Expression? Or() => Chain(isAnd: false);

    private Expression? Chain(bool isAnd)
    {
        int start = Current.Start;
        if ((isAnd ? Not() : Chain(isAnd: true)) is not { } first)
        {
            return null;
        }

        string word = isAnd ? "and" : "or";
        if (!Current.Is(word))
        {
            return first;
        }

        List<Expression> operands = [first];
        while (Current.Is(word))
        {
            _next++;
            if ((isAnd ? Not() : Chain(isAnd: true)) is not { } operand)
            {
                return null;
            }

            operands.Add(operand);
        }

        return At(start, new LogicExpression(isAnd, new EquatableList<Expression>([.. operands])));
    }

    private Expression? Not()
    {
        if (!Current.Is("not"))
        {
            return Comparison();
        }

        int start = Current.Start;
        if (!Enter())
        {
            return null;
        }

        _next++;
        Expression? operand = Not();
        _depth--;
        return operand is null ? null : At(start, new NotExpression(operand));
    }

    private Expression? Comparison()
    {
        int start = Current.Start;
        if (Operand() is not { } left)
        {
            return null;
        }

        Expression? result = left;
        if (Current.Is("exists"))
        {
            _next++;
            result = At(start, new ExistsExpression(left));
        }
        else if (Current.Is("within"))
        {
            result = DateWithin(start, left);
        }
        else if (Current.Kind is ExpressionTokenKind.Word or ExpressionTokenKind.Symbol && ExpressionWords.Operators.TryGetValue(Current.Value, out CompareOperator compare))
        {
            _next++;
            if (Operand() is not { } right)
            {
                return null;
            }

            result = At(start, new CompareExpression(compare, left, right));
        }

        if (result is not null && !ReferenceEquals(result, left) && IsOperator(Current))
        {
            return Fail(Current.Start, $"comparisons cannot be chained at \"{Current.Value}\"; join them by and, or use brackets");
        }

        return result;
    }

    private static bool IsOperator(ExpressionToken token) =>
        token.Kind is ExpressionTokenKind.Word or ExpressionTokenKind.Symbol && (token.Value is "exists" or "within" || ExpressionWords.Operators.ContainsKey(token.Value));

    private Expression? DateWithin(int start, Expression operand)
    {
        int at = Current.Start;
        _next++;
        bool isNext = Current.Is("next");
        if (!isNext && !Current.Is("last"))
        {
            return Fail(Current.Start, $"expected next or last after within, {Current.Found}{Suggest(["next", "last"])}");
        }

        _next++;
        if (Duration() is not { } windowMs)
        {
            return null;
        }

        if (_scope == Scope.Event)
        {
            Report(at, "where: sees only the event itself, not the time; use within: of the function");
        }

        return At(start, new DateWithinExpression(operand, isNext, windowMs));
    }

    private long? Duration()
    {
        if (Current.Kind == ExpressionTokenKind.Duration)
        {
            return (long)_tokens[_next++].Number;
        }

        Fail(Current.Start, $"expected a duration such as 30d, {Current.Found}");
        return null;
    }

    private Expression? Operand()
    {
        ExpressionToken token = Current;
        switch (token.Kind)
        {
            case ExpressionTokenKind.Text or ExpressionTokenKind.Number:
                return Literal();
            case ExpressionTokenKind.Duration:
                return Fail(token.Start, $"a duration such as {token.Value} stands only after within");
            case ExpressionTokenKind.Word:
                return Word();
            case ExpressionTokenKind.Symbol when token.Value == "[":
                return List();
            case ExpressionTokenKind.Symbol when token.Value == "(":
                if (!Enter())
                {
                    return null;
                }

                _next++;
                Expression? inner = Or();
                _depth--;
                if (inner is null)
                {
                    return null;
                }

                if (!Current.Is(")"))
                {
                    return FailAfterOperand($"the bracket that closes column {token.Start + 1}");
                }

                _next++;
                return inner;
            default:
                return Fail(token.Start, $"expected a value, a path or a function, {token.Found}");
        }
    }

    private LiteralExpression? Literal()
    {
        ExpressionToken token = Current;
        object? value;
        switch (token.Kind)
        {
            case ExpressionTokenKind.Text:
                value = token.Value;
                break;
            case ExpressionTokenKind.Number:
                value = token.Number;
                break;
            case ExpressionTokenKind.Word when token.Value is "true" or "false":
                value = token.Value == "true";
                break;
            case ExpressionTokenKind.Word when token.Value == "null":
                value = null;
                break;
            default:
                Fail(token.Start, $"expected text in quotes, a number, true, false or null, {token.Found}{Suggest(["true", "false", "null"])}");
                return null;
        }

        _next++;
        return At(token.Start, new LiteralExpression(value));
    }

    private ListExpression? List()
    {
        int start = Current.Start;
        _next++;
        List<LiteralExpression> items = [];
        while (!Current.Is("]"))
        {
            if (items.Count > 0)
            {
                if (!Current.Is(","))
                {
                    Fail(Current.Start, $"expected , or ] in the list, {Current.Found}");
                    return null;
                }

                _next++;
            }

            if (Literal() is not { } item)
            {
                return null;
            }

            items.Add(item);
        }

        _next++;
        return At(start, new ListExpression(new EquatableList<LiteralExpression>([.. items])));
    }

    private Expression? Word()
    {
        ExpressionToken token = Current;
        if (token.Value is "true" or "false" or "null")
        {
            return Literal();
        }

        if (_tokens[_next + 1].Is("("))
        {
            return Call(token);
        }

        if (token.Value == "now")
        {
            _next++;
            if (_scope == Scope.Event)
            {
                Report(token.Start, "where: sees only the event itself, not now; use within: of the function");
            }

            return At(token.Start, new NowExpression());
        }

        if (_scope == Scope.Item && !ExpressionWords.Reserved.Contains(token.Value))
        {
            return Field(token);
        }

        if (ExpressionWords.Roots.TryGetValue(token.Value, out PathRoot root))
        {
            return Path(token, root);
        }

        if (ExpressionWords.Functions.ContainsKey(token.Value) || token.Value == "in_segment")
        {
            _next++;
            return Fail(Current.Start, $"expected ( after {token.Value}, {Current.Found}");
        }

        string suggestion = Suggestion.For(token.Value, [.. ExpressionWords.Roots.Keys, .. ExpressionWords.Functions.Keys, "in_segment", "exists", "not", "now", "true", "false", "null"]);
        return Fail(token.Start, $"expected a value, a path or a function, {token.Found}{(suggestion.Length > 0 ? suggestion : "; text stands in quotes, a trait is written traits.x")}");
    }

    private PathExpression? Path(ExpressionToken token, PathRoot root)
    {
        _next++;
        if (root is PathRoot.EventType or PathRoot.EventName)
        {
            if (_scope != Scope.Event)
            {
                Report(token.Start, $"{token.Value} is known only inside where: of an event function");
            }

            return At(token.Start, new PathExpression(root, []));
        }

        int keyAt = Current.Start;
        if (Keys(token) is not { } keys)
        {
            return null;
        }

        ReportScope(token, root);
        if (root is PathRoot.Computed or PathRoot.Identifiers)
        {
            if (keys.Length > 1)
            {
                Report(token.Start, $"{token.Value} takes one name, such as {token.Value}.{(root == PathRoot.Computed ? "orders" : "email")}; there is nothing below it");
            }

            _references.Add(new ExpressionReference(root, keys[0], keyAt));
        }

        return At(token.Start, new PathExpression(root, new EquatableList<string>(keys)));
    }

    private void ReportScope(ExpressionToken token, PathRoot root)
    {
        bool ofEvent = root is PathRoot.Properties or PathRoot.Context;
        if (_scope == Scope.Profile && ofEvent)
        {
            Report(token.Start, $"{token.Value} belongs to an event: it is known only inside where: and as the path of a function such as sum(\"Order Completed\", {token.Value}.x)");
        }
        else if (_scope == Scope.Event && !ofEvent)
        {
            Report(token.Start, $"where: sees only properties, context, type and event of the event itself, not {token.Value}");
        }
        else if (_scope == Scope.Item && root != PathRoot.Properties)
        {
            Report(token.Start, $"a condition on a collection sees only the fields of its items, not {token.Value}");
        }
    }

    private PathExpression? Field(ExpressionToken token)
    {
        _next++;
        return FieldKeys(token) is { } keys ? At(token.Start, new PathExpression(PathRoot.Properties, new EquatableList<string>(keys))) : null;
    }

    private string[]? FieldKeys(ExpressionToken first)
    {
        List<string> keys = [first.Value];
        return MoreKeys(keys) ? [.. keys] : null;
    }

    /// <summary>One or more of <c>.key</c> and <c>["key"]</c>.</summary>
    private string[]? Keys(ExpressionToken root)
    {
        List<string> keys = [];
        if (!MoreKeys(keys))
        {
            return null;
        }

        if (keys.Count == 0)
        {
            Fail(root.Start, $"expected a name after {root.Value}, such as {root.Value}.email");
            return null;
        }

        return [.. keys];
    }

    private bool MoreKeys(List<string> keys)
    {
        while (true)
        {
            if (Current.Kind == ExpressionTokenKind.Key)
            {
                keys.Add(_tokens[_next++].Value);
            }
            else if (Current.Is("["))
            {
                _next++;
                if (Current.Kind != ExpressionTokenKind.Text)
                {
                    Fail(Current.Start, $"expected a name in quotes, such as [\"first name\"], {Current.Found}");
                    return false;
                }

                keys.Add(_tokens[_next++].Value);
                if (!Current.Is("]"))
                {
                    Fail(Current.Start, $"expected ], {Current.Found}");
                    return false;
                }

                _next++;
            }
            else
            {
                return true;
            }
        }
    }

    private Expression? Call(ExpressionToken name)
    {
        _next += 2;
        bool isFunction = ExpressionWords.Functions.TryGetValue(name.Value, out EventFunction function);
        if (!isFunction && name.Value is not ("in_segment" or "exists"))
        {
            return Fail(name.Start, $"there is no function {name.Value}{Suggestion.For(name.Value, [.. ExpressionWords.Functions.Keys, "in_segment", "exists"])}");
        }

        if (_scope != Scope.Profile)
        {
            Report(name.Start, _scope == Scope.Event
                ? $"where: sees only the event itself, not {name.Value}(…)"
                : $"a condition on a collection sees only the fields of its items, not {name.Value}(…)");
        }

        if (!Enter())
        {
            return null;
        }

        Expression? call = name.Value == "in_segment" ? InSegment(name)
            : Current.Kind == ExpressionTokenKind.Word && name.Value is "count" or "sum" or "exists" ? Collection(name)
            : isFunction ? Function(name, function)
            : Fail(Current.Start, $"expected {ExpressionWords.CollectionList}, {Current.Found}; of a path it is written traits.x exists");
        _depth--;
        return call;
    }

    private InSegmentExpression? InSegment(ExpressionToken name)
    {
        ExpressionToken id = Current;
        if (id.Kind != ExpressionTokenKind.Text)
        {
            Fail(id.Start, $"expected a segment's id in quotes, {id.Found}");
            return null;
        }

        _next++;
        if (!Close(name))
        {
            return null;
        }

        _references.Add(new ExpressionReference(null, id.Value, id.Start));
        return At(name.Start, new InSegmentExpression(id.Value));
    }

    private CollectionExpression? Collection(ExpressionToken name)
    {
        ExpressionToken collection = Current;
        if (!ExpressionWords.Collections.Contains(collection.Value))
        {
            string orEvent = name.Value == "exists" ? "" : "an event's name in quotes, ";
            Fail(collection.Start, $"expected {orEvent}{ExpressionWords.CollectionList}, {collection.Found}{Suggest(ExpressionWords.Collections)}");
            return null;
        }

        _next++;
        EquatableList<string>? field = null;
        if (name.Value == "sum" && !IsWindow())
        {
            if (!Current.Is(",") || _tokens[_next + 1].Kind != ExpressionTokenKind.Word || _tokens[_next + 2].Is(":"))
            {
                Fail(Current.Start, $"expected a field to sum, such as sum({collection.Value}, amount), {Current.Found}");
                return null;
            }

            _next++;
            if (FieldPath() is not { } keys)
            {
                return null;
            }

            field = new EquatableList<string>(keys);
        }

        Expression? where = null;
        while (Current.Is(","))
        {
            if (IsWindow())
            {
                Fail(_tokens[_next + 1].Start, $"{name.Value}({collection.Value}, …) takes no within:, because {collection.Value} are those of now; a date is part of the condition, such as created within last 30d");
                return null;
            }

            _next++;
            if (where is not null)
            {
                Fail(Current.Start, $"{name.Value}({collection.Value}, …) takes one condition; join several by and");
                return null;
            }

            if (Current.Is("where") && _tokens[_next + 1].Is(":"))
            {
                _next += 2;
            }

            where = Where(Scope.Item);
            if (where is null)
            {
                return null;
            }
        }

        return Close(name) ? At(name.Start, new CollectionExpression(name.Value, collection.Value, field, where)) : null;
    }

    /// <summary>Next comes <c>, within:</c>.</summary>
    private bool IsWindow() => Current.Is(",") && _tokens[_next + 1].Is("within") && _tokens[_next + 2].Is(":");

    private string[]? FieldPath()
    {
        ExpressionToken token = Current;
        if (token.Value == "properties")
        {
            _next++;
            return Keys(token);
        }

        if (ExpressionWords.Reserved.Contains(token.Value))
        {
            Fail(token.Start, $"expected a field's name, {token.Found}; a field of this name is written properties.{token.Value}");
            return null;
        }

        _next++;
        return FieldKeys(token);
    }

    private FunctionExpression? Function(ExpressionToken name, EventFunction function)
    {
        if (Current.Kind != ExpressionTokenKind.Text)
        {
            Fail(Current.Start, $"expected the event's name in quotes, such as {name.Value}(\"Order Completed\"), {Current.Found}");
            return null;
        }

        List<string> events = [];
        AddEvent(events);
        Arguments given = default;
        while (Current.Is(","))
        {
            _next++;
            if (!Argument(name, function, events, ref given))
            {
                return null;
            }
        }

        if (!Close(name))
        {
            return null;
        }

        if (ExpressionWords.HasPath(function) && given.Path is null && !given.PathRefused)
        {
            Report(name.Start, $"{name.Value} needs a path, such as {name.Value}(\"Order Completed\", properties.revenue)");
        }

        if (function == EventFunction.Sequence && events.Count < 2)
        {
            Report(name.Start, "sequence needs two events or more");
        }

        if (events.Count > ExpressionWords.MaxSteps)
        {
            Report(name.Start, $"sequence takes {ExpressionWords.MaxSteps} events at most, found {events.Count}");
        }

        return At(name.Start, new FunctionExpression(function, new EquatableList<string>([.. events]), given.Path, given.WindowMs, given.Where));
    }

    private void AddEvent(List<string> events)
    {
        ExpressionToken token = _tokens[_next++];
        if (token.Value.Length == 0)
        {
            Report(token.Start, "an event's name is not empty; \"*\" means every event");
        }

        events.Add(token.Value);
    }

    private bool Argument(ExpressionToken name, EventFunction function, List<string> events, ref Arguments given)
    {
        ExpressionToken token = Current;
        if (token.Kind == ExpressionTokenKind.Word && _tokens[_next + 1].Is(":"))
        {
            return Labelled(name, token, ref given);
        }

        bool labelled = given.WindowMs > 0 || given.Where is not null;
        if (token.Kind == ExpressionTokenKind.Text)
        {
            if (function != EventFunction.Sequence)
            {
                Fail(token.Start, $"{name.Value} takes one event, {token.Found}");
                return false;
            }

            if (labelled)
            {
                Fail(token.Start, $"the events of sequence come before within: and where:, {token.Found}");
                return false;
            }

            AddEvent(events);
            return true;
        }

        if (token.Kind == ExpressionTokenKind.Duration)
        {
            Fail(token.Start, $"expected within: before the duration, {token.Found}");
            return false;
        }

        if (token.Kind != ExpressionTokenKind.Word || !ExpressionWords.Roots.TryGetValue(token.Value, out PathRoot root))
        {
            string expected = ExpressionWords.HasPath(function) && given.Path is null ? "a path such as properties.revenue, within: or where:" : "within: or where:";
            Fail(token.Start, $"expected {expected}, {token.Found}{Suggest(["properties", "context", "within", "where"])}");
            return false;
        }

        return ValuePath(name, token, root, function, labelled, ref given);
    }

    private bool ValuePath(ExpressionToken name, ExpressionToken token, PathRoot root, EventFunction function, bool labelled, ref Arguments given)
    {
        _next++;
        string[]? keys = root is PathRoot.EventType or PathRoot.EventName ? [] : Keys(token);
        if (keys is null)
        {
            return false;
        }

        string? refused = !ExpressionWords.HasPath(function) ? $"{name.Value} takes no path; a condition on the event is written where: {token.Value}…"
            : root is not (PathRoot.Properties or PathRoot.Context) ? $"the path of {name.Value} begins with properties or context, {token.Found}"
            : given.Path is not null ? $"{name.Value} takes one path"
            : labelled ? $"the path of {name.Value} comes before within: and where:"
            : null;
        if (refused is not null)
        {
            Report(token.Start, refused);
            given.PathRefused = true;
            return true;
        }

        given.Path = At(token.Start, new PathExpression(root, new EquatableList<string>(keys)));
        return true;
    }

    private bool Labelled(ExpressionToken name, ExpressionToken label, ref Arguments given)
    {
        bool isWithin = label.Value == "within";
        if (!isWithin && label.Value != "where")
        {
            Fail(label.Start, $"expected within: or where:, {label.Found}{Suggest(["within", "where"])}");
            return false;
        }

        if (isWithin ? given.WindowMs > 0 : given.Where is not null)
        {
            Fail(label.Start, $"{label.Value}: is given twice in {name.Value}");
            return false;
        }

        _next += 2;
        if (isWithin)
        {
            if (Duration() is not { } windowMs)
            {
                return false;
            }

            given.WindowMs = windowMs;
            return true;
        }

        given.Where = Where(Scope.Event);
        return given.Where is not null;
    }

    private Expression? Where(Scope scope)
    {
        Scope outer = _scope;
        _scope = scope;
        Expression? where = Or();
        _scope = outer;
        return where;
    }

    private bool Close(ExpressionToken name)
    {
        if (Current.Is(")"))
        {
            _next++;
            return true;
        }

        if (Current.Kind is ExpressionTokenKind.Word && !Suggest([.. AfterOperand]).Equals("", StringComparison.Ordinal))
        {
            FailAfterOperand($") of {name.Value}(");
            return false;
        }

        Fail(Current.Start, $"expected , or ) of {name.Value}(, {Current.Found}");
        return false;
    }

    private Expression? FailAfterOperand(string orElse) =>
        Fail(Current.Start, $"expected an operator or {orElse}, {Current.Found}{Suggest([.. AfterOperand])}");

    private string Suggest(string[] known) => Current.Kind == ExpressionTokenKind.Word ? Suggestion.For(Current.Value, known) : "";

    private bool Enter()
    {
        if (++_depth <= ExpressionWords.MaxDepth)
        {
            return true;
        }

        Fail(Current.Start, $"the expression is nested deeper than {ExpressionWords.MaxDepth}");
        return false;
    }

    private Expression? Fail(int offset, string message)
    {
        Report(offset, message);
        return null;
    }

    private void Report(int offset, string message) => _errors.Add(new ExpressionError(offset, message));

    private T At<T>(int offset, T expression)
        where T : Expression
    {
        _offsets[expression] = offset;
        return expression;
    }

    private struct Arguments
    {
        public PathExpression? Path;
        public bool PathRefused;
        public long WindowMs;
        public Expression? Where;
    }

    /// <summary>Records compare by value; here two nodes with the same text are two nodes.</summary>
    private sealed class Identity : IEqualityComparer<Expression>
    {
        public static readonly Identity Instance = new();

        public bool Equals(Expression? x, Expression? y) => ReferenceEquals(x, y);

        public int GetHashCode(Expression obj) => RuntimeHelpers.GetHashCode(obj);
    }
}
