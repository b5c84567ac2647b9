using System.CommandLine;

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
            "Check a model: print every error as file:line:column, or what the model will do.",
            "streamcdp check cdp.yaml")
        {
            file,
        };
        command.SetAction(parsed =>
        {
            ModelFile.Read(parsed.GetRequiredValue(file), Environment.GetEnvironmentVariable);
            return CommandLine.Ok;
        });
        return command;
    }
}
