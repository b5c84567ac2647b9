using System.Text;

namespace StreamCdp.Cli;

/// <summary>The directory of a server's state: one process at a time, and for one place of logs only, because checkpoints hold offsets in those logs.</summary>
internal sealed class DataDirectory : IDisposable
{
    private readonly FileStream _lock;

    private DataDirectory(FileStream lockFile) => _lock = lockFile;

    /// <summary>Takes a directory for this process, making it where it is missing.</summary>
    /// <exception cref="CliException">Another process uses it, or it cannot be made.</exception>
    public static DataDirectory Take(string path)
    {
        string file = Path.Combine(path, "lock");
        try
        {
            Directory.CreateDirectory(path);
            var taken = new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 1);
            File.WriteAllText(file + ".pid", $"{Environment.ProcessId}"); // Another file, because a locked one cannot be read.
            return new DataDirectory(taken);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            string owner = exception is IOException && File.Exists(file + ".pid") ? $" Process {File.ReadAllText(file + ".pid").Trim()} uses it, or used it last." : "";
            throw new CliException($"The data directory {Path.GetFullPath(path)} cannot be used: {exception.Message}{owner} Stop that process, or give another directory (--data).", inner: exception);
        }
    }

    /// <summary>Refuses a directory whose state belongs to other logs.</summary>
    /// <param name="path">The directory.</param>
    /// <param name="logs">Names the place of the logs.</param>
    /// <exception cref="CliException">It belongs to other logs.</exception>
    public static void MustBelongTo(string path, string logs)
    {
        string file = Path.Combine(path, "logs-of-state.txt");
        if (!File.Exists(file))
        {
            string temporary = file + ".tmp";
            File.WriteAllText(temporary, logs, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false));
            File.Move(temporary, file, overwrite: true);
            return;
        }

        string before = File.ReadAllText(file);
        if (before != logs)
        {
            throw new CliException($"The state in {Path.GetFullPath(path)} belongs to the logs \"{before}\", but this start is for \"{logs}\": its offsets mean nothing there. Give another directory (--data); the state is made again from the logs.");
        }
    }

    /// <summary>Lets it go.</summary>
    public void Dispose() => _lock.Dispose();
}
