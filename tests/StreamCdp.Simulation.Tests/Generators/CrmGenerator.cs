using System.Text.Json.Nodes;
using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Generators;

/// <summary>CRM records into events, and rules over them into models. It chooses by a seed of its own, so that a case without it is a part of the case with it.</summary>
/// <param name="choice">Seeded.</param>
internal sealed class CrmGenerator(Choice choice)
{
    private readonly long[] _windows = [choice.Of(ModelGenerator.Windows), choice.Of(ModelGenerator.Windows)];
    private readonly string[] _ids = choice.Percent(50) ? ["1", "2"] : ["1", "2", "3", "é", "10"];

    /// <summary>The model with two more CRMs, of which the public one counts for nothing, and rules over collections beside and with the others.</summary>
    public CdpModel Extend(CdpModel model)
    {
        List<ComputedDefinition> computed = [.. model.Computed];
        List<SegmentDefinition> segments = [.. model.Segments];
        for (int i = choice.Below(3); i > 0; i--)
        {
            computed.Add(new ComputedDefinition($"k{i}", choice.Below(3) switch { 0 => Count(), 1 => Sum(), _ => Exists() }));
        }

        for (int i = 1 + choice.Below(3); i > 0; i--)
        {
            Expression leaf = Leaf(computed);
            Expression when = choice.Below(6) switch
            {
                0 => new NotExpression(leaf),
                1 => new LogicExpression(choice.Percent(50), [leaf, Leaf(computed)]),
                2 => new LogicExpression(choice.Percent(50), [leaf, new InSegmentExpression(choice.Of<SegmentDefinition>(segments).Id)]),
                3 => new LogicExpression(choice.Percent(50), [new NotExpression(new InSegmentExpression(choice.Of<SegmentDefinition>(segments).Id)), leaf]),
                _ => leaf,
            };
            segments.Add(new SegmentDefinition($"t{i}", $"Collection {i}", when, 0));
        }

        CdpModel extended = model with
        {
            Sources = [.. model.Sources, new("crm2", null, "crm", true), new("forms", null, "crm", false)],
            Computed = computed,
            Segments = segments,
        };
        return extended with { Text = ModelText.Yaml(extended) };
    }

    /// <summary>Another source, as trusted as this one.</summary>
    public string Source(string source) => source switch
    {
        "crm" when choice.Percent(40) => "crm2",
        "shop" when choice.Percent(50) => "crm",
        "web" when choice.Percent(10) => "forms",
        _ => source,
    };

    /// <summary>Puts a record into a context, mostly into those of CRMs.</summary>
    public void Write(string source, long now, Func<JsonObject?> context)
    {
        if (choice.Percent(source is "crm" or "crm2" ? 75 : 12) && context() is { } target)
        {
            target["crm"] = Record(now);
        }
    }

    private JsonNode? Record(long now)
    {
        var record = new JsonObject
        {
            ["object"] = choice.Of("deal", "deal", "deal", "contact", "lead", "company", "activity"),
            ["id"] = Id(),
            ["fields"] = choice.Percent(25) ? null : Fields(now),
        };
        switch (choice.Below(40))
        {
            case 0:
                record.Remove(choice.Of("object", "id", "fields"));
                break;
            case 1:
                record["object"] = choice.Of<JsonNode?>("deals", 1, null);
                break;
            case 2:
                record["id"] = choice.Of<JsonNode?>("", 1.5, true, null, new string('x', 101), new string('é', 100));
                break;
            case 3:
                record["fields"] = choice.Of<JsonNode?>("none", new JsonArray(), false);
                break;
            case 4:
                return choice.Of<JsonNode?>("deal", null, new JsonArray(record));
            case 5:
                record["fields"] = new JsonObject { ["note"] = new string('x', choice.Of(8_181, 8_182, 9_000)) };
                break;
        }

        return record;
    }

    private JsonNode? Id()
    {
        string id = choice.Of(_ids);
        return id != "é" && choice.Percent(20) ? JsonValue.Create(int.Parse(id)) : id;
    }

    private JsonObject Fields(long now)
    {
        var fields = new JsonObject();
        void Maybe(int percent, string key, Func<JsonNode?> value)
        {
            if (choice.Percent(percent))
            {
                fields[key] = value();
            }
        }

        Maybe(75, "stage", () => choice.Of("lead", "won", "lost", null, "läd\""));
        Maybe(70, "amount", () => choice.Below(10) switch { 0 => null, 1 => "2.5", 2 => "two", 3 => true, 4 => JsonNode.Parse("1e2"), 5 => JsonNode.Parse("1000000000000000"), _ => JsonNode.Parse(choice.Of("1", "0.1", "0.2", "3.30", "10", "-4.10")) });
        Maybe(75, "close", () => Date(now));
        Maybe(30, "owner", () => choice.Percent(80) ? new JsonObject { ["name"] = choice.Of("Anna", "Ben") } : "Anna");
        Maybe(20, "tags", () => new JsonArray("x", 1, null));
        Maybe(8, "id", () => "hidden");
        Maybe(8, "source", () => "hidden");
        return fields;
    }

    private JsonNode? Date(long now)
    {
        long ms = now + (choice.Of(_windows) * choice.Of(-1, 0, 1, 1, 2)) + choice.Of(-1, 0, 1, 5_000, 100_000);
        return choice.Below(12) switch { 0 or 1 => OracleTime.Format(ms)[..10], 2 => "soon", 3 => null, _ => OracleTime.Format(ms) };
    }

    private Expression Leaf(List<ComputedDefinition> computed) => choice.Below(7) switch
    {
        5 or 6 => new CollectionExpression("exists", "deals", null, choice.Percent(60) ? Date() : new LogicExpression(true, [Date(), Condition(0)])),
        0 when computed.LastOrDefault(one => one.Value is CollectionExpression { Function: not "exists" }) is { } one => Compared(new PathExpression(PathRoot.Computed, [one.Name])),
        0 or 1 => Compared(Sum()),
        2 or 3 => Exists(),
        _ => Compared(Count()),
    };

    private CompareExpression Compared(Expression number) => new(Comparison(), number, new LiteralExpression((double)choice.Of(0, 1, 2, 3, 10)));

    private CollectionExpression Count() => new("count", Collection(), null, Where(1));

    private CollectionExpression Sum() => new("sum", Collection(), choice.Percent(90) ? ["amount"] : choice.Of<EquatableList<string>>(["id"], ["owner", "name"]), Where(1));

    private CollectionExpression Exists() => new("exists", Collection(), null, Where(1));

    private string Collection() => choice.Of("deals", "deals", "deals", "contacts", "leads", "companies", "activities");

    private Expression? Where(int depth) => choice.Percent(25) ? null : Condition(depth);

    private Expression Condition(int depth) => choice.Below(depth == 0 ? 13 : 16) switch
    {
        0 => new CompareExpression(choice.Of(CompareOperator.Equal, CompareOperator.NotEqual, CompareOperator.Less), Field("stage"), new LiteralExpression(choice.Of("lead", "won", null, "läd\""))),
        1 => new CompareExpression(CompareOperator.In, Field("stage"), new ListExpression([new LiteralExpression("lead"), new LiteralExpression("lost")])),
        2 => new CompareExpression(Comparison(), Field("amount"), new LiteralExpression((double)choice.Of(0, 1, 10))),
        3 or 4 or 10 or 11 => Date(),
        12 => new CompareExpression(Comparison(), Field("close"), new LiteralExpression("2026-01-05T00:00:00Z")),
        5 => new CompareExpression(choice.Of(CompareOperator.Equal, CompareOperator.NotEqual), Field("source"), new LiteralExpression(choice.Of("crm", "crm2"))),
        6 => new CompareExpression(CompareOperator.In, Field("id"), new ListExpression([new LiteralExpression("1"), new LiteralExpression("é")])),
        7 => new CompareExpression(choice.Of(CompareOperator.Contains, CompareOperator.StartsWith), Field("owner", "name"), new LiteralExpression(choice.Of("n", "A"))),
        8 => new ExistsExpression(Field(choice.Of("stage", "amount", "close", "tags"))),
        9 => new CompareExpression(CompareOperator.Contains, Field("tags"), new LiteralExpression("x")),
        13 => new NotExpression(Condition(0)),
        _ => new LogicExpression(choice.Percent(60), [Condition(0), Condition(0)]),
    };

    private Expression Date() => choice.Percent(60)
        ? new DateWithinExpression(Field("close"), choice.Percent(50), choice.Of(_windows))
        : new CompareExpression(Comparison(), Field("close"), new NowExpression());

    private CompareOperator Comparison() => choice.Of(CompareOperator.Equal, CompareOperator.NotEqual, CompareOperator.Less, CompareOperator.GreaterOrEqual, CompareOperator.Greater);

    private static PathExpression Field(params string[] path) => new(PathRoot.Properties, [.. path]);
}
