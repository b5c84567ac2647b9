using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Generators;

/// <summary>Small random models: few types with small limits, every trait merge, 3 to 8 segments over every function, windows on both sides of each bucket width.</summary>
/// <param name="choice">Seeded.</param>
/// <param name="without">Functions that the model does not use.</param>
internal sealed class ModelGenerator(Choice choice, HashSet<EventFunction> without)
{
    /// <summary>1 s to 30 d, with the edges of RULES.md §6.3.</summary>
    public static readonly long[] Windows =
    [
        1_000, 2_000, 10_000, 60_000, 120_000, 121_000, 600_000, 3_600_000, 7_200_000, 10_800_000, 86_400_000, 7 * 86_400_000L, 14 * 86_400_000L, 15 * 86_400_000L, 30 * 86_400_000L,
    ];

    public static readonly string[] TrackNames = ["A", "B", "Order"];

    private readonly long[] _windows = [choice.Of(Windows), choice.Of(Windows), choice.Of(Windows)];
    private readonly List<ComputedDefinition> _computed = [];
    private readonly List<SegmentDefinition> _segments = [];

    public CdpModel Generate()
    {
        var bare = new CdpModel
        {
            Text = "",
            Version = 0,
            Sources = [new("web", null, "website", false), new("app", null, "app", false), new("shop", null, "server", true), new("crm", null, "crm", true)],
            Identifiers = Identifiers(),
            Traits = Traits(),
            Computed = Computed(),
            Segments = Segments(),
        };
        return bare with { Text = ModelText.Yaml(bare) };
    }

    private List<IdentifierDefinition> Identifiers()
    {
        List<IdentifierDefinition> types =
        [
            new() { Type = "user_id", Limit = choice.Percent(70) ? 1 : 2, Blocked = choice.Percent(20) ? ["test-user"] : [], BlockedPatterns = choice.Percent(20) ? ["bot-[0-9]+"] : [], BlockedDefaults = !choice.Percent(10) },
            new()
            {
                Type = "email",
                Limit = 1 + choice.Below(3),
                From = choice.Percent(50) ? [["traits", "email"]] : [["traits", "email"], ["context", "traits", "email"]],
                Normalize = IdentifierNormalization.Email,
                MergeByServer = choice.Percent(35),
            },
            new() { Type = "anonymous_id", Limit = choice.Of(1, 2, 3, 100), BlockedDefaults = !choice.Percent(10) },
        ];
        if (choice.Percent(50))
        {
            types.Insert(2, new IdentifierDefinition { Type = "phone", Limit = 1 + choice.Below(3), From = [["traits", "phone"]], Normalize = IdentifierNormalization.E164, MergeByServer = choice.Percent(20) });
        }

        if (choice.Percent(40))
        {
            types.Insert(1, new IdentifierDefinition { Type = "crm_id", Limit = 1 + choice.Below(2) });
        }

        return choice.Percent(25) ? choice.Shuffled(types) : types;
    }

    private List<TraitDefinition> Traits()
    {
        List<TraitDefinition> all =
        [
            new("plan", choice.Of(TraitMerge.Latest, TraitMerge.Latest, TraitMerge.First), [], null),
            new("score", choice.Of(TraitMerge.Min, TraitMerge.Max, TraitMerge.Latest), [], null),
            new("tags", choice.Of(TraitMerge.Union, TraitMerge.Union, TraitMerge.First), [], null),
            new("campaign", choice.Of(TraitMerge.First, TraitMerge.Latest), [], ["context", "campaign", "name"]),
        ];
        if (all[0].Merge == TraitMerge.Latest && choice.Percent(60))
        {
            all[0] = all[0] with { Prefer = choice.Of<string[]>(["crm", "web"], ["server"], ["website", "crm"]) };
        }

        return [.. all.Where(_ => choice.Percent(75))];
    }

    private List<ComputedDefinition> Computed()
    {
        for (int i = 0; i < choice.Below(4); i++)
        {
            _computed.Add(new ComputedDefinition($"c{i}", choice.Percent(60) ? NumberFunction() : ValueFunction()));
        }

        return _computed;
    }

    private List<SegmentDefinition> Segments()
    {
        int count = 3 + choice.Below(6);
        for (int i = 0; i < count; i++)
        {
            _segments.Add(new SegmentDefinition($"s{i}", $"Segment {i}", Rule(choice.Below(3)), 0));
        }

        return _segments;
    }

    private Expression Rule(int depth, bool? isAndAbove = null)
    {
        if (depth == 0)
        {
            return Leaf();
        }

        if (choice.Percent(35))
        {
            return new NotExpression(Rule(depth - 1));
        }

        bool isAnd = isAndAbove is null ? choice.Percent(50) : !isAndAbove.Value;
        List<Expression> operands = [Rule(depth - 1, isAnd), Rule(0, isAnd)];
        if (choice.Percent(20))
        {
            operands.Add(Leaf());
        }

        return new LogicExpression(isAnd, [.. operands]);
    }

    private Expression Leaf() => choice.Below(16) switch
    {
        0 or 1 or 2 => new FunctionExpression(EventFunction.Happened, [EventName()], null, Window(90), Where()),
        3 or 4 or 5 => new CompareExpression(Comparison(), NumberFunction(), new LiteralExpression((double)choice.Of(0, 1, 2, 3, 5, 10))),
        6 when !without.Contains(EventFunction.Sequence) => new FunctionExpression(EventFunction.Sequence, choice.Percent(60) ? [EventName(), EventName()] : [EventName(), EventName(), EventName()], null, Window(80), choice.Percent(15) ? Where() : null),
        7 => new CompareExpression(choice.Of(CompareOperator.Equal, CompareOperator.NotEqual, CompareOperator.Less), ValueFunction(), new LiteralExpression(choice.Of("x", "y", "z"))),
        8 => new DateWithinExpression(DateValue(), choice.Percent(50), choice.Of(_windows)),
        9 => new CompareExpression(Comparison(), DateValue(), choice.Percent(70) ? new NowExpression() : new LiteralExpression(choice.Of("2026-01-05T00:00:00Z", "2026-01-10"))),
        10 => Identifier(),
        11 when _segments.Count > 0 => new InSegmentExpression(choice.Of<SegmentDefinition>(_segments).Id),
        12 when _computed.Count > 0 => ComputedComparison(choice.Of<ComputedDefinition>(_computed)),
        _ => Trait(),
    };

    private CompareExpression ComputedComparison(ComputedDefinition computed)
    {
        var path = new PathExpression(PathRoot.Computed, [computed.Name]);
        return computed.Value.Type == ExpressionType.Number
            ? new CompareExpression(Comparison(), path, new LiteralExpression((double)choice.Below(5)))
            : new CompareExpression(choice.Of(CompareOperator.Equal, CompareOperator.NotEqual), path, new LiteralExpression(choice.Of("x", "y")));
    }

    private Expression Identifier()
    {
        var path = new PathExpression(PathRoot.Identifiers, [choice.Of("email", "user_id", "anonymous_id")]);
        return choice.Percent(50) ? new ExistsExpression(path) : new CompareExpression(CompareOperator.Contains, path, new LiteralExpression(choice.Of("e1@x.de", "u1", "a1")));
    }

    private Expression Trait() => choice.Below(9) switch
    {
        0 => new CompareExpression(choice.Of(CompareOperator.Equal, CompareOperator.NotEqual, CompareOperator.Less), Path("plan"), new LiteralExpression(choice.Of("free", "pro"))),
        1 => new CompareExpression(Comparison(), Path("score"), new LiteralExpression((double)choice.Of(1, 2, 3, 5))),
        2 => new CompareExpression(CompareOperator.Contains, Path("tags"), new LiteralExpression(choice.Of("x", "y"))),
        3 => new CompareExpression(CompareOperator.In, Path("country"), new ListExpression([new LiteralExpression("DE"), new LiteralExpression("FR")])),
        4 => new CompareExpression(choice.Of(CompareOperator.StartsWith, CompareOperator.EndsWith, CompareOperator.Contains), Path("address", "city"), new LiteralExpression(choice.Of("B", "n", "er"))),
        5 => new CompareExpression(choice.Of(CompareOperator.Equal, CompareOperator.NotEqual), Path(choice.Of("plan", "campaign", "score")), new LiteralExpression(null)),
        6 => new CompareExpression(CompareOperator.Equal, Path("vip"), new LiteralExpression(choice.Percent(50))),
        7 => new CompareExpression(choice.Of(CompareOperator.Equal, CompareOperator.StartsWith), Path("campaign"), new LiteralExpression(choice.Of("spring", "s"))),
        _ => new ExistsExpression(Path(choice.Of("plan", "score", "tags", "campaign", "country", "renewal"))),
    };

    private Expression DateValue() => choice.Below(4) switch
    {
        0 => new FunctionExpression(EventFunction.Last, [choice.Of(TrackNames)], new PathExpression(PathRoot.Properties, ["due"]), Window(40), null),
        _ => Path("renewal"),
    };

    private static PathExpression Path(params string[] keys) => new(PathRoot.Traits, [.. keys]);

    private FunctionExpression NumberFunction()
    {
        EventFunction kind = Of(
            EventFunction.Count, EventFunction.Count, EventFunction.Sum, EventFunction.Sum, EventFunction.Min, EventFunction.Max, EventFunction.Avg, EventFunction.UniqueCount);
        PathExpression? path = kind == EventFunction.Count ? null : new PathExpression(PathRoot.Properties, [kind == EventFunction.UniqueCount ? "cat" : "amount"]);
        return new FunctionExpression(kind, [EventName()], path, Window(75), Where());
    }

    private FunctionExpression ValueFunction() =>
        new(Of(EventFunction.First, EventFunction.Last, EventFunction.MostFrequent), [EventName()], new PathExpression(PathRoot.Properties, ["cat"]), Window(60), Where());

    private EventFunction Of(params IReadOnlyList<EventFunction> kinds) => choice.Of<EventFunction>([.. kinds.Where(kind => !without.Contains(kind))]);

    private string EventName() => choice.Of("A", "A", "B", "Order", "page:Home", "page:*", "*");

    private long Window(int percent) => choice.Percent(percent) ? choice.Of(_windows) : 0;

    private CompareOperator Comparison() => choice.Of(
        CompareOperator.Equal, CompareOperator.NotEqual, CompareOperator.Less, CompareOperator.LessOrEqual, CompareOperator.Greater, CompareOperator.GreaterOrEqual, CompareOperator.GreaterOrEqual);

    private CompareExpression? Where() => choice.Below(10) switch
    {
        0 => new CompareExpression(choice.Of(CompareOperator.Greater, CompareOperator.LessOrEqual), new PathExpression(PathRoot.Properties, ["amount"]), new LiteralExpression((double)choice.Below(12))),
        1 => new CompareExpression(choice.Of(CompareOperator.Equal, CompareOperator.NotEqual), new PathExpression(PathRoot.Properties, ["cat"]), new LiteralExpression(choice.Of("x", "y"))),
        2 => new CompareExpression(CompareOperator.Equal, new PathExpression(PathRoot.Context, ["campaign", "name"]), new LiteralExpression("spring")),
        3 => new CompareExpression(choice.Of(CompareOperator.Equal, CompareOperator.NotEqual), new PathExpression(PathRoot.EventType, []), new LiteralExpression("track")),
        _ => null,
    };
}
