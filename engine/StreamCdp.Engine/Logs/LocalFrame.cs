using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace StreamCdp.Engine.Logs;

/// <summary>The file format of a local log: frames of up to about 64 KiB (larger for a larger record), one or more for each group commit, back to back.</summary>
/// <remarks>
/// Frame, little endian: magic u32 · length u32 (with header) · CRC-32C u32 of length and of all that follows · records u32 · first offset i64 ·
/// offsets covered u32 · bytes before this frame not yet known to be on the disk u32 · base timestamp i64 · latest timestamp i64 · entries.
/// Entry: offset − first offset varint · timestamp − base zigzag varint · key length varint · key · value length varint · value.
/// The "not yet on the disk" field tells a torn tail from a damaged file: a bad frame may be torn only while no frame stands behind it
/// that was written after the bad one's fsync.
/// </remarks>
internal static class LocalFrame
{
    public const int HeaderBytes = 48;

    /// <summary>More than an entry's varints can take: 5 + 10 + 5 + 5.</summary>
    public const int EntryOverhead = 25;

    /// <summary>No frame is larger: one record of <see cref="LogLimits.RecordBytes"/> and its header fit well. A damaged length beyond it allocates nothing.</summary>
    private const int MaxBytes = 16 << 20;

    public const uint Magic = 0x3147_4C53; // "SLG1"

    public static void WriteHeader(Span<byte> frame, in LocalFrameHeader header)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(frame, Magic);
        BinaryPrimitives.WriteInt32LittleEndian(frame[4..], header.Length);
        BinaryPrimitives.WriteInt32LittleEndian(frame[12..], header.Count);
        BinaryPrimitives.WriteInt64LittleEndian(frame[16..], header.FirstOffset);
        BinaryPrimitives.WriteUInt32LittleEndian(frame[24..], (uint)(header.NextOffset - header.FirstOffset));
        BinaryPrimitives.WriteInt64LittleEndian(frame[32..], header.BaseTimestampMs);
        BinaryPrimitives.WriteInt64LittleEndian(frame[40..], header.MaxTimestampMs);
    }

    /// <summary>Last step before a frame is written.</summary>
    public static void Seal(Span<byte> frame, uint unsyncedBefore)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(frame[28..], unsyncedBefore);
        BinaryPrimitives.WriteUInt32LittleEndian(frame[8..], Checksum(frame));
    }

    /// <summary>False where the bytes cannot be a header.</summary>
    public static bool TryReadHeader(ReadOnlySpan<byte> bytes, out LocalFrameHeader header)
    {
        header = default;
        if (bytes.Length < HeaderBytes || BinaryPrimitives.ReadUInt32LittleEndian(bytes) != Magic)
        {
            return false;
        }

        long first = BinaryPrimitives.ReadInt64LittleEndian(bytes[16..]);
        header = new LocalFrameHeader
        {
            Length = BinaryPrimitives.ReadInt32LittleEndian(bytes[4..]),
            Count = BinaryPrimitives.ReadInt32LittleEndian(bytes[12..]),
            FirstOffset = first,
            NextOffset = first + BinaryPrimitives.ReadUInt32LittleEndian(bytes[24..]),
            UnsyncedBefore = BinaryPrimitives.ReadUInt32LittleEndian(bytes[28..]),
            BaseTimestampMs = BinaryPrimitives.ReadInt64LittleEndian(bytes[32..]),
            MaxTimestampMs = BinaryPrimitives.ReadInt64LittleEndian(bytes[40..]),
        };
        return header.Length is >= HeaderBytes and <= MaxBytes && header.Count >= 0 && first >= 0;
    }

    public static bool IsWhole(ReadOnlySpan<byte> frame) => BinaryPrimitives.ReadUInt32LittleEndian(frame[8..]) == Checksum(frame);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int WriteVarint(Span<byte> to, ulong value)
    {
        int length = 0;
        while (value >= 0x80)
        {
            to[length++] = (byte)(value | 0x80);
            value >>= 7;
        }

        to[length++] = (byte)value;
        return length;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong ReadVarint(ReadOnlySpan<byte> from, ref int at)
    {
        ulong value = 0;
        for (int shift = 0; ; shift += 7)
        {
            byte next = from[at++];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
            {
                return value;
            }
        }
    }

    public static ulong ZigZag(long value) => (ulong)((value << 1) ^ (value >> 63));

    public static long UnZigZag(ulong value) => (long)(value >> 1) ^ -(long)(value & 1);

    /// <summary>Writes one entry; the caller made room for <see cref="EntryOverhead"/> and both spans.</summary>
    public static int WriteEntry(Span<byte> to, ulong offsetDelta, long timestampDelta, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        int at = WriteVarint(to, offsetDelta);
        at += WriteVarint(to[at..], ZigZag(timestampDelta));
        at += WriteVarint(to[at..], (ulong)key.Length);
        key.CopyTo(to[at..]);
        at += key.Length;
        at += WriteVarint(to[at..], (ulong)value.Length);
        value.CopyTo(to[at..]);
        return at + value.Length;
    }

    private static uint Checksum(ReadOnlySpan<byte> frame)
    {
        uint crc = BitOperations.Crc32C(uint.MaxValue, BinaryPrimitives.ReadUInt32LittleEndian(frame[4..]));
        ReadOnlySpan<byte> rest = frame[12..];
        while (rest.Length >= 32)
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(rest));
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(rest[8..]));
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(rest[16..]));
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(rest[24..]));
            rest = rest[32..];
        }

        foreach (byte one in rest)
        {
            crc = BitOperations.Crc32C(crc, one);
        }

        return ~crc;
    }
}

/// <summary>What a frame's header says.</summary>
internal readonly struct LocalFrameHeader
{
    public int Length { get; init; }

    public int Count { get; init; }

    public long FirstOffset { get; init; }

    public long NextOffset { get; init; }

    public uint UnsyncedBefore { get; init; }

    public long BaseTimestampMs { get; init; }

    public long MaxTimestampMs { get; init; }
}
