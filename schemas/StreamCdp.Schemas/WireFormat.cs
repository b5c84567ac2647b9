using System.Buffers.Binary;

namespace StreamCdp.Schemas;

/// <summary>Confluent's wire format: a zero byte and the schema's id (4 bytes, big endian) before the Avro body.</summary>
public static class WireFormat
{
    /// <summary>Bytes of the header.</summary>
    public const int HeaderBytes = 5;

    /// <summary>Writes the header.</summary>
    /// <param name="buffer">Replaced by a larger copy where it is too small.</param>
    /// <param name="position">Where to begin; the bytes before it are kept, those behind it are not.</param>
    /// <param name="schemaId">Of <see cref="SchemaIds"/>.</param>
    /// <returns>Where the body begins.</returns>
    public static int WriteHeader(ref byte[] buffer, int position, int schemaId)
    {
        new AvroWriter(ref buffer, position).Reserve(HeaderBytes);
        buffer[position] = 0;
        BinaryPrimitives.WriteInt32BigEndian(buffer.AsSpan(position + 1), schemaId);
        return position + HeaderBytes;
    }

    /// <summary>Splits a log value into schema id and Avro body.</summary>
    /// <returns>False where the value does not begin with a header, as JSON does not.</returns>
    public static bool TryRead(ReadOnlySpan<byte> value, out int schemaId, out ReadOnlySpan<byte> avroBody)
    {
        if (value.Length < HeaderBytes || value[0] != 0)
        {
            schemaId = 0;
            avroBody = default;
            return false;
        }

        schemaId = BinaryPrimitives.ReadInt32BigEndian(value[1..]);
        avroBody = value[HeaderBytes..];
        return true;
    }
}
