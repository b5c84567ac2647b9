namespace StreamCdp.Connectors.Crm;

/// <summary>A CRM in which fields must be made before they can be written.</summary>
public interface ICrmPreparation
{
    /// <summary>Makes the field that holds <see cref="CrmWrite.ExternalId"/>, and fields that are missing. Changes none that is there; can be called again.</summary>
    /// <param name="kind">Of which object.</param>
    /// <param name="fields">What will be written: name and type. A field that is read-only in this list is an error of the caller.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>Names of the fields that were made.</returns>
    /// <exception cref="DestinationMustPauseException">A field cannot be made, or one that is there cannot do what it is for.</exception>
    ValueTask<IReadOnlyList<string>> PrepareAsync(CrmObject kind, IReadOnlyList<CrmField> fields, CancellationToken cancellationToken);

    /// <summary>Why no field of this name can be made; null: it can.</summary>
    string? NameError(string field);
}
