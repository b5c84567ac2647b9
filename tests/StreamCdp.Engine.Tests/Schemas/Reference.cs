using Avro;
using Avro.Generic;
using Avro.IO;
using CsCheck;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Schemas;

/// <summary>The truth to compare with: Apache.Avro, and random records made from the schema alone.</summary>
internal static class Reference
{
    private static readonly Gen<string> _text = Gen.OneOf(
        Gen.Const(""), Gen.String[Gen.Char.AlphaNumeric, 1, 20], Gen.OneOf("a@b.c", "Grüße", "日本語", "😀 emoji", "\0\t\""), Gen.String[Gen.Char.AlphaNumeric, 60, 300]);

    private static readonly Gen<string> _id = Gen.Select(Gen.ULong, Gen.ULong, (high, low) => $"{high:x16}{low:x16}");

    /// <summary>The schema without logical types, which Apache.Avro would turn into DateTime: times are compared as the numbers they are.</summary>
    public static RecordSchema SchemaOf(RecordType type) => (RecordSchema)Schema.Parse(CanonicalSchema.Of(SchemaIds.SchemaText(type)));

    public static Gen<GenericRecord> Records(RecordType type) => Record(SchemaOf(type));

    public static byte[] Encode(GenericRecord record)
    {
        using var stream = new MemoryStream();
        new GenericDatumWriter<GenericRecord>(record.Schema).Write(record, new BinaryEncoder(stream));
        return stream.ToArray();
    }

    public static GenericRecord Decode(RecordSchema schema, ReadOnlySpan<byte> body)
    {
        using var stream = new MemoryStream(body.ToArray());
        GenericRecord record = new GenericDatumReader<GenericRecord>(schema, schema).Read(null!, new BinaryDecoder(stream));
        Assert.Equal(stream.Length, stream.Position);
        return record;
    }

    /// <summary>A record as plain values, in the way of <see cref="RecordCases.Values"/>.</summary>
    public static object? Plain(object? value) => value switch
    {
        GenericRecord record => record.Schema.Fields.ToDictionary(field => field.Name, field => Plain(record.GetValue(field.Pos))),
        GenericFixed fixedBytes => fixedBytes.Value,
        GenericEnum symbol => symbol.Value,
        object[] array => array.Select(Plain).ToList(),
        _ => value,
    };

    private static Gen<GenericRecord> Record(RecordSchema schema)
    {
        Gen<object?>[] fields = [.. schema.Fields.Select(field => Value(field.Schema, $"{schema.Name}.{field.Name}"))];
        return Gen.Select(fields[0].Array[1], Others(fields), (first, others) =>
        {
            var record = new GenericRecord(schema);
            record.Add(0, first[0]);
            for (int i = 0; i < others.Length; i++)
            {
                record.Add(i + 1, others[i]);
            }

            return record;
        });
    }

    private static Gen<object?[]> Others(Gen<object?>[] fields) =>
        fields.Skip(1).Aggregate(Gen.Const(Array.Empty<object?>()), (so, next) => Gen.Select(so, next, (values, value) => (object?[])[.. values, value]));

    private static Gen<object?> Value(Schema schema, string field) => schema switch
    {
        // Empty in a union means the same as null to the engine, and is written as null.
        UnionSchema union => Gen.OneOf(Gen.Const((object?)null), Value(union.Schemas[1], field).Where(value => value is not ("" or byte[] { Length: 0 }))),
        EnumSchema symbols => Gen.OneOf([.. symbols.Symbols]).Select(symbol => (object?)new GenericEnum(symbols, symbol)),
        FixedSchema size => Gen.Byte.Array[size.Size].Select(bytes => (object?)new GenericFixed(size, bytes)),
        ArraySchema array => Value(array.ItemSchema, field).Array[0, 70].Select(items => (object?)items),
        RecordSchema record => Record(record).Select(value => (object?)value),
        _ => Primitive(schema.Tag, field, schema.Name),
    };

    private static Gen<object?> Primitive(Schema.Type tag, string field, string name) => tag switch
    {
        Schema.Type.String when field is "Profile.id" or "SegmentMembership.profile_id" or "Profile.merged_into" or "Profile.merged_from" => _id.Select(id => (object?)id),
        Schema.Type.String when field is "Profile.traits" or "Profile.provenance" or "Profile.computed" or "Profile.crm" => _text.Select(text => (object?)$"{{{text}}}"), // Never empty.
        Schema.Type.String => _text.Select(text => (object?)text),
        Schema.Type.Bytes => Gen.Byte.Array[0, 200].Select(bytes => (object?)bytes),
        Schema.Type.Long => Gen.OneOf(Gen.Long, Gen.Int.Select(value => (long)value), Gen.OneOf(0, -1, 63, 64, -64, -65, long.MinValue, long.MaxValue)).Select(value => (object?)value),
        Schema.Type.Int => Gen.OneOf(Gen.Int, Gen.OneOf(0, -1, int.MinValue, int.MaxValue)).Select(value => (object?)value),
        Schema.Type.Boolean => Gen.Bool.Select(value => (object?)value),
        _ => throw new NotSupportedException(name),
    };
}
