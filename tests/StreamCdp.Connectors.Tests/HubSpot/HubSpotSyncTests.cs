using System.Globalization;
using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.HubSpot;
using StreamCdp.Connectors.Tests.Crm;
using StreamCdp.Engine.Model;
using StreamCdp.HubSpotEmulator;

namespace StreamCdp.Connectors.Tests.HubSpot;

/// <summary>The two-way sync of the real engine with the emulated HubSpot, which fails in all the ways that HubSpot does.</summary>
/// <remarks><c>STREAMCDP_CRM_SEEDS</c> says how many seeds are tried, <c>STREAMCDP_CRM_SEED</c> repeats one.</remarks>
public sealed class HubSpotSyncTests
{
    private const int Rounds = 60;
    private static readonly string[] s_users = ["u1", "u2", "u3", "u4"];
    private static readonly (string Field, string Trait)[] s_fields = [("firstname", "name"), ("jobtitle", "title"), ("city", "city")];
    private static readonly HubSpotFault[] s_faults = [.. Enum.GetValues<HubSpotFault>().Where(fault => fault is not (HubSpotFault.None or HubSpotFault.NoAnswer) && !fault.ToString().Contains("Slow", StringComparison.Ordinal))];

    public static TheoryData<int> Seeds()
    {
        if (int.TryParse(Environment.GetEnvironmentVariable("STREAMCDP_CRM_SEED"), CultureInfo.InvariantCulture, out int one))
        {
            return [one];
        }

        int count = int.TryParse(Environment.GetEnvironmentVariable("STREAMCDP_CRM_SEEDS"), CultureInfo.InvariantCulture, out int wanted) ? wanted : 8;
        return [.. Enumerable.Range(1, count)];
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Both_sides_come_to_hold_the_same(int seed)
    {
        EmulatedHubSpot? hubspot = null;
        await using var world = new CrmWorld(With, seed, (gate, time) => new HubSpotCrm(Options(hubspot!), gate, time));
        hubspot = await EmulatedHubSpot.StartAsync(new CrmWorld.FollowingTime(world.Time), seed, cancellationToken: TestContext.Current.CancellationToken);
        await using EmulatedHubSpot running = hubspot;
        HubSpotAccount account = hubspot.Account;
        account.SearchLag = (TimeSpan.Zero, TimeSpan.FromSeconds(20));
        await world.DrainAsync(); // Makes the properties.
        hubspot.Faults.Randomly(seed, (seed % 3) * 0.05, s_faults);
        var random = new Random(seed * 7919);
        List<string> contacts = [];
        for (int round = 0; round < Rounds; round++)
        {
            contacts = [.. account.Living(HubSpotAccount.Contacts).Select(contact => contact.IdText)];
            await ChangeAsync(world, account, random, contacts, round);
            if (random.Next(3) == 0)
            {
                await world.PassAsync(TimeSpan.FromSeconds(random.Next(40)));
                await world.DrainAsync();
            }
        }

        hubspot.Faults.Randomly(seed, 0);
        await world.QuietAsync(() => hubspot.CountOf("/batch/update") + hubspot.CountOf("/batch/upsert") + hubspot.CountOf("/batch/create"));
        foreach (HubSpotRecord contact in account.Living(HubSpotAccount.Contacts))
        {
            ProfileView? view = await world.FindAsync("hubspot_contact_id", contact.IdText);
            Assert.True(view is not null, $"seed {seed}: contact {contact.IdText} belongs to nobody");
            foreach ((string field, string trait) in s_fields)
            {
                Assert.True(CanonicalValue.Of(JsonSerializer.SerializeToElement(contact[field])) == CrmWorld.Trait(view!, trait), $"seed {seed}: contact {contact.IdText}, {field}: profile {CrmWorld.Trait(view!, trait)}, HubSpot {contact[field]}");
            }

            Assert.Equal(string.Join(", ", view!.Segments.Order(StringComparer.Ordinal)), contact["streamcdp_segments"] ?? "");
        }

        await AssertActivitiesAsync(world, account, seed);
        foreach (string user in s_users)
        {
            ProfileView? view = await world.FindAsync("user_id", user);
            string[] own = [.. view?.Identifiers.Where(identifier => identifier.Type == "hubspot_contact_id" && account.Find(HubSpotAccount.Contacts, identifier.Value) is { ArchivedAt: null } one && one["streamcdp_id"] is { Length: > 0 }).Select(identifier => identifier.Value) ?? []];
            Assert.True(own.Length <= 1, $"seed {seed}: {user} has contacts {string.Join(", ", own)}, made more than once");
        }
    }

    private static async Task AssertActivitiesAsync(CrmWorld world, HubSpotAccount account, int seed)
    {
        foreach (HubSpotRecord contact in account.Living(HubSpotAccount.Contacts))
        {
            JsonElement document = await world.DocumentAsync("hubspot_contact_id", contact.IdText);
            string[] own = [.. document.GetProperty("identifiers").EnumerateArray().Where(one => one.GetProperty("type").ValueEquals("hubspot_contact_id")).Select(one => one.GetProperty("value").GetString()!)];
            string[] has = document.GetProperty("crm").TryGetProperty("activities", out JsonElement activities) ? [.. activities.EnumerateArray().Select(one => $"{one.GetProperty("id")} {one.GetProperty("subject")}")] : [];
            string[] expected =
            [
                .. account.Living(HubSpotAccount.Calls).Where(call => own.Any(id => account.IsAssociated(HubSpotAccount.Calls, call.IdText, id))).Select(call => $"call-{call.IdText} {call["hs_call_title"]}"),
                .. account.Living(HubSpotAccount.Notes).Where(note => own.Any(id => account.IsAssociated(HubSpotAccount.Notes, note.IdText, id))).Select(note => $"note-{note.IdText} "),
            ];
            Assert.True(expected.Order(StringComparer.Ordinal).SequenceEqual(has.Order(StringComparer.Ordinal)), $"seed {seed}: contact {contact.IdText} has in HubSpot {string.Join(", ", expected)}, its profile {string.Join(", ", has)}");
        }
    }

    private static CrmSettings With(CrmSettings settings) => settings with
    {
        Kind = "hubspot",
        Fields =
        [
            new FieldRule("firstname", CrmWorld.Value("traits.name"), SyncDirection.Both, SyncPolicy.CrmWins),
            new FieldRule("jobtitle", CrmWorld.Value("traits.title"), SyncDirection.Both, SyncPolicy.StreamCdpWins),
            new FieldRule("city", CrmWorld.Value("traits.city"), SyncDirection.Both, SyncPolicy.Newest),
            new FieldRule("email", CrmWorld.Value("identifiers.email"), SyncDirection.Both, SyncPolicy.FillEmpty),
            new FieldRule("streamcdp_orders", CrmWorld.Value("computed.orders"), SyncDirection.Out, SyncPolicy.StreamCdpWins, CrmFieldType.Number),
            new FieldRule("streamcdp_segments", null, SyncDirection.Out, SyncPolicy.StreamCdpWins),
        ],
    };

    private static HubSpotOptions Options(EmulatedHubSpot hubspot) => new()
    {
        BaseUrl = hubspot.Url,
        AccessToken = EmulatedHubSpot.PrivateAppToken,
        SearchLag = TimeSpan.Zero,
        Timeout = TimeSpan.FromSeconds(5),
        Activities = ["call", "note"],
        Properties = new Dictionary<CrmObject, IReadOnlyList<string>> { [CrmObject.Contact] = [.. s_fields.Select(field => field.Field), "email", "streamcdp_orders", "streamcdp_segments"], [CrmObject.Company] = [], [CrmObject.Deal] = [] },
    };

    private static async Task ChangeAsync(CrmWorld world, HubSpotAccount account, Random random, List<string> contacts, int round)
    {
        string user = s_users[random.Next(s_users.Length)];
        (string field, string trait) = s_fields[random.Next(s_fields.Length)];
        string? contact = contacts.Count == 0 ? null : contacts[random.Next(contacts.Count)];
        switch (random.Next(13))
        {
            case 10 or 11 when contact is not null:
                (string kind, string property) = random.Next(2) == 0 ? (HubSpotAccount.Calls, "hs_call_title") : (HubSpotAccount.Notes, "hs_note_body");
                string activity = account.Create(kind, ("hs_timestamp", "2026-11-25T10:00:00Z"), (property, $"c{round}"));
                account.Associate(kind, activity, contact);
                break;
            case 12 when account.Living(HubSpotAccount.Calls) is { Count: > 0 } calls:
                string call = calls[random.Next(calls.Count)].IdText;
                if (random.Next(3) == 0)
                {
                    account.Delete(HubSpotAccount.Calls, call);
                }
                else
                {
                    account.Set(HubSpotAccount.Calls, call, "hs_call_title", $"c{round}", visibleAfter: random.Next(3) == 0 ? TimeSpan.FromMinutes(random.Next(30)) : null);
                }

                break;
            case 0 or 1:
                await world.IdentifyAsync(user, $$"""{"email":"{{user}}@b.co","{{trait}}":"w{{round}}"}""");
                break;
            case 2:
                await world.TrackAsync(user, "Order Completed");
                break;
            case 3:
                await world.IdentifyAsync(user, $$"""{"{{trait}}":null}""");
                break;
            case 4:
                await world.SendAsync($$"""{"type":"track","event":"Order Completed","anonymousId":"d{{random.Next(4)}}","messageId":"t{{round}}"}""");
                break;
            case 5:
                await world.SendAsync($$"""{"type":"identify","userId":"{{user}}","anonymousId":"d{{random.Next(4)}}","messageId":"i{{round}}"}""");
                break;
            case 6 or 7 or 8 when contact is not null:
                account.Set(HubSpotAccount.Contacts, contact, field, random.Next(5) == 0 ? "" : $"c{round}", visibleAfter: random.Next(3) == 0 ? TimeSpan.FromMinutes(random.Next(30)) : null);
                break;
            case 9 when contacts.Count > 1 && random.Next(2) == 0:
                account.Merge(HubSpotAccount.Contacts, contact!, contacts.First(one => one != contact), mintsNewId: random.Next(2) == 0);
                break;
            case 9 when contact is not null && random.Next(3) == 0:
                account.Delete(HubSpotAccount.Contacts, contact);
                break;
        }
    }
}
