using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.HubSpotEmulator;
using static StreamCdp.Connectors.Tests.HubSpot.HubSpotWorld;

namespace StreamCdp.Connectors.Tests.HubSpot;

public sealed class HubSpotWriteTests
{
    [Fact]
    public async Task A_new_contact_is_made_with_our_id_and_read_back()
    {
        await using HubSpotWorld world = await StartAsync();

        CrmOutcome outcome = await world.WriteAsync(Contact(null, "p1", ("email", "Ann@Example.com"), ("num_employees_of_mine", 12.5), ("is_vip", true), ("date_of_birth_day", "1990-05-01"), ("last_order_at", "2026-11-25T10:00:00.000Z"), ("interests", new[] { "travel", "music" })));

        Assert.Equal((CrmOutcomeKind.Done, "", null), (outcome.Kind, outcome.Reason, outcome.Field));
        HubSpotRecord stored = world.Account.Find(HubSpotAccount.Contacts, outcome.Record!.Id)!;
        Assert.Equal(("ann@example.com", "12.5", "true", "1990-05-01", "2026-11-25T10:00:00.000Z", "travel;music", "p1"), (stored["email"], stored["num_employees_of_mine"], stored["is_vip"], stored["date_of_birth_day"], stored["last_order_at"], stored["interests"], stored["streamcdp_id"]));
        Assert.Equal(("p1", "ann@example.com"), (outcome.Record.ExternalId, outcome.Record.Fields["email"].GetString()));
    }

    [Fact]
    public async Task The_same_write_again_changes_the_same_record_and_sends_nothing_where_nothing_differs()
    {
        await using HubSpotWorld world = await StartAsync();
        CrmOutcome first = await world.WriteAsync(Contact(null, "p1", ("email", "ann@example.com"), ("city", "Oslo")));
        int writes = world.Writes();

        CrmOutcome same = await world.WriteAsync(Contact(null, "p1", ("email", "Ann@example.com"), ("city", "Oslo")));
        int writesOfSame = world.Writes() - writes;
        CrmOutcome other = await world.WriteAsync(Contact(null, "p1", ("city", "Rome")));

        Assert.Equal((first.Record!.Id, first.Record.Id), (same.Record!.Id, other.Record!.Id));
        Assert.Equal(0, writesOfSame);
        Assert.Equal("Rome", world.Account.Find(HubSpotAccount.Contacts, first.Record.Id)!["city"]);
        Assert.Equal(1, world.Account.Count(HubSpotAccount.Contacts));
    }

    [Fact]
    public async Task Null_empties_a_field_and_others_stay()
    {
        await using HubSpotWorld world = await StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"), ("city", "Oslo"), ("phone", "1"));

        CrmOutcome outcome = await world.WriteAsync(Contact(id, null, ("city", null)));

        Assert.Equal(JsonValueKind.Null, outcome.Record!.Fields["city"].ValueKind);
        Assert.Equal("1", outcome.Record.Fields["phone"].GetString());
    }

    [Theory]
    [InlineData("note", "", "hs_note_body")]
    [InlineData("task", "Call Ann", "hs_task_body")]
    public async Task A_note_or_task_is_put_to_its_contact_once_also_when_the_answer_is_lost(string kind, string subject, string property)
    {
        await using HubSpotWorld world = await StartAsync();
        string ann = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        DateTimeOffset since = world.Time.GetUtcNow();
        world.HubSpot.Faults.Next(HubSpotFault.LostAnswer, $"{kind}s/batch/create");

        await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await world.Crm.AddNoteAsync("key", ann, kind, subject, "5 < 6\nnow", since, TestContext.Current.CancellationToken));
        Outcome again = await world.Crm.AddNoteAsync("key", ann, kind, subject, "the profile changed", since, TestContext.Current.CancellationToken);
        Outcome other = await world.Crm.AddNoteAsync("other key", ann, kind, subject, "something else", since, TestContext.Current.CancellationToken);
        Outcome later = await world.Crm.AddNoteAsync("third key", ann, kind, subject, "5 < 6\nnow", since.AddDays(1), TestContext.Current.CancellationToken);

        Assert.Equal((Outcome.Taken, Outcome.Taken, Outcome.Taken), (again, other, later));
        IReadOnlyList<HubSpotRecord> made = world.Account.Living(kind + "s");
        Assert.Equal(["5 &lt; 6<br>now", "something else", "5 &lt; 6<br>now"], made.Select(note => note[property]));
        Assert.All(made, note => Assert.Equal(subject.Length == 0 ? null : subject, note["hs_task_subject"]));
    }

    [Theory]
    [InlineData("/batch/upsert")]
    [InlineData("/batch/read")]
    [InlineData("/objects/")]
    public async Task An_answer_that_is_lost_after_the_write_makes_no_second_record(string path)
    {
        foreach (HubSpotFault fault in new[] { HubSpotFault.LostAnswer, HubSpotFault.CutAnswer })
        {
            await using HubSpotWorld world = await StartAsync();
            CrmWrite write = Contact(null, "p1", ("email", "ann@example.com"), ("city", "Oslo"));
            world.HubSpot.Faults.Next(fault, path.TrimStart('/'), times: 1);

            await Assert.ThrowsAsync<DestinationUnavailableException>(() => world.WriteAsync(write));
            CrmOutcome again = await world.WriteAsync(write);

            Assert.Equal(CrmOutcomeKind.Done, again.Kind);
            Assert.Equal(1, world.Account.Count(HubSpotAccount.Contacts));
        }
    }

    [Fact]
    public async Task A_change_whose_answer_was_lost_is_not_taken_for_somebody_s_edit()
    {
        await using HubSpotWorld world = await StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        string revision = (await world.ReadAsync(CrmObject.Contact, id)).Revision!;
        CrmWrite write = Contact(id, "p1", ("city", "Oslo")) with { Revision = revision };
        world.HubSpot.Faults.Next(HubSpotFault.LostAnswer, "/batch/update");

        await Assert.ThrowsAsync<DestinationUnavailableException>(() => world.WriteAsync(write));
        int writes = world.Writes();
        CrmOutcome again = await world.WriteAsync(write);

        Assert.Equal((CrmOutcomeKind.Done, writes), (again.Kind, world.Writes()));
    }

    [Fact]
    public async Task A_record_that_somebody_changed_stays_as_it_is()
    {
        await using HubSpotWorld world = await StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"), ("city", "Oslo"));
        string revision = (await world.ReadAsync(CrmObject.Contact, id)).Revision!;
        world.Account.Set(HubSpotAccount.Contacts, id, "phone", "1"); // In the same millisecond.

        CrmOutcome outcome = await world.WriteAsync(Contact(id, null, ("city", "Rome")) with { Revision = revision });
        CrmOutcome now = await world.WriteAsync(Contact(id, null, ("city", "Rome")) with { Revision = outcome.Record!.Revision });

        Assert.Equal((CrmOutcomeKind.Stale, "Oslo"), (outcome.Kind, outcome.Record.Fields["city"].GetString()));
        Assert.Equal((CrmOutcomeKind.Done, "Rome"), (now.Kind, now.Record!.Fields["city"].GetString()));
    }

    [Fact]
    public async Task A_value_that_HubSpot_computes_makes_no_write_stale()
    {
        await using HubSpotWorld world = await StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        string revision = (await world.ReadAsync(CrmObject.Contact, id)).Revision!;
        world.Time.Advance(TimeSpan.FromSeconds(1));
        world.Account.Set(HubSpotAccount.Contacts, id, "hs_analytics_num_visits", "7");

        Assert.Equal(CrmOutcomeKind.Done, (await world.WriteAsync(Contact(id, null, ("city", "Rome")) with { Revision = revision })).Kind);
    }

    [Fact]
    public async Task A_record_that_is_gone_is_told_with_what_took_it_over()
    {
        await using HubSpotWorld world = await StartAsync();
        string winner = world.Account.Create(HubSpotAccount.Contacts, ("email", "w@example.com"));
        string loser = world.Account.Create(HubSpotAccount.Contacts, ("email", "l@example.com"));
        string deleted = world.Account.Create(HubSpotAccount.Contacts, ("email", "d@example.com"));
        string survivor = world.Account.Merge(HubSpotAccount.Contacts, winner, loser, mintsNewId: true);
        world.Account.Delete(HubSpotAccount.Contacts, deleted);

        IReadOnlyList<CrmOutcome> outcomes = await world.Crm.WriteAsync([Contact(loser, null, ("city", "Rome")), Contact(deleted, null, ("city", "Rome")), Contact(survivor, null, ("phone", "1"))], Cancelled);

        Assert.Equal([CrmOutcomeKind.Gone, CrmOutcomeKind.Gone, CrmOutcomeKind.Done], outcomes.Select(outcome => outcome.Kind));
        Assert.Equal(survivor, outcomes[0].Record!.MergedInto);
        Assert.Null(outcomes[1].Record!.MergedInto);
        Assert.Null(world.Account.Find(HubSpotAccount.Contacts, survivor)!["city"]);
    }

    [Fact]
    public async Task Each_row_of_a_207_has_its_own_outcome_in_the_order_of_the_writes()
    {
        await using HubSpotWorld world = await StartAsync();
        string other = world.Account.Create(HubSpotAccount.Contacts, ("email", "taken@example.com"), ("streamcdp_id", "p9"));
        string mine = world.Account.Create(HubSpotAccount.Contacts, ("email", "mine@example.com"));

        IReadOnlyList<CrmOutcome> outcomes = await world.Crm.WriteAsync(
            [
                Contact(null, "p1", ("email", "one@example.com")), Contact(null, "p2", ("email", "taken@example.com")), Contact(null, "p3", ("email", "three@example.com")),
                Contact(mine, null, ("email", "taken@example.com")), Contact(null, "p5", ("email", "five@example.com")),
            ], Cancelled);

        Assert.Equal([CrmOutcomeKind.Done, CrmOutcomeKind.Refused, CrmOutcomeKind.Done, CrmOutcomeKind.Refused, CrmOutcomeKind.Done], outcomes.Select(outcome => outcome.Kind));
        Assert.Equal(["p1", "p3", "p5"], outcomes.Where(outcome => outcome.Kind == CrmOutcomeKind.Done).Select(outcome => outcome.Record!.ExternalId));
        Assert.Equal((other, "email"), (outcomes[1].Record!.Id, outcomes[1].Field));
        Assert.Equal((null, "email"), (outcomes[3].Record, outcomes[3].Field));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("p1")]
    public async Task A_contact_that_somebody_made_meanwhile_is_changed_where_it_is_nobody_else_s(string? externalId)
    {
        await using HubSpotWorld world = await StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"), ("phone", "1"));
        world.Account.AddEmail(id, "ann@work.example");

        CrmOutcome main = await world.WriteAsync(Contact(null, externalId, ("email", "ann@example.com"), ("city", "Oslo")));
        CrmOutcome second = await world.WriteAsync(Contact(null, externalId, ("email", "ann@work.example"), ("city", "Rome")));

        Assert.Equal((CrmOutcomeKind.Done, id), (main.Kind, main.Record!.Id));
        Assert.Equal((CrmOutcomeKind.Done, id, "Rome", (string?)null), (second.Kind, second.Record!.Id, second.Record.Fields["city"].GetString(), second.Record.ExternalId)); // It stays his who made it.
        Assert.Equal("ann@example.com", world.Account.Find(HubSpotAccount.Contacts, id)!["email"]);
        Assert.Equal(1, world.Account.Count(HubSpotAccount.Contacts));
    }

    [Fact]
    public async Task An_address_besides_the_main_one_does_not_become_the_main_one()
    {
        await using HubSpotWorld world = await StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        world.Account.AddEmail(id, "ann@work.example");

        CrmOutcome outcome = await world.WriteAsync(Contact(id, "p1", ("email", "Ann@Work.example"), ("city", "Oslo")));

        Assert.Equal((CrmOutcomeKind.Done, "ann@example.com", "Oslo"), (outcome.Kind, outcome.Record!.Fields["email"].GetString(), outcome.Record.Fields["city"].GetString()));
    }

    [Fact]
    public async Task A_lifecycle_stage_that_HubSpot_keeps_is_told_with_what_is_stored()
    {
        await using HubSpotWorld world = await StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"), ("lifecyclestage", "customer"));

        CrmOutcome outcome = await world.WriteAsync(Contact(id, null, ("lifecyclestage", "lead"), ("city", "Oslo")));

        Assert.Equal((CrmOutcomeKind.Done, "customer", "lifecyclestage"), (outcome.Kind, outcome.Record!.Fields["lifecyclestage"].GetString(), outcome.Field));
        Assert.Equal("Oslo", outcome.Record.Fields["city"].GetString());
    }

    [Theory]
    [InlineData("/batch/upsert")]
    [InlineData("/batch/update")]
    public async Task An_answer_that_tells_nothing_of_a_row_is_no_success(string path)
    {
        await using HubSpotWorld world = await StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        world.HubSpot.Faults.Next(HubSpotFault.NoOp, path);
        CrmWrite write = Contact(path.EndsWith("update", StringComparison.Ordinal) ? id : null, "p1", ("city", "Oslo"));

        CrmOutcome outcome = await world.WriteAsync(write);
        CrmOutcome again = await world.WriteAsync(write);

        Assert.Equal((CrmOutcomeKind.TryAgain, CrmOutcomeKind.Done), (outcome.Kind, again.Kind));
    }

    [Fact]
    public async Task A_bad_address_costs_its_own_row_and_no_other_of_a_batch_that_is_refused_whole()
    {
        await using HubSpotWorld world = await StartAsync();
        CrmWrite[] writes = [.. Enumerable.Range(0, 100).Select(number => Contact(null, $"p{number}", ("email", number is 17 or 60 ? $"bad{number}" : $"c{number}@example.com"), ("city", "bad17")))];

        IReadOnlyList<CrmOutcome> outcomes = await world.Crm.WriteAsync(writes, Cancelled);

        Assert.Equal([17, 60], outcomes.Index().Where(entry => entry.Item.Kind != CrmOutcomeKind.Done).Select(entry => entry.Index));
        Assert.All([outcomes[17], outcomes[60]], outcome => Assert.Equal((CrmOutcomeKind.Refused, "email"), (outcome.Kind, outcome.Field)));
        Assert.Contains("bad60", outcomes[60].Reason, StringComparison.Ordinal);
        Assert.Equal(98, world.Account.Count(HubSpotAccount.Contacts));
        Assert.InRange(world.HubSpot.CountOf("/batch/upsert"), 2, 8);
    }

    [Fact]
    public async Task Many_bad_rows_are_found_by_halves()
    {
        await using HubSpotWorld world = await StartAsync();
        CrmWrite[] writes = [.. Enumerable.Range(0, 40).Select(number => Contact(null, $"p{number}", ("email", number % 3 == 0 ? "bad" : $"c{number}@example.com")))];

        IReadOnlyList<CrmOutcome> outcomes = await world.Crm.WriteAsync(writes, Cancelled);

        Assert.All(outcomes.Index(), entry => Assert.Equal(entry.Index % 3 == 0 ? CrmOutcomeKind.Refused : CrmOutcomeKind.Done, entry.Item.Kind));
    }

    [Fact]
    public async Task A_property_that_was_deleted_costs_only_the_rows_that_have_it()
    {
        await using HubSpotWorld world = await StartAsync();
        world.Account.Define(HubSpotAccount.Contacts, new HubSpotProperty("plan", "string", "text"));
        await world.Crm.DescribeAsync(CrmObject.Contact, Cancelled);
        world.Account.Undefine(HubSpotAccount.Contacts, "plan");

        IReadOnlyList<CrmOutcome> outcomes = await world.Crm.WriteAsync([Contact(null, "p1", ("email", "a@example.com")), Contact(null, "p2", ("email", "b@example.com"), ("plan", "pro")), Contact(null, "p3", ("email", "c@example.com"))], Cancelled);

        Assert.Equal([(CrmOutcomeKind.Done, null), (CrmOutcomeKind.Refused, "plan"), (CrmOutcomeKind.Done, null)], outcomes.Select(outcome => (outcome.Kind, outcome.Field)));
    }

    [Theory]
    [InlineData("no_such", "x")]
    [InlineData("createdate", "2026-11-25T10:00:00.000Z")]
    [InlineData("num_employees_of_mine", "many")]
    [InlineData("lifecyclestage", "no_such_stage")]
    public async Task What_HubSpot_will_never_take_is_refused_with_its_field(string field, string value)
    {
        await using HubSpotWorld world = await StartAsync();

        CrmOutcome outcome = await world.WriteAsync(Contact(null, "p1", ("email", "ann@example.com"), (field, value)));

        Assert.Equal((CrmOutcomeKind.Refused, field), (outcome.Kind, outcome.Field));
        Assert.NotEmpty(outcome.Reason);
        Assert.Equal(0, world.Account.Count(HubSpotAccount.Contacts));
    }

    [Fact]
    public async Task Two_writes_of_one_profile_in_a_batch_are_the_later_one()
    {
        await using HubSpotWorld world = await StartAsync();

        IReadOnlyList<CrmOutcome> outcomes = await world.Crm.WriteAsync([Contact(null, "p1", ("city", "Oslo")), Contact(null, "p1", ("city", "Rome"))], Cancelled);

        Assert.Equal(outcomes[0], outcomes[1]);
        Assert.Equal("Rome", outcomes[1].Record!.Fields["city"].GetString());
        Assert.Equal(1, world.Account.Count(HubSpotAccount.Contacts));
    }

    [Fact]
    public async Task A_deal_is_made_with_its_contacts_and_moved_by_the_labels_of_its_stages()
    {
        await using HubSpotWorld world = await StartAsync();
        string ann = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        string bob = world.Account.Create(HubSpotAccount.Contacts, ("email", "bob@example.com"));
        CrmWrite make = Write(CrmObject.Deal, null, "d1", ("name", "Engine"), ("amount", 1250.5), ("currency", "EUR"), ("stage", "Contract sent")) with { ContactIds = [ann, bob, "999999"] };

        CrmOutcome made = await world.WriteAsync(make);
        CrmOutcome again = await world.WriteAsync(make with { ContactIds = [ann, bob] });
        CrmOutcome won = await world.WriteAsync(Write(CrmObject.Deal, made.Record!.Id, null, ("stage", "Closed won")));
        CrmOutcome moved = await world.WriteAsync(Write(CrmObject.Deal, made.Record.Id, null, ("pipeline", "Renewals")));

        Assert.Equal((CrmOutcomeKind.Done, "open", "contractsent"), (made.Kind, made.Record.Fields["status"].GetString(), world.Account.Find(HubSpotAccount.Deals, made.Record.Id) is null ? "" : made.Record.Fields["stage_id"].GetString()));
        Assert.Equal([ann, bob], made.Record.ContactIds);
        Assert.Equal(made.Record.Id, again.Record!.Id);
        Assert.Equal(("won", "closedwon"), (won.Record!.Fields["status"].GetString(), won.Record.Fields["stage_id"].GetString())); // Both pipelines have one: its own.
        Assert.Equal(("Renewals", "900"), (moved.Record!.Fields["pipeline"].GetString(), moved.Record.Fields["stage_id"].GetString()));
        Assert.Equal(1, world.Account.Count(HubSpotAccount.Deals));
    }

    [Fact]
    public async Task A_stage_that_is_nowhere_or_in_two_pipelines_is_refused()
    {
        await using HubSpotWorld world = await StartAsync();

        IReadOnlyList<CrmOutcome> outcomes = await world.Crm.WriteAsync(
            [
                Write(CrmObject.Deal, null, "d1", ("name", "a"), ("stage", "No such")), Write(CrmObject.Deal, null, "d2", ("name", "b"), ("stage", "Closed won")), Write(CrmObject.Deal, null, "d3", ("name", "c"), ("status", "won")),
                Write(CrmObject.Deal, null, "d4", ("name", "d"), ("stage", "Closed won"), ("pipeline", "Renewals")),
            ], Cancelled);

        Assert.Equal([(CrmOutcomeKind.Refused, "stage"), (CrmOutcomeKind.Refused, "stage"), (CrmOutcomeKind.Refused, "status"), (CrmOutcomeKind.Done, null)], outcomes.Select(outcome => (outcome.Kind, outcome.Field)));
        Assert.Equal("901", outcomes[3].Record!.Fields["stage_id"].GetString());
    }

    [Fact]
    public async Task Without_the_property_for_our_id_writing_pauses_and_preparing_makes_it_once()
    {
        await using HubSpotWorld world = await StartAsync(isPrepared: false);

        DestinationMustPauseException pause = await Assert.ThrowsAsync<DestinationMustPauseException>(() => world.WriteAsync(Contact(null, "p1", ("city", "Oslo"))));
        IReadOnlyList<string> made = await world.Crm.PrepareAsync(CrmObject.Contact, [new CrmField(world.Crm.IdField, CrmFieldType.Text, false), new CrmField("cdp_plan", CrmFieldType.Text, false, ["free", "pro"]), new CrmField("cdp_orders", CrmFieldType.Number, false), new CrmField("city", CrmFieldType.Text, false)], Cancelled);
        IReadOnlyList<string> again = await world.Crm.PrepareAsync(CrmObject.Contact, [new CrmField("cdp_plan", CrmFieldType.Text, false)], Cancelled);
        CrmOutcome outcome = await world.WriteAsync(Contact(null, "p1", ("cdp_plan", "pro"), ("cdp_orders", 3)));

        Assert.Contains("streamcdp_id", pause.Message, StringComparison.Ordinal);
        Assert.Equal(["streamcdp_id", "cdp_plan", "cdp_orders"], made);
        Assert.Empty(again);
        Assert.Equal(("pro", 3), (outcome.Record!.Fields["cdp_plan"].GetString(), outcome.Record.Fields["cdp_orders"].GetInt32()));
    }

    [Fact]
    public async Task A_property_of_our_id_without_unique_values_pauses()
    {
        await using HubSpotWorld world = await StartAsync(isPrepared: false);
        world.Account.Define(HubSpotAccount.Contacts, new HubSpotProperty("streamcdp_id", "string", "text"));

        await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await world.Crm.PrepareAsync(CrmObject.Contact, [], Cancelled));
        await Assert.ThrowsAsync<DestinationMustPauseException>(() => world.WriteAsync(Contact(null, "p1", ("city", "Oslo"))));
    }

    [Fact]
    public async Task A_list_is_made_once_changed_and_made_again_where_somebody_deleted_it()
    {
        await using HubSpotWorld world = await StartAsync();
        string ann = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        string bob = world.Account.Create(HubSpotAccount.Contacts, ("email", "bob@example.com"));

        await world.Crm.ChangeListAsync("Big spenders/EU", [ann], [], Cancelled);
        IReadOnlyList<string> gone = await world.Crm.ChangeListAsync("Big spenders/EU", [bob, "999999"], [ann], Cancelled);
        IReadOnlyList<string>? members = world.Account.Members("Big spenders/EU");
        world.Account.DeleteList("Big spenders/EU");
        await world.Crm.ChangeListAsync("Big spenders/EU", [ann], [], Cancelled);

        Assert.Equal(["999999"], gone);
        Assert.Equal([bob], members);
        Assert.Equal([ann], world.Account.Members("Big spenders/EU"));
    }

    [Fact]
    public async Task A_list_that_HubSpot_fills_itself_pauses()
    {
        await using HubSpotWorld world = await StartAsync();
        world.Account.CreateList("Active", "DYNAMIC");

        DestinationMustPauseException pause = await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await world.Crm.ChangeListAsync("Active", ["1"], [], Cancelled));

        Assert.Contains("active list", pause.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_merge_answers_the_id_that_stays_also_when_it_is_asked_for_again(bool mintsNewId)
    {
        await using HubSpotWorld world = await StartAsync();
        world.HubSpot.MergesMintIds = mintsNewId;
        string from = world.Account.Create(HubSpotAccount.Contacts, ("email", "f@example.com"));
        string into = world.Account.Create(HubSpotAccount.Contacts, ("email", "i@example.com"));
        world.HubSpot.Faults.Next(HubSpotFault.LostAnswer, "/merge");

        await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await world.Crm.MergeContactsAsync(from, into, Cancelled));
        string? survivor = await world.Crm.MergeContactsAsync(from, into, Cancelled);

        Assert.Equal(mintsNewId, survivor != into);
        Assert.Null(world.Account.Find(HubSpotAccount.Contacts, survivor!)!.ArchivedAt);
        Assert.Equal(1, world.HubSpot.CountOf("/merge"));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Under_random_faults_all_arrives_once(int seed)
    {
        await using HubSpotWorld world = await StartAsync();
        CrmWrite[] contacts = [.. Enumerable.Range(0, 60).Select(number => Contact(null, $"p{number}", ("email", $"c{number}@example.com"), ("city", $"s{seed}")))];
        world.HubSpot.Faults.Randomly(seed, 0.4, HubSpotFault.SecondlyLimit, HubSpotFault.InternalError, HubSpotFault.BadGateway, HubSpotFault.Unavailable, HubSpotFault.Migrating, HubSpotFault.NoOp, HubSpotFault.CutAnswer, HubSpotFault.LostAnswer);

        foreach (CrmWrite[] batch in contacts.Chunk(7))
        {
            List<CrmWrite> left = [.. batch];
            for (int tries = 0; left.Count > 0; tries++)
            {
                Assert.True(tries < 200, $"seed {seed}");
                try
                {
                    IReadOnlyList<CrmOutcome> outcomes = await world.Crm.WriteAsync(left, Cancelled);
                    Assert.All(outcomes, outcome => Assert.True(outcome.Kind is CrmOutcomeKind.Done or CrmOutcomeKind.TryAgain, outcome.Reason));
                    left = [.. left.Where((_, index) => outcomes[index].Kind == CrmOutcomeKind.TryAgain)];
                }
                catch (DestinationUnavailableException)
                {
                    // As the kit does: the same again.
                }
            }
        }

        world.HubSpot.Faults.Randomly(seed, 0);
        List<CrmRecord> all = await world.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue);
        Assert.Equal(contacts.Select(write => (write.ExternalId, $"s{seed}")).Order(), all.Select(record => (record.ExternalId, record.Fields["city"].GetString()!)).Order());
    }
}
