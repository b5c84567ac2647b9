namespace StreamCdp.Connectors;

/// <summary>A connector that can look whether it could work, for <c>check --connect</c>.</summary>
public interface ICheckable
{
    /// <summary>Connects and looks; sends no change and leaves nothing behind.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>What was found, good and bad. Let <see cref="DestinationUnavailableException"/> and <see cref="DestinationMustPauseException"/> out: each is a problem, with its message.</returns>
    ValueTask<IReadOnlyList<Finding>> CheckAsync(CancellationToken cancellationToken);
}

/// <summary>What a check found, without a secret and without personal data.</summary>
/// <param name="Key">Key of the destination in cdp.yaml that it is about, for example topic or contacts.fields.phone; empty: the destination as a whole.</param>
/// <param name="Text">What is there; of a problem, what is wrong and what to do.</param>
/// <param name="IsProblem">With this it would not work.</param>
public sealed record Finding(string Key, string Text, bool IsProblem = false);
