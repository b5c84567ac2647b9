using System.Text.Json;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Reads the time fields of events: ISO 8601 text or a whole number of milliseconds (RULES.md §1.5, §4.1).</summary>
/// <remarks>
/// Text: a date <c>2026-01-31</c> (its midnight UTC), or date and time to the minute, second or any number of decimals (after <c>.</c> or <c>,</c>), with
/// <c>T</c> between, and <c>Z</c>, <c>±hh</c>, <c>±hhmm</c>, <c>±hh:mm</c> or nothing (UTC) at the end. Number: a JSON integer of Unix milliseconds. Years 1 to 9999.
/// Decimals beyond the millisecond are cut off. A space or a small letter for T or Z is RFC 3339, not ISO 8601: unreadable.
/// </remarks>
internal static class EventTimestamp
{
    /// <summary>0001-01-01T00:00:00Z, Unix ms.</summary>
    public const long MinMs = -62_135_596_800_000;

    /// <summary>9999-12-31T23:59:59.999Z, Unix ms.</summary>
    public const long MaxMs = 253_402_300_799_999;

    private const int MsPerMinute = 60_000;

    /// <summary>Reads a value.</summary>
    /// <param name="value">Bytes of the value; text without quotes and unescaped.</param>
    /// <param name="kind">Its kind.</param>
    /// <param name="unixMs">The instant; with an offset up to a day outside the years 1 to 9999.</param>
    /// <returns>False where it is neither of the two.</returns>
    public static bool TryRead(ReadOnlySpan<byte> value, JsonTokenType kind, out long unixMs)
    {
        unixMs = 0;
        return kind switch
        {
            JsonTokenType.String => TryReadText(value, out unixMs),
            JsonTokenType.Number => TryReadNumber(value, out unixMs),
            _ => false,
        };
    }

    private static bool TryReadNumber(ReadOnlySpan<byte> digits, out long unixMs)
    {
        unixMs = 0;
        bool negative = digits.Length > 0 && digits[0] == (byte)'-';
        digits = negative ? digits[1..] : digits;
        if (digits.Length is 0 or > 15)
        {
            return false; // Above year 9999.
        }

        foreach (byte digit in digits)
        {
            if (!char.IsAsciiDigit((char)digit))
            {
                return false;
            }

            unixMs = (unixMs * 10) + (digit - '0');
        }

        unixMs = negative ? -unixMs : unixMs;
        return unixMs is >= MinMs and <= MaxMs;
    }

    private static bool TryReadText(ReadOnlySpan<byte> text, out long unixMs)
    {
        unixMs = 0;
        if (text.Length < 10 || text[4] != (byte)'-' || text[7] != (byte)'-' ||
            !Digits(text, 0, 4, out int year) || !Digits(text, 5, 2, out int month) || !Digits(text, 8, 2, out int day) ||
            year == 0 || month is 0 or > 12 || day == 0 || day > DateTime.DaysInMonth(year, month))
        {
            return false;
        }

        long ms = (new DateTime(year, month, day, 0, 0, 0, DateTimeKind.Utc).Ticks - DateTime.UnixEpoch.Ticks) / TimeSpan.TicksPerMillisecond;
        text = text[10..];
        if (text.IsEmpty)
        {
            unixMs = ms;
            return true;
        }

        if (text[0] != (byte)'T' || text.Length < 6 || text[3] != (byte)':' ||
            !Digits(text, 1, 2, out int hour) || !Digits(text, 4, 2, out int minute) || hour > 23 || minute > 59)
        {
            return false;
        }

        ms += ((hour * 60L) + minute) * MsPerMinute;
        text = text[6..];
        if (text.Length > 0 && text[0] == (byte)':')
        {
            if (text.Length < 3 || !Digits(text, 1, 2, out int second) || second > 59)
            {
                return false;
            }

            ms += second * 1000L;
            text = text[3..];
            if (text.Length > 0 && text[0] is (byte)'.' or (byte)',')
            {
                int decimals = 1;
                for (int weight = 100; decimals < text.Length && char.IsAsciiDigit((char)text[decimals]); decimals++, weight /= 10)
                {
                    ms += (text[decimals] - '0') * weight;
                }

                if (decimals == 1)
                {
                    return false;
                }

                text = text[decimals..];
            }
        }

        if (!TryReadOffset(text, out int offsetMinutes))
        {
            return false;
        }

        unixMs = ms - ((long)offsetMinutes * MsPerMinute);
        return true;
    }

    private static bool TryReadOffset(ReadOnlySpan<byte> text, out int minutes)
    {
        minutes = 0;
        if (text.IsEmpty || (text.Length == 1 && text[0] == (byte)'Z'))
        {
            return true;
        }

        if (text[0] is not ((byte)'+' or (byte)'-') || text.Length < 3 || !Digits(text, 1, 2, out int hour) || hour > 23)
        {
            return false;
        }

        int minute = 0;
        bool read = text.Length switch
        {
            3 => true,
            5 => Digits(text, 3, 2, out minute),
            6 => text[3] == (byte)':' && Digits(text, 4, 2, out minute),
            _ => false,
        };
        minutes = ((hour * 60) + minute) * (text[0] == (byte)'-' ? -1 : 1);
        return read && minute <= 59;
    }

    private static bool Digits(ReadOnlySpan<byte> text, int at, int count, out int value)
    {
        value = 0;
        for (int i = at; i < at + count; i++)
        {
            if (!char.IsAsciiDigit((char)text[i]))
            {
                return false;
            }

            value = (value * 10) + (text[i] - '0');
        }

        return true;
    }
}
