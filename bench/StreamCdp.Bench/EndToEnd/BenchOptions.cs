using System.Globalization;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>Flags of the runs; every one has a default.</summary>
internal sealed record BenchOptions
{
    /// <summary>local or kafka.</summary>
    public string Log { get; init; } = "local";

    /// <summary>Records of the log events.</summary>
    public int Events { get; init; } = 1_000_000;

    /// <summary>People that the workload chooses from.</summary>
    public int People { get; init; } = 100_000;

    /// <summary>Of the local log.</summary>
    public LocalDurability Durability { get; init; } = LocalDurability.Fsync;

    /// <summary>A running broker; empty: one is started.</summary>
    public string Bootstrap { get; init; } = "";

    /// <summary>Where logs and state go; empty: a temporary directory that is deleted afterwards.</summary>
    public string Data { get; init; } = "";

    /// <summary>Of everything that is random.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Events per second of a latency run.</summary>
    public int Rate { get; init; } = 2_000;

    /// <summary>Length of a latency run.</summary>
    public int Seconds { get; init; } = 30;

    /// <summary>http or log.</summary>
    public string Through { get; init; } = "http";

    /// <summary>Shards; 0: the engine's default.</summary>
    public int Shards { get; init; }

    /// <summary>Memory of all stores, MiB; 0: the engine's default.</summary>
    public int MemoryMib { get; init; }

    /// <summary>How many types to print that are allocated most; 0: none, and no cost of looking.</summary>
    public int Types { get; init; }

    /// <summary>Segments of the model: those of the demo, and from the eleventh on those of <see cref="ManySegments"/>.</summary>
    public int Segments { get; init; } = 10;

    /// <summary>Profiles that leave a segment in one second in the middle of a latency run.</summary>
    public int Expire { get; init; }

    /// <summary>Events that are there before a latency run, and are counted for new rules while it goes on.</summary>
    public int Backfill { get; init; }

    /// <summary>Stops after the baseline.</summary>
    public bool BaselineOnly { get; init; }

    /// <exception cref="ArgumentException">A flag is unknown or its value is.</exception>
    public static BenchOptions Parse(string[] args)
    {
        var options = new BenchOptions();
        for (int i = 0; i < args.Length; i += 2)
        {
            string value = i + 1 < args.Length ? args[i + 1] : throw new ArgumentException($"{args[i]} needs a value.");
            options = args[i] switch
            {
                "--log" when value is "local" or "kafka" => options with { Log = value },
                "--events" => options with { Events = Number(value) },
                "--people" => options with { People = Number(value) },
                "--durability" when value is "fsync" or "page-cache" => options with { Durability = value == "fsync" ? LocalDurability.Fsync : LocalDurability.PageCache },
                "--bootstrap" => options with { Bootstrap = value },
                "--data" => options with { Data = value },
                "--seed" => options with { Seed = (ulong)Number(value) },
                "--rate" => options with { Rate = Number(value) },
                "--seconds" => options with { Seconds = Number(value) },
                "--through" when value is "http" or "log" => options with { Through = value },
                "--shards" => options with { Shards = Number(value) },
                "--memory" => options with { MemoryMib = Number(value) },
                "--segments" => options with { Segments = Number(value) },
                "--expire" => options with { Expire = Number(value), Through = "log" },
                "--backfill" => options with { Backfill = Number(value), Through = "log" },
                "--types" => options with { Types = Number(value) },
                _ => throw new ArgumentException($"{args[i]} {value} is none of the flags of bench/README.md."),
            };
        }

        return options;
    }

    private static int Number(string text) => int.Parse(text, NumberStyles.AllowThousands, CultureInfo.InvariantCulture);
}
