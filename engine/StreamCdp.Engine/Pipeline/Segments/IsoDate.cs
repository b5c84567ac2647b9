namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Dates as RULES.md §6.6 reads them: ISO 8601 text, a date alone is its midnight UTC.</summary>
/// <remarks>
/// Read: <c>2026-01-31</c>, then <c>T</c> or a space, <c>hh:mm</c>, seconds with a fraction of any length (cut to milliseconds), and <c>Z</c>, <c>±hh</c>, <c>±hhmm</c>, <c>±hh:mm</c> or nothing (UTC).
/// Not read: week and ordinal dates, the basic format without hyphens (it looks like a number), years outside 0001 to 9999.
/// </remarks>
internal static class IsoDate
{
    private const int MsPerMinute = 60_000;

    /// <param name="text">UTF-8, unescaped.</param>
    /// <param name="unixMs">The instant, cut to milliseconds.</param>
    /// <param name="hasTime">False for a date alone.</param>
    public static bool TryParse(ReadOnlySpan<byte> text, out long unixMs, out bool hasTime)
    {
        unixMs = 0;
        hasTime = false;
        if (text.Length < 10 || text[4] != '-' || text[7] != '-' ||
            !Digits(text, 0, 4, out int year) || !Digits(text, 5, 2, out int month) || !Digits(text, 8, 2, out int day) ||
            year < 1 || month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth(year, month))
        {
            return false;
        }

        long ms = (new DateTime(year, month, day, 0, 0, 0, DateTimeKind.Utc).Ticks - DateTime.UnixEpoch.Ticks) / TimeSpan.TicksPerMillisecond;
        if (text.Length == 10)
        {
            unixMs = ms;
            return true;
        }

        text = text[10..];
        if (text.Length < 6 || (text[0] is not ((byte)'T' or (byte)'t' or (byte)' ')) || text[3] != ':' ||
            !Digits(text, 1, 2, out int hour) || !Digits(text, 4, 2, out int minute) || hour > 23 || minute > 59)
        {
            return false;
        }

        ms += (((hour * 60L) + minute) * MsPerMinute);
        text = text[6..];
        if (!text.IsEmpty && text[0] == ':')
        {
            if (!Digits(text, 1, 2, out int second) || second > 59)
            {
                return false;
            }

            ms += second * 1000L;
            text = text[3..];
            if (!text.IsEmpty && text[0] is (byte)'.' or (byte)',')
            {
                int digits = 0;
                for (int unit = 100; 1 + digits < text.Length && char.IsAsciiDigit((char)text[1 + digits]); digits++, unit /= 10)
                {
                    ms += (text[1 + digits] - '0') * unit;
                }

                if (digits == 0)
                {
                    return false;
                }

                text = text[(1 + digits)..];
            }
        }

        if (!TryOffset(text, out int offsetMinutes))
        {
            return false;
        }

        unixMs = ms - ((long)offsetMinutes * MsPerMinute);
        hasTime = true;
        return true;
    }

    private static bool TryOffset(ReadOnlySpan<byte> text, out int minutes)
    {
        minutes = 0;
        if (text.IsEmpty || (text.Length == 1 && text[0] is (byte)'Z' or (byte)'z'))
        {
            return true;
        }

        if (text[0] is not ((byte)'+' or (byte)'-') || !Digits(text, 1, 2, out int hour) || hour > 23)
        {
            return false;
        }

        int minute = 0;
        bool good = text.Length switch
        {
            3 => true,
            5 => Digits(text, 3, 2, out minute),
            6 => text[3] == ':' && Digits(text, 4, 2, out minute),
            _ => false,
        };
        minutes = ((hour * 60) + minute) * (text[0] == '-' ? -1 : 1);
        return good && minute <= 59;
    }

    private static bool Digits(ReadOnlySpan<byte> text, int start, int count, out int value)
    {
        value = 0;
        if (text.Length < start + count)
        {
            return false;
        }

        foreach (byte digit in text.Slice(start, count))
        {
            if (!char.IsAsciiDigit((char)digit))
            {
                return false;
            }

            value = (value * 10) + (digit - '0');
        }

        return true;
    }
}
