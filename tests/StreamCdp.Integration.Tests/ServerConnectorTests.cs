using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using StreamCdp.Cli;

namespace StreamCdp.Integration.Tests;

/// <summary>A whole server with a destination: what happened to a person reaches the other side.</summary>
public sealed class ServerConnectorTests : IAsyncLifetime
{
    private const string Secret = "hook-secret-0123456789";

    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-connect-").FullName;
    private readonly Channel<JsonElement> _changes = Channel.CreateUnbounded<JsonElement>();
    private WebApplication _app = null!;
    private volatile int _status = 200;
    private int _unsigned;

    public async ValueTask InitializeAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        _app = builder.Build();
        _app.Run(ReceiveAsync);
        await _app.StartAsync(TestContext.Current.CancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        Directory.Delete(_data, recursive: true);
    }

    [Fact]
    public async Task An_event_leads_to_a_signed_call_with_who_it_was_and_a_restart_repeats_nothing()
    {
        await using (ServerFixtureHost server = await StartAsync())
        {
            await server.SendAsync("identify", """{"userId":"u1","traits":{"email":"Ann@Example.com","plan":"free"}}""");
            await server.SendAsync("track", """{"userId":"u1","event":"Order Completed","properties":{"revenue":12.5},"messageId":"m1"}""");

            JsonElement change = await NextAsync();

            Assert.Equal(("entered", "buyers", "m1", "event"), (Text(change, "type"), Text(change, "segment"), Text(change, "cause"), Text(change, "reason")));
            Assert.Equal(["u1", "ann@example.com"], change.GetProperty("identifiers").EnumerateArray().Select(identifier => Text(identifier, "value")));
            Assert.Equal("""{"Plan":"free","Revenue":12.5,"Mail":["ann@example.com"]}""", change.GetProperty("fields").GetRawText());
            Assert.Equal((await server.ProfileAsync("user_id:u1")).GetProperty("id").GetString(), Text(change, "profile_id"));
        }

        await using (ServerFixtureHost server = await StartAsync())
        {
            await server.SendAsync("identify", """{"userId":"u1","traits":{"plan":"pro"}}""");

            Assert.Equal("pros", Text(await NextAsync(), "segment"));
        }

        Assert.Equal(0, _unsigned);
    }

    [Fact]
    public async Task A_person_without_a_name_who_signs_in_is_told_as_a_merge()
    {
        await using ServerFixtureHost server = await StartAsync();
        await server.SendAsync("track", """{"anonymousId":"a1","event":"Order Completed"}""");
        JsonElement anonymous = await NextAsync();
        await server.SendAsync("identify", """{"anonymousId":"a1","userId":"u1"}""");
        string survivor = (await server.ProfileAsync("user_id:u1")).GetProperty("id").GetString()!;

        JsonElement[] two = [await NextAsync(), await NextAsync()];

        JsonElement merged = Assert.Single(two, change => Text(change, "type") == "merged");
        JsonElement entered = Assert.Single(two, change => Text(change, "type") == "entered");
        Assert.Equal((Text(anonymous, "profile_id"), survivor), (Text(merged, "profile_id"), Text(merged, "merged_into")));
        Assert.Equal((survivor, "merge"), (Text(entered, "profile_id"), Text(entered, "reason")));
    }

    [Fact]
    public async Task The_list_tells_how_it_is_without_a_secret_and_it_can_be_paused_and_resumed()
    {
        await using ServerFixtureHost server = await StartAsync();
        JsonElement paused = await server.PostAsync("/v1/connectors/hook/pause", "{}");
        await server.SendAsync("track", """{"userId":"u1","event":"Order Completed"}""");
        await server.ProfileAsync("user_id:u1");
        (int code, string table, _) = await CliFakeServer.RunAsync("connectors", "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key);
        string list = await server.Client.GetStringAsync("/v1/connectors", TestContext.Current.CancellationToken);
        using HttpResponseMessage unknown = await server.Client.PostAsync("/v1/connectors/nobody/pause", null, TestContext.Current.CancellationToken);
        using var reader = new HttpRequestMessage(HttpMethod.Post, "/v1/connectors/hook/resume");
        reader.Headers.Authorization = new AuthenticationHeaderValue("Bearer", "read-key-0123456789");
        using HttpResponseMessage refused = await server.Client.SendAsync(reader, TestContext.Current.CancellationToken);

        Assert.Equal("paused", Text(paused, "state"));
        Assert.Equal(0, code);
        Assert.Contains("hook  webhook  http://127.0.0.1:", table, StringComparison.Ordinal);
        Assert.Contains("paused", table, StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, list, StringComparison.Ordinal);
        Assert.DoesNotContain("tenant", list, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.NotFound, unknown.StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);

        (int resumed, _, _) = await CliFakeServer.RunAsync("connectors", "--resume", "hook", "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key);
        Assert.Equal((0, "buyers"), (resumed, Text(await NextAsync(), "segment")));
    }

    [Fact]
    public async Task What_waits_for_one_that_starts_paused_is_shown_and_exactly_that_is_sent()
    {
        await using ServerFixtureHost server = await StartAsync("start: paused");
        await server.SendAsync("identify", """{"userId":"u1","traits":{"email":"ann@example.com","plan":"free"}}""");
        await server.SendAsync("track", """{"userId":"u1","event":"Order Completed","messageId":"m1"}""");
        await server.ProfileAsync("user_id:u1");
        string file = Path.Combine(_data, "plan.json");

        (int shown, string text) = await RunAsync("plan", "hook");
        (int written, string counts) = await RunAsync("plan", "hook", "--out", file);
        await server.SendAsync("track", """{"userId":"u2","event":"Order Completed","messageId":"m2"}""");
        await server.ProfileAsync("user_id:u2");

        Assert.Equal((0, 0), (shown, written));
        Assert.Contains(": entered buyers; identifiers ", text, StringComparison.Ordinal);
        Assert.Contains("\"Plan\":\"free\"", text, StringComparison.Ordinal);
        Assert.EndsWith("1 membership that began." + Environment.NewLine, counts, StringComparison.Ordinal);

        string[] lines = await File.ReadAllLinesAsync(file, TestContext.Current.CancellationToken);
        string shorter = Path.Combine(_data, "shorter.json");
        await File.WriteAllLinesAsync(shorter, [lines[0], lines[^1]], TestContext.Current.CancellationToken);
        (int refused, _, string error) = await CliFakeServer.RunAsync("connectors", "apply", shorter, "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key);
        Assert.Equal((1, true), (refused, error.Contains("no line can be taken out", StringComparison.Ordinal)));

        (int applied, string result) = await RunAsync("apply", file);
        Assert.Equal((0, "1 change is sent now; then it is paused again. streamcdp connectors shows how far it is." + Environment.NewLine), (applied, result));
        Assert.Equal("m1", Text(await NextAsync(), "cause"));
        for (long deadline = Environment.TickCount64 + 30_000; ; await Task.Delay(20, TestContext.Current.CancellationToken))
        {
            JsonElement hook = (await server.GetAsync("/v1/connectors")).GetProperty("connectors")[0];
            if (Text(hook, "state") == "paused" && Text(hook, "reason").StartsWith("All of a plan was sent", StringComparison.Ordinal))
            {
                break;
            }

            Assert.True(Environment.TickCount64 < deadline, "It is not paused again.");
        }

        Assert.False(_changes.Reader.TryRead(out _));
        Assert.StartsWith("There is nothing to do any more", (await RunAsync("apply", file)).Output, StringComparison.Ordinal);
        await RunAsync("--resume", "hook");
        Assert.Equal("m2", Text(await NextAsync(), "cause"));

        async Task<(int Code, string Output)> RunAsync(params string[] arguments)
        {
            (int code, string output, _) = await CliFakeServer.RunAsync(["connectors", .. arguments, "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key]);
            return (code, output);
        }
    }

    [Fact]
    public async Task What_was_refused_is_a_dead_letter_and_a_replay_sends_it()
    {
        _status = 422;
        await using ServerFixtureHost server = await StartAsync();
        await server.SendAsync("track", """{"userId":"u1","event":"Order Completed","messageId":"m1"}""");
        await server.SendAsync("track", """{"userId":"u1"}""");
        JsonElement letter = await LetterAsync(server);

        _status = 200;
        (_, string replay, _) = await CliFakeServer.RunAsync("dead-letters", "replay", "--reason", "destination_refused", "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key);
        JsonElement change = await NextAsync();

        Assert.Equal(("hook", "memberships"), (Text(letter, "source"), Text(letter.GetProperty("origin"), "log")));
        Assert.EndsWith("answered 422", Text(letter, "detail"), StringComparison.Ordinal);
        Assert.StartsWith("1 replayed, 0 still invalid.", replay, StringComparison.Ordinal);
        Assert.Equal((Text(letter.GetProperty("payload"), "id"), "m1"), (Text(change, "id"), Text(change, "cause")));
    }

    [Fact]
    public async Task A_process_without_the_role_connect_sends_nothing_and_says_so()
    {
        await using ServerFixtureHost server = await StartAsync(("Roles", "collect,route,resolve,profile,api"));

        (_, string table, _) = await CliFakeServer.RunAsync("connectors", "--url", server.Address.ToString(), "--key", ServerFixtureHost.Key);

        Assert.Empty((await server.GetAsync("/v1/connectors")).GetProperty("connectors").EnumerateArray());
        Assert.StartsWith("The model has no destinations, or the server runs without the role connect.", table, StringComparison.Ordinal);
    }

    private static string Text(JsonElement json, string name) => json.GetProperty(name).GetString()!;

    /// <summary>The letter of the destination; it is written a moment after the event.</summary>
    private static async Task<JsonElement> LetterAsync(ServerFixtureHost server)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        while (true)
        {
            limit.Token.ThrowIfCancellationRequested();
            JsonElement[] letters = [.. (await server.GetAsync("/v1/dead-letters?reason=destination_refused")).GetProperty("dead_letters").EnumerateArray()];
            if (letters.Length > 0)
            {
                return Assert.Single(letters);
            }
        }
    }

    private Task<ServerFixtureHost> StartAsync(params (string Key, string Value)[] settings) => StartAsync("start: running", settings);

    private async Task<ServerFixtureHost> StartAsync(string start, params (string Key, string Value)[] settings)
    {
        string model = ServerFixtureHost.Model + $$"""

            destinations:
              - id: hook
                kind: webhook
                url: env:HOOK_URL
                secret: env:HOOK_SECRET
                {{start}}
                fields: { Plan: traits.plan, Revenue: computed.revenue, Mail: identifiers.email }
            """;
        ServerSettings started = ServerFixtureHost.Settings(_data, model, settings) with
        {
            Environment = name => name switch { "HOOK_URL" => _app.Urls.First() + "/hook?tenant=1", "HOOK_SECRET" => Secret, _ => null },
        };
        return await ServerFixtureHost.StartAsync(started);
    }

    private async Task<JsonElement> NextAsync()
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        return await _changes.Reader.ReadAsync(limit.Token);
    }

    private async Task ReceiveAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);
        byte[] signed = [.. Encoding.UTF8.GetBytes(context.Request.Headers["StreamCdp-Timestamp"] + "."), .. body.ToArray()];
        if (context.Request.Headers["StreamCdp-Signature"] != "v1=" + Convert.ToHexStringLower(HMACSHA256.HashData(Encoding.UTF8.GetBytes(Secret), signed)))
        {
            Interlocked.Increment(ref _unsigned);
        }

        context.Response.StatusCode = _status;
        if (_status == 200)
        {
            foreach (JsonElement change in JsonElement.Parse(body.ToArray()).GetProperty("changes").EnumerateArray())
            {
                _changes.Writer.TryWrite(change);
            }
        }
    }
}
