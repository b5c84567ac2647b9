using System.Diagnostics;

namespace StreamCdp.Integration.Tests;

/// <summary>A real broker in a directory of its own, from KAFKA_HOME or ../shared/kafka beside the repository.</summary>
public sealed class KafkaCluster : IAsyncDisposable
{
    public const string WhyNot = "There is no Kafka: set KAFKA_HOME, or put one beside the repository as ../shared/kafka.";

    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-kafka-").FullName;

    private KafkaCluster()
    {
    }

    /// <summary>Where bin/kafka-up is, or null.</summary>
    public static string? Home { get; } = FindHome();

    public string BootstrapServers { get; private set; } = "";

    /// <summary>Starts one broker; retention and compaction run twice a second, so that tests see them.</summary>
    /// <param name="settings">Broker settings besides, each name=value.</param>
    public static async Task<KafkaCluster> StartAsync(params string[] settings)
    {
        KafkaCluster cluster = new();
        cluster.BootstrapServers = await cluster.RunAsync("kafka-up", ["1", "log.retention.check.interval.ms=500", "log.cleaner.backoff.ms=200", "log.initial.task.delay.ms=500", .. settings]);
        return cluster;
    }

    /// <summary>kill -9 of the broker.</summary>
    public void Kill()
    {
        using Process broker = Process.GetProcessById(Broker);
        broker.Kill();
        broker.WaitForExit();
    }

    /// <summary>The broker takes connections and answers nothing, until <see cref="Thaw"/>.</summary>
    public void Freeze()
    {
        Signal("STOP");
        Assert.True(SpinWait.SpinUntil(() => Directory.GetDirectories($"/proc/{Broker}/task").All(IsStopped), TimeSpan.FromSeconds(30)), "The broker goes on in spite of SIGSTOP.");
    }


    /// <summary>Goes on, with all that came meanwhile.</summary>
    public void Thaw() => Signal("CONT");

    /// <summary>Starts the broker again: same data, same port.</summary>
    public Task StartAgainAsync() => RunAsync("kafka-up");

    public async ValueTask DisposeAsync()
    {
        await RunAsync("kafka-down");
        Directory.Delete(_directory, recursive: true);
    }

    private int Broker => int.Parse(File.ReadAllText(Path.Combine(_directory, "1", "pid")));

    /// <summary>Each thread stops when it comes to it; one that ended just now says that others run.</summary>
    private static bool IsStopped(string thread)
    {
        try
        {
            string stat = File.ReadAllText(Path.Combine(thread, "stat"));
            return stat[stat.LastIndexOf(')') + 2] == 'T';
        }
        catch (IOException)
        {
            return false;
        }
    }

    private void Signal(string name)
    {
        using Process kill = Process.Start("kill", ["-" + name, $"{Broker}"]);
        kill.WaitForExit();
        Assert.Equal(0, kill.ExitCode);
    }

    /// <returns>The last line it writes.</returns>
    private async Task<string> RunAsync(string command, params string[] arguments)
    {
        ProcessStartInfo start = new(Path.Combine(Home!, "bin", command)) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(_directory);
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string last = "";
        while (await process.StandardOutput.ReadLineAsync() is { } line)
        {
            last = line.Trim();
        }

        await process.WaitForExitAsync();
        return process.ExitCode == 0 ? last : throw new InvalidOperationException($"{start.FileName} {_directory} failed: {await errors}");
    }

    private static string? FindHome()
    {
        string? home = Environment.GetEnvironmentVariable("KAFKA_HOME");
        if (string.IsNullOrEmpty(home))
        {
            home = Repository.Path("..", "shared", "kafka");
        }

        return File.Exists(Path.Combine(home, "bin", "kafka-up")) ? Path.GetFullPath(home) : null;
    }
}
