using YamlDotNet.Core;

namespace StreamCdp.Engine.Model;

/// <summary>Where each character of a scalar's value stands in the file, so that an error inside an expression points at its exact column.</summary>
/// <remarks>
/// It reads the scalar again by the rules of its style. What it reads must be the value that the YAML parser gave; where it is not (a rare corner
/// of folding), every character stands where the scalar begins.
/// </remarks>
internal static class ScalarPlaces
{
    /// <summary>Offsets in the file of each character of the value, and of its end.</summary>
    public static int[] Of(string text, YamlScalar scalar)
    {
        int[] places = new int[scalar.Value.Length + 1];
        int end = Math.Min(scalar.End, text.Length);
        bool aligned = scalar.Style switch
        {
            ScalarStyle.Literal or ScalarStyle.Folded => TryAlignBlock(text, scalar, end, places),
            _ => TryAlignFlow(text, scalar, end, places),
        };
        if (!aligned)
        {
            Array.Fill(places, scalar.Offset);
        }

        return places;
    }

    private static bool TryAlignFlow(string text, YamlScalar scalar, int end, int[] places)
    {
        string value = scalar.Value;
        bool quoted = scalar.Style is ScalarStyle.SingleQuoted or ScalarStyle.DoubleQuoted;
        int at = scalar.Offset + (quoted ? 1 : 0);
        int last = quoted ? end - 1 : end;
        int next = 0;
        while (at < last)
        {
            if (TryFold(text, last, ref at, value, ref next, places))
            {
                continue;
            }

            if (scalar.Style == ScalarStyle.DoubleQuoted && text[at] == '\\')
            {
                if (!TryEscape(text, last, ref at, value, ref next, places))
                {
                    return false;
                }

                continue;
            }

            if (next >= value.Length || text[at] != value[next])
            {
                return false;
            }

            places[next++] = at;
            at += scalar.Style == ScalarStyle.SingleQuoted && text[at] == '\'' ? 2 : 1;
        }

        places[value.Length] = last;
        return next == value.Length;
    }

    /// <summary>White space with line breaks: one break is a space, more are all but the first of them.</summary>
    private static bool TryFold(string text, int last, ref int at, string value, ref int next, int[] places)
    {
        int scan = at;
        int breaks = 0;
        while (scan < last && text[scan] is ' ' or '\t' or '\n' or '\r')
        {
            breaks += IsBreak(text, scan) ? 1 : 0;
            scan++;
        }

        if (breaks == 0)
        {
            return false;
        }

        int signs = Math.Max(1, breaks - 1);
        for (int i = 0; i < signs && next < value.Length && value[next] is ' ' or '\n'; i++)
        {
            places[next++] = at;
        }

        at = scan;
        return true;
    }

    private static bool TryEscape(string text, int last, ref int at, string value, ref int next, int[] places)
    {
        char escaped = at + 1 < last ? text[at + 1] : '\0';
        if (escaped is '\n' or '\r')
        {
            // A line continued: the break and the spaces before the next line go; empty lines stay.
            int start = at;
            int breaks = 0;
            for (at++; at < last && text[at] is ' ' or '\t' or '\n' or '\r'; at++)
            {
                breaks += IsBreak(text, at) ? 1 : 0;
            }

            for (; breaks > 1 && next < value.Length; breaks--)
            {
                places[next++] = start;
            }

            return true;
        }

        int length = escaped switch { 'x' => 4, 'u' => 6, 'U' => 10, _ => 2 };
        if (next >= value.Length || at + length > last)
        {
            return false;
        }

        int signs = char.IsHighSurrogate(value[next]) && next + 1 < value.Length && escaped == 'U' ? 2 : 1;
        for (int i = 0; i < signs; i++)
        {
            places[next++] = at;
        }

        at += length;
        return true;
    }

    private static bool TryAlignBlock(string text, YamlScalar scalar, int end, int[] places)
    {
        string value = scalar.Value;
        int first = NextLine(text, scalar.Offset, end);
        int indent = Indent(text, first, end, value);
        int next = 0;
        int tail = scalar.Offset;
        for (int at = first; at < end; at = NextLine(text, at, end))
        {
            int lineEnd = LineEnd(text, at, end);
            int content = Math.Min(at + indent, lineEnd);
            bool isLiteral = scalar.Style == ScalarStyle.Literal;
            if (!isLiteral && content < lineEnd)
            {
                // Between two folded lines the value has a space, or breaks.
                if (next > 0 && next < value.Length && value[next] == ' ' && text[content] != ' ')
                {
                    places[next++] = at;
                }

                while (next < value.Length && value[next] == '\n')
                {
                    places[next++] = at;
                }
            }

            if (content < lineEnd)
            {
                if (next + (lineEnd - content) > value.Length || string.CompareOrdinal(text, content, value, next, lineEnd - content) != 0)
                {
                    return false;
                }

                for (; content < lineEnd; content++)
                {
                    places[next++] = content;
                }

                tail = lineEnd;
            }

            if (isLiteral && next < value.Length)
            {
                if (value[next] != '\n')
                {
                    return false;
                }

                places[next++] = lineEnd;
            }
        }

        while (next < value.Length && value[next] == '\n')
        {
            places[next++] = tail;
        }

        places[value.Length] = tail;
        return next == value.Length;
    }

    /// <summary>Spaces that belong to the block and not to its lines, as the first line with text shows.</summary>
    private static int Indent(string text, int first, int end, string value)
    {
        for (int at = first; at < end; at = NextLine(text, at, end))
        {
            int lineEnd = LineEnd(text, at, end);
            int content = at;
            while (content < lineEnd && text[content] == ' ')
            {
                content++;
            }

            if (content < lineEnd)
            {
                string line = value.TrimStart('\n');
                return Math.Max(0, content - at - (line.Length - line.TrimStart(' ').Length));
            }
        }

        return int.MaxValue / 2;
    }

    private static int LineEnd(string text, int at, int end)
    {
        while (at < end && text[at] is not ('\n' or '\r'))
        {
            at++;
        }

        return at;
    }

    private static int NextLine(string text, int at, int end)
    {
        at = LineEnd(text, at, end);
        return at + 1 < end && text[at] == '\r' && text[at + 1] == '\n' ? at + 2 : Math.Min(at + 1, end);
    }

    private static bool IsBreak(string text, int at) => text[at] == '\n' || (text[at] == '\r' && (at + 1 == text.Length || text[at + 1] != '\n'));
}
