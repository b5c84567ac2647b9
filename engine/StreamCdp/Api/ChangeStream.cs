using System.Buffers;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Api;

/// <summary><c>GET /v1/stream</c>: membership changes and merges as server-sent events, from the logs <c>memberships</c> and <c>profiles</c>.</summary>
/// <remarks>
/// Each event's id is the position behind it in every partition, so a client that comes back with <c>Last-Event-ID</c> misses nothing and sees nothing twice
/// but what the logs themselves repeat (P7: drop what is not newer than the version known). What compaction removed meanwhile does not come: the last change
/// of each profile and segment always does. A merge gives no exit for the loser (RULES.md §3.8), so <c>merged</c> comes with every filter.
/// A stream that must end says why in a last event <c>cut</c>.
/// </remarks>
internal sealed class ChangeStream(StreamHub hub, IEngineQueries queries, ApiOptions options)
{
    /// <summary>Records of one partition in a row, so that each partition gets its turn.</summary>
    private const int BatchRecords = 256;

    /// <summary>Bytes after which a batch is sent: with the one record more that may be in it, the memory of a stream whose client reads nothing.</summary>
    private const int BatchBytes = 64 << 10;

    /// <summary>Serves one stream until the client goes, the process stops, or it is cut.</summary>
    public async Task<ApiProblem?> ServeAsync(HttpContext context)
    {
        string segment = context.Request.Query["segment"].ToString();
        if (segment.Length > 0 && !queries.Segments().Any(s => s.Id == segment))
        {
            return SegmentEndpoints.Unknown(segment);
        }

        if (!hub.TryEnter())
        {
            return new ApiProblem(StatusCodes.Status429TooManyRequests, "too_many_streams", $"{options.MaxStreams} streams are open, which is the limit ({ApiOptions.Section}:MaxStreams), or the process stops; try again later.", RetryAfterSeconds: 5);
        }

        try
        {
            using var readers = new StreamReaders(hub);
            ApiProblem? problem = readers.Open(LastEventId(context.Request));
            if (problem is not null)
            {
                return problem;
            }

            using var ending = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, hub.Stopping);
            context.Response.ContentType = "text/event-stream";
            context.Response.Headers.CacheControl = "no-store";
            context.Response.Headers.XContentTypeOptions = "nosniff";
            context.Response.Headers["X-Accel-Buffering"] = "no"; // nginx would hold events back.
            await context.Response.StartAsync(ending.Token);
            using var connection = new Connection(context, hub, readers, options, segment);
            await connection.RunAsync(ending.Token);
            return null;
        }
        finally
        {
            hub.Leave();
        }
    }

    private static string LastEventId(HttpRequest request)
    {
        string id = request.Headers["Last-Event-ID"].ToString();
        return id.Length > 0 ? id : request.Query["last_event_id"].ToString();
    }

    /// <summary>The readers of one stream and their positions.</summary>
    private sealed class StreamReaders(StreamHub hub) : IDisposable
    {
        private readonly long[] _positions = new long[hub.Memberships.Partitions + hub.Profiles.Partitions];
        private readonly ILogReader?[] _readers = new ILogReader?[hub.Memberships.Partitions + hub.Profiles.Partitions];
        private readonly StringBuilder _id = new();

        public int Count => _readers.Length;

        /// <summary>Opens at an event's id, or at the tail.</summary>
        public ApiProblem? Open(string lastEventId)
        {
            int memberships = hub.Memberships.Partitions;
            bool resume = lastEventId.Length > 0;
            if (resume && !StreamPosition.TryRead(lastEventId, _positions.AsSpan(0, memberships), _positions.AsSpan(memberships)))
            {
                return ApiProblem.BadRequest("bad_last_event_id", "Last-Event-ID is not an id of this stream (the logs may have got another number of partitions). Read the state by GET /v1/segments/{id}/members, then open the stream without it.");
            }

            for (int i = 0; i < _readers.Length; i++)
            {
                (ILog log, int partition) = i < memberships ? (hub.Memberships, i) : (hub.Profiles, i - memberships);
                try
                {
                    _positions[i] = resume ? _positions[i] : log.EndOffset(partition);
                    _readers[i] = log.OpenReader(partition, _positions[i], hub.Signal);
                }
                catch (LogBehindException)
                {
                    return ApiProblem.BadRequest("bad_last_event_id", $"Last-Event-ID is beyond the end of the log {log.Name}: the log was made anew. Read the state by GET /v1/segments/{{id}}/members, then open the stream without it.");
                }
                catch (LogTruncatedException)
                {
                    return new ApiProblem(StatusCodes.Status410Gone, "events_gone", "Changes after this Last-Event-ID were deleted (retention). Read the state by GET /v1/segments/{id}/members, then open the stream without it.");
                }
            }

            return null;
        }

        public bool IsMembership(int reader) => reader < hub.Memberships.Partitions;

        public bool TryRead(int reader, out LogRecord record)
        {
            if (!_readers[reader]!.TryRead(out record))
            {
                return false;
            }

            _positions[reader] = record.Offset + 1;
            return true;
        }

        /// <summary>Id of the position reached.</summary>
        public StringBuilder Id()
        {
            int memberships = hub.Memberships.Partitions;
            StreamPosition.Write(_id.Clear(), _positions.AsSpan(0, memberships), _positions.AsSpan(memberships));
            return _id;
        }

        public void Dispose()
        {
            foreach (ILogReader? reader in _readers)
            {
                reader?.Dispose();
            }
        }
    }

    private static readonly string[] JsonMembershipNames = ["segment", "segment_version", "change", "at", "cause", "reason", "version"];

    /// <summary>One client.</summary>
    private sealed class Connection : IDisposable
    {
        private readonly HttpContext _context;
        private readonly StreamHub _hub;
        private readonly StreamReaders _readers;
        private readonly PipeWriter _writer;
        private readonly byte[] _segment;
        private readonly TimeSpan _heartbeat;
        private readonly TimeSpan _writeTimeout;
        private readonly ArrayBufferWriter<byte> _data = new(512);
        private readonly Utf8JsonWriter _json;
        private Task<FlushResult>? _pendingFlush;
        private long _unsent;

        public Connection(HttpContext context, StreamHub hub, StreamReaders readers, ApiOptions options, string segment)
        {
            _context = context;
            _hub = hub;
            _readers = readers;
            _writer = context.Response.BodyWriter;
            _segment = Encoding.UTF8.GetBytes(segment);
            _heartbeat = TimeSpan.FromMilliseconds(options.StreamHeartbeatMs);
            _writeTimeout = TimeSpan.FromMilliseconds(options.StreamWriteTimeoutMs);
            _json = new Utf8JsonWriter(_data, ApiJson.Options);
        }

        public void Dispose() => _json.Dispose();

        public async Task RunAsync(CancellationToken ending)
        {
            try
            {
                Write(": connected\nretry: 2000\n"u8); // The first id comes with it: who loses the connection before the first event resumes here.
                WriteId();
                Write("\n"u8);
                await FlushAsync(ending);
                await CopyAsync(ending);
            }
            catch (OperationCanceledException)
            {
                if (_hub.Stopping.IsCancellationRequested && !_context.RequestAborted.IsCancellationRequested)
                {
                    await CutAsync("stopping", "The process stops; come back with Last-Event-ID.");
                }
            }
            catch (TimeoutException)
            {
                _hub.CountCut();
                await CutAsync("slow_client", "The client took no bytes for too long; come back with Last-Event-ID and read faster, or filter by ?segment=.");
            }
            catch (LogTruncatedException)
            {
                await CutAsync("events_gone", "Retention deleted changes before they were read. Read the state by GET /v1/segments/{id}/members, then open the stream without Last-Event-ID.");
            }
            catch (LogUnavailableException e)
            {
                await CutAsync("log_unavailable", e.Message);
            }
            catch (LogCorruptException e)
            {
                await CutAsync("log_corrupt", e.Message);
            }
            catch (InvalidDataException e)
            {
                await CutAsync("unreadable_record", e.Message);
            }
        }

        private async Task CopyAsync(CancellationToken ending)
        {
            long lastWrite = Environment.TickCount64;
            while (true)
            {
                Task wake = _hub.NextWake; // Before reading: what comes while we read completes it.
                bool any = false;
                for (int reader = 0; reader < _readers.Count; reader++)
                {
                    (int read, int written) = CopyBatch(reader);
                    any |= read > 0;
                    if (written > 0)
                    {
                        await FlushAsync(ending);
                        lastWrite = Environment.TickCount64;
                    }
                }

                if (!any)
                {
                    TimeSpan rest = _heartbeat - TimeSpan.FromMilliseconds(Environment.TickCount64 - lastWrite);
                    if (rest > TimeSpan.Zero)
                    {
                        await WaitAsync(wake, rest, ending);
                    }
                }
                else
                {
                    await Task.Yield(); // A long way back through the log must not keep a pool thread.
                }

                ending.ThrowIfCancellationRequested();
                if (Environment.TickCount64 - lastWrite >= _heartbeat.TotalMilliseconds)
                {
                    Write(": heartbeat\n"u8);
                    WriteId(); // Without data it makes no event, but moves Last-Event-ID past what the filter left out.
                    Write("\n"u8);
                    await FlushAsync(ending);
                    lastWrite = Environment.TickCount64;
                }
            }
        }

        /// <summary>Waits for news or until a heartbeat is due. Not Task.WhenAny with a Task.Delay: each news would leave a timer of 15 s behind.</summary>
        private static async Task WaitAsync(Task wake, TimeSpan atMost, CancellationToken ending)
        {
            try
            {
                await wake.WaitAsync(atMost, ending);
            }
            catch (TimeoutException)
            {
                // Nothing new; a heartbeat is due.
            }
        }

        private (int Read, int Written) CopyBatch(int reader)
        {
            int read = 0;
            int written = 0;
            while (read < BatchRecords && _unsent < BatchBytes && _readers.TryRead(reader, out LogRecord record))
            {
                read++;
                if (record.Value.Length == 0)
                {
                    continue; // Tombstone: erased.
                }

                bool membership = _readers.IsMembership(reader);
                try
                {
                    written += (membership ? TryWriteMembership(record) : TryWriteMerge(record)) ? 1 : 0;
                }
                catch (Exception e) when (e is KeyNotFoundException or InvalidOperationException)
                {
                    throw Unreadable(membership ? "memberships" : "profiles", record); // JSON with other names or types.
                }
            }

            return (read, written);
        }

        private bool TryWriteMembership(in LogRecord record)
        {
            if (record.Value[0] == (byte)'{')
            {
                return TryWriteJsonMembership(record);
            }

            if (!WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) || !SegmentMembership.TryRead(body, out SegmentMembership membership))
            {
                throw Unreadable("memberships", record);
            }

            if (_segment.Length > 0 && !membership.Segment.SequenceEqual(_segment))
            {
                return false;
            }

            bool entered = membership.Change == MembershipChange.Entered;
            _json.WriteStartObject();
            _json.WriteString("profile"u8, CanonicalId.Text(membership.ProfileId));
            _json.WriteString("segment"u8, membership.Segment);
            _json.WriteString("segment_version"u8, membership.SegmentVersion);
            _json.WriteString("change"u8, entered ? "entered"u8 : "exited"u8);
            ApiJson.WriteTime(_json, "at"u8, membership.At);
            if (membership.Cause.IsEmpty)
            {
                _json.WriteNull("cause"u8);
            }
            else
            {
                _json.WriteString("cause"u8, membership.Cause);
            }

            _json.WriteString("reason"u8, membership.Reason switch
            {
                MembershipReason.Event => "event"u8,
                MembershipReason.Merge => "merge"u8,
                MembershipReason.Time => "time"u8,
                MembershipReason.Edit => "edit"u8,
                _ => "backfill"u8,
            });
            _json.WriteNumber("version"u8, membership.Version);
            _json.WriteEndObject();
            WriteEvent(entered ? "entered"u8 : "exited"u8);
            return true;
        }

        private bool TryWriteMerge(in LogRecord record)
        {
            if (record.Value[0] == (byte)'{')
            {
                return TryWriteJsonMerge(record);
            }

            if (!WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) || !Profile.TryRead(body, out Profile profile))
            {
                throw Unreadable("profiles", record);
            }

            if (profile.MergedInto is not { } survivor)
            {
                return false;
            }

            _json.WriteStartObject();
            _json.WriteString("profile"u8, CanonicalId.Text(profile.Id));
            _json.WriteString("merged_into"u8, CanonicalId.Text(survivor));
            _json.WriteString("change"u8, "merged"u8);
            ApiJson.WriteTime(_json, "at"u8, profile.UpdatedAt);
            _json.WriteString("reason"u8, "merge"u8);
            _json.WriteNumber("version"u8, profile.Version);
            _json.WriteEndObject();
            WriteEvent("merged"u8);
            return true;
        }

        /// <summary>The same from <see cref="JsonFormat"/>: its members of these names are taken as they are.</summary>
        private bool TryWriteJsonMembership(in LogRecord record)
        {
            using JsonDocument document = ParseJson("memberships", record);
            JsonElement membership = document.RootElement;
            if (_segment.Length > 0 && !membership.GetProperty("segment"u8).ValueEquals(_segment))
            {
                return false;
            }

            bool entered = membership.GetProperty("change"u8).ValueEquals("entered"u8);
            _json.WriteStartObject();
            Copy(membership, "profile_id", "profile");
            foreach (string name in JsonMembershipNames)
            {
                Copy(membership, name, name);
            }

            _json.WriteEndObject();
            WriteEvent(entered ? "entered"u8 : "exited"u8);
            return true;
        }

        private bool TryWriteJsonMerge(in LogRecord record)
        {
            using JsonDocument document = ParseJson("profiles", record);
            JsonElement profile = document.RootElement;
            if (!profile.TryGetProperty("merged_into"u8, out JsonElement survivor) || survivor.ValueKind == JsonValueKind.Null)
            {
                return false;
            }

            _json.WriteStartObject();
            Copy(profile, "id", "profile");
            Copy(profile, "merged_into", "merged_into");
            _json.WriteString("change"u8, "merged"u8);
            Copy(profile, "updated_at", "at");
            _json.WriteString("reason"u8, "merge"u8);
            Copy(profile, "version", "version");
            _json.WriteEndObject();
            WriteEvent("merged"u8);
            return true;
        }

        private void Copy(JsonElement record, string from, string to)
        {
            _json.WritePropertyName(to);
            record.GetProperty(from).WriteTo(_json);
        }

        private static JsonDocument ParseJson(string log, in LogRecord record)
        {
            var reader = new Utf8JsonReader(record.Value);
            try
            {
                if (JsonDocument.TryParseValue(ref reader, out JsonDocument? document))
                {
                    return document;
                }
            }
            catch (JsonException)
            {
                // Reported below, with its place.
            }

            throw Unreadable(log, record);
        }

        private static InvalidDataException Unreadable(string log, in LogRecord record) =>
            new($"Log {log}, partition {record.Partition}, offset {record.Offset} is no record of this version's schema; the stream cannot go past it. Read with the version that wrote it, or open the stream without Last-Event-ID.");

        private void WriteEvent(ReadOnlySpan<byte> name)
        {
            Write("event: "u8);
            Write(name);
            Write("\n"u8);
            WriteId();
            WriteData();
        }

        private void WriteData()
        {
            _json.Flush();
            Write("data: "u8);
            Write(_data.WrittenSpan);
            Write("\n\n"u8);
            _data.ResetWrittenCount();
            _json.Reset();
        }

        private void WriteId()
        {
            Write("id: "u8);
            foreach (ReadOnlyMemory<char> chunk in _readers.Id().GetChunks())
            {
                Encoding.ASCII.GetBytes(chunk.Span, _writer);
            }

            Write("\n"u8);
        }

        private void Write(ReadOnlySpan<byte> bytes)
        {
            _writer.Write(bytes);
            _unsent += bytes.Length;
        }

        /// <summary>Hands the bytes to the connection.</summary>
        /// <exception cref="TimeoutException">The client takes none.</exception>
        /// <exception cref="OperationCanceledException">The client went away, or the process stops.</exception>
        private async ValueTask FlushAsync(CancellationToken ending)
        {
            ValueTask<FlushResult> flush = _writer.FlushAsync(CancellationToken.None); // With a token, Kestrel would cut the connection and the last event with it.
            _unsent = 0;
            FlushResult result;
            if (flush.IsCompletedSuccessfully)
            {
                result = await flush;
            }
            else
            {
                _pendingFlush = flush.AsTask();
                result = await _pendingFlush.WaitAsync(_writeTimeout, ending);
                _pendingFlush = null;
            }

            if (result.IsCompleted)
            {
                throw new OperationCanceledException(_context.RequestAborted);
            }
        }

        /// <summary>Says why the stream ends, if the client takes it in time; else drops the connection.</summary>
        private async Task CutAsync(string code, string message)
        {
            try
            {
                if (_pendingFlush is not null)
                {
                    await _pendingFlush.WaitAsync(_writeTimeout, _hub.Stopping);
                    _pendingFlush = null;
                }

                _data.ResetWrittenCount(); // What a broken record left half written.
                _json.Reset();
                _json.WriteStartObject();
                _json.WriteString("code"u8, code);
                _json.WriteString("message"u8, message);
                _json.WriteEndObject();
                Write("event: cut\n"u8);
                WriteData();
                await FlushAsync(CancellationToken.None);
            }
            catch (Exception e) when (e is TimeoutException or OperationCanceledException)
            {
                _context.Abort();
            }
        }
    }
}
