namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>What the other side does in a conformance test.</summary>
public enum Receiving
{
    /// <summary>Takes everything.</summary>
    Takes,

    /// <summary>Cannot be used now: 503, a closed port, a rate limit, whatever the system has.</summary>
    IsAway,

    /// <summary>Takes the request and never answers.</summary>
    Hangs,

    /// <summary>Does not take the changes of <see cref="DestinationConformance.BadProfile"/>, ever; takes all others.</summary>
    RefusesOne,
}

/// <summary>What every destination must do. Derive a class, give it your connector and a receiver that you control, and run it.</summary>
public abstract class DestinationConformance
{
    /// <summary>The profile that <see cref="Receiving.RefusesOne"/> is about.</summary>
    public static readonly string BadProfile = Id(13);

    /// <summary>A new connector to the receiver; with <paramref name="timeout"/> as the longest time for one request.</summary>
    protected abstract ValueTask<IDestination> CreateAsync(TimeSpan timeout);

    /// <summary>How the receiver behaves from now on.</summary>
    protected abstract void Behave(Receiving receiving);

    /// <summary>Ids of the changes that the receiver holds, in the order they came; a change that came twice may stand there twice.</summary>
    protected abstract IReadOnlyList<string> Held();

    [Fact]
    public async Task What_it_says_is_taken_the_other_side_has_in_the_same_order()
    {
        await using IDestination destination = await CreateAsync(TimeSpan.FromSeconds(30));
        Behave(Receiving.Takes);
        ProfileChange[] batch = Batch(1, 2, 3);

        IReadOnlyList<Outcome> outcomes = await destination.SendAsync(batch, TestContext.Current.CancellationToken);

        Assert.All(outcomes, outcome => Assert.Equal(OutcomeKind.Taken, outcome.Kind));
        Assert.Equal(3, outcomes.Count);
        Assert.Equal(batch.Select(change => change.Id), Held());
    }

    [Fact]
    public async Task Every_kind_of_change_can_be_sent()
    {
        await using IDestination destination = await CreateAsync(TimeSpan.FromSeconds(30));
        Behave(Receiving.Takes);
        ProfileChange[] batch =
        [
            Change(1),
            Change(2) with { Kind = ChangeKind.Exited, Cause = null, Reason = "time", Identifiers = [] },
            Change(3) with { Kind = ChangeKind.Profile, Segment = null, SegmentVersion = null, Segments = ["s"], Traits = System.Text.Json.JsonElement.Parse("""{"name":"Zoë \"Z\" Ünal","n":null}"""u8) },
            Change(4) with { Kind = ChangeKind.Merged, Segment = null, SegmentVersion = null, Identifiers = [], MergedInto = Id(1) },
        ];

        IReadOnlyList<Outcome> outcomes = await destination.SendAsync(batch, TestContext.Current.CancellationToken);

        Assert.All(outcomes, outcome => Assert.Equal(OutcomeKind.Taken, outcome.Kind));
        Assert.Equal(batch.Select(change => change.Id), Held());
    }

    [Fact]
    public async Task A_batch_that_comes_again_is_taken_again()
    {
        await using IDestination destination = await CreateAsync(TimeSpan.FromSeconds(30));
        Behave(Receiving.Takes);

        await destination.SendAsync(Batch(1, 2), TestContext.Current.CancellationToken);
        IReadOnlyList<Outcome> again = await destination.SendAsync(Batch(1, 2), TestContext.Current.CancellationToken);

        Assert.All(again, outcome => Assert.Equal(OutcomeKind.Taken, outcome.Kind));
        Assert.Equal(Batch(1, 2).Select(change => change.Id), Held().Distinct());
    }

    [Fact]
    public async Task While_the_other_side_is_away_it_asks_to_try_again_and_names_nobody_and_then_works()
    {
        await using IDestination destination = await CreateAsync(TimeSpan.FromSeconds(30));
        Behave(Receiving.IsAway);

        string message = await AskedToTryAgainAsync(destination);
        Behave(Receiving.Takes);
        IReadOnlyList<Outcome> outcomes = await destination.SendAsync(Batch(1), TestContext.Current.CancellationToken);

        Assert.DoesNotContain("person1@example.com", message, StringComparison.Ordinal);
        Assert.DoesNotContain(Id(1), message, StringComparison.Ordinal);
        Assert.Equal(OutcomeKind.Taken, Assert.Single(outcomes).Kind);
    }

    [Fact]
    public async Task An_answer_that_does_not_come_in_time_is_asked_for_again()
    {
        await using IDestination destination = await CreateAsync(TimeSpan.FromSeconds(1));
        Behave(Receiving.Hangs);

        Assert.NotEmpty(await AskedToTryAgainAsync(destination));
    }

    [Fact]
    public async Task A_stop_ends_a_request_under_way()
    {
        await using IDestination destination = await CreateAsync(TimeSpan.FromMinutes(5));
        Behave(Receiving.Hangs);
        using var stop = new CancellationTokenSource(TimeSpan.FromMilliseconds(200));

        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await destination.SendAsync(Batch(1), stop.Token));
    }

    [Fact]
    public async Task Who_is_refused_is_told_apart_from_the_others_at_the_latest_when_sent_alone()
    {
        await using IDestination destination = await CreateAsync(TimeSpan.FromSeconds(30));
        Behave(Receiving.RefusesOne);
        ProfileChange[] batch = Batch(1, 13, 2);

        Dictionary<string, OutcomeKind> outcomes = [];
        await HalveAsync(batch);

        Assert.Equal([OutcomeKind.Taken, OutcomeKind.Refused, OutcomeKind.Taken], batch.Select(change => outcomes[change.ProfileId]));
        Assert.Equal(batch.Where(change => change.ProfileId != BadProfile).Select(change => change.Id), Held().Distinct());

        async Task HalveAsync(ProfileChange[] part)
        {
            try
            {
                IReadOnlyList<Outcome> answers = await destination.SendAsync(part, TestContext.Current.CancellationToken);
                for (int i = 0; i < part.Length; i++)
                {
                    outcomes[part[i].ProfileId] = answers[i].Kind;
                }
            }
            catch (BatchRefusedException) when (part.Length > 1)
            {
                await HalveAsync(part[..(part.Length / 2)]);
                await HalveAsync(part[(part.Length / 2)..]);
            }
            catch (BatchRefusedException)
            {
                outcomes[part[0].ProfileId] = OutcomeKind.Refused;
            }
        }
    }

    /// <summary>A change of a made-up profile.</summary>
    protected static ProfileChange Change(int profile) => new()
    {
        Kind = ChangeKind.Entered,
        ProfileId = Id(profile),
        Version = 5,
        At = new DateTimeOffset(2026, 11, 25, 12, 0, 0, TimeSpan.Zero),
        Segment = "big_spenders",
        SegmentVersion = "0123456789abcdef",
        Cause = "message-1",
        Reason = "event",
        Identifiers = [new ChangeIdentifier("email", $"person{profile}@example.com"), new ChangeIdentifier("user_id", $"u{profile}")],
    };

    private static ProfileChange[] Batch(params int[] profiles) => [.. profiles.Select(Change)];

    private static string Id(int profile) => profile.ToString("x32", System.Globalization.CultureInfo.InvariantCulture);

    private static async Task<string> AskedToTryAgainAsync(IDestination destination)
    {
        try
        {
            IReadOnlyList<Outcome> outcomes = await destination.SendAsync(Batch(1), TestContext.Current.CancellationToken);
            Outcome outcome = Assert.Single(outcomes);
            Assert.Equal(OutcomeKind.TryAgain, outcome.Kind);
            return outcome.Reason;
        }
        catch (DestinationUnavailableException exception)
        {
            return exception.Message;
        }
    }
}
