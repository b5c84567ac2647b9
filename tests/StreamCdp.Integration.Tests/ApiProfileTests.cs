using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using StreamCdp.Api;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Integration.Tests;

public sealed class ApiProfileTests
{
    [Theory]
    [InlineData("42")]
    [InlineData("https://example.com/a/b?x=1#top")]
    [InlineData("50%25 and %2F stay")]
    [InlineData("a:b:c")]
    [InlineData("ünï ☕ + & =")]
    [InlineData("../..")]
    [InlineData("events")]
    [InlineData(" ")]
    public async Task A_value_arrives_as_it_was_before_encoding(string value)
    {
        await using ApiHost host = await ApiHost.StartAsync();
        host.Queries.Known.Add(("page", value));

        (HttpStatusCode status, JsonElement profile) = await host.GetAsync("v1/profiles/page:" + Uri.EscapeDataString(value));
        (HttpStatusCode eventsStatus, JsonElement events) = await host.GetAsync("v1/profiles/page:" + Uri.EscapeDataString(value) + "/events?limit=7");

        Assert.Equal(HttpStatusCode.OK, status);
        Assert.Equal(value, profile.GetProperty("asked").GetProperty("value").GetString());
        Assert.Equal(HttpStatusCode.OK, eventsStatus);
        Assert.Equal(7, events.GetProperty("events")[0].GetProperty("event").GetProperty("limit").GetInt32());
        Assert.Equal(value, events.GetProperty("events")[0].GetProperty("event").GetProperty("value").GetString());
    }

    [Theory]
    [InlineData("/v1/profiles/user_id:42", 200)]
    [InlineData("/v1/profiles/user_id:42/", 200)]
    [InlineData("/v1/profiles/user_id%3A42", 200)]
    [InlineData("http://whatever/v1/profiles/user_id:42?include=traits", 200)]
    [InlineData("/v1/profiles/user_id:42/events/", 200)]
    [InlineData("/v1/profiles/user_id:42/..", 200)] // The server resolves dot segments first (RFC 3986 §5.2.4): the list of profiles.
    [InlineData("/v1/profiles/x/../user_id:42", 200)]
    [InlineData("/v1/profiles/user_id:%zz", 404)]
    [InlineData("/v1/profiles/user_id:%FF", 404)]
    [InlineData("/v1/profiles/user_id:a/b", 404)]
    public async Task Odd_request_lines_are_read_alike(string target, int status)
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var socket = new TcpClient();
        await socket.ConnectAsync(host.Address.Host, host.Address.Port, TestContext.Current.CancellationToken);
        await using NetworkStream stream = socket.GetStream();

        await stream.WriteAsync(Encoding.ASCII.GetBytes($"GET {target} HTTP/1.1\r\nHost: whatever\r\nAuthorization: Bearer {ApiHost.ReadKey}\r\nConnection: close\r\n\r\n"), TestContext.Current.CancellationToken);
        using var reader = new StreamReader(stream);
        string line = await reader.ReadLineAsync(TestContext.Current.CancellationToken) ?? "";

        Assert.StartsWith($"HTTP/1.1 {status} ", line);
    }

    [Fact]
    public async Task A_canonical_id_finds_its_profile()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        Assert.Equal(HttpStatusCode.OK, (await host.GetAsync("v1/profiles/id:000000000000000000000000000000ff")).Status);
    }

    [Theory]
    [InlineData("v1/profiles/user_id:nobody", HttpStatusCode.NotFound, "unknown_profile")]
    [InlineData("v1/profiles/user_id:nobody/events", HttpStatusCode.NotFound, "unknown_profile")]
    [InlineData("v1/profiles/fax:1", HttpStatusCode.BadRequest, "unknown_identifier_type")]
    [InlineData("v1/profiles/user_id", HttpStatusCode.BadRequest, "bad_identifier")]
    [InlineData("v1/profiles/user_id:", HttpStatusCode.BadRequest, "bad_identifier")]
    [InlineData("v1/profiles/:42", HttpStatusCode.BadRequest, "bad_identifier")]
    [InlineData("v1/profiles/user_id:42?include=traits,shoes", HttpStatusCode.BadRequest, "unknown_part")]
    [InlineData("v1/profiles/user_id:42?wait=maybe", HttpStatusCode.BadRequest, "bad_wait")]
    [InlineData("v1/profiles/user_id:42?wait=true&timeout=30001", HttpStatusCode.BadRequest, "bad_timeout")]
    [InlineData("v1/profiles/user_id:42?wait=true&timeout=-1", HttpStatusCode.BadRequest, "bad_timeout")]
    [InlineData("v1/profiles/user_id:42/events?limit=0", HttpStatusCode.BadRequest, "bad_limit")]
    [InlineData("v1/profiles/user_id:42/events?limit=101", HttpStatusCode.BadRequest, "bad_limit")]
    [InlineData("v1/trace/gone", HttpStatusCode.NotFound, "unknown_message")]
    [InlineData("v1/profiles/user_id:42/shoes", HttpStatusCode.NotFound, "unknown_path")]
    public async Task A_wrong_request_says_what_is_wrong(string path, HttpStatusCode status, string code)
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (HttpStatusCode answered, JsonElement body) = await host.GetAsync(path);

        Assert.Equal(code, body.GetProperty("code").GetString());
        Assert.Equal(status, answered);
    }

    [Fact]
    public async Task An_unknown_part_is_named()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (_, JsonElement body) = await host.GetAsync("v1/profiles/user_id:42?include=traits,shoes");

        Assert.Contains("'shoes'", body.GetProperty("message").GetString());
    }

    [Theory]
    [InlineData("", ProfileParts.Default)]
    [InlineData("?include=", ProfileParts.None)]
    [InlineData("?include=traits", ProfileParts.Traits)]
    [InlineData("?include=traits,computed,segments,identifiers,events,crm,history", (ProfileParts)127)]
    [InlineData("?include=crm&include=events", ProfileParts.Crm | ProfileParts.Events)]
    public async Task Include_chooses_the_parts(string query, ProfileParts parts)
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (_, JsonElement profile) = await host.GetAsync("v1/profiles/user_id:42" + query);

        Assert.Equal(parts.ToString(), profile.GetProperty("asked").GetProperty("include").GetString());
    }

    [Theory]
    [InlineData("?wait=true", 5000)]
    [InlineData("?wait=true&timeout=30000", 30000)]
    [InlineData("?wait=false&timeout=1", null)]
    [InlineData("", null)]
    public async Task Wait_waits_within_its_limit(string query, int? waitedMs)
    {
        await using ApiHost host = await ApiHost.StartAsync();

        Assert.Equal(HttpStatusCode.OK, (await host.GetAsync("v1/profiles/user_id:42" + query)).Status);

        Assert.Equal(waitedMs, host.Queries.WaitedFor?.TotalMilliseconds);
    }

    [Fact]
    public async Task A_wait_that_times_out_names_the_stage_behind()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        host.Queries.NeverApplied = true;

        foreach (string path in new[] { "profiles/user_id:42", "profiles/user_id:42/events", "trace/m", "segments", "segments/hot_lead", "segments/big_spenders/members" })
        {
            (HttpStatusCode status, JsonElement body) = await host.GetAsync($"v1/{path}?wait=true&timeout=10");

            Assert.Equal(HttpStatusCode.GatewayTimeout, status);
            Assert.Contains("stage profile", body.GetProperty("message").GetString());
        }
    }

    [Fact]
    public async Task A_lookup_answers_in_order()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (HttpStatusCode status, JsonElement body) = await host.PostAsync("v1/profiles/lookup?include=traits",
            """{"identifiers":[{"type":"email","value":"ada@example.com"},{"type":"user_id","value":"nobody"},{"type":"user_id","value":42}]}""");

        Assert.Equal(HttpStatusCode.OK, status);
        JsonElement[] profiles = [.. body.GetProperty("profiles").EnumerateArray()];
        Assert.Equal(["ada@example.com", "nobody", "42"], profiles.Select(p => p.GetProperty("identifier").GetProperty("value").GetString()));
        Assert.Equal([JsonValueKind.Object, JsonValueKind.Null, JsonValueKind.Object], profiles.Select(p => p.GetProperty("profile").ValueKind));
        Assert.Equal("Traits", profiles[0].GetProperty("profile").GetProperty("asked").GetProperty("include").GetString());
    }

    [Theory]
    [InlineData("", "bad_json")]
    [InlineData("{\"identifiers\":[", "bad_json")]
    [InlineData("[]", "bad_body")]
    [InlineData("{\"identifiers\":{}}", "bad_body")]
    [InlineData("{\"identifiers\":[1]}", "bad_body")]
    [InlineData("{\"identifiers\":[{\"type\":\"email\"}]}", "bad_body")]
    [InlineData("{\"identifiers\":[{\"type\":\"email\",\"value\":1.5}]}", "bad_body")]
    [InlineData("{\"identifiers\":[{\"type\":\"email\",\"value\":\"\"}]}", "bad_identifier")]
    [InlineData("{\"identifiers\":[{\"type\":\"fax\",\"value\":\"1\"}]}", "unknown_identifier_type")]
    [InlineData("{\"identifiers\":[]}", "bad_identifier_count")]
    [InlineData("{\"identifiers\":[{\"type\":\"user_id\",\"value\":\"\\ud800\"}]}", "bad_json")]
    public async Task A_wrong_lookup_says_what_is_wrong(string body, string code)
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (HttpStatusCode status, JsonElement problem) = await host.PostAsync("v1/profiles/lookup", body);

        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.Equal(code, problem.GetProperty("code").GetString());
    }

    [Theory]
    [InlineData(100, HttpStatusCode.OK)]
    [InlineData(101, HttpStatusCode.BadRequest)]
    public async Task A_lookup_has_at_most_100_identifiers(int count, HttpStatusCode status)
    {
        await using ApiHost host = await ApiHost.StartAsync();
        string identifiers = string.Join(',', Enumerable.Range(0, count).Select(i => $$"""{"type":"user_id","value":"{{i}}"}"""));

        (HttpStatusCode answered, _) = await host.PostAsync("v1/profiles/lookup", $$"""{"identifiers":[{{identifiers}}]}""");

        Assert.Equal(status, answered);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_lookup_body_is_limited_with_and_without_a_length(bool chunked)
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiOptions { MaxBodyBytes = 1024 });
        using var request = new HttpRequestMessage(HttpMethod.Post, "v1/profiles/lookup") { Content = new StringContent("[" + new string(' ', 2000) + "]") };
        request.Headers.TransferEncodingChunked = chunked;

        (HttpStatusCode status, JsonElement body) = await host.SendAsync(request);

        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, status);
        Assert.Equal("body_too_large", body.GetProperty("code").GetString());
    }

    [Fact]
    public async Task A_message_id_arrives_as_it_was_before_encoding()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (_, JsonElement trace) = await host.GetAsync("v1/trace/" + Uri.EscapeDataString("ajs-next/1:%2F"));

        Assert.Equal("ajs-next/1:%2F", trace.GetProperty("messageId").GetString());
    }

    [Fact]
    public async Task A_wrong_method_says_which_is_right()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        (HttpStatusCode status, JsonElement body) = await host.PostAsync("v1/segments", "{}");

        Assert.Equal(HttpStatusCode.MethodNotAllowed, status);
        Assert.Contains("GET", body.GetProperty("message").GetString());
    }

    [Fact]
    public async Task A_log_that_is_away_is_a_503_with_its_reason()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        host.Queries.Failure = new LogUnavailableException("The broker is away.");

        (HttpStatusCode status, JsonElement body) = await host.GetAsync("v1/profiles/user_id:42");

        Assert.Equal(HttpStatusCode.ServiceUnavailable, status);
        Assert.Equal("The broker is away.", body.GetProperty("message").GetString());
    }

    [Fact]
    public async Task No_log_line_and_no_metric_names_a_person()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        const string person = "secret.person@example.com";
        await host.GetAsync($"v1/profiles/email:{person}");
        await host.GetAsync($"v1/profiles/email:{person}/nothing/here");
        await host.GetAsync($"v1/trace/{person}");
        await host.GetAsync($"v1/profiles/email:{person}?include={person}");
        host.Queries.Failure = new InvalidOperationException($"A bug about {person}.");
        (HttpStatusCode status, JsonElement body) = await host.GetAsync($"v1/profiles/email:{person}");

        Assert.Equal(HttpStatusCode.InternalServerError, status);
        Assert.Equal("internal_error", body.GetProperty("code").GetString());
        Assert.Contains("InvalidOperationException", host.Log.All);
        Assert.DoesNotContain("secret.person", host.Log.All);
        Assert.DoesNotContain("secret.person", await host.Client.GetStringAsync("metrics", TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Answers_are_never_cached_and_never_sniffed()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        using HttpResponseMessage response = await host.Client.GetAsync("v1/profiles/user_id:42", TestContext.Current.CancellationToken);

        Assert.True(response.Headers.CacheControl!.NoStore);
        Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.False(response.Headers.Contains("Server"));
    }
}
