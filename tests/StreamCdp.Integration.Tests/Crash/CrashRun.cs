using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using StreamCdp.Engine.Logs;
using StreamCdp.Simulation.Tests.Generators;

namespace StreamCdp.Integration.Tests.Crash;

/// <summary>A server that is killed and started again under load, on the same data; two senders repeat each batch until it is acknowledged.</summary>
internal sealed class CrashRun : IAsyncDisposable
{
    private const int Senders = 2;
    private const int BatchEveryMs = 25;

    private readonly string _directory;
    private readonly bool _isTemporary;
    private readonly IReadOnlyDictionary<string, string> _settings;
    private readonly Func<string, ILogStore> _openLogs;
    private readonly CrashHistory _history;
    private readonly Choice _choice;
    private readonly ulong _seed;
    private readonly ConcurrentBag<string> _acknowledged = [];
    private readonly CancellationTokenSource _stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
    private readonly List<Task> _senders = [];
    private TaskCompletionSource<CrashServer> _up = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CrashServer? _server;
    private int _batches;

    /// <param name="seed">Events and moments.</param>
    /// <param name="settings">Environment variables of the server.</param>
    /// <param name="openLogs">Opens the server's logs once it is stopped, given its directory.</param>
    /// <param name="directory">For model and data; null: a temporary one.</param>
    public CrashRun(ulong seed, IReadOnlyDictionary<string, string> settings, Func<string, ILogStore> openLogs, string? directory = null)
    {
        _isTemporary = directory is null;
        _directory = directory ?? Directory.CreateTempSubdirectory("streamcdp-crash-").FullName;
        (_seed, _settings, _openLogs) = (seed, settings, openLogs);
        _history = new CrashHistory(seed);
        _choice = new Choice(seed ^ 0xC4A5);
        File.WriteAllText(Path.Combine(_directory, "cdp.yaml"), CrashHistory.Model);
    }

    /// <summary>A run on local logs.</summary>
    public static CrashRun Local(ulong seed, string? directory = null) => new(
        seed,
        new Dictionary<string, string> { ["StreamCdp__Log__Durability"] = "PageCache" }, // A killed process, not a power cut: what it wrote is in the page cache.
        directory => new LocalLogs(Path.Combine(directory, "data", "logs"), new LocalLogOptions(), TimeProvider.System),
        directory);

    /// <summary>A run on topics of its own.</summary>
    public static CrashRun Kafka(ulong seed, string servers)
    {
        string prefix = $"crash{Guid.NewGuid():N}.";
        return new CrashRun(
            seed,
            new Dictionary<string, string>
            {
                ["StreamCdp__Log__Kind"] = "kafka",
                ["StreamCdp__Kafka__BootstrapServers"] = servers,
                ["StreamCdp__Kafka__TopicPrefix"] = prefix,
            },
            _ => new KafkaLogs(new KafkaOptions { BootstrapServers = servers, TopicPrefix = prefix }));
    }

    public CrashServer Server => _server!;

    public int Acknowledged => _acknowledged.Count;

    public string DataDirectory => Path.Combine(_directory, "data");

    /// <summary>Starts the server, and at first the senders.</summary>
    /// <param name="crashAt">Where it is to end by itself; null: nowhere.</param>
    /// <returns>False where it ended before it listened.</returns>
    public async Task<bool> StartAsync(string? crashAt = null)
    {
        _server?.Dispose();
        _server = CrashServer.Start(_directory, _settings, crashAt);
        if (!await _server.ListensAsync())
        {
            Assert.True(crashAt is not null, $"The server does not start; seed {_seed}.\n{_server.Output}");
            return false;
        }

        _up.TrySetResult(_server);
        if (_senders.Count == 0)
        {
            _senders.AddRange(Enumerable.Range(0, Senders).Select(_ => Task.Run(SendAsync)));
        }

        return true;
    }

    /// <summary>Waits for some more acknowledged batches and a moment, then kills the server.</summary>
    public async Task KillAtRandomAsync()
    {
        await AcknowledgedAsync(1 + _choice.Below(20));
        await Task.Delay(_choice.Below(1500), TestContext.Current.CancellationToken); // Anywhere between two checkpoints: the moment itself is what is random.
        await KillAsync();
    }

    public async Task KillAsync()
    {
        Down();
        await Server.KillAsync();
    }

    /// <summary>Waits until the server has ended by itself.</summary>
    public async Task EndedByItselfAsync()
    {
        await Server.EndedAsync();
        Down();
    }

    /// <summary>Waits until each stage has saved so many checkpoints.</summary>
    public async Task CheckpointsAsync(int count)
    {
        long deadline = Environment.TickCount64 + 60_000;
        while (Stages().Any(stage => Manifests(stage).Length < 2 || Number(Manifests(stage)[^1]) < count))
        {
            Assert.True(Environment.TickCount64 < deadline, $"The stages have not saved {count} checkpoints; seed {_seed}.\n{Server.Output}");
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Cuts the files of each stage's newest checkpoint to half their length, but not the manifest that names them.</summary>
    /// <returns>Stages.</returns>
    public int DamageNewestCheckpoints()
    {
        int stages = 0;
        foreach (string stage in Stages())
        {
            stages++;
            string manifest = File.ReadAllText(Manifests(stage)[^1]);
            string[] tokens = [.. JsonNode.Parse(manifest)!["Stores"]!.AsArray().Select(store => store!["Token"]!.GetValue<string>())];
            foreach (string file in Directory.EnumerateFiles(stage, "*", SearchOption.AllDirectories).Where(file => tokens.Any(token => file.Contains(token, StringComparison.Ordinal))))
            {
                using FileStream stream = File.OpenWrite(file);
                stream.SetLength(stream.Length / 2);
            }
        }

        return stages;
    }

    private string[] Stages() => Directory.Exists(Path.Combine(DataDirectory, "state")) ? Directory.GetDirectories(Path.Combine(DataDirectory, "state")) : [];

    private static string[] Manifests(string stage) => [.. Directory.GetFiles(stage, "checkpoint-*.json").OrderBy(Number)];

    private static long Number(string manifest) => long.Parse(Path.GetFileNameWithoutExtension(manifest)["checkpoint-".Length..], CultureInfo.InvariantCulture);

    /// <summary>Waits until so many more batches are acknowledged.</summary>
    public async Task AcknowledgedAsync(int more)
    {
        int until = Volatile.Read(ref _batches) + more;
        long deadline = Environment.TickCount64 + 60_000;
        while (Volatile.Read(ref _batches) < until)
        {
            Assert.True(Environment.TickCount64 < deadline, $"No batch is acknowledged any more; seed {_seed}.\n{Server.Output}");
            Assert.False(Server.HasEnded, $"The server ended by itself with {(Server.HasEnded ? Server.ExitCode : 0)}; seed {_seed}.\n{Server.Output}");
            await Task.Delay(5, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Sends no more once all that was begun is acknowledged, compares everything, then builds the state anew from the logs alone and compares again.</summary>
    public async Task<CrashTruth> CompareAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_senders).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        await Server.AppliedAsync();
        Assert.Equal(0, await Server.TerminateAsync());

        CrashTruth truth;
        await using (ILogStore logs = _openLogs(_directory))
        {
            truth = CrashTruth.Read(logs);
        }

        Assert.DoesNotContain(_acknowledged, id => !truth.MessageIds.Contains(id) && !truth.DeadMessageIds.Contains(id));
        await CompareAsync(truth, "as it was");
        Assert.Equal(0, await Server.TerminateAsync());
        Directory.Delete(Path.Combine(DataDirectory, "state"), recursive: true);
        await CompareAsync(truth, "from the logs alone");
        await Server.KillAsync();
        TestContext.Current.SendDiagnosticMessage($"seed {_seed}: {truth.World.Outcomes.Count} events, {truth.World.People.Count()} people, {truth.World.Everybody.Count} ever, {truth.World.Everybody.Sum(person => person.Changes.Count)} changes, {truth.Repeats} repeated changes");
        return truth;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _up.TrySetCanceled();
        _server?.Dispose();
        _stop.Dispose();
        if (_isTemporary && TestContext.Current.TestState?.Result != TestResult.Failed && Environment.GetEnvironmentVariable("STREAMCDP_CRASH_KEEP") is null)
        {
            Directory.Delete(_directory, recursive: true);
        }
    }

    private async Task CompareAsync(CrashTruth truth, string how)
    {
        Assert.True(await StartAsync());
        await Server.AppliedAsync();
        string? difference = await truth.DifferenceAsync(Server);
        Assert.True(difference is null, $"{how}: {difference}\nseed {_seed}, {_directory}\n{Server.Output}");
    }

    private void Down()
    {
        if (_up.Task.IsCompleted)
        {
            _up = new TaskCompletionSource<CrashServer>(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    private async Task SendAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            CrashBatch batch = _history.Next();
            while (!await TrySendAsync(batch))
            {
                await Task.Delay(20, TestContext.Current.CancellationToken); // A client's pause before its next try.
            }

            foreach (string id in batch.MessageIds)
            {
                _acknowledged.Add(id);
            }

            Interlocked.Increment(ref _batches);
            await Task.Delay(BatchEveryMs, TestContext.Current.CancellationToken); // The load: so that the server lives through checkpoints with few enough events for the reference.
        }
    }

    private async Task<bool> TrySendAsync(CrashBatch batch)
    {
        CrashServer server = await _up.Task.WaitAsync(TimeSpan.FromSeconds(90), TestContext.Current.CancellationToken);
        try
        {
            using var body = new StringContent(batch.Body, Encoding.UTF8, "application/json");
            using HttpResponseMessage answer = await server.Client.PostAsync(new Uri("/v1/batch", UriKind.Relative), body, TestContext.Current.CancellationToken);
            Assert.True(answer.StatusCode is HttpStatusCode.OK or HttpStatusCode.TooManyRequests, $"{(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)}");
            return answer.StatusCode == HttpStatusCode.OK;
        }
        catch (Exception error) when (error is HttpRequestException or IOException or ObjectDisposedException or TaskCanceledException && !TestContext.Current.CancellationToken.IsCancellationRequested)
        {
            return false; // It died before it answered; whether the batch is in the log nobody knows.
        }
    }
}
