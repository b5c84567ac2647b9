using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using CsvHelper;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp export profiles</c> and <c>streamcdp export segment ID</c>.</summary>
internal static class ExportCommand
{
    private const int PageSize = 500;

    /// <summary>The command.</summary>
    public static Command Create()
    {
        var command = new CommandWithExamples(
            "export",
            "Write profiles or the members of a segment to a file or to standard output.",
            "streamcdp export profiles --out profiles.ndjson",
            "streamcdp export segment big_spenders --format csv")
        {
            CreateProfiles(),
            CreateSegment(),
        };
        return command;
    }

    private static CommandWithExamples CreateProfiles()
    {
        var path = new Option<string?>("--out", "-o") { Description = "File to write; default: standard output. A file appears whole or not at all.", HelpName = "FILE" };
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "profiles",
            "All profiles, one JSON document a line.",
            "streamcdp export profiles --out profiles.ndjson",
            "streamcdp export profiles | jq -r 'select(.computed.revenue > 1000) | .id'")
        {
            path,
        };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            IAsyncEnumerable<JsonElement> profiles = client.PagesAsync($"/v1/profiles?limit={PageSize}", "profiles", client.HasNo("list of profiles"), cancellationToken);
            return await WriteAsync(parsed, parsed.GetValue(path), "profiles", writer => WriteLinesAsync(writer, profiles)).ConfigureAwait(false);
        });
        return command;
    }

    private static CommandWithExamples CreateSegment()
    {
        var id = new Argument<string>("ID") { Description = "Id of the segment, as in cdp.yaml." };
        var path = new Option<string?>("--out", "-o") { Description = "File to write; default: standard output. A file appears whole or not at all.", HelpName = "FILE" };
        var format = new Option<string>("--format") { Description = "ndjson: one member a line. csv: columns id, since, and one for each identifier type.", DefaultValueFactory = _ => "ndjson", HelpName = "FORMAT" };
        format.AcceptOnlyFromAmong("ndjson", "csv");
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "segment",
            "All members of a segment.",
            "streamcdp export segment big_spenders",
            "streamcdp export segment cart_abandoners --format csv --out abandoners.csv")
        {
            id,
            format,
            path,
        };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string segment = parsed.GetRequiredValue(id);
            using CdpClient client = server.Connect(parsed);
            IAsyncEnumerable<JsonElement> members = client.PagesAsync($"/v1/segments/{Uri.EscapeDataString(segment)}/members?limit={PageSize}", "members", $"There is no segment {segment}.", cancellationToken);
            return await WriteAsync(parsed, parsed.GetValue(path), "members", writer => parsed.GetValue(format) == "csv" ? WriteCsvAsync(writer, members) : WriteLinesAsync(writer, members)).ConfigureAwait(false);
        });
        return command;
    }

    /// <summary>Writes to standard output, or to a file that appears when it is complete.</summary>
    private static async Task<int> WriteAsync(ParseResult parsed, string? path, string what, Func<TextWriter, Task<long>> write)
    {
        InvocationConfiguration console = parsed.InvocationConfiguration;
        if (path is null)
        {
            await write(console.Output).ConfigureAwait(false);
            await console.Output.FlushAsync().ConfigureAwait(false);
            return CommandLine.Ok;
        }

        string part = path + ".part";
        long count;
        await using (var file = new StreamWriter(part, append: false, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)))
        {
            count = await write(file).ConfigureAwait(false);
        }

        File.Move(part, path, overwrite: true);
        await console.Error.WriteLineAsync($"{count.ToString("N0", CultureInfo.InvariantCulture)} {what} written to {path}.").ConfigureAwait(false);
        return CommandLine.Ok;
    }

    private static async Task<long> WriteLinesAsync(TextWriter writer, IAsyncEnumerable<JsonElement> items)
    {
        long count = 0;
        await foreach (JsonElement item in items.ConfigureAwait(false))
        {
            await writer.WriteAsync(item.GetRawText().ReplaceLineEndings("")).ConfigureAwait(false);
            await writer.WriteAsync('\n').ConfigureAwait(false);
            count++;
        }

        return count;
    }

    /// <summary>Columns are the identifier types of all members, so the members are kept until the last one is here.</summary>
    private static async Task<long> WriteCsvAsync(TextWriter writer, IAsyncEnumerable<JsonElement> members)
    {
        var rows = new List<(string Id, string Since, ILookup<string, string> Identifiers)>();
        var types = new List<string>();
        await foreach (JsonElement member in members.ConfigureAwait(false))
        {
            ILookup<string, string> identifiers = Identifiers(member).ToLookup(identifier => identifier.Type, identifier => identifier.Value);
            types.AddRange(identifiers.Select(group => group.Key).Where(type => !types.Contains(type)));
            rows.Add((member.GetProperty("id").ToString(), member.TryGetProperty("since", out JsonElement since) ? since.ToString() : "", identifiers));
        }

        await using CsvWriter csv = CsvWriter.Create(writer, new CsvWriterOptions { NewLine = "\n", Injection = CsvInjection.None }, leaveOpen: true);
        foreach (string header in (string[])["id", "since", .. types])
        {
            csv.WriteField(header);
        }

        await csv.EndRecordAsync(CancellationToken.None).ConfigureAwait(false);
        foreach ((string id, string since, ILookup<string, string> identifiers) in rows)
        {
            csv.WriteField(id);
            csv.WriteField(since);
            foreach (string type in types)
            {
                csv.WriteField(string.Join(' ', identifiers[type]));
            }

            await csv.EndRecordAsync(CancellationToken.None).ConfigureAwait(false);
        }

        await csv.FlushAsync(CancellationToken.None).ConfigureAwait(false);
        return rows.Count;
    }

    private static IEnumerable<(string Type, string Value)> Identifiers(JsonElement member)
    {
        if (!member.TryGetProperty("identifiers", out JsonElement identifiers) || identifiers.ValueKind != JsonValueKind.Array)
        {
            yield break;
        }

        foreach (JsonElement identifier in identifiers.EnumerateArray())
        {
            yield return (identifier.GetProperty("type").ToString(), identifier.GetProperty("value").ToString());
        }
    }
}
