using System.Diagnostics;
using System.Globalization;
using System.Text;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Text inside JSON, without allocation.</summary>
internal static class JsonText
{
    /// <summary>The text that an escaped JSON string stands for.</summary>
    /// <param name="escaped">Between the quotes.</param>
    /// <param name="buffer">Grown where it is too small; the result lies in it.</param>
    /// <remarks>Half a surrogate pair, which UTF-8 cannot express, becomes U+FFFD.</remarks>
    public static ReadOnlySpan<byte> Unescape(ReadOnlySpan<byte> escaped, scoped ref byte[] buffer)
    {
        if (buffer.Length < escaped.Length)
        {
            buffer = new byte[Math.Max(escaped.Length, 256)];
        }

        int length = 0;
        while (!escaped.IsEmpty)
        {
            int plain = escaped.IndexOf((byte)'\\');
            if (plain < 0 || plain == escaped.Length - 1)
            {
                plain = escaped.Length;
            }

            escaped[..plain].CopyTo(buffer.AsSpan(length));
            length += plain;
            escaped = escaped[plain..];
            if (escaped.IsEmpty)
            {
                break;
            }

            if (escaped[1] == 'u')
            {
                Rune rune = ReadRune(ref escaped);
                length += rune.EncodeToUtf8(buffer.AsSpan(length)); // 6 bytes of escape become at most 3, 12 become 4.
                continue;
            }

            buffer[length++] = escaped[1] switch
            {
                (byte)'b' => (byte)'\b',
                (byte)'f' => (byte)'\f',
                (byte)'n' => (byte)'\n',
                (byte)'r' => (byte)'\r',
                (byte)'t' => (byte)'\t',
                byte same => same,
            };
            escaped = escaped[2..];
        }

        return buffer.AsSpan(0, length);
    }

    /// <summary>Copies a JSON value without the white space between its tokens.</summary>
    /// <returns>Bytes written, −1 where the target is too small.</returns>
    public static int Minify(ReadOnlySpan<byte> json, Span<byte> target)
    {
        int length = 0;
        bool inText = false;
        for (int i = 0; i < json.Length; i++)
        {
            byte next = json[i];
            if (!inText && next is (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n')
            {
                continue;
            }

            bool isEscape = inText && next == '\\';
            if (length + (isEscape ? 2 : 1) > target.Length)
            {
                return -1;
            }

            target[length++] = next;
            if (isEscape)
            {
                target[length++] = json[++i];
            }
            else if (next == '"')
            {
                inText = !inText;
            }
        }

        return length;
    }

    private static Rune ReadRune(ref ReadOnlySpan<byte> escaped)
    {
        char first = ReadUnit(ref escaped);
        if (char.IsHighSurrogate(first) && escaped is [(byte)'\\', (byte)'u', ..])
        {
            ReadOnlySpan<byte> after = escaped;
            char second = ReadUnit(ref after);
            if (char.IsLowSurrogate(second))
            {
                escaped = after;
                return new Rune(first, second);
            }
        }

        return Rune.TryCreate(first, out Rune rune) ? rune : Rune.ReplacementChar;
    }

    private static char ReadUnit(ref ReadOnlySpan<byte> escaped)
    {
        Debug.Assert(escaped.Length >= 6, "The text was read as JSON before.");

        bool parsed = ushort.TryParse(escaped.Slice(2, 4), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ushort unit);
        Debug.Assert(parsed, "The text was read as JSON before.");
        escaped = escaped[6..];
        return (char)unit;
    }
}
