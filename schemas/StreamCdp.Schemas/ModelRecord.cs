namespace StreamCdp.Schemas;

/// <summary>A version of the model. Log: models.</summary>
/// <remarks>
/// Reading: spans point into the bytes read. Writing: set what is not empty, then <see cref="WriteTo"/>.
/// </remarks>
public ref struct ModelRecord
{
    /// <summary>Version of the model. UTF-8.</summary>
    public ReadOnlySpan<byte> Version { get; set; }

    /// <summary>The checked model as text. UTF-8.</summary>
    public ReadOnlySpan<byte> Text { get; set; }

    /// <summary>When it became a version. Unix ms.</summary>
    public long At { get; set; }

    /// <summary>Reads an Avro body (without the wire format's header).</summary>
    /// <returns>False where the bytes are not exactly one record; then the record is empty.</returns>
    public static bool TryRead(ReadOnlySpan<byte> avroBody, out ModelRecord record)
    {
        var reader = new AvroReader(avroBody);
        record = default;
        record.Version = reader.ReadBytes();
        record.Text = reader.ReadBytes();
        record.At = reader.ReadLong();
        if (reader.IsCompleteAndValid)
        {
            return true;
        }

        record = default;
        return false;
    }

    /// <summary>Writes the Avro body.</summary>
    /// <param name="buffer">Replaced by a larger copy where it is too small.</param>
    /// <param name="position">Where to begin; the bytes before it are kept, those behind it are not.</param>
    /// <returns>The position behind the last byte.</returns>
    public readonly int WriteTo(ref byte[] buffer, int position)
    {
        var writer = new AvroWriter(ref buffer, position);
        writer.Reserve(30 + Version.Length + Text.Length);
        writer.WriteBytes(Version);
        writer.WriteBytes(Text);
        writer.WriteLong(At);
        return writer.Position;
    }
}
