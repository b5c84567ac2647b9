using System.Diagnostics;
using StreamCdp.Integration.Tests;

[assembly: AssemblyFixture(typeof(KafkaFixture))]

namespace StreamCdp.Integration.Tests;

/// <summary>One Kafka for all tests of the assembly, from KAFKA_HOME or ../shared/kafka beside the repository; without either the tests are skipped.</summary>
public sealed class KafkaFixture : IAsyncLifetime
{
    private string? _home;
    private string? _directory;
    private string? _reason;

    /// <summary>Skips the calling test where there is no Kafka.</summary>
    public string BootstrapServers
    {
        get
        {
            Assert.SkipUnless(_reason is null, _reason ?? "");
            return field;
        }

        private set;
    } = "";

    /// <summary>Of the broker with this number.</summary>
    public int ProcessId => int.Parse(File.ReadAllText(Path.Combine(_directory!, "1", "pid")));

    public async ValueTask InitializeAsync()
    {
        _home = FindHome();
        if (_home is null)
        {
            _reason = "There is no Kafka: set KAFKA_HOME, or put one beside the repository as ../shared/kafka.";
            return;
        }

        _directory = Directory.CreateTempSubdirectory("streamcdp-kafka-").FullName;
        (int code, string output) = await RunAsync("kafka-up", "1", "log.retention.check.interval.ms=500", "log.cleaner.backoff.ms=200", "log.initial.task.delay.ms=500");
        if (code != 0)
        {
            _reason = $"{_home}/bin/kafka-up failed: {output}";
            return;
        }

        BootstrapServers = output.Trim().Split('\n')[^1].Trim();
    }

    public async ValueTask DisposeAsync()
    {
        if (_directory is not null)
        {
            await RunAsync("kafka-down");
            Directory.Delete(_directory, recursive: true);
        }
    }

    /// <summary>Starts a broker again that a test ended; same data, same port.</summary>
    public async Task StartAgainAsync() => await RunAsync("kafka-up");

    private async Task<(int Code, string Output)> RunAsync(string command, params string[] arguments)
    {
        ProcessStartInfo start = new(Path.Combine(_home!, "bin", command)) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(_directory!);
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string? last = null;
        while (await process.StandardOutput.ReadLineAsync() is { } line)
        {
            last = line;
        }

        await process.WaitForExitAsync();
        return (process.ExitCode, process.ExitCode == 0 ? last ?? "" : await errors);
    }

    private static string? FindHome()
    {
        string? home = Environment.GetEnvironmentVariable("KAFKA_HOME");
        if (string.IsNullOrEmpty(home))
        {
            DirectoryInfo? directory = new(AppContext.BaseDirectory);
            while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "StreamCdp.sln")))
            {
                directory = directory.Parent;
            }

            home = directory is null ? null : Path.Combine(directory.FullName, "..", "shared", "kafka");
        }

        return home is not null && File.Exists(Path.Combine(home, "bin", "kafka-up")) ? Path.GetFullPath(home) : null;
    }
}
