using Microsoft.Win32.SafeHandles;

namespace StreamCdp.Engine.Logs;

/// <summary>One file of a local log: the records from <see cref="BaseOffset"/> up to the next segment.</summary>
/// <remarks>
/// Names: <c>{base}.log</c> as written, <c>{base}-{next}.log</c> after compaction, which may stand for several older files; where a crash left both,
/// the compacted one holds. All that a reader sees is below <see cref="DurableLength"/>.
/// </remarks>
internal sealed class LocalSegment(string path, long baseOffset, long nextOffset, bool compacted)
{
    private const int IndexStepBytes = 256 << 10;

    private readonly Lock _indexLock = new();
    private readonly List<(long Offset, long Position)> _index = [(baseOffset, 0)];
    private long _durableLength;
    private long _syncedLength;
    private long _nextOffset = nextOffset;
    private long _maxTimestampMs = long.MinValue;
    private bool _maxTimestampKnown;

    public string Path => path;

    public long BaseOffset => baseOffset;

    public bool Compacted => compacted;

    /// <summary>Base of the segment behind this one; <see cref="long.MaxValue"/> for the one being written.</summary>
    public long NextOffset
    {
        get => Volatile.Read(ref _nextOffset);
        set => Volatile.Write(ref _nextOffset, value);
    }

    /// <summary>Bytes that readers may read.</summary>
    public long DurableLength
    {
        get => Volatile.Read(ref _durableLength);
        set => Volatile.Write(ref _durableLength, value);
    }

    /// <summary>Bytes known to be on the disk, where a page-cache log synced it beside the commits.</summary>
    public long SyncedLength
    {
        get => Volatile.Read(ref _syncedLength);
        set => Volatile.Write(ref _syncedLength, value);
    }

    /// <summary>Latest timestamp of its records; reads the file's frames once where it is not known yet.</summary>
    public long MaxTimestampMs
    {
        get
        {
            lock (_indexLock)
            {
                if (!_maxTimestampKnown)
                {
                    using SafeFileHandle file = LocalFiles.OpenForRead(path);
                    _ = Walk(file, 0, long.MaxValue, remember: false);
                    _maxTimestampKnown = true;
                }

                return _maxTimestampMs;
            }
        }
    }

    public static string PathOf(string directory, long baseOffset) => System.IO.Path.Combine(directory, $"{baseOffset:d20}.log");

    public static string PathOfCompacted(string directory, long baseOffset, long nextOffset) =>
        System.IO.Path.Combine(directory, $"{baseOffset:d20}-{nextOffset:d20}.log");

    /// <summary>Called for each frame in the order of the file by the one who writes or first reads it: then nothing has to be read again.</summary>
    public void Note(long position, in LocalFrameHeader frame)
    {
        lock (_indexLock)
        {
            _maxTimestampKnown = true;
            _maxTimestampMs = Math.Max(_maxTimestampMs, frame.MaxTimestampMs);
            AddToIndex(frame.FirstOffset, position);
        }
    }

    /// <summary>Nothing is in it yet, so everything will be noted.</summary>
    public void NoteEmpty()
    {
        lock (_indexLock)
        {
            _maxTimestampKnown = true;
        }
    }

    /// <summary>Position of the first frame with a record at or behind an offset; the segment's end where there is none.</summary>
    public long Find(SafeFileHandle file, long offset)
    {
        lock (_indexLock)
        {
            int low = 0;
            int high = _index.Count - 1;
            while (low < high)
            {
                int middle = (low + high + 1) / 2;
                (low, high) = _index[middle].Offset <= offset ? (middle, high) : (low, middle - 1);
            }

            return Walk(file, _index[low].Position, offset, remember: true);
        }
    }

    private long Walk(SafeFileHandle file, long position, long offset, bool remember)
    {
        Span<byte> header = stackalloc byte[LocalFrame.HeaderBytes];
        long end = DurableLength;
        while (position + LocalFrame.HeaderBytes <= end)
        {
            if (RandomAccess.Read(file, header, position) != header.Length || !LocalFrame.TryReadHeader(header, out LocalFrameHeader frame))
            {
                return position; // The reader will say what is wrong there.
            }

            if (!remember)
            {
                _maxTimestampMs = Math.Max(_maxTimestampMs, frame.MaxTimestampMs);
            }

            if (frame.NextOffset > offset)
            {
                return position;
            }

            AddToIndex(frame.FirstOffset, position);
            position += frame.Length;
        }

        return end;
    }

    private void AddToIndex(long offset, long position)
    {
        if (position >= _index[^1].Position + IndexStepBytes)
        {
            _index.Add((offset, position));
        }
    }
}
