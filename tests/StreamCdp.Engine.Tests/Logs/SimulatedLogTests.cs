using StreamCdp.Engine.Logs;

namespace StreamCdp.Engine.Tests.Logs;

public sealed class SimulatedLogTests : LogConformance
{
    private readonly SimulatedLogs _world = new();

    protected override ILogStore OpenStore() => new Kept(_world);

    protected override int RecordsPerSegment => 10;

    protected override ValueTask CompactAsync(ILog log)
    {
        ((SimulatedLog)log).Compact();
        return ValueTask.CompletedTask;
    }

    protected override ValueTask RetainAsync(ILog log, TimeSpan later)
    {
        ((SimulatedLog)log).Retain(NowMs + (long)later.TotalMilliseconds);
        return ValueTask.CompletedTask;
    }

    [Fact]
    public void Nothing_is_readable_before_a_commit()
    {
        SimulatedLog log = _world.OpenSimulated(Events());
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);
        Append(log.OpenWriter(), "k", "v");

        Assert.False(reader.TryRead(out _));
        Assert.False(signal.Wait(0, TestContext.Current.CancellationToken));
        Assert.Equal(1, log.Uncommitted);
        log.Commit();

        Assert.True(signal.Wait(0, TestContext.Current.CancellationToken));
        Assert.True(reader.TryRead(out _));
    }

    [Fact]
    public void A_crash_loses_what_was_not_durable_and_kills_its_users()
    {
        SimulatedLog log = _world.OpenSimulated(Events());
        ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 3);
        Append(writer, "k", "lost");

        _world.Crash();

        Assert.Throws<ObjectDisposedException>(() => Append(writer, "k", "v"));
        log = _world.OpenSimulated(Events());
        Assert.Equal(3, log.EndOffset(0));
        AppendDurably(log.OpenWriter(), 3, 1);
        Assert.Equal(Enumerable.Range(0, 4).Select(i => $"v{i}"), TakeFrom(log, 0, 0, 4).Select(record => record.Value));
    }

    [Fact]
    public void With_a_seed_the_same_first_part_survives_a_crash()
    {
        long[] ends = [.. Enumerable.Range(0, 2).Select(_ =>
        {
            SimulatedLogs world = new();
            SimulatedLog log = world.OpenSimulated(Events());
            ILogWriter writer = log.OpenWriter();
            for (int i = 0; i < 1000; i++)
            {
                Append(writer, "k", $"{i}");
            }

            world.Crash(new Random(5));
            Assert.Equal(Enumerable.Range(0, (int)log.EndOffset(0)).Select(i => $"{i}"), TakeAll(log).Select(record => record.Value));
            return log.EndOffset(0);
        })];

        Assert.Equal(ends[0], ends[1]);
        Assert.InRange(ends[0], 1, 999);
    }

    [Fact]
    public void A_failing_log_keeps_what_was_durable()
    {
        SimulatedLog log = _world.OpenSimulated(Events());
        ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 1);
        Append(writer, "k", "v");

        log.FailWrites("The disk is full.");

        Assert.Throws<LogUnavailableException>(() => writer.WaitDurable(2));
        Assert.NotNull(writer.Fault);
        Assert.Equal(1, log.EndOffset(0));
    }

    /// <summary>Closing the store of a test commits and ends users, but the world stays.</summary>
    private sealed class Kept(SimulatedLogs world) : ILogStore
    {
        public ILog Open(LogDefinition definition) => world.Open(definition);

        public ValueTask DisposeAsync()
        {
            world.CommitAll();
            return ValueTask.CompletedTask;
        }
    }
}
