using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Prometheus;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline.Collect;

namespace StreamCdp.Integration.Tests;

public sealed partial class ApiMetricsTests
{
    [Fact]
    public async Task Latencies_counted_locally_come_out_with_exact_count_and_sum()
    {
        CollectorRegistry registry = Metrics.NewCustomRegistry();
        var metrics = new EngineMetrics(registry);
        var local = new LocalHistogram();
        local.ObserveMs(0.25);
        local.ObserveMs(0.5);
        local.ObserveMs(3);
        local.ObserveMs(4);
        local.ObserveSeconds(60);
        local.ObserveMs(-1);

        local.PublishTo(metrics.EventLatency);
        local.PublishTo(metrics.EventLatency); // Nothing new: nothing counts twice.

        string text = await ExportAsync(registry);
        Assert.Contains("streamcdp_event_latency_seconds_bucket{le=\"0.0005\"} 3", text);
        Assert.Contains("streamcdp_event_latency_seconds_bucket{le=\"0.002\"} 3", text);
        Assert.Contains("streamcdp_event_latency_seconds_bucket{le=\"0.005\"} 5", text);
        Assert.Contains("streamcdp_event_latency_seconds_bucket{le=\"10\"} 5", text);
        Assert.Contains("streamcdp_event_latency_seconds_count 6", text);
        Assert.Equal(60.00775, metrics.EventLatency.Sum, 1e-9);
    }

    [Fact]
    public async Task The_age_is_that_of_the_store_that_is_behind_most()
    {
        CollectorRegistry registry = Metrics.NewCustomRegistry();
        var time = new FixedTime(DateTimeOffset.FromUnixTimeMilliseconds(1_000_000));
        var metrics = new EngineMetrics(registry, time);
        Assert.Contains("streamcdp_checkpoint_age_seconds 0\n", await ExportAsync(registry));

        metrics.CheckpointFrom("shard-0", 900_000);
        metrics.CheckpointFrom("shard-1", 700_000);
        metrics.CheckpointDone("shard-0", TimeSpan.FromMilliseconds(40), 990_000);
        Assert.Contains("streamcdp_checkpoint_age_seconds 300\n", await ExportAsync(registry));

        metrics.CheckpointGone("shard-1");
        string text = await ExportAsync(registry);
        Assert.Contains("streamcdp_checkpoint_age_seconds 10\n", text);
        Assert.Contains("streamcdp_checkpoint_seconds_bucket{le=\"0.05\"} 1\n", text);
    }

    [Fact]
    public async Task Every_name_of_the_dashboards_is_a_metric_and_every_metric_is_on_a_dashboard()
    {
        CollectorRegistry registry = Metrics.NewCustomRegistry();
        Touch(new EngineMetrics(registry));
        new CollectCounters(registry).Received("web").Inc(0); // One registry for both: their dead letters are one metric.
        HashSet<string> exist = [.. TypeLine().Matches(await ExportAsync(registry)).Select(m => m.Groups[1].Value)];

        string directory = Path.Combine(RepositoryRoot(), "engine", "dashboards");
        string[] files = Directory.GetFiles(directory);
        HashSet<string> used = [.. files.SelectMany(f => MetricName().Matches(File.ReadAllText(f))).Select(m => Suffix().Replace(m.Value, ""))];

        Assert.Equal(2, files.Length);
        Assert.Equal(exist.Order(), used.Order());
    }

    [Fact]
    public void The_dashboard_is_JSON_with_one_id_a_panel()
    {
        using JsonDocument dashboard = JsonDocument.Parse(File.ReadAllText(Path.Combine(RepositoryRoot(), "engine", "dashboards", "streamcdp-grafana.json")));

        int[] ids = [.. dashboard.RootElement.GetProperty("panels").EnumerateArray().Select(p => p.GetProperty("id").GetInt32())];

        Assert.Equal(ids.Distinct(), ids);
    }

    /// <summary>A labelled metric is exported from its first child on.</summary>
    private static void Touch(EngineMetrics metrics)
    {
        metrics.DeadLetters("r").Inc(0);
        metrics.StageLatency("route").Publish();
        metrics.LogLag("events", 0).Set(0);
        metrics.IdentityRejections("limit").Inc(0);
        metrics.SegmentMembers("s").Set(0);
        metrics.SegmentEntered("s").Inc(0);
        metrics.SegmentExited("s").Inc(0);
        metrics.StateBytes("shard-0", "memory").Set(0);
        metrics.PartReady("route").Set(1);
    }

    private static async Task<string> ExportAsync(CollectorRegistry registry)
    {
        using var stream = new MemoryStream();
        await registry.CollectAndExportAsTextAsync(stream);
        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private static string RepositoryRoot()
    {
        string? directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory!, "StreamCdp.sln")))
        {
            directory = Path.GetDirectoryName(directory);
        }

        return directory!;
    }

    [GeneratedRegex(@"streamcdp_[a-z_]+")]
    private static partial Regex MetricName();

    [GeneratedRegex(@"_(bucket|sum|count)$")]
    private static partial Regex Suffix();

    [GeneratedRegex(@"^# TYPE (streamcdp_\S+)", RegexOptions.Multiline)]
    private static partial Regex TypeLine();

    private sealed class FixedTime(DateTimeOffset now) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => now;
    }
}
