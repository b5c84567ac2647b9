using StreamCdp.Engine.Model;
using static StreamCdp.Simulation.Tests.Oracle.OracleExample;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>RULES.md §1, §2 and §4.1.</summary>
public class OracleEventTests
{
    [Theory]
    [InlineData("'a@b.c'", "a@b.c")]
    [InlineData("' A+tag@B.c\u00A0'", "a+tag@b.c")]
    [InlineData("'a b@c.d'", null)]
    [InlineData("'a@b@c'", null)]
    [InlineData("'@b'", null)]
    [InlineData("7", null)]
    public void Emails(string json, string? expected) => Assert.Equal(expected, FirstOf(Email, $"'traits':{{'email':{json}}}"));

    [Theory]
    [InlineData("'+49 170/123.45-67'", null, "+491701234567")]
    [InlineData("'0049 170 1234567'", null, "+491701234567")]
    [InlineData("'0170 1234567'", null, null)]
    [InlineData("'0170 1234567'", "DE", "+491701234567")]
    [InlineData("'+0170123456'", null, null)]
    [InlineData("'+123456'", null, null)]
    [InlineData("491701234567", null, null)]
    public void Phones(string json, string? country, string? expected) => Assert.Equal(expected,
        FirstOf(new IdentifierDefinition { Type = "phone", Limit = 5, From = [["traits", "phone"]], Normalize = IdentifierNormalization.E164, DefaultCountry = country }, $"'traits':{{'phone':{json}}}"));

    [Theory]
    [InlineData("42", "42")]
    [InlineData("12345678901234567890123", "12345678901234567890123")]
    [InlineData("4.0", null)]
    [InlineData("true", null)]
    [InlineData("['a']", null)]
    [InlineData("'Ab c'", "Ab c")]
    [InlineData("' \\t '", null)]
    [InlineData("'NULL'", null)]
    [InlineData("'\\u0022Undefined\\u0022'", null)]
    [InlineData("'[Object object]'", null)]
    [InlineData("'00000000-0000-0000-0000-000000000000'", null)]
    [InlineData("0", null)]
    [InlineData("-1", null)]
    [InlineData("'test'", null)]
    [InlineData("'Test'", "Test")]
    [InlineData("'bot-1'", null)]
    [InlineData("'a bot-1'", "a bot-1")]
    public void User_ids(string json, string? expected) => Assert.Equal(expected, FirstOf(User with { Blocked = ["test"], BlockedPatterns = ["bot-[0-9]"] }, $"'userId':{json}"));

    [Fact]
    public void Defaults_of_blocked_values_can_be_turned_off() => Assert.Equal("guest", FirstOf(User with { BlockedDefaults = false }, "'userId':'guest'"));

    [Fact]
    public void Types_come_in_the_models_order_and_places_in_theirs()
    {
        OracleWorld world = World(Model(Device, User with { Limit = 9, From = [["traits", "uid"]] }));
        world.Send(0, """
            {'type':'identify','userId':'1','anonymousId':'x','traits':{'uid':'2'},
             'context':{'externalIds':[{'id':'3','type':'user_id'},{'id':'1','type':'user_id','collection':'users'},{'id':'4','type':'user_id','collection':'accounts'},{'id':'5','type':'other'}]}}
            """);

        Assert.Equal("a:x u:1 u:2 u:3", world.Who("user_id", "1"));
    }

    [Theory]
    [InlineData("{'type':'Track','event':'A','userId':'1'}", "type")]
    [InlineData("{'event':'A','userId':'1'}", "type")]
    [InlineData("{'type':'track','userId':'1'}", "event")]
    [InlineData("{'type':'track','event':7,'userId':'1'}", "event")]
    [InlineData("{'type':'page','userId':'1','properties':[]}", "properties")]
    [InlineData("{'type':'page','userId':'1','traits':'x'}", "traits")]
    [InlineData("{'type':'page','userId':'1','context':1}", "context")]
    [InlineData("{'type':'page','userId':'1','timestamp':'yesterday'}", "timestamp")]
    [InlineData("{'type':'page','userId':'1','timestamp':1.5}", "timestamp")]
    [InlineData("{'type':'page','userId':'null'}", "userId, anonymousId")]
    [InlineData("{'type':'group','groupId':'1'}", "userId, anonymousId")]
    [InlineData("[]", null)]
    [InlineData("{", null)]
    public void Dead_letters_name_the_field(string json, string? field)
    {
        OracleOutcome outcome = World(Model()).Send(0, json);

        Assert.Equal((OracleVerdict.DeadLetter, field), (outcome.Verdict, outcome.Field));
    }

    [Fact]
    public void Null_objects_and_unreadable_other_times_are_fine() =>
        Assert.Equal(OracleVerdict.Applied, World(Model()).Send(0, "{'type':'page','userId':'1','properties':null,'timestamp':null,'originalTimestamp':'x','sentAt':true}").Verdict);

    [Fact]
    public void The_size_limit_is_on_bytes()
    {
        string Sized(int bytes) => "{'type':'page','userId':'1','x':'" + new string('x', bytes - 35) + "'}";
        Assert.Equal(32_768, Sized(32_768).Length);
        Assert.Equal(OracleVerdict.Applied, World(Model()).Send(0, Sized(32_768)).Verdict);
        Assert.Equal(OracleVerdict.DeadLetter, World(Model()).Send(0, Sized(32_769)).Verdict);
    }

    [Fact]
    public void A_repeat_is_received_less_than_the_window_after_the_kept_one()
    {
        OracleWorld world = World(Model()); // 1 h
        OracleVerdict[] verdicts =
        [
            world.Track(0, "u:1", "'messageId':'m'").Verdict,
            world.Track(Hour - 1, "u:1", "'messageId':'m'").Verdict,
            world.Track(Hour, "u:1", "'messageId':'m'").Verdict, // The repeat before moved nothing.
            world.Track(Hour + 1, "u:2", "'messageId':'m'").Verdict,
            world.Track(Hour + 2, "u:1").Verdict,
        ];

        Assert.Equal([OracleVerdict.Applied, OracleVerdict.Repeat, OracleVerdict.Applied, OracleVerdict.Applied, OracleVerdict.Applied], verdicts);
    }

    [Fact]
    public void The_sender_is_the_device_through_a_login_and_never_the_previousId()
    {
        OracleWorld world = World(Model());
        world.Track(0, "d:x", "'messageId':'m'");
        Assert.Equal(OracleVerdict.Repeat, world.Track(1, "u:1 d:x", "'messageId':'m'").Verdict);
        Assert.Equal("nobody", world.Who("user_id", "1")); // Its links too.
        Assert.Equal(OracleVerdict.Applied, world.Send(2, "{'type':'alias','messageId':'m','userId':'1','previousId':'x'}").Verdict);
    }

    [Fact]
    public void A_dead_letter_uses_up_no_messageId_and_moves_no_clock()
    {
        OracleWorld world = World(Model());
        world.Track(0, "u:1", "'messageId':'m','timestamp':'x'");

        Assert.Equal(long.MinValue, world.NowMs);
        Assert.Equal(OracleVerdict.Applied, world.Track(1, "u:1", "'messageId':'m'").Verdict);
    }

    [Theory]
    [InlineData("", 10_000)] // Without a time: received.
    [InlineData("'timestamp':'2026-01-01T00:00:05.1239Z'", 5_123)]
    [InlineData("'timestamp':'2026-01-01T02:00:05+02:00'", 5_000)]
    [InlineData("'timestamp':1767225603000", 3_000)]
    [InlineData("'timestamp':'2026-01-01T00:00:11Z'", 10_000)] // Never later than received.
    [InlineData("'originalTimestamp':'2026-01-01T00:00:01Z','timestamp':'2026-01-01T00:00:02Z','sentAt':'2026-01-01T01:00:00Z'", 2_000)]
    [InlineData("'originalTimestamp':'2026-01-01T00:59:58Z','sentAt':'2026-01-01T01:00:00Z'", 8_000)]
    [InlineData("'timestamp':'2026-01-01T00:59:58Z','sentAt':'2026-01-01T01:00:00Z'", 8_000)]
    [InlineData("'timestamp':'2026-01-01T00:00:04Z','sentAt':'2026-01-01T00:00:09.001Z'", 4_000)] // 999 ms apart.
    [InlineData("'timestamp':'2026-01-01T00:00:04Z','sentAt':'2026-01-01T00:00:09Z'", 5_000)] // 1000 ms apart.
    [InlineData("'originalTimestamp':'never','timestamp':'2026-01-01T00:00:02Z'", 2_000)]
    public void Event_times(string times, long expectedMs)
    {
        OracleWorld world = World(Model());
        world.Track(10_000, "u:1", times);

        Assert.Equal(T0 + expectedMs, world.Find("user_id", "1")!.CreatedAtMs);
    }

    [Fact]
    public void The_batchs_sentAt_counts_where_the_event_has_none_and_an_import_is_taken_as_it_is()
    {
        OracleWorld world = World(Model());
        var e = new OracleEvent { Json = $$"""{"type":"page","userId":"1","timestamp":{{T0 + Hour}}}""", ReceivedAtMs = T0 + Day, BatchSentAtMs = T0 + Hour + Second, SourceId = "web" };
        world.Feed(e);
        world.Feed(e with { Import = true });

        Assert.Equal([T0 + Hour, T0 + Day - Second], world.Find("user_id", "1")!.Events.Select(record => record.TimeMs));
    }

    private static string? FirstOf(IdentifierDefinition type, string fields)
    {
        OracleWorld world = World(Model(type));
        return world.Send(0, $"{{'type':'identify',{fields}}}").Person?.Identifiers[0].Value;
    }
}
