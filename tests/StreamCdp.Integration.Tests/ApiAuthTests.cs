using System.Net;
using System.Text.Json;
using Microsoft.AspNetCore.Routing;
using StreamCdp.Api;
using StreamCdp.Engine.Model;

namespace StreamCdp.Integration.Tests;

public sealed class ApiAuthTests
{
    [Theory]
    [InlineData(null, HttpStatusCode.Unauthorized, "key_missing", "Bearer realm=\"streamcdp\"")]
    [InlineData("", HttpStatusCode.Unauthorized, "key_missing", "Bearer realm=\"streamcdp\"")]
    [InlineData("Basic " + ApiHost.ReadKey, HttpStatusCode.Unauthorized, "key_missing", "Bearer realm=\"streamcdp\"")]
    [InlineData("Bearer", HttpStatusCode.Unauthorized, "key_missing", "Bearer realm=\"streamcdp\"")]
    [InlineData("Bearer wrong", HttpStatusCode.Unauthorized, "key_wrong", "error=\"invalid_token\"")]
    [InlineData("Bearer " + ApiHost.ReadKey + "x", HttpStatusCode.Unauthorized, "key_wrong", "error=\"invalid_token\"")]
    [InlineData("Bearer " + ApiHost.WriteOnlyKey, HttpStatusCode.Forbidden, "scope_missing", "scope=\"read\"")]
    [InlineData("bearer " + ApiHost.ReadKey, HttpStatusCode.OK, null, null)]
    [InlineData("Bearer " + ApiHost.ReadKey, HttpStatusCode.OK, null, null)]
    public async Task Only_a_right_key_with_the_scope_reads(string? authorization, HttpStatusCode status, string? code, string? challenge)
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var client = new HttpClient();
        foreach (string path in new[] { "v1/profiles/user_id:42", "v1/profiles/user_id:42/events", "v1/trace/a", "v1/segments", "v1/segments/big_spenders", "v1/segments/big_spenders/members", "v1/profiles", "v1/dead-letters", "v1/backfill", "v1/schema" })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(host.Address, path));
            if (authorization is not null)
            {
                request.Headers.TryAddWithoutValidation("Authorization", authorization);
            }

            using HttpResponseMessage response = await client.SendAsync(request, TestContext.Current.CancellationToken);

            Assert.Equal(status, response.StatusCode);
            if (code is not null)
            {
                using JsonDocument body = JsonDocument.Parse(await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
                Assert.Equal(code, body.RootElement.GetProperty("code").GetString());
                Assert.Contains(challenge!, response.Headers.WwwAuthenticate.ToString());
            }
        }
    }

    [Fact]
    public async Task Every_path_with_data_refuses_without_a_key()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var client = new HttpClient();
        foreach (var route in host.Routes.Where(route => !route.RoutePattern.RawText!.StartsWith("/v1/unsubscribe/", StringComparison.Ordinal) && !route.RoutePattern.RawText.StartsWith("/v1/webhooks/", StringComparison.Ordinal))) // These are signed, and have tests of their own.
        {
            string path = route.RoutePattern.RawText!.Replace("{identifier}", "user_id:42").Replace("{id}", "big_spenders").Replace("{messageId}", "m");
            string method = route.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods[0] ?? "GET";
            using var request = new HttpRequestMessage(HttpMethod.Parse(method), new Uri(host.Address, path));
            using HttpResponseMessage response = await client.SendAsync(request, TestContext.Current.CancellationToken);

            Assert.Equal(path.StartsWith("/v1/", StringComparison.Ordinal) ? HttpStatusCode.Unauthorized : HttpStatusCode.OK, response.StatusCode);
        }
    }

    [Fact]
    public async Task A_model_without_keys_says_what_to_write()
    {
        await using ApiHost host = await ApiHost.StartAsync(keys: []);

        (HttpStatusCode status, JsonElement body) = await host.GetAsync("v1/segments");

        Assert.Equal(HttpStatusCode.Forbidden, status);
        Assert.Equal("no_api_keys", body.GetProperty("code").GetString());
        Assert.Contains("cdp.yaml: api_keys:", body.GetProperty("message").GetString());
    }

    [Fact]
    public async Task An_empty_key_in_the_model_lets_nobody_in()
    {
        await using ApiHost host = await ApiHost.StartAsync(keys: [new ApiKeyDefinition("ops", "", ["read"])]);
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(host.Address, "v1/segments"));
        request.Headers.TryAddWithoutValidation("Authorization", "Bearer ");

        (HttpStatusCode status, _) = await host.SendAsync(request);

        Assert.Equal(HttpStatusCode.Forbidden, status);
    }

    [Fact]
    public async Task Metrics_can_be_closed()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiOptions { MetricsNeedKey = true });
        using var stranger = new HttpClient();

        using HttpResponseMessage refused = await stranger.GetAsync(new Uri(host.Address, "metrics"), TestContext.Current.CancellationToken);
        using HttpResponseMessage answered = await host.Client.GetAsync("metrics", TestContext.Current.CancellationToken);

        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        Assert.Equal(HttpStatusCode.OK, answered.StatusCode);
    }

    [Fact]
    public async Task A_key_that_asks_too_often_waits_and_the_others_do_not()
    {
        await using ApiHost host = await ApiHost.StartAsync(
            new ApiOptions { RequestsPerSecond = 1, RequestBurst = 2 },
            [new("a", ApiHost.ReadKey, ["read"]), new("b", "other-key", ["read"])]);

        List<HttpResponseMessage> responses = [];
        for (int i = 0; i < 6; i++)
        {
            responses.Add(await host.Client.GetAsync("v1/segments", TestContext.Current.CancellationToken));
        }

        HttpResponseMessage refused = responses.First(r => r.StatusCode == HttpStatusCode.TooManyRequests);
        Assert.True(refused.Headers.RetryAfter!.Delta >= TimeSpan.FromSeconds(1));
        Assert.Equal(HttpStatusCode.OK, responses[0].StatusCode);
        using var other = new HttpRequestMessage(HttpMethod.Get, "v1/segments");
        other.Headers.Authorization = new("Bearer", "other-key");
        Assert.Equal(HttpStatusCode.OK, (await host.SendAsync(other)).Status);
        responses.ForEach(r => r.Dispose());
    }
}
