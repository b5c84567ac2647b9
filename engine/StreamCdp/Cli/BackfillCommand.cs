using System.CommandLine;
using System.Globalization;
using System.Text.Json;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp backfill</c>.</summary>
internal static class BackfillCommand
{
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(500);

    /// <summary>The command.</summary>
    public static Command Create()
    {
        var segments = new Argument<string[]>("SEGMENT") { Description = "Ids of segments.", Arity = ArgumentArity.ZeroOrMore };
        var all = new Option<bool>("--all") { Description = "All segments and computed traits that have not seen all of the history that counts." };
        var noWait = new Option<bool>("--no-wait") { Description = "Only begin: it goes on in the server, also after a restart." };
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "backfill",
            "Count history again for segments that were added or changed after events had come, while traffic goes on. Until it is done the rules of before decide; then all switch at once, and the changes are marked backfill.",
            "streamcdp backfill big_spenders",
            "streamcdp backfill --all") { segments, all, noWait };
        server.AddTo(command);
        command.Validators.Add(result =>
        {
            if ((result.GetValue(segments)?.Length > 0) == result.GetValue(all))
            {
                result.AddError("Give the ids of segments, or --all.");
            }
        });
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            TextWriter output = parsed.InvocationConfiguration.Output;
            string[] ids = parsed.GetValue(segments) ?? [];
            JsonElement answer = await client.PostAsync("/v1/backfill", ids.Length > 0 ? new { segments = ids } : (object)new { }, cancellationToken).ConfigureAwait(false)
                ?? throw new CliException($"{client.Address} has no such segment; streamcdp check lists those of the model.");
            if (!answer.GetProperty("begun").GetBoolean())
            {
                await output.WriteLineAsync("Nothing to do: they have seen all of the history that counts.").ConfigureAwait(false);
                return CommandLine.Ok;
            }

            string last = "";
            for (bool hasBegun = false; !parsed.GetValue(noWait);)
            {
                await Task.Delay(s_poll, cancellationToken).ConfigureAwait(false);
                JsonElement state = (await client.GetAsync("/v1/backfill", cancellationToken).ConfigureAwait(false))!.Value.GetProperty("backfill");
                if (state.ValueKind == JsonValueKind.Null)
                {
                    if (hasBegun || await IsDoneAsync(client, ids, cancellationToken).ConfigureAwait(false))
                    {
                        break;
                    }

                    continue;
                }

                hasBegun = true;
                string line = string.Create(CultureInfo.InvariantCulture, $"{state.GetProperty("phase").GetString()} {state.GetProperty("done").GetDouble():P0}");
                if (line != last)
                {
                    await output.WriteLineAsync(last = line).ConfigureAwait(false);
                }
            }

            await output.WriteLineAsync(parsed.GetValue(noWait) ? "Begun." : "Done.").ConfigureAwait(false);
            return CommandLine.Ok;
        });
        return command;
    }

    /// <summary>It may be done before it was seen.</summary>
    private static async Task<bool> IsDoneAsync(CdpClient client, string[] ids, CancellationToken cancellationToken)
    {
        JsonElement answer = (await client.GetAsync("/v1/segments", cancellationToken).ConfigureAwait(false))!.Value;
        return answer.GetProperty("segments").EnumerateArray().Where(segment => ids.Length == 0 || ids.Contains(segment.GetProperty("id").GetString())).All(segment => !segment.GetProperty("needs_backfill").GetBoolean());
    }
}
