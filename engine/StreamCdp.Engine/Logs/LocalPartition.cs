using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace StreamCdp.Engine.Logs;

/// <summary>One partition of a local log: its directory of segments, the blocks that appends go to, and the blocks being committed.</summary>
/// <remarks>
/// Three parties: appends and <see cref="Swap"/> under the log's lock; <see cref="Write"/>, <see cref="Sync"/> and <see cref="Publish"/> on the commit thread;
/// segment lists (readers opening a file, compaction, truncation) under <see cref="Structure"/>.
/// </remarks>
internal sealed class LocalPartition : IDisposable
{
    private readonly LocalLogOptions _options;
    private readonly LocalBufferPool _pool;
    private readonly ILogger _logger;
    private readonly string _directory;
    private readonly int _frameBytes;

    // Appends.
    private List<(byte[] Block, int Used)> _active = [];
    private byte[]? _block;
    private int _used;
    private long _frameFirst;
    private long _frameTimestampMs;
    private long _frameMaxTimestampMs;
    private int _frameCount;
    private long _appendOffset;

    // Commits.
    private List<(byte[] Block, int Used)> _sealed = [];
    private SafeFileHandle? _file;
    private LocalSegment _tail;
    private readonly List<LocalSegment> _new = [];
    private readonly List<long> _rolledLengths = [];
    private long _written;
    private long _synced;
    private long _writtenOffset;
    private bool _directoryChanged;

    private volatile LocalSegment[] _segments;
    private volatile WorkSignal[] _signals = [];
    private long _end;

    public LocalPartition(string log, int number, string directory, LogCleanup cleanup, LocalLogOptions options, LocalBufferPool pool, ILogger logger)
    {
        Log = log;
        Number = number;
        Cleanup = cleanup;
        _directory = directory;
        _options = options;
        _pool = pool;
        _logger = logger;
        _frameBytes = (int)Math.Clamp(options.SegmentBytes / 4, 1024, LocalBufferPool.BlockBytes);
        _segments = Recover();
        _tail = _segments[^1];
        _file = LocalFiles.OpenForWrite(_tail.Path, FileMode.Open);
        _written = _synced = _tail.DurableLength;
        _appendOffset = _writtenOffset = _end;
    }

    public string Log { get; }

    public int Number { get; }

    public LogCleanup Cleanup { get; }

    public string Directory => _directory;

    public Lock Structure { get; } = new();

    /// <summary>In order of offsets; the last is the one being written.</summary>
    public IReadOnlyList<LocalSegment> Segments => _segments;

    public long BeginOffset => _segments[0].BaseOffset;

    public long EndOffset => Volatile.Read(ref _end);

    /// <summary>Something waits in the append buffer.</summary>
    public bool HasAppended => _block is not null;

    /// <summary>Set by maintenance: the segment being written is old enough to be closed.</summary>
    public bool RollWanted { get; set; }

    // ---- Appends, under the log's lock -------------------------------------------------------------------------------------------

    /// <returns>Bytes added to the buffer.</returns>
    public int Append(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
    {
        int most = LocalFrame.EntryOverhead + key.Length + value.Length;
        if (_block is not null && _used + most > _frameBytes)
        {
            EndFrame();
        }

        int before = _used;
        if (_block is null)
        {
            _block = _pool.Rent(LocalFrame.HeaderBytes + most);
            _used = LocalFrame.HeaderBytes;
            before = 0;
            _frameFirst = _appendOffset;
            _frameTimestampMs = timestampMs;
            _frameMaxTimestampMs = timestampMs;
            _frameCount = 0;
        }

        _used += LocalFrame.WriteEntry(_block.AsSpan(_used), (ulong)_frameCount, timestampMs - _frameTimestampMs, key, value);
        _frameMaxTimestampMs = Math.Max(_frameMaxTimestampMs, timestampMs);
        _frameCount++;
        _appendOffset++;
        return _used - before;
    }

    /// <summary>Hands what was appended to the commit thread.</summary>
    public void Swap()
    {
        Debug.Assert(_sealed.Count == 0, "The last commit is not finished.");
        EndFrame();
        (_active, _sealed) = (_sealed, _active);
    }

    /// <summary>Gives the committed blocks back.</summary>
    /// <returns>Bytes that they held.</returns>
    public int Recycle()
    {
        int bytes = 0;
        foreach ((byte[] block, int used) in _sealed)
        {
            bytes += used;
            _pool.Return(block);
        }

        _sealed.Clear();
        return bytes;
    }

    private void EndFrame()
    {
        if (_block is null)
        {
            return;
        }

        LocalFrame.WriteHeader(_block, new LocalFrameHeader
        {
            Length = _used,
            Count = _frameCount,
            FirstOffset = _frameFirst,
            NextOffset = _appendOffset,
            BaseTimestampMs = _frameTimestampMs,
            MaxTimestampMs = _frameMaxTimestampMs,
        });
        _active.Add((_block, _used));
        _block = null;
    }

    // ---- Commits, on the commit thread ---------------------------------------------------------------------------------------------

    /// <summary>Writes the blocks that were handed over; begins new segments where one is full.</summary>
    public void Write()
    {
        foreach ((byte[] block, int used) in _sealed)
        {
            Span<byte> frame = block.AsSpan(0, used);
            _ = LocalFrame.TryReadHeader(frame, out LocalFrameHeader header);
            if (_written > 0 && _written + used > _options.SegmentBytes)
            {
                Roll();
            }

            LocalFrame.Seal(frame, (uint)Math.Min(uint.MaxValue, _written - Math.Max(_synced, _tail.SyncedLength)));
            _options.BeforeWrite?.Invoke(_tail.Path, used);
            RandomAccess.Write(_file!, frame, _written);
            _tail.Note(_written, header);
            _written += used;
            _writtenOffset = header.NextOffset;
        }
    }

    /// <summary>Closes the segment being written and begins the next one, visible with the next <see cref="Publish"/>.</summary>
    public void Roll()
    {
        RollWanted = false;
        if (_written == 0)
        {
            return;
        }

        Sync();
        string path = LocalSegment.PathOf(_directory, _writtenOffset);
        _options.BeforeWrite?.Invoke(path, 0);
        SafeFileHandle file = LocalFiles.OpenForWrite(path, FileMode.CreateNew);
        _file?.Dispose();
        _file = file;
        _tail = new LocalSegment(path, _writtenOffset, long.MaxValue, compacted: false);
        _tail.NoteEmpty();
        _new.Add(_tail);
        _rolledLengths.Add(_written);
        _written = _synced = 0;
        _directoryChanged = true;
    }

    /// <summary>Makes what was written survive a power cut.</summary>
    public void Sync()
    {
        if (_synced < _written)
        {
            RandomAccess.FlushToDisk(_file!);
            _synced = _written;
        }

        if (_directoryChanged)
        {
            LocalFiles.SyncDirectory(_directory);
            _directoryChanged = false;
        }
    }

    /// <summary>Makes what readers see survive a power cut, while commits go on; on the thread of page-cache logs for it.</summary>
    public void SyncPublished()
    {
        LocalSegment tail = _segments[^1];
        long length = tail.DurableLength;
        if (length > tail.SyncedLength)
        {
            try
            {
                using SafeFileHandle file = LocalFiles.OpenForWrite(tail.Path, FileMode.Open); // Its own: a roll closes the commit thread's.
                RandomAccess.FlushToDisk(file);
            }
            catch (FileNotFoundException)
            {
                return; // Closed (so synced) and compacted away meanwhile.
            }

            if (tail.SyncedLength == 0)
            {
                LocalFiles.SyncDirectory(_directory); // It is new.
            }

            tail.SyncedLength = length;
        }
    }

    /// <summary>Shows what was written to the readers.</summary>
    public void Publish()
    {
        if (_new.Count == 0)
        {
            _tail.DurableLength = _written;
        }
        else
        {
            lock (Structure)
            {
                LocalSegment last = _segments[^1];
                for (int i = 0; i < _new.Count; i++)
                {
                    last.DurableLength = _rolledLengths[i];
                    last.NextOffset = _new[i].BaseOffset;
                    last = _new[i];
                }

                last.DurableLength = _written;
                _segments = [.. _segments, .. _new];
            }

            _new.Clear();
            _rolledLengths.Clear();
        }

        Volatile.Write(ref _end, _writtenOffset);
        foreach (WorkSignal signal in _signals)
        {
            signal.Set();
        }
    }

    /// <summary>After a failed commit: takes away, as far as the disk lets it, what was written and never became visible.</summary>
    public void Abandon()
    {
        try
        {
            foreach (LocalSegment segment in _new)
            {
                File.Delete(segment.Path);
            }

            LocalSegment last = _segments[^1];
            using SafeFileHandle file = LocalFiles.OpenForWrite(last.Path, FileMode.Open);
            if (RandomAccess.GetLength(file) > last.DurableLength)
            {
                RandomAccess.SetLength(file, last.DurableLength);
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            _logger.CannotAbandon(error, _directory); // The next opening reads it again: whole frames count, a torn one is cut.
        }
    }

    // ---- Readers -------------------------------------------------------------------------------------------------------------------

    public void AddSignal(WorkSignal signal)
    {
        lock (Structure)
        {
            _signals = [.. _signals, signal];
        }
    }

    public void RemoveSignal(WorkSignal signal)
    {
        lock (Structure)
        {
            int at = Array.IndexOf(_signals, signal);
            if (at >= 0)
            {
                _signals = [.. _signals[..at], .. _signals[(at + 1)..]];
            }
        }
    }

    public bool IsTail(LocalSegment segment) => ReferenceEquals(_segments[^1], segment);

    /// <summary>Opens the segment that has an offset, or the first one behind it.</summary>
    public (LocalSegment Segment, SafeFileHandle File) OpenSegment(long offset)
    {
        lock (Structure) // Files are replaced and deleted under it, so the file belongs to the segment.
        {
            LocalSegment segment = Array.Find(_segments, one => one.NextOffset > offset) ?? _segments[^1];
            return (segment, LocalFiles.OpenForRead(segment.Path));
        }
    }

    // ---- Retention -------------------------------------------------------------------------------------------------------------------

    /// <summary>Deletes closed segments from the beginning.</summary>
    public void DeleteWhile(Func<LocalSegment, bool> mayGo)
    {
        LocalSegment[] gone;
        lock (Structure)
        {
            int count = 0;
            while (count < _segments.Length - 1 && mayGo(_segments[count]))
            {
                count++;
            }

            if (count == 0)
            {
                return;
            }

            gone = _segments[..count];
            _segments = _segments[count..];
            foreach (LocalSegment segment in gone)
            {
                File.Delete(segment.Path);
            }
        }

        LocalFiles.SyncDirectory(_directory);
        _logger.SegmentsDeleted(Log, Number, gone.Length, BeginOffset);
    }

    /// <summary>Puts compacted files in the place of segments; does nothing where some of them are gone meanwhile.</summary>
    public bool TryReplace(IReadOnlyList<LocalSegment> old, IReadOnlyList<(string Temporary, LocalSegment Segment)> replacements)
    {
        lock (Structure)
        {
            if (_segments.Length <= old.Count || !old.SequenceEqual(_segments[..old.Count]))
            {
                return false;
            }

            foreach ((string temporary, LocalSegment segment) in replacements)
            {
                File.Move(temporary, segment.Path, overwrite: true);
            }

            LocalFiles.SyncDirectory(_directory);
            _segments = [.. replacements.Select(one => one.Segment), .. _segments[old.Count..]];
            foreach (LocalSegment segment in old)
            {
                if (!replacements.Any(one => one.Segment.Path == segment.Path))
                {
                    File.Delete(segment.Path);
                }
            }
        }

        LocalFiles.SyncDirectory(_directory);
        return true;
    }

    public void Dispose() => _file?.Dispose();

    // ---- Recovery --------------------------------------------------------------------------------------------------------------------

    private LocalSegment[] Recover()
    {
        if (!System.IO.Directory.Exists(_directory))
        {
            System.IO.Directory.CreateDirectory(_directory);
            LocalFiles.SyncDirectory(Path.GetDirectoryName(_directory)!);
        }

        foreach (string temporary in System.IO.Directory.EnumerateFiles(_directory, "*.tmp").ToList())
        {
            File.Delete(temporary);
        }

        List<LocalSegment> segments = List();
        if (segments.Count == 0 || segments[^1].Compacted)
        {
            long first = segments.Count == 0 ? 0 : segments[^1].NextOffset;
            string path = LocalSegment.PathOf(_directory, first);
            LocalFiles.OpenForWrite(path, FileMode.CreateNew).Dispose();
            LocalFiles.SyncDirectory(_directory);
            segments.Add(new LocalSegment(path, first, long.MaxValue, compacted: false));
        }

        for (int i = 0; i < segments.Count; i++)
        {
            segments[i].DurableLength = new FileInfo(segments[i].Path).Length;
            if (i < segments.Count - 1 && !segments[i].Compacted)
            {
                segments[i].NextOffset = segments[i + 1].BaseOffset;
            }
        }

        _end = RecoverTail(segments[^1]);
        return [.. segments];
    }

    /// <summary>The segments of the directory, without those that a compacted file stands for (left over by a crash between rename and deletion).</summary>
    private List<LocalSegment> List()
    {
        List<LocalSegment> segments = [];
        long covered = 0;
        IEnumerable<(string Path, long Base, long Next)> files = System.IO.Directory.EnumerateFiles(_directory, "*.log")
            .Select(Parse)
            .Where(file => file.Base >= 0)
            .OrderBy(file => file.Base)
            .ThenByDescending(file => file.Next)
            .ToList();
        foreach ((string path, long first, long next) in files)
        {
            if (first < covered)
            {
                File.Delete(path);
                continue;
            }

            segments.Add(new LocalSegment(path, first, next < 0 ? long.MaxValue : next, compacted: next >= 0));
            covered = Math.Max(covered, next);
        }

        return segments;
    }

    private static (string Path, long Base, long Next) Parse(string path)
    {
        string[] parts = Path.GetFileNameWithoutExtension(path).Split('-');
        long next = -1;
        return parts.Length <= 2
            && long.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out long first)
            && (parts.Length == 1 || long.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out next))
            ? (path, first, next)
            : (path, -1, -1);
    }

    /// <summary>Reads the segment that was being written; cuts off what a crash left half-written.</summary>
    /// <returns>The offset behind its last record.</returns>
    private long RecoverTail(LocalSegment tail)
    {
        tail.NoteEmpty();
        long end = tail.BaseOffset;
        long length = tail.DurableLength;
        using SafeFileHandle file = LocalFiles.OpenForWrite(tail.Path, FileMode.Open);
        LocalFrameScanner scanner = new(64 << 10);
        scanner.Start(file, 0);
        while (true)
        {
            long position = scanner.Position;
            LocalScan found = scanner.Next(length);
            if (found == LocalScan.Frame)
            {
                end = scanner.Header.NextOffset;
                tail.Note(position, scanner.Header);
                continue;
            }

            if (found == LocalScan.End)
            {
                return end;
            }

            long later = FindLaterFrame(file, position, length);
            if (later >= 0)
            {
                _logger.Damaged(Log, Number, tail.Path, position); // Reading there throws LogCorruptException.
                scanner.Start(file, later);
                continue;
            }

            _logger.TornTail(Log, Number, tail.Path, position, length - position, end);
            RandomAccess.SetLength(file, position);
            RandomAccess.FlushToDisk(file);
            tail.DurableLength = position;
            return end;
        }
    }

    /// <summary>A whole frame that was begun after everything up to a bad place had been synced: proof that the bad place is damage, not a torn tail.</summary>
    private static long FindLaterFrame(SafeFileHandle file, long bad, long length)
    {
        byte[] window = new byte[1 << 20];
        ReadOnlySpan<byte> magic = [0x53, 0x4C, 0x47, 0x31];
        LocalFrameScanner scanner = new(64 << 10);
        for (long start = bad + 1; start < length; start += window.Length - magic.Length + 1)
        {
            int read = RandomAccess.Read(file, window, start);
            int at = 0;
            while (true)
            {
                int next = window.AsSpan(at, read - at).IndexOf(magic);
                if (next < 0)
                {
                    break;
                }

                at += next;
                scanner.Start(file, start + at);
                if (scanner.Next(length) == LocalScan.Frame && start + at - scanner.Header.UnsyncedBefore > bad)
                {
                    return start + at;
                }

                at++;
            }
        }

        return -1;
    }
}
