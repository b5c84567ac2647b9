using System.Globalization;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Cli.Simulation;

/// <summary>Values as RULES.md §6.6 compares them: null, bool, double, string, a list of these, or a <see cref="JsonElement"/> for an object.</summary>
internal static class TruthValue
{
    /// <summary>The element at a path of keys; null where it is missing.</summary>
    public static JsonElement? At(JsonElement json, IEnumerable<string> path)
    {
        foreach (string key in path)
        {
            if (json.ValueKind != JsonValueKind.Object || !json.TryGetProperty(key, out json))
            {
                return null;
            }
        }

        return json;
    }

    /// <summary>The value of an element.</summary>
    public static object? Of(JsonElement? json) => json?.ValueKind switch
    {
        null or JsonValueKind.Null or JsonValueKind.Undefined => null,
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Number => json.Value.GetDouble(),
        JsonValueKind.String => json.Value.GetString(),
        JsonValueKind.Array => json.Value.EnumerateArray().Select(item => Of(item)).ToList(),
        _ => json.Value,
    };

    /// <summary>null == null; other types never equal each other.</summary>
    public static bool AreEqual(object? left, object? right) => (left, right) switch
    {
        (null, null) => true,
        (bool a, bool b) => a == b,
        (double a, double b) => a == b,
        (string a, string b) => a == b,
        (List<object?> a, List<object?> b) => a.Count == b.Count && a.Zip(b).All(pair => AreEqual(pair.First, pair.Second)),
        (JsonElement a, JsonElement b) => JsonElement.DeepEquals(a, b),
        _ => false,
    };

    /// <summary>Order of two numbers or two texts; null where there is none.</summary>
    public static int? Order(object? left, object? right) => (left, right) switch
    {
        (double a, double b) when !double.IsNaN(a) && !double.IsNaN(b) => a.CompareTo(b),
        (string a, string b) => CompareText(a, b),
        _ => null,
    };

    /// <summary>Code point order.</summary>
    public static int CompareText(string left, string right)
    {
        StringRuneEnumerator a = left.EnumerateRunes();
        StringRuneEnumerator b = right.EnumerateRunes();
        while (true)
        {
            bool hasA = a.MoveNext();
            bool hasB = b.MoveNext();
            if (!hasA || !hasB)
            {
                return hasA.CompareTo(hasB);
            }

            if (a.Current != b.Current)
            {
                return a.Current.CompareTo(b.Current);
            }
        }
    }

    /// <summary>A number that <c>min max</c> take (§6.1): a JSON number, also as text; or null.</summary>
    public static double? Number(JsonElement? json) =>
        Digits(json) is { } text && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && double.IsFinite(number) ? number : null;

    /// <summary>A number that <c>sum avg</c> take (§6.1): below 10^15, at most 10 decimals; or null.</summary>
    public static decimal? Exact(JsonElement? json) =>
        Digits(json) is { } text && decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out decimal number)
        && Math.Abs(number) < 1_000_000_000_000_000m && decimal.Round(number, 10) == number
            ? number
            : null;

    private static string? Digits(JsonElement? json)
    {
        string? text = json?.ValueKind switch { JsonValueKind.Number => json.Value.GetRawText(), JsonValueKind.String => json.Value.GetString(), _ => null };
        return text is not null && IsPlainNumber(text) ? text : null;
    }

    /// <summary>Unix ms of an ISO 8601 text, cut off; null where it is none. A date alone is its midnight UTC.</summary>
    public static long? Instant(string? text) =>
        text is { Length: >= 10 } && char.IsAsciiDigit(text[0]) && text[4] == '-'
        && DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset instant)
            ? instant.ToUnixTimeMilliseconds()
            : null;

    private static bool IsPlainNumber(string text)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(text);
            return document.RootElement.ValueKind == JsonValueKind.Number && text.Trim() == text;
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
