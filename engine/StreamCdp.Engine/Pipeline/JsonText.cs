using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Engine.Pipeline;

/// <summary>Text inside JSON, as UTF-8, without exceptions and without allocating.</summary>
/// <remarks>Utf8JsonReader throws on an escape that is half a surrogate pair (<c>"\ud800"</c>); browsers send such, and one must not stop a stage.</remarks>
internal static class JsonText
{
    /// <summary>Unescapes JSON text that a JSON reader has accepted.</summary>
    /// <param name="escaped">Without the quotes.</param>
    /// <param name="destination">At least as long as <paramref name="escaped"/>: unescaped text is never longer.</param>
    /// <returns>Bytes written. Half a surrogate pair becomes U+FFFD.</returns>
    public static int Unescape(ReadOnlySpan<byte> escaped, Span<byte> destination)
    {
        Debug.Assert(destination.Length >= escaped.Length, "Too little room.");
        int read = 0;
        int written = 0;
        while (read < escaped.Length)
        {
            int plain = escaped[read..].IndexOf((byte)'\\');
            plain = plain < 0 ? escaped.Length - read : plain;
            escaped.Slice(read, plain).CopyTo(destination[written..]);
            read += plain;
            written += plain;
            if (read + 1 >= escaped.Length)
            {
                break;
            }

            byte kind = escaped[read + 1];
            if (kind != (byte)'u')
            {
                destination[written++] = kind switch
                {
                    (byte)'b' => (byte)'\b',
                    (byte)'f' => (byte)'\f',
                    (byte)'n' => (byte)'\n',
                    (byte)'r' => (byte)'\r',
                    (byte)'t' => (byte)'\t',
                    _ => kind,
                };
                read += 2;
                continue;
            }

            int unit = Hex4(escaped, read + 2);
            read += 6;
            if (char.IsHighSurrogate((char)unit) && read + 1 < escaped.Length && escaped[read] == (byte)'\\' && escaped[read + 1] == (byte)'u')
            {
                int low = Hex4(escaped, read + 2);
                if (char.IsLowSurrogate((char)low))
                {
                    read += 6;
                    written += new Rune((char)unit, (char)low).EncodeToUtf8(destination[written..]);
                    continue;
                }
            }

            Rune rune = char.IsSurrogate((char)unit) ? Rune.ReplacementChar : new Rune((char)unit);
            written += rune.EncodeToUtf8(destination[written..]);
        }

        return written;
    }

    /// <summary>The reader stands on a property name or text that says this.</summary>
    public static bool Is(ref Utf8JsonReader reader, ReadOnlySpan<byte> text)
    {
        ReadOnlySpan<byte> value = reader.ValueSpan;
        return reader.ValueIsEscaped ? EscapedIs(value, text) : value.SequenceEqual(text);
    }

    /// <summary>Escaped text says this.</summary>
    public static bool EscapedIs(ReadOnlySpan<byte> escaped, ReadOnlySpan<byte> text)
    {
        if (escaped.Length > text.Length * 6)
        {
            return false; // One byte takes at most six ("\u0061").
        }

        Span<byte> unescaped = escaped.Length <= 512 ? stackalloc byte[512] : new byte[escaped.Length];
        return unescaped[..Unescape(escaped, unescaped)].SequenceEqual(text);
    }

    private static int Hex4(ReadOnlySpan<byte> text, int at)
    {
        int value = 0;
        for (int i = at; i < at + 4; i++)
        {
            value = (value << 4) | (i < text.Length ? Hex(text[i]) : 0);
        }

        return value;
    }

    private static int Hex(byte digit) => digit switch
    {
        >= (byte)'0' and <= (byte)'9' => digit - '0',
        >= (byte)'a' and <= (byte)'f' => digit - 'a' + 10,
        >= (byte)'A' and <= (byte)'F' => digit - 'A' + 10,
        _ => 0,
    };
}
