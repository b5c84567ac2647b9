using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Unicode;
using CsvHelper;

namespace StreamCdp.Cli.Import;

/// <summary>Events of a CSV file with a header.</summary>
internal static class CsvRows
{
    /// <summary>Longest row, bytes; above it the file is not CSV, or a quote is missing.</summary>
    private const int MaxRowBytes = 1 << 20;

    /// <summary>Reads all rows after the header.</summary>
    /// <param name="content">UTF-8; separator comma, semicolon or tab is found out.</param>
    /// <param name="mapping">Columns and constants; null: the columns' names are paths.</param>
    /// <param name="events">Makes events of objects.</param>
    /// <param name="afterLine">Rows that begin at or before this line were imported before.</param>
    /// <param name="cancellationToken">Stops.</param>
    /// <exception cref="CliException">The header does not fit the mapping.</exception>
    public static async IAsyncEnumerable<ImportRow> ReadAsync(Stream content, ImportMapping? mapping, ImportEvents events, long afterLine, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        string? malformed = null;
        var options = new CsvReaderOptions
        {
            HasHeader = true,
            TrackLineNumbers = true,
            MaxRecordSize = MaxRowBytes,
            MalformedData = CsvMalformedDataHandling.Recover,
            OnMalformedRecord = record => malformed = record.Reason.ToString(),
            FieldCountMismatch = CsvFieldCountHandling.Allow,
            MissingField = CsvMissingFieldHandling.ReturnEmpty,
        };
        await using CsvReader csv = CsvReader.Create(content, options, leaveOpen: true);
        await csv.ReadHeaderAsync(cancellationToken).ConfigureAwait(false);
        string[] header = [.. csv.Headers];
        ImportMapping fitted = ImportMapping.For(mapping, header);
        malformed = null;
        while (await csv.ReadAsync(cancellationToken).ConfigureAwait(false))
        {
            long line = csv.LineNumber;
            string? problem = malformed;
            malformed = null;
            if (line <= afterLine)
            {
                continue;
            }

            if (problem is null && csv.FieldCount != header.Length)
            {
                problem = $"has {csv.FieldCount} fields; the header has {header.Length}";
            }

            if (problem is null && !Utf8.IsValid(csv.RawRecord))
            {
                problem = "is not UTF-8; convert the file, or mend the row"; // Else its letters would become question marks in silence.
            }

            JsonObject? json = problem is null ? fitted.Event(name => csv.GetString(name), out problem) : null;
            yield return json is null
                ? ImportRow.Rejected(line, problem!, Encoding.UTF8.GetString(csv.RawRecord).TrimEnd('\r', '\n'))
                : events.Row(line, JsonSerializer.SerializeToUtf8Bytes(json));
        }
    }
}
