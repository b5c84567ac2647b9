using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Tests.Schemas;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Profiles;

public sealed class EventCatalogTests
{
    private readonly EventCatalog _catalog = new();
    private readonly EventScan _scan = new([], []);

    [Fact]
    public void Names_paths_types_and_shapes_are_listed_and_no_value()
    {
        Observe(EventType.Track, """{"type":"track","event":"Order Completed","properties":{"revenue":12.5,"currency":"EUR","at":"2026-01-31","lines":[{"sku":"a"}],"gift":true,"note":null,"to":{"city":"Köln","geo":{"lat":50.9}}},"context":{"ip":"127.0.0.1","traits":{"email":"ada@example.com"}}}""");
        Observe(EventType.Track, """{"type":"track","event":"Order Completed","properties":{"revenue":"12,50","currency":"usd","secret":"4711-Ada"}}""");
        Observe(EventType.Identify, """{"type":"identify","traits":{"email":"ada@example.com"}}""");

        SeenSchema schema = SeenSchema.Merge([_catalog.ToSchema()]);

        SeenEvent order = Assert.Single(schema.Events, e => e.Name == "Order Completed");
        Assert.Equal(("track", 2L, 2L, 1_000L, 2_000L), (order.Type, order.Count, order.LookedAt, order.FirstAt, order.LastAt));
        Assert.Equal(
            ["properties.at date 9999-99-99", "properties.currency text A a", "properties.gift boolean", "properties.lines list", "properties.note null", "properties.revenue number text 99.9 99,99", "properties.secret text 9999-a", "properties.to object", "properties.to.city text a", "properties.to.geo object", "properties.to.geo.lat number 99.9"],
            Lines(order.Properties));
        Assert.Equal(["traits.email text a@a.a"], Lines(schema.Traits));
        Assert.Equal(["context.ip text 999.9.9.9", "context.traits object", "context.traits.email text a@a.a"], Lines(schema.Context));
        string all = Encoding.UTF8.GetString(schema.ToJson());
        Assert.DoesNotContain("ada", all, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("4711", all, StringComparison.Ordinal);
    }

    [Fact]
    public void Pages_share_their_properties()
    {
        Observe(EventType.Page, """{"type":"page","name":"Home","properties":{"path":"/"}}""");
        Observe(EventType.Page, """{"type":"page","name":"Cart","properties":{"items":2}}""");
        Observe(EventType.Page, """{"type":"page","properties":{"items":2}}""");

        SeenSchema schema = SeenSchema.Merge([_catalog.ToSchema()]);

        Assert.Equal(["page:* 3", "page:Cart 1", "page:Home 1"], schema.Events.Select(e => $"{e.Name} {e.Count}"));
        Assert.Equal(["properties.items", "properties.path"], schema.Events[0].Properties.Select(path => path.Path));
        Assert.Empty(schema.Events[1].Properties);
    }

    [Fact]
    public void A_checkpoint_goes_on_where_it_was()
    {
        string[] events =
        [
            """{"type":"track","event":"A","properties":{"x":1,"weird key":{"\u0022":"b"}}}""",
            """{"type":"page","name":"Home","properties":{"path":"/"}}""",
            """{"type":"identify","traits":{"age":3},"context":{"a":{"b":{"c":{"d":{"e":1}}}}}}""",
        ];
        for (int i = 0; i < 300; i++)
        {
            Observe((EventType)(i % 3 == 0 ? EventType.Track : i % 3 == 1 ? EventType.Page : EventType.Identify), events[i % 3]);
        }

        SeenSchema half = SeenSchema.Parse(JsonDocument.Parse(SeenSchema.Merge([_catalog.ToSchema()]).ToJson()).RootElement);
        var restored = new EventCatalog();
        restored.Restore(half);
        Assert.Equal(SeenSchema.Merge([_catalog.ToSchema()]).ToJson(), SeenSchema.Merge([restored.ToSchema()]).ToJson());
        for (int i = 0; i < 300; i++)
        {
            Observe((EventType)(i % 3 == 0 ? EventType.Track : i % 3 == 1 ? EventType.Page : EventType.Identify), events[i % 3]);
            Observe((EventType)(i % 3 == 0 ? EventType.Track : i % 3 == 1 ? EventType.Page : EventType.Identify), events[i % 3], restored);
        }

        Assert.Equal(SeenSchema.Merge([_catalog.ToSchema()]).ToJson(), SeenSchema.Merge([restored.ToSchema()]).ToJson());
        Assert.Contains("properties[\"weird key\"][\"\\\"\"]", SeenSchema.Merge([_catalog.ToSchema()]).Events.SelectMany(e => e.Properties).Select(path => path.Path));
    }

    [Fact]
    public void What_has_no_room_is_counted()
    {
        for (int i = 0; i < EventCatalog.MaxEvents + 5; i++)
        {
            Observe(EventType.Track, $$"""{"type":"track","event":"E{{i}}"}""");
            Observe(EventType.Page, $$"""{"type":"page","name":"P{{i}}"}""");
        }

        for (int i = 0; i < 10; i++)
        {
            Observe(EventType.Track, """{"type":"track","event":"E0","properties":{""" + string.Join(',', Enumerable.Range(0, 50).Select(n => $"\"k{(i * 50) + n}\":1").Append($"\"{new string('x', 200)}\":1")) + "}}");
        }

        Observe(EventType.Track, $$"""{"type":"track","event":"{{new string('x', 200)}}"}""");

        SeenSchema schema = SeenSchema.Merge([_catalog.ToSchema()]);
        Assert.Equal(EventCatalog.MaxEvents, schema.Events.Count);
        Assert.Equal(EventCatalog.MaxPages, schema.Events.Count(e => e.Type == "page"));
        Assert.Equal(1_006 + 1_005 - (EventCatalog.MaxEvents - 1), schema.EventsLeftOut);
        Assert.Equal(EventCatalog.MaxPathsOfEvent, schema.Events.Single(e => e.Name == "E0").Properties.Count);
        Assert.Equal(500 - EventCatalog.MaxPathsOfEvent, schema.PathsLeftOut);
    }

    [Fact]
    public void One_of_many_is_looked_into_and_nothing_is_allocated()
    {
        const string Json = """{"type":"track","event":"A","properties":{"x":1,"y":"abc","z":{"a":[1,2]}},"context":{"ip":"1.2.3.4"}}""";
        for (int i = 0; i < 200; i++)
        {
            Observe(EventType.Track, Json);
        }

        byte[] payload = Encoding.UTF8.GetBytes(Json);
        Assert.Equal(0, Allocation.Of(1_000, () =>
        {
            EventView view = _scan.Read(new ProfileEvent { Payload = payload, EventType = (int)EventType.Track });
            _catalog.Observe(view, default, _scan.Context.In(payload));
        }));
        SeenEvent seen = Assert.Single(SeenSchema.Merge([_catalog.ToSchema()]).Events);
        Assert.InRange(seen.LookedAt, 100 + ((seen.Count - 200) / 64), 100 + (seen.Count / 64));
    }

    [Theory]
    [InlineData("\"\\ud800\"")]
    [InlineData("\"\\\\\\\"\"")]
    [InlineData("\"\"")]
    [InlineData("-1e5")]
    [InlineData("{}")]
    [InlineData("[[[[[[1]]]]]]")]
    public void Any_value_is_looked_at(string value)
    {
        string key = value[0] == '"' ? value : "\"k\"";
        Observe(EventType.Track, $"{{\"type\":\"track\",\"event\":{key},\"properties\":{{\"x\":{value},{key}:{{\"x\":{value}}}}}}}");
        SeenSchema schema = _catalog.ToSchema();
        var restored = new EventCatalog();
        restored.Restore(SeenSchema.Parse(JsonDocument.Parse(schema.ToJson()).RootElement));
        Assert.Equal(SeenSchema.Merge([schema]).ToJson(), SeenSchema.Merge([restored.ToSchema()]).ToJson());
        Assert.Single(schema.Events);
    }

    [Fact]
    public void However_full_it_is_identify_and_pages_have_a_place()
    {
        for (int i = 0; i < EventCatalog.MaxEvents + 5; i++)
        {
            Observe(EventType.Track, $$"""{"type":"track","event":"E{{i}}"}""");
        }

        Observe(EventType.Identify, """{"type":"identify","traits":{"plan":"pro"}}""");
        Observe(EventType.Page, """{"type":"page","name":"Home","properties":{"path":"/"}}""");

        SeenSchema schema = _catalog.ToSchema();
        Assert.Equal("traits.plan", Assert.Single(schema.Traits).Path);
        Assert.Equal("properties.path", Assert.Single(schema.Events.Single(e => e.Name == "page:*").Properties).Path);
    }

    private static IEnumerable<string> Lines(IReadOnlyList<SeenPath> paths) =>
        paths.OrderBy(path => path.Path, StringComparer.Ordinal).Select(path => string.Join(' ', path.Types.Order(StringComparer.Ordinal).Prepend(path.Path).Concat(path.Shapes.OrderByDescending(shape => shape.Contains('.')))));

    private long _at;

    private void Observe(EventType type, string json, EventCatalog? catalog = null)
    {
        byte[] payload = Encoding.UTF8.GetBytes(json);
        EventView view = _scan.Read(new ProfileEvent { Payload = payload, EventType = (int)type, EventTime = catalog is null ? _at += 1_000 : _at });
        (catalog ?? _catalog).Observe(
            view,
            _scan.Traits.Kind == JsonTokenType.StartObject ? _scan.Traits.In(payload) : default,
            _scan.Context.Kind == JsonTokenType.StartObject ? _scan.Context.In(payload) : default);
    }
}
