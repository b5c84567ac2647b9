using System.Buffers.Binary;
using BenchmarkDotNet.Attributes;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.State;

namespace StreamCdp.Bench.Micro;

/// <summary>FASTER in memory: 100,000 values of 700 bytes.</summary>
[MemoryDiagnoser]
public class FasterStoreBenchmarks
{
    private const int Keys = 100_000;

    private readonly string _directory = Samples.NewDirectory();
    private readonly byte[] _value = new byte[700];
    private FasterStore _store = null!;
    private byte[] _read = new byte[1024];
    private ulong _next;
    private long _wrong;

    [GlobalSetup]
    public void Setup()
    {
        _store = new FasterStore(_directory, StoreKind.Updated, new StoreSizes(256 << 20, 16 << 20));
        for (ulong i = 0; i < Keys; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(_value, i);
            _store.Write(Samples.Key(i), _value);
        }
    }

    [Benchmark]
    public void ReadAndWrite()
    {
        ulong i = (_next++ * 7919) % Keys;
        int length = _store.Read(Samples.Key(i), ref _read);
        _wrong += length == _value.Length && BinaryPrimitives.ReadUInt64LittleEndian(_read) == i ? 0 : 1;
        _store.Write(Samples.Key(i), _read.AsSpan(0, length));
    }

    [GlobalCleanup]
    public void CheckAnswer()
    {
        Samples.MustBe(0, _wrong, "wrong values");
        _store.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}

/// <summary>The local log: records of 600 bytes. Writing is the stage's part; the commit is the log's own thread.</summary>
[MemoryDiagnoser]
public class LocalLogBenchmarks
{
    private const int Loaded = 100_000;

    private readonly string _directory = Samples.NewDirectory();
    private readonly byte[] _value = new byte[600];
    private LocalLogs _logs = null!;
    private ILog _written = null!;
    private ILog _toRead = null!;
    private ILogWriter _writer = null!;
    private ILogReader _reader = null!;
    private long _appended;
    private long _read;
    private long _wrong;

    [GlobalSetup]
    public void Setup()
    {
        _logs = new LocalLogs(_directory, new LocalLogOptions { Durability = LocalDurability.PageCache }, TimeProvider.System);
        _written = _logs.Open(new LogDefinition("written", 1, LogCleanup.Delete));
        _writer = _written.OpenWriter();
        _toRead = _logs.Open(new LogDefinition("read", 1, LogCleanup.Delete));
        using (ILogWriter writer = _toRead.OpenWriter())
        {
            for (int i = 0; i < Loaded; i++)
            {
                writer.Append(0, default, _value, i);
            }

            writer.WaitDurable(writer.Appended);
        }

        _reader = _toRead.OpenReader(0, 0);
    }

    [Benchmark]
    public void Append()
    {
        if (_writer.Append(0, default, _value, 0) != ++_appended)
        {
            _wrong++;
        }

        if (_appended % 4096 == 0)
        {
            _writer.WaitDurable(_appended); // Else this loop is faster than any disk and only fills buffers.
        }

        if (_appended % 1_048_576 == 0)
        {
            _written.Truncate(0, _written.EndOffset(0));
        }
    }

    [Benchmark]
    public void Read()
    {
        if (!_reader.TryRead(out LogRecord record))
        {
            _reader.Dispose();
            _reader = _toRead.OpenReader(0, 0);
            _read = 0;
            _reader.TryRead(out record);
        }

        _wrong += record.Offset == _read++ && record.Value.Length == _value.Length ? 0 : 1;
    }

    [GlobalCleanup]
    public void CheckAnswer()
    {
        Samples.MustBe(0, _wrong, "wrong records");
        _reader.Dispose();
        _writer.Dispose();
        _logs.DisposeAsync().AsTask().Wait();
        Directory.Delete(_directory, recursive: true);
    }
}
