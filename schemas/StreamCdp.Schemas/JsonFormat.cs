using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace StreamCdp.Schemas;

/// <summary>The outputs as JSON (<c>StreamCdp__Kafka__Format=json</c>): the names of the Avro schemas, times as ISO 8601 text in UTC, traits as objects.</summary>
/// <remarks>Cost: no allocation with a writer that is used again (<see cref="Utf8JsonWriter.Reset()"/>). The caller flushes.</remarks>
public static class JsonFormat
{
    /// <summary>Writes a profile; <c>state</c> is base64, so that nothing is lost against Avro.</summary>
    /// <param name="json">Gets one object.</param>
    /// <param name="profile">Its traits, provenance, computed traits and CRM records are taken as the JSON that they are, unchecked.</param>
    public static void WriteProfile(Utf8JsonWriter json, scoped in Profile profile)
    {
        ArgumentNullException.ThrowIfNull(json);
        json.WriteStartObject();
        WriteId(json, "id"u8, profile.Id);
        json.WriteNumber("version"u8, profile.Version);
        WriteTime(json, "created_at"u8, profile.CreatedAt);
        WriteTime(json, "updated_at"u8, profile.UpdatedAt);
        json.WriteNumber("source_offset"u8, profile.SourceOffset);
        if (profile.MergedInto.HasValue)
        {
            WriteId(json, "merged_into"u8, profile.MergedInto.GetValueOrDefault());
        }
        else
        {
            json.WriteNull("merged_into"u8);
        }

        json.WriteStartArray("identifiers"u8);
        foreach (ProfileIdentifier identifier in profile.Identifiers)
        {
            json.WriteStartObject();
            json.WriteString("type"u8, identifier.Type);
            json.WriteString("value"u8, identifier.Value);
            WriteTime(json, "first_seen"u8, identifier.FirstSeen);
            WriteTime(json, "last_seen"u8, identifier.LastSeen);
            json.WriteString("source"u8, identifier.Source);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        WriteObject(json, "traits"u8, profile.Traits);
        WriteObject(json, "provenance"u8, profile.Provenance);
        WriteObject(json, "computed"u8, profile.Computed);

        json.WriteStartArray("segments"u8);
        foreach (ProfileSegment segment in profile.Segments)
        {
            json.WriteStartObject();
            json.WriteString("id"u8, segment.Id);
            WriteTime(json, "since"u8, segment.Since);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        WriteObject(json, "crm"u8, profile.Crm);
        json.WriteStartObject("activity"u8);
        WriteTime(json, "first_seen"u8, profile.FirstSeen);
        WriteTime(json, "last_seen"u8, profile.LastSeen);
        json.WriteNumber("events"u8, profile.Events);
        json.WriteEndObject();

        Span<byte> text = stackalloc byte[32];
        json.WriteStartArray("merged_from"u8);
        foreach (ProfileReference merged in profile.MergedFrom)
        {
            FormatId(text, merged.Id);
            json.WriteStringValue(text);
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>Writes a membership; <c>source_ts</c> is in Unix ms, <c>cause</c> null where no event was the cause.</summary>
    /// <param name="json">Gets one object.</param>
    /// <param name="membership">The change.</param>
    public static void WriteMembership(Utf8JsonWriter json, scoped in SegmentMembership membership)
    {
        ArgumentNullException.ThrowIfNull(json);
        json.WriteStartObject();
        WriteId(json, "profile_id"u8, membership.ProfileId);
        json.WriteString("segment"u8, membership.Segment);
        json.WriteString("segment_version"u8, membership.SegmentVersion);
        json.WriteString("change"u8, membership.Change == MembershipChange.Entered ? "entered"u8 : "exited"u8);
        WriteTime(json, "at"u8, membership.At);
        if (membership.Cause.IsEmpty)
        {
            json.WriteNull("cause"u8);
        }
        else
        {
            json.WriteString("cause"u8, membership.Cause);
        }

        json.WriteString("reason"u8, membership.Reason switch
        {
            MembershipReason.Event => "event"u8,
            MembershipReason.Merge => "merge"u8,
            MembershipReason.Time => "time"u8,
            MembershipReason.Edit => "edit"u8,
            _ => "backfill"u8,
        });
        json.WriteNumber("source_ts"u8, membership.SourceTs);
        json.WriteNumber("source_offset"u8, membership.SourceOffset);
        json.WriteNumber("version"u8, membership.Version);
        json.WriteBoolean("backfill"u8, membership.Backfill);
        json.WriteEndObject();
    }

    private static void WriteObject(Utf8JsonWriter json, ReadOnlySpan<byte> name, ReadOnlySpan<byte> value)
    {
        json.WritePropertyName(name);
        json.WriteRawValue(value.IsEmpty ? "{}"u8 : value, skipInputValidation: true);
    }

    private static void WriteId(Utf8JsonWriter json, ReadOnlySpan<byte> name, UInt128 id)
    {
        Span<byte> text = stackalloc byte[32];
        FormatId(text, id);
        json.WriteString(name, text);
    }

    private static void FormatId(Span<byte> text, UInt128 id)
    {
        bool written = id.TryFormat(text, out int length, "x32", CultureInfo.InvariantCulture);
        Debug.Assert(written && length == text.Length, "32 hex digits hold every id.");
    }

    /// <summary>ISO 8601 with milliseconds; null for what lies outside the years 1 to 9999.</summary>
    private static void WriteTime(Utf8JsonWriter json, ReadOnlySpan<byte> name, long unixMs)
    {
        if (unixMs is < -62_135_596_800_000 or > 253_402_300_799_999)
        {
            json.WriteNull(name);
            return;
        }

        Span<byte> text = stackalloc byte[24];
        bool written = DateTime.UnixEpoch.AddMilliseconds(unixMs).TryFormat(text, out int length, "yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture);
        Debug.Assert(written && length == text.Length, "The format has 24 characters.");
        json.WriteString(name, text);
    }
}
