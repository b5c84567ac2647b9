using StreamCdp.Engine.Model;

namespace StreamCdp.Cli;

/// <summary>Reads cdp.yaml for a command.</summary>
internal static class ModelFile
{
    /// <summary>A checked model.</summary>
    /// <exception cref="CliException">It is wrong; the message has every error with its place.</exception>
    public static CdpModel Read(string path, Func<string, string?> environment)
    {
        ModelResult result = ModelReader.Read(path, File.ReadAllText(path), environment);
        return result.Model ?? throw new CliException(string.Join(Environment.NewLine, result.Errors));
    }
}
