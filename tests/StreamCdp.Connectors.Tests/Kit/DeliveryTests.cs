using System.Text.Json;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Tests.Kit;

public sealed class DeliveryTests : IDisposable
{
    private readonly World _world = new();

    public void Dispose() => _world.Dispose();

    [Fact]
    public async Task A_membership_brings_what_its_profile_has()
    {
        _world.Profiles[World.IdText(7)] = new ProfileView
        {
            Id = World.IdText(7),
            Version = 9,
            Identifiers = [new ChangeIdentifier("user_id", "u7"), new ChangeIdentifier("email", "p7@example.com")],
            Traits = JsonElement.Parse("""{"plan":"pro","address":{"city":"Bern"}}"""u8),
            Computed = JsonElement.Parse("""{"revenue":12.5}"""u8),
        };
        _world.Membership(7, 4, "big", cause: "message-1");
        var destination = new ScriptedDestination();

        await _world.DrainAsync(destination, settings => settings with
        {
            Fields = [Field("Plan", PathRoot.Traits, "plan"), Field("City", PathRoot.Traits, "address", "city"), Field("Revenue", PathRoot.Computed, "revenue"), Field("Mail", PathRoot.Identifiers, "email"), Field("None", PathRoot.Traits, "plan", "none")],
        });

        ProfileChange change = Assert.Single(destination.Taken);
        Assert.Equal((ChangeKind.Entered, World.IdText(7), 4L, "big", "message-1", "event"), (change.Kind, change.ProfileId, change.Version, change.Segment, change.Cause, change.Reason));
        Assert.Equal(["u7", "p7@example.com"], change.Identifiers.Select(identifier => identifier.Value));
        Assert.Equal("""{"Plan":"pro","City":"Bern","Revenue":12.5,"Mail":["p7@example.com"],"None":null}""", JsonSerializer.Serialize(change.Fields));
        Assert.Null(change.Traits);
    }

    [Fact]
    public async Task A_membership_of_a_profile_that_became_part_of_another_has_no_identifiers_of_that_one()
    {
        _world.Profiles[World.IdText(1)] = new ProfileView { Id = World.IdText(1), Version = 0, MergedInto = World.IdText(2) };
        _world.Membership(1, 1, entered: false);
        var destination = new ScriptedDestination();

        await _world.DrainAsync(destination, settings => settings with { Fields = [Field("Plan", PathRoot.Traits, "plan")] });

        ProfileChange change = Assert.Single(destination.Taken);
        Assert.Equal(World.IdText(2), change.MergedInto);
        Assert.Empty(change.Identifiers);
        Assert.Null(change.Fields);
    }

    [Fact]
    public async Task A_destination_of_memberships_hears_of_merges_and_not_of_other_profile_changes()
    {
        _world.Profile(1, 1, """{"plan":"pro"}""");
        _world.Membership(1, 2);
        _world.Profile(1, 3, mergedInto: 2);
        var destination = new ScriptedDestination();

        await _world.DrainAsync(destination);

        Assert.Equal(["Entered 2 ", $"Merged 3 {World.IdText(2)}"], destination.Taken.Select(change => $"{change.Kind} {change.Version} {change.MergedInto}"));
    }

    [Fact]
    public async Task A_destination_of_profiles_gets_them_whole_or_mapped()
    {
        _world.Profile(1, 5, """{"plan":"pro","age":3}""");
        var whole = new ScriptedDestination();
        var mapped = new ScriptedDestination();

        await _world.DrainAsync(whole, settings => settings with { SendsMemberships = false, SendsProfiles = true });
        File.Delete(_world.CursorPath);
        await _world.DrainAsync(mapped, settings => settings with { SendsMemberships = false, SendsProfiles = true, Fields = [Field("Plan", PathRoot.Traits, "plan")] });

        Assert.Equal("""{"plan":"pro","age":3}""", Assert.Single(whole.Taken).Traits!.Value.GetRawText());
        Assert.Equal("pro", Assert.Single(mapped.Taken).Fields!["Plan"].GetString());
        Assert.Null(mapped.Taken[0].Traits);
        Assert.Equal("p1@example.com", Assert.Single(mapped.Taken[0].Identifiers).Value);
    }

    [Fact]
    public async Task Profiles_that_were_written_as_JSON_are_read_too_and_what_is_none_is_left_out()
    {
        _world.ProfileJson(1, $$"""{"id":"{{World.IdText(1)}}","version":3,"updated_at":"2026-11-25T00:00:00.000Z","merged_into":null,"identifiers":[{"type":"email","value":"a@b.c"}],"traits":{"plan":"pro"},"computed":{},"segments":[{"id":"s","since":"2026-11-25T00:00:00.000Z"}]}""");
        _world.ProfileJson(2, """{"somebody":"else's"}""");
        _world.ProfileJson(3, "no JSON");
        _world.ProfileJson(4, $$"""{"id":"{{World.IdText(4)}}","version":8,"merged_into":"{{World.IdText(1)}}"}""");
        var destination = new ScriptedDestination();

        await _world.DrainAsync(destination, settings => settings with { SendsProfiles = true });

        Assert.Equal([ChangeKind.Profile, ChangeKind.Merged], destination.Taken.Select(change => change.Kind));
        Assert.Equal("a@b.c", Assert.Single(destination.Taken[0].Identifiers).Value);
        Assert.Equal(["s"], destination.Taken[0].Segments);
    }

    [Fact]
    public async Task Only_the_segments_of_the_destination_are_sent()
    {
        _world.Membership(1, 1, "a");
        _world.Membership(1, 2, "b");
        _world.Membership(1, 3, "c");
        var destination = new ScriptedDestination();

        DeliveryStatus status = await _world.DrainAsync(destination, settings => settings with { Segments = new HashSet<string> { "a", "c" } });

        Assert.Equal(["a", "c"], destination.Taken.Select(change => change.Segment));
        Assert.Equal(0, status.LagRecords);
    }

    [Fact]
    public async Task What_a_restarted_engine_writes_again_is_not_sent_again_also_after_a_restart_of_the_kit()
    {
        _world.Membership(1, 1, "a");
        _world.Membership(1, 2, "b");
        _world.Membership(1, 1, "a");
        var destination = new ScriptedDestination();
        await _world.DrainAsync(destination);
        _world.Membership(1, 2, "b");
        _world.Membership(1, 3, "a", entered: false);

        await _world.DrainAsync(destination);

        Assert.Equal([1L, 2L, 3L], destination.Taken.Select(change => change.Version));
    }

    [Fact]
    public async Task A_batch_has_at_most_as_many_changes_as_the_limit_and_keeps_the_order()
    {
        for (int i = 1; i <= 7; i++)
        {
            _world.Membership(1, i, $"s{i}");
        }

        var destination = new ScriptedDestination();

        await _world.DrainAsync(destination, settings => settings with { BatchLimit = 3 });

        Assert.Equal([3, 3, 1], destination.Calls.Select(call => call.Count));
        Assert.Equal([1L, 2, 3, 4, 5, 6, 7], destination.Taken.Select(change => change.Version));
    }

    [Fact]
    public async Task Where_changes_are_answered_apart_a_batch_has_one_of_a_profile_so_that_none_is_overtaken()
    {
        _world.Membership(1, 1, "a");
        _world.Membership(1, 2, "b");
        _world.Membership(2, 1, "a");
        _world.Membership(1, 3, "c");
        var destination = new ScriptedDestination((batch, call) => call == 1 ? [Outcome.TryAgain("busy"), Outcome.Taken] : null, answersPerChange: true);

        await _world.DrainAsync(destination);

        Assert.Equal(["1:1 2:1", "1:1", "1:2", "1:3"], destination.Calls.Select(call => string.Join(' ', call.Select(change => $"{change.ProfileId[^1]}:{change.Version}"))));
    }

    [Fact]
    public async Task A_batch_that_is_refused_as_a_whole_is_halved_until_the_one_to_blame_stands_alone()
    {
        for (int i = 1; i <= 8; i++)
        {
            _world.Membership(i, 1);
        }

        var destination = new ScriptedDestination((batch, _) => batch.Any(change => change.ProfileId == World.IdText(6)) ? throw new BatchRefusedException("422: six is bad") : null);

        DeliveryStatus status = await _world.DrainAsync(destination);

        Assert.Equal([1, 2, 3, 4, 5, 7, 8], destination.Taken.Select(change => int.Parse(change.ProfileId)));
        Assert.Equal([8, 4, 4, 2, 1, 1, 2], destination.Calls.Select(call => call.Count));
        (string origin, string source, string reason, string detail, string payload) = Assert.Single(_world.Letters());
        Assert.Equal(("memberships:0:5", "hook", "destination_refused", "422: six is bad"), (origin, source, reason, detail));
        Assert.Equal(World.IdText(6), JsonElement.Parse(payload).GetProperty("profile_id").GetString());
        Assert.Equal((7L, 1L), (status.Taken, status.DeadLetters));
    }

    [Fact]
    public async Task An_outage_is_waited_for_longer_each_time_up_to_the_longest_wait()
    {
        _world.Membership(1, 1);
        var destination = new ScriptedDestination((_, call) => call <= 60 ? throw new DestinationUnavailableException("away") : null);

        DeliveryStatus status = await _world.DrainAsync(destination, settings => settings with { FirstWait = TimeSpan.FromSeconds(1), LongestWait = TimeSpan.FromMinutes(1) });

        Assert.Single(destination.Taken);
        Assert.Equal((61L, 60L, DeliveryState.Running), (status.Requests, status.Retries, status.State));
        Assert.Equal(60, _world.Time.Waits.Count);
        Assert.All(_world.Time.Waits, wait => Assert.InRange(wait, TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(1)));
        Assert.True(_world.Time.Waits.Take(3).Sum(wait => wait.TotalSeconds) < 30);
        Assert.All(_world.Time.Waits.Skip(12), wait => Assert.True(wait >= TimeSpan.FromSeconds(15), $"{wait}"));
        Assert.StartsWith("away Next try in ", status.LastError, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Two_destinations_that_fail_together_do_not_come_back_together_and_a_seed_repeats_its_waits()
    {
        Task<List<TimeSpan>> one = WaitsAsync(1);
        Task<List<TimeSpan>> again = WaitsAsync(1);
        Task<List<TimeSpan>> other = WaitsAsync(2);

        Assert.Equal(await one, await again);
        Assert.NotEqual(await one, await other);

        static async Task<List<TimeSpan>> WaitsAsync(int seed)
        {
            using var world = new World();
            world.Membership(1, 1);
            await world.DrainAsync(new ScriptedDestination((_, call) => call <= 5 ? throw new DestinationUnavailableException("away") : null), seed: seed);
            return world.Time.Waits;
        }
    }

    [Fact]
    public async Task What_the_other_side_asks_for_is_waited_for_exactly_but_at_most_a_day()
    {
        _world.Membership(1, 1);
        var destination = new ScriptedDestination((_, call) => call switch
        {
            1 => throw new DestinationUnavailableException("429", TimeSpan.FromSeconds(77), isRateLimit: true),
            2 => throw new DestinationUnavailableException("503", TimeSpan.FromDays(400)),
            3 => throw new DestinationUnavailableException("503", TimeSpan.FromSeconds(-5)),
            4 => [Outcome.TryAgain("row", TimeSpan.FromSeconds(3))],
            _ => null,
        });

        await _world.DrainAsync(destination);

        Assert.Equal([TimeSpan.FromSeconds(77), TimeSpan.FromDays(1), TimeSpan.FromSeconds(3)], _world.Time.Waits); // Nothing is waited for a time in the past.
        Assert.Equal(1, _world.Metrics.RateLimited("hook").Value);
        Assert.Equal((4.0, 1.0), (_world.Metrics.Requests("hook", "unavailable").Value, _world.Metrics.Requests("hook", "taken").Value));
    }

    [Fact]
    public async Task Requests_keep_to_the_rate()
    {
        for (int i = 1; i <= 30; i++)
        {
            _world.Membership(i, 1);
        }

        DateTimeOffset start = _world.Time.GetUtcNow();

        await _world.DrainAsync(new ScriptedDestination(), settings => settings with { BatchLimit = 1, RequestsPerSecond = 5 });

        Assert.Equal(5, (_world.Time.GetUtcNow() - start).TotalSeconds, 0.001); // 5 at once, then 25 at 5 a second.
        Assert.Equal(25, _world.Metrics.RateLimited("hook").Value);
    }

    [Fact]
    public async Task A_bug_of_a_connector_holds_it_up_and_loses_nothing()
    {
        _world.Membership(1, 1);
        var destination = new ScriptedDestination((_, call) => call switch { 1 => throw new NotSupportedException("p1@example.com"), 2 => [], _ => null });

        DeliveryStatus status = await _world.DrainAsync(destination);

        Assert.Single(destination.Taken);
        Assert.Equal(2, status.Retries);
        Assert.Contains("a bug of the connector", status.LastError, StringComparison.Ordinal);
        Assert.DoesNotContain("example.com", status.LastError, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Where_a_person_is_needed_it_pauses_keeps_the_batch_and_goes_on_when_resumed_also_after_a_restart()
    {
        _world.Membership(1, 1);
        var destination = new ScriptedDestination((_, call) => call == 1 ? throw new DestinationMustPauseException("410: gone.") : null);

        DeliveryStatus first = await _world.DrainAsync(destination);
        DeliveryStatus second = await _world.DrainAsync(destination);
        await using Delivery third = _world.Delivery(destination);
        await third.DrainAsync(TestContext.Current.CancellationToken);
        third.Resume();
        await third.DrainAsync(TestContext.Current.CancellationToken);

        Assert.Equal((DeliveryState.Paused, "410: gone."), (first.State, first.Reason));
        Assert.Equal((DeliveryState.Paused, "410: gone."), (second.State, second.Reason));
        Assert.Equal(1, second.LagRecords);
        Assert.Equal((DeliveryState.Running, 2, 1), (third.Status().State, destination.Calls.Count, destination.Taken.Count));
    }

    [Fact]
    public async Task The_lag_is_the_age_of_the_oldest_change_that_waits()
    {
        await using Delivery delivery = _world.Delivery(new ScriptedDestination());
        delivery.Pause("A test.");
        _world.Membership(1, 1);
        _world.Time.Advance(TimeSpan.FromSeconds(5));
        _world.Membership(2, 1);
        await delivery.DrainAsync(TestContext.Current.CancellationToken);
        _world.Time.Advance(TimeSpan.FromSeconds(2));

        Assert.Equal((7.0, 2L), (delivery.Status().LagSeconds, delivery.Status().LagRecords));

        delivery.Resume();
        await delivery.DrainAsync(TestContext.Current.CancellationToken);
        Assert.Equal((0.0, 0L), (delivery.Status().LagSeconds, delivery.Status().LagRecords));
    }

    [Fact]
    public async Task A_refused_change_is_replayed_while_it_is_true_and_dropped_when_it_is_not()
    {
        bool refuses = true;
        _world.Membership(1, 1, "a");
        _world.Membership(2, 1, "a");
        _world.Membership(3, 1, "a", entered: false);
        var destination = new ScriptedDestination((batch, _) => refuses ? Outcome.ForAll(Outcome.Refused("no"), batch.Count) : null);
        await using Delivery delivery = _world.Delivery(destination);
        await delivery.DrainAsync(TestContext.Current.CancellationToken);
        refuses = false;
        foreach (int profile in (int[])[1, 2, 3])
        {
            _world.Profiles[World.IdText(profile)] = new ProfileView { Id = World.IdText(profile), Version = 2, Segments = profile == 1 ? ["a"] : [] };
        }

        foreach ((string _, string _, string _, string _, string payload) in _world.Letters())
        {
            Assert.True(ChangeJson.TryReadPlace(System.Text.Encoding.UTF8.GetBytes(payload), out ProfileChange change));
            Assert.True(delivery.TryReplay(change, 0, 0));
        }

        await delivery.DrainAsync(TestContext.Current.CancellationToken);

        Assert.Equal([(1, ChangeKind.Entered), (3, ChangeKind.Exited)], destination.Taken.Select(change => (int.Parse(change.ProfileId), change.Kind)));
        Assert.Equal(3, _world.Letters().Count);
    }

    [Fact]
    public async Task A_change_that_is_refused_again_at_its_replay_makes_no_second_letter()
    {
        _world.Profiles[World.IdText(1)] = new ProfileView { Id = World.IdText(1), Version = 2, Segments = ["s"] };
        _world.Membership(1, 1);
        await using Delivery delivery = _world.Delivery(new ScriptedDestination((batch, _) => Outcome.ForAll(Outcome.Refused("no"), batch.Count)));
        await delivery.DrainAsync(TestContext.Current.CancellationToken);
        Assert.True(ChangeJson.TryReadPlace(System.Text.Encoding.UTF8.GetBytes(_world.Letters()[0].Payload), out ProfileChange change));
        delivery.TryReplay(change, 0, 0);

        await delivery.DrainAsync(TestContext.Current.CancellationToken);

        Assert.Single(_world.Letters());
        Assert.Equal(2, delivery.Status().DeadLetters);
    }

    [Fact]
    public async Task A_damaged_cursor_and_a_log_that_lost_records_stop_it_with_what_to_do()
    {
        _world.Membership(1, 1);
        await File.WriteAllTextAsync(_world.CursorPath, "{", TestContext.Current.CancellationToken);
        InvalidDataException damaged = await Assert.ThrowsAsync<InvalidDataException>(() => _world.DrainAsync(new ScriptedDestination()));
        await File.WriteAllTextAsync(_world.CursorPath, """{"memberships":[99],"profiles":[0],"paused":null}""", TestContext.Current.CancellationToken);
        await Assert.ThrowsAsync<LogBehindException>(() => _world.DrainAsync(new ScriptedDestination()));

        using var wake = new LogWake();
        await using Delivery delivery = _world.Delivery(new ScriptedDestination());
        await delivery.RunAsync(wake, TestContext.Current.CancellationToken);

        Assert.Contains("delete the file", damaged.Message, StringComparison.Ordinal);
        Assert.Equal(DeliveryState.Stopped, delivery.Status().State);
        Assert.Contains("lost its newest records", delivery.Status().Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Running_it_sends_what_comes_and_a_stop_saves_how_far_it_is()
    {
        var arrived = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var destination = new ScriptedDestination((_, call) =>
        {
            arrived.TrySetResult();
            return null;
        });
        using var wake = new LogWake();
        using var stop = new CancellationTokenSource();
        await using (Delivery delivery = _world.Delivery(destination))
        {
            _world.Membership(1, 1);
            Task running = Task.Run(() => delivery.RunAsync(wake, stop.Token), TestContext.Current.CancellationToken);
            await arrived.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
            await stop.CancelAsync();
            await running.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        }

        Assert.True(destination.IsDisposed);
        Assert.Equal("""{"memberships":[1],"profiles":[0],"paused":null,"sent":1}""", await File.ReadAllTextAsync(_world.CursorPath, TestContext.Current.CancellationToken));
        var after = new ScriptedDestination();
        await _world.DrainAsync(after);
        Assert.Empty(after.Taken);
    }

    [Fact]
    public void The_id_of_a_change_tells_it_from_every_other() =>
        Assert.Equal(
            ["a:1:entered:s", "a:1:exited:s", "a:1:profile", "a:1:merged"],
            new[] { (ChangeKind.Entered, "s"), (ChangeKind.Exited, "s"), (ChangeKind.Profile, null), (ChangeKind.Merged, null) }.Select(one => new ProfileChange { Kind = one.Item1, ProfileId = "a", Version = 1, At = default, Segment = one.Item2 }.Id));

    private static FieldDefinition Field(string name, PathRoot root, params string[] path) => new(name, new PathExpression(root, new EquatableList<string>(path)));
}
