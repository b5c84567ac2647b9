using System.Runtime.InteropServices;

namespace StreamCdp.Engine.Logs;

/// <summary>Reads a partition of a topic out of librdkafka's queue. 0 B per record; spans point into librdkafka's memory.</summary>
internal sealed unsafe class KafkaLogReader : ILogReader
{
    private const int BatchRecords = 256;

    private readonly KafkaLog _log;
    private readonly KafkaConsumer _consumer;
    private readonly int _partition;
    private readonly nint _topic;
    private readonly nint _queue;
    private readonly GCHandle _signal;
    private readonly Rdkafka.Message** _batch;
    private Rdkafka.Message* _current;
    private int _next;
    private int _count;
    private bool _disposed;
    private bool _stopped;

    public KafkaLogReader(KafkaLog log, KafkaConsumer consumer, int partition, long fromOffset, WorkSignal? signal)
    {
        _log = log;
        _consumer = consumer;
        _partition = partition;
        Position = fromOffset;
        _topic = Rdkafka.TopicNew(consumer.Handle, log.Topic, 0);
        _queue = Rdkafka.QueueNew(consumer.Handle);
        _batch = (Rdkafka.Message**)NativeMemory.Alloc(BatchRecords, (nuint)sizeof(nint));
        if (signal is not null)
        {
            _signal = GCHandle.Alloc(signal);
            Rdkafka.QueueCallback(_queue, &SetSignal, GCHandle.ToIntPtr(_signal));
        }

        Start();
    }

    public long Position { get; private set; }

    public bool IsRemote => true;

    public bool TryRead(out LogRecord record)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _log.ThrowIfClosed();
        if (_current != null)
        {
            Rdkafka.MessageDestroy(_current);
            _current = null;
        }

        while (true)
        {
            if (_next == _count && !NextBatch())
            {
                record = default;
                return false;
            }

            Rdkafka.Message* message = _batch[_next++];
            if (message->Error != 0)
            {
                TakeError(message);
                continue;
            }

            if (message->Offset < Position)
            {
                Rdkafka.MessageDestroy(message);
                continue;
            }

            _consumer.Works();
            _log.Works();
            _current = message;
            Position = message->Offset + 1;
            int type;
            record = new LogRecord
            {
                Partition = _partition,
                Offset = message->Offset,
                TimestampMs = Rdkafka.MessageTimestamp(message, &type),
                Key = new ReadOnlySpan<byte>(message->Key, (int)message->KeyLength),
                Value = new ReadOnlySpan<byte>(message->Payload, (int)message->Length),
            };
            return true;
        }
    }

    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            Free();
            _log.Closed(_consumer, _partition);
        }
    }

    private bool NextBatch()
    {
        if (_stopped)
        {
            Restart();
        }

        _next = 0;
        _count = Math.Max(0, (int)Rdkafka.ConsumeBatch(_queue, 0, _batch, BatchRecords));
        long begin;
        long end;
        if (Rdkafka.FetchedWatermarks(_consumer.Handle, _log.Topic, _partition, &begin, &end) == 0)
        {
            _log.Fetched(_partition, end);
        }

        return _count > 0;
    }

    private void TakeError(Rdkafka.Message* message)
    {
        int error = message->Error;
        long offset = message->Offset;
        string text = error == Rdkafka.PartitionEof ? "" : Rdkafka.Describe(error);
        Rdkafka.MessageDestroy(message);
        switch (error)
        {
            case Rdkafka.PartitionEof:
                Position = Math.Max(Position, offset);
                break;
            case Rdkafka.AutoOffsetReset or Rdkafka.OffsetOutOfRange:
                Restart();
                break;
            case Rdkafka.LogTruncation:
                throw new LogBehindException(_log.Name, _partition, Position, _log.AskNow(_partition).End);
            case Rdkafka.TopicAuthorizationFailed:
                throw new LogUnavailableException($"Topic {_log.Topic} may not be read: {text} Give this user the right to read it.");
            default:
                _log.Trouble = text; // librdkafka goes on by itself.
                break;
        }
    }

    /// <summary>The broker does not have the offset: says why, or goes on where it does after all (a leader that was behind).</summary>
    private void Restart()
    {
        _stopped = true;
        Position = _log.CheckStart(_partition, Position);
        DropBatch();
        _ = Rdkafka.ConsumeStop(_topic, _partition);
        Start();
        _stopped = false;
    }

    private void Start()
    {
        if (Rdkafka.ConsumeStart(_topic, _partition, Position, _queue) != 0)
        {
            throw new LogUnavailableException($"Topic {_log.Topic}, partition {_partition} cannot be read: {Rdkafka.Describe(Rdkafka.LastError())}.");
        }
    }

    private void DropBatch()
    {
        if (_current != null)
        {
            Rdkafka.MessageDestroy(_current);
            _current = null;
        }

        while (_next < _count)
        {
            Rdkafka.MessageDestroy(_batch[_next++]);
        }
    }

    private void Free()
    {
        Rdkafka.QueueCallback(_queue, null, 0); // Under the queue's lock: no callback runs after it.
        DropBatch();
        _ = Rdkafka.ConsumeStop(_topic, _partition);
        Rdkafka.QueueDestroy(_queue);
        Rdkafka.TopicDestroy(_topic);
        NativeMemory.Free(_batch);
        if (_signal.IsAllocated)
        {
            _signal.Free();
        }
    }

    [UnmanagedCallersOnly]
    private static void SetSignal(nint client, nint signal) => ((WorkSignal)GCHandle.FromIntPtr(signal).Target!).Set();
}
