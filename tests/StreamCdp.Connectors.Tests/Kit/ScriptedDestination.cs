namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>Takes everything and notes it, but where the script says otherwise.</summary>
/// <param name="script">Gets the batch and the number of the call from 1; null: all taken.</param>
/// <param name="answersPerChange">As the interface has it.</param>
internal sealed class ScriptedDestination(Func<IReadOnlyList<ProfileChange>, int, IReadOnlyList<Outcome>?>? script = null, bool answersPerChange = false) : IDestination
{
    public List<IReadOnlyList<ProfileChange>> Calls { get; } = [];

    /// <summary>In the order of arrival, repeats too.</summary>
    public List<ProfileChange> Taken { get; } = [];

    public bool IsDisposed { get; private set; }

    public bool AnswersPerChange => answersPerChange;

    public ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken)
    {
        Calls.Add(batch);
        IReadOnlyList<Outcome> outcomes = script?.Invoke(batch, Calls.Count) ?? Outcome.ForAll(Outcome.Taken, batch.Count);
        Taken.AddRange(batch.Where((_, i) => i < outcomes.Count && outcomes[i].Kind == OutcomeKind.Taken));
        return ValueTask.FromResult(outcomes);
    }

    public ValueTask DisposeAsync()
    {
        IsDisposed = true;
        return ValueTask.CompletedTask;
    }
}
