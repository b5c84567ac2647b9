using System.Text;
using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.HubSpot;
using StreamCdp.Connectors.Tests.Crm;
using StreamCdp.HubSpotEmulator;

namespace StreamCdp.Connectors.Tests.HubSpot;

/// <summary>Five objects of HubSpot are one here: calls, mails, meetings, notes, tasks.</summary>
public sealed class HubSpotActivityTests
{
    private const string At = "2026-11-25T10:00:00.000Z";
    private static readonly string[] s_all = ["call", "email", "meeting", "note", "task"];

    [Theory]
    [InlineData("call", """{"hs_call_title":"Demo","hs_call_direction":"OUTBOUND","hs_call_duration":"90500","hs_call_disposition":"f240bbac-87c9-4f6e-bf70-924b57d47db7","hs_call_status":"COMPLETED","hs_call_body":"secret"}""", "Demo", "outbound", "Connected", "COMPLETED", "90.5")]
    [InlineData("email", """{"hs_email_subject":"Re: Demo","hs_email_direction":"INCOMING_EMAIL","hs_email_status":"SENT","hs_email_text":"secret","hs_email_html":"secret"}""", "Re: Demo", "inbound", "", "SENT", "")]
    [InlineData("meeting", """{"hs_meeting_title":"Demo","hs_meeting_outcome":"COMPLETED","hs_meeting_start_time":"2026-11-25T10:00:00Z","hs_meeting_end_time":"2026-11-25T11:30:00Z","hs_meeting_body":"secret"}""", "Demo", "", "COMPLETED", "", "5400")]
    [InlineData("note", """{"hs_note_body":"secret"}""", "", "", "", "", "")]
    [InlineData("task", """{"hs_task_subject":"Call Ann","hs_task_status":"NOT_STARTED","hs_task_body":"secret"}""", "Call Ann", "", "", "NOT_STARTED", "")]
    public async Task Each_type_has_the_same_fields_its_contacts_and_not_its_text(string kind, string properties, string subject, string direction, string outcome, string status, string seconds)
    {
        await using HubSpotWorld world = await ReadingAsync(s_all);
        string ann = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        (string, string)[] values = [.. JsonElement.Parse(Encoding.UTF8.GetBytes(properties)).EnumerateObject().Select(property => (property.Name, property.Value.GetString()!))];
        string id = world.Account.Create(kind + "s", [("hs_timestamp", At), .. values]);
        world.Account.Associate(kind + "s", id, ann);

        CrmRecord changed = Assert.Single(await world.ChangesAsync(CrmObject.Activity, DateTimeOffset.MinValue));
        CrmRecord read = await world.ReadAsync(CrmObject.Activity, changed.Id);

        Assert.Equal($"{kind}-{id}", changed.Id);
        foreach (CrmRecord record in new[] { changed, read })
        {
            Assert.Equal([kind, At, subject, direction, outcome, status, seconds], ((string[])["kind", "at", "subject", "direction", "outcome", "status", "duration_s"]).Select(name => record.Fields[name].ToString()));
            Assert.Equal(7, record.Fields.Count);
            Assert.Equal([ann], record.ContactIds);
            Assert.Equal((world.Time.Now, null), (record.ModifiedAt, record.ExternalId));
        }

        Assert.Equal(read.Fields.Keys.Order(StringComparer.Ordinal), (await world.Crm.DescribeAsync(CrmObject.Activity, HubSpotWorld.Cancelled)).Select(field => field.Name));
    }

    [Fact]
    public async Task Changes_and_ids_go_through_all_types_page_by_page_also_over_a_restart_between_pages()
    {
        await using HubSpotWorld world = await ReadingAsync(s_all, pageRecords: 2);
        List<string> made = [];
        foreach (string kind in s_all)
        {
            made.AddRange(Enumerable.Range(0, 5).Select(_ => $"{kind}-{world.Account.Create(kind + "s", ("hs_timestamp", At))}"));
        }

        List<string> told = [];
        string? page = null;
        do
        {
            await using var fresh = new HubSpotCrm(world.Options, world.Gate, world.Time);
            CrmPage answer = await fresh.ChangesAsync(CrmObject.Activity, DateTimeOffset.MinValue, page, HubSpotWorld.Cancelled);
            told.AddRange(answer.Records.Select(record => record.Id));
            page = answer.Next;
        }
        while (page is not null);

        Assert.Equal(made, told.Distinct());
        Assert.Equal(made, await IdsAsync(world));
        Assert.All(await world.Crm.ReadAsync(CrmObject.Activity, made, HubSpotWorld.Cancelled), record => Assert.False(record.IsDeleted));
    }

    [Fact]
    public async Task A_type_that_is_not_wanted_costs_no_request_and_is_gone()
    {
        await using HubSpotWorld world = await ReadingAsync(["call"]);
        string call = "call-" + world.Account.Create(HubSpotAccount.Calls, ("hs_timestamp", At));
        string mail = "email-" + world.Account.Create(HubSpotAccount.Emails, ("hs_timestamp", At));

        Assert.Equal([call], (await world.ChangesAsync(CrmObject.Activity, DateTimeOffset.MinValue)).Select(record => record.Id));
        Assert.Equal([call], await IdsAsync(world));
        Assert.Equal([(call, false), (mail, true)], (await world.Crm.ReadAsync(CrmObject.Activity, [call, mail], HubSpotWorld.Cancelled)).Select(record => (record.Id, record.IsDeleted)));
        Assert.Equal((0, 0, 0, 0), (world.HubSpot.CountOf("emails"), world.HubSpot.CountOf("meetings"), world.HubSpot.CountOf("notes"), world.HubSpot.CountOf("tasks")));
    }

    [Fact]
    public async Task Where_none_is_wanted_no_question_costs_a_request()
    {
        await using HubSpotWorld world = await ReadingAsync([]);
        string call = "call-" + world.Account.Create(HubSpotAccount.Calls, ("hs_timestamp", At));
        int before = world.Gate.Waits;

        Assert.Empty(await world.ChangesAsync(CrmObject.Activity, DateTimeOffset.MinValue));
        Assert.Empty(await IdsAsync(world));
        Assert.True((await world.ReadAsync(CrmObject.Activity, call)).IsDeleted);
        Assert.Empty(await world.Crm.PrepareAsync(CrmObject.Activity, [], HubSpotWorld.Cancelled));
        Assert.Equal(before, world.Gate.Waits);
    }

    [Fact]
    public async Task A_page_of_a_type_that_was_taken_out_meanwhile_goes_on_with_the_first_one()
    {
        await using HubSpotWorld world = await ReadingAsync(["note"]);
        string note = "note-" + world.Account.Create(HubSpotAccount.Notes, ("hs_timestamp", At));

        CrmPage page = await world.Crm.ChangesAsync(CrmObject.Activity, DateTimeOffset.MinValue, "call/t:99", HubSpotWorld.Cancelled);

        Assert.Equal([note], page.Records.Select(record => record.Id));
        Assert.Null(page.Next);
    }

    [Fact]
    public async Task What_is_deleted_is_gone_and_an_answer_that_tells_nothing_deletes_none()
    {
        await using HubSpotWorld world = await ReadingAsync(s_all);
        string call = world.Account.Create(HubSpotAccount.Calls, ("hs_timestamp", At));
        string task = world.Account.Create(HubSpotAccount.Tasks, ("hs_timestamp", At));
        world.Account.Delete(HubSpotAccount.Calls, call);

        Assert.Equal([true, false, true], (await world.Crm.ReadAsync(CrmObject.Activity, ["call-" + call, "task-" + task, "call-" + task], HubSpotWorld.Cancelled)).Select(record => record.IsDeleted));
        Assert.Equal(["task-" + task], await IdsAsync(world));
        world.HubSpot.Faults.Next(HubSpotFault.NoOp, "GET objects/tasks");
        await Assert.ThrowsAsync<DestinationUnavailableException>(() => IdsAsync(world));
    }

    [Theory]
    [InlineData("call", true)]
    [InlineData("email", false)]
    [InlineData("meeting", false)]
    [InlineData("note", true)]
    [InlineData("task", false)]
    public async Task A_contact_that_an_activity_names_stays_whether_its_type_is_read_or_not(string kind, bool isRead)
    {
        await using HubSpotWorld world = await ReadingAsync(isRead ? [kind] : []);
        string ann = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        string bob = world.Account.Create(HubSpotAccount.Contacts, ("email", "bob@example.com"));
        string id = world.Account.Create(kind + "s", ("hs_timestamp", At));
        world.Account.Associate(kind + "s", id, ann);
        await world.Crm.AddNoteAsync("k1", ann, "note", "", "ours", world.Time.Now, HubSpotWorld.Cancelled);
        await world.Crm.AddNoteAsync("k2", bob, "task", "ours", "", world.Time.Now, HubSpotWorld.Cancelled);

        IReadOnlyDictionary<string, string> refused = await world.Crm.DeleteContactsAsync([ann, bob], HubSpotWorld.Cancelled);

        Assert.Equal((ann, $"{kind} {id} names it."), refused.Select(one => (one.Key, one.Value)).Single());
        Assert.Equal([ann], world.Account.Living(HubSpotAccount.Contacts).Select(contact => contact.IdText));
    }

    [Fact]
    public async Task A_note_of_an_action_has_no_mark_where_the_account_allows_none_unless_notes_are_read()
    {
        await using HubSpotWorld world = await ReadingAsync([]);
        string ann = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        world.HubSpot.Faults.Next(HubSpotFault.MissingScope, "POST properties/notes", times: 2);

        Assert.Equal(Outcome.Taken, await world.Crm.AddNoteAsync("k1", ann, "note", "", "text", world.Time.Now, HubSpotWorld.Cancelled));
        await using var reading = new HubSpotCrm(world.Options with { Activities = ["note"] }, world.Gate, world.Time);
        DestinationMustPauseException exception = await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await reading.AddNoteAsync("k2", ann, "note", "", "text", world.Time.Now, HubSpotWorld.Cancelled));

        Assert.Contains("no right to POST /crm/v3/properties/notes", exception.Message, StringComparison.Ordinal);
        Assert.Single(world.Account.Living(HubSpotAccount.Notes));
    }

    /// <summary>The actions have a connector of their own, which makes the property long after the sync has read the definitions.</summary>
    [Fact]
    public async Task What_an_action_made_is_known_as_such_also_by_who_read_the_definitions_before()
    {
        await using HubSpotWorld world = await ReadingAsync(["note"]);
        string ann = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        Assert.Empty(await world.ChangesAsync(CrmObject.Activity, DateTimeOffset.MinValue));
        await using var actions = new HubSpotCrm(world.Options, world.Gate, world.Time);
        await actions.AddNoteAsync("key", ann, "note", "", "text", world.Time.Now, HubSpotWorld.Cancelled);

        Assert.NotNull(Assert.Single(await world.ChangesAsync(CrmObject.Activity, DateTimeOffset.MinValue)).ExternalId);
        Assert.Empty(await world.Crm.DeleteContactsAsync([ann], HubSpotWorld.Cancelled));
    }

    [Fact]
    public async Task A_right_that_only_deletes_need_stops_no_sync()
    {
        await using HubSpotWorld world = await ReadingAsync([]);
        string ann = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        world.HubSpot.Faults.Next(HubSpotFault.MissingScope, "POST associations/contacts/emails", times: 1);

        IReadOnlyDictionary<string, string> refused = await world.Crm.DeleteContactsAsync([ann], HubSpotWorld.Cancelled);

        Assert.StartsWith("it cannot be known whether emails name it: ", refused[ann], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_what_an_action_made_only_what_somebody_does_with_it_is_told()
    {
        EmulatedHubSpot? hubspot = null;
        HubSpotCrm? actions = null;
        await using var world = new CrmWorld(settings => settings with { Fields = [], CreateFor = new HashSet<string>(), Lists = new HashSet<string>() }, 1, (gate, time) => new HubSpotCrm(Options(hubspot!), gate, time));
        hubspot = await EmulatedHubSpot.StartAsync(new CrmWorld.FollowingTime(world.Time), cancellationToken: HubSpotWorld.Cancelled);
        await using EmulatedHubSpot running = hubspot;
        actions = new HubSpotCrm(Options(hubspot), new CountingGate(), new CrmWorld.FollowingTime(world.Time));
        await using HubSpotCrm disposed = actions;
        string ann = hubspot.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        await world.DrainAsync();

        await actions.AddNoteAsync("key", ann, "task", "Call Ann", "", world.Time.GetUtcNow(), HubSpotWorld.Cancelled);
        string call = hubspot.Account.Create(HubSpotAccount.Calls, ("hs_timestamp", At), ("hs_call_title", "Demo"));
        hubspot.Account.Associate(HubSpotAccount.Calls, call, ann);
        await world.QuietAsync(() => 0);
        Assert.Equal(["Call Logged"], Told(world));

        hubspot.Account.Set(HubSpotAccount.Tasks, Assert.Single(hubspot.Account.Living(HubSpotAccount.Tasks)).IdText, "hs_task_status", "COMPLETED");
        await world.QuietAsync(() => 0);
        Assert.Equal(["Call Logged", "Activity Updated"], Told(world));
        JsonElement crm = (await world.DocumentAsync("hubspot_contact_id", ann)).GetProperty("crm");
        Assert.Equal([("call", "Demo", ""), ("task", "Call Ann", "COMPLETED")], crm.GetProperty("activities").EnumerateArray().Select(one => (one.GetProperty("kind").GetString()!, one.GetProperty("subject").GetString()!, one.GetProperty("status").GetString() ?? "")));

        hubspot.Account.Delete(HubSpotAccount.Calls, call);
        await world.QuietAsync(() => 0);
        Assert.Equal(["Call Logged", "Activity Updated", "Activity Deleted"], Told(world));
    }

    [Fact]
    public async Task A_company_comes_to_the_profiles_of_its_contacts_and_goes_with_who_leaves_it()
    {
        EmulatedHubSpot? hubspot = null;
        await using var world = new CrmWorld(settings => settings with { Fields = [], CreateFor = new HashSet<string>(), Lists = new HashSet<string>() }, 1, (gate, time) => new HubSpotCrm(Options(hubspot!), gate, time));
        hubspot = await EmulatedHubSpot.StartAsync(new CrmWorld.FollowingTime(world.Time), cancellationToken: HubSpotWorld.Cancelled);
        await using EmulatedHubSpot running = hubspot;
        string[] people = [.. ((string[])["ann", "bob"]).Select(name => hubspot.Account.Create(HubSpotAccount.Contacts, ("email", name + "@example.com")))];
        string company = hubspot.Account.Create(HubSpotAccount.Companies, ("name", "Acme"), ("domain", "example.com"));
        foreach (string person in people)
        {
            hubspot.Account.Associate(HubSpotAccount.Companies, company, person);
        }

        await world.QuietAsync(() => 0);
        Assert.Equal(["Acme", "Acme"], await CompaniesAsync());

        hubspot.Account.Set(HubSpotAccount.Companies, company, "name", "Acme Inc");
        hubspot.Account.Dissociate(HubSpotAccount.Companies, company, people[1]);
        await world.QuietAsync(() => 0);
        Assert.Equal(["Acme Inc", ""], await CompaniesAsync());

        async Task<string[]> CompaniesAsync()
        {
            List<string> names = [];
            foreach (string person in people)
            {
                JsonElement crm = (await world.DocumentAsync("hubspot_contact_id", person)).GetProperty("crm");
                names.Add(crm.TryGetProperty("companies", out JsonElement companies) ? string.Join(',', companies.EnumerateArray().Select(one => one.GetProperty("name").GetString())) : "");
            }

            return [.. names];
        }
    }

    [Fact]
    public async Task Webhooks_of_activities_are_hints()
    {
        await using HubSpotWorld world = await ReadingAsync(s_all);
        string ann = world.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"));
        string call = world.Account.Create(HubSpotAccount.Calls, ("hs_timestamp", At));
        world.Account.Associate(HubSpotAccount.Calls, call, ann);
        string note = world.Account.Create(HubSpotAccount.Notes, ("hs_timestamp", At));
        world.Account.Delete(HubSpotAccount.Notes, note);

        IEnumerable<CrmHint> hints = world.HubSpot.TakeWebhooks(new Uri("https://cdp.example/hook")).SelectMany(request => HubSpotWebhook.Read(Encoding.UTF8.GetBytes(request.Body)));

        Assert.Equal([new CrmHint(CrmObject.Contact, ann), new CrmHint(CrmObject.Activity, "call-" + call), new CrmHint(CrmObject.Activity, "note-" + note)], hints);
    }

    [Fact]
    public void A_type_that_HubSpot_has_not_is_refused() =>
        Assert.Equal("Activities has fax; allowed are call, email, meeting, note, task", Assert.Single(new HubSpotOptions { AccessToken = "pat", Activities = ["call", "fax"] }.Errors()));

    private static Task<HubSpotWorld> ReadingAsync(string[] kinds, int pageRecords = 200) => HubSpotWorld.StartAsync(options => options with { Activities = kinds, PageRecords = pageRecords });

    private static HubSpotOptions Options(EmulatedHubSpot hubspot) => new() { BaseUrl = hubspot.Url, AccessToken = EmulatedHubSpot.PrivateAppToken, SearchLag = TimeSpan.Zero, Activities = s_all };

    private static async Task<List<string>> IdsAsync(HubSpotWorld world)
    {
        List<string> ids = [];
        string? next = null;
        do
        {
            (IReadOnlyList<string> page, next) = await world.Crm.IdsAsync(CrmObject.Activity, next, HubSpotWorld.Cancelled);
            ids.AddRange(page);
        }
        while (next is not null);

        return ids;
    }

    /// <summary>Names of the events about activities, in the order in which they were written.</summary>
    private static string[] Told(CrmWorld world) =>
        [.. world.EventPayloads("crm").Select(payload => JsonElement.Parse(Encoding.UTF8.GetBytes(payload))).Where(e => e.TryGetProperty("event", out _) && e.GetProperty("context").GetProperty("crm").GetProperty("object").ValueEquals("activity")).Select(e => e.GetProperty("event").GetString()!)];
}
