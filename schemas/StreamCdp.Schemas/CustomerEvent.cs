namespace StreamCdp.Schemas;

/// <summary>An event as the collector accepted it: envelope typed, event as sent. Log: events.</summary>
/// <remarks>
/// Everything that the event says itself is in the payload; the envelope holds what the collector knows and what stages need before they parse.
/// Reading: spans point into the bytes read. Writing: set what is not empty, then <see cref="WriteTo"/>.
/// </remarks>
public ref struct CustomerEvent
{
    /// <summary>The event's messageId, empty where it has none. UTF-8.</summary>
    public ReadOnlySpan<byte> MessageId { get; set; }

    /// <summary>The event's type as sent: track, identify, page, screen, group, alias or anything else. UTF-8.</summary>
    public ReadOnlySpan<byte> Type { get; set; }

    /// <summary>Id of the source whose write key was used. UTF-8.</summary>
    public ReadOnlySpan<byte> Source { get; set; }

    /// <summary>When the collector received it. Unix ms.</summary>
    public long ReceivedAt { get; set; }

    /// <summary>sentAt of the batch, by the client's clock; none where the batch has none. Unix ms.</summary>
    public long? SentAt { get; set; }

    /// <summary>The client's time is taken as it is (file imports).</summary>
    public bool Import { get; set; }

    /// <summary>JSON context of the batch, for an event without its own. Empty: none.</summary>
    public ReadOnlySpan<byte> Context { get; set; }

    /// <summary>The event's JSON as sent.</summary>
    public ReadOnlySpan<byte> Payload { get; set; }

    /// <summary>Reads an Avro body (without the wire format's header).</summary>
    /// <returns>False where the bytes are not exactly one record; then the record is empty.</returns>
    public static bool TryRead(ReadOnlySpan<byte> avroBody, out CustomerEvent record)
    {
        var reader = new AvroReader(avroBody);
        record = default;
        record.MessageId = reader.ReadBytes();
        record.Type = reader.ReadBytes();
        record.Source = reader.ReadBytes();
        record.ReceivedAt = reader.ReadLong();
        record.SentAt = reader.ReadOptionalLong();
        record.Import = reader.ReadBoolean();
        record.Context = reader.ReadOptionalBytes();
        record.Payload = reader.ReadBytes();
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
        writer.Reserve(91 + MessageId.Length + Type.Length + Source.Length + Context.Length + Payload.Length);
        writer.WriteBytes(MessageId);
        writer.WriteBytes(Type);
        writer.WriteBytes(Source);
        writer.WriteLong(ReceivedAt);
        writer.WriteOptionalLong(SentAt);
        writer.WriteBoolean(Import);
        writer.WriteOptionalBytes(Context);
        writer.WriteBytes(Payload);
        return writer.Position;
    }
}
