using System.Text.Json.Nodes;
using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Oracle;
using static StreamCdp.Simulation.Tests.Oracle.OracleExample;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>A new cdp.yaml while profiles are there.</summary>
public class ModelChangeTests
{
    [Fact]
    public void What_time_did_before_a_new_model_is_a_change_of_its_own_instant()
    {
        CdpModel old = Model() with { Version = 1 };
        old = old.With("recent", Happened("A", Minute));
        using var engine = new SimulatedEngine(old, OracleClock.Wall, TimeSpan.FromHours(1), shards: 1);
        Feed(engine, 0, """{"type":"track","event":"A","userId":"u1"}""");
        Feed(engine, 100 * Second, """{"type":"track","event":"B","userId":"u2"}"""); // now passes the minute, and no tick has come yet.
        engine.ChangeModel(old.With("any", Happened("A")) with { Version = 2 });
        (UInt128 id, _) = engine.Profile("user_id", "u1")!.Value;

        Assert.Equal(
            [
                new OracleChange("recent", true, T0, "m0", OracleReason.Event),
                new OracleChange("recent", false, T0 + Minute, null, OracleReason.Time),
            ],
            engine.Changes()[id].Where(change => change.Segment == "recent"));
    }

    [Fact]
    public void Who_has_an_identifier_of_a_type_that_the_model_names_no_longer_can_still_be_joined()
    {
        CdpModel old = Model(User, new IdentifierDefinition { Type = "card", Limit = 1 }, Device) with { Version = 1 };
        using var engine = new SimulatedEngine(old, OracleClock.Wall, TimeSpan.FromHours(1), shards: 2);
        Feed(engine, 0, """{"type":"identify","anonymousId":"d1","context":{"externalIds":[{"id":"c1","type":"card"}]}}""");
        engine.ChangeModel(Model(User, Device) with { Version = 2 });
        Feed(engine, Second, """{"type":"identify","userId":"u1","anonymousId":"d1"}""");
        (UInt128 _, JsonObject document) = engine.Profile("user_id", "u1")!.Value;

        Assert.Contains("d1", document["identifiers"]!.AsArray().Select(identifier => (string)identifier!["value"]!));
        Assert.Equal(0, engine.Rejected("limit"));
    }

    private static void Feed(SimulatedEngine engine, long atMs, string json)
    {
        engine.Feed(new OracleEvent { Json = json.Insert(1, $"\"messageId\":\"m{atMs}\","), ReceivedAtMs = T0 + atMs, SourceId = "crm" });
        engine.Quiet();
    }
}
