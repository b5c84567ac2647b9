using System.Text;
using System.Text.Json;
using StreamCdp.Cli;
using StreamCdp.Cli.Import;

namespace StreamCdp.Integration.Tests;

public sealed class CliImportTests : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("streamcdp-import-");

    public void Dispose() => _directory.Delete(recursive: true);

    private string File(string name, string text)
    {
        string path = Path.Combine(_directory.FullName, name);
        System.IO.File.WriteAllText(path, text);
        return path;
    }

    private static string Line(int i) => $$"""{"type":"track","userId":"u{{i}}","event":"Order Completed","timestamp":"2024-01-01T00:00:00Z"}""";

    private static Task<(int Code, string Output, string Error)> ImportAsync(CliFakeServer server, string path, params string[] more) =>
        CliFakeServer.RunAsync(["import", path, "--url", server.Address.ToString(), "--write-key", "import-key", .. more]);

    private static List<string> MessageIds(CliFakeServer server) => [.. server.Events.Select(sent => sent.GetProperty("messageId").GetString()!)];

    [Fact]
    public async Task Ndjson_goes_to_the_import_path_with_its_own_time_and_the_write_key()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();

        (int code, string output, string error) = await ImportAsync(server, File("a.ndjson", $"\uFEFF{Line(1)}\r\n\n{Line(2)}"));

        Assert.True(code == 0, error);
        Assert.StartsWith("2 events sent, 0 rows rejected", output, StringComparison.Ordinal);
        Assert.Equal(["POST /v1/import?clock=as_is"], server.Requests);
        Assert.Equal("true", server.Headers[0]["X-Import"].ToString());
        Assert.Equal("Basic aW1wb3J0LWtleTo=", server.Headers[0].Authorization.ToString());
        Assert.Equal(["u1", "u2"], server.Events.Select(sent => sent.GetProperty("userId").GetString()!));
    }

    [Fact]
    public async Task A_line_without_messageId_gets_one_of_file_and_line_that_a_second_import_repeats()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        string path = File("a.ndjson", $"{Line(1)}\n{Line(2).Replace("{\"type\"", "{\"messageId\":\"own\",\"type\"", StringComparison.Ordinal)}\n{Line(3).Replace("{\"type\"", "{\"messageId\":null,\"type\"", StringComparison.Ordinal)}\n");

        await ImportAsync(server, path);
        await ImportAsync(server, path);

        List<string> ids = MessageIds(server);
        Assert.Equal(ids[..3], ids[3..]);
        Assert.Matches("^import-[0-9a-f]{16}-1$", ids[0]);
        Assert.Equal("own", ids[1]);
        Assert.Matches("^import-[0-9a-f]{16}-3$", ids[2]);
    }

    [Fact]
    public async Task Bad_lines_are_written_down_with_their_numbers_and_stop_nothing()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        string path = File("a.ndjson", $$$"""
            {{{Line(1)}}}
            {"type":
            [1]
            {"type":"purchase","userId":"x"}
            {"type":"track","event":"E","userId":"x","blob":"{{{new string('x', 33_000)}}}"}
            {{{Line(6)}}}
            """);

        (int code, string output, string error) = await ImportAsync(server, path);

        Assert.Equal(0, code);
        Assert.StartsWith("2 events sent, 4 rows rejected", output, StringComparison.Ordinal);
        Assert.Contains(path + ".rejected.ndjson", error, StringComparison.Ordinal);
        Assert.Equal([2, 3, 4, 5], System.IO.File.ReadLines(path + ".rejected.ndjson").Select(line => JsonDocument.Parse(line).RootElement.GetProperty("line").GetInt32()));
        Assert.Equal(["u1", "u6"], server.Events.Select(sent => sent.GetProperty("userId").GetString()!));
    }

    [Fact]
    public async Task A_very_long_line_is_rejected_and_the_next_one_is_read()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();

        (int code, string output, _) = await ImportAsync(server, File("a.ndjson", $"{Line(1)}\n{new string('x', 3 << 20)}\n{Line(3)}\n"));

        Assert.Equal(0, code);
        Assert.StartsWith("2 events sent, 1 rows rejected", output, StringComparison.Ordinal);
        Assert.EndsWith("-3", MessageIds(server)[1], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Csv_becomes_events_by_columns_types_and_constants()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        string path = File("orders.csv", "customer;ordered at;total;gift;note\n7;2024-02-03 04:05:06;12.50;yes;\"two\nlines; and \"\"quotes\"\"\"\n8;2024-02-03;;no;\n9;soon;1;no;\n10;2024-02-04;x;no;\n");

        (int code, string output, string error) = await ImportAsync(
            server, path, "--map", "customer=userId", "--map", "ordered at=timestamp", "--map", "total=properties.revenue:number", "--map", "gift=properties.gift:bool", "--map", "note=properties.note", "--set", "event=Order Completed", "--set", "properties.currency=EUR");

        Assert.True(code == 0, error);
        Assert.StartsWith("2 events sent, 2 rows rejected", output, StringComparison.Ordinal);
        JsonElement first = server.Events[0];
        Assert.Equal("track", first.GetProperty("type").GetString());
        Assert.Equal("7", first.GetProperty("userId").GetString());
        Assert.Equal("2024-02-03T04:05:06.000Z", first.GetProperty("timestamp").GetString());
        Assert.Equal("Order Completed", first.GetProperty("event").GetString());
        Assert.Equal("""{"currency":"EUR","revenue":12.50,"gift":true,"note":"two\nlines; and \u0022quotes\u0022"}""", first.GetProperty("properties").GetRawText());
        Assert.False(server.Events[1].GetProperty("properties").TryGetProperty("revenue", out _));
        Assert.Equal([5, 6], System.IO.File.ReadLines(path + ".rejected.ndjson").Select(line => JsonDocument.Parse(line).RootElement.GetProperty("line").GetInt32()));
    }

    [Fact]
    public async Task A_mapping_may_be_a_file()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        string map = File("mapping.yaml", """
            columns:
              id: userId
              vip: { to: traits.vip, type: bool }
            constants: { traits.score: 3, traits.list: "007" }
            """);

        (int code, _, string error) = await ImportAsync(server, File("people.csv", "id,vip\n1,TRUE\n"), "--map", map);

        Assert.True(code == 0, error);
        Assert.Equal("identify", server.Events[0].GetProperty("type").GetString());
        Assert.Equal("""{"score":3,"list":"007","vip":true}""", server.Events[0].GetProperty("traits").GetRawText());
    }

    [Fact]
    public async Task A_line_that_is_not_utf8_or_has_half_a_surrogate_pair_is_rejected_and_the_others_count()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        string path = File("a.ndjson", "");
        System.IO.File.WriteAllBytes(path, [.. Encoding.UTF8.GetBytes(Line(1)), (byte)'\n', .. "{\"type\":\"identify\",\"userId\":\"M"u8, 0xfc, .. "ller\"}\n{\"type\":\"\\ud800\"}\n{\"type\":\"page\",\"userId\":\"u\",\"messageId\":\"\\ud800\"}\n"u8, .. Encoding.UTF8.GetBytes(Line(5))]);

        (int code, string output, string error) = await ImportAsync(server, path);

        Assert.True(code == 0, error);
        Assert.StartsWith("2 events sent, 3 rows rejected", output, StringComparison.Ordinal);
        Assert.Equal([2, 3, 4], System.IO.File.ReadLines(path + ".rejected.ndjson").Select(line => JsonDocument.Parse(line).RootElement.GetProperty("line").GetInt32()));
    }

    [Fact]
    public async Task A_row_of_CSV_that_is_not_utf8_is_rejected_and_the_others_count()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        string path = File("people.csv", "");
        System.IO.File.WriteAllBytes(path, [.. "userId,traits.name\n1,Ann\n2,M"u8, 0xfc, .. "ller\n3,Bob\n"u8]);

        (int code, string output, string error) = await ImportAsync(server, path);

        Assert.True(code == 0, error);
        Assert.StartsWith("2 events sent, 1 rows rejected", output, StringComparison.Ordinal);
        Assert.Contains("not UTF-8", System.IO.File.ReadAllText(path + ".rejected.ndjson"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_header_of_paths_needs_no_mapping()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();

        (int code, _, string error) = await ImportAsync(server, File("people.csv", "userId,traits.plan\n1,pro\n"));

        Assert.True(code == 0, error);
        Assert.Equal("pro", server.Events[0].GetProperty("traits").GetProperty("plan").GetString());
    }

    [Theory]
    [InlineData("--map", "id=person", "person is no path")]
    [InlineData("--map", "id=userId:date", "allowed are text, number, bool and time")]
    [InlineData("--map", "name=userId", "no column name")]
    [InlineData("--set", "event", "allowed is path=value")]
    [InlineData("--map", "missing.yaml", "there is no such file")]
    public async Task A_wrong_mapping_is_wrong_usage_and_sends_nothing(string option, string value, string message)
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();

        (int code, _, string error) = await ImportAsync(server, File("people.csv", "id\n1\n"), option, value);

        Assert.Equal(2, code);
        Assert.Contains(message, error, StringComparison.Ordinal);
        Assert.Empty(server.Requests);
    }

    [Fact]
    public async Task After_a_kill_it_resumes_behind_the_last_acknowledged_batch()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        string path = File("a.ndjson", string.Join('\n', Enumerable.Range(1, 2_000).Select(i => i == 3 ? "bad" : i == 700 ? "bad too" : Line(i))));
        using var kill = new CancellationTokenSource();
        server.Refuse = (request, context) =>
        {
            if (request != 2)
            {
                return null;
            }

            kill.Cancel(); // The third batch has arrived, but nobody learns it.
            return 503;
        };
        var settings = new ImportSettings { Name = path, Server = server.Address, WriteKey = "k", StatePath = path + ".streamcdp-progress", RejectedPath = path + ".rejected.ndjson" };
        using var http = new HttpClient();
        await using (ImportInput input = await ImportInput.OpenAsync(path, TestContext.Current.CancellationToken))
        {
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new ImportJob(settings, input, http, TimeProvider.System).RunAsync(kill.Token));
        }

        System.IO.File.AppendAllText(settings.RejectedPath, "{\"line\":");  // As a kill in the middle of writing leaves it.
        Assert.Equal(1_000, server.Events.Count);
        server.Refuse = (_, _) => null;

        (int code, string output, string error) = await ImportAsync(server, path, "--resume");

        Assert.True(code == 0, error);
        Assert.StartsWith("1,998 events sent, 2 rows rejected", output, StringComparison.Ordinal);
        Assert.Equal(1_998, server.Events.Count);
        Assert.Equal(1_998, MessageIds(server).Distinct().Count());
        Assert.Equal([3, 700], System.IO.File.ReadLines(settings.RejectedPath).Select(line => JsonDocument.Parse(line).RootElement.GetProperty("line").GetInt32()));
    }

    [Fact]
    public async Task Resuming_what_is_done_sends_nothing_and_another_file_is_refused()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        string path = File("a.ndjson", Line(1));
        await ImportAsync(server, path);

        (int code, _, _) = await ImportAsync(server, path, "--resume");
        System.IO.File.WriteAllText(path, Line(2));
        (int otherCode, _, string error) = await ImportAsync(server, path, "--resume");

        Assert.Equal(0, code);
        Assert.Equal(1, otherCode);
        Assert.Contains("the progress of another file", error, StringComparison.Ordinal);
        Assert.Single(server.Events);
    }

    [Fact]
    public async Task A_full_server_is_waited_for_and_a_too_large_batch_is_halved()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        server.Refuse = (request, context) =>
        {
            context.Response.Headers.RetryAfter = "0";
            return request switch { 0 => 429, 1 => 413, _ => null };
        };

        (int code, string output, _) = await ImportAsync(server, File("a.ndjson", string.Join('\n', Enumerable.Range(1, 9).Select(Line))));

        Assert.Equal(0, code);
        Assert.StartsWith("9 events sent", output, StringComparison.Ordinal);
        Assert.Equal(Enumerable.Range(1, 9).Select(i => $"u{i}"), server.Events.Select(sent => sent.GetProperty("userId").GetString()!));
    }

    [Fact]
    public async Task The_write_key_may_be_in_a_file()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();

        (int code, _, string error) = await CliFakeServer.RunAsync("import", File("a.ndjson", Line(1)), "--url", server.Address.ToString(), "--write-key-file", File("import.key", "import-key\r\n"));

        Assert.True(code == 0, error);
        Assert.Equal("Basic aW1wb3J0LWtleTo=", server.Headers[0].Authorization.ToString());
    }

    [Fact]
    public async Task A_wrong_write_key_fails_and_says_what_to_do()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        server.Refuse = (_, _) => 401;

        (int code, _, string error) = await ImportAsync(server, File("a.ndjson", Line(1)));

        Assert.Equal(1, code);
        Assert.Contains("--write-key", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_column_type_keeps_numbers_exact()
    {
        ImportMapping mapping = ImportMapping.Read(["a=properties.a:number"], [])!;

        Assert.Equal("""{"properties":{"a":0.10},"type":"identify"}""".Length, mapping.Event(_ => "0.10", out _)!.ToJsonString().Length);
        Assert.Throws<CliException>(() => ImportMapping.Read(["a=userId", "b=userId"], []));
        await Task.CompletedTask;
    }
}
