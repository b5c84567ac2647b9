using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Tests.Crm;

/// <summary>The two-way sync with the real engine, case by case.</summary>
public sealed class CrmSyncTests : IAsyncDisposable
{
    private readonly CrmWorld _world = new();

    public ValueTask DisposeAsync() => _world.DisposeAsync();

    [Fact]
    public async Task A_contact_of_the_CRM_becomes_a_profile_with_its_fields_as_traits()
    {
        string id = _world.Crm.Make(CrmObject.Contact, ("name", "Ada"), ("email", "Ada@Example.com"), ("owner", "Eve"));
        await _world.QuietAsync();

        ProfileView view = (await _world.FindAsync("crm_contact_id", id))!;
        Assert.Equal(("\"Ada\"", "\"Eve\""), (CrmWorld.Trait(view, "name"), CrmWorld.Trait(view, "owner")));
        Assert.Contains(view.Identifiers, identifier => identifier is { Type: "email", Value: "ada@example.com" });
    }

    [Fact]
    public async Task A_contact_and_a_visitor_with_one_email_are_one_person_with_both_sides_values()
    {
        await _world.IdentifyAsync("u1", """{"email":"ada@example.com","title":"Dr","city":"Kiel"}""");
        string id = _world.Crm.Make(CrmObject.Contact, ("name", "Ada"), ("email", "ada@example.com"));
        await _world.QuietAsync();

        Assert.Equal((await _world.FindAsync("user_id", "u1"))!.Id, (await _world.FindAsync("crm_contact_id", id))!.Id);
        Assert.Equal(("\"Dr\"", "\"Kiel\"", "0"), (_world.Field(id, "title"), _world.Field(id, "city"), _world.Field(id, "orders")));
    }

    [Fact]
    public async Task Only_members_of_the_chosen_segments_get_a_contact()
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","name":"Ada"}""");
        await _world.QuietAsync();
        Assert.Empty(_world.Crm.Living(CrmObject.Contact));

        await _world.TrackAsync("u1", "Order Completed");
        await _world.QuietAsync();
        CrmRecord made = Assert.Single(_world.Crm.Living(CrmObject.Contact));
        Assert.Equal(("\"Ada\"", "\"a@b.c\"", "1", "\"buyers\""), (_world.Field(made.Id, "name"), _world.Field(made.Id, "email"), _world.Field(made.Id, "orders"), _world.Field(made.Id, "segments")));
        Assert.Contains((await _world.FindAsync("user_id", "u1"))!.Identifiers, identifier => identifier.Type == "crm_contact_id" && identifier.Value == made.Id);
    }

    [Fact]
    public async Task Without_consent_nothing_goes_out_and_what_went_out_is_taken_back()
    {
        _world.Consent = new ConsentDefinition("sales", CrmWorld.Value("traits.ok"));
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","name":"Ada","fan":true}""");
        await _world.TrackAsync("u1", "Order Completed");
        await _world.QuietAsync();
        Assert.Empty(_world.Crm.Living(CrmObject.Contact));

        await _world.IdentifyAsync("u1", """{"ok":true}""");
        await _world.QuietAsync();
        string id = Assert.Single(_world.Crm.Living(CrmObject.Contact)).Id;
        Assert.Equal(("\"Ada\"", "1", "\"buyers, fans\""), (_world.Field(id, "name"), _world.Field(id, "orders"), _world.Field(id, "segments")));
        Assert.Equal([id], _world.Crm.Lists["fans"]);

        // Off the lists, computed fields and segments empty; what both share stays, and what sales types still comes in.
        await _world.IdentifyAsync("u1", """{"ok":false,"title":"Dr"}""");
        _world.Crm.Edit(id, "name", "Ada King");
        await _world.QuietAsync();
        Assert.Equal((null, null, null), (_world.Field(id, "orders"), _world.Field(id, "segments"), _world.Field(id, "title")));
        Assert.Equal("\"Ada King\"", CrmWorld.Trait((await _world.FindAsync("user_id", "u1"))!, "name"));
        Assert.Empty(_world.Crm.Lists["fans"]);

        await _world.IdentifyAsync("u1", """{"ok":true}""");
        await _world.QuietAsync();
        Assert.Equal(("1", "\"buyers, fans\"", "\"Dr\""), (_world.Field(id, "orders"), _world.Field(id, "segments"), _world.Field(id, "title")));
        Assert.Equal([id], _world.Crm.Lists["fans"]);
    }

    [Fact]
    public async Task A_persons_edit_in_the_CRM_reaches_the_profile_and_no_echo_comes_back()
    {
        string id = _world.Crm.Make(CrmObject.Contact, ("name", "Ada"), ("email", "a@b.c"));
        await _world.QuietAsync();
        int writes = _world.Crm.Writes;
        _world.Crm.Edit(id, "name", "Ada King");
        await _world.QuietAsync();

        Assert.Equal("\"Ada King\"", CrmWorld.Trait((await _world.FindAsync("crm_contact_id", id))!, "name"));
        Assert.Equal(writes, _world.Crm.Writes);
    }

    [Theory]
    [InlineData("name", "\"theirs\"")] // crm_wins
    [InlineData("title", "\"ours\"")] // streamcdp_wins
    [InlineData("city", "\"ours\"")] // newest: the website's edit comes later
    public async Task Where_both_changed_the_fields_policy_decides(string field, string winner)
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c"}""");
        string id = _world.Crm.Make(CrmObject.Contact, (field, "base"), ("email", "a@b.c"));
        await _world.QuietAsync();
        _world.Crm.Edit(id, field, "theirs");
        await _world.IdentifyAsync("u1", $$"""{"{{field}}":"ours"}""");
        await _world.QuietAsync();

        Assert.Equal((winner, winner), (_world.Field(id, field), CrmWorld.Trait((await _world.FindAsync("user_id", "u1"))!, field)));
    }

    [Fact]
    public async Task Fill_empty_fills_and_overwrites_nothing()
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","note":"ours"}""");
        string empty = _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        await _world.IdentifyAsync("u2", """{"email":"b@b.c","note":"ours"}""");
        string full = _world.Crm.Make(CrmObject.Contact, ("email", "b@b.c"), ("note", "theirs"));
        await _world.QuietAsync();

        Assert.Equal(("\"ours\"", "\"theirs\""), (_world.Field(empty, "note"), _world.Field(full, "note")));
        Assert.Equal("\"ours\"", CrmWorld.Trait((await _world.FindAsync("user_id", "u2"))!, "note"));
    }

    [Fact]
    public async Task A_text_that_the_CRM_stores_in_another_form_is_agreed_on_and_not_sent_again()
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","title":"  Dr  "}""");
        string id = _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        await _world.QuietAsync();
        int writes = _world.Crm.Writes;
        await _world.QuietAsync();

        Assert.Equal(("\"Dr\"", writes), (_world.Field(id, "title"), _world.Crm.Writes));
        Assert.Equal("\"  Dr  \"", CrmWorld.Trait((await _world.FindAsync("user_id", "u1"))!, "title"));
    }

    [Fact]
    public async Task A_trait_whose_own_rule_refuses_the_CRMs_value_stays_and_the_field_too()
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","tier":"gold"}""");
        string id = _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"), ("tier", "silver"));
        await _world.QuietAsync();

        Assert.Equal(("\"silver\"", "\"gold\""), (_world.Field(id, "tier"), CrmWorld.Trait((await _world.FindAsync("user_id", "u1"))!, "tier")));
    }

    [Fact]
    public async Task Somebody_who_is_faster_than_our_write_is_not_overwritten()
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","name":"ours"}""");
        string id = _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        _world.Crm.BeforeWrite = () =>
        {
            _world.Crm.BeforeWrite = () => { };
            _world.Crm.Edit(id, "name", "typed just now");
        };
        await _world.QuietAsync();

        Assert.Equal(("\"typed just now\"", "\"typed just now\""), (_world.Field(id, "name"), CrmWorld.Trait((await _world.FindAsync("user_id", "u1"))!, "name")));
        Assert.DoesNotContain(_world.Crm.Overwritten, lost => lost.Field == "name");
    }

    [Fact]
    public async Task What_was_committed_late_is_found_by_the_second_reader()
    {
        string id = _world.Crm.Make(CrmObject.Contact, ("name", "Ada"), ("email", "a@b.c"));
        await _world.QuietAsync();
        _world.Crm.Edit(id, "name", "late", late: TimeSpan.FromMinutes(20));
        await _world.PassAsync(TimeSpan.FromSeconds(10));
        await _world.DrainAsync();
        await _world.PassAsync(TimeSpan.FromMinutes(6));
        await _world.DrainAsync();

        Assert.Equal("\"late\"", CrmWorld.Trait((await _world.FindAsync("crm_contact_id", id))!, "name"));
    }

    [Fact]
    public async Task A_deleted_contact_is_not_made_again()
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c"}""");
        await _world.TrackAsync("u1", "Order Completed");
        await _world.QuietAsync();
        _world.Crm.Delete(Assert.Single(_world.Crm.Living(CrmObject.Contact)).Id);
        await _world.TrackAsync("u1", "Order Completed");
        await _world.QuietAsync();

        Assert.Empty(_world.Crm.Living(CrmObject.Contact));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_merge_in_the_CRM_makes_one_person_and_the_fields_follow(bool mints)
    {
        string a = _world.Crm.Make(CrmObject.Contact, ("name", "A"), ("email", "a@b.c"));
        string b = _world.Crm.Make(CrmObject.Contact, ("name", "B"), ("email", "b@b.c"), ("city", "Kiel"));
        await _world.QuietAsync();
        string stays = _world.Crm.Merge(b, a, mints);
        await _world.QuietAsync();

        ProfileView view = (await _world.FindAsync("email", "a@b.c"))!;
        Assert.Equal(view.Id, (await _world.FindAsync("email", "b@b.c"))!.Id);
        Assert.Equal(view.Id, (await _world.FindAsync("crm_contact_id", stays))!.Id);
        Assert.Equal(CrmWorld.Trait(view, "name"), _world.Field(stays, "name"));
        Assert.Equal("\"Kiel\"", _world.Field(stays, "city"));
    }

    [Fact]
    public async Task Contacts_that_we_made_for_people_who_are_one_become_one()
    {
        foreach (string user in (string[])["u1", "u2"])
        {
            await _world.IdentifyAsync(user, $$"""{"email":"{{user}}@b.c","name":"{{user}}"}""");
            await _world.TrackAsync(user, "Order Completed");
        }

        await _world.SendAsync("""{"type":"track","event":"Order Completed","anonymousId":"d1","messageId":"o3"}""");
        await _world.QuietAsync();
        Assert.Equal(3, _world.Crm.Living(CrmObject.Contact).Count());
        await _world.SendAsync("""{"type":"identify","userId":"u1","anonymousId":"d1","messageId":"m"}""");
        await _world.QuietAsync();

        Assert.Equal(2, _world.Crm.Living(CrmObject.Contact).Count());
        Assert.Contains(_world.Crm.Living(CrmObject.Contact), contact => _world.Field(contact.Id, "orders") == "2");
    }

    [Fact]
    public async Task An_edit_that_nobody_had_seen_when_its_contact_was_merged_is_not_written_over()
    {
        await _world.IdentifyAsync("u1", """{"email":"u1@b.c","name":"Ann"}""");
        await _world.TrackAsync("u1", "Order Completed");
        await _world.QuietAsync();
        string ours = Assert.Single(_world.Crm.Living(CrmObject.Contact)).Id;
        string theirs = _world.Crm.Make(CrmObject.Contact, ("email", "u1@b.c")); // Has no name, so it is to get the profile's.
        _world.Crm.Edit(ours, "name", "Anna", late: TimeSpan.FromMinutes(20)); // The near reader does not see it.
        await _world.PassAsync(TimeSpan.FromSeconds(10));
        await _world.DrainAsync();

        Assert.True(_world.Crm.Find(ours) is { IsDeleted: true } gone && gone.MergedInto == theirs);
        Assert.Equal("\"Anna\"", _world.Field(theirs, "name"));
        Assert.Equal("\"Anna\"", CrmWorld.Trait((await _world.FindAsync("user_id", "u1"))!, "name"));
    }

    [Fact]
    public async Task Texts_that_are_too_long_for_an_event_cost_nothing_else()
    {
        string id = _world.Crm.Make(CrmObject.Contact, ("email", new string('x', 40_000) + "@b.c"), ("name", new string('n', 40_000)), ("title", new string('t', 7_000)), ("city", new string('c', 7_000)), ("note", new string('o', 7_000)), ("owner", "Eve"));
        await _world.QuietAsync();

        ProfileView view = (await _world.FindAsync("crm_contact_id", id))!;
        Assert.Equal((null, 7_002, 7_002, 7_002, "\"Eve\""), (CrmWorld.Trait(view, "name"), CrmWorld.Trait(view, "title")?.Length, CrmWorld.Trait(view, "city")?.Length, CrmWorld.Trait(view, "note")?.Length, CrmWorld.Trait(view, "owner")));
    }

    [Fact]
    public async Task A_list_change_whose_answer_was_lost_is_taken_back_where_the_person_left_meanwhile()
    {
        string id = _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        await _world.QuietAsync();
        _world.Crm.AfterListChange = () => throw new InvalidOperationException("killed");
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","fan":true}""");
        await _world.PassAsync(TimeSpan.FromMinutes(1));
        await Assert.ThrowsAsync<InvalidOperationException>(_world.DrainAsync);
        Assert.Contains(id, _world.Crm.Lists["fans"]);

        _world.Crm.AfterListChange = () => { };
        await _world.IdentifyAsync("u1", """{"fan":false}""");
        await _world.QuietAsync();

        Assert.DoesNotContain(id, _world.Crm.Lists["fans"]);
    }

    [Fact]
    public async Task A_merge_that_brings_a_contact_onto_a_list_is_taken_back_where_its_person_does_not_belong_there()
    {
        string fan = _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","fan":true}""");
        await _world.QuietAsync();
        Assert.Contains(fan, _world.Crm.Lists["fans"]);

        string other = _world.Crm.Make(CrmObject.Contact, ("email", "b@b.c"));
        await _world.IdentifyAsync("u2", """{"email":"b@b.c"}"""); // Two persons: user_id has a limit of 1.
        await _world.QuietAsync();
        _world.Crm.Merge(fan, other, mints: false);
        Assert.Contains(other, _world.Crm.Lists["fans"]);
        await _world.QuietAsync();

        Assert.Equal((await _world.FindAsync("crm_contact_id", other))!.Segments.Contains("fans"), _world.Crm.Lists["fans"].Contains(other));
    }

    [Fact]
    public async Task A_list_follows_its_segment()
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","fan":true}""");
        string id = _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        await _world.QuietAsync();
        Assert.Contains(id, _world.Crm.Lists["fans"]);

        await _world.IdentifyAsync("u1", """{"fan":false}""");
        await _world.QuietAsync();
        Assert.DoesNotContain(id, _world.Crm.Lists["fans"]);
    }

    [Fact]
    public async Task A_refused_value_is_a_dead_letter_once_and_the_other_fields_go()
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","title":"Dr!","city":"Kiel"}""");
        string id = _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        await using CrmConnection connection = _world.Connection();
        await connection.DrainAsync(TestContext.Current.CancellationToken);
        await _world.PassAsync(TimeSpan.FromMinutes(10));
        await connection.DrainAsync(TestContext.Current.CancellationToken);
        await _world.PassAsync(TimeSpan.FromMinutes(10));
        await connection.DrainAsync(TestContext.Current.CancellationToken);

        Assert.Equal((null, "\"Kiel\""), (_world.Field(id, "title"), _world.Field(id, "city")));
        Assert.Equal(1, connection.Status().DeadLetters);
    }

    [Fact]
    public async Task A_deals_story_stands_in_the_timeline_of_its_contact()
    {
        string contact = _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        string deal = _world.Crm.MakeDeal("lead", 1250.5, contact);
        await _world.QuietAsync();
        _world.Crm.Edit(deal, "stage", "won");
        await _world.QuietAsync();

        JsonElement document = await _world.DocumentAsync("email", "a@b.c");
        string[] names = [.. document.GetProperty("events").EnumerateArray().Select(one => one.GetProperty("event")).Where(sent => sent.TryGetProperty("event", out JsonElement name) && name.GetString()!.StartsWith("Deal", StringComparison.Ordinal)).Select(sent => sent.GetProperty("event").GetString()!)];
        Assert.Equal(["Deal Stage Changed", "Deal Created"], names);
    }

    [Fact]
    public async Task When_both_sides_are_quiet_there_are_only_questions()
    {
        await _world.IdentifyAsync("u1", """{"email":"a@b.c","name":"Ada","title":"Dr"}""");
        _world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"), ("city", "Kiel"));
        await _world.QuietAsync();
        int requests = _world.Crm.Requests;
        await _world.PassAsync(TimeSpan.FromSeconds(60));
        await _world.DrainAsync();

        Assert.Equal(3, _world.Crm.Requests - requests); // The near reader, one page of each object.
    }

    [Fact]
    public async Task A_whole_read_that_is_cut_off_goes_on_where_it_was_and_finds_who_is_missing()
    {
        string[] ids = [.. Enumerable.Range(0, 30).Select(i => _world.Crm.Make(CrmObject.Contact, ("email", $"p{i}@b.c")))];
        await _world.QuietAsync();
        _world.Crm.Vanish(ids[4]); // Nothing tells of it.
        await _world.PassAsync(TimeSpan.FromDays(2));
        int pages = _world.Crm.IdPages;
        int deaths = 0;
        int asked = 0;
        _world.Crm.BeforeIds = () => deaths += ++asked % 2 == 0 ? throw new InvalidOperationException("killed") : 0; // A process that dies after each page.
        for (int i = 0; i < 30; i++)
        {
            try
            {
                await _world.DrainAsync();
            }
            catch (InvalidOperationException)
            {
                deaths++;
            }
        }

        Assert.InRange(deaths, 5, 15);
        Assert.InRange(_world.Crm.IdPages - pages, 11, 12); // 10 of contacts and one of deals: none was asked for twice.
        Assert.Contains(_world.EventPayloads("crm"), payload => payload.Contains("Contact Deleted", StringComparison.Ordinal) && payload.Contains($"\"id\":\"{ids[4]}\"", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_whole_read_at_the_account_s_rate_leaves_room_for_what_somebody_waits_for()
    {
        await using var world = new CrmWorld(settings => settings with { RequestsPerSecond = 10, Fields = [.. settings.Fields.Where(rule => rule.Field == "owner")], Lists = new HashSet<string>() }); // Nothing to write.
        for (int i = 0; i < 60; i++)
        {
            world.Crm.Make(CrmObject.Contact, ("email", $"p{i}@b.c"));
        }

        world.Time.Advance(TimeSpan.FromHours(1)); // Only the whole reader has something to read.
        await using CrmConnection connection = world.Connection();
        await connection.DrainAsync(TestContext.Current.CancellationToken);

        Assert.InRange(world.Crm.Requests, 3, 12); // It is not done: the rest waits for the rate.
        Assert.True(connection.Status().BudgetLeft >= 4, $"{connection.Status().BudgetLeft} requests are left at once.");
    }
}
