namespace StreamCdp.Connectors.Crm;

/// <summary>Reads and writes the records of one CRM account.</summary>
public interface ICrm : ISource
{
    /// <summary>Identifier type of its contacts in the model, for example <c>hubspot_contact_id</c>.</summary>
    string ContactIdType { get; }

    /// <summary>Finds contacts that are somebody's already, before one is made.</summary>
    /// <param name="externalIds">Ids that an earlier <see cref="CrmWrite.ExternalId"/> may have stored. Up to 100, may be none.</param>
    /// <param name="emails">E-mail addresses, normalised to lower case, while the CRM may keep them as typed; also those that a record has besides its main one. Up to 100, may be none.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>Records that have one of them, none of them deleted.</returns>
    ValueTask<IReadOnlyList<CrmRecord>> FindContactsAsync(IReadOnlyList<string> externalIds, IReadOnlyList<string> emails, CancellationToken cancellationToken);

    /// <summary>Writes records and reads back what was stored.</summary>
    /// <param name="writes">1 to 100 of one object, at most one of a record. After a crash a write may come again.</param>
    /// <param name="cancellationToken">Stops waiting; what was already sent stays sent.</param>
    /// <returns>One outcome for each write, in their order. A row that is refused does not cost the others: the connector splits the batch where the CRM refuses it whole.</returns>
    ValueTask<IReadOnlyList<CrmOutcome>> WriteAsync(IReadOnlyList<CrmWrite> writes, CancellationToken cancellationToken);

    /// <summary>Puts contacts on a list (static list, category, campaign) and takes others off; the list is made where it is missing.</summary>
    /// <param name="list">Its name.</param>
    /// <param name="add">Contact ids, up to 100.</param>
    /// <param name="remove">Contact ids, up to 100.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>Ids of <paramref name="add"/> that do not exist any more; all others are on the list now. Being on it, or off it, already is no error.</returns>
    ValueTask<IReadOnlyList<string>> ChangeListAsync(string list, IReadOnlyList<string> add, IReadOnlyList<string> remove, CancellationToken cancellationToken);

    /// <summary>Merges a contact into another one, where the CRM can.</summary>
    /// <param name="from">Goes.</param>
    /// <param name="into">Stays.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>The id of what stays, which may be a new one, also where it was done before; null: this CRM cannot merge.</returns>
    ValueTask<string?> MergeContactsAsync(string from, string into, CancellationToken cancellationToken);

    /// <summary>Deletes contacts: no question of this interface finds them any more. Where the CRM must keep a record because others name it, it is made inactive.</summary>
    /// <param name="ids">1 to 100, each once. One that is gone already, or never was, is no error.</param>
    /// <param name="cancellationToken">Stops waiting; what was already sent stays sent.</param>
    /// <returns>Those that stay for good, each with the reason, which stands in dead letters: the CRM refuses it, or a deal or activity names it, so somebody works with it. All others are gone.</returns>
    ValueTask<IReadOnlyDictionary<string, string>> DeleteContactsAsync(IReadOnlyList<string> ids, CancellationToken cancellationToken);
}
