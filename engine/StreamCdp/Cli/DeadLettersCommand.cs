using System.CommandLine;
using System.Globalization;
using System.Text.Json;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp dead-letters list|replay</c>.</summary>
internal static class DeadLettersCommand
{
    /// <summary>The command.</summary>
    public static Command Create() => new CommandWithExamples(
        "dead-letters",
        "See the events that were refused, and the changes that destinations refused, and try them again after the cause is gone.",
        "streamcdp dead-letters list --reason no_identifier",
        "streamcdp dead-letters replay --from 2026-11-24T08:00Z")
    {
        CreateList(),
        CreateReplay(),
    };

    private static CommandWithExamples CreateList()
    {
        var reason = new Option<string?>("--reason") { Description = "Only this reason.", HelpName = "REASON" };
        var limit = new Option<int>("--limit") { Description = "At most so many; 0: all.", DefaultValueFactory = _ => 100, HelpName = "N" };
        limit.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() < 0)
            {
                result.AddError($"--limit is {result.GetValueOrDefault<int>()}; allowed are 0 (all) and more.");
            }
        });
        var server = new ServerOptions();
        var command = new CommandWithExamples("list", "Print refused events, one JSON document a line: the bytes, where they came from, the reason.", "streamcdp dead-letters list --limit 10", "streamcdp dead-letters list --reason too_large --limit 0") { reason, limit };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            int wanted = parsed.GetValue(limit) is > 0 and int n ? n : int.MaxValue;
            string path = $"/v1/dead-letters?limit={Math.Min(wanted, 500)}" + (parsed.GetValue(reason) is { } only ? "&reason=" + Uri.EscapeDataString(only) : "");
            await foreach (JsonElement letter in client.PagesAsync(path, "dead_letters", client.HasNo("list of dead letters"), cancellationToken).ConfigureAwait(false))
            {
                await parsed.InvocationConfiguration.Output.WriteLineAsync(letter.GetRawText().ReplaceLineEndings("")).ConfigureAwait(false);
                if (--wanted == 0)
                {
                    break;
                }
            }

            return CommandLine.Ok;
        });
        return command;
    }

    private static CommandWithExamples CreateReplay()
    {
        var from = new Option<DateTimeOffset?>("--from") { Description = "Received at or after, ISO 8601. Default: the oldest kept.", HelpName = "TIME", CustomParser = Time };
        var to = new Option<DateTimeOffset?>("--to") { Description = "Received before, ISO 8601. Default: now.", HelpName = "TIME", CustomParser = Time };
        var reason = new Option<string?>("--reason") { Description = "Only this reason. Default: all but destination_refused.", HelpName = "REASON" };
        var server = new ServerOptions();
        var command = new CommandWithExamples("replay", "Read refused events again with today's model; what is valid now counts, at its own time. With --reason destination_refused: changes that a destination refused are sent again, if they are still true.", "streamcdp dead-letters replay", "streamcdp dead-letters replay --reason no_identifier --from 2026-11-24", "streamcdp dead-letters replay --reason destination_refused") { from, to, reason };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            var body = new Dictionary<string, string>();
            AddTo("from", parsed.GetValue(from)?.ToString("O", CultureInfo.InvariantCulture));
            AddTo("to", parsed.GetValue(to)?.ToString("O", CultureInfo.InvariantCulture));
            AddTo("reason", parsed.GetValue(reason));
            JsonElement answer = await client.PostAsync("/v1/dead-letters/replay", body, cancellationToken).ConfigureAwait(false)
                ?? throw new CliException($"{client.Address} cannot replay dead letters. Is it a StreamCdp server of this version?");
            await parsed.InvocationConfiguration.Output.WriteLineAsync($"{answer.GetProperty("replayed")} replayed, {answer.GetProperty("still_invalid")} still invalid.").ConfigureAwait(false);
            return CommandLine.Ok;

            void AddTo(string name, string? value)
            {
                if (value is not null)
                {
                    body.Add(name, value);
                }
            }
        });
        return command;
    }

    private static DateTimeOffset? Time(System.CommandLine.Parsing.ArgumentResult result)
    {
        string text = result.Tokens.Single().Value;
        if (DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset time))
        {
            return time;
        }

        result.AddError($"{text} is not a time; allowed is ISO 8601, for example 2026-11-24T08:00Z or 2026-11-24.");
        return null;
    }
}
