using System.Text;
using StreamCdp.Engine.State;

namespace StreamCdp.Engine.Tests.State;

public sealed class FasterStoreTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-store").FullName;

    [Fact]
    public void What_was_written_is_read_after_growing_shrinking_and_deleting()
    {
        using var store = new FasterStore(_directory, StoreKind.Updated, new StoreSizes(1 << 22, 1 << 20));
        var truth = new Dictionary<UInt128, string>();
        var random = new Random(1);
        for (int i = 0; i < 50_000; i++)
        {
            UInt128 key = (UInt128)random.Next(2000) * 0x9E3779B97F4A7C15UL;
            if (random.Next(10) == 0)
            {
                store.Delete(key);
                truth.Remove(key);
                continue;
            }

            string value = new((char)('a' + random.Next(26)), random.Next(900));
            store.Write(key, Encoding.UTF8.GetBytes(value));
            truth[key] = value;
        }

        byte[] buffer = [];
        foreach ((UInt128 key, string value) in truth)
        {
            int length = store.Read(key, ref buffer);
            Assert.Equal(value, Encoding.UTF8.GetString(buffer, 0, length));
        }

        Assert.Equal(-1, store.Read(12345, ref buffer));
        Assert.Equal(truth, Scan(store));
    }

    [Theory]
    [InlineData(StoreKind.Updated)]
    [InlineData(StoreKind.AppendOnly)]
    internal void A_checkpoint_holds_all_that_was_written_before_it(StoreKind kind)
    {
        StoreSizes sizes = new(1 << 22, 1 << 20);
        StoreCheckpoint first;
        StoreCheckpoint second;
        using (var store = new FasterStore(_directory, kind, sizes))
        {
            for (int i = 0; i < 20_000; i++)
            {
                store.Write((UInt128)i * 0x9E3779B97F4A7C15UL, Encoding.UTF8.GetBytes($"first {i}"));
            }

            first = Checkpoint(store);
            for (int i = 10_000; i < 30_000; i++)
            {
                store.Write((UInt128)i * 0x9E3779B97F4A7C15UL, Encoding.UTF8.GetBytes($"second {i}"));
            }

            second = Checkpoint(store);
            for (int i = 0; i < 30_000; i++)
            {
                store.Write((UInt128)i * 0x9E3779B97F4A7C15UL, Encoding.UTF8.GetBytes($"lost {i}"));
            }
        }

        using (var store = new FasterStore(_directory, kind, sizes, second))
        {
            Dictionary<UInt128, string> found = Scan(store);
            Assert.Equal(30_000, found.Count);
            for (int i = 0; i < 30_000; i++)
            {
                Assert.Equal($"{(i < 10_000 ? "first" : "second")} {i}", found[(UInt128)i * 0x9E3779B97F4A7C15UL]);
            }

            store.Remove(first);
        }

        Assert.Throws<CheckpointFailedException>(() => new FasterStore(_directory, kind, sizes, first));
    }

    [Fact]
    public void A_look_in_parts_sees_all_that_stays_whatever_is_written_meanwhile()
    {
        var random = new Random(7);
        using var store = new FasterStore(_directory, StoreKind.Updated, new StoreSizes(1 << 20, 1 << 20)); // A part is on disk.
        var truth = new Dictionary<UInt128, string>();
        for (int i = 0; i < 3000; i++)
        {
            Write((UInt128)i, 400);
        }

        var seen = new HashSet<UInt128>();
        using IStoreScan scan = store.OpenScan();
        int parts = 1;
        while (scan.MoveOn(100, See))
        {
            parts++;
            for (int i = random.Next(20); i > 0; i--)
            {
                Write((UInt128)random.Next(3000), 900); // Longer than before: it moves.
            }
        }

        Assert.Equal(3000, seen.Count);
        Assert.InRange(parts, 30, 200);

        void Write(UInt128 key, int length)
        {
            truth[key] = new string((char)('a' + random.Next(26)), length + random.Next(100));
            store.Write(key, Encoding.UTF8.GetBytes(truth[key]));
        }

        void See(UInt128 key, ReadOnlySpan<byte> value)
        {
            seen.Add(key);
            Assert.Equal(truth[key], Encoding.UTF8.GetString(value));
        }
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private static StoreCheckpoint Checkpoint(FasterStore store)
    {
        store.BeginCheckpoint();
        StoreCheckpoint checkpoint = null!;
        Assert.True(SpinWait.SpinUntil(() => store.TryCompleteCheckpoint(out checkpoint), TimeSpan.FromSeconds(30)));
        Assert.True(checkpoint.Bytes > 0);
        return checkpoint;
    }

    private static Dictionary<UInt128, string> Scan(FasterStore store)
    {
        var found = new Dictionary<UInt128, string>();
        store.Scan((key, value) => found.Add(key, Encoding.UTF8.GetString(value)));
        return found;
    }
}
