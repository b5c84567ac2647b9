using System.Diagnostics;
using System.Text;
using StreamCdp.Connectors.Files;

namespace StreamCdp.Connectors.Tests.Files;

/// <summary>A directory of its own, and a clock that a test moves and holds.</summary>
internal sealed class FilesFolder : IDisposable
{
    public FilesFolder(string? within = null)
    {
        Directory = within ?? System.IO.Directory.CreateTempSubdirectory("streamcdp-files-").FullName;
    }

    public string Directory { get; }

    public HeldTime Time { get; } = new();

    public FilesOptions Options(string name = "{date}.ndjson") => new() { Path = System.IO.Path.Combine(Directory, name), Columns = ["Name"] };

    public string PathOf(string name) => System.IO.Path.Combine(Directory, name);

    /// <summary>Names of the files, in order.</summary>
    public string[] Names() => [.. System.IO.Directory.GetFiles(Directory).Select(path => System.IO.Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    /// <summary>Whole text of a file, also of one in work, whose lock .NET heeds and other programs do not.</summary>
    public string Text(string name)
    {
        using var cat = Process.Start(new ProcessStartInfo("cat", [PathOf(name)]) { RedirectStandardOutput = true, StandardOutputEncoding = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false) })!;
        string text = cat.StandardOutput.ReadToEnd();
        cat.WaitForExit();
        Assert.Equal(0, cat.ExitCode);
        return text;
    }

    /// <summary>Lines of all files.</summary>
    public string[] Lines() => [.. Names().SelectMany(name => Text(name).Split('\n', StringSplitOptions.RemoveEmptyEntries)).Select(line => line.TrimEnd('\r'))];

    public void Dispose()
    {
        Time.Hold(false);
        System.IO.Directory.Delete(Directory, recursive: true);
    }
}

/// <summary>2026-11-25T12:10:00Z until it is moved; waits take real time.</summary>
internal sealed class HeldTime : TimeProvider
{
    private readonly object _gate = new();
    private bool _isHeld;
    private TimerCallback? _look;

    public DateTimeOffset Now { get; set; } = new(2026, 11, 25, 12, 10, 0, TimeSpan.Zero);

    public override DateTimeOffset GetUtcNow()
    {
        lock (_gate)
        {
            while (_isHeld)
            {
                Monitor.Wait(_gate);
            }

            return Now;
        }
    }

    /// <summary>Whoever asks for the time waits.</summary>
    public void Hold(bool isHeld)
    {
        lock (_gate)
        {
            _isHeld = isHeld;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>The destination looks whether a file is over.</summary>
    public void Look() => _look!(null);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        if (period != Timeout.InfiniteTimeSpan)
        {
            _look = callback;
            return System.CreateTimer(callback, state, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }

        return System.CreateTimer(callback, state, dueTime, period);
    }
}
