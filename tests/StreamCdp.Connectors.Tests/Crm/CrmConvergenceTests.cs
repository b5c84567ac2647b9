using System.Globalization;
using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Tests.Crm;

/// <summary>Random edits on both sides at once, merges on both sides, outages, lost answers, late commits, and a process that starts anew all the time: in the end both sides hold the same, and nobody lost what he typed.</summary>
/// <remarks><c>STREAMCDP_CRM_SEED</c> repeats one seed, <c>STREAMCDP_CRM_SEEDS</c> says how many are tried.</remarks>
public sealed class CrmConvergenceTests
{
    private const int Rounds = 60;
    private static readonly string[] s_users = ["u1", "u2", "u3", "u4", "u5"];
    private static readonly string[] s_fields = ["name", "title", "city", "note", "tier"];

    public static TheoryData<int> Seeds()
    {
        if (int.TryParse(Environment.GetEnvironmentVariable("STREAMCDP_CRM_SEED"), CultureInfo.InvariantCulture, out int one))
        {
            return [one];
        }

        int count = int.TryParse(Environment.GetEnvironmentVariable("STREAMCDP_CRM_SEEDS"), CultureInfo.InvariantCulture, out int wanted) ? wanted : 20;
        return [.. Enumerable.Range(1, count)];
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Both_sides_come_to_hold_the_same(int seed)
    {
        await using var world = new CrmWorld(seed: seed);
        var random = new Random(seed * 7919);
        world.Crm.Faults = random.Next(3) * 60;
        var typed = new Dictionary<(string Id, string Field), string?>();
        for (int round = 0; round < Rounds; round++)
        {
            await ChangeAsync(world, random, typed, round);
            if (random.Next(3) == 0)
            {
                await world.PassAsync(TimeSpan.FromSeconds(random.Next(40)));
                await world.DrainAsync();
            }
        }

        await world.QuietAsync();
        foreach (CrmRecord contact in world.Crm.Living(CrmObject.Contact))
        {
            ProfileView view = (await world.FindAsync("crm_contact_id", contact.Id))!;
            Assert.True(view is not null, $"seed {seed}: contact {contact.Id} belongs to nobody");
            foreach (FieldRule rule in world.Settings.Fields)
            {
                string? theirs = world.Field(contact.Id, rule.Field);
                string? ours = rule.Value is null ? CanonicalValue.Of(JsonSerializer.SerializeToElement(string.Join(", ", view.Segments.Order(StringComparer.Ordinal)))) : CanonicalValue.Of(view.Value(rule.Value));
                bool isElsewhere = rule.Field == "email" && theirs is not null && await world.FindAsync("email", theirs.Trim('"')) is { } holder && holder.Id != view.Id; // A limit keeps the two persons apart.
                Assert.True(isElsewhere || IsExplained(rule, ours, theirs), $"seed {seed}: contact {contact.Id}, {rule.Field}: profile {ours}, CRM {theirs}");
            }

            Assert.True(view.Segments.Contains("fans") == (world.Crm.Lists.GetValueOrDefault("fans")?.Contains(contact.Id) == true), $"seed {seed}: contact {contact.Id} is on the list fans, or not, other than its person");
        }

        await AssertActivitiesAsync(world, seed);
        foreach (string user in s_users)
        {
            ProfileView? view = await world.FindAsync("user_id", user);
            string[] own = [.. view?.Identifiers.Where(identifier => identifier.Type == "crm_contact_id").Select(identifier => identifier.Value).Where(id => world.Crm.Find(id)?.IsDeleted == false) ?? []];
            Assert.True(own.Count(id => world.Crm.Find(id)!.ExternalId is not null) <= 1, $"seed {seed}: {user} has contacts {string.Join(", ", own)}, made more than once");
        }

        // crm_wins: what a person typed may only be replaced by what came to the profile after it had taken the person's value.
        string[] events = [.. world.EventPayloads("crm").Where(payload => payload.Contains("\"traits\"", StringComparison.Ordinal))];
        foreach ((string id, string field, string? was, string? now) in world.Crm.Overwritten.Where(one => one.Field == "name" && one.Was!.StartsWith("\"c", StringComparison.Ordinal)))
        {
            Assert.True(events.Any(payload => payload.Contains($"\"name\":{was}", StringComparison.Ordinal)), $"seed {seed}: contact {id}, {field}: {now} was written over {was}, which no profile ever had");
        }
    }

    /// <summary>As above, and people give their consent and take it back, sales people make deals, and contacts of people without consent are deleted, a few a day.</summary>
    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Contacts_of_people_without_consent_go_and_nobody_else_s(int seed)
    {
        var random = new Random(seed * 104729);
        int most = random.Next(1, 5);
        await using var world = new CrmWorld(settings => settings with { DeletesAtMost = most }, seed) { Consent = new ConsentDefinition("sales", CrmWorld.Value("traits.ok")) };
        world.Crm.Faults = random.Next(3) * 60;
        var typed = new Dictionary<(string Id, string Field), string?>();
        var ofPeople = new HashSet<string>(StringComparer.Ordinal); // Made or merged by a person in the CRM.
        var goneByPeople = new HashSet<string>(StringComparer.Ordinal);
        for (int round = 0; round < Rounds; round++)
        {
            HashSet<string> before = [.. world.Crm.All.Where(record => !record.IsDeleted).Select(record => record.Id)];
            await (random.Next(3) == 0 ? ConsentAsync(world, random, round) : ChangeAsync(world, random, typed, round));
            ofPeople.UnionWith(world.Crm.Living(CrmObject.Contact).Select(contact => contact.Id).Where(id => !before.Contains(id)));
            ofPeople.UnionWith(world.Crm.All.Where(record => record.MergedInto is not null && before.Contains(record.Id)).Select(record => record.MergedInto!));
            goneByPeople.UnionWith(before.Where(id => world.Crm.Find(id)!.IsDeleted));
            if (random.Next(3) == 0)
            {
                await world.PassAsync(random.Next(8) == 0 ? TimeSpan.FromDays(1) : TimeSpan.FromSeconds(random.Next(40)));
                await world.DrainAsync();
            }
        }

        await world.QuietAsync();
        for (int day = 0; day < 30 / most; day++)
        {
            await world.PassAsync(TimeSpan.FromDays(1));
            await world.DrainAsync();
        }

        Assert.All(world.Crm.Deleted.GroupBy(one => one.At.Date), ofDay => Assert.True(ofDay.Select(one => one.Id).Distinct().Count() <= most, $"seed {seed}: {ofDay.Count()} contacts were deleted on one day, {most} are allowed"));
        Assert.True(!world.Crm.Deleted.Any(one => ofPeople.Contains(one.Id)), $"seed {seed}: contacts {string.Join(", ", world.Crm.Deleted.Select(one => one.Id).Where(ofPeople.Contains))} were made or merged by a person, and deleted");
        for (int i = -1; i < ofPeople.Count;)
        {
            i = ofPeople.Count; // What became part of such a one, or took it over, is no longer StreamCdp's alone.
            ofPeople.UnionWith(world.Crm.All.Where(record => record.MergedInto is not null && ofPeople.Contains(record.Id)).Select(record => record.MergedInto!).ToList());
        }

        HashSet<string> named = [.. world.Crm.Others.Where(other => other.ExternalId is null).SelectMany(other => other.ContactIds)];
        foreach (CrmRecord contact in world.Crm.Living(CrmObject.Contact))
        {
            ProfileView view = (await world.FindAsync("crm_contact_id", contact.Id))!;
            bool mayStay = CrmWorld.Trait(view, "ok") == "true" || ofPeople.Contains(contact.Id) || contact.ExternalId is null || named.Contains(contact.Id);
            Assert.True(mayStay, $"seed {seed}: contact {contact.Id} of a person without consent is still there");
            Assert.True(CrmWorld.Trait(view, "ok") == "true" || world.Crm.Lists.GetValueOrDefault("fans")?.Contains(contact.Id) != true, $"seed {seed}: contact {contact.Id} of a person without consent is on a list");
        }

        foreach (string user in s_users)
        {
            if (await world.FindAsync("user_id", user) is { } view && CrmWorld.Trait(view, "ok") == "true" && view.Segments.Contains("buyers"))
            {
                string[] own = [.. view.Identifiers.Where(identifier => identifier.Type == "crm_contact_id").Select(identifier => identifier.Value)];
                Assert.True(own.Any(id => world.Crm.Find(id) is { IsDeleted: false }) || own.Any(goneByPeople.Contains), $"seed {seed}: {user} consents and bought, and has no contact; had {string.Join(", ", own)}");
            }
        }
    }

    private static async Task ConsentAsync(CrmWorld world, Random random, int round)
    {
        CrmRecord[] contacts = [.. world.Crm.Living(CrmObject.Contact)];
        CrmRecord[] deals = [.. world.Crm.Living(CrmObject.Deal)];
        switch (random.Next(6))
        {
            case 0 when contacts.Length > 0:
                world.Crm.MakeDeal("new", round, contacts[random.Next(contacts.Length)].Id);
                break;
            case 1 when deals.Length > 0:
                world.Crm.Delete(deals[random.Next(deals.Length)].Id);
                break;
            case 2 when deals.Length > 0 && contacts.Length > 0:
                world.Crm.Assign(deals[random.Next(deals.Length)].Id, contacts[random.Next(contacts.Length)].Id);
                break;
            case 3:
                await world.TrackAsync(s_users[random.Next(s_users.Length)], "Order Completed");
                break;
            default:
                await world.IdentifyAsync(s_users[random.Next(s_users.Length)], $$"""{"ok":{{(random.Next(2) == 0 ? "true" : "false")}}}""");
                break;
        }
    }

    private static void ChangeActivity(CrmWorld world, Random random, string activity, string contact, int round)
    {
        switch (random.Next(3))
        {
            case 0:
                world.Crm.Delete(activity);
                break;
            case 1:
                world.Crm.Assign(activity, contact);
                break;
            default:
                world.Crm.Edit(activity, "subject", $"c{round}", random.Next(4) == 0 ? TimeSpan.FromMinutes(random.Next(50)) : default);
                break;
        }
    }

    /// <summary>Profiles have the activities of their contacts, as they are now, and no others; of those that an action made, only what somebody changed since.</summary>
    private static async Task AssertActivitiesAsync(CrmWorld world, int seed)
    {
        foreach (CrmRecord contact in world.Crm.Living(CrmObject.Contact))
        {
            JsonElement document = await world.DocumentAsync("crm_contact_id", contact.Id);
            string[] own = [.. document.GetProperty("identifiers").EnumerateArray().Where(one => one.GetProperty("type").ValueEquals("crm_contact_id")).Select(one => one.GetProperty("value").GetString()!)];
            Dictionary<string, string?> has = document.GetProperty("crm").TryGetProperty("activities", out JsonElement activities) ? activities.EnumerateArray().ToDictionary(one => one.GetProperty("id").GetString()!, one => one.GetProperty("subject").GetString()) : [];
            foreach (CrmRecord activity in world.Crm.Living(CrmObject.Activity).Where(one => one.ContactIds.Any(own.Contains) && !(one.ExternalId is not null && !has.ContainsKey(one.Id))))
            {
                Assert.True(has.Remove(activity.Id, out string? subject), $"seed {seed}: activity {activity.Id} of contact {contact.Id} did not come to its profile");
                Assert.Equal(activity.Fields["subject"].GetString(), subject);
            }

            Assert.True(has.Count == 0, $"seed {seed}: the profile of contact {contact.Id} has the activities {string.Join(", ", has.Keys)}, which the CRM has not, or of others");
        }

        foreach (CrmRecord ours in world.Crm.All.Where(record => record is { Kind: CrmObject.Activity, ExternalId: not null }))
        {
            Assert.DoesNotContain(world.EventPayloads("crm"), payload => payload.Contains($"crm:crm:activity:{ours.Id}:", StringComparison.Ordinal) && payload.Contains(" Logged\"", StringComparison.Ordinal));
        }
    }

    /// <summary>Equal, or left different by what its policy says.</summary>
    private static bool IsExplained(FieldRule rule, string? ours, string? theirs) => rule.Field switch
    {
        "email" => theirs is null ? ours is null : ours?.Contains(theirs, StringComparison.Ordinal) == true,
        "note" => ours == theirs || (ours is not null && theirs is not null), // fill_empty
        "tier" => ours == theirs || ours is not null, // The trait takes the first value only.
        "orders" => ours == theirs,
        _ => ours == theirs,
    };

    private static async Task ChangeAsync(CrmWorld world, Random random, Dictionary<(string, string), string?> typed, int round)
    {
        string user = s_users[random.Next(s_users.Length)];
        CrmRecord[] contacts = [.. world.Crm.Living(CrmObject.Contact)];
        CrmRecord? contact = contacts.Length == 0 ? null : contacts[random.Next(contacts.Length)];
        string field = s_fields[random.Next(s_fields.Length)];
        CrmRecord[] activities = [.. world.Crm.Living(CrmObject.Activity)];
        switch (random.Next(14))
        {
            case 0 or 1:
                await world.IdentifyAsync(user, $$"""{"{{field}}":"w{{round}}"}""");
                break;
            case 2:
                await world.IdentifyAsync(user, $$"""{"email":"{{user}}@b.c","{{field}}":"w{{round}}"}""");
                break;
            case 3:
                await world.TrackAsync(user, "Order Completed");
                break;
            case 4:
                await world.IdentifyAsync(user, $$"""{"{{field}}":null,"fan":{{(random.Next(2) == 0 ? "true" : "false")}}}""");
                break;
            case 5:
                await world.SendAsync($$"""{"type":"identify","userId":"{{user}}","anonymousId":"d{{random.Next(5)}}","messageId":"i{{round}}"}""");
                break;
            case 6:
                await world.SendAsync($$"""{"type":"track","event":"Order Completed","anonymousId":"d{{random.Next(5)}}","messageId":"t{{round}}"}""");
                break;
            case 7:
                world.Crm.Make(CrmObject.Contact, ("email", $"{user}@b.c"), (field, $"c{round}"));
                break;
            case 8 or 9 when contact is not null:
                world.Crm.Edit(contact.Id, field, random.Next(5) == 0 ? null : $"c{round}", random.Next(4) == 0 ? TimeSpan.FromMinutes(random.Next(50)) : default);
                typed[(contact.Id, field)] = $"\"c{round}\"";
                break;
            case 10 when contacts.Length > 1:
                CrmRecord other = contacts.First(one => one != contact);
                world.Crm.Merge(contact!.Id, other.Id, mints: random.Next(2) == 0);
                break;
            case 11 when contact is not null && random.Next(3) == 0:
                world.Crm.Delete(contact.Id);
                break;
            case 12 when contact is not null:
                world.Crm.MakeActivity(random.Next(2) == 0 ? "call" : "note", random.Next(4) == 0 ? $"action {round}" : null, contact.Id);
                break;
            case 13 when activities.Length > 0 && contact is not null:
                ChangeActivity(world, random, activities[random.Next(activities.Length)].Id, contact.Id, round);
                break;
        }
    }
}
