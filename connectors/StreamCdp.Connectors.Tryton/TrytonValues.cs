using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace StreamCdp.Connectors.Tryton;

/// <summary>Tryton's values on the wire, and ours.</summary>
internal static class TrytonValues
{
    /// <summary>Ours from Tryton's: decimals are numbers, instants and days ISO 8601 text; empty text is none.</summary>
    public static JsonElement Ours(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String when value.GetString()!.Length == 0 => JsonSerializer.SerializeToElement<string?>(null),
        JsonValueKind.Object when value.TryGetProperty("__class__"u8, out JsonElement kind) => kind.GetString() switch
        {
            "Decimal" => JsonElement.Parse(decimal.Parse(value.GetProperty("decimal"u8).GetString()!, NumberStyles.Float, CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture)),
            "datetime" => JsonSerializer.SerializeToElement(Instant(value)!.Value.ToString("yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture)),
            "date" => JsonSerializer.SerializeToElement(string.Create(CultureInfo.InvariantCulture, $"{Number(value, "year"):0000}-{Number(value, "month"):00}-{Number(value, "day"):00}")),
            _ => JsonSerializer.SerializeToElement<string?>(null),
        },
        JsonValueKind.Undefined => JsonSerializer.SerializeToElement<string?>(null),
        _ => value,
    };

    /// <summary>An instant; null where there is none.</summary>
    public static DateTimeOffset? Instant(JsonElement value) =>
        value.ValueKind == JsonValueKind.Object
            ? new DateTimeOffset(Number(value, "year"), Number(value, "month"), Number(value, "day"), Number(value, "hour"), Number(value, "minute"), Number(value, "second"), TimeSpan.Zero).AddMicroseconds(Number(value, "microsecond"))
            : null;

    /// <summary>Tryton's form of an instant.</summary>
    public static JsonObject Wire(DateTimeOffset instant)
    {
        DateTime utc = instant.UtcDateTime;
        return new JsonObject { ["__class__"] = "datetime", ["year"] = utc.Year, ["month"] = utc.Month, ["day"] = utc.Day, ["hour"] = utc.Hour, ["minute"] = utc.Minute, ["second"] = utc.Second, ["microsecond"] = 0 };
    }

    /// <summary>Tryton's form of a value for a field of a type.</summary>
    /// <exception cref="FormatException">The value is none of the type.</exception>
    public static JsonNode? Wire(JsonElement value, string type)
    {
        if (value.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined)
        {
            return null;
        }

        string text = value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText();
        switch (type)
        {
            case "numeric":
                return new JsonObject { ["__class__"] = "Decimal", ["decimal"] = decimal.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture) };
            case "integer" or "biginteger":
                return JsonValue.Create(long.Parse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture));
            case "float":
                return double.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture) is var number && double.IsFinite(number) ? JsonValue.Create(number) : throw new FormatException("no finite number");
            case "boolean":
                return JsonValue.Create(bool.Parse(text));
            case "date":
                DateOnly day = DateOnly.ParseExact(text[..Math.Min(10, text.Length)], "yyyy-MM-dd", CultureInfo.InvariantCulture);
                return new JsonObject { ["__class__"] = "date", ["year"] = day.Year, ["month"] = day.Month, ["day"] = day.Day };
            case "datetime" or "timestamp":
                return Wire(DateTimeOffset.Parse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal));
            default:
                return JsonValue.Create(text);
        }
    }

    private static int Number(JsonElement value, string name) => value.TryGetProperty(name, out JsonElement number) ? number.GetInt32() : 0;
}
