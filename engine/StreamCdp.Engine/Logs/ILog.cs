namespace StreamCdp.Engine.Logs;

/// <summary>An ordered, durable, partitioned sequence of records: a Kafka topic, a local directory, or the simulated log of the tests.</summary>
/// <remarks>Readers see durable records only, so nothing downstream can outlive what it was made from (adr/0003-outputs-before-checkpoints).</remarks>
public interface ILog : IAsyncDisposable
{
    /// <summary>The log's name without any prefix, for example <c>profile-events</c>.</summary>
    string Name { get; }

    /// <summary>Number of partitions, 1 or more; fixed for the life of the log.</summary>
    int Partitions { get; }

    /// <summary>Offset of the first record that retention has kept.</summary>
    long BeginOffset(int partition);

    /// <summary>Offset after the last durable record: the position of a reader that has read everything.</summary>
    long EndOffset(int partition);

    /// <summary>The end of each partition as its place says now, with all that any process got confirmed before this call; <see cref="EndOffset"/> may be a little behind other processes.</summary>
    /// <param name="atMost">How long to wait for an answer.</param>
    /// <exception cref="LogUnavailableException">There was none.</exception>
    ValueTask<IReadOnlyList<long>> AskEndOffsetsAsync(TimeSpan atMost) => new([.. Enumerable.Range(0, Partitions).Select(EndOffset)]);

    /// <summary>Opens a reader at an offset.</summary>
    /// <param name="partition">0 to <see cref="Partitions"/> − 1.</param>
    /// <param name="fromOffset">The first offset wanted; where compaction or retention removed it, reading starts at the next one kept,
    /// except that an offset below <see cref="BeginOffset"/> (other than 0) on a log that is not compacted throws <see cref="LogTruncatedException"/>: records are missing.</param>
    /// <param name="signal">Set whenever new records became readable; null for a reader that is only polled.</param>
    /// <exception cref="LogTruncatedException">See <paramref name="fromOffset"/>.</exception>
    /// <exception cref="LogBehindException">The offset is behind the end: the log lost records that were read before. Going on would skip what comes next.</exception>
    ILogReader OpenReader(int partition, long fromOffset, WorkSignal? signal = null);

    /// <summary>Opens a writer. A log has any number of them; each is safe to use from many threads.</summary>
    ILogWriter OpenWriter();

    /// <summary>Allows records before an offset to be deleted. Local and simulated logs delete whole segments; Kafka deletes by DeleteRecords.</summary>
    void Truncate(int partition, long beforeOffset);
}

/// <summary>Reads one partition in order. Not safe for concurrent use.</summary>
public interface ILogReader : IDisposable
{
    /// <summary>Offset of the next record to read (a record with a higher offset may come where compaction removed some).</summary>
    long Position { get; }

    /// <summary>Records come from elsewhere: where <see cref="TryRead"/> says false, more may be on its way; <see cref="Position"/> tells when all came.</summary>
    bool IsRemote => false;

    /// <summary>Takes the next durable record, without waiting; false at the end.</summary>
    /// <param name="record">Its spans are valid until the next call on this reader.</param>
    /// <exception cref="LogTruncatedException">The next record was deleted before it was read.</exception>
    /// <exception cref="LogCorruptException">A stored record fails its checksum and is not the torn tail of a crash.</exception>
    /// <exception cref="LogUnavailableException">The log cannot be read now.</exception>
    bool TryRead(out LogRecord record);
}

/// <summary>Appends to a log. Safe for many threads; the order of two appends to one partition is the order of the calls.</summary>
public interface ILogWriter : IDisposable
{
    /// <summary>Number of records this writer has appended; the ticket of the last one.</summary>
    long Appended { get; }

    /// <summary>Every record up to this ticket is durable.</summary>
    long Durable { get; }

    /// <summary>Why this writer can no longer write (disk full, broker refused for good), or null.</summary>
    LogUnavailableException? Fault { get; }

    /// <summary>Copies a record to the log's buffer; it becomes durable and readable with the next group commit, which starts by itself.</summary>
    /// <param name="partition">0 to Partitions − 1.</param>
    /// <param name="key">Empty for none. Compaction keeps the last record of a key.</param>
    /// <param name="value">Empty: a tombstone (in a compacted log, the key is forgotten).</param>
    /// <param name="timestampMs">Record time, Unix ms.</param>
    /// <returns>The record's ticket: 1 for the writer's first append, then counting up.</returns>
    /// <exception cref="LogUnavailableException">The writer is faulted, or its buffer is full and stayed full for its time limit.</exception>
    long Append(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs);

    /// <summary>As <see cref="Append"/>, but waits for room in a full buffer only until a deadline: for those who have an answer to give meanwhile.</summary>
    /// <param name="partition">As of <see cref="Append"/>.</param>
    /// <param name="key">As of <see cref="Append"/>.</param>
    /// <param name="value">As of <see cref="Append"/>.</param>
    /// <param name="timestampMs">As of <see cref="Append"/>.</param>
    /// <param name="deadline">By <see cref="Environment.TickCount64"/>; in the past: no wait.</param>
    /// <param name="ticket">The record's ticket.</param>
    /// <returns>False: there was no room; nothing was appended. A log without a bound on its buffer never says so.</returns>
    /// <exception cref="LogUnavailableException">The writer is faulted.</exception>
    bool TryAppend(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs, long deadline, out long ticket)
    {
        ticket = Append(partition, key, value, timestampMs);
        return true;
    }

    /// <summary>Completes when <see cref="Durable"/> reached the ticket.</summary>
    /// <exception cref="LogUnavailableException">The writer faulted before.</exception>
    ValueTask WaitDurableAsync(long ticket, CancellationToken cancellationToken);

    /// <summary>Blocks until <see cref="Durable"/> reached the ticket; for stage threads, which are synchronous.</summary>
    /// <exception cref="LogUnavailableException">The writer faulted before.</exception>
    void WaitDurable(long ticket);
}

/// <summary>A record of a log.</summary>
public readonly ref struct LogRecord
{
    /// <summary>The partition it is in.</summary>
    public int Partition { get; init; }

    /// <summary>Its place; grows within a partition, not always by one.</summary>
    public long Offset { get; init; }

    /// <summary>Record time, Unix ms.</summary>
    public long TimestampMs { get; init; }

    /// <summary>Empty where the record has no key.</summary>
    public ReadOnlySpan<byte> Key { get; init; }

    /// <summary>Empty: a tombstone.</summary>
    public ReadOnlySpan<byte> Value { get; init; }
}

/// <summary>What a log is for and how long it keeps its records (DESIGN §5.4).</summary>
/// <param name="Name">Without prefix.</param>
/// <param name="Partitions">Used where the log is made; an existing log keeps its own number.</param>
/// <param name="Cleanup">How old records go.</param>
/// <param name="RetentionMs">For <see cref="LogCleanup.Delete"/>: records older than this may go. -1: kept for ever.</param>
/// <param name="IsReadOnce">Its one reader follows the writer, and nobody else reads it but a restart: what was read need not stay in the system's page cache.</param>
public sealed record LogDefinition(string Name, int Partitions, LogCleanup Cleanup, long RetentionMs = -1, bool IsReadOnce = false);

/// <summary>How a log forgets.</summary>
public enum LogCleanup
{
    /// <summary>By age, and by <see cref="ILog.Truncate"/>.</summary>
    Delete,

    /// <summary>The last record of each key stays; a tombstone forgets the key.</summary>
    Compact,
}

/// <summary>All logs of one place: a directory, a Kafka cluster, or a simulated world.</summary>
public interface ILogStore : IAsyncDisposable
{
    /// <summary>Opens a log, making it where it is missing.</summary>
    /// <exception cref="LogUnfitException">It exists with settings that would lose data; the message says which, and what is needed.</exception>
    /// <exception cref="LogUnavailableException">The place cannot be reached.</exception>
    ILog Open(LogDefinition definition);
}
