namespace StreamCdp.Connectors.Crm;

/// <summary>A CRM in which fields must be made before they can be written.</summary>
public interface ICrmPreparation
{
    /// <summary>The field of each object that holds <see cref="CrmWrite.ExternalId"/>.</summary>
    string IdField { get; }

    /// <summary>Makes those of some fields that are missing, and no other. Changes none that is there; can be called again.</summary>
    /// <param name="kind">Of which object.</param>
    /// <param name="fields">Name and type of each; <see cref="IdField"/> is among them where records are to be made. A field that is read-only in this list is an error of the caller.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>Names of the fields that were made.</returns>
    /// <exception cref="DestinationMustPauseException">A field cannot be made, or one that is there cannot do what it is for.</exception>
    ValueTask<IReadOnlyList<string>> PrepareAsync(CrmObject kind, IReadOnlyList<CrmField> fields, CancellationToken cancellationToken);

    /// <summary>Why no field of this name can be made; null: it can.</summary>
    string? NameError(string field);
}
