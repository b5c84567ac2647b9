using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Prometheus;
using StreamCdp.Api;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline.Collect;

namespace StreamCdp.Integration.Tests;

/// <summary>The API on a real Kestrel at a free port, over local logs in a directory of its own.</summary>
internal sealed class ApiHost : IAsyncDisposable
{
    public const string ReadKey = "read-key-0123456789";
    public const string WriteOnlyKey = "write-key-0123456789";

    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-api-").FullName;
    private readonly LocalLogs _logs;
    private readonly WebApplication _app;
    private readonly ApiGate _gate;
    private readonly DeadLetterBox _box;

    private ApiHost(ApiOptions options, IReadOnlyList<ApiKeyDefinition>? keys)
    {
        _logs = new LocalLogs(_directory, new LocalLogOptions(), TimeProvider.System);
        Memberships = _logs.Open(new LogDefinition("memberships", 2, LogCleanup.Compact));
        MembershipWriter = Memberships.OpenWriter();
        Profiles = _logs.Open(new LogDefinition("profiles", 2, LogCleanup.Compact));
        Hub = new StreamHub(Memberships, Profiles, options.MaxStreams);

        var model = new CdpModel
        {
            Text = "",
            Version = 1,
            ApiKeys = keys ?? [new("ops", ReadKey, ["read"]), new("importer", WriteOnlyKey, ["write"])],
            Identifiers = [new() { Type = "user_id", Limit = 1 }, new() { Type = "email", Limit = 5, Normalize = IdentifierNormalization.Email }, new() { Type = "page", Limit = 5 }],
        };
        _gate = new ApiGate(new ApiKeys(model.ApiKeys), options);
        _box = new DeadLetterBox(_logs.Open(new LogDefinition("dead-letters", 1, LogCleanup.Delete)), _logs.Open(new LogDefinition("events", 1, LogCleanup.Delete)), model, StreamCdp.Schemas.SchemaIds.BuiltIn, TimeProvider.System);

        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.AddApi(options with { Urls = options.CertificatePath.Length > 0 ? "https://127.0.0.1:0" : "http://127.0.0.1:0" });
        builder.Logging.ClearProviders().SetMinimumLevel(LogLevel.Trace).AddProvider(Log);
        _app = builder.Build();
        _app.UseApiProblems();
        _app.MapApi(Queries, _box, model, options, Hub, _gate);
        _app.MapWebhooks(null!, new Dictionary<string, ICrmWebhook>()); // Their paths only: nothing is under them here.
        _app.MapUnsubscribe(null!);
        _app.MapHealth(Queries.Health, options, _gate, new EngineMetrics(Metrics.NewCustomRegistry()));
    }

    public ApiFakeQueries Queries { get; } = new();

    public ApiLogLines Log { get; } = new();

    public ILog Memberships { get; }

    public ILogWriter MembershipWriter { get; }

    public ILog Profiles { get; }

    public StreamHub Hub { get; }

    public HttpClient Client { get; } = new(new HttpClientHandler { ServerCertificateCustomValidationCallback = HttpClientHandler.DangerousAcceptAnyServerCertificateValidator });

    public Uri Address => Client.BaseAddress!;

    public IEnumerable<RouteEndpoint> Routes => _app.Services.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>();

    public static async Task<ApiHost> StartAsync(ApiOptions? options = null, IReadOnlyList<ApiKeyDefinition>? keys = null)
    {
        var host = new ApiHost(options ?? new ApiOptions(), keys);
        await host._app.StartAsync();
        host.Client.BaseAddress = new Uri(host._app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());
        host.Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", ReadKey);
        return host;
    }

    /// <summary>Asks with the read key.</summary>
    public Task<(HttpStatusCode Status, JsonElement Body)> GetAsync(string path) => SendAsync(new HttpRequestMessage(HttpMethod.Get, path));

    public Task<(HttpStatusCode Status, JsonElement Body)> PostAsync(string path, string json) =>
        SendAsync(new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(json, Encoding.UTF8, "application/json") });

    public async Task<(HttpStatusCode Status, JsonElement Body)> SendAsync(HttpRequestMessage request)
    {
        using HttpResponseMessage response = await Client.SendAsync(request);
        using JsonDocument body = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        if ((int)response.StatusCode >= 400 && body.RootElement.TryGetProperty("code", out _))
        {
            Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
            Assert.Equal((int)response.StatusCode, body.RootElement.GetProperty("status").GetInt32());
            Assert.NotEmpty(body.RootElement.GetProperty("title").GetString()!);
            Assert.Equal(body.RootElement.GetProperty("detail").GetString(), body.RootElement.GetProperty("message").GetString());
        }

        return (response.StatusCode, body.RootElement.Clone());
    }

    /// <summary>The process stops as on SIGTERM.</summary>
    public async Task StopAsync()
    {
        Hub.Stop();
        await _app.StopAsync();
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await StopAsync();
        await _app.DisposeAsync();
        Hub.Dispose();
        _gate.Dispose();
        _box.Dispose();
        MembershipWriter.Dispose();
        await _logs.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }
}

/// <summary>Every log line of a host.</summary>
internal sealed class ApiLogLines : ILoggerProvider, ILogger
{
    private readonly List<string> _lines = [];

    public string All
    {
        get
        {
            lock (_lines)
            {
                return string.Join('\n', _lines);
            }
        }
    }

    public ILogger CreateLogger(string categoryName) => this;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        lock (_lines)
        {
            _lines.Add(formatter(state, exception) + exception);
        }
    }

    public void Dispose()
    {
    }
}
