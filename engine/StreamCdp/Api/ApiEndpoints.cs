using Microsoft.AspNetCore.Diagnostics;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Actions;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Api;

/// <summary>Wires the query API (DESIGN §5.3) into an ASP.NET Core application.</summary>
public static class ApiEndpoints
{
    /// <summary>Prepares the host: addresses, certificate, no server header, and no log line with a path in it (paths hold identifiers, P9).</summary>
    public static void AddApi(this WebApplicationBuilder builder, ApiOptions options)
    {
        builder.Configuration.AddInMemoryCollection(options.KestrelSettings());
        builder.WebHost.UseUrls(options.Urls.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
        builder.WebHost.UseKestrelHttpsConfiguration(); // The slim builder leaves it out.
        builder.WebHost.ConfigureKestrel(static kestrel => kestrel.AddServerHeader = false);
        builder.Services.PostConfigure<LoggerFilterOptions>(static filters => filters.Rules.Add(new LoggerFilterRule(null, "Microsoft.AspNetCore", LogLevel.Warning, null)));
    }

    /// <summary>Answers as problem details where nothing else did: unknown path, wrong method, and what an endpoint threw. Put it first.</summary>
    public static void UseApiProblems(this IApplicationBuilder app)
    {
        app.UseExceptionHandler(new ExceptionHandlerOptions
        {
            ExceptionHandler = static context =>
            {
                ILogger logger = context.RequestServices.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(ApiEndpoints));
                Exception? error = context.Features.Get<IExceptionHandlerFeature>()?.Error;
                logger.LogError("A request failed by an error of this program: {Error}\n{StackTrace}", error?.GetType().FullName, error?.StackTrace); // Without its message, which may quote what was sent.
                return new ApiProblem(StatusCodes.Status500InternalServerError, "internal_error", "This is an error of the engine; its log says more.").WriteAsync(context);
            },
            SuppressDiagnosticsCallback = static _ => true,
        });
        app.Use(static async (context, next) =>
        {
            await next(context);
            if (context.Response is { HasStarted: false, ContentLength: null, ContentType: null } response)
            {
                ApiProblem? problem = response.StatusCode switch
                {
                    StatusCodes.Status404NotFound => ApiProblem.NotFound("unknown_path", "There is nothing at this path; GET /openapi/v1.json lists all."),
                    StatusCodes.Status405MethodNotAllowed => new ApiProblem(StatusCodes.Status405MethodNotAllowed, "method_not_allowed", $"Allowed here: {response.Headers.Allow}."),
                    _ => null,
                };
                if (problem is not null)
                {
                    await problem.WriteAsync(context);
                }
            }
        });
    }

    /// <summary>Maps all paths of the query API, health, metrics and the front page.</summary>
    /// <param name="endpoints">The application.</param>
    /// <param name="queries">The running engine.</param>
    /// <param name="deadLetters">The refused events.</param>
    /// <param name="model">For the keys and the identifier types.</param>
    /// <param name="options">Checked options.</param>
    /// <param name="memberships">The log <c>memberships</c>, for the stream.</param>
    /// <param name="profiles">The log <c>profiles</c>, for merges in the stream.</param>
    /// <param name="metrics">Whose registry <c>/metrics</c> serves.</param>
    /// <param name="health">Parts of the process for <c>/healthz</c> and <c>/readyz</c>.</param>
    /// <param name="connectors">The destinations; null: this process has none.</param>
    internal static void MapApi(this IEndpointRouteBuilder endpoints, IEngineQueries queries, DeadLetterBox deadLetters, CdpModel model, ApiOptions options, ILog memberships, ILog profiles, EngineMetrics metrics, Func<IReadOnlyList<PartHealth>> health, ConnectorHost? connectors)
    {
        var lifetime = endpoints.ServiceProvider.GetRequiredService<IHostApplicationLifetime>();
        var gate = new ApiGate(new ApiKeys(model.ApiKeys), options);
        var hub = new StreamHub(memberships, profiles, options.MaxStreams);
        lifetime.ApplicationStopping.Register(hub.Stop);
        lifetime.ApplicationStopped.Register(() =>
        {
            hub.Dispose();
            gate.Dispose();
        });

        endpoints.MapApi(queries, deadLetters, model, options, hub, gate, connectors);
        endpoints.MapHealth(health, options, gate, metrics);
    }

    /// <summary>Maps health and metrics alone, for a process without the role api.</summary>
    /// <param name="endpoints">The application.</param>
    /// <param name="model">For the keys.</param>
    /// <param name="options">Checked options.</param>
    /// <param name="metrics">Whose registry <c>/metrics</c> serves.</param>
    /// <param name="health">Parts of the process.</param>
    public static void MapHealth(this IEndpointRouteBuilder endpoints, CdpModel model, ApiOptions options, EngineMetrics metrics, Func<IReadOnlyList<PartHealth>> health)
    {
        var lifetime = endpoints.ServiceProvider.GetRequiredService<IHostApplicationLifetime>();
        var gate = new ApiGate(new ApiKeys(model.ApiKeys), options);
        lifetime.ApplicationStopped.Register(gate.Dispose);
        endpoints.MapHealth(health, options, gate, metrics);
    }

    internal static void MapApi(this IEndpointRouteBuilder endpoints, IEngineQueries queries, DeadLetterBox deadLetters, CdpModel model, ApiOptions options, StreamHub hub, ApiGate gate, ConnectorHost? connectors = null)
    {
        var types = model.Identifiers.Select(static i => i.Type).ToHashSet(StringComparer.Ordinal);
        var profileEndpoints = new ProfileEndpoints(queries, types, options);
        var segments = new SegmentEndpoints(queries, types, options);
        var stream = new ChangeStream(hub, queries, options);
        var letters = new DeadLetterEndpoints(deadLetters, options, TimeProvider.System);
        var connector = new ConnectorEndpoints(connectors);

        endpoints.MapGet("/v1/profiles", gate.Secured("read", profileEndpoints.ListAsync));
        endpoints.MapGet("/v1/profiles/{identifier}", gate.Secured("read", profileEndpoints.GetAsync));
        endpoints.MapGet("/v1/profiles/{identifier}/events", gate.Secured("read", profileEndpoints.EventsAsync));
        endpoints.MapPost("/v1/profiles/lookup", gate.Secured("read", profileEndpoints.LookupAsync));
        endpoints.MapGet("/v1/trace/{messageId}", gate.Secured("read", profileEndpoints.TraceAsync));
        endpoints.MapGet("/v1/segments", gate.Secured("read", segments.ListAsync));
        endpoints.MapGet("/v1/segments/{id}", gate.Secured("read", segments.GetAsync));
        endpoints.MapPut("/v1/segments/{id}", gate.Secured("admin", segments.PutAsync));
        endpoints.MapDelete("/v1/segments/{id}", gate.Secured("admin", segments.DeleteAsync));
        endpoints.MapGet("/v1/segments/{id}/members", gate.Secured("read", segments.MembersAsync));
        endpoints.MapGet("/v1/profiles/{identifier}/segments/{id}", gate.Secured("read", segments.ExplainAsync));
        endpoints.MapPost("/v1/segments/preview", gate.Secured("read", segments.PreviewAsync));
        endpoints.MapGet("/v1/model", gate.Secured("admin", segments.ModelAsync));
        endpoints.MapGet("/v1/schema", gate.Secured("read", segments.SchemaAsync));
        endpoints.MapGet("/v1/backfill", gate.Secured("read", segments.BackfillAsync));
        endpoints.MapPost("/v1/backfill", gate.Secured("admin", segments.StartBackfillAsync));
        endpoints.MapGet("/v1/stream", gate.Secured("read", stream.ServeAsync));
        endpoints.MapGet("/v1/dead-letters", gate.Secured("read", letters.ListAsync));
        endpoints.MapPost("/v1/dead-letters/replay", gate.Secured("admin", letters.ReplayAsync));
        endpoints.MapGet("/v1/connectors", gate.Secured("read", connector.ListAsync));
        endpoints.MapGet("/v1/connectors/{id}/conflicts", gate.Secured("read", connector.ConflictsAsync));
        endpoints.MapPost("/v1/connectors/{id}/pause", gate.Secured("admin", connector.PauseAsync));
        endpoints.MapPost("/v1/connectors/{id}/resume", gate.Secured("admin", connector.ResumeAsync));
        endpoints.MapPost("/v1/connectors/{id}/plan", gate.Secured("admin", connector.PlanAsync));
        endpoints.MapPost("/v1/connectors/{id}/apply", gate.Secured("admin", connector.ApplyAsync));
    }

    /// <summary>Maps what CRMs send to; no key is needed, the requests are signed.</summary>
    internal static void MapWebhooks(this IEndpointRouteBuilder endpoints, ConnectorHost connectors, IReadOnlyDictionary<string, ICrmWebhook> webhooks) =>
        endpoints.MapPost("/v1/webhooks/{id}", ApiGate.Open(new WebhookEndpoints(connectors, webhooks, TimeProvider.System).TakeAsync));

    /// <summary>Maps the pages behind the links of mails; no key is needed, the links are signed.</summary>
    internal static void MapUnsubscribe(this IEndpointRouteBuilder endpoints, Unsubscriber unsubscriber)
    {
        var pages = new UnsubscribeEndpoints(unsubscriber);
        endpoints.MapGet("/v1/unsubscribe/{token}", ApiGate.Open(pages.ShowAsync));
        endpoints.MapPost("/v1/unsubscribe/{token}", ApiGate.Open(pages.TakeBackAsync));
    }

    internal static void MapHealth(this IEndpointRouteBuilder endpoints, Func<IReadOnlyList<PartHealth>> health, ApiOptions options, ApiGate gate, EngineMetrics metrics)
    {
        var served = new HealthEndpoints(health, metrics);
        endpoints.MapGet("/healthz", ApiGate.Open(served.LiveAsync));
        endpoints.MapGet("/readyz", ApiGate.Open(served.ReadyAsync));
        endpoints.MapGet("/metrics", options.MetricsNeedKey ? gate.Secured("read", served.MetricsAsync) : ApiGate.Open(served.MetricsAsync));
        endpoints.MapGet("/openapi/v1.json", ApiGate.Open(HealthEndpoints.OpenApiAsync));
        endpoints.MapGet("/", ApiGate.Open(HealthEndpoints.IndexAsync)).WithOrder(1000); // A console at / goes before it.
    }
}
