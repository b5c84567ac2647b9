using System.Text.Json;
using Confluent.Kafka;
using StreamCdp.Cli;

namespace StreamCdp.Integration.Tests;

/// <summary>A whole server that writes changes into a topic of Kafka.</summary>
public sealed class ServerKafkaDestinationTests(KafkaFixture kafka) : IDisposable
{
    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-to-kafka-").FullName;
    private readonly string _topic = "changes-" + Guid.NewGuid().ToString("N");

    public void Dispose() => Directory.Delete(_data, recursive: true);

    [Fact]
    public async Task What_happens_to_a_person_is_in_the_topic_in_order_and_a_restart_repeats_nothing()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        string person;
        await using (ServerFixtureHost server = await StartAsync(servers))
        {
            await server.SendAsync("identify", """{"userId":"u1","traits":{"email":"Ann@Example.com","plan":"free"}}""");
            await server.SendAsync("track", """{"userId":"u1","event":"Order Completed","properties":{"revenue":12.5},"messageId":"m1"}""");
            person = (await server.ProfileAsync("user_id:u1")).GetProperty("id").GetString()!;
            Until(servers, 1);
            JsonElement status = Assert.Single((await server.GetAsync("/v1/connectors")).GetProperty("connectors").EnumerateArray());

            Assert.Equal(("stream", "kafka", $"{servers}/{_topic}", "running"), (Text(status, "id"), Text(status, "kind"), Text(status, "target"), Text(status, "state")));
        }

        await using (ServerFixtureHost server = await StartAsync(servers))
        {
            await server.SendAsync("identify", """{"userId":"u1","traits":{"plan":"pro"}}""");
            Until(servers, 2);
        }

        List<ConsumeResult<string, string>> found = KafkaTopic.Read(servers, _topic);
        JsonElement[] changes = [.. found.Select(message => JsonElement.Parse(message.Message.Value))];
        Assert.All(found, message => Assert.Equal(person, message.Message.Key));
        Assert.Equal([("entered", "buyers"), ("entered", "pros")], changes.Select(change => (Text(change, "type"), Text(change, "segment"))));
        Assert.Equal("""{"Plan":"free","Mail":["ann@example.com"]}""", changes[0].GetProperty("fields").GetRawText());
        Assert.True(changes[0].GetProperty("version").GetInt64() < changes[1].GetProperty("version").GetInt64());
    }

    [Fact]
    public async Task A_topic_that_is_a_log_of_the_server_itself_is_refused()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;

        CliException refused = await Assert.ThrowsAsync<CliException>(() => ServerFixtureHost.StartAsync(_data, Model(servers, $"{_topic}.profiles"), ("Log:Kind", "kafka"), ("Kafka:BootstrapServers", servers), ("Kafka:TopicPrefix", _topic + "."), ("Engine:Shards", "1")));

        Assert.Equal($"Destination stream would write into {_topic}.profiles, which is a log of StreamCdp itself; give it another topic.", refused.Message);
    }

    private static string Model(string servers, string topic) => ServerFixtureHost.Model + $$"""

        destinations:
          - { id: stream, kind: kafka, brokers: "{{servers}}", topic: {{topic}}, fields: { Plan: traits.plan, Mail: identifiers.email } }
        """;

    private static string Text(JsonElement json, string name) => json.GetProperty(name).GetString()!;

    private Task<ServerFixtureHost> StartAsync(string servers) => ServerFixtureHost.StartAsync(_data, Model(servers, _topic));

    /// <summary>Waits for so many messages as a consumer does.</summary>
    private void Until(string servers, int count)
    {
        using IConsumer<string, string> consumer = new ConsumerBuilder<string, string>(new ConsumerConfig { BootstrapServers = servers, GroupId = _topic + count, AutoOffsetReset = AutoOffsetReset.Earliest, TopicMetadataRefreshIntervalMs = 200, AllowAutoCreateTopics = false }).Build();
        consumer.Subscribe(_topic);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(90));
        for (int found = 0; found < count;)
        {
            try
            {
                consumer.Consume(limit.Token);
                found++;
            }
            catch (ConsumeException exception) when (exception.Error.Code == ErrorCode.UnknownTopicOrPart)
            {
                limit.Token.ThrowIfCancellationRequested(); // Not made yet.
            }
        }

        consumer.Close();
    }
}
