using System.Text.Json.Nodes;
using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>What the router does when others are slower, or when it has much to read.</summary>
public sealed class HeldUpRouterTests
{
    private const long Start = 1_767_225_600_000;
    private const int People = 40;
    private const int MostQueued = 8 * 512; // A few steps of the router pass before the hold is seen.

    /// <summary>Each person logs in on a device of their own: until the record of the device has come to the person, the person's events wait.</summary>
    [Fact]
    public void Who_merges_with_a_slow_shard_holds_the_router_up_and_nothing_is_lost()
    {
        const int Events = 30_000;
        using var engine = new SimulatedEngine(Model("count(\"A\") >= 3"), OracleClock.Event, TimeSpan.FromDays(1), shards: 2);
        for (int i = 0; i < People; i++)
        {
            Feed(engine, $"m-u{i}", $"\"userId\":\"u{i}\"", Start);
            Feed(engine, $"m-a{i}", $"\"anonymousId\":\"a{i}\"", Start);
        }

        engine.Quiet();
        for (int i = 0; i < People; i++)
        {
            Feed(engine, $"m-l{i}", $"\"userId\":\"u{i}\",\"anonymousId\":\"a{i}\"", Start + 1);
        }

        for (int i = 0; i < Events; i++)
        {
            Feed(engine, $"m{i}", $"\"userId\":\"u{i % People}\"", Start + 2);
        }

        for (int i = 0; i < 200; i++)
        {
            engine.MoveRouter(0);
            engine.MoveShard(0); // The other one does nothing.
        }

        Assert.InRange(engine.Queued, 1, MostQueued);
        Assert.InRange(engine.Routed, 1, Events / 2);

        engine.Quiet();

        Assert.Equal(0, engine.Queued);
        Assert.Equal((3 * People) + Events, engine.Documents().Values.Sum(document => JsonNode.Parse(document)!["activity"]!["events"]!.GetValue<int>()));
    }

    /// <summary>A minute of events is read at its end, each of somebody else: for each of them the 15 s begin when the event came.</summary>
    [Fact]
    public void Time_does_not_pass_events_by_that_came_before_it_and_are_not_read_yet()
    {
        const int Events = 1_200;
        const long Step = 50;
        long end = Start + (Events * Step);
        using var engine = new SimulatedEngine(Model("happened(\"A\", within: 15s)"), OracleClock.Wall, TimeSpan.FromDays(1), shards: 2, tickMs: 5);
        for (int i = 0; i < Events; i++)
        {
            Feed(engine, $"m{i}", $"\"userId\":\"u{i}\"", Start + (i * Step));
        }

        for (long now = end; now < end + 100; now += 5)
        {
            engine.MoveRouter(now);
        }

        engine.Tick(end + 15_000);
        List<List<OracleChange>> changes = [.. engine.Changes().Values];

        Assert.Equal(Events, changes.Count);
        Assert.All(changes, person => Assert.Equal([(true, 0L), (false, 15_000L)], person.Select(change => (change.Entered, change.AtMs - person[0].AtMs))));
        Assert.Equal(Enumerable.Range(0, Events).Select(i => Start + (i * Step)), changes.Select(person => person[0].AtMs).Order());
    }

    private static CdpModel Model(string rule) => ModelReader.Read("cdp.yaml", $"sources: [ {{ id: web, kind: website }} ]\nsegments:\n  seen: {{ when: '{rule}' }}\n", _ => null).Model!;

    private static void Feed(SimulatedEngine engine, string messageId, string sender, long at) => engine.Feed(new OracleEvent
    {
        Json = $$"""{"type":"track","event":"A",{{sender}},"messageId":"{{messageId}}","timestamp":{{at}}}""",
        ReceivedAtMs = at,
        SourceId = "web",
    });
}
