namespace StreamCdp.Schemas;

/// <summary>One person as the engine knows it. Log: profiles, compacted. Written by <see cref="ProfileWriter"/>.</summary>
/// <remarks>
/// Comes at least once: a reader drops what is not newer than the version that it knows.
/// Reading: spans point into the bytes read.
/// </remarks>
public ref struct Profile
{
    /// <summary>Canonical id; 32 lower-case hex digits in Avro.</summary>
    public UInt128 Id { get; set; }

    /// <summary>Only grows.</summary>
    public long Version { get; set; }

    /// <summary>Earliest event time, Unix ms.</summary>
    public long CreatedAt { get; set; }

    /// <summary>The instant of the last change, Unix ms.</summary>
    public long UpdatedAt { get; set; }

    /// <summary>Offset in the shard's log of the last record applied.</summary>
    public long SourceOffset { get; set; }

    /// <summary>The survivor, where this profile was merged into another; then the rest is empty.</summary>
    public UInt128? MergedInto { get; set; }

    /// <summary>Identifiers in order of joining.</summary>
    public AvroList<ProfileIdentifier> Identifiers { get; set; }

    /// <summary>JSON object of the sent traits.</summary>
    public ReadOnlySpan<byte> Traits { get; set; }

    /// <summary>JSON object: for each trait <c>{"source", "at"}</c> of the write that gave it.</summary>
    public ReadOnlySpan<byte> Provenance { get; set; }

    /// <summary>JSON object of the computed traits.</summary>
    public ReadOnlySpan<byte> Computed { get; set; }

    /// <summary>Segments that it is in.</summary>
    public AvroList<ProfileSegment> Segments { get; set; }

    /// <summary>Activity: earliest event time, Unix ms.</summary>
    public long FirstSeen { get; set; }

    /// <summary>Activity: latest event time, Unix ms.</summary>
    public long LastSeen { get; set; }

    /// <summary>Activity: number of events.</summary>
    public long Events { get; set; }

    /// <summary>Profiles that it took over, oldest first.</summary>
    public AvroList<ProfileReference> MergedFrom { get; set; }

    /// <summary>JSON object of the CRM records: <c>{"deals":[{"id","source",…}]}</c>.</summary>
    public ReadOnlySpan<byte> Crm { get; set; }

    /// <summary>Reads an Avro body (without the wire format's header). One of before version 0.2, without CRM records, has none.</summary>
    /// <returns>False where the bytes are not exactly one record; then the record is empty.</returns>
    public static bool TryRead(ReadOnlySpan<byte> avroBody, out Profile record)
    {
        var reader = new AvroReader(avroBody);
        record = default;
        record.Id = reader.ReadTextId();
        record.Version = reader.ReadLong();
        record.CreatedAt = reader.ReadLong();
        record.UpdatedAt = reader.ReadLong();
        record.SourceOffset = reader.ReadLong();
        record.MergedInto = reader.ReadOptionalTextId();
        record.Identifiers = reader.ReadList<ProfileIdentifier>();
        record.Traits = reader.ReadBytes();
        record.Provenance = reader.ReadBytes();
        record.Computed = reader.ReadBytes();
        record.Segments = reader.ReadList<ProfileSegment>();
        record.FirstSeen = reader.ReadLong();
        record.LastSeen = reader.ReadLong();
        record.Events = reader.ReadLong();
        record.MergedFrom = reader.ReadList<ProfileReference>();
        record.Crm = reader.Remaining == 0 && !reader.Failed ? "{}"u8 : reader.ReadBytes();
        if (reader.IsCompleteAndValid)
        {
            return true;
        }

        record = default;
        return false;
    }
}

/// <summary>An identifier of a profile.</summary>
public readonly ref struct ProfileIdentifier : IAvroItem<ProfileIdentifier>
{
    private ProfileIdentifier(scoped ref AvroReader reader)
    {
        Type = reader.ReadBytes();
        Value = reader.ReadBytes();
        FirstSeen = reader.ReadLong();
        LastSeen = reader.ReadLong();
        Source = reader.ReadBytes();
    }

    /// <summary>Type of the model, UTF-8.</summary>
    public ReadOnlySpan<byte> Type { get; }

    /// <summary>Normalised value, UTF-8.</summary>
    public ReadOnlySpan<byte> Value { get; }

    /// <summary>Earliest event time that names it, Unix ms.</summary>
    public long FirstSeen { get; }

    /// <summary>Latest event time that names it, Unix ms.</summary>
    public long LastSeen { get; }

    /// <summary>Source of the earliest event that names it, UTF-8.</summary>
    public ReadOnlySpan<byte> Source { get; }

    /// <inheritdoc/>
    public static ProfileIdentifier Read(scoped ref AvroReader reader) => new(ref reader);
}

/// <summary>A membership of a profile.</summary>
public readonly ref struct ProfileSegment : IAvroItem<ProfileSegment>
{
    private ProfileSegment(scoped ref AvroReader reader)
    {
        Id = reader.ReadBytes();
        Since = reader.ReadLong();
    }

    /// <summary>Id of the segment, UTF-8.</summary>
    public ReadOnlySpan<byte> Id { get; }

    /// <summary>Member since, Unix ms.</summary>
    public long Since { get; }

    /// <inheritdoc/>
    public static ProfileSegment Read(scoped ref AvroReader reader) => new(ref reader);
}

/// <summary>The id of another profile.</summary>
public readonly ref struct ProfileReference : IAvroItem<ProfileReference>
{
    private ProfileReference(scoped ref AvroReader reader) => Id = reader.ReadTextId();

    /// <summary>Canonical id; 32 lower-case hex digits in Avro.</summary>
    public UInt128 Id { get; }

    /// <inheritdoc/>
    public static ProfileReference Read(scoped ref AvroReader reader) => new(ref reader);
}
