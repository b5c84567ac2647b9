using Confluent.Kafka;
using Confluent.Kafka.Admin;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Tests.Logs;

namespace StreamCdp.Integration.Tests;

/// <summary>The Kafka log keeps what all logs promise, on a real broker.</summary>
public sealed class KafkaLogTests(KafkaFixture kafka) : LogConformance
{
    private static int s_tests;

    private readonly string _prefix = $"t{Interlocked.Increment(ref s_tests)}.";

    protected override long NowMs { get; } = DateTimeOffset.UtcNow.AddHours(-2).ToUnixTimeMilliseconds();

    protected override int RecordsPerSegment => 10;

    private string _servers = "";

    private KafkaOptions Options => new() { BootstrapServers = _servers, TopicPrefix = _prefix };

    protected override ILogStore OpenStore() => new KafkaLogs(Options);

    public override async ValueTask InitializeAsync()
    {
        _servers = (await kafka.SharedAsync()).BootstrapServers;
        await base.InitializeAsync();
    }

    /// <summary>Lets the broker's cleaner run at once; a segment must be closed by a record that comes after its time.</summary>
    protected override async ValueTask CompactAsync(ILog log)
    {
        string topic = ((KafkaLog)log).Topic;
        await AlterAsync(topic, ("segment.ms", "10"), ("min.cleanable.dirty.ratio", "0.001"), ("delete.retention.ms", "0"));
        using ILogWriter writer = log.OpenWriter();
        long deadline = Environment.TickCount64 + DeadlineMs;
        while (TakeAll(log).Count(record => record.Key != "roll") > 20)
        {
            Assert.True(Environment.TickCount64 < deadline, "The broker did not compact.");
            writer.WaitDurable(writer.Append(0, "roll"u8, "r"u8, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds()));
        }
    }

    /// <summary>The records are two hours old already, and the broker looks twice a second.</summary>
    protected override async ValueTask RetainAsync(ILog log, TimeSpan later)
    {
        long deadline = Environment.TickCount64 + DeadlineMs;
        while (log.BeginOffset(0) == 0)
        {
            Assert.True(Environment.TickCount64 < deadline, "The broker did not delete.");
            await Task.Delay(50, TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public void The_broker_answers_a_fetch_with_the_first_record_and_no_back_off_delays_the_next()
    {
        Dictionary<string, string> settings = KafkaConsumer.Settings(Options);

        Assert.Equal("1", settings["fetch.min.bytes"]);
        Assert.InRange(int.Parse(settings["fetch.wait.max.ms"]), 1, 25); // What joins a fetch in flight late waits this long.
        Assert.InRange(int.Parse(settings["fetch.queue.backoff.ms"]), 0, 10);
        Assert.InRange(int.Parse(settings["fetch.error.backoff.ms"]), 0, 100);
    }

    [Fact]
    public async Task A_topic_that_would_lose_records_is_refused_with_the_command_that_mends_it()
    {
        ILog log = Store.Open(Events(retentionMs: 86_400_000));
        string topic = ((KafkaLog)log).Topic;
        await AlterAsync(topic, ("retention.ms", "1000"));

        LogUnfitException error = Assert.Throws<LogUnfitException>(() => Store.Open(Events(retentionMs: 86_400_000)));

        Assert.Contains($"{topic} has retention.ms=1000", error.Message, StringComparison.Ordinal);
        Assert.Contains($"kafka-configs.sh --bootstrap-server {_servers} --alter --entity-type topics --entity-name {topic} --add-config retention.ms=86400000", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_topic_that_takes_only_smaller_records_than_we_write_is_refused()
    {
        string topic = ((KafkaLog)Store.Open(Events())).Topic;
        await AlterAsync(topic, ("max.message.bytes", "1048588")); // Kafka's default, of topics that others made.

        LogUnfitException error = Assert.Throws<LogUnfitException>(() => Store.Open(Events()));

        Assert.Contains($"{topic} has max.message.bytes=1048588; needed is 8388608 or more", error.Message, StringComparison.Ordinal);
        Assert.Contains("--add-config max.message.bytes=8388608", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_topic_that_overwrites_the_records_time_is_refused()
    {
        ILog log = Store.Open(Events());
        await AlterAsync(((KafkaLog)log).Topic, ("message.timestamp.type", "LogAppendTime"));

        LogUnfitException error = Assert.Throws<LogUnfitException>(() => Store.Open(Events()));

        Assert.Contains("message.timestamp.type=CreateTime", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_topic_with_longer_retention_than_needed_is_taken()
    {
        ILog log = Store.Open(Events(retentionMs: 86_400_000));
        await AlterAsync(((KafkaLog)log).Topic, ("retention.ms", "-1"));

        Assert.Equal(1, Store.Open(Events(retentionMs: 86_400_000)).Partitions);
    }

    [Fact]
    public async Task The_end_of_an_idle_topic_is_right()
    {
        ILog log = Store.Open(Events(partitions: 2));
        using (ILogWriter writer = log.OpenWriter())
        {
            AppendDurably(writer, 0, 7, partition: 1);
        }

        await using KafkaLogs other = new(Options);
        ILog again = other.Open(Events(partitions: 2));

        Assert.Equal([0L, 7L], Enumerable.Range(0, 2).Select(again.EndOffset));
    }

    [Fact]
    public void A_reader_whose_next_record_was_deleted_says_so()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        byte[] big = new byte[1 << 20];
        for (int i = 0; i < 20; i++)
        {
            writer.Append(0, [], big, 1); // More than is read ahead.
        }

        writer.WaitDurable(20);
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);
        Take(reader, signal, 1);
        log.Truncate(0, 19);

        LogTruncatedException error = Assert.Throws<LogTruncatedException>(() => Take(reader, signal, 19));

        Assert.Equal(19, error.Begin);
        Assert.Throws<LogTruncatedException>(() => reader.TryRead(out _));
    }

    [Fact]
    public void Readers_of_single_records_beside_another_one_share_a_spare_client()
    {
        ILog log = Store.Open(Events());
        using (ILogWriter writer = log.OpenWriter())
        {
            AppendDurably(writer, 0, 20);
        }

        using ILogReader stage = log.OpenReader(0, 0);
        for (int offset = 0; offset < 20; offset++)
        {
            using ILogReader single = log.OpenReader(0, offset);
            Assert.True(single.TryReadBefore(offset + 1, out LogRecord record));
            Assert.Equal(offset, record.Offset);
        }

        Assert.Equal(2, ((KafkaLogs)Store).ConsumersMade);
    }

    [Fact]
    public async Task A_cluster_that_is_away_says_so_within_the_time_limit()
    {
        await using KafkaLogs away = new(new KafkaOptions { BootstrapServers = "127.0.0.1:1", RequestTimeout = TimeSpan.FromSeconds(1) });

        LogUnavailableException error = Assert.Throws<LogUnavailableException>(() => away.Open(Events()));

        Assert.Contains("127.0.0.1:1", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Many_more_records_than_the_table_of_confirmations_holds_become_durable()
    {
        ILog log = Store.Open(Events(partitions: 3));
        using ILogWriter writer = log.OpenWriter();
        for (int i = 0; i < 300_000; i++)
        {
            writer.Append(i % 3, [], "0123456789"u8, 1);
        }

        writer.WaitDurable(300_000);

        Assert.Equal([100_000L, 100_000L, 100_000L], Enumerable.Range(0, 3).Select(log.EndOffset));
    }

    [Fact]
    public void Appending_and_reading_make_no_garbage() => CheckThatNothingIsAllocated();

    [Fact]
    public void Options_name_every_broken_rule()
    {
        KafkaOptions wrong = new()
        {
            SecurityProtocol = "sasl_ssl",
            LingerMs = -1,
            Client = new Dictionary<string, string> { ["acks"] = "1" },
        };

        Assert.Equal(4, wrong.Errors().Count());
        Assert.Empty(new KafkaOptions { BootstrapServers = "a:1" }.Errors());
    }

    [Fact]
    public async Task A_wrong_client_setting_is_named()
    {
        await using KafkaLogs logs = new(Options with { Client = new Dictionary<string, string> { ["no.such.setting"] = "1" } });

        Assert.Contains("no.such.setting", Assert.ThrowsAny<Exception>(() => logs.Open(Events())).Message, StringComparison.Ordinal);
    }

    private async Task AlterAsync(string topic, params (string Name, string Value)[] settings)
    {
        using IAdminClient admin = new AdminClientBuilder(new AdminClientConfig { BootstrapServers = _servers }).Build();
        await admin.IncrementalAlterConfigsAsync(new Dictionary<ConfigResource, List<ConfigEntry>>
        {
            [new ConfigResource { Type = ResourceType.Topic, Name = topic }] =
                [.. settings.Select(setting => new ConfigEntry { Name = setting.Name, Value = setting.Value, IncrementalOperation = AlterConfigOpType.Set })],
        });
    }
}
