using Microsoft.Extensions.Logging;

namespace StreamCdp.Engine.Logs;

/// <summary>Appends to a topic. 0 B of garbage per record; librdkafka copies the record into its own memory.</summary>
/// <remarks>
/// Confirmations come in order for a partition, but partitions overtake each other, so a table of <see cref="KafkaProducer.Window"/> bits remembers those that came
/// early. Where the oldest unconfirmed record is that far behind, appending waits. 16 KiB per writer.
/// </remarks>
internal sealed class KafkaLogWriter : ILogWriter
{
    private readonly KafkaLog _log;
    private readonly KafkaProducer _producer;
    private readonly ILogger _logger;
    private readonly nint _topic;
    private readonly int _slot;
    private readonly Lock _append = new();
    private readonly object _gate = new();
    private readonly ulong[] _confirmed = new ulong[KafkaProducer.Window / 64];
    private readonly PriorityQueue<TaskCompletionSource, long> _waiters = new();
    private long _appended;
    private long _durable;
    private long _reported;
    private int _waiting;
    private bool _disposed;
    private bool _slotFreed;
    private bool _topicFreed;
    private volatile LogUnavailableException? _fault;

    public KafkaLogWriter(KafkaLog log, KafkaProducer producer, ILogger logger)
    {
        _log = log;
        _producer = producer;
        _logger = logger;
        _topic = Rdkafka.TopicNew(producer.Handle, log.Topic, 0);
        if (_topic == 0)
        {
            throw new LogUnavailableException($"Topic {log.Topic} cannot be written: {Rdkafka.Describe(Rdkafka.LastError())}.");
        }

        _slot = producer.Add(this);
    }

    public long Appended => Volatile.Read(ref _appended);

    public long Durable => Volatile.Read(ref _durable);

    public LogUnavailableException? Fault => _fault;

    public long Append(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
    {
        _log.CheckPartition(partition);
        LogLimits.Check(_log.Definition, key, value);
        lock (_append)
        {
            ThrowIfUnusable();
            long ticket = _appended + 1;
            if (ticket - Durable > KafkaProducer.Window)
            {
                WaitForConfirmations(ticket);
            }

            int error = _producer.Produce(_topic, partition, key, value, timestampMs, _slot, ticket);
            if (error == Rdkafka.QueueFull)
            {
                error = ProduceWhenThereIsRoom(partition, key, value, timestampMs, ticket);
            }

            if (error != 0)
            {
                throw Untaken(error);
            }

            Volatile.Write(ref _appended, ticket);
            return ticket;
        }
    }

    public bool TryAppend(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs, long deadline, out long ticket)
    {
        _log.CheckPartition(partition);
        LogLimits.Check(_log.Definition, key, value);
        while (true)
        {
            lock (_append)
            {
                ThrowIfUnusable();
                ticket = _appended + 1;
                int error = ticket - Durable > KafkaProducer.Window ? Rdkafka.QueueFull : _producer.Produce(_topic, partition, key, value, timestampMs, _slot, ticket);
                if (error == 0)
                {
                    Volatile.Write(ref _appended, ticket);
                    return true;
                }

                if (error != Rdkafka.QueueFull)
                {
                    throw Untaken(error);
                }
            }

            if (Environment.TickCount64 >= deadline)
            {
                return false;
            }

            _producer.WaitForDelivery(); // Outside the lock, so that others with an earlier deadline are not held up.
        }
    }

    public ValueTask WaitDurableAsync(long ticket, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ticket, Appended);
        if (ticket <= Durable)
        {
            return ValueTask.CompletedTask;
        }

        lock (_gate)
        {
            Interlocked.Increment(ref _waiting); // Before looking at Durable, so that whoever raises it sees a waiter.
            if (ticket <= Durable || _fault is not null)
            {
                Interlocked.Decrement(ref _waiting);
                return ticket <= Durable ? ValueTask.CompletedTask : ValueTask.FromException(Again());
            }

            TaskCompletionSource waiter = new(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiters.Enqueue(waiter, ticket);
            return new ValueTask(waiter.Task.WaitAsync(cancellationToken));
        }
    }

    public void WaitDurable(long ticket)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ticket, Appended);
        if (ticket > Durable)
        {
            _ = WaitDurable(ticket, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>Ends the use of this writer. What it appended is sent all the same.</summary>
    public void Dispose()
    {
        lock (_append)
        {
            _disposed = true;
        }

        RemoveWhenDone();
    }

    /// <summary>Nothing of it is needed any more.</summary>
    internal bool IsGone => _topicFreed && _slotFreed;

    /// <summary>The log closes: waits for what is on its way.</summary>
    /// <param name="deadline">By <see cref="Environment.TickCount64"/>.</param>
    internal void Close(long deadline)
    {
        lock (_append)
        {
            _disposed = true;
        }

        bool isFlushed;
        try
        {
            isFlushed = WaitDurable(Appended, TimeSpan.FromMilliseconds(Math.Max(0, deadline - Environment.TickCount64)));
        }
        catch (LogUnavailableException)
        {
            isFlushed = true; // The fault was told when it came.
        }

        if (!isFlushed)
        {
            _logger.NotFlushed(_log.Topic, Appended - Durable, _log.Options.RequestTimeout.TotalSeconds);
            Fail("the log was closed before Kafka confirmed all records.");
        }

        RemoveWhenDone();
        lock (_gate)
        {
            FreeTopic();
        }
    }

    /// <returns>False where the time was over before.</returns>
    internal bool WaitDurable(long ticket, TimeSpan atMost)
    {
        long deadline = atMost == Timeout.InfiniteTimeSpan ? long.MaxValue : Environment.TickCount64 + (long)atMost.TotalMilliseconds;
        lock (_gate)
        {
            Interlocked.Increment(ref _waiting);
            try
            {
                while (ticket > Durable)
                {
                    if (_fault is not null)
                    {
                        throw Again();
                    }

                    long left = deadline - Environment.TickCount64;
                    if (left <= 0)
                    {
                        return false;
                    }

                    Monitor.Wait(_gate, (int)Math.Min(left, 1000));
                }

                return true;
            }
            finally
            {
                Interlocked.Decrement(ref _waiting);
            }
        }
    }

    /// <summary>A delivery report, on the producer's thread.</summary>
    internal void Delivered(long ticket, int partition, long offset, int error)
    {
        _reported++;
        if (error != 0)
        {
            Fail($"Kafka did not take a record: {Rdkafka.Describe(error)}. Check the cluster and the topic's settings, then open the log again (a restart does).");
            return;
        }

        _log.Delivered(partition, offset);
        long durable = _durable;
        if (ticket == durable + 1 && _fault is null)
        {
            durable++;
            while (TryClear(durable + 1))
            {
                durable++;
            }

            Volatile.Write(ref _durable, durable);
        }
        else
        {
            _confirmed[(ticket & (KafkaProducer.Window - 1)) >> 6] |= 1UL << (int)(ticket & 63);
        }
    }

    /// <summary>After a batch of reports, on the producer's thread.</summary>
    internal void Wake()
    {
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _waiting) > 0)
        {
            lock (_gate)
            {
                while (_waiters.TryPeek(out TaskCompletionSource? waiter, out long ticket) && ticket <= Durable)
                {
                    _waiters.Dequeue();
                    Interlocked.Decrement(ref _waiting);
                    waiter.SetResult();
                }

                Monitor.PulseAll(_gate);
            }
        }

        if (_disposed)
        {
            RemoveWhenDone();
        }
    }

    internal void Fail(string reason)
    {
        if (_fault is not null)
        {
            return;
        }

        string message = $"Topic {_log.Topic}: {reason}";
        _logger.WriterFaulted(message);
        _fault = new LogUnavailableException(message);
        lock (_gate)
        {
            while (_waiters.TryDequeue(out TaskCompletionSource? waiter, out _))
            {
                Interlocked.Decrement(ref _waiting);
                waiter.SetException(Again());
            }

            Monitor.PulseAll(_gate);
        }
    }

    private bool TryClear(long ticket)
    {
        ref ulong word = ref _confirmed[(ticket & (KafkaProducer.Window - 1)) >> 6];
        ulong bit = 1UL << (int)(ticket & 63);
        if ((word & bit) == 0)
        {
            return false;
        }

        word &= ~bit;
        return true;
    }

    private int ProduceWhenThereIsRoom(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs, long ticket)
    {
        long deadline = Environment.TickCount64 + (long)_log.Options.AppendWait.TotalMilliseconds;
        while (true)
        {
            int error = _producer.Produce(_topic, partition, key, value, timestampMs, _slot, ticket);
            if (error != Rdkafka.QueueFull)
            {
                return error;
            }

            WaitOrGiveUp(deadline);
        }
    }

    private void WaitForConfirmations(long ticket)
    {
        long deadline = Environment.TickCount64 + (long)_log.Options.AppendWait.TotalMilliseconds;
        while (ticket - Durable > KafkaProducer.Window)
        {
            WaitOrGiveUp(deadline);
        }
    }

    private void WaitOrGiveUp(long deadline)
    {
        if (Environment.TickCount64 >= deadline)
        {
            throw new LogUnavailableException(
                $"Topic {_log.Topic}: {_appended - Durable} records wait for Kafka to confirm them and the buffer ({KafkaOptions.Section}:BufferBytes = {_log.Options.BufferBytes}) had no room for {_log.Options.AppendWait.TotalSeconds} s. {_producer.Trouble} Check that the brokers can be reached and enough replicas are in sync; sending goes on by itself.");
        }

        _producer.WaitForDelivery();
        ThrowIfUnusable();
    }

    private void ThrowIfUnusable()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _log.ThrowIfClosed();
        if (_fault is not null)
        {
            throw Again();
        }
    }

    private LogUnavailableException Untaken(int error) => new($"Topic {_log.Topic}: Kafka's client does not take records: {Rdkafka.Describe(error)}.");

    private LogUnavailableException Again() => new(_fault!.Message, _fault);

    /// <summary>The slot stays taken until the last report came: else a report of this writer would count for the next one.</summary>
    private void RemoveWhenDone()
    {
        lock (_gate)
        {
            if (!_slotFreed && Volatile.Read(ref _reported) == Appended)
            {
                _slotFreed = true;
                _producer.Remove(_slot);
                FreeTopic();
            }
        }
    }

    private void FreeTopic()
    {
        if (!_topicFreed)
        {
            _topicFreed = true;
            Rdkafka.TopicDestroy(_topic);
        }
    }
}
