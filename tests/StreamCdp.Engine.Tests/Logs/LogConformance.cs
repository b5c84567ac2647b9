using System.Text;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Engine.Tests.Logs;

/// <summary>What every kind of log promises. Each kind has a subclass that says how to open it.</summary>
public abstract class LogConformance : IAsyncLifetime
{
    protected const int DeadlineMs = 30_000;

    private static readonly TimeSpan s_later = TimeSpan.FromHours(2);

    protected ILogStore Store { get; set; } = null!;

    /// <summary>Opens the place of this test, again after each closing.</summary>
    protected abstract ILogStore OpenStore();

    /// <summary>Lets old records of a compacted log go now.</summary>
    protected abstract ValueTask CompactAsync(ILog log);

    /// <summary>Lets records older than the definition's retention go now, as if the time were so much later.</summary>
    protected abstract ValueTask RetainAsync(ILog log, TimeSpan later);

    /// <summary>Records needed so that the first segment is closed (retention and truncation go by whole segments).</summary>
    protected virtual int RecordsPerSegment => 1;

    public virtual ValueTask InitializeAsync()
    {
        Store = OpenStore();
        return ValueTask.CompletedTask;
    }

    public virtual async ValueTask DisposeAsync()
    {
        if (Store is not null)
        {
            await Store.DisposeAsync();
        }

        GC.SuppressFinalize(this);
    }

    protected async ValueTask ReopenStoreAsync()
    {
        await Store.DisposeAsync();
        Store = OpenStore();
    }

    protected static LogDefinition Events(int partitions = 1, long retentionMs = -1) => new("events", partitions, LogCleanup.Delete, retentionMs);

    protected static LogDefinition Profiles(int partitions = 1) => new("profiles", partitions, LogCleanup.Compact);

    protected static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    protected static long Append(ILogWriter writer, string key, string value, int partition = 0, long timestampMs = 1_000_000) =>
        writer.Append(partition, Bytes(key), Bytes(value), timestampMs);

    protected static void AppendDurably(ILogWriter writer, int from, int count, int partition = 0, string text = "v")
    {
        for (int i = from; i < from + count; i++)
        {
            Append(writer, $"k{i}", $"{text}{i}", partition, timestampMs: 1_000_000 + i);
        }

        writer.WaitDurable(writer.Appended);
    }

    /// <summary>Reads a number of records, waiting for the signal where there is none yet.</summary>
    protected static List<Read> Take(ILogReader reader, WorkSignal signal, int count)
    {
        List<Read> taken = [];
        while (taken.Count < count)
        {
            if (reader.TryRead(out LogRecord record))
            {
                taken.Add(Read.Of(record));
            }
            else
            {
                Assert.True(signal.Wait(DeadlineMs, TestContext.Current.CancellationToken), $"Only {taken.Count} of {count} records came.");
            }
        }

        return taken;
    }

    protected static List<Read> TakeFrom(ILog log, int partition, long offset, int count)
    {
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(partition, offset, signal);
        signal.Set();
        return Take(reader, signal, count);
    }

    /// <summary>Everything up to the end of now.</summary>
    protected static List<Read> TakeAll(ILog log, int partition = 0, long offset = 0)
    {
        long end = log.EndOffset(partition);
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(partition, offset, signal);
        List<Read> taken = [];
        long deadline = Environment.TickCount64 + DeadlineMs;
        while (reader.Position < end)
        {
            if (reader.TryRead(out LogRecord record))
            {
                taken.Add(Read.Of(record));
            }
            else
            {
                Assert.True(Environment.TickCount64 < deadline, $"The reader stays at {reader.Position} of {end}.");
                signal.Wait(100, TestContext.Current.CancellationToken);
            }
        }

        return taken;
    }

    [Fact]
    public void Records_come_back_in_order_with_dense_offsets()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();

        AppendDurably(writer, 0, 1000);

        Assert.Equal(Enumerable.Range(0, 1000).Select(i => new Read(0, i, 1_000_000 + i, $"k{i}", $"v{i}")), TakeFrom(log, 0, 0, 1000));
        Assert.Equal(1000, log.EndOffset(0));
        Assert.Equal(0, log.BeginOffset(0));
    }

    [Fact]
    public void Tickets_count_the_writers_appends_and_durable_reaches_them()
    {
        ILog log = Store.Open(Events(2));
        using ILogWriter first = log.OpenWriter();
        using ILogWriter second = log.OpenWriter();

        Assert.Equal(1, Append(first, "a", "1"));
        Assert.Equal(1, Append(second, "b", "1"));
        Assert.Equal(2, Append(first, "a", "2", partition: 1));
        first.WaitDurable(2);

        Assert.Equal(2, first.Appended);
        Assert.Equal(2, first.Durable);
        Assert.Equal(1, second.Appended);
        Assert.Null(first.Fault);
    }

    [Fact]
    public async Task Waiting_asynchronously_ends_when_the_ticket_is_durable()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();

        for (int i = 0; i < 50; i++)
        {
            long ticket = Append(writer, "k", $"{i}");
            await writer.WaitDurableAsync(ticket, TestContext.Current.CancellationToken);
            Assert.True(writer.Durable >= ticket);
        }

        Assert.Equal(50, TakeFrom(log, 0, 0, 50).Count);
    }

    [Fact]
    public void Waiting_for_a_ticket_not_given_out_is_an_error_of_the_caller()
    {
        using ILogWriter writer = Store.Open(Events()).OpenWriter();

        Assert.Throws<ArgumentOutOfRangeException>(() => writer.WaitDurable(1));
    }

    [Fact]
    public void A_reader_at_the_end_is_signalled_when_a_record_becomes_readable()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);
        AppendDurably(writer, 0, 1);
        Take(reader, signal, 1);

        for (int i = 1; i < 20; i++)
        {
            signal.Wait(0, TestContext.Current.CancellationToken); // Forgets what was told before.
            AppendDurably(writer, i, 1);
            if (!reader.IsRemote)
            {
                // The commit itself told the reader, before it told the writer: one that looks now and then would not have looked yet, twenty times over.
                Assert.True(signal.Wait(0, TestContext.Current.CancellationToken), "The writer knows that the record is durable, and the reader was not told.");
                Assert.Equal(i + 1, log.EndOffset(0));
                Assert.True(reader.TryRead(out LogRecord record));
                Assert.Equal($"v{i}", Read.Of(record).Value);
                continue;
            }

            Assert.Equal($"v{i}", Take(reader, signal, 1)[0].Value);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(777)]
    [InlineData(2999)]
    public void Reading_starts_at_any_offset(int from)
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        for (int i = 0; i < 3000; i += 100)
        {
            AppendDurably(writer, i, 100);
        }

        Assert.Equal(Enumerable.Range(from, 3000 - from).Select(i => (long)i), TakeFrom(log, 0, from, 3000 - from).Select(record => record.Offset));
    }

    [Fact]
    public void Nothing_is_read_at_the_end()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 3);

        using ILogReader reader = log.OpenReader(0, 3);

        Assert.False(reader.TryRead(out _));
        Assert.Equal(3, reader.Position);
    }

    [Fact]
    public void Reading_behind_the_end_says_that_the_log_lost_records()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 3);

        LogBehindException error = Assert.Throws<LogBehindException>(() => log.OpenReader(0, 4));

        Assert.Equal(3, error.End);
    }

    [Fact]
    public void Two_readers_do_not_disturb_each_other()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 200);
        using WorkSignal signal = new();
        using ILogReader first = log.OpenReader(0, 0, signal);
        using WorkSignal otherSignal = new();
        using ILogReader second = log.OpenReader(0, 100, otherSignal);

        for (int i = 0; i < 100; i++)
        {
            Assert.Equal($"v{i}", Take(first, signal, 1)[0].Value);
            Assert.Equal($"v{i + 100}", Take(second, otherSignal, 1)[0].Value);
        }
    }

    [Fact]
    public void A_reader_far_behind_the_tail_catches_up_while_records_arrive()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 5000);
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);

        List<Read> taken = [];
        for (int i = 5000; i < 6000; i += 100)
        {
            taken.AddRange(Take(reader, signal, 300));
            AppendDurably(writer, i, 100);
        }

        taken.AddRange(Take(reader, signal, 3000));
        Assert.Equal(Enumerable.Range(0, 6000).Select(i => $"v{i}"), taken.Select(record => record.Value));
    }

    [Fact]
    public void Partitions_have_their_own_offsets()
    {
        ILog log = Store.Open(Events(partitions: 24));
        using ILogWriter writer = log.OpenWriter();
        for (int i = 0; i < 240; i++)
        {
            Append(writer, $"{i}", $"{i}", partition: i % 24);
        }

        writer.WaitDurable(240);

        Assert.Equal(24, log.Partitions);
        for (int partition = 0; partition < 24; partition++)
        {
            Assert.Equal(10, log.EndOffset(partition));
            Assert.Equal(
                Enumerable.Range(0, 10).Select(i => new Read(partition, i, 1_000_000, $"{(i * 24) + partition}", $"{(i * 24) + partition}")),
                TakeFrom(log, partition, 0, 10));
        }
    }

    [Fact]
    public void A_partition_that_does_not_exist_is_an_error_of_the_caller()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();

        Assert.Throws<ArgumentOutOfRangeException>(() => Append(writer, "k", "v", partition: 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => log.OpenReader(-1, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => log.EndOffset(1));
    }

    [Fact]
    public void Big_records_come_back_whole()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        byte[] big = new byte[1 << 20];
        new Random(7).NextBytes(big);
        for (int i = 0; i < 5; i++)
        {
            big[0] = (byte)i;
            writer.Append(0, Bytes("big"), big, 1);
            Append(writer, "small", "s");
        }

        writer.WaitDurable(10);

        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);
        for (int i = 0; i < 10; i++)
        {
            LogRecord record;
            while (!reader.TryRead(out record))
            {
                Assert.True(signal.Wait(DeadlineMs, TestContext.Current.CancellationToken));
            }

            big[0] = (byte)(i / 2);
            Assert.True(i % 2 == 0 ? record.Value.SequenceEqual(big) : record.Value.SequenceEqual("s"u8));
        }
    }

    [Fact]
    public void The_largest_record_allowed_comes_back_whole()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        byte[] largest = new byte[LogLimits.RecordBytes];
        new Random(8).NextBytes(largest);
        writer.WaitDurable(writer.Append(0, [], largest, 1));
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);

        LogRecord record;
        while (!reader.TryRead(out record))
        {
            Assert.True(signal.Wait(DeadlineMs, TestContext.Current.CancellationToken));
        }

        Assert.True(record.Value.SequenceEqual(largest));
    }

    [Fact]
    public void A_record_over_the_limit_is_refused_and_costs_nothing_else()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();

        Assert.Throws<ArgumentException>(() => writer.Append(0, [], new byte[LogLimits.RecordBytes + 1], 1));
        AppendDurably(writer, 0, 1);

        Assert.Single(TakeFrom(log, 0, 0, 1));
    }

    [Fact]
    public void Key_and_value_may_be_empty()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        Append(writer, "", "no key");
        Append(writer, "tombstone", "");
        Append(writer, "", "");
        writer.WaitDurable(3);

        Assert.Equal([("", "no key"), ("tombstone", ""), ("", "")], TakeFrom(log, 0, 0, 3).Select(record => (record.Key, record.Value)));
    }

    [Fact]
    public void A_compacted_log_refuses_a_record_without_key()
    {
        using ILogWriter writer = Store.Open(Profiles()).OpenWriter();

        Assert.Throws<ArgumentException>(() => Append(writer, "", "v"));
    }

    [Fact]
    public void Two_writers_interleave_and_each_keeps_its_order()
    {
        ILog log = Store.Open(Events());
        using ILogWriter first = log.OpenWriter();
        using ILogWriter second = log.OpenWriter();
        for (int i = 0; i < 100; i++)
        {
            Append(first, "first", $"{i}");
            Append(second, "second", $"{i}");
        }

        first.WaitDurable(100);
        second.WaitDurable(100);

        List<Read> all = TakeFrom(log, 0, 0, 200);
        Assert.Equal(Enumerable.Range(0, 100).Select(i => $"{i}"), all.Where(record => record.Key == "first").Select(record => record.Value));
        Assert.Equal(Enumerable.Range(0, 100).Select(i => $"{i}"), all.Where(record => record.Key == "second").Select(record => record.Value));
    }

    [Fact]
    public async Task Closing_keeps_everything_that_was_appended()
    {
        ILog log = Store.Open(Events(partitions: 3));
        ILogWriter writer = log.OpenWriter();
        for (int i = 0; i < 300; i++)
        {
            Append(writer, $"k{i}", $"v{i}", partition: i % 3);
        }

        await log.DisposeAsync();
        await ReopenStoreAsync();

        log = Store.Open(Events(partitions: 3));
        Assert.Equal([100L, 100L, 100L], Enumerable.Range(0, 3).Select(log.EndOffset));
        using ILogWriter next = log.OpenWriter();
        Append(next, "k", "after", partition: 2);
        next.WaitDurable(1);
        Assert.Equal("after", TakeFrom(log, 2, 100, 1)[0].Value);
    }

    [Fact]
    public async Task A_closed_log_says_so()
    {
        ILog log = Store.Open(Events());
        ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 1);
        ILogReader reader = log.OpenReader(0, 0);

        await log.DisposeAsync();

        Assert.Throws<ObjectDisposedException>(() => Append(writer, "k", "v"));
        Assert.Throws<ObjectDisposedException>(() => reader.TryRead(out _));
        Assert.Throws<ObjectDisposedException>(() => log.OpenReader(0, 0));
        Assert.Throws<ObjectDisposedException>(log.OpenWriter);
        reader.Dispose();
        writer.Dispose();
    }

    [Fact]
    public void A_disposed_writer_or_reader_says_so()
    {
        ILog log = Store.Open(Events());
        ILogWriter writer = log.OpenWriter();
        ILogReader reader = log.OpenReader(0, 0);

        writer.Dispose();
        reader.Dispose();

        Assert.Throws<ObjectDisposedException>(() => Append(writer, "k", "v"));
        Assert.Throws<ObjectDisposedException>(() => reader.TryRead(out _));
    }

    [Fact]
    public async Task An_existing_log_keeps_its_number_of_partitions()
    {
        Store.Open(Events(partitions: 3));
        await ReopenStoreAsync();

        Assert.Equal(3, Store.Open(Events(partitions: 5)).Partitions);
    }

    [Fact]
    public async Task A_log_with_the_wrong_cleanup_is_refused()
    {
        Store.Open(Events());
        await ReopenStoreAsync();

        LogUnfitException error = Assert.Throws<LogUnfitException>(() => Store.Open(new LogDefinition("events", 1, LogCleanup.Compact)));

        Assert.Contains("events", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Compaction_keeps_the_last_record_of_each_key_at_its_offset()
    {
        ILog log = Store.Open(Profiles());
        using ILogWriter writer = log.OpenWriter();
        for (int i = 0; i < 1000; i++)
        {
            Append(writer, $"k{i % 10}", $"{i}");
        }

        Append(writer, "k3", "");
        writer.WaitDurable(1001);

        await CompactAsync(log);

        List<Read> kept = TakeAll(log);
        Dictionary<string, string> state = [];
        foreach (Read record in kept)
        {
            state[record.Key] = record.Value;
        }

        Assert.True(kept.Count < 500, $"{kept.Count} records are left of 1001.");
        for (int i = 0; i < 10; i++)
        {
            Assert.Equal(i == 3 ? "" : $"{990 + i}", state.GetValueOrDefault($"k{i}", ""));
        }

        Assert.All(kept.Where(record => record.Key[0] == 'k' && record.Value.Length > 0), record => Assert.Equal(record.Offset, long.Parse(record.Value)));
        Assert.Equal(log.EndOffset(0), TakeAndEnd(log));
    }

    [Fact]
    public async Task A_reader_goes_on_right_over_a_compaction()
    {
        ILog log = Store.Open(Profiles());
        using ILogWriter writer = log.OpenWriter();
        for (int i = 0; i < 1000; i++)
        {
            Append(writer, $"k{i % 10}", $"{i}");
        }

        writer.WaitDurable(1000);
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);
        List<Read> taken = Take(reader, signal, 15);

        await CompactAsync(log);
        long end = log.EndOffset(0);
        signal.Set();
        while (reader.Position < end)
        {
            taken.AddRange(Take(reader, signal, 1));
        }

        Dictionary<string, string> state = [];
        foreach (Read record in taken.Where(record => record.Key[0] == 'k'))
        {
            state[record.Key] = record.Value;
        }

        Assert.Equal(taken.Select(record => record.Offset).Order(), taken.Select(record => record.Offset));
        Assert.Equal(Enumerable.Range(990, 10).Select(i => $"{i}"), state.OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => pair.Value));
    }

    [Fact]
    public async Task Retention_deletes_what_is_too_old_and_says_so_to_late_readers()
    {
        ILog log = Store.Open(Events(retentionMs: 3_600_000));
        using ILogWriter writer = log.OpenWriter();
        AppendNow(writer, RecordsPerSegment * 3);
        long end = log.EndOffset(0);

        await RetainAsync(log, s_later);

        long begin = log.BeginOffset(0);
        Assert.InRange(begin, 1, end);
        if (begin > 1)
        {
            LogTruncatedException error = Assert.Throws<LogTruncatedException>(() => log.OpenReader(0, 1));
            Assert.Equal(begin, error.Begin);
        }

        writer.WaitDurable(writer.Append(0, [], [1], NowMs + (long)s_later.TotalMilliseconds));
        Assert.Equal(begin, TakeFrom(log, 0, 0, 1)[0].Offset);
        Assert.Equal(end, TakeFrom(log, 0, end, 1)[0].Offset);
    }

    [Fact]
    public void Truncation_deletes_at_most_up_to_the_offset_and_never_what_is_behind()
    {
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        int count = RecordsPerSegment * 4;
        AppendDurably(writer, 0, count);

        log.Truncate(0, count - 1);

        long begin = log.BeginOffset(0);
        Assert.InRange(begin, 1, count - 1);
        Assert.Equal(Enumerable.Range((int)begin, count - (int)begin).Select(i => $"v{i}"), TakeFrom(log, 0, begin, count - (int)begin).Select(record => record.Value));
        Assert.Equal(begin, TakeFrom(log, 0, 0, 1)[0].Offset);
        if (begin > 1)
        {
            Assert.Throws<LogTruncatedException>(() => log.OpenReader(0, 1));
        }
    }

    [Fact]
    public async Task What_was_truncated_stays_away_after_opening_again()
    {
        ILog log = Store.Open(Events());
        using (ILogWriter writer = log.OpenWriter())
        {
            AppendDurably(writer, 0, RecordsPerSegment * 4);
        }

        log.Truncate(0, (RecordsPerSegment * 4) - 1);
        long begin = log.BeginOffset(0);
        await log.DisposeAsync();
        await ReopenStoreAsync();

        Assert.Equal(begin, Store.Open(Events()).BeginOffset(0));
    }

    [Fact]
    public void A_compacted_log_is_not_truncated() =>
        Assert.Throws<InvalidOperationException>(() => Store.Open(Profiles()).Truncate(0, 1));

    [Theory]
    [InlineData("")]
    [InlineData("../up")]
    [InlineData("a b")]
    public void A_name_that_no_log_can_have_is_refused(string name) =>
        Assert.Throws<ArgumentException>(() => Store.Open(new LogDefinition(name, 1, LogCleanup.Delete)));

    /// <summary>For the logs of the hot path: once warm, neither appending nor reading makes garbage.</summary>
    protected void CheckThatNothingIsAllocated()
    {
        const int Records = 2000;
        ILog log = Store.Open(Events());
        using ILogWriter writer = log.OpenWriter();
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);
        byte[] value = new byte[600];
        long leastAppending = long.MaxValue; // A round may make a buffer, which stays; a record that makes something does so in each round.
        long leastReading = long.MaxValue;
        for (int round = 0; round < 10; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < Records; i++)
            {
                writer.Append(0, "key"u8, value, i);
            }

            writer.WaitDurable(writer.Appended);
            leastAppending = Math.Min(leastAppending, GC.GetAllocatedBytesForCurrentThread() - before);
            int read = 0;
            long reading = 0;
            while (read < Records)
            {
                before = GC.GetAllocatedBytesForCurrentThread();
                bool found = reader.TryRead(out LogRecord record);
                reading += GC.GetAllocatedBytesForCurrentThread() - before;
                if (found)
                {
                    Assert.Equal(600, record.Value.Length);
                    read++;
                }
                else
                {
                    Assert.True(signal.Wait(DeadlineMs, TestContext.Current.CancellationToken));
                }
            }

            leastReading = Math.Min(leastReading, reading);
        }

        Assert.InRange(leastAppending, 0, Records / 4);
        Assert.InRange(leastReading, 0, Records / 4);
    }

    /// <summary>The time of the records where age matters.</summary>
    protected virtual long NowMs => 1_000_000;

    private void AppendNow(ILogWriter writer, int count)
    {
        for (int i = 0; i < count; i++)
        {
            Append(writer, $"k{i}", $"v{i}", timestampMs: NowMs);
        }

        writer.WaitDurable(writer.Appended);
    }

    private static long TakeAndEnd(ILog log)
    {
        List<Read> all = TakeAll(log);
        using ILogReader reader = log.OpenReader(0, all[^1].Offset + 1);
        while (reader.TryRead(out _))
        {
        }

        return log.EndOffset(0);
    }

    /// <summary>A record that outlives its reader.</summary>
    protected sealed record Read(int Partition, long Offset, long TimestampMs, string Key, string Value)
    {
        public static Read Of(in LogRecord record) =>
            new(record.Partition, record.Offset, record.TimestampMs, Encoding.UTF8.GetString(record.Key), Encoding.UTF8.GetString(record.Value));
    }
}
