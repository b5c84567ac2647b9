using System.Diagnostics;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Profiles;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Computes the segments and computed traits of one model. One instance for each shard thread; not safe for several threads.</summary>
/// <remarks>
/// For an event: <see cref="Apply"/>, then <see cref="Evaluate"/> at the shard's now, then <see cref="NextDeadline"/> for the timer. When the timer fires: Evaluate at the
/// deadline itself, where the new value holds already. Function states live in the profile, keyed by the hash of the function's normal text (RULES.md §6).
/// <para>Cost: no allocation once buffers have grown; a function's state is walked once in an evaluation, bucket by bucket, newest first.</para>
/// </remarks>
internal sealed class SegmentEngine
{
    private readonly CdpModel _model;
    private readonly Node[] _segments;
    private readonly uint[] _segmentKeys;
    private readonly Dictionary<uint, int> _segmentByKey = [];
    private readonly Dictionary<string, int> _segmentById = new(StringComparer.Ordinal);
    private readonly JsonEncodedText[] _segmentIds;
    private readonly Node[] _computed;
    private readonly JsonEncodedText[] _computedNames;
    private readonly Dictionary<uint, CompiledFunction> _functions;
    private readonly FunctionNode[] _timedFunctions;
    private readonly IDateNode[] _dateNodes;
    private readonly EventNames _names;
    private readonly SkippedValues _skipped = new();
    private readonly byte[] _single = new byte[CompiledFunction.MaxSingleBytes];
    private byte[] _combined = new byte[4096];
    private long _stamp;
    private ProfileState? _valuesOf;
    private UInt128 _valuesOfId;
    private long _valuesAt;

    /// <summary>Compiles a model.</summary>
    /// <exception cref="InvalidOperationException">The model is not checked.</exception>
    public SegmentEngine(CdpModel model)
    {
        var compiler = new SegmentCompiler(model);
        _model = model;
        _segments = compiler.Segments;
        _segmentKeys = [.. model.Segments.Select(segment => compiler.SegmentKeys[segment.Id])];
        _segmentIds = [.. model.Segments.Select(segment => JsonEncodedText.Encode(segment.Id))];
        for (int i = 0; i < _segments.Length; i++)
        {
            _segmentByKey.Add(_segmentKeys[i], i);
            _segmentById.Add(model.Segments[i].Id, i);
        }

        _computed = compiler.Computed;
        _computedNames = [.. model.Computed.Select(computed => JsonEncodedText.Encode(computed.Name))];
        _functions = compiler.Functions.ToDictionary(function => function.Key);
        _timedFunctions = [.. compiler.TimedFunctions];
        _dateNodes = [.. compiler.DateNodes];
        _names = new EventNames(compiler.Functions);
        EventPaths = compiler.EventPaths;
    }

    /// <summary>JSON paths from the event's root whose values <see cref="Apply"/> needs in <see cref="EventView.Slots"/>, by slot.</summary>
    public IReadOnlyList<IReadOnlyList<string>> EventPaths { get; }

    /// <summary>The segments, in the order of evaluation.</summary>
    public IReadOnlyList<SegmentDefinition> Segments => _model.Segments;

    /// <summary>Values that a function skipped because they are neither numbers nor text that is one (RULES.md §6.1).</summary>
    public long SkippedNotNumber => _skipped.NotNumber;

    /// <summary>Numbers that a function skipped because they are too large or have too many decimals (RULES.md §6.1).</summary>
    public long SkippedOutOfRange => _skipped.OutOfRange;

    /// <summary>Values that <c>first</c> or <c>last</c> skipped because they are longer than <see cref="CompiledFunction.MaxValueBytes"/>, or with a window than <see cref="CompiledFunction.MaxBucketValueBytes"/>.</summary>
    public long SkippedTooLong => _skipped.TooLong;

    /// <summary>Key of a segment's membership in a profile.</summary>
    public uint SegmentKey(int segment) => _segmentKeys[segment];

    /// <summary>Index in <see cref="Segments"/>, −1 where the model has no such segment.</summary>
    public int SegmentIndex(uint key) => _segmentByKey.GetValueOrDefault(key, -1);

    /// <summary>Index in <see cref="Segments"/>, −1 where the model has no such segment.</summary>
    public int SegmentIndex(string id) => _segmentById.GetValueOrDefault(id, -1);

    /// <summary>Brings the function states of a profile up to date with one more event.</summary>
    /// <param name="profile">Its states change; traits, identifiers and memberships do not.</param>
    /// <param name="e">With the slots of <see cref="EventPaths"/>.</param>
    public void Apply(ProfileState profile, in EventView e)
    {
        Debug.Assert(e.Slots.Length >= EventPaths.Count, "Too few slots.");

        CompiledFunction[] touched = _names.Find(e.Type, e.Name);
        if (touched.Length == 0)
        {
            return;
        }

        var context = new EvaluationContext { Event = e };
        foreach (CompiledFunction function in touched)
        {
            var writer = new StateWriter(_single);
            if (function.TryMakeState(ref context, _skipped, ref writer))
            {
                Add(profile, function, _single.AsSpan(0, writer.Position));
            }
        }
    }

    /// <summary>Adds the loser's function states to the survivor's, as if one person had all events (RULES.md §3.8). The order of several merges does not matter.</summary>
    /// <remarks>States of functions that the model does not have are left behind. Memberships follow with the next <see cref="Evaluate"/>.</remarks>
    public void Merge(ProfileState survivor, ProfileState loser)
    {
        Debug.Assert(!ReferenceEquals(survivor, loser), "A profile merged with itself would count twice.");

        foreach (ref readonly FunctionEntry entry in loser.Functions)
        {
            if (_functions.TryGetValue(entry.Key, out CompiledFunction? function))
            {
                Add(survivor, function, loser.Bytes(entry.State));
            }
        }
    }

    /// <summary>Evaluates all segments, changes the memberships and appends what changed.</summary>
    /// <param name="profile">Its memberships change.</param>
    /// <param name="nowMs">The instant, not before an event of the profile.</param>
    /// <param name="changes">Appended to, in the model's order.</param>
    public void Evaluate(ProfileState profile, long nowMs, ref SegmentChanges changes)
    {
        EvaluationContext context = Context(profile, nowMs);
        for (int i = 0; i < _segments.Length; i++)
        {
            uint key = _segmentKeys[i];
            bool isMember = _segments[i].Test(ref context);
            if (isMember ? profile.Enter(key, nowMs) : profile.Exit(key))
            {
                changes.Add(new SegmentChange(i, key, isMember));
            }
        }
    }

    /// <summary>The smallest instant later than <paramref name="afterMs"/> at which time alone can change a segment; <see cref="long.MaxValue"/>: none.</summary>
    /// <remarks>It may come too early (nothing changes then), never too late. Valid until the profile changes. Cheap after <see cref="Evaluate"/> at the same instant.</remarks>
    public long NextDeadline(ProfileState profile, long afterMs)
    {
        EvaluationContext context = HasValuesOf(profile, afterMs) ? new EvaluationContext { Profile = profile, NowMs = afterMs, Stamp = _stamp } : Context(profile, afterMs);
        long deadline = long.MaxValue;
        foreach (FunctionNode function in _timedFunctions)
        {
            deadline = Math.Min(deadline, function.Deadline(ref context));
        }

        foreach (IDateNode node in _dateNodes)
        {
            deadline = Math.Min(deadline, node.NextChange(ref context));
        }

        Debug.Assert(deadline > afterMs, "A timer in the past fires for ever.");
        return deadline;
    }

    /// <summary>Ends memberships of segments and drops states of functions that the model no longer has.</summary>
    /// <param name="profile">Its memberships and states change.</param>
    /// <param name="changes">Appended to: exits with segment −1.</param>
    public void RemoveUnknown(ProfileState profile, ref SegmentChanges changes)
    {
        for (int i = profile.Memberships.Length - 1; i >= 0; i--)
        {
            uint key = profile.Memberships[i].Key;
            if (!_segmentByKey.ContainsKey(key))
            {
                profile.Exit(key);
                changes.Add(new SegmentChange(-1, key, Entered: false));
            }
        }

        for (int i = profile.Functions.Length - 1; i >= 0; i--)
        {
            uint key = profile.Functions[i].Key;
            if (!_functions.ContainsKey(key))
            {
                profile.RemoveFunction(key);
                _valuesOf = null;
            }
        }
    }

    /// <summary>Drops states that left their window a day ago or earlier. It never changes a value: call it when a timer fires and the record is written anyway.</summary>
    public void Prune(ProfileState profile, long nowMs)
    {
        for (int i = profile.Functions.Length - 1; i >= 0; i--)
        {
            FunctionEntry entry = profile.Functions[i];
            if (_functions.TryGetValue(entry.Key, out CompiledFunction? function) && function.IsDead(profile.Bytes(entry.State), nowMs))
            {
                profile.RemoveFunction(entry.Key);
                _valuesOf = null;
            }
        }
    }

    /// <summary>Writes an object with all computed traits, in the model's order; null where nothing counts.</summary>
    public void WriteComputed(Utf8JsonWriter writer, ProfileState profile, long nowMs)
    {
        EvaluationContext context = Context(profile, nowMs);
        writer.WriteStartObject();
        for (int i = 0; i < _computed.Length; i++)
        {
            writer.WritePropertyName(_computedNames[i]);
            _computed[i].WriteTo(writer, ref context);
        }

        writer.WriteEndObject();
    }

    /// <summary>Writes an object with the notes: of a computed trait that is a function which kept not everything why its value may not be exact, and <c>"crm": "limited"</c> where something of the CRM's was not kept.</summary>
    public void WriteNotes(Utf8JsonWriter writer, ProfileState profile, long nowMs)
    {
        EvaluationContext context = Context(profile, nowMs);
        writer.WriteStartObject();
        for (int i = 0; i < _computed.Length; i++)
        {
            if (_computed[i] is FunctionNode function && function.IsApproximate(ref context))
            {
                writer.WritePropertyName(_computedNames[i]);
                writer.WriteStringValue(function.Function.Definition.Kind == EventFunction.UniqueCount ? "saturated"u8 : "approximate"u8);
            }
        }

        if (profile.IsCrmLimited)
        {
            writer.WriteString("crm"u8, "limited"u8);
        }

        writer.WriteEndObject();
    }

    /// <summary>Writes the memberships, in the model's order: <c>[{"id":"big_spenders","since":"2026-01-31T12:00:00.000Z"}]</c>.</summary>
    public void WriteSegments(Utf8JsonWriter writer, ProfileState profile)
    {
        Span<byte> text = stackalloc byte[Instants.TextBytes];
        writer.WriteStartArray();
        for (int i = 0; i < _segments.Length; i++)
        {
            if (profile.IsMember(_segmentKeys[i], out long since))
            {
                writer.WriteStartObject();
                writer.WriteString("id"u8, _segmentIds[i]);
                writer.WriteString("since"u8, text[..Instants.Format(since, text)]);
                writer.WriteEndObject();
            }
        }

        writer.WriteEndArray();
    }

    private EvaluationContext Context(ProfileState profile, long nowMs)
    {
        (_valuesOf, _valuesOfId, _valuesAt) = (profile, profile.Id, nowMs);
        return new EvaluationContext { Profile = profile, NowMs = nowMs, Stamp = ++_stamp };
    }

    /// <summary>The function nodes hold the values of this profile at this instant: the deadline, asked for after an evaluation, need not walk the states again.</summary>
    private bool HasValuesOf(ProfileState profile, long nowMs) => ReferenceEquals(profile, _valuesOf) && profile.Id == _valuesOfId && nowMs == _valuesAt;

    private void Add(ProfileState profile, CompiledFunction function, ReadOnlySpan<byte> state)
    {
        _valuesOf = null;
        ReadOnlySpan<byte> old = profile.Function(function.Key);
        int most = old.Length + state.Length + CompiledFunction.MaxCombineBytes;
        if (_combined.Length < most)
        {
            _combined = new byte[most * 2];
        }

        var writer = new StateWriter(_combined);
        function.Combine(old, state, ref writer);
        _combined.AsSpan(0, writer.Position).CopyTo(profile.FunctionForWrite(function.Key, writer.Position));
    }
}
