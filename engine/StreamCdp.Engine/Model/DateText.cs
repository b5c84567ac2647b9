using System.Globalization;

namespace StreamCdp.Engine.Model;

/// <summary>Whether a literal is a date of ISO 8601 (RULES.md §6.6): for messages about literals; data is read by the profiler.</summary>
internal static class DateText
{
    private static readonly string[] Formats =
    [
        "yyyy-MM-dd",
        "yyyy-MM-dd'T'HH:mmK",
        "yyyy-MM-dd'T'HH:mm:ssK",
        "yyyy-MM-dd'T'HH:mm:ss.FFFFFFFK",
        "yyyy-MM-dd HH:mm:ss.FFFFFFFK",
    ];

    public static bool IsDate(string text) =>
        DateTimeOffset.TryParseExact(text, Formats, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out _);
}
