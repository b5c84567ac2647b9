using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Runtime;

/// <summary>What the query API and the command line may ask a running engine. Safe for many threads; answers come from the shards' own threads.</summary>
public interface IEngineQueries
{
    /// <summary>The profile that an identifier points to, as the JSON of DESIGN §5.3.</summary>
    /// <param name="type">Identifier type of the model, or <c>id</c> for a canonical id.</param>
    /// <param name="value">As sent; it is normalised as in an event.</param>
    /// <param name="include">Which parts.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <returns>UTF-8 JSON, or null where nobody has that identifier.</returns>
    ValueTask<byte[]?> ProfileAsync(string type, string value, ProfileParts include, CancellationToken cancellationToken);

    /// <summary>The latest events of a profile, newest first: a JSON array of <c>{"offset":"p:o","received_at":…,"event":{as sent}}</c>, or null for an unknown profile.</summary>
    ValueTask<byte[]?> EventsAsync(string type, string value, int limit, CancellationToken cancellationToken);

    /// <summary>What became of a messageId, stage by stage: a JSON object, or null where no kept event of the dedup window has it, and none of the newest dead letters.</summary>
    ValueTask<byte[]?> TraceAsync(string messageId, CancellationToken cancellationToken);

    /// <summary>What the events looked like that this process applied: names, properties, traits, types.</summary>
    ValueTask<SeenSchema> SchemaAsync(CancellationToken cancellationToken);

    /// <summary>The newest model: a new rule is checked with it.</summary>
    CdpModel Model { get; }

    /// <summary>The model that decides about members now: the same, but while a backfill for a newer one is under way.</summary>
    CdpModel ServedModel { get; }

    /// <summary>All segments, in the model's order.</summary>
    IReadOnlyList<SegmentStatus> Segments();

    /// <summary>All computed traits, in the model's order.</summary>
    IReadOnlyList<ComputedStatus> Computed();

    /// <summary>One page of members, ordered by profile id.</summary>
    /// <param name="segmentId">Id of the model.</param>
    /// <param name="cursor">Null for the first page, else <see cref="MembersPage.Next"/>.</param>
    /// <param name="limit">1 to 1000.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <returns>Null for an unknown segment.</returns>
    /// <exception cref="FormatException">The cursor is not one of ours.</exception>
    ValueTask<MembersPage?> MembersAsync(string segmentId, string? cursor, int limit, CancellationToken cancellationToken);

    /// <summary>One page of all profiles, ordered by id. Profiles that appear while the pages are read may be missing.</summary>
    /// <param name="cursor">Null for the first page, else the one that came with the page before.</param>
    /// <param name="limit">Most profiles, 1 to 1000.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <returns>Profile documents, and the cursor of the next page; null at the end.</returns>
    /// <exception cref="FormatException">The cursor is none of ours.</exception>
    ValueTask<(IReadOnlyList<byte[]> Profiles, string? Next)> ExportAsync(string? cursor, int limit, CancellationToken cancellationToken);

    /// <summary>Waits until every event acknowledged before this call is applied, and the clock of the shards is not behind them (RULES.md §4.3).</summary>
    /// <exception cref="TimeoutException">Not within the time; the message says which stage is behind.</exception>
    Task WaitAppliedAsync(TimeSpan timeout, CancellationToken cancellationToken);

    /// <summary>Why a profile is in a segment or not: the rule as a tree, for each part whether it holds, for each leaf its value, until when by time, and events that count.</summary>
    /// <param name="type">As in <see cref="ProfileAsync"/>.</param>
    /// <param name="value">As in <see cref="ProfileAsync"/>.</param>
    /// <param name="segmentId">Of the model.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <returns>UTF-8 JSON; null for an unknown profile or a segment that is not served yet.</returns>
    ValueTask<byte[]?> ExplainAsync(string type, string value, string segmentId, CancellationToken cancellationToken);

    /// <summary>How many profiles a rule would have now, by a look at each of them.</summary>
    /// <param name="rule">Checked with <see cref="ServedModel"/>.</param>
    /// <param name="segmentId">The segment that would have it: who would enter and leave; null, or one that is not there: everybody would enter.</param>
    /// <param name="atMost">After that it is a sample.</param>
    /// <param name="cancellationToken">Gives up.</param>
    ValueTask<SegmentPreview> PreviewAsync(Expression rule, string? segmentId, TimeSpan atMost, CancellationToken cancellationToken);

    /// <summary>Writes a segment beside those of cdp.yaml; it is kept in the log <c>models</c>.</summary>
    /// <param name="id">A name as in cdp.yaml.</param>
    /// <param name="name">For people; null: the id.</param>
    /// <param name="rule">Its rule.</param>
    /// <param name="withHistory">The history that it lacks is counted before it is served; else it is served at once.</param>
    /// <param name="cancellationToken">Stops waiting for an edit that is under way.</param>
    Task<SegmentEdit> PutSegmentAsync(string id, string? name, string rule, bool withHistory, CancellationToken cancellationToken);

    /// <summary>Deletes a segment that the API wrote: its members leave.</summary>
    Task<SegmentEdit> DeleteSegmentAsync(string id, CancellationToken cancellationToken);

    /// <summary>The counting of history that is under way; null: none is.</summary>
    BackfillProgress? Backfill();

    /// <summary>Begins to count history for segments that have not seen all of it. One that is under way ends without a result, and what it counted for is counted again where it is asked for.</summary>
    /// <param name="segmentIds">Of the model; null: for all segments and computed traits.</param>
    /// <returns>False: they have seen all that counts, nothing is done.</returns>
    Task<bool> TryBackfillAsync(IReadOnlyCollection<string>? segmentIds);

    /// <summary>State of each part: name, ok, and if not, why and what to do.</summary>
    IReadOnlyList<PartHealth> Health();
}

/// <summary>Parts of a profile document; the default of the API is all but <see cref="History"/>.</summary>
[Flags]
public enum ProfileParts
{
    /// <summary>Only id, version and times.</summary>
    None = 0,

    /// <summary>Sent traits and their provenance.</summary>
    Traits = 1,

    /// <summary>Computed traits.</summary>
    Computed = 2,

    /// <summary>Memberships.</summary>
    Segments = 4,

    /// <summary>Identifiers.</summary>
    Identifiers = 8,

    /// <summary>Latest events.</summary>
    Events = 16,

    /// <summary>CRM records.</summary>
    Crm = 32,

    /// <summary>merged_from.</summary>
    History = 64,

    /// <summary>Everything but events.</summary>
    Default = Traits | Computed | Segments | Identifiers | Crm | History,
}

/// <summary>A segment as it is served.</summary>
/// <param name="Id">Id of the model.</param>
/// <param name="Name">For people.</param>
/// <param name="When">Normal text of the rule.</param>
/// <param name="Version">Version of the rule, 16 hex digits.</param>
/// <param name="Members">Now.</param>
/// <param name="ExactSince">Members are exact for history from here on, Unix ms: 0 where the rule has seen everything that counts now.</param>
/// <param name="NeedsBackfill">It was added or changed later and uses event history that it has not seen, and that no window has left behind yet.</param>
public sealed record SegmentStatus(string Id, string Name, string When, string Version, long Members, long ExactSince, bool NeedsBackfill)
{
    /// <summary>Version of the rule that decides about members now: an older one until a backfill is done. Null: none yet, the segment is new.</summary>
    public string? ServedVersion { get; init; } = Version;

    /// <summary>The API wrote it, and only there it can be changed.</summary>
    public bool IsOfApi { get; init; }

    /// <summary>How far its history is counted, 0 to 1; null: it is not being counted.</summary>
    public double? Progress { get; init; }
}

/// <summary>What became of an edit.</summary>
public enum SegmentEditOutcome
{
    /// <summary>The shards switch now.</summary>
    Served,

    /// <summary>History is counted first.</summary>
    Counting,

    /// <summary>cdp.yaml has it, and only there it can be changed.</summary>
    OfFile,

    /// <summary>There is none.</summary>
    Unknown,

    /// <summary>The model would be wrong.</summary>
    Refused,
}

/// <summary>An edit of a segment.</summary>
/// <param name="Outcome">What became of it.</param>
/// <param name="Error">Why it was refused.</param>
public sealed record SegmentEdit(SegmentEditOutcome Outcome, string? Error);

/// <summary>What a rule would do.</summary>
/// <param name="Members">Of the profiles looked at.</param>
/// <param name="Enter">Of them: not in the segment now.</param>
/// <param name="Leave">In the segment now, and would not be.</param>
/// <param name="Scanned">Profiles looked at.</param>
/// <param name="Profiles">All there are.</param>
/// <param name="IsWhole">False: the time was over, and it is a sample.</param>
/// <param name="Sample">Ids of some members.</param>
/// <param name="Leaves">How often each condition of the rule holds.</param>
/// <param name="NotCounted">Functions that nothing counts yet: as if there had been no event. A backfill would count them.</param>
public sealed record SegmentPreview(long Members, long Enter, long Leave, long Scanned, long Profiles, bool IsWhole, IReadOnlyList<string> Sample, IReadOnlyList<LeafCount> Leaves, IReadOnlyList<string> NotCounted);

/// <summary>How often a condition holds.</summary>
/// <param name="Text">Normal text.</param>
/// <param name="Members">Profiles for which it holds.</param>
public sealed record LeafCount(string Text, long Members);

/// <summary>A counting of history that is under way.</summary>
/// <param name="Id">Grows with each.</param>
/// <param name="Phase">preparing, counting, writing, switching.</param>
/// <param name="Done">0 to 1.</param>
/// <param name="Names">Segments, and computed traits as <c>computed.x</c>, that it is for.</param>
public sealed record BackfillProgress(long Id, string Phase, double Done, IReadOnlyList<string> Names);

/// <summary>A computed trait as it is served.</summary>
/// <param name="Name">Name of the model.</param>
/// <param name="Value">Normal text of its expression.</param>
/// <param name="ExactSince">Exact for history from here on, Unix ms: 0 where it has seen everything that counts now.</param>
/// <param name="NeedsBackfill">It was added or changed later and uses event history that it has not seen, and that no window has left behind yet.</param>
public sealed record ComputedStatus(string Name, string Value, long ExactSince, bool NeedsBackfill);

/// <summary>A page of members.</summary>
/// <param name="Members">In order of profile id.</param>
/// <param name="Next">Cursor of the next page; null at the end.</param>
public sealed record MembersPage(IReadOnlyList<SegmentMember> Members, string? Next);

/// <summary>A member of a segment.</summary>
/// <param name="Id">Canonical id.</param>
/// <param name="Since">Unix ms.</param>
/// <param name="Identifiers">JSON array as in the profile document.</param>
public sealed record SegmentMember(string Id, long Since, JsonElement Identifiers);

/// <summary>Health of one part of the process.</summary>
/// <param name="Part">For example <c>collect</c>, <c>route</c>, <c>log events</c>.</param>
/// <param name="IsLive">False: it cannot recover by itself; restart the process.</param>
/// <param name="IsReady">False: do not send traffic now.</param>
/// <param name="Reason">What is wrong and what to do; empty when nothing is. A part may be ready and have one: a checkpoint that failed costs nothing but time at a restart.</param>
public sealed record PartHealth(string Part, bool IsLive, bool IsReady, string Reason);
