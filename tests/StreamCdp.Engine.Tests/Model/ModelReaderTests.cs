using System.Security.Cryptography;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

public sealed class ModelReaderTests
{
    /// <summary>The sample of DESIGN §5.2, with a space after <c>top_category:</c>, without which YAML reads no key there.</summary>
    private const string Sample = """
        sources:   [ { id: web, write_key: env:WEB_WRITE_KEY, kind: website } ]     # trust: public (website, app) or server, by kind
        api_keys:  [ { id: ops, key: env:STREAMCDP_API_KEY, scopes: [read, write, admin] } ]   # none: the query API answers 403 and says why
        identifiers:                       # order = priority
          - { type: user_id,      limit: 1 }
          - { type: email,        limit: 5, from: [traits.email], normalize: email }      # merge_by: server = a browser alone cannot join people by it
          - { type: phone,        limit: 5, from: [traits.phone], normalize: e164 }
          - { type: anonymous_id, limit: 100 }                # blocked defaults: null, undefined, 0, -1, anonymous, [object Object], …
        traits:    { plan: { merge: latest, prefer: [crm, web] }, first_campaign: { merge: first, from: context.campaign.name } }
        computed:
          orders_90d:  { value: 'count("Order Completed", within: 90d)' }
          revenue:     { value: 'sum("Order Completed", properties.revenue)' }
          top_category: { value: 'most_frequent("Product Viewed", properties.category, within: 30d)' }
        segments:
          cart_abandoners: { name: Cart abandoners, when: 'happened("Product Added", within: 1h) and not happened("Order Completed", within: 1h)' }
          big_spenders:    { when: 'sum("Order Completed", properties.revenue, within: 90d) >= 500 and traits.country in ["DE","FR"]' }
          hot_lead:        { when: 'in_segment("big_spenders") and exists(deals, stage != "closedwon" and amount > 10000)' }
          checkout_funnel: { when: 'sequence("Product Viewed", "Product Added", "Order Completed", within: 2h)' }
        destinations: [ { id: hubspot, kind: hubspot, … }, { id: hook, kind: webhook, url: …, secret: env:HOOK_SECRET } ]
        privacy:   { retain_events: 400d, consent: { marketing: traits.consent.marketing } }
        """;

    /// <summary>With the destinations that there are today, and an address for the dots.</summary>
    private static readonly string SampleToday = Sample.Replace("{ id: hubspot, kind: hubspot, … }, ", "", StringComparison.Ordinal).Replace("url: …", "url: 'https://shop.example/hook'", StringComparison.Ordinal);

    [Fact]
    public void The_demo_model_is_good()
    {
        ModelResult result = ModelReader.Read("cdp.yaml", File.ReadAllText(Repository.Path("engine/StreamCdp/demo/cdp.yaml")), _ => null);

        Assert.Empty(result.Errors);
        Assert.Empty(result.Notes);
        Assert.Equal(10, result.Model!.Computed.Count);
        Assert.Equal(13, result.Model.Segments.Count);
    }

    /// <summary>Each way to write a scalar, and keys that are none.</summary>
    [Theory]
    [InlineData("s3cret-of-the-shop")]
    [InlineData("'s3cret-of-the-shop'")]
    [InlineData("\"s3cret-of-\\x74he-shop\"")]
    [InlineData("|\n      s3cret-of-the-shop")]
    [InlineData(">-\n      s3cret-of-\n      the-shop\n")]
    public void A_key_written_into_the_model_is_not_in_the_text_that_goes_to_the_log(string key)
    {
        string text = $$"""
            sources:
              - id: web
                kind: website
                write_key: {{key}}
              - { id: shop, kind: server, write_key: env:SHOP_KEY }
            api_keys: [ { id: ops, key: s3cret-of-ops, scopes: [read] } ]
            identifiers: [ { type: user_id, limit: 1 } ] # after it
            traits: { key: { merge: first } }
            destinations: [ { id: hook, kind: webhook, settings: { secret: s3cret-of-the-hook, url: x } } ]
            """;

        Assert.NotEmpty(ModelReader.Read("cdp.yaml", text, name => name).Errors); // Today; a text from before destinations were read may be in the log.
        CdpModel model = ModelReader.ReadPublished(text).Model!;
        CdpModel again = ModelReader.ReadPublished(model.Text).Model!;

        Assert.StartsWith("s3cret-of-", model.Sources[0].WriteKey, StringComparison.Ordinal);
        Assert.DoesNotContain("s3cret", model.Text, StringComparison.Ordinal);
        Assert.Contains("env:SHOP_KEY", model.Text, StringComparison.Ordinal);
        Assert.EndsWith("url: x } } ]", model.Text, StringComparison.Ordinal);
        Assert.Equal((model.Text, model.Version), (again.Text, again.Version)); // Read back from the log it is the same version.
        Assert.Equal(["web", "shop"], again.Sources.Select(source => source.Id));
    }

    [Fact]
    public void The_sample_of_the_design_loads_as_written()
    {
        ModelResult result = Read(SampleToday);

        Assert.Empty(result.Errors);
        CdpModel model = result.Model!;
        Assert.Equal(new SourceDefinition("web", "secret of WEB_WRITE_KEY", "website", Trusted: false), Assert.Single(model.Sources));
        ApiKeyDefinition key = Assert.Single(model.ApiKeys);
        Assert.Equal(("ops", "secret of STREAMCDP_API_KEY"), (key.Id, key.Key));
        Assert.Equal(["read", "write", "admin"], key.Scopes);
        Assert.Equal(["user_id 1", "email 5", "phone 5", "anonymous_id 100"], model.Identifiers.Select(identifier => $"{identifier.Type} {identifier.Limit}"));
        Assert.Equal(["traits", "email"], Assert.Single(model.Identifiers[1].From));
        Assert.Equal(IdentifierNormalization.E164, model.Identifiers[2].Normalize);
        Assert.Equal(["crm", "web"], model.Traits[0].Prefer);
        Assert.Equal((TraitMerge.First, "context.campaign.name"), (model.Traits[1].Merge, string.Join('.', model.Traits[1].From!)));
        Assert.Equal("Cart abandoners", model.Segments[0].Name);
        Assert.Equal("happened(\"Product Added\", within: 1h) and not happened(\"Order Completed\", within: 1h)", model.Segments[0].When.ToString());
        Assert.Equal("big_spenders", model.Segments[1].Name);
        Assert.Equal(SampleToday, model.Text);
    }

    [Fact]
    public void Keys_of_a_later_version_are_noted() =>
        Assert.Equal(
            ["cdp.yaml:19:29: note: retain_events is not yet used by this version; set StreamCdp:Engine:RetainEventsMs"],
            Read(SampleToday).Notes.Select(note => note.ToString()));

    [Fact]
    public void A_short_secret_of_a_destination_is_noted() =>
        Assert.Equal(
            "cdp.yaml:1:80: note: secret has fewer than 16 characters; whoever guesses it can sign as this server",
            Assert.Single(ModelReader.Read("cdp.yaml", "destinations: [ { id: hook, kind: webhook, url: \"https://a.example/h\", secret: env:X } ]", _ => "short").Notes).ToString());

    [Fact]
    public void A_destination_has_what_is_written_and_the_usual_for_the_rest()
    {
        CdpModel model = ModelReader.Read("cdp.yaml", """
            computed: { revenue: { value: 'sum("Order Completed", properties.revenue)' } }
            segments: { buyers: { when: computed.revenue > 0 }, vips: { when: computed.revenue > 100 } }
            destinations:
              - { id: hook, kind: webhook, url: env:URL, secret: env:SECRET_1 }
              - id: other
                kind: webhook
                url: http://shop.example:8080/x?y=z
                allow_http: true
                secret: env:SECRET_2
                segments: [vips]
                send: [memberships, profiles]
                fields: { Plan: 'traits["my plan"].name', Revenue: computed.revenue, Mail: identifiers.email }
                batch: 7
                rate: 3
                timeout: 2m
            """, name => name == "URL" ? "https://shop.example/hook" : name + " of the environment").Model!;

        DestinationDefinition hook = model.Destinations[0];
        DestinationDefinition other = model.Destinations[1];
        Assert.Equal(("hook", "webhook", "https://shop.example/hook", "SECRET_1 of the environment"), (hook.Id, hook.Kind, hook.Url!.ToString(), hook.Secret));
        Assert.Equal((true, false, 100, 50, 10_000L, false), (hook.SendsMemberships, hook.SendsProfiles, hook.BatchLimit, hook.RequestsPerSecond, hook.TimeoutMs, hook.AllowsHttp));
        Assert.Empty(hook.Segments);
        Assert.Equal((true, true, 7, 3, 120_000L, true), (other.SendsMemberships, other.SendsProfiles, other.BatchLimit, other.RequestsPerSecond, other.TimeoutMs, other.AllowsHttp));
        Assert.Equal(["vips"], other.Segments);
        Assert.Equal(["Plan = traits[\"my plan\"].name", "Revenue = computed.revenue", "Mail = identifiers.email"], other.Fields.Select(field => $"{field.Name} = {field.Path}"));
        Assert.DoesNotContain("of the environment", model.Text, StringComparison.Ordinal);
        Assert.Empty(ModelReader.ReadPublished(model.Text).Errors);
    }

    [Fact]
    public void A_topic_of_Kafka_has_what_is_written_and_two_may_have_the_same_user()
    {
        ModelResult result = ModelReader.Read("cdp.yaml", """
            destinations:
              - { id: here, kind: kafka, brokers: "localhost:9092", topic: changes }
              - { id: there, kind: kafka, brokers: "a.example:9093, b.example:9093", topic: t, tls: true, ca: ca.pem, user: env:USER, secret: env:PASSWORD, sasl: scram-sha-256 }
              - { id: other, kind: kafka, brokers: "a.example:9092", topic: u, user: env:USER, secret: env:PASSWORD, timeout: 1m }
            """, name => name + " of the environment");

        DestinationDefinition[] destinations = [.. result.Model!.Destinations];
        Assert.Equal(new KafkaDefinition { Brokers = "localhost:9092", Topic = "changes" }, destinations[0].Kafka);
        Assert.Equal(new KafkaDefinition { Brokers = "a.example:9093, b.example:9093", Topic = "t", Tls = true, CaPath = "ca.pem", User = "USER of the environment", Sasl = "SCRAM-SHA-256" }, destinations[1].Kafka);
        Assert.Equal(("PASSWORD of the environment", 60_000L, "a.example:9092/u"), (destinations[2].Secret, destinations[2].TimeoutMs, destinations[2].Target));
        Assert.Equal(["cdp.yaml:4:40: note: without tls: true everybody on the way can read what is sent"], result.Notes.Select(note => note.ToString()));
    }

    [Fact]
    public void Files_have_what_is_written_and_the_usual_for_the_rest()
    {
        CdpModel model = ModelReader.Read("cdp.yaml", """
            destinations:
              - { id: a, kind: file, path: "exports/{date}.ndjson" }
              - { id: b, kind: file, path: env:WHERE, rotate: 1d, max_mb: 7, group_readable: true, escape_formulas: true, fields: { Plan: traits.plan } }
            """, _ => "/srv/{date}T{time}.csv").Model!;

        Assert.Equal(new FileDefinition { Path = "exports/{date}.ndjson", RotateMs = 3_600_000, MaxMib = 100 }, model.Destinations[0].File);
        Assert.Equal(new FileDefinition { Path = "/srv/{date}T{time}.csv", RotateMs = 86_400_000, MaxMib = 7, IsGroupReadable = true, EscapesFormulas = true }, model.Destinations[1].File);
        Assert.Equal("/srv/{date}T{time}.csv", model.Destinations[1].Target);
    }

    [Fact]
    public void Without_identifiers_there_are_the_usual_four()
    {
        IReadOnlyList<IdentifierDefinition> identifiers = Read("sources: []").Model!.Identifiers;

        Assert.Equal(
            ["user_id 1 None ", "email 5 Email traits.email context.traits.email", "phone 5 E164 traits.phone", "anonymous_id 100 None "],
            identifiers.Select(identifier => $"{identifier.Type} {identifier.Limit} {identifier.Normalize} {string.Join(' ', identifier.From.Select(path => string.Join('.', path)))}"));
        Assert.All(identifiers, identifier => Assert.True(identifier.BlockedDefaults));
    }

    [Fact]
    public void An_identifier_without_a_limit_has_the_usual_one() =>
        Assert.Equal(
            [1, 100, 5],
            Read("identifiers: [ { type: user_id }, { type: anonymous_id }, { type: hubspot_contact_id } ]").Model!.Identifiers.Select(identifier => identifier.Limit));

    [Fact]
    public void Every_property_of_an_identifier_is_read()
    {
        IdentifierDefinition phone = Read("""
            identifiers:
              - type: phone
                limit: 3
                from: [traits.phone, 'context["second phone"].number']
                normalize: e164
                default_country: FR
                merge_by: server
                blocked: ["+33000000000", /\+3300.*/, null]
                blocked_defaults: false
              - { type: user_id }
              - { type: anonymous_id }
            """).Model!.Identifiers[0];

        Assert.Equal(3, phone.Limit);
        Assert.Equal(["context", "second phone", "number"], phone.From[1]);
        Assert.Equal("FR", phone.DefaultCountry);
        Assert.True(phone.MergeByServer);
        Assert.Equal(["+33000000000", "null"], phone.Blocked);
        Assert.Equal([@"\+3300.*"], phone.BlockedPatterns);
        Assert.False(phone.BlockedDefaults);
    }

    [Theory]
    [InlineData("website", "", false)]
    [InlineData("app", "", false)]
    [InlineData("server", "", true)]
    [InlineData("import", "", true)]
    [InlineData("crm", "", true)]
    [InlineData("till", "", true)]
    [InlineData("website", ", trust: server", true)]
    [InlineData("server", ", trust: public", false)]
    public void Trust_follows_the_kind_unless_it_is_given(string kind, string trust, bool trusted) =>
        Assert.Equal(trusted, Read($"sources: [ {{ id: a, kind: {kind}{trust} }} ]").Model!.Sources[0].Trusted);

    [Fact]
    public void A_kind_nobody_knows_is_noted_as_trusted() =>
        Assert.Equal(
            "cdp.yaml:1:27: note: the kind \"till\" is not website or app, so its events are trusted; write trust: public if its key is in a browser or an app",
            Assert.Single(Read("sources: [ { id: a, kind: till } ]").Notes).ToString());

    [Fact]
    public void A_source_without_a_write_key_has_none() =>
        Assert.Null(Read("sources: [ { id: a, kind: crm, write_key: } ]").Model!.Sources[0].WriteKey);

    [Fact]
    public void Each_segment_comes_after_those_it_uses_and_else_as_in_the_file() =>
        Assert.Equal(["b", "e", "d", "a", "c"], Read("""
            segments:
              a: { when: in_segment("d") and in_segment("b") }
              b: { when: traits.x exists }
              c: { when: traits.y exists or in_segment("a") }
              d: { when: not in_segment("e") }
              e: { when: traits.z exists }
            """).Model!.Segments.Select(segment => segment.Id));

    [Fact]
    public void Computed_traits_stay_as_in_the_file_and_can_be_ordered_by_use()
    {
        IReadOnlyList<ComputedDefinition> computed = Read("""
            computed:
              a: { value: computed.b > 3 }
              b: { value: count("X") }
              c: { value: computed.a == true and computed.b exists }
            """).Model!.Computed;

        Assert.Equal(["a", "b", "c"], computed.Select(definition => definition.Name));
        Assert.Equal(["b", "a", "c"], UseOrder.Of(computed).Select(definition => definition.Name));
    }

    [Fact]
    public void A_long_chain_of_uses_is_no_problem()
    {
        string segments = string.Concat(Enumerable.Range(0, 5000).Select(i => $"\n  s{i}: {{ when: {(i == 4999 ? "traits.x exists" : $"in_segment(\"s{i + 1}\")")} }}"));

        Assert.Equal("s4999", Read($"segments:{segments}").Model!.Segments[0].Id);
    }

    [Fact]
    public void A_byte_order_mark_moves_no_place() =>
        Assert.Equal("cdp.yaml:1:1: the model has no key \"sorces\"; did you mean \"sources\"?", Assert.Single(Read("\uFEFFsorces: []").Errors).ToString());

    [Fact]
    public void The_version_of_the_model_is_the_start_of_the_hash_of_its_text() =>
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData("sources: []"u8))[..16], $"{Read("sources: []").Model!.Version:x16}");

    [Theory]
    [InlineData("traits.x > 1 and traits.y exists", "(traits.x>1)  and  (traits.y exists)", true)]
    [InlineData("count(\"A\", within: 24h) > 1", "count('A', within: 1d) > 1.0", true)]
    [InlineData("count(\"A\", within: 24h) > 1", "count('A', within: 25h) > 1", false)]
    [InlineData("traits.x > 1", "traits.x >= 1", false)]
    public void The_version_of_a_segment_follows_its_meaning_not_its_spelling(string one, string other, bool same) =>
        Assert.Equal(same, Segment(one, "false", "1").Version == Segment(other, "false", "1").Version);

    [Fact]
    public void The_version_of_a_segment_changes_with_what_it_uses()
    {
        SegmentDefinition segment = Segment("in_segment(\"other\") and computed.number > 3", "traits.x exists", "count(\"A\")");

        Assert.NotEqual(segment.Version, Segment("in_segment(\"other\") and computed.number > 3", "traits.y exists", "count(\"A\")").Version);
        Assert.NotEqual(segment.Version, Segment("in_segment(\"other\") and computed.number > 3", "traits.x exists", "count(\"B\")").Version);
        Assert.NotEqual(segment.Version, Segment("in_segment(\"other\") and computed.number > 3", "traits.x exists", "count(\"A\")", inner: "count(\"B\") > 1").Version);
        Assert.Equal(segment.Version, Segment("in_segment(\"other\") and computed.number > 3", "traits.x exists", "count('A')").Version);
    }

    [Fact]
    public void No_error_shows_a_secret() =>
        Assert.DoesNotContain("secret of", string.Join('\n', Read("sources: [ { id: a, kind: app, write_key: env:A }, { id: b, kind: app, write_key: env:A } ]").Errors), StringComparison.Ordinal);

    private static SegmentDefinition Segment(string when, string other, string number, string inner = "traits.z exists") => Read($$"""
        computed:
          number: { value: '{{number.Replace("'", "''", StringComparison.Ordinal)}}' }
        segments:
          it: { when: '{{when.Replace("'", "''", StringComparison.Ordinal)}}' }
          other: { when: '{{(inner == "traits.z exists" ? other : $"{other} and in_segment(\"inner\")")}}' }
          inner: { when: '{{inner}}' }
        """).Model!.Segments.Single(segment => segment.Id == "it");

    private static ModelResult Read(string yaml) => ModelReader.Read("cdp.yaml", yaml, name => $"secret of {name}");
}
