using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Actions;

/// <summary>Does something for people in one outside system: sends a mail, makes a task, puts somebody on a list. The kit makes one per destination and never overlaps calls.</summary>
/// <remarks>When, for whom, how often at most, with whose consent: all that the kit has decided when it calls.</remarks>
public interface IActionTarget : IAsyncDisposable
{
    /// <summary>Identifier type of whom it is done to, such as <c>email</c>: people who share one count as one for frequency caps.</summary>
    string TargetType { get; }

    /// <summary>
    /// A call that comes again with the same <see cref="ActionCall.Key"/> does nothing a second time. Where that cannot be, as with mail, a call that was under way when the process
    /// ended becomes a dead letter, and a person decides.
    /// </summary>
    bool KnowsRepeats { get; }

    /// <summary>Who has no identifier of <see cref="TargetType"/> may have one soon, as a contact that is about to be made: then the kit waits. Else nothing is done for that person.</summary>
    bool TargetMayCome => false;

    /// <summary>Does some.</summary>
    /// <param name="calls">1 to 100, of one person one at most; 1 where <see cref="KnowsRepeats"/> is not.</param>
    /// <param name="cancellationToken">Stops waiting; what was done stays done.</param>
    /// <returns>One outcome for each, in their order. One that is not known to have been done, and not known not to have been, is <see cref="Outcome.Unknown"/>.</returns>
    /// <exception cref="DestinationUnavailableException">None was done; the kit waits and calls again.</exception>
    /// <exception cref="DestinationMustPauseException">None was done, and a person is needed.</exception>
    ValueTask<IReadOnlyList<Outcome>> DoAsync(IReadOnlyList<ActionCall> calls, CancellationToken cancellationToken);
}

/// <summary>One thing to do for one person.</summary>
public sealed record ActionCall
{
    /// <summary>The same each time this is asked for, and different for any other; up to 300 characters.</summary>
    public required string Key { get; init; }

    /// <summary>What to do.</summary>
    public required ActionDefinition Action { get; init; }

    /// <summary>The person's profile, 32 hex digits.</summary>
    public required string ProfileId { get; init; }

    /// <summary>The person's identifiers of <see cref="IActionTarget.TargetType"/>, the newest first; one at least.</summary>
    public required IReadOnlyList<string> Targets { get; init; }

    /// <summary>The action's templates, filled in.</summary>
    public required IReadOnlyDictionary<string, string> Fields { get; init; }

    /// <summary>When the change was that started it.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>Where the person takes back the consent; null: nowhere.</summary>
    public Uri? UnsubscribeUrl { get; init; }
}
