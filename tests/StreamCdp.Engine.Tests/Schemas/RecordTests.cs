using Avro;
using CsCheck;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Schemas;

public sealed class RecordTests
{
    public static TheoryData<RecordType> Types => [.. Enum.GetValues<RecordType>()];

    [Theory]
    [MemberData(nameof(Types))]
    public void A_schema_is_one_that_Apache_Avro_reads_and_every_field_says_what_it_is(RecordType type)
    {
        var schema = Assert.IsType<RecordSchema>(Schema.Parse(SchemaIds.SchemaText(type)));

        Assert.Equal($"streamcdp.{type}", schema.Fullname);
        Assert.All(schema.Fields, field => Assert.False(string.IsNullOrWhiteSpace(field.Documentation), field.Name));
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void What_Apache_Avro_writes_reads_as_the_same_values(RecordType type) =>
        Reference.Records(type).Sample(record =>
            Assert.Equal(Reference.Plain(record), RecordCases.Values(type, Reference.Encode(record))), iter: 300, threads: 1);

    [Theory]
    [MemberData(nameof(Types))]
    public void What_we_write_is_what_Apache_Avro_reads_and_would_write(RecordType type)
    {
        RecordSchema schema = Reference.SchemaOf(type);
        Reference.Records(type).Sample(record =>
        {
            byte[] reference = Reference.Encode(record);
            byte[] buffer = [1, 2, 3];
            Assert.True(RecordCases.TryRewrite(type, reference, ref buffer, position: 3, out int end));

            Assert.Equal([1, 2, 3], buffer[..3]);
            Assert.Equal(reference, buffer[3..end]);
            Assert.Equal(Reference.Plain(record), Reference.Plain(Reference.Decode(schema, buffer.AsSpan(3..end))));
        }, iter: 300, threads: 1);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void A_cut_or_longer_body_is_refused(RecordType type) =>
        Reference.Records(type).Sample(record =>
        {
            byte[] body = Reference.Encode(record);
            byte[] buffer = [];
            for (int length = 0; length < body.Length; length++)
            {
                if (RecordCases.TryRewrite(type, body.AsSpan(0, length), ref buffer, 0, out int end))
                {
                    // A profile of version 0.1.0 ends before the CRM records: that alone is read, as one without any.
                    Assert.True(type == RecordType.Profile && buffer.AsSpan(0, end).SequenceEqual((ReadOnlySpan<byte>)[.. body.AsSpan(0, length), 4, (byte)'{', (byte)'}']), $"{length} of {body.Length} bytes");
                }
            }

            Assert.False(RecordCases.TryRewrite(type, [.. body, 0], ref buffer, 0, out _));
        }, iter: 20, threads: 1);

    [Theory]
    [MemberData(nameof(Types))]
    public void Damaged_bytes_never_throw_and_never_allocate(RecordType type)
    {
        byte[] buffer = new byte[1 << 20];
        Gen.Select(Reference.Records(type), Gen.Select(Gen.Int[0, 100_000], Gen.OneOf(Gen.Byte, Gen.OneOf<byte>(0, 1, 0x7F, 0x80, 0xFF))).Array[1, 12]).Sample((record, damages) =>
        {
            byte[] body = Reference.Encode(record);
            foreach ((int place, byte value) in damages)
            {
                body[place % body.Length] = value;
            }

            AssertAllocatesNothing(type, body, buffer, calls: 1);
        }, iter: 2_000, threads: 1);
        Gen.Byte.Array[0, 400].Sample(body => AssertAllocatesNothing(type, body, buffer, calls: 1), iter: 2_000, threads: 1);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Reading_and_writing_allocate_nothing(RecordType type)
    {
        byte[] buffer = new byte[1 << 20];
        Reference.Records(type).Sample(record => AssertAllocatesNothing(type, Reference.Encode(record), buffer, calls: 1_000), iter: 10, threads: 1);
    }

    [Fact]
    public void A_new_profile_event_and_no_other_has_no_link_and_requires_none()
    {
        var record = new ProfileEvent();

        Assert.Equal((-1, -1), (record.LinkOffset, record.RequiresLink));
    }

    [Fact]
    public void A_buffer_grows_only_where_it_is_too_small()
    {
        byte[] large = new byte[4096];
        byte[] buffer = large;
        int end = new CustomerEvent { Payload = new byte[3000] }.WriteTo(ref buffer, 5);
        Assert.Same(large, buffer);

        buffer[0] = 42;
        end = new CustomerEvent { Payload = new byte[3000] }.WriteTo(ref buffer, end);
        Assert.NotSame(large, buffer);
        Assert.Equal(42, buffer[0]);
        Assert.True(CustomerEvent.TryRead(buffer.AsSpan((end - 5) / 2 + 5, (end - 5) / 2), out CustomerEvent record));
        Assert.Equal(3000, record.Payload.Length);
    }

    private static void AssertAllocatesNothing(RecordType type, byte[] body, byte[] buffer, int calls) =>
        Assert.Equal(0, Allocation.Of(calls, () => _ = RecordCases.TryRewrite(type, body, ref buffer, 0, out _)));
}
