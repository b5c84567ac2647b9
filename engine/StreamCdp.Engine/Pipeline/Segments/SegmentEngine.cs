using System.Diagnostics;
using System.Numerics;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Profiles;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Computes the segments and computed traits of one model. One instance for each shard thread; not safe for several threads.</summary>
/// <remarks>
/// For an event: <see cref="Begin"/>, the changes (<see cref="Apply"/>, and traits, identifiers and CRM records by others), then <see cref="EvaluateChanged"/> at the shard's now, which looks at what
/// they can change and no more; for a profile that has another model, or a deadline at that very instant, <see cref="Evaluate"/>, which looks at everything. When the timer fires: <see cref="NextDeadline"/>, then
/// <see cref="EvaluateDue"/> at that instant, where the new value holds already. Function states live in the profile, keyed by the hash of the function's normal text (RULES.md §6).
/// <para>Cost: grows with what the event changes and with what the profile did, not with the segments of the model; no allocation once buffers have grown; a function's state is walked once in an
/// evaluation, bucket by bucket, newest first.</para>
/// </remarks>
internal sealed class SegmentEngine
{
    /// <summary>What the states of a profile's functions may take together; beyond that they take in nothing that makes them larger, and the notes say so.</summary>
    public const int MaxFunctionBytes = 320 << 10;

    private readonly CdpModel _model;
    private readonly SegmentConditions _segments;
    private readonly uint[] _segmentKeys;
    private readonly Dictionary<uint, int> _segmentByKey = [];
    private readonly Dictionary<string, int> _segmentById = new(StringComparer.Ordinal);
    private readonly JsonEncodedText[] _segmentIds;
    private readonly Node[] _computed;
    private readonly JsonEncodedText[] _computedNames;
    private readonly Dictionary<uint, CompiledFunction> _functions;
    private readonly Dictionary<uint, TimedState> _timedStates;
    private readonly FunctionNode[] _functionNodes;
    private readonly TimedState?[] _timedOfState;
    private readonly IDateNode[] _dateNodes;
    private readonly IndexLists _ofFunction;
    private readonly IndexLists _ofLeaf;
    private readonly FunctionNode[][] _functionsOfState;
    private readonly IndexLists _leavesOfFunction;
    private readonly IndexLists _ofDate;
    private readonly IndexLists _ofSegment;
    private readonly IndexLists _datesOfSegment;
    private readonly int[] _ofIdentifiers;
    private readonly int[] _ofCrm;
    private readonly int[] _ofNothing;
    private readonly Dictionary<byte[], int[]>.AlternateLookup<ReadOnlySpan<byte>> _ofTrait;
    private readonly ulong[] _marked;
    private readonly bool[] _wasTrue;
    private readonly bool?[] _stays;
    private readonly bool[] _isTouched;
    private readonly List<int> _touchedLeaves = [];
    private readonly List<int> _changedStates = [];
    private readonly List<int> _dueFunctions = [];
    private readonly List<int> _dueDates = [];
    private Slice[] _traitsBefore = [];
    private int _traitCountBefore;
    private int _identifierCountBefore;
    private byte[] _text = [];
    private readonly EventNames _names;
    private readonly SkippedValues _skipped = new();
    private readonly byte[] _single = new byte[CompiledFunction.MaxSingleBytes];
    private byte[] _combined = new byte[4096];
    private long _stamp;
    private long _stampBefore;
    private long _before;

    /// <summary>Compiles a model.</summary>
    /// <param name="model">Checked.</param>
    /// <param name="epochs">Of states that come from a backfill its id, by <see cref="CompiledFunction.Shared"/>; null: none.</param>
    /// <param name="prepared">States that are counted for a backfill; null: none.</param>
    /// <exception cref="InvalidOperationException">The model is not checked.</exception>
    public SegmentEngine(CdpModel model, IReadOnlyDictionary<string, long>? epochs = null, PreparedStates? prepared = null)
    {
        var compiler = new SegmentCompiler(model, epochs, prepared);
        _model = model;
        _segments = new SegmentConditions(compiler.Segments, compiler.Leaves);
        _segmentKeys = [.. model.Segments.Select(segment => compiler.SegmentKeys[segment.Id])];
        _segmentIds = [.. model.Segments.Select(segment => JsonEncodedText.Encode(segment.Id))];
        for (int i = 0; i < _segmentKeys.Length; i++)
        {
            _segmentByKey.Add(_segmentKeys[i], i);
            _segmentById.Add(model.Segments[i].Id, i);
        }

        _computed = compiler.Computed;
        _computedNames = [.. model.Computed.Select(computed => JsonEncodedText.Encode(computed.Name))];
        _functions = compiler.Functions.ToDictionary(function => function.Key);
        _functionNodes = [.. compiler.FunctionNodes];
        _dateNodes = [.. compiler.DateNodes];
        Prepared = compiler.Prepared;
        _names = new EventNames(compiler.Functions);
        EventPaths = compiler.EventPaths;
        SegmentUses[] uses = compiler.Uses;
        IReadOnlyList<SegmentLeaf> leaves = compiler.Leaves;
        _wasTrue = new bool[leaves.Count];
        _stays = [.. leaves.Select(leaf => leaf.Node.Stays)];
        _isTouched = new bool[leaves.Count];
        _ofFunction = UsersOf(_functionNodes.Length, uses, use => use.Functions);
        _ofLeaf = UsersOf(leaves.Count, uses, use => use.Leaves);
        _functionsOfState = [.. compiler.Functions.Select(state => _functionNodes.Where(node => node.Function == state).ToArray())];
        _ofDate = UsersOf(_dateNodes.Length, uses, use => use.Dates);
        _ofSegment = UsersOf(_segmentKeys.Length, uses, use => use.Segments.Select(key => _segmentByKey[key]));
        _datesOfSegment = new IndexLists([.. uses.Select(use => use.Dates.Order().ToArray())]);
        _ofIdentifiers = [.. Enumerable.Range(0, uses.Length).Where(i => uses[i].HasIdentifiers)];
        _ofCrm = [.. Enumerable.Range(0, uses.Length).Where(i => uses[i].HasCrm)];
        _ofTrait = uses.SelectMany((use, i) => use.Traits.Select(trait => (Trait: trait, Segment: i))).GroupBy(pair => pair.Trait, StringComparer.Ordinal)
            .ToDictionary(group => Encoding.UTF8.GetBytes(group.Key), group => group.Select(pair => pair.Segment).ToArray(), BytesComparer.Instance).GetAlternateLookup<ReadOnlySpan<byte>>();
        HashSet<int> inLeaves = [.. leaves.SelectMany(leaf => leaf.Functions)];
        _timedStates = _functionNodes.Where(node => node.Definition.WindowMs > 0 && (!_ofFunction[node.Index].IsEmpty || inLeaves.Contains(node.Index))).GroupBy(node => node.Function.Key)
            .ToDictionary(group => group.Key, group => new TimedState([.. group.OrderBy(node => node.Window.Ms)]));
        _timedOfState = [.. compiler.Functions.Select(state => _timedStates.GetValueOrDefault(state.Key))];
        _leavesOfFunction = new IndexLists([.. _functionNodes.Select(node => leaves.Where(leaf => leaf.Functions.Contains(node.Index)).Select(leaf => leaf.Index).ToArray())]);
        _marked = new ulong[(_segmentKeys.Length + 63) / 64];
        _ofNothing = FindOfNothing(uses);
    }

    /// <summary>Segments that a profile of which nothing is known may be in.</summary>
    private int[] FindOfNothing(SegmentUses[] uses)
    {
        var nothing = new ProfileState();
        nothing.Reset(0);
        SegmentChanges changes = default;
        Evaluate(nothing, 0, ref changes);
        HashSet<int> found = [.. changes.Items.ToArray().Select(change => change.Segment)];
        for (int i = 0; i < uses.Length; i++)
        {
            if (uses[i].Dates.Count > 0 || uses[i].Segments.Any(key => found.Contains(_segmentByKey[key])))
            {
                found.Add(i); // A date that is a literal; and what depends on it.
            }
        }

        return [.. found.Order()];
    }

    private static IndexLists UsersOf(int count, SegmentUses[] uses, Func<SegmentUses, IEnumerable<int>> used)
    {
        var users = new List<int>[count];
        for (int i = 0; i < count; i++)
        {
            users[i] = [];
        }

        for (int i = 0; i < uses.Length; i++)
        {
            foreach (int one in used(uses[i]))
            {
                users[one].Add(i);
            }
        }

        return new IndexLists([.. users.Select(list => list.ToArray())]);
    }

    /// <summary>JSON paths from the event's root whose values <see cref="Apply"/> needs in <see cref="EventView.Slots"/>, by slot.</summary>
    public IReadOnlyList<IReadOnlyList<string>> EventPaths { get; }

    /// <summary>States that are counted for a backfill, in its order.</summary>
    public IReadOnlyList<CompiledFunction> Prepared { get; }

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

    /// <summary>What changes from here on is what <see cref="EvaluateChanged"/> looks at.</summary>
    /// <param name="profile">As it is.</param>
    /// <param name="nowMs">The instant of that evaluation.</param>
    public void Begin(ProfileState profile, long nowMs)
    {
        _changedStates.Clear();
        Array.Clear(_marked);
        foreach (int leaf in _touchedLeaves)
        {
            _isTouched[leaf] = false;
        }

        _touchedLeaves.Clear();
        (_stampBefore, _before) = (++_stamp, nowMs);
        Span<TraitEntry> traits = profile.Traits;
        if (_traitsBefore.Length < traits.Length)
        {
            _traitsBefore = new Slice[traits.Length * 2];
        }

        for (int i = 0; i < traits.Length; i++)
        {
            _traitsBefore[i] = traits[i].Value; // Another value gets other bytes of the arena.
        }

        profile.KeepDeadlinesOf(this);
        _traitCountBefore = traits.Length;
        _identifierCountBefore = profile.Identifiers.Length;
    }

    /// <summary>A record of the CRM may have changed.</summary>
    public void CrmChanged() => Mark(_ofCrm);

    /// <summary>Brings the function states of a profile up to date with one more event.</summary>
    /// <param name="profile">Its states change; traits, identifiers and memberships do not.</param>
    /// <param name="e">With the slots of <see cref="EventPaths"/>.</param>
    /// <param name="epoch">Id of the latest backfill that had begun to count when the event came: states of a later one have it from history.</param>
    public void Apply(ProfileState profile, in EventView e, long epoch = long.MaxValue)
    {
        Debug.Assert(e.Slots.Length >= EventPaths.Count, "Too few slots.");

        FunctionsByValue touched = _names.Find(e.Type, e.Name);
        var context = new EvaluationContext { Event = e };
        AddTo(profile, touched.Always, epoch, ref context);
        foreach (FunctionsByValue.Index index in touched.Indexes)
        {
            JsonSlice slice = e.Slots[index.Slot];
            if (slice.Kind == JsonTokenType.String)
            {
                ReadOnlySpan<byte> text = slice.In(EventJson.Of(e, index.InContext));
                AddTo(profile, index.Find(slice.IsEscaped ? JsonText.Unescape(text, ref _text) : text), epoch, ref context);
            }
        }
    }

    private void AddTo(ProfileState profile, CompiledFunction[] touched, long epoch, scoped ref EvaluationContext context)
    {
        foreach (CompiledFunction function in touched)
        {
            if (function.Epoch > epoch)
            {
                continue;
            }

            var writer = new StateWriter(_single);
            if (function.TryMakeState(ref context, _skipped, ref writer))
            {
                TouchAndAdd(profile, function, _single.AsSpan(0, writer.Position));
            }
        }
    }

    /// <summary>Changes a state, but remembers before what is true of it. A leaf of several states is looked at before the first of them changes.</summary>
    private void TouchAndAdd(ProfileState profile, CompiledFunction state, ReadOnlySpan<byte> added)
    {
        int index = profile.IndexOfFunction(state.Key);
        ReadOnlySpan<byte> old = profile.FunctionAt(index);
        if (state.Has(old, added))
        {
            return;
        }

        _changedStates.Add(state.Index);
        var context = new EvaluationContext { Profile = profile, NowMs = _before, Stamp = _stampBefore };
        foreach (FunctionNode function in _functionsOfState[state.Index])
        {
            if (!state.MayChange(old, added, _before, function.Window))
            {
                continue;
            }

            foreach (int leaf in _leavesOfFunction[function.Index])
            {
                if (!_isTouched[leaf])
                {
                    _isTouched[leaf] = true;
                    _wasTrue[leaf] = _segments.Holds(leaf, ref context);
                    _touchedLeaves.Add(leaf);
                }
            }

            Mark(_ofFunction[function.Index]);
        }

        Add(profile, state, index, added);
    }

    /// <summary>Adds the loser's function states to the survivor's, as if one person had all events (RULES.md §3.8). The order of several merges does not matter.</summary>
    /// <remarks>States of functions that the model does not have are left behind. Memberships follow with the next <see cref="EvaluateChanged"/>.</remarks>
    public void Merge(ProfileState survivor, ProfileState loser)
    {
        survivor.IsFunctionsLimited |= loser.IsFunctionsLimited;
        Debug.Assert(!ReferenceEquals(survivor, loser), "A profile merged with itself would count twice.");

        foreach (ref readonly FunctionEntry entry in loser.Functions)
        {
            if (_functions.TryGetValue(entry.Key, out CompiledFunction? function))
            {
                TouchAndAdd(survivor, function, loser.Bytes(entry.State));
            }
        }

        CrmChanged(); // Who had too many records may have taken some away from the other, whatever is left.
    }

    /// <summary>Adds a state that a backfill counted; where the model has no such function any more nothing.</summary>
    /// <param name="profile">Its states change.</param>
    /// <param name="key">Key of the function.</param>
    /// <param name="state">Of events that it does not have.</param>
    public void Add(ProfileState profile, uint key, ReadOnlySpan<byte> state)
    {
        if (_functions.TryGetValue(key, out CompiledFunction? function))
        {
            Add(profile, function, profile.IndexOfFunction(key), state);
        }
    }

    /// <summary>Key of a state of the model; null: it has none.</summary>
    /// <param name="shared">By <see cref="CompiledFunction.Shared"/>.</param>
    /// <param name="epoch">Id of the backfill that it comes from.</param>
    public uint? StateKey(string shared, long epoch) => _functions.Values.FirstOrDefault(function => function.Epoch == epoch && CompiledFunction.Shared(function.Definition).ToString() == shared)?.Key;

    /// <summary>Evaluates all segments, changes the memberships and appends what changed.</summary>
    /// <param name="profile">Its memberships change.</param>
    /// <param name="nowMs">The instant, not before an event of the profile.</param>
    /// <param name="changes">Appended to, in the model's order.</param>
    public void Evaluate(ProfileState profile, long nowMs, ref SegmentChanges changes)
    {
        EvaluationContext context = Context(profile, nowMs);
        for (int i = 0; i < _segmentKeys.Length; i++)
        {
            uint key = _segmentKeys[i];
            bool isMember = _segments.Test(i, ref context);
            if (isMember ? profile.Enter(key, nowMs) : profile.Exit(key))
            {
                changes.Add(new SegmentChange(i, key, isMember));
            }
        }
    }

    /// <summary>Evaluates the segments that what changed since <see cref="Begin"/> can change, in the model's order, and those that use them.</summary>
    /// <param name="profile">Evaluated before; its memberships change.</param>
    /// <param name="isNew">It was never evaluated.</param>
    /// <param name="nowMs">The instant. No deadline of the profile as it was lies between its last evaluation and this.</param>
    /// <param name="changes">Appended to, in the model's order.</param>
    /// <returns>The first later instant at which time can change what was looked at; <see cref="long.MaxValue"/>: none. What did not change has the deadline that it had.</returns>
    public long EvaluateChanged(ProfileState profile, bool isNew, long nowMs, ref SegmentChanges changes)
    {
        MarkTraitsAndIdentifiers(profile);
        if (isNew)
        {
            Mark(_ofNothing);
        }

        EvaluationContext context = Context(profile, nowMs);
        foreach (int leaf in _touchedLeaves)
        {
            if (_wasTrue[leaf] != _stays[leaf] && _segments.Holds(leaf, ref context) != _wasTrue[leaf])
            {
                Mark(_ofLeaf[leaf]);
            }
        }

        long deadline = EvaluateMarked(profile, nowMs, ref context, ref changes);
        foreach (int state in _changedStates)
        {
            if (_timedOfState[state] is { } timed)
            {
                int index = profile.IndexOfFunction(timed.Key);
                if (index >= 0)
                {
                    ref FunctionEntry entry = ref profile.Functions[index];
                    entry.Deadline = timed.FirstDeadline(profile.Bytes(entry.State), ref context);
                    deadline = Math.Min(deadline, entry.Deadline);
                }
            }
        }

        return deadline;
    }

    /// <summary>Evaluates the segments that <see cref="NextDeadline"/>, called just before, found to be due.</summary>
    /// <param name="profile">The same.</param>
    /// <param name="nowMs">What it returned.</param>
    /// <param name="changes">Appended to, in the model's order.</param>
    public void EvaluateDue(ProfileState profile, long nowMs, ref SegmentChanges changes)
    {
        Array.Clear(_marked);
        foreach (int function in _dueFunctions)
        {
            Mark(_ofFunction[function]);
            foreach (int leaf in _leavesOfFunction[function])
            {
                Mark(_ofLeaf[leaf]);
            }
        }

        foreach (int date in _dueDates)
        {
            Mark(_ofDate[date]);
        }

        EvaluationContext context = Context(profile, nowMs);
        EvaluateMarked(profile, nowMs, ref context, ref changes);
    }

    /// <returns>When the comparisons with now of these segments change next.</returns>
    private long EvaluateMarked(ProfileState profile, long nowMs, scoped ref EvaluationContext context, ref SegmentChanges changes)
    {
        long deadline = long.MaxValue;
        for (int word = 0; word < _marked.Length; word++)
        {
            while (_marked[word] != 0)
            {
                int i = (word * 64) + BitOperations.TrailingZeroCount(_marked[word]);
                _marked[word] &= _marked[word] - 1;
                bool isMember = _segments.Test(i, ref context);
                if (isMember ? profile.Enter(_segmentKeys[i], nowMs) : profile.Exit(_segmentKeys[i]))
                {
                    changes.Add(new SegmentChange(i, _segmentKeys[i], isMember));
                    Mark(_ofSegment[i]); // They come later.
                }

                foreach (int date in _datesOfSegment[i])
                {
                    deadline = Math.Min(deadline, _dateNodes[date].NextChange(ref context));
                }
            }
        }

        return deadline;
    }

    private void MarkTraitsAndIdentifiers(ProfileState profile)
    {
        Span<TraitEntry> traits = profile.Traits;
        for (int i = 0; i < traits.Length; i++)
        {
            if ((i >= _traitCountBefore || traits[i].Value != _traitsBefore[i]) && _ofTrait.TryGetValue(profile.Bytes(traits[i].Name), out int[]? segments))
            {
                Mark(segments);
            }
        }

        if (profile.Identifiers.Length != _identifierCountBefore)
        {
            Mark(_ofIdentifiers);
        }
    }

    private void Mark(ReadOnlySpan<int> segments)
    {
        foreach (int segment in segments)
        {
            _marked[segment >> 6] |= 1UL << segment;
        }
    }

    /// <summary>The smallest instant later than <paramref name="afterMs"/> at which time alone can change a segment; <see cref="long.MaxValue"/>: none.</summary>
    /// <remarks>It may come too early (nothing changes then), never too late. Valid until the profile changes. What it finds of a state is kept with the profile until the state changes or time comes to it: ask in the order of time.</remarks>
    public long NextDeadline(ProfileState profile, long afterMs)
    {
        EvaluationContext context = Context(profile, afterMs);
        long deadline = long.MaxValue;
        _dueFunctions.Clear();
        _dueDates.Clear();
        profile.KeepDeadlinesOf(this);
        foreach (ref FunctionEntry entry in profile.Functions)
        {
            if (entry.Deadline <= afterMs)
            {
                entry.Deadline = _timedStates.TryGetValue(entry.Key, out TimedState? timed) ? timed.FirstDeadline(profile.Bytes(entry.State), ref context) : long.MaxValue;
            }

            deadline = Math.Min(deadline, entry.Deadline); // Nothing changed since it was found, and time has not come to it: it is the same.
        }

        long ofStates = deadline;
        for (int i = 0; i < _dateNodes.Length; i++)
        {
            long at = _dateNodes[i].NextChange(ref context);
            if (at < deadline)
            {
                deadline = at;
                _dueDates.Clear();
            }

            if (at == deadline && at != long.MaxValue)
            {
                _dueDates.Add(i);
            }
        }

        if (ofStates == deadline && deadline != long.MaxValue)
        {
            FindDueFunctions(profile, deadline, ref context);
        }

        Debug.Assert(deadline > afterMs, "A timer in the past fires for ever.");
        return deadline;
    }

    private void FindDueFunctions(ProfileState profile, long deadline, scoped ref EvaluationContext context)
    {
        foreach (ref readonly FunctionEntry entry in profile.Functions)
        {
            if (entry.Deadline == deadline)
            {
                foreach (FunctionNode function in _timedStates[entry.Key].Functions)
                {
                    if (function.Deadline(ref context) == deadline)
                    {
                        _dueFunctions.Add(function.Index);
                    }
                }
            }
        }
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

    /// <summary>Writes the value of one computed trait.</summary>
    public void WriteComputed(Utf8JsonWriter writer, ProfileState profile, long nowMs, int index)
    {
        EvaluationContext context = Context(profile, nowMs);
        _computed[index].WriteTo(writer, ref context);
    }

    /// <summary>Which computed traits are true, from one on.</summary>
    public void TestComputed(ProfileState profile, long nowMs, int first, Span<bool> holds)
    {
        EvaluationContext context = Context(profile, nowMs);
        for (int i = 0; i < holds.Length; i++)
        {
            holds[i] = _computed[first + i].Test(ref context);
        }
    }

    /// <summary>Writes an object with the notes: of a computed trait that is a function which kept not everything why its value may not be exact, <c>"crm": "limited"</c> where something of the CRM's was not kept, <c>"traits": "limited"</c> where there was no room for a trait.</summary>
    public void WriteNotes(Utf8JsonWriter writer, ProfileState profile, long nowMs)
    {
        EvaluationContext context = Context(profile, nowMs);
        writer.WriteStartObject();
        for (int i = 0; i < _computed.Length; i++)
        {
            if (_computed[i] is FunctionNode function && function.IsApproximate(ref context))
            {
                writer.WritePropertyName(_computedNames[i]);
                writer.WriteStringValue(function.Definition.Kind == EventFunction.UniqueCount ? "saturated"u8 : "approximate"u8);
            }
        }

        if (profile.IsCrmLimited)
        {
            writer.WriteString("crm"u8, "limited"u8);
        }

        if (profile.IsFunctionsLimited)
        {
            writer.WriteString("functions"u8, "limited"u8);
        }

        if (profile.IsTraitsLimited)
        {
            writer.WriteString("traits"u8, "limited"u8);
        }

        writer.WriteEndObject();
    }

    /// <summary>Writes the memberships, in the model's order: <c>[{"id":"big_spenders","since":"2026-01-31T12:00:00.000Z"}]</c>.</summary>
    public void WriteSegments(Utf8JsonWriter writer, ProfileState profile)
    {
        Span<byte> text = stackalloc byte[Instants.TextBytes];
        writer.WriteStartArray();
        for (int i = 0; i < _segmentKeys.Length; i++)
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

    private EvaluationContext Context(ProfileState profile, long nowMs) => new() { Profile = profile, NowMs = nowMs, Stamp = ++_stamp };

    private static int BytesOfFunctions(ProfileState profile)
    {
        int bytes = 0;
        foreach (ref readonly FunctionEntry entry in profile.Functions)
        {
            bytes += entry.State.Length;
        }

        return bytes;
    }

    private void Add(ProfileState profile, CompiledFunction function, int index, ReadOnlySpan<byte> state)
    {
        ReadOnlySpan<byte> old = profile.FunctionAt(index);
        int most = old.Length + state.Length + CompiledFunction.MaxCombineBytes;
        if (_combined.Length < most)
        {
            _combined = new byte[most * 2];
        }

        var writer = new StateWriter(_combined);
        function.Combine(old, state, ref writer);
        if (writer.Position > old.Length && profile.ArenaUsed > MaxFunctionBytes && BytesOfFunctions(profile) + writer.Position - old.Length > MaxFunctionBytes)
        {
            _skipped.TooLong++;
            profile.IsFunctionsLimited = true;
            return; // Its record would not fit its store: that would stop the shard.
        }

        _combined.AsSpan(0, writer.Position).CopyTo(profile.FunctionForWrite(index, function.Key, writer.Position));
    }

    /// <summary>The functions with windows of one state of which segments make use, shortest window first.</summary>
    private sealed class TimedState(FunctionNode[] functions)
    {
        private readonly FunctionWindow[] _windows = [.. functions.Select(function => function.Window)];

        public FunctionNode[] Functions => functions;

        public uint Key => functions[0].Function.Key;

        public long FirstDeadline(ReadOnlySpan<byte> state, scoped ref EvaluationContext context)
        {
            if (!functions[0].Function.KeepsSet)
            {
                return functions[0].Function.FirstDeadline(state, context.NowMs, _windows);
            }

            long deadline = long.MaxValue;
            foreach (FunctionNode function in functions)
            {
                deadline = Math.Min(deadline, function.Deadline(ref context)); // Most are found out already, with a leaf.
            }

            return deadline;
        }
    }
}
