using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Generators;
using StreamCdp.Simulation.Tests.Oracle;
using static StreamCdp.Simulation.Tests.Oracle.OracleExample;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>Cases that the generators seldom or never reach: the engine against the reference, in both clocks and with several shards.</summary>
public class RuleCaseTests
{
    private static readonly IdentifierDefinition s_mailUser = User with { Limit = 2, Normalize = IdentifierNormalization.Email };
    private static readonly IdentifierDefinition s_anyUser = User with { Limit = 2, BlockedDefaults = false };

    [Fact]
    public void A_previousId_is_looked_up_in_the_form_of_a_user_id() => Check(
        Model(s_mailUser, Device),
        """{"type":"identify","userId":"a@x.de"}""",
        """{"type":"identify","userId":"b@x.de"}""",
        """{"type":"alias","userId":"b@x.de","previousId":"A@X.de"}""");

    [Fact]
    public void A_previousId_that_can_only_be_a_user_id_and_is_not_known_as_one_is_no_identifier()
    {
        OracleWorld oracle = Check(
            Model(s_anyUser, Device),
            """{"type":"alias","previousId":"guest","messageId":"m1"}""",
            """{"type":"identify","userId":"guest","messageId":"m1"}""",
            """{"type":"alias","previousId":"guest","messageId":"m2"}""",
            """{"type":"alias","previousId":"guest","messageId":"m2"}""");

        Assert.Equal([OracleVerdict.DeadLetter, OracleVerdict.Applied, OracleVerdict.Applied, OracleVerdict.Repeat], oracle.Outcomes.Select(outcome => outcome.Verdict));
    }

    [Fact]
    public void A_blocked_previousId_joins_nobody()
    {
        OracleWorld oracle = Check(
            Model(s_anyUser, Device),
            """{"type":"alias","userId":"u","previousId":"guest"}""",
            """{"type":"alias","userId":"v","previousId":"guest"}""");

        Assert.Equal(2, oracle.People.Count());
    }

    [Theory]
    [InlineData(70)]
    [InlineData(150)]
    [InlineData(900)]
    public void All_identifiers_of_an_event_count_however_many_there_are(int count)
    {
        static string With(string type, string key, string value, string external) => $$$"""{"type":"{{{type}}}","event":"A","{{{key}}}":"{{{value}}}","context":{"externalIds":[{{{external}}}]}}""";
        static string External(int first, int many) => string.Join(',', Enumerable.Range(first, many).Select(i => $$"""{"id":"k{{i}}","type":"card"}"""));
        OracleWorld oracle = Check(
            Model(User, new IdentifierDefinition { Type = "card", Limit = count }, Device),
            With("identify", "anonymousId", "d1", External(0, count)),
            With("track", "userId", "u1", External(count - 1, 1)),
            With("track", "anonymousId", "d2", $"{External(count + 10, 1)},{External(0, count)}"),
            With("alias", "previousId", "d1", External(2000, 70)));

        Assert.Equal(count + 2, oracle.Find("user_id", "u1")!.Identifiers.Count);
    }

    [Fact]
    public void What_is_left_out_again_and_again_is_counted_each_time()
    {
        const string Shared = """{"type":"track","event":"A","userId":"u2","anonymousId":"d","traits":{"email":"e@x.de"}}""";
        OracleWorld oracle = Check(Model(), """{"type":"identify","userId":"u1","anonymousId":"d"}""", Shared, Shared, Shared);

        Assert.Equal(3, oracle.Refused["limit"]);
    }

    [Fact]
    public void A_shard_s_now_is_not_before_an_event_that_a_merge_brings_to_it()
    {
        CdpModel model = Model().With("late", Happened("A", 10 * Second)).With("counted", Is(Count("A", 10 * Second), CompareOperator.GreaterOrEqual, 1.0));
        foreach (string device in (string[])["d1", "d2", "d3", "d4", "d5", "d6"])
        {
            CheckAt(
                model,
                (100, """{"type":"identify","userId":"u1"}"""),
                (5_000, """{"type":"track","event":"A","userId":"u1"}"""),
                (100_000, $$"""{"type":"track","event":"B","anonymousId":"{{device}}"}"""),
                (101_000, $$"""{"type":"track","event":"A","userId":"u1","anonymousId":"{{device}}","timestamp":{{T0 + 6_000}}}"""));
        }
    }

    [Fact]
    public void Of_a_trait_that_an_event_has_twice_the_last_one_counts() => Check(
        Model().With(new TraitDefinition("first", TraitMerge.First, [], null)).With(new TraitDefinition("low", TraitMerge.Min, [], null)).With(new TraitDefinition("tags", TraitMerge.Union, [], null)),
        """{"type":"identify","userId":"u1","traits":{"plan":"a","first":"a","low":1,"tags":"a","plan":"b","f\u0069rst":"b","low":2,"tags":["b"],"gone":1,"gone":null}}""",
        """{"type":"identify","userId":"u1","traits":{},"context":{"traits":{"plan":"c","plan":"d","low":1,"low":"x","tags":"c","tags":null}}}""");

    [Fact]
    public void A_union_holds_a_text_and_a_number_once_however_they_are_written() => Check(
        Model().With(new TraitDefinition("tags", TraitMerge.Union, [], null)),
        """{"type":"identify","userId":"u1","traits":{"tags":["\u00e9",1.0,"1",true]}}""",
        """{"type":"identify","userId":"u1","anonymousId":"d1","traits":{"tags":["é",1,1e0,"\u0031"]}}""",
        """{"type":"identify","anonymousId":"d2","timestamp":1,"traits":{"tags":["\u00E9",10e-1]}}""",
        """{"type":"identify","userId":"u1","anonymousId":"d2"}""");

    [Fact]
    public void An_event_received_before_the_kept_one_repeats_it_because_the_log_s_order_decides()
    {
        OracleWorld oracle = CheckAt(
            Model(),
            (10 * Hour, """{"type":"track","event":"A","userId":"u1","messageId":"m"}"""),
            (1 * Hour, """{"type":"track","event":"A","userId":"u1","messageId":"m"}"""),
            (11 * Hour, """{"type":"track","event":"A","userId":"u1","messageId":"m"}"""),
            (10 * Hour, """{"type":"track","event":"A","userId":"u1","messageId":"m"}"""));

        Assert.Equal([OracleVerdict.Applied, OracleVerdict.Repeat, OracleVerdict.Applied, OracleVerdict.Repeat], oracle.Outcomes.Select(outcome => outcome.Verdict));
    }

    [Theory]
    [InlineData(3_000, 4_000, """[{"id":"12","source":"crm","stage":"lead"}]""")]
    [InlineData(4_000, 3_000, null)] // What is gone for one is gone for both when they are one person: the later write says so.
    public void A_record_that_moves_to_another_person_is_there_once_whoever_they_are_later(long goneAt, long cameAt, string? deals)
    {
        string Deal(string user, string fields, long atMs) => $$$"""{"type":"identify","userId":"{{{user}}}","timestamp":{{{T0 + atMs}}},"context":{"crm":{"object":"deal","id":12,"fields":{{{fields}}} } } }""";
        CdpModel model = Model(User with { Limit = 2 }, Device)
            .With("open", new CollectionExpression("exists", "deals", null, Is(new PathExpression(PathRoot.Properties, ["stage"]), CompareOperator.Equal, "lead")))
            .With("none", Is(new CollectionExpression("count", "deals", null, null), CompareOperator.Equal, 0.0));
        OracleWorld oracle = CheckAt(
            model,
            (1_000, Deal("u1", "{\"stage\":\"lead\"}", 1_000)),
            (5_000, Deal("u1", "null", goneAt)),
            (6_000, Deal("u2", "{\"stage\":\"lead\"}", cameAt)),
            (7_000, """{"type":"identify","userId":"u1","anonymousId":"d1"}"""),
            (8_000, """{"type":"identify","userId":"u2","anonymousId":"d1"}"""),
            (9_000, Deal("u2", "{\"stage\":\"late\"}", 2_000)));

        Assert.Equal(deals, OracleDocument.Of(oracle, Assert.Single(oracle.People))["crm"]!["deals"]?.ToJsonString());
    }

    /// <summary>Events a second apart, with each clock and 1 to 3 shards.</summary>
    private static OracleWorld Check(CdpModel model, params IReadOnlyList<string> events) => CheckAt(model, [.. events.Select((json, i) => (i * Second, json))]);

    private static OracleWorld CheckAt(CdpModel model, params IReadOnlyList<(long AtMs, string Json)> events)
    {
        List<HistoryStep> steps = [.. events.Select(e => new HistoryStep(new OracleEvent { Json = e.Json, ReceivedAtMs = T0 + e.AtMs, SourceId = "crm" }, T0 + e.AtMs))];
        OracleWorld? oracle = null;
        foreach (OracleClock clock in Enum.GetValues<OracleClock>())
        {
            var generated = new GeneratedCase(0, model with { Text = ModelText.Yaml(model) }, clock, TimeSpan.FromHours(1), steps);
            for (int shards = 1; shards <= 3; shards++)
            {
                EngineAgainstOracleTests.Check(generated, shards, crashes: false);
            }

            oracle = generated.Run();
        }

        return oracle!;
    }
}
