using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace StreamCdp.Engine.Model;

/// <summary>What real events looked like: their names, properties, traits and context, with types and shapes, never with values.</summary>
/// <remarks>Bounded (see <c>EventCatalog</c>): what came when it was full is counted, not listed.</remarks>
public sealed record SeenSchema
{
    /// <summary>Nothing was seen.</summary>
    public static SeenSchema Empty { get; } = new();

    /// <summary>The most frequent first.</summary>
    public IReadOnlyList<SeenEvent> Events { get; init; } = [];

    /// <summary>Traits that identify sent.</summary>
    public IReadOnlyList<SeenPath> Traits { get; init; } = [];

    /// <summary>Context, of all events together.</summary>
    public IReadOnlyList<SeenPath> Context { get; init; } = [];

    /// <summary>Events of names that there was no room for.</summary>
    public long EventsLeftOut { get; init; }

    /// <summary>Times that a path was met for which there was no room.</summary>
    public long PathsLeftOut { get; init; }

    /// <summary>Several shards as one.</summary>
    public static SeenSchema Merge(IReadOnlyList<SeenSchema> parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        return new SeenSchema
        {
            Events = [.. parts.SelectMany(part => part.Events).GroupBy(e => (e.Type, e.Name)).Select(same => new SeenEvent(same.Key.Type, same.Key.Name)
            {
                Count = same.Sum(e => e.Count),
                LookedAt = same.Sum(e => e.LookedAt),
                FirstAt = same.Min(e => e.FirstAt),
                LastAt = same.Max(e => e.LastAt),
                Properties = Paths(same.SelectMany(e => e.Properties)),
            }).OrderByDescending(e => e.Count).ThenBy(e => e.Type, StringComparer.Ordinal).ThenBy(e => e.Name, StringComparer.Ordinal)],
            Traits = Paths(parts.SelectMany(part => part.Traits)),
            Context = Paths(parts.SelectMany(part => part.Context)),
            EventsLeftOut = parts.Sum(part => part.EventsLeftOut),
            PathsLeftOut = parts.Sum(part => part.PathsLeftOut),
        };
    }

    /// <summary>As <c>GET /v1/schema</c> answers.</summary>
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, SeenSchemaJson.Default.SeenSchema);

    /// <summary>Reads an answer of <c>GET /v1/schema</c>.</summary>
    /// <exception cref="JsonException">It is none.</exception>
    public static SeenSchema Parse(JsonElement json) => json.Deserialize(SeenSchemaJson.Default.SeenSchema) ?? throw new JsonException("This is no schema.");

    private static IReadOnlyList<SeenPath> Paths(IEnumerable<SeenPath> paths) => [.. paths.GroupBy(path => path.Path).Select(same => new SeenPath(same.Key)
    {
        Seen = same.Sum(path => path.Seen),
        Types = [.. same.SelectMany(path => path.Types).Distinct().Order(StringComparer.Ordinal)],
        Shapes = [.. same.SelectMany(path => path.Shapes).Distinct().Order(StringComparer.Ordinal).Take(SeenPath.MaxShapes)],
    }).OrderByDescending(path => path.Seen).ThenBy(path => path.Path, StringComparer.Ordinal)];
}

/// <summary>An event that came.</summary>
/// <param name="Type">track, page, screen, identify, group, alias.</param>
/// <param name="Name">As functions call it: <c>Order Completed</c>, <c>page:Home</c>, <c>page:*</c>; null for identify, group and alias.</param>
public sealed record SeenEvent(string Type, string? Name)
{
    /// <summary>How many were applied.</summary>
    public long Count { get; init; }

    /// <summary>How many of them were looked into: the first 100, then one of 64.</summary>
    public long LookedAt { get; init; }

    /// <summary>Earliest event time, Unix ms.</summary>
    [JsonConverter(typeof(UnixMsConverter))]
    public long FirstAt { get; init; }

    /// <summary>Latest event time, Unix ms.</summary>
    [JsonConverter(typeof(UnixMsConverter))]
    public long LastAt { get; init; }

    /// <summary>Of those looked into. Pages have theirs at <c>page:*</c>, screens at <c>screen:*</c>.</summary>
    public IReadOnlyList<SeenPath> Properties { get; init; } = [];
}

/// <summary>A place in events that had a value.</summary>
/// <param name="Path">As the model language writes it: <c>properties.revenue</c>.</param>
public sealed record SeenPath(string Path)
{
    /// <summary>Most shapes that are kept.</summary>
    public const int MaxShapes = 3;

    /// <summary>Levels below properties, traits and context that are looked at.</summary>
    public const int MaxDepth = 4;

    /// <summary>Events that had it, of those looked into.</summary>
    public long Seen { get; init; }

    /// <summary>null, boolean, number, text, date, list, object.</summary>
    public IReadOnlyList<string> Types { get; init; } = [];

    /// <summary>Up to three, with a for letters, A for capitals, 9 for digits: <c>9999-99-99</c>, <c>A-999</c>, <c>a@a.a</c>. No value can be read from them.</summary>
    public IReadOnlyList<string> Shapes { get; init; } = [];
}

/// <summary>Unix ms as ISO 8601.</summary>
internal sealed class UnixMsConverter : JsonConverter<long>
{
    public override long Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.GetDateTimeOffset().ToUnixTimeMilliseconds();

    public override void Write(Utf8JsonWriter writer, long value, JsonSerializerOptions options) =>
        writer.WriteStringValue(DateTimeOffset.FromUnixTimeMilliseconds(value).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));
}

[JsonSerializable(typeof(SeenSchema))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
internal sealed partial class SeenSchemaJson : JsonSerializerContext;
