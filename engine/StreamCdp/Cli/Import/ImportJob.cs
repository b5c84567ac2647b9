using System.Buffers;
using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Cli.Import;

/// <summary>What to import, and where to.</summary>
internal sealed record ImportSettings
{
    /// <summary>For messages.</summary>
    public required string Name { get; init; }

    /// <summary>CSV; else NDJSON.</summary>
    public bool IsCsv { get; init; }

    /// <summary>For CSV.</summary>
    public ImportMapping? Mapping { get; init; }

    /// <summary>The server.</summary>
    public required Uri Server { get; init; }

    /// <summary>Write key of the source.</summary>
    public required string WriteKey { get; init; }

    /// <summary>File of progress; null: not resumable.</summary>
    public string? StatePath { get; init; }

    /// <summary>File of rejected rows; null: they are only counted.</summary>
    public string? RejectedPath { get; init; }

    /// <summary>Go on where the progress file says.</summary>
    public bool Resume { get; init; }

    /// <summary>How long the server may be away or full.</summary>
    public TimeSpan GiveUpAfter { get; init; } = TimeSpan.FromMinutes(10);
}

/// <summary>Reads rows and sends them in batches, in the file's order, each batch after the one before is acknowledged.</summary>
internal sealed class ImportJob(ImportSettings settings, ImportInput input, HttpClient http, TimeProvider time)
{
    private const int MaxBatchBytes = 500_000;
    private const int MaxBatchEvents = 500;
    private readonly List<ReadOnlyMemory<byte>> _batch = [];
    private readonly List<string> _rejectedRows = [];
    private int _batchBytes;
    private long _line;
    private ImportState _state = new(input.Identity, 0, 0, 0, 0, IsDone: false);
    private string? _waiting;

    /// <summary>How far it is. For a progress bar on another thread.</summary>
    public ImportState State => Volatile.Read(ref _state);

    /// <summary>Why it waits now, or null.</summary>
    public string? Waiting => Volatile.Read(ref _waiting);

    /// <summary>Lines that an earlier run did.</summary>
    public long LinesBefore { get; private set; }

    /// <summary>Imports everything.</summary>
    /// <exception cref="CliException">It cannot go on; what is acknowledged stays, and <c>--resume</c> goes on from there.</exception>
    public async Task<ImportState> RunAsync(CancellationToken cancellationToken)
    {
        Begin();
        if (_state.IsDone)
        {
            return _state;
        }

        var events = new ImportEvents(input.Identity);
        IAsyncEnumerable<ImportRow> rows = settings.IsCsv
            ? CsvRows.ReadAsync(input.Content, settings.Mapping, events, _state.Lines, cancellationToken)
            : NdjsonRows.ReadAsync(input.Content, events, _state.Lines, cancellationToken);
        await foreach (ImportRow row in rows.ConfigureAwait(false))
        {
            if (row.Problem is null && (_batch.Count == MaxBatchEvents || (_batchBytes + row.Event.Length + 1 > MaxBatchBytes && _batch.Count > 0)))
            {
                await FlushAsync(isDone: false, cancellationToken).ConfigureAwait(false);
            }

            _line = row.Line;
            if (row.Problem is null)
            {
                _batch.Add(row.Event);
                _batchBytes += row.Event.Length + 1;
            }
            else
            {
                _rejectedRows.Add(JsonSerializer.Serialize(new { line = row.Line, error = row.Problem, raw = row.Raw }));
                if (_rejectedRows.Count >= MaxBatchEvents)
                {
                    await FlushAsync(isDone: false, cancellationToken).ConfigureAwait(false);
                }
            }
        }

        await FlushAsync(isDone: true, cancellationToken).ConfigureAwait(false);
        return _state;
    }

    private void Begin()
    {
        ImportState? before = settings is { Resume: true, StatePath: { } path } ? ImportState.Load(path) : null;
        if (before is not null && before.Identity != input.Identity)
        {
            throw new CliException($"{settings.StatePath} is the progress of another file than {settings.Name} (its start differs). Import without --resume, or name the right file with --state.");
        }

        _state = before ?? _state;
        _line = _state.Lines;
        LinesBefore = _state.Lines;
        if (settings.RejectedPath is not { } rejected || !File.Exists(rejected))
        {
            return;
        }

        if (before is null)
        {
            File.Delete(rejected);
        }
        else
        {
            using FileStream file = File.OpenWrite(rejected);
            file.SetLength(Math.Min(file.Length, before.RejectedBytes));
        }
    }

    private async Task FlushAsync(bool isDone, CancellationToken cancellationToken)
    {
        if (_batch.Count > 0)
        {
            await SendAsync(0, _batch.Count, cancellationToken).ConfigureAwait(false);
        }

        long rejectedBytes = _state.RejectedBytes;
        if (_rejectedRows.Count > 0 && settings.RejectedPath is { } path)
        {
            byte[] lines = Encoding.UTF8.GetBytes(string.Join('\n', _rejectedRows) + '\n');
            await File.AppendAllBytesAsync(path, lines, cancellationToken).ConfigureAwait(false);
            rejectedBytes += lines.Length;
        }

        ImportState state = _state with { Lines = _line, Sent = _state.Sent + _batch.Count, Rejected = _state.Rejected + _rejectedRows.Count, RejectedBytes = rejectedBytes, IsDone = isDone };
        if (settings.StatePath is not null)
        {
            state.Save(settings.StatePath);
        }

        Volatile.Write(ref _state, state);
        _batch.Clear();
        _rejectedRows.Clear();
        _batchBytes = 0;
    }

    /// <summary>Sends a part of the batch; halves it where the server finds it too large.</summary>
    private async Task SendAsync(int from, int count, CancellationToken cancellationToken)
    {
        HttpStatusCode status = await PostAsync(Body(from, count), cancellationToken).ConfigureAwait(false);
        if (status == HttpStatusCode.RequestEntityTooLarge && count > 1)
        {
            await SendAsync(from, count / 2, cancellationToken).ConfigureAwait(false);
            await SendAsync(from + (count / 2), count - (count / 2), cancellationToken).ConfigureAwait(false);
        }
        else if (status is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden)
        {
            throw new CliException($"{settings.Server} refused the write key ({(int)status}). Give the key of a source of the model with --write-key-file or STREAMCDP_WRITE_KEY.");
        }
        else if (status != HttpStatusCode.OK)
        {
            throw new CliException($"{settings.Server} refused the lines after {_state.Lines} with {(int)status}.{Resumable()}");
        }
    }

    private byte[] Body(int from, int count)
    {
        var body = new ArrayBufferWriter<byte>(_batchBytes + 32);
        body.Write("{\"batch\":["u8);
        for (int i = 0; i < count; i++)
        {
            if (i > 0)
            {
                body.Write(","u8);
            }

            body.Write(_batch[from + i].Span);
        }

        body.Write("]}"u8);
        return body.WrittenSpan.ToArray();
    }

    private async Task<HttpStatusCode> PostAsync(byte[] body, CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp();
        for (int attempt = 0; ; attempt++)
        {
            TimeSpan wait = TimeSpan.FromMilliseconds(Math.Min(10_000, 100 << Math.Min(attempt, 7)));
            string problem;
            try
            {
                using var request = new HttpRequestMessage(HttpMethod.Post, new Uri(settings.Server, "/v1/import?clock=as_is")) { Content = new ByteArrayContent(body) };
                request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
                request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(settings.WriteKey + ":")));
                request.Headers.Add("X-Import", "true");
                using HttpResponseMessage response = await http.SendAsync(request, cancellationToken).ConfigureAwait(false);
                if (response.StatusCode != HttpStatusCode.TooManyRequests && (int)response.StatusCode < 500)
                {
                    Volatile.Write(ref _waiting, null);
                    return response.StatusCode;
                }

                wait = RetryAfter(response) ?? wait;
                problem = $"answered {(int)response.StatusCode}";
            }
            catch (HttpRequestException exception)
            {
                problem = "cannot be reached: " + exception.Message;
            }
            catch (TaskCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                problem = "did not answer in time";
            }

            if (Stopwatch.GetElapsedTime(start) + wait > settings.GiveUpAfter)
            {
                throw new CliException($"{settings.Server} {problem} for {settings.GiveUpAfter.TotalMinutes:F0} min.{Resumable()}");
            }

            Volatile.Write(ref _waiting, $"{settings.Server} {problem}; again in {wait.TotalSeconds:0.#} s");
            await Task.Delay(wait, time, cancellationToken).ConfigureAwait(false);
        }
    }

    private TimeSpan? RetryAfter(HttpResponseMessage response) =>
        response.Headers.RetryAfter?.Delta ?? (response.Headers.RetryAfter?.Date is { } date && date > time.GetUtcNow() ? date - time.GetUtcNow() : null);

    private string Resumable() => settings.StatePath is null ? "" : $" {_state.Lines} lines are done; the same command with --resume goes on from there.";
}
