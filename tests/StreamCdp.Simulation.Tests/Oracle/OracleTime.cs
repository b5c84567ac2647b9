using System.Text.RegularExpressions;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>ISO 8601, as this project reads it: the extended format, also with a space or small letters; without an offset it is UTC; digits below a millisecond are cut off.</summary>
internal static partial class OracleTime
{
    public static bool TryParse(string text, out long unixMs, out bool hasTime)
    {
        unixMs = 0;
        hasTime = false;
        Match match = Iso().Match(text);
        if (!match.Success)
        {
            return false;
        }

        int Part(string group) => match.Groups[group].Success ? int.Parse(match.Groups[group].ValueSpan) : 0;
        int year = Part("year"), month = Part("month"), day = Part("day"), hour = Part("hour"), minute = Part("minute"), second = Part("second");
        int offsetHour = Part("oh"), offsetMinute = Part("om");
        if (year < 1 || month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth(year, month) || hour > 23 || minute > 59 || second > 59 || offsetHour > 23 || offsetMinute > 59)
        {
            return false;
        }

        hasTime = match.Groups["hour"].Success;
        long ms = (new DateTime(year, month, day, hour, minute, second, DateTimeKind.Utc).Ticks - DateTime.UnixEpoch.Ticks) / TimeSpan.TicksPerMillisecond;
        string fraction = match.Groups["fraction"].Value.PadRight(3, '0')[..3];
        long offset = ((offsetHour * 60) + offsetMinute) * 60_000L;
        unixMs = ms + int.Parse(fraction) - (match.Groups["sign"].Value == "-" ? -offset : offset);
        return true;
    }

    public static string Format(long unixMs) => DateTimeOffset.FromUnixTimeMilliseconds(unixMs).UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'");

    [GeneratedRegex(@"\A(?<year>[0-9]{4})-(?<month>[0-9]{2})-(?<day>[0-9]{2})([Tt ](?<hour>[0-9]{2}):(?<minute>[0-9]{2})(:(?<second>[0-9]{2})([.,](?<fraction>[0-9]+))?)?([Zz]|(?<sign>[+-])(?<oh>[0-9]{2})(:?(?<om>[0-9]{2}))?)?)?\z", RegexOptions.ExplicitCapture)]
    private static partial Regex Iso();
}
