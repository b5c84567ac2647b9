using StreamCdp.Engine.Model;

namespace StreamCdp.Cli;

/// <summary>Reads cdp.yaml for a command.</summary>
internal static class ModelFile
{
    private static readonly System.Text.UTF8Encoding s_strictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

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

    /// <summary>A file of a model: UTF-8, in the model's directory or below, so that no model sends what else is on this machine.</summary>
    private static string ReadBeside(string directory, string path)
    {
        string file = Path.GetFullPath(path, directory);
        string relative = Path.GetRelativePath(directory, file);
        if (Path.IsPathRooted(path) || relative == ".." || relative.StartsWith(".." + Path.DirectorySeparatorChar, StringComparison.Ordinal))
        {
            throw new UnauthorizedAccessException("it must be in the model's directory or below");
        }

        if (new FileInfo(file) is { Exists: true, Length: > 4L * ModelReader.MaxLength })
        {
            throw new IOException($"it has more than {4L * ModelReader.MaxLength} bytes");
        }

        try
        {
            return File.ReadAllText(file, s_strictUtf8);
        }
        catch (System.Text.DecoderFallbackException)
        {
            throw new IOException("it is not UTF-8; save it as UTF-8");
        }
    }

    /// <summary>Checks a text; files that it names are looked for in the directory of its own.</summary>
    /// <exception cref="CliException">It is wrong; the message has every error with its place.</exception>
    public static (CdpModel Model, IReadOnlyList<ModelNote> Notes) Parse(string fileName, string text, Func<string, string?> environment, SeenSchema? seen = null)
    {
        string directory = Path.GetDirectoryName(Path.GetFullPath(fileName))!;
        ModelResult result = ModelReader.Read(fileName, text, environment, path => ReadBeside(directory, path), seen);
        return result.Model is { } model ? (model, result.Notes) : throw new CliException(string.Join(Environment.NewLine, result.Errors));
    }
}
