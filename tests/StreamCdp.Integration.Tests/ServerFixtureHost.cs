using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Configuration;
using StreamCdp.Cli;

namespace StreamCdp.Integration.Tests;

/// <summary>A whole server as <c>streamcdp run</c> starts it, in this process at a free port, with a client that has its keys.</summary>
internal sealed class ServerFixtureHost : IAsyncDisposable
{
    public const string WriteKey = "web-key";
    public const string Key = "ops-key-0123456789";

    public const string Head = """
        sources:  [ { id: web, write_key: web-key, kind: website }, { id: shop, write_key: shop-key, kind: server } ]
        api_keys: [ { id: ops, key: ops-key-0123456789, scopes: [read, write, admin] }, { id: reader, key: read-key-0123456789, scopes: [read] } ]

        """;

    public const string Model = Head + """
        identifiers:
          - { type: user_id,      limit: 1 }
          - { type: email,        limit: 5, from: [traits.email], normalize: email }
          - { type: anonymous_id, limit: 100 }
        computed:
          revenue: { value: 'sum("Order Completed", properties.revenue)' }
        segments:
          buyers: { when: 'count("Order Completed") >= 1' }
          pros:   { when: 'traits.plan == "pro"' }
        """;

    private ServerFixtureHost(ServerHost host)
    {
        Host = host;
        Client = new HttpClient { BaseAddress = host.Address };
        Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Key);
    }

    public ServerHost Host { get; }

    public HttpClient Client { get; }

    public Uri Address => Host.Address;

    /// <param name="data">Data directory.</param>
    /// <param name="model">cdp.yaml.</param>
    /// <param name="settings">Keys without StreamCdp:, for example Kafka:TopicPrefix.</param>
    public static async Task<ServerFixtureHost> StartAsync(string data, string model = Model, params (string Key, string Value)[] settings) =>
        await StartAsync(Settings(data, model, settings));

    public static async Task<ServerFixtureHost> StartAsync(ServerSettings settings) => new(await ServerHost.StartAsync(settings, TestContext.Current.CancellationToken));

    public static ServerSettings Settings(string data, string model, params (string Key, string Value)[] settings)
    {
        IConfigurationRoot configuration = new ConfigurationBuilder()
            .AddInMemoryCollection(
            [
                KeyValuePair.Create("StreamCdp:Http:Urls", (string?)"http://127.0.0.1:0"),
                KeyValuePair.Create("StreamCdp:State:Path", (string?)data),
                KeyValuePair.Create("StreamCdp:Engine:MemoryBytes", (string?)$"{64 << 20}"),
            ])
            .AddInMemoryCollection(settings.Select(setting => KeyValuePair.Create("StreamCdp:" + setting.Key, (string?)setting.Value)))
            .Build();
        return ServerSettings.From(configuration) with { ModelPath = "test/cdp.yaml", ModelText = model, IsQuiet = true };
    }

    /// <summary>Sends an event as a website does.</summary>
    public async Task SendAsync(string type, string json, string key = WriteKey)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/" + type) { Content = new StringContent(json, Encoding.UTF8, "application/json") };
        request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(key + ":")));
        using HttpResponseMessage response = await Client.SendAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    public async Task<JsonElement> GetAsync(string path) => JsonElement.Parse(await Client.GetStringAsync(path, TestContext.Current.CancellationToken));

    public async Task<JsonElement> ProfileAsync(string identifier) => await GetAsync($"/v1/profiles/{identifier}?wait=true&timeout=30000&include=traits,computed,segments,identifiers,events,history");

    public async Task<JsonElement> PostAsync(string path, string json)
    {
        using HttpResponseMessage response = await Client.PostAsync(path, new StringContent(json, Encoding.UTF8, "application/json"), TestContext.Current.CancellationToken);
        string body = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.True(response.IsSuccessStatusCode, body);
        return JsonElement.Parse(body);
    }

    public static IEnumerable<string> Segments(JsonElement profile) => profile.GetProperty("segments").EnumerateArray().Select(segment => segment.GetProperty("id").GetString()!).Order(StringComparer.Ordinal);

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await Host.DisposeAsync();
    }
}
