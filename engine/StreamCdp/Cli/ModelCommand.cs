using System.CommandLine;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp model</c>.</summary>
internal static class ModelCommand
{
    /// <summary>The command.</summary>
    public static Command Create() => new("model", "The model that a server computes with.") { Export() };

    private static CommandWithExamples Export()
    {
        var output = new Option<FileInfo?>("--output") { Description = "Write to this file; default: standard output.", HelpName = "FILE" };
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "export",
            "Print one cdp.yaml with the segments of the file and those written by the API. Secrets that stood in the file are words such as redacted-1; env:NAME stays.",
            "streamcdp model export --output cdp.yaml") { output };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            string text = await client.GetTextAsync("/v1/model", cancellationToken).ConfigureAwait(false) ?? throw new CliException(client.HasNo("/v1/model"));
            if (parsed.GetValue(output) is { } file)
            {
                await File.WriteAllTextAsync(file.FullName, text, cancellationToken).ConfigureAwait(false);
            }
            else
            {
                await parsed.InvocationConfiguration.Output.WriteAsync(text).ConfigureAwait(false);
            }

            return CommandLine.Ok;
        });
        return command;
    }
}
