using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.Tests.Crm;

/// <summary>What goes wrong around the sync: another account, refusals, failures at the wrong moment, texts beyond all measure.</summary>
public sealed class CrmConnectionTests
{
    private const int DeadlineMilliseconds = 30_000;

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Another_account_under_the_same_id_is_refused_because_its_records_have_the_same_numbers()
    {
        await using var first = new CrmWorld(settings => settings with { Account = "https://a.example.com/" });
        first.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        await first.DrainAsync();
        await using var second = new CrmWorld(settings => settings with { Account = "https://b.example.com/" });
        Directory.CreateDirectory(second.StatePath);
        foreach (string file in Directory.GetFiles(first.StatePath, "crm-*"))
        {
            File.Copy(file, Path.Combine(second.StatePath, Path.GetFileName(file)));
        }

        InvalidDataException exception = await Assert.ThrowsAsync<InvalidDataException>(second.DrainAsync);

        Assert.Contains("belongs to https://a.example.com/", exception.Message, StringComparison.Ordinal);
        Assert.Equal(0, second.Crm.Requests);
    }

    [Fact]
    public async Task A_contact_that_is_refused_whole_is_a_dead_letter_once_until_there_is_something_else_to_say()
    {
        await using var world = new CrmWorld();
        int writes = 0;
        world.Crm.RefusesNew = true;
        world.Crm.BeforeWrite = () => writes++;
        await world.IdentifyAsync("u1", """{"email":"a@b.c","name":"Ada"}""");
        await world.TrackAsync("u1", "Order Completed");
        await world.QuietAsync();
        Assert.Equal(1, writes);

        await world.TrackAsync("u1", "Page Viewed");
        await world.QuietAsync();
        Assert.Equal(1, writes);

        world.Crm.RefusesNew = false;
        await world.IdentifyAsync("u1", """{"name":"Ada King"}""");
        await world.QuietAsync();
        Assert.Equal("\"Ada King\"", world.Field(Assert.Single(world.Crm.Living(CrmObject.Contact)).Id, "name"));
    }

    [Fact]
    public async Task A_contact_is_made_without_the_field_that_is_refused()
    {
        await using var world = new CrmWorld();
        await world.IdentifyAsync("u1", """{"email":"a@b.c","name":"Ada!","city":"Kiel"}""");
        await world.TrackAsync("u1", "Order Completed");
        await world.QuietAsync();

        string id = Assert.Single(world.Crm.Living(CrmObject.Contact)).Id;
        Assert.Equal((null, "\"Kiel\""), (world.Field(id, "name"), world.Field(id, "city")));
    }

    [Fact]
    public async Task A_replay_whose_CRM_is_away_is_made_when_it_is_back()
    {
        await using var world = new CrmWorld();
        string id = world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        await world.IdentifyAsync("u1", """{"email":"a@b.c","title":"Dr!"}""");
        await world.QuietAsync();
        Assert.Null(world.Field(id, "title"));
        ProfileView view = (await world.FindAsync("user_id", "u1"))!;
        world.Crm.Forbidden = '#'; // Somebody mended it.
        await using CrmConnection connection = world.Connection();
        Assert.True(connection.TryReplay(new ProfileChange { Kind = ChangeKind.Profile, ProfileId = view.Id, Version = view.Version, At = view.UpdatedAt }, 0, 0));
        world.Crm.Answering = Kit.CrmAnswering.IsAway;
        await Assert.ThrowsAsync<DestinationUnavailableException>(() => connection.DrainAsync(Cancelled));
        world.Crm.Answering = Kit.CrmAnswering.Answers;
        await connection.DrainAsync(Cancelled);

        Assert.Equal("\"Dr!\"", world.Field(id, "title"));
    }

    [Fact]
    public async Task A_conflict_is_kept_once_whatever_is_cut_off_and_is_read_beside_the_sync()
    {
        await using var world = new CrmWorld();
        string id = world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"), ("name", "Ada"), ("title", "Dr"));
        await world.IdentifyAsync("u1", """{"email":"a@b.c"}""");
        await world.QuietAsync();
        await world.IdentifyAsync("u1", """{"name":"Web","title":"Mrs"}""");
        world.Crm.Edit(id, "name", "Crm");
        world.Crm.Edit(id, "title", "Mr");
        await world.PassAsync(TimeSpan.FromMinutes(10));
        await using CrmConnection connection = world.Connection();
        int writes = 0;
        world.Crm.BeforeWrite = () =>
        {
            if (++writes == 2)
            {
                throw new DestinationUnavailableException("away"); // The profile has the CRM's name by now, and so the next try sees no conflict there.
            }
        };
        await Assert.ThrowsAsync<DestinationUnavailableException>(() => connection.DrainAsync(Cancelled));
        Assert.Equal(2, connection.Status().Conflicts);
        await connection.DrainAsync(Cancelled);

        IReadOnlyList<(long Number, CrmConflict Conflict)> all = connection.Conflicts(long.MaxValue, 10);

        Assert.Equal([("name", "\"Crm\"", "\"Web\""), ("title", "\"Mrs\"", "\"Mr\"")], all.Select(one => (one.Conflict.Field, one.Conflict.Kept, one.Conflict.Lost)).OrderBy(one => one.Field, StringComparer.Ordinal));
        Assert.Equal(2, connection.Status().Conflicts);
        Assert.Equal([all[1].Number], connection.Conflicts(all[0].Number, 10).Select(one => one.Number));
        Assert.Equal([all[0].Number], connection.Conflicts(long.MaxValue, 1).Select(one => one.Number));
    }

    [Fact]
    public async Task Who_resumes_before_it_has_begun_is_heard()
    {
        await using var world = new CrmWorld();
        world.Crm.Make(CrmObject.Contact, ("email", "a@b.c"));
        await using (CrmConnection paused = world.Connection())
        {
            paused.Pause("a person wants it");
            await paused.DrainAsync(Cancelled); // Saves that.
        }

        int requests = world.Crm.Requests;
        await using CrmConnection connection = world.Connection();
        connection.Resume();
        await RunUntilAsync(connection, () => world.Crm.Requests > requests);

        Assert.Equal(DeliveryState.Running, connection.Status().State);
    }

    [Fact]
    public async Task A_CRM_whose_near_reader_is_always_due_is_read_whole_all_the_same()
    {
        await using var world = new CrmWorld(settings => settings with { Poll = TimeSpan.Zero });
        for (int i = 0; i < 10; i++)
        {
            world.Crm.Make(CrmObject.Contact, ("email", $"p{i}@b.c"));
        }

        await using CrmConnection connection = world.Connection();
        await RunUntilAsync(connection, () => world.Crm.IdPages > 4);
    }

    [Fact]
    public async Task Texts_beyond_all_measure_stop_nothing()
    {
        await using var world = new CrmWorld();
        string huge = new('x', 40_000);
        string many = new('y', 7_900);
        string person = world.Crm.Make(CrmObject.Contact, ("email", huge + "@b.c"), ("name", "Ada"));
        string essay = world.Crm.Make(CrmObject.Contact, ("name", many), ("title", many), ("city", many), ("note", many), ("owner", many), ("tier", many));
        string deal = world.Crm.MakeDeal("new", 1, person);
        world.Crm.Edit(deal, "name", huge);
        await world.QuietAsync();

        Assert.Equal("\"Ada\"", CrmWorld.Trait((await world.FindAsync("crm_contact_id", person))!, "name"));
        ProfileView view = (await world.FindAsync("crm_contact_id", essay))!;
        Assert.All((string[])["name", "title", "city", "note", "owner", "tier"], trait => Assert.Equal(7_902, CrmWorld.Trait(view, trait)?.Length));
        Assert.Contains("Deal Created", string.Join('\n', world.EventPayloads("crm")), StringComparison.Ordinal);
    }

    private static async Task RunUntilAsync(CrmConnection connection, Func<bool> condition)
    {
        using var wake = new LogWake();
        using var stop = new CancellationTokenSource();
        Task running = Task.Run(() => connection.RunAsync(wake, stop.Token), Cancelled);
        for (long deadline = Environment.TickCount64 + DeadlineMilliseconds; !condition(); await Task.Delay(5, Cancelled))
        {
            Assert.True(Environment.TickCount64 < deadline, "It does not come to that.");
        }

        await stop.CancelAsync();
        await running;
    }
}
