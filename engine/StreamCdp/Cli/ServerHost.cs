using StreamCdp.Api;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Pipeline.Identity;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Cli;

/// <summary>A server in this process: engine, collector and query API behind one address.</summary>
/// <remarks>
/// SEAM. This file alone joins the command line to the engine (StreamCdp.Engine.Runtime.CdpEngine), the collector and the API.
/// All else of Cli/ knows a server by its HTTP address, so it works as well against one that runs elsewhere.
/// Not here yet: Kafka, roles other than all, <c>GET /v1/profiles</c> and <c>/v1/dead-letters</c>, settings of the stages beyond their sections.
/// </remarks>
internal sealed class ServerHost : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly CdpEngine _engine;
    private readonly LocalLogs _logs;
    private readonly ILogWriter _events;
    private readonly ILogWriter _deadLetters;

    private ServerHost(WebApplication app, CdpEngine engine, LocalLogs logs, ILogWriter events, ILogWriter deadLetters, Uri address)
    {
        (_app, _engine, _logs, _events, _deadLetters, Address) = (app, engine, logs, events, deadLetters, address);
    }

    /// <summary>Where it listens; with port 0 in the settings, the port it got. The first of several.</summary>
    public Uri Address { get; }

    /// <summary>The model it runs with.</summary>
    public CdpModel Model => _engine.Model;

    /// <summary>For the benchmarks, which read its logs beside the HTTP API.</summary>
    internal CdpEngine Engine => _engine;

    /// <summary>Completes when the server stops by itself: an engine that cannot go on. The exception says why and what to do.</summary>
    public Task Stopped => _engine.Stopped;

    /// <summary>Starts everything and returns when it takes requests.</summary>
    /// <param name="settings">Checked: <see cref="ServerSettings.Errors"/> is empty.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <exception cref="CliException">It cannot start; the message lists every reason, with key, value and what is allowed.</exception>
    public static async Task<ServerHost> StartAsync(ServerSettings settings, CancellationToken cancellationToken)
    {
        if (settings.LogKind == LogKind.Kafka || settings.Roles.Count != ServerSettings.AllRoles.Count)
        {
            throw new CliException("This build runs all roles on a local log only.");
        }

        CdpModel model = settings.ModelText is { } text ? ModelFile.Parse(settings.ModelPath, text, settings.Environment).Model : ModelFile.Read(settings.ModelPath, settings.Environment);
        var http = Options<ApiOptions>(settings, ApiOptions.Section) with { Urls = settings.Urls };
        var collect = Options<CollectOptions>(settings, CollectOptions.Section);
        var log = Options<LocalLogOptions>(settings, LocalLogOptions.Section);
        var engineOptions = Options<EngineOptions>(settings, EngineOptions.Section) with { Clock = settings.ClockKind == ClockKind.Event ? ClockMode.Event : ClockMode.Wall };
        string[] errors = [.. http.Errors(), .. collect.Errors(), .. log.Errors(), .. engineOptions.Errors()];
        if (errors.Length > 0)
        {
            throw new CliException(string.Join(Environment.NewLine, errors));
        }

        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { Args = [] });
        builder.Logging.SetMinimumLevel(settings.IsQuiet ? LogLevel.Error : LogLevel.Information);
        builder.Services.AddSingleton<IHostLifetime, NoSignals>();
        builder.AddApi(http);
        builder.WebHost.ConfigureKestrel(kestrel => CollectEndpoints.Limit(kestrel, collect));
        WebApplication app = builder.Build();

        ILoggerFactory loggers = app.Services.GetRequiredService<ILoggerFactory>();
        var metrics = new EngineMetrics(Prometheus.Metrics.NewCustomRegistry(), TimeProvider.System);
        try
        {
            var logs = new LocalLogs(Path.Combine(settings.DataPath, "logs"), log, TimeProvider.System, loggers);
            CdpEngine engine = CdpEngine.Start(engineOptions, model, logs, Path.Combine(settings.DataPath, "state"), SchemaIds.BuiltIn, metrics, TimeProvider.System, loggers.CreateLogger<CdpEngine>());
            ILogWriter events = engine.Events.OpenWriter();
            ILogWriter deadLetters = engine.DeadLetters.OpenWriter();
            var collector = new Collector(model, events, engine.Events.Partitions, deadLetters, TimeProvider.System, collect, new CollectCounters(metrics.Registry), SchemaIds.BuiltIn);
            app.UseApiProblems();
            app.MapCollector(collector);
            app.UseRouting();
            app.MapApi(engine, model, http, engine.Memberships, engine.Profiles, metrics);
            await app.StartAsync(cancellationToken).ConfigureAwait(false);
            return new ServerHost(app, engine, logs, events, deadLetters, new Uri(app.Urls.First()));
        }
        catch (Exception exception) when (exception is LogUnavailableException or LogUnfitException or IOException)
        {
            await app.DisposeAsync().ConfigureAwait(false);
            throw new CliException("The server cannot start: " + exception.Message, inner: exception);
        }
    }

    /// <summary>Waits until every event acknowledged before is applied (IEngineQueries.WaitAppliedAsync).</summary>
    /// <exception cref="CliException">Not within the time; the message says which stage is behind.</exception>
    public async Task WaitAppliedAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        try
        {
            await _engine.WaitAppliedAsync(timeout, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException exception)
        {
            throw new CliException(exception.Message, inner: exception);
        }
    }

    /// <summary>Takes no more requests, ends those under way, writes checkpoints, closes the logs.</summary>
    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync(CancellationToken.None).ConfigureAwait(false);
        await _engine.DisposeAsync().ConfigureAwait(false);
        _events.Dispose();
        _deadLetters.Dispose();
        await _logs.DisposeAsync().ConfigureAwait(false);
        await _app.DisposeAsync().ConfigureAwait(false);
    }

    private static T Options<T>(ServerSettings settings, string section)
        where T : new() =>
        settings.Configuration.GetSection(section).Get<T>() ?? new T();

    /// <summary>The command line hears SIGTERM and Ctrl-C, and stops the host when it is ready to.</summary>
    private sealed class NoSignals : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
