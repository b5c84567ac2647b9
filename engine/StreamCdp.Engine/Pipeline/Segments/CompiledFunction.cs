using System.Diagnostics;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Collect;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>What a <see cref="FunctionValue"/> is.</summary>
internal enum FunctionValueKind : byte
{
    /// <summary>No event counts: null.</summary>
    Null,

    /// <summary>1 is true.</summary>
    Boolean,

    /// <summary>A double.</summary>
    Number,

    /// <summary>A number in <see cref="ExactNumber"/> units.</summary>
    Exact,

    /// <summary>JSON text inside the state.</summary>
    Json,

    /// <summary>Unescaped text inside the state.</summary>
    Text,
}

/// <summary>Value of a function at an instant.</summary>
internal struct FunctionValue
{
    public FunctionValueKind Kind;
    public double Number;
    public Int128 Units;
    public int Offset;
    public int Length;

    /// <summary>The first later instant at which an event that counts now counts no more; <see cref="long.MaxValue"/>: none.</summary>
    public long Deadline;

    /// <summary>Something was left out that may matter (RULES.md §6.1).</summary>
    public bool IsApproximate;
}

/// <summary>Values that functions skipped (RULES.md §6.1).</summary>
internal sealed class SkippedValues
{
    public long NotNumber;
    public long OutOfRange;
    public long TooLong;
}

/// <summary>A window of a function.</summary>
/// <param name="Ms">0: none.</param>
/// <param name="Buckets">How many buckets it has.</param>
internal readonly record struct FunctionWindow(long Ms, long Buckets);

/// <summary>One event function of a model: how its state grows by an event, joins another and becomes a value.</summary>
/// <remarks>
/// A state is a function of the set of its events, not of the order in which they came: an event is a state of its own (<see cref="TryMakeState"/>), and
/// <see cref="Combine"/> is commutative and associative. So late events and merges of profiles (RULES.md §3.8) need no care of their own. No state: no event.
/// <para>Payload by function: count a varint; sum units (<see cref="ExactNumber"/>); avg count and units; min and max a double; first and last order and JSON text.</para>
/// <para>happened keeps the latest time alone, exact to the millisecond (RULES.md §6.2): some event is in the window while the latest is, because now is never before an event.
/// last with a window keeps one value, too: the event highest in order has the latest time, so it lies in the newest bucket and leaves the window after all others.</para>
/// <para>The others with a window keep their payload for each bucket that has events, newest first: the number of the bucket (zigzag), then for each next one the
/// distance to it. Buckets that are out of the window when the newest begins can never count again (now only grows) and are cut now and then.
/// Of min and max a bucket is cut, too, when a newer one is as good: it leaves the window earlier and never decides.</para>
/// <para>Functions that differ in their windows alone share one state where its buckets are the same: that of the longest window has all that the others need (<see cref="Shared"/>).</para>
/// <para>unique_count, most_frequent and sequence: <see cref="UniqueValues"/>, <see cref="FrequentValues"/>, <see cref="SequenceEvents"/>.</para>
/// </remarks>
internal sealed class CompiledFunction
{
    /// <summary>Longest value that first and last keep, bytes of JSON: any that an event can have; only the context of a batch can have a longer one.</summary>
    public const int MaxValueBytes = EventReader.MaxBytes;

    /// <summary>The same of first with a window: there it keeps a value for each bucket, up to hundreds, and a record must fit a page of the store.</summary>
    public const int MaxBucketValueBytes = 1024;

    /// <summary>A state of one event is not longer.</summary>
    public const int MaxSingleBytes = MaxValueBytes + 64;

    /// <summary>Combining two states does not add more than this: a few bytes, of each value of <see cref="FrequentValues"/>.</summary>
    public const int MaxCombineBytes = 32 * (FrequentValues.MaxValues + 1);

    /// <summary>No window is longer: keeps sums of times within 64 bits (140,000 years).</summary>
    private const long MaxWindowMs = 1L << 52;

    /// <summary>Buckets out of the window are cut when the newest one passes a multiple of this: the state is walked to its end less often.</summary>
    private const int BucketsBetweenCuts = 16;

    /// <summary>Bucket and count of one event.</summary>
    private const int MaxCountBytes = 16;

    /// <summary>A state is dropped only this long after it left its window: shards' clocks differ a little, and a merge moves a state from one to another.</summary>
    private const long PruneSlackMs = 24 * 3_600_000;

    private readonly EventFunction _kind;
    private readonly int _valueSlot;
    private readonly bool _valueInContext;
    private readonly Node? _where;
    private readonly long _windowMs;
    private readonly long _widthMs;
    private readonly long _bucketsInWindow;
    private readonly bool _isBucketed;
    private readonly EventNamePattern[] _steps = [];
    private readonly SequenceEvents? _sequence;
    private readonly CompiledFunction? _counter;
    private readonly FrequentValues? _frequent;
    private byte[] _buffer = [];

    /// <param name="key">Key of the state in a profile.</param>
    /// <param name="definition">From the model.</param>
    /// <param name="valueSlot">Slot of the value's path, −1: it has none.</param>
    /// <param name="where">Over the event alone; null: none, or <paramref name="selector"/> says all of it.</param>
    /// <param name="index">Place among the functions of the model.</param>
    /// <param name="epoch">Id of the backfill that its state comes from; 0: none.</param>
    /// <param name="selector">What an event must have to count; null: nothing that can be looked up.</param>
    public CompiledFunction(uint key, FunctionExpression definition, int valueSlot, Node? where, int index = 0, long epoch = 0, ValueSelector? selector = null)
    {
        Key = key;
        Index = index;
        Epoch = epoch;
        Selector = selector;
        Definition = definition;
        _kind = definition.Kind;
        _valueSlot = valueSlot;
        _valueInContext = definition.ValuePath?.Root == PathRoot.Context;
        _where = where;
        _windowMs = Math.Min(definition.WindowMs, MaxWindowMs);
        _widthMs = BucketWidthMs(_windowMs);
        _bucketsInWindow = (_windowMs + _widthMs - 1) / _widthMs;
        _isBucketed = _windowMs > 0 && _kind is not (EventFunction.Happened or EventFunction.Last or EventFunction.UniqueCount or EventFunction.MostFrequent or EventFunction.Sequence);
        if (_kind == EventFunction.Sequence)
        {
            _steps = [.. definition.Events.Select(name => new EventNamePattern(name))];
            _sequence = new SequenceEvents(_steps.Length, _windowMs);
        }
        else if (_kind == EventFunction.MostFrequent)
        {
            _counter = new CompiledFunction(key, definition with { Kind = EventFunction.Count, ValuePath = null, Where = null }, -1, null);
            _frequent = new FrequentValues(_counter);
        }
    }

    /// <summary>Key of the state in a profile.</summary>
    public uint Key { get; }

    /// <summary>From the model.</summary>
    public FunctionExpression Definition { get; }

    /// <summary>Place among the functions of the model.</summary>
    public int Index { get; }

    /// <summary>Id of the backfill that its state comes from: only events that came after the backfill began to count count by themselves. 0: none.</summary>
    public long Epoch { get; }

    /// <summary>What an event must have to count; null: nothing that can be looked up.</summary>
    public ValueSelector? Selector { get; }

    /// <summary>The function whose state another one shares, but for the length of the window. Where a limit may leave something out, a longer window would leave out more: there each has its own.</summary>
    public static FunctionExpression Shared(FunctionExpression function) => function.WindowMs == 0 || function.Kind is EventFunction.MostFrequent or EventFunction.Sequence ? function
        : function with { WindowMs = function.Kind is EventFunction.Happened or EventFunction.Last ? 1000 : BucketWidthMs(function.WindowMs) };

    /// <summary>A window of one of the functions that share a state.</summary>
    public static FunctionWindow Window(long windowMs)
    {
        long ms = Math.Min(windowMs, MaxWindowMs);
        long width = BucketWidthMs(ms); // Of last, which keeps no buckets, each window has its own.
        return new FunctionWindow(ms, (ms + width - 1) / width);
    }

    /// <summary>Width of the buckets of a window (RULES.md §6.3).</summary>
    public static long BucketWidthMs(long windowMs) => windowMs switch
    {
        <= 2 * 60_000L => 1000,
        <= 2 * 3_600_000L => 60_000,
        <= 14 * 86_400_000L => 3_600_000,
        _ => 86_400_000,
    };

    /// <summary>The state of one event; false where the event does not count. It must be one that <see cref="Selector"/> asks for.</summary>
    public bool TryMakeState(scoped ref EvaluationContext context, SkippedValues skipped, ref StateWriter writer)
    {
        JsonSlice value = default;
        if (_valueSlot >= 0)
        {
            value = context.Event.Slots[_valueSlot];
            if (value.IsAbsent)
            {
                return false;
            }
        }

        if (_where is not null && !_where.Test(ref context))
        {
            return false;
        }

        EventOrder order = context.Event.Order;
        switch (_kind)
        {
            case EventFunction.Happened:
                writer.Signed(_windowMs > 0 ? order.TimeMs : 0);
                return true;

            case EventFunction.Count:
                WriteBucket(order, ref writer);
                writer.Unsigned(1);
                return true;

            case EventFunction.Sum or EventFunction.Avg:
                if (!TryNumber(context.Event, value, skipped, out ReadOnlySpan<byte> number))
                {
                    return false;
                }

                if (!ExactNumber.TryParse(number, out Int128 units))
                {
                    skipped.OutOfRange++;
                    return false;
                }

                WriteBucket(order, ref writer);
                if (_kind == EventFunction.Avg)
                {
                    writer.Unsigned(1);
                }

                writer.Wide(units);
                return true;

            case EventFunction.Min or EventFunction.Max:
                if (!TryNumber(context.Event, value, skipped, out number))
                {
                    return false;
                }

                double parsed = Value.ParseDouble(number);
                if (!double.IsFinite(parsed))
                {
                    skipped.OutOfRange++;
                    return false;
                }

                WriteBucket(order, ref writer);
                writer.Double(parsed == 0 ? 0 : parsed); // −0 becomes 0: which of two equal values is kept must not depend on the order.
                return true;

            case EventFunction.First or EventFunction.Last:
                if (_buffer.Length < value.Length + 2)
                {
                    _buffer = new byte[(value.Length + 2) * 2];
                }

                int length = KeepValue(context.Event, value, _buffer.AsSpan(0, Math.Min(_buffer.Length, _isBucketed ? MaxBucketValueBytes : MaxValueBytes)));
                if (length < 0)
                {
                    skipped.TooLong++;
                    return false;
                }

                WriteBucket(order, ref writer);
                writer.Order(order);
                writer.Bytes(_buffer.AsSpan(0, length));
                return true;

            case EventFunction.UniqueCount:
                ReadOnlySpan<byte> key = ValueKey(context.Event, value, out bool isText);
                UInt128 hash = Hash128.Of(key);
                UniqueValues.Write(_windowMs > 0 ? Bucket(order.TimeMs) : 0, _windowMs > 0, isText ? hash : ~hash, ref writer); // The number 1 is another value than the text "1".
                return true;

            case EventFunction.MostFrequent:
                key = ValueKey(context.Event, value, out isText);
                if (key.Length > FrequentValues.MaxValueBytes)
                {
                    skipped.TooLong++;
                    return false;
                }

                Span<byte> count = stackalloc byte[MaxCountBytes];
                var counted = new StateWriter(count);
                _counter!.WriteBucket(order, ref counted);
                counted.Unsigned(1);
                FrequentValues.Write(_windowMs > 0 ? Bucket(order.TimeMs) : 0, isText, key, count[..counted.Position], ref writer);
                return true;

            case EventFunction.Sequence:
                ulong mask = 0;
                for (int i = 0; i < _steps.Length; i++)
                {
                    mask |= _steps[i].IsMatch(context.Event.Type, context.Event.Name) ? 1UL << i : 0;
                }

                _sequence!.Write(order, mask, ref writer);
                return true;

            default:
                throw new UnreachableException($"Function {_kind}.");
        }
    }

    /// <summary>The state of the events of both.</summary>
    /// <param name="left">Cheap where it is the longer one.</param>
    /// <param name="right">Another.</param>
    /// <param name="writer">Room for both and <see cref="MaxCombineBytes"/>.</param>
    public void Combine(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right, ref StateWriter writer)
    {
        if (left.IsEmpty || right.IsEmpty)
        {
            writer.Raw(left);
            writer.Raw(right);
            return;
        }

        switch (_kind)
        {
            case EventFunction.UniqueCount:
                UniqueValues.Combine(left, right, _windowMs > 0, _bucketsInWindow, ref writer);
                return;
            case EventFunction.MostFrequent:
                _frequent!.Combine(left, right, ref writer);
                return;
            case EventFunction.Sequence:
                _sequence!.Combine(left, right, ref writer);
                return;
        }

        var leftReader = new StateReader(left);
        var rightReader = new StateReader(right);
        if (!_isBucketed)
        {
            CombinePayload(ref leftReader, ref rightReader, left, right, ref writer);
            return;
        }

        long leftBucket = leftReader.Signed();
        long rightBucket = rightReader.Signed();
        long leftNewest = leftBucket;
        long newest = Math.Max(leftBucket, rightBucket);
        long previous = long.MinValue;
        bool hasLeft = true;
        bool hasRight = true;
        double best = 0;
        while (hasLeft || hasRight)
        {
            bool takeLeft = hasLeft && (!hasRight || leftBucket >= rightBucket);
            bool takeRight = hasRight && (!hasLeft || rightBucket >= leftBucket);
            long bucket = takeLeft ? leftBucket : rightBucket;
            if (newest - bucket >= _bucketsInWindow)
            {
                return;
            }

            if (_kind is EventFunction.Min or EventFunction.Max)
            {
                double value = takeLeft && takeRight ? Better(leftReader.Double(), rightReader.Double()) : takeLeft ? leftReader.Double() : rightReader.Double();
                if (previous == long.MinValue || (value != best && Better(value, best) == value))
                {
                    best = value;
                    WriteDistance(bucket, ref previous, ref writer);
                    writer.Double(value);
                }

                Advance(ref leftReader, takeLeft, ref hasLeft, ref leftBucket);
                Advance(ref rightReader, takeRight, ref hasRight, ref rightBucket);
                continue;
            }

            WriteDistance(bucket, ref previous, ref writer);
            if (takeLeft && takeRight)
            {
                CombinePayload(ref leftReader, ref rightReader, left, right, ref writer);
            }
            else if (takeLeft)
            {
                if (!hasRight && newest / BucketsBetweenCuts == leftNewest / BucketsBetweenCuts)
                {
                    writer.Raw(leftReader.Rest); // The distances between its buckets stay.
                    return;
                }

                CopyPayload(ref leftReader, left, ref writer);
            }
            else
            {
                CopyPayload(ref rightReader, right, ref writer);
            }

            Advance(ref leftReader, takeLeft, ref hasLeft, ref leftBucket);
            Advance(ref rightReader, takeRight, ref hasRight, ref rightBucket);
        }
    }

    /// <summary>The value at an instant.</summary>
    /// <param name="state">Of a profile; empty: none.</param>
    /// <param name="nowMs">The instant.</param>
    /// <param name="window">Of the function that asks.</param>
    /// <param name="value">What it is.</param>
    public void Evaluate(ReadOnlySpan<byte> state, long nowMs, FunctionWindow window, out FunctionValue value)
    {
        if (KeepsSet)
        {
            EvaluateSet(state, nowMs, window, out value);
            return;
        }

        var total = new Total();
        long deadline = long.MaxValue;
        if (!state.IsEmpty)
        {
            var reader = new StateReader(state);
            if (_isBucketed)
            {
                long nowBucket = Bucket(nowMs);
                long bucket = reader.Signed();
                while (nowBucket - bucket < window.Buckets)
                {
                    deadline = (bucket + window.Buckets) * _widthMs;
                    AddPayload(ref reader, ref total);
                    if (reader.IsAtEnd)
                    {
                        break;
                    }

                    bucket -= (long)reader.Unsigned();
                }
            }
            else if (_windowMs == 0)
            {
                AddPayload(ref reader, ref total);
            }
            else if (EndOfLatest(new StateReader(state).Signed(), window) is var end && nowMs < end)
            {
                deadline = end;
                AddPayload(ref reader, ref total);
            }
        }

        value = default;
        value.Deadline = deadline;
        value.Kind = _kind switch
        {
            EventFunction.Happened => FunctionValueKind.Boolean,
            EventFunction.Count => FunctionValueKind.Number,
            EventFunction.Sum => FunctionValueKind.Exact,
            _ when total.Count == 0 => FunctionValueKind.Null,
            EventFunction.First or EventFunction.Last => FunctionValueKind.Json,
            _ => FunctionValueKind.Number,
        };
        value.Number = _kind switch
        {
            EventFunction.Happened => total.Count > 0 ? 1 : 0,
            EventFunction.Count => total.Count,
            EventFunction.Avg when total.Count > 0 => ExactNumber.Average(total.Units, total.Count),
            _ => total.Number,
        };
        value.Units = total.Units;
        value.Offset = total.Offset;
        value.Length = total.Length;
    }

    /// <summary>Its state is a set of values or events, not payloads of buckets.</summary>
    public bool KeepsSet => _kind is EventFunction.UniqueCount or EventFunction.MostFrequent or EventFunction.Sequence;

    /// <summary>The least deadline (<see cref="FunctionValue.Deadline"/>) of some windows, in one walk. Not of what <see cref="KeepsSet"/>.</summary>
    /// <param name="state">Of a profile; empty: none.</param>
    /// <param name="nowMs">The instant.</param>
    /// <param name="windows">Of functions that share the state, shortest first.</param>
    public long FirstDeadline(ReadOnlySpan<byte> state, long nowMs, ReadOnlySpan<FunctionWindow> windows)
    {
        if (state.IsEmpty)
        {
            return long.MaxValue;
        }

        long deadline = long.MaxValue;
        if (_isBucketed)
        {
            var reader = new StateReader(state);
            long nowBucket = Bucket(nowMs);
            long bucket = reader.Signed();
            long newer = long.MaxValue; // The one before, which is in the windows that are left.
            while (true)
            {
                while (!windows.IsEmpty && nowBucket - bucket >= windows[0].Buckets)
                {
                    deadline = newer == long.MaxValue ? deadline : Math.Min(deadline, (newer + windows[0].Buckets) * _widthMs);
                    windows = windows[1..];
                }

                newer = bucket;
                SkipPayload(ref reader);
                if (windows.IsEmpty || reader.IsAtEnd)
                {
                    break;
                }

                bucket -= (long)reader.Unsigned();
            }

            return windows.IsEmpty ? deadline : Math.Min(deadline, (newer + windows[0].Buckets) * _widthMs);
        }

        foreach (FunctionWindow window in windows)
        {
            long end = EndOfLatest(new StateReader(state).Signed(), window);
            end = nowMs < end ? end : long.MaxValue;
            deadline = Math.Min(deadline, end);
        }

        return deadline;
    }

    /// <summary>Of <c>happened</c> and <c>sequence</c>: whether another state may make it true; it never makes it false. Others: true, its value may change.</summary>
    /// <param name="state">Of a profile; empty: none.</param>
    /// <param name="added">Another, not empty.</param>
    /// <param name="nowMs">The instant.</param>
    /// <param name="window">Of the function that asks.</param>
    public bool MayChange(ReadOnlySpan<byte> state, ReadOnlySpan<byte> added, long nowMs, FunctionWindow window)
    {
        if (_kind == EventFunction.Sequence)
        {
            return state.IsEmpty || _sequence!.MayChange(state, added);
        }

        if (_kind != EventFunction.Happened)
        {
            return true;
        }

        return _windowMs == 0 ? state.IsEmpty : IsIn(added, nowMs, window) && !IsIn(state, nowMs, window);
    }

    /// <summary>Of <c>happened</c>: another state says nothing that this one does not say. Others: false.</summary>
    public bool Has(ReadOnlySpan<byte> state, ReadOnlySpan<byte> added) =>
        _kind == EventFunction.Happened && !state.IsEmpty && new StateReader(added).Signed() <= new StateReader(state).Signed();

    /// <summary>Of a count that is a part of <see cref="FrequentValues"/>: whether it counts in a window whose newest bucket is another's, and how many it has.</summary>
    public bool IsInWindowAt(ReadOnlySpan<byte> state, long newestBucket, out long count)
    {
        var reader = new StateReader(state);
        bool isInWindow = !_isBucketed || newestBucket - reader.Signed() < _bucketsInWindow;
        count = (long)reader.Unsigned();
        while (!reader.IsAtEnd)
        {
            reader.SkipVarint();
            count += (long)reader.Unsigned();
        }

        return isInWindow;
    }

    /// <summary>The state has left its window for good.</summary>
    public bool IsDead(ReadOnlySpan<byte> state, long nowMs)
    {
        if (_windowMs == 0 || state.IsEmpty)
        {
            return false;
        }

        long newest = new StateReader(state).Signed();
        long end = _isBucketed || _kind is EventFunction.UniqueCount or EventFunction.MostFrequent ? (newest + _bucketsInWindow) * _widthMs : EndOfLatest(newest, Window(_windowMs));
        return end <= nowMs - PruneSlackMs;
    }

    private long Bucket(long timeMs) => Floor(timeMs, _widthMs);

    private static long Floor(long timeMs, long width)
    {
        long bucket = timeMs / width;
        return timeMs < 0 && bucket * width != timeMs ? bucket - 1 : bucket;
    }

    /// <summary>Of the functions that keep a set: a function of their own file says what counts.</summary>
    private void EvaluateSet(ReadOnlySpan<byte> state, long nowMs, FunctionWindow window, out FunctionValue value)
    {
        value = new FunctionValue
        {
            Deadline = long.MaxValue,
            Kind = _kind switch
            {
                EventFunction.UniqueCount => FunctionValueKind.Number,
                EventFunction.Sequence => FunctionValueKind.Boolean,
                _ => FunctionValueKind.Null,
            },
        };
        if (state.IsEmpty)
        {
            return;
        }

        switch (_kind)
        {
            case EventFunction.UniqueCount:
                value.Number = UniqueValues.Count(state, _windowMs > 0, Bucket(nowMs), window.Buckets, out long oldest, out value.IsApproximate);
                value.Deadline = oldest == long.MaxValue ? oldest : (oldest + window.Buckets) * _widthMs;
                break;
            case EventFunction.MostFrequent:
                _frequent!.Find(state, nowMs, window, ref value, out value.IsApproximate);
                break;
            default:
                bool isSeen = _sequence!.TryFind(state, out long beganMs, out value.IsApproximate);
                if (isSeen && (window.Ms == 0 || beganMs > nowMs - window.Ms))
                {
                    value.Number = 1;
                    value.Deadline = window.Ms == 0 ? long.MaxValue : beganMs + window.Ms;
                }

                break;
        }
    }

    /// <summary>What makes a value different from others: a text without its escapes, of other values their JSON without white space.</summary>
    private ReadOnlySpan<byte> ValueKey(in EventView e, JsonSlice value, out bool isText)
    {
        ReadOnlySpan<byte> json = value.In(EventJson.Of(e, _valueInContext));
        isText = value.Kind == JsonTokenType.String;
        if (isText)
        {
            return value.IsEscaped ? JsonText.Unescape(json, ref _buffer) : json;
        }

        if (_buffer.Length < json.Length)
        {
            _buffer = new byte[json.Length * 2];
        }

        return _buffer.AsSpan(0, JsonText.Minify(json, _buffer));
    }

    private bool IsIn(ReadOnlySpan<byte> state, long nowMs, FunctionWindow window) => !state.IsEmpty && nowMs < EndOfLatest(new StateReader(state).Signed(), window);

    private long EndOfLatest(long timeMs, FunctionWindow window)
    {
        if (_kind is EventFunction.Happened or EventFunction.Sequence)
        {
            return timeMs + window.Ms;
        }

        long width = BucketWidthMs(window.Ms);
        return (Floor(timeMs, width) + window.Buckets) * width;
    }

    private void WriteBucket(EventOrder order, ref StateWriter writer)
    {
        if (_isBucketed)
        {
            writer.Signed(Bucket(order.TimeMs));
        }
    }

    private bool TryNumber(in EventView e, JsonSlice value, SkippedValues skipped, out ReadOnlySpan<byte> number)
    {
        number = value.In(EventJson.Of(e, _valueInContext));
        if (value.Kind == JsonTokenType.Number)
        {
            return true;
        }

        if (value.Kind == JsonTokenType.String)
        {
            if (value.IsEscaped)
            {
                number = JsonText.Unescape(number, ref _buffer);
            }

            if (ExactNumber.IsJsonNumber(number))
            {
                return true;
            }
        }

        skipped.NotNumber++;
        return false;
    }

    private int KeepValue(in EventView e, JsonSlice value, Span<byte> target)
    {
        ReadOnlySpan<byte> json = EventJson.Of(e, _valueInContext);
        return JsonText.Minify(value.Kind == JsonTokenType.String ? json.Slice(value.Offset - 1, value.Length + 2) : value.In(json), target);
    }

    private static void WriteDistance(long bucket, ref long previous, ref StateWriter writer)
    {
        if (previous == long.MinValue)
        {
            writer.Signed(bucket);
        }
        else
        {
            writer.Unsigned((ulong)(previous - bucket));
        }

        previous = bucket;
    }

    private static void Advance(ref StateReader reader, bool isTaken, ref bool hasMore, ref long bucket)
    {
        if (isTaken && (hasMore = !reader.IsAtEnd))
        {
            bucket -= (long)reader.Unsigned();
        }
    }

    private double Better(double left, double right) => _kind == EventFunction.Min ? Math.Min(left, right) : Math.Max(left, right);

    private void CombinePayload(ref StateReader leftReader, ref StateReader rightReader, ReadOnlySpan<byte> left, ReadOnlySpan<byte> right, ref StateWriter writer)
    {
        switch (_kind)
        {
            case EventFunction.Happened:
                writer.Signed(Math.Max(leftReader.Signed(), rightReader.Signed()));
                break;
            case EventFunction.Count:
                writer.Unsigned(leftReader.Unsigned() + rightReader.Unsigned());
                break;
            case EventFunction.Avg:
                writer.Unsigned(leftReader.Unsigned() + rightReader.Unsigned());
                goto case EventFunction.Sum;
            case EventFunction.Sum:
                writer.Wide(leftReader.Wide() + rightReader.Wide());
                break;
            case EventFunction.Min or EventFunction.Max:
                writer.Double(Better(leftReader.Double(), rightReader.Double()));
                break;
            default:
                StateReader leftOrder = leftReader;
                StateReader rightOrder = rightReader;
                bool takeLeft = leftOrder.Order() < rightOrder.Order() == (_kind == EventFunction.First);
                int leftStart = leftReader.Position;
                int rightStart = rightReader.Position;
                SkipPayload(ref leftReader);
                SkipPayload(ref rightReader);
                writer.Raw(takeLeft ? left[leftStart..leftReader.Position] : right[rightStart..rightReader.Position]);
                break;
        }
    }

    private void CopyPayload(ref StateReader reader, ReadOnlySpan<byte> state, ref StateWriter writer)
    {
        int start = reader.Position;
        SkipPayload(ref reader);
        writer.Raw(state[start..reader.Position]);
    }

    private void SkipPayload(ref StateReader reader)
    {
        switch (_kind)
        {
            case EventFunction.Min or EventFunction.Max:
                reader.Skip(sizeof(double));
                break;
            case EventFunction.Avg:
                reader.SkipVarint();
                reader.SkipVarint();
                break;
            case EventFunction.First or EventFunction.Last:
                reader.Order();
                reader.Skip((int)reader.Unsigned());
                break;
            default:
                reader.SkipVarint();
                break;
        }
    }

    private void AddPayload(ref StateReader reader, ref Total total)
    {
        switch (_kind)
        {
            case EventFunction.Happened:
                reader.Signed();
                total.Count++;
                break;
            case EventFunction.Count:
                total.Count += (long)reader.Unsigned();
                break;
            case EventFunction.Avg:
                total.Count += (long)reader.Unsigned();
                total.Units += reader.Wide();
                break;
            case EventFunction.Sum:
                total.Units += reader.Wide();
                break;
            case EventFunction.Min or EventFunction.Max:
                double number = reader.Double();
                total.Number = total.Count++ == 0 ? number : Better(total.Number, number);
                break;
            default: // First: buckets come newest first, so the last one read is the oldest. Last has no buckets.
                reader.Order();
                total.Count++;
                total.Length = (int)reader.Unsigned();
                total.Offset = reader.Position;
                reader.Skip(total.Length);
                break;
        }
    }

    private struct Total
    {
        public long Count;
        public Int128 Units;
        public double Number;
        public int Offset;
        public int Length;
    }
}
