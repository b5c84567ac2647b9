using System.Text;
using System.Text.Json;

namespace StreamCdp.Schemas;

/// <summary>Avro's parsing canonical form: what of a schema decides how bytes are read. Docs, defaults, logical types and white space are gone.</summary>
/// <remarks>Source: Apache Avro 1.12 specification, "Transforming into Parsing Canonical Form" and "Schema Fingerprints".</remarks>
public static class CanonicalSchema
{
    private const ulong EmptyFingerprint = 0xc15d213aa4d7a795;

    private static readonly ulong[] _table = BuildTable();

    /// <summary>The canonical form of a schema.</summary>
    /// <param name="schemaText">Avro schema as JSON.</param>
    /// <exception cref="FormatException">The text is no JSON, or lacks what its type needs.</exception>
    public static string Of(string schemaText)
    {
        try
        {
            using var document = JsonDocument.Parse(schemaText);
            var text = new StringBuilder();
            Append(text, document.RootElement, enclosingNamespace: "");
            return text.ToString();
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new FormatException($"This is no Avro schema: {exception.Message}", exception);
        }
    }

    /// <summary>CRC-64-AVRO of the canonical form: equal for schemas that read the same bytes the same way.</summary>
    /// <exception cref="FormatException">The text is no Avro schema.</exception>
    public static ulong Fingerprint(string schemaText)
    {
        ulong fingerprint = EmptyFingerprint;
        foreach (byte next in Encoding.UTF8.GetBytes(Of(schemaText)))
        {
            fingerprint = (fingerprint >> 8) ^ _table[(byte)fingerprint ^ next];
        }

        return fingerprint;
    }

    private static void Append(StringBuilder text, JsonElement schema, string enclosingNamespace)
    {
        switch (schema.ValueKind)
        {
            case JsonValueKind.String:
                string name = schema.GetString()!;
                AppendText(text, IsPrimitive(name) ? name : FullName(name, enclosingNamespace));
                break;
            case JsonValueKind.Array:
                AppendItems(text, schema, (part, item) => Append(part, item, enclosingNamespace));
                break;
            case JsonValueKind.Object when schema.GetProperty("type").ValueKind != JsonValueKind.String:
                Append(text, schema.GetProperty("type"), enclosingNamespace);
                break;
            case JsonValueKind.Object:
                AppendComplex(text, schema, schema.GetProperty("type").GetString()!, enclosingNamespace);
                break;
            default:
                throw new FormatException($"This is no Avro schema: {schema.GetRawText()}");
        }
    }

    private static void AppendComplex(StringBuilder text, JsonElement schema, string type, string enclosingNamespace)
    {
        if (type is "array" or "map")
        {
            string key = type == "array" ? "items" : "values";
            text.Append($$"""{"type":"{{type}}","{{key}}":""");
            Append(text, schema.GetProperty(key), enclosingNamespace);
            text.Append('}');
            return;
        }

        if (type is not ("record" or "error" or "enum" or "fixed"))
        {
            Append(text, schema.GetProperty("type"), enclosingNamespace);
            return;
        }

        string fullName = schema.TryGetProperty("namespace", out JsonElement space)
            ? FullName(schema.GetProperty("name").GetString()!, space.GetString()!)
            : FullName(schema.GetProperty("name").GetString()!, enclosingNamespace);
        text.Append("""{"name":""");
        AppendText(text, fullName);
        text.Append($$""","type":"{{type}}",""");
        switch (type)
        {
            case "enum":
                text.Append("\"symbols\":");
                AppendItems(text, schema.GetProperty("symbols"), (part, symbol) => AppendText(part, symbol.GetString()!));
                break;
            case "fixed":
                text.Append("\"size\":").Append(schema.GetProperty("size").GetInt32());
                break;
            default:
                string inner = fullName.Contains('.', StringComparison.Ordinal) ? fullName[..fullName.LastIndexOf('.')] : "";
                text.Append("\"fields\":");
                AppendItems(text, schema.GetProperty("fields"), (part, field) =>
                {
                    part.Append("""{"name":""");
                    AppendText(part, field.GetProperty("name").GetString()!);
                    part.Append(",\"type\":");
                    Append(part, field.GetProperty("type"), inner);
                    part.Append('}');
                });
                break;
        }

        text.Append('}');
    }

    private static void AppendItems(StringBuilder text, JsonElement items, Action<StringBuilder, JsonElement> append)
    {
        text.Append('[');
        bool first = true;
        foreach (JsonElement item in items.EnumerateArray())
        {
            if (!first)
            {
                text.Append(',');
            }

            first = false;
            append(text, item);
        }

        text.Append(']');
    }

    // Names and symbols of Avro are letters, digits, underscores and dots: nothing to escape.
    private static void AppendText(StringBuilder text, string value) => text.Append('"').Append(value).Append('"');

    private static string FullName(string name, string space) =>
        space.Length == 0 || name.Contains('.', StringComparison.Ordinal) ? name : $"{space}.{name}";

    private static bool IsPrimitive(string name) =>
        name is "null" or "boolean" or "int" or "long" or "float" or "double" or "bytes" or "string";

    private static ulong[] BuildTable()
    {
        var table = new ulong[256];
        for (int i = 0; i < table.Length; i++)
        {
            ulong value = (ulong)i;
            for (int bit = 0; bit < 8; bit++)
            {
                value = (value >> 1) ^ (EmptyFingerprint & (0UL - (value & 1)));
            }

            table[i] = value;
        }

        return table;
    }
}
