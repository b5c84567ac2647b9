using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace StreamCdp.Connectors;

/// <summary>A change as JSON: the webhook's, and the bytes of a dead letter. What is null or does not belong to the kind is left out.</summary>
public static class ChangeJson
{
    private static readonly JsonWriterOptions s_options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    /// <summary>The kind's name: entered, exited, profile, merged, suppressed.</summary>
    public static string Name(ChangeKind kind) => kind switch
    {
        ChangeKind.Entered => "entered",
        ChangeKind.Exited => "exited",
        ChangeKind.Profile => "profile",
        ChangeKind.Merged => "merged",
        ChangeKind.Suppressed => "suppressed",
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "This is no kind of change."),
    };

    /// <summary>One object, UTF-8.</summary>
    public static byte[] Bytes(ProfileChange change)
    {
        var buffer = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(buffer, s_options))
        {
            Write(json, change);
        }

        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Writes one object.</summary>
    public static void Write(Utf8JsonWriter json, ProfileChange change)
    {
        ArgumentNullException.ThrowIfNull(json);
        ArgumentNullException.ThrowIfNull(change);
        json.WriteStartObject();
        json.WriteString("id"u8, change.Id);
        json.WriteString("type"u8, Name(change.Kind));
        json.WriteString("profile_id"u8, change.ProfileId);
        json.WriteNumber("version"u8, change.Version);
        json.WriteString("at"u8, change.At.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));
        if (change.Segment is not null)
        {
            json.WriteString("segment"u8, change.Segment);
            json.WriteString("segment_version"u8, change.SegmentVersion);
            json.WriteString("cause"u8, change.Cause);
            json.WriteString("reason"u8, change.Reason);
            json.WriteBoolean("backfill"u8, change.Backfill);
        }

        if (change.Action is not null)
        {
            json.WriteString("action"u8, change.Action);
        }

        if (change.MergedInto is not null)
        {
            json.WriteString("merged_into"u8, change.MergedInto);
        }

        json.WriteStartArray("identifiers"u8);
        foreach (ChangeIdentifier identifier in change.Identifiers)
        {
            json.WriteStartObject();
            json.WriteString("type"u8, identifier.Type);
            json.WriteString("value"u8, identifier.Value);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (change.Segments is not null)
        {
            json.WriteStartArray("segments"u8);
            foreach (string segment in change.Segments)
            {
                json.WriteStringValue(segment);
            }

            json.WriteEndArray();
        }

        if (change.Fields is not null)
        {
            json.WriteStartObject("fields"u8);
            foreach ((string name, JsonElement value) in change.Fields)
            {
                json.WritePropertyName(name);
                value.WriteTo(json);
            }

            json.WriteEndObject();
        }

        WriteObject(json, "traits", change.Traits);
        WriteObject(json, "computed", change.Computed);
        json.WriteEndObject();
    }

    /// <summary>Who and what a change was, from the JSON of a dead letter; false where it is none. What the profile had then is not read: it is old by now.</summary>
    internal static bool TryReadPlace(ReadOnlySpan<byte> utf8, out ProfileChange change)
    {
        change = null!;
        try
        {
            var reader = new Utf8JsonReader(utf8);
            using JsonDocument document = JsonDocument.ParseValue(ref reader);
            JsonElement root = document.RootElement;
            ChangeKind? kind = Text(root, "type") switch
            {
                "entered" => ChangeKind.Entered,
                "exited" => ChangeKind.Exited,
                "profile" => ChangeKind.Profile,
                "merged" => ChangeKind.Merged,
                "suppressed" => ChangeKind.Suppressed,
                _ => null,
            };
            if (kind is null || Text(root, "profile_id") is not { Length: 32 } id)
            {
                return false;
            }

            change = new ProfileChange
            {
                Kind = kind.Value,
                ProfileId = id,
                Version = root.GetProperty("version"u8).GetInt64(),
                At = root.GetProperty("at"u8).GetDateTimeOffset(),
                Segment = Text(root, "segment"),
                SegmentVersion = Text(root, "segment_version"),
                Cause = Text(root, "cause"),
                Reason = Text(root, "reason"),
                Backfill = root.TryGetProperty("backfill"u8, out JsonElement backfill) && backfill.ValueKind == JsonValueKind.True,
                MergedInto = Text(root, "merged_into"),
                Action = Text(root, "action"),
            };
            return change.Segment is not null == kind is ChangeKind.Entered or ChangeKind.Exited;
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or FormatException or InvalidOperationException)
        {
            return false;
        }
    }

    private static string? Text(JsonElement root, string name) => root.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static void WriteObject(Utf8JsonWriter json, string name, JsonElement? value)
    {
        if (value is JsonElement element)
        {
            json.WritePropertyName(name);
            element.WriteTo(json);
        }
    }
}
