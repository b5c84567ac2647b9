using System.Text.Json;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.Tests.Crm;

/// <summary>A plan is what the sync would do, changes nothing, and is applied to the letter.</summary>
public sealed class CrmPlanTests
{
    private static readonly string[] s_users = ["u1", "u2", "u3", "u4"];
    private static readonly string[] s_fields = ["name", "title", "city", "note"];

    [Fact]
    public async Task Before_the_first_run_it_shows_field_by_field_what_each_side_gets_and_touches_neither()
    {
        await using CrmWorld world = await NewAsync();
        string known = world.Crm.Make(CrmObject.Contact, ("email", "u1@b.c"), ("name", "Ada"), ("title", "Prof"));
        string stranger = world.Crm.Make(CrmObject.Contact, ("email", "x@b.c"), ("name", "Eve"));
        string deal = world.Crm.MakeDeal("new", 12, known);
        string buyer = (await world.FindAsync("user_id", "u2"))!.Id;

        IReadOnlyList<PlanLine> plan = await PlanAsync(world);

        PlanLine update = Assert.Single(plan, line => line.Id == known);
        Assert.Equal(("update", true, (await world.FindAsync("user_id", "u1"))!.Id), (update.Change, update.Links, update.Profile));
        Assert.Equal(
            ["city to crm: null \"Kiel\", only the profile has it", "name to profile: \"Ada\" null, only the CRM has it", "orders to crm: null 0, direction out", "segments to crm: null \"fans\", direction out", "title to crm: \"Prof\" \"Dr\", both have a value and never met: streamcdp_wins, conflict"],
            update.Fields.Select(Text).Order(StringComparer.Ordinal));
        Assert.Equal(["fans"], update.On);
        Assert.Equal("new_profile", Assert.Single(plan, line => line.Id == stranger).Change);
        Assert.Equal("record", Assert.Single(plan, line => line.Id == deal && line.Object == "deal").Change);
        PlanLine create = Assert.Single(plan, line => line.Change == "create");
        Assert.Equal((buyer, "\"u2@b.c\""), (create.Profile, create.Fields.Single(field => field.Field == "email").Profile.GetRawText()));
        Assert.Equal(4, plan.Count);
        Assert.Equal((0, 3), (world.Crm.Writes, world.Crm.Living(CrmObject.Contact).Count() + world.Crm.Living(CrmObject.Deal).Count()));
        Assert.Empty(world.EventPayloads("crm"));
        Assert.Empty(world.Crm.Lists);
    }

    [Fact]
    public async Task One_that_starts_paused_does_nothing_until_it_is_resumed_and_a_plan_is_applied_meanwhile()
    {
        await using CrmWorld world = await NewAsync(settings => settings with { StartsPaused = true });
        string known = world.Crm.Make(CrmObject.Contact, ("email", "u1@b.c"), ("name", "Ada"));
        await using CrmConnection connection = world.Connection();
        using var wake = new LogWake();
        using var stop = new CancellationTokenSource();
        Task running = connection.RunAsync(wake, stop.Token);

        Assert.Equal(DeliveryState.Paused, connection.Status().State);
        Assert.Contains("connectors plan crm", connection.Status().Reason, StringComparison.Ordinal);
        List<PlanLine> plan = await PlanAsync(connection);
        Assert.Equal(0, world.Crm.Writes);
        (IReadOnlyList<string?> why, long refused) = await connection.ApplyAsync([plan.Single(line => line.Id == known)], TestContext.Current.CancellationToken);
        Assert.Null(Assert.Single(why));
        Assert.Equal(0, refused);
        Assert.Equal("\"Kiel\"", world.Field(known, "city"));
        Assert.Equal("\"Ada\"", CrmWorld.Trait((await world.FindAsync("user_id", "u1"))!, "name"));
        Assert.Single(world.Crm.Living(CrmObject.Contact)); // u2 was not in what was applied.
        Assert.Equal(DeliveryState.Paused, connection.Status().State);
        await stop.CancelAsync();
        await running;
    }

    [Fact]
    public async Task What_is_left_out_of_the_plan_is_not_done_and_is_in_the_next_one()
    {
        await using CrmWorld world = await NewAsync();
        string known = world.Crm.Make(CrmObject.Contact, ("email", "u1@b.c"), ("name", "Ada"));
        await using CrmConnection connection = world.Connection();
        PlanLine whole = (await PlanAsync(connection)).Single(line => line.Id == known);

        await connection.ApplyAsync([whole], TestContext.Current.CancellationToken);
        PlanLine create = (await PlanAsync(connection)).Single(line => line.Change == "create");
        await world.IdentifyAsync("u1", """{"city":"Bonn"}""");
        await connection.ApplyAsync([create], TestContext.Current.CancellationToken);

        Assert.Equal("\"Kiel\"", world.Field(known, "city"));
        PlanLine left = Assert.Single(await PlanAsync(connection));
        Assert.Equal(["city to crm: \"Kiel\" \"Bonn\", only the profile changed"], left.Fields.Select(Text));
        await connection.ApplyAsync([left], TestContext.Current.CancellationToken);
        Assert.Equal("\"Bonn\"", world.Field(known, "city"));
        Assert.Empty(await PlanAsync(connection));
        await world.QuietAsync();
        Assert.Equal("\"Bonn\"", world.Field(known, "city"));
    }

    [Fact]
    public async Task Of_two_contacts_of_one_person_only_the_one_in_the_plan_goes_on_the_list()
    {
        await using CrmWorld world = await NewAsync();
        string first = world.Crm.Make(CrmObject.Contact, ("email", "u1@b.c"));
        string second = world.Crm.Make(CrmObject.Contact, ("email", "u1@b.c"));
        await world.IdentifyAsync("u1", """{"fan":false}""");
        await world.QuietAsync();
        await world.IdentifyAsync("u1", """{"fan":true}""");
        await using CrmConnection connection = world.Connection();
        List<PlanLine> plan = await PlanAsync(connection);
        Assert.Equal([first, second], plan.Where(line => line.On.Count > 0).Select(line => line.Id));

        (IReadOnlyList<string?> why, _) = await connection.ApplyAsync([plan.Single(line => line.Id == first)], TestContext.Current.CancellationToken);

        Assert.Null(Assert.Single(why));
        Assert.Equal([first], world.Crm.Lists["fans"]);
        Assert.Equal(["fans"], Assert.Single(await PlanAsync(connection), line => line.Id == second).On);
    }

    [Fact]
    public async Task A_contact_that_is_made_goes_on_the_lists_of_its_line()
    {
        await using CrmWorld world = await NewAsync();
        await world.IdentifyAsync("u2", """{"fan":true}""");
        await using CrmConnection connection = world.Connection();
        PlanLine create = (await PlanAsync(connection)).Single(line => line.Change == "create");
        Assert.Equal(["fans"], create.On);

        await connection.ApplyAsync([create], TestContext.Current.CancellationToken);

        Assert.Equal([Assert.Single(world.Crm.Living(CrmObject.Contact)).Id], world.Crm.Lists["fans"]);
    }

    [Fact]
    public async Task A_line_whose_record_or_profile_changed_since_is_not_applied_and_says_so()
    {
        await using CrmWorld world = await NewAsync();
        string record = world.Crm.Make(CrmObject.Contact, ("email", "u1@b.c"), ("name", "Ada"));
        string profile = world.Crm.Make(CrmObject.Contact, ("email", "u3@b.c"), ("name", "Bob"));
        string same = world.Crm.Make(CrmObject.Contact, ("email", "u4@b.c"), ("name", "Cleo"));
        await using CrmConnection connection = world.Connection();
        List<PlanLine> plan = [.. (await PlanAsync(connection)).Where(line => line.Change == "update").OrderBy(line => line.Id == record ? 0 : line.Id == profile ? 1 : 2)];
        world.Crm.Edit(record, "city", "Rome");
        await world.IdentifyAsync("u3", """{"title":"Mr"}""");

        (IReadOnlyList<string?> why, _) = await connection.ApplyAsync(plan, TestContext.Current.CancellationToken);

        Assert.Equal([true, true, false], why.Select(one => one?.Contains("changed since", StringComparison.Ordinal) == true));
        Assert.Equal(("\"Rome\"", "\"Ada\""), (world.Field(record, "city"), world.Field(record, "name")));
        Assert.Null(world.Field(profile, "title"));
        Assert.Equal("\"Kiel\"", world.Field(same, "city"));
        (why, _) = await connection.ApplyAsync([plan[2]], TestContext.Current.CancellationToken);
        Assert.Contains("nothing to do", Assert.Single(why), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public async Task What_the_plan_says_is_what_the_sync_then_writes_and_after_it_nothing_is_left(int seed)
    {
        await using CrmWorld world = await NewAsync();
        var random = new Random(seed);
        foreach (string user in s_users)
        {
            await world.TrackAsync(user, "Order Completed");
        }

        await world.QuietAsync();
        Assert.Empty(await PlanAsync(world));
        for (int i = 0; i < 40; i++)
        {
            string field = s_fields[random.Next(s_fields.Length)];
            string user = s_users[random.Next(s_users.Length)];
            if (random.Next(2) == 0)
            {
                await world.IdentifyAsync(user, $$"""{"{{field}}":{{(random.Next(6) == 0 ? "null" : $"\"w{i}\"")}}}""");
            }
            else
            {
                string contact = (await world.FindAsync("user_id", user))!.Identifiers.Single(identifier => identifier.Type == "crm_contact_id").Value;
                world.Crm.Edit(contact, field, random.Next(6) == 0 ? null : $"c{i}");
                world.Time.Advance(TimeSpan.FromSeconds(1));
            }
        }

        IReadOnlyList<PlanLine> plan = await PlanAsync(world);
        int before = world.Crm.Written.Count;
        int events = world.EventPayloads("crm").Count();
        await world.PassAsync(TimeSpan.FromMinutes(1));
        await world.DrainAsync();

        string[] written = [.. world.Crm.Written.Skip(before).SelectMany(write => write.Fields.Select(field => $"{write.Id} {field.Key} {CanonicalValue.Of(field.Value)}")).Order(StringComparer.Ordinal)];
        Assert.Equal(plan.SelectMany(line => line.Fields.Where(field => field.To == "crm").Select(field => $"{line.Id} {field.Field} {CanonicalValue.Of(field.Profile)}")).Order(StringComparer.Ordinal), written);
        string[] taken = [.. world.EventPayloads("crm").Skip(events).Select(payload => JsonElement.Parse(System.Text.Encoding.UTF8.GetBytes(payload))).Where(e => e.TryGetProperty("traits", out _))
            .SelectMany(e => e.GetProperty("traits").EnumerateObject().Select(trait => $"{e.GetProperty("context").GetProperty("externalIds")[0].GetProperty("id").GetString()} {trait.Name} {CanonicalValue.Of(trait.Value)}")).Order(StringComparer.Ordinal)];
        Assert.Equal(plan.SelectMany(line => line.Fields.Where(field => field.To == "profile").Select(field => $"{line.Id} {field.Field} {CanonicalValue.Of(field.Crm)}")).Order(StringComparer.Ordinal), taken);
        Assert.Empty(await PlanAsync(world));
    }

    [Fact]
    public async Task Contacts_of_ours_that_are_one_person_are_planned_as_a_merge_and_a_deleted_one_as_gone()
    {
        await using CrmWorld world = await NewAsync();
        await world.SendAsync("""{"type":"track","event":"Order Completed","anonymousId":"d1","messageId":"o1"}""");
        await world.QuietAsync();
        string made = world.Crm.Living(CrmObject.Contact).Single(contact => world.Field(contact.Id, "email") is null).Id;
        string other = world.Crm.Make(CrmObject.Contact, ("email", "u3@b.c"));
        string gone = world.Crm.Make(CrmObject.Contact, ("email", "y@b.c"));
        await world.QuietAsync();
        await world.SendAsync("""{"type":"identify","userId":"u3","anonymousId":"d1","messageId":"i1"}""");
        world.Crm.Delete(gone);

        IReadOnlyList<PlanLine> plan = await PlanAsync(world);

        Assert.Equal(("merge", other), (plan.Single(line => line.Id == made).Change, plan.Single(line => line.Id == made).Into));
        Assert.Equal("gone", plan.Single(line => line.Id == gone).Change);
        await using CrmConnection connection = world.Connection();
        await connection.ApplyAsync([plan.Single(line => line.Id == made)], TestContext.Current.CancellationToken);
        Assert.Equal(other, world.Crm.Find(made)!.MergedInto);
    }

    private static async Task<CrmWorld> NewAsync(Func<CrmSettings, CrmSettings>? with = null)
    {
        var world = new CrmWorld(with);
        await world.IdentifyAsync("u1", """{"email":"u1@b.c","title":"Dr","city":"Kiel","fan":true}""");
        await world.IdentifyAsync("u2", """{"email":"u2@b.c"}""");
        await world.IdentifyAsync("u3", """{"email":"u3@b.c","city":"Kiel"}""");
        await world.IdentifyAsync("u4", """{"email":"u4@b.c","city":"Kiel"}""");
        await world.TrackAsync("u2", "Order Completed");
        return world;
    }

    private static async Task<IReadOnlyList<PlanLine>> PlanAsync(CrmWorld world)
    {
        await using CrmConnection connection = world.Connection();
        return await PlanAsync(connection);
    }

    private static async Task<List<PlanLine>> PlanAsync(CrmConnection connection)
    {
        List<PlanLine> lines = [];
        await foreach (PlanLine line in connection.PlanAsync(TestContext.Current.CancellationToken))
        {
            lines.Add(PlanLine.Parse(line.ToJson()));
        }

        return lines;
    }

    private static string Text(PlannedField field) => $"{field.Field} to {field.To}: {field.Crm.GetRawText()} {field.Profile.GetRawText()}, {field.Why}{(field.Conflict ? ", conflict" : "")}";
}
