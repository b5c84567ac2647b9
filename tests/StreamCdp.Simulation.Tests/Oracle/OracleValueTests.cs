using System.Text.Json.Nodes;
using StreamCdp.Engine.Model;
using static StreamCdp.Simulation.Tests.Oracle.OracleExample;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>RULES.md §5 and §6.</summary>
public class OracleValueTests
{
    [Theory]
    [InlineData(TraitMerge.Latest, "5", "crm@40")]
    [InlineData(TraitMerge.First, "3", "web@10")]
    [InlineData(TraitMerge.Min, "1.0", "crm@30")]
    [InlineData(TraitMerge.Max, "5", "crm@40")]
    [InlineData(TraitMerge.Union, "[3,\"x\",1.0,5]", "crm@40")]
    public void Merging_writes_in_order_of_event_time(TraitMerge merge, string expected, string by)
    {
        OracleWorld world = World(Model().With(new TraitDefinition("t", merge, [], null)));
        Identify(world, 40, 40, "5", "crm");
        Identify(world, 50, 10, "3", "web");
        Identify(world, 60, 20, "['x',3,null]", "web");
        Identify(world, 70, 30, "1.0", "crm");
        Identify(world, 80, 35, "1", "web");

        AssertTrait(world, expected, by);
    }

    [Fact]
    public void Null_removes_only_the_latest()
    {
        OracleWorld world = World(Model());
        Identify(world, 20, 20, "null", "web");
        Identify(world, 30, 10, "'late'", "web");
        Assert.Null(Document(world)["traits"]!["t"]);

        Identify(world, 40, 40, "''", "web");
        AssertTrait(world, "\"\"", "web@40");
    }

    [Fact]
    public void A_preferred_source_or_kind_beats_later_writes_and_its_null_too()
    {
        OracleWorld world = World(Model().With(new TraitDefinition("t", TraitMerge.Latest, ["crm", "website"], null)));
        Identify(world, 10, 10, "'crm'", "crm");
        Identify(world, 20, 20, "'web'", "web");
        AssertTrait(world, "\"crm\"", "crm@10");

        Identify(world, 30, 30, "null", "crm");
        Identify(world, 40, 40, "'web'", "web");
        Assert.Null(Document(world)["traits"]!["t"]);
    }

    [Fact]
    public void Context_traits_fill_up_those_of_identify_and_count_nowhere_else()
    {
        OracleWorld world = World(Model());
        world.Send(0, "{'type':'identify','userId':'1','traits':{'a':null},'context':{'traits':{'a':1,'b':{'c':2}}}}");
        world.Send(1, "{'type':'track','event':'A','userId':'1','traits':{'b':3},'context':{'traits':{'b':4}}}");
        world.Send(2, "{'type':'group','userId':'1','traits':{'b':5}}");

        Assert.Equal("""{"b":{"c":2}}""", Document(world)["traits"]!.ToJsonString());
    }

    [Fact]
    public void A_trait_with_a_path_reads_only_that_of_every_type()
    {
        OracleWorld world = World(Model().With(new TraitDefinition("t", TraitMerge.First, [], ["context", "campaign", "name"])));
        world.Send(0, "{'type':'identify','userId':'1','traits':{'t':'sent'}}");
        world.Send(1, "{'type':'page','userId':'1','context':{'campaign':{'name':'spring'}}}");

        AssertTrait(world, "\"spring\"", "crm@1");
    }

    [Theory]
    [InlineData(EventFunction.Count, "9")]
    [InlineData(EventFunction.Sum, "104")] // 3.5 + 0.2 + 0.1 + 100 + 0.2: texts that are no numbers and 10^15 are skipped.
    [InlineData(EventFunction.Avg, "20.8")]
    [InlineData(EventFunction.Min, "0.1")]
    [InlineData(EventFunction.Max, "1000000000000000")] // No exact sum: no limit.
    [InlineData(EventFunction.First, "3.50")]
    [InlineData(EventFunction.Last, "true")]
    [InlineData(EventFunction.UniqueCount, "8")]
    [InlineData(EventFunction.MostFrequent, "\"0.20\"")]
    public void Functions_of_a_path(EventFunction kind, string expected)
    {
        OracleWorld world = World(Model().Computing("c", Of(kind, "v")));
        string[] values = ["3.50", "'0.20'", "0.1", "'two'", "null", "1000000000000000", "1e2", "' 1'", "'0.20'", "true"];
        for (int i = 0; i < values.Length; i++)
        {
            world.Track(i, "u:1", $"'properties':{{'v':{values[i]}}}");
        }

        Assert.Equal(expected, Document(world)["computed"]!["c"]!.ToJsonString());
    }

    [Theory]
    [InlineData("999999999999999.9999999999", true)]
    [InlineData("1000000000000000", false)]
    [InlineData("0.0000000001", true)]
    [InlineData("0.00000000001", false)]
    [InlineData("0.10000000000000", true)]
    [InlineData("1e-10", true)]
    [InlineData("1e400", false)]
    [InlineData("-5", true)]
    [InlineData("'+5'", false)]
    [InlineData("'05'", false)]
    public void Which_numbers_a_sum_takes(string value, bool isTaken)
    {
        OracleWorld world = World(Model().Computing("c", Of(EventFunction.Sum, "v")));
        world.Track(0, "u:1", $"'properties':{{'v':{value}}}");

        Assert.Equal(isTaken ? decimal.Parse(value, System.Globalization.NumberStyles.Float) : 0m, (decimal)Document(world)["computed"]!["c"]!);
    }

    [Fact]
    public void Ties_go_to_the_smallest_in_code_point_order()
    {
        OracleWorld world = World(Model().Computing("c", Of(EventFunction.MostFrequent, "v")));
        world.Track(0, "u:1", "'properties':{'v':'\uD83D\uDE00'}"); // U+1F600, in UTF-16 below U+FFFD.
        world.Track(1, "u:1", "'properties':{'v':'\uFFFD'}");

        Assert.Equal("\uFFFD", (string?)Document(world)["computed"]!["c"]);
    }

    [Theory]
    [InlineData("page:Home", 1)]
    [InlineData("page:*", 2)]
    [InlineData("screen:*", 1)]
    [InlineData("A", 1)]
    [InlineData("*", 5)]
    public void Names_of_events(string name, int expected)
    {
        OracleWorld world = World(Model().Computing("c", Count(name)));
        world.Send(0, "{'type':'page','name':'Home','userId':'1'}");
        world.Send(1, "{'type':'page','userId':'1'}");
        world.Send(2, "{'type':'screen','name':'Home','userId':'1'}");
        world.Send(3, "{'type':'identify','userId':'1'}");
        world.Track(4, "u:1");

        Assert.Equal(expected, (int)(double)Document(world)["computed"]!["c"]!);
    }

    [Theory]
    [InlineData(2 * Minute, Second)]
    [InlineData((2 * Minute) + Second, Minute)]
    [InlineData(2 * Hour, Minute)]
    [InlineData((2 * Hour) + Second, Hour)]
    [InlineData(14 * Day, Hour)]
    [InlineData((14 * Day) + Second, Day)]
    public void Bucket_widths(long windowMs, long widthMs) => Assert.Equal(widthMs, OracleEvaluation.BucketMs(windowMs));

    [Theory]
    [InlineData(10 * Second, 500, 10 * Second)] // floor(t/1s) − 0 < 10 until 10.000.
    [InlineData(10 * Second, 999, 10 * Second)]
    [InlineData(10 * Second, 1_000, 11 * Second)]
    [InlineData((2 * Minute) + Second, 30 * Second, 3 * Minute)] // ceil(121 s / 1 min) = 3 buckets.
    [InlineData(15 * Day, Hour, 15 * Day)]
    public void A_bucket_leaves_at_its_end(long windowMs, long eventMs, long goneMs)
    {
        OracleWorld world = World(Model().Computing("c", Count("A", windowMs)));
        world.Track(eventMs, "u:1");
        OraclePerson person = world.People.Single();

        Assert.Equal(1.0, (double?)OracleDocument.Of(world, person, T0 + goneMs - 1)["computed"]!["c"]);
        Assert.Equal(0.0, (double?)OracleDocument.Of(world, person, T0 + goneMs)["computed"]!["c"]);
    }

    [Fact]
    public void Comparisons()
    {
        OracleWorld world = World(Model());
        world.Send(0, """
            {'type':'identify','userId':'1','traits':{'n':2,'s':'b','t':true,'l':['x',2],'day':'2026-01-02','at':'2026-01-02T01:00:00+01:00','o':{'x':1}}}
            """);
        var evaluation = new OracleEvaluation(world.Model, world.People.Single(), T0 + Day);
        bool True(Expression expression) => evaluation.IsTrue(expression);
        CompareExpression Now(string trait, CompareOperator op) => new(op, Trait(trait), new NowExpression());

        Assert.True(True(Is(Trait("none"), CompareOperator.Equal, null)));
        Assert.True(True(Is(Trait("n"), CompareOperator.NotEqual, null)));
        Assert.True(True(Is(Trait("n"), CompareOperator.NotEqual, "2")));
        Assert.False(True(Is(Trait("n"), CompareOperator.Less, "3")));
        Assert.False(True(Is(Trait("none"), CompareOperator.LessOrEqual, null)));
        Assert.True(True(Is(Trait("n"), CompareOperator.LessOrEqual, 2.0)));
        Assert.True(True(Is(Trait("s"), CompareOperator.Greater, "a")));
        Assert.True(True(Is(Trait("t"), CompareOperator.Equal, true)));
        Assert.True(True(Is(Trait("l"), CompareOperator.Contains, 2.0)));
        Assert.False(True(Is(Trait("l"), CompareOperator.Contains, "2")));
        Assert.True(True(Is(Trait("o", "x"), CompareOperator.Equal, 1.0)));
        Assert.True(True(new CompareExpression(CompareOperator.In, Trait("s"), new ListExpression([new LiteralExpression("a"), new LiteralExpression("b")]))));
        Assert.True(True(new ExistsExpression(Trait("o"))));
        Assert.True(True(new ExistsExpression(new PathExpression(PathRoot.Identifiers, ["user_id"]))));
        Assert.False(True(new ExistsExpression(new PathExpression(PathRoot.Identifiers, ["email"]))));
        Assert.True(True(Now("day", CompareOperator.Equal)));
        Assert.True(True(Now("at", CompareOperator.Equal)));
        Assert.False(True(Now("s", CompareOperator.LessOrEqual)));
        Assert.True(True(Is(Trait("at"), CompareOperator.Equal, "2026-01-02T00:00:00Z")));
        Assert.False(True(Is(Trait("at"), CompareOperator.Equal, "2026-01-02"))); // A date alone: texts.
        Assert.True(True(Is(Trait("at"), CompareOperator.Greater, "2026-01-02")));
    }

    private static JsonObject Document(OracleWorld world) => OracleDocument.Of(world, world.People.Single());

    private static void AssertTrait(OracleWorld world, string expected, string by)
    {
        JsonObject document = Document(world);
        Assert.Equal(expected, document["traits"]!["t"]!.ToJsonString());
        Assert.Equal(by, $"{document["provenance"]!["t"]!["source"]}@{DateTimeOffset.Parse(document["provenance"]!["t"]!["at"]!.ToString()).ToUnixTimeMilliseconds() - T0}");
    }

    private static void Identify(OracleWorld world, long atMs, long timeMs, string value, string source) =>
        world.Send(atMs, $"{{'type':'identify','userId':'1','timestamp':{T0 + timeMs},'traits':{{'t':{value}}}}}", source);
}
