using System.Globalization;

namespace StreamCdp.Engine.Model;

/// <summary>Checks the types of a parsed expression, so that a comparison that can never be true is refused when the model is read.</summary>
internal sealed class ExpressionChecker
{
    private readonly ParsedExpression _parsed;
    private readonly Func<string, ExpressionType> _computedType;
    private readonly List<ExpressionError> _errors;
    private bool _inItem;

    private ExpressionChecker(ParsedExpression parsed, Func<string, ExpressionType> computedType, List<ExpressionError> errors) =>
        (_parsed, _computedType, _errors) = (parsed, computedType, errors);

    /// <summary>Checks a segment's <c>when</c>: it must be true or false.</summary>
    public static void CheckCondition(ParsedExpression parsed, Func<string, ExpressionType> computedType, List<ExpressionError> errors) =>
        new ExpressionChecker(parsed, computedType, errors).Condition(parsed.Root, "when");

    /// <summary>Checks a computed trait's <c>value</c> and gives its type.</summary>
    public static ExpressionType CheckValue(ParsedExpression parsed, Func<string, ExpressionType> computedType, List<ExpressionError> errors)
    {
        ExpressionChecker checker = new(parsed, computedType, errors);
        ExpressionType type = checker.Check(parsed.Root);
        if (parsed.Root is ListExpression or NowExpression)
        {
            checker.Report(parsed.Root, $"a computed trait is a function, a path or a condition, not {checker.Name(parsed.Root, type)}");
        }

        return type;
    }

    private static bool IsDate(Expression expression) =>
        expression is LiteralExpression { Value: string text } && DateText.IsDate(text);

    private string Name(Expression expression, ExpressionType type) => expression switch
    {
        LiteralExpression { Value: string value } => $"the text {Short(ExpressionText.Quoted(value))}",
        LiteralExpression { Value: double value } => $"the number {value.ToString("R", CultureInfo.InvariantCulture)}",
        LiteralExpression literal => literal.ToString(),
        NowExpression => "now",
        ListExpression => "a list",
        PathExpression { Root: PathRoot.Identifiers } path => $"the list {Short(Text(path))}",
        FunctionExpression function => $"{ExpressionWords.Of(function.Kind)}(…) ({Article(type)})",
        CollectionExpression collection => $"{collection.Function}({collection.Collection}, …) ({Article(type)})",
        InSegmentExpression => "in_segment(…) (true or false)",
        PathExpression path when type != ExpressionType.Any => $"{Short(Text(path))} ({Article(type)})",
        PathExpression path => Short(Text(path)),
        _ => Article(type),
    };

    private string Text(Expression expression) => _inItem ? ExpressionText.OfItem(expression) : ExpressionText.Of(expression);

    private static string Article(ExpressionType type) => type switch
    {
        ExpressionType.Boolean => "true or false",
        ExpressionType.Number => "a number",
        ExpressionType.Text => "text",
        ExpressionType.Date => "a date",
        ExpressionType.List => "a list",
        _ => "a value",
    };

    private static string Short(string text) => text.Length <= 60 ? text : $"{text.AsSpan(0, 59)}…";

    private void Condition(Expression expression, string place)
    {
        ExpressionType type = Check(expression);
        if (type == ExpressionType.Boolean)
        {
            return;
        }

        string advice = type is ExpressionType.Any && expression is PathExpression ? $"; compare it, such as {Short(Text(expression))} == true"
            : type is ExpressionType.Number && expression is not LiteralExpression ? "; compare it, such as … > 0"
            : expression is FunctionExpression ? "; compare it, such as … == \"x\""
            : "";
        Report(expression, $"{place} must be a condition, found {Name(expression, type)}{advice}");
    }

    private ExpressionType Check(Expression expression)
    {
        switch (expression)
        {
            case PathExpression { Root: PathRoot.Computed } path:
                return _computedType(path.Path[0]);
            case PathExpression { Root: PathRoot.Properties, Path: [ExpressionWords.RecordSource or ExpressionWords.RecordId] } when _inItem:
                return ExpressionType.Text;
            case LogicExpression logic:
                foreach (Expression operand in logic.Operands)
                {
                    Condition(operand, $"each side of {(logic.IsAnd ? "and" : "or")}");
                }

                break;
            case NotExpression not:
                Condition(not.Operand, "what follows not");
                break;
            case ExistsExpression exists:
                ExpressionType existing = Check(exists.Operand);
                if (exists.Operand is not (PathExpression or FunctionExpression { Kind: not (EventFunction.Happened or EventFunction.Sequence) }))
                {
                    Report(exists.Operand, $"exists follows a path such as traits.email, not {Name(exists.Operand, existing)}");
                }

                break;
            case DateWithinExpression within:
                CheckDate(within);
                break;
            case FunctionExpression { Where: { } where }:
                Condition(where, "where:");
                break;
            case CollectionExpression { Where: { } where }:
                _inItem = true;
                Condition(where, "the condition of a collection");
                _inItem = false;
                break;
            case CompareExpression compare:
                CheckCompare(compare);
                break;
        }

        return expression.Type;
    }

    private void CheckDate(DateWithinExpression within)
    {
        ExpressionType type = Check(within.Operand);
        if (type is ExpressionType.Number or ExpressionType.Boolean or ExpressionType.List || (within.Operand is LiteralExpression { Value: string } && !IsDate(within.Operand)))
        {
            Report(within.Operand, $"within next and within last need a date such as traits.renewal, not {Name(within.Operand, type)}");
        }
    }

    private void CheckCompare(CompareExpression compare)
    {
        ExpressionType left = Check(compare.Left);
        ExpressionType right = Check(compare.Right);
        switch (compare.Operator)
        {
            case CompareOperator.Equal or CompareOperator.NotEqual:
                if (!RefuseLists(compare, left, right))
                {
                    RequireLike(compare, left, right);
                }

                break;
            case CompareOperator.Less or CompareOperator.LessOrEqual or CompareOperator.Greater or CompareOperator.GreaterOrEqual:
                if (!RefuseLists(compare, left, right) && !RefuseOrder(compare, compare.Left, left) && !RefuseOrder(compare, compare.Right, right))
                {
                    RequireLike(compare, left, right);
                }

                break;
            case CompareOperator.In:
                CheckIn(compare, left, right);
                break;
            case CompareOperator.Contains:
                CheckContains(compare, left, right);
                break;
            default:
                RequireText(compare, compare.Left, left);
                RequireText(compare, compare.Right, right);
                break;
        }
    }

    private bool RefuseLists(CompareExpression compare, ExpressionType left, ExpressionType right)
    {
        // identifiers.x == null is the one comparison of a list that means something (RULES.md §6.6).
        bool withNull = compare.Operator is CompareOperator.Equal or CompareOperator.NotEqual
            && (compare.Left is LiteralExpression { Value: null } || compare.Right is LiteralExpression { Value: null });
        (Expression side, bool isList) = right == ExpressionType.List ? (compare.Right, true) : (compare.Left, left == ExpressionType.List);
        if (!isList || (withNull && side is PathExpression))
        {
            return false;
        }

        string advice = side is PathExpression ? $"{Short(Text(side))} contains \"x\"" : "traits.x in […]";
        Report(side, $"{ExpressionWords.Of(compare.Operator)} does not compare lists; use {advice}");
        return true;
    }

    private bool RefuseOrder(CompareExpression compare, Expression side, ExpressionType type)
    {
        if (type != ExpressionType.Boolean)
        {
            return false;
        }

        Report(side, $"{ExpressionWords.Of(compare.Operator)} compares numbers, text or dates, not {Name(side, type)}");
        return true;
    }

    private void RequireLike(CompareExpression compare, ExpressionType left, ExpressionType right)
    {
        if (left == ExpressionType.Any || right == ExpressionType.Any || left == right
            || (left == ExpressionType.Date && IsDate(compare.Right)) || (right == ExpressionType.Date && IsDate(compare.Left))
            || (left == ExpressionType.Date && right == ExpressionType.Text && compare.Right is not LiteralExpression)
            || (right == ExpressionType.Date && left == ExpressionType.Text && compare.Left is not LiteralExpression))
        {
            return;
        }

        bool never = compare.Operator != CompareOperator.NotEqual;
        string advice = (left == ExpressionType.Number && compare.Right is LiteralExpression { Value: string number } && IsNumber(number)) ? $"; did you mean {number.Trim()} without quotes?"
            : left == ExpressionType.Date || right == ExpressionType.Date ? "; a date is written \"2026-01-31\" or \"2026-01-31T12:00:00Z\""
            : "";
        Report(compare.Right, $"{ExpressionWords.Of(compare.Operator)} of {Name(compare.Left, left)} and {Name(compare.Right, right)} is {(never ? "never" : "always")} true: the types differ{advice}");
    }

    private static bool IsNumber(string text) => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out _);

    private void CheckIn(CompareExpression compare, ExpressionType left, ExpressionType right)
    {
        if (compare.Right is not ListExpression list)
        {
            string advice = compare.Right is PathExpression path ? $"; use {Short(Text(path))} contains …" : "";
            Report(compare.Right, $"in needs a list such as [\"DE\", \"FR\"] on its right, found {Name(compare.Right, right)}{advice}");
            return;
        }

        if (left == ExpressionType.List)
        {
            Report(compare.Left, $"in looks for one value, not for {Name(compare.Left, left)}; use contains");
            return;
        }

        if (left is ExpressionType.Any || list.Items.Count == 0)
        {
            return;
        }

        foreach (LiteralExpression item in list.Items)
        {
            if (item.Type == left || item.Type == ExpressionType.Any || (left == ExpressionType.Date && IsDate(item)))
            {
                continue;
            }

            Report(item, $"in finds {Name(compare.Left, left)} never equal to {Name(item, item.Type)}: the types differ");
            return;
        }
    }

    private void CheckContains(CompareExpression compare, ExpressionType left, ExpressionType right)
    {
        if (left is not (ExpressionType.Any or ExpressionType.Text or ExpressionType.List))
        {
            Report(compare.Left, $"contains looks into text or a list, not {Name(compare.Left, left)}");
        }

        if (right is ExpressionType.List or ExpressionType.Date || (left == ExpressionType.Text && right is not (ExpressionType.Text or ExpressionType.Any))
            || (compare.Left is PathExpression { Root: PathRoot.Identifiers } && right is not (ExpressionType.Text or ExpressionType.Any)))
        {
            string expected = left == ExpressionType.Any ? "one value" : left == ExpressionType.Text || compare.Left is PathExpression ? "text" : "one value";
            Report(compare.Right, $"contains looks for {expected}, not for {Name(compare.Right, right)}");
        }
    }

    private void RequireText(CompareExpression compare, Expression side, ExpressionType type)
    {
        if (type is ExpressionType.Any or ExpressionType.Text)
        {
            return;
        }

        Report(side, $"{ExpressionWords.Of(compare.Operator)} compares text, not {Name(side, type)}");
    }

    private void Report(Expression expression, string message) =>
        _errors.Add(new ExpressionError(_parsed.Offsets.TryGetValue(expression, out int offset) ? offset : 0, message));
}
