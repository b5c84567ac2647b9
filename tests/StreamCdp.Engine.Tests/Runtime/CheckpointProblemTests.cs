using System.Collections.Concurrent;
using System.Text;
using Microsoft.Extensions.Logging;
using Prometheus;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Runtime;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Runtime;

/// <summary>The whole engine on a disk that takes no checkpoint.</summary>
public sealed class CheckpointProblemTests : IDisposable
{
    private static readonly CdpModel s_model = ModelReader.Read("cdp.yaml", """
        sources: [ { id: web, write_key: w, kind: website } ]
        identifiers: [ { type: user_id, limit: 1 } ]
        """, _ => null).Model!;

    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-checkpoint-").FullName;
    private readonly ShiftedTime _time = new();
    private readonly Lines _lines = new();

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_checkpoint_that_fails_is_logged_once_and_told_by_health_and_age_until_one_is_saved()
    {
        var home = new FullDisk(Path.Combine(_directory, "state")) { IsFull = true };
        CollectorRegistry registry = Metrics.NewCustomRegistry();
        await using LocalLogs logs = Logs();
        await using CdpEngine engine = Start(logs, home, registry);

        _time.Shift += TimeSpan.FromHours(1);
        foreach (PartHealth part in engine.Health().Where(part => part.Part != "backfill")) // It saves nothing but its own steps.
        {
            await _lines.HasAsync(LogLevel.Warning, $"Stage {part.Part} could not save a checkpoint: The disk is full, 1 MiB are free.");
        }

        _time.Shift += TimeSpan.FromHours(1);
        await home.Failed("route", 2).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);

        PartHealth route = Assert.Single(engine.Health(), part => part.Part == "route");
        Assert.True(route.IsReady);
        Assert.StartsWith("The disk is full", route.Reason, StringComparison.Ordinal);
        Assert.InRange(await AgeAsync(registry), 7200, 7300);

        home.IsFull = false;
        _time.Shift += TimeSpan.FromHours(1);
        foreach (PartHealth part in engine.Health().Where(part => part.Part != "backfill"))
        {
            await _lines.HasAsync(LogLevel.Information, $"Stage {part.Part} saves checkpoints again.");
        }

        Assert.Single(_lines.All, line => line.Text.StartsWith("Stage route could not", StringComparison.Ordinal));
        Assert.All(engine.Health(), part => Assert.Equal("", part.Reason));
        Assert.InRange(await AgeAsync(registry), 0, 100);
    }

    [Fact]
    public async Task After_a_restart_the_age_goes_on_from_the_checkpoint_that_was_restored()
    {
        await using (LocalLogs logs = Logs())
        {
            await Start(logs, new DirectoryStateHome(Path.Combine(_directory, "state")), Metrics.NewCustomRegistry()).DisposeAsync();
        }

        _time.Shift += TimeSpan.FromHours(1);
        await using LocalLogs again = Logs();
        CollectorRegistry registry = Metrics.NewCustomRegistry();
        await using CdpEngine engine = Start(again, new DirectoryStateHome(Path.Combine(_directory, "state")), registry);

        Assert.InRange(await AgeAsync(registry), 3590, 3700);
    }

    private LocalLogs Logs() => new(Path.Combine(_directory, "logs"), new LocalLogOptions(), TimeProvider.System);

    private CdpEngine Start(ILogStore logs, IStateHome home, CollectorRegistry registry) =>
        CdpEngine.Start(new EngineOptions { Shards = 1, MemoryBytes = 64 << 20 }, s_model, logs, home, SchemaIds.BuiltIn, new EngineMetrics(registry, _time), _time, _lines);

    private static async Task<double> AgeAsync(CollectorRegistry registry)
    {
        using var text = new MemoryStream();
        await registry.CollectAndExportAsTextAsync(text, TestContext.Current.CancellationToken);
        string line = Encoding.UTF8.GetString(text.ToArray()).Split('\n').Single(one => one.StartsWith("streamcdp_checkpoint_age_seconds ", StringComparison.Ordinal));
        return double.Parse(line.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture);
    }

    /// <summary>The system's clock, set forward.</summary>
    private sealed class ShiftedTime : TimeProvider
    {
        private long _shift;

        public TimeSpan Shift
        {
            get => new(Interlocked.Read(ref _shift));
            set => Interlocked.Exchange(ref _shift, value.Ticks);
        }

        public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + Shift;
    }

    /// <summary>A directory that takes stores, and manifests only while it is not full.</summary>
    private sealed class FullDisk(string directory) : IStateHome
    {
        private readonly DirectoryStateHome _home = new(directory);
        private readonly ConcurrentDictionary<(string Stage, int Count), TaskCompletionSource> _awaited = new();
        private readonly ConcurrentDictionary<string, int> _failures = new();
        private volatile bool _isFull;

        public bool IsFull
        {
            get => _isFull;
            set => _isFull = value;
        }

        public Task Failed(string stage, int count)
        {
            TaskCompletionSource source = _awaited.GetOrAdd((stage, count), _ => new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
            if (_failures.GetValueOrDefault(stage) >= count)
            {
                source.TrySetResult();
            }

            return source.Task;
        }

        public IStateStore Open(string stage, string store, StoreKind kind, StoreSizes sizes, StoreCheckpoint? restore) => _home.Open(stage, store, kind, sizes, restore);

        public IReadOnlyList<(long Number, byte[] Json)> Manifests(string stage) => _home.Manifests(stage);

        public long? SavedAtMs(string stage) => _home.SavedAtMs(stage);

        public void RemoveManifest(string stage, long number) => _home.RemoveManifest(stage, number);

        public void WriteManifest(string stage, long number, byte[] json)
        {
            if (!_isFull)
            {
                _home.WriteManifest(stage, number, json);
                return;
            }

            int count = _failures.AddOrUpdate(stage, 1, (_, failures) => failures + 1);
            if (_awaited.TryGetValue((stage, count), out TaskCompletionSource? source))
            {
                source.TrySetResult();
            }

            throw new CheckpointFailedException($"The disk is full, {count} MiB are free.");
        }
    }

    /// <summary>What was logged, to wait for.</summary>
    private sealed class Lines : ILogger
    {
        private readonly List<(LogLevel Level, string Text)> _all = [];
        private TaskCompletionSource _more = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public IReadOnlyList<(LogLevel Level, string Text)> All
        {
            get
            {
                lock (_all)
                {
                    return [.. _all];
                }
            }
        }

        public async Task HasAsync(LogLevel level, string start)
        {
            while (true)
            {
                Task more;
                lock (_all)
                {
                    if (_all.Exists(line => line.Level == level && line.Text.StartsWith(start, StringComparison.Ordinal)))
                    {
                        return;
                    }

                    more = _more.Task;
                }

                await more.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
            }
        }

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (_all)
            {
                _all.Add((logLevel, formatter(state, exception)));
                _more.SetResult();
                _more = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            }
        }

        public bool IsEnabled(LogLevel logLevel) => true;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;
    }
}
