using System.Buffers;
using System.Collections.Frozen;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace StreamCdp.Cli.Import;

/// <summary>Makes an event of an object of the input: checks what the server would refuse for certain, and gives it a messageId.</summary>
/// <param name="identity">Of the file; with the line it makes the messageId, so a repeated import of the same file is dropped as a repeat.</param>
internal sealed class ImportEvents(string identity)
{
    private const int MaxEventBytes = 32_768;
    private static readonly FrozenSet<string> s_types = FrozenSet.ToFrozenSet(["track", "identify", "page", "screen", "group", "alias"]);

    /// <summary>The row of an object.</summary>
    public ImportRow Row(long line, byte[] json)
    {
        bool hasMessageId;
        if (!Utf8.IsValid(json))
        {
            return Rejected(line, "is not UTF-8; convert the file, or mend the line", json);
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(json);
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
            {
                return Rejected(line, "is no JSON object", json);
            }

            if (!root.TryGetProperty("type", out JsonElement type) || type.ValueKind != JsonValueKind.String || !s_types.Contains(type.GetString()!))
            {
                return Rejected(line, $"type is missing or unknown; allowed are {string.Join(", ", s_types)}", json);
            }

            hasMessageId = root.TryGetProperty("messageId", out JsonElement messageId);
            if (hasMessageId && (messageId.ValueKind == JsonValueKind.Null || (messageId.ValueKind == JsonValueKind.String && messageId.GetString()!.Length == 0)))
            {
                json = Without(root, "messageId");
                hasMessageId = false;
            }
        }
        catch (JsonException exception)
        {
            return Rejected(line, "is no JSON: " + exception.Message, json);
        }
        catch (InvalidOperationException)
        {
            return Rejected(line, "has half of a surrogate pair (such as \\ud800) in type, messageId or a key", json);
        }

        if (!hasMessageId)
        {
            byte[] start = Encoding.UTF8.GetBytes($"{{\"messageId\":\"import-{identity}-{line}\",");
            json = [.. start, .. json.AsSpan(json.AsSpan().IndexOf((byte)'{') + 1)]; // It has a type, so a property follows.
        }

        return json.Length > MaxEventBytes ? Rejected(line, $"has {json.Length} bytes; allowed are {MaxEventBytes}", json) : new ImportRow(line, json, null, null);
    }

    private static ImportRow Rejected(long line, string problem, byte[] json) => ImportRow.Rejected(line, problem, Encoding.UTF8.GetString(json));

    private static byte[] Without(JsonElement root, string name)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            foreach (JsonProperty property in root.EnumerateObject())
            {
                if (property.Name != name)
                {
                    property.WriteTo(writer);
                }
            }

            writer.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }
}
