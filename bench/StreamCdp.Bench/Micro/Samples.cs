using System.Runtime.InteropServices;
using StreamCdp.Bench.EndToEnd;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Identity;
using StreamCdp.Engine.Runtime;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.Micro;

/// <summary>Records for the benchmarks, all of seed 42.</summary>
internal static class Samples
{
    public const long StartMs = 1_760_000_000_000;

    /// <summary>A thrown answer stops a run: fast but wrong must not pass.</summary>
    public static void MustBe<T>(T expected, T actual, string what)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, actual))
        {
            throw new InvalidOperationException($"{what}: expected {expected}, found {actual}. The benchmark's answer is wrong.");
        }
    }

    /// <summary>Records of the log events, as the end-to-end workload makes them.</summary>
    public static byte[][] Events(int count, int people)
    {
        using var workload = new Workload(people, seed: 42, StartMs);
        byte[][] records = new byte[count][];
        for (int i = 0; i < count; i++)
        {
            workload.Next();
            records[i] = workload.Record.ToArray();
        }

        return records;
    }

    /// <summary>20,000 records of the log profile-events, as the router makes them of those.</summary>
    public static byte[][] Routed(CdpModel model, int people)
    {
        var routed = new CountingEffects { Keep = true };
        var router = new Router(model, new MemoryStore([]), new RepeatFilter(new MemoryStore([]), 1000), routed, SchemaIds.BuiltIn, new DerivedId("bench"), 1, ClockMode.Wall, generation: 1);
        long offset = 0;
        foreach (byte[] record in Events(20_000, people))
        {
            router.Apply(new LogRecord { Offset = offset++, TimestampMs = StartMs, Value = record });
        }

        return [.. routed.Kept];
    }

    /// <summary>Their JSON.</summary>
    public static byte[][] Payloads(int count) => [.. Events(count, people: 200).Select(record =>
    {
        WireFormat.TryRead(record, out _, out ReadOnlySpan<byte> body);
        CustomerEvent.TryRead(body, out CustomerEvent e);
        return e.Payload.ToArray();
    })];

    /// <summary>A key as the stores have them: a hash.</summary>
    public static UInt128 Key(ulong number) => Hash128.Of(MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in number)));

    public static string NewDirectory() => Directory.CreateTempSubdirectory("streamcdp-micro-").FullName;
}

/// <summary>Where a stage's appends go when nobody reads them; it keeps those to profile-events while <see cref="Keep"/>.</summary>
internal sealed class CountingEffects : IEffects
{
    public bool Keep { get; set; }

    public long Count { get; private set; }

    public List<byte[]> Kept { get; } = [];

    public void Append(StageLog log, int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
    {
        Count++;
        if (Keep && log == StageLog.ProfileEvents)
        {
            Kept.Add(value.ToArray());
        }
    }

    public void WaitDurable(StageLog log)
    {
    }
}
