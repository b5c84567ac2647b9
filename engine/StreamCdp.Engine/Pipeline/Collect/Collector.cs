using System.Buffers;
using System.Collections.Concurrent;
using System.IO.Compression;
using System.IO.Pipelines;
using System.Security.Cryptography;
using System.Text;
using System.Text.Unicode;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>HTTP in, events out: takes what tracking SDKs send and answers when the log has it durably (P1).</summary>
/// <remarks>
/// Per request: key, body into one rented buffer, one walk for the envelope, one for each event, appends, one wait for the group commit.
/// Nothing is allocated for an event. Memory is bounded by <see cref="CollectOptions"/>; what does not fit is answered with 429, which SDKs honour (facts/tracking-clients.md §4).
/// Events without a messageId get one here, in the record; a client that must send such a batch again makes new ones, so it may count twice.
/// </remarks>
internal sealed class Collector : IDisposable
{
    private const int MaxWriteKeyBytes = 512;
    private const int FirstBufferBytes = 16 << 10;

    private static readonly byte[] s_success = """{"success":true}"""u8.ToArray();

    private static readonly (byte[] Reason, byte[] Field, byte[] Detail)[] s_problems =
        [.. Enum.GetValues<EventProblem>().Select(problem => (Encoding.UTF8.GetBytes(problem.Reason()), Encoding.UTF8.GetBytes(problem.Field()), Encoding.UTF8.GetBytes(problem.Message())))];

    private readonly int _partitions;
    private readonly TimeProvider _time;
    private readonly CollectOptions _options;
    private readonly CollectCounters _counters;
    private readonly SchemaIds _schemas;
    private readonly SemaphoreSlim _working = new(Environment.ProcessorCount * 2); // An append may block while the log is slow: never all threads of the pool.
    private volatile Workplace _workplace;
    private volatile Writers _writers;
    private long _bytesInFlight;
    private int _waiting;

    /// <param name="model">Sources and identifiers.</param>
    /// <param name="events">Writer of the log <c>events</c>.</param>
    /// <param name="partitions">Its number of partitions.</param>
    /// <param name="deadLetters">Writer of the log <c>dead-letters</c>; partition 0 is used.</param>
    /// <param name="time">The clock of <c>receivedAt</c>.</param>
    /// <param name="options">Good options: <see cref="CollectOptions.Errors"/> is empty.</param>
    /// <param name="counters">Metrics.</param>
    /// <param name="schemas">Ids of the records' schemas.</param>
    public Collector(CdpModel model, ILogWriter events, int partitions, ILogWriter deadLetters, TimeProvider time, CollectOptions options, CollectCounters counters, SchemaIds schemas)
    {
        _writers = new Writers(events, deadLetters);
        _partitions = partitions;
        _time = time;
        _options = options;
        _counters = counters;
        _schemas = schemas;
        _workplace = new Workplace(model, MakeSources(model));
    }

    /// <summary>Options it was made with.</summary>
    public CollectOptions Options => _options;

    /// <summary>From the next request on, another model holds.</summary>
    public void UseModel(CdpModel model) => _workplace = new Workplace(model, MakeSources(model));

    /// <summary>From the next request on, events go to these writers: the old ones faulted and their logs were opened anew. The old ones stay the caller's to dispose.</summary>
    public void UseWriters(ILogWriter events, ILogWriter deadLetters) => _writers = new Writers(events, deadLetters);

    /// <summary>Answers a request on a path of <see cref="CollectRoute"/>.</summary>
    public async Task HandleAsync(HttpContext context, CollectRoute route)
    {
        CollectOutcome outcome = CollectOutcome.Aborted;
        long began = _time.GetTimestamp();
        try
        {
            bool originAllowed = CollectAnswers.AllowOrigin(context, _options);
            bool isPost = route.Kind is CollectKind.Event or CollectKind.Batch or CollectKind.SdkMetrics;
            if (HttpMethods.IsOptions(context.Request.Method))
            {
                CollectAnswers.Preflight(context, originAllowed);
                outcome = CollectOutcome.Served;
            }
            else if (!(isPost ? HttpMethods.IsPost(context.Request.Method) : HttpMethods.IsGet(context.Request.Method)))
            {
                context.Response.Headers.Allow = isPost ? "POST, OPTIONS" : "GET, OPTIONS";
                outcome = await CollectAnswers.RefuseAsync(context, Refusal.WrongMethod).ConfigureAwait(false);
            }
            else
            {
                outcome = route.Kind switch
                {
                    CollectKind.SdkMetrics => await SucceedAsync(context, CollectOutcome.Served).ConfigureAwait(false),
                    CollectKind.Settings or CollectKind.SourceConfig => await ServeSettingsAsync(context, route.Kind).ConfigureAwait(false),
                    _ => await TakeAsync(context, route).ConfigureAwait(false),
                };
            }
        }
        catch (BadHttpRequestException e)
        {
            // Kestrel's word for: too slow, cut off, malformed chunks.
            outcome = e.StatusCode switch
            {
                StatusCodes.Status408RequestTimeout => CollectOutcome.TooSlow,
                StatusCodes.Status413PayloadTooLarge => CollectOutcome.TooLarge,
                _ => CollectOutcome.Aborted,
            };
            if (!context.Response.HasStarted)
            {
                context.Response.Headers.Connection = "close";
                await CollectAnswers.RefuseAsync(context, outcome switch
                {
                    CollectOutcome.TooSlow => Refusal.TooSlow,
                    CollectOutcome.TooLarge => Refusal.TooLarge(_options.MaxRequestBytes),
                    _ => Refusal.CutOff,
                }).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is ConnectionAbortedException or ConnectionResetException or OperationCanceledException)
        {
            context.Abort(); // The client went away: nobody to answer.
        }
        finally
        {
            _counters.Requests(outcome).Inc();
            if (outcome == CollectOutcome.Taken)
            {
                _counters.Latency.Observe(_time.GetElapsedTime(began).TotalSeconds);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _working.Dispose();

    private async Task<CollectOutcome> TakeAsync(HttpContext context, CollectRoute route)
    {
        long receivedAt = _time.GetUtcNow().ToUnixTimeMilliseconds();
        if (int.TryParse(context.Request.Headers["X-Retry-Count"], out int retries) && retries > 0)
        {
            _counters.Retries.Inc();
        }

        Workplace workplace = _workplace;
        Writers writers = _writers;
        CollectSource? source = null;
        bool hasHeaderKey = TryReadHeaderKey(context.Request, out string key);
        if (hasHeaderKey && (source = workplace.FindSource(key)) is null)
        {
            return await CollectAnswers.RefuseAsync(context, Refusal.WrongKey).ConfigureAwait(false);
        }

        if (writers.Events.Fault is not null || writers.DeadLetters.Fault is not null)
        {
            return await CollectAnswers.RefuseAsync(context, Refusal.LogAway, RetryAfter()).ConfigureAwait(false);
        }

        if (context.Request.ContentLength > _options.MaxRequestBytes)
        {
            return await CollectAnswers.RefuseAsync(context, Refusal.TooLarge(_options.MaxRequestBytes)).ConfigureAwait(false);
        }

        StringValues encoding = context.Request.Headers.ContentEncoding;
        bool isGzip = IsEncoding(encoding, "gzip") || IsEncoding(encoding, "x-gzip");
        if (!isGzip && !StringValues.IsNullOrEmpty(encoding) && !IsEncoding(encoding, "identity"))
        {
            return await CollectAnswers.RefuseAsync(context, Refusal.UnknownEncoding).ConfigureAwait(false);
        }

        var body = new RentedBody(this);
        bool isWaiting = false;
        try
        {
            if (!await body.ReadAsync(context).ConfigureAwait(false))
            {
                return await RefuseBodyAsync(context, body).ConfigureAwait(false);
            }

            // One deadline for all that waits from here on: for a place to work, for room in the log's buffer, for the commit.
            long deadline = Environment.TickCount64 + (long)_options.DurableTimeout.TotalMilliseconds;
            isWaiting = true;
            if (Interlocked.Increment(ref _waiting) > _options.MaxWaitingRequests)
            {
                return await CollectAnswers.RefuseAsync(context, Refusal.Busy, RetryAfter()).ConfigureAwait(false);
            }

            _counters.Waiting.Set(Volatile.Read(ref _waiting));
            if (!await _working.WaitAsync(Left(deadline), context.RequestAborted).ConfigureAwait(false))
            {
                return await CollectAnswers.RefuseAsync(context, Refusal.Busy, RetryAfter()).ConfigureAwait(false);
            }

            Taken taken;
            try
            {
                if (isGzip && !body.Inflate())
                {
                    return await RefuseBodyAsync(context, body).ConfigureAwait(false);
                }

                taken = Take(context.Request, route, workplace, writers, source, hasHeaderKey, body.Bytes, receivedAt, deadline);
            }
            finally
            {
                _working.Release();
            }

            body.Return(); // While the log commits, the body's memory serves others.
            if (taken.Refusal is Refusal refusal)
            {
                return await CollectAnswers.RefuseAsync(context, refusal, refusal.Status == StatusCodes.Status429TooManyRequests ? RetryAfter(taken.RetryAfter) : null).ConfigureAwait(false);
            }

            return await WaitDurableAsync(writers, taken, deadline, context.RequestAborted).ConfigureAwait(false)
                ? await SucceedAsync(context, CollectOutcome.Taken).ConfigureAwait(false)
                : await CollectAnswers.RefuseAsync(context, Refusal.LogAway, RetryAfter()).ConfigureAwait(false);
        }
        finally
        {
            body.Return();
            if (isWaiting)
            {
                _counters.Waiting.Set(Interlocked.Decrement(ref _waiting));
            }
        }
    }

    private Task<CollectOutcome> RefuseBodyAsync(HttpContext context, RentedBody body) => body.Problem switch
    {
        CollectOutcome.TooLarge => CollectAnswers.RefuseAsync(context, Refusal.TooLarge(_options.MaxRequestBytes)),
        CollectOutcome.Busy => CollectAnswers.RefuseAsync(context, Refusal.Busy, RetryAfter()),
        _ => CollectAnswers.RefuseAsync(context, Refusal.NotGzip),
    };

    /// <summary>Reads the body and appends its events: synchronous, on one thread.</summary>
    private Taken Take(HttpRequest request, CollectRoute route, Workplace workplace, Writers writers, CollectSource? source, bool hasHeaderKey, ReadOnlySpan<byte> body, long receivedAt, long deadline)
    {
        bool isBatch = route.Kind == CollectKind.Batch;
        if (body.StartsWith("\uFEFF"u8))
        {
            body = body[3..];
        }

        Worker worker = workplace.Rent();
        try
        {
            CollectBody parts = worker.Body;
            if (parts.Read(body, isBatch, _options.MaxBatchEvents) is string field)
            {
                return new Taken(field.Length == 0 ? Refusal.Unreadable : Refusal.NoBatch);
            }

            if (!hasHeaderKey)
            {
                source = FindSource(request, workplace, parts.WriteKey(body));
            }

            if (source is null)
            {
                return new Taken(Refusal.WrongKey);
            }

            if (parts.EventCount > _options.MaxBatchEvents)
            {
                return new Taken(Refusal.TooManyEvents(_options.MaxBatchEvents));
            }

            ReadOnlySpan<byte> context = isBatch ? parts.Context(body) : default;
            bool isContextUsable = context.Length <= _options.MaxBatchContextBytes && Utf8.IsValid(context);
            if (isContextUsable && CountOfContext(worker, parts, body, context) is int uses && (long)uses * context.Length > _options.MaxRequestBytes)
            {
                return new Taken(Refusal.ContextTooOften(context.Length, uses, _options.MaxRequestBytes));
            }

            if (source.Bucket is TokenBucket bucket && !bucket.TryTake(parts.EventCount, out TimeSpan wait))
            {
                return new Taken(Refusal.RateLimited) { RetryAfter = wait };
            }

            var envelope = new Envelope
            {
                Writers = writers,
                Source = source,
                ReceivedAt = receivedAt,
                SentAt = isBatch ? parts.SentAt(body) : null,
                Import = source.Trusted && AsksForImport(request),
                Context = isContextUsable ? context : default,
                IsContextUsable = isContextUsable,
                Deadline = deadline,
            };
            return Append(worker, parts, body, route.Type, envelope);
        }
        finally
        {
            workplace.Return(worker);
        }
    }

    /// <summary>How often the context of a batch would be stored, where that may be too much: else 40 KB of <c>{},{},…</c> and a context of 8 KB become 80 MB.</summary>
    private int CountOfContext(Worker worker, CollectBody parts, ReadOnlySpan<byte> body, ReadOnlySpan<byte> context)
    {
        if ((long)parts.EventCount * context.Length <= _options.MaxRequestBytes)
        {
            return parts.EventCount; // The usual case; the events need no look of their own.
        }

        int uses = 0;
        for (int i = 0; i < parts.EventCount; i++)
        {
            worker.Reader.Read(parts.Event(body, i), default);
            uses += worker.Reader.UsesBatchContext ? 1 : 0;
        }

        return uses;
    }

    private Taken Append(Worker worker, CollectBody parts, ReadOnlySpan<byte> body, EventType typeOfPath, in Envelope envelope)
    {
        long eventTicket = 0;
        long deadLetterTicket = 0;
        EventReader reader = worker.Reader;
        long invalid = reader.InvalidIdentifiers;
        long blocked = reader.BlockedIdentifiers;
        try
        {
            for (int i = 0; i < parts.EventCount; i++)
            {
                ReadOnlySpan<byte> payload = parts.Event(body, i);
                EventProblem problem = reader.Read(payload, envelope.Context, typeOfPath);
                problem = envelope.IsContextUsable || !reader.UsesBatchContext ? problem : EventProblem.BatchContextUnusable;
                bool hasRoom = problem == EventProblem.None
                    ? TryAppendEvent(worker, payload, envelope, ref eventTicket)
                    : TryAppendDeadLetter(worker, payload, typeOfPath, problem, envelope, ref deadLetterTicket);
                if (!hasRoom)
                {
                    return new Taken(Refusal.LogAway); // What was appended before stays; the client sends all again with the same messageIds.
                }

                if (problem != EventProblem.None)
                {
                    _counters.DeadLetters(problem).Inc();
                }
            }
        }
        catch (LogUnavailableException)
        {
            return new Taken(Refusal.LogAway);
        }

        envelope.Source.Received.Inc(parts.EventCount);
        if (reader.InvalidIdentifiers > invalid)
        {
            _counters.InvalidIdentifiers.Inc(reader.InvalidIdentifiers - invalid);
        }

        if (reader.BlockedIdentifiers > blocked)
        {
            _counters.BlockedIdentifiers.Inc(reader.BlockedIdentifiers - blocked);
        }

        return new Taken(null) { EventTicket = eventTicket, DeadLetterTicket = deadLetterTicket };
    }

    private bool TryAppendEvent(Worker worker, ReadOnlySpan<byte> payload, in Envelope envelope, ref long last)
    {
        EventReader reader = worker.Reader;
        ReadOnlySpan<byte> messageId = reader.MessageId;
        if (messageId.IsEmpty)
        {
            Guid.CreateVersion7(_time.GetUtcNow()).TryFormat(worker.MadeMessageId, out _);
            messageId = worker.MadeMessageId;
        }

        int length = new CustomerEvent
        {
            MessageId = messageId,
            Type = EventTypeText.Text(reader.Type),
            Source = envelope.Source.Id,
            ReceivedAt = envelope.ReceivedAt,
            SentAt = envelope.SentAt,
            Import = envelope.Import,
            Context = reader.UsesBatchContext ? envelope.Context : default,
            Payload = payload,
        }.WriteTo(ref worker.Record, WireFormat.WriteHeader(ref worker.Record, 0, _schemas[RecordType.CustomerEvent]));
        bool hasRoom = envelope.Writers.Events.TryAppend(EventPartition.Of(reader.SenderHash, _partitions), reader.SenderKey, worker.Record.AsSpan(0, length), envelope.ReceivedAt, envelope.Deadline, out long ticket);
        last = hasRoom ? ticket : last;
        return hasRoom;
    }

    private bool TryAppendDeadLetter(Worker worker, ReadOnlySpan<byte> payload, EventType typeOfPath, EventProblem problem, in Envelope envelope, ref long last)
    {
        int kept = Math.Min(payload.Length, _options.MaxDeadLetterBytes);
        while (kept < payload.Length && kept > 0 && (payload[kept] & 0xC0) == 0x80)
        {
            kept--; // Not in the middle of a character.
        }

        (byte[] reason, byte[] field, byte[] detail) = s_problems[(int)problem];
        if (kept < payload.Length)
        {
            detail = Encoding.UTF8.GetBytes($"{problem.Message()} It has {payload.Length}; the first {kept} are kept here.");
        }

        int length = new DeadLetter
        {
            Source = envelope.Source.Id,
            At = envelope.ReceivedAt,
            Reason = reason,
            Field = field,
            Detail = detail,
            Payload = payload[..kept],
            Context = worker.Reader.UsesBatchContext ? envelope.Context : default,
            ReceivedAt = envelope.ReceivedAt,
            SentAt = envelope.SentAt,
            Import = envelope.Import,
            EventType = typeOfPath == EventType.Unknown ? default : EventTypeText.Text(typeOfPath),
        }.WriteTo(ref worker.Record, WireFormat.WriteHeader(ref worker.Record, 0, _schemas[RecordType.DeadLetter]));
        bool hasRoom = envelope.Writers.DeadLetters.TryAppend(0, default, worker.Record.AsSpan(0, length), envelope.ReceivedAt, envelope.Deadline, out long ticket);
        last = hasRoom ? ticket : last;
        return hasRoom;
    }

    private static async ValueTask<bool> WaitDurableAsync(Writers writers, Taken taken, long deadline, CancellationToken aborted)
    {
        if (writers.Events.Durable >= taken.EventTicket && writers.DeadLetters.Durable >= taken.DeadLetterTicket)
        {
            return true;
        }

        using var timeout = new CancellationTokenSource(Left(deadline));
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, aborted);
        try
        {
            if (taken.EventTicket > 0)
            {
                await writers.Events.WaitDurableAsync(taken.EventTicket, either.Token).ConfigureAwait(false);
            }

            if (taken.DeadLetterTicket > 0)
            {
                await writers.DeadLetters.WaitDurableAsync(taken.DeadLetterTicket, either.Token).ConfigureAwait(false);
            }

            return true;
        }
        catch (LogUnavailableException)
        {
            return false;
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested && !aborted.IsCancellationRequested)
        {
            return false;
        }
    }

    private async Task<CollectOutcome> ServeSettingsAsync(HttpContext context, CollectKind kind)
    {
        Workplace workplace = _workplace;
        string key;
        if (kind == CollectKind.Settings)
        {
            key = CollectRoute.SettingsKey(context.Request.Path.Value!).ToString();
        }
        else if (!TryReadHeaderKey(context.Request, out key))
        {
            key = context.Request.Query["writeKey"].ToString();
        }

        if (workplace.FindSource(key) is not CollectSource source)
        {
            return await CollectAnswers.RefuseAsync(context, kind == CollectKind.Settings ? Refusal.NoSettings : Refusal.WrongKey).ConfigureAwait(false);
        }

        byte[] document = kind == CollectKind.Settings
            ? CollectAnswers.Settings(context.Request, key, _options)
            : CollectAnswers.SourceConfig(Encoding.UTF8.GetString(source.Id), key);
        await CollectAnswers.WriteAsync(context, StatusCodes.Status200OK, "application/json", document).ConfigureAwait(false);
        return CollectOutcome.Served;
    }

    private static async Task<CollectOutcome> SucceedAsync(HttpContext context, CollectOutcome outcome)
    {
        await CollectAnswers.WriteAsync(context, StatusCodes.Status200OK, "application/json", s_success).ConfigureAwait(false);
        return outcome;
    }

    private CollectSource[] MakeSources(CdpModel model) =>
    [
        .. model.Sources.Where(source => !string.IsNullOrEmpty(source.WriteKey)).Select(source => new CollectSource(
            source,
            _counters.Received(source.Id),
            _options.MaxEventsPerSecondOfSource > 0 ? new TokenBucket(_options.MaxEventsPerSecondOfSource, _time) : null)),
    ];

    private static TimeSpan Left(long deadline) => TimeSpan.FromMilliseconds(Math.Max(0, deadline - Environment.TickCount64));

    /// <summary>Random between the limits, and not before <paramref name="atLeast"/>.</summary>
    private int RetryAfter(TimeSpan atLeast = default)
    {
        int max = (int)_options.RetryAfterMax.TotalSeconds;
        int min = Math.Clamp((int)Math.Ceiling(atLeast.TotalSeconds), (int)_options.RetryAfterMin.TotalSeconds, max);
        return RandomNumberGenerator.GetInt32(min, max + 1);
    }

    /// <summary>A key of the headers wins over that of the body: Jitsu's body carries the masked text <c>id:***</c>.</summary>
    private static bool TryReadHeaderKey(HttpRequest request, out string key)
    {
        key = BasicUser(request.Headers.Authorization);
        if (key.Length == 0)
        {
            key = request.Headers["X-Write-Key"].ToString();
        }

        return key.Length > 0;
    }

    private static CollectSource? FindSource(HttpRequest request, Workplace workplace, ReadOnlySpan<byte> bodyKey) =>
        !bodyKey.IsEmpty ? workplace.FindSource(bodyKey) :
        request.QueryString.HasValue && request.Query["writeKey"].ToString() is { Length: > 0 } key ? workplace.FindSource(key) :
        null;

    private static string BasicUser(StringValues authorization)
    {
        const string scheme = "Basic ";
        if (authorization.Count != 1 || authorization[0] is not string header || header.Length > MaxWriteKeyBytes * 2 || !header.StartsWith(scheme, StringComparison.OrdinalIgnoreCase))
        {
            return "";
        }

        Span<byte> decoded = stackalloc byte[MaxWriteKeyBytes * 2];
        if (!Convert.TryFromBase64Chars(header.AsSpan(scheme.Length).Trim(), decoded, out int length))
        {
            return "";
        }

        decoded = decoded[..length];
        int colon = decoded.IndexOf((byte)':');
        decoded = colon < 0 ? decoded : decoded[..colon];
        return Utf8.IsValid(decoded) ? Encoding.UTF8.GetString(decoded) : "";
    }

    private static bool IsEncoding(StringValues encoding, string name) => encoding.Count == 1 && encoding[0].AsSpan().Trim().Equals(name, StringComparison.OrdinalIgnoreCase);

    private static bool AsksForImport(HttpRequest request) =>
        string.Equals(request.Headers["X-Import"], "true", StringComparison.OrdinalIgnoreCase) ||
        (request.QueryString.HasValue && request.Query["clock"] == "as_is");

    private sealed record Writers(ILogWriter Events, ILogWriter DeadLetters);

    /// <summary>What became of a body.</summary>
    private readonly record struct Taken(Refusal? Refusal)
    {
        public long EventTicket { get; init; }

        public long DeadLetterTicket { get; init; }

        public TimeSpan RetryAfter { get; init; }
    }

    private readonly ref struct Envelope
    {
        public required Writers Writers { get; init; }

        public required CollectSource Source { get; init; }

        public required long ReceivedAt { get; init; }

        public required long? SentAt { get; init; }

        public required bool Import { get; init; }

        public required ReadOnlySpan<byte> Context { get; init; }

        /// <summary>False: the batch has a context that cannot be stored with its events; one that needs it is a dead letter.</summary>
        public required bool IsContextUsable { get; init; }

        /// <summary>How long an append may wait for room, by <see cref="Environment.TickCount64"/>.</summary>
        public required long Deadline { get; init; }
    }

    /// <summary>What one request needs while it is worked on; used again by the next.</summary>
    private sealed class Worker(CdpModel model)
    {
        public byte[] Record = new byte[4096]; // A field: the writers replace it by reference.

        public byte[] MadeMessageId { get; } = new byte[36];

        public EventReader Reader { get; } = new(model);

        public CollectBody Body { get; } = new();
    }

    /// <summary>All that depends on the model.</summary>
    private sealed class Workplace(CdpModel model, CollectSource[] sources)
    {
        private readonly ConcurrentQueue<Worker> _workers = new(); // Never more than work at once.

        public Worker Rent() => _workers.TryDequeue(out Worker? worker) ? worker : new Worker(model);

        public void Return(Worker worker) => _workers.Enqueue(worker);

        public CollectSource? FindSource(string key)
        {
            if (key.Length is 0 or > MaxWriteKeyBytes)
            {
                return null;
            }

            Span<byte> bytes = stackalloc byte[MaxWriteKeyBytes * 3];
            return FindSource(bytes[..Encoding.UTF8.GetBytes(key, bytes)]);
        }

        /// <summary>Hashes the key and looks at every source, so that the time tells nothing.</summary>
        public CollectSource? FindSource(ReadOnlySpan<byte> key)
        {
            if (key.IsEmpty || key.Length > MaxWriteKeyBytes * 3)
            {
                return null;
            }

            Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
            SHA256.HashData(key, hash);
            CollectSource? found = null;
            foreach (CollectSource source in sources)
            {
                found = source.HasKeyHash(hash) ? source : found;
            }

            return found;
        }
    }

    /// <summary>The body in one rented buffer that grows with what came, so that a promised length costs nothing.</summary>
    private sealed class RentedBody(Collector collector)
    {
        private byte[] _buffer = [];
        private int _length;

        public ReadOnlySpan<byte> Bytes => _buffer.AsSpan(0, _length);

        public CollectOutcome Problem { get; private set; }

        public async ValueTask<bool> ReadAsync(HttpContext context)
        {
            PipeReader pipe = context.Request.BodyReader;
            while (true)
            {
                ReadResult read = await pipe.ReadAsync(context.RequestAborted).ConfigureAwait(false);
                bool fits = TryReserve((int)Math.Min(read.Buffer.Length, int.MaxValue / 2));
                if (fits)
                {
                    read.Buffer.CopyTo(_buffer.AsSpan(_length));
                    _length += (int)read.Buffer.Length;
                }

                pipe.AdvanceTo(read.Buffer.End);
                if (!fits || read.IsCompleted)
                {
                    return fits;
                }
            }
        }

        /// <summary>Replaces the gzipped bytes by what they hold.</summary>
        public bool Inflate()
        {
            byte[] packed = _buffer;
            using var gzip = new GZipStream(new MemoryStream(packed, 0, _length, writable: false), CompressionMode.Decompress);
            _buffer = [];
            _length = 0;
            try
            {
                while (true)
                {
                    if (!TryReserve(FirstBufferBytes, atLeastOne: true))
                    {
                        return false;
                    }

                    int read = gzip.Read(_buffer, _length, _buffer.Length - _length);
                    _length += read;
                    if (read == 0)
                    {
                        return true;
                    }
                }
            }
            catch (InvalidDataException)
            {
                Problem = CollectOutcome.Unreadable;
                return false;
            }
            finally
            {
                collector.GiveBack(packed);
            }
        }

        public void Return()
        {
            collector.GiveBack(_buffer);
            _buffer = [];
            _length = 0;
        }

        private bool TryReserve(int more, bool atLeastOne = false)
        {
            int max = collector._options.MaxRequestBytes;
            if (_length + (long)(atLeastOne ? 0 : more) > max)
            {
                Problem = CollectOutcome.TooLarge;
                return false;
            }

            if (_buffer.Length - _length >= (atLeastOne ? 1 : more))
            {
                return true;
            }

            byte[] larger = ArrayPool<byte>.Shared.Rent((int)Math.Max(Math.Max(FirstBufferBytes, _length + (long)more), Math.Min(_buffer.Length * 2L, max + 1L)));
            collector._counters.BytesInFlight.Inc(larger.Length);
            if (Interlocked.Add(ref collector._bytesInFlight, larger.Length) > collector._options.MaxBytesInFlight)
            {
                collector.GiveBack(larger);
                Problem = CollectOutcome.Busy;
                return false;
            }

            Bytes.CopyTo(larger);
            collector.GiveBack(_buffer);
            _buffer = larger;
            return true;
        }
    }

    private void GiveBack(byte[] buffer)
    {
        if (buffer.Length > 0)
        {
            Interlocked.Add(ref _bytesInFlight, -buffer.Length);
            _counters.BytesInFlight.Dec(buffer.Length);
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
