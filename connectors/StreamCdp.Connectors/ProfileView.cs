using System.Globalization;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors;

/// <summary>Finds a profile as it is now, by canonical id; null: nobody has it.</summary>
/// <param name="profileId">32 hex digits.</param>
/// <param name="cancellationToken">Stops waiting.</param>
internal delegate ValueTask<ProfileView?> ProfileLookup(string profileId, CancellationToken cancellationToken);

/// <summary>What destinations may get of a profile.</summary>
internal sealed record ProfileView
{
    private static readonly JsonElement s_null = JsonElement.Parse("null"u8);
    private static readonly JsonElement s_empty = JsonElement.Parse("{}"u8);

    /// <summary>Canonical id.</summary>
    public required string Id { get; init; }

    /// <summary>Version of the profile.</summary>
    public required long Version { get; init; }

    /// <summary>The instant of its last change.</summary>
    public DateTimeOffset UpdatedAt { get; init; }

    /// <summary>The survivor, where it was merged; then the rest is empty.</summary>
    public string? MergedInto { get; init; }

    /// <summary>In order of joining.</summary>
    public IReadOnlyList<ChangeIdentifier> Identifiers { get; init; } = [];

    /// <summary>Segments it is in.</summary>
    public IReadOnlyList<string> Segments { get; init; } = [];

    /// <summary>Sent traits, an object.</summary>
    public JsonElement Traits { get; init; } = s_empty;

    /// <summary>Computed traits, an object.</summary>
    public JsonElement Computed { get; init; } = s_empty;

    /// <summary>For each sent trait source and time of the write that gave it.</summary>
    public JsonElement Provenance { get; init; } = s_empty;

    /// <summary>The person consents to the purpose of the destination that asks, or it has none.</summary>
    public bool HasConsent { get; init; } = true;

    /// <summary>From the document of the query API (DESIGN §5.3).</summary>
    /// <param name="document">Of the profile that was asked for, or of the survivor that took it over.</param>
    /// <param name="asked">The id asked for: where the document has another one, the profile was merged into that.</param>
    public static ProfileView FromDocument(ReadOnlyMemory<byte> document, string asked)
    {
        JsonElement root = JsonElement.Parse(document.Span);
        string id = root.GetProperty("id"u8).GetString()!;
        return id == asked ? Of(root, id) : new ProfileView { Id = asked, Version = 0, MergedInto = id };
    }

    /// <summary>From the document of the query API, whoever was asked for.</summary>
    public static ProfileView FromDocument(ReadOnlyMemory<byte> document)
    {
        JsonElement root = JsonElement.Parse(document.Span);
        return Of(root, root.GetProperty("id"u8).GetString()!);
    }

    /// <summary>From a value of the log <c>profiles</c>, Avro or JSON; null where it is neither.</summary>
    public static ProfileView? FromLog(ReadOnlySpan<byte> value)
    {
        if (WireFormat.TryRead(value, out _, out ReadOnlySpan<byte> body))
        {
            return Profile.TryRead(body, out Profile profile) ? Of(profile) : null;
        }

        if (value.IsEmpty || value[0] != (byte)'{')
        {
            return null;
        }

        try
        {
            JsonElement root = JsonElement.Parse(value);
            return Of(root, root.GetProperty("id"u8).GetString()!);
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or FormatException or InvalidOperationException)
        {
            return null; // Somebody else's record.
        }
    }

    /// <summary>The mapped fields by name; null without a mapping.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Fields(IReadOnlyList<FieldDefinition> fields)
    {
        if (fields.Count == 0)
        {
            return null;
        }

        var values = new Dictionary<string, JsonElement>(fields.Count, StringComparer.Ordinal);
        foreach (FieldDefinition field in fields)
        {
            values[field.Name] = Value(field.Path);
        }

        return values;
    }

    /// <summary>When a sent trait was written; null: there is no such trait.</summary>
    public DateTimeOffset? TraitTime(string name) =>
        Provenance.ValueKind == JsonValueKind.Object && Provenance.TryGetProperty(name, out JsonElement write) && write.TryGetProperty("at"u8, out JsonElement at) && at.TryGetDateTimeOffset(out DateTimeOffset time) ? time : null;

    /// <summary>The value at a path; JSON null where there is none.</summary>
    public JsonElement Value(PathExpression path)
    {
        if (path.Root == PathRoot.Identifiers)
        {
            return JsonSerializer.SerializeToElement(Identifiers.Where(identifier => identifier.Type == path.Path[0]).Select(identifier => identifier.Value));
        }

        JsonElement at = path.Root == PathRoot.Computed ? Computed : Traits;
        foreach (string name in path.Path)
        {
            if (at.ValueKind != JsonValueKind.Object || !at.TryGetProperty(name, out at))
            {
                return s_null;
            }
        }

        return at;
    }

    private static ProfileView Of(in Profile profile)
    {
        var identifiers = new List<ChangeIdentifier>();
        foreach (ProfileIdentifier identifier in profile.Identifiers)
        {
            identifiers.Add(new ChangeIdentifier(Encoding.UTF8.GetString(identifier.Type), Encoding.UTF8.GetString(identifier.Value)));
        }

        var segments = new List<string>();
        foreach (ProfileSegment segment in profile.Segments)
        {
            segments.Add(Encoding.UTF8.GetString(segment.Id));
        }

        return new ProfileView
        {
            Id = Text(profile.Id),
            Version = profile.Version,
            UpdatedAt = Time(profile.UpdatedAt),
            MergedInto = profile.MergedInto is UInt128 into ? Text(into) : null,
            Identifiers = identifiers,
            Segments = segments,
            Traits = profile.Traits.IsEmpty ? s_empty : JsonElement.Parse(profile.Traits),
            Computed = profile.Computed.IsEmpty ? s_empty : JsonElement.Parse(profile.Computed),
            Provenance = profile.Provenance.IsEmpty ? s_empty : JsonElement.Parse(profile.Provenance),
        };
    }

    private static ProfileView Of(JsonElement root, string id) => new()
    {
        Id = id,
        Version = root.GetProperty("version"u8).GetInt64(),
        UpdatedAt = root.TryGetProperty("updated_at"u8, out JsonElement at) && at.ValueKind == JsonValueKind.String ? at.GetDateTimeOffset() : default,
        MergedInto = root.TryGetProperty("merged_into"u8, out JsonElement into) ? into.GetString() : null,
        Identifiers = [.. Items(root, "identifiers").Select(identifier => new ChangeIdentifier(identifier.GetProperty("type"u8).GetString()!, identifier.GetProperty("value"u8).GetString()!))],
        Segments = [.. Items(root, "segments").Select(segment => segment.GetProperty("id"u8).GetString()!)],
        Traits = root.TryGetProperty("traits"u8, out JsonElement traits) ? traits : s_empty,
        Computed = root.TryGetProperty("computed"u8, out JsonElement computed) ? computed : s_empty,
        Provenance = root.TryGetProperty("provenance"u8, out JsonElement provenance) ? provenance : s_empty,
    };

    private static JsonElement.ArrayEnumerator Items(JsonElement root, string name) => root.TryGetProperty(name, out JsonElement items) ? items.EnumerateArray() : default;

    internal static string Text(UInt128 id) => id.ToString("x32", CultureInfo.InvariantCulture);

    /// <summary>An instant; the nearest one that there is.</summary>
    internal static DateTimeOffset Time(long unixMs) => DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(unixMs, -62_135_596_800_000, 253_402_300_799_999));
}
