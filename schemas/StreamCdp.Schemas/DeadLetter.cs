namespace StreamCdp.Schemas;

/// <summary>An event that could not be used, with the reason and all that is needed to send it again. Log: dead-letters.</summary>
/// <remarks>
/// Reading: spans point into the bytes read. Writing: set what is not empty, then <see cref="WriteTo"/>.
/// </remarks>
public ref struct DeadLetter
{
    /// <summary>Name of the log it was read from; empty where the collector refused it. UTF-8.</summary>
    public ReadOnlySpan<byte> OriginLog { get; set; }

    /// <summary>Partition in that log.</summary>
    public int OriginPartition { get; set; }

    /// <summary>Offset in that partition.</summary>
    public long OriginOffset { get; set; }

    /// <summary>Id of the source; empty where it is not known. UTF-8.</summary>
    public ReadOnlySpan<byte> Source { get; set; }

    /// <summary>When it was refused. Unix ms.</summary>
    public long At { get; set; }

    /// <summary>Code: no_identifier, too_large, invalid_json, missing_event, bad_timestamp, not_an_object, unknown_type. UTF-8.</summary>
    public ReadOnlySpan<byte> Reason { get; set; }

    /// <summary>Path of the field that is wrong; empty where it is the whole event. UTF-8.</summary>
    public ReadOnlySpan<byte> Field { get; set; }

    /// <summary>For people: what is wrong and what is allowed. UTF-8.</summary>
    public ReadOnlySpan<byte> Detail { get; set; }

    /// <summary>The event's bytes as sent.</summary>
    public ReadOnlySpan<byte> Payload { get; set; }

    /// <summary>JSON context of the batch. Empty: none.</summary>
    public ReadOnlySpan<byte> Context { get; set; }

    /// <summary>When the collector received it. Unix ms.</summary>
    public long ReceivedAt { get; set; }

    /// <summary>sentAt of the batch. Unix ms.</summary>
    public long? SentAt { get; set; }

    /// <summary>The client's time is taken as it is.</summary>
    public bool Import { get; set; }

    /// <summary>Type of the path or record that it came by, which an event without <c>type</c> has; empty: none. UTF-8.</summary>
    public ReadOnlySpan<byte> EventType { get; set; }

    /// <summary>Reads an Avro body (without the wire format's header).</summary>
    /// <returns>False where the bytes are not exactly one record; then the record is empty.</returns>
    public static bool TryRead(ReadOnlySpan<byte> avroBody, out DeadLetter record)
    {
        var reader = new AvroReader(avroBody);
        record = default;
        record.OriginLog = reader.ReadBytes();
        record.OriginPartition = reader.ReadInt();
        record.OriginOffset = reader.ReadLong();
        record.Source = reader.ReadBytes();
        record.At = reader.ReadLong();
        record.Reason = reader.ReadBytes();
        record.Field = reader.ReadBytes();
        record.Detail = reader.ReadBytes();
        record.Payload = reader.ReadBytes();
        record.Context = reader.ReadOptionalBytes();
        record.ReceivedAt = reader.ReadLong();
        record.SentAt = reader.ReadOptionalLong();
        record.Import = reader.ReadBoolean();
        record.EventType = reader.ReadBytes();
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
        writer.Reserve(151 + EventType.Length + OriginLog.Length + Source.Length + Reason.Length + Field.Length + Detail.Length + Payload.Length + Context.Length);
        writer.WriteBytes(OriginLog);
        writer.WriteLong(OriginPartition);
        writer.WriteLong(OriginOffset);
        writer.WriteBytes(Source);
        writer.WriteLong(At);
        writer.WriteBytes(Reason);
        writer.WriteBytes(Field);
        writer.WriteBytes(Detail);
        writer.WriteBytes(Payload);
        writer.WriteOptionalBytes(Context);
        writer.WriteLong(ReceivedAt);
        writer.WriteOptionalLong(SentAt);
        writer.WriteBoolean(Import);
        writer.WriteBytes(EventType);
        return writer.Position;
    }
}
