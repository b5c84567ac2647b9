using System.Text.Json;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>An instant: <c>now</c>.</summary>
internal sealed record OracleInstant(long UnixMs);

/// <summary>An object, of which only identity of its text and emptiness matter.</summary>
internal sealed record OracleObject(string Json);

/// <summary>RULES.md §6.6: values are null, bool, double, string, <c>List&lt;object?&gt;</c>, <see cref="OracleObject"/> or <see cref="OracleInstant"/>.</summary>
internal static class OracleValue
{
    public static object? Plain(object? value) => value switch
    {
        JsonElement { ValueKind: JsonValueKind.Undefined or JsonValueKind.Null } => null,
        JsonElement { ValueKind: JsonValueKind.True } => true,
        JsonElement { ValueKind: JsonValueKind.False } => false,
        JsonElement { ValueKind: JsonValueKind.String } text => text.GetString(),
        JsonElement { ValueKind: JsonValueKind.Number } number => number.GetDouble(),
        JsonElement { ValueKind: JsonValueKind.Array } array => array.EnumerateArray().Select(item => Plain(item)).ToList(),
        JsonElement other => new OracleObject(other.GetRawText()),
        decimal number => (double)number,
        _ => value,
    };

    public static bool AreEqual(object? left, object? right) => (left, right) switch
    {
        (null, null) => true,
        (double a, double b) => a == b,
        (string a, string b) => a == b,
        (bool a, bool b) => a == b,
        (OracleInstant a, OracleInstant b) => a == b,
        (OracleObject a, OracleObject b) => a == b,
        (List<object?> a, List<object?> b) => a.Count == b.Count && a.Zip(b).All(pair => AreEqual(pair.First, pair.Second)),
        _ => false,
    };

    /// <summary>Negative, 0, positive; null: these two have no order.</summary>
    public static int? Order(object? left, object? right) => (left, right) switch
    {
        (double a, double b) => a.CompareTo(b),
        (string a, string b) => CompareCodePoints(a, b),
        (OracleInstant a, OracleInstant b) => a.UnixMs.CompareTo(b.UnixMs),
        _ => null,
    };

    public static int CompareCodePoints(string left, string right)
    {
        int[] a = [.. left.EnumerateRunes().Select(rune => rune.Value)];
        int[] b = [.. right.EnumerateRunes().Select(rune => rune.Value)];
        for (int i = 0; i < Math.Min(a.Length, b.Length); i++)
        {
            if (a[i] != b[i])
            {
                return a[i].CompareTo(b[i]);
            }
        }

        return a.Length.CompareTo(b.Length);
    }

    /// <summary>The instant of a date; null for what is none.</summary>
    public static long? Instant(object? value) => value switch
    {
        OracleInstant instant => instant.UnixMs,
        string text when OracleTime.TryParse(text, out long ms, out _) => ms,
        _ => null,
    };
}
