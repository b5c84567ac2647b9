using CsCheck;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Segments;

namespace StreamCdp.Engine.Tests.Segments;

/// <summary>State of <c>sequence</c>.</summary>
public class SequenceEventsTests
{
    /// <summary>In any order, alone or several of another profile, of which some can be several steps.</summary>
    [Fact]
    public void Where_more_events_cannot_change_it_they_do_not() => Gen.Int[0, int.MaxValue - 1].Sample(
        seed =>
        {
            var random = new Random(seed);
            int steps = 2 + random.Next(3);
            long windowMs = random.Next(2) * (1 + random.Next(40));
            var sequence = new SequenceEvents(steps, windowMs);
            long now = 0;
            byte[] state = Event();
            int unchanged = 0;
            for (int i = 0; i < 300; i++)
            {
                byte[] added = random.Next(8) == 0 ? Both(Event(), Event()) : Event();
                byte[] after = Both(state, added);
                if (!sequence.MayChange(state, added))
                {
                    Assert.Equal(IsSeen(state), IsSeen(after));
                    unchanged++;
                }

                state = after;
            }

            Assert.True(unchanged > 0, "It could always change.");

            byte[] Event()
            {
                long at = random.Next(4) == 0 ? Math.Max(0, now - random.Next(30)) : now += random.Next(3);
                byte[] buffer = new byte[64];
                var writer = new StateWriter(buffer);
                sequence.Write(new EventOrder(at, random.Next(3), 0), 1 + (ulong)random.Next((1 << steps) - 1), ref writer);
                return buffer[..writer.Position];
            }

            byte[] Both(byte[] one, byte[] other)
            {
                byte[] buffer = new byte[one.Length + other.Length + 64];
                var writer = new StateWriter(buffer);
                sequence.Combine(one, other, ref writer);
                return buffer[..writer.Position];
            }

            bool IsSeen(byte[] of) => sequence.TryFind(of, out long beganMs, out _) && (windowMs == 0 || beganMs > now - windowMs);
        },
        iter: 500);
}
