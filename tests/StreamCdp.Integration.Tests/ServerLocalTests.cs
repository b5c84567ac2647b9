using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text.Json;
using StreamCdp.Cli;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Schemas;

namespace StreamCdp.Integration.Tests;

/// <summary>A whole server on local logs.</summary>
public sealed class ServerLocalTests : IDisposable
{
    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-server-").FullName;

    public void Dispose() => Directory.Delete(_data, recursive: true);

    [Fact]
    public async Task What_comes_in_is_a_profile_with_segments_and_a_restart_keeps_all()
    {
        string before;
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data))
        {
            Assert.Equal("ready", (await server.GetAsync("/readyz")).GetProperty("status").GetString());
            Assert.Equal("live", (await server.GetAsync("/healthz")).GetProperty("status").GetString());
            await server.SendAsync("track", """{"anonymousId":"a1","event":"Order Completed","properties":{"revenue":12.5},"messageId":"m1"}""");
            await server.SendAsync("identify", """{"userId":"u1","anonymousId":"a1","traits":{"email":"Ann@Example.com","plan":"pro"}}""");
            await server.SendAsync("track", """{"userId":"u2","event":"Order Completed","properties":{"revenue":1}}""");

            JsonElement profile = await server.ProfileAsync("email:ann%40example.com");

            Assert.Equal(12.5, profile.GetProperty("computed").GetProperty("revenue").GetDouble());
            Assert.Equal("pro", profile.GetProperty("traits").GetProperty("plan").GetString());
            Assert.Equal(["buyers", "pros"], ServerFixtureHost.Segments(profile));
            Assert.Equal(3, profile.GetProperty("identifiers").GetArrayLength());
            Assert.Equal(2, profile.GetProperty("events").GetArrayLength());
            JsonElement first = await server.GetAsync("/v1/segments/buyers/members?limit=1");
            JsonElement second = await server.GetAsync($"/v1/segments/buyers/members?limit=1&cursor={first.GetProperty("next").GetString()}");
            Assert.Equal(JsonValueKind.Null, second.GetProperty("next").ValueKind);
            Assert.NotEqual(first.GetProperty("members")[0].GetProperty("id").GetString(), second.GetProperty("members")[0].GetProperty("id").GetString());
            Assert.Equal(2, (await server.GetAsync("/v1/profiles/user_id:u1/events")).GetProperty("events").GetArrayLength());
            JsonElement trace = await server.GetAsync("/v1/trace/m1");
            Assert.Equal(["collect", "route", "profile"], trace.GetProperty("stages").EnumerateArray().Select(stage => stage.GetProperty("stage").GetString()));
            Assert.Equal("entered", trace.GetProperty("stages")[2].GetProperty("memberships")[0].GetProperty("change").GetString());
            before = profile.GetRawText();
        }

        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data))
        {
            Assert.Equal(before, (await server.ProfileAsync("user_id:u1")).GetRawText());
            await server.SendAsync("track", """{"anonymousId":"a1","event":"Order Completed","properties":{"revenue":12.5},"messageId":"m1"}"""); // The SDK sends it again.
            await server.SendAsync("track", """{"userId":"u1","event":"Order Completed","properties":{"revenue":7.5}}""");

            JsonElement after = await server.ProfileAsync("user_id:u1");

            Assert.Equal(20, after.GetProperty("computed").GetProperty("revenue").GetDouble());
            Assert.Equal(3, after.GetProperty("activity").GetProperty("events").GetInt64());
            Assert.Equal(2, (await server.GetAsync("/v1/segments")).GetProperty("segments").EnumerateArray().Single(segment => segment.GetProperty("id").GetString() == "buyers").GetProperty("members").GetInt64());
        }
    }

    [Fact]
    public async Task The_stream_tells_who_entered()
    {
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data);
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/stream?segment=buyers");
        using HttpResponseMessage response = await server.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(TestContext.Current.CancellationToken));
        await server.SendAsync("track", """{"userId":"u1","event":"Order Completed","messageId":"m1"}""");

        string? line = "";
        while (line is not null && !line.StartsWith("data:", StringComparison.Ordinal))
        {
            line = await reader.ReadLineAsync(TestContext.Current.CancellationToken);
        }

        JsonElement change = JsonElement.Parse(line!["data:".Length..]);
        Assert.Equal("buyers", change.GetProperty("segment").GetString());
        Assert.Equal("m1", change.GetProperty("cause").GetString());
    }

    [Fact]
    public async Task A_changed_model_at_a_restart_adds_removes_and_says_what_needs_a_backfill()
    {
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data))
        {
            await server.SendAsync("identify", """{"userId":"u1","traits":{"plan":"pro","country":"DE"}}""");
            await server.SendAsync("track", """{"userId":"u1","event":"Order Completed","properties":{"revenue":5}}""");
            Assert.Equal(["buyers", "pros"], ServerFixtureHost.Segments(await server.ProfileAsync("user_id:u1")));
            Assert.Empty(server.Host.NeedBackfill());
        }

        string changed = ServerFixtureHost.Model.Replace("pros:   { when: 'traits.plan == \"pro\"' }", "german: { when: 'traits.country == \"DE\"' }\n  viewers: { when: 'count(\"Product Viewed\") >= 1' }", StringComparison.Ordinal);
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, changed))
        {
            JsonElement profile = await server.ProfileAsync("user_id:u1");

            Assert.Equal(["buyers", "german"], ServerFixtureHost.Segments(profile));
            Assert.Equal(["viewers"], server.Host.NeedBackfill());
            using HttpResponseMessage gone = await server.Client.GetAsync("/v1/segments/pros", TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.NotFound, gone.StatusCode);
        }

        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data))
        {
            Assert.Equal(["buyers", "pros"], ServerFixtureHost.Segments(await server.ProfileAsync("user_id:u1")));
        }
    }

    [Fact]
    public async Task A_membership_is_explained_to_the_leaf_and_a_rule_is_tried_before_it_is_used()
    {
        string model = ServerFixtureHost.Model.Replace("pros:   {", "fresh: { when: 'happened(\"Order Completed\", within: 1h, where: properties.revenue > 3) and (traits.plan == \"pro\" or not count(\"Order Completed\") >= 5)' }\n  pros:   {", StringComparison.Ordinal);
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, model, ("Clock", "event"), ("Engine:Shards", "2"));
        foreach (string user in (string[])["u1", "u2", "u3"])
        {
            await server.SendAsync("track", $$"""{"userId":"{{user}}","messageId":"cheap-{{user}}","event":"Order Completed","properties":{"revenue":2} }""");
        }

        await server.SendAsync("track", """{"userId":"u1","messageId":"dear","event":"Order Completed","properties":{"revenue":5} }""");
        await server.ProfileAsync("user_id:u1");

        JsonElement why = await server.GetAsync("/v1/profiles/user_id:u1/segments/fresh");
        JsonElement rule = why.GetProperty("rule");
        JsonElement happened = rule.GetProperty("all")[0];
        JsonElement any = rule.GetProperty("all")[1].GetProperty("any");

        Assert.True(why.GetProperty("member").GetBoolean());
        Assert.True(rule.GetProperty("holds").GetBoolean());
        Assert.True(happened.GetProperty("value").GetBoolean());
        Assert.Equal(why.GetProperty("since").GetDateTimeOffset().AddHours(1), happened.GetProperty("until").GetDateTimeOffset());
        Assert.Equal(["dear"], happened.GetProperty("events").EnumerateArray().Select(e => e.GetProperty("message_id").GetString()));
        Assert.Equal((false, JsonValueKind.Null), (any[0].GetProperty("holds").GetBoolean(), any[0].GetProperty("value").ValueKind));
        JsonElement count = any[1].GetProperty("not")[0];
        Assert.Equal((false, 2), (count.GetProperty("holds").GetBoolean(), count.GetProperty("value").GetInt32()));
        Assert.Equal(["dear", "cheap-u1"], count.GetProperty("events").EnumerateArray().Select(e => e.GetProperty("message_id").GetString()));
        Assert.False((await server.GetAsync("/v1/profiles/user_id:u2/segments/fresh")).GetProperty("member").GetBoolean());

        // A late event stands where it belongs, and not in a window that it is too late for.
        await server.SendAsync("track", $$"""{"userId":"u1","messageId":"late","event":"Order Completed","timestamp":"{{DateTimeOffset.UtcNow.AddHours(-2):O}}","properties":{"revenue":9} }""");
        await server.ProfileAsync("user_id:u1");
        rule = (await server.GetAsync("/v1/profiles/user_id:u1/segments/fresh")).GetProperty("rule");
        Assert.Equal(["dear"], rule.GetProperty("all")[0].GetProperty("events").EnumerateArray().Select(e => e.GetProperty("message_id").GetString()));
        Assert.Equal(["dear", "cheap-u1", "late"], rule.GetProperty("all")[1].GetProperty("any")[1].GetProperty("not")[0].GetProperty("events").EnumerateArray().Select(e => e.GetProperty("message_id").GetString()));

        using HttpResponseMessage tried = await server.Client.PostAsync("/v1/segments/preview", new StringContent("""{"when":"count('Order Completed') >= 1 and not count('Order Completed') >= 2 or happened('Never seen')","segment":"fresh"}"""), TestContext.Current.CancellationToken);
        JsonElement preview = JsonElement.Parse(await tried.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
        Assert.Equal((2, 2, 1, 3, false), (preview.GetProperty("members").GetInt32(), preview.GetProperty("enter").GetInt32(), preview.GetProperty("leave").GetInt32(), preview.GetProperty("scanned").GetInt32(), preview.GetProperty("is_sample").GetBoolean()));
        Assert.Equal([3, 1, 0], preview.GetProperty("leaves").EnumerateArray().Select(leaf => leaf.GetProperty("members").GetInt32()));
        Assert.Equal(["happened(\"Never seen\")"], preview.GetProperty("not_counted").EnumerateArray().Select(function => function.GetString()));

        Assert.Equal(["when:1:72: note: no event \"Never seen\" has come yet"], preview.GetProperty("notes").EnumerateArray().Select(note => note.GetString()));

        string file = Path.Combine(_data, "other.yaml");
        await File.WriteAllTextAsync(file, model.Replace("revenue > 3", "revenu > 4", StringComparison.Ordinal).Replace("'traits.plan == \"pro\"' }", "'count(\"Order Completed\") >= 2' }\n  more: { when: 'count(\"Order Completed\") >= 1' }", StringComparison.Ordinal).Replace("  buyers: { when: 'count(\"Order Completed\") >= 1' }\n", "", StringComparison.Ordinal), TestContext.Current.CancellationToken);
        using var output = new StringWriter();
        using var error = new StringWriter();
        int code = await Cli.CommandLine.RunAsync(["check", file, "--against", "live", "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key], output, error, TestContext.Current.CancellationToken);
        Assert.Equal((0, ""), (code, error.ToString()));
        Assert.Contains("fresh (changed): 0 enter, 1 leave, without what nothing counts yet", output.ToString(), StringComparison.Ordinal);
        Assert.Matches("other.yaml:[0-9]+:[0-9]+: note: no \"Order Completed\" of the 5 looked into had properties.revenu; did you mean properties.revenue\\?", output.ToString());
        Assert.Contains("pros (changed): 1 enter, 0 leave", output.ToString(), StringComparison.Ordinal);
        Assert.Contains("more (new): 3 enter, 0 leave", output.ToString(), StringComparison.Ordinal);
        Assert.Contains("buyers (gone): 3 leave", output.ToString(), StringComparison.Ordinal);

        output.GetStringBuilder().Clear();
        Assert.Equal(0, await Cli.CommandLine.RunAsync(["schema", "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key], output, error, TestContext.Current.CancellationToken));
        Assert.Contains("Order Completed: 5 track, ", output.ToString(), StringComparison.Ordinal);
        Assert.Contains("\n  properties.revenue: number, in 100 %, such as 9\n", output.ToString(), StringComparison.Ordinal);
    }

    /// <summary>Its record would be larger than a page of its store, and than a record of a log may be: no stage can go on with one.</summary>
    [Fact]
    public async Task Nobody_with_a_public_key_makes_a_profile_too_large_for_its_store()
    {
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, ServerFixtureHost.Model, ("Engine:MemoryBytes", "67108864"));
        string value = new('x', 31_000);
        for (int i = 0; i < 300; i++)
        {
            await server.SendAsync("identify", $$"""{"userId":"u1","traits":{"t{{i}}":"{{value}}"} }""");
        }

        await server.SendAsync("identify", """{"userId":"u1","traits":{"plan":"pro"} }""");
        JsonElement profile = await server.ProfileAsync("user_id:u1");
        Assert.Equal((301, "limited", "pro", 5), (profile.GetProperty("activity").GetProperty("events").GetInt32(), profile.GetProperty("notes").GetProperty("traits").GetString(), profile.GetProperty("traits").GetProperty("plan").GetString(), profile.GetProperty("traits").EnumerateObject().Count()));
    }

    [Fact]
    public async Task A_segment_of_the_api_is_filled_changed_kept_over_restarts_and_emptied()
    {
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data))
        {
            foreach (string user in (string[])["u1", "u2", "u2"])
            {
                await server.SendAsync("track", $$"""{"userId":"{{user}}","event":"Product Viewed"}""");
            }

            await server.ProfileAsync("user_id:u2");
            Assert.Equal("backfilling", (await PutAsync(server, "count('Product Viewed') >= 1")).GetProperty("state").GetString());
            Assert.Equal(2, await MembersAsync(server));
            await PutAsync(server, "count('Product Viewed') >= 2 and not in_segment('buyers')");
            Assert.Equal(1, await MembersAsync(server));
            using HttpResponseMessage circle = await server.Client.PutAsync("/v1/segments/viewers", new StringContent("""{"when":"in_segment('viewers')"}"""), TestContext.Current.CancellationToken);
            Assert.Contains("viewers uses itself", await circle.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
        }

        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, ServerFixtureHost.Model.Replace("  pros:   { when: 'traits.plan == \"pro\"' }", "", StringComparison.Ordinal)))
        {
            await server.SendAsync("track", """{"userId":"u1","event":"Product Viewed"}""");
            Assert.Equal(["viewers"], ServerFixtureHost.Segments(await server.ProfileAsync("user_id:u1")));
            Assert.Equal(2, await MembersAsync(server));
            Assert.Equal(4, (await server.GetAsync("/v1/schema?event=Product%20Viewed&wait=true")).GetProperty("events")[0].GetProperty("count").GetInt32());

            using var output = new StringWriter();
            Assert.Equal(0, await Cli.CommandLine.RunAsync(["model", "export", "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key], output, TextWriter.Null, TestContext.Current.CancellationToken));
            Assert.Contains("  \"viewers\": { name: \"Viewers\", when: ", output.ToString(), StringComparison.Ordinal);
            ModelResult exported = ModelReader.Read("exported.yaml", output.ToString(), _ => "x");
            Assert.Equal(["buyers", "viewers"], exported.Model!.Segments.Select(segment => segment.Id).Order());
        }

        Cli.CliException unfit = await Assert.ThrowsAsync<Cli.CliException>(() => ServerFixtureHost.StartAsync(_data, ServerFixtureHost.Model.Replace("buyers:", "orderers:", StringComparison.Ordinal)));
        Assert.Contains("Segments that the API wrote do not fit this cdp.yaml", unfit.Message, StringComparison.Ordinal);

        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data))
        {
            using HttpResponseMessage gone = await server.Client.DeleteAsync("/v1/segments/viewers", TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.NoContent, gone.StatusCode);
            Assert.Empty(ServerFixtureHost.Segments(await server.ProfileAsync("user_id:u1")));
        }

        static async Task<JsonElement> PutAsync(ServerFixtureHost server, string when)
        {
            using HttpResponseMessage answer = await server.Client.PutAsync("/v1/segments/viewers", new StringContent(JsonSerializer.Serialize(new { name = "Viewers", when })), TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            return JsonElement.Parse(await answer.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
        }

        static async Task<int> MembersAsync(ServerFixtureHost server)
        {
            using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            while (true)
            {
                JsonElement segment = await server.GetAsync("/v1/segments/viewers");
                if (segment.GetProperty("state").GetString() == "live" && segment.GetProperty("served_version").GetString() == segment.GetProperty("version").GetString())
                {
                    return segment.GetProperty("members").GetInt32();
                }

                Assert.False(deadline.IsCancellationRequested, segment.GetRawText());
                await Task.Delay(20, TestContext.Current.CancellationToken);
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task History_is_counted_for_a_new_rule_when_asked_or_by_itself(bool isAutomatic)
    {
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data))
        {
            await server.SendAsync("track", """{"userId":"u1","event":"Product Viewed"}""");
            await server.SendAsync("track", """{"userId":"u1","event":"Product Viewed"}""");
            await server.SendAsync("track", """{"userId":"u2","event":"Product Viewed"}""");
            await server.ProfileAsync("user_id:u2");
        }

        string changed = ServerFixtureHost.Model.Replace("pros:   {", "viewers: { when: 'count(\"Product Viewed\") >= 2' }\n  pros:   {", StringComparison.Ordinal) + (isAutomatic ? "\nbackfill: auto\n" : "");
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, changed))
        {
            if (!isAutomatic)
            {
                await server.ProfileAsync("user_id:u1");
                Assert.Equal("partial", (await SegmentAsync(server, "viewers")).GetProperty("state").GetString());
                using HttpResponseMessage begun = await server.Client.PostAsync("/v1/backfill", new StringContent("""{"segments":["viewers"]}"""), TestContext.Current.CancellationToken);
                Assert.Contains("\"begun\":true", await begun.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
            }

            using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            while (await SegmentAsync(server, "viewers") is var segment && (segment.GetProperty("state").GetString() != "live" || segment.GetProperty("members").GetInt32() != 1))
            {
                Assert.False(deadline.IsCancellationRequested, segment.GetRawText());
                await Task.Delay(20, TestContext.Current.CancellationToken);
            }

            Assert.Equal(["viewers"], ServerFixtureHost.Segments(await server.ProfileAsync("user_id:u1")));
            await server.SendAsync("track", """{"userId":"u2","event":"Product Viewed"}""");
            Assert.Equal(["viewers"], ServerFixtureHost.Segments(await server.ProfileAsync("user_id:u2")));
            using HttpResponseMessage again = await server.Client.PostAsync("/v1/backfill", new StringContent("{}"), TestContext.Current.CancellationToken);
            Assert.Equal("""{"begun":false,"backfill":null}""", await again.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        }

        static async Task<JsonElement> SegmentAsync(ServerFixtureHost server, string id) =>
            JsonElement.Parse(await server.Client.GetByteArrayAsync($"/v1/segments/{id}", TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_new_computed_trait_needs_a_backfill_until_its_window_has_passed_and_again_when_it_was_away()
    {
        string changed = ServerFixtureHost.Model.Replace("computed:", "computed:\n  viewed: { value: 'count(\"Product Viewed\")' }\n  viewed_1h: { value: 'count(\"Product Viewed\", within: 1h)' }", StringComparison.Ordinal);
        await using (ServerFixtureHost server = await StartAsync(ServerFixtureHost.Model))
        {
            await ViewAsync(server, "2024-01-01T00:00:30Z");
        }

        await using (ServerFixtureHost server = await StartAsync(changed))
        {
            await server.ProfileAsync("user_id:u1");
            Assert.Equal(["computed.viewed", "computed.viewed_1h"], server.Host.NeedBackfill());

            await ViewAsync(server, "2024-01-01T00:59:59Z");
            Assert.Equal(["computed.viewed", "computed.viewed_1h"], server.Host.NeedBackfill()); // The view that was not seen would count still.

            await ViewAsync(server, "2024-01-01T01:00:00Z");
            Assert.Equal(["computed.viewed"], server.Host.NeedBackfill());
            Assert.Equal("2024-01-01T00:00:30.000Z", (await ComputedAsync(server, "viewed")).GetProperty("exact_since").GetString());
            Assert.Equal(JsonValueKind.Null, (await ComputedAsync(server, "viewed_1h")).GetProperty("exact_since").ValueKind);
        }

        await using (ServerFixtureHost server = await StartAsync(ServerFixtureHost.Model))
        {
            await ViewAsync(server, "2024-01-01T05:00:00Z");
            Assert.Empty(server.Host.NeedBackfill());
        }

        await using (ServerFixtureHost server = await StartAsync(changed))
        {
            await server.ProfileAsync("user_id:u1");

            Assert.Equal("2024-01-01T05:00:00.000Z", (await ComputedAsync(server, "viewed")).GetProperty("exact_since").GetString());
            Assert.Equal(["computed.viewed", "computed.viewed_1h"], server.Host.NeedBackfill());
        }

        Task<ServerFixtureHost> StartAsync(string model) => ServerFixtureHost.StartAsync(_data, model, ("Clock", "event"), ("Engine:Shards", "1"));

        static async Task ViewAsync(ServerFixtureHost server, string at)
        {
            await server.SendAsync("track", $$"""{"userId":"u1","event":"Product Viewed","timestamp":"{{at}}"}""");
            await server.ProfileAsync("user_id:u1");
        }

        static async Task<JsonElement> ComputedAsync(ServerFixtureHost server, string name) =>
            (await server.GetAsync("/v1/segments")).GetProperty("computed").EnumerateArray().Single(computed => computed.GetProperty("name").GetString() == name);
    }

    [Fact]
    public async Task The_trace_of_a_refused_event_says_where_and_why()
    {
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data);
        await server.SendAsync("batch", """{"batch":[{"type":"track","userId":"u1","messageId":"bad/1"},{"type":"track","userId":"u1","messageId":"bad 2","event":"E","timestamp":"yesterday"}]}""");

        JsonElement stage = Assert.Single((await server.GetAsync("/v1/trace/bad%2F1?wait=true")).GetProperty("stages").EnumerateArray());
        using HttpResponseMessage unknown = await server.Client.GetAsync("/v1/trace/bad", TestContext.Current.CancellationToken);

        Assert.Equal(("collect", "dead letter", "missing_event", "event"), (Text("stage"), Text("outcome"), Text("reason"), Text("field")));
        Assert.Equal("bad/1", (await server.GetAsync("/v1/dead-letters")).GetProperty("dead_letters").EnumerateArray().Single(letter => letter.GetProperty("offset").GetInt64() == stage.GetProperty("dead_letter").GetInt64()).GetProperty("payload").GetProperty("messageId").GetString());
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);

        string? Text(string name) => stage.GetProperty(name).GetString();
    }

    [Fact]
    public async Task Dead_letters_are_listed_and_count_after_a_replay_at_their_own_time()
    {
        string withoutEmail = ServerFixtureHost.Model.Replace("  - { type: email,        limit: 5, from: [traits.email], normalize: email }\n", "", StringComparison.Ordinal);
        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, withoutEmail))
        {
            await server.SendAsync("identify", """{"traits":{"email":"ann@example.com","plan":"pro"},"timestamp":"2026-01-02T03:04:05Z"}""");
            await server.SendAsync("track", """{"userId":"u1"}""");
            await server.SendAsync("batch", """{"batch":[{"type":"track","userId":"u1","event":"Order Completed","timestamp":"yesterday"}]}""");
        }

        await using (ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data))
        {
            string url = server.Address.ToString();
            (int code, string list, string error) = await CliFakeServer.RunAsync("dead-letters", "list", "--url", url, "--key", ServerFixtureHost.Key);
            Assert.True(code == 0, error);
            JsonElement[] letters = [.. list.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonElement.Parse(line))];
            Assert.Equal(["no_identifier", "missing_event", "bad_timestamp"], letters.Select(letter => letter.GetProperty("reason").GetString()));
            Assert.Equal("ann@example.com", letters[0].GetProperty("payload").GetProperty("traits").GetProperty("email").GetString());
            JsonElement page = await server.GetAsync("/v1/dead-letters?limit=1");
            JsonElement next = await server.GetAsync($"/v1/dead-letters?limit=1&cursor={page.GetProperty("next").GetString()}");
            Assert.Equal("missing_event", next.GetProperty("dead_letters")[0].GetProperty("reason").GetString());
            Assert.Single((await server.GetAsync("/v1/dead-letters?reason=bad_timestamp")).GetProperty("dead_letters").EnumerateArray());

            (int replayed, string counts, error) = await CliFakeServer.RunAsync("dead-letters", "replay", "--url", url, "--key", ServerFixtureHost.Key);
            JsonElement again = await server.PostAsync("/v1/dead-letters/replay", """{"reason":"no_identifier"}""");
            JsonElement profile = await server.ProfileAsync("email:ann%40example.com");

            Assert.True(replayed == 0, error);
            Assert.Equal("1 replayed, 2 still invalid.\n", counts);
            Assert.Equal(1, again.GetProperty("replayed").GetInt64());
            Assert.Equal(1, profile.GetProperty("activity").GetProperty("events").GetInt64()); // Twice replayed, counted once.
            Assert.Equal("2026-01-02T03:04:05.000Z", profile.GetProperty("activity").GetProperty("first_seen").GetString());
            Assert.Equal(["pros"], ServerFixtureHost.Segments(profile));
        }
    }

    [Fact]
    public async Task Half_of_a_surrogate_pair_in_a_dead_letter_leaves_the_list_readable()
    {
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data);
        await server.SendAsync("batch", """{"batch":[{"type":"bad","userId":"u","properties":{"x":"\ud800"}},{"type":"worse"}]}""");

        JsonElement[] letters = [.. (await server.GetAsync("/v1/dead-letters")).GetProperty("dead_letters").EnumerateArray()];
        (int code, string list, string error) = await CliFakeServer.RunAsync("dead-letters", "list", "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key);

        Assert.Equal("""{"type":"bad","userId":"u","properties":{"x":"\ud800"}}""", letters[0].GetProperty("payload").GetRawText());
        Assert.Equal("worse", letters[1].GetProperty("payload").GetProperty("type").GetString());
        Assert.True(code == 0, error);
        Assert.Contains("\"x\":\"\\ud800", list, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_page_of_large_dead_letters_ends_at_four_megabytes_and_the_pages_have_all()
    {
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data);
        string large = $$$"""{"type":"track","userId":"u","properties":{"x":"{{{new string('x', 200_000)}}}"}}""";
        for (int i = 0; i < 3; i++)
        {
            await server.SendAsync("batch", $$"""{"batch":[{{string.Join(',', Enumerable.Repeat(large, 10))}}]}""");
        }

        var counts = new List<int>();
        string? cursor = null;
        do
        {
            string page = await server.Client.GetStringAsync("/v1/dead-letters?limit=500" + (cursor is null ? "" : "&cursor=" + cursor), TestContext.Current.CancellationToken);
            Assert.InRange(page.Length, 0, 4_500_000);
            counts.Add(JsonElement.Parse(page).GetProperty("dead_letters").GetArrayLength());
            cursor = JsonElement.Parse(page).GetProperty("next").GetString();
        }
        while (cursor is not null);

        Assert.Equal(30, counts.Sum());
        Assert.True(counts.Count > 1, "All came at once.");
    }

    [Fact]
    public async Task A_record_with_a_time_that_no_calendar_has_is_a_dead_letter_and_stops_nothing()
    {
        const long microseconds = 1_767_323_045_678_000; // The year 57,975, as a producer of others writes it.
        await using (var logs = new LocalLogs(Path.Combine(_data, "logs"), new LocalLogOptions(), TimeProvider.System))
        await using (ILog events = logs.Open(new LogDefinition("events", 1, LogCleanup.Delete)))
        using (ILogWriter writer = events.OpenWriter())
        {
            writer.Append(0, default, """{"type":"track","userId":"u1","event":"Order Completed"}"""u8, microseconds);
            writer.Append(0, default, """{"type":"track","userId":"u1","event":"Order Completed","receivedAt":"0001-01-01T00:00:00+14:00"}"""u8, 1_767_323_045_678);
            foreach ((long receivedAt, long? sentAt) in new[] { (long.MinValue, (long?)null), (1_767_323_045_678, long.MinValue) })
            {
                byte[] record = new byte[256];
                int end = new CustomerEvent { ReceivedAt = receivedAt, SentAt = sentAt, Source = "web"u8, Payload = """{"type":"track","userId":"u1","event":"Order Completed","timestamp":"2026-01-01T00:00:00Z"}"""u8 }
                    .WriteTo(ref record, WireFormat.WriteHeader(ref record, 0, SchemaIds.BuiltIn[RecordType.CustomerEvent]));
                writer.Append(0, default, record.AsSpan(0, end), 1_767_323_045_678);
            }

            writer.WaitDurable(writer.Appended);
        }

        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data);
        JsonElement profile = await server.ProfileAsync("user_id:u1");
        JsonElement[] letters = [.. (await server.GetAsync("/v1/dead-letters")).GetProperty("dead_letters").EnumerateArray()];
        JsonElement replay = await server.PostAsync("/v1/dead-letters/replay", "{}");

        Assert.Equal(1, profile.GetProperty("activity").GetProperty("events").GetInt64());
        Assert.Equal("2026-01-01T00:00:00.000Z", profile.GetProperty("activity").GetProperty("last_seen").GetString()); // A sentAt of no calendar counts as missing.
        Assert.Equal([("bad_timestamp", "receivedAt"), ("bad_timestamp", "receivedAt"), ("bad_timestamp", "receivedAt")], letters.Select(letter => (letter.GetProperty("reason").GetString(), letter.GetProperty("field").GetString())));
        Assert.Equal(0, replay.GetProperty("replayed").GetInt64());
    }

    [Fact]
    public async Task Replay_needs_the_scope_admin_and_a_good_body()
    {
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data);
        foreach ((string body, HttpStatusCode status) in new[] { ("{}", HttpStatusCode.OK), ("", HttpStatusCode.BadRequest), ("[]", HttpStatusCode.BadRequest), ("""{"from":"yesterday"}""", HttpStatusCode.BadRequest), ("""{"reason":7}""", HttpStatusCode.BadRequest) })
        {
            using HttpResponseMessage response = await server.Client.PostAsync("/v1/dead-letters/replay", new StringContent(body), TestContext.Current.CancellationToken);
            Assert.Equal(status, response.StatusCode);
        }

        foreach (string cursor in new[] { "x", "1_2", "1_2.x", "99", "-1", "1_99999999999.1" })
        {
            using HttpResponseMessage response = await server.Client.GetAsync($"/v1/dead-letters?cursor={cursor}", TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        }

        server.Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", "read-key-0123456789");
        using HttpResponseMessage refused = await server.Client.PostAsync("/v1/dead-letters/replay", new StringContent("{}"), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
    }

    [Fact]
    public async Task Export_and_profile_of_the_command_line_work_against_a_server()
    {
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, ServerFixtureHost.Model, ("Engine:Shards", "3"));
        string[] users = [.. Enumerable.Range(0, 25).Select(i => $"u{i}")];
        foreach (string user in users)
        {
            await server.SendAsync("track", $$"""{"userId":"{{user}}","event":"Order Completed"}""");
        }

        JsonElement one = await server.ProfileAsync("user_id:u7");
        string[] access = ["--url", server.Address.ToString(), "--key", ServerFixtureHost.Key];
        (int code, string all, string error) = await CliFakeServer.RunAsync(["export", "profiles", .. access]);
        (_, string members, _) = await CliFakeServer.RunAsync(["export", "segment", "buyers", "--format", "csv", .. access]);
        (_, string shown, _) = await CliFakeServer.RunAsync(["profile", "user_id:u7", .. access]);
        var ids = new List<string?>();
        string? cursor = null;
        do
        {
            JsonElement page = await server.GetAsync("/v1/profiles?limit=4" + (cursor is null ? "" : "&cursor=" + cursor));
            ids.AddRange(page.GetProperty("profiles").EnumerateArray().Select(profile => profile.GetProperty("id").GetString()));
            cursor = page.GetProperty("next").GetString();
        }
        while (cursor is not null);

        Assert.True(code == 0, error);
        Assert.Equal(users.Order(StringComparer.Ordinal), all.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonElement.Parse(line).GetProperty("identifiers")[0].GetProperty("value").GetString()).Order(StringComparer.Ordinal));
        Assert.Equal(users.Length + 1, members.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Equal(one.GetProperty("id").GetString(), JsonElement.Parse(shown).GetProperty("id").GetString());
        Assert.Equal(users.Length, ids.Distinct().Count());
        Assert.Equal(ids.Order(StringComparer.Ordinal), ids);
    }

    [Fact]
    public async Task A_second_server_on_the_same_data_is_refused_and_the_port_of_another_too()
    {
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data);

        CliException taken = await Assert.ThrowsAsync<CliException>(() => ServerFixtureHost.StartAsync(_data));
        string other = Directory.CreateTempSubdirectory("streamcdp-server-").FullName;
        CliException port = await Assert.ThrowsAsync<CliException>(() => ServerFixtureHost.StartAsync(other, ServerFixtureHost.Model, ("Http:Urls", server.Address.ToString())));

        Assert.Contains(_data, taken.Message, StringComparison.Ordinal);
        Assert.Contains($"{Environment.ProcessId}", taken.Message, StringComparison.Ordinal);
        Assert.Contains("in use", port.Message, StringComparison.Ordinal);
        await using (ServerFixtureHost free = await ServerFixtureHost.StartAsync(other)) // The failed start let everything go.
        {
            Assert.Equal("ready", (await free.GetAsync("/readyz")).GetProperty("status").GetString());
        }

        Directory.Delete(other, recursive: true);
    }

    [Fact]
    public async Task Everything_that_is_wrong_is_said_at_once()
    {
        CliException error = await Assert.ThrowsAsync<CliException>(() => ServerHost.StartAsync(
            ServerFixtureHost.Settings(
                _data,
                "sources: [ { id: web, write_key: k, kind: website } ]\nidentifiers: [ { type: user_id, limit: 1 } ]\nsegments:\n  a: { when: 'count(\"X\" > 3' }\n",
                ("Log:Kind", "kafka"), ("Kafka:LingerMs", "-1"), ("Kafka:Format", "xml"), ("Engine:Shards", "many"), ("Engine:TickMs", "1"), ("Roles", "route,api"), ("Clock", "sun")),
            TestContext.Current.CancellationToken));

        Assert.Contains("test/cdp.yaml:4:", error.Message, StringComparison.Ordinal);
        foreach (string key in new[] { "Kafka:BootstrapServers", "Kafka:LingerMs", "Kafka:Format", "Engine:Shards", "Roles is route,api", "Clock is sun" })
        {
            Assert.Contains(key, error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("Http:Urls", "https://127.0.0.1:0", "StreamCdp:Http:CertificatePath")]
    [InlineData("Kafka:SslCaLocation", "/nowhere/ca.pem", "StreamCdp:Kafka:SslCaLocation is \"/nowhere/ca.pem\"")]
    [InlineData("Kafka:SaslMechanism", "PLAINTEXT", "StreamCdp:Kafka:SaslMechanism is \"PLAINTEXT\"")]
    [InlineData("Kafka:Client:no.such.setting", "1", "no.such.setting")]
    [InlineData("Kafka:Client:session.timeout.ms", "many", "session.timeout.ms")]
    public async Task A_setting_that_a_library_refuses_is_named_and_is_no_bug(string key, string value, string named)
    {
        (string, string)[] kafka = key.StartsWith("Kafka", StringComparison.Ordinal) ? [("Log:Kind", "kafka"), ("Kafka:BootstrapServers", "127.0.0.1:1"), ("Kafka:RequestTimeout", "00:00:01")] : [];

        CliException error = await Assert.ThrowsAsync<CliException>(() => ServerFixtureHost.StartAsync(_data, ServerFixtureHost.Model, [.. kafka, (key, value)]));

        Assert.Contains(named, error.Message, StringComparison.Ordinal);
        Assert.Equal(1, error.ExitCode);
    }

    [Theory]
    [InlineData("profile,api", "add route, resolve")]
    [InlineData("api", "leave api out")]
    [InlineData("collect", "--log kafka")]
    [InlineData("connect", "connect asks the shards")]
    public async Task Roles_that_cannot_work_are_refused_with_what_to_do(string roles, string advice)
    {
        CliException error = await Assert.ThrowsAsync<CliException>(() => ServerFixtureHost.StartAsync(_data, ServerFixtureHost.Model, ("Roles", roles)));

        Assert.Contains(advice, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_the_role_collect_nothing_is_taken_and_the_rest_works()
    {
        await using ServerFixtureHost server = await ServerFixtureHost.StartAsync(_data, ServerFixtureHost.Model, ("Roles", "route,resolve,profile,api"));

        using HttpResponseMessage response = await server.Client.PostAsync("/v1/track", new StringContent("{}"), TestContext.Current.CancellationToken);

        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        Assert.Equal("ready", (await server.GetAsync("/readyz")).GetProperty("status").GetString());
    }

    [Fact]
    public async Task State_of_local_logs_is_not_used_with_other_logs()
    {
        await using (await ServerFixtureHost.StartAsync(_data))
        {
        }

        CliException error = Assert.Throws<CliException>(() => DataDirectory.MustBelongTo(_data, "kafka abc streamcdp."));

        Assert.Contains("\"local\"", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_broker_that_is_not_there_is_said_within_its_time()
    {
        using var closed = new TcpListener(IPAddress.Loopback, 0);
        closed.Start();
        int port = ((IPEndPoint)closed.LocalEndpoint).Port;
        closed.Stop();

        CliException error = await Assert.ThrowsAsync<CliException>(() => ServerFixtureHost.StartAsync(
            _data, ServerFixtureHost.Model, ("Log:Kind", "kafka"), ("Kafka:BootstrapServers", $"127.0.0.1:{port}"), ("Kafka:RequestTimeout", "00:00:02")));

        Assert.Contains($"127.0.0.1:{port}", error.Message, StringComparison.Ordinal);
        Assert.Contains("Check", error.Message, StringComparison.Ordinal);
    }
}
