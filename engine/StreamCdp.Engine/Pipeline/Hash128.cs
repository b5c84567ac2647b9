using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace StreamCdp.Engine.Pipeline;

/// <summary>128-bit hash of identifiers: the same on every machine and in every version, for partitions, maps and derived ids.</summary>
/// <remarks>
/// SipHash-2-4 and not MurmurHash3 or XXH128, because the values come from browsers: for those two anybody can compute two values with the same
/// 128 bits, and two such identifiers would be one person. The key is fixed, because all instances and replays must agree.
/// Cost: 0 B and about 1 ns a byte. Source: Aumasson, Bernstein, "SipHash: a fast short-input PRF", Indocrypt 2012, with the 128-bit output of
/// their reference code (github.com/veorq/SipHash, CC0); tested with its vectors.
/// </remarks>
internal static class Hash128
{
    /// <summary>Separates type and value of an identifier; no type has it in its name.</summary>
    public const byte Separator = (byte)':';

    private const ulong Key0 = 0x8f1d_6b7a_35c2_e049;
    private const ulong Key1 = 0x52a4_c09e_d713_68bf;

    /// <summary>Hash of bytes with the fixed key.</summary>
    public static UInt128 Of(ReadOnlySpan<byte> bytes) => Of(bytes, Key0, Key1);

    /// <summary>Hash of an identifier: of <c>type:value</c>.</summary>
    /// <param name="type">Name of the type, UTF-8.</param>
    /// <param name="value">The normalised value, UTF-8.</param>
    public static UInt128 OfIdentifier(ReadOnlySpan<byte> type, ReadOnlySpan<byte> value)
    {
        int length = type.Length + 1 + value.Length;
        byte[]? rented = null;
        Span<byte> text = length <= 512 ? stackalloc byte[512] : (rented = ArrayPool<byte>.Shared.Rent(length));
        type.CopyTo(text);
        text[type.Length] = Separator;
        value.CopyTo(text[(type.Length + 1)..]);
        UInt128 hash = Of(text[..length]);
        if (rented is not null)
        {
            ArrayPool<byte>.Shared.Return(rented);
        }

        return hash;
    }

    /// <summary>Hash with another key (a workspace's secret, or the test vectors).</summary>
    public static UInt128 Of(ReadOnlySpan<byte> bytes, ulong key0, ulong key1)
    {
        ulong v0 = key0 ^ 0x736f6d6570736575;
        ulong v1 = key1 ^ 0x646f72616e646f6d ^ 0xee;
        ulong v2 = key0 ^ 0x6c7967656e657261;
        ulong v3 = key1 ^ 0x7465646279746573;
        ulong last = (ulong)bytes.Length << 56;
        while (bytes.Length >= 8)
        {
            Absorb(BinaryPrimitives.ReadUInt64LittleEndian(bytes), ref v0, ref v1, ref v2, ref v3);
            bytes = bytes[8..];
        }

        for (int i = 0; i < bytes.Length; i++)
        {
            last |= (ulong)bytes[i] << (8 * i);
        }

        Absorb(last, ref v0, ref v1, ref v2, ref v3);
        v2 ^= 0xee;
        Rounds4(ref v0, ref v1, ref v2, ref v3);
        ulong first = v0 ^ v1 ^ v2 ^ v3;
        v1 ^= 0xdd;
        Rounds4(ref v0, ref v1, ref v2, ref v3);
        ulong second = v0 ^ v1 ^ v2 ^ v3;
        return new UInt128(BinaryPrimitives.ReverseEndianness(first), BinaryPrimitives.ReverseEndianness(second)); // Big endian: the bytes of the reference, read as a number.
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Absorb(ulong word, ref ulong v0, ref ulong v1, ref ulong v2, ref ulong v3)
    {
        v3 ^= word;
        Round(ref v0, ref v1, ref v2, ref v3);
        Round(ref v0, ref v1, ref v2, ref v3);
        v0 ^= word;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)] // One call that is not inlined would keep the four words in memory instead of registers.
    private static void Rounds4(ref ulong v0, ref ulong v1, ref ulong v2, ref ulong v3)
    {
        Round(ref v0, ref v1, ref v2, ref v3);
        Round(ref v0, ref v1, ref v2, ref v3);
        Round(ref v0, ref v1, ref v2, ref v3);
        Round(ref v0, ref v1, ref v2, ref v3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Round(ref ulong v0, ref ulong v1, ref ulong v2, ref ulong v3)
    {
        v0 += v1;
        v2 += v3;
        v1 = BitOperations.RotateLeft(v1, 13) ^ v0;
        v3 = BitOperations.RotateLeft(v3, 16) ^ v2;
        v0 = BitOperations.RotateLeft(v0, 32);
        v2 += v1;
        v0 += v3;
        v1 = BitOperations.RotateLeft(v1, 17) ^ v2;
        v3 = BitOperations.RotateLeft(v3, 21) ^ v0;
        v2 = BitOperations.RotateLeft(v2, 32);
    }
}

/// <summary>Which partition of <c>events</c> a sender writes to.</summary>
internal static class EventPartition
{
    /// <summary>Top bits of the sender's hash, spread over the partitions: equal hashes, equal partition.</summary>
    public static int Of(UInt128 senderHash, int partitions)
    {
        Debug.Assert(partitions > 0, "A log has a partition.");
        return (int)Math.BigMul((ulong)(senderHash >> 64), (ulong)partitions, out _);
    }
}
