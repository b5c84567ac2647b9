using System.Text;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Runtime;
using StreamCdp.Engine.State;
using StreamCdp.Engine.Tests.Segments;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Profiles;

/// <summary>A shard that reads again what it has done already.</summary>
public class RedoTests
{
    private const long At = 1_767_225_600_000;
    private byte[] _buffer = new byte[512];

    /// <summary>Two events wait, each for another record. The first record came, and the profile was in the store, but the checkpoint is of before.</summary>
    [Fact]
    public void What_waits_for_another_record_still_waits_after_the_first_is_read_again()
    {
        var saved = new Dictionary<Guid, Dictionary<UInt128, byte[]>>();
        using var store = new MemoryStore(saved);
        using Profiler before = Shard(store);
        Apply(before, 0, Event(1, link: 2, requires: -1));
        Apply(before, 1, Event(2, link: 5, requires: 2));
        ProfilerSnapshot checkpoint = before.Save();
        Assert.Equal(2, before.QueuedCount);

        Apply(before, 2, Transfer(link: 2));
        before.OpenScan().Dispose(); // The profile goes to the store.
        Assert.Equal((1, 1), (before.Applied, before.QueuedCount));

        using Profiler after = Shard(store);
        after.Restore(checkpoint);
        Apply(after, 2, Transfer(link: 2));
        Assert.Equal((0, 1), (after.Applied, after.QueuedCount));
        Apply(after, 3, Transfer(link: 5));

        Assert.Equal((1, 0, 0), (after.Applied, after.QueuedCount, after.PendingCount));
        Assert.True(after.TryGet(1, out _, out ProfileState profile));
        Assert.Equal(2, profile.EventCount);
    }

    private static Profiler Shard(IStateStore store)
    {
        CdpModel model = Build.Cdp();
        return new Profiler(0, 1, model, _ => model, store, new NoEffects(), SchemaIds.BuiltIn);
    }

    private static ProfileEvent Event(int number, long link, long requires) => new()
    {
        Kind = ProfileEventKind.Event,
        ProfileId = 1,
        Merged = 1,
        LinkOffset = link,
        RequiresLink = requires,
        EventType = (int)EventType.Track,
        EventTime = At + number,
        OriginOffset = number,
        MessageId = Encoding.UTF8.GetBytes($"m{number}"),
        Source = "web"u8,
        Payload = """{"type":"track","event":"A"}"""u8,
    };

    private static ProfileEvent Transfer(long link) => new() { Kind = ProfileEventKind.Transfer, ProfileId = 1, Into = (UInt128)link, LinkOffset = link, SourceShard = 0, SourceOffset = link };

    private void Apply(Profiler shard, long offset, ProfileEvent e)
    {
        int end = e.WriteTo(ref _buffer, WireFormat.WriteHeader(ref _buffer, 0, SchemaIds.BuiltIn[RecordType.ProfileEvent]));
        shard.Apply(new LogRecord { Offset = offset, TimestampMs = At, Value = _buffer.AsSpan(0, end) });
    }

    private sealed class NoEffects : IEffects
    {
        public void Append(StageLog log, int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
        {
        }

        public void WaitDurable(StageLog log)
        {
        }
    }
}
