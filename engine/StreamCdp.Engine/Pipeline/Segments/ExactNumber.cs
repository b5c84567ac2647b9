using System.Buffers.Text;
using System.Diagnostics;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>The numbers of <c>sum</c> and <c>avg</c>: whole multiples of 10⁻¹⁰ in 128 bits.</summary>
/// <remarks>
/// RULES.md §6.1 wants exact sums of values below 10¹⁵ with at most 10 decimals. One value is below 10²⁵ units, so 128 bits hold 10¹³ of the largest values:
/// unlike System.Decimal, which rounds from the 29th digit on, the sum cannot lose a digit and does not depend on the order.
/// Decimals are those of the value, not of its text: 1.500000000000 has one, 15e-1 has one, 1e-11 has eleven.
/// </remarks>
internal static class ExactNumber
{
    /// <summary>Units per 1.</summary>
    public const long UnitsPerOne = 10_000_000_000;

    /// <summary>Longest text of <see cref="Format"/>.</summary>
    public const int MaxTextBytes = 48;

    private const int Decimals = 10;
    private const int MaxWholeDigits = 15;
    private const int MaxChunkDigits = 19;
    private const long ExactInDouble = 1L << 53;

    private static readonly UInt128[] s_powers = Powers();

    /// <summary>Whether a text is a JSON number and nothing else.</summary>
    public static bool IsJsonNumber(ReadOnlySpan<byte> text)
    {
        int at = !text.IsEmpty && text[0] == '-' ? 1 : 0;
        int whole = Digits(text, at);
        if (whole == 0 || (whole > 1 && text[at] == '0'))
        {
            return false;
        }

        at += whole;
        if (at < text.Length && text[at] == '.')
        {
            int fraction = Digits(text, at + 1);
            if (fraction == 0)
            {
                return false;
            }

            at += 1 + fraction;
        }

        if (at < text.Length && text[at] is (byte)'e' or (byte)'E')
        {
            at++;
            if (at < text.Length && text[at] is (byte)'+' or (byte)'-')
            {
                at++;
            }

            int exponent = Digits(text, at);
            if (exponent == 0)
            {
                return false;
            }

            at += exponent;
        }

        return at == text.Length;
    }

    /// <summary>Reads a JSON number exactly.</summary>
    /// <param name="number">Must be one (<see cref="IsJsonNumber"/>).</param>
    /// <param name="units">The value in units of 10⁻¹⁰.</param>
    /// <returns>False where it is 10¹⁵ or more, or has more than 10 decimals.</returns>
    public static bool TryParse(ReadOnlySpan<byte> number, out Int128 units)
    {
        Debug.Assert(IsJsonNumber(number), "Not a JSON number.");

        units = 0;
        bool negative = number[0] == '-';
        int at = negative ? 1 : 0;
        UInt128 digits = 0;
        ulong chunk = 0;     // The last `chunkDigits` of the digits, until they are joined.
        int chunkDigits = 0;
        int significant = 0; // Decimal digits in `digits`.
        int zeros = 0;       // Zeros after them that are not in `digits` yet.
        int fraction = 0;    // Digits after the point that were read.
        bool inFraction = false;
        for (; at < number.Length; at++)
        {
            byte next = number[at];
            if (next == '.')
            {
                inFraction = true;
                continue;
            }

            if (next is (byte)'e' or (byte)'E')
            {
                break;
            }

            fraction += inFraction ? 1 : 0;
            if (next == '0')
            {
                zeros += significant > 0 ? 1 : 0;
                continue;
            }

            significant += zeros + 1;
            if (significant > MaxWholeDigits + Decimals)
            {
                return false;
            }

            if (chunkDigits + zeros + 1 > MaxChunkDigits)
            {
                digits = (digits * s_powers[chunkDigits]) + chunk;
                chunk = 0;
                chunkDigits = 0;
            }

            chunkDigits += zeros + 1;
            for (; zeros > 0; zeros--)
            {
                chunk *= 10;
            }

            chunk = (chunk * 10) + (uint)(next - '0');
        }

        if (significant == 0)
        {
            return true;
        }

        long exponent = Exponent(number[at..]) - fraction + zeros; // value = digits · 10^exponent, the last digit is not 0.
        if (significant + exponent > MaxWholeDigits || exponent < -Decimals)
        {
            return false;
        }

        digits = significant == chunkDigits ? chunk : (digits * s_powers[chunkDigits]) + chunk;
        digits *= s_powers[(int)exponent + Decimals];
        units = negative ? -(Int128)digits : (Int128)digits;
        return true;
    }

    /// <summary>The nearest double.</summary>
    public static double ToDouble(Int128 units)
    {
        if (units < ExactInDouble && units > -ExactInDouble)
        {
            return (double)(long)units / UnitsPerOne; // Both are exact in a double, so the division rounds once.
        }

        if (units <= long.MaxValue && units >= long.MinValue)
        {
            const long UnitsPerCent = UnitsPerOne / 100;
            long cents = (long)units / UnitsPerCent;
            if (cents * UnitsPerCent == (long)units && cents is < ExactInDouble and > -ExactInDouble)
            {
                return cents / 100.0;
            }
        }

        Span<byte> text = stackalloc byte[MaxTextBytes];
        int length = Format(units, text);
        bool parsed = Utf8Parser.TryParse(text[..length], out double value, out int consumed);
        Debug.Assert(parsed && consumed == length, "Format writes plain numbers.");
        return value;
    }

    /// <summary>Writes the exact value as a JSON number without exponent.</summary>
    /// <returns>Bytes written.</returns>
    public static int Format(Int128 units, Span<byte> text)
    {
        Debug.Assert(text.Length >= MaxTextBytes, "Too small.");

        UInt128 rest = units < 0 ? (UInt128)(-units) : (UInt128)units;
        Span<byte> reversed = stackalloc byte[MaxTextBytes];
        int count = 0;
        for (int i = 0; rest > 0 || i <= Decimals; i++)
        {
            (UInt128 quotient, UInt128 digit) = rest <= ulong.MaxValue ? ((ulong)rest / 10, (ulong)rest % 10) : UInt128.DivRem(rest, 10);
            rest = quotient;
            if (i == Decimals && count > 0)
            {
                reversed[count++] = (byte)'.';
            }

            if (i >= Decimals || count > 0 || digit != 0)
            {
                reversed[count++] = (byte)('0' + (int)digit);
            }
        }

        if (units < 0)
        {
            reversed[count++] = (byte)'-';
        }

        for (int i = 0; i < count; i++)
        {
            text[i] = reversed[count - 1 - i];
        }

        return count;
    }

    private static UInt128[] Powers()
    {
        var powers = new UInt128[MaxWholeDigits + Decimals + 1];
        powers[0] = 1;
        for (int i = 1; i < powers.Length; i++)
        {
            powers[i] = powers[i - 1] * 10;
        }

        return powers;
    }

    private static int Digits(ReadOnlySpan<byte> text, int start)
    {
        int end = start;
        while (end < text.Length && char.IsAsciiDigit((char)text[end]))
        {
            end++;
        }

        return end - start;
    }

    private static long Exponent(ReadOnlySpan<byte> text)
    {
        const long Huge = 1_000_000_000; // Payloads are shorter than this, so no count of digits can bring such a value back.
        if (text.IsEmpty)
        {
            return 0;
        }

        long value = 0;
        foreach (byte digit in text[1..])
        {
            if (char.IsAsciiDigit((char)digit))
            {
                value = Math.Min(Huge, (value * 10) + (digit - '0'));
            }
        }

        return text[1] == '-' ? -value : value;
    }
}
