using System.Text.Json;
using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using static StreamCdp.Engine.Tests.Segments.Build;

namespace StreamCdp.Engine.Tests.Segments;

public class FunctionTests
{
    private static readonly EventFunction[] s_kinds =
        [EventFunction.Count, EventFunction.Sum, EventFunction.Min, EventFunction.Max, EventFunction.Avg, EventFunction.First, EventFunction.Last, EventFunction.Happened];

    private static readonly string[] s_values =
    [
        """{"v":1}""", """{"v":2.5}""", """{"v":-3}""", """{"v":0.1}""", """{"v":-0.0}""", """{"v":0}""", """{"v":"12.5"}""", """{"v":"1e2"}""", """{"v":"\u0037"}""", """{"v":" 7"}""", """{"v":"x"}""",
        """{"v":"a\"\u00e9\\"}""", """{"v":null}""", "{}", """{"v":true}""", """{"v": {"a" : [1, "b c"]} }""", """{"v":[ 1 , 2 ]}""", """{"v":1e15}""", """{"v":999999999999999.9999999999}""",
        """{"v":1e-11}""", """{"v":1e-10}""", """{"v":123456789.12}""", """{"v":1e300}""", """{"v":7,"ok":true}""", """{"v":8,"ok":true}""",
    ];

    private static readonly long[] s_windows = [0, Second, 7 * Second, 90 * Second, 2 * Minute, (10 * Minute) + Second, 2 * Hour, 5 * Hour, 14 * Day, 30 * Day];

    [Fact]
    public void Every_function_equals_the_obvious_model_with_late_events_and_merges() =>
        Gen.Int[0, int.MaxValue - 1].Sample(seed => Scenario(new Random(seed)), iter: 150);

    [Theory]
    [InlineData(0, true)]
    [InlineData(59_999, true)]
    [InlineData(60_000, false)]
    public void Happened_is_exact_to_the_millisecond(long afterMs, bool expected)
    {
        const long Time = 1_700_000_000_123;
        Person person = new Person(Computed(Function(EventFunction.Happened, "A", windowMs: Minute))).Apply(new("A", Time, 1));

        Assert.Equal(expected, person.Computed("x", Time + afterMs).GetBoolean());
    }

    // Width 1 s up to 2 min, 1 min up to 2 h, 1 h up to 14 d, else 1 d: `last` is the last instant at which an event at `time` counts.
    [Theory]
    [InlineData(90 * Second, 5_999, 94_999)]
    [InlineData(90 * Second, 5_000, 94_999)]
    [InlineData(1500, 5_000, 6_999)]
    [InlineData(2 * Minute, 5_999, 124_999)]
    [InlineData(2 * Minute + 1, 65_000, 4 * Minute - 1)]
    [InlineData(2 * Hour, 59_999, 2 * Hour - 1)]
    [InlineData(2 * Hour + 1, Hour - 1, 3 * Hour - 1)]
    [InlineData(14 * Day, Hour, 14 * Day + Hour - 1)]
    [InlineData(14 * Day + 1, 0, 15 * Day - 1)]
    [InlineData(90 * Day, Day - 1, 90 * Day - 1)]
    [InlineData(90 * Second, -1, 88_999)]
    [InlineData(90 * Day, -Day, 89 * Day - 1)]
    [InlineData(90 * Day, -Day - 1, 88 * Day - 1)]
    public void Buckets_leave_the_window_at_the_edge(long window, long time, long last)
    {
        Person person = new Person(Cdp(
            computed: [("count", Function(EventFunction.Count, "A", windowMs: window)), ("last", Function(EventFunction.Last, "A", "v", window)), ("first", Function(EventFunction.First, "A", "v", window))],
            segments: [("s", Compare(Function(EventFunction.Count, "A", windowMs: window), CompareOperator.Greater, Literal(0)))]));
        person.Apply(new("A", time, 1) { Properties = """{"v":"x"}""" });

        Assert.Equal("""{"count":1,"last":"x","first":"x"}""", person.Computed(last).GetRawText());
        Assert.Equal("""{"count":0,"last":null,"first":null}""", person.Computed(last + 1).GetRawText());
        Assert.Equal(last + 1, person.Engine.NextDeadline(person.Profile, last));
        Assert.Equal(last + 1, person.Engine.NextDeadline(person.Profile, time));
        Assert.Equal(long.MaxValue, person.Engine.NextDeadline(person.Profile, last + 1));
    }

    [Fact]
    public void Functions_of_nothing_are_0_or_null()
    {
        var person = new Person(Cdp(computed: s_kinds.Select(kind => (kind.ToString(), (Expression)Function(kind, "A", "v")))));

        Assert.Equal("""{"Count":0,"Sum":0,"Min":null,"Max":null,"Avg":null,"First":null,"Last":null,"Happened":false}""", person.Computed(0).GetRawText());
    }

    [Theory]
    [InlineData("1e400", "0", 0, 1)]
    [InlineData("1e15", "0", 0, 1)]
    [InlineData("-1000000000000000.0", "0", 0, 1)]
    [InlineData("999999999999999.9999999999", "999999999999999.9999999999", 0, 0)]
    [InlineData("-999999999999999.9999999999", "-999999999999999.9999999999", 0, 0)]
    [InlineData("0.0000000001", "0.0000000001", 0, 0)]
    [InlineData("0.00000000001", "0", 0, 1)]
    [InlineData("1e-10", "0.0000000001", 0, 0)]
    [InlineData("1e-11", "0", 0, 1)]
    [InlineData("1.5000000000000000000000000000000000", "1.5", 0, 0)]
    [InlineData("10000000000000000000000000000000000e-30", "10000", 0, 0)]
    [InlineData("0e999999999999", "0", 0, 0)]
    [InlineData("0.000000000000000000000000000000000001e40", "10000", 0, 0)]
    [InlineData("\"12.5\"", "12.5", 0, 0)]
    [InlineData("\"-1e2\"", "-100", 0, 0)]
    [InlineData("\"\\u0031\\u0032\"", "12", 0, 0)]
    [InlineData("\"+1\"", "0", 1, 0)]
    [InlineData("\"01\"", "0", 1, 0)]
    [InlineData("\" 1\"", "0", 1, 0)]
    [InlineData("\"1.\"", "0", 1, 0)]
    [InlineData("\"\"", "0", 1, 0)]
    [InlineData("\"0x1\"", "0", 1, 0)]
    [InlineData("\"NaN\"", "0", 1, 0)]
    [InlineData("true", "0", 1, 0)]
    [InlineData("[1]", "0", 1, 0)]
    [InlineData("null", "0", 0, 0)]
    public void Sums_take_numbers_exactly_or_count_what_they_skip(string json, string expected, long notNumber, long outOfRange)
    {
        Person person = new Person(Computed(Function(EventFunction.Sum, "A", "v"))).Apply(new("A", 1, 1) { Properties = $$"""{"v":{{json}}}""" });

        Assert.Equal(expected, person.Computed("x", 1).GetRawText());
        Assert.Equal((notNumber, outOfRange), (person.Engine.SkippedNotNumber, person.Engine.SkippedOutOfRange));
    }

    [Fact]
    public void Sums_stay_exact_where_28_digits_do_not_suffice()
    {
        var person = new Person(Cdp(computed: [("sum", Function(EventFunction.Sum, "A", "v")), ("avg", Function(EventFunction.Avg, "A", "v", 90 * Day))]));
        for (int i = 0; i < 20_000; i++)
        {
            person.Apply(new("A", 1, i) { Properties = """{"v":999999999999999.9999999999}""" });
        }

        Assert.Equal("19999999999999999999.999998", person.Computed("sum", 1).GetRawText());
        Assert.Equal(1e15, person.Computed("avg", 1).GetDouble());
    }

    [Fact]
    public void Min_and_max_take_what_a_double_can_hold()
    {
        var person = new Person(Cdp(computed: [("min", Function(EventFunction.Min, "A", "v")), ("max", Function(EventFunction.Max, "A", "v"))]));
        foreach (string value in (string[])["1e300", "-1e400", "1e400", "\"2.50\"", "-0.0"])
        {
            person.Apply(new("A", 1, 1) { Properties = $$"""{"v":{{value}}}""" });
        }

        Assert.Equal("""{"min":0,"max":1E+300}""", person.Computed(1).GetRawText());
        Assert.Equal(4, person.Engine.SkippedOutOfRange);
    }

    [Fact]
    public void First_and_last_take_any_value_of_an_event_and_only_first_with_a_window_none_over_1_KiB()
    {
        string text = new('x', 32_000);
        var person = new Person(Cdp(computed:
        [
            ("first", Function(EventFunction.First, "A", "v")), ("last", Function(EventFunction.Last, "A", "v")),
            ("lastOfDay", Function(EventFunction.Last, "A", "v", Day)), ("firstOfDay", Function(EventFunction.First, "A", "v", Day)),
        ]));
        person.Apply(new("A", 1, 1) { Properties = $$"""{"v":"{{text}}"}""" });
        person.Apply(new("A", 2, 2) { Properties = $$"""{"v":"short"}""" });
        person.Apply(new("A", 3, 3) { Properties = $$"""{"v":"{{text}}"}""" });
        person.Store();

        Assert.Equal([text, text, text, "short"], person.Computed(3).EnumerateObject().Select(value => value.Value.GetString()));
        Assert.Equal(2, person.Engine.SkippedTooLong);
    }

    [Fact]
    public void Ties_in_time_follow_the_log_and_then_the_partition()
    {
        var person = new Person(Cdp(computed: [("first", Function(EventFunction.First, "A", "v")), ("last", Function(EventFunction.Last, "A", "v")), ("day", Function(EventFunction.First, "A", "v", Day))]));
        foreach ((long offset, int partition) in ((long, int)[])[(5, 1), (5, 0), (4, 9), (6, 0), (5, 2)])
        {
            person.Apply(new("A", 1000, offset) { Partition = partition, Properties = $$"""{"v":"{{offset}}/{{partition}}"}""" });
        }

        Assert.Equal("""{"first":"4/9","last":"6/0","day":"4/9"}""", person.Computed(1000).GetRawText());
    }

    [Theory]
    [InlineData("Track", "Home", "every track")]
    [InlineData("Page", "Home", "every page home")]
    [InlineData("Page", "Other", "every page")]
    [InlineData("Page", "*", "every page")]
    [InlineData("Page", "", "every page")]
    [InlineData("Screen", "Home", "every screen")]
    [InlineData("Identify", "", "every")]
    [InlineData("Group", "Home", "every")]
    [InlineData("Track", "Hôme", "every ascii-no")]
    [InlineData("Track", "page:Home", "every")]
    [InlineData("Track", "page:*", "every")]
    [InlineData("Track", "*", "every")]
    public void Events_are_called_by_name_and_prefix(string type, string name, string expected)
    {
        var person = new Person(Cdp(computed: [
            ("every", Function(EventFunction.Happened, "*")), ("track", Function(EventFunction.Happened, "Home")), ("page", Function(EventFunction.Happened, "page:*")),
            ("screen", Function(EventFunction.Happened, "screen:*")), ("home", Function(EventFunction.Happened, "page:Home")), ("ascii-no", Function(EventFunction.Happened, "Hôme"))]));

        person.Apply(new(name, 1, 1) { Type = Enum.Parse<EventType>(type) });

        Assert.Equal(expected, string.Join(' ', person.Computed(1).EnumerateObject().Where(one => one.Value.GetBoolean()).Select(one => one.Name)));
    }

    [Fact]
    public void Where_sees_the_event_alone()
    {
        Expression where = And(
            Compare(Property("currency"), CompareOperator.Equal, Literal("E\"UR")), Compare(Context("campaign", "name"), CompareOperator.StartsWith, Literal("sp")),
            Compare(new PathExpression(PathRoot.EventType, []), CompareOperator.Equal, Literal("track")), Compare(new PathExpression(PathRoot.EventName, []), CompareOperator.Equal, Literal("A")),
            Compare(Property("tags"), CompareOperator.Contains, Literal("x")));
        var person = new Person(Computed(Function(EventFunction.Count, "*", where: where)));
        person.Apply(new("A", 1, 1) { Properties = """{"currency":"E\u0022UR","tags":["y","\u0078"]}""", Context = """{"campaign":{"name":"spring"}}""" });
        person.Apply(new("A", 1, 2) { Properties = """{"currency":"E\u0022UR","tags":["y"]}""", Context = """{"campaign":{"name":"spring"}}""" });
        person.Apply(new("B", 1, 3) { Properties = """{"currency":"E\u0022UR","tags":["x"]}""", Context = """{"campaign":{"name":"spring"}}""" });

        Assert.Equal(1, person.Computed("x", 1).GetInt32());
    }

    [Theory]
    [InlineData("Page", "Home", true)]
    [InlineData("Page", "", false)]
    [InlineData("Track", "Home", true)]
    [InlineData("Track", "page:Home", false)]
    public void Where_calls_a_page_by_its_name_alone(string type, string name, bool expected)
    {
        var person = new Person(Computed(Function(EventFunction.Happened, "*", where: Compare(new PathExpression(PathRoot.EventName, []), CompareOperator.Equal, Literal("Home")))));

        person.Apply(new(name, 1, 1) { Type = Enum.Parse<EventType>(type) });

        Assert.Equal(expected, person.Computed("x", 1).GetBoolean());
    }

    [Fact]
    public void An_average_is_the_exact_quotient()
    {
        var person = new Person(Computed(Function(EventFunction.Avg, "A", "v")));
        person.Apply(new("A", 1, 1) { Properties = """{"v":0.1}""" }).Apply(new("A", 1, 2) { Properties = """{"v":0.2}""" }).Apply(new("A", 1, 3) { Properties = """{"v":0}""" });

        Assert.Equal("0.1", person.Computed("x", 1).GetRawText());
    }

    [Fact]
    public void A_context_of_the_batch_is_read_where_its_slots_point()
    {
        var person = new Person(Computed(new FunctionExpression(EventFunction.Last, ["A"], Context("page"), 0, Compare(Property("ok"), CompareOperator.Equal, Literal(true)))));
        ReadOnlySpan<byte> payload = """{"properties":{"ok":true}}"""u8;
        ReadOnlySpan<byte> batch = """{"context":{"page":"/home"}}"""u8;
        var scanner = new JsonPathScanner(person.Engine.EventPaths);
        var slots = new JsonSlice[2];
        var batchSlots = new JsonSlice[2];
        scanner.Scan(payload, slots);
        scanner.Scan(batch, batchSlots);
        int contextSlot = person.Engine.EventPaths.ToList().FindIndex(path => path[0] == "context");
        slots[contextSlot] = batchSlots[contextSlot];

        person.Engine.Apply(person.Profile, new EventView { Payload = payload, ContextPayload = batch, Slots = slots, Type = EventType.Track, Name = "A"u8, Order = new EventOrder(1, 1, 0) });

        Assert.Equal("/home", person.Computed("x", 1).GetString());
    }

    [Fact]
    public void Texts_and_objects_are_kept_as_JSON_without_white_space()
    {
        var person = new Person(Computed(Function(EventFunction.Last, "A", "v")));
        person.Apply(new("A", 1, 1) { Properties = "{\"v\": {\"a\\\" b\" :\n [ 1,\t\"c  d\" ] } }" });
        Assert.Equal("""{"a\" b":[1,"c  d"]}""", person.Computed("x", 1).GetRawText());

        person.Apply(new("A", 1, 2) { Properties = """{"v": "\ud800 x" }""" });
        Assert.Equal("""
            "\ud800 x"
            """, person.Computed("x", 1).GetRawText());
    }

    private static void Scenario(Random random)
    {
        long start = random.Next(3) == 0 ? -40 * Day : 1_700_000_000_000;
        long span = (long)(Second * Math.Pow(10, random.NextDouble() * 7));
        Expression where = Compare(Property("ok"), CompareOperator.Equal, Literal(true));
        CdpModel model = Cdp(computed: Enumerable.Range(0, 12).Select(i =>
        {
            EventFunction kind = s_kinds[random.Next(s_kinds.Length)];
            bool hasValue = kind is not (EventFunction.Count or EventFunction.Happened) || random.Next(3) == 0;
            string name = random.Next(3) switch { 0 => "*", 1 => "A", _ => "page:A" };
            return ($"c{i}", (Expression)Function(kind, name, hasValue ? "v" : null, s_windows[random.Next(s_windows.Length)], random.Next(4) == 0 ? where : null));
        }));
        var engine = new StreamCdp.Engine.Pipeline.Segments.SegmentEngine(model);
        var people = Enumerable.Range(0, random.Next(1, 5)).Select(_ => (Fast: new Person(engine), Slow: new SlowModel(model))).ToList();
        long now = start;
        for (int step = 0; step < 60; step++)
        {
            now += random.Next(4) == 0 ? (long)(span * random.NextDouble()) : random.Next(3);
            int chosen = random.Next(people.Count);
            (Person fast, SlowModel slow) = people[chosen];
            if (people.Count > 1 && random.Next(12) == 0)
            {
                int other = (chosen + 1) % people.Count;
                engine.Merge(fast.Profile, people[other].Fast.Profile);
                slow.Events.AddRange(people[other].Slow.Events);
                people.RemoveAt(other);
            }
            else
            {
                var e = new PersonEvent(random.Next(3) == 0 ? "B" : "A", random.Next(2) == 0 ? now : now - (long)(span * random.NextDouble()), random.Next(1_000_000) + (step * 1_000_000L))
                {
                    Type = random.Next(3) == 0 ? EventType.Page : EventType.Track,
                    Properties = s_values[random.Next(s_values.Length)],
                };
                fast.Apply(e);
                slow.Events.Add(e);
            }

            if (random.Next(3) == 0)
            {
                fast.Store();
            }

            if (random.Next(10) == 0)
            {
                engine.Prune(fast.Profile, now);
            }

            JsonElement computed = fast.Computed(now);
            foreach (ComputedDefinition definition in model.Computed)
            {
                object? expected = slow.Computed(definition.Name, now);
                JsonElement actual = computed.GetProperty(definition.Name);
                Assert.True(SlowModel.SameJson(expected, actual), $"{definition.Value} at {now}: expected {expected}, was {actual}");
            }
        }
    }
}
