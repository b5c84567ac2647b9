using StreamCdp.Engine.Model;
using static StreamCdp.Engine.Tests.Segments.Build;

namespace StreamCdp.Engine.Tests.Segments;

public class ComparisonTests
{
    private static readonly string?[] s_values =
    [
        null, "null", "true", "false", "0", "-0.0", "1", "12.5", "1e400", "9007199254740993", "\"\"", "\"a\"", "\"ab\"", "\"\\u0061b\"", "\"\uFB01\"", "\"\\uD83D\\uDE00\"", "\"12.5\"",
        "\"2026-03-01\"", "\"2026-03-01T00:00:00.000Z\"", "\"2026-03-01T13:00:00+01:00\"", "\"2026-02-30\"", "[]", "[\"a\",12.5,null,[]]", "[ \"\\u0061\", 12.50, null, [] ]", "{}", "{\"x\":1,\"y\":2}", "{\"y\":2, \"x\":1}",
    ];

    private static readonly object?[] s_literals = [null, true, 0.0, 12.5, "", "a", "ab", "12.5", "2026-03-01", "2026-03-01T12:00:00.000Z", "2026-03-01T00:00:00+00:00"];

    private const long Noon = 1_772_366_400_000; // 2026-03-01T12:00:00.000Z

    [Theory]
    [InlineData("computed.launch == \"2026-03-01\"", true)]
    [InlineData("computed.launch != \"2026-03-01\"", false)]
    [InlineData("computed.word == \"2026-03-01\"", false)]
    [InlineData("computed.word == \"shoes\"", true)]
    public void A_computed_trait_may_be_an_instant(string rule, bool expected)
    {
        CdpModel model = Cdp(computed: [("launch", Literal("2026-03-01T00:00:00Z")), ("word", Literal("shoes"))], segments: [("s", Rule(rule))]);

        Assert.Equal(expected ? ["+s"] : [], new Person(model).Evaluate(0));
    }

    [Theory]
    [InlineData("traits.none == null", true)]
    [InlineData("traits.null == null", true)]
    [InlineData("traits.null != null", false)]
    [InlineData("traits.n == null", false)]
    [InlineData("traits.none == 0", false)]
    [InlineData("traits.none != 0", true)]
    [InlineData("traits.none < 1", false)]
    [InlineData("traits.none >= 0", false)]
    [InlineData("traits.none <= traits.null", false)]
    [InlineData("traits.none == traits.null", true)]
    [InlineData("traits.n == 12.5", true)]
    [InlineData("traits.n < \"9\"", false)]
    [InlineData("traits.n > \"1\"", false)]
    [InlineData("traits.n == traits.numberText", false)]
    [InlineData("traits.huge > 1e308", true)]
    [InlineData("traits.big == 9007199254740992", true)]
    [InlineData("traits.text == \"Zoë \\\"x\\\"\"", true)]
    [InlineData("traits.text contains \"ë \"", true)]
    [InlineData("traits.text contains \"\"", true)]
    [InlineData("traits.text contains \"zoë\"", false)]
    [InlineData("traits.text starts_with \"Zo\"", true)]
    [InlineData("traits.text ends_with \"\\\"\"", true)]
    [InlineData("traits.n contains \"2\"", false)]
    [InlineData("traits.text contains traits.n", false)]
    [InlineData("traits.astral > traits.private", true)]
    [InlineData("traits.text > \"Zo\"", true)]
    [InlineData("traits.text < \"a\"", true)]
    [InlineData("traits.yes == true", true)]
    [InlineData("not (traits.yes != true)", true)]
    [InlineData("not traits.no == true", true)]
    [InlineData("traits.no < traits.yes", false)]
    [InlineData("traits.yes == 1", false)]
    [InlineData("traits.list contains \"b\"", true)]
    [InlineData("traits.list contains 2", true)]
    [InlineData("traits.list contains \"2\"", false)]
    [InlineData("traits.list contains null", true)]
    [InlineData("traits.list contains \"deep\"", false)]
    [InlineData("traits.list == traits.list", true)]
    [InlineData("traits.list == \"b\"", false)]
    [InlineData("traits.n in [1, 12.5]", true)]
    [InlineData("traits.none in [null]", true)]
    [InlineData("traits.none in [\"x\"]", false)]
    [InlineData("traits.address.city == \"Köln\"", true)]
    [InlineData("traits.address.geo.lat < 51", true)]
    [InlineData("traits.address.geo[\"l.n\"] == 7", true)]
    [InlineData("traits.address.none.lat == null", true)]
    [InlineData("traits.text.city == null", true)]
    [InlineData("traits.address.twice == 2", true)]
    [InlineData("traits.address exists", true)]
    [InlineData("traits.address == traits.address2", true)]
    [InlineData("traits.address == traits.empty", false)]
    [InlineData("traits.null exists", false)]
    [InlineData("traits.empty exists", true)]
    [InlineData("identifiers.email exists", true)]
    [InlineData("identifiers.email contains \"b@x.org\"", true)]
    [InlineData("identifiers.email contains \"x.org\"", false)]
    [InlineData("identifiers.phone == null", true)]
    [InlineData("identifiers.phone exists", false)]
    [InlineData("traits.day < now", true)]
    [InlineData("traits.noon == now", true)]
    [InlineData("traits.noon <= now", true)]
    [InlineData("traits.noonBerlin == now", true)]
    [InlineData("traits.noonBerlin == \"2026-03-01T12:00:00Z\"", true)]
    [InlineData("traits.noonBerlin == traits.noon", false)]
    [InlineData("traits.day == \"2026-03-01T00:00:00Z\"", true)]
    [InlineData("traits.day == \"2026-03-01\"", true)]
    [InlineData("traits.midnight == \"2026-03-01\"", false)]
    [InlineData("traits.midnight > \"2026-03-01\"", true)]
    [InlineData("traits.text < \"2026-03-01T00:00:00Z\"", false)]
    [InlineData("traits.text < now", false)]
    [InlineData("traits.n < now", false)]
    [InlineData("traits.n != now", true)]
    [InlineData("traits.none == now", false)]
    [InlineData("traits.day within last 12h", false)]
    [InlineData("traits.day within last 13h", true)]
    [InlineData("traits.noon within last 1s", true)]
    [InlineData("traits.noon within next 1s", true)]
    [InlineData("traits.tomorrow within next 12h", false)]
    [InlineData("traits.tomorrow within next 13h", true)]
    [InlineData("traits.none within next 1d", false)]
    [InlineData("traits.text within last 1d", false)]
    [InlineData("traits.n == 12.5 and traits.yes == true or traits.no == true", true)]
    public void Compares(string rule, bool expected)
    {
        Person person = new Person(Segment(Rule(rule)))
            .Trait("null", "null").Trait("n", "12.5").Trait("numberText", "\"12.5\"").Trait("huge", "1e400").Trait("big", "9007199254740993")
            .Trait("text", """
                "Zo\u00eb \"x\""
                """).Trait("astral", "\"\\uD83D\\uDE00\"").Trait("private", "\"\uFB01\"")
            .Trait("yes", "true").Trait("no", "false").Trait("list", """["a","\u0062",2,null,["deep"],{"x":1}]""")
            .Trait("address", """{"city":"Köln", "geo": {"lat":50.9,"l.n":7}, "twice":1,"twice":2}""").Trait("address2", """{"geo": {"lat":50.9,"l.n":7}, "twice":1,"twice":2,"city":"Köln"}""").Trait("empty", "{}")
            .Trait("day", "\"2026-03-01\"").Trait("midnight", "\"2026-03-01T00:00:00.000Z\"").Trait("noon", "\"2026-03-01T12:00:00.000Z\"").Trait("noonBerlin", "\"2026-03-01T13:00:00+01:00\"").Trait("tomorrow", "\"2026-03-02\"")
            .Identifier("email", "a@x.org").Identifier("user_id", "1").Identifier("email", "b@x.org");

        person.Evaluate(Noon);

        Assert.Equal(expected, person.IsIn("s"));
    }

    [Fact]
    public void Every_pair_of_values_compares_as_in_the_obvious_model()
    {
        CompareOperator[] operators = Enum.GetValues<CompareOperator>();
        Expression[] operands = [.. Enumerable.Range(0, s_values.Length).Select(i => (Expression)Trait($"t{i}")), .. s_literals.Select(Literal), Now, List(null, "a", 12.5, true)];
        (string Id, Expression When)[] rules = [.. operands.SelectMany(left => operands.SelectMany(right => operators.Select(one => Compare(left, one, right)))).Select((rule, i) => ($"s{i}", (Expression)rule))];
        CdpModel model = Cdp(segments: rules);
        var person = new Person(model);
        var slow = new SlowModel(model);
        for (int i = 0; i < s_values.Length; i++)
        {
            if (s_values[i] is { } json)
            {
                person.Trait($"t{i}", json);
                slow.Traits.Add($"t{i}", json);
            }
        }

        person.Evaluate(Noon);

        foreach ((string id, Expression when) in rules)
        {
            Assert.True(slow.Value(when, Noon) == person.IsIn(id), $"{when} with {string.Join(' ', slow.Traits)}: was {person.IsIn(id)}");
        }
    }

    [Theory]
    [InlineData("traits.a.city == \"Bern\"", true)]
    [InlineData("traits.a.city == null", false)]
    [InlineData("traits.a == traits.b", true)]
    [InlineData("traits.a == traits.c", false)]
    [InlineData("traits.c.city contains \"x\"", true)]
    public void Half_a_surrogate_pair_in_a_trait_stops_nothing(string rule, bool expected)
    {
        Person person = new Person(Segment(Rule(rule)))
            .Trait("a", """{"\ud800":1,"city":"Bern"}""")
            .Trait("b", """{"city":"Bern","\ud800":1.0}""")
            .Trait("c", """{"\ud800":1,"city":["\udc00","x"]}""");

        Assert.Equal(expected ? ["+s"] : [], person.Evaluate(Noon));
    }

    [Fact]
    public void Of_a_key_that_an_object_has_twice_the_last_one_counts_in_a_comparison()
    {
        Person person = new Person(Segment(Rule("traits.a == traits.b"))).Trait("a", """{"x":1,"x":{"y":[1]}}""").Trait("b", """{"x":{"y":[1.0]}}""");

        Assert.Equal(["+s"], person.Evaluate(Noon));
    }
}
