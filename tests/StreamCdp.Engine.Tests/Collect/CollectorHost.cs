using System.Net;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Schemas;
using CollectorRegistry = Prometheus.CollectorRegistry;

namespace StreamCdp.Engine.Tests.Collect;

/// <summary>A collector on a real Kestrel, on a free port of this machine, with logs in memory.</summary>
internal sealed class CollectorHost : IAsyncDisposable
{
    public const string Key = "web-key";
    public const string ServerKey = "server-key";

    public static readonly CdpModel Model = new()
    {
        Text = "",
        Version = 1,
        Sources = [new("web", Key, "website", Trusted: false), new("shop", ServerKey, "server", Trusted: true), new("files", null, "import", Trusted: true)],
        Identifiers =
        [
            new() { Type = "user_id", Limit = 1 },
            new() { Type = "email", Limit = 5, From = [["traits", "email"], ["context", "traits", "email"]], Normalize = IdentifierNormalization.Email },
            new() { Type = "anonymous_id", Limit = 100 },
        ],
    };

    private readonly WebApplication _app;

    private CollectorHost(WebApplication app, Collector collector, CollectorRegistry metrics)
    {
        _app = app;
        Collector = collector;
        Metrics = metrics;
        Address = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
        Http = new HttpClient { BaseAddress = Address };
    }

    public Uri Address { get; }

    public HttpClient Http { get; }

    public Collector Collector { get; }

    public CollectorRegistry Metrics { get; }

    public required MemoryWriter Events { get; init; }

    public required MemoryWriter DeadLetters { get; init; }

    public static async Task<CollectorHost> StartAsync(CollectOptions? options = null, TimeProvider? time = null)
    {
        options ??= new CollectOptions();
        Assert.Empty(options.Errors());
        var events = new MemoryWriter();
        var deadLetters = new MemoryWriter();
        CollectorRegistry metrics = Prometheus.Metrics.NewCustomRegistry();
        var collector = new Collector(Model, events, partitions: 4, deadLetters, time ?? TimeProvider.System, options, new CollectCounters(metrics), SchemaIds.BuiltIn);
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            CollectEndpoints.Limit(kestrel, options);
            kestrel.Listen(IPAddress.Loopback, 0);
        });
        WebApplication app = builder.Build();
        app.MapCollector(collector);
        app.MapGet("/v1/profiles/{id}", (string id) => Results.Text("api " + id));
        await app.StartAsync(TestContext.Current.CancellationToken);
        return new CollectorHost(app, collector, metrics) { Events = events, DeadLetters = deadLetters };
    }

    /// <summary>Sends with Basic authorization.</summary>
    public async Task<(int Status, string Body)> PostAsync(string path, string body, string? key = Key)
    {
        using HttpRequestMessage request = Request(path, new StringContent(body), key);
        using HttpResponseMessage response = await Http.SendAsync(request, TestContext.Current.CancellationToken);
        return ((int)response.StatusCode, await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
    }

    public HttpRequestMessage Request(string path, HttpContent content, string? key = Key)
    {
        var request = new HttpRequestMessage(HttpMethod.Post, new Uri(Address.ToString().TrimEnd('/') + path)) { Content = content };
        if (key is not null)
        {
            request.Headers.Authorization = new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(key + ":")));
        }

        return request;
    }

    public async Task<string> MetricsTextAsync()
    {
        using var stream = new MemoryStream();
        await Metrics.CollectAndExportAsTextAsync(stream, TestContext.Current.CancellationToken);
        return Encoding.UTF8.GetString(stream.ToArray());
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        await _app.DisposeAsync();
        Collector.Dispose();
    }
}

/// <summary>A record as written.</summary>
internal sealed record MemoryRecord(int Partition, string Key, byte[] Value, long TimestampMs)
{
    public SentEvent Event()
    {
        Assert.True(WireFormat.TryRead(Value, out int schemaId, out ReadOnlySpan<byte> body));
        Assert.Equal((int)RecordType.CustomerEvent, schemaId);
        Assert.True(CustomerEvent.TryRead(body, out CustomerEvent e));
        return new SentEvent(Text(e.MessageId), Text(e.Type), Text(e.Source), e.ReceivedAt, e.SentAt, e.Import, Text(e.Context), Text(e.Payload));
    }

    public RefusedEvent DeadLetter()
    {
        Assert.True(WireFormat.TryRead(Value, out int schemaId, out ReadOnlySpan<byte> body));
        Assert.Equal((int)RecordType.DeadLetter, schemaId);
        Assert.True(StreamCdp.Schemas.DeadLetter.TryRead(body, out DeadLetter e));
        return new RefusedEvent(Text(e.Source), Text(e.Reason), Text(e.Field), Text(e.Detail), Text(e.Payload), Text(e.Context), e.ReceivedAt);
    }

    private static string Text(ReadOnlySpan<byte> utf8) => Encoding.UTF8.GetString(utf8);
}

internal sealed record SentEvent(string MessageId, string Type, string Source, long ReceivedAt, long? SentAt, bool Import, string Context, string Payload);

internal sealed record RefusedEvent(string Source, string Reason, string Field, string Detail, string Payload, string Context, long ReceivedAt);

/// <summary>A writer whose durability and faults the test decides.</summary>
internal sealed class MemoryWriter : ILogWriter
{
    private readonly Lock _lock = new();
    private readonly List<MemoryRecord> _records = [];
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _held;
    private long _durable;

    public long Appended
    {
        get
        {
            lock (_lock)
            {
                return _records.Count;
            }
        }
    }

    public long Durable => Interlocked.Read(ref _durable);

    public LogUnavailableException? Fault { get; private set; }

    public MemoryRecord[] Records
    {
        get
        {
            lock (_lock)
            {
                return [.. _records];
            }
        }
    }

    /// <summary>What is appended does not become durable until <see cref="Release"/>.</summary>
    public void Hold() => _held = true;

    public void Release()
    {
        _held = false;
        Commit();
    }

    public void Break()
    {
        Fault = new LogUnavailableException("The disk is full.");
        Signal();
    }

    public void Repair() => Fault = null;

    /// <summary>Whether the buffer has room.</summary>
    public bool IsFull { get; set; }

    public bool TryAppend(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs, long deadline, out long ticket)
    {
        lock (_lock)
        {
            Deadlines.Add(deadline);
        }

        ticket = IsFull ? 0 : Append(partition, key, value, timestampMs);
        return !IsFull;
    }

    /// <summary>How long each append was ready to wait, by <see cref="Environment.TickCount64"/>.</summary>
    public List<long> Deadlines { get; } = [];

    public long Append(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
    {
        if (Fault is not null)
        {
            throw Fault;
        }

        var record = new MemoryRecord(partition, Encoding.UTF8.GetString(key), value.ToArray(), timestampMs);
        long ticket;
        lock (_lock)
        {
            _records.Add(record);
            ticket = _records.Count;
        }

        if (!_held)
        {
            Commit();
        }

        return ticket;
    }

    public async ValueTask WaitDurableAsync(long ticket, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task changed = _changed.Task;
            if (Durable >= ticket)
            {
                return;
            }

            if (Fault is not null)
            {
                throw Fault;
            }

            await changed.WaitAsync(cancellationToken);
        }
    }

    public void WaitDurable(long ticket) => throw new NotSupportedException();

    public void Dispose()
    {
    }

    private void Commit()
    {
        Interlocked.Exchange(ref _durable, Appended);
        Signal();
    }

    private void Signal()
    {
        TaskCompletionSource changed = Interlocked.Exchange(ref _changed, new(TaskCreationOptions.RunContinuationsAsynchronously));
        changed.TrySetResult();
    }
}
