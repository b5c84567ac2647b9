using System.Diagnostics;
using System.Text.Json;

namespace StreamCdp.Integration.Tests;

/// <summary>CRM records from the collector to the query API, on local logs.</summary>
public sealed class ServerCrmTests : IDisposable
{
    private const string Model = """
        sources:
          - { id: web, write_key: web-key, kind: website }
          - { id: hubspot, write_key: hubspot-key, kind: crm }
          - { id: forms, write_key: forms-key, kind: crm, trust: public }
        api_keys: [ { id: ops, key: ops-key-0123456789, scopes: [read, write, admin] } ]
        identifiers:
          - { type: user_id, limit: 1 }
          - { type: email, limit: 5, from: [traits.email], normalize: email }
          - { type: anonymous_id, limit: 100 }
        computed:
          worth: { value: 'sum(deals, amount, status == "open")' }
        segments:
          hot: { when: 'exists(deals, stage != "closedwon" and amount > 10000) and happened("Visit")' }
        """;

    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-crm-").FullName;

    public void Dispose() => Directory.Delete(_data, recursive: true);

    [Fact]
    public async Task A_record_is_in_the_document_moves_segments_and_stays_through_a_merge_and_a_restart()
    {
        const string Crm = """{"deals":[{"id":"12","source":"hubspot","stage":"lead","amount":20000.50,"status":"open"},{"id":"7","source":"hubspot","stage":"closedwon","amount":1,"status":"won"}]}""";
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, Model))
        {
            await server.SendAsync("track", """{"anonymousId":"d1","event":"Visit"}""");
            await DealAsync(server, "12", """{ "stage": "lead", "amount": 20000.50, "status": "open" }""", "2024-01-01T00:00:02Z");
            await DealAsync(server, "12", """{"stage":"older","amount":1}""", "2024-01-01T00:00:01Z");
            await DealAsync(server, "7", """{"stage":"closedwon","amount":1,"status":"won"}""", "2024-01-01T00:00:01Z");
            await DealAsync(server, "8", """{"stage":"lead"}""", "2024-01-01T00:00:01Z");
            await DealAsync(server, "8", "null", "2024-01-01T00:00:02Z");
            await DealAsync(server, "9", "{}", "2024-01-01T00:00:01Z", key: "forms-key");
            await DealAsync(server, "", "{}", "2024-01-01T00:00:01Z");
            Assert.Equal(Crm, await CrmAsync(server, "&include=crm"));
            Assert.Empty(ServerFixtureHost.Segments(await server.ProfileAsync("email:ann%40example.com")));

            await server.SendAsync("identify", """{"anonymousId":"d1","traits":{"email":"Ann@example.com"}}""");

            Assert.Equal(Crm, await CrmAsync(server, ""));
            JsonElement profile = await server.ProfileAsync("anonymous_id:d1");
            Assert.Equal(["hot"], ServerFixtureHost.Segments(profile));
            Assert.Equal("20000.5", profile.GetProperty("computed").GetProperty("worth").GetRawText());
            Assert.Equal("{}", profile.GetProperty("notes").GetRawText());
            Assert.False(profile.TryGetProperty("crm", out _));
            await WaitForAsync(server, "streamcdp_crm_records_skipped_total{reason=\"malformed\"} 1");
        }

        string changed = Model.Replace("segments:", "segments:\n  customers: { when: 'count(deals, stage == \"closedwon\") >= 1' }", StringComparison.Ordinal);
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, changed))
        {
            Assert.Equal(Crm, await CrmAsync(server, ""));
            Assert.Equal(["customers", "hot"], ServerFixtureHost.Segments(await server.ProfileAsync("email:ann%40example.com")));
            Assert.Empty(server.Host.NeedBackfill()); // The records are in the profile.
            Assert.Equal(JsonValueKind.Null, (await server.GetAsync("/v1/segments/customers")).GetProperty("exact_since").ValueKind);

            await DealAsync(server, "12", "null", "2024-01-01T00:00:03Z");

            Assert.Equal(["customers"], ServerFixtureHost.Segments(await server.ProfileAsync("email:ann%40example.com")));
        }
    }

    [Fact]
    public async Task A_profile_with_all_records_that_it_can_have_fits_the_store_and_the_logs()
    {
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, Model, ("Engine:Shards", "3")))
        {
            string fields = $$"""{"n":"{{new string('x', 8_000)}}"}""";
            for (int i = 0; i < 60; i++)
            {
                await DealAsync(server, $"{i}", fields, "2024-01-01T00:00:01Z");
            }

            await server.SendAsync("track", """{"anonymousId":"d1","event":"Visit"}""");
            await server.SendAsync("identify", """{"userId":"u1","anonymousId":"d1","traits":{"email":"Ann@example.com"}}""");
            await AssertLimitedAsync(server);
        }

        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, Model, ("Engine:Shards", "3")))
        {
            await AssertLimitedAsync(server);
        }

        static async Task AssertLimitedAsync(ServerFixtureHost server)
        {
            Assert.Equal("""{"crm":"limited"}""", (await server.ProfileAsync("user_id:u1")).GetProperty("notes").GetRawText());
            JsonElement deals = JsonElement.Parse(await CrmAsync(server, "")).GetProperty("deals");
            Assert.Equal(48, deals.GetArrayLength());
            Assert.DoesNotContain(deals.EnumerateArray(), deal => deal.GetProperty("id").GetString() == "0");
        }
    }

    private static async Task DealAsync(ServerFixtureHost server, string id, string fields, string at, string key = "hubspot-key") => await server.SendAsync(
        "identify",
        $$$"""{"traits":{"email":"ann@example.com"},"timestamp":"{{{at}}}","context":{"crm":{"object":"deal","fields":{{{fields}}},"id":"{{{id}}}" } } }""",
        key);

    private static async Task<string> CrmAsync(ServerFixtureHost server, string include) =>
        (await server.GetAsync($"/v1/profiles/email:ann%40example.com?wait=true&timeout=30000{include}")).GetProperty("crm").GetRawText();

    private static async Task WaitForAsync(ServerFixtureHost server, string line)
    {
        long start = Stopwatch.GetTimestamp();
        string text;
        do
        {
            text = await server.Client.GetStringAsync("/metrics", TestContext.Current.CancellationToken);
        }
        while (!text.Contains(line, StringComparison.Ordinal) && Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(30)); // Published now and then.
        Assert.Contains(line, text, StringComparison.Ordinal);
    }
}
