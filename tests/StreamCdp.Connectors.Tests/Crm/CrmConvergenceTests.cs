using System.Globalization;
using StreamCdp.Connectors.Crm;

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
                string? ours = rule.Value is null ? CanonicalValue.Of(System.Text.Json.JsonSerializer.SerializeToElement(string.Join(", ", view.Segments.Order(StringComparer.Ordinal)))) : CanonicalValue.Of(view.Value(rule.Value));
                bool isElsewhere = rule.Field == "email" && theirs is not null && await world.FindAsync("email", theirs.Trim('"')) is { } holder && holder.Id != view.Id; // A limit keeps the two persons apart.
                Assert.True(isElsewhere || IsExplained(rule, ours, theirs), $"seed {seed}: contact {contact.Id}, {rule.Field}: profile {ours}, CRM {theirs}");
            }

            Assert.True(view.Segments.Contains("fans") == (world.Crm.Lists.GetValueOrDefault("fans")?.Contains(contact.Id) == true), $"seed {seed}: contact {contact.Id} is on the list fans, or not, other than its person");
        }

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
        switch (random.Next(12))
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
        }
    }
}
