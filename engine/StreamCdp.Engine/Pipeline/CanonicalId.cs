using System.Buffers.Binary;
using System.Globalization;

namespace StreamCdp.Engine.Pipeline;

/// <summary>Text of a canonical profile id: 32 lower-case hex digits. Its bytes are evenly spread, so its first bits choose shards and buckets.</summary>
internal static class CanonicalId
{
    /// <summary>The text.</summary>
    public static string Text(UInt128 id) => id.ToString("x32", CultureInfo.InvariantCulture);

    /// <summary>The text as UTF-8, 32 bytes.</summary>
    public static void WriteText(Span<byte> utf8, UInt128 id)
    {
        Span<byte> bytes = stackalloc byte[16];
        Write(bytes, id);
        Convert.TryToHexStringLower(bytes, utf8, out _); // Not UInt128.TryFormat: it makes one digit at a time, 0.1 µs for an id.
    }

    /// <summary>Reads a text; false where it is not 32 hex digits.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out UInt128 id)
    {
        id = default;
        return text.Length == 32 && UInt128.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out id);
    }

    /// <summary>Reads a text that this class wrote.</summary>
    public static UInt128 Parse(ReadOnlySpan<char> text) => UInt128.Parse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    /// <summary>The shard of a profile.</summary>
    public static int Shard(UInt128 id, int shards) => (int)((ulong)((UInt128)(ulong)(id >> 64) * (ulong)shards >> 64));

    /// <summary>16 bytes, big endian.</summary>
    public static void Write(Span<byte> bytes, UInt128 id) => BinaryPrimitives.WriteUInt128BigEndian(bytes, id);

    /// <summary>From 16 bytes, big endian.</summary>
    public static UInt128 Read(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt128BigEndian(bytes);
}
