using System.Text.Json;
using StreamCdp.Connectors.Actions;
using StreamCdp.Connectors.Tests.Kit;
using StreamCdp.Engine.Model;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors.Tests.Actions;

public sealed class ActionConnectionTests : IDisposable
{
    private readonly World _world = new();
    private readonly ScriptedTarget _target = new();

    private ActionSettings _settings = new() { Id = "mail", Kind = "email", Actions = [Action("welcome")] };

    public void Dispose() => _world.Dispose();

    [Fact]
    public async Task An_entry_is_acted_on_once_with_what_the_profile_has_and_never_again()
    {
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);

        await DrainAsync();
        _world.Membership(1, 5); // The engine writes again what came since its last checkpoint.
        await DrainAsync();

        ActionCall call = Assert.Single(_target.Done);
        Assert.Equal(("Hello Ann", "p1@example.com"), (call.Fields["subject"], call.Targets[0]));
        Assert.Equal("&lt;b&gt;", call.Fields["html"]);
    }

    [Fact]
    public async Task Each_entry_counts_also_one_that_ended_since()
    {
        await DrainAsync();
        Person(1);
        _world.Membership(1, 5);
        _world.Membership(1, 6, entered: false);
        await DrainAsync();
        _world.Membership(1, 7);
        await DrainAsync();

        Assert.Equal(2, _target.Done.Count);
    }

    [Fact]
    public async Task A_new_destination_begins_with_what_comes_from_now_on()
    {
        Person(1, "s");
        Person(2, "s");
        _world.Membership(1, 5);
        await DrainAsync();
        _world.Membership(2, 5);
        await DrainAsync();

        Assert.Equal(World.IdText(2), Assert.Single(_target.Done).ProfileId);
    }

    [Fact]
    public async Task What_comes_from_counting_history_again_is_held_back_where_nobody_asks_for_it()
    {
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5, backfill: true);
        await DrainAsync();
        Assert.Empty(_target.Done);

        _settings = _settings with { Actions = [Action("welcome") with { Backfill = true }] };
        _world.Membership(1, 6, backfill: true);
        await DrainAsync();
        Assert.Single(_target.Done);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task After_a_delay_only_who_is_still_so_is_acted_on(bool onEntered)
    {
        _settings = _settings with { Actions = [Action("later") with { OnEntered = onEntered, AfterMs = 3_600_000 }] };
        await DrainAsync();
        Person(1, onEntered ? ["s"] : []);
        Person(2, onEntered ? [] : ["s"]); // Changed its mind, and the engine has not told of it yet.
        _world.Membership(1, 5, entered: onEntered);
        _world.Membership(2, 5, entered: onEntered);

        await DrainAsync();
        _world.Time.Advance(TimeSpan.FromMinutes(59));
        await DrainAsync();
        Assert.Empty(_target.Done);
        _world.Time.Advance(TimeSpan.FromMinutes(2));
        await DrainAsync();

        Assert.Equal(World.IdText(1), Assert.Single(_target.Done).ProfileId);
    }

    [Fact]
    public async Task Who_leaves_and_comes_back_waits_again()
    {
        _settings = _settings with { Actions = [Action("later") with { AfterMs = 3_600_000 }] };
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);
        await DrainAsync();
        _world.Time.Advance(TimeSpan.FromMinutes(30));
        _world.Membership(1, 6, entered: false);
        _world.Membership(1, 7);
        await DrainAsync();
        _world.Time.Advance(TimeSpan.FromMinutes(31));
        await DrainAsync();
        Assert.Empty(_target.Done);

        _world.Time.Advance(TimeSpan.FromMinutes(30));
        await DrainAsync();
        Assert.Contains(":7:", Assert.Single(_target.Done).Key, StringComparison.Ordinal);
    }

    [Fact]
    public async Task One_person_is_sent_no_more_than_allowed_also_under_another_profile_with_the_same_address()
    {
        _settings = _settings with { Actions = [Action("welcome") with { AtMost = new ActionLimit(1, 3_600_000) }] };
        await DrainAsync();
        Person(1, "s");
        Person(2, "s", mail: "p1@example.com");
        Person(3, "s");
        _world.Membership(1, 5);
        await DrainAsync();
        _world.Membership(1, 6);
        _world.Membership(2, 5);
        _world.Membership(3, 5);
        await DrainAsync();
        Assert.Equal([World.IdText(1), World.IdText(3)], _target.Done.Select(call => call.ProfileId));

        _world.Time.Advance(TimeSpan.FromHours(1));
        _world.Membership(2, 7);
        await DrainAsync();
        Assert.Equal(3, _target.Done.Count);
    }

    [Fact]
    public async Task A_cap_of_the_destination_counts_all_its_actions()
    {
        _settings = _settings with { Actions = [Action("one"), Action("two")], AtMost = new ActionLimit(1, 3_600_000) };
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);
        await DrainAsync();

        Assert.Single(_target.Done);
    }

    [Theory]
    [InlineData("""{"consent":{"marketing":true}}""", 1)]
    [InlineData("""{"consent":{"marketing":false}}""", 0)]
    [InlineData("""{"consent":{"marketing":"true"}}""", 0)]
    [InlineData("{}", 0)]
    public async Task Without_consent_nobody_is_acted_on(string traits, int expected)
    {
        _settings = _settings with { Consent = new ConsentDefinition("marketing", new PathExpression(PathRoot.Traits, new EquatableList<string>(["consent", "marketing"]))) };
        await DrainAsync();
        Person(1, ["s"], traits);
        _world.Membership(1, 5);
        await DrainAsync();

        Assert.Equal(expected, _target.Done.Count);
    }

    [Fact]
    public async Task A_membership_that_a_merge_hands_on_is_no_new_entry()
    {
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);
        await DrainAsync();
        Merge(1, into: 2, segments: "s");
        _world.Membership(2, 9, reason: MembershipReason.Merge);
        await DrainAsync();
        Assert.Single(_target.Done);

        // One that ends and begins again is.
        _world.Membership(2, 10, entered: false);
        _world.Membership(2, 11);
        await DrainAsync();
        Assert.Equal(2, _target.Done.Count);
    }

    [Fact]
    public async Task A_membership_that_a_merge_makes_is_a_new_entry()
    {
        await DrainAsync();
        Merge(1, into: 2, segments: "s");
        _world.Membership(2, 9, reason: MembershipReason.Merge);
        await DrainAsync();

        Assert.Equal(World.IdText(2), Assert.Single(_target.Done).ProfileId);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Two_who_wait_and_become_one_are_acted_on_once(bool mergeIsTold)
    {
        _settings = _settings with { Actions = [Action("later") with { AfterMs = 3_600_000 }] };
        await DrainAsync();
        Person(1, "s");
        Person(2, "s");
        _world.Membership(1, 5);
        _world.Membership(2, 5);
        await DrainAsync();
        Merge(1, into: 2, segments: "s", isTold: mergeIsTold);
        _world.Time.Advance(TimeSpan.FromHours(2));
        await DrainAsync();

        Assert.Equal(World.IdText(2), Assert.Single(_target.Done).ProfileId);
    }

    [Fact]
    public async Task Who_has_no_address_is_left_alone()
    {
        await DrainAsync();
        Person(1, "s", mail: null);
        _world.Membership(1, 5);
        await DrainAsync();

        Assert.Empty(_target.Done);
        Assert.Empty(_world.Letters());
    }

    [Fact]
    public async Task Who_may_have_an_address_soon_is_waited_for()
    {
        _target.TargetMayCome = true;
        await DrainAsync();
        Person(1, "s", mail: null);
        _world.Membership(1, 5);
        await DrainAsync();
        Assert.Empty(_target.Done);

        Person(1, "s");
        _world.Time.Advance(TimeSpan.FromSeconds(2));
        await DrainAsync();
        Assert.Single(_target.Done);
    }

    [Fact]
    public async Task What_is_put_off_comes_again_and_after_a_day_becomes_a_dead_letter()
    {
        _target.Answer = _ => Outcome.TryAgain("busy", TimeSpan.FromHours(7));
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);
        for (int i = 0; i < 4; i++)
        {
            await DrainAsync();
            _world.Time.Advance(TimeSpan.FromHours(8));
        }

        Assert.Equal(4, _target.Calls); // At 0, 8, 16 and 24 h.
        (_, string source, string reason, string detail, _) = Assert.Single(_world.Letters());
        Assert.Equal(("mail", "destination_refused", "For 24 h it could not be done: busy"), (source, reason, detail));
    }

    [Fact]
    public async Task What_was_under_way_in_a_crash_is_a_dead_letter_and_replayed_once()
    {
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);
        _target.Answer = _ => throw new InvalidOperationException("the process ends");
        await Assert.ThrowsAsync<InvalidOperationException>(DrainAsync);
        _target.Answer = null;

        await DrainAsync();
        Assert.Empty(_target.Done);
        (_, _, _, string detail, string payload) = Assert.Single(_world.Letters());
        Assert.StartsWith("It was interrupted while this was sent", detail, StringComparison.Ordinal);

        Assert.True(ChangeJson.TryReadPlace(System.Text.Encoding.UTF8.GetBytes(payload), out ProfileChange change));
        await using (ActionConnection connection = Connection())
        {
            // Somebody replays all letters, twice.
            for (int i = 0; i < 2; i++)
            {
                Assert.True(connection.TryReplay(change, 0, LetterMs()));
                await connection.DrainAsync(TestContext.Current.CancellationToken);
            }
        }

        await DrainAsync();
        Assert.Single(_target.Done);
    }

    [Fact]
    public async Task Of_two_letters_of_one_entry_one_is_done()
    {
        _target.Answer = _ => Outcome.Refused("no such user");
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);
        await DrainAsync();
        long first = LetterMs();
        Assert.True(ChangeJson.TryReadPlace(System.Text.Encoding.UTF8.GetBytes(_world.Letters()[0].Payload), out ProfileChange change));
        await using ActionConnection connection = Connection();
        _world.Time.Advance(TimeSpan.FromHours(1));
        connection.TryReplay(change, 0, first);
        await connection.DrainAsync(TestContext.Current.CancellationToken); // Refused again: a second letter.
        long second = LetterMs();
        Assert.Equal(2, _world.Letters().Count);

        _target.Answer = null;
        _world.Time.Advance(TimeSpan.FromHours(1));
        for (int i = 0; i < 2; i++)
        {
            connection.TryReplay(change, 0, first);
            connection.TryReplay(change, 0, second);
            await connection.DrainAsync(TestContext.Current.CancellationToken);
        }

        Assert.Single(_target.Done);
    }

    [Fact]
    public async Task What_may_have_been_done_counts_as_done()
    {
        _settings = _settings with { Actions = [Action("welcome") with { AtMost = new ActionLimit(1, 3_600_000) }] };
        _target.Answer = _ => Outcome.Unknown("who knows");
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);
        await DrainAsync();
        Assert.Single(_world.Letters());

        _target.Answer = null;
        _world.Membership(1, 6);
        Merge(1, into: 2, segments: "s");
        _world.Membership(2, 9, reason: MembershipReason.Merge);
        await DrainAsync();
        Assert.Empty(_target.Done);
    }

    [Fact]
    public async Task A_membership_that_ended_before_its_action_was_done_does_not_hold_back_the_next_one()
    {
        await DrainAsync();
        Person(1);
        _world.Membership(1, 5);
        _world.Membership(1, 6, entered: false);
        await DrainAsync();
        Merge(1, into: 2, segments: "s");
        _world.Membership(2, 9, reason: MembershipReason.Merge);
        await DrainAsync();

        Assert.Equal(2, _target.Done.Count);
    }

    [Fact]
    public async Task Of_many_that_are_due_a_crash_leaves_one_unknown()
    {
        await DrainAsync();
        for (int i = 1; i <= 5; i++)
        {
            Person(i, "s");
            _world.Membership(i, 5);
        }

        _target.Answer = call => call.ProfileId == World.IdText(3) ? throw new InvalidOperationException("the process ends") : Outcome.Taken;
        await Assert.ThrowsAsync<InvalidOperationException>(DrainAsync);
        _target.Answer = null;
        await DrainAsync();

        Assert.Single(_world.Letters());
        Assert.Equal([1, 2, 4, 5], _target.Done.Select(call => (int)UInt128.Parse(call.ProfileId, System.Globalization.NumberStyles.HexNumber, null)));
    }

    [Fact]
    public async Task What_was_under_way_in_a_crash_comes_again_where_that_is_harmless()
    {
        _target.KnowsRepeats = true;
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);
        _target.Answer = _ => throw new InvalidOperationException("the process ends");
        await Assert.ThrowsAsync<InvalidOperationException>(DrainAsync);
        _target.Answer = null;
        await DrainAsync();

        Assert.Single(_target.Done);
        Assert.Empty(_world.Letters());
    }

    [Fact]
    public async Task An_outage_loses_nothing_and_repeats_nothing()
    {
        await DrainAsync();
        Person(1, "s");
        Person(2, "s");
        _world.Membership(1, 5);
        _world.Membership(2, 5);
        _target.Answer = _ => throw new DestinationUnavailableException("away");
        await Assert.ThrowsAsync<DestinationUnavailableException>(DrainAsync);
        _target.Answer = null;
        await DrainAsync();

        Assert.Equal(2, _target.Done.Count);
        Assert.Empty(_world.Letters());
    }

    [Fact]
    public async Task A_pause_holds_over_a_restart_and_loses_nothing()
    {
        await DrainAsync();
        await using (ActionConnection connection = Connection())
        {
            connection.Pause("lunch");
        }

        Person(1, "s");
        _world.Membership(1, 5);
        await DrainAsync();
        Assert.Empty(_target.Done);
        await using (ActionConnection connection = Connection())
        {
            Assert.Equal((DeliveryState.Paused, "lunch"), (connection.Status().State, connection.Status().Reason));
            connection.Resume();
            await connection.DrainAsync(TestContext.Current.CancellationToken);
        }

        Assert.Single(_target.Done);
    }

    [Fact]
    public async Task A_template_that_fails_for_a_profile_is_a_dead_letter()
    {
        _settings = _settings with { Actions = [Action("loop") with { Fields = Templates(("subject", "{% for a in (1..1000) %}{% for b in (1..1000) %}x{% endfor %}{% endfor %}")) }] };
        await DrainAsync();
        Person(1, "s");
        _world.Membership(1, 5);
        await DrainAsync();

        Assert.Empty(_target.Done);
        Assert.Single(_world.Letters());
    }

    [Fact]
    public async Task An_address_that_is_nobody_s_is_not_tried_again_until_the_person_has_another_or_somebody_asks_for_it()
    {
        await DrainAsync();
        Person(1, "s");
        _target.Answer = call => call.Targets[0] == "p1@example.com" ? Outcome.Refused("no such mailbox") with { IsOfTarget = true } : Outcome.Taken;
        _world.Membership(1, 5);
        await DrainAsync();
        Assert.Equal((1, 1), (_target.Calls, _world.Letters().Count));

        _world.Membership(1, 6, entered: false);
        _world.Membership(1, 7);
        await DrainAsync(); // Also a new process knows it.
        Assert.Equal((1, 1), (_target.Calls, _world.Letters().Count));

        Person(1, ["s"], """{"name":"Ann"}""", "new@example.com");
        _world.Membership(1, 8, entered: false);
        _world.Membership(1, 9);
        await DrainAsync();
        Assert.Equal("new@example.com", Assert.Single(_target.Done).Targets[0]);

        Person(1, "s");
        _target.Answer = null; // Somebody made the mailbox.
        await using (ActionConnection connection = Connection())
        {
            Assert.True(connection.TryReplay(new ProfileChange { Kind = ChangeKind.Entered, ProfileId = World.IdText(1), Version = 5, At = _world.Time.GetUtcNow(), Segment = "s", Action = "welcome" }, 0, LetterMs()));
            await connection.DrainAsync(TestContext.Current.CancellationToken);
        }

        _world.Membership(1, 10, entered: false);
        _world.Membership(1, 11);
        await DrainAsync();
        Assert.Equal(["new@example.com", "p1@example.com", "p1@example.com"], _target.Done.Select(call => call.Targets[0]));
    }

    // ---- Plans ---------------------------------------------------------------------------------------------------------------------

    [Fact]
    public async Task A_plan_says_what_is_done_for_whom_and_when_keeps_to_the_caps_and_changes_nothing()
    {
        _settings = _settings with { Actions = [Action("welcome") with { AtMost = new ActionLimit(1, 86_400_000) }, Action("again") with { AfterMs = 3_600_000 }], Consent = new ConsentDefinition("marketing", Path("traits.ok")) };
        await DrainAsync();
        Person(1, ["s"], """{"name":"Ann","html":"<b>","ok":true}""");
        Person(2, ["s"], """{"name":"Bob","ok":true}""", "p1@example.com"); // The same address: one person, for the cap.
        Person(3, ["s"], """{"name":"Eve","ok":false}""");
        await using ActionConnection connection = await HeldAsync([(1, 5), (2, 6), (3, 7)]);

        List<ActionPlanLine> plan = await PlanAsync(connection);

        Assert.Empty(_target.Done);
        Assert.Equal(
            ["do welcome 1 p1@example.com Hello Ann", "skip welcome 2  capped", "skip welcome 3  no_consent", "do again 1 p1@example.com Hello Ann", "do again 2 p1@example.com Hello Bob", "skip again 3  no_consent"],
            plan.Select(line => $"{line.Change} {line.Action} {int.Parse(line.Profile[^2..], System.Globalization.NumberStyles.HexNumber, System.Globalization.CultureInfo.InvariantCulture)} {string.Join(',', line.Targets)} {line.Fields.GetValueOrDefault("subject")}{line.Why}"));
        var counts = new ActionCounts();
        plan.ForEach(line => counts.Add(line, _world.Time.GetUtcNow()));
        Assert.Equal((1, 2, 3), (counts.ActionsToDo, counts.ActionsLater, counts.ActionsSkipped));
        Assert.Equal(plan.Select(line => line.ToJson()), (await PlanAsync(connection)).Select(line => line.ToJson()));
    }

    [Fact]
    public async Task Exactly_what_stands_in_a_plan_is_done_once_and_the_rest_still_waits()
    {
        await DrainAsync();
        foreach (int profile in (int[])[1, 2, 3])
        {
            Person(profile, "s");
        }

        await using ActionConnection connection = await HeldAsync([(1, 5), (2, 6), (3, 7)]);
        List<ActionPlanLine> plan = await PlanAsync(connection);
        Person(2, ["s"], """{"name":"Other"}"""); // Is another since.

        (IReadOnlyList<string?> why, long refused) = await connection.ApplyAsync(plan[..2], TestContext.Current.CancellationToken);
        (IReadOnlyList<string?> again, _) = await connection.ApplyAsync(plan[..1], TestContext.Current.CancellationToken);

        Assert.Equal((null, 0), (why[0], refused));
        Assert.StartsWith("It would be decided otherwise now", why[1], StringComparison.Ordinal);
        Assert.StartsWith("It does not wait any more", again[0], StringComparison.Ordinal);
        Assert.Equal(World.IdText(1), Assert.Single(_target.Done).ProfileId);
        Assert.Equal(DeliveryState.Paused, connection.Status().State);
        connection.Resume();
        await connection.DrainAsync(TestContext.Current.CancellationToken);
        Assert.Equal([1, 2, 3], _target.Done.Select(call => call.ProfileId).Order(StringComparer.Ordinal).Select((id, i) => id == World.IdText(i + 1) ? i + 1 : 0));
    }

    [Fact]
    public async Task What_is_not_due_yet_is_not_done_by_a_plan_and_what_the_other_side_refuses_is_a_dead_letter()
    {
        _settings = _settings with { Actions = [Action("welcome"), Action("later") with { AfterMs = 3_600_000 }] };
        await DrainAsync();
        Person(1, "s");
        await using ActionConnection connection = await HeldAsync([(1, 5)]);
        List<ActionPlanLine> plan = await PlanAsync(connection);
        _target.Answer = _ => Outcome.Refused("no");

        (IReadOnlyList<string?> why, long refused) = await connection.ApplyAsync(plan, TestContext.Current.CancellationToken);

        Assert.Equal((null, 1), (why[0], refused));
        Assert.StartsWith("It is due at ", why[1], StringComparison.Ordinal);
        Assert.Single(_world.Letters());
        Assert.Equal(["later"], (await PlanAsync(connection)).Select(line => line.Action));
    }

    [Fact]
    public async Task While_a_plan_is_applied_an_outage_leaves_the_rest_waiting()
    {
        await DrainAsync();
        Person(1, "s");
        Person(2, "s");
        await using ActionConnection connection = await HeldAsync([(1, 5), (2, 6)]);
        List<ActionPlanLine> plan = await PlanAsync(connection);
        _target.Answer = call => call.ProfileId == World.IdText(2) ? throw new DestinationUnavailableException("away") : Outcome.Taken;

        await Assert.ThrowsAsync<DestinationUnavailableException>(() => connection.ApplyAsync(plan, TestContext.Current.CancellationToken));
        Assert.Equal(["It does not wait any more: it was done since, or what it was for has ended.", "away still"], (await AgainAsync()).Select(why => why ?? "done")); // The same plan is good, although the try put off when it is due.
        _target.Answer = call => throw new DestinationMustPauseException("revoked");
        List<ActionPlanLine> left = await PlanAsync(connection);
        connection.Resume();
        (IReadOnlyList<string?> why, _) = await connection.ApplyAsync(left, TestContext.Current.CancellationToken);

        Assert.Equal([World.IdText(2)], left.Select(line => line.Profile));
        Assert.Equal("revoked", Assert.Single(why));
        Assert.Equal(["welcome"], (await PlanAsync(connection)).Select(line => line.Action));

        async Task<IReadOnlyList<string?>> AgainAsync()
        {
            _target.Answer = call => throw new DestinationMustPauseException("away still");
            return (await connection.ApplyAsync(plan, TestContext.Current.CancellationToken)).Why;
        }
    }

    [Fact]
    public async Task After_an_answer_that_needs_a_person_no_line_of_a_plan_is_tried()
    {
        await DrainAsync();
        foreach (int profile in (int[])[1, 2, 3])
        {
            Person(profile, "s");
        }

        await using ActionConnection connection = await HeldAsync([(1, 5), (2, 6), (3, 7)]);
        List<ActionPlanLine> plan = await PlanAsync(connection);
        int calls = 0;
        _target.Answer = call => ++calls > 0 ? throw new DestinationMustPauseException("wrong password") : Outcome.Taken;

        (IReadOnlyList<string?> why, _) = await connection.ApplyAsync(plan, TestContext.Current.CancellationToken);

        Assert.Equal(1, calls);
        Assert.Equal(["wrong password", "Not tried: wrong password", "Not tried: wrong password"], why);
        _target.Answer = _ => Outcome.Taken;
        Assert.All((await connection.ApplyAsync(plan, TestContext.Current.CancellationToken)).Why, Assert.Null);
    }

    [Fact]
    public async Task What_was_under_way_when_a_plan_met_a_fault_is_settled_by_the_next_turn()
    {
        await DrainAsync();
        Person(1, "s");
        await using ActionConnection connection = await HeldAsync([(1, 5)]);
        List<ActionPlanLine> plan = await PlanAsync(connection);
        _target.Answer = _ => throw new InvalidOperationException("a bug of the connector");
        await Assert.ThrowsAsync<InvalidOperationException>(() => connection.ApplyAsync(plan, TestContext.Current.CancellationToken));
        _target.Answer = _ => Outcome.Taken;

        await connection.ApplyAsync([], TestContext.Current.CancellationToken);

        Assert.StartsWith("It was interrupted while this was sent", Assert.Single(_world.Letters()).Detail, StringComparison.Ordinal); // Nobody knows, and a person decides.
        Assert.Empty(await PlanAsync(connection));
    }

    private static PathExpression Path(string text) => (PathExpression)ExpressionParser.Parse(text, [])!.Root;

    private static async Task<List<ActionPlanLine>> PlanAsync(ActionConnection connection)
    {
        List<ActionPlanLine> lines = [];
        await foreach (ActionPlanLine line in connection.PlanAsync(TestContext.Current.CancellationToken))
        {
            lines.Add(ActionPlanLine.Parse(line.ToJson()));
        }

        return lines;
    }

    /// <summary>One that is paused, and has taken these memberships in.</summary>
    private async Task<ActionConnection> HeldAsync((int Profile, long Version)[] entered)
    {
        ActionConnection connection = Connection();
        connection.Pause("look first");
        foreach ((int profile, long version) in entered)
        {
            _world.Membership(profile, version);
        }

        await connection.DrainAsync(TestContext.Current.CancellationToken);
        return connection;
    }

    /// <summary>The last letter's own time, which stands in it as its place.</summary>
    private long LetterMs() => long.Parse(_world.Letters()[^1].Origin.Split(':')[2], System.Globalization.CultureInfo.InvariantCulture);

    private static ActionDefinition Action(string id) => new() { Id = id, Segment = "s", OnEntered = true, Verb = ActionVerb.Send, Fields = Templates(("subject", "Hello {{ traits.name }}"), ("html", "{{ traits.html }}")) };

    private static Dictionary<string, MessageTemplate> Templates(params (string Name, string Text)[] templates) =>
        templates.ToDictionary(template => template.Name, template => MessageTemplate.Parse(template.Text, out string? error) ?? throw new InvalidOperationException(error));

    private void Person(int profile, string segment, string? mail = "") => Person(profile, [segment], """{"name":"Ann","html":"<b>"}""", mail);

    private void Person(int profile, string[]? segments = null, string traits = "{}", string? mail = "") => _world.Profiles[World.IdText(profile)] = new ProfileView
    {
        Id = World.IdText(profile),
        Version = 1,
        Segments = segments ?? [],
        Identifiers = mail is null ? [] : [new ChangeIdentifier("email", mail.Length > 0 ? mail : $"p{profile}@example.com")],
        Traits = JsonElement.Parse(traits),
    };

    /// <summary>The loser leaves a redirect; the survivor has what both had.</summary>
    private void Merge(int from, int into, string segments, bool isTold = true)
    {
        _world.Profiles[World.IdText(from)] = new ProfileView { Id = World.IdText(from), Version = 0, MergedInto = World.IdText(into) };
        _world.Profiles[World.IdText(into)] = new ProfileView
        {
            Id = World.IdText(into),
            Version = 8,
            Segments = [segments],
            Identifiers = [new ChangeIdentifier("email", $"p{into}@example.com"), new ChangeIdentifier("email", $"p{from}@example.com")],
        };
        if (isTold)
        {
            _world.Profile(from, 8, mergedInto: into);
        }
    }

    private ActionConnection Connection() => new(_settings, _target, new RequestBudget(1e6, _world.Time), false, _world.Parts());

    /// <summary>A process that starts, does what is due, and stops.</summary>
    private async Task DrainAsync()
    {
        await using ActionConnection connection = Connection();
        await connection.DrainAsync(TestContext.Current.CancellationToken);
    }

    private sealed class ScriptedTarget : IActionTarget
    {
        public List<ActionCall> Done { get; } = [];

        public int Calls { get; private set; }

        public Func<ActionCall, Outcome>? Answer { get; set; }

        public string TargetType => "email";

        public bool KnowsRepeats { get; set; }

        public bool TargetMayCome { get; set; }

        public ValueTask<IReadOnlyList<Outcome>> DoAsync(IReadOnlyList<ActionCall> calls, CancellationToken cancellationToken)
        {
            Calls++;
            List<Outcome> outcomes = [];
            foreach (ActionCall call in calls)
            {
                outcomes.Add(Answer?.Invoke(call) ?? Outcome.Taken);
                if (outcomes[^1].Kind == OutcomeKind.Taken)
                {
                    Done.Add(call);
                }
            }

            return ValueTask.FromResult<IReadOnlyList<Outcome>>(outcomes);
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
