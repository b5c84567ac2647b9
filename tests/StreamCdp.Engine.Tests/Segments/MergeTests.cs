using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Engine.Tests.Profiles;
using static StreamCdp.Engine.Tests.Segments.Build;

namespace StreamCdp.Engine.Tests.Segments;

/// <summary>After a merge only what it changed is looked at: the same must come out as of a look at everything.</summary>
public class MergeTests
{
    private const long Now = 400_000;

    private static readonly string[] s_rules =
    [
        """happened("A")""",
        """not happened("A", within: 10s) and happened("B")""",
        """happened("A", within: 5m) or happened("A", within: 1m)""",
        """count("A", within: 2m) >= 2 and count("*") < 9""",
        """unique_count("A", properties.v, within: 1h) == 3""",
        """most_frequent("A", properties.v) == "1" """,
        """sequence("A", "B", within: 3m)""",
        """last("A", properties.v) == 2 and max("B", properties.v, within: 1h) > 1""",
        """traits.country == "DE" """,
        """traits.country != "DE" and identifiers.email exists""",
        "traits.due < now",
        "exists(deals)",
        "count(deals, stage == \"won\") == 1 and not exists(contacts)",
        "computed.recent >= 2",
        """in_segment("r0") and not in_segment("r11")""",
    ];

    [Fact]
    public void What_a_merge_changed_is_all_that_changes() => Gen.Int[0, int.MaxValue - 1].Sample(
        seed =>
        {
            CdpModel model = Cdp(computed: [("recent", Function(EventFunction.Count, "B", windowMs: 300 * Second))], segments: [.. s_rules.Select((rule, i) => ($"r{i}", Rule(rule)))]);
            Person changed = Survivor();
            Person whole = Survivor();

            SegmentChanges changes = default;
            changed.Engine.Begin(changed.Profile, Now);
            Merge(changed);
            long deadline = Math.Min(changed.Profile.ArmedDeadline, changed.Engine.EvaluateChanged(changed.Profile, isNew: false, Now, ref changes));
            Merge(whole);
            string[] expected = whole.Evaluate(Now);

            Assert.Equal(expected, changes.Items.ToArray().Select(change => (change.Entered ? "+" : "-") + model.Segments[change.Segment].Id));
            Assert.True(deadline <= whole.Engine.NextDeadline(whole.Profile, Now), "A timer too late.");
            Assert.Equal(whole.Engine.NextDeadline(whole.Profile, Now), changed.Engine.NextDeadline(changed.Profile, Now));

            Person Survivor()
            {
                Person person = Someone(new Random(seed), model);
                person.Evaluate(Now);
                person.Profile.ArmedDeadline = person.Engine.NextDeadline(person.Profile, Now);
                return person;
            }

            void Merge(Person survivor)
            {
                var random = new Random(seed + 1);
                Person loser = Someone(random, model);
                loser.Profile.CrmFloors[(int)CrmObject.Deal] = random.Next(3) == 0 ? new EventOrder(random.Next(10), 0, 0) : EventOrder.None; // As of one who had too many deals.
                foreach (ref readonly IdentifierEntry identifier in loser.Profile.Identifiers)
                {
                    survivor.Profile.AddIdentifier(loser.Profile.Bytes(identifier.Type), loser.Profile.Bytes(identifier.Value), "web"u8);
                }

                new TraitRules(model, 0, new TraitLimits(), new TraitsSkipped()).Merge(survivor.Profile, loser.Profile);
                new CrmPerson(survivor.Profile).Merge(new CrmPerson(loser.Profile));
                survivor.Engine.Merge(survivor.Profile, loser.Profile);
            }
        },
        iter: 500);

    private static Person Someone(Random random, CdpModel model)
    {
        var person = new Person(model);
        for (int i = random.Next(5); i > 0; i--)
        {
            person.Apply(new PersonEvent(random.Next(2) == 0 ? "A" : "B", random.Next((int)Now), i) { Properties = $$"""{"v":"{{random.Next(4)}}"}""" });
        }

        if (random.Next(2) == 0)
        {
            person.Trait("country", random.Next(2) == 0 ? "\"DE\"" : "\"FR\"");
        }

        if (random.Next(2) == 0)
        {
            person.Trait("due", $"\"{DateTimeOffset.FromUnixTimeMilliseconds(random.Next(2 * (int)Now)):O}\"");
        }

        if (random.Next(2) == 0)
        {
            person.Identifier("email", $"e{random.Next()}@x.de");
        }

        for (int i = random.Next(3); i > 0; i--)
        {
            new CrmPerson(person.Profile).Write(random.Next(3) == 0 ? "contact" : "deal", $"{random.Next(3)}", random.Next(4) == 0 ? null : """{"stage":"won"}""", 1 + random.Next(10));
        }

        return person;
    }
}
