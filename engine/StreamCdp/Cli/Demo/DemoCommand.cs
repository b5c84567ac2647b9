using System.CommandLine;

namespace StreamCdp.Cli.Demo;

/// <summary><c>streamcdp demo</c>.</summary>
internal static class DemoCommand
{
    /// <summary>The command.</summary>
    public static Command Create() => new CommandWithExamples("demo", "Demo.");
}
