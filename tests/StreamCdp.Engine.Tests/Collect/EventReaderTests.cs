using System.Text;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Collect;

namespace StreamCdp.Engine.Tests.Collect;

/// <summary>Every sentence of RULES.md §1, of §2 what concerns the sender.</summary>
public class EventReaderTests
{
    private static readonly CdpModel s_model = Model(
        new() { Type = "user_id", Limit = 1 },
        new() { Type = "email", Limit = 5, From = [["traits", "email"], ["context", "traits", "email"]], Normalize = IdentifierNormalization.Email },
        new() { Type = "phone", Limit = 5, From = [["traits", "phone"]], Normalize = IdentifierNormalization.E164 },
        new() { Type = "anonymous_id", Limit = 100 },
        new() { Type = "card", Limit = 5, From = [["properties", "card"], ["properties", "second", "card"]] });

    [Theory]
    [InlineData("""{"userId":"u","anonymousId":"a","traits":{"email":"E@x.Y","phone":"+49 171 1234567"}}""", "user_id:u email:e@x.y phone:+491711234567 anonymous_id:a")]
    [InlineData("""{"anonymousId":"a","properties":{"second":{"card":2},"card":1}}""", "anonymous_id:a card:1 card:2")]
    [InlineData("""{"userId":"u","context":{"externalIds":[{"id":"x","type":"user_id"},{"id":9,"type":"card","collection":"users"},{"id":8,"type":"card","collection":null}]}}""", "user_id:u user_id:x card:9 card:8")]
    [InlineData("""{"userId":"u","context":{"externalIds":[{"id":"x","type":"nope"},{"id":"y","type":"card","collection":"accounts"},{"type":"card"},7,"t",null,[1],{"id":{"type":"card"}}]}}""", "user_id:u")]
    [InlineData("""{"userId":"u","context":{"externalIds":{"id":"x","type":"card"}}}""", "user_id:u")]
    [InlineData("""{"userId":"u","context":{"externalIds":[{"\u0069d":"\u0078","type":"c\u0061rd"}]}}""", "user_id:u card:x")]
    [InlineData("""{"userId":"u","traits":{"email":"a@b.c"},"context":{"traits":{"email":"A@B.C"}}}""", "user_id:u email:a@b.c")]
    [InlineData("""{"userId":"u","context":{"traits":{"email":"z@b.c"}},"traits":{"email":"a@b.c"}}""", "user_id:u email:a@b.c email:z@b.c")]
    [InlineData("""{"userId":"u","groupId":"g"}""", "user_id:u")]
    [InlineData("""{"userId":"first","userId":"last"}""", "user_id:last")]
    public void Identifiers_come_by_type_then_own_place_then_paths_then_external_ids(string json, string expected) => Assert.Equal(expected, Identifiers(json));

    [Theory]
    [InlineData("42", "user_id:42")]
    [InlineData("-7", "user_id:-7")]
    [InlineData("123456789012345678901234567890", "user_id:123456789012345678901234567890")]
    [InlineData("true", null)]
    [InlineData("false", null)]
    [InlineData("{}", null)]
    [InlineData("[\"u\"]", null)]
    [InlineData("1.5", null)]
    [InlineData("1e3", null)]
    [InlineData("1e400", null)]
    [InlineData("null", null)]
    [InlineData("\"\"", null)]
    [InlineData("\" \\t\\n\\u00a0\\u3000\\u2028\"", null)]
    [InlineData("\"\\u00a0 Ab \\u2003\"", "user_id:Ab")]
    [InlineData("\"é\"", "user_id:é")]
    [InlineData("\"e\\u0301\"", "user_id:e\u0301")]
    [InlineData("\"a b\"", "user_id:a b")]
    [InlineData("\"a\\u0000b\"", "user_id:a\0b")]
    [InlineData("\"a\\ud800b\"", "user_id:a\ufffdb")]
    [InlineData("\"\\udc00\\ud83d\\ude00\\ud83d\"", "user_id:\ufffd😀\ufffd")]
    [InlineData("\"\\\"\\\\\\/\\b\\f\"", "user_id:\"\\/\b")]
    [InlineData("\"\\u200b\"", "user_id:\u200b")]
    public void A_scalar_is_an_integer_or_trimmed_text(string userId, string? expected) => Assert.Equal(expected, Identifiers($$"""{"userId":{{userId}}}"""));

    [Theory]
    [InlineData("null")]
    [InlineData("NULL")]
    [InlineData("None")]
    [InlineData("undefined")]
    [InlineData("nil")]
    [InlineData("nan")]
    [InlineData("True")]
    [InlineData("false")]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("anonymous")]
    [InlineData("Guest")]
    [InlineData("unknown")]
    [InlineData("not_authenticated")]
    [InlineData("distinct_id")]
    [InlineData("ID")]
    [InlineData("email")]
    [InlineData("[object Object]")]
    [InlineData("n/a")]
    [InlineData("00000000-0000-0000-0000-000000000000")]
    [InlineData("--")]
    [InlineData("000")]
    [InlineData("\\\"null\\\"")]
    [InlineData("'undefined'")]
    [InlineData("  'NULL' ")]
    public void Defaults_are_blocked_in_any_case_and_in_quotes(string value)
    {
        var reader = new EventReader(s_model);

        Assert.Equal(EventProblem.NoIdentifier, Read(reader, $$"""{"type":"identify","userId":"{{value}}"}"""));
        Assert.Equal(1, reader.BlockedIdentifiers);
    }

    [Theory]
    [InlineData("nullable")]
    [InlineData("01")]
    [InlineData("-2")]
    [InlineData("'null")]
    [InlineData("\\\"null'")]
    [InlineData("guest1")]
    public void What_only_resembles_a_blocked_value_stays(string value) => Assert.NotNull(Identifiers($$"""{"userId":"{{value}}"}"""));

    [Fact]
    public void Numbers_are_blocked_as_their_text() => Assert.Null(Identifiers("""{"userId":0}"""));

    [Theory]
    [InlineData("test-1", false)]
    [InlineData("test-12", false)]
    [InlineData("a test-1", true)]
    [InlineData("Bot", false)]
    [InlineData("bot", true)]
    [InlineData("null", true)]
    public void Blocked_values_are_exact_and_patterns_match_the_whole_value(string value, bool stays)
    {
        CdpModel model = Model(new IdentifierDefinition { Type = "user_id", Limit = 1, Blocked = ["Bot"], BlockedPatterns = ["test-[0-9]+"], BlockedDefaults = false });

        Assert.Equal(stays, Read(new EventReader(model), $$"""{"type":"identify","userId":"{{value}}"}""") == EventProblem.None);
    }

    [Fact]
    public void Blocked_values_are_compared_after_normalisation()
    {
        CdpModel model = Model(new IdentifierDefinition { Type = "email", Limit = 1, From = [["traits", "email"]], Normalize = IdentifierNormalization.Email, Blocked = ["noreply@x.y", "NOREPLY@Z"] });

        Assert.Equal(EventProblem.NoIdentifier, Read(new EventReader(model), """{"type":"identify","traits":{"email":" NoReply@X.Y "}}"""));
        Assert.Equal(EventProblem.None, Read(new EventReader(model), """{"type":"identify","traits":{"email":"NOREPLY@Z"}}"""));
    }

    [Theory]
    [InlineData("A.b+tag@Example.COM", "a.b+tag@example.com")]
    [InlineData(" a@b ", "a@b")]
    [InlineData("ÄÖ@É.de", "äö@é.de")]
    [InlineData("a@b@c", null)]
    [InlineData("@b", null)]
    [InlineData("a@", null)]
    [InlineData("ab", null)]
    [InlineData("a b@c", null)]
    [InlineData("a@b\\u00a0c", null)]
    public void An_email_is_lower_case_with_one_at_sign(string value, string? expected) =>
        Assert.Equal(expected is null ? null : "email:" + expected, Identifiers($$$"""{"traits":{"email":"{{{value}}}"}}"""));

    [Theory]
    [InlineData("+49 (171) 123-45.67", "+491711234567")]
    [InlineData("0049/171/1234567", "+491711234567")]
    [InlineData("+1234567", "+1234567")]
    [InlineData("+123456", null)]
    [InlineData("+123456789012345", "+123456789012345")]
    [InlineData("+1234567890123456", null)]
    [InlineData("+0123456789", null)]
    [InlineData("0171 1234567", null)]
    [InlineData("+49171x234567", null)]
    [InlineData("++491711234567", null)]
    [InlineData("00", null)]
    public void A_phone_number_is_e164(string value, string? expected) =>
        Assert.Equal(expected is null ? null : "phone:" + expected, Identifiers($$$"""{"traits":{"phone":"{{{value}}}"}}"""));

    [Theory]
    [InlineData("\"0171 2345678\"", "phone:+491712345678")]
    [InlineData("\"(030) 901820\"", "phone:+4930901820")]
    [InlineData("\"0171\"", null)]
    [InlineData("\"call me\"", null)]
    [InlineData("\"+12025550123\"", "phone:+12025550123")]
    [InlineData("\"+1234567\"", "phone:+1234567")]
    [InlineData("\"+49 171 2345678 ext. 5\"", "phone:+491712345678")]
    [InlineData("\"+0171\"", null)]
    [InlineData("1712345678", "phone:+491712345678")]
    public void With_a_default_country_other_numbers_are_read_and_must_be_valid(string value, string? expected)
    {
        CdpModel model = Model(new IdentifierDefinition { Type = "phone", Limit = 1, From = [["traits", "phone"]], Normalize = IdentifierNormalization.E164, DefaultCountry = "DE" });

        Assert.Equal(expected, Identifiers($$$"""{"traits":{"phone":{{{value}}}}}""", model));
    }

    [Fact]
    public void Invalid_identifiers_are_dropped_and_counted()
    {
        var reader = new EventReader(s_model);

        Assert.Equal(EventProblem.None, Read(reader, """{"type":"identify","userId":true,"anonymousId":"a","traits":{"email":"x"}}"""));
        Assert.Equal(2, reader.InvalidIdentifiers);
        Assert.Equal(0, reader.BlockedIdentifiers);
    }

    [Theory]
    [InlineData("""{"type":"track","event":"E","userId":"u"}""", "none")]
    [InlineData("""{"userId":"u"}""", "unknown_type")]
    [InlineData("""{"type":null,"userId":"u"}""", "unknown_type")]
    [InlineData("""{"type":"Track","event":"E","userId":"u"}""", "unknown_type")]
    [InlineData("""{"type":7,"userId":"u"}""", "unknown_type")]
    [InlineData("""{"type":"tr\u0061ck","event":"E","userId":"u"}""", "none")]
    [InlineData("""{"type":"track","userId":"u"}""", "missing_event")]
    [InlineData("""{"type":"track","event":"","userId":"u"}""", "missing_event")]
    [InlineData("""{"type":"track","event":3,"userId":"u"}""", "missing_event")]
    [InlineData("""{"type":"page","userId":"u","properties":null,"traits":null,"context":null}""", "none")]
    [InlineData("""{"type":"page","userId":"u","properties":[]}""", "not_an_object")]
    [InlineData("""{"type":"page","userId":"u","traits":"x"}""", "not_an_object")]
    [InlineData("""{"type":"page","userId":"u","context":1}""", "not_an_object")]
    [InlineData("""{"type":"page","userId":"u","timestamp":"yesterday"}""", "bad_timestamp")]
    [InlineData("""{"type":"page","userId":"u","timestamp":1e400}""", "bad_timestamp")]
    [InlineData("""{"type":"page","userId":"u","timestamp":{}}""", "bad_timestamp")]
    [InlineData("""{"type":"page","userId":"u","timestamp":null,"originalTimestamp":"x","sentAt":[]}""", "none")]
    [InlineData("""{"type":"group","groupId":"g"}""", "no_identifier")]
    [InlineData("""{"type":"alias","userId":"null","previousId":"undefined"}""", "no_identifier")]
    [InlineData("""{"type":"page"}""", "no_identifier")]
    [InlineData("""[]""", "invalid_json")]
    [InlineData("""7""", "invalid_json")]
    [InlineData("""{"type":"page","userId":"u"}x""", "invalid_json")]
    [InlineData("""{"type":"page","userId":"u" """, "invalid_json")]
    [InlineData("", "invalid_json")]
    public void A_dead_letter_has_its_reason(string json, string reason) => Assert.Equal(reason, Read(new EventReader(s_model), json).Reason());

    [Fact]
    public void A_name_in_the_dead_letter_is_the_field() => Assert.Equal("properties", EventProblem.PropertiesNotObject.Field());

    [Theory]
    [InlineData(32_768, "none")]
    [InlineData(32_769, "too_large")]
    public void An_event_has_at_most_32768_bytes(int bytes, string reason)
    {
        string start = """{"type":"page","userId":"u","x":" """;
        string json = start + new string('x', bytes - start.Length - 2) + "\"}";

        Assert.Equal(reason, Read(new EventReader(s_model), json).Reason());
    }

    [Fact]
    public void Text_that_is_not_utf8_is_unreadable() =>
        Assert.Equal(EventProblem.Unreadable, new EventReader(s_model).Read([.. """{"type":"page","userId":"u"""u8, 0xff, .. "\"}"u8], default));

    [Theory]
    [InlineData(60, "none")]
    [InlineData(2000, "invalid_json")]
    public void Deep_nesting_is_refused_without_harm(int depth, string reason) =>
        Assert.Equal(reason, Read(new EventReader(s_model), $$$"""{"type":"page","userId":"u","properties":{"x":{{{new string('[', depth)}}}{{{new string(']', depth)}}}}}""").Reason());

    [Fact]
    public void Keys_with_half_a_surrogate_pair_do_no_harm() => Assert.Equal("user_id:u", Identifiers("""{"\ud800":1,"userId":"u","context":{"\udc00x":2,"externalIds":[{"\ud800":3}]}}"""));

    [Theory]
    [InlineData("""{"type":"track","event":"Order \"Completed\"","userId":"u"}""", "Order \"Completed\"")]
    [InlineData("""{"type":"page","name":"Home","userId":"u"}""", "Home")]
    [InlineData("""{"type":"screen","name":7,"userId":"u"}""", "")]
    [InlineData("""{"type":"identify","name":"x","event":"y","userId":"u"}""", "")]
    public void The_name_is_event_or_name(string json, string expected)
    {
        var reader = new EventReader(s_model);

        Assert.Equal(EventProblem.None, Read(reader, json));
        Assert.Equal(expected, Encoding.UTF8.GetString(reader.Name));
    }

    [Theory]
    [InlineData("\"m-\\u0031\"", "m-1")]
    [InlineData("null", "")]
    [InlineData("7", "")]
    public void A_message_id_is_text(string value, string expected)
    {
        var reader = new EventReader(s_model);

        Assert.Equal(EventProblem.None, Read(reader, $$"""{"type":"page","userId":"u","messageId":{{value}}}"""));
        Assert.Equal(expected, Encoding.UTF8.GetString(reader.MessageId));
    }

    [Theory]
    [InlineData("""{"type":"page","userId":"u","anonymousId":"a"}""", "anonymous_id:a", 1)]
    [InlineData("""{"type":"page","userId":"u","context":{"externalIds":[{"type":"anonymous_id","id":"b"},{"type":"anonymous_id","id":"c"}]}}""", "anonymous_id:b", 1)]
    [InlineData("""{"type":"page","userId":"u"}""", "user_id:u", 0)]
    [InlineData("""{"type":"identify","userId":"null","traits":{"email":"a@b.c"}}""", "email:a@b.c", 0)]
    [InlineData("""{"type":"alias","userId":"u","previousId":"p"}""", "user_id:u", 0)]
    [InlineData("""{"type":"alias","previousId":"p"}""", "anonymous_id:p", -1)]
    public void The_sender_is_the_first_anonymous_id_else_the_first_identifier(string json, string expected, int index)
    {
        var reader = new EventReader(s_model);

        Assert.Equal(EventProblem.None, Read(reader, json));
        Assert.Equal(expected, Encoding.UTF8.GetString(reader.SenderKey));
        Assert.Equal(index, reader.SenderIndex);
        Assert.Equal(Hash128.Of(Encoding.UTF8.GetBytes(expected)), reader.SenderHash);
    }

    [Theory]
    [InlineData("""{"userId":"u","anonymousId":"a","previousId":"p"}""", true, "user_id:u user_id:p anonymous_id:a", 1, 2)]
    [InlineData("""{"userId":"u","anonymousId":"a","previousId":"p"}""", false, "user_id:u anonymous_id:a anonymous_id:p", 2, 1)]
    [InlineData("""{"userId":"u","anonymousId":"a","previousId":"u"}""", true, "user_id:u anonymous_id:a", -1, 1)]
    [InlineData("""{"userId":"u","previousId":"u"}""", false, "user_id:u anonymous_id:u", 1, 0)]
    [InlineData("""{"previousId":" 12 "}""", true, "user_id:12", 0, 0)]
    [InlineData("""{"userId":"u","properties":{"card":5},"previousId":9}""", false, "user_id:u anonymous_id:9 card:5", 1, 0)]
    public void A_previous_id_comes_last_within_its_type_and_never_sends(string json, bool isUserId, string expected, int index, int sender)
    {
        var reader = new EventReader(s_model);
        Assert.Equal(EventProblem.None, Read(reader, "{\"type\":\"alias\"," + json[1..]));
        Assert.True(reader.HasPreviousId);

        Assert.Equal(index, reader.AddPreviousId(isUserId));

        Assert.Equal(expected, List(reader));
        Assert.Equal(sender, reader.SenderIndex);
    }

    [Fact]
    public void A_previous_id_is_blocked_by_the_rules_of_each_type()
    {
        var reader = new EventReader(Model(new() { Type = "user_id", Limit = 1, Blocked = ["p"] }, new() { Type = "anonymous_id", Limit = 1 }));
        Assert.Equal(EventProblem.None, Read(reader, """{"type":"alias","userId":"u","previousId":"p"}"""));

        Assert.True(reader.PreviousUserId.IsEmpty);
        Assert.Equal("p", Encoding.UTF8.GetString(reader.PreviousAnonymousId));
        Assert.Equal(-1, reader.AddPreviousId(isUserId: true));
    }

    [Fact]
    public void Only_an_alias_has_a_previous_id()
    {
        var reader = new EventReader(s_model);

        Assert.Equal(EventProblem.None, Read(reader, """{"type":"identify","userId":"u","previousId":"p"}"""));
        Assert.False(reader.HasPreviousId);
    }

    [Theory]
    [InlineData("""{"type":"page","userId":"u"}""", "user_id:u email:b@b.b card:7")]
    [InlineData("""{"type":"page","userId":"u","context":null}""", "user_id:u")]
    [InlineData("""{"type":"page","userId":"u","context":{}}""", "user_id:u")]
    [InlineData("""{"type":"page","userId":"u","context":{"traits":{"email":"e@e.e"}}}""", "user_id:u email:e@e.e")]
    public void The_context_of_the_batch_counts_for_events_without_the_key(string json, string expected)
    {
        var reader = new EventReader(s_model);

        Assert.Equal(EventProblem.None, reader.Read(Encoding.UTF8.GetBytes(json), """{"traits":{"email":"b@b.b"},"externalIds":[{"type":"card","id":7}]}"""u8));
        Assert.Equal(expected, List(reader));
    }

    [Fact]
    public void A_batch_context_that_is_no_object_counts_as_none()
    {
        var reader = new EventReader(s_model);

        Assert.Equal(EventProblem.None, reader.Read("""{"type":"page","userId":"u"}"""u8, "7"u8));
    }

    [Fact]
    public void The_path_gives_the_type_where_the_event_lacks_it()
    {
        var reader = new EventReader(s_model);

        Assert.Equal(EventProblem.None, reader.Read("""{"userId":"u"}"""u8, default, EventType.Identify));
        Assert.Equal(EventType.Identify, reader.Type);
        Assert.Equal(EventProblem.None, reader.Read("""{"userId":"u","type":"group"}"""u8, default, EventType.Identify));
        Assert.Equal(EventType.Group, reader.Type);
    }

    [Fact]
    public void Nothing_of_the_event_before_is_left()
    {
        var reader = new EventReader(s_model);
        Read(reader, """{"type":"alias","userId":"u","previousId":"p","messageId":"m","timestamp":1,"sentAt":2,"originalTimestamp":3,"context":{"externalIds":[{"type":"card","id":1}]}}""");

        Assert.Equal(EventProblem.None, Read(reader, """{"type":"group","anonymousId":"a"}"""));
        Assert.Equal("anonymous_id:a", List(reader));
        Assert.True(reader.MessageId.IsEmpty && reader.Name.IsEmpty && !reader.HasPreviousId && reader.PreviousUserId.IsEmpty);
        Assert.Equal(77, reader.EventTime(77, null, asIs: false));
    }

    [Fact]
    public void Reading_allocates_nothing()
    {
        var reader = new EventReader(s_model);
        byte[] json = """{"type":"track","event":"Order \u0041","messageId":"m\n","timestamp":"2026-01-02T03:04:05.678Z","userId":" u ","anonymousId":"a","traits":{"email":"E@x.y","phone":"0049 171 1234567"},"context":{"externalIds":[{"type":"card","id":"1"}]}}"""u8.ToArray();
        reader.Read(json, default);
        reader.Read(json, default);

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
        {
            reader.Read(json, default);
            _ = reader.SenderHash;
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void A_pattern_that_needs_backtracking_is_refused() =>
        Assert.Throws<NotSupportedException>(() => new EventReader(Model(new IdentifierDefinition { Type = "user_id", Limit = 1, BlockedPatterns = [@"(a+)\1"] })));

    private static CdpModel Model(params IdentifierDefinition[] identifiers) => new() { Text = "", Version = 1, Identifiers = identifiers };

    private static EventProblem Read(EventReader reader, string json) => reader.Read(Encoding.UTF8.GetBytes(json), default);

    /// <summary>Identifiers of an identify, in order; null where none is left.</summary>
    private static string? Identifiers(string json, CdpModel? model = null)
    {
        var reader = new EventReader(model ?? s_model);
        EventProblem problem = Read(reader, "{\"type\":\"identify\"," + json[1..]);
        Assert.True(problem is EventProblem.None or EventProblem.NoIdentifier, problem.ToString());
        return problem == EventProblem.NoIdentifier ? null : List(reader);
    }

    private static string List(EventReader reader) => string.Join(' ', Enumerable.Range(0, reader.IdentifierCount).Select(i => Encoding.UTF8.GetString(reader.IdentifierKey(i))));
}
