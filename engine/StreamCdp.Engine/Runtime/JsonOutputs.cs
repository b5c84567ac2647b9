using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Logs;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Runtime;

/// <summary>Logs whose outputs, <c>profiles</c> and <c>memberships</c>, may be written as JSON (<see cref="JsonFormat"/>) for others to read; stages see Avro as before.</summary>
/// <remarks>
/// Only the border changes: what a stage appends is Avro and becomes JSON here, and a membership read back becomes Avro again. Records of both formats may
/// be in one log, so the format can be changed at any restart. Cost: an append also parses and writes the record; one buffer for each writer.
/// </remarks>
/// <param name="inner">Where the logs are.</param>
/// <param name="writes">Whether this process writes JSON. It reads both either way: an earlier run may have written the other.</param>
internal sealed class JsonOutputs(ILogStore inner, bool writes) : ILogStore
{
    /// <inheritdoc/>
    public ILog Open(LogDefinition definition)
    {
        ILog log = inner.Open(definition);
        return definition.Name switch
        {
            "profiles" => new JsonLog(log, writes, isMemberships: false),
            "memberships" => new JsonLog(log, writes, isMemberships: true),
            _ => log,
        };
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => inner.DisposeAsync();

    /// <summary>The Avro record of a membership that <see cref="JsonFormat.WriteMembership"/> wrote.</summary>
    /// <param name="json">One object.</param>
    /// <param name="buffer">Gets header and body.</param>
    /// <returns>The end in the buffer; −1 where it is no such object.</returns>
    internal static int ReadMembership(ReadOnlySpan<byte> json, ref byte[] buffer)
    {
        try
        {
            var reader = new Utf8JsonReader(json);
            using JsonDocument document = JsonDocument.ParseValue(ref reader);
            JsonElement root = document.RootElement;
            return new SegmentMembership
            {
                ProfileId = UInt128.Parse(root.GetProperty("profile_id"u8).GetString()!, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture),
                Segment = Bytes(root.GetProperty("segment"u8)),
                SegmentVersion = Bytes(root.GetProperty("segment_version"u8)),
                Change = root.GetProperty("change"u8).ValueEquals("entered"u8) ? MembershipChange.Entered : MembershipChange.Exited,
                At = root.GetProperty("at"u8) is { ValueKind: JsonValueKind.String } at ? at.GetDateTimeOffset().ToUnixTimeMilliseconds() : 0,
                Cause = Bytes(root.GetProperty("cause"u8)),
                Reason = Enum.Parse<MembershipReason>(root.GetProperty("reason"u8).GetString()!, ignoreCase: true),
                SourceTs = root.GetProperty("source_ts"u8).GetInt64(),
                SourceOffset = root.GetProperty("source_offset"u8).GetInt64(),
                Version = root.GetProperty("version"u8).GetInt64(),
                Backfill = root.GetProperty("backfill"u8).GetBoolean(),
            }.WriteTo(ref buffer, WireFormat.WriteHeader(ref buffer, 0, (int)RecordType.SegmentMembership));
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or FormatException or InvalidOperationException or ArgumentException)
        {
            return -1; // Somebody else's record.
        }

        static byte[] Bytes(JsonElement text) => Encoding.UTF8.GetBytes(text.GetString() ?? "");
    }

    private sealed class JsonLog(ILog inner, bool writes, bool isMemberships) : ILog
    {
        public string Name => inner.Name;

        public int Partitions => inner.Partitions;

        public long BeginOffset(int partition) => inner.BeginOffset(partition);

        public long EndOffset(int partition) => inner.EndOffset(partition);

        public ValueTask<IReadOnlyList<long>> AskEndOffsetsAsync(TimeSpan atMost) => inner.AskEndOffsetsAsync(atMost);

        public ILogReader OpenReader(int partition, long fromOffset, WorkSignal? signal = null) =>
            isMemberships ? new MembershipReader(inner.OpenReader(partition, fromOffset, signal)) : inner.OpenReader(partition, fromOffset, signal);

        public ILogWriter OpenWriter() => writes ? new JsonWriter(inner.OpenWriter(), isMemberships) : inner.OpenWriter();

        public void Truncate(int partition, long beforeOffset) => inner.Truncate(partition, beforeOffset);

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }

    private sealed class MembershipReader(ILogReader inner) : ILogReader
    {
        private byte[] _avro = new byte[512];

        public long Position => inner.Position;

        public bool IsRemote => inner.IsRemote;

        public bool TryRead(out LogRecord record)
        {
            if (!inner.TryRead(out record))
            {
                return false;
            }

            if (!record.Value.IsEmpty && record.Value[0] == (byte)'{')
            {
                int end = ReadMembership(record.Value, ref _avro);
                if (end > 0)
                {
                    record = new LogRecord { Partition = record.Partition, Offset = record.Offset, TimestampMs = record.TimestampMs, Key = record.Key, Value = _avro.AsSpan(0, end) };
                }
            }

            return true;
        }

        public void Dispose() => inner.Dispose();
    }

    private sealed class JsonWriter(ILogWriter inner, bool isMemberships) : ILogWriter
    {
        private readonly Lock _lock = new();
        private readonly ArrayBufferWriter<byte> _buffer = new(1024);
        private readonly Utf8JsonWriter _json = new(Stream.Null);

        public long Appended => inner.Appended;

        public long Durable => inner.Durable;

        public LogUnavailableException? Fault => inner.Fault;

        public long Append(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
        {
            if (!WireFormat.TryRead(value, out _, out ReadOnlySpan<byte> body))
            {
                return inner.Append(partition, key, value, timestampMs); // A tombstone.
            }

            lock (_lock)
            {
                _buffer.ResetWrittenCount();
                _json.Reset(_buffer);
                if (isMemberships && SegmentMembership.TryRead(body, out SegmentMembership membership))
                {
                    JsonFormat.WriteMembership(_json, membership);
                }
                else if (!isMemberships && Profile.TryRead(body, out Profile profile))
                {
                    JsonFormat.WriteProfile(_json, profile);
                }
                else
                {
                    throw new InvalidDataException("An output record does not read back as what it was written as.");
                }

                _json.Flush();
                return inner.Append(partition, key, _buffer.WrittenSpan, timestampMs);
            }
        }

        public ValueTask WaitDurableAsync(long ticket, CancellationToken cancellationToken) => inner.WaitDurableAsync(ticket, cancellationToken);

        public void WaitDurable(long ticket) => inner.WaitDurable(ticket);

        public void Dispose()
        {
            _json.Dispose();
            inner.Dispose();
        }
    }
}
