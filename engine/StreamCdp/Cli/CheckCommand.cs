using System.CommandLine;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp check FILE</c>.</summary>
internal static class CheckCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var file = new Argument<string>("FILE") { Description = "The model, for example cdp.yaml." };
        var connect = new Option<bool>("--connect") { Description = "Also connect to each destination, at most 10 s, and compare mapped fields with those of the CRM. Nothing is sent or changed." };
        var against = new Option<string?>("--against") { Description = "live: also ask a running server how many people would enter and leave each segment that is new, changed or gone, and which names of events, properties and traits it has not seen yet. Nothing is changed.", HelpName = "live" };
        against.AcceptOnlyFromAmong("live");
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "check",
            "Check a model: print every error as file:line:column (exit code 1), or what the model will do.",
            "streamcdp check cdp.yaml",
            "streamcdp check --connect cdp.yaml",
            "streamcdp check --against live cdp.yaml",
            "WEB_WRITE_KEY=x STREAMCDP_API_KEY=y streamcdp check cdp.yaml   # for env:NAME in the model")
        {
            file,
            connect,
            against,
        };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient? live = parsed.GetValue(against) is null ? null : server.Connect(parsed);
            SeenSchema? seen = live is null ? null : await LiveCheck.SchemaAsync(live, cancellationToken).ConfigureAwait(false);
            (CdpModel model, IReadOnlyList<ModelNote> notes) = ModelFile.ReadWithNotes(parsed.GetRequiredValue(file), Environment.GetEnvironmentVariable, seen);
            TextWriter output = parsed.InvocationConfiguration.Output;
            ModelReport.Write(output, model, notes);
            if (parsed.GetValue(connect) && await ConnectCheck.RunAsync(parsed.GetRequiredValue(file), model, output, cancellationToken).ConfigureAwait(false) is { Count: > 0 } problems)
            {
                throw new CliException(string.Join(Environment.NewLine, problems));
            }

            if (live is not null)
            {
                await LiveCheck.RunAsync(live, model, output, cancellationToken).ConfigureAwait(false);
            }

            return CommandLine.Ok;
        });
        return command;
    }
}
