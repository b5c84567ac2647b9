using System.Collections.Concurrent;

namespace StreamCdp.Schemas;

/// <summary>The schema id of each record: a fixed one where there is no registry, else the one that the registry gave.</summary>
/// <remarks>
/// Built-in ids are the numbers of <see cref="RecordType"/>. Reading: <see cref="IsKnown"/> on the hot path (a comparison for our own id), and only where it
/// is false <see cref="LearnAsync"/> at the border. Safe for many threads.
/// </remarks>
public sealed class SchemaIds
{
    private static readonly RecordType[] _types = Enum.GetValues<RecordType>();

    private readonly int[] _ids;
    private readonly ISchemaRegistry? _registry;
    private readonly ConcurrentDictionary<(RecordType Type, int Id), bool> _learned = new();

    private SchemaIds(int[] ids, ISchemaRegistry? registry)
    {
        _ids = ids;
        _registry = registry;
    }

    /// <summary>Ids without a registry: 1 to 8, the numbers of <see cref="RecordType"/>.</summary>
    public static SchemaIds BuiltIn { get; } = new([0, .. _types.Select(type => (int)type)], registry: null);

    /// <summary>The id to write a record with.</summary>
    public int this[RecordType type] => _ids[(int)type];

    /// <summary>The Avro schema of a record, as in schemas/avro.</summary>
    public static string SchemaText(RecordType type)
    {
        using Stream stream = typeof(SchemaIds).Assembly.GetManifestResourceStream($"{type}.avsc")
            ?? throw new ArgumentOutOfRangeException(nameof(type), type, "No record has this number.");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    /// <summary>Registers the schemas of all records, each under the subject <c>{topic}-value</c>.</summary>
    /// <param name="registry">Asked again only for ids that are new to it.</param>
    /// <param name="topicOf">The topic, with its prefix, that a record is written to.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <exception cref="SchemaRegistryException">Refused or out of reach.</exception>
    public static async Task<SchemaIds> RegisterAsync(ISchemaRegistry registry, Func<RecordType, string> topicOf, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(registry);
        ArgumentNullException.ThrowIfNull(topicOf);
        int[] ids = new int[_types.Length + 1];
        foreach (RecordType type in _types)
        {
            ids[(int)type] = await registry.RegisterAsync($"{topicOf(type)}-value", SchemaText(type), cancellationToken).ConfigureAwait(false);
        }

        return new SchemaIds(ids, registry);
    }

    /// <summary>Whether a body with this schema id reads as this record.</summary>
    /// <returns>False: not known yet; <see cref="LearnAsync"/> asks.</returns>
    public bool IsKnown(RecordType type, int schemaId) => _ids[(int)type] == schemaId || _learned.ContainsKey((type, schemaId));

    /// <summary>Asks the registry for a schema and accepts it where it reads the same bytes the same way as ours (docs and names of topics may differ).</summary>
    /// <exception cref="SchemaMismatchException">Another schema, also an older or newer version of ours; or nobody knows the id.</exception>
    /// <exception cref="SchemaRegistryException">Out of reach: ask again later.</exception>
    public async Task LearnAsync(RecordType type, int schemaId, CancellationToken cancellationToken)
    {
        if (IsKnown(type, schemaId))
        {
            return;
        }

        if (_registry is null)
        {
            throw new SchemaMismatchException(
                $"A {type} has schema id {schemaId}; without a schema registry only the built-in id {this[type]} can be read. Configure the registry that its writer used.");
        }

        string? found = await _registry.GetByIdAsync(schemaId, cancellationToken).ConfigureAwait(false);
        if (found is null)
        {
            string hint = schemaId == (int)type ? " It is the built-in id: the record was written without a registry; start with an empty log or without a registry." : "";
            throw new SchemaMismatchException($"A {type} has schema id {schemaId}, which the schema registry does not know.{hint}");
        }

        string ours = SchemaText(type);
        if (!IsSame(found, ours))
        {
            throw new SchemaMismatchException(
                $"A {type} has schema id {schemaId}, which is another schema than this version of StreamCdp reads (fingerprint {CanonicalSchema.Fingerprint(ours):x16}): "
                + "another version of StreamCdp or another program wrote it. Read it with that version, or move it to another topic.");
        }

        _learned[(type, schemaId)] = true;
    }

    private static bool IsSame(string found, string ours)
    {
        try
        {
            return CanonicalSchema.Of(found) == CanonicalSchema.Of(ours);
        }
        catch (FormatException)
        {
            return false; // Not Avro: a registry holds Protobuf and JSON Schema, too.
        }
    }
}

/// <summary>A record was written with a schema that this version cannot read. Waiting does not help; the message says what does.</summary>
public sealed class SchemaMismatchException : Exception
{
    /// <summary>Without a reason.</summary>
    public SchemaMismatchException()
    {
    }

    /// <summary>With what is wrong and what to do.</summary>
    public SchemaMismatchException(string message)
        : base(message)
    {
    }

    /// <summary>With what is wrong and what to do, and its cause.</summary>
    public SchemaMismatchException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
