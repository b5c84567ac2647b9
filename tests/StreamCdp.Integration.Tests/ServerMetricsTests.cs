using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace StreamCdp.Integration.Tests;

/// <summary>What a real server says at /metrics after traffic of every kind.</summary>
public sealed partial class ServerMetricsTests : IDisposable
{
    private static readonly string[] s_stages = ["route", "resolve", "profile 0", "profile 1"];

    /// <summary>Nobody listens there.</summary>
    private const string Destination = """

        destinations:
          - { id: hook, kind: webhook, url: "http://127.0.0.1:9/", secret: env:PATH }
          - { id: mail, kind: email, url: "smtp://127.0.0.1:9", from: a@b.example, actions: [ { id: late, on: { entered: buyers }, after: 90d, send: { subject: x, text: y } } ] }
          - { id: crm, kind: tryton, url: "http://127.0.0.1:9/", user: nobody, secret: env:HOME }
        """;

    private static readonly string s_model = ServerFixtureHost.Model.Replace("kind: server }", "kind: server }, { id: crm, kind: crm }", StringComparison.Ordinal).Replace("identifiers:", "identifiers:\n  - { type: tryton_contact_id, limit: 100 }", StringComparison.Ordinal) + Destination;

    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-metrics-").FullName;

    public void Dispose() => Directory.Delete(_data, recursive: true);

    [Fact]
    public async Task Each_series_has_the_value_of_the_traffic()
    {
        await using ServerFixtureHost server = await StartAsync();

        Dictionary<string, double> series = await TrafficAsync(server);

        Assert.Equal(8, series["streamcdp_events_received_total{source=\"web\"}"]);
        Assert.Equal(6, series["streamcdp_events_processed_total"]); // One is a repeat, one a dead letter.
        Assert.Equal(1, series["streamcdp_events_duplicate_total"]);
        Assert.Equal(1, series["streamcdp_dead_letters_total{reason=\"missing_event\"}"]);
        Assert.Equal(series.Where(one => one.Key.StartsWith("streamcdp_segment_changes_total", StringComparison.Ordinal)).Sum(one => one.Value), series["streamcdp_event_latency_seconds_count"]); // Events caused all.
        Assert.InRange(series["streamcdp_event_latency_seconds_sum"], 0, 60);
        foreach (string stage in (string[])["collect", "route", "resolve", "profile"])
        {
            double count = series[$"streamcdp_stage_latency_seconds_count{{stage=\"{stage}\"}}"];
            Assert.InRange(count, 1, 100_000); // Stages count once a batch, and their ticks, too.
            Assert.InRange(series[$"streamcdp_stage_latency_seconds_sum{{stage=\"{stage}\"}}"], 0, 60 * count);
        }

        Assert.Equal(8, series["streamcdp_stage_latency_seconds_count{stage=\"collect\"}"]); // Once a request.
        foreach (string log in (string[])["log=\"events\",partition=\"0\"", "log=\"identity-links\",partition=\"0\"", "log=\"identity-map\",partition=\"0\"", "log=\"profile-events\",partition=\"0\"", "log=\"profile-events\",partition=\"1\""])
        {
            Assert.InRange(series[$"streamcdp_log_lag_records{{{log}}}"], 0, 2); // A tick may have come.
        }

        Assert.Equal(3, series["streamcdp_identity_merges_total"]); // Three devices, each with a person.
        Assert.Equal(1, series["streamcdp_identity_rejections_total{rule=\"limit\"}"]);
        Assert.Equal(0, series["streamcdp_identity_waiting"]);
        Assert.Equal(2, series["streamcdp_profiles"]);
        Assert.Equal(2, series["streamcdp_segment_members{segment=\"buyers\"}"]);
        Assert.Equal(0, series["streamcdp_segment_members{segment=\"pros\"}"]);
        Assert.Equal(4, series["streamcdp_segment_changes_total{segment=\"buyers\",change=\"entered\"}"]); // Two devices, then the two people whose they are.
        Assert.Equal(0, series["streamcdp_segment_changes_total{segment=\"buyers\",change=\"exited\"}"]);
        Assert.Equal(1, series["streamcdp_segment_changes_total{segment=\"pros\",change=\"exited\"}"]);
        Assert.InRange(series["streamcdp_checkpoint_seconds_count"], s_stages.Length, 1_000);
        Assert.InRange(series["streamcdp_checkpoint_age_seconds"], 0, 60);
        foreach (string stage in s_stages)
        {
            Assert.InRange(series[$"streamcdp_state_bytes{{store=\"{stage}\",tier=\"memory\"}}"], 1, 64 << 20);
            Assert.InRange(series[$"streamcdp_state_bytes{{store=\"{stage}\",tier=\"disk\"}}"], 0, 1L << 40);
            Assert.Equal(1, series[$"streamcdp_part_ready{{part=\"{stage}\"}}"]);
        }
    }

    [Fact]
    public async Task Every_name_of_the_dashboards_is_a_metric_of_the_server_and_every_metric_is_on_a_dashboard()
    {
        await using ServerFixtureHost server = await StartAsync();
        HashSet<string> exist = [.. (await TrafficAsync(server)).Keys.Select(key => Suffix().Replace(MetricName().Match(key).Value, ""))];

        string[] files = Directory.GetFiles(Repository.Path("engine", "dashboards"));
        HashSet<string> used = [.. files.SelectMany(file => MetricName().Matches(File.ReadAllText(file))).Select(match => Suffix().Replace(match.Value, ""))];

        Assert.Equal(2, files.Length);
        Assert.Equal(exist.Order(), used.Order());
    }

    private Task<ServerFixtureHost> StartAsync() => ServerFixtureHost.StartAsync(_data, s_model, ("Engine:Shards", "2"), ("Engine:CheckpointMs", "1000"));

    /// <summary>Sends some of everything; returns the series when the stages have published all of it, which they do twice a second.</summary>
    private static async Task<Dictionary<string, double>> TrafficAsync(ServerFixtureHost server)
    {
        await server.SendAsync("track", """{"anonymousId":"a1","event":"Order Completed","messageId":"m1"}""");
        await server.SendAsync("track", """{"anonymousId":"a1","event":"Order Completed","messageId":"m1"}""");
        await server.SendAsync("identify", """{"anonymousId":"a1","userId":"u1","traits":{"plan":"pro"}}""");
        await server.SendAsync("identify", """{"anonymousId":"a2","userId":"u1","traits":{"plan":"free"}}""");
        await server.SendAsync("track", """{"anonymousId":"a3","event":"Order Completed"}""");
        await server.SendAsync("identify", """{"anonymousId":"a3","userId":"u2"}""");
        await server.SendAsync("track", """{"anonymousId":"a3","userId":"u1","event":"Product Viewed"}"""); // a3 stays with u2: limit.
        await server.SendAsync("track", """{"userId":"u1"}""");
        await server.ProfileAsync("user_id:u1");

        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            string text = await server.Client.GetStringAsync("/metrics", TestContext.Current.CancellationToken);
            Dictionary<string, double> series = text.Split('\n').Where(line => line.StartsWith("streamcdp_", StringComparison.Ordinal)).Select(line => (line, End: line.LastIndexOf(' '))).ToDictionary(one => one.line[..one.End], one => double.Parse(one.line[(one.End + 1)..], CultureInfo.InvariantCulture));

            bool isPublished = series["streamcdp_checkpoint_seconds_count"] >= s_stages.Length && series.GetValueOrDefault("streamcdp_profiles") == 2
                && series.GetValueOrDefault("streamcdp_identity_rejections_total{rule=\"limit\"}") == 1 && series.GetValueOrDefault("streamcdp_segment_changes_total{segment=\"buyers\",change=\"entered\"}") == 4
                && series["streamcdp_connector_requests_total{connector=\"hook\",outcome=\"unavailable\"}"] > 0
                && series.GetValueOrDefault("streamcdp_segment_members{segment=\"buyers\"}") == 2 && series.GetValueOrDefault("streamcdp_events_processed_total") == 6;
            if (isPublished || Stopwatch.GetElapsedTime(start) > TimeSpan.FromSeconds(30))
            {
                Assert.True(isPublished, text);
                return series;
            }
        }
    }

    [GeneratedRegex(@"streamcdp_[a-z_]+")]
    private static partial Regex MetricName();

    [GeneratedRegex(@"_(bucket|sum|count)$")]
    private static partial Regex Suffix();
}
