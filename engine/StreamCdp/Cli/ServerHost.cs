using System.Net.Sockets;
using System.Security.Cryptography;
using StreamCdp.Api;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Actions;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Cli;

/// <summary>A server in this process: engine, collector and query API behind one address, on local logs or on Kafka.</summary>
/// <remarks>
/// SEAM. This file alone joins the command line to the engine (StreamCdp.Engine.Runtime.CdpEngine), the collector, the destinations and the API.
/// All else of Cli/ knows a server by its HTTP address, so it works as well against one that runs elsewhere.
/// Roles: the stages route, resolve and profile run in one process, with or without collect, connect and api; collect runs alone, too, where the logs are in Kafka.
/// </remarks>
internal sealed class ServerHost : IAsyncDisposable
{
    /// <summary>How long events of a CRM, or of somebody who unsubscribes, may take until the shards have applied them.</summary>
    private static readonly TimeSpan s_applyWait = TimeSpan.FromSeconds(30);

    private readonly Stack<Func<ValueTask>> _closings = new();
    private readonly TaskCompletionSource _never = new();
    private CdpEngine? _engine;
    private KafkaLogs? _kafka;
    private CollectorWriters? _writers;
    private ConnectorHost? _connectors;
    private Unsubscriber? _unsubscriber;

    private ServerHost(CdpModel model) => Model = model;

    /// <summary>Where it listens; with port 0 in the settings, the port it got. The first of several.</summary>
    public Uri Address { get; private set; } = new(ServerOptions.DefaultUrl);

    /// <summary>The model it runs with.</summary>
    public CdpModel Model { get; }

    /// <summary>For the benchmarks, which read its logs beside the HTTP API; only where the roles have stages.</summary>
    internal CdpEngine Engine => _engine ?? throw new InvalidOperationException("This server runs no stage.");

    /// <summary>Completes when the server stops by itself: an engine that cannot go on, or a log that takes no more events. The exception says why and what to do.</summary>
    public Task Stopped => Task.WhenAny(_engine?.Stopped ?? _never.Task, _writers?.Stopped ?? _never.Task).Unwrap();

    /// <summary>Starts everything and returns when it takes requests.</summary>
    /// <param name="settings">What to start with.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <exception cref="CliException">It cannot start; the message lists every reason, with key, value and what is allowed.</exception>
    public static async Task<ServerHost> StartAsync(ServerSettings settings, CancellationToken cancellationToken)
    {
        ServerParts parts = ServerParts.Read(settings);
        var server = new ServerHost(parts.Model);
        try
        {
            await server.StartAsync(settings, parts, cancellationToken).ConfigureAwait(false);
            return server;
        }
        catch (Exception exception) when (exception is IOException or InvalidDataException or UnauthorizedAccessException or SocketException or SchemaRegistryException or SchemaMismatchException or CryptographicException)
        {
            await server.DisposeAsync().ConfigureAwait(false);
            throw new CliException("The server cannot start: " + exception.Message, inner: exception);
        }
        catch
        {
            await server.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Waits until every event acknowledged before is applied (IEngineQueries.WaitAppliedAsync).</summary>
    /// <exception cref="CliException">Not within the time; the message says which stage is behind.</exception>
    public async Task WaitAppliedAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        try
        {
            await (_engine?.WaitAppliedAsync(timeout, cancellationToken) ?? Task.CompletedTask).ConfigureAwait(false);
        }
        catch (TimeoutException exception)
        {
            throw new CliException(exception.Message, inner: exception);
        }
    }

    /// <summary>Segments and computed traits that count only what came since they were added or changed, once the shards have this model; empty without the stages.</summary>
    public IReadOnlyList<string> NeedBackfill() => _engine?.NeedBackfill() ?? [];

    /// <summary>Takes no more requests, ends those under way, writes checkpoints, closes the logs.</summary>
    public async ValueTask DisposeAsync()
    {
        while (_closings.TryPop(out Func<ValueTask>? close))
        {
            await close().ConfigureAwait(false);
        }
    }

    private async Task StartAsync(ServerSettings settings, ServerParts parts, CancellationToken cancellationToken)
    {
        bool collects = settings.Roles.Contains("collect");
        bool hasStages = settings.Roles.Contains("route");
        if (hasStages)
        {
            DataDirectory directory = DataDirectory.Take(settings.DataPath);
            Closing(directory);
        }

        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { Args = [] });
        builder.Logging.SetMinimumLevel(settings.IsQuiet ? LogLevel.Error : LogLevel.Information);
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None); // Its stack traces of a port in use; the message is ours to print.
        builder.Services.AddSingleton<IHostLifetime, NoSignals>();
        builder.AddApi(parts.Http);
        builder.WebHost.ConfigureKestrel(kestrel => CollectEndpoints.Limit(kestrel, parts.Collect));
        WebApplication app = builder.Build();
        _closings.Push(app.DisposeAsync);

        ILoggerFactory loggers = app.Services.GetRequiredService<ILoggerFactory>();
        var metrics = new EngineMetrics(Prometheus.Metrics.NewCustomRegistry(), TimeProvider.System);
        ILogStore logs = OpenLogs(settings, parts, loggers);
        SchemaIds schemas = await RegisterSchemasAsync(parts, cancellationToken).ConfigureAwait(false);
        if (hasStages)
        {
            DataDirectory.MustBelongTo(settings.DataPath, _kafka is null ? "local" : $"kafka {_kafka.ClusterId} {parts.Kafka.TopicPrefix}");
            _engine = CdpEngine.Start(parts.Engine, Model, logs, Path.Combine(settings.DataPath, "state"), schemas, metrics, TimeProvider.System, loggers.CreateLogger<CdpEngine>());
            _closings.Push(_engine.DisposeAsync);
        }

        if (_engine is not null && settings.Roles.Contains("connect") && Model.Destinations.Count > 0)
        {
            RefuseOwnTopics(parts);
            StartConnectors(_engine, settings, schemas, metrics, loggers);
        }

        app.UseApiProblems();
        if (collects)
        {
            ILog events = _engine?.Events ?? EngineLogs.OpenEvents(logs, parts.Engine);
            ILog deadLetters = _engine?.DeadLetters ?? EngineLogs.OpenDeadLetters(logs);
            _writers = new CollectorWriters(events, deadLetters);
            _closings.Push(_writers.DisposeAsync);
            var collector = new Collector(Model, _writers.Events, events.Partitions, _writers.DeadLetters, TimeProvider.System, parts.Collect, new CollectCounters(metrics.Registry), schemas);
            _writers.Renew(collector);
            Closing(collector);
            app.MapCollector(collector);
        }

        app.UseRouting();
        if (_engine is not null && settings.Roles.Contains("api"))
        {
            var box = new DeadLetterBox(_engine.DeadLetters, _engine.Events, Model, schemas, TimeProvider.System, _connectors is null ? null : _connectors.TryReplay);
            Closing(box);
            app.MapApi(_engine, box, Model, parts.Http, _engine.Memberships, _engine.Profiles, metrics, Health, _connectors);
        }
        else
        {
            app.MapHealth(Model, parts.Http, metrics, Health);
        }

        if (_unsubscriber is not null)
        {
            app.MapUnsubscribe(_unsubscriber);
        }

        Dictionary<string, ICrmWebhook> webhooks = Model.Destinations.Where(destination => destination.Crm?.Webhook is not null).ToDictionary(destination => destination.Id, DestinationConnectors.Webhooks);
        if (_connectors is not null && webhooks.Count > 0)
        {
            app.MapWebhooks(_connectors, webhooks);
        }

        _closings.Push(() => new ValueTask(app.StopAsync(CancellationToken.None)));
        try
        {
            await app.StartAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is InvalidOperationException or FormatException or ArgumentException)
        {
            // Kestrel says so of a certificate without key, an address it cannot use, and its own section.
            throw new CliException($"The server cannot listen at {ApiOptions.Section}:Urls ({settings.Urls}) with {ApiOptions.Section}:{nameof(ApiOptions.CertificatePath)} ({(parts.Http.CertificatePath.Length == 0 ? "none" : parts.Http.CertificatePath)}) and the section Kestrel: {exception.Message}", inner: exception);
        }

        Address = new Uri(app.Urls.First());
    }

    /// <summary>Destinations work beside the stages: they ask the shards what a profile has when its change is sent.</summary>
    private void StartConnectors(CdpEngine engine, ServerSettings settings, SchemaIds schemas, EngineMetrics metrics, ILoggerFactory loggers)
    {
        var parts = new DeliveryParts
        {
            Memberships = engine.Memberships,
            Profiles = engine.Profiles,
            DeadLetters = engine.DeadLetters,
            Schemas = schemas,
            FindProfile = async (id, cancellationToken) =>
                await engine.ProfileAsync("id", id, ProfileParts.Traits | ProfileParts.Computed | ProfileParts.Segments | ProfileParts.Identifiers, cancellationToken).ConfigureAwait(false) is { } document ? ProfileView.FromDocument(document, id) : null,
            Applied = async cancellationToken =>
            {
                while (true)
                {
                    try
                    {
                        await engine.WaitAppliedAsync(s_applyWait, cancellationToken).ConfigureAwait(false);
                        return;
                    }
                    catch (TimeoutException)
                    {
                        // A long recovery.
                    }
                }
            },
            StatePath = Path.Combine(settings.DataPath, "connectors"),
            Time = TimeProvider.System,
            Seed = Environment.ProcessId,
            Metrics = new ConnectorMetrics(metrics.Registry),
            OnDeadLetters = count => metrics.DeadLetters(Delivery.RefusedReason).Inc(count),
            Logger = loggers.CreateLogger<ConnectorHost>(),
        };
        _connectors = ConnectorHost.Start([.. Connections(engine, schemas, parts)], parts.Metrics, metrics.Registry);
        _closings.Push(_connectors.DisposeAsync);
    }

    private List<IConnection> Connections(CdpEngine engine, SchemaIds schemas, DeliveryParts parts)
    {
        var links = new Lazy<UnsubscribeLinks>(() => new UnsubscribeLinks(parts.StatePath));
        var consents = new Dictionary<string, (ConsentDefinition, IProfiles)>();
        List<IConnection> connections = [];
        foreach (DestinationDefinition destination in Model.Destinations)
        {
            if (destination.Crm is { } crm)
            {
                connections.AddRange(Crm(destination, crm, Model, engine, schemas, parts));
            }
            else if (destination.Email is { } email)
            {
                if (email.Unsubscribe is not null)
                {
                    consents.Add(destination.Id, (destination.Consent!, Profiles(destination, engine, schemas, Model)));
                }

                connections.Add(Email(destination, email, links, parts));
            }
            else
            {
                connections.Add(new Delivery(DestinationConnectors.Settings(destination), DestinationConnectors.Create(destination), parts));
            }
        }

        if (consents.Count > 0)
        {
            _unsubscriber = new Unsubscriber(links.Value, consents, TimeProvider.System);
            Closing(_unsubscriber);
        }

        return connections;
    }

    private static ActionConnection Email(DestinationDefinition destination, EmailDefinition email, Lazy<UnsubscribeLinks> links, DeliveryParts parts)
    {
        ActionSettings settings = Actions(destination, destination.Id) with
        {
            UnsubscribeUrl = email.Unsubscribe is { } address ? profile => new Uri(new Uri(address.AbsoluteUri.TrimEnd('/') + "/"), links.Value.Path(destination.Id, profile)) : null,
        };
        return new ActionConnection(settings, DestinationConnectors.Email(destination, email), new RequestBudget(destination.RequestsPerSecond, TimeProvider.System), targetKeepsToBudget: false, parts);
    }

    private static ActionSettings Actions(DestinationDefinition destination, string id) => new()
    {
        Id = id,
        Kind = destination.Kind,
        Target = destination.Target,
        Actions = destination.Actions,
        AtMost = destination.AtMost,
        Consent = destination.Consent,
    };

    private static EngineProfiles Profiles(DestinationDefinition destination, CdpEngine engine, SchemaIds schemas, CdpModel model) => new(
        model,
        destination.Id,
        engine.Events,
        schemas,
        cancellationToken => engine.WaitAppliedAsync(s_applyWait, cancellationToken),
        async (type, value, cancellationToken) => await engine.ProfileAsync(type, value, ProfileParts.Traits | ProfileParts.Computed | ProfileParts.Segments | ProfileParts.Identifiers, cancellationToken).ConfigureAwait(false) is { } document ? ProfileView.FromDocument(document) : null);

    /// <summary>A destination must not write between the records of a log; only the same name is seen here, not another name of the same cluster.</summary>
    private void RefuseOwnTopics(ServerParts parts)
    {
        HashSet<string> own = [.. Enum.GetValues<RecordType>().Select(type => parts.Kafka.TopicPrefix + Topic(type))];
        if (_kafka is not null && Model.Destinations.FirstOrDefault(destination => destination.Kafka is { } kafka && own.Contains(kafka.Topic)) is { } wrong)
        {
            throw new CliException($"Destination {wrong.Id} would write into {wrong.Kafka!.Topic}, which is a log of StreamCdp itself; give it another topic.");
        }
    }

    private static List<IConnection> Crm(DestinationDefinition destination, CrmDefinition crm, CdpModel model, CdpEngine engine, SchemaIds schemas, DeliveryParts parts)
    {
        var settings = new CrmSettings
        {
            Id = destination.Id,
            Kind = destination.Kind,
            Target = destination.Target,
            Account = destination.Url!.AbsoluteUri,
            Fields = DestinationConnectors.Rules(crm, model),
            CreateFor = crm.Create.ToHashSet(StringComparer.Ordinal),
            Lists = crm.Lists.ToHashSet(StringComparer.Ordinal),
            DeletesAtMost = crm.DeletesAtMost,
            StartsPaused = destination.StartsPaused,
            Poll = TimeSpan.FromMilliseconds(crm.PollMs),
            Reconcile = TimeSpan.FromMilliseconds(crm.ReconcileMs),
            RequestsPerSecond = destination.RequestsPerSecond,
        };
        IProfiles profiles = Profiles(destination, engine, schemas, model);
        var sync = new CrmConnection(settings, gate => DestinationConnectors.Crm(destination, crm, gate), destination.Consent is { } consent ? new ConsentedProfiles(profiles, consent) : profiles, parts);
        return destination.Actions.Count == 0
            ? [sync]
            : [sync, new ActionConnection(Actions(destination, destination.Id + ":actions"), new CrmActionTarget(DestinationConnectors.Crm(destination, crm, sync)), sync.Budget, targetKeepsToBudget: true, parts)];
    }

    private ILogStore OpenLogs(ServerSettings settings, ServerParts parts, ILoggerFactory loggers)
    {
        if (settings.LogKind == LogKind.Local)
        {
            var local = new LocalLogs(Path.Combine(settings.DataPath, "logs"), parts.Log, TimeProvider.System, loggers);
            _closings.Push(local.DisposeAsync);
            return local;
        }

        _kafka = new KafkaLogs(parts.Kafka, loggers);
        _closings.Push(_kafka.DisposeAsync);
        return new JsonOutputs(_kafka, parts.IsJson);
    }

    /// <summary>Schema ids of the registry, or the built-in ones where none is configured.</summary>
    private async Task<SchemaIds> RegisterSchemasAsync(ServerParts parts, CancellationToken cancellationToken)
    {
        if (_kafka is null || parts.Registry.Url.Length == 0)
        {
            return SchemaIds.BuiltIn;
        }

        var registry = new RestSchemaRegistry(parts.Registry);
        Closing(registry);
        return await SchemaIds.RegisterAsync(registry, type => parts.Kafka.TopicPrefix + Topic(type), cancellationToken).ConfigureAwait(false);
    }

    private static string Topic(RecordType type) => type switch
    {
        RecordType.CustomerEvent => "events",
        RecordType.IdentityLink => "identity-links",
        RecordType.IdentityDecision => "identity-map",
        RecordType.ProfileEvent => "profile-events",
        RecordType.SegmentMembership => "memberships",
        RecordType.Profile => "profiles",
        RecordType.DeadLetter => "dead-letters",
        RecordType.ModelRecord => "models",
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "This record has no log."),
    };

    private List<PartHealth> Health()
    {
        List<PartHealth> parts = [.. _engine?.Health() ?? []];
        if (_writers is not null)
        {
            string reason = _writers.Fault?.Message ?? "";
            parts.Add(new PartHealth("collect", IsLive: true, reason.Length == 0, reason));
        }

        if (_kafka is not null)
        {
            string reason = _kafka.Trouble ?? "";
            parts.Add(new PartHealth("kafka", IsLive: true, reason.Length == 0, reason));
        }

        parts.AddRange(_connectors?.Health() ?? []);

        return parts;
    }

    private void Closing(IDisposable part) => _closings.Push(() =>
    {
        part.Dispose();
        return ValueTask.CompletedTask;
    });

    /// <summary>The command line hears SIGTERM and Ctrl-C, and stops the host when it is ready to.</summary>
    private sealed class NoSignals : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
