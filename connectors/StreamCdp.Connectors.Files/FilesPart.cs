using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.Win32.SafeHandles;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Connectors.Files;

/// <summary>The file in work, <c>name.begin.part</c>. Finished, it gets its name in one step.</summary>
internal sealed class FilesPart : IDisposable
{
    private const string BeginFormat = "yyyyMMdd'T'HHmmssfff";

    /// <summary>Lines whose ids are remembered: more than the kit sends again after a crash, which is one batch.</summary>
    private const int Remembered = 2000;

    private readonly FilesOptions _options;
    private readonly FileStream _stream;
    private readonly DateTimeOffset _begin;
    private long _durable;
    private long _headerBytes;
    private bool _isDirty;

    private FilesPart(FilesOptions options, string path, DateTimeOffset begin, FileMode mode)
    {
        (_options, Path, _begin) = (options, path, begin);
        var settings = new FileStreamOptions { Mode = mode, Access = FileAccess.ReadWrite, Share = FileShare.None, BufferSize = 0 }; // Locked: two processes with one path do not write into each other's lines.
        if (mode == FileMode.CreateNew && !OperatingSystem.IsWindows())
        {
            settings.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | (options.IsGroupReadable ? UnixFileMode.GroupRead : 0);
        }

        _stream = new FileStream(path, settings);
    }

    private SafeFileHandle Handle => _stream.SafeFileHandle;

    public string Path { get; }

    public bool IsFull => _durable >= _options.MaxBytes;

    public static void MakeDirectory(FilesOptions options)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(options.Directory);
        }
        else
        {
            Directory.CreateDirectory(options.Directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | (options.IsGroupReadable ? UnixFileMode.GroupRead | UnixFileMode.GroupExecute : 0));
        }
    }

    /// <summary>Begins a file.</summary>
    public static FilesPart Begin(FilesOptions options, DateTimeOffset now)
    {
        MakeDirectory(options);
        string path = string.Create(CultureInfo.InvariantCulture, $"{FinalPath(options, now)}.{now.UtcDateTime.ToString(BeginFormat, CultureInfo.InvariantCulture)}.part");
        var part = new FilesPart(options, path, now, FileMode.CreateNew);
        try
        {
            part.Append(FilesRows.Header(options));
            part._headerBytes = part._durable;
            LocalFiles.SyncDirectory(options.Directory);
            return part;
        }
        catch
        {
            part.Dispose();
            File.Delete(path);
            throw;
        }
    }

    /// <summary>What a former run left in work: the newest is gone on with, if it has the same columns; others are finished.</summary>
    /// <param name="options">The destination's.</param>
    /// <param name="ids">Gets the ids of its last lines.</param>
    public static FilesPart? Recover(FilesOptions options, Action<string> ids)
    {
        if (!Directory.Exists(options.Directory))
        {
            return null;
        }

        FilesPart? newest = null;
        try
        {
            foreach ((string path, DateTimeOffset begin) in Parts(options))
            {
                newest?.Finish();
                newest = new FilesPart(options, path, begin, FileMode.Open);
                if (!newest.CutTornLine(ids))
                {
                    newest.Finish();
                    newest = null;
                }
            }

            return newest;
        }
        catch
        {
            newest?.Dispose(); // Else its lock keeps out the next try.
            throw;
        }
    }

    public bool IsOver(DateTimeOffset now)
    {
        long rotate = _options.Rotate.Ticks;
        return now.UtcTicks >= ((_begin.UtcTicks / rotate) + 1) * rotate;
    }

    /// <summary>Writes lines and makes them durable. Where that fails, what may stand there is overwritten by the next try, and is never read as a line in between.</summary>
    public void Append(ReadOnlySpan<byte> lines)
    {
        if (_isDirty)
        {
            RandomAccess.SetLength(Handle, _durable);
        }

        _isDirty = true;
        RandomAccess.Write(Handle, lines, _durable);
        RandomAccess.FlushToDisk(Handle);
        _durable += lines.Length;
        _isDirty = false;
    }

    /// <summary>Gives it its name, or deletes it where it has no line.</summary>
    public void Finish()
    {
        if (_isDirty)
        {
            RandomAccess.SetLength(Handle, _durable);
            RandomAccess.FlushToDisk(Handle);
        }

        if (OperatingSystem.IsWindows())
        {
            Dispose(); // There an open file keeps its name.
        }

        if (_durable <= _headerBytes)
        {
            File.Delete(Path);
        }
        else
        {
            File.Move(Path, FreeName()); // Alone in the directory by its lock, so nobody takes the name in between.
        }

        LocalFiles.SyncDirectory(_options.Directory);
        Dispose();
    }

    public void Dispose() => _stream.Dispose();

    private static string FinalPath(FilesOptions options, DateTimeOffset begin) => System.IO.Path.Combine(options.Directory, System.IO.Path.GetFileName(options.Path)
        .Replace("{date}", begin.UtcDateTime.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture), StringComparison.Ordinal)
        .Replace("{time}", begin.UtcDateTime.ToString("HHmmss", CultureInfo.InvariantCulture), StringComparison.Ordinal));

    private static List<(string Path, DateTimeOffset Begin)> Parts(FilesOptions options)
    {
        string name = Regex.Escape(System.IO.Path.GetFileName(options.Path)).Replace(@"\{date}", "[0-9]{4}-[0-9]{2}-[0-9]{2}", StringComparison.Ordinal).Replace(@"\{time}", "[0-9]{6}", StringComparison.Ordinal);
        var pattern = new Regex($@"^{name}\.([0-9]{{8}}T[0-9]{{9}})\.part$", RegexOptions.CultureInvariant);
        return
        [
            .. Directory.EnumerateFiles(options.Directory, "*.part")
                .Select(path => (Path: path, Match: pattern.Match(System.IO.Path.GetFileName(path))))
                .Where(found => found.Match.Success && DateTimeOffset.TryParseExact(found.Match.Groups[1].Value, BeginFormat, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out _))
                .Select(found => (found.Path, DateTimeOffset.ParseExact(found.Match.Groups[1].Value, BeginFormat, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal)))
                .OrderBy(found => found.Item2),
        ];
    }

    /// <summary>Keeps whole lines, and cuts off what a crash left behind them: half a line, or zeros of a file system that had grown the file and not written it.</summary>
    /// <returns>False: it begins with other columns.</returns>
    private bool CutTornLine(Action<string> ids)
    {
        byte[] header = FilesRows.Header(_options);
        byte[] newLine = FilesRows.NewLine(_options).ToArray();
        var lines = new Queue<(long Start, int Length)>();
        long length = RandomAccess.GetLength(Handle);
        long start = 0;
        byte[] buffer = new byte[1 << 20];
        int kept = 0; // Of the buffer: the beginning of a line whose end is not read yet.
        bool isTorn = false;
        for (long at = 0; at < length && !isTorn;)
        {
            if (kept == buffer.Length)
            {
                Array.Resize(ref buffer, buffer.Length * 2); // A line is at most as large as a file, 1000 MiB.
            }

            int read = RandomAccess.Read(Handle, buffer.AsSpan(kept), at);
            if (read == 0)
            {
                break;
            }

            at += read;
            Span<byte> found = buffer.AsSpan(0, kept + read);
            for (int end; (end = found.IndexOf(newLine)) >= 0; found = found[(end + newLine.Length)..])
            {
                if (found[..end].Contains((byte)0))
                {
                    isTorn = true;
                    break;
                }

                if (start == 0 && header.Length > 0)
                {
                    _headerBytes = end + newLine.Length; // Its own, which need not be that of today's mapping.
                }

                lines.Enqueue((start, end));
                if (lines.Count > Remembered)
                {
                    lines.Dequeue();
                }

                start += end + newLine.Length;
            }

            found.CopyTo(buffer);
            kept = found.Length;
        }

        if (start < length)
        {
            RandomAccess.SetLength(Handle, start);
        }

        if (start == 0 && header.Length > 0)
        {
            RandomAccess.Write(Handle, header, 0);
            start = header.Length;
            _headerBytes = header.Length;
        }

        RandomAccess.FlushToDisk(Handle); // What the former run wrote may be in the system's cache alone.
        _durable = start;
        foreach ((long lineStart, int lineLength) in lines)
        {
            byte[] line = new byte[lineLength];
            RandomAccess.Read(Handle, line, lineStart);
            if (FilesRows.IdOf(_options, line) is { } id)
            {
                ids(id);
            }
        }

        byte[] first = new byte[header.Length];
        RandomAccess.Read(Handle, first, 0);
        return first.AsSpan().SequenceEqual(header);
    }

    /// <summary>Its name, with a number where there is such a file already.</summary>
    private string FreeName()
    {
        string path = FinalPath(_options, _begin);
        string extension = System.IO.Path.GetExtension(path);
        for (int number = 2; File.Exists(path); number++)
        {
            path = string.Create(CultureInfo.InvariantCulture, $"{FinalPath(_options, _begin)[..^extension.Length]}-{number}{extension}");
        }

        return path;
    }
}
