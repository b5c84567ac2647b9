using System.Globalization;
using System.Text;
using System.Text.Json;
using CsvHelper;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Files;

/// <summary>A change as a line of a file, and the id in a line.</summary>
/// <remarks>A line ends with <see cref="NewLine"/>, which is nowhere inside a line: so what a crash left half is known without reading the rest.</remarks>
public static class FilesRows
{
    /// <summary>The end of a line: LF of NDJSON, CR LF of CSV, whose texts have their line breaks as LF.</summary>
    internal static ReadOnlySpan<byte> NewLine(FilesOptions options) => options.IsCsv ? "\r\n"u8 : "\n"u8;

    /// <summary>The first line of a CSV; empty for NDJSON.</summary>
    internal static byte[] Header(FilesOptions options) => options.IsCsv
        ? Csv(options, csv =>
        {
            foreach (string column in FileDefinition.OwnColumns.Concat(options.Columns))
            {
                csv.WriteField(column);
            }
        })
        : [];

    /// <summary>One line with its end.</summary>
    internal static byte[] Row(FilesOptions options, ProfileChange change)
    {
        if (!options.IsCsv)
        {
            return [.. ChangeJson.Bytes(change), (byte)'\n'];
        }

        return Csv(options, csv =>
        {
            csv.WriteField(change.Id);
            csv.WriteField(ChangeJson.Name(change.Kind));
            csv.WriteField(change.ProfileId);
            csv.WriteField(change.Version);
            csv.WriteField(change.At.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));
            csv.WriteField(change.Segment);
            csv.WriteField(change.Reason);
            csv.WriteField(change.MergedInto);
            foreach (string column in options.Columns)
            {
                Write(csv, change.Fields is not null && change.Fields.TryGetValue(column, out JsonElement value) ? value : default);
            }
        });
    }

    /// <summary>The id of a whole line; null where it has none: the header.</summary>
    internal static string? IdOf(FilesOptions options, ReadOnlySpan<byte> line)
    {
        if (options.IsCsv)
        {
            int comma = line.IndexOf((byte)',');
            return comma < 0 || line[..comma].SequenceEqual("id"u8) ? null : Encoding.UTF8.GetString(line[..comma]); // An id needs no quotes.
        }

        try
        {
            var reader = new Utf8JsonReader(line);
            return reader.Read() && reader.Read() && reader.ValueTextEquals("id"u8) && reader.Read() ? reader.GetString() : null;
        }
        catch (JsonException)
        {
            return null; // Somebody else's line.
        }
    }

    private static byte[] Csv(FilesOptions options, Action<CsvWriter> write)
    {
        using var buffer = new MemoryStream();
        using (CsvWriter csv = CsvWriter.Create(buffer, new CsvWriterOptions { NewLine = "\r\n", Injection = options.EscapesFormulas ? CsvInjection.Escape : CsvInjection.None }, leaveOpen: true))
        {
            write(csv);
            csv.EndRecord();
            csv.Flush();
        }

        return buffer.ToArray();
    }

    /// <summary>A number and a truth as in JSON, a list joined by spaces, an object as JSON, null as nothing.</summary>
    private static void Write(CsvWriter csv, JsonElement value)
    {
        if (value.ValueKind == JsonValueKind.Number && value.TryGetDecimal(out decimal number))
        {
            csv.WriteField(number, default, CultureInfo.InvariantCulture); // As a number: it is no formula.
        }
        else
        {
            csv.WriteField(Text(value).ReplaceLineEndings("\n").Replace("\0", "", StringComparison.Ordinal)); // A file is read again by the rule that no line has a NUL.
        }
    }

    private static string Text(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Undefined or JsonValueKind.Null => "",
        JsonValueKind.String => value.GetString()!,
        JsonValueKind.Array => string.Join(' ', value.EnumerateArray().Select(Text)),
        _ => value.GetRawText(),
    };
}
