namespace StreamCdp.Connectors;

/// <summary>Sends profile changes to one outside system. The kit makes one per destination and never overlaps calls.</summary>
/// <remarks>
/// The connector decides whether something can be sent again; the kit does it. The kit batches, retries with back-off, keeps to the rate, writes dead letters,
/// remembers how far it is, and counts. Of one profile and kind the changes come in the order of their versions.
/// </remarks>
public interface IDestination : IAsyncDisposable
{
    /// <summary>Changes of one batch can have different outcomes. Then the kit puts at most one change of a profile into a batch, so that one that is tried again is never overtaken.</summary>
    bool AnswersPerChange { get; }

    /// <summary>Sends a batch; returns when the other side took or refused each change.</summary>
    /// <param name="batch">1 to the destination's batch limit. After a crash a change comes again with the same <see cref="ProfileChange.Id"/> and version.</param>
    /// <param name="cancellationToken">Stops waiting; what was already sent stays sent.</param>
    /// <returns>One outcome per change, in the batch's order: taken, refused (to the dead letters), or try again.</returns>
    /// <exception cref="DestinationUnavailableException">Nothing is known to have been taken; the kit waits RetryAfter, or its back-off, and sends the same batch again.</exception>
    /// <exception cref="BatchRefusedException">Refused as a whole; the kit sends the halves, until the change that is to blame stands alone and becomes a dead letter.</exception>
    /// <exception cref="DestinationMustPauseException">A person is needed; the kit pauses the destination with the reason and keeps the batch.</exception>
    /// <remarks>Let every other exception out: the kit takes it as a bug of the connector, says so, and sends again after its back-off. Batches, retries, rate limits, dead letters and metrics are the kit's work.</remarks>
    ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken);
}
