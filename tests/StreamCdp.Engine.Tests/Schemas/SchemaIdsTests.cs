using Avro;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Schemas;

public sealed class SchemaIdsTests
{
    private const string OtherWords = """{"type":"record","name":"ModelRecord","namespace":"streamcdp","fields":[{"name":"version","type":{"type":"string"}},{"name":"text","type":"string"},{"name":"at","type":"long"}]}""";
    private const string Larger = """{"type":"record","name":"ModelRecord","namespace":"streamcdp","fields":[{"name":"version","type":"string"},{"name":"text","type":"string"},{"name":"at","type":"long"},{"name":"by","type":"string"}]}""";

    public static TheoryData<RecordType> Types => [.. Enum.GetValues<RecordType>()];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public void Without_a_registry_the_ids_are_fixed_for_ever() =>
        Assert.Equal(
            [("CustomerEvent", 1), ("IdentityLink", 2), ("IdentityDecision", 3), ("ProfileEvent", 4), ("SegmentMembership", 5), ("Profile", 6), ("DeadLetter", 7), ("ModelRecord", 8)],
            Enum.GetValues<RecordType>().Select(type => (type.ToString(), SchemaIds.BuiltIn[type])));

    [Fact]
    public async Task Without_a_registry_another_id_is_refused()
    {
        Assert.True(SchemaIds.BuiltIn.IsKnown(RecordType.Profile, 6));
        Assert.False(SchemaIds.BuiltIn.IsKnown(RecordType.Profile, 5));

        var refused = await Assert.ThrowsAsync<SchemaMismatchException>(() => SchemaIds.BuiltIn.LearnAsync(RecordType.Profile, 77, Cancel));
        Assert.Contains("without a schema registry only the built-in id 6", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task With_a_registry_each_record_is_registered_under_its_topic()
    {
        var registry = new MemoryRegistry();
        SchemaIds ids = await SchemaIds.RegisterAsync(registry, type => $"cdp.{type}", Cancel);

        Assert.Equal(Enum.GetNames<RecordType>().Select(name => $"cdp.{name}-value"), registry.Subjects);
        Assert.Equal(101, ids[RecordType.CustomerEvent]);
        Assert.Equal(SchemaIds.SchemaText(RecordType.Profile), await registry.GetByIdAsync(ids[RecordType.Profile], Cancel));
        Assert.False(ids.IsKnown(RecordType.Profile, (int)RecordType.Profile));
    }

    [Fact]
    public async Task A_registered_schema_that_reads_the_same_bytes_is_learned_once()
    {
        var registry = new MemoryRegistry();
        SchemaIds ids = await SchemaIds.RegisterAsync(registry, type => $"{type}", Cancel);
        int other = await registry.RegisterAsync("another", OtherWords, Cancel);

        Assert.False(ids.IsKnown(RecordType.ModelRecord, other));
        await ids.LearnAsync(RecordType.ModelRecord, other, Cancel);
        await ids.LearnAsync(RecordType.ModelRecord, other, Cancel);

        Assert.True(ids.IsKnown(RecordType.ModelRecord, other));
        Assert.False(ids.IsKnown(RecordType.DeadLetter, other));
        Assert.Equal(1, registry.Lookups);
    }

    [Theory]
    [InlineData(Larger)]
    [InlineData("""{"type":"object","properties":{}}""")]
    [InlineData("syntax = \"proto3\";")]
    public async Task Another_schema_is_refused_with_what_to_do(string schema)
    {
        var registry = new MemoryRegistry();
        SchemaIds ids = await SchemaIds.RegisterAsync(registry, type => $"{type}", Cancel);
        int other = await registry.RegisterAsync("another", schema, Cancel);

        var refused = await Assert.ThrowsAsync<SchemaMismatchException>(() => ids.LearnAsync(RecordType.ModelRecord, other, Cancel));
        Assert.Contains("another schema than this version of StreamCdp reads", refused.Message, StringComparison.Ordinal);
        Assert.False(ids.IsKnown(RecordType.ModelRecord, other));
    }

    [Fact]
    public async Task An_id_of_a_time_without_registry_is_refused_and_says_so()
    {
        SchemaIds ids = await SchemaIds.RegisterAsync(new MemoryRegistry(), type => $"{type}", Cancel);

        var refused = await Assert.ThrowsAsync<SchemaMismatchException>(() => ids.LearnAsync(RecordType.Profile, 6, Cancel));
        Assert.Contains("written without a registry", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Canonical_form_and_fingerprint_are_those_of_Apache_Avro(RecordType type)
    {
        Schema schema = Schema.Parse(SchemaIds.SchemaText(type));

        Assert.Equal(SchemaNormalization.ToParsingForm(schema), CanonicalSchema.Of(SchemaIds.SchemaText(type)));
        Assert.Equal((ulong)SchemaNormalization.ParsingFingerprint64(schema), CanonicalSchema.Fingerprint(SchemaIds.SchemaText(type)));
    }

    [Theory]
    [InlineData("\"null\"", "\"null\"", 7195948357588979594UL)]
    [InlineData("""{"type":"array","items":{"type":"map","values":"Long"}}""", """{"type":"array","items":{"type":"map","values":"Long"}}""", null)]
    [InlineData("""{"type":"enum","symbols":["A","B"],"name":"X.E","namespace":"Y","doc":"d"}""", """{"name":"X.E","type":"enum","symbols":["A","B"]}""", null)]
    [InlineData("""{"type":"record","name":"R","namespace":"a","fields":[{"name":"r","default":null,"type":["null","R"]}]}""", """{"name":"a.R","type":"record","fields":[{"name":"r","type":["null","a.R"]}]}""", null)]
    public void Canonical_form_follows_the_specification(string schema, string canonical, ulong? fingerprint)
    {
        Assert.Equal(canonical, CanonicalSchema.Of(schema));
        if (fingerprint is { } value)
        {
            Assert.Equal(value, CanonicalSchema.Fingerprint(schema));
        }
    }

    private sealed class MemoryRegistry : ISchemaRegistry
    {
        private readonly List<string> _schemas = [];

        public List<string> Subjects { get; } = [];

        public int Lookups { get; private set; }

        public Task<int> RegisterAsync(string subject, string schemaText, CancellationToken cancellationToken)
        {
            Subjects.Add(subject);
            _schemas.Add(schemaText);
            return Task.FromResult(_schemas.Count + 100);
        }

        public Task<string?> GetByIdAsync(int id, CancellationToken cancellationToken)
        {
            Lookups++;
            return Task.FromResult(id > 100 && id - 101 < _schemas.Count ? _schemas[id - 101] : null);
        }
    }
}
