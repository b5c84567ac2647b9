using System.Buffers.Text;
using System.Text;
using BenchmarkDotNet.Attributes;
using StreamCdp.Bench.EndToEnd;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Pipeline.Identity;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.Micro;

/// <summary>The router on its real stores, without logs: a page view of a lone device, and one of a known user with a device.</summary>
[MemoryDiagnoser]
public class RouterBenchmarks
{
    private const int MessageIdAt = 6; // Behind the header of 5 bytes and its own length.

    private readonly CountingEffects _effects = new();
    private readonly string _directory = Samples.NewDirectory();
    private FasterStore _map = null!;
    private FasterStore _repeats = null!;
    private Router _router = null!;
    private byte[] _lone = [];
    private byte[] _known = [];
    private long _calls;

    [GlobalSetup]
    public void Setup()
    {
        _map = new FasterStore(Path.Combine(_directory, "map"), StoreKind.Updated, new StoreSizes(32 << 20, 4 << 20));
        _repeats = new FasterStore(Path.Combine(_directory, "repeats"), StoreKind.AppendOnly, new StoreSizes(64 << 20, 64 << 20));
        _router = new Router(Place.Model(), _map, new RepeatFilter(_repeats, 1000), _effects, SchemaIds.BuiltIn, new DerivedId("bench"), 1, ClockMode.Wall, generation: 1);
        byte[] buffer = new byte[256];
        foreach ((string type, string value) in new[] { ("user_id", "user-1"), ("anonymous_id", "device-1") })
        {
            int end = new IdentityDecision { Kind = DecisionKind.Decision, Type = Encoding.UTF8.GetBytes(type), Value = Encoding.UTF8.GetBytes(value), ProfileId = 42 }
                .WriteTo(ref buffer, WireFormat.WriteHeader(ref buffer, 0, SchemaIds.BuiltIn[RecordType.IdentityDecision]));
            _router.ApplyDecision(new LogRecord { Value = buffer.AsSpan(0, end) });
        }

        _lone = Record("""{"type":"page","name":"Home","anonymousId":"device-0","properties":{"path":"/c/17","title":"Shop"},"context":{"userAgent":"Mozilla/5.0 (X11; Linux x86_64)","locale":"de-DE"}}""");
        _known = Record("""{"type":"page","name":"Home","anonymousId":"device-1","userId":"user-1","properties":{"path":"/c/17","title":"Shop"},"context":{"userAgent":"Mozilla/5.0 (X11; Linux x86_64)","locale":"de-DE"}}""");
        _calls = 0;
    }

    [Benchmark]
    public void ApplyLoneDevice() => Apply(_lone);

    [Benchmark]
    public void ApplyKnownUser() => Apply(_known);

    [GlobalCleanup]
    public void CheckAnswer()
    {
        Samples.MustBe(_calls, _router.Processed, "events passed on");
        Samples.MustBe(0, _router.WaitingCount, "waiting");
        _map.Dispose();
        _repeats.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private static byte[] Record(string json)
    {
        byte[] buffer = new byte[1024];
        int end = new CustomerEvent { MessageId = "0000000000000000"u8, Source = "web"u8, ReceivedAt = Samples.StartMs, Payload = Encoding.UTF8.GetBytes(json) }
            .WriteTo(ref buffer, WireFormat.WriteHeader(ref buffer, 0, SchemaIds.BuiltIn[RecordType.CustomerEvent]));
        return buffer[..end];
    }

    private void Apply(byte[] record)
    {
        // Another messageId each time, written over the old one.
        Span<byte> id = record.AsSpan(MessageIdAt, 16);
        Utf8Formatter.TryFormat(_calls, id, out _, new System.Buffers.StandardFormat('D', 16));
        _router.Apply(new LogRecord { Offset = _calls, TimestampMs = Samples.StartMs, Value = record });
        _calls++;
    }
}

/// <summary>The filter of repeats on its real store: an event that is new.</summary>
[MemoryDiagnoser]
public class RepeatFilterBenchmarks
{
    private readonly string _directory = Samples.NewDirectory();
    private FasterStore _store = null!;
    private RepeatFilter _filter = null!;
    private long _calls;
    private long _kept;

    [GlobalSetup]
    public void Setup()
    {
        _store = new FasterStore(_directory, StoreKind.AppendOnly, new StoreSizes(64 << 20, 64 << 20));
        _filter = new RepeatFilter(_store, 24L * 3600 * 1000);
    }

    [Benchmark]
    public void KeepNew() => _kept += _filter.IsRepeat(Samples.Key((ulong)++_calls), 1, Samples.StartMs, 0, _calls) ? 0 : 1;

    [GlobalCleanup]
    public void CheckAnswer()
    {
        Samples.MustBe(_calls, _kept, "kept");
        Samples.MustBe(true, _filter.IsRepeat(Samples.Key((ulong)_calls), 1, Samples.StartMs, 0, _calls + 1), "the last again is a repeat");
        _store.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}
