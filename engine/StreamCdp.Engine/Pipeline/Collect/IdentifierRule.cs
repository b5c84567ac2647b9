using System.Collections.Frozen;
using System.Diagnostics.CodeAnalysis;
using System.Text;
using System.Text.RegularExpressions;
using PhoneNumbers;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>What becomes of a text that may be an identifier.</summary>
internal enum IdentifierOutcome : byte
{
    /// <summary>An identifier.</summary>
    Taken,

    /// <summary>Nothing was sent.</summary>
    Absent,

    /// <summary>Not a value of this type: dropped, counted.</summary>
    Invalid,

    /// <summary>A value that stands for nobody: dropped, counted.</summary>
    Blocked,
}

/// <summary>Trims, normalises and blocks values of one identifier type (RULES.md §1.3, §1.4). Not safe for concurrent use.</summary>
/// <remarks>Cost: 0 B, except phone numbers without country code (libphonenumber works on strings) and patterns.</remarks>
internal sealed class IdentifierRule
{
    /// <summary>Longest identifier, bytes of UTF-8: longer ones are invalid, so that a profile with very many fits its store.</summary>
    public const int MaxBytes = 512;

    /// <summary>Longest text that libphonenumber is asked about: its own limit is 250 characters.</summary>
    private const int MaxPhoneText = 250;

    private static readonly FrozenSet<string> s_blockedDefaults = new[]
    {
        "null", "none", "undefined", "nil", "NaN", "true", "false", "0", "-1", "anonymous", "guest", "unknown", "not_authenticated", "distinct_id", "id", "email", "[object Object]", "N/A",
    }.ToFrozenSet(StringComparer.OrdinalIgnoreCase);

    private static readonly FrozenSet<string>.AlternateLookup<ReadOnlySpan<char>> s_blockedDefaultsBySpan = s_blockedDefaults.GetAlternateLookup<ReadOnlySpan<char>>();
    private static readonly int s_longestBlockedDefault = s_blockedDefaults.Max(text => text.Length);

    private readonly IdentifierDefinition _definition;
    private readonly HashSet<byte[]>.AlternateLookup<ReadOnlySpan<byte>> _blocked;
    private readonly Regex[] _patterns;
    private byte[] _normalised = new byte[256];
    private char[] _chars = new char[256];

    /// <exception cref="NotSupportedException">A pattern needs backtracking (look-around, back-reference): such a pattern can be made to run for hours by a value.</exception>
    public IdentifierRule(IdentifierDefinition definition)
    {
        _definition = definition;
        var blocked = new HashSet<byte[]>(definition.Blocked.Select(Encoding.UTF8.GetBytes), new BytesComparer());
        _blocked = blocked.GetAlternateLookup<ReadOnlySpan<byte>>();
        _patterns = [.. definition.BlockedPatterns.Select(pattern => new Regex($@"\A(?:{pattern})\z", RegexOptions.NonBacktracking | RegexOptions.CultureInvariant))];
    }

    /// <summary>Applies the rule.</summary>
    /// <param name="text">UTF-8, unescaped, as sent.</param>
    /// <param name="value">The identifier; valid until the next call, or as long as <paramref name="text"/>.</param>
    public IdentifierOutcome Apply(ReadOnlySpan<byte> text, out ReadOnlySpan<byte> value)
    {
        value = Trim(text);
        if (value.IsEmpty)
        {
            return IdentifierOutcome.Absent;
        }

        bool valid = _definition.Normalize switch
        {
            IdentifierNormalization.Email => TryNormaliseEmail(ref value),
            IdentifierNormalization.E164 => TryNormalisePhone(ref value),
            _ => true,
        };
        valid = valid && value.Length <= MaxBytes;
        return (!valid, valid && IsBlocked(value)) switch
        {
            (true, _) => IdentifierOutcome.Invalid,
            (_, true) => IdentifierOutcome.Blocked,
            _ => IdentifierOutcome.Taken,
        };
    }

    /// <summary>Without Unicode White_Space at both ends.</summary>
    public static ReadOnlySpan<byte> Trim(ReadOnlySpan<byte> text)
    {
        while (!text.IsEmpty && text[0] is <= (byte)' ' or >= 0x80 && Rune.DecodeFromUtf8(text, out Rune first, out int length) == System.Buffers.OperationStatus.Done && Rune.IsWhiteSpace(first))
        {
            text = text[length..];
        }

        while (!text.IsEmpty && text[^1] is <= (byte)' ' or >= 0x80 && Rune.DecodeLastFromUtf8(text, out Rune last, out int length) == System.Buffers.OperationStatus.Done && Rune.IsWhiteSpace(last))
        {
            text = text[..^length];
        }

        return text;
    }

    private bool TryNormaliseEmail(ref ReadOnlySpan<byte> value)
    {
        int at = value.IndexOf((byte)'@');
        if (at <= 0 || at == value.Length - 1 || value[(at + 1)..].Contains((byte)'@'))
        {
            return false;
        }

        Reserve(ref _normalised, value.Length * 2); // A letter can need more bytes in lower case: U+023A takes two, U+2C65 three.
        int written = 0;
        for (int read = 0; read < value.Length;)
        {
            byte unit = value[read];
            if (unit < 0x80)
            {
                if (char.IsWhiteSpace((char)unit))
                {
                    return false;
                }

                _normalised[written++] = unit is >= (byte)'A' and <= (byte)'Z' ? (byte)(unit | 0x20) : unit;
                read++;
                continue;
            }

            Rune.DecodeFromUtf8(value[read..], out Rune rune, out int length);
            if (Rune.IsWhiteSpace(rune))
            {
                return false;
            }

            written += Rune.ToLowerInvariant(rune).EncodeToUtf8(_normalised.AsSpan(written));
            read += length;
        }

        value = _normalised.AsSpan(0, written);
        return true;
    }

    private bool TryNormalisePhone(ref ReadOnlySpan<byte> value)
    {
        Reserve(ref _normalised, value.Length + 32);
        int written = 0;
        for (int read = 0; read < value.Length;)
        {
            byte unit = value[read];
            if (unit < 0x80)
            {
                read++;
                if (!char.IsWhiteSpace((char)unit) && !"-.()/"u8.Contains(unit))
                {
                    _normalised[written++] = unit;
                }

                continue;
            }

            Rune.DecodeFromUtf8(value[read..], out Rune rune, out int length);
            if (!Rune.IsWhiteSpace(rune))
            {
                value.Slice(read, length).CopyTo(_normalised.AsSpan(written));
                written += length;
            }

            read += length;
        }

        ReadOnlySpan<byte> number = _normalised.AsSpan(0, written);
        if (number.StartsWith("00"u8))
        {
            _normalised[1] = (byte)'+';
            number = number[1..];
        }

        ReadOnlySpan<byte> digits = number.IsEmpty ? number : number[1..];
        if (digits.Length is >= 7 and <= 15 && number[0] == (byte)'+' && digits[0] != (byte)'0' && !digits.ContainsAnyExceptInRange((byte)'0', (byte)'9'))
        {
            value = number;
            return true;
        }

        return TryReadOther(number, ref value);
    }

    private bool TryReadOther(ReadOnlySpan<byte> number, ref ReadOnlySpan<byte> value)
    {
        if (_definition.DefaultCountry is null || number.Length is 0 or > MaxPhoneText)
        {
            return false;
        }

        try
        {
            PhoneNumber parsed = Phones.Util.Parse(Encoding.UTF8.GetString(number), _definition.DefaultCountry);
            if (!Phones.Util.IsValidNumber(parsed))
            {
                return false;
            }

            int length = Encoding.UTF8.GetBytes(Phones.Util.Format(parsed, PhoneNumberFormat.E164), _normalised);
            value = _normalised.AsSpan(0, length);
            return true;
        }
        catch (NumberParseException)
        {
            return false; // The library's way to say "no number".
        }
    }

    private bool IsBlocked(ReadOnlySpan<byte> value)
    {
        if ((_definition.BlockedDefaults && IsBlockedByDefault(value)) || _blocked.Contains(value))
        {
            return true;
        }

        if (_patterns.Length == 0)
        {
            return false;
        }

        Reserve(ref _chars, value.Length);
        ReadOnlySpan<char> chars = _chars.AsSpan(0, Encoding.UTF8.GetChars(value, _chars));
        foreach (Regex pattern in _patterns)
        {
            if (pattern.IsMatch(chars))
            {
                return true;
            }
        }

        return false;
    }

    private static bool IsBlockedByDefault(ReadOnlySpan<byte> value)
    {
        if (value.Length > 2 && value[0] == value[^1] && value[0] is (byte)'"' or (byte)'\'')
        {
            value = value[1..^1];
        }

        if (!value.ContainsAnyExcept((byte)'0', (byte)'-'))
        {
            return true;
        }

        if (value.Length > s_longestBlockedDefault)
        {
            return false;
        }

        Span<char> chars = stackalloc char[32];
        return s_blockedDefaultsBySpan.Contains(chars[..Encoding.UTF8.GetChars(value, chars)]);
    }

    private static void Reserve<T>(ref T[] array, int length)
    {
        if (array.Length < length)
        {
            array = new T[Math.Max(length, array.Length * 2)];
        }
    }

    /// <summary>Loaded with the first number that needs it: its tables are large.</summary>
    private static class Phones
    {
        public static readonly PhoneNumberUtil Util = PhoneNumberUtil.GetInstance();
    }

    private sealed class BytesComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
    {
        public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

        public int GetHashCode([DisallowNull] byte[] obj) => GetHashCode(obj.AsSpan());

        public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

        public int GetHashCode(ReadOnlySpan<byte> alternate)
        {
            HashCode hash = default;
            hash.AddBytes(alternate);
            return hash.ToHashCode();
        }

        public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();
    }
}
