namespace StreamCdp.Connectors.Crm;

/// <summary>Reads the records of one outside system. The kit makes one for each account and never overlaps calls.</summary>
/// <remarks>
/// The connector says what there is; the kit decides when to read, finds out what is new, remembers how far it is together with what it read, and writes the events. Let
/// <see cref="DestinationUnavailableException"/> (away, 429, 5xx; with the other side's wish) and <see cref="DestinationMustPauseException"/> (credentials, rights) out: the kit waits, or pauses, and
/// asks again. A daily limit is <see cref="DestinationUnavailableException"/> with the time until it ends.
/// </remarks>
public interface ISource : IAsyncDisposable
{
    /// <summary>Objects that this CRM has and this connector reads.</summary>
    IReadOnlyList<CrmObject> Objects { get; }

    /// <summary>Fields of an object in this account, for <c>check --connect</c> and for the types of values.</summary>
    ValueTask<IReadOnlyList<CrmField>> DescribeAsync(CrmObject kind, CancellationToken cancellationToken);

    /// <summary>Records that were made or changed, in themselves or in a part of them, at or after an instant; deleted and merged ones where the CRM tells of them.</summary>
    /// <param name="kind">Which object.</param>
    /// <param name="since">By the CRM's clock. <see cref="DateTimeOffset.MinValue"/>: all.</param>
    /// <param name="page">Null, or <see cref="CrmPage.Next"/> of the page before, of the same <paramref name="kind"/> and <paramref name="since"/>.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>A page. A record that changes while pages are read is in a later page, or is found by the next call from <see cref="CrmPage.ServerTime"/> of the first page on. Any number of records with one timestamp are no problem.</returns>
    ValueTask<CrmPage> ChangesAsync(CrmObject kind, DateTimeOffset since, string? page, CancellationToken cancellationToken);

    /// <summary>Records as they are now. One that is gone comes with <see cref="CrmRecord.IsDeleted"/> and, where the CRM knows, <see cref="CrmRecord.MergedInto"/>.</summary>
    /// <param name="kind">Which object.</param>
    /// <param name="ids">1 to 100.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>One for each id, in any order.</returns>
    ValueTask<IReadOnlyList<CrmRecord>> ReadAsync(CrmObject kind, IReadOnlyList<string> ids, CancellationToken cancellationToken);

    /// <summary>Ids of all records that are not deleted, page by page: what is missing was deleted.</summary>
    /// <param name="kind">Which object.</param>
    /// <param name="page">Null, or the next page's.</param>
    /// <param name="cancellationToken">Gives up.</param>
    ValueTask<(IReadOnlyList<string> Ids, string? Next)> IdsAsync(CrmObject kind, string? page, CancellationToken cancellationToken);
}

/// <summary>Tells when a request may be made: one for all that talks to an account.</summary>
public interface IRequestGate
{
    /// <summary>Waits for its turn, before each request.</summary>
    ValueTask WaitAsync(CancellationToken cancellationToken);

    /// <summary>Told after each request, for the metrics.</summary>
    /// <param name="outcome">One word: ok, limited, unavailable, refused.</param>
    void Made(string outcome);
}
