using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Connectors.Crm;

/// <summary>Writes what happened in a CRM as events in the Segment shape.</summary>
/// <remarks>
/// <c>context.crm</c> carries the record, which the engine keeps with the profile; the event around it is what stands in the timeline. The messageId is made of the record, the
/// number of its event and what the event says: one that is written again after a crash is a repeat, and one that says something else is not.
/// </remarks>
internal sealed class CrmEvents(CrmSettings settings, string contactIdType, IProfiles profiles, TimeProvider time)
{
    /// <summary>Largest JSON of a record's fields in an event; longer ones lose their longest texts. The engine keeps 8 KiB.</summary>
    private const int MaxFieldBytes = 8000;

    private const int MaxPropertyText = 1000;

    private readonly ArrayBufferWriter<byte> _buffer = new();
    private long _traitsMs;

    /// <summary>A contact as it is in the CRM.</summary>
    /// <param name="link">Its link: gives number and time.</param>
    /// <param name="record">What the CRM has.</param>
    /// <param name="identifiers">Identifiers of the same person beside the record's id.</param>
    public void Contact(CrmLink link, CrmRecord record, IEnumerable<ChangeIdentifier> identifiers) =>
        Write(link, "identify", null, record.ModifiedAt, [new ChangeIdentifier(contactIdType, record.Id), .. identifiers], record, null, null);

    /// <summary>Traits that a contact brings.</summary>
    /// <param name="link">Its link.</param>
    /// <param name="traits">By name.</param>
    /// <param name="notBefore">Later than this, so that it wins.</param>
    /// <returns>The event's time.</returns>
    public DateTimeOffset Traits(CrmLink link, IReadOnlyDictionary<string, JsonElement> traits, DateTimeOffset? notBefore)
    {
        // Strictly rising over all records: of two contacts of one person the later decision wins, and not the earlier one of the same millisecond.
        long at = Math.Max(Math.Max(_traitsMs, link.EmittedMs) + 1, Math.Max(time.GetUtcNow().ToUnixTimeMilliseconds(), (notBefore?.ToUnixTimeMilliseconds() ?? 0) + 1));
        Write(link, "identify", null, DateTimeOffset.FromUnixTimeMilliseconds(at), [new ChangeIdentifier(contactIdType, link.Id)], null, traits, null);
        _traitsMs = link.EmittedMs;
        return DateTimeOffset.FromUnixTimeMilliseconds(link.EmittedMs);
    }

    /// <summary>A contact that is gone, or that another one took over.</summary>
    public void ContactGone(CrmLink link, string? mergedInto)
    {
        List<ChangeIdentifier> identifiers = [new ChangeIdentifier(contactIdType, link.Id)];
        if (mergedInto is not null)
        {
            identifiers.Add(new ChangeIdentifier(contactIdType, mergedInto));
        }

        Write(link, "track", mergedInto is null ? "Contact Deleted" : "Contact Merged", null, identifiers, Gone(link), null, mergedInto is null ? null : new Dictionary<string, object?> { ["into"] = mergedInto });
    }

    /// <summary>A deal, activity or company of a contact: made, changed, gone, or given to somebody else.</summary>
    /// <param name="link">As it was seen last: says what changed. Its number and time go on.</param>
    /// <param name="record">As it is now.</param>
    public void Record(CrmLink link, CrmRecord record)
    {
        bool isNew = link.Hash.Length == 0 || (link.Sequence == 0 && record.ExternalId is null); // Also one that had no contact when it was first seen: nobody was told of it.
        IReadOnlyList<string> now = record.IsDeleted ? [] : record.ContactIds;
        foreach (string contact in link.ContactIds.Except(now))
        {
            // First the old owner loses it: where both are one person, the new owner's event is the later one and holds.
            string left = record.IsDeleted ? "Deleted" : "Moved";
            Write(link, "track", $"{record.Kind} {left}", null, [new ChangeIdentifier(contactIdType, contact)], Gone(link), null, Properties(link, record));
        }

        (string name, DateTimeOffset? at) = Name(link, record, isNew);
        foreach (string contact in now)
        {
            Write(link, "track", name, at, [new ChangeIdentifier(contactIdType, contact)], record, null, Properties(link, record));
        }
    }

    private static (string Name, DateTimeOffset? At) Name(CrmLink link, CrmRecord record, bool isNew)
    {
        if (record.Kind == CrmObject.Activity && isNew)
        {
            string kind = Text(record.Fields, "kind") is { Length: > 0 } text ? char.ToUpperInvariant(text[0]) + text[1..] : "Activity";
            return ($"{kind} Logged", Text(record.Fields, "at") is { } at && DateTimeOffset.TryParse(at, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset instant) ? instant : record.CreatedAt);
        }

        if (isNew)
        {
            return ($"{record.Kind} Created", record.CreatedAt);
        }

        return record.Kind == CrmObject.Deal && Text(link.Seen, "stage") != Text(record.Fields, "stage") ? ("Deal Stage Changed", record.ModifiedAt) : ($"{record.Kind} Updated", record.ModifiedAt);
    }

    private static Dictionary<string, object?> Properties(CrmLink link, CrmRecord record)
    {
        Dictionary<string, object?> properties = new() { ["id"] = record.Id };
        IReadOnlyDictionary<string, JsonElement> fields = record.IsDeleted ? link.Seen : record.Fields;
        string[] names = record.Kind switch
        {
            CrmObject.Deal => ["name", "stage", "pipeline", "amount", "currency", "status"],
            CrmObject.Activity => ["kind", "subject", "at", "direction", "outcome", "status", "duration_s"],
            _ => ["name"],
        };
        foreach (string name in names)
        {
            if (fields.TryGetValue(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null)
            {
                properties[name] = value.ValueKind == JsonValueKind.String && value.GetString()! is { Length: > MaxPropertyText } text ? text[..MaxPropertyText] : value;
            }
        }

        if (record.Kind == CrmObject.Deal && link.Hash.Length > 0 && link.Sequence > 0 && !record.IsDeleted && Text(link.Seen, "stage") is { } from && from != Text(record.Fields, "stage"))
        {
            (properties["from"], properties["to"]) = (from, Text(record.Fields, "stage"));
        }

        return properties;
    }

    private static CrmRecord Gone(CrmLink link) => new() { Kind = link.Kind, Id = link.Id, IsDeleted = true };

    private static string? Text(IReadOnlyDictionary<string, JsonElement> fields, string name) => fields.TryGetValue(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private void Write(CrmLink link, string type, string? name, DateTimeOffset? wished, IReadOnlyList<ChangeIdentifier> identifiers, CrmRecord? record, IReadOnlyDictionary<string, JsonElement>? traits, Dictionary<string, object?>? properties)
    {
        // The CRM's own time, as far as it keeps the record's order and is not in the future.
        long now = Math.Max(time.GetUtcNow().ToUnixTimeMilliseconds(), link.EmittedMs + 1);
        long wish = wished?.ToUnixTimeMilliseconds() ?? now;
        long at = Math.Max(link.EmittedMs + 1, traits is null ? Math.Min(wish, now) : wish);
        long sequence = link.Sequence + 1;

        _buffer.ResetWrittenCount();
        using (var writer = new Utf8JsonWriter(_buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("type"u8, type);
            if (name is not null)
            {
                writer.WriteString("event"u8, name);
            }

            WriteIdentifiers(writer, identifiers, record);
            if (traits is not null)
            {
                WriteObject(writer, "traits"u8, traits);
                writer.WriteNumber("decided"u8, at); // A decision that is made again after a crash is no repeat: somebody may have written the trait meanwhile.
            }

            if (properties is not null)
            {
                writer.WritePropertyName("properties"u8);
                JsonSerializer.Serialize(writer, properties);
            }

            writer.WriteEndObject();
        }

        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(_buffer.WrittenSpan, hash);
        string head = $"{{\"messageId\":\"crm:{settings.Id}:{link.Kind.ToString().ToLowerInvariant()}:{JsonEncodedText.Encode(link.Id)}:{sequence}:{Convert.ToHexStringLower(hash[..16])}\",\"timestamp\":\"{DateTimeOffset.FromUnixTimeMilliseconds(at):yyyy-MM-ddTHH:mm:ss.fffZ}\",";
        byte[] payload = [.. Encoding.UTF8.GetBytes(head), .. _buffer.WrittenSpan[1..]];
        if (!profiles.TryAppend(payload, DateTimeOffset.FromUnixTimeMilliseconds(Math.Max(at, now))))
        {
            throw new InvalidOperationException($"The engine does not take the event of a {link.Kind}."); // A bug: no data of the CRM makes an event invalid.
        }

        (link.Sequence, link.EmittedMs) = (sequence, at);
    }

    private static void WriteIdentifiers(Utf8JsonWriter writer, IReadOnlyList<ChangeIdentifier> identifiers, CrmRecord? record)
    {
        foreach ((string type, string property) in ((string, string)[])[("user_id", "userId"), ("anonymous_id", "anonymousId")])
        {
            if (identifiers.FirstOrDefault(identifier => identifier.Type == type) is { } found)
            {
                writer.WriteString(property, found.Value);
            }
        }

        writer.WriteStartObject("context"u8);
        writer.WriteStartArray("externalIds"u8);
        foreach (ChangeIdentifier identifier in identifiers.Where(identifier => identifier.Type is not ("user_id" or "anonymous_id")))
        {
            writer.WriteStartObject();
            writer.WriteString("id"u8, identifier.Value);
            writer.WriteString("type"u8, identifier.Type);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        if (record is not null)
        {
            writer.WriteStartObject("crm"u8);
            writer.WriteString("object"u8, record.Kind.ToString().ToLowerInvariant());
            writer.WriteString("id"u8, record.Id);
            if (record.IsDeleted)
            {
                writer.WriteNull("fields"u8);
            }
            else
            {
                WriteObject(writer, "fields"u8, Bounded(record.Fields));
            }

            writer.WriteEndObject();
        }

        writer.WriteEndObject();
    }

    private static void WriteObject(Utf8JsonWriter writer, ReadOnlySpan<byte> name, IReadOnlyDictionary<string, JsonElement> values)
    {
        writer.WriteStartObject(name);
        foreach ((string key, JsonElement value) in values.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            writer.WritePropertyName(key);
            value.WriteTo(writer);
        }

        writer.WriteEndObject();
    }

    /// <summary>Without the longest values, where all of them would be too long for an event.</summary>
    private static Dictionary<string, JsonElement> Bounded(IReadOnlyDictionary<string, JsonElement> fields)
    {
        var kept = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
        int left = MaxFieldBytes;
        foreach ((string name, JsonElement value, int length) in fields
            .Select(field => (field.Key, field.Value, Length: 6 + (6 * field.Key.Length) + (field.Value.ValueKind == JsonValueKind.Undefined ? 4 : (2 * Encoding.UTF8.GetByteCount(field.Value.GetRawText())))))
            .OrderBy(field => field.Length).ThenBy(field => field.Key, StringComparer.Ordinal))
        {
            if (length > left)
            {
                break;
            }

            left -= length;
            kept[name] = value;
        }

        return kept;
    }
}
