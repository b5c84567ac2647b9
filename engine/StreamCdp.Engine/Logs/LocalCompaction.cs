using System.Security.Cryptography;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using StreamCdp.Engine.Pipeline;

namespace StreamCdp.Engine.Logs;

/// <summary>Rewrites the closed segments of a compacted log with only the last record of each key.</summary>
/// <remarks>
/// One pass: note the last offset of each key in the segments written since the last pass (128 bits of hash and 8 bytes of offset, in a table at most
/// three quarters full and doubled when it is: 32 to 64 bytes per key; <see cref="LocalLogOptions.CompactionBytes"/> bounds it, but one segment's keys are
/// always held), then write all closed segments up to there again without the records that have a later one. Offsets stay; gaps arise.
/// Crash-safe: new files are complete and synced before they get their names, and a name tells which files it stands for.
/// SipHash with a secret key, because identifiers come from strangers: a collision would delete another key's record.
/// Source: the method of Kafka's log cleaner.
/// </remarks>
internal static class LocalCompaction
{
    private const int FrameBytes = 256 << 10;

    /// <returns>True where something was rewritten; there may be more to do.</returns>
    public static bool Run(LocalPartition partition, LocalLogOptions options, long nowMs, ILogger logger)
    {
        LocalSegment[] closed = [.. partition.Segments.SkipLast(1)];
        int firstDirty = Array.FindIndex(closed, segment => !segment.Compacted);
        if (firstDirty < 0)
        {
            return false;
        }

        long before = closed.Sum(segment => segment.DurableLength);
        long dirty = closed.Where(segment => !segment.Compacted).Sum(segment => segment.DurableLength);
        if (dirty < before * options.CompactionRatio)
        {
            return false;
        }

        LastOffsets lastOffsets = new();
        LocalFrameScanner scanner = new(64 << 10);
        int end = firstDirty;
        do
        {
            ReadKeys(partition, closed[end], scanner, lastOffsets);
            end++;
        }
        while (end < closed.Length && lastOffsets.Bytes < options.CompactionBytes);

        LocalSegment[] old = closed[..end];
        before = old.Sum(segment => segment.DurableLength);
        List<(string Temporary, LocalSegment Segment)> written = [];
        for (int i = 0; i < old.Length;)
        {
            written.Add(Rewrite(partition, old, ref i, scanner, lastOffsets, options, nowMs - (long)options.TombstoneRetention.TotalMilliseconds));
        }

        if (!partition.TryReplace(old, written))
        {
            foreach ((string temporary, _) in written)
            {
                File.Delete(temporary);
            }

            return false;
        }

        logger.Compacted(partition.Log, partition.Number, old.Length, before, written.Sum(one => one.Segment.DurableLength));
        return true;
    }

    private static void ReadKeys(LocalPartition partition, LocalSegment segment, LocalFrameScanner scanner, LastOffsets lastOffsets)
    {
        using SafeFileHandle file = LocalFiles.OpenForRead(segment.Path);
        scanner.Start(file, 0);
        while (NextFrame(partition, segment, scanner))
        {
            while (scanner.TryEntry(out LogRecord record))
            {
                lastOffsets.Set(record.Key, record.Offset);
            }
        }
    }

    /// <summary>Writes one new file from as many segments as it has room for.</summary>
    private static (string Temporary, LocalSegment Segment) Rewrite(
        LocalPartition partition, LocalSegment[] old, ref int next, LocalFrameScanner scanner, LastOffsets lastOffsets, LocalLogOptions options, long dropTombstonesUpToMs)
    {
        long first = old[next].BaseOffset;
        string temporary = Path.Combine(partition.Directory, $"{first:d20}.tmp");
        using SafeFileHandle to = LocalFiles.OpenForWrite(temporary, FileMode.Create);
        Output output = new(to, options);
        do
        {
            LocalSegment segment = old[next];
            using SafeFileHandle file = LocalFiles.OpenForRead(segment.Path);
            scanner.Start(file, 0);
            while (NextFrame(partition, segment, scanner))
            {
                while (scanner.TryEntry(out LogRecord record))
                {
                    bool isLast = lastOffsets.Get(record.Key) <= record.Offset;
                    if (isLast && !(record.Value.IsEmpty && record.TimestampMs <= dropTombstonesUpToMs))
                    {
                        output.Add(temporary, record);
                    }
                }
            }

            next++;
        }
        while (next < old.Length && output.Length + old[next].DurableLength <= options.SegmentBytes);

        output.Flush(temporary);
        RandomAccess.FlushToDisk(to);
        long behind = old[next - 1].NextOffset;
        LocalSegment result = new(LocalSegment.PathOfCompacted(partition.Directory, first, behind), first, behind, compacted: true) { DurableLength = output.Length };
        return (temporary, result);
    }

    private static bool NextFrame(LocalPartition partition, LocalSegment segment, LocalFrameScanner scanner) =>
        scanner.Next(segment.DurableLength) switch
        {
            LocalScan.Frame => true,
            LocalScan.End => false,
            _ => throw new LogCorruptException(partition.Log, partition.Number, segment.BaseOffset, $"the frame at byte {scanner.Position} of {segment.Path} is damaged."),
        };

    /// <summary>Frames on their way into a compacted file.</summary>
    private sealed class Output(SafeFileHandle file, LocalLogOptions options)
    {
        private byte[] _buffer = new byte[FrameBytes];
        private int _used;
        private LocalFrameHeader _header;

        public long Length { get; private set; }

        public void Add(string path, in LogRecord record)
        {
            int most = LocalFrame.EntryOverhead + record.Key.Length + record.Value.Length;
            if (_used > 0 && (_used + most > FrameBytes || record.Offset - _header.FirstOffset > int.MaxValue))
            {
                Flush(path);
            }

            if (_used == 0)
            {
                _used = LocalFrame.HeaderBytes;
                _header = new LocalFrameHeader { FirstOffset = record.Offset, BaseTimestampMs = record.TimestampMs, MaxTimestampMs = record.TimestampMs };
            }

            if (_buffer.Length < _used + most)
            {
                Array.Resize(ref _buffer, _used + most);
            }

            _used += LocalFrame.WriteEntry(
                _buffer.AsSpan(_used), (ulong)(record.Offset - _header.FirstOffset), record.TimestampMs - _header.BaseTimestampMs, record.Key, record.Value);
            _header = new LocalFrameHeader
            {
                Length = _used,
                Count = _header.Count + 1,
                FirstOffset = _header.FirstOffset,
                NextOffset = record.Offset + 1,
                BaseTimestampMs = _header.BaseTimestampMs,
                MaxTimestampMs = Math.Max(_header.MaxTimestampMs, record.TimestampMs),
            };
        }

        public void Flush(string path)
        {
            if (_used == 0)
            {
                return;
            }

            Span<byte> frame = _buffer.AsSpan(0, _used);
            LocalFrame.WriteHeader(frame, _header);
            LocalFrame.Seal(frame, unsyncedBefore: 0);
            options.BeforeWrite?.Invoke(path, frame.Length);
            RandomAccess.Write(file, frame, Length);
            Length += frame.Length;
            _used = 0;
        }
    }

    /// <summary>Hash of key → last offset, open addressing.</summary>
    private sealed class LastOffsets
    {
        private readonly ulong _secret0 = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong)));
        private readonly ulong _secret1 = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong)));
        private UInt128[] _hashes = new UInt128[1 << 12];
        private long[] _offsets = new long[1 << 12];
        private int _count;

        public long Bytes => _hashes.Length * 24L;

        public void Set(ReadOnlySpan<byte> key, long offset)
        {
            if (_count > _hashes.Length / 4 * 3)
            {
                Grow();
            }

            UInt128 hash = Hash(key);
            int at = Find(hash);
            if (_hashes[at] == UInt128.Zero)
            {
                _hashes[at] = hash;
                _count++;
            }

            _offsets[at] = offset;
        }

        /// <summary>−1 for a key that has none here.</summary>
        public long Get(ReadOnlySpan<byte> key)
        {
            int at = Find(Hash(key));
            return _hashes[at] == UInt128.Zero ? -1 : _offsets[at];
        }

        private int Find(UInt128 hash)
        {
            int mask = _hashes.Length - 1;
            int at = (int)(ulong)hash & mask;
            while (_hashes[at] != UInt128.Zero && _hashes[at] != hash)
            {
                at = (at + 1) & mask;
            }

            return at;
        }

        private void Grow()
        {
            UInt128[] hashes = _hashes;
            long[] offsets = _offsets;
            _hashes = new UInt128[hashes.Length * 2];
            _offsets = new long[hashes.Length * 2];
            for (int i = 0; i < hashes.Length; i++)
            {
                if (hashes[i] != UInt128.Zero)
                {
                    int at = Find(hashes[i]);
                    _hashes[at] = hashes[i];
                    _offsets[at] = offsets[i];
                }
            }
        }

        /// <summary>With a secret key: nobody can make two keys that count as one, and it costs a fifth of SHA-256 through OpenSSL.</summary>
        private UInt128 Hash(ReadOnlySpan<byte> key)
        {
            UInt128 value = Hash128.Of(key, _secret0, _secret1);
            return value == UInt128.Zero ? UInt128.One : value;
        }
    }
}
