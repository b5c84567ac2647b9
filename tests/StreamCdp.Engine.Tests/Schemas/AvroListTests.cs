using System.Text;
using CsCheck;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Schemas;

public sealed class AvroListTests
{
    [Fact]
    public void The_list_that_was_built_has_what_was_added_in_its_order() =>
        Gen.Select(Gen.String[Gen.Char.AlphaNumeric, 0, 30], Gen.String[Gen.Char.AlphaNumeric, 0, 200]).Array[0, 200].Sample(pairs =>
        {
            var writer = new IdentifierListWriter();
            writer.Add("left over"u8, "from the last record"u8);
            writer.Clear();
            foreach ((string type, string value) in pairs)
            {
                writer.Add(Encoding.UTF8.GetBytes(type), Encoding.UTF8.GetBytes(value));
            }

            Assert.Equal(pairs, Pairs(writer.List));
            Assert.Equal(pairs.Length, writer.List.Count);
            Assert.True(AvroList<Identifier>.TryRead(writer.List.Encoded, out AvroList<Identifier> again));
            Assert.Equal(pairs, Pairs(again));
        }, iter: 300, threads: 1);

    [Fact]
    public void Blocks_with_and_without_their_size_are_one_list()
    {
        // One item; then two items in a block of 8 bytes, its count negative; then the end.
        ReadOnlySpan<byte> encoded = [2, 2, (byte)'t', 2, (byte)'1', 3, 16, 2, (byte)'t', 2, (byte)'2', 2, (byte)'t', 2, (byte)'3', 0];

        Assert.True(AvroList<Identifier>.TryRead(encoded, out AvroList<Identifier> list));
        Assert.Equal(3, list.Count);
        Assert.Equal([("t", "1"), ("t", "2"), ("t", "3")], Pairs(list));
    }

    [Theory]
    [InlineData(new byte[] { 2, 2, 116, 2, 49 })] // No end.
    [InlineData(new byte[] { 0, 0 })] // More after the end.
    [InlineData(new byte[] { 3, 14, 2, 116, 2, 50, 2, 116, 2, 51, 0 })] // A block with a wrong size.
    [InlineData(new byte[] { 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0 })] // 2^63 − 1 items.
    [InlineData(new byte[] { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0 })] // −2^63 items.
    [InlineData(new byte[] { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2, 0 })] // A long of more than 64 bits.
    public void A_list_that_lies_is_refused(byte[] encoded)
    {
        Assert.False(AvroList<Identifier>.TryRead(encoded, out AvroList<Identifier> list));
        Assert.Equal(0, list.Count);
    }

    [Fact]
    public void A_list_writer_used_again_allocates_nothing()
    {
        var writer = new IdentifierListWriter();
        int count = 0;

        Assert.Equal(0, Allocation.Of(1_000, () => count = Fill(writer)));
        Assert.Equal(100, count);
    }

    private static int Fill(IdentifierListWriter writer)
    {
        writer.Clear();
        for (int i = 0; i < 100; i++)
        {
            writer.Add("anonymous_id"u8, "0123456789abcdef"u8);
        }

        return writer.List.Count;
    }

    private static List<(string Type, string Value)> Pairs(AvroList<Identifier> list)
    {
        var pairs = new List<(string Type, string Value)>();
        foreach (Identifier identifier in list)
        {
            pairs.Add((Encoding.UTF8.GetString(identifier.Type), Encoding.UTF8.GetString(identifier.Value)));
        }

        return pairs;
    }
}
