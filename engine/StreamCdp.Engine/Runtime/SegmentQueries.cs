using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Engine.State;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Runtime;

/// <summary>Why somebody is in a segment or not, and how many would be in one with another rule.</summary>
public sealed partial class CdpEngine
{
    private const int EventsOfLeaf = 5;
    private const int ProfilesOfQuestion = 256; // About 1 ms on the shard's thread.
    private const int RecordsOfQuestion = 4096; // The same, where they are in memory.
    private const int SampleOfPreview = 10;

    /// <inheritdoc/>
    public async ValueTask<byte[]?> ExplainAsync(string type, string value, string segmentId, CancellationToken cancellationToken)
    {
        if (await FindAsync(type, value).WaitAsync(cancellationToken).ConfigureAwait(false) is not UInt128 id || Model.Segments.FirstOrDefault(segment => segment.Id == segmentId) is null)
        {
            return null;
        }

        // The shard only copies the profile: to compile a model takes too long for its thread.
        Copied? copied = await AskAsync(id, (profiler, profile) => Copy(profiler, profile, segmentId)).WaitAsync(cancellationToken).ConfigureAwait(false);
        return copied?.Model.Segments.FirstOrDefault(segment => segment.Id == segmentId) is { } definition ? Explain(copied, definition) : null; // Else it is new, and waits for its backfill.
    }

    private static Copied Copy(Profiler profiler, ProfileState profile, string segmentId)
    {
        byte[] record = [];
        int length = profile.Write(ref record);
        long since = 0;
        bool isMember = profiler.Segments.SegmentIndex(segmentId) is >= 0 and int index && profile.IsMember(profiler.Segments.SegmentKey(index), out since);
        return new Copied(profile.Id, record[..length], profiler.Now, profiler.Model, profiler.Epochs, isMember ? since : null);
    }

    private byte[] Explain(Copied copied, SegmentDefinition definition)
    {
        var profile = new ProfileState();
        profile.Read(copied.Id, copied.Record);
        long now = copied.Now;
        var probe = new SegmentProbe(copied.Model, copied.Epochs, definition.When);
        bool[] holds = probe.Test(profile, now).ToArray();
        List<ExplainedEvent> events = ReadRecent(profile.Recent, copied.Model);
        using var buffer = new MemoryStream();
        using var json = new Utf8JsonWriter(buffer);
        json.WriteStartObject();
        json.WriteString("profile"u8, CanonicalId.Text(copied.Id));
        json.WriteString("segment"u8, definition.Id);
        json.WriteString("version"u8, definition.Version.ToString("x16", CultureInfo.InvariantCulture));
        json.WriteBoolean("member"u8, copied.Since is not null);
        WriteTime(json, "since"u8, copied.Since);
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
                foreach (FunctionExpression function in ModelFunctions.Of(part.Expression, copied.Model).DistinctBy(function => function.ToString()))
                {
                    WriteEvents(json, function, now, events);
                }

                json.WriteEndArray();
            }

            json.WriteEndObject();
        }
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
            await foreach (List<UInt128> ids in IdsAsync(shard, cancellationToken).ConfigureAwait(false))
            {
                isWhole = Environment.TickCount64 < until;
                for (int i = 0; i < ids.Count && isWhole; i += ProfilesOfQuestion)
                {
                    int from = i;
                    scanned += await shard.AskAsync(() => Count(shard.Profiler, probe, ids, from)).WaitAsync(cancellationToken).ConfigureAwait(false);
                    isWhole = Environment.TickCount64 < until || ids.Count <= from + ProfilesOfQuestion;
                }

                if (!isWhole)
                {
                    break;
                }
            }

            if (!isWhole)
            {
                break;
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

    /// <summary>Ids of a shard's profiles, each once, in parts between which the shard does its work.</summary>
    private static async IAsyncEnumerable<List<UInt128>> IdsAsync(ProfilerRunner shard, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var seen = new HashSet<UInt128>();
        IStoreScan scan = await shard.AskAsync(shard.Profiler.OpenScan).WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            bool hasMore = true;
            while (hasMore)
            {
                var ids = new List<UInt128>();
                hasMore = await shard.AskAsync(() => Profiler.Next(scan, RecordsOfQuestion, ids)).WaitAsync(cancellationToken).ConfigureAwait(false);
                ids.RemoveAll(id => !seen.Add(id));
                yield return ids;
            }
        }
        finally
        {
            _ = shard.AskAsync(() =>
            {
                scan.Dispose(); // On the shard's thread: a question that nobody waits for any more may still be open.
                return true;
            });
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

    /// <summary>The profile's latest events that a function counts now, by its name, its condition and its window, newest first.</summary>
    private static void WriteEvents(Utf8JsonWriter json, FunctionExpression function, long now, List<ExplainedEvent> events)
    {
        var engine = new SegmentEngine(new CdpModel { Text = "", Version = 0, Computed = [new ComputedDefinition("x", function)] });
        var scan = new EventScan(engine.EventPaths, []);
        var nobody = new ProfileState();
        int written = 0;
        foreach (ExplainedEvent e in events)
        {
            nobody.Reset(0);
            engine.Apply(nobody, scan.Read(new ProfileEvent { Payload = e.Payload, Context = e.Context, EventType = (int)e.Type, EventTime = e.At }));
            if (nobody.Functions.Length == 0 || ModelFunctions.IsComplete(function, e.At, now)) // What it saw of that instant has left the window.
            {
                continue;
            }

            json.WriteStartObject();
            json.WriteString("message_id"u8, e.MessageId);
            WriteTime(json, "at"u8, e.At);
            WriteTime(json, "received_at"u8, e.ReceivedAt);
            json.WriteEndObject();
            if (++written == EventsOfLeaf)
            {
                break;
            }
        }
    }

    /// <summary>Latest in their own order first (RULES.md §4.2).</summary>
    private List<ExplainedEvent> ReadRecent(ReadOnlySpan<RecentEvent> recent, CdpModel model)
    {
        List<ExplainedEvent> events = [];
        var reader = new EventReader(model);
        for (int i = recent.Length - 1; i >= 0; i--)
        {
            RecentEvent place = recent[i];
            if (place.Offset < _logs.Events.BeginOffset(place.Partition))
            {
                continue; // Retention took it.
            }

            using ILogReader log = _logs.Events.OpenReader(place.Partition, place.Offset);
            if (log.TryReadBefore(place.Offset + 1, out LogRecord record) && record.Offset == place.Offset
                && WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && CustomerEvent.TryRead(body, out CustomerEvent e)
                && reader.Read(e.Payload, e.Context, EventTypeText.Parse(e.Type)) == EventProblem.None)
            {
                long at = reader.EventTime(e.ReceivedAt, e.SentAt, e.Import);
                events.Add(new ExplainedEvent(System.Text.Encoding.UTF8.GetString(reader.MessageId), at, e.ReceivedAt, e.Payload.ToArray(), e.Context.ToArray(), reader.Type));
            }
        }

        return [.. events.OrderByDescending(e => e.At)];
    }

    /// <summary>A profile as its shard had it at an instant.</summary>
    private sealed record Copied(UInt128 Id, byte[] Record, long Now, CdpModel Model, IReadOnlyDictionary<string, long> Epochs, long? Since);

    private sealed record ExplainedEvent(string MessageId, long At, long ReceivedAt, byte[] Payload, byte[] Context, EventType Type);
}
