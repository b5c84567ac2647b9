using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Engine.Tests.Profiles;
using static StreamCdp.Engine.Tests.Segments.Build;

namespace StreamCdp.Engine.Tests.Segments;

public class CollectionTests
{
    [Theory]
    [InlineData("exists(deals)", true)]
    [InlineData("exists(leads)", false)]
    [InlineData("not exists(contacts, name == \"gone\")", true)]
    [InlineData("count(deals) == 4", true)]
    [InlineData("count(contacts) == 1 and count(companies) == 0 and count(activities) == 0", true)]
    [InlineData("count(deals, stage != \"closedwon\" and amount > 10000) == 1", true)]
    [InlineData("count(deals, stage == null) == 1", true)]
    [InlineData("count(deals, stage exists) == 3", true)]
    [InlineData("count(deals, stage in [\"lead\", \"closedwon\"]) == 2", true)]
    [InlineData("count(deals, stage starts_with \"closed\" or owner.name contains \"nn\") == 2", true)]
    [InlineData("count(deals, owner.name == \"Anna\" and owner[\"mail box\"] == 7) == 1", true)]
    [InlineData("count(deals, owner == null) == 3", true)]
    [InlineData("count(deals, tags contains \"a\") == 1", true)]
    [InlineData("count(deals, source == \"sales\") == 1", true)]
    [InlineData("exists(deals, source == \"hubspot\" and id == \"1\" and amount == 20000)", true)]
    [InlineData("count(deals, id in [\"1\", \"2\"]) == 3", true)]
    [InlineData("count(deals, id.x == null) == 4", true)]
    [InlineData("count(deals, true) == 4 and not exists(deals, false)", true)]
    [InlineData("sum(deals, amount) == 20350.3", true)]
    [InlineData("sum(deals, amount, stage == \"lead\") == 20000", true)]
    [InlineData("sum(deals, tags) == 0 and sum(companies, amount) == 0", true)]
    [InlineData("sum(deals, id) == 7", true)]
    [InlineData("sum(deals, owner[\"mail box\"]) == 7", true)]
    [InlineData("exists(deals, close within next 7d)", true)]
    [InlineData("exists(deals, close within last 7d)", false)]
    [InlineData("exists(deals, close < now)", false)]
    [InlineData("exists(deals, close >= \"1970-01-02T00:00:00Z\")", true)]
    public void A_rule_sees_the_records_that_are_there(string rule, bool isMember) =>
        Assert.Equal(isMember ? ["+s"] : [], Deals(Segment(Rule(rule))).Evaluate(1000));

    [Fact]
    public void A_sum_is_exact_to_the_last_digit()
    {
        Person person = new(Computed(Value("sum(deals, amount)")));
        new CrmPerson(person.Profile)
            .Write("deal", "1", """{"amount":"0.1"}""", 1).Write("deal", "2", """{"amount":0.2}""", 1).Write("deal", "3", """{"amount":999999999999999}""", 1)
            .Write("deal", "4", """{"amount":1e15}""", 1).Write("deal", "5", """{"amount":"two"}""", 1).Write("deal", "6", """{"amount":true}""", 1).Write("deal", "7", """{"amount":"\u0031"}""", 1);

        Assert.Equal("1000000000000000.3", person.Computed("x", 1).GetRawText());
    }

    [Fact]
    public void Computed_traits_of_collections_are_values_like_others()
    {
        Person person = Deals(Cdp(
            computed: [("open", Value("count(deals, stage == \"lead\")")), ("any", Value("exists(deals)")), ("worth", Value("sum(deals, amount)"))],
            segments: [("a", Rule("computed.open >= 1 and computed.any == true")), ("b", Rule("in_segment(\"a\") and computed.worth > 20000"))]));

        Assert.Equal(["+a", "+b"], person.Evaluate(1000));
        Assert.Equal("""{"open":1,"any":true,"worth":20350.3}""", person.Computed(1000).GetRawText());

        new CrmPerson(person.Profile).Write("deal", "1", null, 99);
        Assert.Equal(["-a", "-b"], person.Evaluate(1000));
    }

    [Theory]
    [InlineData("exists(deals, close within next 10s)", 1000, 86_400_000 - 10_000 + 1)]
    [InlineData("exists(deals, close within next 10s)", 86_400_000 - 10_000 + 1, 86_400_001)]
    [InlineData("count(deals, not close < now) > 1", 1000, 86_400_000)]
    [InlineData("count(deals, not close < now) > 1", 86_400_000, 86_400_001)]
    [InlineData("count(deals, close within last 1d) > 1", 86_400_000, 2 * 86_400_000)]
    [InlineData("count(deals, close within last 1d) > 1", 2 * 86_400_000, long.MaxValue)]
    [InlineData("count(deals, other within last 1d) > 1", 1000, long.MaxValue)]
    [InlineData("computed.soon == true", 1000, 86_400_000 - 10_000 + 1)]
    public void Time_passes_for_records_too(string rule, long after, long expected)
    {
        Person person = Deals(Cdp(computed: [("soon", Value("exists(deals, close within next 10s)"))], segments: [("s", Rule(rule))]));

        Assert.Equal(expected, person.Engine.NextDeadline(person.Profile, after));
        person.Evaluate(after);
        Assert.Equal(expected, person.Engine.NextDeadline(person.Profile, after));
    }

    [Fact]
    public void A_date_only_in_a_computed_trait_sets_no_timer() =>
        Assert.Equal(long.MaxValue, Deals(Computed(Value("exists(deals, close within next 10s)"))) is var person ? person.Engine.NextDeadline(person.Profile, 1000) : 0);

    [Fact]
    public void They_allocate_nothing()
    {
        Person person = Deals(Cdp(
            computed: [("worth", Value("sum(deals, amount, stage != \"clos\\ned\")"))],
            segments: [("a", Rule("exists(deals, stage contains \"lea\" and source != \"x\" and close within next 7d)")), ("b", Rule("count(contacts) > 1 and computed.worth > 1"))]));
        SegmentChanges changes = default;
        Run(3000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Run(3000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                person.Engine.Evaluate(person.Profile, 1000 + i, ref changes);
                person.Engine.NextDeadline(person.Profile, 1000 + i);
                changes.Clear();
            }
        }
    }

    private static Expression Value(string text) => ExpressionReader.ReadValue(text).Expression!;

    private static Person Deals(CdpModel model)
    {
        var person = new Person(model);
        new CrmPerson(person.Profile)
            .Write("deal", "1", """{"stage":"lead","amount":20000,"close":"1970-01-02","tags":["a","b"]}""", 1)
            .Write("deal", "2", """{"stage":"lead\u0021","amount":"100.1","owner":{"name":"Anna","mail box":7}}""", 1)
            .Write("deal", "3", """{"stage":null,"amount":null}""", 1)
            .Write("deal", "1", """{"stage":"closedwon","amount":250.2}""", 1, source: "sales")
            .Write("deal", "4", """{"stage":"lead"}""", 1)
            .Write("deal", "4", null, 2)
            .Write("contact", "1", """{"name":"Anna"}""", 1)
            .Write("contact", "2", null, 1);
        return person;
    }
}
