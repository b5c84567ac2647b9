using System.Text.Json;
using StreamCdp.Engine.Pipeline.Segments;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Reads the time fields of events: ISO 8601 text or a whole number of milliseconds (RULES.md §1.5, §4.1).</summary>
/// <remarks>
/// Text is read as the engine reads every date (<see cref="IsoDate"/>: also small letters or a space for T and Z, no offset is UTC). A number is a JSON integer of Unix milliseconds,
/// years 1 to 9999.
/// </remarks>
internal static class EventTimestamp
{
    /// <summary>0001-01-01T00:00:00Z, Unix ms.</summary>
    public const long MinMs = -62_135_596_800_000;

    /// <summary>9999-12-31T23:59:59.999Z, Unix ms.</summary>
    public const long MaxMs = 253_402_300_799_999;

    /// <summary>A calendar has this instant. What others wrote to a log need not: a record's time in microseconds lies in the year 55,000.</summary>
    public static bool IsRepresentable(long unixMs) => unixMs is >= MinMs and <= MaxMs;

    /// <summary>The instant, or the nearest that a calendar has: for what is shown and stored, never for computing.</summary>
    public static long Nearest(long unixMs) => Math.Clamp(unixMs, MinMs, MaxMs);

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
            JsonTokenType.String => IsoDate.TryParse(value, out unixMs, out _),
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
}
