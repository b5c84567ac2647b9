using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Profiles;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Computes the segments and computed traits of one model. One instance for each shard thread; not safe for several threads.</summary>
internal sealed class SegmentEngine
{
    private readonly CdpModel _model;

    /// <summary>Compiles a model.</summary>
    /// <exception cref="NotSupportedException">The model uses a function that this version cannot compute.</exception>
    public SegmentEngine(CdpModel model) => _model = model;

    /// <summary>JSON paths from the event's root whose values <see cref="Apply"/> needs in <see cref="EventView.Slots"/>, by slot.</summary>
    public IReadOnlyList<IReadOnlyList<string>> EventPaths { get; } = [];

    /// <summary>The segments, in the order of evaluation.</summary>
    public IReadOnlyList<SegmentDefinition> Segments => _model.Segments;

    /// <summary>Values that a function skipped because they are neither numbers nor text that is one (RULES.md §6.1).</summary>
    public long SkippedNotNumber { get; private set; }

    /// <summary>Numbers that a function skipped because they are too large or have too many decimals (RULES.md §6.1).</summary>
    public long SkippedOutOfRange { get; private set; }

    /// <summary>Values that <c>first</c> or <c>last</c> skipped because they are longer than 1 KiB.</summary>
    public long SkippedTooLong { get; private set; }

    /// <summary>Key of a segment's membership in a profile.</summary>
    public uint SegmentKey(int segment) => throw new NotImplementedException();

    /// <summary>Index in <see cref="Segments"/>, −1 where the model has no such segment.</summary>
    public int SegmentIndex(uint key) => throw new NotImplementedException();

    /// <summary>Index in <see cref="Segments"/>, −1 where the model has no such segment.</summary>
    public int SegmentIndex(string id) => throw new NotImplementedException();

    /// <summary>Brings the function states of a profile up to date with one more event.</summary>
    public void Apply(ProfileState profile, in EventView e) => throw new NotImplementedException();

    /// <summary>Adds the loser's function states to the survivor's, as if one person had all events (RULES.md §3.8).</summary>
    public void Merge(ProfileState survivor, ProfileState loser) => throw new NotImplementedException();

    /// <summary>Evaluates all segments, changes the memberships and appends what changed.</summary>
    public void Evaluate(ProfileState profile, long nowMs, ref SegmentChanges changes) => throw new NotImplementedException();

    /// <summary>The smallest instant later than <paramref name="afterMs"/> at which time alone can change a segment; <see cref="long.MaxValue"/>: none.</summary>
    public long NextDeadline(ProfileState profile, long afterMs) => throw new NotImplementedException();

    /// <summary>Ends memberships of segments and drops states of functions that the model no longer has.</summary>
    public void RemoveUnknown(ProfileState profile, ref SegmentChanges changes) => throw new NotImplementedException();

    /// <summary>Drops states that time has made meaningless; never changes a value.</summary>
    public void Prune(ProfileState profile, long nowMs) => throw new NotImplementedException();

    /// <summary>Writes an object with all computed traits.</summary>
    public void WriteComputed(Utf8JsonWriter writer, ProfileState profile, long nowMs) => throw new NotImplementedException();

    /// <summary>Writes an object with the notes of the computed traits: which are approximate.</summary>
    public void WriteNotes(Utf8JsonWriter writer, ProfileState profile) => throw new NotImplementedException();

    /// <summary>Writes the memberships, in the model's order: <c>[{"id":"big_spenders","since":"2026-01-31T12:00:00.000Z"}]</c>.</summary>
    public void WriteSegments(Utf8JsonWriter writer, ProfileState profile) => throw new NotImplementedException();
}
