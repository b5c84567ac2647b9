using System.Text.Json;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace StreamCdp.Engine.Logs;

/// <summary>The local logs of one directory: <c>{directory}/{log}/{partition}/{offset}.log</c>. One process at a time may use it.</summary>
public sealed class LocalLogs : ILogStore
{
    private const int MaintenanceMs = 10_000;
    private const string MetaFile = "log.json";

    private readonly Lock _lock = new();
    private readonly Dictionary<string, (LocalLog Log, int Uses)> _open = [];
    private readonly string _directory;
    private readonly LocalLogOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly FileStream _lockFile;
    private readonly CancellationTokenSource _stop = new();
    private readonly Thread _maintenance;
    private bool _disposed;

    /// <summary>Takes a directory for this process, making it where it is missing.</summary>
    /// <exception cref="LogUnavailableException">Another process uses the directory, or it cannot be made.</exception>
    /// <exception cref="ArgumentException">The options are wrong.</exception>
    public LocalLogs(string directory, LocalLogOptions options, TimeProvider time, ILoggerFactory? loggers = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        ArgumentNullException.ThrowIfNull(options);
        string[] errors = [.. options.Errors()];
        if (errors.Length > 0)
        {
            throw new ArgumentException(string.Join(Environment.NewLine, errors), nameof(options));
        }

        _directory = Path.GetFullPath(directory);
        _options = options;
        _time = time;
        _logger = (loggers ?? NullLoggerFactory.Instance).CreateLogger<LocalLogs>();
        _lockFile = TakeLock(_directory);
        _maintenance = new Thread(MaintainAll) { IsBackground = true, Name = "log maintenance", Priority = ThreadPriority.BelowNormal };
        _maintenance.Start();
    }

    /// <inheritdoc/>
    /// <remarks>Opening a log that is open gives the same one; it closes when each opener disposed it. A faulted log is closed and read from the disk anew.</remarks>
    public ILog Open(LogDefinition definition)
    {
        LogLimits.Check(definition);
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_open.TryGetValue(definition.Name, out (LocalLog Log, int Uses) open))
            {
                if (open.Log.Fault is null)
                {
                    CheckCleanup(definition, open.Log.Definition.Cleanup, Path.Combine(_directory, definition.Name));
                    _open[definition.Name] = (open.Log, open.Uses + 1);
                    return open.Log;
                }

                _open.Remove(definition.Name);
                open.Log.Close();
            }

            try
            {
                string directory = Path.Combine(_directory, definition.Name);
                LogDefinition found = OpenMeta(directory, definition);
                LocalLog log = new(directory, found, _options, _time, _logger, Release);
                _open.Add(definition.Name, (log, 1));
                return log;
            }
            catch (Exception error) when (error is (IOException and not (LogUnavailableException or LogUnfitException)) or UnauthorizedAccessException)
            {
                throw new LogUnavailableException($"Log {definition.Name} in {_directory} cannot be opened: {error.Message} {LocalFiles.Advice(error)}", error);
            }
        }
    }

    /// <summary>Commits what was appended to any log, closes all, and lets the directory go.</summary>
    public async ValueTask DisposeAsync()
    {
        LocalLog[] logs;
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            logs = [.. _open.Values.Select(one => one.Log)];
            _open.Clear();
        }

        await _stop.CancelAsync().ConfigureAwait(false);
        foreach (LocalLog log in logs)
        {
            await log.CloseAsync().ConfigureAwait(false);
        }

        _maintenance.Join();
        _stop.Dispose();
        await _lockFile.DisposeAsync().ConfigureAwait(false);
    }

    private async ValueTask Release(LocalLog log)
    {
        lock (_lock)
        {
            if (!_open.TryGetValue(log.Name, out (LocalLog Log, int Uses) open) || !ReferenceEquals(open.Log, log))
            {
                return;
            }

            if (open.Uses > 1)
            {
                _open[log.Name] = (log, open.Uses - 1);
                return;
            }

            _open.Remove(log.Name);
        }

        await log.CloseAsync().ConfigureAwait(false);
    }

    private void MaintainAll()
    {
        while (!_stop.Token.WaitHandle.WaitOne(MaintenanceMs))
        {
            LocalLog[] logs;
            lock (_lock)
            {
                logs = [.. _open.Values.Select(one => one.Log)];
            }

            foreach (LocalLog log in logs)
            {
                log.Maintain();
            }
        }
    }

    private static FileStream TakeLock(string directory)
    {
        string path = Path.Combine(directory, "lock");
        try
        {
            Directory.CreateDirectory(directory);
            FileStream file = new(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 1);
            File.WriteAllText(path + ".pid", $"{Environment.ProcessId}"); // Another file, because a locked one cannot be read.
            return file;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            string owner = File.Exists(path) ? Owner(path + ".pid") : "";
            throw new LogUnavailableException(
                owner.Length > 0
                    ? $"The log directory {directory} is in use by process {owner} ({error.Message}). Stop that process, or give this one another directory."
                    : $"The log directory {directory} cannot be used: {error.Message} {LocalFiles.Advice(error)}",
                error);
        }
    }

    private static string Owner(string pidFile)
    {
        try
        {
            return File.ReadAllText(pidFile).Trim();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }

    private static LogDefinition OpenMeta(string directory, LogDefinition definition)
    {
        string path = Path.Combine(directory, MetaFile);
        if (!File.Exists(path))
        {
            Directory.CreateDirectory(directory);
            LocalFiles.SyncDirectory(Path.GetDirectoryName(directory)!);
            LocalFiles.WriteWhole(path, JsonSerializer.SerializeToUtf8Bytes(new Meta(1, definition.Name, definition.Partitions, definition.Cleanup.ToString())));
            return definition;
        }

        Meta? meta;
        try
        {
            meta = JsonSerializer.Deserialize<Meta>(File.ReadAllBytes(path));
        }
        catch (JsonException error)
        {
            throw new LogUnfitException($"{path} is not readable ({error.Message}). Restore it from a copy.");
        }

        if (meta is not { Format: 1, Partitions: > 0 } || !Enum.TryParse(meta.Cleanup, out LogCleanup cleanup))
        {
            throw new LogUnfitException($"{path} is of format {meta?.Format}; this version reads format 1. Use the version of StreamCdp that wrote it, or restore the file from a copy.");
        }

        CheckCleanup(definition, cleanup, directory);
        return definition with { Partitions = meta.Partitions };
    }

    private static void CheckCleanup(LogDefinition wanted, LogCleanup found, string directory)
    {
        if (wanted.Cleanup != found)
        {
            throw new LogUnfitException(
                $"Log {wanted.Name} in {directory} has cleanup {found}, needed is {wanted.Cleanup}. Move the directory away (mv {directory} {directory}.old) to begin a new log, or use another data directory.");
        }
    }

    private sealed record Meta(int Format, string Name, int Partitions, string Cleanup);
}
