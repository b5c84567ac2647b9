namespace StreamCdp.Schemas;

/// <summary>What a record of identity-links is.</summary>
public enum LinkKind
{
    /// <summary>An event that links identifiers, or uses one for the first time.</summary>
    Link,

    /// <summary>From here on another version of the model decides.</summary>
    Model,
}

/// <summary>Identifiers that one event names together, for the resolver to decide on. Log: identity-links.</summary>
/// <remarks>
/// Reading: spans point into the bytes read. Writing: set what is not empty, then <see cref="WriteTo"/>.
/// </remarks>
public ref struct IdentityLink
{
    /// <summary>What the record is.</summary>
    public LinkKind Kind { get; set; }

    /// <summary>Partition of the log events that the event came from.</summary>
    public int OriginPartition { get; set; }

    /// <summary>Offset in that partition.</summary>
    public long OriginOffset { get; set; }

    /// <summary>The event's messageId. UTF-8.</summary>
    public ReadOnlySpan<byte> MessageId { get; set; }

    /// <summary>Id of the event's source. UTF-8.</summary>
    public ReadOnlySpan<byte> Source { get; set; }

    /// <summary>The source is a server: it may link by identifiers of merge_by server.</summary>
    public bool Trusted { get; set; }

    /// <summary>Clock of the workspace (event clock); 0 where it has none. Unix ms.</summary>
    public long Now { get; set; }

    /// <summary>Event time. Unix ms.</summary>
    public long EventTime { get; set; }

    /// <summary>Version of the model that the router used.</summary>
    public long ModelVersion { get; set; }

    /// <summary>previousId of an alias, normalised as an anonymous_id. UTF-8; empty: none, or it cannot be one.</summary>
    public ReadOnlySpan<byte> AliasPreviousId { get; set; }

    /// <summary>The event's identifiers in the order of the rules.</summary>
    public AvroList<Identifier> Identifiers { get; set; }

    /// <summary>previousId of an alias, normalised as a user_id. UTF-8; empty: none, or it cannot be one.</summary>
    public ReadOnlySpan<byte> AliasPreviousUserId { get; set; }

    /// <summary>Reads an Avro body (without the wire format's header).</summary>
    /// <returns>False where the bytes are not exactly one record; then the record is empty.</returns>
    public static bool TryRead(ReadOnlySpan<byte> avroBody, out IdentityLink record)
    {
        var reader = new AvroReader(avroBody);
        record = default;
        record.Kind = (LinkKind)reader.ReadEnum(2);
        record.OriginPartition = reader.ReadInt();
        record.OriginOffset = reader.ReadLong();
        record.MessageId = reader.ReadBytes();
        record.Source = reader.ReadBytes();
        record.Trusted = reader.ReadBoolean();
        record.Now = reader.ReadLong();
        record.EventTime = reader.ReadLong();
        record.ModelVersion = reader.ReadLong();
        record.AliasPreviousId = reader.ReadOptionalBytes();
        record.Identifiers = reader.ReadList<Identifier>();
        record.AliasPreviousUserId = reader.ReadOptionalBytes();
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
        writer.Reserve(122 + MessageId.Length + Source.Length + AliasPreviousId.Length + AliasPreviousUserId.Length + Identifiers.Encoded.Length);
        writer.WriteLong((long)Kind);
        writer.WriteLong(OriginPartition);
        writer.WriteLong(OriginOffset);
        writer.WriteBytes(MessageId);
        writer.WriteBytes(Source);
        writer.WriteBoolean(Trusted);
        writer.WriteLong(Now);
        writer.WriteLong(EventTime);
        writer.WriteLong(ModelVersion);
        writer.WriteOptionalBytes(AliasPreviousId);
        writer.WriteList(Identifiers);
        writer.WriteOptionalBytes(AliasPreviousUserId);
        return writer.Position;
    }
}
