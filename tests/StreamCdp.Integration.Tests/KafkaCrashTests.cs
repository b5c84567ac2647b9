using System.Text;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Integration.Tests;

/// <summary>What becomes of records while the broker is killed; on a broker of its own.</summary>
public sealed class KafkaCrashTests
{
    private const int DeadlineMs = 60_000;

    [Fact]
    public async Task A_killed_broker_costs_no_record_no_order_and_no_exception_once_it_is_back()
    {
        Assert.SkipWhen(KafkaCluster.Home is null, KafkaCluster.WhyNot);
        await using KafkaCluster cluster = await KafkaCluster.StartAsync();
        await using KafkaLogs logs = new(new KafkaOptions { BootstrapServers = cluster.BootstrapServers });
        KafkaLog log = (KafkaLog)logs.Open(new LogDefinition("events", 2, LogCleanup.Delete));
        using ILogWriter writer = log.OpenWriter();
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);
        List<string> read = [];
        for (int i = 0; i < 1000; i++)
        {
            writer.Append(0, [], Encoding.UTF8.GetBytes($"{i}"), 1);
        }

        writer.WaitDurable(1000);
        ReadUpTo(1000);
        cluster.Kill();

        for (int i = 1000; i < 2000; i++)
        {
            writer.Append(0, [], Encoding.UTF8.GetBytes($"{i}"), 1);
        }

        long deadline = Environment.TickCount64 + DeadlineMs;
        while (log.Trouble is null)
        {
            Assert.False(reader.TryRead(out _));
            Assert.True(Environment.TickCount64 < deadline, "Nobody said that the broker is away.");
            signal.Wait(50, TestContext.Current.CancellationToken);
        }

        Assert.True(writer.Durable < 2000);
        Assert.Null(writer.Fault);
        Assert.Equal(1000, log.EndOffset(0));

        await cluster.StartAgainAsync();
        await writer.WaitDurableAsync(2000, TestContext.Current.CancellationToken);
        ReadUpTo(2000);

        Assert.Equal(Enumerable.Range(0, 2000).Select(i => $"{i}"), read);
        Assert.Equal(2000, log.EndOffset(0));
        Assert.Null(log.Trouble);

        void ReadUpTo(int count)
        {
            long until = Environment.TickCount64 + DeadlineMs;
            while (read.Count < count)
            {
                if (reader.TryRead(out LogRecord record))
                {
                    read.Add(Encoding.UTF8.GetString(record.Value));
                }
                else
                {
                    Assert.True(Environment.TickCount64 < until, $"Only {read.Count} of {count} records came.");
                    signal.Wait(100, TestContext.Current.CancellationToken);
                }
            }
        }
    }

    [Fact]
    public async Task A_writer_whose_records_cannot_be_delivered_is_faulted_and_closing_does_not_hang()
    {
        Assert.SkipWhen(KafkaCluster.Home is null, KafkaCluster.WhyNot);
        await using KafkaCluster cluster = await KafkaCluster.StartAsync();
        KafkaOptions options = new() { BootstrapServers = cluster.BootstrapServers, DeliveryTimeout = TimeSpan.FromSeconds(2), RequestTimeout = TimeSpan.FromSeconds(10) };
        await using KafkaLogs logs = new(options);
        ILog log = logs.Open(new LogDefinition("events", 1, LogCleanup.Delete));
        using ILogWriter writer = log.OpenWriter();
        writer.WaitDurable(writer.Append(0, [], "first"u8, 1));
        cluster.Kill();

        long ticket = writer.Append(0, [], "lost"u8, 1);
        LogUnavailableException error = await Assert.ThrowsAsync<LogUnavailableException>(async () =>
            await writer.WaitDurableAsync(ticket, TestContext.Current.CancellationToken));

        Assert.Contains("streamcdp.events", error.Message, StringComparison.Ordinal);
        Assert.NotNull(writer.Fault);
        Assert.Throws<LogUnavailableException>(() => writer.Append(0, [], "v"u8, 1));
        Assert.Throws<LogUnavailableException>(() => writer.WaitDurable(ticket));
    }
    [Fact]
    public async Task A_full_buffer_is_said_at_the_deadline_of_each_writer_not_after_the_logs_own()
    {
        Assert.SkipWhen(KafkaCluster.Home is null, KafkaCluster.WhyNot);
        await using KafkaCluster cluster = await KafkaCluster.StartAsync();
        await using KafkaLogs logs = new(new KafkaOptions { BootstrapServers = cluster.BootstrapServers, BufferBytes = 1 << 20, AppendWait = TimeSpan.FromMinutes(10), RequestTimeout = TimeSpan.FromSeconds(2) });
        using ILogWriter writer = logs.Open(new LogDefinition("events", 1, LogCleanup.Delete)).OpenWriter();
        writer.WaitDurable(writer.Append(0, [], "first"u8, 1));
        cluster.Kill();
        byte[] record = new byte[100_000];
        while (writer.TryAppend(0, [], record, 1, deadline: 0, out _))
        {
            Assert.True(writer.Appended < 1000, "The buffer has no bound.");
        }

        // One waits for room, with ten minutes of time; the other's deadline is over, and it must not wait for the first.
        Task<bool> patient = Task.Run(() => writer.TryAppend(0, [], record, 1, Environment.TickCount64 + 60_000, out _), TestContext.Current.CancellationToken);
        Assert.False(writer.TryAppend(0, [], record, 1, deadline: 0, out _));
        Assert.False(patient.IsCompleted);
        await cluster.StartAgainAsync();

        Assert.True(await patient.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));
    }
}
