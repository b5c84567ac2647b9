using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Microsoft.Extensions.Logging;

namespace StreamCdp.Engine.Logs;

/// <summary>A log in a local directory: for each partition, segment files of checksummed frames; one commit thread for all partitions.</summary>
/// <remarks>
/// <para>Group commit: appends go to memory; the commit thread takes all there is, writes one or more frames for each partition, syncs, and begins
/// again. So a commit is as large as what arrived during the one before, and a lone record waits for nothing. Each partition with new records costs one
/// fsync a commit: few partitions, as many as cores, are better here than the many that Kafka likes.</para>
/// <para>Faults: where writing fails (disk full, I/O error) the log takes no more records until it is opened again; what was confirmed stays
/// readable, what was not confirmed is cut off as far as the disk lets it. After a failed fsync nothing else would be safe.</para>
/// <para>Cost: 0 B per record in steady state, appending and reading. Memory: up to about 2 × BufferBytes + 128 KiB per partition, and 64 KiB and more per reader.</para>
/// </remarks>
public sealed class LocalLog : ILog
{
    private const int SyncMs = 1000;

    /// <summary>Records per ms for which the next commit waits a millisecond more, up to <see cref="MaxPauseMs"/>. 2,000 events/s are 2: no pause, so no latency.</summary>
    private const int RecordsPerMsOfPause = 8;

    private const int MaxPauseMs = 4;

    private static readonly ParallelOptions s_atOnce = new() { MaxDegreeOfParallelism = 4 };

    private readonly object _gate = new();
    private readonly LocalPartition[] _partitions;
    private readonly LogDefinition _definition;
    private readonly LocalLogOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly string _directory;
    private readonly Func<LocalLog, ValueTask> _release;
    private readonly Thread _committer;
    private readonly Thread? _syncer;
    private readonly ManualResetEventSlim _stopSync = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<LocalLogWriter> _writers = [];
    private readonly Lock _maintenance = new();

    private List<LocalPartition> _dirty = [];
    private List<LocalPartition> _committing = [];
    private TaskCompletionSource? _openCommit;
    private TaskCompletionSource? _runningCommit;
    private long _pendingBytes;
    private long _newRecords;
    private bool _committerWaits;
    private bool _hurry;
    private bool _closing;
    private bool _rollWanted;
    private volatile bool _closed;
    private volatile LogUnavailableException? _fault;
    private volatile Exception? _syncError;

    internal LocalLog(string directory, LogDefinition definition, LocalLogOptions options, TimeProvider time, ILogger logger, Func<LocalLog, ValueTask> release)
    {
        _directory = directory;
        _definition = definition;
        _options = options;
        _time = time;
        _logger = logger;
        _release = release;
        LocalBufferPool pool = new((options.BufferBytes / LocalBufferPool.BlockBytes) + (2 * definition.Partitions));
        _partitions = new LocalPartition[definition.Partitions];
        try
        {
            for (int i = 0; i < _partitions.Length; i++)
            {
                _partitions[i] = new LocalPartition(definition.Name, i, Path.Combine(directory, $"{i:d4}"), definition.Cleanup, options, pool, logger);
            }
        }
        catch
        {
            ClosePartitions();
            throw;
        }

        _committer = new Thread(CommitAll) { IsBackground = true, Name = $"log {definition.Name}" };
        _committer.Start();
        if (options.Durability == LocalDurability.PageCache)
        {
            _syncer = new Thread(SyncNowAndThen) { IsBackground = true, Name = $"log {definition.Name} sync" };
            _syncer.Start();
        }
    }

    /// <inheritdoc/>
    public string Name => _definition.Name;

    /// <inheritdoc/>
    public int Partitions => _partitions.Length;

    internal LogUnavailableException? Fault => _fault;

    internal LogDefinition Definition => _definition;

    /// <inheritdoc/>
    public long BeginOffset(int partition) => At(partition).BeginOffset;

    /// <inheritdoc/>
    public long EndOffset(int partition) => At(partition).EndOffset;

    /// <inheritdoc/>
    /// <exception cref="LogBehindException">The offset is behind the log's end.</exception>
    public ILogReader OpenReader(int partition, long fromOffset, WorkSignal? signal = null)
    {
        ThrowIfClosed();
        ArgumentOutOfRangeException.ThrowIfNegative(fromOffset);
        return new LocalLogReader(this, At(partition), fromOffset, signal);
    }

    /// <inheritdoc/>
    public ILogWriter OpenWriter()
    {
        ThrowIfClosed();
        LocalLogWriter writer = new(this);
        lock (_gate)
        {
            _writers.Add(writer);
        }

        return writer;
    }

    /// <inheritdoc/>
    public void Truncate(int partition, long beforeOffset)
    {
        ThrowIfClosed();
        if (_definition.Cleanup == LogCleanup.Compact)
        {
            throw new InvalidOperationException($"Log {Name} is compacted: its first records are as needed as its last, so it is not truncated.");
        }

        LocalPartition from = At(partition);
        try
        {
            from.DeleteWhile(segment => segment.NextOffset <= beforeOffset);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new LogUnavailableException($"Log {Name}: cannot delete old segments in {from.Directory}: {error.Message} {LocalFiles.Advice(error)}", error);
        }
    }

    /// <summary>Commits all that was appended, then closes the files. Readers and writers of this log fail with <see cref="ObjectDisposedException"/> from then on.</summary>
    public ValueTask DisposeAsync() => _release(this);

    internal async ValueTask CloseAsync()
    {
        BeginClose();
        await _ended.Task.ConfigureAwait(false);
        lock (_maintenance)
        {
            // A clean-up that was running has ended: nothing of this process touches the files any more.
        }
    }

    /// <summary>Closes a faulted log: there is nothing to write, so it does not wait for the disk.</summary>
    internal void Close()
    {
        BeginClose();
        _committer.Join();
    }

    private void BeginClose()
    {
        lock (_gate)
        {
            _closing = true;
            Monitor.PulseAll(_gate);
        }

        _stopSync.Set();
    }

    internal void ThrowIfClosed() => ObjectDisposedException.ThrowIf(_closed || _closing, this);

    // ---- Appending -----------------------------------------------------------------------------------------------------------------

    /// <param name="writer">Counts it.</param>
    /// <param name="partition">Where to.</param>
    /// <param name="key">Key.</param>
    /// <param name="value">Value.</param>
    /// <param name="timestampMs">Record time.</param>
    /// <param name="deadline">How long to wait for room, by <see cref="Environment.TickCount64"/>; null: <see cref="LocalLogOptions.AppendWait"/>, then an exception.</param>
    /// <returns>The ticket; 0 where there was no room before the deadline.</returns>
    internal long Append(LocalLogWriter writer, int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs, long? deadline = null)
    {
        LocalPartition to = At(partition);
        LogLimits.Check(_definition, key, value);
        lock (_gate)
        {
            ThrowIfClosed();
            if (_fault is not null)
            {
                throw Again(_fault);
            }

            if (_pendingBytes > 0 && _pendingBytes + key.Length + value.Length > _options.BufferBytes && !WaitForRoom(key.Length + value.Length, deadline))
            {
                return 0;
            }

            if (!to.HasAppended)
            {
                _dirty.Add(to);
            }

            _pendingBytes += to.Append(key, value, timestampMs);
            _newRecords++;
            if (_committerWaits)
            {
                _committerWaits = false;
                Monitor.PulseAll(_gate);
            }

            return writer.Count();
        }
    }

    internal ValueTask WaitDurableAsync(LocalLogWriter writer, long ticket, CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            if (ticket <= writer.Durable)
            {
                return ValueTask.CompletedTask;
            }

            if (_fault is not null)
            {
                return ValueTask.FromException(Again(_fault));
            }

            ref TaskCompletionSource? commit = ref ticket <= writer.Sealed ? ref _runningCommit : ref _openCommit;
            commit ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return new ValueTask(commit.Task.WaitAsync(cancellationToken));
        }
    }

    internal void WaitDurable(LocalLogWriter writer, long ticket)
    {
        lock (_gate)
        {
            while (ticket > writer.Durable)
            {
                if (_fault is not null)
                {
                    throw Again(_fault);
                }

                if (ticket > writer.Sealed && !_hurry)
                {
                    _hurry = true;
                    Monitor.PulseAll(_gate);
                }

                Monitor.Wait(_gate);
            }
        }
    }

    /// <summary>A writer is disposed; it stays known until its last records are durable.</summary>
    internal void Forget(LocalLogWriter writer)
    {
        lock (_gate)
        {
            if (writer.Durable == writer.Appended)
            {
                _writers.Remove(writer);
            }
        }
    }

    /// <returns>False where there was none before the caller's deadline; the log's own ends with an exception.</returns>
    private bool WaitForRoom(int bytes, long? deadline)
    {
        long end = deadline ?? Environment.TickCount64 + (long)_options.AppendWait.TotalMilliseconds;
        while (_pendingBytes > 0 && _pendingBytes + bytes > _options.BufferBytes)
        {
            long left = end - Environment.TickCount64;
            if (left <= 0)
            {
                return deadline is not null ? false : throw new LogUnavailableException(
                    $"Log {Name}: {_pendingBytes} bytes wait to be written to {_directory} and the buffer ({LocalLogOptions.Section}:BufferBytes = {_options.BufferBytes}) had no room for {_options.AppendWait.TotalSeconds} s. The disk is too slow or stuck: check it, then try again.");
            }

            _hurry = true;
            Monitor.PulseAll(_gate);
            Monitor.Wait(_gate, (int)Math.Min(left, int.MaxValue));
            ThrowIfClosed();
            if (_fault is not null)
            {
                throw Again(_fault);
            }
        }

        return true;
    }

    /// <summary>Each thrower gets its own exception, so that stack traces are not mixed.</summary>
    private static LogUnavailableException Again(LogUnavailableException fault) => new(fault.Message, fault);

    // ---- Committing ----------------------------------------------------------------------------------------------------------------

    private void CommitAll()
    {
        long last = Stopwatch.GetTimestamp();
        while (NextCommit(out long records))
        {
            try
            {
                long start = Stopwatch.GetTimestamp();
                double recordsPerMs = records / Stopwatch.GetElapsedTime(last, start).TotalMilliseconds;
                last = start;
                Commit();
                Pause((int)Math.Min(MaxPauseMs, recordsPerMs / RecordsPerMsOfPause));
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                Fail(error);
            }
        }

        _syncer?.Join();
        if (_fault is null)
        {
            try
            {
                SyncAll();
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                Fail(error);
            }
        }

        _closed = true;
        ClosePartitions();
        _ended.SetResult();
    }

    /// <summary>Page-cache durability: syncs beside the commits, so that these do not wait for the disk.</summary>
    private void SyncNowAndThen()
    {
        while (!_stopSync.Wait(SyncMs) && _fault is null)
        {
            try
            {
                foreach (LocalPartition partition in _partitions)
                {
                    partition.SyncPublished();
                }
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                lock (_gate)
                {
                    _syncError = error;
                    Monitor.PulseAll(_gate);
                }

                return;
            }
        }
    }

    /// <summary>Under load the next commit then takes more at once: many small ones would cost more processor time than the records. A stage that waits for one ends the pause.</summary>
    private void Pause(int pauseMs)
    {
        if (pauseMs == 0)
        {
            return;
        }

        lock (_gate)
        {
            long end = Environment.TickCount64 + pauseMs;
            while (!_hurry && !_closing && _fault is null && _pendingBytes < _options.BufferBytes / 2 && end - Environment.TickCount64 is > 0 and long left)
            {
                Monitor.Wait(_gate, (int)left);
            }
        }
    }

    /// <summary>Waits for work and takes it over; false when the log is closed and all is done.</summary>
    private bool NextCommit(out long records)
    {
        lock (_gate)
        {
            records = 0;
            while (((_dirty.Count == 0 && !_rollWanted && _syncError is null) || _fault is not null) && !_closing)
            {
                _committerWaits = true;
                Monitor.Wait(_gate);
            }

            _committerWaits = false;
            if (_closing && (_dirty.Count == 0 || _fault is not null))
            {
                return false;
            }

            (records, _newRecords) = (_newRecords, 0);
            _hurry = false;
            (_dirty, _committing) = (_committing, _dirty);
            foreach (LocalPartition partition in _committing)
            {
                partition.Swap();
            }

            foreach (LocalLogWriter writer in _writers)
            {
                writer.Seal();
            }

            (_openCommit, _runningCommit) = (null, _openCommit);
            return true;
        }
    }

    private void Commit()
    {
        if (_syncError is not null)
        {
            ExceptionDispatchInfo.Throw(_syncError);
        }

        if (_rollWanted)
        {
            _rollWanted = false;
            foreach (LocalPartition partition in _partitions)
            {
                if (partition.RollWanted)
                {
                    partition.Roll();
                    if (_options.Durability == LocalDurability.Fsync)
                    {
                        partition.Sync();
                    }

                    partition.Publish();
                }
            }
        }

        if (_committing.Count == 0)
        {
            return;
        }

        foreach (LocalPartition partition in _committing)
        {
            partition.Write();
        }

        if (_options.Durability == LocalDurability.Fsync)
        {
            SyncCommitting();
        }

        foreach (LocalPartition partition in _committing)
        {
            partition.Publish();
        }

        TaskCompletionSource? done;
        lock (_gate)
        {
            foreach (LocalPartition partition in _committing)
            {
                _pendingBytes -= partition.Recycle();
            }

            for (int i = _writers.Count - 1; i >= 0; i--)
            {
                LocalLogWriter writer = _writers[i];
                writer.Unseal();
                if (writer.IsDisposed && writer.Durable == writer.Appended)
                {
                    _writers.RemoveAt(i);
                }
            }

            _committing.Clear();
            done = _runningCommit;
            _runningCommit = null;
            Monitor.PulseAll(_gate);
        }

        done?.SetResult();
    }

    /// <summary>Several files are synced at once: the file system joins their waits for the disk. This thread takes part, so a busy thread pool delays nothing.</summary>
    private void SyncCommitting()
    {
        if (_committing.Count < 8) // Below, the calls of many small commits would cost more processor time than the waiting is worth.
        {
            foreach (LocalPartition partition in _committing)
            {
                partition.Sync();
            }

            return;
        }

        try
        {
            Parallel.ForEach(_committing, s_atOnce, static partition => partition.Sync());
        }
        catch (AggregateException errors) when (errors.InnerExceptions.All(error => error is IOException or UnauthorizedAccessException))
        {
            ExceptionDispatchInfo.Throw(errors.InnerExceptions[0]); // With its error number: it says whether the disk is full.
        }
    }

    private void SyncAll()
    {
        foreach (LocalPartition partition in _partitions)
        {
            partition.Sync();
        }
    }

    private void Fail(Exception error)
    {
        LogUnavailableException fault = new($"Log {Name}: cannot write to {_directory}: {error.Message} {LocalFiles.Advice(error)}", error);
        foreach (LocalPartition partition in _partitions)
        {
            partition.Abandon();
        }

        TaskCompletionSource? running;
        TaskCompletionSource? open;
        lock (_gate)
        {
            _fault = fault;
            (running, open) = (_runningCommit, _openCommit);
            _runningCommit = _openCommit = null;
            _committing.Clear();
            _dirty.Clear();
            Monitor.PulseAll(_gate);
        }

        _logger.Faulted(error, Name, fault.Message);
        running?.SetException(Again(fault));
        open?.SetException(Again(fault));
    }

    // ---- Cleaning up ---------------------------------------------------------------------------------------------------------------

    /// <summary>Retention and compaction, on the store's maintenance thread (or a test's).</summary>
    internal void Maintain()
    {
        if (_closed || _fault is not null)
        {
            return;
        }

        lock (_maintenance)
        {
            long nowMs = _time.GetUtcNow().ToUnixTimeMilliseconds();
            foreach (LocalPartition partition in _partitions)
            {
                try
                {
                    Maintain(partition, nowMs);
                }
                catch (Exception error) when (error is IOException or UnauthorizedAccessException)
                {
                    _logger.CleanupFailed(error, Name, partition.Number);
                }
            }
        }
    }

    private void Maintain(LocalPartition partition, long nowMs)
    {
        long retentionMs = _definition.Cleanup == LogCleanup.Delete ? _definition.RetentionMs : -1;
        if (retentionMs >= 0)
        {
            partition.DeleteWhile(segment => segment.MaxTimestampMs < nowMs - retentionMs);
        }

        LocalSegment tail = partition.Segments[^1];
        if (tail.DurableLength > 0)
        {
            long ageMs = nowMs - new DateTimeOffset(File.GetCreationTimeUtc(tail.Path)).ToUnixTimeMilliseconds();
            bool isOld = ageMs > (retentionMs >= 0 ? Math.Min(_options.SegmentMs, retentionMs / 4) : _options.SegmentMs);
            if (isOld || (retentionMs >= 0 && tail.MaxTimestampMs < nowMs - retentionMs))
            {
                RequestRoll(partition);
            }
        }

        if (_definition.Cleanup == LogCleanup.Compact)
        {
            while (!_closing && LocalCompaction.Run(partition, _options, nowMs, _logger))
            {
            }
        }
    }

    /// <summary>Lets the commit thread close the segment being written.</summary>
    internal void RequestRoll(LocalPartition partition)
    {
        lock (_gate)
        {
            partition.RollWanted = true;
            _rollWanted = true;
            Monitor.PulseAll(_gate);
        }
    }

    internal LocalPartition At(int partition)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(partition);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(partition, _partitions.Length);
        return _partitions[partition];
    }

    private void ClosePartitions()
    {
        foreach (LocalPartition? partition in _partitions)
        {
            partition?.Dispose();
        }
    }
}
