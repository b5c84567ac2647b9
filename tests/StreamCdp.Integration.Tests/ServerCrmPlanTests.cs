using System.Net;
using System.Text;
using System.Text.Json;
using StreamCdp.HubSpotEmulator;

namespace StreamCdp.Integration.Tests;

/// <summary>A whole server whose CRM begins held: look at the plan, apply it, let it go on.</summary>
public sealed class ServerCrmPlanTests : IAsyncLifetime
{
    private const string TokenVariable = "STREAMCDP_TEST_HUBSPOT_TOKEN";

    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-plan-").FullName;
    private EmulatedHubSpot _hubspot = null!;

    public async ValueTask InitializeAsync()
    {
        Environment.SetEnvironmentVariable(TokenVariable, EmulatedHubSpot.PrivateAppToken);
        _hubspot = await EmulatedHubSpot.StartAsync(TimeProvider.System, cancellationToken: TestContext.Current.CancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        await _hubspot.DisposeAsync();
        Directory.Delete(_data, recursive: true);
    }

    [Fact]
    public async Task The_plan_of_one_that_starts_paused_is_shown_applied_to_the_letter_and_then_it_goes_on()
    {
        string ann = _hubspot.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"), ("firstname", "Anna"));
        string eve = _hubspot.Account.Create(HubSpotAccount.Contacts, ("email", "eve@example.com"), ("firstname", "Eve"));
        await using ServerFixtureHost server = await StartAsync();
        await server.SendAsync("identify", """{"userId":"u1","traits":{"email":"ann@example.com","city":"Kiel"}}""");
        await server.SendAsync("identify", """{"userId":"u2","traits":{"email":"bob@example.com","name":"Bob"}}""");
        await server.SendAsync("track", """{"userId":"u2","event":"Order Completed"}""");
        await server.ProfileAsync("user_id:u2");
        string file = Path.Combine(_data, "plan.json");

        (int shown, string text, _) = await RunAsync("connectors", "plan", "hubspot");
        (int written, string counts, _) = await RunAsync("connectors", "plan", "hubspot", "--out", file);

        Assert.Equal((0, 0), (shown, written));
        Assert.Contains($"contact {ann} and profile ", text, StringComparison.Ordinal);
        Assert.Contains("  city: nothing becomes \"Kiel\" in the CRM (only the profile has it)", text, StringComparison.Ordinal);
        Assert.Contains("  firstname: nothing becomes \"Anna\" in the profile (only the CRM has it)", text, StringComparison.Ordinal);
        Assert.Contains($"contact {eve} becomes a new profile", text, StringComparison.Ordinal);
        Assert.Contains("new contact for profile ", text, StringComparison.Ordinal);
        Assert.Contains("field streamcdp_segments is made", text, StringComparison.Ordinal);
        Assert.EndsWith(counts, text, StringComparison.Ordinal);
        Assert.StartsWith("1 contact to create, 1 field to write, 3 values to take into profiles, 1 contact to link with its profile, 1 new profile, 4 fields to make.", counts, StringComparison.Ordinal);
        Assert.Equal(0, _hubspot.CountOf("/batch/update") + _hubspot.CountOf("/batch/upsert") + _hubspot.CountOf("POST properties"));

        string[] lines = await File.ReadAllLinesAsync(file, TestContext.Current.CancellationToken);
        await File.WriteAllLinesAsync(file, lines.Where(line => !line.Contains("\"new_profile\"", StringComparison.Ordinal)), TestContext.Current.CancellationToken);
        _hubspot.Account.Set(HubSpotAccount.Contacts, ann, "city", "Rome"); // Somebody is faster.
        (int applied, string result, _) = await RunAsync("connectors", "apply", file);

        Assert.Equal(1, applied);
        Assert.Contains("changed since", result, StringComparison.Ordinal);
        Assert.EndsWith("5 applied, 1 not applied." + Environment.NewLine, result, StringComparison.Ordinal);
        Assert.Equal(["ann@example.com", "eve@example.com", "bob@example.com"], _hubspot.Account.Living(HubSpotAccount.Contacts).Select(contact => contact["email"]));
        Assert.Equal("Rome", _hubspot.Account.Find(HubSpotAccount.Contacts, ann)!["city"]);
        Assert.Equal("paused", (await server.GetAsync("/v1/connectors")).GetProperty("connectors")[0].GetProperty("state").GetString());

        await RunAsync("connectors", "--resume", "hubspot");
        for (long deadline = Environment.TickCount64 + 40_000; _hubspot.Account.Find(HubSpotAccount.Contacts, ann)!["streamcdp_segments"] is null && !(await server.ProfileAsync("user_id:u1")).GetProperty("traits").TryGetProperty("name", out _); await Task.Delay(50, TestContext.Current.CancellationToken))
        {
            Assert.True(Environment.TickCount64 < deadline, "It does not go on.");
        }

        async Task<(int, string, string)> RunAsync(params string[] arguments) => await CliFakeServer.RunAsync([.. arguments, "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key]);
    }

    [Fact]
    public async Task A_field_whose_line_is_taken_out_is_not_made_and_what_needed_it_says_so()
    {
        string ann = _hubspot.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        await using ServerFixtureHost server = await StartAsync();
        await server.SendAsync("identify", """{"userId":"u1","traits":{"email":"ann@example.com","city":"Kiel"}}""");
        await server.SendAsync("track", """{"userId":"u1","event":"Order Completed"}""");
        await server.SendAsync("track", """{"userId":"u2","event":"Order Completed"}""");
        await server.ProfileAsync("user_id:u2");
        string[] plan = (await PlanAsync(server)).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        string[] without = [.. plan.Where(line => !line.Contains("make_field", StringComparison.Ordinal) && !line.StartsWith("{\"counts\"", StringComparison.Ordinal))];
        Assert.Equal(3, without.Length);

        JsonElement answer = JsonDocument.Parse((await ApplyAsync(server, string.Join('\n', without))).Body).RootElement;

        string[] why = [.. answer.GetProperty("not_applied").EnumerateArray().Select(one => one.GetProperty("why").GetString()!)];
        Assert.Equal((2, 0), (why.Length, answer.GetProperty("applied").GetInt32()));
        Assert.Contains(why, one => one.StartsWith("It was done without streamcdp_segments", StringComparison.Ordinal));
        Assert.Contains(why, one => one.Contains("field streamcdp_id is not in the plan", StringComparison.Ordinal));
        Assert.Equal("Kiel", _hubspot.Account.Find(HubSpotAccount.Contacts, ann)!["city"]);
        Assert.Single(_hubspot.Account.Living(HubSpotAccount.Contacts));
        Assert.Equal(0, _hubspot.CountOf("POST properties"));

        string id = Assert.Single(plan, line => line.Contains("make_field", StringComparison.Ordinal) && line.Contains("streamcdp_id", StringComparison.Ordinal) && line.Contains("\"contact\"", StringComparison.Ordinal));
        answer = JsonDocument.Parse((await ApplyAsync(server, string.Join('\n', without.Append(id)))).Body).RootElement;

        Assert.Equal((1, 2), (_hubspot.CountOf("POST properties"), _hubspot.Account.Living(HubSpotAccount.Contacts).Count));
        Assert.Contains("It was done without streamcdp_segments", answer.GetProperty("not_applied").GetRawText(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_both_sides_had_changed_is_shown_page_by_page_with_what_was_lost()
    {
        foreach (string user in (string[])["u1", "u2", "u3"])
        {
            _hubspot.Account.Create(HubSpotAccount.Contacts, ("email", user + "@example.com"), ("firstname", "Crm " + user));
        }

        await using ServerFixtureHost server = await StartAsync();
        foreach (string user in (string[])["u1", "u2", "u3"])
        {
            await server.SendAsync("identify", $$$"""{"userId":"{{{user}}}","traits":{"email":"{{{user}}}@example.com","name":"Web {{{user}}}"}}""");
        }

        await server.ProfileAsync("user_id:u3");
        Assert.Equal("No conflicts: no field was changed on both sides at once." + Environment.NewLine, (await RunAsync()).Output);
        await server.PostAsync("/v1/connectors/hubspot/resume", "{}");
        for (long deadline = Environment.TickCount64 + 40_000; (await server.GetAsync("/v1/connectors")).GetProperty("connectors")[0].GetProperty("conflicts") is not { ValueKind: JsonValueKind.Number } count || count.GetInt64() < 3; await Task.Delay(50, TestContext.Current.CancellationToken))
        {
            Assert.True(Environment.TickCount64 < deadline, "No conflict comes.");
        }

        (int code, string text) = await RunAsync();
        JsonElement first = await server.GetAsync("/v1/connectors/hubspot/conflicts?limit=2");
        JsonElement second = await server.GetAsync("/v1/connectors/hubspot/conflicts?limit=2&cursor=" + first.GetProperty("next").GetString());

        Assert.Equal(0, code);
        Assert.Contains("  firstname: \"Crm u1\" stayed, \"Web u1\" was lost", text, StringComparison.Ordinal);
        Assert.Equal((2, 1, JsonValueKind.Null), (first.GetProperty("conflicts").GetArrayLength(), second.GetProperty("conflicts").GetArrayLength(), second.GetProperty("next").ValueKind));
        Assert.Equal(["Web u1", "Web u2", "Web u3"], first.GetProperty("conflicts").EnumerateArray().Concat(second.GetProperty("conflicts").EnumerateArray()).Select(conflict => conflict.GetProperty("lost").GetString()).Order());
        Assert.Equal(2, (await RunAsync("--limit", "2", "--json")).Output.TrimEnd().Split('\n').Select(line => JsonDocument.Parse(line).RootElement.GetProperty("kept").GetString()).Distinct().Count());
        Assert.Contains("streamcdp_connector_conflicts_total{connector=\"hubspot\"} 3", await server.Client.GetStringAsync("/metrics", TestContext.Current.CancellationToken), StringComparison.Ordinal);
        foreach ((string path, HttpStatusCode status) in ((string, HttpStatusCode)[])[("/v1/connectors/nobody/conflicts", HttpStatusCode.NotFound), ("/v1/connectors/hook/conflicts", HttpStatusCode.Conflict), ("/v1/connectors/hubspot/conflicts?cursor=x", HttpStatusCode.BadRequest)])
        {
            using HttpResponseMessage answer = await server.Client.GetAsync(path, TestContext.Current.CancellationToken);
            Assert.Equal(status, answer.StatusCode);
        }

        using var nobody = new HttpClient { BaseAddress = server.Address };
        using HttpResponseMessage refused = await nobody.GetAsync("/v1/connectors/hubspot/conflicts", TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);

        async Task<(int Code, string Output)> RunAsync(params string[] arguments)
        {
            (int code, string output, _) = await CliFakeServer.RunAsync(["connectors", "conflicts", "hubspot", .. arguments, "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key]);
            return (code, output);
        }
    }

    [Fact]
    public async Task What_is_no_plan_is_refused_with_the_reason()
    {
        await using ServerFixtureHost server = await StartAsync();
        string head = (await PlanAsync(server)).Split('\n')[0];

        Assert.Equal(HttpStatusCode.BadRequest, (await ApplyAsync(server, "hello")).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await ApplyAsync(server, head)).Status);
        Assert.Equal(HttpStatusCode.BadRequest, (await ApplyAsync(server, head + "\n{\"change\":\"update\"}")).Status);
        (HttpStatusCode status, string other) = await ApplyAsync(server, head.Replace("\"mapping\":\"", "\"mapping\":\"0", StringComparison.Ordinal) + "\n{\"change\":\"gone\",\"object\":\"contact\",\"id\":\"1\",\"fields\":[],\"on\":[],\"off\":[]}");
        Assert.Equal((HttpStatusCode.Conflict, true), (status, other.Contains("Make a new plan", StringComparison.Ordinal)));
        (_, string handmade) = await ApplyAsync(server, head + "\n{\"change\":\"make_field\",\"object\":\"contact\",\"id\":\"nonsense\",\"fields\":[],\"on\":[],\"off\":[]}");
        Assert.Equal((true, 0), (handmade.Contains("There is nothing to do", StringComparison.Ordinal), _hubspot.CountOf("POST properties")));
        _hubspot.Revoke(EmulatedHubSpot.PrivateAppToken);
        Assert.Contains("{\"error\":\"", await PlanAsync(server), StringComparison.Ordinal);
    }

    private static async Task<string> PlanAsync(ServerFixtureHost server)
    {
        using HttpResponseMessage response = await server.Client.PostAsync("/v1/connectors/hubspot/plan", null, TestContext.Current.CancellationToken);
        return await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
    }

    private static async Task<(HttpStatusCode Status, string Body)> ApplyAsync(ServerFixtureHost server, string body)
    {
        using var content = new StringContent(body, Encoding.UTF8, "application/x-ndjson");
        using HttpResponseMessage response = await server.Client.PostAsync("/v1/connectors/hubspot/apply", content, TestContext.Current.CancellationToken);
        return (response.StatusCode, await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
    }

    private Task<ServerFixtureHost> StartAsync() => ServerFixtureHost.StartAsync(_data, $$"""
        sources:  [ { id: web, write_key: web-key, kind: website }, { id: hubspot, kind: crm } ]
        api_keys: [ { id: ops, key: ops-key-0123456789, scopes: [read, write, admin] } ]
        identifiers:
          - { type: user_id, limit: 1 }
          - { type: email, limit: 5, from: [traits.email], normalize: email }
          - { type: hubspot_contact_id, limit: 100 }
          - { type: anonymous_id, limit: 100 }
        segments:
          buyers: { when: 'count("Order Completed") >= 1' }
        destinations:
          - id: hubspot
            kind: hubspot
            url: {{_hubspot.Url}}
            secret: env:{{TokenVariable}}
            start: paused
            poll: 1s
            rate: 1000
            contacts:
              create: [buyers]
              fields:
                firstname: traits.name
                city: traits.city
                email: identifiers.email
                streamcdp_segments: segments
          - { id: hook, kind: webhook, url: "http://127.0.0.1:9/", secret: env:PATH }
        """);
}
