using CsCheck;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Engine.Tests.Segments;

namespace StreamCdp.Engine.Tests.Profiles;

public class CrmRulesTests
{
    [Fact]
    public void Records_stand_in_order_of_source_and_id_with_their_fields_beside() => Assert.Equal(
        """{"contacts":[{"id":"7","source":"hubspot","name":"Köln \"x\"","address":{"city":"Bonn"}}],"deals":[{"id":"1","source":"hubspot"},{"id":"2","source":"hubspot","amount":1250.50},{"id":"1","source":"sales","stage":"lead"}]}""",
        new CrmPerson()
            .Write("deal", "1", """{"stage":"lead"}""", 1, source: "sales")
            .Write("deal", "2", """{ "amount" : 1250.50 }""", 2)
            .Write("contact", "7", """{"name":"Köln \"x\"", "address":{ "city" : "Bonn" }}""", 3)
            .Write("deal", "1", "{}", 4)
            .Store().Document());

    [Theory]
    [InlineData("""{"a":1,"a":2,"b":3,"\u0061":4}""", """{"deals":[{"id":"1","source":"hubspot","a":4,"b":3}]}""")]
    [InlineData("""{"id":"other","source":1,"i\u0064":2,"x":"y"}""", """{"deals":[{"id":"1","source":"hubspot","x":"y"}]}""")]
    [InlineData("""{"x":null,"\ud800":[1, 2]}""", """{"deals":[{"id":"1","source":"hubspot","x":null,"\uFFFD":[1,2]}]}""")]
    public void A_field_stands_once_and_those_of_the_key_are_hidden(string fields, string document) =>
        Assert.Equal(document, new CrmPerson().Write("deal", "1", fields, 1).Store().Document());

    [Theory]
    [InlineData("""{}""", 0)]
    [InlineData("""{"crm":null}""", 0)]
    [InlineData("""{"crm":"deal"}""", 1)]
    [InlineData("""{"crm":[]}""", 1)]
    [InlineData("""{"crm":{}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","id":"1"}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","id":"1","fields":"x"}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","id":"1","fields":[]}}""", 1)]
    [InlineData("""{"crm":{"object":"deals","id":"1","fields":{}}}""", 1)]
    [InlineData("""{"crm":{"object":1,"id":"1","fields":{}}}""", 1)]
    [InlineData("""{"crm":{"id":"1","fields":{}}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","fields":{}}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","id":"","fields":{}}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","id":1.5,"fields":{}}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","id":1e3,"fields":{}}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","id":true,"fields":{}}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","id":null,"fields":{}}}""", 1)]
    [InlineData("""{"crm":{"object":"deal","id":{},"fields":{}}}""", 1)]
    public void What_says_no_record_is_left_out_and_counted(string context, long malformed)
    {
        CrmPerson person = new CrmPerson().Event(context);

        Assert.Equal("{}", person.Document());
        Assert.Equal(malformed, person.Skipped.Malformed);
        Assert.False(person.Profile.IsCrmLimited);
    }

    [Fact]
    public void An_id_has_1_to_100_characters_however_many_bytes()
    {
        CrmPerson person = new CrmPerson().Write("deal", new string('é', 100), "{}", 1).Write("deal", new string('é', 101), "{}", 2);

        Assert.Equal((1, 1), (person.Profile.Crm.Length, person.Skipped.Malformed));
    }

    [Fact]
    public void An_integer_and_an_escape_are_the_id_that_they_say() => Assert.Equal(
        """{"deals":[{"id":"12","source":"hubspot","n":2}]}""",
        new CrmPerson().Event("""{"crm":{"object":"deal","id":12,"fields":{"n":1}}}""", 1).Event("""{"crm":{"\u006fbject":"d\u0065al","id":"\u0031\u0032","fields":{"n":2}}}""", 2).Document());

    [Fact]
    public void Text_that_is_no_UTF_8_stops_nothing()
    {
        var person = new CrmPerson();
        byte[] context = [.. """{"crm":{"object":"deal","fields":{"na"""u8, 0xFF, .. """me":"x"""u8, 0xC3, .. """y"},"id":"1"""u8, 0xFF, .. "\"}}"u8];
        new CrmRules(CrmPerson.Model, person.Skipped).Apply(person.Profile, context, "hubspot"u8, new Pipeline.EventOrder(1, 1, 0));
        var document = new MemoryStream();
        using (var writer = new System.Text.Json.Utf8JsonWriter(document))
        {
            ProfileDocument.WriteCrm(writer, person.Profile);
        }

        Assert.Equal(1, person.Profile.Crm.Length);
        Assert.NotEqual(0, document.Length);
    }

    [Theory]
    [InlineData("forms")]
    [InlineData("shop")]
    [InlineData("unheard_of")]
    public void Only_a_trusted_source_of_kind_crm_brings_records(string source) =>
        Assert.Equal("{}", new CrmPerson().Write("deal", "1", "{}", 1, source: source).Document());

    [Fact]
    public void A_record_that_is_gone_does_not_come_back_by_an_older_write() => Assert.Equal(
        """{"deals":[{"id":"2","source":"hubspot","n":3}]}""",
        new CrmPerson()
            .Write("deal", "1", """{"n":1}""", 10).Write("deal", "1", null, 20).Store().Write("deal", "1", """{"n":2}""", 15)
            .Write("deal", "2", null, 20).Write("deal", "2", """{"n":3}""", 20, offset: 1).Write("deal", "2", null, 20)
            .Document());

    [Fact]
    public void A_profile_without_records_has_no_part_for_them() => Assert.Equal(4, new CrmPerson().Write("deal", "1", "[]", 1).Record()[0]);

    [Fact]
    public void A_profile_is_a_function_of_the_writes_whatever_their_order_and_whoever_had_them() =>
        Gen.Int[0, int.MaxValue - 1].Sample(
            seed =>
            {
                var random = new Random(seed);
                int keys = random.Next(3) == 0 ? CrmRules.MaxRecords + 40 : 30; // Now and then more than fit.
                (string Type, string Id, string? Fields, long Time, string Source)[] writes = [.. Enumerable.Range(0, keys * 2).Select(_ =>
                {
                    int key = random.Next(keys);
                    string? fields = random.Next(4) == 0 ? null : random.Next(200) == 0 ? $"{{\"n\":\"{new string('x', CrmRules.MaxFieldsBytes)}\"}}" : $"{{\"n\":{random.Next(9)}}}";
                    return (random.Next(20) == 0 ? "contact" : "deal", $"{key}", fields, (long)random.Next(keys * 3), random.Next(10) == 0 ? "sales" : "hubspot");
                })];
                byte[] expected = Alone(Enumerable.Range(0, writes.Length)).Record();
                int[] order = [.. Enumerable.Range(0, writes.Length).OrderBy(_ => random.Next())];
                Assert.Equal(expected, Alone(order).Record());

                int[][] parts = [.. order.GroupBy(_ => random.Next(3)).Select(part => part.ToArray())];
                CrmPerson[] people = [.. parts.Select(part => Alone(part).Store())];
                CrmPerson merged = people.Skip(1).Aggregate(people[0], (survivor, loser) => survivor.Merge(loser));
                Assert.Equal(expected, merged.Record());

                CrmPerson Alone(IEnumerable<int> indexes)
                {
                    var person = new CrmPerson();
                    foreach (int i in indexes)
                    {
                        person.Write(writes[i].Type, writes[i].Id, writes[i].Fields, writes[i].Time, i, writes[i].Source);
                    }

                    return person;
                }
            },
            iter: 200);

    [Fact]
    public void Of_more_than_fit_those_written_last_are_kept_and_the_notes_say_so()
    {
        var person = new CrmPerson();
        for (int i = 0; i < CrmRules.MaxRecords + 2; i++)
        {
            person.Write("deal", $"{i:D5}", "{}", 100 + i);
        }

        person.Write("deal", "late", "{}", 99).Write("contact", "1", "{}", 1).Store();

        Assert.Equal(CrmRules.MaxRecords, person.Profile.CrmOf(CrmObject.Deal).Length);
        Assert.Equal("00002", System.Text.Encoding.UTF8.GetString(person.Profile.Bytes(person.Profile.CrmOf(CrmObject.Deal)[0].Id)));
        Assert.Equal(1, person.Profile.CrmOf(CrmObject.Contact).Length);
        Assert.Equal(3, person.Skipped.TooMany);
        Assert.Equal("""{"crm":"limited"}""", Notes(person));
    }

    [Fact]
    public void Fields_that_are_too_long_leave_the_former_ones()
    {
        string fits = $$"""{"n":"{{new string('x', CrmRules.MaxFieldsBytes - 8)}}"}""";
        CrmPerson person = new CrmPerson().Write("deal", "1", fits.Replace(":", " : ", StringComparison.Ordinal), 1);
        Assert.Equal("{}", Notes(person));
        string before = person.Document();

        person.Write("deal", "1", fits.Replace("x\"", "xx\"", StringComparison.Ordinal), 2).Store();

        Assert.Equal(before, person.Document());
        Assert.Equal(1, person.Skipped.TooLong);
        Assert.Equal("""{"crm":"limited"}""", Notes(person));
    }

    [Fact]
    public void All_records_of_a_profile_together_fit_a_page_of_the_store()
    {
        string fields = $$"""{"n":"{{new string('x', CrmRules.MaxFieldsBytes - 8)}}"}""";
        var person = new CrmPerson();
        for (int i = 0; i < 200; i++)
        {
            person.Write(i % 2 == 0 ? "deal" : "contact", $"{i}", fields, i);
        }

        Assert.InRange(person.Record().Length, CrmRules.MaxBytes - (9 << 10), CrmRules.MaxBytes + 512);
        Assert.Equal(-1, Math.Max(-1, person.Profile.IndexOfCrm(CrmObject.Deal, "hubspot"u8, "0"u8)));

        person.Write("deal", "198", null, 300).Write("deal", "100", "{}", 100); // There is room, but newer ones had to go.
        Assert.Equal(-1, Math.Max(-1, person.Profile.IndexOfCrm(CrmObject.Deal, "hubspot"u8, "100"u8)));
        Assert.Equal("""{"crm":"limited"}""", Notes(person.Store()));
    }

    [Fact]
    public void A_record_allocates_nothing_and_an_event_of_another_source_neither()
    {
        var rules = new CrmRules(CrmPerson.Model, new CrmSkipped());
        var person = new CrmPerson();
        byte[] context = System.Text.Encoding.UTF8.GetBytes("""{"crm":{"object":"deal","id":"\u0031","fields":{"stage":"lead","amount":1250.5,"\u0061":[1, 2]}}}""");
        byte[] record = [];
        Run(3000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Run(3000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Run(int count)
        {
            for (int i = 0; i < count; i++)
            {
                Assert.False(rules.IsCrm("shop"u8));
                rules.Apply(person.Profile, context, "hubspot"u8, new Pipeline.EventOrder(i, i, 0));
                if (i % 100 == 0)
                {
                    int length = person.Profile.Write(ref record);
                    person.Profile.Read(1, record.AsSpan(0, length));
                }
            }
        }
    }

    private static string Notes(CrmPerson person) => Person.Written(writer => new SegmentEngine(CrmPerson.Model).WriteNotes(writer, person.Profile, 0)).GetRawText();
}
