using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp connectors plan|apply</c>.</summary>
internal static class ConnectorPlanCommand
{
    private const int LinesOfRequest = 100;
    private const int MostShown = 200;

    private static readonly (string Name, string One, string Many)[] s_counts =
    [
        ("contacts_to_create", "contact to create", "contacts to create"), ("fields_to_write", "field to write", "fields to write"), ("fields_to_take", "value to take into profiles", "values to take into profiles"),
        ("conflicts", "conflict", "conflicts"), ("list_entries", "contact to put on a list", "contacts to put on lists"), ("list_exits", "contact to take off a list", "contacts to take off lists"),
        ("merges", "contact to merge", "contacts to merge"), ("contacts_to_delete", "contact to delete", "contacts to delete"), ("links", "contact to link with its profile", "contacts to link with their profiles"), ("new_profiles", "new profile", "new profiles"),
        ("records", "deal or other record that is news", "deals and other records that are news"), ("gone", "record that is gone", "records that are gone"), ("fields_to_make", "field to make", "fields to make"),
    ];

    private static readonly (string Name, string One, string Many)[] s_ofDelivery =
    [
        ("entered", "membership that began", "memberships that began"), ("exited", "membership that ended", "memberships that ended"), ("profiles", "profile", "profiles"),
        ("merged", "merge", "merges"), ("suppressed", "person to remove", "people to remove"),
    ];

    private static readonly (string Name, string One, string Many)[] s_ofActions =
        [("actions_to_do", "action to do", "actions to do"), ("actions_later", "action later", "actions later"), ("actions_skipped", "action of which nothing is done", "actions of which nothing is done")];

    /// <summary><c>plan ID</c>.</summary>
    public static Command CreatePlan()
    {
        var id = new Argument<string>("ID") { Description = "Id of one of the model's destinations." };
        var file = new Option<string?>("--out") { Description = "Write the plan to this file, for apply, and print the numbers alone.", HelpName = "FILE" };
        var json = new Option<bool>("--json") { Description = "Print the plan as JSON, one document a line." };
        var limit = new Option<int?>("--limit") { Description = "End after so many changes. Default: all.", HelpName = "N" };
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "plan",
            "What a destination would be sent now, change by change; of a CRM what the sync would do on both sides, record by record and field by field, with the reason; of actions (of a CRM: ID:actions) what is done for whom and when, or why not. Nothing is changed. Works while it is paused: look before the first run.",
            "streamcdp connectors plan hubspot",
            "streamcdp connectors plan hook",
            "streamcdp connectors plan hubspot:actions",
            "streamcdp connectors plan hubspot --out plan.json") { id, file, json, limit };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            TextWriter output = parsed.InvocationConfiguration.Output;
            string connector = parsed.GetValue(id)!;
            string path = $"/v1/connectors/{Uri.EscapeDataString(connector)}/plan" + (parsed.GetValue(limit) is { } most ? string.Create(CultureInfo.InvariantCulture, $"?limit={most}") : "");
            using StreamWriter? written = parsed.GetValue(file) is { } name ? File.CreateText(name) : null;
            bool hasEnded = false;
            await foreach (string line in client.LinesAsync(path, $"{client.Address} has no connector {connector}; streamcdp connectors lists them.", cancellationToken).ConfigureAwait(false))
            {
                using JsonDocument document = JsonDocument.Parse(line);
                JsonElement root = document.RootElement;
                if (root.TryGetProperty("error", out JsonElement error))
                {
                    throw new CliException($"The plan ends here: {error.GetString()} Make it again later.");
                }

                hasEnded = root.TryGetProperty("counts", out JsonElement counts);
                await (written ?? (parsed.GetValue(json) ? output : TextWriter.Null)).WriteLineAsync(line).ConfigureAwait(false);
                if (written is not null || !parsed.GetValue(json))
                {
                    await (hasEnded ? WriteCountsAsync(output, counts) : written is null && !root.TryGetProperty("plan", out _) ? WriteAsync(output, root) : Task.CompletedTask).ConfigureAwait(false);
                }
            }

            return hasEnded ? CommandLine.Ok : throw new CliException("The plan was cut off. Make it again.");
        });
        return command;
    }

    /// <summary><c>apply FILE</c>.</summary>
    public static Command CreateApply()
    {
        var file = new Argument<string>("FILE") { Description = "A plan of streamcdp connectors plan ID --out FILE; of a CRM or of actions lines may be taken out of it." };
        var server = new ServerOptions();
        var command = new CommandWithExamples("apply", "Do exactly what a plan says. Of a CRM a change whose record or profile is another now than in the plan is not made, and named; likewise an action that would be decided otherwise now, or is not due yet. Another destination is paused before; it sends up to the end of the plan, and is paused again.", "streamcdp connectors apply plan.json") { file };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            using StreamReader reader = Open(parsed.GetValue(file)!);
            string head = await reader.ReadLineAsync(cancellationToken).ConfigureAwait(false) ?? "";
            string path = $"/v1/connectors/{Uri.EscapeDataString(Connector(head, parsed.GetValue(file)!))}/apply";
            if (IsWhole(head))
            {
                return await ApplyWholeAsync(client, path, parsed.GetValue(file)!, parsed.InvocationConfiguration.Output, cancellationToken).ConfigureAwait(false);
            }

            (long applied, long refused, long left, long number) = (0, 0, 0, 1);
            List<string> some = [];
            for (bool isMore = true; isMore;)
            {
                string? line = await reader.ReadLineAsync(cancellationToken).ConfigureAwait(false);
                isMore = line is not null;
                if (isMore && line!.Length > 0 && !line.StartsWith("{\"counts\":", StringComparison.Ordinal))
                {
                    some.Add(line);
                }

                if (some.Count == LinesOfRequest || (!isMore && some.Count > 0))
                {
                    JsonElement answer = await client.PostLinesAsync(path, new StringBuilder().AppendJoin('\n', some.Prepend(head)).ToString(), cancellationToken).ConfigureAwait(false)
                        ?? throw new CliException($"{client.Address} has no such connector; streamcdp connectors lists them.");
                    applied += answer.GetProperty("applied").GetInt64();
                    refused += answer.GetProperty("refused").GetInt64();
                    foreach (JsonElement one in answer.GetProperty("not_applied").EnumerateArray())
                    {
                        left++;
                        await parsed.InvocationConfiguration.Output.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"change {number + one.GetProperty("line").GetInt64() - 1}: {one.GetProperty("why").GetString()}")).ConfigureAwait(false);
                    }

                    number += some.Count;
                    some.Clear();
                }
            }

            await parsed.InvocationConfiguration.Output.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"{applied} applied, {left} not applied.{(refused > 0 ? $" {refused} were refused: see streamcdp dead-letters list --reason destination_refused." : "")}")).ConfigureAwait(false);
            return left == 0 ? CommandLine.Ok : CommandLine.Failed;
        });
        return command;
    }

    /// <summary>Of a destination that goes one way.</summary>
    private static bool IsWhole(string head)
    {
        using JsonDocument document = JsonDocument.Parse(head);
        return document.RootElement.GetProperty("plan").TryGetProperty("until", out _);
    }

    private static async Task<int> ApplyWholeAsync(CdpClient client, string path, string file, TextWriter output, CancellationToken cancellationToken)
    {
        JsonElement answer = await client.PostFileAsync(path, file, cancellationToken).ConfigureAwait(false) ?? throw new CliException($"{client.Address} has no such connector; streamcdp connectors lists them.");
        await output.WriteLineAsync(answer.GetProperty("begun").GetBoolean()
            ? $"{(answer.GetProperty("changes").GetInt64() is 1 ? "1 change is" : answer.GetProperty("changes") + " changes are")} sent now; then it is paused again. streamcdp connectors shows how far it is."
            : "There is nothing to do any more: all of it was sent.").ConfigureAwait(false);
        return CommandLine.Ok;
    }

    private static StreamReader Open(string path)
    {
        try
        {
            return File.OpenText(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CliException($"{path} cannot be read: {exception.Message}", inner: exception);
        }
    }

    private static string Connector(string head, string file)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(head);
            return document.RootElement.GetProperty("plan").GetProperty("connector").GetString()!;
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw new CliException($"{file} is no plan: its first line should be that of streamcdp connectors plan ID --out FILE.", inner: exception);
        }
    }

    private static async Task WriteAsync(TextWriter output, JsonElement line)
    {
        string Text(string name) => line.TryGetProperty(name, out JsonElement value) ? value.ToString() : "";
        if (line.TryGetProperty("profile_id", out _))
        {
            await WriteChangeAsync(output, line).ConfigureAwait(false);
            return;
        }

        if (line.TryGetProperty("key", out _))
        {
            await WriteActionAsync(output, line).ConfigureAwait(false);
            return;
        }

        string record = $"{Text("object")} {Text("id")}";
        await output.WriteLineAsync(Text("change") switch
        {
            "create" => $"new contact for profile {Text("profile")}",
            "new_profile" => $"{record} becomes a new profile",
            "merge" => $"{record} is merged into {Text("into")}: both are profile {Text("profile")}",
            "delete" => $"{record} is deleted: profile {Text("profile")} does not consent",
            "gone" => $"{record} is gone{(Text("into") is { Length: > 0 } into ? ", it became part of " + into : "")}",
            "record" => $"{record} is news",
            "make_field" => $"field {Text("id")} is made",
            _ => $"{record} and profile {Text("profile")}{(Text("links") == "True" ? " are linked" : "")}",
        }).ConfigureAwait(false);
        foreach (JsonElement field in line.GetProperty("fields").EnumerateArray())
        {
            bool toCrm = field.GetProperty("to").GetString() == "crm";
            (string from, string to) = toCrm ? ("crm", "profile") : ("profile", "crm");
            await output.WriteLineAsync($"  {field.GetProperty("field").GetString()}: {Value(field, from)} becomes {Value(field, to)} in the {(toCrm ? "CRM" : "profile")} ({field.GetProperty("why").GetString()})").ConfigureAwait(false);
        }

        foreach ((string name, string what) in ((string, string)[])[("on", "put on"), ("off", "taken off")])
        {
            foreach (JsonElement list in line.GetProperty(name).EnumerateArray())
            {
                await output.WriteLineAsync($"  {what} the list {list.GetString()}").ConfigureAwait(false);
            }
        }
    }

    private static async Task WriteActionAsync(TextWriter output, JsonElement line)
    {
        string Text(string name) => line.TryGetProperty(name, out JsonElement value) ? value.ToString() : "";
        string whom = line.GetProperty("targets").GetArrayLength() > 0 ? string.Join(", ", line.GetProperty("targets").EnumerateArray()) : "nobody";
        string what = Text("change") switch { "do" => "for " + whom, "wait" => "waits", "refuse" => "becomes a dead letter", _ => "nothing is done" };
        await output.WriteLineAsync($"{line.GetProperty("due").GetDateTimeOffset():yyyy-MM-ddTHH:mm:ssZ} {Text("action")} {what} (profile {Text("profile")}, {Text("segment")}){(Text("why") is { Length: > 0 } why ? ": " + why : "")}").ConfigureAwait(false);
        foreach (JsonProperty field in line.GetProperty("fields").EnumerateObject())
        {
            string text = field.Value.GetString()!.ReplaceLineEndings(" ");
            await output.WriteLineAsync($"  {field.Name}: {(text.Length > MostShown ? text[..MostShown] + "…" : text)}").ConfigureAwait(false);
        }
    }

    private static Task WriteChangeAsync(TextWriter output, JsonElement change)
    {
        string Text(string name) => change.TryGetProperty(name, out JsonElement value) ? value.ToString() : "";
        string[] values = [.. ((string[])["identifiers", "fields", "traits", "computed"]).Where(name => change.TryGetProperty(name, out JsonElement value) && value.ValueKind is JsonValueKind.Object or JsonValueKind.Array).Select(name => $"{name} {change.GetProperty(name).GetRawText()}")];
        string what = Text("type") switch
        {
            "entered" => $"entered {Text("segment")}",
            "exited" => $"exited {Text("segment")}",
            "merged" => $"became part of {Text("merged_into")}",
            "suppressed" => "is to be removed: no consent",
            _ => "profile",
        };
        return output.WriteLineAsync($"{Text("profile_id")} version {Text("version")}: {what}; {string.Join(", ", values)}");
    }

    private static string Value(JsonElement field, string name) => field.GetProperty(name) is { ValueKind: not JsonValueKind.Null } value ? value.GetRawText() : "nothing";

    private static Task WriteCountsAsync(TextWriter output, JsonElement counts)
    {
        bool isCrm = counts.TryGetProperty("contacts_to_create", out _);
        string[] parts = [.. (isCrm ? s_counts : counts.TryGetProperty("changes", out _) ? s_ofDelivery : s_ofActions).Select(count => (count, Number: counts.GetProperty(count.Name).GetInt64())).Where(pair => pair.Number > 0).Select(pair => string.Create(CultureInfo.InvariantCulture, $"{pair.Number} {(pair.Number == 1 ? pair.count.One : pair.count.Many)}"))];
        string text = parts.Length > 0 ? string.Join(", ", parts) + "." : isCrm ? "Nothing to do: both sides hold what they should." : counts.TryGetProperty("changes", out _) ? "Nothing waits to be sent." : "Nothing waits to be done.";
        return output.WriteLineAsync(counts.GetProperty("is_complete").GetBoolean() ? text : text + " There is more: the limit was reached.");
    }
}
