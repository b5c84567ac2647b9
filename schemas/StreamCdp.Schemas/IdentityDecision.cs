namespace StreamCdp.Schemas;

/// <summary>What a record of identity-map is.</summary>
public enum DecisionKind
{
    /// <summary>An identifier belongs to a profile.</summary>
    Decision,

    /// <summary>What the resolver made of one event.</summary>
    Outcome,

    /// <summary>From here on another version of the model decided.</summary>
    Model,
}

/// <summary>What the resolver decided: whose an identifier is, or what became of an event. Log: identity-map, compacted.</summary>
/// <remarks>
/// Reading: spans point into the bytes read. Writing: set what is not empty, then <see cref="WriteTo"/>.
/// </remarks>
public ref struct IdentityDecision
{
    /// <summary>What the record is.</summary>
    public DecisionKind Kind { get; set; }

    /// <summary>Decision: type of the identifier. UTF-8.</summary>
    public ReadOnlySpan<byte> Type { get; set; }

    /// <summary>Decision: value of the identifier. UTF-8.</summary>
    public ReadOnlySpan<byte> Value { get; set; }

    /// <summary>The canonical id.</summary>
    public UInt128 ProfileId { get; set; }

    /// <summary>Decision: epoch of the profile, the number of its first decision. Outcome: offset of the link that it answers; a router may ask again, then <see cref="LinkOffset"/> is of the first one.</summary>
    public long Epoch { get; set; }

    /// <summary>Offset in identity-links of the record that was decided on.</summary>
    public long LinkOffset { get; set; }

    /// <summary>Order of joining among the identifiers of that link, from 0.</summary>
    public int Position { get; set; }

    /// <summary>Outcome: partition of the event in the log events.</summary>
    public int OriginPartition { get; set; }

    /// <summary>Outcome: offset of the event.</summary>
    public long OriginOffset { get; set; }

    /// <summary>Outcome: number of profiles that were merged into this one. Decision: 1 where its link merged profiles, so that a resolver that lost its state knows the last merge.</summary>
    public int Merged { get; set; }

    /// <summary>Outcome: link offset of the merge before this one into the same profile, which must be applied first; −1 for none.</summary>
    public long RequiresLink { get; set; }

    /// <summary>Outcome: bit i is set where the event's i-th identifier was kept, for the first 63.</summary>
    public long Kept { get; set; }

    /// <summary>Outcome: the alias's previousId is a user_id.</summary>
    public bool AliasIsUser { get; set; }

    /// <summary>Outcome: the same for the event's identifiers from the 64th on, eight a byte, lowest bit first; empty: none of them.</summary>
    public ReadOnlySpan<byte> KeptMore { get; set; }

    /// <summary>Outcome: the cap of a profile's identifiers left one out.</summary>
    public bool Capped { get; set; }

    /// <summary>Reads an Avro body (without the wire format's header).</summary>
    /// <returns>False where the bytes are not exactly one record; then the record is empty.</returns>
    public static bool TryRead(ReadOnlySpan<byte> avroBody, out IdentityDecision record)
    {
        var reader = new AvroReader(avroBody);
        record = default;
        record.Kind = (DecisionKind)reader.ReadEnum(3);
        record.Type = reader.ReadBytes();
        record.Value = reader.ReadBytes();
        record.ProfileId = reader.ReadFixedId();
        record.Epoch = reader.ReadLong();
        record.LinkOffset = reader.ReadLong();
        record.Position = reader.ReadInt();
        record.OriginPartition = reader.ReadInt();
        record.OriginOffset = reader.ReadLong();
        record.Merged = reader.ReadInt();
        record.RequiresLink = reader.ReadLong();
        record.Kept = reader.ReadLong();
        record.AliasIsUser = reader.ReadBoolean();
        record.KeptMore = reader.ReadOptionalBytes();
        record.Capped = reader.ReadBoolean();
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
        writer.Reserve(139 + Type.Length + Value.Length + KeptMore.Length);
        writer.WriteLong((long)Kind);
        writer.WriteBytes(Type);
        writer.WriteBytes(Value);
        writer.WriteFixedId(ProfileId);
        writer.WriteLong(Epoch);
        writer.WriteLong(LinkOffset);
        writer.WriteLong(Position);
        writer.WriteLong(OriginPartition);
        writer.WriteLong(OriginOffset);
        writer.WriteLong(Merged);
        writer.WriteLong(RequiresLink);
        writer.WriteLong(Kept);
        writer.WriteBoolean(AliasIsUser);
        writer.WriteOptionalBytes(KeptMore);
        writer.WriteBoolean(Capped);
        return writer.Position;
    }
}
