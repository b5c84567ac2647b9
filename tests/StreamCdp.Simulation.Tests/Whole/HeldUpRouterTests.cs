using System.Text.Json.Nodes;
using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>A router that is faster than a shard does not fill its log, in which everybody who merges waits to its end.</summary>
public sealed class HeldUpRouterTests
{
    private const int Events = 6000;
    private const int Few = 2048; // Steps that end before the first answer of the resolver is passed on.

    [Fact]
    public void A_shard_that_has_much_to_do_holds_the_router_up_and_nothing_is_lost()
    {
        CdpModel model = ModelReader.Read("cdp.yaml", "sources: [ { id: web, kind: website } ]\nsegments:\n  seen: { when: 'count(\"A\") >= 3' }\n", _ => null).Model!;
        using var engine = new SimulatedEngine(model, OracleClock.Wall, TimeSpan.FromDays(1), shards: 2);
        for (int i = 0; i < Events; i++)
        {
            engine.Feed(new OracleEvent { Json = $$"""{"type":"track","event":"A","userId":"u{{i % 30}}","messageId":"m{{i}}","timestamp":"2026-01-01T00:00:00Z"}""", ReceivedAtMs = 1_767_225_600_000, SourceId = "web" });
        }

        engine.Route(isHeldUp: true);

        Assert.InRange(engine.Routed, 1, Few);

        engine.Quiet();

        Assert.Equal(Events, engine.Routed);
        Assert.Equal(Events, engine.Documents().Values.Sum(document => JsonNode.Parse(document)!["activity"]!["events"]!.GetValue<int>()));
    }
}
