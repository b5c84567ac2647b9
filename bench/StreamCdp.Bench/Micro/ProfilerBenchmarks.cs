using BenchmarkDotNet.Attributes;
using StreamCdp.Bench.EndToEnd;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.Micro;

/// <summary>The profiler on its real store, with the demo model: events of 1,000 lone devices, without ticks.</summary>
[MemoryDiagnoser]
public class ProfilerBenchmarks
{
    private const int Devices = 1000;

    private readonly CountingEffects _effects = new();
    private readonly string _directory = Samples.NewDirectory();
    private FasterStore _store = null!;
    private Profiler _profiler = null!;
    private byte[][] _records = [];
    private long _offset;

    [GlobalSetup]
    public void Setup()
    {
        CdpModel model = Model();
        _records = Samples.Routed(model, Devices);
        _store = new FasterStore(_directory, StoreKind.Updated, new StoreSizes(256 << 20, 16 << 20));
        _profiler = new Profiler(0, 1, model, _ => model, _store, _effects, SchemaIds.BuiltIn);
    }

    [Benchmark]
    public void Apply()
    {
        _profiler.Apply(new LogRecord { Offset = _offset, TimestampMs = Samples.StartMs, Value = _records[_offset % _records.Length] });
        _offset++;
        if (_profiler.EmittedFor.Count > 1000)
        {
            _profiler.EmittedFor.Clear(); // The runner does so after each batch.
        }
    }

    /// <summary>What it computes with.</summary>
    protected virtual CdpModel Model() => Place.Model();

    [GlobalCleanup]
    public void CheckAnswer()
    {
        Samples.MustBe(_offset, _profiler.Applied, "events applied");
        _profiler.Dispose();
        _store.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}

/// <summary>The same with a thousand segments over 600 leaves: what an event costs must not grow with them.</summary>
[MemoryDiagnoser]
public class ManySegmentsBenchmarks : ProfilerBenchmarks
{
    /// <summary>Segments of the model.</summary>
    [Params(10, 1000, 5000)]
    public int Segments { get; set; } = 1000;

    protected override CdpModel Model() => ManySegments.Of(base.Model(), Segments);
}

/// <summary>The functions of the demo model on one profile.</summary>
[MemoryDiagnoser]
public class SegmentEngineBenchmarks
{
    private const int Events = 256;

    private readonly ProfileState _profile = new();
    private SegmentEngine _segments = null!;
    private byte[][] _payloads = [];
    private JsonSlice[][] _slots = [];
    private SegmentChanges _changes;
    private long _calls;

    [GlobalSetup]
    public void Setup()
    {
        _segments = new SegmentEngine(Place.Model());
        _payloads = [.. Samples.Payloads(4 * Events).Where(payload => payload.AsSpan().IndexOf("Product Viewed"u8) >= 0).Take(Events)];
        var scanner = new JsonPathScanner(_segments.EventPaths);
        _slots = [.. _payloads.Select(payload =>
        {
            var slots = new JsonSlice[_segments.EventPaths.Count];
            scanner.Scan(payload, slots);
            return slots;
        })];
        _profile.Reset(42);
    }

    [Benchmark]
    public void ApplyAndEvaluate()
    {
        int place = (int)(_calls % _payloads.Length);
        long now = Samples.StartMs + (_calls++ * 1000);
        var view = new EventView
        {
            Payload = _payloads[place],
            ContextPayload = _payloads[place],
            Slots = _slots[place],
            Type = EventType.Track,
            Name = "Product Viewed"u8,
            Order = new EventOrder(now, _calls, 0),
        };
        long deadline = _segments.NextDeadline(_profile, now - 1000);
        while (deadline <= now)
        {
            _segments.EvaluateDue(_profile, deadline, ref _changes);
            deadline = _segments.NextDeadline(_profile, deadline);
        }

        _segments.Begin(_profile, now);
        _segments.Apply(_profile, view);
        _profile.EventCount++;
        _changes.Clear();
        _segments.EvaluateChanged(_profile, isNew: _profile.EventCount == 1, now, ref _changes);
    }

    [GlobalCleanup]
    public void CheckAnswer()
    {
        // So many views in ten minutes, and nothing in the cart: a window shopper, where enough calls were made.
        bool found = false;
        foreach (MembershipEntry membership in _profile.Memberships)
        {
            found |= membership.Key == _segments.SegmentKey(_segments.SegmentIndex("window_shoppers"));
        }

        Samples.MustBe(_calls >= 5, found, "window shopper");
    }
}
