using System.Text;
using System.Text.Json.Nodes;
using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Generators;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>The whole engine against the obvious reference: every profile, and every membership change in its order.</summary>
public class EngineAgainstOracleTests
{
    [Fact]
    public void In_wall_time_every_profile_and_every_change_is_the_reference_s() =>
        GeneratedCase.Any(OracleClock.Wall).Sample(generated => Check(generated, shards: 1, crashes: false), iter: 2000);

    [Fact]
    public void In_wall_time_the_number_of_shards_changes_nothing_while_ticks_bring_the_time() =>
        GeneratedCase.Any(OracleClock.Wall).Sample(generated => Check(TickedBeforeEachEvent(generated), shards: 2 + (int)(generated.Seed % 3), crashes: false), iter: 1000);

    [Fact]
    public void In_event_time_the_order_of_moves_and_the_number_of_shards_change_nothing() =>
        GeneratedCase.Any(OracleClock.Event).Sample(generated => Check(generated, shards: 1 + (int)(generated.Seed % 3), crashes: false), iter: 2000);

    [Fact]
    public void Crashes_at_any_moment_lose_nothing_and_double_nothing() =>
        GeneratedCase.Any(OracleClock.Event).Sample(generated => Check(generated, shards: 1 + (int)(generated.Seed % 3), crashes: true), iter: 4000);

    /// <summary>Cases that failed once.</summary>
    [Theory]
    [InlineData(17265927217418886UL, OracleClock.Event, false)]
    [InlineData(3633911889663365UL, OracleClock.Event, false)]
    [InlineData(0UL, OracleClock.Event, true)]
    [InlineData(1UL, OracleClock.Event, true)]
    [InlineData(5UL, OracleClock.Event, true)]
    [InlineData(104UL, OracleClock.Event, true)]
    [InlineData(241UL, OracleClock.Event, true)]
    [InlineData(13077UL, OracleClock.Event, true)]
    [InlineData(46035UL, OracleClock.Event, true)]
    [InlineData(89515UL, OracleClock.Event, true)]
    [InlineData(880UL, OracleClock.Event, true)]
    internal void A_case_that_failed_once_stays_right(ulong seed, OracleClock clock, bool crashes)
    {
        GeneratedCase generated = GeneratedCase.Of(seed, clock, without: [EventFunction.UniqueCount, EventFunction.MostFrequent, EventFunction.Sequence]); // As it was then.
        for (int shards = 1; shards <= 3; shards++)
        {
            Check(generated, shards, crashes);
        }
    }

    /// <summary>Fails with the smallest case that still differs.</summary>
    internal static void Check(GeneratedCase generated, int shards, bool crashes)
    {
        string? difference = Difference(generated, shards, crashes);
        if (difference is null)
        {
            return;
        }

        GeneratedCase smaller = generated.Reduced(candidate => Difference(candidate, shards, crashes) is not null);
        Assert.Fail($"{Difference(smaller, shards, crashes)}\nshards {shards}, crashes {crashes}\n{smaller}");
    }

    private static string? Difference(GeneratedCase generated, int shards, bool crashes)
    {
        OracleWorld oracle = generated.Run();
        using var engine = new SimulatedEngine(generated.Model, generated.Clock, generated.DedupWindow, shards);
        var choice = new Choice(generated.Seed ^ 0x5EED);
        foreach (HistoryStep step in generated.Steps)
        {
            if (step.Event is null)
            {
                engine.TickAhead(step.AtMs);
            }
            else
            {
                engine.Feed(step.Event);
            }

            if (generated.Clock == OracleClock.Wall)
            {
                engine.Route();
                engine.MoveShards(choice); // How far a shard is behind its log changes nothing.
            }
        }

        if (generated.Clock == OracleClock.Event)
        {
            for (int i = 0; i < 300; i++)
            {
                engine.Move(choice, crashes);
            }

            engine.Settle();
        }
        else if (oracle.NowMs > long.MinValue)
        {
            engine.Tick(oracle.NowMs); // The oracle settles at its now; here only a tick does.
        }

        return Compare(oracle, engine) is { } difference ? $"{difference}\n{engine.Dump()}" : null;
    }

    /// <summary>Without ticks each shard has a now of its own, by the events that it got; the oracle has one for all.</summary>
    private static GeneratedCase TickedBeforeEachEvent(GeneratedCase generated) =>
        generated with { Steps = [.. generated.Steps.SelectMany(step => step.Event is null ? [step] : (HistoryStep[])[new HistoryStep(null, step.AtMs), step])] };

    private static string? Compare(OracleWorld oracle, SimulatedEngine engine)
    {
        if (engine.Crashes == 0) // A crash decides again, and counts again.
        {
            foreach (string rule in (string[])["limit", "merge_by", "cap"])
            {
                if (engine.Rejected(rule) != oracle.Refused.GetValueOrDefault(rule))
                {
                    return $"identifiers left out by {rule}: expected {oracle.Refused.GetValueOrDefault(rule)}, found {engine.Rejected(rule)}";
                }
            }
        }

        Dictionary<UInt128, List<OracleChange>> changes = engine.Changes();
        foreach (OraclePerson person in oracle.People.Where(person => person.Events.Count > 0))
        {
            OracleIdentifier identifier = person.Identifiers[0];
            if (engine.Profile(identifier.Type, identifier.Value) is not var (id, document))
            {
                return $"{identifier} has no profile.";
            }

            document.Remove("id");
            document.Remove("version");
            document.Remove("updated_at");
            document.Remove("merged_from");
            JsonObject expected = OracleDocument.Of(oracle, person);
            foreach ((string part, JsonNode? value) in expected)
            {
                if (!OracleDocument.AreAlike(value, document[part]))
                {
                    return $"{identifier}: {part}\nexpected {value?.ToJsonString()}\nfound    {document[part]?.ToJsonString()}";
                }
            }

            List<OracleChange> found = changes.GetValueOrDefault(id, []);
            changes.Remove(id);
            if (!found.SequenceEqual(person.Changes))
            {
                return $"{identifier}: changes\nexpected {string.Join("\n         ", person.Changes)}\nfound    {string.Join("\n         ", found)}";
            }
        }

        // Of profiles that are another person by now, ids cannot be matched: the sequences as a bag must be the same.
        List<string> losers = [.. oracle.Everybody.Where(person => person.MergedInto is not null && person.Changes.Count > 0).Select(person => string.Join("; ", person.Changes)).Order()];
        List<string> foundLosers = [.. changes.Values.Select(sequence => string.Join("; ", sequence)).Order()];
        return losers.SequenceEqual(foundLosers) ? null : new StringBuilder("changes of merged profiles\nexpected ").AppendJoin("\n         ", losers).Append("\nfound    ").AppendJoin("\n         ", foundLosers).ToString();
    }
}
