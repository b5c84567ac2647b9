using System.CommandLine;
using System.Globalization;

namespace StreamCdp.Cli;

/// <summary>Durations as in the model: 30s, 15m, 1h, 7d.</summary>
internal static class Durations
{
    /// <summary>Reads one.</summary>
    public static bool TryParse(string text, out TimeSpan duration)
    {
        duration = default;
        if (text.Length < 2 || !double.TryParse(text.AsSpan(0, text.Length - 1), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number))
        {
            return false;
        }

        TimeSpan? unit = text[^1] switch { 's' => TimeSpan.FromSeconds(1), 'm' => TimeSpan.FromMinutes(1), 'h' => TimeSpan.FromHours(1), 'd' => TimeSpan.FromDays(1), _ => null };
        if (unit is not { } one || number <= 0 || number > TimeSpan.FromDays(3650) / one)
        {
            return false;
        }

        duration = one * number;
        return true;
    }

    /// <summary>An option; null where it is not given.</summary>
    public static Option<TimeSpan?> Option(string name, string description) =>
        new(name) { Description = description, HelpName = "TIME", CustomParser = Parse };

    private static TimeSpan? Parse(System.CommandLine.Parsing.ArgumentResult result)
    {
        string text = result.Tokens.Single().Value;
        if (TryParse(text, out TimeSpan duration))
        {
            return duration;
        }

        result.AddError($"{text} is not a duration; allowed is a number with s, m, h or d, for example 30s.");
        return null;
    }
}
