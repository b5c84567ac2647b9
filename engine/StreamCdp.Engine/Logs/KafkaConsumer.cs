using Microsoft.Extensions.Logging;

namespace StreamCdp.Engine.Logs;

/// <summary>A client that many readers share: one fetcher and one connection per broker for all their partitions.</summary>
/// <remarks>librdkafka reads a partition once per client, so a second reader of a partition gets a second client. No consumer group: stages keep
/// their positions themselves, in their checkpoints.</remarks>
internal sealed class KafkaConsumer : KafkaClient
{
    private readonly HashSet<(string Topic, int Partition)> _inUse = [];

    public KafkaConsumer(KafkaOptions options, ILogger logger)
        : base(Rdkafka.Consumer, Settings(options), logger) => Start();

    /// <summary>Readers that use it; guarded by the store's lock, as is <see cref="TryTake"/>.</summary>
    public int Uses => _inUse.Count;

    public bool TryTake(string topic, int partition) => _inUse.Add((topic, partition));

    public void Release(string topic, int partition) => _inUse.Remove((topic, partition));

    /// <summary>The client's settings. A fetch waits at the broker, which answers when a record comes: that is not polling, and its wait is only the bound.</summary>
    internal static Dictionary<string, string> Settings(KafkaOptions options)
    {
        Dictionary<string, string> settings = options.Common();
        settings["fetch.min.bytes"] = "1"; // The first record ends the wait.
        settings["fetch.wait.max.ms"] = "25"; // The default of 500 delays what a fetch in flight does not ask for.
        settings["fetch.error.backoff.ms"] = "50";
        settings["fetch.queue.backoff.ms"] = "5"; // After a full queue: the default of 1000 would halt a reader that is behind.
        settings["fetch.message.max.bytes"] = "1048576";
        settings["queued.max.messages.kbytes"] = $"{options.ReadAheadBytes / 1024}";
        settings["allow.auto.create.topics"] = "false";
        foreach ((string name, string value) in options.Client)
        {
            settings[name] = value;
        }

        settings["enable.partition.eof"] = "true"; // Tells the position behind gaps that compaction or transactions left at the end.
        settings["enable.auto.commit"] = "false";
        settings["enable.auto.offset.store"] = "false";
        settings["auto.offset.reset"] = "error"; // Never go on silently somewhere else.
        settings["check.crcs"] = "true";
        return settings;
    }
}
