using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace StreamCdp.Engine.Logs;

/// <summary>The logs of one Kafka cluster.</summary>
public sealed class KafkaLogs : ILogStore
{
    private readonly Lock _lock = new();
    private readonly ILogger _logger;
    private readonly List<KafkaLog> _logs = [];
    private readonly List<KafkaConsumer> _consumers = [];
    private readonly List<KafkaProducer> _oldProducers = [];
    private KafkaProducer? _producer;
    private KafkaTopics? _topics;
    private bool _disposed;

    /// <summary>Connects to nothing yet; the first <see cref="Open"/> does.</summary>
    /// <exception cref="ArgumentException">The options are wrong.</exception>
    public KafkaLogs(KafkaOptions options, ILoggerFactory? loggers = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        string[] errors = [.. options.Errors()];
        if (errors.Length > 0)
        {
            throw new ArgumentException(string.Join(Environment.NewLine, errors), nameof(options));
        }

        Options = options;
        _logger = (loggers ?? NullLoggerFactory.Instance).CreateLogger<KafkaLogs>();
    }

    /// <summary>Why Kafka seems away, or null. For health checks.</summary>
    public string? Trouble
    {
        get
        {
            lock (_lock)
            {
                return _producer?.Trouble ?? _consumers.Select(consumer => consumer.Trouble).FirstOrDefault(trouble => trouble is not null);
            }
        }
    }

    /// <summary>The id that the cluster gave itself; another cluster at the same address has another.</summary>
    /// <exception cref="LogUnavailableException">It does not answer.</exception>
    public string ClusterId => Topics.ClusterId();

    /// <summary>Reading clients that were made since the start; each is a thread and connections.</summary>
    internal int ConsumersMade { get; private set; }

    internal KafkaOptions Options { get; }

    internal KafkaTopics Topics
    {
        get
        {
            lock (_lock)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                return _topics ??= new KafkaTopics(Options, _logger);
            }
        }
    }

    internal KafkaConsumer AnyConsumer
    {
        get
        {
            lock (_lock)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                if (_consumers.Count == 0)
                {
                    _consumers.Add(MakeConsumer());
                }

                return _consumers[0];
            }
        }
    }

    /// <inheritdoc/>
    public ILog Open(LogDefinition definition)
    {
        LogLimits.Check(definition);
        string topic = Options.TopicPrefix + definition.Name;
        int partitions = Topics.Open(topic, definition);
        KafkaLog log = new(this, definition, topic, partitions);
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _logs.Add(log);
        }

        return log;
    }

    /// <summary>Waits until Kafka has what was appended, then closes all.</summary>
    public ValueTask DisposeAsync()
    {
        KafkaLog[] logs;
        lock (_lock)
        {
            if (_disposed)
            {
                return ValueTask.CompletedTask;
            }

            logs = [.. _logs];
        }

        long deadline = Environment.TickCount64 + (long)Options.RequestTimeout.TotalMilliseconds; // One for all: stopping without Kafka takes no longer.
        foreach (KafkaLog log in logs)
        {
            log.Close(deadline);
        }

        IDisposable[] clients;
        lock (_lock)
        {
            _disposed = true;
            clients = [.. _consumers.Where(one => one.Uses == 0), .. _oldProducers, .. new IDisposable?[] { _producer, _topics }.OfType<IDisposable>()];
            _consumers.RemoveAll(one => one.Uses == 0); // One that still has a reader goes with its last reader.
            _producer = null;
        }

        foreach (IDisposable client in clients)
        {
            client.Dispose();
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>Under the lock.</summary>
    private KafkaConsumer MakeConsumer()
    {
        ConsumersMade++;
        return new KafkaConsumer(Options, _logger);
    }

    /// <summary>The cluster answered: no client's trouble is a true one any more.</summary>
    internal void Works()
    {
        lock (_lock)
        {
            _producer?.Works();
            foreach (KafkaConsumer consumer in _consumers)
            {
                consumer.Works();
            }
        }
    }

    internal KafkaLogWriter MakeWriter(KafkaLog log)
    {
        KafkaProducer producer;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_producer?.FatalReason is not null)
            {
                _oldProducers.Add(_producer); // Its writers are faulted and go with the store.
                _producer = null;
            }

            producer = _producer ??= new KafkaProducer(Options, _logger);
        }

        return new KafkaLogWriter(log, producer, _logger);
    }

    internal KafkaConsumer TakeConsumer(string topic, int partition)
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            foreach (KafkaConsumer consumer in _consumers)
            {
                if (consumer.TryTake(topic, partition))
                {
                    return consumer;
                }
            }

            KafkaConsumer another = MakeConsumer();
            another.TryTake(topic, partition);
            _consumers.Add(another);
            return another;
        }
    }

    /// <summary>A reader is closed. One client without readers is kept for the next: those who ask for single records would else build and destroy one for each.</summary>
    internal void Release(KafkaConsumer consumer, string topic, int partition)
    {
        bool isNeeded;
        lock (_lock)
        {
            consumer.Release(topic, partition);
            isNeeded = consumer.Uses > 0 || (!_disposed && (_consumers.IndexOf(consumer) == 0 || !_consumers.Skip(1).Any(other => other != consumer && other.Uses == 0)));
            if (!isNeeded)
            {
                _consumers.Remove(consumer);
            }
        }

        if (!isNeeded)
        {
            consumer.Dispose(); // It waits for its thread and connections: outside the lock, which every reader needs.
        }
    }

    internal void Forget(KafkaLog log)
    {
        lock (_lock)
        {
            _logs.Remove(log);
        }
    }
}
