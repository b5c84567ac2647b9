using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Tests.Crm;

/// <summary>Contacts of people who take their consent back are deleted in the CRM: only those that StreamCdp made and nobody works with, a few a day.</summary>
public sealed class CrmDeleteTests : IAsyncDisposable
{
    private CrmWorld _world = New(100);

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _world.DisposeAsync();

    [Fact]
    public async Task Who_takes_the_consent_back_is_deleted_and_who_gives_it_again_is_made_anew()
    {
        string id = await BuyerAsync("u1");
        await ConsentAsync("u1", "false");

        Assert.True(_world.Crm.Find(id)!.IsDeleted);
        Assert.Contains("Contact Deleted", string.Join('\n', _world.EventPayloads("crm")), StringComparison.Ordinal);
        Assert.Empty(_world.Crm.Lists["fans"].Except([id]));

        await ConsentAsync("u1", "true");
        string again = Assert.Single(_world.Crm.Living(CrmObject.Contact)).Id;
        Assert.NotEqual(id, again);
        Assert.Equal(("\"u1@b.c\"", "1"), (_world.Field(again, "email"), _world.Field(again, "orders")));

        await ConsentAsync("u1", "false");
        Assert.Equal([id, again], _world.Crm.Deleted.Select(one => one.Id));
        await ConsentAsync("u1", "true");
        Assert.Single(_world.Crm.Living(CrmObject.Contact));
    }

    [Fact]
    public async Task Without_the_key_nobody_is_deleted()
    {
        await UseAsync(New(null));
        await BuyerAsync("u1");
        await ConsentAsync("u1", "false");

        Assert.Single(_world.Crm.Living(CrmObject.Contact));
        Assert.Empty(_world.Crm.Deleted);
    }

    [Fact]
    public async Task A_contact_that_a_person_made_or_merged_or_that_a_deal_names_stays()
    {
        string made = _world.Crm.Make(CrmObject.Contact, ("email", "u1@b.c"));
        await BuyerAsync("u1");
        string working = await BuyerAsync("u2");
        string deal = _world.Crm.MakeDeal("new", 12, working);
        string merged = await BuyerAsync("u3");
        _world.Crm.Merge(_world.Crm.Make(CrmObject.Contact, ("email", "x@b.c")), merged, mints: false);
        await _world.QuietAsync();
        foreach (string user in (string[])["u1", "u2", "u3"])
        {
            await ConsentAsync(user, "false");
        }

        Assert.Equal([made, working, merged], _world.Crm.Living(CrmObject.Contact).Select(contact => contact.Id));

        _world.Crm.Delete(deal); // Nobody works with it any more.
        await _world.QuietAsync();
        Assert.Equal([working], _world.Crm.Deleted.Select(one => one.Id));
    }

    [Theory]
    [InlineData("Deal", true)]
    [InlineData("Activity", true)]
    [InlineData("Company", false)]
    public void What_names_a_contact_says_that_somebody_works_with_it_unless_it_is_a_company(string kind, bool isNamed)
    {
        using var links = new CrmLinks(_world.StatePath, "named");
        links.Save([new CrmLink { Kind = Enum.Parse<CrmObject>(kind), Id = "7", ContactIds = ["1"] }], []);

        Assert.Equal(isNamed, links.IsNamed("1"));
    }

    [Fact]
    public async Task A_contact_that_a_person_deleted_is_not_made_again_by_a_consent()
    {
        string id = await BuyerAsync("u1");
        _world.Crm.Delete(id);
        await ConsentAsync("u1", "false");
        await ConsentAsync("u1", "true");

        Assert.Empty(_world.Crm.Living(CrmObject.Contact));
    }

    [Fact]
    public async Task More_than_a_day_allows_waits_for_the_next_and_the_status_says_so()
    {
        await UseAsync(New(2));
        string[] users = ["u1", "u2", "u3", "u4", "u5"];
        foreach (string user in users)
        {
            await BuyerAsync(user);
        }

        foreach (string user in users)
        {
            await _world.IdentifyAsync(user, """{"ok":false}""");
        }

        TimeSpan toNoon = _world.Time.GetUtcNow().Date.AddDays(1).AddHours(12) - _world.Time.GetUtcNow().UtcDateTime;
        await _world.PassAsync(toNoon);
        await using CrmConnection connection = _world.Connection();
        await connection.DrainAsync(Cancelled);
        Assert.Equal((2, 2L), (_world.Crm.Deleted.Count, connection.Status().DeletedToday));
        Assert.StartsWith("2 contacts were deleted in the CRM today, as many as delete.at_most allows", connection.Status().Reason, StringComparison.Ordinal);
        Assert.All(_world.Crm.Living(CrmObject.Contact), contact => Assert.Null(_world.Field(contact.Id, "orders"))); // Emptied meanwhile.
        Assert.Empty(_world.Crm.Lists["fans"].Except(_world.Crm.Deleted.Select(one => one.Id)));

        await _world.PassAsync(TimeSpan.FromHours(1));
        await using (CrmConnection restarted = _world.Connection())
        {
            await restarted.DrainAsync(Cancelled);
            Assert.Equal(2L, restarted.Status().DeletedToday);
        }

        Assert.Equal(2, _world.Crm.Deleted.Count);
        await _world.PassAsync(TimeSpan.FromHours(12));
        await connection.DrainAsync(Cancelled);
        Assert.Equal(4, _world.Crm.Deleted.Count);
        await _world.PassAsync(TimeSpan.FromDays(1));
        await connection.DrainAsync(Cancelled);
        Assert.Equal((5, "", 1L), (_world.Crm.Deleted.Count, connection.Status().Reason, connection.Status().DeletedToday));
    }

    [Fact]
    public async Task One_who_consents_again_while_his_contact_waits_keeps_it()
    {
        await UseAsync(New(1));
        await BuyerAsync("u1");
        await BuyerAsync("u2");
        await _world.IdentifyAsync("u1", """{"ok":false}""");
        await _world.IdentifyAsync("u2", """{"ok":false}""");
        await _world.PassAsync(TimeSpan.FromMinutes(1));
        await _world.DrainAsync();
        string left = Assert.Single(_world.Crm.Living(CrmObject.Contact)).Id;
        string user = _world.Field(left, "email")!.Trim('"')[..2];
        await ConsentAsync(user, "true");
        await _world.PassAsync(TimeSpan.FromDays(2));
        await _world.DrainAsync();

        Assert.Equal(left, Assert.Single(_world.Crm.Living(CrmObject.Contact)).Id);
        Assert.Equal("1", _world.Field(left, "orders"));
    }

    [Fact]
    public async Task What_the_CRM_refuses_to_delete_is_a_dead_letter_once_until_something_changes()
    {
        string id = await BuyerAsync("u1");
        _world.Crm.RefusesDeletes = true;
        await _world.IdentifyAsync("u1", """{"ok":false}""");
        await _world.PassAsync(TimeSpan.FromMinutes(1));
        await using CrmConnection connection = _world.Connection();
        await connection.DrainAsync(Cancelled);
        Assert.Equal(1, connection.Status().DeadLetters);

        _world.Crm.RefusesDeletes = false;
        await _world.PassAsync(TimeSpan.FromDays(2));
        await connection.DrainAsync(Cancelled);
        Assert.Equal(1, connection.Status().DeadLetters);
        Assert.False(_world.Crm.Find(id)!.IsDeleted);

        _world.Crm.Edit(id, "note", "tried by hand");
        await _world.QuietAsync();
        Assert.True(_world.Crm.Find(id)!.IsDeleted);
    }

    [Fact]
    public async Task An_outage_in_the_middle_uses_up_nothing_and_a_crash_deletes_fewer_at_most()
    {
        await UseAsync(New(1));
        await BuyerAsync("u1");
        await _world.IdentifyAsync("u1", """{"ok":false}""");
        await _world.PassAsync(TimeSpan.FromMinutes(1));
        for (int i = 0; i < 3; i++)
        {
            _world.Crm.BeforeDelete = () => throw new DestinationUnavailableException("away");
            await using CrmConnection crashed = _world.Connection();
            await Assert.ThrowsAsync<DestinationUnavailableException>(() => crashed.DrainAsync(Cancelled));
            Assert.Equal(1, crashed.Status().DeletedToday);
        }

        _world.Crm.BeforeDelete = () => { };
        await _world.DrainAsync();

        Assert.Empty(_world.Crm.Living(CrmObject.Contact));
    }

    [Fact]
    public async Task One_that_is_there_when_the_key_is_added_goes_too()
    {
        await UseAsync(New(null));
        string id = await BuyerAsync("u1");
        await ConsentAsync("u1", "false");
        await using CrmConnection connection = _world.Connection(_world.Settings with { DeletesAtMost = 5 });
        await _world.PassAsync(TimeSpan.FromDays(2)); // The whole reader comes by.
        await connection.DrainAsync(Cancelled);

        Assert.True(_world.Crm.Find(id)!.IsDeleted);
    }

    [Fact]
    public async Task The_plan_shows_it_and_apply_does_that_alone()
    {
        string first = await BuyerAsync("u1");
        string second = await BuyerAsync("u2");
        await _world.IdentifyAsync("u1", """{"ok":false}""");
        await _world.IdentifyAsync("u2", """{"ok":false}""");
        await using CrmConnection connection = _world.Connection();
        List<PlanLine> plan = [];
        var counts = new PlanCounts();
        await foreach (PlanLine line in connection.PlanAsync(Cancelled))
        {
            plan.Add(PlanLine.Parse(line.ToJson()));
            counts.Add(line);
        }

        Assert.Equal([("delete", first), ("delete", second)], plan.Select(line => (line.Change, line.Id!)));
        Assert.Equal((2, 0), (counts.ContactsToDelete, _world.Crm.Deleted.Count));
        Assert.All(plan, line => Assert.True(line.IsWhole));
        (IReadOnlyList<string?> why, _) = await connection.ApplyAsync([plan[1]], Cancelled);
        Assert.Null(Assert.Single(why));
        Assert.Equal([second], _world.Crm.Deleted.Select(one => one.Id));
        (why, _) = await connection.ApplyAsync([plan[1]], Cancelled);
        Assert.Contains("nothing to do", Assert.Single(why), StringComparison.Ordinal);

        Assert.NotEqual(PlanMapping.Of(_world.Settings), PlanMapping.Of(_world.Settings with { DeletesAtMost = 3 }));
        await using CrmConnection capped = _world.Connection(_world.Settings with { DeletesAtMost = 1 });
        (why, _) = await capped.ApplyAsync([plan[0]], Cancelled);
        Assert.Contains("at_most", Assert.Single(why), StringComparison.Ordinal);
        Assert.Single(_world.Crm.Living(CrmObject.Contact));
    }

    private static CrmWorld New(int? most) => new(settings => settings with { DeletesAtMost = most }) { Consent = new ConsentDefinition("sales", CrmWorld.Value("traits.ok")) };

    private async Task UseAsync(CrmWorld world)
    {
        await _world.DisposeAsync();
        _world = world;
    }

    /// <summary>Somebody who consents and buys; his contact's id.</summary>
    private async Task<string> BuyerAsync(string user)
    {
        await _world.IdentifyAsync(user, $$"""{"email":"{{user}}@b.c","ok":true,"fan":true}""");
        await _world.TrackAsync(user, "Order Completed");
        await _world.QuietAsync();
        return Assert.Single((await _world.FindAsync("user_id", user))!.Identifiers, identifier => identifier.Type == "crm_contact_id").Value;
    }

    private async Task ConsentAsync(string user, string isGiven)
    {
        await _world.IdentifyAsync(user, $$"""{"ok":{{isGiven}}}""");
        await _world.QuietAsync();
    }
}
