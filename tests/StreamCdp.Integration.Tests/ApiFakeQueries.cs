using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Integration.Tests;

/// <summary>A few profiles in memory; it answers with what it was asked, so that a test sees what arrived.</summary>
internal sealed class ApiFakeQueries : IEngineQueries
{
    public HashSet<(string Type, string Value)> Known { get; } = [("user_id", "42"), ("email", "ada@example.com"), ("id", "000000000000000000000000000000ff")];

    public List<PartHealth> Parts { get; } = [new("collect", true, true, ""), new("log events", true, true, "")];

    public TimeSpan? WaitedFor { get; private set; }

    public bool NeverApplied { get; set; }

    public Exception? Failure { get; set; }

    public ValueTask<byte[]?> ProfileAsync(string type, string value, ProfileParts include, CancellationToken cancellationToken) =>
        Failure is not null ? throw Failure : Answer(type, value, new { id = "000000000000000000000000000000ff", version = 17, asked = new { type, value, include = include.ToString() } });

    public ValueTask<byte[]?> EventsAsync(string type, string value, int limit, CancellationToken cancellationToken) =>
        Answer(type, value, new[] { new { offset = "0:1", received_at = "2026-01-02T03:04:05.006Z", @event = new { limit, value } } });

    public ValueTask<byte[]?> TraceAsync(string messageId, CancellationToken cancellationToken) =>
        ValueTask.FromResult(messageId == "gone" ? null : JsonSerializer.SerializeToUtf8Bytes(new { messageId }));

    public IReadOnlyList<SegmentStatus> Segments() =>
    [
        new("big_spenders", "Big spenders", "sum(\"Order Completed\", properties.revenue, within: 90d) >= 500", "00000000000000aa", 3, 0, false),
        new("hot_lead", "hot_lead", "in_segment(\"big_spenders\")", "00000000000000bb", 1, 1_700_000_000_123, true),
    ];

    public Task<SegmentEdit> PutSegmentAsync(string id, string? name, string rule, bool withHistory, CancellationToken cancellationToken) =>
        Task.FromResult(id switch { "big_spenders" => new SegmentEdit(SegmentEditOutcome.OfFile, null), "wrong" => new SegmentEdit(SegmentEditOutcome.Refused, $"{name} {rule} {withHistory}."), _ => new SegmentEdit(SegmentEditOutcome.Counting, null) });

    public Task<SegmentEdit> DeleteSegmentAsync(string id, CancellationToken cancellationToken) =>
        Task.FromResult(new SegmentEdit(id == "big_spenders" ? SegmentEditOutcome.OfFile : id == "api_one" ? SegmentEditOutcome.Served : SegmentEditOutcome.Unknown, null));

    public CdpModel ServedModel => Model;

    public SeenSchema Seen { get; set; } = SeenSchema.Empty;

    public ValueTask<SeenSchema> SchemaAsync(CancellationToken cancellationToken) => ValueTask.FromResult(Seen);

    public CdpModel Model { get; } = new() { Text = "", Version = 1 };

    public ValueTask<byte[]?> ExplainAsync(string type, string value, string segmentId, CancellationToken cancellationToken) =>
        Answer(type, value, new { segment = segmentId, asked = new { type, value } });

    public ValueTask<SegmentPreview> PreviewAsync(Expression rule, string? segmentId, TimeSpan atMost, CancellationToken cancellationToken) =>
        ValueTask.FromResult(new SegmentPreview(12, 10, 3, 100, 1000, IsWhole: false, [$"{segmentId} {atMost.TotalSeconds}"], [new LeafCount(rule.ToString()!, 12)], ["count(\"X\")"]));

    public BackfillProgress? Running { get; set; }

    public IReadOnlyCollection<string>? Backfilled { get; private set; }

    public BackfillProgress? Backfill() => Running;

    public Task<bool> TryBackfillAsync(IReadOnlyCollection<string>? segmentIds)
    {
        Backfilled = segmentIds ?? ["all"];
        Running = new BackfillProgress(7, "counting", 0.25, ["hot_lead", "computed.viewed"]);
        return Task.FromResult(true);
    }

    public IReadOnlyList<ComputedStatus> Computed() => [new("viewed", "count(\"Product Viewed\")", 1_700_000_000_123, true)];

    public ValueTask<MembersPage?> MembersAsync(string segmentId, string? cursor, int limit, CancellationToken cancellationToken)
    {
        if (segmentId != "big_spenders")
        {
            return ValueTask.FromResult<MembersPage?>(null);
        }

        int from = cursor is null ? 0 : int.Parse(cursor);
        using JsonDocument identifiers = JsonDocument.Parse("""[{"type":"user_id","value":"ü/42"}]""");
        SegmentMember[] members = [.. Enumerable.Range(from, Math.Min(limit, 3 - from)).Select(i => new SegmentMember($"{i:x32}", 1_700_000_000_000 + i, identifiers.RootElement.Clone()))];
        int next = from + members.Length;
        return ValueTask.FromResult<MembersPage?>(new MembersPage(members, next < 3 ? next.ToString() : null));
    }

    public ValueTask<(IReadOnlyList<byte[]> Profiles, string? Next)> ExportAsync(string? cursor, int limit, CancellationToken cancellationToken)
    {
        int from = cursor is null ? 0 : int.Parse(cursor);
        byte[][] profiles = [.. Enumerable.Range(from, Math.Min(limit, 3 - from)).Select(i => JsonSerializer.SerializeToUtf8Bytes(new { id = $"{i:x32}" }))];
        int next = from + profiles.Length;
        return ValueTask.FromResult<(IReadOnlyList<byte[]>, string?)>((profiles, next < 3 ? next.ToString() : null));
    }

    public Task WaitAppliedAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        WaitedFor = timeout;
        return NeverApplied ? throw new TimeoutException("The stage profile is 7 records behind.") : Task.CompletedTask;
    }

    public IReadOnlyList<PartHealth> Health() => Parts;

    private ValueTask<byte[]?> Answer(string type, string value, object answer) =>
        ValueTask.FromResult(Known.Contains((type, value)) ? Encoding.UTF8.GetBytes(JsonSerializer.Serialize(answer)) : null);
}
