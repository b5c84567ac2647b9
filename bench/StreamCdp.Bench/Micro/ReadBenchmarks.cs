using System.Text.Json;
using BenchmarkDotNet.Attributes;
using StreamCdp.Bench.EndToEnd;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.Micro;

/// <summary>An event's JSON: bare, by paths, and as the collector and the router read it.</summary>
[MemoryDiagnoser]
public class ReadBenchmarks
{
    private const int Events = 256;

    private readonly JsonPathScanner _scanner = new([["type"], ["properties", "revenue"], ["context", "campaign", "name"], ["messageId"]]);
    private readonly JsonSlice[] _slots = new JsonSlice[4];
    private byte[][] _payloads = [];
    private EventReader _reader = null!;
    private int _next;
    private long _tokens;
    private long _found;
    private long _calls;

    [GlobalSetup]
    public void Setup()
    {
        _payloads = Samples.Payloads(Events);
        _reader = new EventReader(Place.Model());
    }

    /// <summary>The baseline of all times: Utf8JsonReader to the end.</summary>
    [Benchmark(Baseline = true)]
    public void WalkJson()
    {
        var json = new Utf8JsonReader(Next());
        while (json.Read())
        {
            _tokens++;
        }
    }

    [Benchmark]
    public void JsonPathScannerScan() => _found += _scanner.Scan(Next(), _slots) && _slots[3].Kind == JsonTokenType.String ? 1 : 0;

    [Benchmark]
    public void EventReaderRead() => _found += _reader.Read(Next(), default) == EventProblem.None && _reader.IdentifierCount > 0 ? 1 : 0;

    [GlobalCleanup]
    public void CheckAnswer() => Samples.MustBe(true, _tokens > _calls * 10 || _found == _calls, "events read");

    private byte[] Next()
    {
        _calls++;
        return _payloads[_next++ % Events];
    }
}

/// <summary>The record of the log profile-events.</summary>
[MemoryDiagnoser]
public class ProfileEventBenchmarks
{
    private byte[] _payload = [];
    private byte[] _record = [];
    private byte[] _buffer = new byte[2048];
    private long _calls;
    private long _bytes;

    [GlobalSetup]
    public void Setup()
    {
        _payload = Samples.Payloads(1)[0];
        _record = _buffer.AsSpan(0, WriteRecord()).ToArray();
        _calls = _bytes = 0;
    }

    [Benchmark]
    public void Write() => _bytes += WriteRecord() == _record.Length ? _payload.Length : 0;

    [Benchmark]
    public void Read()
    {
        _calls++;
        if (WireFormat.TryRead(_record, out _, out ReadOnlySpan<byte> body) && ProfileEvent.TryRead(body, out ProfileEvent e) && e.OriginOffset == 17)
        {
            _bytes += e.Payload.Length;
        }
    }

    [GlobalCleanup]
    public void CheckAnswer() => Samples.MustBe(_calls * _payload.Length, _bytes, "bytes");

    private int WriteRecord()
    {
        _calls++;
        var record = new ProfileEvent { Kind = ProfileEventKind.Event, ProfileId = 42, OriginOffset = 17, EventTime = Samples.StartMs, Source = "web"u8, Payload = _payload };
        return record.WriteTo(ref _buffer, WireFormat.WriteHeader(ref _buffer, 0, SchemaIds.BuiltIn[RecordType.ProfileEvent]));
    }
}
