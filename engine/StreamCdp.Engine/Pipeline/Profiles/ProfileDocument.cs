using System.Text.Json;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>Writes a profile as the JSON of DESIGN §5.3.</summary>
internal static class ProfileDocument
{
    private const int MaxStackName = 256;

    /// <summary>The whole document.</summary>
    /// <param name="writer">Receives one object.</param>
    /// <param name="profile">The profile.</param>
    /// <param name="segments">The model's functions.</param>
    /// <param name="nowMs">The shard's now: windowed values are as of it.</param>
    /// <param name="parts">Which parts; events are not written here.</param>
    public static void Write(Utf8JsonWriter writer, ProfileState profile, SegmentEngine segments, long nowMs, ProfileParts parts)
    {
        writer.WriteStartObject();
        writer.WriteString("id"u8, CanonicalId.Text(profile.Id));
        writer.WriteNumber("version"u8, profile.Version);
        WriteTime(writer, "created_at"u8, profile.FirstSeen);
        WriteTime(writer, "updated_at"u8, profile.UpdatedAt);
        if (parts.HasFlag(ProfileParts.Identifiers))
        {
            writer.WritePropertyName("identifiers"u8);
            WriteIdentifiers(writer, profile);
        }

        if (parts.HasFlag(ProfileParts.Traits))
        {
            writer.WritePropertyName("traits"u8);
            WriteTraits(writer, profile);
            writer.WritePropertyName("provenance"u8);
            WriteProvenance(writer, profile);
        }

        if (parts.HasFlag(ProfileParts.Computed))
        {
            writer.WritePropertyName("computed"u8);
            segments.WriteComputed(writer, profile, nowMs);
            writer.WritePropertyName("notes"u8);
            segments.WriteNotes(writer, profile, nowMs);
        }

        if (parts.HasFlag(ProfileParts.Segments))
        {
            writer.WritePropertyName("segments"u8);
            segments.WriteSegments(writer, profile);
        }

        if (parts.HasFlag(ProfileParts.Crm))
        {
            writer.WritePropertyName("crm"u8);
            WriteCrm(writer, profile);
        }

        writer.WriteStartObject("activity"u8);
        WriteTime(writer, "first_seen"u8, profile.FirstSeen);
        WriteTime(writer, "last_seen"u8, profile.LastSeen);
        writer.WriteNumber("events"u8, profile.EventCount);
        writer.WriteEndObject();
        if (parts.HasFlag(ProfileParts.History))
        {
            writer.WriteStartArray("merged_from"u8);
            foreach (UInt128 id in profile.MergedFrom)
            {
                writer.WriteStringValue(CanonicalId.Text(id));
            }

            writer.WriteEndArray();
        }

        writer.WriteEndObject();
    }

    /// <summary>The identifiers, an array in order of joining.</summary>
    public static void WriteIdentifiers(Utf8JsonWriter writer, ProfileState profile)
    {
        writer.WriteStartArray();
        foreach (ref IdentifierEntry identifier in profile.Identifiers)
        {
            writer.WriteStartObject();
            writer.WriteString("type"u8, profile.Bytes(identifier.Type));
            writer.WriteString("value"u8, profile.Bytes(identifier.Value));
            WriteTime(writer, "first_seen"u8, identifier.FirstSeen);
            WriteTime(writer, "last_seen"u8, identifier.LastSeen);
            writer.WriteString("source"u8, profile.Bytes(identifier.Source));
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    /// <summary>The sent traits, an object.</summary>
    public static void WriteTraits(Utf8JsonWriter writer, ProfileState profile)
    {
        writer.WriteStartObject();
        foreach (ref TraitEntry trait in profile.Traits)
        {
            if (trait.Value.Length > 0)
            {
                writer.WritePropertyName(profile.Bytes(trait.Name));
                writer.WriteRawValue(profile.Bytes(trait.Value), skipInputValidation: true); // A JSON reader accepted it when it came.
            }
        }

        writer.WriteEndObject();
    }

    /// <summary>Source and event time of each trait, an object.</summary>
    public static void WriteProvenance(Utf8JsonWriter writer, ProfileState profile)
    {
        writer.WriteStartObject();
        foreach (ref TraitEntry trait in profile.Traits)
        {
            if (trait.Value.Length > 0)
            {
                writer.WriteStartObject(profile.Bytes(trait.Name));
                writer.WriteString("source"u8, profile.Bytes(trait.Source));
                WriteTime(writer, "at"u8, trait.Order.TimeMs);
                writer.WriteEndObject();
            }
        }

        writer.WriteEndObject();
    }

    /// <summary>The CRM records, an object: for each collection that has some an array in order of source and id, of records with their fields beside <c>id</c> and <c>source</c>.</summary>
    public static void WriteCrm(Utf8JsonWriter writer, ProfileState profile)
    {
        writer.WriteStartObject();
        CrmObject? open = null;
        foreach (ref CrmEntry entry in profile.Crm)
        {
            if (entry.Fields.Length == 0)
            {
                continue; // Gone.
            }

            if (open != entry.Object)
            {
                if (open is not null)
                {
                    writer.WriteEndArray();
                }

                writer.WriteStartArray(CrmObjects.Collection(entry.Object));
                open = entry.Object;
            }

            writer.WriteStartObject();
            writer.WriteString("id"u8, profile.Bytes(entry.Id));
            writer.WriteString("source"u8, profile.Bytes(entry.Source));
            WriteFields(writer, profile.Bytes(entry.Fields));
            writer.WriteEndObject();
        }

        if (open is not null)
        {
            writer.WriteEndArray();
        }

        writer.WriteEndObject();
    }

    private static void WriteFields(Utf8JsonWriter writer, ReadOnlySpan<byte> fields)
    {
        Span<byte> name = stackalloc byte[MaxStackName];
        var reader = new Utf8JsonReader(fields);
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            scoped ReadOnlySpan<byte> key = reader.ValueSpan;
            if (reader.ValueIsEscaped)
            {
                Span<byte> unescaped = key.Length <= MaxStackName ? name : new byte[key.Length];
                key = unescaped[..Pipeline.JsonText.Unescape(key, unescaped)]; // Not the reader's own: it throws on half a surrogate pair.
            }

            writer.WritePropertyName(key);
            reader.Read();
            int start = (int)reader.TokenStartIndex;
            reader.Skip();
            writer.WriteRawValue(fields[start..(int)reader.BytesConsumed], skipInputValidation: true); // A JSON reader accepted it when it came.
        }
    }

    /// <summary>An instant as text: <c>2026-01-31T12:00:00.000Z</c>.</summary>
    public static void WriteTime(Utf8JsonWriter writer, ReadOnlySpan<byte> name, long unixMs)
    {
        Span<byte> text = stackalloc byte[Instants.TextBytes];
        writer.WriteString(name, text[..Instants.Format(unixMs, text)]);
    }
}
