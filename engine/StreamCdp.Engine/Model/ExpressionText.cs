using System.Globalization;
using System.Text;

namespace StreamCdp.Engine.Model;

/// <summary>The normal text of an expression.</summary>
internal static class ExpressionText
{
    /// <summary>Parses to an equal tree.</summary>
    public static string Of(Expression expression)
    {
        StringBuilder text = new();
        Write(text, expression, inItem: false);
        return text.ToString();
    }

    /// <summary>As it stands in the condition of a collection: its fields are bare names.</summary>
    public static string OfItem(Expression expression)
    {
        StringBuilder text = new();
        Write(text, expression, inItem: true);
        return text.ToString();
    }

    /// <summary>Text in double quotes; signs that an editor would not show are written \uXXXX.</summary>
    public static string Quoted(string value)
    {
        StringBuilder text = new();
        WriteQuoted(text, value);
        return text.ToString();
    }

    private static void Write(StringBuilder text, Expression expression, bool inItem)
    {
        switch (expression)
        {
            case LiteralExpression literal:
                WriteLiteral(text, literal);
                break;
            case ListExpression list:
                text.Append('[');
                for (int i = 0; i < list.Items.Count; i++)
                {
                    text.Append(i == 0 ? "" : ", ");
                    WriteLiteral(text, list.Items[i]);
                }

                text.Append(']');
                break;
            case NowExpression:
                text.Append("now");
                break;
            case PathExpression path:
                WritePath(text, path, inItem);
                break;
            case LogicExpression logic:
                for (int i = 0; i < logic.Operands.Count; i++)
                {
                    text.Append(i == 0 ? "" : logic.IsAnd ? " and " : " or ");
                    Expression operand = logic.Operands[i];
                    WriteNested(text, operand, operand is LogicExpression inner && (logic.IsAnd || !inner.IsAnd), inItem);
                }

                break;
            case NotExpression not:
                text.Append("not ");
                WriteNested(text, not.Operand, not.Operand is LogicExpression, inItem);
                break;
            case CompareExpression compare:
                WriteNested(text, compare.Left, IsCondition(compare.Left), inItem);
                text.Append(' ').Append(ExpressionWords.Of(compare.Operator)).Append(' ');
                WriteNested(text, compare.Right, IsCondition(compare.Right), inItem);
                break;
            case ExistsExpression exists:
                WriteNested(text, exists.Operand, IsCondition(exists.Operand), inItem);
                text.Append(" exists");
                break;
            case DateWithinExpression within:
                WriteNested(text, within.Operand, IsCondition(within.Operand), inItem);
                text.Append(within.IsNext ? " within next " : " within last ").Append(ExpressionWords.Duration(within.WindowMs));
                break;
            case FunctionExpression function:
                WriteFunction(text, function);
                break;
            case InSegmentExpression segment:
                text.Append("in_segment(");
                WriteQuoted(text, segment.SegmentId);
                text.Append(')');
                break;
            case CollectionExpression collection:
                WriteCollection(text, collection);
                break;
            default:
                throw new NotSupportedException(expression.GetType().Name);
        }
    }

    private static bool IsCondition(Expression expression) =>
        expression is LogicExpression or NotExpression or CompareExpression or ExistsExpression or DateWithinExpression;

    private static void WriteNested(StringBuilder text, Expression expression, bool brackets, bool inItem)
    {
        text.Append(brackets ? "(" : "");
        Write(text, expression, inItem);
        text.Append(brackets ? ")" : "");
    }

    private static void WriteFunction(StringBuilder text, FunctionExpression function)
    {
        text.Append(ExpressionWords.Of(function.Kind)).Append('(');
        for (int i = 0; i < function.Events.Count; i++)
        {
            text.Append(i == 0 ? "" : ", ");
            WriteQuoted(text, function.Events[i]);
        }

        if (function.ValuePath is { } path)
        {
            text.Append(", ");
            WritePath(text, path, inItem: false);
        }

        if (function.WindowMs > 0)
        {
            text.Append(", within: ").Append(ExpressionWords.Duration(function.WindowMs));
        }

        if (function.Where is { } where)
        {
            text.Append(", where: ");
            Write(text, where, inItem: false);
        }

        text.Append(')');
    }

    private static void WriteCollection(StringBuilder text, CollectionExpression collection)
    {
        text.Append(collection.Function).Append('(').Append(collection.Collection);
        if (collection.Field is { } field)
        {
            text.Append(", ");
            WritePath(text, new PathExpression(PathRoot.Properties, field), inItem: true);
        }

        if (collection.Where is { } where)
        {
            text.Append(", where: ");
            Write(text, where, inItem: true);
        }

        text.Append(')');
    }

    private static void WritePath(StringBuilder text, PathExpression path, bool inItem)
    {
        int next = 0;
        if (inItem && path.Root == PathRoot.Properties && path.Path.Count > 0 && IsField(path.Path[0]))
        {
            text.Append(path.Path[0]);
            next = 1;
        }
        else
        {
            text.Append(ExpressionWords.Of(path.Root));
        }

        for (; next < path.Path.Count; next++)
        {
            string key = path.Path[next];
            if (key.Length > 0 && key.All(ExpressionWords.InKey))
            {
                text.Append('.').Append(key);
            }
            else
            {
                text.Append('[');
                WriteQuoted(text, key);
                text.Append(']');
            }
        }
    }

    private static bool IsField(string key) =>
        key.Length > 0 && ExpressionWords.StartsWord(key[0]) && key.All(ExpressionWords.InWord) && !ExpressionWords.Reserved.Contains(key);

    private static void WriteLiteral(StringBuilder text, LiteralExpression literal)
    {
        switch (literal.Value)
        {
            case string value:
                WriteQuoted(text, value);
                break;
            case double value:
                text.Append(value.ToString("R", CultureInfo.InvariantCulture));
                break;
            case bool value:
                text.Append(value ? "true" : "false");
                break;
            default:
                text.Append("null");
                break;
        }
    }

    private static void WriteQuoted(StringBuilder text, string value)
    {
        text.Append('"');
        for (int i = 0; i < value.Length; i++)
        {
            char c = value[i];
            if (char.IsHighSurrogate(c) && i + 1 < value.Length && char.IsLowSurrogate(value[i + 1]))
            {
                text.Append(c).Append(value[++i]);
            }
            else if (char.IsControl(c) || char.IsSurrogate(c) || c is '\u2028' or '\u2029')
            {
                text.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture));
            }
            else
            {
                text.Append(c is '"' or '\\' ? "\\" : "").Append(c);
            }
        }

        text.Append('"');
    }
}
