using StreamCdp.Connectors.Crm;
using StreamCdp.HubSpotEmulator;

namespace StreamCdp.Connectors.Tests.HubSpot;

public sealed class HubSpotReadTests
{
    [Fact]
    public async Task Values_have_the_types_of_their_properties()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "Zoë@Example.com"), ("num_employees_of_mine", "12.50"), ("is_vip", "true"), ("date_of_birth_day", "1990-05-01"), ("last_order_at", "2025-11-25T12:00:00.250Z"), ("interests", "music;travel"), ("streamcdp_id", "p1"));

        CrmRecord record = await world.ReadAsync(CrmObject.Contact, id);

        Assert.Equal("zoë@example.com", Of(record, "email"));
        Assert.Equal("12.50", record.Fields["num_employees_of_mine"].GetRawText());
        Assert.Equal("true", record.Fields["is_vip"].GetRawText());
        Assert.Equal("\"1990-05-01\"", record.Fields["date_of_birth_day"].GetRawText());
        Assert.Equal("\"2025-11-25T12:00:00.250Z\"", record.Fields["last_order_at"].GetRawText());
        Assert.Equal("""["music","travel"]""", record.Fields["interests"].GetRawText());
        Assert.Equal("null", record.Fields["city"].GetRawText());
        Assert.False(record.Fields.ContainsKey("no_such"));
        Assert.Equal("p1", record.ExternalId);
        Assert.Equal(world.Time.Now, record.CreatedAt);
        Assert.Equal(world.Time.Now, record.ModifiedAt);
    }

    [Fact]
    public async Task A_deal_has_the_names_that_all_CRMs_share_and_its_contacts()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        string contact = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        string deal = world.Account.Create(HubSpotAccount.Deals, ("dealname", "Engine"), ("amount", "1250.5"), ("deal_currency_code", "EUR"), ("closedate", "2026-12-01T00:00:00Z"));
        world.Account.Associate(HubSpotAccount.Deals, deal, contact);

        CrmRecord open = Assert.Single(await world.ChangesAsync(CrmObject.Deal, DateTimeOffset.MinValue));
        world.Account.MoveDeal(deal, "901", "renewals");
        CrmRecord won = await world.ReadAsync(CrmObject.Deal, deal);
        world.Account.MoveDeal(deal, "closedlost");
        CrmRecord lost = await world.ReadAsync(CrmObject.Deal, deal);

        Assert.Equal(("Engine", "1250.5", "EUR", "2026-12-01T00:00:00.000Z"), (Of(open, "name"), Of(open, "amount"), Of(open, "currency"), Of(open, "close_date")));
        Assert.Equal(("Appointment scheduled", "appointmentscheduled", "Sales Pipeline", "default", "open"), (Of(open, "stage"), Of(open, "stage_id"), Of(open, "pipeline"), Of(open, "pipeline_id"), Of(open, "status")));
        Assert.Equal(("Closed won", "901", "Renewals", "won"), (Of(won, "stage"), Of(won, "stage_id"), Of(won, "pipeline"), Of(won, "status")));
        Assert.Equal("lost", Of(lost, "status"));
        Assert.Equal([contact], open.ContactIds);
    }

    [Fact]
    public async Task A_stage_that_is_new_is_looked_up()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        string deal = world.Account.Create(HubSpotAccount.Deals, ("dealname", "Engine"));
        await world.ReadAsync(CrmObject.Deal, deal);
        HubSpotPipeline first = world.Account.Pipelines[0];
        world.Account.Pipelines = [first with { Stages = [.. first.Stages, new HubSpotStage("new", "Brand new", 0.5, false)] }];
        world.Account.MoveDeal(deal, "new");
        world.Time.Advance(TimeSpan.FromMinutes(2));

        Assert.Equal("Brand new", Of(await world.ReadAsync(CrmObject.Deal, deal), "stage"));
    }

    [Theory]
    [InlineData(0, 20)]
    [InlineData(19, 20)]
    [InlineData(20, 20)]
    [InlineData(21, 20)]
    [InlineData(350, 20)]
    [InlineData(350, 1)]
    public async Task Any_number_of_records_with_one_timestamp_is_read_whole_whatever_the_cap(int equal, int page)
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync(options => options with { PageRecords = page });
        world.Account.SearchCap = 100;
        DateTimeOffset begin = world.Time.Now;
        List<string> ids = [world.Account.Create(HubSpotAccount.Contacts, ("email", "before@example.com"))];
        world.Time.Advance(TimeSpan.FromSeconds(1));
        ids.AddRange(Enumerable.Range(0, equal).Select(number => world.Account.Create(HubSpotAccount.Contacts, ("email", $"c{number}@example.com"))));
        world.Time.Advance(TimeSpan.FromMilliseconds(1));
        ids.Add(world.Account.Create(HubSpotAccount.Contacts, ("email", "after@example.com")));

        List<CrmRecord> changes = await world.ChangesAsync(CrmObject.Contact, begin);

        Assert.Equal(ids.Order(StringComparer.Ordinal), changes.Select(record => record.Id).Distinct().Order(StringComparer.Ordinal));
        Assert.InRange(changes.Count, ids.Count, ids.Count + 20);
    }

    [Fact]
    public async Task More_records_than_the_cap_are_read_with_no_page_above_its_limit()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync(options => options with { PageRecords = 20 });
        world.Account.SearchCap = 100;
        for (int number = 0; number < 300; number++)
        {
            world.Account.Create(HubSpotAccount.Companies, ("name", $"n{number}"));
            world.Time.Advance(TimeSpan.FromMilliseconds(number % 3));
        }

        List<CrmRecord> changes = await world.ChangesAsync(CrmObject.Company, DateTimeOffset.MinValue);

        Assert.Equal(300, changes.Select(record => record.Id).Distinct().Count());
        Assert.InRange(world.HubSpot.CountOf("/search"), 15, 40);
    }

    [Fact]
    public async Task A_record_that_changes_while_pages_are_read_is_in_a_later_page()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync(options => options with { PageRecords = 5 });
        string[] ids = [.. Enumerable.Range(0, 12).Select(number => world.Account.Create(HubSpotAccount.Contacts, ("email", $"c{number}@example.com")))];
        CrmPage first = await world.Crm.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue, null, HubSpotWorld.Cancelled);
        world.Time.Advance(TimeSpan.FromSeconds(1));
        world.Account.Set(HubSpotAccount.Contacts, ids[11], "city", "Oslo");

        var later = new List<CrmRecord>();
        for (string? next = first.Next; next is not null;)
        {
            CrmPage page = await world.Crm.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue, next, HubSpotWorld.Cancelled);
            later.AddRange(page.Records);
            next = page.Next;
        }

        Assert.Equal("Oslo", Of(later.Last(record => record.Id == ids[11]), "city"));
        Assert.Equal(12, first.Records.Concat(later).Select(record => record.Id).Distinct().Count());
    }

    [Fact]
    public async Task With_a_search_that_lags_a_read_from_the_server_time_of_the_one_before_misses_nothing()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync(options => options with { SearchLag = TimeSpan.FromMinutes(1) });
        world.Account.SearchLag = (TimeSpan.Zero, TimeSpan.FromSeconds(30));
        var seen = new HashSet<string>();
        DateTimeOffset since = DateTimeOffset.MinValue;
        var made = new HashSet<string>();
        for (int round = 0; round < 40; round++)
        {
            for (int number = 0; number < 5; number++)
            {
                made.Add(world.Account.Create(HubSpotAccount.Contacts, ("email", $"c{round}-{number}@example.com")));
                world.Time.Advance(TimeSpan.FromMilliseconds(700));
            }

            CrmPage page = await world.Crm.ChangesAsync(CrmObject.Contact, since, null, HubSpotWorld.Cancelled);
            Assert.Null(page.Next);
            seen.UnionWith(page.Records.Select(record => record.Id));
            since = page.ServerTime;
        }

        world.Time.Advance(TimeSpan.FromSeconds(31));
        seen.UnionWith((await world.ChangesAsync(CrmObject.Contact, since)).Select(record => record.Id));

        Assert.Equal(made, seen);
    }

    [Fact]
    public async Task A_commit_that_is_later_than_the_lag_is_found_by_a_read_from_further_back()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync(options => options with { SearchLag = TimeSpan.FromMinutes(1) });
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        CrmPage first = await world.Crm.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue, null, HubSpotWorld.Cancelled);
        world.Time.Advance(TimeSpan.FromMinutes(10));
        world.Account.Set(HubSpotAccount.Contacts, id, "city", "Oslo", visibleAfter: TimeSpan.FromMinutes(20));
        world.Time.Advance(TimeSpan.FromMinutes(10));
        CrmPage second = await world.Crm.ChangesAsync(CrmObject.Contact, first.ServerTime + TimeSpan.FromMinutes(5), null, HubSpotWorld.Cancelled);
        world.Time.Advance(TimeSpan.FromMinutes(20));

        Assert.Empty(second.Records);
        Assert.Empty(await world.ChangesAsync(CrmObject.Contact, second.ServerTime));
        Assert.Equal("Oslo", Of(Assert.Single(await world.ChangesAsync(CrmObject.Contact, second.ServerTime - TimeSpan.FromHours(1))), "city"));
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public async Task A_merged_id_is_told_with_what_took_it_over_also_where_that_has_a_new_id(bool mintsNewId, bool batchFollows)
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        world.Account.BatchReadFollowsMerges = batchFollows;
        string winner = world.Account.Create(HubSpotAccount.Contacts, ("email", "w@example.com"));
        string loser = world.Account.Create(HubSpotAccount.Contacts, ("email", "l@example.com"));
        string other = world.Account.Create(HubSpotAccount.Contacts, ("email", "o@example.com"));
        string survivor = world.Account.Merge(HubSpotAccount.Contacts, winner, loser, mintsNewId);

        IReadOnlyList<CrmRecord> together = await world.Crm.ReadAsync(CrmObject.Contact, [loser, survivor, other], HubSpotWorld.Cancelled);
        int singly = world.HubSpot.CountOf("GET objects/contacts/*");
        CrmRecord alone = await world.ReadAsync(CrmObject.Contact, loser);

        Assert.Equal(mintsNewId, survivor != winner);
        Assert.Equal([(loser, true, survivor), (survivor, false, null), (other, false, null)], together.Select(record => (record.Id, record.IsDeleted, record.MergedInto)));
        Assert.Equal(0, singly); // The survivor names its losers.
        Assert.Equal((loser, true, survivor), (alone.Id, alone.IsDeleted, alone.MergedInto));
    }

    [Fact]
    public async Task Deleted_and_unknown_ids_are_told_as_deleted()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        string id = world.Account.Create(HubSpotAccount.Companies, ("name", "n"));
        world.Account.Delete(HubSpotAccount.Companies, id);

        IReadOnlyList<CrmRecord> read = await world.Crm.ReadAsync(CrmObject.Company, [id, "999999"], HubSpotWorld.Cancelled);

        Assert.All(read, record => Assert.True(record.IsDeleted && record.MergedInto is null));
    }

    [Fact]
    public async Task A_read_that_is_answered_with_nothing_deletes_nobody()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        world.HubSpot.Faults.Next(HubSpotFault.NoOp, "/batch/read");
        world.HubSpot.Faults.Next(HubSpotFault.NoOp, "/search");

        await Assert.ThrowsAsync<DestinationUnavailableException>(() => world.ReadAsync(CrmObject.Contact, id));
        await Assert.ThrowsAsync<DestinationUnavailableException>(() => world.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue));
    }

    [Fact]
    public async Task Archived_records_end_the_changes_where_that_is_wanted()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync(options => options with { ListsArchived = true });
        string old = world.Account.Create(HubSpotAccount.Contacts, ("email", "old@example.com"));
        string stays = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        string goes = world.Account.Create(HubSpotAccount.Contacts, ("email", "bob@example.com"));
        world.Account.Delete(HubSpotAccount.Contacts, old);
        world.Time.Advance(TimeSpan.FromHours(1));
        DateTimeOffset since = world.Time.Now;
        world.Account.Set(HubSpotAccount.Contacts, stays, "city", "Oslo");
        world.Account.Delete(HubSpotAccount.Contacts, goes);

        List<CrmRecord> changes = await world.ChangesAsync(CrmObject.Contact, since);

        Assert.Equal([(stays, false), (goes, true)], changes.Select(record => (record.Id, record.IsDeleted)));
    }

    [Fact]
    public async Task All_ids_are_listed_in_pages_without_the_archived_ones()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        List<string> ids = [.. Enumerable.Range(0, 250).Select(number => world.Account.Create(HubSpotAccount.Contacts, ("email", $"c{number}@example.com")))];
        world.Account.Delete(HubSpotAccount.Contacts, ids[7]);
        ids.RemoveAt(7);

        var listed = new List<string>();
        string? next = null;
        do
        {
            (IReadOnlyList<string> page, next) = await world.Crm.IdsAsync(CrmObject.Contact, next, HubSpotWorld.Cancelled);
            listed.AddRange(page);
        }
        while (next is not null);

        Assert.Equal(ids, listed);
    }

    [Fact]
    public async Task A_list_of_ids_that_is_empty_is_believed_only_when_search_finds_nothing_either()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        (IReadOnlyList<string> none, _) = await world.Crm.IdsAsync(CrmObject.Contact, null, HubSpotWorld.Cancelled);
        world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        world.HubSpot.Faults.Next(HubSpotFault.NoOp, "GET objects/contacts");

        await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await world.Crm.IdsAsync(CrmObject.Contact, null, HubSpotWorld.Cancelled));
        Assert.Empty(none);
    }

    [Fact]
    public async Task A_contact_is_found_by_our_id_its_address_and_an_address_besides()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        string byId = world.Account.Create(HubSpotAccount.Contacts, ("email", "x@example.com"), ("streamcdp_id", "p1"));
        string byMain = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        string bySecond = world.Account.Create(HubSpotAccount.Contacts, ("email", "bob@example.com"));
        world.Account.AddEmail(bySecond, "bob@work.example");
        string deleted = world.Account.Create(HubSpotAccount.Contacts, ("email", "gone@example.com"));
        world.Account.Delete(HubSpotAccount.Contacts, deleted);
        world.Account.Create(HubSpotAccount.Contacts, ("email", "somebody@work.example"));

        IReadOnlyList<CrmRecord> found = await world.Crm.FindContactsAsync(["p1", "p2"], ["Ann@Example.com", "bob@work.example", "gone@example.com", "nobody@example.com"], HubSpotWorld.Cancelled);

        Assert.Equal([byId, byMain, bySecond], found.Select(record => record.Id).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Polling_makes_no_request_but_its_own()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        await world.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue);
        int before = world.HubSpot.Requests.Values.Sum();

        await world.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue);

        Assert.Equal(before + 1, world.HubSpot.Requests.Values.Sum());
        Assert.Equal(world.HubSpot.Requests.Values.Sum(), world.Gate.Waits);
        Assert.Equal(world.Gate.Waits, world.Gate.Outcomes.Count);
    }

    [Fact]
    public async Task Only_chosen_properties_are_read()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync(options => options with { Properties = new Dictionary<CrmObject, IReadOnlyList<string>> { [CrmObject.Contact] = ["city"] } });
        string id = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"), ("city", "Oslo"), ("phone", "1"));

        CrmRecord record = await world.ReadAsync(CrmObject.Contact, id);
        CrmOutcome outcome = await world.WriteAsync(HubSpotWorld.Contact(id, null, ("phone", "2")) with { Revision = record.Revision });

        Assert.Equal("Oslo", Of(record, "city"));
        Assert.False(record.Fields.ContainsKey("phone"));
        Assert.Equal(CrmOutcomeKind.Done, outcome.Kind);
        Assert.Equal("2", world.Account.Find(HubSpotAccount.Contacts, id)!["phone"]);
    }

    [Fact]
    public async Task Fields_are_described_by_the_account_itself()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();

        IReadOnlyList<CrmField> contact = await world.Crm.DescribeAsync(CrmObject.Contact, HubSpotWorld.Cancelled);
        IReadOnlyList<CrmField> deal = await world.Crm.DescribeAsync(CrmObject.Deal, HubSpotWorld.Cancelled);

        Assert.Equal((CrmFieldType.Instant, true), contact.Where(field => field.Name == "lastmodifieddate").Select(field => (field.Type, field.IsReadOnly)).Single());
        Assert.Equal(["music", "sport", "travel"], contact.Single(field => field.Name == "interests").Options);
        Assert.Equal(["Sales Pipeline", "Renewals"], deal.Single(field => field.Name == "pipeline").Options);
        Assert.True(deal.Single(field => field.Name == "status").IsReadOnly);
        Assert.Equal(CrmFieldType.Instant, deal.Single(field => field.Name == "close_date").Type);
    }

    [Fact]
    public async Task The_dated_paths_do_the_same()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync(options => options with { ApiVersion = "2026-03" });
        string contact = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));

        CrmOutcome deal = await world.WriteAsync(HubSpotWorld.Write(CrmObject.Deal, null, "d1", ("name", "Engine")) with { ContactIds = [contact] });
        IReadOnlyList<string> gone = await world.Crm.ChangeListAsync("Big spenders", [contact], [], HubSpotWorld.Cancelled);

        Assert.Equal([contact], deal.Record!.ContactIds);
        Assert.Empty(gone);
        Assert.Equal([deal.Record.Id], (await world.ChangesAsync(CrmObject.Deal, DateTimeOffset.MinValue)).Select(record => record.Id));
    }

    private static string Of(CrmRecord record, string field) => record.Fields[field].ToString();

}
