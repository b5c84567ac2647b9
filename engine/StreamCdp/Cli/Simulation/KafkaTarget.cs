using System.Globalization;
using System.Text;
using System.Text.Json;
using Confluent.Kafka;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Pipeline;

namespace StreamCdp.Cli.Simulation;

/// <summary>Writes events into the topic <c>events</c> as a program beside StreamCdp does: JSON in the Segment shape, with a Kafka client of its own.</summary>
/// <remarks>
/// An event gets what its call says by HTTP: <c>receivedAt</c>, <c>source</c>, and <c>sentAt</c> of its batch where it has none. So clocks are corrected
/// as by HTTP (RULES.md §4.1), and the truth is known to the millisecond. Key and partition are the sender's (RULES.md §2), as the collector has them.
/// </remarks>
internal sealed class KafkaTarget : IShopTarget, IDisposable
{
    private static readonly TimeSpan s_giveUpAfter = TimeSpan.FromSeconds(60);

    private readonly IProducer<byte[], byte[]> _producer;
    private readonly string _topic;
    private readonly int _partitions;

    private KafkaTarget(IProducer<byte[], byte[]> producer, string topic, int partitions)
    {
        _producer = producer;
        _topic = topic;
        _partitions = partitions;
    }

    /// <inheritdoc/>
    public bool SetsReceivedAt => true;

    /// <summary>Connects, and finds the topic.</summary>
    /// <param name="options">Checked: <see cref="KafkaOptions.Errors"/> is empty.</param>
    /// <exception cref="CliException">Nobody answers, or the topic is not there.</exception>
    public static KafkaTarget Connect(KafkaOptions options)
    {
        string topic = options.TopicPrefix + "events";
        Dictionary<string, string> settings = options.Common();
        foreach ((string name, string value) in options.Client)
        {
            settings[name] = value;
        }

        var config = new ProducerConfig(settings)
        {
            Acks = Acks.All,
            EnableIdempotence = true, // A sender's events keep their order, also when Kafka's client has to send some again.
            LingerMs = 1,
            MessageTimeoutMs = (int)s_giveUpAfter.TotalMilliseconds,
            AllowAutoCreateTopics = false, // Made by the server, with settings that lose nothing.
        };
        IProducer<byte[], byte[]> producer;
        try
        {
            producer = new ProducerBuilder<byte[], byte[]>(config)
                .SetLogHandler((_, _) => { }) // What matters comes with the events.
                .SetErrorHandler((_, _) => { })
                .Build();
        }
        catch (InvalidOperationException exception)
        {
            throw new CliException($"The Kafka client cannot start: {exception.Message} Mend the settings under {KafkaOptions.Section}.", inner: exception);
        }

        try
        {
            using IAdminClient admin = new DependentAdminClientBuilder(producer.Handle).Build();
            int partitions = admin.GetMetadata(options.RequestTimeout).Topics.Find(found => found.Topic == topic)?.Partitions.Count ?? 0; // All topics: asking for one by name lets some clusters make it.
            if (partitions == 0)
            {
                throw new CliException($"Kafka at {options.BootstrapServers} has no topic {topic}. Start the server first, which makes it (streamcdp run --log kafka), or give its --topic-prefix.");
            }

            return new KafkaTarget(producer, topic, partitions);
        }
        catch (KafkaException exception)
        {
            producer.Dispose();
            throw new CliException($"Kafka at {options.BootstrapServers} does not answer: {exception.Error.Reason.TrimEnd('.')}. Does it run? Give its address with --bootstrap.", inner: exception);
        }
        catch (CliException)
        {
            producer.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public async Task<CallResult> SendAsync(ShopCall call)
    {
        try
        {
            await Task.WhenAll(call.Events.Select(ProduceAsync)).ConfigureAwait(false); // All are with the client before the first is awaited: they keep their order.
            return new CallResult(CallOutcome.Acknowledged);
        }
        catch (KafkaException exception)
        {
            return new CallResult(CallOutcome.GivenUp, exception.Error.Reason); // The client tried again by itself, all the time there is.
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _producer.Dispose();

    /// <summary>The record of an event: its key, null where it has no sender, and its value.</summary>
    internal static (string? Key, byte[] Value) Record(SentEvent sent)
    {
        using JsonDocument document = JsonDocument.Parse(sent.Json);
        var added = new StringBuilder();
        if (sent.BatchSentAt is not null && !document.RootElement.TryGetProperty("sentAt", out _))
        {
            Add("sentAt", sent.BatchSentAt);
        }

        Add("receivedAt", DateTimeOffset.FromUnixTimeMilliseconds(sent.SentMs).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));
        Add("source", sent.SourceId);
        added.Append('}');
        return (Sender(document.RootElement), [.. sent.Json.Span[..^1], .. Encoding.UTF8.GetBytes(added.ToString())]);

        void Add(string name, string value) => added.Append(CultureInfo.InvariantCulture, $",\"{name}\":{JsonSerializer.Serialize(value)}");
    }

    /// <summary>What the shop's events are sent by: the device, else the person. (A blocked id is no sender, but such an event counts for nobody.)</summary>
    private static string? Sender(JsonElement json)
    {
        foreach ((string property, string type) in (ReadOnlySpan<(string, string)>)[("anonymousId", "anonymous_id"), ("userId", "user_id")])
        {
            if (json.TryGetProperty(property, out JsonElement id) && id.ValueKind is JsonValueKind.String or JsonValueKind.Number && id.ToString() is { Length: > 0 } text)
            {
                return $"{type}:{text}";
            }
        }

        return null;
    }

    private Task ProduceAsync(SentEvent sent)
    {
        (string? key, byte[] value) = Record(sent);
        byte[]? bytes = key is null ? null : Encoding.UTF8.GetBytes(key);
        int partition = bytes is null ? 0 : EventPartition.Of(Hash128.Of(bytes), _partitions);
        return _producer.ProduceAsync(new TopicPartition(_topic, partition), new Message<byte[], byte[]> { Key = bytes!, Value = value, Timestamp = new Timestamp(sent.SentMs, TimestampType.CreateTime) }, CancellationToken.None);
    }
}
