using System.Text;
using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>What waits for a destination is shown change by change, and is then sent up to there and no further.</summary>
public sealed class DeliveryPlanTests : IDisposable
{
    private readonly World _world = new();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    public void Dispose() => _world.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public async Task What_it_shows_is_what_is_sent_then_to_the_byte(int seed)
    {
        var random = new Random(seed);
        ConsentDefinition? consent = seed % 2 == 0 ? new ConsentDefinition("news", new PathExpression(PathRoot.Traits, new EquatableList<string>(["ok"]))) : null;
        Func<DestinationSettings, DestinationSettings> with = settings => settings with
        {
            Consent = consent,
            SendsProfiles = seed % 3 == 0,
            BatchLimit = 3,
            Fields = seed % 3 == 1 ? [new FieldDefinition("Ok", new PathExpression(PathRoot.Traits, new EquatableList<string>(["ok"])))] : [],
        };
        Happen(random, 20);
        await _world.DrainAsync(new ScriptedDestination(), with);
        Happen(random, 40);
        var destination = new ScriptedDestination();
        await using Delivery delivery = _world.Delivery(destination, with);
        delivery.Pause("to look");
        await delivery.DrainAsync(Cancelled);

        (PlanHead head, List<ProfileChange> plan) = await PlanAsync(delivery);
        List<ProfileChange> again = (await PlanAsync(delivery)).Changes;

        Assert.NotEmpty(plan);
        Assert.Equal(plan.Select(Text), again.Select(Text));
        Assert.Empty(destination.Calls);
        Assert.Equal(PlanStart.Begun, delivery.Apply(head));
        await delivery.DrainAsync(Cancelled);
        Assert.Equal(plan.Select(Text), destination.Taken.Select(Text));
        Assert.Empty((await PlanAsync(delivery)).Changes);
    }

    [Fact]
    public async Task A_new_one_that_starts_paused_sends_the_plan_and_not_what_came_after_it_and_is_paused_again()
    {
        for (int i = 1; i <= 5; i++)
        {
            _world.Membership(i, 1);
        }

        var destination = new ScriptedDestination();
        await using Delivery delivery = _world.Delivery(destination, Paused);
        await delivery.DrainAsync(Cancelled);
        Assert.Equal(DeliveryState.Paused, delivery.Status().State);
        Assert.Contains("connectors plan hook", delivery.Status().Reason, StringComparison.Ordinal);
        (PlanHead head, List<ProfileChange> plan) = await PlanAsync(delivery);
        Assert.Equal(5, plan.Count);
        for (int i = 6; i <= 8; i++)
        {
            _world.Membership(i, 1);
            _world.Profile(i, 2); // Does not concern it, and moves its cursor all the same.
        }

        await delivery.DrainAsync(Cancelled);
        Assert.Empty(destination.Calls);

        Assert.Equal(PlanStart.Begun, delivery.Apply(head));
        Assert.Equal(DeliveryState.Running, delivery.Status().State);
        await delivery.DrainAsync(Cancelled);

        Assert.Equal([1, 2, 3, 4, 5], destination.Taken.Select(Number));
        Assert.Equal(DeliveryState.Paused, delivery.Status().State);
        Assert.StartsWith("All of a plan was sent.", delivery.Status().Reason, StringComparison.Ordinal);
        Assert.Equal(PlanStart.Done, delivery.Apply(head));
        Assert.Equal([6, 7, 8], (await PlanAsync(delivery)).Changes.Select(Number));
        delivery.Resume();
        await delivery.DrainAsync(Cancelled);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8], destination.Taken.Select(Number));
    }

    [Fact]
    public async Task A_crash_in_the_middle_goes_on_to_the_end_of_the_plan_and_no_further()
    {
        for (int i = 1; i <= 6; i++)
        {
            _world.Membership(i, 1);
        }

        using var crash = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        var first = new ScriptedDestination((_, call) =>
        {
            if (call == 3)
            {
                crash.Cancel();
                crash.Token.ThrowIfCancellationRequested();
            }

            return null;
        });
        await using (Delivery delivery = _world.Delivery(first, One))
        {
            await delivery.DrainAsync(Cancelled);
            (PlanHead head, _) = await PlanAsync(delivery);
            _world.Membership(7, 1);
            delivery.Apply(head);
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => delivery.DrainAsync(crash.Token));
        }

        var second = new ScriptedDestination();
        await using Delivery restarted = _world.Delivery(second, One);
        await restarted.DrainAsync(Cancelled);

        Assert.Equal([1, 2], first.Taken.Select(Number));
        Assert.Equal([3, 4, 5, 6], second.Taken.Select(Number));
        Assert.Equal(DeliveryState.Paused, restarted.Status().State);
        await using Delivery third = _world.Delivery(second, One);
        await third.DrainAsync(Cancelled);
        Assert.Equal((DeliveryState.Paused, 4), (third.Status().State, second.Taken.Count));
    }

    [Fact]
    public async Task What_somebody_sends_again_meanwhile_comes_after_the_plan()
    {
        _world.Membership(1, 1);
        var destination = new ScriptedDestination();
        await using Delivery delivery = _world.Delivery(destination, Paused);
        await delivery.DrainAsync(Cancelled);
        _world.Profiles[World.IdText(9)] = new ProfileView { Id = World.IdText(9), Version = 3, Segments = ["s"] };
        Assert.True(delivery.TryReplay(new ProfileChange { Kind = ChangeKind.Entered, ProfileId = World.IdText(9), Version = 1, At = default, Segment = "s" }, 0, 0));
        await delivery.DrainAsync(Cancelled); // Has it in its hands now.
        (PlanHead head, _) = await PlanAsync(delivery);
        Assert.Equal(PlanStart.Begun, delivery.Apply(head));
        await delivery.DrainAsync(Cancelled);
        Assert.Equal([1], destination.Taken.Select(Number));

        delivery.Resume();
        await delivery.DrainAsync(Cancelled);
        Assert.Equal([1, 9], destination.Taken.Select(Number));
    }

    [Fact]
    public async Task A_log_that_was_compacted_since_has_an_end_too()
    {
        _world.Membership(1, 1);
        _world.Membership(2, 1);
        var destination = new ScriptedDestination();
        await using Delivery delivery = _world.Delivery(destination, Paused);
        await delivery.DrainAsync(Cancelled);
        (PlanHead head, _) = await PlanAsync(delivery);
        _world.Membership(2, 2, entered: false);
        _world.Memberships.Compact();
        await using Delivery restarted = _world.Delivery(destination, Paused); // Has read nothing ahead.
        Assert.Equal(PlanStart.Begun, restarted.Apply(head));

        await restarted.DrainAsync(Cancelled);

        Assert.Equal([1], destination.Taken.Select(Number));
        Assert.Equal(["Exited 2"], (await PlanAsync(restarted)).Changes.Select(change => $"{change.Kind} {Number(change)}"));
    }

    [Fact]
    public async Task What_is_not_of_now_or_not_paused_is_not_begun()
    {
        for (int i = 1; i <= 3; i++)
        {
            _world.Membership(i, 1);
        }

        var destination = new ScriptedDestination((_, call) => call == 2 ? throw new DestinationMustPauseException("a wrong secret") : null);
        await using Delivery delivery = _world.Delivery(destination, One);
        await delivery.DrainAsync(Cancelled);
        (PlanHead head, _) = await PlanAsync(delivery);
        delivery.Resume();
        Assert.Equal(PlanStart.NotPaused, delivery.Apply(head));
        await delivery.DrainAsync(Cancelled); // Sends one, and is paused by the other side.
        Assert.Equal((DeliveryState.Paused, 1), (delivery.Status().State, destination.Taken.Count));

        Assert.Equal(PlanStart.Moved, delivery.Apply(head));
        (PlanHead now, _) = await PlanAsync(delivery);
        Assert.Equal(PlanStart.Moved, delivery.Apply(now with { Mapping = "0" }));
        Assert.Equal(PlanStart.Begun, delivery.Apply(now));
        delivery.Pause("somebody is afraid");
        await delivery.DrainAsync(Cancelled);
        Assert.Equal((DeliveryState.Paused, "somebody is afraid", 1), (delivery.Status().State, delivery.Status().Reason, destination.Taken.Count));
    }

    [Fact]
    public async Task It_runs_as_a_server_does_it_until_it_is_paused_again()
    {
        _world.Membership(1, 1);
        var destination = new ScriptedDestination();
        await using Delivery delivery = _world.Delivery(destination, Paused);
        using var wake = new LogWake();
        using var stop = new CancellationTokenSource();
        Task running = Task.Run(() => delivery.RunAsync(wake, stop.Token), Cancelled);
        await UntilAsync(() => delivery.Status().State == DeliveryState.Paused);
        (PlanHead head, _) = await PlanAsync(delivery);
        _world.Membership(2, 1);

        Assert.Equal(PlanStart.Begun, delivery.Apply(head));
        await UntilAsync(() => delivery.Status().Reason.StartsWith("All of a plan was sent", StringComparison.Ordinal));

        Assert.Equal([1], destination.Taken.Select(Number));
        delivery.Resume();
        await UntilAsync(() => destination.Taken.Count == 2);
        await stop.CancelAsync();
        await running;
    }

    private static DestinationSettings Paused(DestinationSettings settings) => settings with { StartsPaused = true };

    private static DestinationSettings One(DestinationSettings settings) => settings with { StartsPaused = true, BatchLimit = 1 };

    private static int Number(ProfileChange change) => (int)UInt128.Parse(change.ProfileId, System.Globalization.NumberStyles.HexNumber, System.Globalization.CultureInfo.InvariantCulture);

    private static string Text(ProfileChange change) => Encoding.UTF8.GetString(ChangeJson.Bytes(change));

    private static async Task<(PlanHead Head, List<ProfileChange> Changes)> PlanAsync(Delivery delivery)
    {
        PlanHead head = JsonSerializer.Deserialize(JsonSerializer.Serialize(await delivery.PlanHeadAsync(Cancelled), PlanJson.Default.PlanHead), PlanJson.Default.PlanHead)!;
        List<ProfileChange> changes = [];
        await foreach (ProfileChange change in delivery.PlanAsync(head, Cancelled))
        {
            changes.Add(change);
        }

        return (head, changes);
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        for (long deadline = Environment.TickCount64 + 30_000; !condition(); await Task.Delay(5, Cancelled))
        {
            Assert.True(Environment.TickCount64 < deadline, "It does not come to that.");
        }
    }

    /// <summary>People enter and leave, give their consent and take it back, and become one.</summary>
    private void Happen(Random random, int times)
    {
        for (int i = 0; i < times; i++)
        {
            int person = random.Next(1, 9);
            long version = (_world.Profiles.GetValueOrDefault(World.IdText(person))?.Version ?? 0) + 1;
            if (_world.Profiles.GetValueOrDefault(World.IdText(person))?.MergedInto is not null)
            {
                continue;
            }

            string traits = random.Next(2) == 0 ? """{"ok":true}""" : """{"ok":false}""";
            int? into = random.Next(12) == 0 && person < 8 ? person + 1 : null;
            _world.Profiles[World.IdText(person)] = new ProfileView
            {
                Id = World.IdText(person),
                Version = version,
                MergedInto = into is null ? null : World.IdText(into.Value),
                Identifiers = [new ChangeIdentifier("email", $"p{person}@example.com")],
                Traits = JsonElement.Parse(Encoding.UTF8.GetBytes(traits)),
                Segments = random.Next(2) == 0 ? ["s"] : [],
            };
            if (into is not null)
            {
                _world.Profile(person, version, mergedInto: into);
            }
            else if (random.Next(2) == 0)
            {
                _world.Profile(person, version, traits);
            }
            else
            {
                _world.Membership(person, version, entered: random.Next(2) == 0);
            }
        }
    }
}
