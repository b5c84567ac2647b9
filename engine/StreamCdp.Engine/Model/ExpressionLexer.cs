using System.Globalization;
using System.Text;

namespace StreamCdp.Engine.Model;

/// <summary>Kinds of <see cref="ExpressionToken"/>.</summary>
internal enum ExpressionTokenKind
{
    End,
    Word,

    /// <summary>A key after a dot.</summary>
    Key,
    Text,
    Number,
    Duration,
    Symbol,
}

/// <summary>A piece of an expression.</summary>
/// <param name="Kind">What.</param>
/// <param name="Start">Offset of its first character.</param>
/// <param name="Value">The word, the symbol, the text without quotes and escapes; else as written.</param>
/// <param name="Number">The number, or the duration in ms.</param>
internal readonly record struct ExpressionToken(ExpressionTokenKind Kind, int Start, string Value, double Number = 0)
{
    public bool Is(string word) => Kind is ExpressionTokenKind.Word or ExpressionTokenKind.Symbol && Value == word;

    /// <summary>For messages: <c>found "30"</c>.</summary>
    public string Found => Kind switch
    {
        ExpressionTokenKind.End => "found the end",
        ExpressionTokenKind.Text => $"found the text \"{Value}\"",
        _ => $"found \"{Value}\"",
    };
}

/// <summary>Something wrong in an expression.</summary>
/// <param name="Offset">Where, in the expression's text.</param>
/// <param name="Message">What, and what was expected.</param>
internal readonly record struct ExpressionError(int Offset, string Message);

/// <summary>Cuts an expression into tokens.</summary>
internal static class ExpressionLexer
{
    private static readonly string[] Symbols = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", ":"];

    private static readonly (string Written, string Meant)[] Foreign = [("&&", "and"), ("||", "or"), ("=", "=="), ("!", "not"), ("&", "and"), ("|", "or")];

    /// <summary>The tokens with an end; on an error, which is reported, null.</summary>
    public static List<ExpressionToken>? Read(string text, out ExpressionError error)
    {
        List<ExpressionToken> tokens = [];
        int at = 0;
        while (true)
        {
            while (at < text.Length && char.IsWhiteSpace(text[at]))
            {
                at++;
            }

            if (at == text.Length)
            {
                tokens.Add(new ExpressionToken(ExpressionTokenKind.End, at, ""));
                error = default;
                return tokens;
            }

            if (!TryReadToken(text, tokens, ref at, out error))
            {
                return null;
            }
        }
    }

    private static bool TryReadToken(string text, List<ExpressionToken> tokens, ref int at, out ExpressionError error)
    {
        error = default;
        int start = at;
        char c = text[at];
        if (ExpressionWords.StartsWord(c))
        {
            string word = Take(text, ref at, ExpressionWords.InWord);
            tokens.Add(new ExpressionToken(ExpressionTokenKind.Word, start, word));
            return true;
        }

        if (c == '.')
        {
            at++;
            string key = Take(text, ref at, ExpressionWords.InKey);
            if (key.Length == 0)
            {
                error = new ExpressionError(at, "expected a name after the dot; a name with other signs is written [\"first name\"]");
                return false;
            }

            tokens.Add(new ExpressionToken(ExpressionTokenKind.Key, start + 1, key));
            return true;
        }

        if (c is '"' or '\'')
        {
            return TryReadText(text, tokens, ref at, out error);
        }

        if (char.IsAsciiDigit(c) || c is '-' or '+')
        {
            return TryReadNumber(text, tokens, ref at, out error);
        }

        foreach (string symbol in Symbols)
        {
            if (string.CompareOrdinal(text, at, symbol, 0, symbol.Length) == 0)
            {
                if (symbol == "<" && string.CompareOrdinal(text, at, "<>", 0, 2) == 0)
                {
                    error = new ExpressionError(at, "\"<>\" is not an operator; did you mean \"!=\"?");
                    return false;
                }

                at += symbol.Length;
                tokens.Add(new ExpressionToken(ExpressionTokenKind.Symbol, start, symbol));
                return true;
            }
        }

        foreach ((string written, string meant) in Foreign)
        {
            if (string.CompareOrdinal(text, at, written, 0, written.Length) == 0)
            {
                error = new ExpressionError(at, $"\"{written}\" is not an operator; did you mean \"{meant}\"?");
                return false;
            }
        }

        string sign = Rune.TryGetRuneAt(text, at, out Rune rune) ? rune.ToString() : $"\\u{(int)c:x4}";
        error = new ExpressionError(at, $"the sign \"{sign}\" has no meaning here; text stands in quotes");
        return false;
    }

    private static bool TryReadText(string text, List<ExpressionToken> tokens, ref int at, out ExpressionError error)
    {
        error = default;
        int start = at;
        char quote = text[at++];
        StringBuilder value = new();
        while (at < text.Length)
        {
            char c = text[at];
            if (c == quote)
            {
                at++;
                tokens.Add(new ExpressionToken(ExpressionTokenKind.Text, start, value.ToString()));
                return true;
            }

            if (c != '\\')
            {
                value.Append(c);
                at++;
                continue;
            }

            char escaped = at + 1 < text.Length ? text[at + 1] : '\0';
            if (escaped == 'u' && at + 6 <= text.Length && ushort.TryParse(text.AsSpan(at + 2, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort code))
            {
                value.Append((char)code);
                at += 6;
                continue;
            }

            char? meant = escaped switch { '"' or '\'' or '\\' or '/' => escaped, 'n' => '\n', 'r' => '\r', 't' => '\t', _ => null };
            if (meant is not { } sign)
            {
                error = new ExpressionError(at, "after a backslash one of \" ' \\ n r t uXXXX is expected");
                return false;
            }

            value.Append(sign);
            at += 2;
        }

        error = new ExpressionError(start, $"the text that begins here has no closing {quote}");
        return false;
    }

    private static bool TryReadNumber(string text, List<ExpressionToken> tokens, ref int at, out ExpressionError error)
    {
        error = default;
        int start = at;
        if (text[at] is '-' or '+')
        {
            at++;
        }

        int digits = at;
        Take(text, ref at, char.IsAsciiDigit);
        bool whole = true;
        if (at > digits && at + 1 < text.Length && text[at] == '.' && char.IsAsciiDigit(text[at + 1]))
        {
            at++;
            Take(text, ref at, char.IsAsciiDigit);
            whole = false;
        }

        if (at > digits && at < text.Length && text[at] is 'e' or 'E')
        {
            int exponent = at + 1;
            if (exponent < text.Length && text[exponent] is '-' or '+')
            {
                exponent++;
            }

            if (exponent < text.Length && char.IsAsciiDigit(text[exponent]))
            {
                at = exponent;
                Take(text, ref at, char.IsAsciiDigit);
                whole = false;
            }
        }

        string number = text[start..at];
        string unit = Take(text, ref at, ExpressionWords.InWord);
        string written = text[start..at];
        if (at == digits)
        {
            error = new ExpressionError(start, $"\"{text[start]}\" stands only before a number; there is no arithmetic");
            return false;
        }

        if (unit.Length > 0)
        {
            return TryReadDuration(tokens, start, number, unit, written, whole && text[start] is not ('-' or '+'), out error);
        }

        bool json = text[start] != '+' && !(text[digits] == '0' && digits + 1 < at && char.IsAsciiDigit(text[digits + 1]));
        double value = double.Parse(number, NumberStyles.Float, CultureInfo.InvariantCulture);
        if (!json || !double.IsFinite(value))
        {
            error = new ExpressionError(start, json ? $"the number {Short(number)} is too large" : $"expected a number as in JSON, such as 500 or -0.5, found \"{Short(number)}\"");
            return false;
        }

        tokens.Add(new ExpressionToken(ExpressionTokenKind.Number, start, number, value));
        return true;
    }

    private static bool TryReadDuration(List<ExpressionToken> tokens, int start, string number, string unit, string written, bool whole, out ExpressionError error)
    {
        long unitMs = unit switch { "s" => 1000, "m" => 60_000, "h" => 3_600_000, "d" => ExpressionWords.DayMs, _ => 0 };
        if (!whole || unitMs == 0)
        {
            error = new ExpressionError(start, $"expected a duration of one whole number and one of s, m, h, d, such as 30d, found \"{Short(written)}\"");
            return false;
        }

        if (!long.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out long count) || count < 1 || count > ExpressionWords.MaxWindowMs / unitMs)
        {
            error = new ExpressionError(start, $"the duration {Short(written)} is not allowed; allowed are 1s to 3650d");
            return false;
        }

        error = default;
        tokens.Add(new ExpressionToken(ExpressionTokenKind.Duration, start, written, count * unitMs));
        return true;
    }

    private static string Take(string text, ref int at, Func<char, bool> belongs)
    {
        int start = at;
        while (at < text.Length && belongs(text[at]))
        {
            at++;
        }

        return text[start..at];
    }

    private static string Short(string text) => text.Length <= 40 ? text : $"{text.AsSpan(0, 40)}…";
}
