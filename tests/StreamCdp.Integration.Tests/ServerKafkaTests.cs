using System.Text;
using System.Text.Json;
using Avro;
using Avro.Generic;
using Avro.IO;
using Confluent.Kafka;
using Confluent.Kafka.Admin;
using StreamCdp.Cli;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Integration.Tests;

/// <summary>A whole server on a real Kafka, and programs of others beside it.</summary>
public sealed class ServerKafkaTests(KafkaFixture kafka, SchemaRegistryProcess registry) : IClassFixture<SchemaRegistryProcess>, IDisposable
{
    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-server-").FullName;
    private readonly string _prefix = $"server{Guid.NewGuid():N}.";

    public void Dispose() => Directory.Delete(_data, recursive: true);

    [Fact]
    public async Task History_in_Kafka_is_counted_for_a_new_rule()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        await using (ServerFixtureHost server = await StartAsync(servers))
        {
            foreach (string user in (string[])["u1", "u1", "u2"])
            {
                await server.SendAsync("track", $$"""{"userId":"{{user}}","event":"Product Viewed"}""");
            }

            await server.ProfileAsync("user_id:u2");
            using HttpResponseMessage put = await server.Client.PutAsync("/v1/segments/viewers", new StringContent("""{"when":"count('Product Viewed') >= 2"}"""), TestContext.Current.CancellationToken);
            Assert.Equal("backfilling", JsonElement.Parse(await put.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken)).GetProperty("state").GetString());
            using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
            while (await server.GetAsync("/v1/segments/viewers") is var segment && (segment.GetProperty("state").GetString() != "live" || segment.GetProperty("members").GetInt32() != 1))
            {
                Assert.False(deadline.IsCancellationRequested, segment.GetRawText());
                await Task.Delay(50, TestContext.Current.CancellationToken);
            }

            await server.SendAsync("track", """{"userId":"u2","event":"Product Viewed"}""");
            Assert.Equal(["viewers"], ServerFixtureHost.Segments(await server.ProfileAsync("user_id:u2")));
        }
    }

    [Fact]
    public async Task JSON_of_any_producer_and_HTTP_end_as_the_same_profile_and_a_restart_keeps_all()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        string before;
        await using (ServerFixtureHost server = await StartAsync(servers))
        {
            await server.SendAsync("identify", """{"userId":"u1","anonymousId":"a1","traits":{"email":"ann@example.com","plan":"pro"}}""");
            await ProduceAsync(servers, """{"type":"track","anonymousId":"a1","event":"Order Completed","properties":{"revenue":12.5},"messageId":"m1"}""");
            await ProduceAsync(servers, "no event at all");
            JsonElement profile = await server.ProfileAsync("email:ann%40example.com");

            Assert.Equal(12.5, profile.GetProperty("computed").GetProperty("revenue").GetDouble());
            Assert.Equal(["buyers", "pros"], ServerFixtureHost.Segments(profile));
            Assert.Equal(2, profile.GetProperty("events").GetArrayLength());
            Assert.Equal("Order Completed", profile.GetProperty("events")[0].GetProperty("event").GetProperty("event").GetString());
            JsonElement letter = (await server.GetAsync("/v1/dead-letters")).GetProperty("dead_letters").EnumerateArray().Single();
            Assert.Equal("no event at all", letter.GetProperty("payload_text").GetString());
            Assert.Equal("events", letter.GetProperty("origin").GetProperty("log").GetString());
            Assert.Equal("ready", (await server.GetAsync("/readyz")).GetProperty("status").GetString());
            await ProduceAsync(servers, """{"type":"purchase","anonymousId":"a1","messageId":"bad"}""");
            JsonElement[] stages = [.. (await server.GetAsync("/v1/trace/bad?wait=true")).GetProperty("stages").EnumerateArray()];
            Assert.Equal(["collect", "route"], stages.Select(stage => stage.GetProperty("stage").GetString()));
            Assert.Equal("unknown_type", stages[1].GetProperty("reason").GetString());
            before = profile.GetRawText();
        }

        await using (ServerFixtureHost server = await StartAsync(servers))
        {
            Assert.Equal(before, (await server.ProfileAsync("user_id:u1")).GetRawText());
            await ProduceAsync(servers, """{"type":"track","anonymousId":"a1","event":"Order Completed","properties":{"revenue":12.5},"messageId":"m1"}"""); // Sent again.
            await ProduceAsync(servers, """{"type":"track","userId":"u1","event":"Order Completed","properties":{"revenue":7.5},"messageId":"m2"}""");

            JsonElement after = await server.ProfileAsync("user_id:u1");

            Assert.Equal(20, after.GetProperty("computed").GetProperty("revenue").GetDouble());
            Assert.Equal(3, after.GetProperty("activity").GetProperty("events").GetInt64());
        }
    }

    [Fact]
    public async Task A_plan_of_a_destination_ends_where_the_topics_end_and_exactly_that_is_sent()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        string model = ServerFixtureHost.Model + $$"""

            destinations: [ { id: out, kind: file, path: "{{_data}}/out/{date}.ndjson", start: paused } ]
            """;
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, model, Kafka(servers)))
        {
            foreach (string user in (string[])["u1", "u2", "u3"])
            {
                await server.SendAsync("track", $$"""{"userId":"{{user}}","event":"Order Completed"}""");
            }

            await server.ProfileAsync("user_id:u3");
            using HttpResponseMessage answer = await server.Client.PostAsync("/v1/connectors/out/plan", null, TestContext.Current.CancellationToken);
            string plan = await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
            await server.SendAsync("track", """{"userId":"u4","event":"Order Completed"}""");
            await server.ProfileAsync("user_id:u4");
            Assert.Contains("{\"counts\":{\"changes\":3,\"entered\":3,", plan, StringComparison.Ordinal);

            using HttpResponseMessage applied = await server.Client.PostAsync("/v1/connectors/out/apply", new StringContent(plan), TestContext.Current.CancellationToken);
            Assert.Equal("""{"begun":true,"changes":3}""", await applied.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
            for (long deadline = Environment.TickCount64 + 60_000; !(await server.GetAsync("/v1/connectors")).GetProperty("connectors")[0].GetProperty("reason").GetString()!.StartsWith("All of a plan was sent", StringComparison.Ordinal); await Task.Delay(50, TestContext.Current.CancellationToken))
            {
                Assert.True(Environment.TickCount64 < deadline, "It does not come to the plan's end.");
            }
        }

        string[] users = [.. Directory.GetFiles(Path.Combine(_data, "out")).SelectMany(File.ReadAllLines).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("identifiers")[0].GetProperty("value").GetString()!)];
        Assert.Equal(["u1", "u2", "u3"], users.Order());
    }

    [Fact]
    public async Task A_lost_state_directory_is_made_again_from_the_topics_and_nothing_counts_twice()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        string before;
        await using (ServerFixtureHost server = await StartAsync(servers))
        {
            await server.SendAsync("identify", """{"userId":"u1","anonymousId":"a1","traits":{"plan":"pro"}}""");
            await server.SendAsync("track", """{"anonymousId":"a1","event":"Order Completed","properties":{"revenue":3}}""");
            before = (await server.ProfileAsync("user_id:u1")).GetRawText();
        }

        Directory.Delete(_data, recursive: true);
        await using (ServerFixtureHost server = await StartAsync(servers))
        {
            Assert.Equal(before, (await server.ProfileAsync("user_id:u1")).GetRawText());
        }

        Assert.Equal(2, Read(servers, "memberships").Count); // Entered two segments, once each.
    }

    [Fact]
    public async Task A_reader_that_knows_only_the_schema_registry_reads_profiles_and_memberships()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        Assert.SkipWhen(registry.Url is null, SchemaRegistryProcess.WhyNot);
        string id;
        await using (ServerFixtureHost server = await StartAsync(servers, ("Kafka:SchemaRegistry:Url", registry.Url!)))
        {
            await server.SendAsync("identify", """{"userId":"u1","traits":{"email":"ann@example.com","plan":"pro"}}""");
            id = (await server.ProfileAsync("user_id:u1")).GetProperty("id").GetString()!;
        }

        using var http = new HttpClient();
        var profiles = new List<GenericRecord>();
        foreach (byte[] value in Read(servers, "profiles"))
        {
            profiles.Add(await DecodeAsync(http, value));
        }

        var memberships = new List<GenericRecord>();
        foreach (byte[] value in Read(servers, "memberships"))
        {
            memberships.Add(await DecodeAsync(http, value));
        }

        GenericRecord profile = profiles[^1];
        Assert.Equal(id, profile["id"]);
        Assert.Equal("pro", JsonElement.Parse(Encoding.UTF8.GetString(profile["traits"] as byte[] ?? Encoding.UTF8.GetBytes((string)profile["traits"]))).GetProperty("plan").GetString());
        GenericRecord membership = Assert.Single(memberships);
        Assert.Equal(id, membership["profile_id"]);
        Assert.Equal("pros", membership["segment"]);
        Assert.Equal("entered", ((GenericEnum)membership["change"]).Value);
    }

    [Fact]
    public async Task Outputs_are_JSON_when_asked_and_the_engine_reads_them_back()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        await using (ServerFixtureHost server = await StartAsync(servers, ("Kafka:Format", "json")))
        {
            await server.SendAsync("identify", """{"userId":"u1","traits":{"email":"ann@example.com","plan":"pro"},"messageId":"m\"1"}""");
            await server.ProfileAsync("user_id:u1");
            JsonElement trace = await server.GetAsync("/v1/trace/m%221");
            Assert.Equal("pros", trace.GetProperty("stages")[2].GetProperty("memberships")[0].GetProperty("segment").GetString());
        }

        Directory.Delete(_data, recursive: true);
        await using (ServerFixtureHost server = await StartAsync(servers)) // Built again, and in Avro now.
        {
            Assert.Equal(["pros"], ServerFixtureHost.Segments(await server.ProfileAsync("user_id:u1")));
        }

        JsonElement membership = JsonElement.Parse(Assert.Single(Read(servers, "memberships"))); // It was not written again.
        Assert.Equal("m\"1", membership.GetProperty("cause").GetString());
        JsonElement profile = JsonElement.Parse(Read(servers, "profiles")[0]);
        Assert.Equal("pro", profile.GetProperty("traits").GetProperty("plan").GetString());
    }

    [Fact]
    public async Task A_process_that_only_collects_fills_the_topic_for_the_one_with_the_stages()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        await using ServerFixtureHost collector = await StartAsync(servers, ("Roles", "collect"));
        await using ServerFixtureHost server = await StartAsync(servers, ("Roles", "route,resolve,profile,api"));
        await collector.SendAsync("track", """{"userId":"u1","event":"Order Completed"}""");

        Assert.Equal(["buyers"], ServerFixtureHost.Segments(await server.ProfileAsync("user_id:u1")));
        Assert.Equal("ready", (await collector.GetAsync("/readyz")).GetProperty("status").GetString());
    }

    [Fact]
    public async Task Of_two_processes_with_the_stages_on_the_same_topics_the_older_one_stops()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        string other = Directory.CreateTempSubdirectory("streamcdp-server-").FullName;
        await using (ServerFixtureHost older = await StartAsync(servers))
        {
            await older.SendAsync("track", """{"userId":"u1","event":"Order Completed"}""");
            await older.ProfileAsync("user_id:u1");
            await using ServerFixtureHost younger = await ServerFixtureHost.StartAsync(other, ServerFixtureHost.Model, Kafka(servers));

            LogTakenOverException error = await Assert.ThrowsAsync<LogTakenOverException>(() => older.Host.Stopped.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken));

            Assert.Contains("TopicPrefix", error.Message, StringComparison.Ordinal);
            await younger.SendAsync("track", """{"userId":"u1","event":"Order Completed"}""");
            Assert.Equal(2, (await younger.ProfileAsync("user_id:u1")).GetProperty("activity").GetProperty("events").GetInt64());
        }

        Directory.Delete(other, recursive: true);
    }

    [Fact]
    public async Task An_unfit_topic_a_registry_that_is_away_and_another_cluster_are_refused()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        using (IAdminClient admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = servers }).Build())
        {
            await admin.CreateTopicsAsync([new TopicSpecification { Name = _prefix + "profiles", NumPartitions = 1, ReplicationFactor = 1, Configs = new() { ["cleanup.policy"] = "delete" } }]);
        }

        CliException unfit = await Assert.ThrowsAsync<CliException>(() => StartAsync(servers));
        CliException away = await Assert.ThrowsAsync<CliException>(() => StartAsync(servers, ("Kafka:SchemaRegistry:Url", "http://127.0.0.1:9"), ("Kafka:SchemaRegistry:Retries", "0")));

        Assert.Contains($"{_prefix}profiles has cleanup.policy=delete", unfit.Message, StringComparison.Ordinal);
        Assert.Contains("http://127.0.0.1:9", away.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("profiles")]
    [InlineData("memberships")]
    public async Task An_output_with_fewer_partitions_than_shards_is_refused_with_what_to_do(string log)
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        using IAdminClient admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = servers }).Build();
        await admin.CreateTopicsAsync([new TopicSpecification { Name = _prefix + log, NumPartitions = 1, ReplicationFactor = 1, Configs = new() { ["cleanup.policy"] = "compact", ["max.message.bytes"] = $"{8 << 20}" } }]);

        CliException error = await Assert.ThrowsAsync<CliException>(() => StartAsync(servers));

        Assert.Contains($"Log {log} has 1 partition and profile-events has 2; needed are as many", error.Message, StringComparison.Ordinal);
        Assert.Contains("--partitions 2", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("events", 1)]
    [InlineData("profile-events", 2)]
    public async Task A_log_that_got_more_partitions_than_its_state_knows_is_refused(string log, int saved)
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        await using (ServerFixtureHost server = await StartAsync(servers))
        {
            await server.SendAsync("track", """{"userId":"u1","event":"Order Completed"}""");
            await server.ProfileAsync("user_id:u1");
        }

        using IAdminClient admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = servers }).Build();
        foreach (string altered in log == "events" ? (string[])["events"] : ["profile-events", "profiles", "memberships"])
        {
            await admin.CreatePartitionsAsync([new PartitionsSpecification { Topic = _prefix + altered, IncreaseTo = 4 }]);
        }

        CliException error = await Assert.ThrowsAsync<CliException>(() => StartAsync(servers));

        Assert.Contains($"Log {log} has 4 partitions; needed are {saved}, as when the state was saved", error.Message, StringComparison.Ordinal);
        Assert.Contains("TopicPrefix", error.Message, StringComparison.Ordinal);
    }

    private Task<ServerFixtureHost> StartAsync(string servers, params (string Key, string Value)[] settings) =>
        ServerFixtureHost.StartAsync(_data, ServerFixtureHost.Model, [.. Kafka(servers), .. settings]);

    private (string Key, string Value)[] Kafka(string servers) =>
        [("Log:Kind", "kafka"), ("Kafka:BootstrapServers", servers), ("Kafka:TopicPrefix", _prefix), ("Engine:Shards", "2")];

    /// <summary>As kafka-console-producer.sh does: no key. It returns when the broker has it.</summary>
    private async Task ProduceAsync(string servers, string json)
    {
        using IProducer<Null, string> producer = new ProducerBuilder<Null, string>(new ProducerConfig { BootstrapServers = servers }).Build();
        await producer.ProduceAsync(_prefix + "events", new Message<Null, string> { Value = json }, TestContext.Current.CancellationToken);
    }

    /// <summary>All values of a topic.</summary>
    private List<byte[]> Read(string servers, string log)
    {
        using IConsumer<byte[], byte[]> consumer = new ConsumerBuilder<byte[], byte[]>(new ConsumerConfig { BootstrapServers = servers, GroupId = _prefix + "test", EnablePartitionEof = true, EnableAutoCommit = false }).Build();
        TopicPartition[] partitions = [new(_prefix + log, 0), new(_prefix + log, 1)];
        consumer.Assign(partitions.Select(partition => new TopicPartitionOffset(partition, Offset.Beginning)));
        var values = new List<byte[]>();
        var ended = new HashSet<TopicPartition>();
        while (ended.Count < partitions.Length)
        {
            ConsumeResult<byte[], byte[]> result = consumer.Consume(TestContext.Current.CancellationToken);
            if (result.IsPartitionEOF)
            {
                ended.Add(result.TopicPartition);
            }
            else
            {
                values.Add(result.Message.Value);
            }
        }

        consumer.Close();
        return values;
    }

    private async Task<GenericRecord> DecodeAsync(HttpClient http, byte[] value)
    {
        Assert.Equal(0, value[0]);
        int schemaId = System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(value.AsSpan(1));
        JsonElement answer = JsonElement.Parse(await http.GetStringAsync(new Uri($"{registry.Url}/schemas/ids/{schemaId}"), TestContext.Current.CancellationToken));
        var schema = Schema.Parse(answer.GetProperty("schema").GetString()!);
        using var body = new MemoryStream(value, 5, value.Length - 5);
        return new GenericDatumReader<GenericRecord>(schema, schema).Read(null!, new BinaryDecoder(body));
    }
}
