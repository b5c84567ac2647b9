using System.Text.RegularExpressions;

namespace StreamCdp.Engine.Model;

/// <summary>Patterns of <c>blocked:</c> (RULES.md §1.4), which must match a whole value.</summary>
internal static class BlockedPattern
{
    /// <summary>Linear in the value's length, whatever the pattern: NonBacktracking.</summary>
    public static Regex Compile(string pattern) => new($@"\A(?:{pattern})\z", RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);

    /// <summary>Why a pattern cannot be used; null: it can.</summary>
    public static string? Error(string pattern)
    {
        try
        {
            // Alone first: "a)(b" would compile inside the brackets of Compile.
            _ = new Regex(pattern, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);
            _ = Compile(pattern);
            return null;
        }
        catch (RegexParseException exception)
        {
            string words = string.Concat(exception.Error.ToString().Select(c => char.IsAsciiLetterUpper(c) ? $" {char.ToLowerInvariant(c)}" : $"{c}"));
            return $"{words.Trim()} after {exception.Offset} signs";
        }
        catch (NotSupportedException)
        {
            return "lookarounds, back references and atomic groups are not supported, or it is too large";
        }
    }
}
