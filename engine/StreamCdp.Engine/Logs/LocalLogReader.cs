using Microsoft.Win32.SafeHandles;

namespace StreamCdp.Engine.Logs;

/// <summary>Reads one partition of a local log from its files. 0 B per record; one read call for each 64 KiB or frame.</summary>
internal sealed class LocalLogReader : ILogReader
{
    private readonly LocalLog _log;
    private readonly LocalPartition _partition;
    private readonly WorkSignal? _signal;
    private readonly LocalFrameScanner _scanner = new(64 << 10);
    private LocalSegment? _segment;
    private SafeFileHandle? _file;
    private bool _disposed;

    public LocalLogReader(LocalLog log, LocalPartition partition, long fromOffset, WorkSignal? signal)
    {
        _log = log;
        _partition = partition;
        _signal = signal;
        Position = fromOffset;
        CheckNotTruncated();
        if (fromOffset > partition.EndOffset)
        {
            throw new LogBehindException(log.Name, partition.Number, fromOffset, partition.EndOffset);
        }

        if (signal is not null)
        {
            partition.AddSignal(signal);
        }
    }

    public long Position { get; private set; }

    public bool TryRead(out LogRecord record)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        while (true)
        {
            while (_scanner.TryEntry(out LogRecord entry))
            {
                if (entry.Offset >= Position)
                {
                    Position = entry.Offset + 1;
                    record = new LogRecord
                    {
                        Partition = _partition.Number,
                        Offset = entry.Offset,
                        TimestampMs = entry.TimestampMs,
                        Key = entry.Key,
                        Value = entry.Value,
                    };
                    return true;
                }
            }

            if (!NextFrame())
            {
                record = default;
                return false;
            }
        }
    }

    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _file?.Dispose();
            if (_signal is not null)
            {
                _partition.RemoveSignal(_signal);
            }
        }
    }

    private bool NextFrame()
    {
        _log.ThrowIfClosed();
        try
        {
            while (true)
            {
                _segment ??= Open();
                bool isTail = _partition.IsTail(_segment); // Before the length: a segment that is not the tail has its last length.
                long position = _scanner.Position;
                switch (_scanner.Next(_segment.DurableLength))
                {
                    case LocalScan.Frame:
                        return true;
                    case LocalScan.Bad:
                        throw new LogCorruptException(_log.Name, _partition.Number, Position, $"the frame at byte {position} of {_segment.Path} is damaged.");
                    default:
                        if (isTail)
                        {
                            return false;
                        }

                        Leave(_segment);
                        break;
                }
            }
        }
        catch (Exception error) when (error is (IOException and not (LogTruncatedException or LogCorruptException or LogUnavailableException)) or UnauthorizedAccessException)
        {
            throw new LogUnavailableException($"Log {_log.Name}, partition {_partition.Number}: cannot read {_segment?.Path ?? _partition.Directory}: {error.Message} {LocalFiles.Advice(error)}", error);
        }
    }

    private LocalSegment Open()
    {
        CheckNotTruncated();
        (LocalSegment segment, SafeFileHandle file) = _partition.OpenSegment(Position);
        _file = file;
        _scanner.Start(file, segment.Find(file, Position));
        return segment;
    }

    private void Leave(LocalSegment segment)
    {
        if (!segment.Compacted && Position < segment.NextOffset && Position >= segment.BaseOffset)
        {
            throw new LogCorruptException(_log.Name, _partition.Number, Position, $"{segment.Path} ends too early, records up to offset {segment.NextOffset - 1} are missing.");
        }

        Position = Math.Max(Position, segment.NextOffset);
        if (_log.Definition.IsReadOnce && _file is not null)
        {
            LocalFiles.DropFromCache(_file);
        }

        _file?.Dispose();
        _file = null;
        _segment = null;
    }

    private void CheckNotTruncated()
    {
        long begin = _partition.BeginOffset;
        if (Position < begin)
        {
            if (Position != 0 && _partition.Cleanup != LogCleanup.Compact)
            {
                throw new LogTruncatedException(_log.Name, _partition.Number, Position, begin);
            }

            Position = begin;
        }
    }
}
