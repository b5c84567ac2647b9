namespace StreamCdp.Schemas;

/// <summary>A schema registry: numbers for schemas, known to all who read and write.</summary>
public interface ISchemaRegistry
{
    /// <summary>Registers a schema under a subject; the same schema again gives the same id.</summary>
    /// <param name="subject">For example <c>streamcdp.profiles-value</c>.</param>
    /// <param name="schemaText">Avro schema as JSON.</param>
    /// <param name="cancellationToken">Stops waiting.</param>
    /// <exception cref="SchemaRegistryException">Refused, or out of reach after the retries; the message says what to do.</exception>
    Task<int> RegisterAsync(string subject, string schemaText, CancellationToken cancellationToken);

    /// <summary>The schema behind an id, as JSON text; null where the registry does not know the id.</summary>
    /// <exception cref="SchemaRegistryException">Out of reach after the retries, or no access.</exception>
    Task<string?> GetByIdAsync(int id, CancellationToken cancellationToken);
}

/// <summary>The schema registry refused, or did not answer.</summary>
public sealed class SchemaRegistryException : Exception
{
    /// <summary>Without a reason.</summary>
    public SchemaRegistryException()
    {
    }

    /// <summary>With what is wrong and what to do.</summary>
    public SchemaRegistryException(string message)
        : base(message)
    {
    }

    /// <summary>With what is wrong and what to do, and its cause.</summary>
    public SchemaRegistryException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
