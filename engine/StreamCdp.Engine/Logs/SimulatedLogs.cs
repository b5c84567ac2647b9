namespace StreamCdp.Engine.Logs;

/// <summary>Logs in memory for deterministic tests: nothing is durable before a commit, and a crash loses the rest. Single-threaded.</summary>
/// <remarks>
/// What differs from the other logs: <see cref="ILogWriter.WaitDurable"/> commits by itself (nobody else would), and
/// <see cref="ILog.Truncate"/> deletes exactly up to the offset. After a crash, readers and writers from before are dead; logs are opened again.
/// </remarks>
public sealed class SimulatedLogs : ILogStore
{
    private readonly SortedDictionary<string, SimulatedLog> _logs = new(StringComparer.Ordinal);
    private bool _disposed;

    /// <summary>Grows by one with each crash: tells readers and writers of before from those of now.</summary>
    internal int Life { get; private set; }

    /// <inheritdoc/>
    public ILog Open(LogDefinition definition) => OpenSimulated(definition);

    /// <summary>Like <see cref="Open"/>, with the switches that only tests need.</summary>
    public SimulatedLog OpenSimulated(LogDefinition definition)
    {
        LogLimits.Check(definition);
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (!_logs.TryGetValue(definition.Name, out SimulatedLog? log))
        {
            log = new SimulatedLog(this, definition);
            _logs.Add(definition.Name, log);
        }
        else if (log.Cleanup != definition.Cleanup)
        {
            throw new LogUnfitException($"Log {definition.Name} has cleanup {log.Cleanup}, needed is {definition.Cleanup}. Use another simulated world.");
        }

        log.Reopen();
        return log;
    }

    /// <summary>Makes everything that was appended to any log durable, in the order of the logs' names.</summary>
    public void CommitAll()
    {
        foreach (SimulatedLog log in _logs.Values)
        {
            log.Commit();
        }
    }

    /// <summary>The process dies: what is not durable is lost.</summary>
    /// <param name="survival">Where given, a random part of it survives instead: for each partition, its first records up to a random place,
    /// as when the crash came between writing and the confirmation.</param>
    public void Crash(Random? survival = null)
    {
        Life++;
        foreach (SimulatedLog log in _logs.Values)
        {
            log.Crash(survival);
        }
    }

    /// <summary>Commits everything and closes.</summary>
    public ValueTask DisposeAsync()
    {
        if (!_disposed)
        {
            CommitAll();
            _disposed = true;
            Life++;
        }

        return ValueTask.CompletedTask;
    }
}

/// <summary>A log of a <see cref="SimulatedLogs"/> world.</summary>
public sealed class SimulatedLog : ILog
{
    private readonly SimulatedLogs _world;
    private readonly SimulatedPartition[] _partitions;
    private readonly List<SimulatedLogWriter> _writers = [];
    private readonly LogDefinition _definition;
    private int _closings;
    private bool _closed;

    internal SimulatedLog(SimulatedLogs world, LogDefinition definition)
    {
        _world = world;
        _definition = definition;
        _partitions = [.. Enumerable.Range(0, definition.Partitions).Select(_ => new SimulatedPartition())];
    }

    /// <inheritdoc/>
    public string Name => _definition.Name;

    /// <inheritdoc/>
    public int Partitions => _partitions.Length;

    /// <summary>Records that a crash now would lose.</summary>
    public long Uncommitted => _partitions.Sum(partition => partition.Next - partition.Durable);

    internal LogCleanup Cleanup => _definition.Cleanup;

    internal LogUnavailableException? Fault { get; private set; }

    /// <summary>Changes with each crash and each closing; who remembers another one is dead.</summary>
    internal (int, int) Life => (_world.Life, _closings);

    internal bool IsClosed => _closed;

    /// <inheritdoc/>
    public long BeginOffset(int partition) => At(partition).Begin;

    /// <inheritdoc/>
    public long EndOffset(int partition) => At(partition).Durable;

    /// <inheritdoc/>
    public ILogReader OpenReader(int partition, long fromOffset, WorkSignal? signal = null)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(fromOffset);
        return new SimulatedLogReader(this, partition, fromOffset, signal);
    }

    /// <inheritdoc/>
    public ILogWriter OpenWriter()
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        SimulatedLogWriter writer = new(this);
        _writers.Add(writer);
        return writer;
    }

    /// <inheritdoc/>
    public void Truncate(int partition, long beforeOffset)
    {
        if (Cleanup == LogCleanup.Compact)
        {
            throw new InvalidOperationException($"Log {Name} is compacted: its first records are as needed as its last, so it is not truncated.");
        }

        At(partition).Truncate(beforeOffset);
    }

    /// <summary>Makes what was appended durable and readable, and sets the readers' signals.</summary>
    public void Commit()
    {
        if (Fault is not null)
        {
            return;
        }

        foreach (SimulatedLogWriter writer in _writers)
        {
            writer.Durable = writer.Appended;
        }

        foreach (SimulatedPartition partition in _partitions)
        {
            partition.Commit();
        }
    }

    /// <summary>From now on nothing can be written, until the world crashes or the log is opened anew.</summary>
    public void FailWrites(string message)
    {
        Fault = new LogUnavailableException(message);
        foreach (SimulatedPartition partition in _partitions)
        {
            partition.Lose(partition.Durable);
        }
    }

    /// <summary>Runs compaction: durable records that have a later one with the same key go, tombstones too.</summary>
    public void Compact()
    {
        foreach (SimulatedPartition partition in _partitions)
        {
            partition.Compact();
        }
    }

    /// <summary>Runs retention: the oldest durable records go as far as they are too old.</summary>
    public void Retain(long nowMs)
    {
        if (Cleanup == LogCleanup.Delete && _definition.RetentionMs >= 0)
        {
            foreach (SimulatedPartition partition in _partitions)
            {
                partition.Retain(nowMs - _definition.RetentionMs);
            }
        }
    }

    /// <summary>Commits and closes; <see cref="SimulatedLogs.Open"/> opens it again.</summary>
    public ValueTask DisposeAsync()
    {
        if (!_closed)
        {
            Commit();
            _closed = true;
            _closings++;
            _writers.Clear();
        }

        return ValueTask.CompletedTask;
    }

    internal void Reopen()
    {
        _closed = false;
        Fault = null;
    }

    internal void Crash(Random? survival)
    {
        _writers.Clear();
        Fault = null;
        foreach (SimulatedPartition partition in _partitions)
        {
            partition.Lose(survival is null ? partition.Durable : survival.NextInt64(partition.Durable, partition.Next + 1));
            partition.Signals.Clear();
            partition.Commit();
        }
    }

    internal SimulatedPartition At(int partition)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(partition);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(partition, _partitions.Length);
        return _partitions[partition];
    }

    internal void Add(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
    {
        LogLimits.Check(_definition, key, value);
        At(partition).Add(key, value, timestampMs);
    }
}

internal sealed class SimulatedPartition
{
    private readonly List<SimulatedRecord> _records = [];

    public List<WorkSignal> Signals { get; } = [];

    public long Begin { get; private set; }

    public long Durable { get; private set; }

    public long Next { get; private set; }

    public void Add(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
    {
        _records.Add(new SimulatedRecord(Next, timestampMs, key.ToArray(), value.ToArray()));
        Next++;
    }

    public void Commit()
    {
        if (Durable < Next)
        {
            Durable = Next;
            foreach (WorkSignal signal in Signals)
            {
                signal.Set();
            }
        }
    }

    public void Lose(long from)
    {
        _records.RemoveRange(Find(from), _records.Count - Find(from));
        Next = from;
    }

    public void Truncate(long before)
    {
        Begin = Math.Max(Begin, Math.Min(before, Durable));
        _records.RemoveRange(0, Find(Begin));
    }

    public void Retain(long olderThanMs)
    {
        int keep = _records.FindIndex(record => record.TimestampMs >= olderThanMs || record.Offset >= Durable);
        Truncate(keep < 0 ? Durable : _records[keep].Offset);
    }

    public void Compact()
    {
        HashSet<string> later = [];
        for (int i = _records.Count - 1; i >= 0; i--)
        {
            SimulatedRecord record = _records[i];
            if (record.Offset < Durable && (!later.Add(Convert.ToHexString(record.Key)) || record.Value.Length == 0))
            {
                _records.RemoveAt(i);
            }
        }
    }

    public SimulatedRecord? NextDurable(long offset)
    {
        int at = Find(offset);
        return at < _records.Count && _records[at].Offset < Durable ? _records[at] : null;
    }

    private int Find(long offset)
    {
        int low = 0;
        int high = _records.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = _records[middle].Offset < offset ? (middle + 1, high) : (low, middle);
        }

        return low;
    }
}

internal sealed record SimulatedRecord(long Offset, long TimestampMs, byte[] Key, byte[] Value);

internal sealed class SimulatedLogReader : ILogReader
{
    private readonly SimulatedLog _log;
    private readonly int _partition;
    private readonly WorkSignal? _signal;
    private readonly (int, int) _life;
    private bool _disposed;

    public SimulatedLogReader(SimulatedLog log, int partition, long fromOffset, WorkSignal? signal)
    {
        _log = log;
        _partition = partition;
        _signal = signal;
        _life = log.Life;
        Position = fromOffset;
        CheckNotTruncated();
        if (fromOffset > log.EndOffset(partition))
        {
            throw new LogBehindException(log.Name, partition, fromOffset, log.EndOffset(partition));
        }

        if (signal is not null)
        {
            log.At(partition).Signals.Add(signal);
        }
    }

    public long Position { get; private set; }

    public bool TryRead(out LogRecord record)
    {
        ObjectDisposedException.ThrowIf(_disposed || _life != _log.Life, this);
        CheckNotTruncated();
        SimulatedPartition partition = _log.At(_partition);
        if (partition.NextDurable(Position) is not { } next)
        {
            Position = Math.Max(Position, partition.Durable);
            record = default;
            return false;
        }

        Position = next.Offset + 1;
        record = new LogRecord { Partition = _partition, Offset = next.Offset, TimestampMs = next.TimestampMs, Key = next.Key, Value = next.Value };
        return true;
    }

    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            if (_signal is not null)
            {
                _log.At(_partition).Signals.Remove(_signal);
            }
        }
    }

    private void CheckNotTruncated()
    {
        long begin = _log.BeginOffset(_partition);
        if (Position < begin)
        {
            if (Position != 0 && _log.Cleanup != LogCleanup.Compact)
            {
                throw new LogTruncatedException(_log.Name, _partition, Position, begin);
            }

            Position = begin;
        }
    }
}

internal sealed class SimulatedLogWriter(SimulatedLog log) : ILogWriter
{
    private readonly (int, int) _life = log.Life;
    private bool _disposed;

    public long Appended { get; private set; }

    public long Durable { get; set; }

    public LogUnavailableException? Fault => log.Fault;

    public long Append(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
    {
        CheckAlive();
        log.Add(partition, key, value, timestampMs);
        return ++Appended;
    }

    public ValueTask WaitDurableAsync(long ticket, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        WaitDurable(ticket);
        return ValueTask.CompletedTask;
    }

    public void WaitDurable(long ticket)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ticket, Appended);
        if (ticket > Durable)
        {
            CheckAlive();
            log.Commit();
        }
    }

    public void Dispose() => _disposed = true;

    private void CheckAlive()
    {
        ObjectDisposedException.ThrowIf(_disposed || _life != log.Life, this);
        if (log.Fault is { } fault)
        {
            throw new LogUnavailableException(fault.Message, fault);
        }
    }
}
