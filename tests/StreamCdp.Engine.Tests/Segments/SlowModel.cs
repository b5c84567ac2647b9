using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;

namespace StreamCdp.Engine.Tests.Segments;

/// <summary>RULES.md §6 written the obvious way: keeps all events and computes everything again for each question.</summary>
/// <remarks>Values are null, bool, double, string, decimal (an exact sum), <see cref="Instant"/>, a list of these, or a JsonElement for an object.</remarks>
internal sealed partial class SlowModel(CdpModel model)
{
    public List<PersonEvent> Events { get; } = [];

    public Dictionary<string, string> Traits { get; } = [];

    public List<(string Type, string Value)> Identifiers { get; } = [];

    public object? Computed(string name, long now) => Value(model.Computed.Single(one => one.Name == name).Value, now, null);

    public bool Segment(string id, long now) => Value(model.Segments.Single(one => one.Id == id).When, now, null) is true;

    public bool Value(Expression condition, long now) => Value(condition, now, null) is true;

    public static bool SameJson(object? expected, JsonElement actual) => expected switch
    {
        decimal exact => actual.ValueKind == JsonValueKind.Number && actual.GetDecimal() == exact,
        JsonElement json => JsonElement.DeepEquals(json, actual),
        _ => Same(expected, OfJson(actual)),
    };

    private object? Value(Expression expression, long now, PersonEvent? e) => expression switch
    {
        LiteralExpression literal => literal.Value,
        ListExpression list => list.Items.Select(item => item.Value).ToList(),
        NowExpression => new Instant(now),
        PathExpression { Root: PathRoot.Traits } path => Traits.TryGetValue(path.Path[0], out string? json) ? OfJson(Walk(Parse(json), path.Path.Skip(1))) : null,
        PathExpression { Root: PathRoot.Computed } path => Computed(path.Path[0], now),
        PathExpression { Root: PathRoot.Identifiers } path => Identifiers.Where(one => one.Type == path.Path[0]).Select(one => (object?)one.Value).ToList() is { Count: > 0 } found ? found : null,
        PathExpression { Root: PathRoot.EventType } => e!.Type.ToString().ToLowerInvariant(),
        PathExpression { Root: PathRoot.EventName } => e!.Name,
        PathExpression path => OfJson(OfEvent(path, e!)),
        LogicExpression { IsAnd: true } logic => logic.Operands.All(operand => Value(operand, now, e) is true),
        LogicExpression logic => logic.Operands.Any(operand => Value(operand, now, e) is true),
        NotExpression not => Value(not.Operand, now, e) is not true,
        ExistsExpression exists => Value(exists.Operand, now, e) is not null,
        InSegmentExpression inSegment => Segment(inSegment.SegmentId, now),
        DateWithinExpression within => InstantOf(Value(within.Operand, now, e)) is { } d && (within.IsNext ? now <= d && d < now + within.WindowMs : now - within.WindowMs < d && d <= now),
        CompareExpression compare => Compare(compare, Number(Value(compare.Left, now, e)), Number(Value(compare.Right, now, e))),
        FunctionExpression function => Function(function, now),
        _ => throw new NotSupportedException(expression.GetType().Name),
    };

    private static object? Number(object? value) => value is decimal exact ? Nearest(exact) : value;

    // The cast of a decimal to double does not give the nearest double.
    private static double Nearest(decimal exact) => double.Parse(exact.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);

    private object? Function(FunctionExpression function, long now)
    {
        var found = new List<(PersonEvent Event, JsonElement Value)>();
        foreach (PersonEvent e in Events.OrderBy(e => e.TimeMs).ThenBy(e => e.Offset).ThenBy(e => e.Partition))
        {
            JsonElement value = default;
            if (function.ValuePath is { } path)
            {
                value = OfEvent(path, e);
            }

            bool isMissing = function.ValuePath is not null && value.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null;
            if (HasName(function.Events[0], e) && !isMissing && (function.Where is null || Value(function.Where, now, e) is true) && IsInWindow(function, e.TimeMs, now))
            {
                found.Add((e, value));
            }
        }

        List<double> doubles = [.. found.Select(one => NumberText(one.Value)).Where(text => text is not null).Select(text => double.Parse(text!, CultureInfo.InvariantCulture)).Where(double.IsFinite)];
        List<decimal> exact = [.. found.Select(one => NumberText(one.Value)).Where(text => text is not null).Select(text => Exact(text!)).Where(value => value is not null).Select(value => value!.Value)];
        return function.Kind switch
        {
            EventFunction.Happened => found.Count > 0,
            EventFunction.Count => (double)found.Count,
            EventFunction.Sum => exact.Sum(),
            EventFunction.Avg => exact.Count == 0 ? null : Nearest(exact.Sum()) / exact.Count,
            EventFunction.Min => doubles.Count == 0 ? null : doubles.Min(),
            EventFunction.Max => doubles.Count == 0 ? null : doubles.Max(),
            EventFunction.First => OfJson(found.FirstOrDefault().Value),
            EventFunction.Last => OfJson(found.LastOrDefault().Value),
            _ => throw new NotSupportedException(function.Kind.ToString()),
        };
    }

    private static bool HasName(string name, PersonEvent e) => e.Type switch
    {
        EventType.Page => name is "*" or "page:*" || name == "page:" + e.Name,
        EventType.Screen => name is "*" or "screen:*" || name == "screen:" + e.Name,
        EventType.Track => name == "*" || name == e.Name,
        _ => name == "*",
    };

    private static bool IsInWindow(FunctionExpression function, long e, long now)
    {
        long window = function.WindowMs;
        if (window == 0)
        {
            return true;
        }

        if (function.Kind == EventFunction.Happened)
        {
            return now - window < e && e <= now;
        }

        long width = window <= 2 * Build.Minute ? Build.Second : window <= 2 * Build.Hour ? Build.Minute : window <= 14 * Build.Day ? Build.Hour : Build.Day;
        return Math.Floor((decimal)now / width) - Math.Floor((decimal)e / width) < Math.Ceiling((decimal)window / width);
    }

    private static string? NumberText(JsonElement value) =>
        value.ValueKind == JsonValueKind.Number ? value.GetRawText() :
        value.ValueKind == JsonValueKind.String && JsonNumber().IsMatch(value.GetString()!) ? value.GetString() : null;

    private static decimal? Exact(string text) =>
        decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out decimal value) && Math.Abs(value) < 1e15m && decimal.Round(value, 10) == value && (value != 0 || double.Parse(text) == 0) ? value : null;

    private static bool Compare(CompareExpression compare, object? left, object? right)
    {
        switch (compare.Operator)
        {
            case CompareOperator.In:
                return right is List<object?> items && items.Any(item => Same(item, left));
            case CompareOperator.Contains:
                return left is List<object?> list ? list.Any(item => Same(item, right)) : left is string text && right is string part && text.Contains(part, StringComparison.Ordinal);
            case CompareOperator.StartsWith:
                return left is string start && right is string prefix && start.StartsWith(prefix, StringComparison.Ordinal);
            case CompareOperator.EndsWith:
                return left is string end && right is string suffix && end.EndsWith(suffix, StringComparison.Ordinal);
        }

        if ((IsTime(compare.Left) || IsTime(compare.Right)) && InstantOf(left) is { } leftMs && InstantOf(right) is { } rightMs)
        {
            (left, right) = (new Instant(leftMs), new Instant(rightMs));
        }

        int? order = (left, right) switch
        {
            (double a, double b) => a.CompareTo(b),
            (string a, string b) => Encoding.UTF32.GetBytes(a).Chunk(4).Select(c => BitConverter.ToInt32(c)).Zip(Encoding.UTF32.GetBytes(b).Chunk(4).Select(c => BitConverter.ToInt32(c)))
                .Select(pair => pair.First.CompareTo(pair.Second)).FirstOrDefault(difference => difference != 0, a.Length.CompareTo(b.Length)),
            (Instant a, Instant b) => a.Ms.CompareTo(b.Ms),
            _ => null,
        };
        return compare.Operator switch
        {
            CompareOperator.Equal => Same(left, right),
            CompareOperator.NotEqual => !Same(left, right),
            CompareOperator.Less => order < 0,
            CompareOperator.LessOrEqual => order <= 0,
            CompareOperator.Greater => order > 0,
            _ => order >= 0,
        };
    }

    private static bool Same(object? left, object? right) => (left, right) switch
    {
        (List<object?> a, List<object?> b) => a.Count == b.Count && a.Zip(b).All(pair => Same(pair.First, pair.Second)),
        (JsonElement a, JsonElement b) => JsonElement.DeepEquals(a, b),
        _ => Equals(left, right),
    };

    private static bool IsTime(Expression expression) => expression is NowExpression || (expression is LiteralExpression { Value: string text } && text.Contains('T', StringComparison.Ordinal) && InstantOf(text) is not null);

    private static long? InstantOf(object? value) => value switch
    {
        Instant instant => instant.Ms,
        string text when DateTimeOffset.TryParseExact(text, ["yyyy-MM-dd", "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", "yyyy-MM-dd'T'HH:mm:sszzz"], CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset date) => date.ToUnixTimeMilliseconds(),
        _ => null,
    };

    private static JsonElement OfEvent(PathExpression path, PersonEvent e) => Walk(Parse(path.Root == PathRoot.Properties ? e.Properties : e.Context), path.Path);

    private static JsonElement Parse(string json) => JsonDocument.Parse(json).RootElement;

    private static JsonElement Walk(JsonElement json, IEnumerable<string> path)
    {
        foreach (string key in path)
        {
            json = json.ValueKind == JsonValueKind.Object && json.TryGetProperty(key, out JsonElement member) ? member : default;
        }

        return json;
    }

    private static object? OfJson(JsonElement json) => json.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Number => json.GetDouble(),
        JsonValueKind.String => json.GetString(),
        JsonValueKind.Array => json.EnumerateArray().Select(OfJson).ToList(),
        JsonValueKind.Object => json,
        _ => null,
    };

    [GeneratedRegex(@"\A-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\z")]
    private static partial Regex JsonNumber();

    internal sealed record Instant(long Ms);
}
