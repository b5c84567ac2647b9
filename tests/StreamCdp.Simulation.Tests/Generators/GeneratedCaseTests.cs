using CsCheck;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Generators;

/// <summary>The oracle against itself on generated cases, and that the cases are worth running.</summary>
public class GeneratedCaseTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Between_the_instants_that_were_found_nothing_changes(int clock) => GeneratedCase.Any((OracleClock)clock).Sample(
        generated =>
        {
            OracleWorld world = generated.Run();
            var choice = new Choice(generated.Seed);
            foreach (OraclePerson person in world.People)
            {
                long start = world.NowMs;
                List<long> instants = [start, .. OracleInstants.Of(world.Model, person, start, start + (60 * 86_400_000L))];
                for (int i = 0; i < 20; i++)
                {
                    long random = start + ((long)choice.Below(60 * 86_400) * 1_000) + choice.Below(1_000);
                    long edge = choice.Of<long>(instants) - 1;
                    long instant = i % 2 == 0 || edge < start ? random : edge;
                    long before = instants.Last(other => other <= instant);
                    Assert.Equal(Members(world, person, before), Members(world, person, instant));
                }
            }
        },
        print: generated => generated.ToString(),
        iter: 150,
        threads: 1);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Memberships_are_what_the_changes_say_and_what_is_true_at_the_end(int clock) => GeneratedCase.Any((OracleClock)clock).Sample(
        generated =>
        {
            OracleWorld world = generated.Run();
            foreach (OraclePerson person in world.People)
            {
                Assert.Equal(Members(world, person, world.NowMs), world.Model.Segments.Select(segment => segment.Id).Where(person.Memberships.ContainsKey));
                foreach (IGrouping<string, OracleChange> changes in person.Changes.GroupBy(change => change.Segment))
                {
                    Assert.Equal(changes.Select((_, i) => i % 2 == 0), changes.Select(change => change.Entered));
                    Assert.Equal(changes.Order(Comparer<OracleChange>.Create((a, b) => a.AtMs.CompareTo(b.AtMs))), changes);
                }
            }

            Assert.Equal(world.Outcomes.Count(outcome => outcome.Verdict == OracleVerdict.Applied), world.People.Sum(person => person.Events.Count));
            Assert.True(world.People.SelectMany(person => person.Identifiers).GroupBy(id => id).All(same => same.Count() == 1));
            Assert.All(world.People, person => OracleDocument.Of(world, person));
        },
        print: generated => generated.ToString(),
        iter: 150,
        threads: 1);

    [Fact]
    public void The_cases_reach_what_is_tricky()
    {
        var seen = new Dictionary<string, int>();
        void See(string what, int times) => seen[what] = seen.GetValueOrDefault(what) + times;
        for (ulong seed = 0; seed < 150; seed++)
        {
            OracleWorld world = GeneratedCase.Of(seed, OracleClock.Wall).Run();
            foreach ((string rule, int times) in world.Refused)
            {
                See(rule, times);
            }

            See("merges", world.Everybody.Count(person => person.MergedInto is not null));
            See("repeats", world.Outcomes.Count(outcome => outcome.Verdict == OracleVerdict.Repeat));
            See("dead letters", world.Outcomes.Count(outcome => outcome.Verdict == OracleVerdict.DeadLetter));
            See("by event", world.Everybody.Sum(person => person.Changes.Count(change => change.Reason == OracleReason.Event)));
            See("by time", world.Everybody.Sum(person => person.Changes.Count(change => change.Reason == OracleReason.Time)));
            See("CRM records", world.People.Sum(person => OracleCrm.Of(world.Model, person).Count));
            See("CRM records gone", world.People.Sum(person => person.Events.Count(e => OracleCrm.Read(world.Model, e) is { Fields.ValueKind: System.Text.Json.JsonValueKind.Null })));
            See("by CRM records", world.Everybody.Sum(person => person.Changes.Count(change => change.Segment[0] == 't')));
            See("by CRM records and time", world.Everybody.Sum(person => person.Changes.Count(change => change.Segment[0] == 't' && change.Reason == OracleReason.Time)));
            See("late", world.Everybody.Sum(person => person.Events.Zip(person.Events.Skip(1)).Count(pair => pair.First.Log > pair.Second.Log)));
        }

        string all = string.Join(", ", seen.Select(pair => $"{pair.Key} {pair.Value}"));
        foreach (string what in (string[])["limit", "merge_by", "invalid", "blocked", "merges", "repeats", "dead letters", "by event", "by time", "late", "CRM records", "CRM records gone", "by CRM records", "by CRM records and time"])
        {
            Assert.True(seen.GetValueOrDefault(what) >= 40, $"Too little of {what}: {all}");
        }
    }

    [Fact]
    public void A_seed_is_a_case() => Assert.Equal(GeneratedCase.Of(7, OracleClock.Wall).ToString(), GeneratedCase.Of(7, OracleClock.Wall).ToString());

    [Fact]
    public void A_failing_case_is_reduced_to_what_matters()
    {
        static bool HasMerge(GeneratedCase generated) => generated.Run().Everybody.Any(person => person.MergedInto is not null);
        GeneratedCase generated = Enumerable.Range(0, 50).Select(seed => GeneratedCase.Of((ulong)seed, OracleClock.Event)).First(HasMerge);
        GeneratedCase reduced = generated.Reduced(HasMerge);

        Assert.True(reduced.Steps.Count is 2 or 3, reduced.ToString());
        Assert.Single(reduced.Model.Segments);
    }

    private static List<string> Members(OracleWorld world, OraclePerson person, long nowMs)
    {
        var evaluation = new OracleEvaluation(world.Model, person, nowMs);
        return [.. world.Model.Segments.Where(segment => evaluation.IsTrue(segment.When)).Select(segment => segment.Id)];
    }
}
