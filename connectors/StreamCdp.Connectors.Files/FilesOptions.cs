using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Files;

/// <summary>Which files changes are written to, and when one is finished.</summary>
public sealed record FilesOptions
{
    /// <summary>Directory and name, for example <c>exports/{date}T{time}.csv</c>: <c>{date}</c> and <c>{time}</c> are those of the file's begin, UTC. The ending says the format: .ndjson or .csv.</summary>
    public required string Path { get; init; }

    /// <summary>Names of the mapped fields: the columns of a CSV behind those that each change has.</summary>
    public IReadOnlyList<string> Columns { get; init; } = [];

    /// <summary>A file ends at the next whole multiple of this, UTC. 1 min to 1 day, default 1 h.</summary>
    public TimeSpan Rotate { get; init; } = TimeSpan.FromHours(1);

    /// <summary>From this size on a file takes no more; a change alone may not be larger. 1 to 1000 MiB, default 100 MiB.</summary>
    public long MaxBytes { get; init; } = 100L << 20;

    /// <summary>Files have mode 0640 and a directory that is made 0750, instead of 0600 and 0700: they hold personal data.</summary>
    public bool IsGroupReadable { get; init; }

    /// <summary>In a CSV, text that a spreadsheet would run as a formula gets a <c>'</c> before it.</summary>
    public bool EscapesFormulas { get; init; }

    /// <summary>How long writing a batch may take. 1 s to 5 min, default 10 s.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>CSV; else NDJSON.</summary>
    internal bool IsCsv => Path.EndsWith(".csv", StringComparison.Ordinal);

    /// <summary>Where the files are.</summary>
    internal string Directory => System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path))!;

    /// <summary>Every broken rule, each with its name, its value and what is allowed. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (FileDefinition.PathError(Path) is { } error)
        {
            yield return error;
        }

        if (Rotate < TimeSpan.FromMinutes(1) || Rotate > TimeSpan.FromDays(1))
        {
            yield return $"rotate is {Rotate}; allowed are 1 min to 1 day";
        }

        if (MaxBytes is < 1 << 20 or > 1000L << 20)
        {
            yield return $"max_mb is {MaxBytes / 1048576.0:0.###}; allowed are 1 to 1000";
        }

        if (Timeout < TimeSpan.FromSeconds(1) || Timeout > TimeSpan.FromMinutes(5))
        {
            yield return $"timeout is {Timeout.TotalSeconds:0.###} s; allowed are 1 s to 5 min";
        }
    }
}
