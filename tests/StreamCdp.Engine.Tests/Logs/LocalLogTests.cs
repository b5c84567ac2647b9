using System.Diagnostics;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Engine.Tests.Logs;

public sealed class LocalLogWithFsyncTests : LocalLogTests
{
    protected override LocalDurability Durability => LocalDurability.Fsync;
}

public sealed class LocalLogInPageCacheTests : LocalLogTests
{
    protected override LocalDurability Durability => LocalDurability.PageCache;
}

/// <summary>What the local log promises beside what all promise: crashes, damage, full disks, segments.</summary>
public abstract class LocalLogTests : LogConformance
{
    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-log-").FullName;
    private readonly SettableTime _time = new();
    private Action<string, long>? _beforeWrite;

    protected abstract LocalDurability Durability { get; }

    protected override int RecordsPerSegment => 400;

    private LocalLogOptions Options => new()
    {
        Durability = Durability,
        SegmentBytes = 4096,
        BufferBytes = 1 << 20,
        AppendWait = TimeSpan.FromSeconds(10),
        TombstoneRetention = TimeSpan.Zero,
        BeforeWrite = (path, bytes) => _beforeWrite?.Invoke(path, bytes),
    };

    protected override ILogStore OpenStore() => new LocalLogs(_directory, Options, _time);

    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
        GC.SuppressFinalize(this);
    }

    protected override ValueTask CompactAsync(ILog log)
    {
        ((LocalLog)log).Maintain();
        return ValueTask.CompletedTask;
    }

    protected override ValueTask RetainAsync(ILog log, TimeSpan later)
    {
        _time.Now += later;
        ((LocalLog)log).Maintain();
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task A_torn_tail_is_cut_off_and_writing_goes_on_behind_the_last_whole_record()
    {
        ILog log = Store.Open(Events());
        AppendDurably(log.OpenWriter(), 0, 5);
        await log.DisposeAsync();
        await using (FileStream file = File.OpenWrite(Tail()))
        {
            file.Position = file.Length;
            file.Write([0x53, 0x4C, 0x47, 0x31, 1, 2, 3]);
        }

        log = Store.Open(Events());

        Assert.Equal(5, log.EndOffset(0));
        AppendDurably(log.OpenWriter(), 5, 1);
        Assert.Equal("v5", TakeFrom(log, 0, 0, 6)[5].Value);
    }

    [Fact]
    public async Task A_half_written_last_commit_is_cut_off_at_every_length()
    {
        ILog log = Store.Open(Events());
        ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 2);
        long whole = new FileInfo(Tail()).Length;
        AppendDurably(writer, 2, 1);
        await log.DisposeAsync();
        byte[] bytes = await File.ReadAllBytesAsync(Tail(), TestContext.Current.CancellationToken);

        for (int length = (int)whole; length < bytes.Length; length += 7)
        {
            await File.WriteAllBytesAsync(Tail(), bytes[..length], TestContext.Current.CancellationToken);
            log = Store.Open(Events());
            Assert.Equal(2, log.EndOffset(0));
            await log.DisposeAsync();
        }
    }

    [Fact]
    public async Task Damage_before_a_later_commit_is_not_taken_for_a_torn_tail()
    {
        ILog log = Store.Open(Events());
        ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 1);
        long first = new FileInfo(Tail()).Length;
        AppendDurably(writer, 1, 1);
        await log.DisposeAsync(); // Syncs, so that the next commit proves in both modes that these two were on the disk.
        log = Store.Open(Events());
        AppendDurably(log.OpenWriter(), 2, 1);
        await log.DisposeAsync();
        Flip(Tail(), first + 50);

        log = Store.Open(Events());

        Assert.Equal(3, log.EndOffset(0));
        using ILogReader reader = log.OpenReader(0, 0);
        Assert.True(reader.TryRead(out _));
        LogCorruptException error = Assert.Throws<LogCorruptException>(() => reader.TryRead(out _));
        Assert.Contains("offset 1", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_flipped_byte_in_a_closed_segment_is_found_when_it_is_read()
    {
        ILog log = Store.Open(Events());
        AppendDurably(log.OpenWriter(), 0, 1000);
        await log.DisposeAsync();
        Flip(Segments()[0], 100);

        log = Store.Open(Events());

        Assert.Throws<LogCorruptException>(() => TakeFrom(log, 0, 0, 1000));
        Assert.Equal("v999", TakeFrom(log, 0, 999, 1)[0].Value);
    }

    [Fact]
    public async Task A_missing_end_of_a_closed_segment_is_found_when_it_is_read()
    {
        ILog log = Store.Open(Events());
        ILogWriter writer = log.OpenWriter();
        for (int i = 0; i < 1000; i += 50)
        {
            AppendDurably(writer, i, 50);
        }

        await log.DisposeAsync();
        await using (FileStream file = File.OpenWrite(Segments()[0]))
        {
            file.SetLength(0);
        }

        log = Store.Open(Events());

        Assert.Throws<LogCorruptException>(() => TakeFrom(log, 0, 0, 1));
    }

    [Fact]
    public async Task A_full_disk_stops_the_writer_with_a_reason_and_opening_again_mends_it()
    {
        ILog log = Store.Open(Events());
        ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 10);
        _beforeWrite = (path, _) => throw new IOException($"No space left on device : '{path}'", 28);

        long ticket = Append(writer, "k", "lost");
        LogUnavailableException error = await Assert.ThrowsAsync<LogUnavailableException>(async () =>
            await writer.WaitDurableAsync(ticket, TestContext.Current.CancellationToken));

        Assert.Contains(_directory, error.Message, StringComparison.Ordinal);
        Assert.Contains("free space", error.Message, StringComparison.Ordinal);
        Assert.NotNull(writer.Fault);
        Assert.Throws<LogUnavailableException>(() => writer.WaitDurable(ticket));
        Assert.Throws<LogUnavailableException>(() => Append(writer, "k", "v"));
        Assert.Equal(10, TakeFrom(log, 0, 0, 10).Count);
        Assert.Equal(10, log.EndOffset(0));

        _beforeWrite = null;
        log = Store.Open(Events());
        AppendDurably(log.OpenWriter(), 10, 1);
        Assert.Equal(Enumerable.Range(0, 11).Select(i => $"v{i}"), TakeFrom(log, 0, 0, 11).Select(record => record.Value));
    }

    [Fact]
    public void A_failure_in_the_middle_of_a_commit_leaves_nothing_half_visible()
    {
        ILog log = Store.Open(Events(partitions: 4));
        ILogWriter writer = log.OpenWriter();
        AppendDurably(writer, 0, 1, partition: 0);
        int left = 2;
        _beforeWrite = (_, _) =>
        {
            if (left-- <= 0)
            {
                throw new IOException("No space left on device", 28);
            }
        };

        long ticket = 0;
        for (int i = 0; i < 2000 && writer.Fault is null; i++)
        {
            try
            {
                ticket = Append(writer, $"k{i}", $"v{i}", partition: i % 4);
            }
            catch (LogUnavailableException)
            {
            }
        }

        Assert.Throws<LogUnavailableException>(() => writer.WaitDurable(ticket));
        long[] ends = [.. Enumerable.Range(0, 4).Select(log.EndOffset)];

        _beforeWrite = null;
        log = Store.Open(Events(partitions: 4));

        Assert.Equal(ends, Enumerable.Range(0, 4).Select(log.EndOffset));
    }

    [Fact]
    public async Task A_full_buffer_makes_the_writer_wait_and_then_say_so()
    {
        string directory = Path.Combine(_directory, "other");
        using ManualResetEventSlim stuck = new();
        await using LocalLogs store = new(directory, Options with { BufferBytes = 64 << 10, AppendWait = TimeSpan.FromMilliseconds(50), BeforeWrite = (_, _) => stuck.Wait() }, _time);
        ILogWriter writer = store.Open(Events()).OpenWriter();

        Assert.Throws<LogUnavailableException>(() =>
        {
            for (int i = 0; i < 100; i++)
            {
                writer.Append(0, [], new byte[10_000], 1);
            }
        });
        Assert.Null(writer.Fault);
        stuck.Set();

        writer.WaitDurable(writer.Appended);
    }

    [Fact]
    public async Task A_writer_with_a_deadline_hears_of_a_full_buffer_instead_of_waiting()
    {
        using ManualResetEventSlim stuck = new();
        await using LocalLogs store = new(Path.Combine(_directory, "other"), Options with { BufferBytes = 64 << 10, AppendWait = TimeSpan.FromMinutes(10), BeforeWrite = (_, _) => stuck.Wait() }, _time);
        ILogWriter writer = store.Open(Events()).OpenWriter();
        long tickets = 0;
        while (writer.TryAppend(0, [], new byte[10_000], 1, deadline: Environment.TickCount64, out long ticket))
        {
            tickets++;
            Assert.Equal(tickets, ticket);
        }

        Assert.Equal(tickets, writer.Appended); // What had no room was not appended.
        stuck.Set();
        Assert.True(writer.TryAppend(0, [], new byte[10_000], 1, deadline: long.MaxValue, out _));
        writer.WaitDurable(writer.Appended);
    }

    [Fact]
    public void A_directory_belongs_to_one_store_at_a_time()
    {
        LogUnavailableException error = Assert.Throws<LogUnavailableException>(() => new LocalLogs(_directory, Options, _time));

        Assert.Contains($"process {Environment.ProcessId}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_log_opened_twice_is_one_log_until_both_closed_it()
    {
        ILog first = Store.Open(Events());
        ILog second = Store.Open(Events());
        await first.DisposeAsync();

        AppendDurably(second.OpenWriter(), 0, 1);

        Assert.Single(TakeFrom(second, 0, 0, 1));
    }

    [Fact]
    public async Task A_compacted_log_does_not_grow_under_the_same_keys()
    {
        ILog log = Store.Open(Profiles());
        ILogWriter writer = log.OpenWriter();
        List<(long Bytes, int Files)> sizes = [];
        for (int round = 0; round < 30; round++)
        {
            for (int i = 0; i < 1000; i++)
            {
                Append(writer, $"k{i % 50}", $"{round}-{i}");
            }

            writer.WaitDurable(writer.Appended);
            await CompactAsync(log);
            string[] files = Segments("profiles");
            sizes.Add((files.Sum(file => new FileInfo(file).Length), files.Length));
        }

        Assert.All(sizes, size => Assert.True(size is { Bytes: < 20_000, Files: < 6 }, $"{size.Bytes} bytes in {size.Files} files."));
        Assert.Equal(50, TakeAll(log).Select(record => record.Key).Distinct().Count());
    }

    [Fact]
    public async Task Tombstones_go_with_compaction_and_the_key_stays_forgotten()
    {
        ILog log = Store.Open(Profiles());
        ILogWriter writer = log.OpenWriter();
        Append(writer, "gone", "v");
        Append(writer, "gone", "");
        for (int i = 0; i < 1000; i++)
        {
            Append(writer, "k", $"{i}");
        }

        writer.WaitDurable(writer.Appended);
        await CompactAsync(log);

        Assert.DoesNotContain(TakeAll(log), record => record.Key == "gone");
    }

    [Fact]
    public async Task A_crash_between_the_steps_of_a_compaction_leaves_one_of_both()
    {
        ILog log = Store.Open(Profiles());
        ILogWriter writer = log.OpenWriter();
        for (int i = 0; i < 1000; i++)
        {
            Append(writer, $"k{i % 10}", $"{i}");
        }

        writer.WaitDurable(1000);
        Dictionary<string, byte[]> before = Segments("profiles").ToDictionary(path => path, File.ReadAllBytes);
        await CompactAsync(log);
        List<Read> compacted = TakeAll(log);
        await log.DisposeAsync();
        foreach ((string path, byte[] bytes) in before)
        {
            if (!File.Exists(path))
            {
                await File.WriteAllBytesAsync(path, bytes, TestContext.Current.CancellationToken); // As if the crash came before the deletion.
            }
        }

        await File.WriteAllBytesAsync(Path.Combine(_directory, "profiles", "0000", "00000000000000000000.tmp"), [1, 2, 3], TestContext.Current.CancellationToken);

        log = Store.Open(Profiles());

        Assert.Equal(compacted, TakeAll(log));
        Assert.DoesNotContain(Directory.EnumerateFiles(Path.Combine(_directory, "profiles", "0000")), path => path.EndsWith(".tmp", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Compaction_of_random_updates_equals_a_dictionary()
    {
        Random random = new(4711);
        ILog log = Store.Open(Profiles());
        ILogWriter writer = log.OpenWriter();
        Dictionary<string, string> expected = [];
        for (int round = 0; round < 20; round++)
        {
            for (int i = 0; i < 300; i++)
            {
                string key = $"k{random.Next(40)}";
                string value = random.Next(5) == 0 ? "" : $"{round}/{i}";
                Append(writer, key, value);
                if (value.Length == 0)
                {
                    expected.Remove(key);
                }
                else
                {
                    expected[key] = value;
                }
            }

            writer.WaitDurable(writer.Appended);
            await CompactAsync(log);
            if (round % 5 == 4)
            {
                await log.DisposeAsync();
                log = Store.Open(Profiles());
                writer = log.OpenWriter();
            }

            Dictionary<string, string> found = [];
            foreach (Read record in TakeAll(log))
            {
                if (record.Value.Length == 0)
                {
                    found.Remove(record.Key);
                }
                else
                {
                    found[record.Key] = record.Value;
                }
            }

            Assert.Equal(expected.OrderBy(pair => pair.Key, StringComparer.Ordinal), found.OrderBy(pair => pair.Key, StringComparer.Ordinal));
        }
    }

    [Fact]
    public async Task Threads_appending_and_reading_at_once_lose_and_mix_up_nothing()
    {
        const int Writers = 4;
        const int Each = 5000;
        ILog log = Store.Open(Events());
        ILogWriter shared = log.OpenWriter();
        Task[] writers = [.. Enumerable.Range(0, Writers).Select(number => Task.Run(() =>
        {
            for (int i = 0; i < Each; i++)
            {
                Append(shared, $"{number}", $"{i}");
            }
        }))];
        using WorkSignal signal = new();
        using ILogReader reader = log.OpenReader(0, 0, signal);

        List<Read> all = Take(reader, signal, Writers * Each);
        await Task.WhenAll(writers);

        Assert.Equal(Enumerable.Range(0, Writers * Each).Select(i => (long)i), all.Select(record => record.Offset));
        Assert.All(all.GroupBy(record => record.Key), group => Assert.Equal(Enumerable.Range(0, Each).Select(i => $"{i}"), group.Select(record => record.Value)));
    }

    [Fact]
    public async Task A_copy_taken_at_any_moment_opens_with_everything_that_was_durable()
    {
        ILog log = Store.Open(Events(partitions: 2));
        using ILogWriter writer = log.OpenWriter();
        using CancellationTokenSource stop = new();
        Task appending = Task.Run(() =>
        {
            for (int i = 0; !stop.IsCancellationRequested && i < 2_000_000; i++)
            {
                Append(writer, "k", $"{i / 2}", partition: i % 2);
                if (i % 1000 == 999)
                {
                    writer.WaitDurable(writer.Appended); // Else the buffer fills faster than the copies are made.
                }
            }
        }, TestContext.Current.CancellationToken);

        for (int copy = 0; copy < 10; copy++)
        {
            long[] durable = [log.EndOffset(0), log.EndOffset(1)];
            string directory = Path.Combine(_directory, $"copy{copy}");
            Copy(Path.Combine(_directory, "events"), Path.Combine(directory, "events"));
            await using LocalLogs copied = new(directory, Options, _time);
            ILog crashed = copied.Open(Events());
            for (int partition = 0; partition < 2; partition++)
            {
                long end = crashed.EndOffset(partition);
                Assert.True(end >= durable[partition], $"{durable[partition]} records were durable, {end} came back.");
                Assert.Equal(
                    Enumerable.Range((int)crashed.BeginOffset(partition), (int)end).Select(i => $"{i}"),
                    TakeAll(crashed, partition).Select(record => record.Value));
            }
        }

        await stop.CancelAsync();
        await appending;
    }

    [Fact]
    public async Task A_really_full_disk_stops_the_writer_and_free_space_mends_it()
    {
        string mount = Path.Combine(_directory, "small");
        Directory.CreateDirectory(mount);
        Assert.SkipUnless(OperatingSystem.IsLinux() && Run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount), "A small file system cannot be mounted here (no right to).");
        try
        {
            string ballast = Path.Combine(mount, "ballast");
            await File.WriteAllBytesAsync(ballast, new byte[1 << 20], TestContext.Current.CancellationToken);
            await using LocalLogs store = new(mount, Options, _time);
            ILog log = store.Open(Events());
            ILogWriter writer = log.OpenWriter();
            LogUnavailableException error = Assert.Throws<LogUnavailableException>(() =>
            {
                for (int i = 0; i < 1000; i++)
                {
                    writer.WaitDurable(writer.Append(0, [], new byte[10_000], 1));
                }
            });
            long durable = writer.Durable;

            Assert.Contains("The disk is full", error.Message, StringComparison.Ordinal);
            Assert.Equal(durable, log.EndOffset(0));
            Assert.Equal(durable, TakeAll(log).Count);

            File.Delete(ballast);
            log = store.Open(Events());
            Assert.Equal(durable, log.EndOffset(0));
            AppendDurably(log.OpenWriter(), 0, 1);
            Assert.Equal("v0", TakeFrom(log, 0, durable, 1)[0].Value);
        }
        finally
        {
            Run("umount", "-l", mount);
        }
    }

    [Fact]
    public async Task Appending_and_reading_make_no_garbage()
    {
        await Store.DisposeAsync();
        Store = new LocalLogs(_directory, new LocalLogOptions { Durability = Durability }, _time); // Segments of 4 KiB would be made all the time.
        CheckThatNothingIsAllocated();
    }

    [Fact]
    public void Options_name_every_broken_rule()
    {
        LocalLogOptions wrong = new() { SegmentBytes = 1, BufferBytes = 1, CompactionRatio = 0 };

        Assert.Equal(3, wrong.Errors().Count());
        Assert.Empty(new LocalLogOptions().Errors());
    }

    private string[] Segments(string log = "events") => [.. Directory.GetFiles(Path.Combine(_directory, log, "0000"), "*.log").Order(StringComparer.Ordinal)];

    private string Tail() => Segments()[^1];

    private static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (string file in Directory.GetFiles(from).Order(StringComparer.Ordinal))
        {
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }

        foreach (string directory in Directory.GetDirectories(from))
        {
            Copy(directory, Path.Combine(to, Path.GetFileName(directory)));
        }
    }

    private static bool Run(string command, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(command, arguments) { RedirectStandardError = true })!;
        process.WaitForExit();
        return process.ExitCode == 0;
    }

    private static void Flip(string path, long at)
    {
        byte[] bytes = File.ReadAllBytes(path);
        bytes[at] ^= 0x40;
        File.WriteAllBytes(path, bytes);
    }

    private sealed class SettableTime : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = DateTimeOffset.FromUnixTimeMilliseconds(1_000_000);

        public override DateTimeOffset GetUtcNow() => Now;
    }
}
