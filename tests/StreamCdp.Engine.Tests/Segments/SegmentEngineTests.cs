using System.Text;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Segments;
using static StreamCdp.Engine.Tests.Segments.Build;

namespace StreamCdp.Engine.Tests.Segments;

public class SegmentEngineTests
{
    [Fact]
    public void A_segment_sees_the_one_it_uses_at_the_same_evaluation()
    {
        var person = new Person(Cdp(segments: [("base", Rule("""count("A") >= 2""")), ("more", Rule("""in_segment("base") and traits.vip == true""")), ("less", Rule("""not in_segment("more")"""))]));
        person.Trait("vip", "true");

        Assert.Equal(["+less"], person.Evaluate(1));
        Assert.Equal([], person.Apply(new("A", 2, 1)).Evaluate(2));
        Assert.Equal(["+base", "+more", "-less"], person.Apply(new("A", 3, 2)).Evaluate(3));
        Assert.Equal("""[{"id":"base","since":"1970-01-01T00:00:00.003Z"},{"id":"more","since":"1970-01-01T00:00:00.003Z"}]""", Person.Written(writer => person.Engine.WriteSegments(writer, person.Profile)).GetRawText());
    }

    [Fact]
    public void Computed_traits_are_seen_by_segments_at_their_value_of_now()
    {
        var person = new Person(Cdp(computed: [("n", Function(EventFunction.Count, "A", windowMs: 10 * Second)), ("m", Rule("computed.n > 0"))], segments: [("s", Rule("computed.m == true and computed.n < 2"))]));

        Assert.Equal(["+s"], person.Apply(new("A", 1000, 1)).Evaluate(1000));
        Assert.Equal(11_000, person.Engine.NextDeadline(person.Profile, 1000));
        Assert.Equal(["-s"], person.Evaluate(11_000));
    }

    /// <summary>Two leaves of one node: a model that has them could not be compiled once.</summary>
    [Fact]
    public void A_function_and_computed_traits_that_are_it_may_all_be_conditions()
    {
        CdpModel computed = Cdp(computed: [("a", Rule("""happened("A")""")), ("alias", Rule("""happened("A")""")), ("both", Rule("""happened("A") and happened("B")"""))]);
        var person = new Person(computed with
        {
            Segments =
            [
                .. new[] { ("trait", "computed.a"), ("function", """happened("A")"""), ("never", "computed.a and not computed.alias"), ("two", """computed.both and not happened("C")""") }
                    .Select(segment => new SegmentDefinition(segment.Item1, segment.Item1, ExpressionReader.ReadCondition(segment.Item2, computed).Expression!, 1)),
            ],
        });

        Assert.Equal(["+trait", "+function"], person.Apply(new("A", 1, 1)).Evaluate(1));
        Assert.Equal(["+two"], person.Apply(new("B", 2, 2)).Evaluate(2));
        Assert.Equal(["-two"], person.Apply(new("C", 3, 3)).Evaluate(3));
    }

    [Fact]
    public void The_deadline_sees_an_event_and_a_merge_after_the_evaluation_of_the_same_instant()
    {
        var person = new Person(Segment(Rule("""happened("A", within: 10s)""")));
        var other = new Person(person.Engine);
        other.Apply(new("A", 5000, 1));
        person.Evaluate(6000);

        person.Engine.Merge(person.Profile, other.Profile);
        Assert.Equal(15_000, person.Engine.NextDeadline(person.Profile, 6000));

        person.Apply(new("A", 6000, 2));
        Assert.Equal(16_000, person.Engine.NextDeadline(person.Profile, 6000));
    }

    [Fact]
    public void Equal_functions_share_one_state()
    {
        var person = new Person(Cdp(computed: [("n", Function(EventFunction.Count, "A"))], segments: [("s", Rule("""count("A") > 1 and count("A", within: 1d) > 0"""))]));
        person.Apply(new("A", 1, 1));

        Assert.Equal(2, person.Profile.Functions.Length);
    }

    [Fact]
    public void What_another_model_left_is_removed_and_told()
    {
        var old = new Person(Cdp(segments: [("a", Rule("""happened("A")""")), ("b", Rule("""happened("B")"""))]));
        old.Apply(new("A", 1, 1)).Apply(new("B", 1, 2)).Evaluate(1);
        var engine = new SegmentEngine(Cdp(segments: [("b", Rule("""happened("B")"""))]));
        SegmentChanges changes = default;

        engine.Evaluate(old.Profile, 2, ref changes);
        Assert.Equal(0, changes.Count);

        engine.RemoveUnknown(old.Profile, ref changes);
        Assert.Equal([new SegmentChange(-1, old.Engine.SegmentKey(0), false)], changes.Items.ToArray());
        Assert.Equal(1, old.Profile.Functions.Length);
        Assert.True(old.IsIn("b"));
        Assert.Equal(-1, engine.SegmentIndex(old.Engine.SegmentKey(0)));
    }

    [Fact]
    public void A_dead_state_goes_only_after_a_day_and_changes_nothing()
    {
        var person = new Person(Cdp(computed: [("n", Function(EventFunction.Count, "A", windowMs: Hour)), ("ever", Function(EventFunction.Count, "A"))]));
        person.Apply(new("A", 0, 1));

        person.Engine.Prune(person.Profile, Hour + Day - 1);
        Assert.Equal(2, person.Profile.Functions.Length);

        person.Engine.Prune(person.Profile, Hour + Day);
        Assert.Equal(1, person.Profile.Functions.Length);
        Assert.Equal("""{"n":0,"ever":1}""", person.Computed(Hour + Day).GetRawText());
    }

    [Fact]
    public void Buckets_that_can_never_count_again_are_cut()
    {
        var person = new Person(Computed(Function(EventFunction.Count, "A", windowMs: 2 * Minute)));
        for (int i = 0; i < 10_000; i++)
        {
            person.Apply(new("A", i * Second, i));
        }

        Assert.InRange(person.Profile.Bytes(person.Profile.Functions[0].State).Length, 240, 280);
        Assert.Equal(120, person.Computed("x", 9_999 * Second).GetInt32());
    }

    [Fact]
    public void Texts_with_the_same_hash_get_different_keys()
    {
        var byKey = new Dictionary<uint, string>();
        (string A, string B)? pair = null;
        for (int i = 0; pair is null; i++)
        {
            string text = $"t{i}";
            uint key = StableKeys.For([text])[text];
            pair = byKey.TryGetValue(key, out string? other) ? (other, text) : null;
            byKey[key] = text;
        }

        Dictionary<string, uint> keys = StableKeys.For([pair.Value.B, pair.Value.A, pair.Value.B]);

        Assert.NotEqual(keys[pair.Value.A], keys[pair.Value.B]);
        Assert.Equal(keys, StableKeys.For([pair.Value.A, pair.Value.B]));
    }

    [Fact]
    public void An_event_and_its_evaluation_allocate_nothing()
    {
        var person = new Person(Busy());
        person.Trait("country", "\"D\\u0045\"").Trait("address", """{"city":"Bonn"}""").Trait("due", "\"2023-11-20\"").Identifier("email", "a@x.org");
        PersonEvent[] events = [.. Enumerable.Range(0, 50).Select(i => new PersonEvent(i % 3 == 0 ? "Product Added" : "Order Completed", 0, i) { Properties = $$"""{"revenue":"{{i}}.95","currency":"E\u0055R","sku":"s\n{{i}}"}""" })];
        (PersonEvent Event, byte[] Payload, byte[] Name)[] ready = [.. events.Select(e => (e, e.Payload(), Encoding.UTF8.GetBytes(e.Name)))];
        SegmentChanges changes = default;
        long now = 1_700_000_000_000;
        Run(3000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Run(3000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                (PersonEvent e, byte[] payload, byte[] name) = ready[i % ready.Length];
                now += 700;
                Step(person, e, payload, name, now, ref changes);
            }
        }
    }

    /// <summary>10 computed traits and 11 segments, with every function.</summary>
    internal static CdpModel Busy() => Cdp(
        computed: [
            ("orders_90d", Function(EventFunction.Count, "Order Completed", windowMs: 90 * Day)), ("revenue", Function(EventFunction.Sum, "Order Completed", "revenue")),
            ("revenue_2h", Function(EventFunction.Sum, "Order Completed", "revenue", 2 * Hour)), ("average", Function(EventFunction.Avg, "Order Completed", "revenue", 30 * Day)),
            ("smallest", Function(EventFunction.Min, "Order Completed", "revenue", 90 * Day)), ("largest", Function(EventFunction.Max, "Order Completed", "revenue")),
            ("first_sku", Function(EventFunction.First, "Product Added", "sku", 90 * Day)), ("last_sku", Function(EventFunction.Last, "Product Added", "sku")),
            ("skus", Function(EventFunction.UniqueCount, "Product Added", "sku", 7 * Day)), ("favourite", Function(EventFunction.MostFrequent, "Product Added", "sku", 7 * Day))],
        segments: [
            ("cart", Rule("""happened("Product Added", within: 1h) and not happened("Order Completed", within: 1h)""")),
            ("big", Rule("""sum("Order Completed", properties.revenue, within: 90d) >= 500 and traits.country in ["DE","FR"]""")),
            ("eur", Rule("""count("Order Completed", where: properties.currency == "EUR") > 3""")),
            ("city", Rule("traits.address.city == \"Bonn\" and identifiers.email exists")),
            ("due", Rule("traits.due within next 7d or traits.due < now")),
            ("both", Rule("""in_segment("big") and in_segment("eur")""")),
            ("computed", Rule("computed.orders_90d >= 3 and computed.average > 10")),
            ("few", Rule("""count("*", within: 1h) < 3""")),
            ("funnel", Rule("""sequence("Product Added", "Order Completed", within: 1h)""")),
            ("sku", Rule("computed.last_sku starts_with \"s\\n\"")),
            ("mail", Rule("identifiers.email contains \"a@x.org\" and not computed.smallest > 5"))]);

    internal static void Step(Person person, PersonEvent e, byte[] payload, byte[] name, long now, ref SegmentChanges changes)
    {
        person.Engine.Begin(person.Profile, now);
        person.Apply(e.Type, new EventOrder(now, e.Offset, 0), payload, name);
        person.Engine.EvaluateChanged(person.Profile, isNew: false, now, ref changes);
        person.Engine.Evaluate(person.Profile, now, ref changes); // As a merge does.
        person.Engine.NextDeadline(person.Profile, now);
        changes.Clear();
        person.Store();
    }
}
