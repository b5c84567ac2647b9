using System.Globalization;
using System.Net.Http.Headers;
using System.Text.Json;
using StreamCdp.Cli;
using StreamCdp.Cli.Demo;
using StreamCdp.Cli.Simulation;
using StreamCdp.Engine.Model;

namespace StreamCdp.Integration.Tests;

public class CliDemoTests
{
    private static readonly CdpModel s_model = ModelFile.Parse("cdp.yaml", DemoModel.Shop(), _ => null).Model;

    private static async Task<(int Code, string Output)> DemoAsync(CliFakeServer server, double seconds = 2)
    {
        using var output = new StringWriter(CultureInfo.InvariantCulture);
        int code = await DemoCommand.RunAsync(server.Address, s_model, new ShopSettings { People = 60 }, rate: 400, TimeSpan.FromSeconds(seconds), output, TestContext.Current.CancellationToken);
        return (code, output.ToString());
    }

    [Fact]
    public async Task A_server_that_follows_the_rules_has_no_differences()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync(s_model);

        (int code, string output) = await DemoAsync(server);

        Assert.True(code == 0, output);
        Assert.Contains("No differences.", output, StringComparison.Ordinal);
        Assert.True(server.Events.Count > 300, $"only {server.Events.Count} events");
    }

    [Fact]
    public async Task One_lost_event_is_a_difference_and_exit_code_1()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync(s_model);
        bool isLost = false;
        server.Lose = sent => !isLost && (isLost = sent.TryGetProperty("event", out JsonElement name) && name.ValueKind == JsonValueKind.String && name.GetString() == "Product Added");

        (int code, string output) = await DemoAsync(server, seconds: 1);

        Assert.Equal(1, code);
        Assert.Contains("events is", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_full_server_gets_the_same_events_again_and_nothing_counts_twice()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync(s_model);
        server.Refuse = (request, context) =>
        {
            context.Response.Headers.RetryAfter = "0";
            return request % 5 == 0 ? 429 : null;
        };

        (int code, string output) = await DemoAsync(server, seconds: 1);

        Assert.True(code == 0, output);
    }

    [Fact]
    public async Task The_engine_has_no_differences()
    {
        (int code, string output, string error) = await CliFakeServer.RunAsync("demo", "--duration", "3s", "--people", "50", "--urls", "http://127.0.0.1:0");

        Assert.True(code == 0, error + output);
    }

    [Fact]
    public async Task The_engine_and_a_real_Tryton_have_no_differences()
    {
        Assert.SkipUnless(TrytonServer.IsInstalled, TrytonServer.NotInstalled);

        (int code, string output, string error) = await CliFakeServer.RunAsync("demo", "--crm", "tryton", "--duration", "20s", "--people", "40", "--urls", "http://127.0.0.1:0");

        Assert.True(code == 0, error + output);
        Assert.DoesNotContain("Compared Tryton with the profiles: 0 parties", output, StringComparison.Ordinal);
        TestContext.Current.SendDiagnosticMessage(output[^600..]);
    }

    [Fact]
    public async Task An_import_without_a_server_runs_its_own_until_everything_is_applied_at_its_own_time()
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("streamcdp-own-");
        try
        {
            string model = Path.Combine(directory.FullName, "cdp.yaml");
            string file = Path.Combine(directory.FullName, "events.ndjson");
            await File.WriteAllTextAsync(model, DemoModel.Shop(), TestContext.Current.CancellationToken);
            IEnumerable<string> orders = Enumerable.Range(1, 1_200).Select(i => $$"""{"type":"track","userId":"u{{i % 10}}","event":"Order Completed","timestamp":"2024-01-01T00:00:00Z"}""");
            string[] added = ["""{"type":"track","userId":"early","event":"Product Added","timestamp":"2024-01-01T00:20:00Z"}""", """{"type":"track","userId":"late","event":"Product Added","timestamp":"2024-01-01T01:20:00Z"}"""];
            await File.WriteAllLinesAsync(file, orders.Concat(added), TestContext.Current.CancellationToken);
            string data = Path.Combine(directory.FullName, "data");

            (int code, string output, string error) = await CliFakeServer.RunAsync("import", file, "--model", model, "--data", data, "--clock", "event");

            Assert.True(code == 0, error);
            Assert.StartsWith("1,202 events sent and applied, 0 rows rejected", output, StringComparison.Ordinal);
            await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(data, DemoModel.Shop(), ("Clock", "event"), ("Engine:MemoryBytes", $"{1 << 30}"));
            server.Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", "demo-api-key");

            // Now is 01:20 of that day: the hour of the early one ends just then, that of the late one begins. By wall time both ended long ago, and no order is of the last 90 days.
            Assert.Equal(120, (await server.ProfileAsync("user_id:u7")).GetProperty("computed").GetProperty("orders_90d").GetInt64());
            Assert.DoesNotContain("cart_abandoners", ServerFixtureHost.Segments(await server.ProfileAsync("user_id:early")));
            JsonElement late = await server.ProfileAsync("user_id:late");
            Assert.Equal("2024-01-01T01:20:00.000Z", late.GetProperty("segments").EnumerateArray().Single(segment => segment.GetProperty("id").GetString() == "cart_abandoners").GetProperty("since").GetString());
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Simulate_prints_what_was_acknowledged()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();

        (int code, string output, string error) = await CliFakeServer.RunAsync("simulate", "--url", server.Address.ToString(), "--write-key", "k", "--duration", "1s", "--people", "20");

        Assert.True(code == 0, error);
        Assert.Contains($"{server.Events.Count:N0} events acknowledged, 0 calls sent again, 0 events lost.", output, StringComparison.Ordinal);
    }
}
