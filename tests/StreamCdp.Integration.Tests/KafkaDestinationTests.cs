using System.Text;
using System.Text.Json;
using Confluent.Kafka;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Kafka;
using StreamCdp.Connectors.Tests.Kit;

namespace StreamCdp.Integration.Tests;

/// <summary>The destination against a broker of its own, which is killed and held.</summary>
public sealed class KafkaDestinationTests(OwnKafka kafka) : DestinationConformance, IClassFixture<OwnKafka>, IAsyncLifetime
{
    private readonly string _topic = "changes-" + Guid.NewGuid().ToString("N");
    private KafkaCluster? _cluster;
    private Task _starting = Task.CompletedTask;
    private Receiving _receiving;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        Behave(Receiving.Takes);
        await _starting;
    }

    protected override async ValueTask<IDestination> CreateAsync(TimeSpan timeout)
    {
        _cluster = await kafka.ClusterAsync();
        await KafkaTopic.MakeAsync(_cluster.BootstrapServers, _topic, new() { ["max.message.bytes"] = "20000" });
        return new Padded(New(timeout), () => _receiving == Receiving.RefusesOne);
    }

    protected override void Behave(Receiving receiving)
    {
        switch (_receiving, receiving)
        {
            case (_, Receiving.IsAway):
                _cluster!.Kill();
                break;
            case (_, Receiving.Hangs):
                _cluster!.Freeze();
                break;
            case (Receiving.IsAway, _):
                _starting = _cluster!.StartAgainAsync();
                break;
            case (Receiving.Hangs, _):
                _cluster!.Thaw();
                break;
        }

        _receiving = receiving;
    }

    protected override IReadOnlyList<string> Held() => [.. Found().Select(message => JsonElement.Parse(message.Message.Value).GetProperty("id").GetString()!)];

    [Fact]
    public async Task A_message_has_the_profile_as_key_the_webhooks_JSON_as_value_and_the_id_and_schema_in_headers()
    {
        await using IDestination destination = await CreateAsync(TimeSpan.FromSeconds(30));

        await destination.SendAsync([Change(1)], TestContext.Current.CancellationToken);

        Message<string, string> message = Assert.Single(Found()).Message;
        Assert.Equal((Change(1).ProfileId, Encoding.UTF8.GetString(ChangeJson.Bytes(Change(1)))), (message.Key, message.Value));
        Assert.Equal([("streamcdp-id", Change(1).Id), ("streamcdp-schema", "1")], message.Headers.Select(header => (header.Key, Encoding.UTF8.GetString(header.GetValueBytes()))));
        Assert.InRange(message.Timestamp.UtcDateTime, DateTime.UtcNow.AddMinutes(-5), DateTime.UtcNow.AddMinutes(5)); // Of sending, not of the change.
    }

    [Fact]
    public async Task A_message_that_timed_out_while_the_broker_held_it_is_never_found_behind_a_newer_one()
    {
        _cluster = await kafka.ClusterAsync();
        await KafkaTopic.MakeAsync(_cluster.BootstrapServers, _topic);
        await using KafkaDestination destination = New(TimeSpan.FromSeconds(2));
        await TakenAsync(destination, 1);
        for (long version = 2; version < 5; version++)
        {
            Behave(Receiving.Hangs);
            await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await SendAsync(destination, version));
            Behave(Receiving.Takes);
            await TakenAsync(destination, version);
        }

        long[] versions = [.. Found().Select(message => JsonElement.Parse(message.Message.Value).GetProperty("version").GetInt64())];
        Assert.Equal([1, 2, 3, 4], versions.Distinct());
        Assert.Equal(versions.Order(), versions);

        // As the kit does: the same change until it is taken.
        async Task TakenAsync(KafkaDestination to, long version)
        {
            while (true)
            {
                try
                {
                    Assert.Equal(OutcomeKind.Taken, Assert.Single(await SendAsync(to, version)).Kind);
                    return;
                }
                catch (DestinationUnavailableException)
                {
                    TestContext.Current.CancellationToken.ThrowIfCancellationRequested();
                }
            }
        }

        async Task<IReadOnlyList<Outcome>> SendAsync(KafkaDestination to, long version) => await to.SendAsync([Change(1) with { Version = version }], TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task A_topic_that_is_missing_is_made_also_when_somebody_deletes_it_meanwhile()
    {
        _cluster = await kafka.ClusterAsync();
        using IAdminClient admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = _cluster.BootstrapServers }).Build();
        await using KafkaDestination destination = New(TimeSpan.FromSeconds(10));
        Assert.Equal(OutcomeKind.Taken, Assert.Single(await destination.SendAsync([Change(1)], TestContext.Current.CancellationToken)).Kind);

        await admin.DeleteTopicsAsync([_topic]);
        OutcomeKind? kind = null;
        while (kind != OutcomeKind.Taken)
        {
            try
            {
                kind = Assert.Single(await destination.SendAsync([Change(2)], TestContext.Current.CancellationToken)).Kind;
            }
            catch (DestinationUnavailableException)
            {
                TestContext.Current.CancellationToken.ThrowIfCancellationRequested();
            }
        }

        Assert.Equal([Change(2).Id], Held());
    }

    private KafkaDestination New(TimeSpan timeout) => new(new KafkaOptions { Brokers = _cluster!.BootstrapServers, Topic = _topic, Timeout = timeout });

    private List<ConsumeResult<string, string>> Found() => KafkaTopic.Read(_cluster!.BootstrapServers, _topic);

    /// <summary>Makes the change of the bad profile larger than the topic takes.</summary>
    private sealed class Padded(KafkaDestination inner, Func<bool> isBad) : IDestination
    {
        public bool AnswersPerChange => inner.AnswersPerChange;

        public ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken) =>
            inner.SendAsync([.. batch.Select(change => isBad() && change.ProfileId == BadProfile ? change with { Traits = JsonElement.Parse($$"""{"text":"{{new string('x', 30_000)}}"}""") } : change)], cancellationToken);

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }
}

/// <summary>A broker that the tests of a class may hold and kill.</summary>
public sealed class OwnKafka : IAsyncDisposable
{
    private readonly Lazy<Task<KafkaCluster>> _cluster = new(() => KafkaCluster.StartAsync());

    public Task<KafkaCluster> ClusterAsync()
    {
        Assert.SkipWhen(KafkaCluster.Home is null, KafkaCluster.WhyNot);
        return _cluster.Value;
    }

    public async ValueTask DisposeAsync()
    {
        if (_cluster.IsValueCreated)
        {
            await (await _cluster.Value).DisposeAsync();
        }
    }
}
