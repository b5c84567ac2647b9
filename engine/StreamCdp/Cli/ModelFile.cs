using StreamCdp.Engine.Model;

namespace StreamCdp.Cli;

/// <summary>Reads cdp.yaml for a command.</summary>
internal static class ModelFile
{
    /// <summary>A checked model.</summary>
    /// <exception cref="CliException">It is wrong; the message has every error with its place.</exception>
    public static CdpModel Read(string path, Func<string, string?> environment) => ReadWithNotes(path, environment).Model;

    /// <summary>A checked model and what may surprise in it.</summary>
    /// <param name="path">Of the file.</param>
    /// <param name="environment">For env:NAME.</param>
    /// <param name="seen">What events have brought: names that they have not are noted.</param>
    /// <exception cref="CliException">It is wrong; the message has every error with its place.</exception>
    public static (CdpModel Model, IReadOnlyList<ModelNote> Notes) ReadWithNotes(string path, Func<string, string?> environment, SeenSchema? seen = null)
    {
        if (!File.Exists(path))
        {
            throw new CliException($"{path} is not there; expected the path of a cdp.yaml.");
        }

        return Parse(path, File.ReadAllText(path), environment, seen);
    }

    /// <summary>Checks a text; files that it names are looked for in the directory of its own.</summary>
    /// <exception cref="CliException">It is wrong; the message has every error with its place.</exception>
    public static (CdpModel Model, IReadOnlyList<ModelNote> Notes) Parse(string fileName, string text, Func<string, string?> environment, SeenSchema? seen = null)
    {
        string directory = Path.GetDirectoryName(Path.GetFullPath(fileName))!;
        ModelResult result = ModelReader.Read(fileName, text, environment, path => File.ReadAllText(Path.Combine(directory, path)), seen);
        return result.Model is { } model ? (model, result.Notes) : throw new CliException(string.Join(Environment.NewLine, result.Errors));
    }
}
