namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>A connector to begin from: it talks to a shelf in memory that answers each change apart, and passes the conformance suite (<see cref="TemplateConformanceTests"/>).</summary>
internal sealed class TemplateDestination(TemplateShelf shelf, TimeSpan timeout) : IDestination
{
    // The shelf's answer has a line for each change: so the kit puts one change of a profile into a batch at most, and none overtakes another.
    public bool AnswersPerChange => true;

    public async ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(timeout);
        try
        {
            IReadOnlyDictionary<string, string> answer = await shelf.PutAsync(batch.ToDictionary(change => change.Id, ChangeJson.Bytes), limit.Token);
            return [.. batch.Select(change => answer.GetValueOrDefault(change.Id) switch
            {
                "ok" => Outcome.Taken,
                null => Outcome.TryAgain("The shelf said nothing about it."), // Silence is no yes.
                string reason => Outcome.Refused(reason),
            })];
        }
        catch (IOException exception)
        {
            throw new DestinationUnavailableException("The shelf is away. Look whether it stands.", inner: exception);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new DestinationUnavailableException($"The shelf did not answer within {timeout.TotalSeconds} s.", inner: exception);
        }
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}

/// <summary>The other side of <see cref="TemplateDestination"/>.</summary>
internal sealed class TemplateShelf
{
    public Receiving Receiving { get; set; }

    public List<string> Held { get; } = [];

    public async Task<IReadOnlyDictionary<string, string>> PutAsync(Dictionary<string, byte[]> items, CancellationToken cancellationToken)
    {
        if (Receiving == Receiving.IsAway)
        {
            throw new IOException("Away.");
        }

        if (Receiving == Receiving.Hangs)
        {
            await Task.Delay(Timeout.Infinite, cancellationToken);
        }

        Dictionary<string, string> answer = items.Keys.ToDictionary(id => id, id => Receiving == Receiving.RefusesOne && id.StartsWith(DestinationConformance.BadProfile, StringComparison.Ordinal) ? "Not this one." : "ok");
        Held.AddRange(answer.Where(one => one.Value == "ok" && !Held.Contains(one.Key)).Select(one => one.Key).ToList());
        return answer;
    }
}

public sealed class TemplateConformanceTests : DestinationConformance
{
    private readonly TemplateShelf _shelf = new();

    protected override ValueTask<IDestination> CreateAsync(TimeSpan timeout) => new(new TemplateDestination(_shelf, timeout));

    protected override void Behave(Receiving receiving) => _shelf.Receiving = receiving;

    protected override IReadOnlyList<string> Held() => _shelf.Held;
}
