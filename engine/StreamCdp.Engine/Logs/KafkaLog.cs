namespace StreamCdp.Engine.Logs;

/// <summary>A log that is a Kafka topic.</summary>
/// <remarks>Positions are the readers' own (in their checkpoints), so no consumer group is used. A broker that is away is no error of a reader:
/// it reads nothing, and <see cref="Trouble"/> says why.</remarks>
public sealed class KafkaLog : ILog
{
    private const int RefreshMs = 500;

    private readonly KafkaLogs _store;
    private readonly Lock _watermarkLock = new();
    private readonly Bounds[] _bounds;
    private readonly List<KafkaLogWriter> _writers = [];
    private volatile bool _closed;
    private volatile string? _trouble;

    internal KafkaLog(KafkaLogs store, LogDefinition definition, string topic, int partitions)
    {
        _store = store;
        Definition = definition;
        Topic = topic;
        _bounds = [.. Enumerable.Range(0, partitions).Select(_ => new Bounds())];
    }

    /// <inheritdoc/>
    public string Name => Definition.Name;

    /// <inheritdoc/>
    public int Partitions => _bounds.Length;

    /// <summary>Prefix and name.</summary>
    public string Topic { get; }

    /// <summary>Why Kafka seems away, or null. Reading and writing go on by themselves when it is back; cleared by the next record, confirmation, or question for offsets.</summary>
    public string? Trouble
    {
        get => _store.Trouble ?? _trouble;
        internal set => _trouble = value;
    }

    internal LogDefinition Definition { get; }

    internal KafkaOptions Options => _store.Options;

    /// <inheritdoc/>
    /// <remarks>At most half a second old.</remarks>
    /// <exception cref="LogUnavailableException">Kafka never told it so far.</exception>
    public long BeginOffset(int partition) => Watermarks(partition).Begin;

    /// <inheritdoc/>
    /// <remarks>Of other processes' records it may miss the last half second.</remarks>
    /// <exception cref="LogUnavailableException">Kafka never told it so far.</exception>
    public long EndOffset(int partition) => Watermarks(partition).End;

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<long>> AskEndOffsetsAsync(TimeSpan atMost)
    {
        ThrowIfClosed();
        return await _store.Topics.EndOffsetsAsync(Topic, Partitions, atMost).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    /// <exception cref="LogBehindException">The offset is behind the log's end.</exception>
    /// <exception cref="LogUnavailableException">Kafka is away.</exception>
    public ILogReader OpenReader(int partition, long fromOffset, WorkSignal? signal = null)
    {
        ThrowIfClosed();
        CheckPartition(partition);
        ArgumentOutOfRangeException.ThrowIfNegative(fromOffset);
        long start = CheckStart(partition, fromOffset);
        KafkaConsumer consumer = _store.TakeConsumer(Topic, partition);
        try
        {
            return new KafkaLogReader(this, consumer, partition, start, signal);
        }
        catch (LogUnavailableException)
        {
            _store.Release(consumer, Topic, partition);
            throw;
        }
    }

    /// <inheritdoc/>
    public ILogWriter OpenWriter()
    {
        ThrowIfClosed();
        KafkaLogWriter writer = _store.MakeWriter(this);
        lock (_writers)
        {
            _writers.RemoveAll(one => one.IsGone);
            _writers.Add(writer);
        }

        return writer;
    }

    /// <inheritdoc/>
    public void Truncate(int partition, long beforeOffset)
    {
        ThrowIfClosed();
        CheckPartition(partition);
        if (Definition.Cleanup == LogCleanup.Compact)
        {
            throw new InvalidOperationException($"Log {Name} is compacted: its first records are as needed as its last, so it is not truncated.");
        }

        (long begin, long end) = AskNow(partition);
        long before = Math.Min(beforeOffset, end);
        if (before > begin)
        {
            long kept = _store.Topics.DeleteBefore(Topic, partition, before);
            lock (_watermarkLock)
            {
                _bounds[partition].Begin = Math.Max(_bounds[partition].Begin, kept);
            }
        }
    }

    /// <summary>Waits until Kafka has all that was appended (at most <see cref="KafkaOptions.RequestTimeout"/>), then closes.
    /// Readers and writers of this log fail with <see cref="ObjectDisposedException"/> from then on.</summary>
    public ValueTask DisposeAsync()
    {
        Close(Environment.TickCount64 + (long)Options.RequestTimeout.TotalMilliseconds);
        return ValueTask.CompletedTask;
    }

    internal void Close(long deadline)
    {
        if (_closed)
        {
            return;
        }

        _closed = true;
        KafkaLogWriter[] writers;
        lock (_writers)
        {
            writers = [.. _writers];
            _writers.Clear();
        }

        foreach (KafkaLogWriter writer in writers)
        {
            writer.Close(deadline);
        }

        _store.Forget(this);
    }

    /// <summary>Something came through: the trouble is over.</summary>
    internal void Works()
    {
        if (_trouble is not null)
        {
            _trouble = null;
        }
    }

    internal void ThrowIfClosed() => ObjectDisposedException.ThrowIf(_closed, this);

    internal void CheckPartition(int partition)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(partition);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(partition, _bounds.Length);
    }

    /// <summary>A reader is closed.</summary>
    internal void Closed(KafkaConsumer consumer, int partition) => _store.Release(consumer, Topic, partition);

    /// <summary>Own deliveries raise the end at once. On the producer's thread.</summary>
    internal void Delivered(int partition, long offset)
    {
        Bounds bounds = _bounds[partition];
        if (offset >= Volatile.Read(ref bounds.Delivered))
        {
            Volatile.Write(ref bounds.Delivered, offset + 1);
        }
        else if (offset < 0)
        {
            Volatile.Write(ref bounds.AskedMs, 0); // A repeated request's answer has no offset: ask.
        }
    }

    /// <summary>A reader's fetches tell the end all the time: then nobody has to ask, and wait for the answer behind a fetch on the same connection.</summary>
    internal void Fetched(int partition, long end)
    {
        Bounds bounds = _bounds[partition];
        if (bounds.IsKnown && end >= Volatile.Read(ref bounds.End))
        {
            Volatile.Write(ref bounds.End, end);
            Volatile.Write(ref bounds.AskedMs, Environment.TickCount64);
        }
    }

    /// <summary>Where reading from an offset begins.</summary>
    internal long CheckStart(int partition, long from)
    {
        (long begin, long end) = AskNow(partition);
        if (from > end)
        {
            throw new LogBehindException(Name, partition, from, end);
        }

        if (from >= begin)
        {
            return from;
        }

        return from == 0 || Definition.Cleanup == LogCleanup.Compact ? begin : throw new LogTruncatedException(Name, partition, from, begin);
    }

    /// <summary>What Kafka says now, without what this process knows better for a moment.</summary>
    /// <exception cref="LogUnavailableException">It says nothing.</exception>
    internal (long Begin, long End) AskNow(int partition)
    {
        ThrowIfClosed();
        Bounds bounds = _bounds[partition];
        lock (_watermarkLock)
        {
            Ask(partition, bounds, isNeeded: true);
            return (bounds.Begin, bounds.End);
        }
    }

    private (long Begin, long End) Watermarks(int partition)
    {
        CheckPartition(partition);
        ThrowIfClosed();
        Bounds bounds = _bounds[partition];
        if (IsOld(bounds))
        {
            lock (_watermarkLock)
            {
                if (IsOld(bounds))
                {
                    Ask(partition, bounds, isNeeded: !bounds.IsKnown);
                }
            }
        }

        return (Volatile.Read(ref bounds.Begin), Math.Max(Volatile.Read(ref bounds.End), Volatile.Read(ref bounds.Delivered)));
    }

    private static bool IsOld(Bounds bounds) => Volatile.Read(ref bounds.AskedMs) + RefreshMs <= Environment.TickCount64;

    private unsafe void Ask(int partition, Bounds bounds, bool isNeeded)
    {
        Volatile.Write(ref bounds.AskedMs, Environment.TickCount64);
        long begin;
        long end;
        long deadline = Environment.TickCount64 + (isNeeded ? (long)Options.RequestTimeout.TotalMilliseconds : 1000);
        int error = Rdkafka.QueryWatermarks(_store.AnyConsumer.Handle, Topic, partition, &begin, &end, (int)(deadline - Environment.TickCount64));
        while (error is not (0 or Rdkafka.TopicAuthorizationFailed) && isNeeded && Environment.TickCount64 < deadline)
        {
            Thread.Sleep(20); // A new topic or a new leader: each broker learns of it in its own time.
            error = Rdkafka.QueryWatermarks(_store.AnyConsumer.Handle, Topic, partition, &begin, &end, (int)Math.Max(1, deadline - Environment.TickCount64));
        }

        if (error == 0)
        {
            Volatile.Write(ref bounds.Begin, begin);
            Volatile.Write(ref bounds.End, end);
            bounds.IsKnown = true;
            Works();
            _store.Works();
            return;
        }

        _trouble = Rdkafka.Describe(error);
        if (isNeeded)
        {
            throw new LogUnavailableException($"Topic {Topic}, partition {partition}: Kafka at {Options.BootstrapServers} does not tell where it begins and ends: {_trouble}. Check that the brokers run; it is asked again.");
        }
    }

    private sealed class Bounds
    {
        public long Begin;
        public long End;
        public long Delivered;
        public long AskedMs = -RefreshMs;
        public bool IsKnown;
    }
}
