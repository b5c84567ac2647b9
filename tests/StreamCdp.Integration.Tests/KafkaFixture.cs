using StreamCdp.Integration.Tests;

[assembly: AssemblyFixture(typeof(KafkaFixture))]

namespace StreamCdp.Integration.Tests;

/// <summary>One Kafka for all tests of the assembly, begun by the first that asks; without a Kafka to start they are skipped with the reason.</summary>
public sealed class KafkaFixture : IAsyncDisposable
{
    private readonly Lazy<Task<KafkaCluster>> _shared = new(() => KafkaCluster.StartAsync());

    /// <summary>The shared cluster. Tests take a topic prefix of their own, and leave the broker running.</summary>
    public Task<KafkaCluster> SharedAsync()
    {
        Assert.SkipWhen(KafkaCluster.Home is null, KafkaCluster.WhyNot);
        return _shared.Value;
    }

    public async ValueTask DisposeAsync()
    {
        if (_shared.IsValueCreated)
        {
            await (await _shared.Value).DisposeAsync();
        }
    }
}
