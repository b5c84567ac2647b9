using System.Text.Json.Nodes;
using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Generators;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>New rules in the middle of a history, counted again from the log while events go on: in the end everybody is where he would be had the rules been there from the beginning.</summary>
public class BackfillTests
{
    [Fact]
    public void Membership_and_computed_traits_are_those_of_a_fresh_run_over_everything() =>
        GeneratedCase.Any(OracleClock.Event).Sample(generated => Check(generated, shards: 1 + (int)(generated.Seed % 3), crashes: false), iter: 1000);

    [Fact]
    public void Crashes_at_any_moment_of_it_change_nothing() =>
        GeneratedCase.Any(OracleClock.Event).Sample(generated => Check(generated, shards: 1 + (int)(generated.Seed % 3), crashes: true), iter: 2000);

    /// <summary>Then nobody knows all of history; but it ends, the new rules are served, every function that lacks something says since when it is exact, and all else is as ever.</summary>
    [Fact]
    public void Retention_in_the_middle_of_it_is_told() => GeneratedCase.Any(OracleClock.Event).Sample(generated =>
    {
        GeneratedCase numbered = generated with { Model = generated.Model with { Version = 1 } };
        CdpModel later = Later(numbered);
        OracleWorld oracle = (numbered with { Model = later }).Run();
        using var engine = new SimulatedEngine(numbered.Model, numbered.Clock, numbered.DedupWindow, shards: 1 + (int)(generated.Seed % 3));
        var choice = new Choice(generated.Seed ^ 0x5EED);
        int start = choice.Below(numbered.Steps.Count + 1);
        bool wasRemoved = false;
        for (int i = 0; i <= numbered.Steps.Count; i++)
        {
            if (i == start)
            {
                engine.StartBackfill(later);
            }

            if (i < numbered.Steps.Count && numbered.Steps[i].Event is { } e)
            {
                engine.Feed(e);
            }

            for (int moves = choice.Below(12); moves > 0; moves--)
            {
                engine.Move(choice, mayCrash: false);
                engine.MoveBackfill(choice);
                wasRemoved |= choice.Percent(4) && engine.Retain(choice);
            }
        }

        engine.Settle();
        for (int tries = 0; !engine.IsServed(later); tries++)
        {
            Assert.True(tries < 3, $"The backfill does not end.\n{numbered}");
            if (!engine.IsBackfilling)
            {
                engine.StartBackfill(later); // It was overtaken, and said so.
            }

            engine.Quiet();
        }

        engine.Settle();
        bool isExact = !engine.Inexact.Any();
        foreach (OraclePerson person in oracle.People.Where(person => person.Events.Count > 0))
        {
            JsonObject expected = OracleDocument.Of(oracle, person);
            (_, JsonObject document) = engine.Profile(person.Identifiers[0].Type, person.Identifiers[0].Value)!.Value;
            foreach (string part in isExact ? (string[])["computed", "traits", "identifiers", "activity"] : ["traits", "identifiers", "activity"])
            {
                Assert.True(OracleDocument.AreAlike(expected[part], document[part]), $"removed {wasRemoved}, {part}\nexpected {expected[part]?.ToJsonString()}\nfound    {document[part]?.ToJsonString()}\n{numbered}\nthen {later.Text}");
            }
        }
    }, iter: 400);

    private static void Check(GeneratedCase generated, int shards, bool crashes)
    {
        GeneratedCase numbered = generated with { Model = generated.Model with { Version = 1 } };
        if (Difference(numbered, shards, crashes) is not null)
        {
            GeneratedCase smaller = numbered.Reduced(candidate => Difference(candidate, shards, crashes) is not null);
            Assert.Fail($"{Difference(smaller, shards, crashes)}\nshards {shards}, crashes {crashes}\n{smaller}\nthen {Later(smaller).Text}");
        }
    }

    /// <summary>The same people, other rules.</summary>
    private static CdpModel Later(GeneratedCase generated, ulong version = 2)
    {
        CdpModel other = new ModelGenerator(new Choice(generated.Seed ^ (0xBACF111 * version)), []).Generate();
        return generated.Model with { Computed = other.Computed, Segments = other.Segments, Version = version, Text = other.Text };
    }

    private static string? Difference(GeneratedCase generated, int shards, bool crashes)
    {
        CdpModel later = Later(generated);
        OracleWorld oracle = (generated with { Model = later }).Run();
        using var engine = new SimulatedEngine(generated.Model, generated.Clock, generated.DedupWindow, shards);
        var choice = new Choice(generated.Seed ^ 0x5EED);
        int start = choice.Below(generated.Steps.Count + 1);
        int before = choice.Below(start + 1);
        int kind = choice.Below(4); // 0: another model's backfill comes first, and may be under way still. 1: it does, and is taken back.
        for (int i = 0; i <= generated.Steps.Count; i++)
        {
            if (i == before && kind < 2)
            {
                engine.StartBackfill(Later(generated, version: 3));
            }

            if (i == start && kind == 1)
            {
                engine.Revert();
            }

            if (i == start)
            {
                engine.StartBackfill(later);
            }

            if (i < generated.Steps.Count && generated.Steps[i].Event is { } e)
            {
                engine.Feed(e);
            }

            for (int moves = choice.Below(12); moves > 0; moves--)
            {
                engine.Move(choice, crashes);
                engine.MoveBackfill(choice);
            }
        }

        engine.Settle();
        for (int tries = 0; !engine.IsServed(later); tries++)
        {
            if (tries == 3)
            {
                return $"The backfill does not end.\n{engine.Dump()}";
            }

            if (!engine.IsBackfilling)
            {
                engine.StartBackfill(later); // A crash took the disk with what was begun.
            }

            engine.Quiet();
        }

        engine.Settle();
        foreach (OraclePerson person in oracle.People.Where(person => person.Events.Count > 0))
        {
            OracleIdentifier identifier = person.Identifiers[0];
            if (engine.Profile(identifier.Type, identifier.Value) is not var (_, document))
            {
                return $"{identifier} has no profile.";
            }

            JsonObject expected = OracleDocument.Of(oracle, person);
            foreach (string part in (string[])["computed", "notes", "traits", "identifiers"])
            {
                if (!OracleDocument.AreAlike(expected[part], document[part]))
                {
                    return $"{identifier}: {part}\nexpected {expected[part]?.ToJsonString()}\nfound    {document[part]?.ToJsonString()}\n{engine.Dump()}";
                }
            }

            string[] segments = [.. expected["segments"]!.AsArray().Select(segment => (string)segment!["id"]!)];
            string[] found = [.. document["segments"]!.AsArray().Select(segment => (string)segment!["id"]!)];
            if (!segments.SequenceEqual(found))
            {
                return $"{identifier}: segments\nexpected {string.Join(' ', segments)}\nfound    {string.Join(' ', found)}\n{engine.Dump()}";
            }
        }

        return null;
    }
}
