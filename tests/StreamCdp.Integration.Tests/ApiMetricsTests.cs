using System.Text;
using System.Text.Json;
using Prometheus;
using StreamCdp.Engine.Observability;

namespace StreamCdp.Integration.Tests;

public sealed class ApiMetricsTests
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
    public void The_dashboard_is_JSON_with_one_id_a_panel()
    {
        using JsonDocument dashboard = JsonDocument.Parse(File.ReadAllText(Repository.Path("engine", "dashboards", "streamcdp-grafana.json")));

        int[] ids = [.. dashboard.RootElement.GetProperty("panels").EnumerateArray().Select(p => p.GetProperty("id").GetInt32())];

        Assert.Equal(ids.Distinct(), ids);
    }

    private static async Task<string> ExportAsync(CollectorRegistry registry)
    {
        using var stream = new MemoryStream();
        await registry.CollectAndExportAsTextAsync(stream);
        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private sealed class FixedTime(DateTimeOffset now) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => now;
    }
}
