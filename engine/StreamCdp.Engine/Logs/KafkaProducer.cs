using Microsoft.Extensions.Logging;

namespace StreamCdp.Engine.Logs;

/// <summary>The client that all writers share: idempotent, acks=all.</summary>
internal sealed unsafe class KafkaProducer : KafkaClient
{
    /// <summary>Records of one writer that may be on their way; bounds its table of confirmations.</summary>
    public const int Window = 1 << 17;

    private const int TicketBits = 48;
    private const long TicketMask = (1L << TicketBits) - 1;

    private readonly Lock _lock = new();
    private readonly object _room = new();
    private KafkaLogWriter?[] _writers = new KafkaLogWriter?[16];
    private int _waitingForRoom;
    private bool _worked;

    public KafkaProducer(KafkaOptions options, ILogger logger)
        : base(Rdkafka.Producer, Settings(options), logger) => Start();

    /// <summary>Why this client can never send again, or null; then a new one is needed.</summary>
    public string? FatalReason { get; private set; }

    /// <summary>Number under which deliveries find a writer.</summary>
    public int Add(KafkaLogWriter writer)
    {
        lock (_lock)
        {
            int slot = Array.IndexOf(_writers, null);
            if (slot < 0)
            {
                if (_writers.Length == 1 << 15)
                {
                    throw new InvalidOperationException($"{_writers.Length} writers are open; close those that are not used any more.");
                }

                slot = _writers.Length;
                Array.Resize(ref _writers, slot * 2);
            }

            _writers[slot] = writer;
            return slot;
        }
    }

    public void Remove(int slot)
    {
        lock (_lock)
        {
            _writers[slot] = null;
        }
    }

    /// <returns>0, or librdkafka's error.</returns>
    public int Produce(nint topic, int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs, int slot, long ticket)
    {
        fixed (byte* keyBytes = key)
        fixed (byte* valueBytes = value)
        {
            Rdkafka.Field* fields = stackalloc Rdkafka.Field[7];
            fields[0] = new Rdkafka.Field { Type = Rdkafka.Field.Topic, Pointer = topic };
            fields[1] = new Rdkafka.Field { Type = Rdkafka.Field.Partition, Int = partition };
            fields[2] = new Rdkafka.Field { Type = Rdkafka.Field.Flags, Int = Rdkafka.Field.FlagCopy };
            fields[3] = new Rdkafka.Field { Type = Rdkafka.Field.Key, Pointer = (nint)keyBytes, Size = (nuint)key.Length };
            fields[4] = new Rdkafka.Field { Type = Rdkafka.Field.Value, Pointer = (nint)valueBytes, Size = (nuint)value.Length };
            fields[5] = new Rdkafka.Field { Type = Rdkafka.Field.Timestamp, Long = timestampMs };
            fields[6] = new Rdkafka.Field { Type = Rdkafka.Field.Opaque, Long = ((long)slot << TicketBits) | ticket };
            nint error = Rdkafka.Produce(Handle, fields, 7);
            if (error == 0)
            {
                return 0;
            }

            int code = Rdkafka.ErrorCode(error);
            Rdkafka.ErrorDestroy(error);
            return code;
        }
    }

    /// <summary>Waits until something was delivered, at most 20 ms.</summary>
    public void WaitForDelivery()
    {
        lock (_room)
        {
            _waitingForRoom++;
            Monitor.Wait(_room, 20);
            _waitingForRoom--;
        }
    }

    protected override void Delivered(Rdkafka.Message** messages, int count)
    {
        for (int i = 0; i < count; i++)
        {
            Rdkafka.Message* message = messages[i];
            long mark = message->Private;
            KafkaLogWriter? writer = Volatile.Read(ref _writers)[(int)(mark >> TicketBits)];
            writer?.Delivered(mark & TicketMask, message->Partition, message->Offset, message->Error);
            _worked |= message->Error == 0;
        }
    }

    protected override void AfterDeliveries()
    {
        if (_worked)
        {
            _worked = false;
            Works();
        }

        foreach (KafkaLogWriter? writer in Volatile.Read(ref _writers))
        {
            writer?.Wake();
        }

        lock (_room)
        {
            if (_waitingForRoom > 0)
            {
                Monitor.PulseAll(_room);
            }
        }
    }

    protected override void FatallyFailed(string reason)
    {
        FatalReason = reason;
        foreach (KafkaLogWriter? writer in Volatile.Read(ref _writers))
        {
            writer?.Fail($"the Kafka client failed for good: {reason} Open the log again (a restart does).");
        }
    }

    private static Dictionary<string, string> Settings(KafkaOptions options)
    {
        Dictionary<string, string> settings = options.Common();
        settings["linger.ms"] = $"{options.LingerMs}";
        settings["message.timeout.ms"] = $"{(long)options.DeliveryTimeout.TotalMilliseconds}";
        settings["queue.buffering.max.kbytes"] = $"{options.BufferBytes / 1024}";
        settings["queue.buffering.max.messages"] = $"{Window}";
        settings["message.max.bytes"] = $"{KafkaTopics.MaxMessageBytes}";
        foreach ((string name, string value) in options.Client)
        {
            settings[name] = value;
        }

        settings["acks"] = "all";
        settings["enable.idempotence"] = "true";
        return settings;
    }
}
