namespace StreamCdp.Cli;

/// <summary>A command cannot go on; the message says why and what to do, and is all that is printed.</summary>
internal sealed class CliException(string message, int exitCode = CommandLine.Failed, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Exit code of the process.</summary>
    public int ExitCode { get; } = exitCode;
}
