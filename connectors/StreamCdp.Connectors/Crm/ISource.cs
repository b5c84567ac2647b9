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

    /// <summary>Fields of an object in this account, for <c>check --connect</c> and for the types of values. It may be remembered for an hour.</summary>
    ValueTask<IReadOnlyList<CrmField>> DescribeAsync(CrmObject kind, CancellationToken cancellationToken);

    /// <summary>Records that were made or changed, in themselves or in a part of them, at or after an instant; deleted and merged ones where the CRM tells of them: where it does not, the whole reader finds out.</summary>
    /// <param name="kind">Which object.</param>
    /// <param name="since">By the CRM's clock. <see cref="DateTimeOffset.MinValue"/>: all.</param>
    /// <param name="page">Null, or <see cref="CrmPage.Next"/> of the page before, of the same <paramref name="kind"/> and <paramref name="since"/>.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>A page. A record that changes while pages are read is in a later page, or is found by the next call from <see cref="CrmPage.ServerTime"/> of the first page on. Earlier ones may come as well, as long as they are few. Any number of records with one timestamp are no problem.</returns>
    ValueTask<CrmPage> ChangesAsync(CrmObject kind, DateTimeOffset since, string? page, CancellationToken cancellationToken);

    /// <summary>Records as they are now, read by id and not from an index that lags. One that is gone, or never was, comes with <see cref="CrmRecord.IsDeleted"/> and, where the CRM knows, <see cref="CrmRecord.MergedInto"/>.</summary>
    /// <param name="kind">Which object.</param>
    /// <param name="ids">1 to 100, each once. They need not look like ids of this CRM: events bring what they like.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>One for each id, in any order, under the id that was asked for.</returns>
    ValueTask<IReadOnlyList<CrmRecord>> ReadAsync(CrmObject kind, IReadOnlyList<string> ids, CancellationToken cancellationToken);

    /// <summary>Ids of all records that are not deleted, page by page: what is missing is taken for deleted, after it was asked for by id.</summary>
    /// <param name="kind">Which object.</param>
    /// <param name="page">Null, or the next page's.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>A page, which may be empty with a next one. It must be true: where an answer could be "nothing" because something is broken (rights, an index that is being built), throw <see cref="DestinationUnavailableException"/> instead.</returns>
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
