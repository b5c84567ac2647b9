using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Segments;
using static StreamCdp.Engine.Tests.Segments.Build;

namespace StreamCdp.Engine.Tests.Segments;

public class DeadlineTests
{
    private static readonly string[] s_rules =
    [
        """happened("A", within: 10s)""",
        """happened("A", within: 1m) and not happened("B", within: 90s)""",
        """count("A", within: 90s) >= 2""",
        """count("A", within: 3m, where: properties.ok == true) < 2""",
        """count("*", within: 5h) >= 3 and traits.due > now""",
        """sum("A", properties.v, within: 1h) >= 5""",
        """max("A", properties.v, within: 15d) > 3 or min("B", properties.v, within: 2m) < 2""",
        """avg("A", properties.v, within: 100s) > 2""",
        """first("A", properties.v, within: 3m) == 1""",
        """last("A", properties.v, within: 3m) == 2""",
        """count("A", within: 30s) >= 1 or last("A", properties.v, within: 40s) == 3""", // States that others share.
        "traits.due within next 1h",
        "traits.due within last 2m",
        "traits.due <= now",
        "now > traits.due",
        "traits.due == now",
        "now != traits.due",
        """last("A", properties.at, within: 2h) < now""",
        "computed.at within next 1m",
        """in_segment("s0") and not in_segment("s2")""",
        "computed.recent >= 2",
        """not (traits.due within last 15d) and happened("A")""",
    ];

    [Fact]
    public void Between_two_deadlines_nothing_changes_and_at_a_deadline_the_new_value_holds() =>
        Gen.Int[0, int.MaxValue - 1].Sample(seed => Scenario(new Random(seed)), iter: 60);

    [Theory]
    [InlineData("""happened("A", within: 10s)""", 1000, 11_000)]
    [InlineData("""happened("A")""", 1000, long.MaxValue)]
    [InlineData("""count("A") > 3""", 1000, long.MaxValue)]
    [InlineData("""count("A", within: 10s) > 3""", 1000, 11_000)]
    [InlineData("""count("A", within: 10s) > 3""", 1999, 11_000)]
    [InlineData("""not count("A", within: 1d, where: properties.x == 1) == 1""", 1000, long.MaxValue)]
    [InlineData("traits.due < now", 1000, 60_000)]
    [InlineData("traits.due < now", 60_000, 60_001)]
    [InlineData("traits.due < now", 60_001, long.MaxValue)]
    [InlineData("traits.due within next 10s", 1000, 50_001)]
    [InlineData("traits.due within next 10s", 50_001, 60_001)]
    [InlineData("traits.due within next 10s", 60_001, long.MaxValue)]
    [InlineData("traits.due within last 10s", 1000, 60_000)]
    [InlineData("traits.due within last 10s", 60_000, 70_000)]
    [InlineData("traits.due within last 10s", 70_000, long.MaxValue)]
    [InlineData("traits.none < now", 1000, long.MaxValue)]
    public void The_next_deadline_of_an_event_at_the_second_and_a_date_at_the_minute(string rule, long after, long expected)
    {
        Person person = new Person(Segment(Rule(rule))).Trait("due", "\"1970-01-01T00:01:00Z\"").Apply(new("A", Math.Min(after, 1999), 1));

        Assert.Equal(expected, person.Engine.NextDeadline(person.Profile, after));
    }

    private static void Scenario(Random random)
    {
        string[] rules = [.. s_rules.OrderBy(_ => random.Next())];
        int used = random.Next(1, rules.Length);
        CdpModel model = Cdp(
            computed: [("recent", Function(EventFunction.Count, "A", windowMs: 20 * Second)), ("at", Function(EventFunction.Last, "A", "at"))],
            segments: [("s0", Rule(s_rules[0])), ("s2", Rule(s_rules[2])), .. rules.Take(used).Select((rule, i) => ($"r{i}", Rule(rule)))]);
        var engine = new SegmentEngine(model);
        var person = new Person(engine);
        var slow = new SlowModel(model);
        long now = random.Next(2) == 0 ? 1_700_000_000_000 : -5000;
        for (int step = 0; step < 12; step++)
        {
            long time = now - (random.Next(3) == 0 ? random.Next(200_000) : 0);
            string date = Date(now + random.Next(-400_000, 4_000_000));
            if (random.Next(4) == 0)
            {
                person.Trait("due", $"\"{date}\"");
                slow.Traits["due"] = $"\"{date}\"";
            }

            var e = new PersonEvent(random.Next(3) == 0 ? "B" : "A", time, step) { Properties = $$"""{"v":{{random.Next(6)}},"ok":{{(random.Next(2) == 0 ? "true" : "false")}},"at":"{{date}}"}""" };
            person.Apply(e);
            slow.Events.Add(e);
            person.Evaluate(now);
            Compare(now);

            long until = now + (long)Math.Pow(10, 1 + (random.NextDouble() * 9));
            for (int fired = 0; fired < 30; fired++)
            {
                long deadline = engine.NextDeadline(person.Profile, now);
                Assert.True(deadline > now);
                foreach (long quiet in Instants(now, Math.Min(deadline, until)))
                {
                    CompareAt(quiet, $"between {now} and the deadline {deadline}");
                }

                if (deadline >= until)
                {
                    break;
                }

                now = deadline;
                person.Evaluate(now);
                Compare(now);
            }

            now = Math.Max(now, Math.Min(until, now + random.Next(300_000)));
            person.Evaluate(now);
        }

        void Compare(long at) => CompareAt(at, "at an evaluation");

        void CompareAt(long at, string where)
        {
            foreach (SegmentDefinition segment in model.Segments)
            {
                Assert.True(slow.Segment(segment.Id, at) == person.IsIn(segment.Id), $"{segment.When} at {at}, {where}: was {person.IsIn(segment.Id)}");
            }
        }

        // Every instant in the gap at which something could change, by the rules' own arithmetic, and some others.
        IEnumerable<long> Instants(long after, long before)
        {
            var found = new SortedSet<long> { after + 1, before - 1 };
            long[] windows = [0, 10 * Second, 20 * Second, 30 * Second, 40 * Second, Minute, 90 * Second, 100 * Second, 2 * Minute, 3 * Minute, Hour, 2 * Hour, 5 * Hour, 15 * Day];
            long[] dates = [.. slow.Traits.Values.Concat(slow.Events.Select(e => e.Properties.Split("\"at\":")[1].TrimEnd('}'))).Select(text => DateTimeOffset.Parse(text.Trim('"')).ToUnixTimeMilliseconds()).Distinct()];
            foreach (long window in windows)
            {
                foreach (long time in slow.Events.Select(e => e.TimeMs).Concat(dates))
                {
                    foreach (long width in (long[])[1, Second, Minute, Hour, Day])
                    {
                        long edge = ((long)Math.Floor((decimal)time / width) + ((window + width - 1) / width)) * width;
                        found.UnionWith([edge - 1, edge, edge + 1, time - window, time - window + 1]);
                    }
                }
            }

            return found.Where(at => at > after && at < before).OrderBy(_ => random.Next()).Take(8);
        }
    }

    private static string Date(long ms) => DateTimeOffset.FromUnixTimeMilliseconds(ms).ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'");
}
