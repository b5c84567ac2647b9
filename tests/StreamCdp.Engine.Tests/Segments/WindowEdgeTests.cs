using StreamCdp.Engine.Model;
using static StreamCdp.Engine.Tests.Segments.Build;

namespace StreamCdp.Engine.Tests.Segments;

/// <summary>Windows at their very edges, by hand: the last instant at which something counts, and the one after it (RULES.md §6.2, §6.3).</summary>
public sealed class WindowEdgeTests
{
    /// <summary>A function, events as <c>name@ms=value</c>, and values at instants. Buckets are 1 s up to 2 min, 1 min up to 2 h, 1 h up to 14 d, else 1 d.</summary>
    public static TheoryData<string, string, (long At, string Value)[]> Edges => new()
    {
        // Exact to the millisecond: now − W < time ≤ now.
        { "happened(\"A\", within: 1s)", "A@5000", [(5_000, "true"), (5_999, "true"), (6_000, "false")] },
        { "sequence(\"A\", \"B\", within: 10s)", "A@1000 B@4000", [(4_000, "true"), (10_999, "true"), (11_000, "false")] },
        { "sequence(\"A\", \"B\", within: 10s)", "A@4000 B@4000", [(4_000, "true"), (13_999, "true"), (14_000, "false")] }, // The same instant: the log's order.
        { "sequence(\"A\", \"B\", within: 10s)", "B@4000 A@4000", [(4_000, "false")] },
        { "sequence(\"A\", \"B\", within: 10s)", "A@1000 B@4000 A@5000 B@6000", [(10_999, "true"), (14_999, "true"), (15_000, "false")] }, // The latest pair lives longest.
        { "sequence(\"A\", \"A\", within: 10s)", "A@1000", [(1_000, "false")] }, // One event is one step.
        { "sequence(\"A\", \"A\", within: 10s)", "A@1000 A@2000", [(2_000, "true"), (10_999, "true"), (11_000, "false")] },
        { "sequence(\"A\", \"B\", \"C\", within: 10s)", "A@1000 B@2000 B@9000 C@10000", [(10_999, "true"), (11_000, "false")] },
        { "sequence(\"A\", \"B\")", "A@1000 B@2000", [(9_999_999_999, "true")] },

        // Buckets of a second: an event at e counts while floor(t) − floor(e) < 90.
        { "count(\"A\", within: 90s)", "A@5999 A@6000", [(94_999, "2"), (95_000, "1"), (95_999, "1"), (96_000, "0")] },
        { "sum(\"A\", properties.v, within: 90s)", "A@5999=0.1 A@6000=0.2", [(94_999, "0.3"), (95_000, "0.2"), (96_000, "0")] },
        { "avg(\"A\", properties.v, within: 90s)", "A@5999=1 A@6000=2", [(94_999, "1.5"), (95_000, "2"), (96_000, "null")] },
        { "min(\"A\", properties.v, within: 90s)", "A@5999=1 A@6000=2", [(94_999, "1"), (95_000, "2"), (96_000, "null")] },
        { "max(\"A\", properties.v, within: 90s)", "A@5999=2 A@6000=1", [(94_999, "2"), (95_000, "1"), (96_000, "null")] },
        { "first(\"A\", properties.v, within: 90s)", "A@5999=\"x\" A@6000=\"y\"", [(94_999, "\"x\""), (95_000, "\"y\""), (96_000, "null")] },
        { "last(\"A\", properties.v, within: 90s)", "A@6000=\"y\" A@5999=\"x\"", [(94_999, "\"y\""), (95_999, "\"y\""), (96_000, "null")] },
        { "unique_count(\"A\", properties.v, within: 90s)", "A@5999=1 A@6000=1 A@5999=2", [(94_999, "2"), (95_000, "1"), (95_999, "1"), (96_000, "0")] }, // Seen again, a value stays as long as its latest event.
        { "unique_count(\"A\", properties.v, within: 90s)", "A@6000=1 A@5999=1", [(95_999, "1"), (96_000, "0")] }, // Also when that came first.
        { "most_frequent(\"A\", properties.v, within: 90s)", "A@5000=\"x\" A@5999=\"x\" A@6000=\"y\"", [(94_999, "\"x\""), (95_000, "\"y\""), (96_000, "null")] },
        { "most_frequent(\"A\", properties.v, within: 90s)", "A@5000=\"x\" A@6000=\"x\" A@6000=\"y\" A@7000=\"y\"", [(94_999, "\"x\""), (95_000, "\"y\""), (96_000, "\"y\""), (97_000, "null")] }, // Two and two: the smaller one; then two of y.

        // Where the bucket's width changes: up to and with 2 min, 2 h, 14 d.
        { "unique_count(\"A\", properties.v, within: 2m)", "A@5999=1", [(124_999, "1"), (125_000, "0")] },
        { "unique_count(\"A\", properties.v, within: 121s)", "A@5999=1", [(179_999, "1"), (180_000, "0")] }, // Three minutes, for 121 s is more than two of them.
        { "most_frequent(\"A\", properties.v, within: 2h)", "A@59999=1", [(2 * Hour - 1, "1"), (2 * Hour, "null")] },
        { "most_frequent(\"A\", properties.v, within: 121m)", "A@59999=1", [(3 * Hour - 1, "1"), (3 * Hour, "null")] },
        { "avg(\"A\", properties.v, within: 14d)", "A@3600000=1", [(14 * Day + Hour - 1, "1"), (14 * Day + Hour, "null")] },
        { "max(\"A\", properties.v, within: 337h)", "A@3600000=1", [(15 * Day - 1, "1"), (15 * Day, "null")] },

        // Before 1970 buckets go on downwards.
        { "unique_count(\"A\", properties.v, within: 90s)", "A@-1=1", [(88_999, "1"), (89_000, "0")] },
        { "min(\"A\", properties.v, within: 90s)", "A@-1000=1", [(88_999, "1"), (89_000, "null")] },
    };

    [Theory]
    [MemberData(nameof(Edges))]
    public void A_function_at_the_edge_of_its_window(string function, string events, (long At, string Value)[] values)
    {
        Person person = Apply(new Person(Computed(ExpressionReader.ReadValue(function).Expression!)), events);
        foreach ((long at, string value) in values)
        {
            Assert.Equal($"{at}: {value}", $"{at}: {person.Computed("x", at).GetRawText()}");
        }
    }

    /// <summary>Who is in a segment by it leaves at that very instant: the deadline says so from the event on.</summary>
    [Theory]
    [MemberData(nameof(Edges))]
    public void The_deadline_is_where_it_stops(string function, string events, (long At, string Value)[] values)
    {
        Expression value = ExpressionReader.ReadValue(function).Expression!;
        Expression rule = value.Type == ExpressionType.Boolean ? value
            : value is FunctionExpression { Kind: EventFunction.Count or EventFunction.Sum or EventFunction.UniqueCount } ? Compare(value, CompareOperator.Greater, Literal(0))
            : new ExistsExpression(value);
        Person person = Apply(new Person(Segment(rule)), events);
        bool ends = values[^1].Value is "false" or "0" or "null" && values.Length > 1;
        long at = values[0].At;

        // Deadlines may come that change nothing; none is passed over.
        for (long deadline = at; ends && deadline < values[^1].At;)
        {
            Assert.True(person.Evaluate(deadline) is [] or ["+s"], $"left at {deadline}");
            deadline = person.Engine.NextDeadline(person.Profile, deadline);
            Assert.True(deadline <= values[^1].At, $"next {deadline}");
        }

        Assert.Equal(ends, person.Evaluate(values[^1].At) is ["-s"]);
    }

    private static Person Apply(Person person, string events)
    {
        long offset = 0;
        foreach (string one in events.Split(' '))
        {
            string[] parts = one.Split('@', '=');
            person.Apply(new PersonEvent(parts[0], long.Parse(parts[1]), ++offset) { Properties = parts.Length > 2 ? $$"""{"v":{{parts[2]}}}""" : "{}" });
        }

        return person;
    }
}
