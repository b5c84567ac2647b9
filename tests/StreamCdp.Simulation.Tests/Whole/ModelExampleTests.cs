using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>Every expression of docs/model.md on the whole engine: one person for whom it holds, one for whom it does not.</summary>
public sealed class ModelExampleTests
{
    /// <summary>2026-03-01T12:00:00Z.</summary>
    private const long Now = 1_772_366_400_000;

    private static readonly string s_page = File.ReadAllText(Repository.Path("docs", "model.md"));

    /// <summary>Expression, events of a member, events of somebody who is none. <c>ago</c>: how long before now.</summary>
    public static TheoryData<string, string[], string[]> Examples => new()
    {
        { "traits.plan == \"pro\" and traits.newsletter != true", [Traits("""{"plan":"pro"}""")], [Traits("""{"plan":"pro","newsletter":true}""")] },
        { "traits.age >= 18", [Traits("""{"age":18}""")], [Traits("""{"age":"18"}""")] },
        { "traits.country in [\"DE\", \"FR\"]", [Traits("""{"country":"FR"}""")], [Traits("""{"country":"fr"}""")] },
        { "traits.interests contains \"shoes\" or identifiers.email contains \"a@b.example\"", [Traits("""{"interests":["hats","shoes"]}""")], [Traits("""{"interests":["shoestrings"],"email":"aa@b.example"}""")] },
        { "traits.interests contains \"shoes\" or identifiers.email contains \"a@b.example\"", [Traits("""{"email":"A@B.example"}""")], [] },
        { "traits.company starts_with \"Acme\" and not traits.email ends_with \"@acme.example\"", [Traits("""{"company":"Acme Ltd","email":"x@home.example"}""")], [Traits("""{"company":"Acme Ltd","email":"x@acme.example"}""")] },
        { "identifiers.user_id exists and not traits.phone exists", [Traits("{}")], [Traits("""{"phone":"+4917012345678"}""")] },
        { "traits.renewal within next 30d or traits.signed_up within last 7d", [Traits("""{"renewal":"2026-03-31T11:59:59Z"}""")], [Traits("""{"renewal":"2026-03-31T12:00:00Z","signed_up":"2026-02-22T12:00:00Z"}""")] },
        { "traits.renewal within next 30d or traits.signed_up within last 7d", [Traits("""{"signed_up":"2026-02-22T12:00:00.001Z"}""")], [Traits("""{"signed_up":"soon"}""")] },
        { "traits.trial_ends < now and now >= \"2026-01-31\"", [Traits("""{"trial_ends":"2026-03-01"}""")], [Traits("""{"trial_ends":"2026-03-02"}""")] },
        { "happened(\"Order Completed\", within: 14d, where: properties.currency == \"EUR\")", [Track("13d", "Order Completed", """{"currency":"EUR"}""")], [Track("14d", "Order Completed", """{"currency":"EUR"}"""), Track("1d", "Order Completed", """{"currency":"USD"}""")] },
        { "count(\"page:*\", within: 10m, where: context.page.path starts_with \"/shoes\") >= 5", [.. Enumerable.Range(1, 5).Select(i => Page($"{i}m", "/shoes/1"))], [.. Enumerable.Range(1, 5).Select(i => Page($"{i * 2}m", i == 3 ? "/hats" : "/shoes/1"))] },
        { "sum(\"Order Completed\", properties.revenue, within: 90d) >= 500", [Track("89d", "Order Completed", """{"revenue":499.9}"""), Track("1d", "Order Completed", """{"revenue":"0.1"}""")], [Track("91d", "Order Completed", """{"revenue":499.9}"""), Track("1d", "Order Completed", """{"revenue":0.1}""")] },
        { "min(\"Order Completed\", properties.revenue) > 100", [Track("900d", "Order Completed", """{"revenue":101}""")], [Track("900d", "Order Completed", """{"revenue":101}"""), Track("1d", "Order Completed", """{"revenue":100}""")] },
        { "max(\"Order Completed\", properties.revenue, within: 365d) < 30", [Track("367d", "Order Completed", """{"revenue":900}"""), Track("1d", "Order Completed", """{"revenue":29}""")], [Track("367d", "Order Completed", """{"revenue":29}""")] },
        { "avg(\"Order Completed\", properties.items) > 2.5", [Track("9d", "Order Completed", """{"items":1}"""), Track("1d", "Order Completed", """{"items":5}""")], [Track("9d", "Order Completed", """{"items":1}"""), Track("1d", "Order Completed", """{"items":4}""")] },
        { "first(\"Product Viewed\", properties.category) == \"shoes\"", [Track("1d", "Product Viewed", """{"category":"hats"}"""), Track("2d", "Product Viewed", """{"category":"shoes"}""")], [Track("2d", "Product Viewed", """{"category":"hats"}"""), Track("1d", "Product Viewed", """{"category":"shoes"}""")] },
        { "last(\"Product Viewed\", properties.category, within: 7d) in [\"shoes\", \"bags\"]", [Track("3d", "Product Viewed", """{"category":"bags"}""")], [Track("8d", "Product Viewed", """{"category":"bags"}""")] },
        { "unique_count(\"Product Viewed\", properties.product_id, within: 30d) > 10", [.. Enumerable.Range(0, 11).Select(i => Track($"{i}d", "Product Viewed", $$"""{"product_id":{{i}}}"""))], [.. Enumerable.Range(0, 20).Select(i => Track($"{i}d", "Product Viewed", $$"""{"product_id":{{i % 10}}}"""))] },
        { "most_frequent(\"Product Viewed\", properties.category) == \"shoes\"", [Track("1d", "Product Viewed", """{"category":"hats"}"""), Track("2d", "Product Viewed", """{"category":"shoes"}"""), Track("2d", "Product Viewed", """{"category":"shoes"}""")], [Track("1d", "Product Viewed", """{"category":"hats"}"""), Track("2d", "Product Viewed", """{"category":"shoes"}""")] },
        { "sequence(\"Product Viewed\", \"Product Added\", \"Order Completed\", within: 2h)", [Track("119m", "Product Viewed"), Track("60m", "Product Added"), Track("59m", "Product Viewed"), Track("1m", "Order Completed")], [Track("120m", "Product Viewed"), Track("60m", "Product Added"), Track("1m", "Order Completed")] },
        { "in_segment(\"cart_abandoners\") and not computed.is_customer == true", [Track("59m", "Product Added")], [Track("59m", "Product Added"), Track("2d", "Order Completed", """{"revenue":1}""")] },
        { "exists(deals, stage != \"closedwon\" and amount > 10000)", [Crm("deal", "1", """{"stage":"lead","amount":10001}""")], [Crm("deal", "1", """{"stage":"closedwon","amount":10001}"""), Crm("deal", "2", """{"stage":"lead","amount":10000}""")] },
        { "count(contacts) >= 2 and count(deals, source == \"hubspot\" and close_date within next 30d) == 0", [Crm("contact", "1", "{}"), Crm("contact", "2", "{}"), Crm("deal", "1", """{"close_date":"2026-05-01"}""")], [Crm("contact", "1", "{}"), Crm("contact", "2", "{}"), Crm("deal", "1", """{"close_date":"2026-03-05"}""")] },
        { "sum(deals, amount, status == \"open\" and currency == \"EUR\") > 100", [Crm("deal", "1", """{"amount":60,"status":"open","currency":"EUR"}"""), Crm("deal", "2", """{"amount":"40.5","status":"open","currency":"EUR"}""")], [Crm("deal", "1", """{"amount":60,"status":"open","currency":"EUR"}"""), Crm("deal", "2", """{"amount":40.5,"status":"won","currency":"EUR"}""")] },
    };

    [Theory]
    [MemberData(nameof(Examples))]
    public void An_example_holds_for_whom_it_should(string expression, string[] member, string[] other)
    {
        Assert.True(IsMember(expression, member), $"not {expression}");
        Assert.False(IsMember(expression, other), expression);
    }

    [Fact]
    public void Every_expression_of_the_page_is_run() =>
        Assert.Equal(Blocks("expr").Order(StringComparer.Ordinal), Examples.Select(example => example.Data.Item1).Distinct().Order(StringComparer.Ordinal));

    private static bool IsMember(string expression, string[] events)
    {
        string computed = Blocks("yaml").Single(block => block.StartsWith("computed:", StringComparison.Ordinal));
        string segments = Blocks("yaml").Single(block => block.StartsWith("segments:\n  cart_abandoners:", StringComparison.Ordinal));
        ModelResult read = ModelReader.Read("model.md", $"sources: [ {{ id: web, kind: website }}, {{ id: hubspot, kind: crm }} ]\n{computed}\n{segments}\n  example: {{ when: '{expression.Replace("'", "''", StringComparison.Ordinal)}' }}\n", _ => null);
        Assert.Empty(read.Errors);
        using var engine = new SimulatedEngine(read.Model!, OracleClock.Wall, TimeSpan.FromDays(1), shards: 1);
        engine.Tick(Now - 1);
        foreach (string text in events.Prepend(Traits("{}")))
        {
            var json = (JsonObject)JsonNode.Parse(text)!;
            json["timestamp"] = OracleTime.Format(Now - Milliseconds(json["ago"]!.GetValue<string>()));
            json.Remove("ago");
            json["userId"] = "u1";
            engine.Feed(new OracleEvent { Json = json.ToJsonString(), ReceivedAtMs = Now, SourceId = json["context"]?["crm"] is null ? "web" : "hubspot" });
        }

        engine.Tick(Now);
        return engine.Profile("user_id", "u1")!.Value.Document["segments"]!.AsArray().Any(segment => segment!["id"]!.GetValue<string>() == "example");
    }

    private static long Milliseconds(string ago) => long.Parse(ago[..^1]) * ago[^1] switch { 'm' => 60_000L, _ => 86_400_000L };

    private static string Traits(string traits) => $$"""{"ago":"0m","type":"identify","traits":{{traits}} }""";

    private static string Track(string ago, string name, string properties = "{}") => $$"""{"ago":"{{ago}}","type":"track","event":"{{name}}","properties":{{properties}} }""";

    private static string Page(string ago, string path) => $$$"""{"ago":"{{{ago}}}","type":"page","name":"Shoes","context":{"page":{"path":"{{{path}}}"} } }""";

    private static string Crm(string kind, string id, string fields) => $$$"""{"ago":"0m","type":"identify","context":{"crm":{"object":"{{{kind}}}","id":"{{{id}}}","fields":{{{fields}}} } } }""";

    private static List<string> Blocks(string language) => [.. Regex.Matches(s_page, $@"^```{language}\n(.*?)\n```$", RegexOptions.Multiline | RegexOptions.Singleline).Select(match => match.Groups[1].Value)];
}
