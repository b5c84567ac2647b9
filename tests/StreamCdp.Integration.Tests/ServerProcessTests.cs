using System.Net.Http.Headers;
using System.Text.Json;
using StreamCdp.Integration.Tests.Sdk;

namespace StreamCdp.Integration.Tests;

/// <summary>A server as a process, with a real SDK before it.</summary>
public sealed class ServerProcessTests(SdkInstall sdk) : IClassFixture<SdkInstall>
{
    [Fact]
    public async Task SIGTERM_ends_it_with_code_0_and_another_process_on_its_data_is_refused()
    {
        await using var server = new ServerProcess();
        await server.StartAsync();

        (int refused, string error) = await server.RunAnotherAsync();
        int code = await server.StopAsync();
        await server.StartAsync();

        Assert.Equal(1, refused);
        Assert.Contains("cannot be used", error, StringComparison.Ordinal);
        Assert.Equal(0, code);
    }

    [Fact]
    public async Task A_kill_while_analytics_node_sends_loses_nothing_and_counts_nothing_twice()
    {
        Assert.SkipWhen(sdk.WhyNot is not null, sdk.WhyNot ?? "");
        await using var server = new ServerProcess();
        await server.StartAsync();
        int requests = 0;
        Task again = Task.CompletedTask;

        IReadOnlyList<SdkWord> words = await sdk.RunAsync("segment-life", server.Address, ServerFixtureHost.WriteKey, word =>
        {
            if (word.What == "request" && ++requests == 4)
            {
                server.Kill();
                again = server.StartAsync();
            }
        });
        await again;
        using var client = new HttpClient { BaseAddress = server.Address };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", ServerFixtureHost.Key);
        JsonElement profile = JsonElement.Parse(await client.GetStringAsync("/v1/profiles/user_id:u1?wait=true&timeout=30000", TestContext.Current.CancellationToken));

        Assert.DoesNotContain(words, word => word.What == "error");
        Assert.True(requests > 5, $"only {requests} requests");
        Assert.Equal(42, profile.GetProperty("computed").GetProperty("revenue").GetDouble());
        Assert.Equal(44, profile.GetProperty("activity").GetProperty("events").GetInt64());
        Assert.Equal(["anonymous_id:a0", "anonymous_id:a1", "email:ann@example.com", "user_id:u1"], profile.GetProperty("identifiers").EnumerateArray().Select(identifier => $"{identifier.GetProperty("type")}:{identifier.GetProperty("value")}").Order(StringComparer.Ordinal));
        Assert.Equal(["buyers", "pros"], ServerFixtureHost.Segments(profile));
    }
}
