using System.CommandLine;

namespace StreamCdp.Cli;

/// <summary>Options of every command that asks a running server: where it is and the key, by hand, from a file or from the environment.</summary>
internal sealed class ServerOptions
{
    /// <summary>Where a server is when nobody says.</summary>
    public const string DefaultUrl = "http://127.0.0.1:8080";

    /// <summary><c>--url</c>.</summary>
    public Option<string?> Url { get; } = new("--url") { Description = $"Address of the running server. Default: STREAMCDP_URL, else {DefaultUrl}.", HelpName = "URL" };

    /// <summary><c>--key</c>.</summary>
    public Option<string?> Key { get; } = new("--key") { Description = "Secret key of the query API (api_keys of the model). Default: STREAMCDP_API_KEY.", HelpName = "KEY" };

    /// <summary><c>--key-file</c>.</summary>
    public Option<string?> KeyFile { get; } = new("--key-file") { Description = "File with that key on its first line; a key on the command line can be read by everybody on the machine.", HelpName = "FILE" };

    /// <summary>Adds all to a command.</summary>
    public void AddTo(Command command)
    {
        command.Options.Add(Url);
        command.Options.Add(Key);
        command.Options.Add(KeyFile);
    }

    /// <summary>A client for the server that the command line names.</summary>
    /// <exception cref="CliException">The address is none.</exception>
    public CdpClient Connect(ParseResult parsed) =>
        new(Address(parsed.GetValue(Url) ?? Environment.GetEnvironmentVariable("STREAMCDP_URL") ?? DefaultUrl), Secret(parsed, Key, KeyFile, "STREAMCDP_API_KEY"));

    /// <summary>A secret from the command line, else from a file, else from the environment; null where nobody gave one.</summary>
    /// <exception cref="CliException">Both are given, or the file is not there or has none.</exception>
    public static string? Secret(ParseResult parsed, Option<string?> direct, Option<string?> file, string variable)
    {
        if (parsed.GetValue(file) is not { } path)
        {
            return parsed.GetValue(direct) ?? Environment.GetEnvironmentVariable(variable);
        }

        if (parsed.GetValue(direct) is not null)
        {
            throw new CliException($"{direct.Name} and {file.Name} are both given; give one.", CommandLine.WrongUsage);
        }

        string key = File.Exists(path) ? File.ReadLines(path).FirstOrDefault("").Trim() : throw new CliException($"{file.Name} is {path}, which is not there.");
        return key.Length > 0 ? key : throw new CliException($"{file.Name} is {path}, whose first line is empty; it must be the key.");
    }

    /// <summary>Reads an address.</summary>
    /// <exception cref="CliException">It is none.</exception>
    public static Uri Address(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out Uri? uri) && uri.Scheme is "http" or "https"
            ? uri
            : throw new CliException($"--url is {text}; allowed is an address such as {DefaultUrl}.", CommandLine.WrongUsage);
}
