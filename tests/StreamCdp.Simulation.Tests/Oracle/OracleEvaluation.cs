using System.Text.Json;
using System.Text.RegularExpressions;
using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>RULES.md §6: an expression over a person at an instant, from all the person's events, from scratch.</summary>
internal sealed partial class OracleEvaluation(CdpModel model, OraclePerson person, long now)
{
    private const decimal SumLimit = 1_000_000_000_000_000m;
    private const int UniqueCountLimit = 256;

    /// <summary>Inside the condition of a collection.</summary>
    private OracleCrmRecord? _record;

    public bool IsTrue(Expression expression) => Value(expression, null) is true;

    /// <summary>Of a segment, by its rule.</summary>
    public bool IsMember(string segmentId) => IsTrue(model.Segments.First(segment => segment.Id == segmentId).When);

    /// <summary>A JSON value keeps its text (JsonElement), a sum its decimals; all else is as in <see cref="OracleValue"/>.</summary>
    public object? Raw(Expression expression) => expression switch
    {
        FunctionExpression function => Function(function),
        CollectionExpression collection => Collection(collection),
        PathExpression path => Path(path, null),
        _ => Value(expression, null),
    };

    private object? Value(Expression expression, OracleRecord? e) => expression switch
    {
        LiteralExpression literal => literal.Value,
        ListExpression list => list.Items.Select(item => item.Value).ToList(),
        NowExpression => new OracleInstant(now),
        PathExpression path => OracleValue.Plain(Path(path, e)),
        LogicExpression { IsAnd: true } logic => logic.Operands.All(operand => Value(operand, e) is true),
        LogicExpression logic => logic.Operands.Any(operand => Value(operand, e) is true),
        NotExpression not => Value(not.Operand, e) is not true,
        CompareExpression compare => Compare(compare, Value(compare.Left, e), Value(compare.Right, e)),
        ExistsExpression exists => Value(exists.Operand, e) is not null,
        DateWithinExpression within => IsWithin(within, OracleValue.Instant(Value(within.Operand, e))),
        FunctionExpression function => OracleValue.Plain(Function(function)),
        InSegmentExpression inSegment => IsMember(inSegment.SegmentId),
        CollectionExpression collection => OracleValue.Plain(Collection(collection)),
        _ => throw new NotSupportedException(expression.GetType().Name),
    };

    private object? Path(PathExpression path, OracleRecord? e)
    {
        switch (path.Root)
        {
            case PathRoot.Properties when _record is not null:
                return _record.Field(path.Path);
            case PathRoot.Properties:
                return e!.At(["properties", .. path.Path]);
            case PathRoot.Context:
                return e!.At(["context", .. path.Path]);
            case PathRoot.EventType:
                return e!.Type;
            case PathRoot.EventName:
                return string.IsNullOrEmpty(e!.Name) ? null : e.Name;
            case PathRoot.Identifiers:
                List<object?> values = [.. person.Identifiers.Where(identifier => identifier.Type == path.Path[0]).Select(identifier => identifier.Value)];
                return values.Count == 0 ? null : values;
            case PathRoot.Computed:
                object? computed = Raw(model.Computed.First(definition => definition.Name == path.Path[0]).Value);
                return path.Path.Count == 1 ? computed : computed is JsonElement json ? Below(json, path.Path.Skip(1)) : null;
            default:
                OracleTrait? trait = OracleTraits.Of(model, person, path.Path[0]);
                if (trait is { IsUnion: true })
                {
                    return path.Path.Count == 1 ? trait.Items.Select(item => OracleValue.Plain(item)).ToList() : null;
                }

                return trait is null ? null : Below(trait.Items[0], path.Path.Skip(1));
        }
    }

    private static JsonElement Below(JsonElement value, IEnumerable<string> path) => path.Aggregate(value, OracleRecord.Child);

    private static bool Compare(CompareExpression compare, object? left, object? right)
    {
        if (compare.Operator is not (CompareOperator.In or CompareOperator.Contains or CompareOperator.StartsWith or CompareOperator.EndsWith)
            && (IsInstant(compare.Left) || IsInstant(compare.Right))
            && OracleValue.Instant(left) is { } leftMs && OracleValue.Instant(right) is { } rightMs)
        {
            (left, right) = (new OracleInstant(leftMs), new OracleInstant(rightMs));
        }

        return compare.Operator switch
        {
            CompareOperator.Equal => OracleValue.AreEqual(left, right),
            CompareOperator.NotEqual => !OracleValue.AreEqual(left, right),
            CompareOperator.Less => OracleValue.Order(left, right) < 0,
            CompareOperator.LessOrEqual => OracleValue.Order(left, right) <= 0,
            CompareOperator.Greater => OracleValue.Order(left, right) > 0,
            CompareOperator.GreaterOrEqual => OracleValue.Order(left, right) >= 0,
            CompareOperator.In => right is List<object?> list && list.Any(item => OracleValue.AreEqual(left, item)),
            CompareOperator.Contains when left is List<object?> list => list.Any(item => OracleValue.AreEqual(item, right)),
            CompareOperator.Contains => left is string text && right is string part && text.Contains(part, StringComparison.Ordinal),
            CompareOperator.StartsWith => left is string text && right is string part && text.StartsWith(part, StringComparison.Ordinal),
            CompareOperator.EndsWith => left is string text && right is string part && text.EndsWith(part, StringComparison.Ordinal),
            _ => throw new NotSupportedException(compare.Operator.ToString()),
        };
    }

    /// <summary><c>now</c>, or a literal that has a time.</summary>
    private static bool IsInstant(Expression expression) =>
        expression is NowExpression || (expression is LiteralExpression { Value: string text } && OracleTime.TryParse(text, out _, out bool hasTime) && hasTime);

    private bool IsWithin(DateWithinExpression within, long? date) =>
        date is { } d && (within.IsNext ? now <= d && d < now + within.WindowMs : now - within.WindowMs < d && d <= now);

    /// <summary>RULES.md §8.3.</summary>
    private object Collection(CollectionExpression collection)
    {
        List<OracleCrmRecord> records = [];
        foreach (OracleCrmRecord record in OracleCrm.Of(model, person).Where(record => record.Collection == collection.Collection))
        {
            _record = record;
            if (collection.Where is null || Value(collection.Where, null) is true)
            {
                records.Add(record);
            }
        }

        _record = null;
        return collection.Function switch
        {
            "exists" => records.Count > 0,
            "count" => (double)records.Count,
            "sum" => records.Select(record => record.Field(collection.Field!) switch { JsonElement json => Exact(json), string text => Exact(JsonSerializer.SerializeToElement(text)), _ => null }).Sum(number => number ?? 0),
            _ => throw new NotSupportedException(collection.Function),
        };
    }

    private object? Function(FunctionExpression function)
    {
        if (function.Kind == EventFunction.Sequence)
        {
            return Sequence(function);
        }

        List<OracleRecord> events = [.. person.Events.Where(e => IsNamed(e, function.Events[0]) && IsInWindow(function, e) && Satisfies(function, e))];
        if (function.ValuePath is { } path)
        {
            events = [.. events.Where(e => !OracleRecord.IsAbsent((JsonElement)Path(path, e)!))];
        }

        List<JsonElement> values = function.ValuePath is null ? [] : [.. events.Select(e => (JsonElement)Path(function.ValuePath, e)!)];
        List<decimal> exact = [.. values.Select(Exact).OfType<decimal>()];
        List<double> doubles = [.. values.Select(Number).OfType<double>()];
        return function.Kind switch
        {
            EventFunction.Count => (double)events.Count,
            EventFunction.Happened => events.Count > 0,
            EventFunction.Sum => exact.Sum(),
            EventFunction.Avg => exact.Count == 0 ? null : (double)(exact.Sum() / exact.Count),
            EventFunction.Min => doubles.Count == 0 ? null : doubles.Min(),
            EventFunction.Max => doubles.Count == 0 ? null : doubles.Max(),
            EventFunction.First => values.Count == 0 ? null : values[0],
            EventFunction.Last => values.Count == 0 ? null : values[^1],
            EventFunction.UniqueCount => (double)Math.Min(UniqueCountLimit, values.Select(Key).Distinct().Count()),
            EventFunction.MostFrequent => MostFrequent(values),
            _ => throw new NotSupportedException(function.Kind.ToString()),
        };
    }

    /// <summary>Different values that the function saw, for <c>notes</c>.</summary>
    public int DifferentValues(FunctionExpression function) =>
        function.ValuePath is null ? 0 : person.Events.Where(e => IsNamed(e, function.Events[0]) && Satisfies(function, e))
            .Select(e => (JsonElement)Path(function.ValuePath, e)!).Where(value => !OracleRecord.IsAbsent(value)).Select(Key).Distinct().Count();

    private bool Sequence(FunctionExpression function)
    {
        int step = 0;
        foreach (OracleRecord e in person.Events.Where(e => IsInWindow(function, e) && Satisfies(function, e)))
        {
            if (step < function.Events.Count && IsNamed(e, function.Events[step]))
            {
                step++;
            }
        }

        return step == function.Events.Count;
    }

    private bool Satisfies(FunctionExpression function, OracleRecord e) => function.Where is null || Value(function.Where, e) is true;

    private static bool IsNamed(OracleRecord e, string name) => name switch
    {
        "*" => true,
        "page:*" => e.Type == "page",
        "screen:*" => e.Type == "screen",
        _ when name.StartsWith("page:", StringComparison.Ordinal) => e.Type == "page" && e.Name == name["page:".Length..],
        _ when name.StartsWith("screen:", StringComparison.Ordinal) => e.Type == "screen" && e.Name == name["screen:".Length..],
        _ => e.Type == "track" && e.Name == name,
    };

    /// <summary>RULES.md §6.2 and §6.3.</summary>
    private bool IsInWindow(FunctionExpression function, OracleRecord e)
    {
        long window = function.WindowMs;
        if (window == 0)
        {
            return true;
        }

        if (function.Kind is EventFunction.Happened or EventFunction.Sequence)
        {
            return now - window < e.TimeMs && e.TimeMs <= now;
        }

        long width = BucketMs(window);
        return Floor(now, width) - Floor(e.TimeMs, width) < Ceiling(window, width);
    }

    public static long BucketMs(long windowMs) => windowMs switch
    {
        <= 2 * 60_000L => 1_000,
        <= 2 * 3_600_000L => 60_000,
        <= 14 * 86_400_000L => 3_600_000,
        _ => 86_400_000,
    };

    public static long Floor(long value, long width) => (long)Math.Floor((decimal)value / width);

    public static long Ceiling(long value, long width) => (long)Math.Ceiling((decimal)value / width);

    private static double? Number(JsonElement value)
    {
        string? text = NumberText(value);
        return text is not null && double.IsFinite(double.Parse(text)) ? double.Parse(text) : null;
    }

    /// <summary>Below 10^15 and with at most 10 decimals, else null.</summary>
    private static decimal? Exact(JsonElement value)
    {
        // Mantissa digits and exponent, so that nothing is rounded before it is judged.
        if (NumberText(value) is not { } text)
        {
            return null;
        }

        Match parts = Parts().Match(text);
        string fraction = parts.Groups["fraction"].Value;
        string digits = (parts.Groups["whole"].Value + fraction).TrimStart('0');
        if (digits.Length == 0)
        {
            return 0m;
        }

        if (!int.TryParse(parts.Groups["exponent"].Success ? parts.Groups["exponent"].Value : "0", out int exponent))
        {
            return null;
        }

        long scale = (long)exponent - fraction.Length;
        int zeros = digits.Length - digits.TrimEnd('0').Length;
        digits = digits.TrimEnd('0');
        scale += zeros;
        if (scale < -10 || digits.Length + scale > 15)
        {
            return null;
        }

        decimal number = decimal.Parse(digits);
        for (long i = 0; i < Math.Abs(scale); i++)
        {
            number = scale < 0 ? number / 10 : number * 10;
        }

        number = parts.Groups["sign"].Success ? -number : number;
        return Math.Abs(number) < SumLimit ? number : null;
    }

    private static string? NumberText(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Number => value.GetRawText(),
        JsonValueKind.String when Parts().IsMatch(value.GetString()!) => value.GetString(),
        _ => null,
    };

    private static (bool IsText, string Text) Key(JsonElement value) =>
        value.ValueKind == JsonValueKind.String ? (true, value.GetString()!) : (false, value.GetRawText());

    private static JsonElement? MostFrequent(List<JsonElement> values)
    {
        JsonElement? best = null;
        int bestCount = 0;
        foreach (IGrouping<(bool, string), JsonElement> group in values.GroupBy(Key))
        {
            int count = group.Count();
            int order = best is null ? -1 : OracleValue.CompareCodePoints(group.Key.Item2, Key(best.Value).Text);
            if (count > bestCount || (count == bestCount && order < 0))
            {
                (best, bestCount) = (group.First(), count);
            }
        }

        return best;
    }

    [GeneratedRegex(@"\A(?<sign>-)?(?<whole>0|[1-9][0-9]*)(\.(?<fraction>[0-9]+))?([eE](?<exponent>[+-]?[0-9]+))?\z", RegexOptions.ExplicitCapture)]
    private static partial Regex Parts();
}
