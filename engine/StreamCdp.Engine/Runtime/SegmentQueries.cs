using System.Globalization;
using System.Text.Json;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Runtime;

/// <summary>Why somebody is in a segment or not, and how many would be in one with another rule.</summary>
public sealed partial class CdpEngine
{
    private const int EventsOfLeaf = 5;
    private const int ProfilesOfQuestion = 256; // About 1 ms on the shard's thread.
    private const int SampleOfPreview = 10;

    /// <inheritdoc/>
    public async ValueTask<byte[]?> ExplainAsync(string type, string value, string segmentId, CancellationToken cancellationToken)
    {
        if (await FindAsync(type, value).WaitAsync(cancellationToken).ConfigureAwait(false) is not UInt128 id || Model.Segments.FirstOrDefault(segment => segment.Id == segmentId) is null)
        {
            return null;
        }

        Profiler first = _shards[0].Profiler;
        CdpModel served = first.Model;
        if (served.Segments.FirstOrDefault(segment => segment.Id == segmentId) is not { } definition)
        {
            return null; // It is new, and waits for its backfill.
        }

        var probe = new SegmentProbe(served, first.Epochs, definition.When);
        RecentEvent[]? recent = await AskAsync(id, (_, profile) => profile.Recent.ToArray()).WaitAsync(cancellationToken).ConfigureAwait(false);
        if (recent is null)
        {
            return null;
        }

        List<(string MessageId, long ReceivedAt, byte[] Payload, byte[] Context, EventType Type)> events = ReadRecent(recent);
        return await AskAsync(id, (profiler, profile) =>
        {
            using var buffer = new MemoryStream();
            using var json = new Utf8JsonWriter(buffer);
            long now = profiler.Now;
            bool[] holds = probe.Test(profile, now).ToArray();
            json.WriteStartObject();
            json.WriteString("profile"u8, CanonicalId.Text(profile.Id));
            json.WriteString("segment"u8, segmentId);
            json.WriteString("version"u8, definition.Version.ToString("x16", CultureInfo.InvariantCulture));
            long since = 0;
            bool isMember = profiler.Segments.SegmentIndex(segmentId) is >= 0 and int index && profile.IsMember(profiler.Segments.SegmentKey(index), out since);
            json.WriteBoolean("member"u8, isMember);
            WriteTime(json, "since"u8, isMember ? since : null);
            WriteTime(json, "now"u8, now);
            json.WritePropertyName("rule"u8);
            WritePart(probe.Root);
            json.WriteEndObject();
            json.Flush();
            return buffer.ToArray();

            void WritePart(SegmentProbe.Part part)
            {
                json.WriteStartObject();
                json.WriteString("text"u8, part.Expression.ToString());
                json.WriteBoolean("holds"u8, holds[part.Index]);
                if (!part.IsLeaf)
                {
                    json.WriteStartArray(part.Expression is LogicExpression { IsAnd: true } ? "all"u8 : part.Expression is LogicExpression ? "any"u8 : "not"u8);
                    foreach (SegmentProbe.Part child in part.Children)
                    {
                        WritePart(child);
                    }

                    json.WriteEndArray();
                }
                else
                {
                    json.WritePropertyName("value"u8);
                    probe.WriteValue(json, part, profile, now);
                    WriteTime(json, "until"u8, probe.Until(part, profile, now));
                    json.WriteStartArray("events"u8);
                    foreach (FunctionExpression function in ModelFunctions.Of(part.Expression, served).DistinctBy(function => function.ToString()))
                    {
                        WriteEvents(json, function, now, events);
                    }

                    json.WriteEndArray();
                }

                json.WriteEndObject();
            }
        }).WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<SeenSchema> SchemaAsync(CancellationToken cancellationToken) =>
        SeenSchema.Merge(await Task.WhenAll(_shards.Select(shard => shard.AskAsync(shard.Profiler.Schema))).WaitAsync(cancellationToken).ConfigureAwait(false));

    /// <inheritdoc/>
    public CdpModel ServedModel => _shards[0].Profiler.Model;

    /// <inheritdoc/>
    public async ValueTask<SegmentPreview> PreviewAsync(Expression rule, string? segmentId, TimeSpan atMost, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(rule);
        CdpModel served = ServedModel;
        Dictionary<string, FunctionExpression> known = SegmentCompiler.States(served);
        string[] unknown = [.. ModelFunctions.Of(rule, served).Where(function => !known.TryGetValue(CompiledFunction.Shared(function).ToString(), out FunctionExpression? state) || state.WindowMs < function.WindowMs).Select(function => function.ToString()).Distinct(StringComparer.Ordinal)];
        long until = Environment.TickCount64 + (long)atMost.TotalMilliseconds;
        SegmentProbe? shown = null;
        long[] counts = [];
        long scanned = 0;
        long enter = 0;
        long leave = 0;
        bool isWhole = true;
        var sample = new List<string>();
        foreach (ProfilerRunner shard in _shards)
        {
            var probe = new SegmentProbe(served, shard.Profiler.Epochs, rule);
            shown ??= probe;
            counts = counts.Length == 0 ? new long[probe.Parts.Count] : counts;
            if (Environment.TickCount64 >= until)
            {
                isWhole = false;
                break;
            }

            List<UInt128> ids = await shard.AskAsync(shard.Profiler.AllIds).WaitAsync(cancellationToken).ConfigureAwait(false);
            for (int i = 0; i < ids.Count; i += ProfilesOfQuestion)
            {
                if (Environment.TickCount64 >= until)
                {
                    isWhole = false;
                    break;
                }

                int from = i;
                scanned += await shard.AskAsync(() => Count(shard.Profiler, probe, ids, from)).WaitAsync(cancellationToken).ConfigureAwait(false);
            }
        }

        return new SegmentPreview(counts.Length > 0 ? counts[0] : 0, enter, leave, scanned, _shards.Sum(shard => shard.Profiler.ProfileCount), isWhole, sample, [.. (shown?.Parts ?? []).Where(part => part.IsLeaf).Select(part => new LeafCount(part.Expression.ToString()!, counts[part.Index]))], unknown);

        int Count(Profiler profiler, SegmentProbe probe, List<UInt128> ids, int from)
        {
            int end = Math.Min(ids.Count, from + ProfilesOfQuestion);
            int found = 0;
            for (int i = from; i < end; i++)
            {
                if (!profiler.TryGet(ids[i], out _, out ProfileState profile))
                {
                    continue; // Merged since.
                }

                found++;
                ReadOnlySpan<bool> holds = probe.Test(profile, profiler.Now);
                for (int part = 0; part < holds.Length; part++)
                {
                    counts[part] += holds[part] ? 1 : 0;
                }

                int segment = segmentId is null ? -1 : profiler.Segments.SegmentIndex(segmentId);
                bool isMember = segment >= 0 && profile.IsMember(profiler.Segments.SegmentKey(segment), out _);
                enter += holds[0] && !isMember ? 1 : 0;
                leave += !holds[0] && isMember ? 1 : 0;
                if (holds[0] && sample.Count < SampleOfPreview)
                {
                    sample.Add(CanonicalId.Text(ids[i]));
                }
            }

            return found;
        }
    }

    private static void WriteTime(Utf8JsonWriter json, ReadOnlySpan<byte> name, long? unixMs)
    {
        if (unixMs is long at)
        {
            ProfileDocument.WriteTime(json, name, at);
        }
        else
        {
            json.WriteNull(name);
        }
    }

    /// <summary>The profile's latest events that a function counts, by its name and its condition, newest first.</summary>
    private static void WriteEvents(Utf8JsonWriter json, FunctionExpression function, long now, List<(string MessageId, long ReceivedAt, byte[] Payload, byte[] Context, EventType Type)> events)
    {
        var engine = new SegmentEngine(new CdpModel { Text = "", Version = 0, Computed = [new ComputedDefinition("x", function)] });
        var scan = new EventScan(engine.EventPaths, []);
        var nobody = new ProfileState();
        int written = 0;
        foreach ((string messageId, long receivedAt, byte[] payload, byte[] context, EventType type) in events)
        {
            nobody.Reset(0);
            engine.Apply(nobody, scan.Read(new ProfileEvent { Payload = payload, Context = context, EventType = (int)type, EventTime = receivedAt }));
            bool isInWindow = function.WindowMs == 0 || receivedAt > now - function.WindowMs;
            if (nobody.Functions.Length == 0 || !isInWindow || written == EventsOfLeaf)
            {
                continue;
            }

            written++;
            json.WriteStartObject();
            json.WriteString("message_id"u8, messageId);
            WriteTime(json, "received_at"u8, receivedAt);
            json.WriteEndObject();
        }
    }

    private List<(string MessageId, long ReceivedAt, byte[] Payload, byte[] Context, EventType Type)> ReadRecent(RecentEvent[] recent)
    {
        List<(string, long, byte[], byte[], EventType)> events = [];
        var reader = new EventReader(Model);
        foreach (RecentEvent place in recent.Reverse().Where(place => place.Offset >= _logs.Events.BeginOffset(place.Partition)))
        {
            using ILogReader log = _logs.Events.OpenReader(place.Partition, place.Offset);
            if (log.TryReadBefore(place.Offset + 1, out LogRecord record) && record.Offset == place.Offset
                && WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && CustomerEvent.TryRead(body, out CustomerEvent e)
                && reader.Read(e.Payload, e.Context, EventTypeText.Parse(e.Type)) == EventProblem.None)
            {
                events.Add((System.Text.Encoding.UTF8.GetString(reader.MessageId), e.ReceivedAt, e.Payload.ToArray(), e.Context.ToArray(), reader.Type));
            }
        }

        return events;
    }
}
