using Confluent.Kafka;
using Confluent.Kafka.Admin;

namespace StreamCdp.Integration.Tests;

/// <summary>What a consumer finds in a topic.</summary>
internal static class KafkaTopic
{
    public static async Task MakeAsync(string servers, string topic, Dictionary<string, string>? settings = null)
    {
        using IAdminClient admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = servers }).Build();
        await admin.CreateTopicsAsync([new TopicSpecification { Name = topic, NumPartitions = 1, ReplicationFactor = 1, Configs = settings ?? [] }]);
    }

    /// <summary>Everything that stands in it now, each partition in its order.</summary>
    public static List<ConsumeResult<string, string>> Read(string servers, string topic)
    {
        using IConsumer<string, string> consumer = new ConsumerBuilder<string, string>(new ConsumerConfig { BootstrapServers = servers, GroupId = "test", EnableAutoCommit = false }).Build();
        using IAdminClient admin = new DependentAdminClientBuilder(consumer.Handle).Build();
        List<ConsumeResult<string, string>> found = [];
        foreach (PartitionMetadata partition in admin.GetMetadata(topic, TimeSpan.FromSeconds(30)).Topics[0].Partitions)
        {
            var place = new TopicPartition(topic, partition.PartitionId);
            WatermarkOffsets ends = consumer.QueryWatermarkOffsets(place, TimeSpan.FromSeconds(30));
            consumer.Assign(new TopicPartitionOffset(place, ends.Low));
            for (long next = ends.Low; next < ends.High; next = found[^1].Offset + 1)
            {
                found.Add(consumer.Consume(TimeSpan.FromSeconds(30)) ?? throw new TimeoutException($"{topic} gives nothing."));
            }
        }

        return found;
    }
}
