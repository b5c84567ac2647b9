using System.Diagnostics;

namespace StreamCdp.Integration.Tests.Sdk;

/// <summary>facts/tracking-clients.md §7 with the real server SDKs of npm, changed only in their host.</summary>
public sealed class SdkTests(SdkInstall sdk) : IClassFixture<SdkInstall>
{
    [Fact]
    public async Task Every_call_of_analytics_node_arrives()
    {
        await using SdkServer server = await StartAsync();

        IReadOnlyList<SdkWord> words = await sdk.RunAsync("segment-calls", server.Address, SdkServer.Key);

        Assert.DoesNotContain(words, word => word.What == "error");
        IReadOnlyList<ArrivedEvent> events = server.Events();
        Assert.Equal(["alias", "group", "identify", "page", "screen", "track"], events.Select(e => e.Type).Order(StringComparer.Ordinal));
        Assert.Empty(server.DeadLetters());
        Assert.All(events, e => Assert.StartsWith("node-next-", e.MessageId));
        Assert.All(events, e => Assert.NotNull(e.SentAt));
        Assert.All(events, e => Assert.Equal("web", e.Source));
        Assert.All(events, e => Assert.Equal("@segment/analytics-node", e.Payload.GetProperty("context").GetProperty("library").GetProperty("name").GetString()));
        Assert.Equal("anonymous_id:a1", One(events, "identify").Sender);
        Assert.Equal("Ann@Example.com", One(events, "identify").Payload.GetProperty("traits").GetProperty("email").GetString());
        Assert.Equal("2026-01-02T03:04:05.678Z", One(events, "track").Payload.GetProperty("timestamp").GetString());
        Assert.Equal("user_id:u1", One(events, "alias").Sender);
        Assert.Equal("a0", One(events, "alias").Payload.GetProperty("previousId").GetString());
    }

    [Fact]
    public async Task While_the_log_is_away_analytics_node_waits_as_told_and_loses_nothing()
    {
        await using SdkServer server = await StartAsync();
        server.Writer.Break();
        var watch = new Stopwatch();

        IReadOnlyList<SdkWord> words = await sdk.RunAsync("segment-one", server.Address, SdkServer.Key, word =>
        {
            if (word.What == "request" && !watch.IsRunning)
            {
                watch.Start();
                _ = RepairSoonAsync();
            }
            else if (word.What == "request")
            {
                watch.Stop();
            }
        });

        Assert.Equal(2, words.Count(word => word.What == "request"));
        Assert.DoesNotContain(words, word => word.What == "error");
        Assert.InRange(watch.Elapsed.TotalSeconds, 1.9, 10); // Retry-After: 2; without it the SDK comes back after 1.6 s at most.
        Assert.Single(server.Events());

        async Task RepairSoonAsync()
        {
            await Task.Delay(1000, TestContext.Current.CancellationToken);
            server.Writer.Repair();
        }
    }

    [Fact]
    public async Task One_event_of_40_KB_costs_only_itself()
    {
        await using SdkServer server = await StartAsync();

        IReadOnlyList<SdkWord> words = await sdk.RunAsync("segment-large", server.Address, SdkServer.Key);

        Assert.DoesNotContain(words, word => word.What == "error");
        Assert.Equal(14, server.Events().Count);
        Assert.Equal(["too_large"], server.DeadLetters());
    }

    [Fact]
    public async Task A_wrong_key_tells_analytics_node_at_once()
    {
        await using SdkServer server = await StartAsync();

        IReadOnlyList<SdkWord> words = await sdk.RunAsync("segment-one", server.Address, "wrong");

        Assert.Single(words, word => word.What == "request");
        Assert.Single(words, word => word.What == "error");
        Assert.Empty(server.Events());
    }

    [Fact]
    public async Task Every_call_of_rudder_node_arrives_gzipped_as_a_form()
    {
        await using SdkServer server = await StartAsync();

        await sdk.RunAsync("rudder-calls", server.Address, SdkServer.Key);

        IReadOnlyList<ArrivedEvent> events = server.Events();
        Assert.Equal(["alias", "identify", "page", "track"], events.Select(e => e.Type).Order(StringComparer.Ordinal));
        Assert.Empty(server.DeadLetters());
        Assert.Equal("Order Completed", One(events, "track").Payload.GetProperty("event").GetString());
        Assert.True(One(events, "track").Payload.TryGetProperty("originalTimestamp", out _));
    }

    [Fact]
    public async Task Every_call_of_jitsu_arrives_although_its_body_masks_the_key()
    {
        await using SdkServer server = await StartAsync();

        await sdk.RunAsync("jitsu-calls", server.Address, SdkServer.JitsuKey);

        IReadOnlyList<ArrivedEvent> events = server.Events();
        Assert.Equal(["identify", "page", "track"], events.Select(e => e.Type).Order(StringComparer.Ordinal));
        Assert.All(events, e => Assert.Equal("jitsu", e.Source));
        Assert.All(events, e => Assert.StartsWith("anonymous_id:", e.Sender));
        Assert.Equal("jit:***", One(events, "track").Payload.GetProperty("writeKey").GetString());
    }

    private async Task<SdkServer> StartAsync()
    {
        Assert.SkipWhen(sdk.WhyNot is not null, sdk.WhyNot ?? "");
        var server = new SdkServer();
        await server.StartAsync();
        return server;
    }

    private static ArrivedEvent One(IReadOnlyList<ArrivedEvent> events, string type) => Assert.Single(events, e => e.Type == type);
}
