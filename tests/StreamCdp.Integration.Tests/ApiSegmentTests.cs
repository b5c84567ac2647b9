using System.Net;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Integration.Tests;

public sealed class ApiSegmentTests
{
    [Fact]
    public async Task Segments_come_in_the_models_order_with_their_rule()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (_, JsonElement body) = await host.GetAsync("v1/segments");

        Assert.Equal(["big_spenders", "hot_lead"], body.GetProperty("segments").EnumerateArray().Select(s => s.GetProperty("id").GetString()));
        (_, JsonElement one) = await host.GetAsync("v1/segments/hot_lead");
        Assert.Equal("""{"id":"hot_lead","name":"hot_lead","when":"in_segment(\"big_spenders\")","version":"00000000000000bb","origin":"file","served_version":"00000000000000bb","state":"partial","progress":null,"members":1,"exact_since":"2023-11-14T22:13:20.123Z","needs_backfill":true}""", one.GetRawText());
        Assert.Equal("""[{"name":"viewed","value":"count(\"Product Viewed\")","exact_since":"2023-11-14T22:13:20.123Z","needs_backfill":true}]""", body.GetProperty("computed").GetRawText());
        Assert.Equal(JsonValueKind.Null, body.GetProperty("segments")[0].GetProperty("exact_since").ValueKind);
    }

    [Fact]
    public async Task A_backfill_is_begun_for_some_segments_or_all_and_tells_how_far_it_is()
    {
        await using ApiHost host = await ApiHost.StartAsync(keys: [new("ops", ApiHost.ReadKey, ["read", "admin"])]);
        (_, JsonElement none) = await host.GetAsync("v1/backfill");

        Assert.Equal("""{"backfill":null}""", none.GetRawText());
        Assert.Equal("""{"begun":true,"backfill":{"id":7,"phase":"counting","done":0.25,"names":["hot_lead","computed.viewed"]}}""", (await host.PostAsync("v1/backfill", """{"segments":["hot_lead"]}""")).Body.GetRawText());
        Assert.Equal(["hot_lead"], host.Queries.Backfilled!);
        await host.PostAsync("v1/backfill", "{}");
        Assert.Equal(["all"], host.Queries.Backfilled!);
        Assert.Equal("unknown_segment", (await host.PostAsync("v1/backfill", """{"segments":["shoes"]}""")).Body.GetProperty("code").GetString());
        Assert.Equal("bad_body", (await host.PostAsync("v1/backfill", """{"segments":"all"}""")).Body.GetProperty("code").GetString());
    }

    [Fact]
    public async Task A_rule_is_tried_with_its_numbers_and_a_wrong_one_is_refused_with_its_place()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        Assert.Equal(
            """{"members":12,"enter":10,"leave":3,"scanned":100,"profiles":1000,"is_sample":true,"sample":["hot_lead 9"],"leaves":[{"text":"count(\"A\") > 3","members":12}],"not_counted":["count(\"X\")"],"notes":[]}""",
            (await host.PostAsync("v1/segments/preview?seconds=9", """{"when":"count('A') > 3","segment":"hot_lead"}""")).Body.GetRawText());
        (HttpStatusCode status, JsonElement body) = await host.PostAsync("v1/segments/preview", """{"when":"count('A') >"}""");
        Assert.Equal((HttpStatusCode.BadRequest, "bad_rule"), (status, body.GetProperty("code").GetString()));
        Assert.StartsWith("when:1:13:", body.GetProperty("detail").GetString(), StringComparison.Ordinal);
        Assert.Equal("bad_body", (await host.PostAsync("v1/segments/preview", "[]")).Body.GetProperty("code").GetString());
        Assert.Equal("bad_seconds", (await host.PostAsync("v1/segments/preview?seconds=61", """{"when":"true"}""")).Body.GetProperty("code").GetString());
        Assert.Equal("""{"segment":"hot_lead","asked":{"type":"user_id","value":"42"}}""", (await host.GetAsync("v1/profiles/user_id:42/segments/hot_lead")).Body.GetRawText());
        Assert.Equal("unknown_segment", (await host.GetAsync("v1/profiles/user_id:42/segments/shoes")).Body.GetProperty("code").GetString());
        Assert.Equal("unknown_profile", (await host.GetAsync("v1/profiles/user_id:43/segments/hot_lead")).Body.GetProperty("code").GetString());
    }

    [Fact]
    public async Task What_events_looked_like_is_listed_and_names_that_never_came_are_noted()
    {
        await using ApiHost host = await ApiHost.StartAsync(keys: [new("ops", ApiHost.ReadKey, ["read", "admin"])]);
        host.Queries.Seen = new SeenSchema { Events = [new("track", "Order Completed") { Count = 3, LookedAt = 2, FirstAt = 1_700_000_000_123, LastAt = 1_700_000_000_124, Properties = [new("properties.revenue") { Seen = 2, Types = ["number"], Shapes = ["99.99"] }] }], Traits = [new("traits.plan") { Types = ["text"] }], EventsLeftOut = 4 };

        Assert.Equal(
            """{"events":[{"type":"track","name":"Order Completed","count":3,"looked_at":2,"first_at":"2023-11-14T22:13:20.123Z","last_at":"2023-11-14T22:13:20.124Z","properties":[{"path":"properties.revenue","seen":2,"types":["number"],"shapes":["99.99"]}]}],"traits":[{"path":"traits.plan","seen":0,"types":["text"],"shapes":[]}],"context":[],"events_left_out":4,"paths_left_out":0}""",
            (await host.GetAsync("v1/schema")).Body.GetRawText());
        Assert.Equal("properties.revenue", (await host.GetAsync("v1/schema?event=Order%20Completed")).Body.GetProperty("events")[0].GetProperty("properties")[0].GetProperty("path").GetString());
        Assert.Equal("unknown_event", (await host.GetAsync("v1/schema?event=Order")).Body.GetProperty("code").GetString());
        const string Note = "when:1:24: note: no \"Order Completed\" of the 2 looked into had properties.revenu; did you mean properties.revenue?";
        const string Rule = """{"when":"sum('Order Completed', properties.revenu) > 3"}""";
        Assert.Equal([Note], (await host.PostAsync("v1/segments/preview", Rule)).Body.GetProperty("notes").EnumerateArray().Select(note => note.GetString()));
        using HttpResponseMessage put = await host.Client.PutAsync("v1/segments/hot_lead", new StringContent(Rule), TestContext.Current.CancellationToken);
        Assert.Equal([Note], JsonElement.Parse(await put.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)).GetProperty("notes").EnumerateArray().Select(note => note.GetString()));
    }

    [Fact]
    public async Task A_segment_is_written_and_deleted_but_not_one_of_the_file()
    {
        await using ApiHost host = await ApiHost.StartAsync(keys: [new("ops", ApiHost.ReadKey, ["read", "admin"])]);

        Assert.Equal("hot_lead", (await SendAsync("PUT", "hot_lead", """{"when":"count('A') > 3"}""")).Body.GetProperty("id").GetString());
        Assert.Equal("segment_of_file", (await SendAsync("PUT", "big_spenders", """{"when":"count('A') > 3"}""")).Body.GetProperty("code").GetString());
        Assert.Equal("The model would be wrong: Name count('A') > 3 False.", (await SendAsync("PUT", "wrong?backfill=false", """{"name":"Name","when":"count('A') > 3"}""")).Body.GetProperty("detail").GetString());
        Assert.Equal("bad_rule", (await SendAsync("PUT", "hot_lead", """{"when":"count('A'"}""")).Body.GetProperty("code").GetString());
        Assert.Equal("bad_body", (await SendAsync("PUT", "hot_lead", """{"name":"x"}""")).Body.GetProperty("code").GetString());
        Assert.Equal("bad_body", (await SendAsync("PUT", "hot_lead", $$"""{"when":"{{new string('x', 9000)}}"}""")).Body.GetProperty("code").GetString());
        Assert.Equal(10, (await SendAsync("PUT", "new_one?dry_run=true", """{"when":"count('A') > 3"}""")).Body.GetProperty("enter").GetInt32());
        Assert.Equal("segment_of_file", (await SendAsync("DELETE", "big_spenders", null)).Body.GetProperty("code").GetString());
        Assert.Equal("unknown_segment", (await SendAsync("DELETE", "shoes", null)).Body.GetProperty("code").GetString());
        using HttpResponseMessage gone = await host.Client.DeleteAsync("v1/segments/api_one", TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.NoContent, gone.StatusCode);

        Task<(HttpStatusCode Status, JsonElement Body)> SendAsync(string method, string id, string? body) =>
            host.SendAsync(new HttpRequestMessage(HttpMethod.Parse(method), "v1/segments/" + id) { Content = body is null ? null : new StringContent(body) });
    }

    [Fact]
    public async Task The_cursor_leads_through_all_members_once()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        List<string> ids = [];
        string? cursor = null;
        do
        {
            (HttpStatusCode status, JsonElement page) = await host.GetAsync("v1/segments/big_spenders/members?limit=2" + (cursor is null ? "" : "&cursor=" + Uri.EscapeDataString(cursor)));
            Assert.Equal(HttpStatusCode.OK, status);
            ids.AddRange(page.GetProperty("members").EnumerateArray().Select(m => m.GetProperty("id").GetString()!));
            cursor = page.GetProperty("next").GetString();
        }
        while (cursor is not null);

        Assert.Equal(Enumerable.Range(0, 3).Select(i => $"{i:x32}"), ids);
    }

    [Fact]
    public async Task A_member_has_its_time_and_identifiers()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (_, JsonElement page) = await host.GetAsync("v1/segments/big_spenders/members?limit=1");

        Assert.Equal("""{"members":[{"id":"00000000000000000000000000000000","since":"2023-11-14T22:13:20.000Z","identifiers":[{"type":"user_id","value":"ü/42"}]}],"next":"1"}""", page.GetRawText());
    }

    [Theory]
    [InlineData("v1/segments/shoes", HttpStatusCode.NotFound, "unknown_segment")]
    [InlineData("v1/segments/shoes/members", HttpStatusCode.NotFound, "unknown_segment")]
    [InlineData("v1/segments/big_spenders/members?cursor=shoes", HttpStatusCode.BadRequest, "bad_cursor")]
    [InlineData("v1/segments/big_spenders/members?limit=0", HttpStatusCode.BadRequest, "bad_limit")]
    [InlineData("v1/segments/big_spenders/members?limit=1001", HttpStatusCode.BadRequest, "bad_limit")]
    [InlineData("v1/segments/big_spenders/members?limit=2x", HttpStatusCode.BadRequest, "bad_limit")]
    [InlineData("v1/stream?segment=shoes", HttpStatusCode.NotFound, "unknown_segment")]
    [InlineData("v1/stream?last_event_id=shoes", HttpStatusCode.BadRequest, "bad_last_event_id")]
    [InlineData("v1/stream?last_event_id=m0.0.0-p0.0", HttpStatusCode.BadRequest, "bad_last_event_id")]
    [InlineData("v1/stream?last_event_id=m0.-1-p0.0", HttpStatusCode.BadRequest, "bad_last_event_id")]
    [InlineData("v1/stream?last_event_id=m0.5-p0.0", HttpStatusCode.BadRequest, "bad_last_event_id")]
    public async Task A_wrong_request_says_what_is_wrong(string path, HttpStatusCode status, string code)
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (HttpStatusCode answered, JsonElement body) = await host.GetAsync(path);

        Assert.Equal(code, body.GetProperty("code").GetString());
        Assert.Equal(status, answered);
    }
}
