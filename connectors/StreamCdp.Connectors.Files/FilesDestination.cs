namespace StreamCdp.Connectors.Files;

/// <summary>Appends changes as lines to a file, durably, and finishes the file when its time is over or it is large.</summary>
/// <remarks>
/// Writing is done beside the caller: a disk of the network can hang for ever in a call, and the kit must be able to stop all the same. One write is under way at a time; who comes while it hangs is asked to try again.
/// </remarks>
public sealed class FilesDestination : IDestination, ICheckable
{
    private const int Remembered = 10_000;
    private static readonly TimeSpan s_firstLook = TimeSpan.FromSeconds(30); // Not at once: a check makes one, too, and must not change files.
    private static readonly TimeSpan s_look = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_disposeWait = TimeSpan.FromSeconds(5);

    private readonly FilesOptions _options;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _turn = new(1);
    private readonly ITimer _timer;
    private readonly HashSet<string> _ids = new(StringComparer.Ordinal);
    private readonly Queue<string> _order = new();
    private FilesPart? _part;
    private bool _isRecovered;

    /// <summary>Makes it; nothing is written yet.</summary>
    /// <param name="options">Checked: <see cref="FilesOptions.Errors"/> is empty.</param>
    /// <param name="time">For names and the end of files.</param>
    public FilesDestination(FilesOptions options, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(time);
        (_options, _time) = (options, time);
        _timer = time.CreateTimer(_ => FinishInTime(), null, s_firstLook, s_look); // A file ends also when nothing comes any more.
    }

    /// <inheritdoc/>
    /// <remarks>False, although one can be refused: none is ever to be tried again without the others.</remarks>
    public bool AnswersPerChange => false;

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(batch);
        var outcomes = new Outcome[batch.Count];
        List<(string Id, byte[] Row)> rows = [];
        for (int i = 0; i < batch.Count; i++)
        {
            byte[] row = FilesRows.Row(_options, batch[i]);
            bool fits = row.Length <= _options.MaxBytes;
            outcomes[i] = fits ? Outcome.Taken : Outcome.Refused($"It has {row.Length} bytes, and a file takes {_options.MaxBytes}. Raise max_mb, or map fewer fields.");
            if (fits)
            {
                rows.Add((batch[i].Id, row));
            }
        }

        try
        {
            if (!await _turn.WaitAsync(_options.Timeout, cancellationToken).ConfigureAwait(false))
            {
                throw new DestinationUnavailableException($"An earlier write in {_options.Directory} is still under way. Check the disk, above all one of the network.");
            }

            await Task.Run(() => InTurn(() => Write(rows)), CancellationToken.None).WaitAsync(_options.Timeout, _time, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException exception)
        {
            throw new DestinationUnavailableException($"Writing in {_options.Directory} took more than {_options.Timeout.TotalSeconds:0.###} s. Check the disk, above all one of the network; if it needs longer, set timeout.", inner: exception);
        }
        catch (Exception exception) when (exception is UnauthorizedAccessException or IOException and not DestinationUnavailableException)
        {
            throw Problem(exception);
        }

        return outcomes;
    }

    /// <inheritdoc/>
    /// <remarks>Makes an empty file with a name of its own and deletes it; a directory that is missing is not made.</remarks>
    public async ValueTask<IReadOnlyList<Finding>> CheckAsync(CancellationToken cancellationToken)
    {
        try
        {
            return [await Task.Run(Look, cancellationToken).WaitAsync(cancellationToken).ConfigureAwait(false)]; // A disk of the network can hang.
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [new Finding("path", Problem(exception).Message, IsProblem: true)];
        }
    }

    /// <inheritdoc/>
    /// <remarks>The file in work stays so; the next start goes on with it.</remarks>
    public async ValueTask DisposeAsync()
    {
        try
        {
            await _timer.DisposeAsync().AsTask().WaitAsync(s_disposeWait).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // Its look hangs with the disk; it has the turn, so nothing below is taken from under it.
        }

        if (await _turn.WaitAsync(s_disposeWait).ConfigureAwait(false))
        {
            _part?.Dispose();
            _turn.Dispose();
        }
    }

    private Finding Look()
    {
        string there = _options.Directory;
        while (!Directory.Exists(there) && !File.Exists(there) && System.IO.Path.GetDirectoryName(there) is { } above)
        {
            there = above;
        }

        if (!Directory.Exists(there))
        {
            return new Finding("path", NoDirectory, IsProblem: true);
        }

        using (new FileStream(System.IO.Path.Combine(there, ".streamcdp-check-" + System.IO.Path.GetRandomFileName()), FileMode.CreateNew, FileAccess.Write, FileShare.None, 1, FileOptions.DeleteOnClose))
        {
        }

        return new Finding("path", there == _options.Directory ? $"{there} can be written" : $"{_options.Directory} is not there; the server makes it in {there}, which can be written");
    }

    private void InTurn(Action work)
    {
        try
        {
            work();
        }
        finally
        {
            _turn.Release();
        }
    }

    private void Write(List<(string Id, byte[] Row)> rows)
    {
        DateTimeOffset now = _time.GetUtcNow();
        GoOn(now);
        List<(string Id, byte[] Row)> fresh = [.. rows.Where(row => !_ids.Contains(row.Id)).DistinctBy(row => row.Id)];
        if (fresh.Count == 0)
        {
            return;
        }

        _part ??= FilesPart.Begin(_options, now);
        byte[] lines = new byte[fresh.Sum(row => row.Row.Length)];
        int at = 0;
        foreach ((_, byte[] row) in fresh)
        {
            row.CopyTo(lines, at);
            at += row.Length;
        }

        _part.Append(lines);
        fresh.ForEach(row => Remember(row.Id));
    }

    /// <summary>Takes up what a former run left, and finishes what is over.</summary>
    private void GoOn(DateTimeOffset now)
    {
        if (!_isRecovered)
        {
            _part = FilesPart.Recover(_options, Remember);
            _isRecovered = true;
        }

        if (_part is not null && !File.Exists(_part.Path))
        {
            _part.Dispose(); // Somebody took it: what is written into it would be nowhere.
            _part = null;
        }

        if (_part is not null && (_part.IsFull || _part.IsOver(now)))
        {
            _part.Finish();
            _part = null;
        }
    }

    private void FinishInTime()
    {
        if (!_turn.Wait(TimeSpan.Zero))
        {
            return; // A write does it.
        }

        InTurn(() =>
        {
            try
            {
                GoOn(_time.GetUtcNow());
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // The next write meets it, too, and tells it.
            }
        });
    }

    private void Remember(string id)
    {
        if (_ids.Add(id))
        {
            _order.Enqueue(id);
            if (_order.Count > Remembered)
            {
                _ids.Remove(_order.Dequeue());
            }
        }
    }

    private string NoDirectory => $"{_options.Path} cannot be made: a part of it is no directory, or too long. Write another path into the model.";

    private Exception Problem(Exception exception) => (exception, exception.HResult & 0xFFFF) switch
    {
        (UnauthorizedAccessException, _) => new DestinationMustPauseException($"This process may not write in {_options.Directory}. Give the directory to its user, or write another path into the model; then resume."),
        (_, 28 or 122 or 112) => new DestinationUnavailableException($"The disk of {_options.Directory} is full: free space. It goes on by itself.", inner: exception), // ENOSPC, EDQUOT, ERROR_DISK_FULL
        (_, 30) => new DestinationMustPauseException($"The disk of {_options.Directory} can only be read. Mount it so that it can be written, or write another path into the model; then resume."), // EROFS
        (_, 17 or 20 or 21 or 36 or 40) => new DestinationMustPauseException(NoDirectory), // EEXIST, ENOTDIR, EISDIR, ENAMETOOLONG, ELOOP
        _ => new DestinationUnavailableException($"Writing in {_options.Directory} failed: {exception.Message.TrimEnd('.')}. Check the disk, and that no other process has the same path.", inner: exception),
    };
}
