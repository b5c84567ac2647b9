using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using StreamCdp.Cli.Simulation;
using StreamCdp.Engine.Model;

namespace StreamCdp.Integration.Tests;

/// <summary>A server with the HTTP face of StreamCdp and the truth for an engine: what the command line must get on with, and what a test may break on purpose.</summary>
internal sealed class CliFakeServer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly Lock _lock = new();
    private readonly CdpModel? _model;
    private readonly ShopTruth? _truth;

    private CliFakeServer(WebApplication app, CdpModel? model)
    {
        _app = app;
        _model = model;
        _truth = model is null ? null : new ShopTruth(model);
    }

    public Uri Address => new(_app.Urls.First());

    /// <summary>Events of batches and single calls, in order of arrival.</summary>
    public List<JsonElement> Events { get; } = [];

    /// <summary>Each request: method, path with query.</summary>
    public List<string> Requests { get; } = [];

    public List<IHeaderDictionary> Headers { get; } = [];

    /// <summary>Answers a collector request before it counts; null: go on.</summary>
    public Func<int, HttpContext, int?> Refuse { get; set; } = (_, _) => null;

    /// <summary>True: the event is lost though it was acknowledged.</summary>
    public Func<JsonElement, bool> Lose { get; set; } = _ => false;

    /// <summary>Answers of GET and POST by path with query, before all else.</summary>
    public Dictionary<string, string> Answers { get; } = [];

    public int CollectorRequests { get; private set; }

    public static async Task<CliFakeServer> StartAsync(CdpModel? model = null)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        WebApplication app = builder.Build();
        var server = new CliFakeServer(app, model);
        app.Run(server.ServeAsync);
        await app.StartAsync();
        return server;
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    private async Task ServeAsync(HttpContext context)
    {
        string path = context.Request.Path + context.Request.QueryString;
        using var buffer = new MemoryStream();
        await context.Request.Body.CopyToAsync(buffer);
        (int status, string body) = Answer(context, path, buffer.ToArray());
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync(body);
    }

    private (int Status, string Body) Answer(HttpContext context, string path, byte[] body)
    {
        lock (_lock)
        {
            Requests.Add($"{context.Request.Method} {path}");
            Headers.Add(new HeaderDictionary(context.Request.Headers.ToDictionary(header => header.Key, header => header.Value)));
            if (Answers.TryGetValue(path, out string? answer))
            {
                return (200, answer);
            }

            if (context.Request.Method == "POST")
            {
                if (Refuse(CollectorRequests++, context) is { } refused)
                {
                    return (refused, """{"code":"refused","message":"The test refuses."}""");
                }

                Collect(body);
                return (200, """{"success":true}""");
            }

            return path.StartsWith("/v1/profiles/", StringComparison.Ordinal) && _truth is not null ? Profile(context.Request.Path) : (404, """{"detail":"unknown"}""");
        }
    }

    private void Collect(byte[] body)
    {
        long now = TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds();
        JsonElement root = JsonDocument.Parse(body).RootElement;
        bool isBatch = root.TryGetProperty("batch", out JsonElement batch);
        foreach (JsonElement sent in isBatch ? [.. batch.EnumerateArray()] : (JsonElement[])[root])
        {
            Events.Add(sent);
            if (_truth is not null && !Lose(sent))
            {
                string? sentAt = isBatch && root.TryGetProperty("sentAt", out JsonElement at) ? at.GetString() : null;
                string source = sent.TryGetProperty("context", out JsonElement context) && context.TryGetProperty("library", out JsonElement library) && library.GetProperty("name").GetString() == "shop-app" ? "app" : "web";
                byte[] json = isBatch || !root.TryGetProperty("writeKey", out _) ? Encoding.UTF8.GetBytes(sent.GetRawText()) : Without(sent, "writeKey");
                _truth.Apply(new SentEvent(json, source, sentAt) { SentMs = now, AcknowledgedMs = now });
            }
        }
    }

    private static byte[] Without(JsonElement json, string name)
    {
        var copy = JsonNode.Parse(json.GetRawText())!.AsObject();
        copy.Remove(name);
        return JsonSerializer.SerializeToUtf8Bytes(copy);
    }

    private (int Status, string Body) Profile(string path)
    {
        string[] parts = path["/v1/profiles/".Length..].Split(':', 2);
        TruthPerson? person = _truth!.Find(new TruthIdentifier(parts[0], Uri.UnescapeDataString(parts[1])));
        if (person is null)
        {
            return (404, """{"detail":"unknown"}""");
        }

        var now = new TruthEvaluation(_model!, person, TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds());
        return (200, JsonSerializer.Serialize(new
        {
            id = "p",
            identifiers = person.Identifiers.Select(identifier => new { type = identifier.Type, value = identifier.Value }),
            traits = now.Traits,
            computed = _model!.Computed.ToDictionary(computed => computed.Name, computed => now.Computed(computed.Name)),
            segments = _model.Segments.Where(segment => now.IsMember(segment.Id)).Select(segment => new { id = segment.Id, since = now.ToString() }),
            activity = new { events = person.Events.Count },
        }));
    }

    /// <summary>Runs the command line as a user does.</summary>
    public static async Task<(int Code, string Output, string Error)> RunAsync(params string[] args)
    {
        using var output = new StringWriter(CultureInfo.InvariantCulture);
        using var error = new StringWriter(CultureInfo.InvariantCulture);
        int code = await Cli.CommandLine.RunAsync(args, output, error, TestContext.Current.CancellationToken);
        return (code, output.ToString().ReplaceLineEndings("\n"), error.ToString().ReplaceLineEndings("\n"));
    }
}
