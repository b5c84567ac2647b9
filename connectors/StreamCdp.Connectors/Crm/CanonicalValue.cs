using System.Globalization;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Connectors.Crm;

/// <summary>One text for each value, so that values of both sides can be compared and kept: 1.0 is 1, and an empty text is none.</summary>
internal static class CanonicalValue
{
    /// <summary>The canonical text; null for no value: JSON null, empty text, an empty list.</summary>
    public static string? Of(JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Undefined or JsonValueKind.Null:
                return null;
            case JsonValueKind.String:
                return value.GetString() is { Length: > 0 } text ? "\"" + JsonEncodedText.Encode(text) + "\"" : null;
            case JsonValueKind.Number:
                return value.TryGetDecimal(out decimal number) ? (number / 1.0000000000000000000000000000m).ToString(CultureInfo.InvariantCulture) : value.GetRawText();
            case JsonValueKind.Array when value.GetArrayLength() == 0:
                return null;
            case JsonValueKind.Array:
                return "[" + string.Join(',', value.EnumerateArray().Select(item => Of(item) ?? "null")) + "]";
            case JsonValueKind.Object:
                return "{" + string.Join(',', value.EnumerateObject().OrderBy(property => property.Name, StringComparer.Ordinal).Select(property => "\"" + JsonEncodedText.Encode(property.Name) + "\":" + (Of(property.Value) ?? "null"))) + "}";
            default:
                return value.GetRawText();
        }
    }

    /// <summary>The value of a canonical text.</summary>
    public static JsonElement Parse(string? canonical) => JsonElement.Parse(Encoding.UTF8.GetBytes(canonical ?? "null"));
}
