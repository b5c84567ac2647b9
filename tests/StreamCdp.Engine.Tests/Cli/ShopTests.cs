using System.Text;
using System.Text.Json;
using StreamCdp.Cli.Simulation;

namespace StreamCdp.Engine.Tests.Cli;

public class ShopTests
{
    private const long Start = 1_767_268_800_000;

    private static List<ShopCall> Calls(int seed, int count)
    {
        using var shop = new Shop(new ShopSettings { Seed = seed, People = 40, Web = new ShopSource("web", "wk"), App = new ShopSource("app", "ak") });
        return [.. Enumerable.Range(0, count).Select(i => shop.Build(shop.Pick(), Start + (i * 100L)))];
    }

    [Fact]
    public void The_same_seed_gives_the_same_calls() =>
        Assert.Equal(Calls(1, 500).Select(call => call.Path + Encoding.UTF8.GetString(call.Body.Span)), Calls(1, 500).Select(call => call.Path + Encoding.UTF8.GetString(call.Body.Span)));

    [Fact]
    public void Another_seed_gives_others() =>
        Assert.NotEqual(Calls(1, 50).Select(call => Encoding.UTF8.GetString(call.Body.Span)), Calls(2, 50).Select(call => Encoding.UTF8.GetString(call.Body.Span)));

    [Fact]
    public void Every_kind_of_traffic_comes()
    {
        List<ShopCall> calls = Calls(7, 6_000);
        List<JsonElement> events = [.. calls.SelectMany(call => call.Events).Select(sent => JsonDocument.Parse(sent.Json).RootElement)];
        List<string> ids = [.. events.Where(json => json.TryGetProperty("messageId", out _)).Select(json => json.GetProperty("messageId").GetString()!)];

        foreach (string path in (string[])["/v1/batch", "/v1/track", "/v1/page", "/v1/screen", "/v1/identify"])
        {
            Assert.Contains(calls, call => call.Path == path);
        }

        Assert.Contains(events, json => Text(json, "type") == "alias");
        Assert.Contains(events, json => Text(json, "event") == "Order Completed");
        Assert.Contains(events, json => Text(json, "type") == "purchase");
        Assert.Contains(events, json => Text(json, "userId") == "null");
        Assert.Contains(events, json => json.TryGetProperty("userId", out JsonElement id) && id.ValueKind == JsonValueKind.Number);
        Assert.True(ids.Distinct().Count() < ids.Count, "Nothing is sent twice.");
        Assert.Contains(calls, call => call.Events.Any(sent => sent.Json.Length > 32_768));
        Assert.Contains(calls, call => call.Events[0].BatchSentAt is not null);
    }

    [Fact]
    public void Bodies_are_json_that_holds_the_events()
    {
        foreach (ShopCall call in Calls(3, 500))
        {
            JsonElement body = JsonDocument.Parse(call.Body).RootElement;
            if (call.Path == "/v1/batch")
            {
                Assert.Equal(call.Events.Select(sent => Encoding.UTF8.GetString(sent.Json.Span)), body.GetProperty("batch").EnumerateArray().Select(item => item.GetRawText()));
            }

            Assert.Equal(call.KeyPlace == KeyPlace.Body, body.TryGetProperty("writeKey", out _));
        }
    }

    private static string? Text(JsonElement json, string name) => json.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}
