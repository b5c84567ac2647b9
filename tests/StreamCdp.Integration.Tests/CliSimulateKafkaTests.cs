using System.Text.Json;
using StreamCdp.Cli;
using StreamCdp.Cli.Demo;
using StreamCdp.Cli.Simulation;

namespace StreamCdp.Integration.Tests;

/// <summary><c>streamcdp simulate --to kafka</c>, as typed, beside a server on a real broker.</summary>
public sealed class CliSimulateKafkaTests(KafkaFixture kafka) : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-simulate-").FullName;
    private readonly string _prefix = $"simulate{Guid.NewGuid():N}.";

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task What_the_shop_writes_into_the_topic_is_what_the_server_knows()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(
            Path.Combine(_directory, "data"), DemoModel.Shop(), ("Log:Kind", "kafka"), ("Kafka:BootstrapServers", servers), ("Kafka:TopicPrefix", _prefix), ("Engine:Shards", "2"));
        string[] arguments = [.. Simulate(servers), "--duration", "3s", "--people", "40", "--verify", "--model", Model(), "--url", server.Address.ToString(), "--key", "demo-api-key"];

        (int code, string output, string error) = await CliFakeServer.RunAsync(arguments);

        Assert.True(code == 0, error + output);
        Assert.Matches(@"Sent: [1-9][\d,]* events that count, [1-9]\d* repeats, [1-9]\d* invalid\.", output);
        Assert.Contains("No differences.", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_event_that_the_server_did_not_get_is_a_difference_and_exit_code_1()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(
            Path.Combine(_directory, "data"), DemoModel.Shop(), ("Log:Kind", "kafka"), ("Kafka:BootstrapServers", servers), ("Kafka:TopicPrefix", _prefix), ("Engine:Shards", "2"));
        await using CliFakeServer other = await CliFakeServer.StartAsync(ModelFile.Parse("cdp.yaml", DemoModel.Shop(), _ => null).Model); // Knows nobody.

        (int code, string output, string _) = await CliFakeServer.RunAsync([.. Simulate(servers), "--duration", "1s", "--people", "3", "--verify", "--model", Model(), "--url", other.Address.ToString(), "--key", "demo-api-key"]);

        Assert.Equal(CommandLine.Failed, code);
        Assert.Contains("the server knows nobody", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_topic_that_no_server_made_is_not_made_but_refused()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;

        (int code, string _, string error) = await CliFakeServer.RunAsync(Simulate(servers));

        Assert.Equal(CommandLine.Failed, code);
        Assert.Contains($"has no topic {_prefix}events. Start the server first", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_brokers_it_says_how_to_name_them()
    {
        (int code, string _, string error) = await CliFakeServer.RunAsync("simulate", "--to", "kafka");

        Assert.Equal(CommandLine.WrongUsage, code);
        Assert.Contains("--bootstrap", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"anonymousId":"a1","userId":"u1"}""", "anonymous_id:a1")]
    [InlineData("""{"userId":7}""", "user_id:7")]
    [InlineData("""{"anonymousId":""}""", null)]
    public void The_key_of_a_record_is_the_sender_of_its_event(string json, string? key) =>
        Assert.Equal(key, KafkaTarget.Record(Sent(json, null)).Key);

    [Fact]
    public void A_record_says_what_the_call_says_by_HTTP()
    {
        JsonElement record = JsonElement.Parse(KafkaTarget.Record(Sent("""{"type":"page"}""", "2026-01-01T00:00:00.000Z")).Value);

        Assert.Equal("""{"type":"page","sentAt":"2026-01-01T00:00:00.000Z","receivedAt":"1970-01-01T00:00:01.500Z","source":"web"}""", record.GetRawText());
    }

    private static SentEvent Sent(string json, string? batchSentAt) => new(System.Text.Encoding.UTF8.GetBytes(json), "web", batchSentAt) { SentMs = 1_500 };

    private string[] Simulate(string servers) => ["simulate", "--to", "kafka", "--bootstrap", servers, "--topic-prefix", _prefix, "--rate", "400", "--seed", "7"];

    private string Model()
    {
        string path = Path.Combine(_directory, "cdp.yaml");
        File.WriteAllText(path, DemoModel.Shop());
        return path;
    }
}
