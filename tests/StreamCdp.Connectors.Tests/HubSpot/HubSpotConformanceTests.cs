using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.HubSpot;
using StreamCdp.Connectors.Tests.Kit;
using StreamCdp.HubSpotEmulator;

namespace StreamCdp.Connectors.Tests.HubSpot;

public sealed class HubSpotConformanceTests : CrmConformance, IAsyncLifetime
{
    private readonly SetTime _time = new();
    private EmulatedHubSpot _hubspot = null!;

    protected override CrmFacts Facts { get; } = new()
    {
        TextField = "firstname",
        OtherField = "jobtitle",
        Refused = ("email", "no address"),
        Typed = new Dictionary<string, JsonElement>
        {
            ["num_employees_of_mine"] = JsonElement.Parse("12.5"),
            ["is_vip"] = JsonElement.Parse("true"),
            ["date_of_birth_day"] = JsonElement.Parse("\"1990-02-28\""),
            ["last_order_at"] = JsonElement.Parse("\"2026-11-25T10:11:12.345Z\""),
            ["interests"] = JsonElement.Parse("""["music","travel"]"""),
        },
        UnknownId = "987654321",
        PageRecords = 3,
        HasRevisions = true, // Compared by the connector, a moment before it writes: HubSpot itself has none.
        TellsOfDeleted = true,
        HasSeveralEmails = true,
        CanMerge = true,
        HasDeals = true,
        HasActivities = true,
        DealToMake = new Dictionary<string, JsonElement> { ["name"] = JsonElement.Parse("\"Engine\""), ["stage"] = JsonElement.Parse("\"Closed won\""), ["pipeline"] = JsonElement.Parse("\"Sales Pipeline\""), ["amount"] = JsonElement.Parse("12.5"), ["currency"] = JsonElement.Parse("\"EUR\"") },
        RetryAfter = TimeSpan.FromSeconds(10),
    };

    public async ValueTask InitializeAsync() => _hubspot = await EmulatedHubSpot.StartAsync(_time, cancellationToken: Cancelled);

    public ValueTask DisposeAsync() => _hubspot.DisposeAsync();

    protected override ValueTask<ICrm> ConnectAsync(IRequestGate gate, TimeSpan timeout, bool isAllowed) => new(new HubSpotCrm(
        new HubSpotOptions { BaseUrl = _hubspot.Url, AccessToken = isAllowed ? EmulatedHubSpot.PrivateAppToken : "pat-of-nobody", SearchLag = TimeSpan.Zero, PageRecords = 3, ListsArchived = true, Timeout = timeout, Activities = ["call", "email", "meeting", "note", "task"] },
        gate,
        _time));

    protected override ValueTask BehaveAsync(CrmAnswering answering)
    {
        _hubspot.Faults.Randomly(1, 0);
        switch (answering)
        {
            case CrmAnswering.IsAway:
                _hubspot.Faults.Randomly(1, 1, HubSpotFault.Unavailable);
                break;
            case CrmAnswering.IsLimited:
                _hubspot.Faults.Randomly(1, 1, HubSpotFault.TenSecondlyLimit);
                break;
            case CrmAnswering.Hangs:
                _hubspot.Faults.Randomly(1, 1, HubSpotFault.NoAnswer);
                break;
            case CrmAnswering.LosesAnswers:
                _hubspot.Faults.Next(HubSpotFault.LostAnswer, "/batch/upsert");
                break;
        }

        return ValueTask.CompletedTask;
    }

    protected override void Advance(TimeSpan by) => _time.Advance(by);

    protected override ValueTask<IReadOnlyList<string>> MakeAsync(IReadOnlyList<(string Text, string? Email)> contacts) =>
        new([.. contacts.Select(contact => _hubspot.Account.Create(HubSpotAccount.Contacts, [("firstname", contact.Text), .. contact.Email is null ? ((string, string)[])[] : [("email", contact.Email)]]))]);

    protected override ValueTask EditAsync(string id, string field, string value)
    {
        _hubspot.Account.Set(HubSpotAccount.Contacts, id, field, value);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask AddEmailAsync(string id, string email)
    {
        _hubspot.Account.AddEmail(id, email);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask DeleteAsync(string id)
    {
        _hubspot.Account.Delete(HubSpotAccount.Contacts, id);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask<string?> MergeAsync(string from, string into) => new(_hubspot.Account.Merge(HubSpotAccount.Contacts, into, from, mintsNewId: true));

    protected override ValueTask<string> MakeDealAsync(string contact)
    {
        string id = _hubspot.Account.Create(HubSpotAccount.Deals, ("dealname", "Engine"), ("dealstage", "appointmentscheduled"), ("pipeline", "default"), ("amount", "12500.50"));
        _hubspot.Account.Associate(HubSpotAccount.Deals, id, contact);
        return new(id);
    }

    protected override ValueTask<string> MakeActivityAsync(string contact)
    {
        string id = _hubspot.Account.Create(HubSpotAccount.Meetings, ("hs_timestamp", "2026-11-25T10:00:00Z"), ("hs_meeting_title", "Demo"));
        _hubspot.Account.Associate(HubSpotAccount.Meetings, id, contact);
        return new("meeting-" + id);
    }

    protected override ValueTask<IReadOnlyCollection<string>> ListAsync(string list) => new(_hubspot.Account.Members(list) ?? []);
}
