using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using Avro;
using Avro.Generic;
using Avro.IO;
using StreamCdp.Schemas;

namespace StreamCdp.Integration.Tests;

public sealed class SchemaRegistryTests(SchemaRegistryProcess process) : IClassFixture<SchemaRegistryProcess>
{
    private static readonly UInt128 _id = new(0x0011223344556677, 0x8899aabbccddeeff);
    private static readonly DateTime _at = new(2026, 11, 24, 3, 0, 0, DateTimeKind.Utc);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_schema_registered_again_keeps_its_id_and_is_found_by_it()
    {
        using RestSchemaRegistry registry = Registry();
        SchemaIds first = await SchemaIds.RegisterAsync(registry, TopicOf, Cancel);
        SchemaIds second = await SchemaIds.RegisterAsync(registry, TopicOf, Cancel);

        Assert.All(Enum.GetValues<RecordType>(), type => Assert.Equal(first[type], second[type]));
        Assert.Equal(8, Enum.GetValues<RecordType>().Select(type => first[type]).Distinct().Count());
        foreach (RecordType type in Enum.GetValues<RecordType>())
        {
            string? found = await registry.GetByIdAsync(first[type], Cancel);
            Assert.Equal(CanonicalSchema.Of(SchemaIds.SchemaText(type)), CanonicalSchema.Of(found!));
        }

        Assert.Null(await registry.GetByIdAsync(1_000_000, Cancel));
    }

    [Fact]
    public async Task Another_version_of_a_schema_is_refused_and_the_same_in_other_words_is_learned()
    {
        using RestSchemaRegistry registry = Registry();
        SchemaIds ids = await SchemaIds.RegisterAsync(registry, TopicOf, Cancel);
        string ours = SchemaIds.SchemaText(RecordType.ModelRecord);
        int larger = await registry.RegisterAsync("larger-value", ours.Replace("\"fields\": [", "\"fields\": [ { \"name\": \"by\", \"type\": \"string\" },", StringComparison.Ordinal), Cancel);
        int reworded = await registry.RegisterAsync("reworded-value", ours.Replace("Version of the model.", "Which model.", StringComparison.Ordinal), Cancel);

        await Assert.ThrowsAsync<SchemaMismatchException>(() => ids.LearnAsync(RecordType.ModelRecord, larger, Cancel));
        await ids.LearnAsync(RecordType.ModelRecord, reworded, Cancel);

        Assert.True(ids.IsKnown(RecordType.ModelRecord, reworded));
    }

    [Fact]
    public async Task A_change_that_the_subject_refuses_says_so()
    {
        using RestSchemaRegistry registry = Registry();
        string ours = SchemaIds.SchemaText(RecordType.ModelRecord);
        await registry.RegisterAsync("strict-value", ours, Cancel);
        using var http = new HttpClient();
        using HttpResponseMessage set = await http.PutAsJsonAsync($"{process.Url}/config/strict-value", new { compatibility = "BACKWARD" }, Cancel);
        set.EnsureSuccessStatusCode();

        string larger = ours.Replace("\"fields\": [", "\"fields\": [ { \"name\": \"by\", \"type\": \"string\" },", StringComparison.Ordinal);
        var refused = await Assert.ThrowsAsync<SchemaRegistryException>(() => registry.RegisterAsync("strict-value", larger, Cancel));
        Assert.Contains("its compatibility rule refuses this one", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_consumer_that_knows_only_the_registry_decodes_a_profile()
    {
        using RestSchemaRegistry registry = Registry();
        SchemaIds ids = await SchemaIds.RegisterAsync(registry, TopicOf, Cancel);

        GenericRecord profile = await DecodeAsync(ProfileValue(ids));

        Assert.Equal("00112233445566778899aabbccddeeff", profile["id"]);
        Assert.Equal(_at, profile["created_at"]);
        Assert.Null(profile["merged_into"]);
        var identifier = (GenericRecord)Assert.Single((object[])profile["identifiers"]);
        Assert.Equal(("email", "a@b.c", "web"), (identifier["type"], identifier["value"], identifier["source"]));
        Assert.Equal("""{"plan":"pro"}""", profile["traits"]);
        Assert.Equal("big_spenders", ((GenericRecord)Assert.Single((object[])profile["segments"]))["id"]);
        Assert.Equal(120L, ((GenericRecord)profile["activity"])["events"]);
        Assert.Equal("00000000000000000000000000000001", Assert.Single((object[])profile["merged_from"]));
    }

    [Fact]
    public async Task A_consumer_that_knows_only_the_registry_decodes_a_membership()
    {
        using RestSchemaRegistry registry = Registry();
        SchemaIds ids = await SchemaIds.RegisterAsync(registry, TopicOf, Cancel);

        GenericRecord membership = await DecodeAsync(MembershipValue(ids));

        Assert.Equal("00112233445566778899aabbccddeeff", membership["profile_id"]);
        Assert.Equal("big_spenders", membership["segment"]);
        Assert.Equal("entered", ((GenericEnum)membership["change"]).Value);
        Assert.Equal(_at, membership["at"]);
        Assert.Equal("m-1", membership["cause"]);
        Assert.Equal("event", ((GenericEnum)membership["reason"]).Value);
        Assert.Equal(7L, membership["version"]);
    }

    private static string TopicOf(RecordType type) => $"streamcdp.{type.ToString().ToLowerInvariant()}";

    private static byte[] ProfileValue(SchemaIds ids)
    {
        long at = new DateTimeOffset(_at).ToUnixTimeMilliseconds();
        byte[] buffer = [];
        var writer = new ProfileWriter(ref buffer, WireFormat.WriteHeader(ref buffer, 0, ids[RecordType.Profile]));
        writer.Head(_id, version: 17, createdAt: at, updatedAt: at, sourceOffset: 99, mergedInto: null);
        writer.Identifiers(1);
        writer.Identifier("email"u8, "a@b.c"u8, at, at, "web"u8);
        writer.Json("""{"plan":"pro"}"""u8, provenance: default, computed: default);
        writer.Segments(1);
        writer.Segment("big_spenders"u8, at);
        writer.Activity(at, at, events: 120);
        writer.MergedFrom(1);
        writer.MergedProfile(UInt128.One);
        return buffer[..writer.End()];
    }

    private static byte[] MembershipValue(SchemaIds ids)
    {
        byte[] buffer = [];
        int body = WireFormat.WriteHeader(ref buffer, 0, ids[RecordType.SegmentMembership]);
        return buffer[..new SegmentMembership
        {
            ProfileId = _id,
            Segment = "big_spenders"u8,
            SegmentVersion = "0123456789abcdef"u8,
            Change = MembershipChange.Entered,
            At = new DateTimeOffset(_at).ToUnixTimeMilliseconds(),
            Cause = "m-1"u8,
            Reason = MembershipReason.Event,
            Version = 7,
        }.WriteTo(ref buffer, body)];
    }

    /// <summary>As a program that has none of our code: header by hand, schema by HTTP, body by Apache.Avro.</summary>
    private async Task<GenericRecord> DecodeAsync(byte[] value)
    {
        Assert.Equal(0, value[0]);
        int id = int.Parse(Convert.ToHexString(value, 1, 4), NumberStyles.HexNumber);
        using var http = new HttpClient();
        JsonElement answer = await http.GetFromJsonAsync<JsonElement>($"{process.Url}/schemas/ids/{id}", Cancel);
        Schema schema = Schema.Parse(answer.GetProperty("schema").GetString());
        using var stream = new MemoryStream(value, 5, value.Length - 5);
        return new GenericDatumReader<GenericRecord>(schema, schema).Read(null!, new BinaryDecoder(stream));
    }

    private RestSchemaRegistry Registry()
    {
        Assert.SkipWhen(process.Url is null, SchemaRegistryProcess.WhyNot);
        return new(new SchemaRegistryOptions { Url = process.Url! });
    }
}
