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
        var command = new CommandWithExamples(
            "check",
            "Check a model: print every error as file:line:column (exit code 1), or what the model will do.",
            "streamcdp check cdp.yaml",
            "WEB_WRITE_KEY=x STREAMCDP_API_KEY=y streamcdp check cdp.yaml   # for env:NAME in the model")
        {
            file,
        };
        command.SetAction(parsed =>
        {
            (CdpModel model, IReadOnlyList<ModelNote> notes) = ModelFile.ReadWithNotes(parsed.GetRequiredValue(file), Environment.GetEnvironmentVariable);
            ModelReport.Write(parsed.InvocationConfiguration.Output, model, notes);
            return CommandLine.Ok;
        });
        return command;
    }
}
