using System.Net;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Schemas;

namespace StreamCdp.Integration.Tests.Sdk;

/// <summary>The collector on Kestrel with local logs on the disk.</summary>
internal sealed class SdkServer : IAsyncDisposable
{
    public const string Key = "web-key";
    public const string JitsuKey = "jit:secret"; // @jitsu/js takes only keys of this form.

    private static readonly CdpModel s_model = new()
    {
        Text = "",
        Version = 1,
        Sources = [new("web", Key, "website", Trusted: false), new("jitsu", JitsuKey, "website", Trusted: false)],
        Identifiers =
        [
            new() { Type = "user_id", Limit = 1 },
            new() { Type = "email", Limit = 5, From = [["traits", "email"]], Normalize = IdentifierNormalization.Email },
            new() { Type = "anonymous_id", Limit = 100 },
        ],
    };

    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-sdk-logs-").FullName;
    private readonly LocalLogs _logs;
    private readonly ILog _events;
    private readonly ILog _deadLetters;
    private readonly ILogWriter _deadLetterWriter;
    private readonly Collector _collector;
    private readonly WebApplication _app;

    public SdkServer()
    {
        _logs = new LocalLogs(_directory, new LocalLogOptions(), TimeProvider.System);
        _events = _logs.Open(new LogDefinition("events", 4, LogCleanup.Delete));
        _deadLetters = _logs.Open(new LogDefinition("dead-letters", 1, LogCleanup.Delete));
        Writer = new BreakableWriter(_events.OpenWriter());
        _deadLetterWriter = _deadLetters.OpenWriter();
        var options = new CollectOptions { RetryAfterMin = TimeSpan.FromSeconds(2), RetryAfterMax = TimeSpan.FromSeconds(2) };
        _collector = new Collector(s_model, Writer, _events.Partitions, _deadLetterWriter, TimeProvider.System, options, new CollectCounters(Prometheus.Metrics.NewCustomRegistry()), SchemaIds.BuiltIn);
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            CollectEndpoints.Limit(kestrel, options);
            kestrel.Listen(IPAddress.Loopback, 0);
        });
        _app = builder.Build();
        _app.MapCollector(_collector);
    }

    public Uri Address => new(_app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());

    public BreakableWriter Writer { get; }

    public Task StartAsync() => _app.StartAsync(TestContext.Current.CancellationToken);

    /// <summary>All events in the log, in the order of their partitions.</summary>
    public IReadOnlyList<ArrivedEvent> Events()
    {
        var arrived = new List<ArrivedEvent>();
        for (int partition = 0; partition < _events.Partitions; partition++)
        {
            using ILogReader reader = _events.OpenReader(partition, 0);
            while (reader.TryRead(out LogRecord record))
            {
                Assert.True(WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && CustomerEvent.TryRead(body, out _));
                CustomerEvent.TryRead(body, out CustomerEvent e);
                arrived.Add(new ArrivedEvent(Text(record.Key), Text(e.MessageId), Text(e.Type), Text(e.Source), e.SentAt, JsonDocument.Parse(e.Payload.ToArray()).RootElement));
            }
        }

        return arrived;
    }

    /// <summary>Reasons of all dead letters.</summary>
    public IReadOnlyList<string> DeadLetters()
    {
        var reasons = new List<string>();
        using ILogReader reader = _deadLetters.OpenReader(0, 0);
        while (reader.TryRead(out LogRecord record))
        {
            Assert.True(WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body));
            Assert.True(DeadLetter.TryRead(body, out DeadLetter letter));
            reasons.Add(Text(letter.Reason));
        }

        return reasons;
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _collector.Dispose();
        Writer.Dispose();
        _deadLetterWriter.Dispose();
        await _events.DisposeAsync();
        await _deadLetters.DisposeAsync();
        await _logs.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    private static string Text(ReadOnlySpan<byte> utf8) => Encoding.UTF8.GetString(utf8);
}

internal sealed record ArrivedEvent(string Sender, string MessageId, string Type, string Source, long? SentAt, JsonElement Payload);

/// <summary>A real writer that can be out of order for a while.</summary>
internal sealed class BreakableWriter(ILogWriter inner) : ILogWriter
{
    private volatile LogUnavailableException? _fault;

    public long Appended => inner.Appended;

    public long Durable => inner.Durable;

    public LogUnavailableException? Fault => _fault ?? inner.Fault;

    public void Break() => _fault = new LogUnavailableException("Broken by the test.");

    public void Repair() => _fault = null;

    public long Append(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs) => inner.Append(partition, key, value, timestampMs);

    public ValueTask WaitDurableAsync(long ticket, CancellationToken cancellationToken) => inner.WaitDurableAsync(ticket, cancellationToken);

    public void WaitDurable(long ticket) => inner.WaitDurable(ticket);

    public void Dispose() => inner.Dispose();
}
