using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Segments;
using static StreamCdp.Engine.Tests.Segments.Build;

namespace StreamCdp.Engine.Tests.Segments;

/// <summary>Functions that keep a set: what they do beyond what they keep (RULES.md §6.1).</summary>
public class LimitedFunctionTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(30 * Day)]
    public void Unique_count_is_exact_to_256_values_and_then_says_so(long window)
    {
        var person = new Person(Computed(Function(EventFunction.UniqueCount, "A", "v", window)));
        for (int i = 0; i < 256; i++)
        {
            person.Apply(Value(1000, i, i % 2 == 0 ? $"{i}" : $"\"{i}\"")).Apply(Value(2000, 1000 + i, i % 2 == 0 ? $" {i}" : $"\"{i}\""));
        }

        Assert.Equal((256, "{}"), (person.Computed("x", 2000).GetInt32(), Notes(person, 2000)));

        person.Apply(Value(3000, 5000, "\"another\""));

        Assert.Equal((256, """{"x":"saturated"}"""), (person.Computed("x", 3000).GetInt32(), Notes(person, 3000)));
    }

    [Fact]
    public void A_text_and_a_number_are_two_values_and_escapes_and_white_space_make_none()
    {
        var person = new Person(Cdp(computed: [("n", Function(EventFunction.UniqueCount, "A", "v")), ("m", Function(EventFunction.MostFrequent, "A", "v"))]));
        foreach (string json in (string[])["1", "\"1\"", "\"\\u0031\"", "[1, 2]", "[1,2]", "null"])
        {
            person.Apply(Value(1, 1, json));
        }

        Assert.Equal("""{"n":3,"m":"1"}""", person.Computed(1).GetRawText());
    }

    [Fact]
    public void Of_too_many_values_those_seen_last_count_while_they_are_in_the_window()
    {
        var person = new Person(Computed(Function(EventFunction.UniqueCount, "A", "v", Minute)));
        for (int i = 0; i < 400; i++)
        {
            person.Apply(Value(i * 100, i, $"{i}")); // 10 of each second, in 40 s.
        }

        Assert.Equal(256, person.Computed("x", 40_000).GetInt32());
        Assert.Equal(240, person.Computed("x", 75_000).GetInt32()); // Those from second 16 on.
        Assert.Equal(10, person.Computed("x", 98_999).GetInt32());
    }

    [Fact]
    public void What_unique_count_keeps_does_not_depend_on_the_order_of_events_and_merges() => Gen.Int[0, int.MaxValue - 1].Sample(
        seed =>
        {
            var random = new Random(seed);
            CdpModel model = Computed(Function(EventFunction.UniqueCount, "A", "v", random.Next(4) switch { 0 => 0, 1 => 90 * Second, 2 => 150 * Second, _ => Hour }));
            PersonEvent[] events = [.. Enumerable.Range(0, 500).Select(i => Value(random.Next(200_000), i, $"{random.Next(400)}"))];
            Person[] people = [.. Enumerable.Range(0, 3).Select(_ => new Person(model))];
            foreach (PersonEvent e in events)
            {
                people[random.Next(3)].Apply(e);
            }

            Person all = new(model);
            foreach (Person part in people.OrderBy(_ => random.Next()))
            {
                all.Engine.Merge(all.Profile, part.Profile);
            }

            Person straight = new(model);
            foreach (PersonEvent e in events.OrderBy(_ => random.Next()))
            {
                straight.Apply(e);
            }

            for (long now = 200_000; now < 5_000_000; now += now < 400_000 ? 7000 : 500_000)
            {
                Assert.Equal(straight.Computed("x", now).GetInt32(), all.Computed("x", now).GetInt32());
            }
        },
        iter: 50);

    [Fact]
    public void Most_frequent_is_exact_to_64_values_and_then_forgets_the_rarest()
    {
        var person = new Person(Computed(Function(EventFunction.MostFrequent, "A", "v", 30 * Day)));
        for (int i = 0; i < 64; i++)
        {
            person.Apply(Value(1000, i, $"\"v{i:00}\"")).Apply(Value(1000, 100 + i, $"\"v{i:00}\""));
        }

        Assert.Equal(("v00", "{}"), (person.Computed("x", 1000).GetString(), Notes(person, 1000)));

        person.Apply(Value(1000, 200, "\"v63\"")).Apply(Value(1000, 201, "\"once\""));

        Assert.Equal(("v63", """{"x":"approximate"}"""), (person.Computed("x", 1000).GetString(), Notes(person, 1000)));
    }

    [Fact]
    public void A_value_longer_than_512_bytes_is_skipped_by_most_frequent_and_counted()
    {
        var person = new Person(Computed(Function(EventFunction.MostFrequent, "A", "v")));
        person.Apply(Value(1, 1, $"\"{new string('x', 513)}\"")).Apply(Value(1, 2, $"\"{new string('x', 512)}\""));

        Assert.Equal(new string('x', 512), person.Computed("x", 1).GetString());
        Assert.Equal(1, person.Engine.SkippedTooLong);
    }

    [Fact]
    public void Long_values_in_very_many_buckets_end_before_a_record_is_too_large_for_its_store()
    {
        Person person = new(Cdp(computed: [("first", Function(EventFunction.First, "A", "v", 1825 * Day)), ("count", Function(EventFunction.Count, "A"))]));
        for (int day = 0; day < 1000; day++)
        {
            person.Apply(new PersonEvent("A", day * Day, day) { Properties = $$"""{"v":"{{new string('x', 1000)}}"}""" });
        }

        byte[] record = [];
        Assert.InRange(person.Profile.Write(ref record), 100_000, SegmentEngine.MaxFunctionBytes + 1_000);
        Assert.True(person.Profile.IsFunctionsLimited);
        Assert.Equal("""{"functions":"limited"}""", Person.Written(writer => person.Engine.WriteNotes(writer, person.Profile, 0)).GetRawText());
        person.Profile.Read(1, record);
        Assert.True(person.Profile.IsFunctionsLimited);
        Assert.False(person.Profile.IsTraitsLimited || person.Profile.IsCrmLimited);
    }

    [Fact]
    public void A_sequence_of_very_many_events_that_come_in_order_stays_right_and_says_that_it_is_approximate()
    {
        var person = new Person(Cdp(computed: [("x", Rule("""sequence("A", "B", "C", within: 1d)"""))]));
        person.Apply(new("A", 0, 1)).Apply(new("B", 1, 2));
        for (int i = 0; i < 2000; i++)
        {
            person.Apply(new(i % 2 == 0 ? "A" : "B", 10 + i, 10 + i));
        }

        Assert.Equal("""{"x":"approximate"}""", Notes(person, 3000));
        Assert.False(person.Computed("x", 3000).GetBoolean());
        Assert.True(person.Profile.Bytes(person.Profile.Functions[0].State).Length < 5000);

        person.Apply(new("C", 3000, 5000));

        Assert.True(person.Computed("x", 3000).GetBoolean());
        Assert.True(person.Computed("x", 2008 + Day - 1).GetBoolean()); // The last A before a B.
        Assert.False(person.Computed("x", 2008 + Day).GetBoolean());
    }

    private static PersonEvent Value(long time, long offset, string json) => new("A", time, offset) { Properties = $$"""{"v":{{json}}}""" };

    private static string Notes(Person person, long now) => Person.Written(writer => person.Engine.WriteNotes(writer, person.Profile, now)).GetRawText();
}
