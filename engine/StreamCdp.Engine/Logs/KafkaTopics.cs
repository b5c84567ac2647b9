using Confluent.Kafka;
using Confluent.Kafka.Admin;
using Microsoft.Extensions.Logging;

namespace StreamCdp.Engine.Logs;

/// <summary>Makes topics and checks existing ones: everything asked of the cluster that is not reading or writing.</summary>
internal sealed class KafkaTopics(KafkaOptions options, ILogger logger) : IDisposable
{
    public const int MaxMessageBytes = 8 << 20;

    private const long DayMs = 24L * 3600 * 1000;

    private readonly IAdminClient _admin = Build(options);

    /// <summary>Makes the topic of a log where it is missing, and refuses one that would lose data.</summary>
    /// <returns>Its number of partitions.</returns>
    public int Open(string topic, LogDefinition definition)
    {
        if (FindPartitions(topic) == 0)
        {
            Make(topic, definition, needsFarTimestamps: true);
        }

        int partitions = WaitForLeaders(topic);
        CheckFit(topic, definition);
        return partitions;
    }

    /// <returns>The first offset that is kept now.</returns>
    public long DeleteBefore(string topic, int partition, long offset)
    {
        List<DeleteRecordsResult> results = Ask(topic, () => _admin.DeleteRecordsAsync(
            [new TopicPartitionOffset(topic, partition, offset)],
            new DeleteRecordsOptions { OperationTimeout = options.RequestTimeout, RequestTimeout = options.RequestTimeout }));
        return results[0].Offset.Value;
    }

    /// <returns>Where each partition ends now for readers: what an open transaction holds back does not count.</returns>
    /// <exception cref="LogUnavailableException">The brokers did not say so in time.</exception>
    public async Task<IReadOnlyList<long>> EndOffsetsAsync(string topic, int partitions, TimeSpan atMost)
    {
        try
        {
            ListOffsetsResult found = await _admin.ListOffsetsAsync(
                Enumerable.Range(0, partitions).Select(partition => new TopicPartitionOffsetSpec { TopicPartition = new TopicPartition(topic, partition), OffsetSpec = OffsetSpec.Latest() }),
                new ListOffsetsOptions { RequestTimeout = atMost, IsolationLevel = IsolationLevel.ReadCommitted }).ConfigureAwait(false);
            return [.. found.ResultInfos.OrderBy(info => info.TopicPartitionOffsetError.Partition.Value).Select(info => info.TopicPartitionOffsetError.Offset.Value)];
        }
        catch (KafkaException error)
        {
            throw Unavailable(topic, error);
        }
    }

    /// <returns>The cluster's own id, which a cluster keeps for its life.</returns>
    public string ClusterId() =>
        Ask("", () => _admin.DescribeClusterAsync(new DescribeClusterOptions { RequestTimeout = options.RequestTimeout })).ClusterId;

    public void Dispose() => _admin.Dispose();

    /// <exception cref="LogSettingsException">The client does not take the settings.</exception>
    private static IAdminClient Build(KafkaOptions options)
    {
        try
        {
            return new AdminClientBuilder(Settings(options))
                .SetLogHandler((_, _) => { }) // The same lines come from the other clients.
                .SetErrorHandler((_, _) => { })
                .Build();
        }
        catch (Exception error) when (error is InvalidOperationException or ArgumentException or KafkaException)
        {
            throw KafkaOptions.Refused(error.Message, error);
        }
    }

    private static Dictionary<string, string> Settings(KafkaOptions options)
    {
        Dictionary<string, string> settings = options.Common();
        foreach ((string name, string value) in options.Client)
        {
            settings[name] = value;
        }

        return settings;
    }

    private int FindPartitions(string topic)
    {
        try
        {
            // All topics, because asking for one by name lets some clusters make it.
            return _admin.GetMetadata(options.RequestTimeout).Topics.Find(one => one.Topic == topic)?.Partitions.Count ?? 0;
        }
        catch (KafkaException error)
        {
            throw Unavailable(topic, error);
        }
    }

    private void Make(string topic, LogDefinition definition, bool needsFarTimestamps)
    {
        Dictionary<string, string> settings = new()
        {
            ["cleanup.policy"] = definition.Cleanup == LogCleanup.Compact ? "compact" : "delete",
            ["max.message.bytes"] = $"{MaxMessageBytes}",
            ["message.timestamp.type"] = "CreateTime",
        };
        if (definition.Cleanup == LogCleanup.Compact)
        {
            settings["min.cleanable.dirty.ratio"] = "0.3";
            settings["segment.ms"] = $"{DayMs}";
        }
        else
        {
            settings["retention.ms"] = $"{definition.RetentionMs}";
            settings["retention.bytes"] = "-1";
            settings["segment.ms"] = $"{(definition.RetentionMs < 0 ? 7 * DayMs : Math.Clamp(definition.RetentionMs / 4, 60_000, 7 * DayMs))}";
        }

        if (options.MinInSyncReplicas > 0)
        {
            settings["min.insync.replicas"] = $"{options.MinInSyncReplicas}";
        }

        if (needsFarTimestamps)
        {
            settings["message.timestamp.after.max.ms"] = $"{long.MaxValue}"; // Kafka 4 refuses records more than an hour ahead of its clock.
        }

        TopicSpecification specification = new() { Name = topic, NumPartitions = definition.Partitions, ReplicationFactor = options.ReplicationFactor, Configs = settings };
        try
        {
            Ask(topic, async () =>
            {
                await _admin.CreateTopicsAsync([specification], new CreateTopicsOptions { OperationTimeout = options.RequestTimeout, RequestTimeout = options.RequestTimeout }).ConfigureAwait(false);
                return true;
            });
            logger.TopicMade(topic, definition.Partitions, settings["cleanup.policy"]);
        }
        catch (LogUnavailableException error) when (error.InnerException is CreateTopicsException { Results: [{ Error.Code: ErrorCode.TopicAlreadyExists }] })
        {
            // Another instance was faster.
        }
        catch (LogUnavailableException error) when (needsFarTimestamps && error.InnerException is CreateTopicsException { Results: [{ Error.Code: ErrorCode.InvalidConfig }] })
        {
            Make(topic, definition, needsFarTimestamps: false); // Brokers before 3.6 do not know that setting.
        }
    }

    private int WaitForLeaders(string topic)
    {
        long deadline = Environment.TickCount64 + (long)options.RequestTimeout.TotalMilliseconds;
        while (true)
        {
            try
            {
                TopicMetadata? found = _admin.GetMetadata(topic, options.RequestTimeout).Topics.Find(one => one.Topic == topic);
                if (found is { Error.IsError: false, Partitions.Count: > 0 } && found.Partitions.All(partition => partition.Leader >= 0))
                {
                    return found.Partitions.Count;
                }
            }
            catch (KafkaException error)
            {
                throw Unavailable(topic, error);
            }

            if (Environment.TickCount64 >= deadline)
            {
                throw new LogUnavailableException($"Topic {topic} has partitions without a leader, {options.RequestTimeout.TotalSeconds} s long. Check that all brokers of {options.BootstrapServers} run, then try again.");
            }

            Thread.Sleep(20); // The cluster tells each broker in its own time; there is nothing to wait on.
        }
    }

    private void CheckFit(string topic, LogDefinition definition)
    {
        List<DescribeConfigsResult> results = Ask(topic, () => _admin.DescribeConfigsAsync(
            [new ConfigResource { Type = ResourceType.Topic, Name = topic }],
            new DescribeConfigsOptions { RequestTimeout = options.RequestTimeout }));
        Dictionary<string, ConfigEntryResult> found = results[0].Entries;
        string cleanup = definition.Cleanup == LogCleanup.Compact ? "compact" : "delete";
        Need("cleanup.policy", value => value == cleanup, cleanup);
        Need("message.timestamp.type", value => value == "CreateTime", "CreateTime");
        Need(
            "max.message.bytes",
            value => !long.TryParse(value, out long bytes) || bytes >= MaxMessageBytes,
            $"{MaxMessageBytes}",
            $"{MaxMessageBytes} or more",
            "a larger record would be refused when it comes, and its stage would stop");
        if (definition.Cleanup == LogCleanup.Delete)
        {
            Need(
                "retention.ms",
                value => !long.TryParse(value, out long ms) || ms < 0 || (definition.RetentionMs >= 0 && ms >= definition.RetentionMs),
                $"{definition.RetentionMs}",
                definition.RetentionMs < 0 ? "-1 (for ever)" : $"{definition.RetentionMs} or more");
            Need("retention.bytes", value => !long.TryParse(value, out long bytes) || bytes < 0, "-1", "-1 (no bound)");
        }

        void Need(string setting, Func<string, bool> isFit, string needed, string? inWords = null, string otherwise = "records would be lost or mixed up")
        {
            if (found.TryGetValue(setting, out ConfigEntryResult? entry) && entry.Value is { } value && !isFit(value))
            {
                throw new LogUnfitException(
                    $"Topic {topic} has {setting}={value}; needed is {inWords ?? needed}, else {otherwise}. Mend it by: kafka-configs.sh --bootstrap-server {options.BootstrapServers} --alter --entity-type topics --entity-name {topic} --add-config {setting}={needed}");
            }
        }
    }

    /// <summary>Asks and waits. The contract of logs is synchronous and this client is not; answers come on the client's own threads, so blocking is safe.</summary>
    private T Ask<T>(string topic, Func<Task<T>> question)
    {
        using ManualResetEventSlim answered = new();
        T? answer = default;
        KafkaException? failure = null;
        _ = AskAsync();
        answered.Wait();
        return failure is null ? answer! : throw Unavailable(topic, failure);

        async Task AskAsync()
        {
            try
            {
                answer = await question().ConfigureAwait(false);
            }
            catch (KafkaException error)
            {
                failure = error;
            }
            finally
            {
                answered.Set();
            }
        }
    }

    private LogUnavailableException Unavailable(string topic, KafkaException error)
    {
        string detail = error switch
        {
            CreateTopicsException create => create.Results[0].Error.Reason,
            DescribeConfigsException describe => describe.Results[0].Error.Reason,
            DeleteRecordsException delete => delete.Results[0].Error.Reason,
            _ => error.Error.Reason,
        };
        string what = topic.Length > 0 ? $"Topic {topic}: " : "";
        return new LogUnavailableException($"{what}Kafka at {options.BootstrapServers} did not answer as needed: {detail.TrimEnd('.')}. Check {KafkaOptions.Section}, that the brokers run, and the rights of this user.", error);
    }
}
