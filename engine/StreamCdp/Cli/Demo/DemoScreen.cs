using System.Diagnostics;
using System.Globalization;
using Spectre.Console;
using Spectre.Console.Rendering;
using StreamCdp.Cli.Simulation;

namespace StreamCdp.Cli.Demo;

/// <summary>What the demo shows while it runs: a live table on a terminal, else a line each second.</summary>
internal sealed class DemoScreen(ShopSender sender, CdpClient client, DemoFeed feed, DemoSales? sales = null)
{
    /// <summary>Latencies are those of the last 10 s, so that the start of the process does not stay in them.</summary>
    private const int LatencySeconds = 10;
    private static readonly TimeSpan s_tick = TimeSpan.FromSeconds(1);
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly Queue<Metrics> _readings = new();
    private Metrics? _metrics;
    private long _lastEvents;
    private long _lastTime = Stopwatch.GetTimestamp();
    private double _rate;

    /// <summary>Shows until the sending ends.</summary>
    /// <param name="sending">The sender's task.</param>
    /// <param name="output">Where lines go.</param>
    /// <param name="isTerminal">Draw over the same place.</param>
    public async Task RunAsync(Task sending, TextWriter output, bool isTerminal)
    {
        if (!isTerminal)
        {
            while (await TickAsync(sending).ConfigureAwait(false))
            {
                await output.WriteLineAsync(Line()).ConfigureAwait(false);
            }

            return;
        }

        IAnsiConsole ansi = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output) });
        await new LiveDisplay(ansi, Table()).StartAsync(async context =>
        {
            while (await TickAsync(sending).ConfigureAwait(false))
            {
                context.UpdateTarget(Table());
                context.Refresh();
            }
        }).ConfigureAwait(false);
    }

    /// <summary>Waits a second and reads the server's metrics; false: the sending has ended.</summary>
    private async Task<bool> TickAsync(Task sending)
    {
        bool isOver = await Task.WhenAny(sending, Task.Delay(s_tick)).ConfigureAwait(false) == sending;
        _metrics = Metrics.Parse(await client.TextAsync("/metrics", CancellationToken.None).ConfigureAwait(false)) ?? _metrics;
        if (_metrics is not null)
        {
            _readings.Enqueue(_metrics);
            if (_readings.Count > LatencySeconds + 1)
            {
                _readings.Dequeue();
            }
        }

        long events = sender.Acknowledged;
        _rate = (events - _lastEvents) / Math.Max(0.001, Stopwatch.GetElapsedTime(_lastTime).TotalSeconds);
        (_lastEvents, _lastTime) = (events, Stopwatch.GetTimestamp());
        return !isOver;
    }

    private string Line() =>
        $"{Stopwatch.GetElapsedTime(_start).TotalSeconds,5:F0} s  {_lastEvents,9:N0} events  {_rate,7:N0}/s  people {Number("streamcdp_profiles")}  merges {Number("streamcdp_identity_merges_total")}"
        + $"  segment changes {feed.Changes:N0}  event to segment p50 {Latency(0.5)} p99 {Latency(0.99)}{(sales is null ? "" : "  " + sales.Line)}{(sender.LastProblem is { } problem ? "  " + problem : "")}";

    private Table Table()
    {
        var table = new Table { Border = TableBorder.Rounded };
        table.AddColumns("StreamCdp demo shop", "");
        Row("events", $"{_lastEvents:N0}  ({_rate:N0}/s)");
        Row("people", Number("streamcdp_profiles"));
        Row("merges", Number("streamcdp_identity_merges_total"));
        Row("repeats dropped, dead letters", $"{Number("streamcdp_events_duplicate_total")}, {Number("streamcdp_dead_letters_total")}");
        Row("event to segment change", $"p50 {Latency(0.5)}   p99 {Latency(0.99)}");
        Row("request acknowledged (durable)", $"p50 {sender.AcknowledgeMs(50):F1} ms   p99 {sender.AcknowledgeMs(99):F1} ms");
        if (sales is not null)
        {
            Row("Tryton", sales.Line.Replace("  ", "\n", StringComparison.Ordinal));
        }

        Row("latest segment changes", string.Join('\n', feed.Latest));
        if (sender.LastProblem is { } problem)
        {
            Row("last problem", problem);
        }

        return table;

        void Row(string name, string value) => table.AddRow((IRenderable[])[new Text(name), new Text(value)]);
    }

    private string Number(string metric) => _metrics?.Sum(metric)?.ToString("N0", CultureInfo.InvariantCulture) ?? "–";

    private string Latency(double quantile) => _metrics?.Quantile("streamcdp_event_latency_seconds", quantile, _readings.Count > 1 ? _readings.Peek() : null) is { } seconds ? $"{seconds * 1000:F1} ms" : "–";
}
