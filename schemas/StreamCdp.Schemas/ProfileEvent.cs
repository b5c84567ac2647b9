namespace StreamCdp.Schemas;

/// <summary>What a record of profile-events is.</summary>
public enum ProfileEventKind
{
    /// <summary>A customer event of this profile.</summary>
    Event,

    /// <summary>Time passes in this shard.</summary>
    Tick,

    /// <summary>This profile ends and goes over into another.</summary>
    Merge,

    /// <summary>The record of a merged profile, for its survivor.</summary>
    Transfer,

    /// <summary>Everything before this place of its origin has arrived.</summary>
    Fence,

    /// <summary>From here on the shard uses another version of the model.</summary>
    Model,

    /// <summary>A late event of a merged profile, for its survivor.</summary>
    Forward,

    /// <summary>A step of counting history again; which one says <see cref="ProfileEvent.EventType"/>.</summary>
    Backfill,
}

/// <summary>An event or a command for one profile. Log: profile-events.</summary>
/// <remarks>
/// Reading: spans point into the bytes read. Writing: set what is not empty, then <see cref="WriteTo"/>.
/// </remarks>
public ref struct ProfileEvent
{
    /// <summary>All empty and 0, but <see cref="LinkOffset"/> and <see cref="RequiresLink"/> which are −1: none.</summary>
    public ProfileEvent()
    {
        LinkOffset = -1;
        RequiresLink = -1;
    }

    /// <summary>What the record is.</summary>
    public ProfileEventKind Kind { get; set; }

    /// <summary>The canonical id that it is for.</summary>
    public UInt128 ProfileId { get; set; }

    /// <summary>Partition of the event in the log events.</summary>
    public int OriginPartition { get; set; }

    /// <summary>Offset of the event.</summary>
    public long OriginOffset { get; set; }

    /// <summary>Generation of the writer; an older one is ignored. Model: its version. Backfill: its id. Forward: id of the latest backfill before which the event was not counted.</summary>
    public long Generation { get; set; }

    /// <summary>Type of the event: 1 track, 2 identify, 3 page, 4 screen, 5 group, 6 alias; 0 for commands.</summary>
    public int EventType { get; set; }

    /// <summary>Offset in identity-links of the decision behind it; −1 for none.</summary>
    public long LinkOffset { get; set; }

    /// <summary>Number of profiles that the decision merged into this one.</summary>
    public int Merged { get; set; }

    /// <summary>Clock that the record brings; 0 where it brings none. Unix ms.</summary>
    public long Now { get; set; }

    /// <summary>Event time; tick: up to and with this instant everything that time changes is due, 0: up to and with now. Unix ms.</summary>
    public long EventTime { get; set; }

    /// <summary>When the collector received the event. Unix ms.</summary>
    public long ReceivedAt { get; set; }

    /// <summary>Offset in identity-links of the merge that must have been applied before; −1 for none.</summary>
    public long RequiresLink { get; set; }

    /// <summary>Merge: the survivor.</summary>
    public UInt128 Into { get; set; }

    /// <summary>Transfer, fence and forward: the shard that wrote it.</summary>
    public int SourceShard { get; set; }

    /// <summary>Transfer, fence and forward: the offset in that shard's log that it comes from.</summary>
    public long SourceOffset { get; set; }

    /// <summary>Id of the event's source. UTF-8.</summary>
    public ReadOnlySpan<byte> Source { get; set; }

    /// <summary>The event's messageId. UTF-8.</summary>
    public ReadOnlySpan<byte> MessageId { get; set; }

    /// <summary>The event's kept identifiers, in the order of the rules.</summary>
    public AvroList<Identifier> Identifiers { get; set; }

    /// <summary>JSON context of the batch, for an event without its own; empty for none.</summary>
    public ReadOnlySpan<byte> Context { get; set; }

    /// <summary>The event's JSON; transfer: the profile record; forward: a whole ProfileEvent.</summary>
    public ReadOnlySpan<byte> Payload { get; set; }

    /// <summary>Reads an Avro body (without the wire format's header).</summary>
    /// <returns>False where the bytes are not exactly one record; then the record is empty.</returns>
    public static bool TryRead(ReadOnlySpan<byte> avroBody, out ProfileEvent record)
    {
        var reader = new AvroReader(avroBody);
        record = default;
        record.Kind = (ProfileEventKind)reader.ReadEnum(8);
        record.ProfileId = reader.ReadFixedId();
        record.OriginPartition = reader.ReadInt();
        record.OriginOffset = reader.ReadLong();
        record.Generation = reader.ReadLong();
        record.EventType = reader.ReadInt();
        record.LinkOffset = reader.ReadLong();
        record.Merged = reader.ReadInt();
        record.Now = reader.ReadLong();
        record.EventTime = reader.ReadLong();
        record.ReceivedAt = reader.ReadLong();
        record.RequiresLink = reader.ReadLong();
        record.Into = reader.ReadFixedId();
        record.SourceShard = reader.ReadInt();
        record.SourceOffset = reader.ReadLong();
        record.Source = reader.ReadBytes();
        record.MessageId = reader.ReadBytes();
        record.Identifiers = reader.ReadList<Identifier>();
        record.Context = reader.ReadBytes();
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
        writer.Reserve(212 + Source.Length + MessageId.Length + Context.Length + Payload.Length + Identifiers.Encoded.Length);
        writer.WriteLong((long)Kind);
        writer.WriteFixedId(ProfileId);
        writer.WriteLong(OriginPartition);
        writer.WriteLong(OriginOffset);
        writer.WriteLong(Generation);
        writer.WriteLong(EventType);
        writer.WriteLong(LinkOffset);
        writer.WriteLong(Merged);
        writer.WriteLong(Now);
        writer.WriteLong(EventTime);
        writer.WriteLong(ReceivedAt);
        writer.WriteLong(RequiresLink);
        writer.WriteFixedId(Into);
        writer.WriteLong(SourceShard);
        writer.WriteLong(SourceOffset);
        writer.WriteBytes(Source);
        writer.WriteBytes(MessageId);
        writer.WriteList(Identifiers);
        writer.WriteBytes(Context);
        writer.WriteBytes(Payload);
        return writer.Position;
    }
}
