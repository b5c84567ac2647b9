using System.Text.Json;

namespace StreamCdp.Integration.Tests;

/// <summary>A whole server that writes changes into files.</summary>
public sealed class ServerFileDestinationTests : IDisposable
{
    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-to-files-").FullName;
    private readonly string _exports = Directory.CreateTempSubdirectory("streamcdp-exports-").FullName;

    public void Dispose()
    {
        Directory.Delete(_data, recursive: true);
        Directory.Delete(_exports, recursive: true);
    }

    [Fact]
    public async Task What_happens_to_a_person_is_in_the_files_and_a_restart_repeats_nothing()
    {
        await using (ServerFixtureHost server = await StartAsync())
        {
            await server.SendAsync("identify", """{"userId":"u1","traits":{"email":"Ann@Example.com","plan":"free"}}""");
            await server.SendAsync("track", """{"userId":"u1","event":"Order Completed","messageId":"m1"}""");
            JsonElement status = await TakenAsync(server);

            Assert.Equal(("export", "file", Path.Combine(_exports, "{date}.csv"), "running"), (Text(status, "id"), Text(status, "kind"), Text(status, "target"), Text(status, "state")));
        }

        await using (ServerFixtureHost server = await StartAsync())
        {
            await server.SendAsync("identify", """{"userId":"u1","traits":{"plan":"pro"}}""");
            await TakenAsync(server);
        }

        string[] lines = [.. Directory.GetFiles(_exports).Order(StringComparer.Ordinal).SelectMany(File.ReadAllLines).Where(line => !line.StartsWith("id,", StringComparison.Ordinal))];
        Assert.Equal([("entered", "buyers", "free,ann@example.com"), ("entered", "pros", "pro,ann@example.com")], lines.Select(line => line.Split(',')).Select(fields => (fields[1], fields[5], string.Join(',', fields[8..]))));
    }

    private static string Text(JsonElement json, string name) => json.GetProperty(name).GetString()!;

    private static async Task<JsonElement> TakenAsync(ServerFixtureHost server)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        while (true)
        {
            limit.Token.ThrowIfCancellationRequested();
            JsonElement status = Assert.Single((await server.GetAsync("/v1/connectors")).GetProperty("connectors").EnumerateArray());
            if (status.GetProperty("taken").GetInt64() > 0)
            {
                return status;
            }
        }
    }

    private Task<ServerFixtureHost> StartAsync() => ServerFixtureHost.StartAsync(_data, ServerFixtureHost.Model + $$"""

        destinations:
          - { id: export, kind: file, path: "{{Path.Combine(_exports, "{date}.csv")}}", rotate: 1d, fields: { Plan: traits.plan, Mail: identifiers.email } }
        """);
}
