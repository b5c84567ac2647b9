using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Schemas;

public sealed class WireFormatTests
{
    [Fact]
    public void A_value_is_a_zero_byte_the_id_in_big_endian_and_the_body()
    {
        byte[] buffer = [9];
        int body = WireFormat.WriteHeader(ref buffer, 1, 0x01020304);
        int end = new ModelRecord { Version = "v"u8, Text = "t"u8, At = 1 }.WriteTo(ref buffer, body);

        Assert.Equal([9, 0, 1, 2, 3, 4, 2, (byte)'v', 2, (byte)'t', 2], buffer[..end]);
    }

    [Fact]
    public void A_header_reads_as_it_was_written()
    {
        byte[] buffer = [];
        int end = WireFormat.WriteHeader(ref buffer, 0, int.MaxValue);

        Assert.True(WireFormat.TryRead([.. buffer.AsSpan(0, end), 7], out int id, out ReadOnlySpan<byte> body));
        Assert.Equal(int.MaxValue, id);
        Assert.Equal([7], body.ToArray());
    }

    [Theory]
    [InlineData(new byte[0])]
    [InlineData(new byte[] { 0, 0, 0, 1 })]
    [InlineData(new byte[] { (byte)'{', (byte)'"', (byte)'a', (byte)'"', (byte)':', (byte)'1', (byte)'}' })]
    public void A_value_without_header_is_refused(byte[] value)
    {
        Assert.False(WireFormat.TryRead(value, out int id, out ReadOnlySpan<byte> body));
        Assert.Equal(0, id);
        Assert.True(body.IsEmpty);
    }
}
