namespace StreamCdp.Engine.Model;

/// <summary>The words and limits of the expression language, in one place for lexer, parser and normal text.</summary>
internal static class ExpressionWords
{
    /// <summary>Longest expression, UTF-16 code units: a page of text.</summary>
    public const int MaxLength = 8192;

    /// <summary>Deepest nesting of brackets and not: far below what the stack holds.</summary>
    public const int MaxDepth = 64;

    /// <summary>Shortest window, ms.</summary>
    public const long MinWindowMs = 1000;

    /// <summary>Longest window: 3650 d in ms.</summary>
    public const long MaxWindowMs = 3650 * DayMs;

    public const long DayMs = 86_400_000;

    /// <summary>Events of a sequence.</summary>
    public const int MaxSteps = 16;

    /// <summary>CRM records of a profile, by what they are.</summary>
    public static readonly string[] Collections = ["deals", "contacts", "leads", "companies", "activities"];

    /// <summary><see cref="Collections"/> as a sentence has them.</summary>
    public static readonly string CollectionList = $"{string.Join(", ", Collections[..^1])} or {Collections[^1]}";

    /// <summary>In a collection: id of the event's source. It hides a field of that name.</summary>
    public const string RecordSource = "source";

    /// <summary>In a collection: id of the record in its source. It hides a field of that name.</summary>
    public const string RecordId = "id";

    public static readonly IReadOnlyDictionary<string, EventFunction> Functions = new Dictionary<string, EventFunction>
    {
        ["count"] = EventFunction.Count,
        ["sum"] = EventFunction.Sum,
        ["min"] = EventFunction.Min,
        ["max"] = EventFunction.Max,
        ["avg"] = EventFunction.Avg,
        ["first"] = EventFunction.First,
        ["last"] = EventFunction.Last,
        ["happened"] = EventFunction.Happened,
        ["unique_count"] = EventFunction.UniqueCount,
        ["most_frequent"] = EventFunction.MostFrequent,
        ["sequence"] = EventFunction.Sequence,
    };

    public static readonly IReadOnlyDictionary<string, PathRoot> Roots = new Dictionary<string, PathRoot>
    {
        ["traits"] = PathRoot.Traits,
        ["computed"] = PathRoot.Computed,
        ["identifiers"] = PathRoot.Identifiers,
        ["properties"] = PathRoot.Properties,
        ["context"] = PathRoot.Context,
        ["type"] = PathRoot.EventType,
        ["event"] = PathRoot.EventName,
    };

    /// <summary>Each has one text.</summary>
    public static readonly IReadOnlyDictionary<string, CompareOperator> Operators = new Dictionary<string, CompareOperator>
    {
        ["=="] = CompareOperator.Equal,
        ["!="] = CompareOperator.NotEqual,
        ["<"] = CompareOperator.Less,
        ["<="] = CompareOperator.LessOrEqual,
        [">"] = CompareOperator.Greater,
        [">="] = CompareOperator.GreaterOrEqual,
        ["in"] = CompareOperator.In,
        ["contains"] = CompareOperator.Contains,
        ["starts_with"] = CompareOperator.StartsWith,
        ["ends_with"] = CompareOperator.EndsWith,
    };

    /// <summary>Words that cannot stand for a field of a collection.</summary>
    public static readonly IReadOnlySet<string> Reserved = new HashSet<string>(
        ["and", "or", "not", "in", "contains", "starts_with", "ends_with", "exists", "within", "where", "next", "last", "true", "false", "null", "now", "in_segment", "traits", "computed", "identifiers", "properties", "context"]);

    private static readonly Dictionary<EventFunction, string> FunctionNames = Functions.ToDictionary(pair => pair.Value, pair => pair.Key);

    private static readonly Dictionary<CompareOperator, string> OperatorNames = Operators.ToDictionary(pair => pair.Value, pair => pair.Key);

    private static readonly Dictionary<PathRoot, string> RootNames = Roots.ToDictionary(pair => pair.Value, pair => pair.Key);

    public static string Of(EventFunction function) => FunctionNames[function];

    public static string Of(CompareOperator compare) => OperatorNames[compare];

    public static string Of(PathRoot root) => RootNames[root];

    /// <summary>Functions that read a value of each event.</summary>
    public static bool HasPath(EventFunction function) => function is not (EventFunction.Count or EventFunction.Happened or EventFunction.Sequence);

    /// <summary>A duration in its largest whole unit: 90d, 36h, 15m, 30s.</summary>
    public static string Duration(long milliseconds) => milliseconds switch
    {
        _ when milliseconds % DayMs == 0 => $"{milliseconds / DayMs}d",
        _ when milliseconds % 3_600_000 == 0 => $"{milliseconds / 3_600_000}h",
        _ when milliseconds % 60_000 == 0 => $"{milliseconds / 60_000}m",
        _ => $"{milliseconds / 1000}s",
    };

    public static bool StartsWord(char c) => char.IsLetter(c) || c is '_' or '$';

    public static bool InWord(char c) => char.IsLetterOrDigit(c) || c is '_' or '$';

    /// <summary>After a dot a key may also begin with a digit and hold a minus: there is no arithmetic.</summary>
    public static bool InKey(char c) => InWord(c) || c == '-';
}
