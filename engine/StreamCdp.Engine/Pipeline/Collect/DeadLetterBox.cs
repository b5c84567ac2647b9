using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>The refused events: lists them, and sends them again after the cause is gone.</summary>
/// <remarks>
/// A restart may append a refusal of the router again; such repeats are left out. They are known by their origin: the router reads a partition in order, so
/// an origin at or before one that came already is a repeat. Memory: one number for each partition of events.
/// </remarks>
/// <param name="deadLetters">The log <c>dead-letters</c>.</param>
/// <param name="events">The log <c>events</c>.</param>
/// <param name="model">What is valid now.</param>
/// <param name="schemas">Ids of the records' schemas.</param>
/// <param name="time">Record time of what is sent again.</param>
/// <param name="toDestination">Takes the letter of a change that a destination refused, to send it again; null: this process has no destinations.</param>
internal sealed class DeadLetterBox(ILog deadLetters, ILog events, CdpModel model, SchemaIds schemas, TimeProvider time, DeadLetterBox.ToDestination? toDestination = null) : IDisposable
{
    private const int MaxScanned = 100_000;
    private const long MaxScannedBytes = 64L << 20;
    private const long MaxWrittenBytes = 4L << 20; // A letter more at most: 500 of 260 KB would be 130 MB of one answer.
    private const int BatchEvents = 1_000;

    private readonly SemaphoreSlim _replaying = new(1);

    /// <summary>Takes a letter to send its change again; false: it cannot.</summary>
    internal delegate bool ToDestination(in DeadLetter letter);

    private delegate void Visit(long offset, in DeadLetter letter);

    /// <summary>Writes a page of dead letters, oldest first, as items of a JSON array.</summary>
    /// <param name="json">Gets the items.</param>
    /// <param name="cursor">Null for the first page.</param>
    /// <param name="limit">Most items; a page may have fewer, also none, though more follow: it ends at about 4 MiB written or 64 MiB read.</param>
    /// <param name="reason">Only this reason; empty: all.</param>
    /// <param name="cancellationToken">Stops between two letters.</param>
    /// <returns>The cursor of the next page; null at the end.</returns>
    /// <exception cref="FormatException">The cursor is none of ours.</exception>
    public string? WritePage(Utf8JsonWriter json, string? cursor, int limit, string reason, CancellationToken cancellationToken)
    {
        Place place = Place.Parse(cursor);
        byte[] wanted = Encoding.UTF8.GetBytes(reason);
        int written = 0;
        long bytesBefore = json.BytesCommitted + json.BytesPending;
        bool more = Read(place, MaxScanned, GoOn, (long offset, in DeadLetter letter) =>
        {
            if (wanted.Length == 0 || letter.Reason.SequenceEqual(wanted))
            {
                WriteLetter(json, offset, letter);
                written++;
            }
        });
        return more ? place.ToString() : null;

        bool GoOn(long scanned)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return written < limit && scanned < MaxScannedBytes && json.BytesCommitted + json.BytesPending - bytesBefore < MaxWrittenBytes;
        }
    }

    /// <summary>Reads refused events again with today's model; what is valid now goes to <c>events</c> with the source and times it came with. Changes that a destination refused go to that destination.</summary>
    /// <remarks>
    /// Replaying twice within the dedup window changes nothing: an event keeps its messageId, and one without gets the same made-up one each time.
    /// Returns when all are durable. One replay at a time.
    /// </remarks>
    /// <param name="fromMs">Received at or after, Unix ms.</param>
    /// <param name="toMs">Received before, Unix ms.</param>
    /// <param name="reason">Only this reason; empty: all events that were refused here. What a destination refused is only sent again where its reason is given: among it can be a mail of which nobody knows whether it was sent.</param>
    /// <param name="cancellationToken">Stops between two batches.</param>
    /// <exception cref="LogUnavailableException">A log is away; what was sent stays sent.</exception>
    public async Task<(long Replayed, long StillInvalid)> ReplayAsync(long fromMs, long toMs, string reason, CancellationToken cancellationToken)
    {
        await _replaying.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            using ILogWriter writer = events.OpenWriter();
            var replay = new Replay(writer, events.Partitions, new EventReader(model), schemas, time.GetUtcNow().ToUnixTimeMilliseconds(), toDestination);
            byte[] wanted = Encoding.UTF8.GetBytes(reason);
            Place place = Place.Parse(null);
            long end = deadLetters.EndOffset(0);
            bool more = true;
            while (more && place.Offset < end)
            {
                cancellationToken.ThrowIfCancellationRequested();
                more = Read(place, BatchEvents, _ => place.Offset < end, (long offset, in DeadLetter letter) =>
                {
                    if (letter.ReceivedAt >= fromMs && letter.ReceivedAt < toMs && (wanted.Length == 0 ? !IsChange(letter) : letter.Reason.SequenceEqual(wanted)))
                    {
                        replay.Send(offset, letter);
                    }
                });
                await writer.WaitDurableAsync(writer.Appended, cancellationToken).ConfigureAwait(false);
            }

            return (replay.Replayed, replay.StillInvalid);
        }
        finally
        {
            _replaying.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _replaying.Dispose();

    /// <summary>Visits letters from a place on and moves the place behind them.</summary>
    /// <param name="place">Where to begin; moved.</param>
    /// <param name="most">Records read at most.</param>
    /// <param name="goOn">Asked before each record, with the bytes read so far.</param>
    /// <param name="visit">Gets each letter.</param>
    /// <returns>False at the end of the log.</returns>
    private bool Read(Place place, int most, Func<long, bool> goOn, Visit visit)
    {
        long begin = deadLetters.BeginOffset(0);
        long from = Math.Max(place.Offset, begin);
        long end = deadLetters.EndOffset(0);
        if (from > end)
        {
            throw new FormatException("The cursor is behind the end of the log.");
        }

        using ILogReader reader = deadLetters.OpenReader(0, from);
        long scannedBytes = 0;
        for (int i = 0; i < most; i++)
        {
            if (!goOn(scannedBytes))
            {
                return true;
            }

            if (!reader.TryReadBefore(end, out LogRecord record))
            {
                return false;
            }

            place.Offset = record.Offset + 1;
            scannedBytes += record.Value.Length;
            if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && DeadLetter.TryRead(body, out DeadLetter letter) && place.IsFirst(letter))
            {
                visit(record.Offset, letter);
            }
        }

        return true;
    }

    /// <summary>It is a change of a profile that a destination refused, not an event.</summary>
    private static bool IsChange(in DeadLetter letter) => letter.OriginLog.SequenceEqual("memberships"u8) || letter.OriginLog.SequenceEqual("profiles"u8);

    private static void WriteLetter(Utf8JsonWriter json, long offset, in DeadLetter letter)
    {
        json.WriteStartObject();
        json.WriteNumber("offset"u8, offset);
        json.WriteString("reason"u8, letter.Reason);
        json.WriteString("field"u8, letter.Field);
        json.WriteString("detail"u8, letter.Detail);
        json.WriteString("source"u8, letter.Source);
        WriteTime(json, "at"u8, letter.At);
        WriteTime(json, "received_at"u8, letter.ReceivedAt);
        if (letter.SentAt is long sentAt)
        {
            WriteTime(json, "sent_at"u8, sentAt);
        }

        json.WriteBoolean("import"u8, letter.Import);
        if (!letter.EventType.IsEmpty)
        {
            json.WriteString("event_type"u8, letter.EventType);
        }

        if (!letter.OriginLog.IsEmpty)
        {
            json.WriteStartObject("origin"u8);
            json.WriteString("log"u8, letter.OriginLog);
            json.WriteNumber("partition"u8, letter.OriginPartition);
            json.WriteNumber("offset"u8, letter.OriginOffset);
            json.WriteEndObject();
        }

        WriteBytes(json, "context", letter.Context);
        WriteBytes(json, "payload", letter.Payload);
        json.WriteEndObject();
    }

    /// <summary>As JSON where it is JSON, else as text or base64 under another name, so that a reader never mistakes one for the other.</summary>
    private static void WriteBytes(Utf8JsonWriter json, string name, ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty)
        {
            return;
        }

        if (!Utf8.IsValid(bytes))
        {
            json.WriteBase64String(name + "_base64", bytes);
            return;
        }

        if (IsJson(bytes))
        {
            json.WritePropertyName(name);
            json.WriteRawValue(bytes, skipInputValidation: true); // As it came: parsed and written again, half of a surrogate pair would throw in the middle of the answer.
            return;
        }

        json.WriteString(name + "_text", bytes);
    }

    /// <summary>One whole JSON value. Text in it is not unescaped, so half of a surrogate pair (<c>"\ud800"</c>) is JSON like any other.</summary>
    private static bool IsJson(ReadOnlySpan<byte> bytes)
    {
        var reader = new Utf8JsonReader(bytes);
        try
        {
            while (reader.Read())
            {
                // Reading is all: it throws where the text is not one JSON value.
            }

            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private static void WriteTime(Utf8JsonWriter json, ReadOnlySpan<byte> name, long unixMs) =>
        json.WriteString(name, DateTimeOffset.FromUnixTimeMilliseconds(EventTimestamp.Nearest(unixMs)).UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture));

    /// <summary>How far a reader is: the next offset, and for each partition of events the last origin that came.</summary>
    private sealed class Place
    {
        private readonly SortedDictionary<int, long> _origins = [];

        public long Offset { get; set; }

        /// <exception cref="FormatException">The text is none of ours.</exception>
        public static Place Parse(string? text)
        {
            var place = new Place();
            if (text is null)
            {
                return place;
            }

            string[] parts = text.Split('_');
            place.Offset = Number(parts[0]);
            foreach (string part in parts.Skip(1))
            {
                string[] origin = part.Split('.');
                if (origin.Length != 2 || Number(origin[0]) > int.MaxValue)
                {
                    throw new FormatException("The cursor is none of ours.");
                }

                place._origins[(int)Number(origin[0])] = Number(origin[1]);
            }

            return place;
        }

        public bool IsFirst(in DeadLetter letter)
        {
            if (letter.OriginLog.IsEmpty || IsChange(letter))
            {
                return true; // Of changes repeats may stand here: they have no order that would tell, and replaying one twice does no harm.
            }

            if (_origins.TryGetValue(letter.OriginPartition, out long last) && letter.OriginOffset <= last)
            {
                return false;
            }

            _origins[letter.OriginPartition] = letter.OriginOffset;
            return true;
        }

        public override string ToString() => string.Join('_', (IEnumerable<string>)[Text(Offset), .. _origins.Select(origin => $"{Text(origin.Key)}.{Text(origin.Value)}")]);

        private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

        private static long Number(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : throw new FormatException("The cursor is none of ours.");
    }

    /// <summary>Sends letters to the log of events.</summary>
    private sealed class Replay(ILogWriter writer, int partitions, EventReader reader, SchemaIds schemas, long nowMs, ToDestination? toDestination)
    {
        private static readonly byte[] s_lostContext = Encoding.UTF8.GetBytes(EventProblem.BatchContextUnusable.Reason()); // Without it the event would count as another.

        private byte[] _record = new byte[4096];

        public long Replayed { get; private set; }

        public long StillInvalid { get; private set; }

        public void Send(long offset, in DeadLetter letter)
        {
            if (IsChange(letter))
            {
                bool isTaken = toDestination?.Invoke(letter) == true;
                Replayed += isTaken ? 1 : 0;
                StillInvalid += isTaken ? 0 : 1;
                return;
            }

            if (!EventTimestamp.IsRepresentable(letter.ReceivedAt) || letter.Reason.SequenceEqual(s_lostContext) || reader.Read(letter.Payload, letter.Context, EventTypeText.Parse(letter.EventType)) != EventProblem.None)
            {
                StillInvalid++;
                return;
            }

            ReadOnlySpan<byte> messageId = reader.MessageId;
            int length = new CustomerEvent
            {
                MessageId = messageId.IsEmpty ? MadeMessageId(offset, letter) : messageId,
                Type = EventTypeText.Text(reader.Type),
                Source = letter.Source,
                ReceivedAt = letter.ReceivedAt,
                SentAt = letter.SentAt,
                Import = letter.Import,
                Context = reader.UsesBatchContext ? letter.Context : default,
                Payload = letter.Payload,
            }.WriteTo(ref _record, WireFormat.WriteHeader(ref _record, 0, schemas[RecordType.CustomerEvent]));
            writer.Append(EventPartition.Of(reader.SenderHash, partitions), reader.SenderKey, _record.AsSpan(0, length), nowMs);
            Replayed++;
        }

        private static byte[] MadeMessageId(long offset, in DeadLetter letter) => Encoding.UTF8.GetBytes(
            letter.OriginLog.IsEmpty ? $"dead-letter-{offset}" : $"dead-letter-{Encoding.UTF8.GetString(letter.OriginLog)}-{letter.OriginPartition}-{letter.OriginOffset}");
    }
}
