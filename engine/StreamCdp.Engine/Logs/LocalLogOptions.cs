namespace StreamCdp.Engine.Logs;

/// <summary>What "durable" means for a local log.</summary>
public enum LocalDurability
{
    /// <summary>On the disk: each group commit ends with fsync. Survives a power cut.</summary>
    Fsync,

    /// <summary>In the operating system's page cache; fsync about once a second. Survives a kill of the process, not a power cut.</summary>
    PageCache,
}

/// <summary>Settings of the local logs of one directory.</summary>
public sealed record LocalLogOptions
{
    /// <summary>Where these options stand in the configuration.</summary>
    public const string Section = "StreamCdp:Log";

    /// <summary>When a record counts as durable. Default: fsync.</summary>
    public LocalDurability Durability { get; init; } = LocalDurability.Fsync;

    /// <summary>A new segment file is begun at this size, bytes. 4 KiB to 2 GiB, default 128 MiB: retention and compaction go by whole segments.</summary>
    public long SegmentBytes { get; init; } = 128L << 20;

    /// <summary>A new segment is begun at this age, ms (earlier where retention is short), so that old records can go from a quiet log, too. Default one day.</summary>
    public long SegmentMs { get; init; } = 24L * 3600 * 1000;

    /// <summary>Bound of the records waiting for a commit, per log, bytes. 64 KiB to 1 GiB, default 16 MiB. Memory used is at most about twice as much, and 128 KiB per partition.</summary>
    public int BufferBytes { get; init; } = 16 << 20;

    /// <summary>How long <see cref="ILogWriter.Append"/> waits for room in the buffer before it says that the log is unavailable. Default 10 s.</summary>
    public TimeSpan AppendWait { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Compaction starts when this part of the closed segments was written since the last compaction. 0.01 to 1, default 0.5: a log is at most about twice its live records.</summary>
    public double CompactionRatio { get; init; } = 0.5;

    /// <summary>Bound of compaction's key table, bytes; about 35 bytes for each key. One segment's keys are always held, whatever their number. Default 64 MiB.</summary>
    public long CompactionBytes { get; init; } = 64L << 20;

    /// <summary>A tombstone is kept this long, so that slow readers see it, then compaction drops it. Default 24 h, as in Kafka.</summary>
    public TimeSpan TombstoneRetention { get; init; } = TimeSpan.FromHours(24);

    /// <summary>For tests: called with the path and the number of bytes before each write; throws to simulate a failing disk.</summary>
    internal Action<string, long>? BeforeWrite { get; init; }

    /// <summary>Every broken rule, each with its key, its value and what is allowed. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (!Enum.IsDefined(Durability))
        {
            yield return $"{Section}:Durability is {Durability}; allowed are Fsync and PageCache.";
        }

        if (SegmentBytes is < 4096 or > (2L << 30))
        {
            yield return $"{Section}:SegmentBytes is {SegmentBytes}; allowed are 4096 to 2147483648 bytes.";
        }

        if (SegmentMs < 1000)
        {
            yield return $"{Section}:SegmentMs is {SegmentMs}; allowed are 1000 ms and more.";
        }

        if (BufferBytes is < (64 << 10) or > (1 << 30))
        {
            yield return $"{Section}:BufferBytes is {BufferBytes}; allowed are 65536 to 1073741824 bytes.";
        }

        if (AppendWait < TimeSpan.Zero || AppendWait > TimeSpan.FromMinutes(10))
        {
            yield return $"{Section}:AppendWait is {AppendWait}; allowed are 00:00:00 to 00:10:00.";
        }

        if (CompactionRatio is not (>= 0.01 and <= 1))
        {
            yield return $"{Section}:CompactionRatio is {CompactionRatio}; allowed are 0.01 to 1.";
        }

        if (CompactionBytes < (1L << 20))
        {
            yield return $"{Section}:CompactionBytes is {CompactionBytes}; allowed are 1048576 bytes and more.";
        }

        if (TombstoneRetention < TimeSpan.Zero)
        {
            yield return $"{Section}:TombstoneRetention is {TombstoneRetention}; allowed are 00:00:00 and more.";
        }
    }
}
