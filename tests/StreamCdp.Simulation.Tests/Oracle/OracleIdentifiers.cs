using System.Text.Json;
using System.Text.RegularExpressions;
using PhoneNumbers;
using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>RULES.md §1.2 to §1.4: one JSON value → the text of an identifier, or none.</summary>
internal static partial class OracleIdentifiers
{
    private static readonly string[] s_blocked =
    [
        "null", "none", "undefined", "nil", "nan", "true", "false", "0", "-1", "anonymous", "guest", "unknown",
        "not_authenticated", "distinct_id", "id", "email", "[object object]", "n/a",
    ];

    /// <summary>Null: absent, invalid or blocked; <paramref name="count"/> hears of the last two.</summary>
    public static string? Read(IdentifierDefinition type, JsonElement value, Action<string> count)
    {
        string text;
        switch (value.ValueKind)
        {
            case JsonValueKind.Undefined or JsonValueKind.Null:
                return null;
            case JsonValueKind.String:
                text = value.GetString()!;
                break;
            case JsonValueKind.Number when Integer().IsMatch(value.GetRawText()):
                text = value.GetRawText();
                break;
            default:
                count("invalid");
                return null;
        }

        text = Trim(text);
        if (text.Length == 0)
        {
            return null;
        }

        string? normal = type.Normalize switch
        {
            IdentifierNormalization.Email => Email(text),
            IdentifierNormalization.E164 => Phone(text, type.DefaultCountry),
            _ => text,
        };
        if (normal is null)
        {
            count("invalid");
            return null;
        }

        if (IsBlocked(type, normal))
        {
            count("blocked");
            return null;
        }

        return normal;
    }

    /// <summary>The code points with the property White_Space.</summary>
    public static bool IsSpace(char c) => c is
        (>= '\u0009' and <= '\u000D') or '\u0020' or '\u0085' or '\u00A0' or '\u1680' or (>= '\u2000' and <= '\u200A') or '\u2028' or '\u2029' or '\u202F' or '\u205F' or '\u3000';

    private static string Trim(string text)
    {
        while (text.Length > 0 && IsSpace(text[0]))
        {
            text = text[1..];
        }

        while (text.Length > 0 && IsSpace(text[^1]))
        {
            text = text[..^1];
        }

        return text;
    }

    private static string? Email(string text)
    {
        string lower = text.ToLowerInvariant();
        string[] parts = lower.Split('@');
        return parts.Length == 2 && parts[0].Length > 0 && parts[1].Length > 0 && !lower.Any(IsSpace) ? lower : null;
    }

    private static string? Phone(string text, string? country)
    {
        string digits = string.Concat(text.Where(c => !IsSpace(c) && !"-.()/".Contains(c)));
        if (digits.StartsWith("00", StringComparison.Ordinal))
        {
            digits = "+" + digits[2..];
        }

        if (E164().IsMatch(digits))
        {
            return digits;
        }

        if (country is null)
        {
            return null;
        }

        PhoneNumberUtil util = PhoneNumberUtil.GetInstance();
        try
        {
            PhoneNumber number = util.Parse(digits, country);
            return util.IsValidNumber(number) ? util.Format(number, PhoneNumberFormat.E164) : null;
        }
        catch (NumberParseException)
        {
            return null;
        }
    }

    private static bool IsBlocked(IdentifierDefinition type, string value)
    {
        if (type.Blocked.Contains(value) || type.BlockedPatterns.Any(pattern => Regex.IsMatch(value, $@"\A(?:{pattern})\z")))
        {
            return true;
        }

        if (!type.BlockedDefaults)
        {
            return false;
        }

        bool isQuoted = value.Length >= 2 && value[0] == value[^1] && (value[0] is '"' or '\'');
        string bare = isQuoted ? value[1..^1] : value;
        return s_blocked.Contains(bare.ToLowerInvariant()) || ZerosAndDashes().IsMatch(bare);
    }

    [GeneratedRegex(@"\A-?[0-9]+\z")]
    private static partial Regex Integer();

    [GeneratedRegex(@"\A\+[1-9][0-9]{6,14}\z")]
    private static partial Regex E164();

    [GeneratedRegex(@"\A[0-]+\z")]
    private static partial Regex ZerosAndDashes();
}
