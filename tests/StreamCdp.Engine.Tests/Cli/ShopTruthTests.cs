using System.Text;
using System.Text.Json;
using StreamCdp.Cli.Simulation;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Cli;

/// <summary>The truth against cases worked out by hand from RULES.md.</summary>
public class ShopTruthTests
{
    private const long Noon = 1_767_268_800_000; // 2026-01-01T12:00:00Z

    private static readonly CdpModel s_model = Model("""
        sources:
          - { id: web, write_key: w, kind: website }
          - { id: crm, write_key: c, kind: server }
        identifiers:
          - { type: user_id, limit: 1 }
          - { type: email, limit: 2, from: [traits.email], normalize: email }
          - { type: anonymous_id, limit: 3 }
        traits:
          plan: { merge: latest, prefer: [crm, web] }
          first_campaign: { merge: first, from: context.campaign.name }
          tags: { merge: union }
        computed:
          orders: { value: 'count("Order", within: 1h)' }
          revenue: { value: 'sum("Order", properties.revenue)' }
          average: { value: 'avg("Order", properties.revenue)' }
          last_sku: { value: 'last("View", properties.sku)' }
        segments:
          recent: { when: 'happened("View", within: 1h)' }
          shopper: { when: 'in_segment("recent") and computed.revenue >= 10' }
          home: { when: 'count("page:Home") >= 1 and count("page:*") == 2' }
          german: { when: 'traits.country in ["DE"] and identifiers.email exists' }
        """);

    private static CdpModel Model(string yaml)
    {
        ModelResult result = ModelReader.Read("cdp.yaml", yaml, _ => null);
        return result.Model ?? throw new InvalidOperationException(string.Join('\n', result.Errors));
    }

    private static ShopTruth Truth(params string[] events)
    {
        var truth = new ShopTruth(s_model);
        foreach (string json in events)
        {
            Apply(truth, json);
        }

        return truth;
    }

    private static void Apply(ShopTruth truth, string json, string source = "web", long receivedMs = Noon, string? batchSentAt = null) =>
        truth.Apply(new SentEvent(Encoding.UTF8.GetBytes(json), source, batchSentAt) { SentMs = receivedMs, AcknowledgedMs = receivedMs });

    private static TruthPerson Person(ShopTruth truth, string type, string value) => truth.Find(new TruthIdentifier(type, value))!;

    private static TruthEvaluation At(ShopTruth truth, long nowMs) => new(s_model, truth.People.Single(), nowMs);

    [Fact]
    public void A_log_in_on_two_devices_makes_one_person_of_all_events()
    {
        ShopTruth truth = Truth(
            """{"type":"page","anonymousId":"a1","name":"Home"}""",
            """{"type":"page","anonymousId":"a2","name":"Home"}""",
            """{"type":"identify","anonymousId":"a1","userId":"u","traits":{"email":" X@Y.Z "}}""",
            """{"type":"identify","anonymousId":"a2","userId":"u"}""");

        TruthPerson person = Assert.Single(truth.People);
        Assert.Equal(4, person.Events.Count);
        Assert.Equal(["anonymous_id:a1", "anonymous_id:a2", "email:x@y.z", "user_id:u"], person.Identifiers.Select(identifier => identifier.ToString()).Order());
    }

    [Fact]
    public void A_shared_device_stays_with_the_first_who_logged_in()
    {
        ShopTruth truth = Truth(
            """{"type":"identify","anonymousId":"a","userId":"first"}""",
            """{"type":"identify","anonymousId":"a","userId":"second"}""",
            """{"type":"track","event":"View","anonymousId":"a"}""");

        Assert.Equal(2, truth.People.Count);
        Assert.Equal(2, Person(truth, "user_id", "first").Events.Count);
        Assert.Single(Person(truth, "user_id", "second").Events);
        Assert.Same(Person(truth, "user_id", "first"), Person(truth, "anonymous_id", "a"));
    }

    [Fact]
    public void A_limit_leaves_out_the_later_identifier_alone()
    {
        ShopTruth truth = Truth(
            """{"type":"identify","userId":"u","traits":{"email":"a@x.y"}}""",
            """{"type":"identify","userId":"u","traits":{"email":"b@x.y"}}""",
            """{"type":"identify","userId":"u","anonymousId":"d","traits":{"email":"c@x.y"}}""");

        TruthPerson person = Assert.Single(truth.People);
        Assert.Null(truth.Find(new TruthIdentifier("email", "c@x.y")));
        Assert.Same(person, Person(truth, "anonymous_id", "d"));
        Assert.Equal(3, person.Events.Count);
    }

    [Theory]
    [InlineData("""{"type":"track","event":"View"}""")]
    [InlineData("""{"type":"track","event":"View","userId":"null","anonymousId":"[object Object]"}""")]
    [InlineData("""{"type":"track","event":"View","userId":true,"anonymousId":1.5}""")]
    [InlineData("""{"type":"track","anonymousId":"a"}""")]
    [InlineData("""{"type":"track","event":7,"anonymousId":"a"}""")]
    [InlineData("""{"type":"purchase","anonymousId":"a"}""")]
    [InlineData("""{"anonymousId":"a"}""")]
    [InlineData("""{"type":"page","anonymousId":"a","properties":"x"}""")]
    [InlineData("""{"type":"page","anonymousId":"a","timestamp":"yesterday"}""")]
    public void An_invalid_event_counts_for_nobody(string json)
    {
        ShopTruth truth = Truth(json);

        Assert.Equal(1, truth.DeadLetters);
        Assert.Empty(truth.People);
    }

    [Theory]
    [InlineData("""{"type":"page","anonymousId":" 42 "}""", "42")]
    [InlineData("""{"type":"page","anonymousId":42,"properties":null}""", "42")]
    [InlineData("""{"type":"page","anonymousId":"a","userId":"UNDEFINED"}""", "a")]
    [InlineData("""{"type":"page","anonymousId":"a","userId":"\"null\""}""", "a")]
    [InlineData("""{"type":"page","anonymousId":"a","userId":"00-00"}""", "a")]
    public void An_identifier_that_is_none_is_dropped_alone(string json, string anonymousId)
    {
        ShopTruth truth = Truth(json);

        Assert.Equal($"anonymous_id:{anonymousId}", Assert.Single(truth.People.Single().Identifiers).ToString());
    }

    [Fact]
    public void The_same_messageId_of_the_same_sender_counts_once()
    {
        ShopTruth truth = Truth(
            """{"type":"page","messageId":"m","anonymousId":"a"}""",
            """{"type":"page","messageId":"m","anonymousId":"a","userId":"later"}""",
            """{"type":"page","messageId":"m","anonymousId":"b"}""");

        Assert.Equal(1, truth.Repeats);
        Assert.Equal(2, truth.People.Count);
        Assert.Null(truth.Find(new TruthIdentifier("user_id", "later")));
    }

    [Fact]
    public void An_alias_takes_a_known_user_id_for_one_and_everything_else_for_an_anonymous_id()
    {
        ShopTruth truth = Truth(
            """{"type":"page","anonymousId":"a"}""",
            """{"type":"alias","userId":"u","previousId":"a"}""",
            """{"type":"alias","userId":"v","previousId":"u"}""");

        Assert.Equal(2, truth.People.Count); // Two user ids are more than the limit.
        Assert.Equal(2, Person(truth, "anonymous_id", "a").Events.Count);
        Assert.Null(truth.Find(new TruthIdentifier("anonymous_id", "u")));
    }

    [Theory]
    [InlineData("""{}""", null, 0)]
    [InlineData("""{"timestamp":"2026-01-01T11:00:00Z"}""", null, -3_600_000)]
    [InlineData("""{"timestamp":1767265200000}""", null, -3_600_000)]
    [InlineData("""{"timestamp":"2026-01-01T13:00:00+02:00"}""", null, -3_600_000)]
    [InlineData("""{"timestamp":"2026-01-01T11:00:00Z","sentAt":"2026-01-01T11:00:10Z"}""", null, -10_000)]
    [InlineData("""{"timestamp":"2026-01-01T11:00:00Z","sentAt":"2026-01-01T12:00:00.999Z"}""", null, -3_600_000)]
    [InlineData("""{"originalTimestamp":"2026-01-01T15:00:00Z"}""", "2026-01-01T15:00:05Z", -5_000)]
    [InlineData("""{"originalTimestamp":"2026-01-01T15:00:00Z","timestamp":"2026-01-01T11:00:00Z","sentAt":"2026-01-01T15:00:05Z"}""", null, -3_600_000)]
    [InlineData("""{"timestamp":"2026-01-01T13:00:00Z"}""", null, 0)]
    [InlineData("""{"timestamp":"2026-01-01T11:00:00Z","sentAt":"2026-01-01T11:00:10Z"}""", "2026-01-01T11:59:59.500Z", -10_000)]
    public void Event_time_is_corrected_for_the_clients_clock(string json, string? batchSentAt, long expectedMs)
    {
        using JsonDocument document = JsonDocument.Parse(json);

        Assert.Equal(Noon + expectedMs, ShopTruth.EventTime(document.RootElement, batchSentAt, Noon));
    }

    [Fact]
    public void A_value_prefers_its_source_and_a_late_event_does_not_win_by_arriving_late()
    {
        var truth = new ShopTruth(s_model);
        Apply(truth, """{"type":"identify","userId":"u","traits":{"plan":"from web","country":"DE","tags":["a",1]}}""", "web", Noon);
        Apply(truth, """{"type":"identify","userId":"u","timestamp":"2026-01-01T10:00:00Z","traits":{"plan":"from crm","country":"FR","tags":"a"},"context":{"campaign":{"name":"early"}}}""", "crm", Noon + 1);
        Apply(truth, """{"type":"track","event":"View","userId":"u","traits":{"plan":"no trait"},"context":{"campaign":{"name":"late"}}}""", "web", Noon + 2);

        IReadOnlyDictionary<string, object?> traits = At(truth, Noon + 2).Traits;
        Assert.Equal("from crm", traits["plan"]);
        Assert.Equal("DE", traits["country"]);
        Assert.Equal("early", traits["first_campaign"]);
        Assert.Equal(["a", 1.0], (List<object?>)traits["tags"]!);
    }

    [Fact]
    public void Sums_take_numbers_in_text_and_skip_the_rest()
    {
        ShopTruth truth = Truth(
            """{"type":"track","event":"Order","userId":"u","properties":{"revenue":0.1}}""",
            """{"type":"track","event":"Order","userId":"u","properties":{"revenue":"0.2"}}""",
            """{"type":"track","event":"Order","userId":"u","properties":{"revenue":"EUR 5"}}""",
            """{"type":"track","event":"Order","userId":"u","properties":{"revenue":1e15}}""",
            """{"type":"track","event":"Order","userId":"u"}""");

        Assert.Equal(0.3, At(truth, Noon).Computed("revenue"));
        Assert.Equal(0.15, At(truth, Noon).Computed("average"));
        Assert.Equal(5.0, At(truth, Noon).Computed("orders"));
    }

    [Fact]
    public void Happened_ends_to_the_millisecond_and_a_count_with_its_bucket()
    {
        ShopTruth truth = Truth(
            """{"type":"track","event":"View","userId":"u","timestamp":"2026-01-01T11:00:30Z"}""",
            """{"type":"track","event":"Order","userId":"u","timestamp":"2026-01-01T11:00:30Z"}""");

        Assert.True(At(truth, Noon + 29_999).IsMember("recent"));
        Assert.False(At(truth, Noon + 30_000).IsMember("recent"));
        Assert.Equal(1.0, At(truth, Noon - 1).Computed("orders")); // 11:59, 59 minutes of 60.
        Assert.Equal(0.0, At(truth, Noon).Computed("orders"));
    }

    [Fact]
    public void Segments_use_one_another_pages_by_name_and_identifiers()
    {
        ShopTruth truth = Truth(
            """{"type":"identify","userId":"u","traits":{"email":"a@b.c","country":"DE"}}""",
            """{"type":"page","userId":"u","name":"Home"}""",
            """{"type":"page","userId":"u"}""",
            """{"type":"screen","userId":"u","name":"Home"}""",
            """{"type":"track","event":"View","userId":"u","properties":{"sku":"s"}}""",
            """{"type":"track","event":"Order","userId":"u","properties":{"revenue":10}}""");

        TruthEvaluation now = At(truth, Noon);
        Assert.All(s_model.Segments, segment => Assert.True(now.IsMember(segment.Id), segment.Id));
        Assert.Equal("s", now.Computed("last_sku"));
    }
}
