using System.CommandLine;

namespace StreamCdp.Cli;

/// <summary>Options of every command that asks a running server: where it is and the key.</summary>
internal sealed class ServerOptions
{
    /// <summary>Where a server is when nobody says.</summary>
    public const string DefaultUrl = "http://127.0.0.1:8080";

    /// <summary><c>--url</c>.</summary>
    public Option<string?> Url { get; } = new("--url") { Description = $"Address of the running server. Default: STREAMCDP_URL, else {DefaultUrl}.", HelpName = "URL" };

    /// <summary><c>--key</c>.</summary>
    public Option<string?> Key { get; } = new("--key") { Description = "Secret key of the query API (api_keys of the model). Default: STREAMCDP_API_KEY.", HelpName = "KEY" };

    /// <summary>Adds both to a command.</summary>
    public void AddTo(Command command)
    {
        command.Options.Add(Url);
        command.Options.Add(Key);
    }

    /// <summary>A client for the server that the command line names.</summary>
    /// <exception cref="CliException">The address is none.</exception>
    public CdpClient Connect(ParseResult parsed) =>
        new(Address(parsed.GetValue(Url) ?? Environment.GetEnvironmentVariable("STREAMCDP_URL") ?? DefaultUrl), parsed.GetValue(Key) ?? Environment.GetEnvironmentVariable("STREAMCDP_API_KEY"));

    /// <summary>Reads an address.</summary>
    /// <exception cref="CliException">It is none.</exception>
    public static Uri Address(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out Uri? uri) && uri.Scheme is "http" or "https"
            ? uri
            : throw new CliException($"--url is {text}; allowed is an address such as {DefaultUrl}.", CommandLine.WrongUsage);
}
