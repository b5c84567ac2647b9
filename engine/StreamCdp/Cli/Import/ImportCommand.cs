using System.CommandLine;

namespace StreamCdp.Cli.Import;

/// <summary><c>streamcdp import FILE|-</c>.</summary>
internal static class ImportCommand
{
    /// <summary>The command.</summary>
    public static Command Create() => new CommandWithExamples("import", "Import.");
}
