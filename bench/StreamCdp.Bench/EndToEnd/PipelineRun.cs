using System.Diagnostics;
using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>Preloads events, measures a bare reader of them, then the engine, and checks its answer.</summary>
internal static class PipelineRun
{
    public static async Task<int> RunAsync(BenchOptions options)
    {
        await using Place place = await Place.MakeAsync(options).ConfigureAwait(false);
        using var workload = new Workload(options.People, options.Seed, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds());
        await using (ILogStore logs = place.OpenLogs(forLoading: true))
        {
            Load(logs, place.Engine, workload, options.Events);
        }

        Truth truth = workload.Truth();
        Console.WriteLine($"log {options.Log}{(options.Log == "local" ? $" {options.Durability}" : "")}, seed {options.Seed}, {options.Events:N0} events of {workload.PayloadBytes / options.Events} bytes, {options.People:N0} people: {truth.Profiles:N0} profiles");
        await using ILogStore opened = place.OpenLogs();
        double baseline = Baseline(opened, place.Engine, options.Events);
        Console.WriteLine($"baseline: read and walk the JSON      {baseline,10:F2} CPU-µs an event");
        return options.BaselineOnly ? 0 : await DrainAsync(opened, place, options, truth, baseline).ConfigureAwait(false);
    }

    /// <summary>Appends the workload to the log events.</summary>
    public static void Load(ILogStore logs, EngineOptions engine, Workload workload, int events)
    {
        ILog log = new EngineLogs(logs, engine).Events;
        using ILogWriter writer = log.OpenWriter();
        for (int i = 0; i < events; i++)
        {
            workload.Next();
            writer.Append(0, workload.Key, workload.Record, workload.ReceivedAt);
        }

        writer.WaitDurable(writer.Appended);
    }

    /// <summary>CPU-µs an event to read the log and walk the JSON, twice; the second, warm one counts.</summary>
    private static double Baseline(ILogStore logs, EngineOptions engine, int events)
    {
        ILog log = new EngineLogs(logs, engine).Events;
        double micros = 0;
        for (int round = 0; round < 2; round++)
        {
            TimeSpan before = Environment.CpuUsage.TotalTime;
            long tokens = 0;
            int read = 0;
            using var signal = new WorkSignal();
            using ILogReader reader = log.OpenReader(0, 0, signal);
            while (read < events)
            {
                if (!reader.TryRead(out LogRecord record))
                {
                    signal.Wait(100);
                    continue;
                }

                read++;
                if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && CustomerEvent.TryRead(body, out CustomerEvent e))
                {
                    var json = new Utf8JsonReader(e.Payload);
                    while (json.Read())
                    {
                        tokens++;
                    }
                }
            }

            micros = (Environment.CpuUsage.TotalTime - before).TotalMicroseconds / events;
            if (tokens < events * 10L)
            {
                throw new InvalidOperationException("The baseline did not read the events.");
            }
        }

        return micros;
    }

    private static async Task<int> DrainAsync(ILogStore logs, Place place, BenchOptions options, Truth truth, double baseline)
    {
        var metrics = new EngineMetrics(Prometheus.Metrics.NewCustomRegistry(), TimeProvider.System);
        using AllocationSampler? sampler = options.Types > 0 ? new AllocationSampler() : null;
        GC.Collect();
        Moment start = Moment.Now();
        Moment half = start;
        bool isHalf = false;
        CdpEngine engine = CdpEngine.Start(place.Engine, Place.Model(options), logs, place.StatePath, SchemaIds.BuiltIn, metrics, TimeProvider.System, NullLogger.Instance);
        double done;
        while ((done = metrics.EventsProcessed.Value + metrics.EventsDuplicate.Value) < options.Events)
        {
            if (engine.Stopped.IsCompleted)
            {
                await engine.Stopped.ConfigureAwait(false);
            }

            if (!isHalf && done >= options.Events / 2)
            {
                half = Moment.Now();
                half = half with { Events = done };
                isHalf = true;
                sampler?.Clear();
            }

            if (start.Elapsed > TimeSpan.FromMinutes(15))
            {
                throw new TimeoutException($"{done} of {options.Events} events after 15 minutes.");
            }

            await Task.Delay(10).ConfigureAwait(false);
        }

        await engine.WaitAppliedAsync(TimeSpan.FromMinutes(5), CancellationToken.None).ConfigureAwait(false);
        Moment end = Moment.Now() with { Events = options.Events };
        using var process = Process.GetCurrentProcess();
        Print("whole run, with start and JIT", start, end, baseline);
        Print("second half", half, end, baseline);
        foreach (string type in sampler?.Top(options.Types, end.Events - half.Events) ?? [])
        {
            Console.WriteLine(type);
        }

        Console.WriteLine($"peak working set                      {process.PeakWorkingSet64 / 1048576.0,10:F0} MiB, at the end {process.WorkingSet64 / 1048576.0:F0} MiB, managed heap {GC.GetTotalMemory(false) / 1048576.0:F0} MiB");
        var stop = Stopwatch.StartNew();
        await engine.DisposeAsync().ConfigureAwait(false);
        Console.WriteLine($"stop, with a checkpoint of each stage {stop.ElapsedMilliseconds,10:N0} ms");
        ILog memberships = new EngineLogs(logs, place.Engine).Memberships;
        Console.WriteLine($"membership changes per event          {Enumerable.Range(0, memberships.Partitions).Sum(memberships.EndOffset) / (double)options.Events,10:F2}");
        Truth found = Truth.Read(new EngineLogs(logs, place.Engine), (long)metrics.EventsDuplicate.Value); // After the stop: it writes the last profiles.
        return truth.PrintAnswer(found, "answer") ? 0 : 1;
    }

    private static void Print(string title, Moment from, Moment to, double baseline)
    {
        double events = to.Events - from.Events;
        double seconds = (to.At - from.At).TotalSeconds;
        double cpu = (to.Cpu - from.Cpu).TotalMicroseconds / events;
        Console.WriteLine($"""
            {title}:
              events per second                   {events / seconds,10:N0}
              events per CPU-second               {1e6 / cpu,10:N0}
              CPU per event                       {cpu,10:F2} µs
                of it in the kernel               {(to.Kernel - from.Kernel).TotalMicroseconds / events,10:F2} µs
              ratio to the baseline               {cpu / baseline,10:F2}
              garbage per event                   {(to.Allocated - from.Allocated - (to.Live - from.Live)) / events,10:F1} B
              growth of what lives, per event     {(to.Live - from.Live) / events,10:F1} B
              collections gen 0, 1, 2             {to.Gen0 - from.Gen0,10} {to.Gen1 - from.Gen1} {to.Gen2 - from.Gen2}
            """);
    }

    private readonly record struct Moment(TimeSpan At, TimeSpan Cpu, TimeSpan Kernel, long Allocated, long Live, int Gen0, int Gen1, int Gen2, double Events)
    {
        public TimeSpan Elapsed => Stopwatch.GetElapsedTime(0) - At;

        /// <remarks>What lives is exact only after a full collection; it takes a few ms, and so little of it counts.</remarks>
        public static Moment Now() =>
            new(Stopwatch.GetElapsedTime(0), Environment.CpuUsage.TotalTime, Environment.CpuUsage.PrivilegedTime, GC.GetTotalAllocatedBytes(precise: true), GC.GetTotalMemory(forceFullCollection: true), GC.CollectionCount(0), GC.CollectionCount(1), GC.CollectionCount(2), 0);
    }
}
