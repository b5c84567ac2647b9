namespace StreamCdp.Schemas;

/// <summary>What happened to a membership.</summary>
public enum MembershipChange
{
    /// <summary>The profile is a member from now on.</summary>
    Entered,

    /// <summary>The profile is a member no longer.</summary>
    Exited,
}

/// <summary>What changed a membership.</summary>
public enum MembershipReason
{
    /// <summary>An event of the profile.</summary>
    Event,

    /// <summary>Two profiles became one.</summary>
    Merge,

    /// <summary>Time passed.</summary>
    Time,

    /// <summary>The rule of the segment was changed.</summary>
    Edit,

    /// <summary>The history was counted again.</summary>
    Backfill,
}

/// <summary>A profile entered or left a segment. Log: memberships, compacted by profile and segment.</summary>
/// <remarks>
/// Comes at least once: a reader drops what is not newer than the version that it knows.
/// Reading: spans point into the bytes read. Writing: set what is not empty, then <see cref="WriteTo"/>.
/// </remarks>
public ref struct SegmentMembership
{
    /// <summary>Canonical id, 32 lower-case hex digits.</summary>
    public UInt128 ProfileId { get; set; }

    /// <summary>Id of the segment. UTF-8.</summary>
    public ReadOnlySpan<byte> Segment { get; set; }

    /// <summary>Version of the segment's rule, 16 hex digits. UTF-8.</summary>
    public ReadOnlySpan<byte> SegmentVersion { get; set; }

    /// <summary>What happened.</summary>
    public MembershipChange Change { get; set; }

    /// <summary>The instant of the change. Unix ms.</summary>
    public long At { get; set; }

    /// <summary>messageId of the causing event; none where no event did it. UTF-8; empty: none.</summary>
    public ReadOnlySpan<byte> Cause { get; set; }

    /// <summary>What caused it.</summary>
    public MembershipReason Reason { get; set; }

    /// <summary>Time of the causing record in its log. Unix ms.</summary>
    public long SourceTs { get; set; }

    /// <summary>Offset of the causing record in the shard's log.</summary>
    public long SourceOffset { get; set; }

    /// <summary>Version of the profile: only grows, by at least one with each change.</summary>
    public long Version { get; set; }

    /// <summary>The change comes from counting history again.</summary>
    public bool Backfill { get; set; }

    /// <summary>Reads an Avro body (without the wire format's header).</summary>
    /// <returns>False where the bytes are not exactly one record; then the record is empty.</returns>
    public static bool TryRead(ReadOnlySpan<byte> avroBody, out SegmentMembership record)
    {
        var reader = new AvroReader(avroBody);
        record = default;
        record.ProfileId = reader.ReadTextId();
        record.Segment = reader.ReadBytes();
        record.SegmentVersion = reader.ReadBytes();
        record.Change = (MembershipChange)reader.ReadEnum(2);
        record.At = reader.ReadLong();
        record.Cause = reader.ReadOptionalBytes();
        record.Reason = (MembershipReason)reader.ReadEnum(5);
        record.SourceTs = reader.ReadLong();
        record.SourceOffset = reader.ReadLong();
        record.Version = reader.ReadLong();
        record.Backfill = reader.ReadBoolean();
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
        writer.Reserve(143 + Segment.Length + SegmentVersion.Length + Cause.Length);
        writer.WriteTextId(ProfileId);
        writer.WriteBytes(Segment);
        writer.WriteBytes(SegmentVersion);
        writer.WriteLong((long)Change);
        writer.WriteLong(At);
        writer.WriteOptionalBytes(Cause);
        writer.WriteLong((long)Reason);
        writer.WriteLong(SourceTs);
        writer.WriteLong(SourceOffset);
        writer.WriteLong(Version);
        writer.WriteBoolean(Backfill);
        return writer.Position;
    }
}
