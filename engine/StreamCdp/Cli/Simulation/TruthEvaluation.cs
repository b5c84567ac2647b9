using System.Globalization;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli.Simulation;

/// <summary>Values of one person at one instant: RULES.md §5 to §7 over the plain list of events, each function from scratch.</summary>
internal sealed class TruthEvaluation
{
    private const int MaxUnique = 256;
    private readonly CdpModel _model;
    private readonly long _nowMs;
    private readonly List<TruthEvent> _events;
    private readonly Dictionary<string, object?> _traits;
    private readonly ILookup<string, string> _identifiers;

    /// <summary>Sorts the events and takes the traits.</summary>
    public TruthEvaluation(CdpModel model, TruthPerson person, long nowMs)
    {
        _model = model;
        _nowMs = nowMs;
        _events = [.. person.Events.OrderBy(sent => sent.TimeMs).ThenBy(sent => sent.Place)];
        _identifiers = person.Identifiers.ToLookup(identifier => identifier.Type, identifier => identifier.Value);
        _traits = TruthTraits.Of(model, _events);
    }

    /// <summary>Sent traits; null: absent.</summary>
    public IReadOnlyDictionary<string, object?> Traits => _traits;

    /// <summary>A computed trait, or null.</summary>
    public object? Computed(string name) => Value(_model.Computed.First(computed => computed.Name == name).Value);

    /// <summary>Membership now.</summary>
    public bool IsMember(string segmentId) => IsTrue(_model.Segments.First(segment => segment.Id == segmentId).When);

    private bool IsTrue(Expression expression, TruthEvent? scope = null) => Value(expression, scope) is true;

    private object? Value(Expression expression, TruthEvent? scope = null) => expression switch
    {
        LiteralExpression literal => literal.Value,
        ListExpression list => list.Items.Select(item => item.Value).ToList(),
        NowExpression => Iso(_nowMs),
        PathExpression path => Path(path, scope),
        LogicExpression logic => logic.IsAnd ? logic.Operands.All(operand => IsTrue(operand, scope)) : logic.Operands.Any(operand => IsTrue(operand, scope)),
        NotExpression not => !IsTrue(not.Operand, scope),
        ExistsExpression exists => Value(exists.Operand, scope) is not null,
        CompareExpression compare => Compare(compare, scope),
        DateWithinExpression within => IsWithin(within, scope),
        InSegmentExpression segment => IsMember(segment.SegmentId),
        FunctionExpression function => Function(function),
        CollectionExpression collection => collection.Function == "exists" ? false : 0.0, // The shop has no CRM.
        _ => throw new NotSupportedException($"The truth does not know {expression.GetType().Name}."),
    };

    private static string Iso(long ms) => DateTimeOffset.FromUnixTimeMilliseconds(ms).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    private object? Path(PathExpression path, TruthEvent? scope)
    {
        switch (path.Root)
        {
            case PathRoot.EventType:
                return scope?.Type;
            case PathRoot.EventName:
                return scope is null || scope.Type is "identify" or "group" or "alias" ? null : TruthValue.Of(TruthValue.At(scope.Json, [scope.Type == "track" ? "event" : "name"]));
            case PathRoot.Properties:
            case PathRoot.Context:
                return scope is null ? null : TruthValue.Of(At(scope, path));
            case PathRoot.Computed:
                return Computed(path.Path[0]);
            case PathRoot.Identifiers:
                List<object?> values = [.. _identifiers[path.Path[0]]];
                return values.Count == 0 ? null : values;
            case PathRoot.Traits:
            default:
                object? value = _traits.GetValueOrDefault(path.Path[0]);
                return path.Path.Count == 1 ? value : value is JsonElement json ? TruthValue.Of(TruthValue.At(json, path.Path.Skip(1))) : null;
        }
    }

    private static JsonElement? At(TruthEvent sent, PathExpression path) =>
        TruthValue.At(sent.Json, [path.Root == PathRoot.Context ? "context" : "properties", .. path.Path]);

    private bool Compare(CompareExpression compare, TruthEvent? scope)
    {
        object? left = Value(compare.Left, scope);
        object? right = Value(compare.Right, scope);
        if (HasInstant(compare.Left) || HasInstant(compare.Right))
        {
            long? a = TruthValue.Instant(left as string);
            long? b = TruthValue.Instant(right as string);
            if (a is not null && b is not null)
            {
                (left, right) = ((double)a.Value, (double)b.Value);
            }
        }

        int? order = TruthValue.Order(left, right);
        return compare.Operator switch
        {
            CompareOperator.Equal => TruthValue.AreEqual(left, right),
            CompareOperator.NotEqual => !TruthValue.AreEqual(left, right),
            CompareOperator.Less => order < 0,
            CompareOperator.LessOrEqual => order <= 0,
            CompareOperator.Greater => order > 0,
            CompareOperator.GreaterOrEqual => order >= 0,
            CompareOperator.In => right is List<object?> list && list.Any(item => TruthValue.AreEqual(left, item)),
            CompareOperator.Contains => left is List<object?> elements ? elements.Any(item => TruthValue.AreEqual(item, right)) : left is string text && right is string part && text.Contains(part, StringComparison.Ordinal),
            CompareOperator.StartsWith => left is string start && right is string prefix && start.StartsWith(prefix, StringComparison.Ordinal),
            CompareOperator.EndsWith => left is string end && right is string suffix && end.EndsWith(suffix, StringComparison.Ordinal),
            _ => throw new NotSupportedException($"The truth does not know {compare.Operator}."),
        };
    }

    /// <summary><c>now</c>, or a date literal that has a time (§6.6).</summary>
    private static bool HasInstant(Expression expression) =>
        expression is NowExpression || (expression is LiteralExpression { Value: string text } && text.Contains('T', StringComparison.Ordinal) && TruthValue.Instant(text) is not null);

    private bool IsWithin(DateWithinExpression within, TruthEvent? scope) =>
        TruthValue.Instant(Value(within.Operand, scope) as string) is { } date
        && (within.IsNext ? _nowMs <= date && date < _nowMs + within.WindowMs : _nowMs - within.WindowMs < date && date <= _nowMs);

    private object? Function(FunctionExpression function)
    {
        if (function.Kind == EventFunction.Sequence)
        {
            return HasSequence(function);
        }

        List<TruthEvent> events = [.. Matching(function, function.Events[0])];
        if (function.ValuePath is { } path)
        {
            events.RemoveAll(sent => TruthValue.Of(At(sent, path)) is null);
        }

        List<decimal> exact = function.ValuePath is null ? [] : [.. events.Select(sent => TruthValue.Exact(At(sent, function.ValuePath))).OfType<decimal>()];
        List<double> numbers = function.ValuePath is null ? [] : [.. events.Select(sent => TruthValue.Number(At(sent, function.ValuePath))).OfType<double>()];
        return function.Kind switch
        {
            EventFunction.Happened => events.Count > 0,
            EventFunction.Count => (double)events.Count,
            EventFunction.Sum => (double)exact.Sum(),
            EventFunction.Min => numbers.Count == 0 ? null : numbers.Min(),
            EventFunction.Max => numbers.Count == 0 ? null : numbers.Max(),
            EventFunction.Avg => exact.Count == 0 ? null : (double)(exact.Sum() / exact.Count),
            EventFunction.First => events.Count == 0 ? null : TruthValue.Of(At(events[0], function.ValuePath!)),
            EventFunction.Last => events.Count == 0 ? null : TruthValue.Of(At(events[^1], function.ValuePath!)),
            EventFunction.UniqueCount => (double)Math.Min(MaxUnique, events.Select(sent => At(sent, function.ValuePath!)!.Value).Select(value => (value.ValueKind, Key(value))).Distinct().Count()),
            EventFunction.MostFrequent => MostFrequent(events, function.ValuePath!),
            _ => throw new NotSupportedException($"The truth does not know {function.Kind}."),
        };
    }

    /// <summary>Text that is equal for equal values, and sorts as §6.1 says.</summary>
    private static string Key(JsonElement json) => json.ValueKind == JsonValueKind.String ? json.GetString()! : json.GetRawText();

    private static object? MostFrequent(List<TruthEvent> events, PathExpression path)
    {
        JsonElement? best = null;
        int most = 0;
        foreach (IGrouping<(JsonValueKind, string), JsonElement> group in events.Select(sent => At(sent, path)!.Value).GroupBy(value => (value.ValueKind, Key(value))))
        {
            int count = group.Count();
            if (count > most || (count == most && TruthValue.CompareText(Key(group.First()), Key(best!.Value)) < 0))
            {
                (best, most) = (group.First(), count);
            }
        }

        return TruthValue.Of(best);
    }

    private IEnumerable<TruthEvent> Matching(FunctionExpression function, string name) =>
        _events.Where(sent => HasName(sent, name) && IsInWindow(function, sent) && (function.Where is null || IsTrue(function.Where, sent)));

    private static bool HasName(TruthEvent sent, string name) =>
        name == "*" || (name.EndsWith(":*", StringComparison.Ordinal) ? sent.Type == name[..^2] : sent.Name == name);

    /// <summary>§6.2: exact for happened and sequence; §6.3: buckets for the rest.</summary>
    private bool IsInWindow(FunctionExpression function, TruthEvent sent)
    {
        long window = function.WindowMs;
        if (window == 0)
        {
            return true;
        }

        if (function.Kind is EventFunction.Happened or EventFunction.Sequence)
        {
            return _nowMs - window < sent.TimeMs && sent.TimeMs <= _nowMs;
        }

        const long Second = 1_000, Minute = 60 * Second, Hour = 60 * Minute, Day = 24 * Hour;
        long width = window <= 2 * Minute ? Second : window <= 2 * Hour ? Minute : window <= 14 * Day ? Hour : Day;
        return (_nowMs / width) - (sent.TimeMs / width) < (window + width - 1) / width;
    }

    private bool HasSequence(FunctionExpression function)
    {
        // Taking the earliest event for each step leaves the most room for the next one.
        int step = 0;
        foreach (TruthEvent sent in _events)
        {
            if (HasName(sent, function.Events[step]) && IsInWindow(function, sent) && (function.Where is null || IsTrue(function.Where, sent)) && ++step == function.Events.Count)
            {
                return true;
            }
        }

        return false;
    }
}
