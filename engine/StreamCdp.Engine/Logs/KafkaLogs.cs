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
                    _consumers.Add(new KafkaConsumer(Options, _logger));
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

        lock (_lock)
        {
            _disposed = true;
            foreach (KafkaConsumer consumer in _consumers.Where(one => one.Uses == 0))
            {
                consumer.Dispose(); // One that still has a reader goes with its last reader.
            }

            foreach (KafkaProducer producer in _oldProducers)
            {
                producer.Dispose();
            }

            _producer?.Dispose();
            _topics?.Dispose();
            _consumers.RemoveAll(one => one.Uses == 0);
            _producer = null;
        }

        return ValueTask.CompletedTask;
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

            KafkaConsumer another = new(Options, _logger);
            another.TryTake(topic, partition);
            _consumers.Add(another);
            return another;
        }
    }

    internal void Release(KafkaConsumer consumer, string topic, int partition)
    {
        lock (_lock)
        {
            consumer.Release(topic, partition);
            if (consumer.Uses == 0 && (_disposed || _consumers.IndexOf(consumer) > 0))
            {
                _consumers.Remove(consumer);
                consumer.Dispose();
            }
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
