using System.Globalization;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.Tests.Kit;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Pipeline.Identity;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors.Tests.Crm;

/// <summary>The real engine on local logs, a website that sends to it, a CRM, and a connection that starts, works and stops.</summary>
internal sealed class CrmWorld : IAsyncDisposable
{
    public const string Yaml = """
        sources: [ { id: web, write_key: k, kind: website }, { id: crm, write_key: unused, kind: crm } ]
        identifiers:
          - { type: user_id, limit: 1 }
          - { type: email, limit: 5, from: [traits.email], normalize: email }
          - { type: crm_contact_id, limit: 10 }
          - { type: hubspot_contact_id, limit: 100 }
          - { type: anonymous_id, limit: 100 }
        traits: { tier: { merge: first } }
        computed: { orders: { value: 'count("Order Completed")' } }
        segments:
          buyers: { when: 'count("Order Completed") >= 1' }
          fans: { when: 'traits.fan == true' }
        """;

    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-crm-").FullName;
    private readonly LocalLogs _logs;
    private readonly SchemaIds _schemas = SchemaIds.BuiltIn;
    private readonly CdpEngine _engine;
    private readonly CdpModel _model;
    private readonly ConnectorMetrics _metrics = new(Prometheus.Metrics.NewCustomRegistry());
    private readonly Func<IRequestGate, TimeProvider, ICrm>? _make;
    private long _clock;

    /// <param name="with">Other settings.</param>
    /// <param name="seed">Of the CRM's faults.</param>
    /// <param name="make">Another CRM than <see cref="Crm"/>.</param>
    public CrmWorld(Func<CrmSettings, CrmSettings>? with = null, int seed = 1, Func<IRequestGate, TimeProvider, ICrm>? make = null)
    {
        _make = make;
        Random = new Random(seed);
        Crm = new MemoryCrm(Time, Random);
        ModelResult result = ModelReader.Read("cdp.yaml", Yaml, _ => null);
        _model = result.Model ?? throw new InvalidOperationException(string.Join('\n', result.Errors));
        _logs = new LocalLogs(Path.Combine(_directory, "logs"), new LocalLogOptions { Durability = LocalDurability.PageCache }, TimeProvider.System);
        EngineOptions options = new() { Shards = 2, MemoryBytes = 64 << 20, CheckpointMs = 3_600_000, Clock = ClockMode.Event, TickMs = 100 };
        _engine = CdpEngine.Start(options, _model, _logs, Path.Combine(_directory, "state"), _schemas, new EngineMetrics(Prometheus.Metrics.NewCustomRegistry(), TimeProvider.System), TimeProvider.System, NullLogger.Instance);
        Web = Profiles("web");
        var settings = new CrmSettings
        {
            Id = "crm",
            Kind = "memory",
            Target = "memory",
            RequestsPerSecond = 1e9,
            CreateFor = new HashSet<string> { "buyers" },
            Lists = new HashSet<string> { "fans" },
            Fields =
            [
                new FieldRule("name", Value("traits.name"), SyncDirection.Both, SyncPolicy.CrmWins),
                new FieldRule("title", Value("traits.title"), SyncDirection.Both, SyncPolicy.StreamCdpWins),
                new FieldRule("city", Value("traits.city"), SyncDirection.Both, SyncPolicy.Newest),
                new FieldRule("note", Value("traits.note"), SyncDirection.Both, SyncPolicy.FillEmpty),
                new FieldRule("owner", Value("traits.owner"), SyncDirection.In, SyncPolicy.CrmWins),
                new FieldRule("tier", Value("traits.tier"), SyncDirection.Both, SyncPolicy.CrmWins),
                new FieldRule("email", Value("identifiers.email"), SyncDirection.Both, SyncPolicy.FillEmpty),
                new FieldRule("orders", Value("computed.orders"), SyncDirection.Out, SyncPolicy.StreamCdpWins),
                new FieldRule("segments", null, SyncDirection.Out, SyncPolicy.StreamCdpWins),
            ],
        };
        Settings = with?.Invoke(settings) ?? settings;
    }

    public Random Random { get; }

    public JumpingTime Time { get; } = new();

    /// <summary>What people must have consented to; null: nothing.</summary>
    public ConsentDefinition? Consent { get; set; }

    public MemoryCrm Crm { get; }

    public EngineProfiles Web { get; }

    public CrmSettings Settings { get; }

    public string StatePath => Path.Combine(_directory, "connectors");

    public static PathExpression Value(string text) => (PathExpression)ExpressionParser.Parse(text, [])!.Root;

    /// <summary>A process that works until there is nothing to do, and stops.</summary>
    public async Task DrainAsync()
    {
        await using CrmConnection connection = Connection();
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                await connection.DrainAsync(TestContext.Current.CancellationToken);
                return;
            }
            catch (DestinationUnavailableException exception) when (attempt < 1000)
            {
                Time.Advance(exception.RetryAfter ?? TimeSpan.FromSeconds(1));
            }
            catch (DestinationMustPauseException) when (attempt < 1000)
            {
                Time.Advance(TimeSpan.FromMinutes(1)); // Somebody mends it and resumes.
            }
        }
    }

    /// <param name="settings">Others than <see cref="Settings"/>.</param>
    public CrmConnection Connection(CrmSettings? settings = null)
    {
        var parts = new DeliveryParts
        {
            Memberships = _engine.Memberships,
            Profiles = _engine.Profiles,
            DeadLetters = _engine.DeadLetters,
            Schemas = _schemas,
            FindProfile = (_, _) => throw new NotSupportedException(),
            StatePath = StatePath,
            Time = Time,
            Seed = 1,
            Metrics = _metrics,
            Logger = NullLogger.Instance,
        };
        return new CrmConnection(
            settings ?? Settings,
            gate =>
            {
                Crm.Gate = gate;
                return _make?.Invoke(gate, new FollowingTime(Time)) ?? Crm;
            },
            Consent is null ? Profiles("crm") : new ConsentedProfiles(Profiles("crm"), Consent),
            parts);
    }

    /// <summary>Lets time pass and both sides work until nothing changes any more.</summary>
    /// <param name="count">Counts the CRM's writes; null: of <see cref="Crm"/>.</param>
    public async Task QuietAsync(Func<int>? count = null)
    {
        count ??= () => Crm.Writes;
        int faults = Crm.Faults;
        Crm.Faults = 0;
        int writes = -1;
        for (int still = 0, turns = 0; still < 2; turns++)
        {
            Assert.True(turns < 30, $"Both sides never come to rest: {string.Join(Environment.NewLine, EventPayloads("crm").TakeLast(12))}");
            await PassAsync(TimeSpan.FromMinutes(10));
            await DrainAsync();
            still = count() == writes ? still + 1 : 0;
            writes = count();
        }

        await PassAsync(TimeSpan.FromDays(2)); // The whole reader, too.
        await DrainAsync();
        await PassAsync(TimeSpan.FromMinutes(10));
        await DrainAsync();
        Crm.Faults = faults;
    }

    /// <summary>Moves the clock of all; changed profiles come to their log by it.</summary>
    public async Task PassAsync(TimeSpan by)
    {
        Time.Advance(by);
        await SendAsync($$"""{"type":"track","event":"Clock","userId":"clock","messageId":"clock-{{_clock++}}"}""");
    }

    public Task IdentifyAsync(string user, string traits) => SendAsync($$"""{"type":"identify","userId":"{{user}}","traits":{{traits}},"messageId":"{{Guid.NewGuid()}}"}""");

    public Task TrackAsync(string user, string name) => SendAsync($$"""{"type":"track","event":"{{name}}","userId":"{{user}}","messageId":"{{Guid.NewGuid()}}"}""");

    public async Task SendAsync(string json)
    {
        Time.Advance(TimeSpan.FromMilliseconds(5));
        DateTimeOffset now = Time.GetUtcNow();
        string timed = string.Create(CultureInfo.InvariantCulture, $"{{\"timestamp\":\"{now:yyyy-MM-ddTHH:mm:ss.fffZ}\",{json[1..]}");
        Assert.True(Web.TryAppend(Encoding.UTF8.GetBytes(timed), now));
        await Web.AppliedAsync(TestContext.Current.CancellationToken);
    }

    public async Task<ProfileView?> FindAsync(string type, string value) => await Web.FindAsync(type, value, TestContext.Current.CancellationToken);

    public async Task<JsonElement> DocumentAsync(string type, string value)
    {
        byte[] document = await _engine.ProfileAsync(type, value, ProfileParts.Default | ProfileParts.Events | ProfileParts.Crm, TestContext.Current.CancellationToken) ?? throw new InvalidOperationException("nobody");
        return JsonElement.Parse(document);
    }

    /// <summary>JSON of all events that a source brought.</summary>
    public IEnumerable<string> EventPayloads(string source)
    {
        List<string> payloads = [];
        for (int partition = 0; partition < _engine.Events.Partitions; partition++)
        {
            using ILogReader reader = _engine.Events.OpenReader(partition, 0);
            while (reader.TryRead(out LogRecord record))
            {
                if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && CustomerEvent.TryRead(body, out CustomerEvent e) && Encoding.UTF8.GetString(e.Source) == source)
                {
                    payloads.Add(Encoding.UTF8.GetString(e.Payload));
                }
            }
        }

        return payloads;
    }

    public static string? Trait(ProfileView view, string name) => view.Traits.TryGetProperty(name, out JsonElement value) ? CanonicalValue.Of(value) : null;

    public string? Field(string id, string name) => Crm.Find(id)!.Fields.TryGetValue(name, out JsonElement value) ? CanonicalValue.Of(value) : null;

    public async ValueTask DisposeAsync()
    {
        Web.Dispose();
        await _engine.DisposeAsync();
        await _logs.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    /// <summary>The same hour, but waits last: for what talks over a network.</summary>
    public sealed class FollowingTime(JumpingTime time) : TimeProvider
    {
        public override DateTimeOffset GetUtcNow() => time.GetUtcNow();
    }

    private EngineProfiles Profiles(string source) => new(
        _model,
        source,
        _engine.Events,
        _schemas,
        token => _engine.WaitAppliedAsync(TimeSpan.FromSeconds(30), token),
        async (type, value, token) => await _engine.ProfileAsync(type, value, ProfileParts.Traits | ProfileParts.Computed | ProfileParts.Segments | ProfileParts.Identifiers, token) is { } document ? ProfileView.FromDocument(document) : null);
}
