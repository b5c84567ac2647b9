using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>Memory of many profiles, and how long a checkpoint and a restart take with them.</summary>
internal static class ProfilesRun
{
    public static async Task<int> RunAsync(BenchOptions options)
    {
        await using Place place = await Place.MakeAsync(options).ConfigureAwait(false);
        using var workload = new Workload(options.People, options.Seed, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(), inTurn: true);
        await using (ILogStore loading = place.OpenLogs(forLoading: true))
        {
            PipelineRun.Load(loading, place.Engine, workload, options.Events);
        }

        Truth truth = workload.Truth();
        long before = Rss();
        long repeats;
        bool isRight;
        await using (ILogStore logs = place.OpenLogs())
        {
            (CdpEngine engine, EngineMetrics metrics) = Start(place, logs);
            var drain = Stopwatch.StartNew();
            while (metrics.EventsProcessed.Value + metrics.EventsDuplicate.Value < options.Events)
            {
                if (engine.Stopped.IsCompleted)
                {
                    return Stopped(engine);
                }

                await Task.Delay(50).ConfigureAwait(false);
            }

            await engine.WaitAppliedAsync(TimeSpan.FromMinutes(10), CancellationToken.None).ConfigureAwait(false);
            GC.Collect();
            Console.WriteLine($"{truth.Profiles:N0} profiles of {options.Events:N0} events in {drain.Elapsed.TotalSeconds:F0} s; RSS {Rss() / 1048576.0:N0} MiB ({before / 1048576.0:N0} before), {(double)(Rss() - before) / truth.Profiles:F0} bytes a profile, managed heap {GC.GetTotalMemory(false) / 1048576.0:N0} MiB");
            Console.WriteLine($"on disk: state {Size(place.StatePath) / 1048576.0:N0} MiB, logs {Size(Path.Combine(place.DataPath, "logs")) / 1048576.0:N0} MiB");
            var stop = Stopwatch.StartNew();
            await engine.DisposeAsync().ConfigureAwait(false);
            Console.WriteLine($"stop, with a checkpoint of each stage: {stop.ElapsedMilliseconds:N0} ms");
            if (engine.Stopped.IsFaulted)
            {
                return Stopped(engine);
            }

            repeats = (long)metrics.EventsDuplicate.Value;
            isRight = truth.PrintAnswer(Truth.Read(new EngineLogs(logs, place.Engine), repeats), "answer");
        }

        await using (ILogStore logs = place.OpenLogs())
        {
            var restart = Stopwatch.StartNew();
            (CdpEngine engine, _) = Start(place, logs);
            long started = restart.ElapsedMilliseconds;
            await engine.WaitAppliedAsync(TimeSpan.FromMinutes(10), CancellationToken.None).ConfigureAwait(false);
            Console.WriteLine($"restart: {started:N0} ms to open state and logs, {restart.ElapsedMilliseconds:N0} ms until all is applied; RSS {Rss() / 1048576.0:N0} MiB");
            await engine.DisposeAsync().ConfigureAwait(false);
            if (engine.Stopped.IsFaulted)
            {
                return Stopped(engine);
            }

            isRight &= truth.PrintAnswer(Truth.Read(new EngineLogs(logs, place.Engine), repeats), "answer after the restart");
        }

        return isRight ? 0 : 1;
    }

    private static int Stopped(CdpEngine engine)
    {
        Console.WriteLine($"The engine stopped by itself: {engine.Stopped.Exception?.GetBaseException().Message}");
        return 1;
    }

    private static (CdpEngine Engine, EngineMetrics Metrics) Start(Place place, ILogStore logs)
    {
        var metrics = new EngineMetrics(Prometheus.Metrics.NewCustomRegistry(), TimeProvider.System);
        return (CdpEngine.Start(place.Engine, Place.Model(), logs, place.StatePath, SchemaIds.BuiltIn, metrics, TimeProvider.System, NullLogger.Instance), metrics);
    }

    private static long Rss()
    {
        using var process = Process.GetCurrentProcess();
        return process.WorkingSet64;
    }

    private static long Size(string directory) =>
        Directory.Exists(directory) ? new DirectoryInfo(directory).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length) : 0;
}
