namespace StreamCdp.Cli;

/// <summary>A command cannot go on; the message says why and what to do, and is all that is printed.</summary>
internal class CliException(string message, int exitCode = CommandLine.Failed, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>Exit code of the process.</summary>
    public int ExitCode { get; } = exitCode;
}

/// <summary>The server has no time now, or is not as far as it was asked to wait for.</summary>
internal sealed class ServerBusyException(string message, TimeSpan retryAfter) : CliException(message)
{
    /// <summary>When to ask again.</summary>
    public TimeSpan RetryAfter { get; } = retryAfter;
}
