using StreamCdp.Engine.Pipeline;

namespace StreamCdp.Engine.Tests.Collect;

public class Hash128Tests
{
    // vectors_sip128 of the reference implementation: key 00 … 0f, message 00 01 … of that length.
    [Theory]
    [InlineData(0, "a3817f04ba25a8e66df67214c7550293")]
    [InlineData(1, "da87c1d86b99af44347659119b22fc45")]
    [InlineData(2, "8177228da4a45dc7fca38bdef60affe4")]
    public void It_is_SipHash_2_4_128(int length, string expected)
    {
        byte[] message = [.. Enumerable.Range(0, length).Select(i => (byte)i)];

        Assert.Equal(expected, CanonicalId.Text(Hash128.Of(message, 0x0706050403020100, 0x0f0e0d0c0b0a0908)));
    }

    [Fact]
    public void An_identifier_is_hashed_as_type_and_value() => Assert.Equal(Hash128.Of("user_id:42"u8), Hash128.OfIdentifier("user_id"u8, "42"u8));

    [Fact]
    public void Long_values_are_hashed_whole()
    {
        byte[] value = new byte[40_000];
        UInt128 hash = Hash128.OfIdentifier("user_id"u8, value);
        value[39_999] = 1;

        Assert.NotEqual(hash, Hash128.OfIdentifier("user_id"u8, value));
    }

    [Fact]
    public void Senders_spread_over_the_partitions()
    {
        int[] counts = new int[12];
        for (int i = 0; i < 12_000; i++)
        {
            counts[EventPartition.Of(Hash128.OfIdentifier("anonymous_id"u8, BitConverter.GetBytes(i)), counts.Length)]++;
        }

        Assert.All(counts, count => Assert.InRange(count, 850, 1150));
    }
}
