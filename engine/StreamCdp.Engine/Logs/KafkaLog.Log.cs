using Microsoft.Extensions.Logging;

namespace StreamCdp.Engine.Logs;

/// <summary>What Kafka logs say. Warning: nothing lost; error: a person is needed.</summary>
internal static partial class KafkaLogMessages
{
    [LoggerMessage(Message = "Kafka client: {Facility}: {Text}")]
    public static partial void ClientSays(this ILogger logger, LogLevel level, string facility, string text);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Kafka is in trouble: {Trouble} Reading and writing go on when it is back.")]
    public static partial void Trouble(this ILogger logger, string trouble);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Reason}")]
    public static partial void WriterFaulted(this ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Topic {Topic}: closed with {Records} records that Kafka did not confirm within {Seconds} s; they may be missing. Their inputs are read again, because no position behind them was saved.")]
    public static partial void NotFlushed(this ILogger logger, string topic, long records, double seconds);

    [LoggerMessage(Level = LogLevel.Information, Message = "Topic {Topic} made with {Partitions} partitions, cleanup {Cleanup}.")]
    public static partial void TopicMade(this ILogger logger, string topic, int partitions, string cleanup);
}
