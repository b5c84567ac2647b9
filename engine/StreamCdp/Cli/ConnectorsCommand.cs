using System.CommandLine;
using System.Globalization;
using System.Text.Json;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp connectors</c>.</summary>
internal static class ConnectorsCommand
{
    private static readonly string[] s_head = ["ID", "KIND", "TARGET", "STATE", "LAG", "OLDEST", "ASKED", "TAKEN", "DEAD LETTERS", "RETRIES", "CONFLICTS"];

    /// <summary>The command.</summary>
    public static Command Create()
    {
        var pause = new Option<string?>("--pause") { Description = "Hold this one: nothing is sent, nothing is lost, until it is resumed.", HelpName = "ID" };
        var resume = new Option<string?>("--resume") { Description = "Let this one go on.", HelpName = "ID" };
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "connectors",
            "How each destination is: state, lag, counts since the server started, and what is to be done. Pauses and resumes one.",
            "streamcdp connectors",
            "streamcdp connectors --pause hook",
            "streamcdp connectors plan hubspot",
            "streamcdp connectors conflicts hubspot")
        {
            pause,
            resume,
            ConnectorPlanCommand.CreatePlan(),
            ConnectorPlanCommand.CreateApply(),
            CreateConflicts(),
        };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            foreach ((string verb, string? id) in ((string, string?)[])[("pause", parsed.GetValue(pause)), ("resume", parsed.GetValue(resume))])
            {
                if (id is not null && await client.PostAsync($"/v1/connectors/{Uri.EscapeDataString(id)}/{verb}", new { }, cancellationToken).ConfigureAwait(false) is null)
                {
                    throw new CliException($"{client.Address} has no connector {id}; streamcdp connectors lists them.");
                }
            }

            JsonElement answer = await client.GetAsync("/v1/connectors", cancellationToken).ConfigureAwait(false) ?? throw new CliException(client.HasNo("list of connectors"));
            await WriteAsync(parsed.InvocationConfiguration.Output, [.. answer.GetProperty("connectors").EnumerateArray()]).ConfigureAwait(false);
            return CommandLine.Ok;
        });
        return command;
    }

    private static CommandWithExamples CreateConflicts()
    {
        var id = new Argument<string>("ID") { Description = "Id of a CRM in the model's destinations." };
        var limit = new Option<int>("--limit") { Description = "At most so many.", DefaultValueFactory = _ => 100, HelpName = "N" };
        limit.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() < 1)
            {
                result.AddError($"--limit is {result.GetValueOrDefault<int>()}; allowed are 1 and more.");
            }
        });
        var json = new Option<bool>("--json") { Description = "Print them as JSON, one document a line." };
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "conflicts",
            "Fields of a CRM that both sides had changed: which value stayed by the field's policy and which was lost, the newest first. These are values of people.",
            "streamcdp connectors conflicts hubspot",
            "streamcdp connectors conflicts hubspot --limit 1000 --json") { id, limit, json };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            TextWriter output = parsed.InvocationConfiguration.Output;
            string connector = parsed.GetValue(id)!;
            int left = parsed.GetValue(limit);
            int shown = 0;
            string path = string.Create(CultureInfo.InvariantCulture, $"/v1/connectors/{Uri.EscapeDataString(connector)}/conflicts?limit={Math.Min(left, 500)}");
            await foreach (JsonElement conflict in client.PagesAsync(path, "conflicts", $"{client.Address} has no connector {connector}; streamcdp connectors lists them.", cancellationToken).ConfigureAwait(false))
            {
                await output.WriteLineAsync(parsed.GetValue(json)
                    ? conflict.GetRawText().ReplaceLineEndings("")
                    : $"{conflict.GetProperty("at").GetString()}  {conflict.GetProperty("object").GetString()} {conflict.GetProperty("id").GetString()}  {conflict.GetProperty("field").GetString()}: {conflict.GetProperty("kept").GetRawText()} stayed, {conflict.GetProperty("lost").GetRawText()} was lost").ConfigureAwait(false);
                if (++shown == left)
                {
                    break;
                }
            }

            if (shown == 0 && !parsed.GetValue(json))
            {
                await output.WriteLineAsync("No conflicts: no field was changed on both sides at once.").ConfigureAwait(false);
            }

            return CommandLine.Ok;
        });
        return command;
    }

    private static async Task WriteAsync(TextWriter output, JsonElement[] connectors)
    {
        if (connectors.Length == 0)
        {
            await output.WriteLineAsync("The model has no destinations, or the server runs without the role connect.").ConfigureAwait(false);
            return;
        }

        List<string[]> rows = [s_head, .. connectors.Select(Row)];
        int[] widths = [.. Enumerable.Range(0, s_head.Length).Select(column => rows.Max(row => row[column].Length))];
        foreach (string[] row in rows)
        {
            await output.WriteLineAsync(string.Join("  ", row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd()).ConfigureAwait(false);
        }

        foreach (JsonElement connector in connectors)
        {
            string reason = connector.GetProperty("reason").GetString()!;
            string? error = connector.GetProperty("last_error").GetString();
            if (reason.Length > 0 || error is not null)
            {
                await output.WriteLineAsync($"{connector.GetProperty("id").GetString()}: {(reason.Length > 0 ? reason : $"last error at {connector.GetProperty("last_error_at").GetString()}: {error}")}").ConfigureAwait(false);
            }
        }
    }

    private static string[] Row(JsonElement connector)
    {
        string Text(string name) => connector.GetProperty(name).ToString();
        return
        [
            Text("id"),
            Text("kind"),
            Text("target"),
            Text("state"),
            Text("lag_records"),
            connector.GetProperty("lag_seconds").GetDouble().ToString("0.#", CultureInfo.InvariantCulture) + " s",
            connector.GetProperty("lag_in_seconds") is { ValueKind: JsonValueKind.Number } lagIn ? lagIn.GetDouble().ToString("0.#", CultureInfo.InvariantCulture) + " s" : "-",
            Text("taken"),
            Text("dead_letters"),
            Text("retries"),
            connector.GetProperty("conflicts") is { ValueKind: JsonValueKind.Number } conflicts ? conflicts.ToString() : "-",
        ];
    }
}
