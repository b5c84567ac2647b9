using System.Text.Json;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>What the CRM does in a conformance test.</summary>
public enum CrmAnswering
{
    /// <summary>Answers everything.</summary>
    Answers,

    /// <summary>Cannot be used now: 503, a closed port, whatever the system has.</summary>
    IsAway,

    /// <summary>Says that there were too many requests, and asks for <see cref="CrmFacts.RetryAfter"/>.</summary>
    IsLimited,

    /// <summary>Takes requests and never answers.</summary>
    Hangs,

    /// <summary>Does what it is asked, and the answer does not arrive.</summary>
    LosesAnswers,
}

/// <summary>What a CRM is like and can do. What it cannot is declared here, and the suite proves that the connector says so as well.</summary>
public sealed record CrmFacts
{
    /// <summary>A field of contacts that takes any text and can be emptied.</summary>
    public required string TextField { get; init; }

    /// <summary>Another one.</summary>
    public required string OtherField { get; init; }

    /// <summary>The field of a contact's main e-mail address.</summary>
    public string EmailField { get; init; } = "email";

    /// <summary>A value that the CRM refuses, and the field.</summary>
    public required (string Field, string Value) Refused { get; init; }

    /// <summary>Values of fields that are no text, by field: each is written and read back.</summary>
    public required IReadOnlyDictionary<string, JsonElement> Typed { get; init; }

    /// <summary>An id that looks like one of the CRM's and is none.</summary>
    public required string UnknownId { get; init; }

    /// <summary>Records of a page at most, of the connectors that the suite is given. The suite makes more than two pages, so small is fast.</summary>
    public required int PageRecords { get; init; }

    /// <summary>Records have revisions, and a write from an old one changes nothing.</summary>
    public required bool HasRevisions { get; init; }

    /// <summary>Changes tell of deleted records. Where they do not, only reading everything does.</summary>
    public required bool TellsOfDeleted { get; init; }

    /// <summary>A contact can have several e-mail addresses.</summary>
    public required bool HasSeveralEmails { get; init; }

    /// <summary>The connector can merge contacts.</summary>
    public required bool CanMerge { get; init; }

    /// <summary>There are deals.</summary>
    public required bool HasDeals { get; init; }

    /// <summary>There are activities: calls, mails, meetings, notes, tasks.</summary>
    public bool HasActivities { get; init; }

    /// <summary>Fields of a deal that can be made; null: the connector only reads deals.</summary>
    public IReadOnlyDictionary<string, JsonElement>? DealToMake { get; init; }

    /// <summary>What it asks for when it limits; null: it asks for nothing.</summary>
    public required TimeSpan? RetryAfter { get; init; }
}

/// <summary>What every CRM's connector must do: each sentence of <see cref="ICrm"/> and <see cref="ISource"/>. Derive a class, give it your connector and an account that you control, and run it.</summary>
/// <remarks>The account may hold other records, and each test leaves some behind. Nothing in it depends on a clock but "since", for which the suite waits until the CRM's clock has moved.</remarks>
public abstract class CrmConformance
{
    private static readonly string[] s_dealFields = ["name", "stage", "pipeline", "amount", "currency", "status"];
    private static readonly string[] s_kinds = ["call", "email", "meeting", "note", "task"];

    protected static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    // ---- What you give --------------------------------------------------------------------------------------------------------------

    /// <summary>What your CRM is like.</summary>
    protected abstract CrmFacts Facts { get; }

    /// <summary>A new connector to the account.</summary>
    /// <param name="gate">To be asked before each request.</param>
    /// <param name="timeout">The longest time for one request.</param>
    /// <param name="isAllowed">False: with a secret that the account does not know.</param>
    protected abstract ValueTask<ICrm> ConnectAsync(IRequestGate gate, TimeSpan timeout, bool isAllowed = true);

    /// <summary>How the CRM behaves from now on.</summary>
    protected abstract ValueTask BehaveAsync(CrmAnswering answering);

    /// <summary>Moves the CRM's clock, where it is a test's; else nothing: the suite waits.</summary>
    protected virtual void Advance(TimeSpan by)
    {
    }

    /// <summary>A person makes contacts: all with one timestamp, if the CRM can. Null: no e-mail address.</summary>
    protected abstract ValueTask<IReadOnlyList<string>> MakeAsync(IReadOnlyList<(string Text, string? Email)> contacts);

    /// <summary>A person types.</summary>
    protected abstract ValueTask EditAsync(string id, string field, string value);

    /// <summary>A person adds an address to a contact that has one. Only where there can be several.</summary>
    protected virtual ValueTask AddEmailAsync(string id, string email) => throw new NotSupportedException();

    /// <summary>A person deletes a contact.</summary>
    protected abstract ValueTask DeleteAsync(string id);

    /// <summary>A person merges two contacts.</summary>
    /// <returns>The id of what stays; null: the CRM cannot.</returns>
    protected abstract ValueTask<string?> MergeAsync(string from, string into);

    /// <summary>A person makes a deal of a contact. Only where there are deals.</summary>
    protected virtual ValueTask<string> MakeDealAsync(string contact) => throw new NotSupportedException();

    /// <summary>A person calls a contact, or does something of the kind. Only where there are activities.</summary>
    protected virtual ValueTask<string> MakeActivityAsync(string contact) => throw new NotSupportedException();

    /// <summary>Contact ids on a list; empty where there is no such list.</summary>
    protected abstract ValueTask<IReadOnlyCollection<string>> ListAsync(string list);

    // ---- Reading --------------------------------------------------------------------------------------------------------------------

    [Fact]
    public async Task It_says_what_it_reads_and_of_what_type_each_field_is()
    {
        await using ICrm crm = await OpenAsync();

        Assert.Contains(CrmObject.Contact, crm.Objects);
        Assert.Equal(Facts.HasDeals, crm.Objects.Contains(CrmObject.Deal));
        Assert.Equal(Facts.HasActivities, crm.Objects.Contains(CrmObject.Activity));
        Assert.Equal(crm.Objects.Distinct(), crm.Objects);
        Assert.Matches("^[a-z][a-z0-9_]*$", crm.ContactIdType);
        foreach (CrmObject kind in crm.Objects)
        {
            IReadOnlyList<CrmField> fields = await crm.DescribeAsync(kind, Cancelled);
            Assert.Equal(fields.Select(field => field.Name).Distinct(StringComparer.Ordinal).Count(), fields.Count);
        }

        IReadOnlyList<CrmField> ofContacts = await crm.DescribeAsync(CrmObject.Contact, Cancelled);
        Assert.All([Facts.TextField, Facts.OtherField, Facts.EmailField, .. Facts.Typed.Keys], name => Assert.False(Assert.Single(ofContacts, field => field.Name == name).IsReadOnly));
    }

    [Fact]
    public async Task What_is_made_or_changed_since_an_instant_is_told_and_what_is_not_is_not()
    {
        await using ICrm crm = await OpenAsync();
        string[] ids = [.. await MakeAsync([(Some(), Mail()), (Some(), null)])];
        DateTimeOffset since = await LaterAsync(crm);
        string text = Some();
        await EditAsync(ids[1], Facts.TextField, text);
        string made = Assert.Single(await MakeAsync([(Some(), Mail())]));

        List<CrmRecord> told = await AllAsync(crm, CrmObject.Contact, since);

        Assert.Equal(Set(ids[1], made), Set([.. Ids(told)]));
        Assert.Equal(text, Text(told.Last(record => record.Id == ids[1]), Facts.TextField));
        Assert.All(told, record => Assert.True(record is { IsDeleted: false, MergedInto: null, Kind: CrmObject.Contact }));
    }

    [Fact]
    public async Task Everything_is_told_since_the_beginning()
    {
        await using ICrm crm = await OpenAsync();
        string[] ids = [.. await MakeAsync([(Some(), Mail()), (Some(), null)])];
        await LaterAsync(crm);

        Assert.Empty(ids.Except(Ids(await AllAsync(crm, CrmObject.Contact, DateTimeOffset.MinValue))));
    }

    [Fact]
    public async Task Any_number_of_records_with_one_timestamp_are_told_also_over_a_restart_between_pages()
    {
        await using ICrm crm = await OpenAsync();
        DateTimeOffset since = await LaterAsync(crm);
        string[] ids = [.. await MakeAsync([.. Enumerable.Range(0, (2 * Facts.PageRecords) + 1).Select(_ => (Some(), (string?)null))])];

        List<CrmRecord> told = [];
        string? page = null;
        int pages = 0;
        do
        {
            await using ICrm fresh = await OpenAsync();
            CrmPage answer = await fresh.ChangesAsync(CrmObject.Contact, since, page, Cancelled);
            told.AddRange(answer.Records);
            page = answer.Next;
            pages++;
        }
        while (page is not null);

        Assert.Equal(ids.Order(StringComparer.Ordinal), Ids(told).Order(StringComparer.Ordinal));
        Assert.True(pages > 1, $"{ids.Length} records came in one page: PageRecords of the facts is not what the connector was made with.");
    }

    [Fact]
    public async Task What_changes_while_pages_are_read_is_in_a_later_page_or_found_from_the_first_page_s_time_on()
    {
        await using ICrm crm = await OpenAsync();
        DateTimeOffset since = await LaterAsync(crm);
        string[] ids = [.. await MakeAsync([.. Enumerable.Range(0, (2 * Facts.PageRecords) + 1).Select(_ => (Some(), (string?)null))])];
        Advance(TimeSpan.FromSeconds(1));

        CrmPage first = await crm.ChangesAsync(CrmObject.Contact, since, null, Cancelled);
        string[] typed = [.. ids.Where((_, i) => i % 3 == 0)];
        Dictionary<string, string> texts = typed.ToDictionary(id => id, _ => Some());
        foreach ((string id, string text) in texts)
        {
            await EditAsync(id, Facts.TextField, text);
        }

        string made = Assert.Single(await MakeAsync([(Some(), null)]));
        List<CrmRecord> told = [.. first.Records];
        if (first.Next is not null)
        {
            told.AddRange(await AllAsync(crm, CrmObject.Contact, since, first.Next));
        }

        told.AddRange(await AllAsync(crm, CrmObject.Contact, first.ServerTime));

        Assert.Empty(ids.Append(made).Except(Ids(told)));
        Assert.All(texts, one => Assert.Equal(one.Value, Text(told.Last(record => record.Id == one.Key), Facts.TextField)));
    }

    [Fact]
    public async Task A_deleted_contact_is_gone_for_every_question()
    {
        await using ICrm crm = await OpenAsync();
        string mail = Mail();
        string[] ids = [.. await MakeAsync([(Some(), mail), (Some(), null)])];
        DateTimeOffset since = await LaterAsync(crm);
        await DeleteAsync(ids[0]);

        CrmRecord read = Assert.Single(await crm.ReadAsync(CrmObject.Contact, [ids[0]], Cancelled));
        Assert.True(read is { IsDeleted: true, MergedInto: null }, "A deleted record is read as deleted, and as merged into nobody.");
        string[] listed = await AllIdsAsync(crm, CrmObject.Contact);
        Assert.DoesNotContain(ids[0], listed);
        Assert.Contains(ids[1], listed);
        Assert.Empty(await crm.FindContactsAsync([], [mail], Cancelled));
        List<CrmRecord> told = await AllAsync(crm, CrmObject.Contact, since);
        Assert.Equal(Facts.TellsOfDeleted, told.Any(record => record.Id == ids[0] && record.IsDeleted));
        Assert.DoesNotContain(told, record => record.Id == ids[0] && !record.IsDeleted);
    }

    [Fact]
    public async Task A_merged_contact_is_gone_and_names_the_one_that_took_it_over()
    {
        await using ICrm crm = await OpenAsync();
        string[] ids = [.. await MakeAsync([(Some(), Mail()), (Some(), Mail())])];
        if (await MergeAsync(ids[0], ids[1]) is not { } stays)
        {
            Assert.False(Facts.CanMerge, "The CRM cannot merge, and the facts say that the connector can.");
            return;
        }

        CrmRecord[] read = [.. await crm.ReadAsync(CrmObject.Contact, [ids[0], stays], Cancelled)];
        Assert.True(read.Single(record => record.Id == ids[0]) is { IsDeleted: true } gone && gone.MergedInto == stays, "The loser names the survivor.");
        Assert.False(read.Single(record => record.Id == stays).IsDeleted);
        Assert.DoesNotContain(ids[0], await AllIdsAsync(crm, CrmObject.Contact));
        CrmOutcome outcome = await WriteAsync(crm, Contact(ids[0], (Facts.TextField, Some())));
        Assert.Equal((CrmOutcomeKind.Gone, stays), (outcome.Kind, outcome.Record?.MergedInto));
    }

    [Fact]
    public async Task Reading_answers_once_for_each_id_and_who_is_unknown_is_gone()
    {
        await using ICrm crm = await OpenAsync();
        string text = Some();
        string[] ids = [.. await MakeAsync([(text, Mail()), .. Enumerable.Range(0, 97).Select(_ => (Some(), (string?)null))])];
        string[] asked = [Facts.UnknownId, .. ids, "nobody's id, written by a page of a website"];

        IReadOnlyList<CrmRecord> read = await crm.ReadAsync(CrmObject.Contact, asked, Cancelled);

        Assert.Equal(asked.Order(StringComparer.Ordinal), read.Select(record => record.Id).Order(StringComparer.Ordinal));
        Assert.Equal(Set(asked[0], asked[^1]), Set([.. read.Where(record => record.IsDeleted).Select(record => record.Id)]));
        Assert.Equal(text, Text(read.Single(record => record.Id == ids[0]), Facts.TextField));
        Assert.All(read, record => Assert.InRange(record.Id.Length, 1, 100));
        Assert.Equal(Facts.HasRevisions, read.Single(record => record.Id == ids[0]).Revision is not null);
    }

    [Fact]
    public async Task All_ids_that_are_there_are_listed_once()
    {
        await using ICrm crm = await OpenAsync();
        string[] ids = [.. await MakeAsync([.. Enumerable.Range(0, (2 * Facts.PageRecords) + 1).Select(_ => (Some(), (string?)null))])];

        string[] listed = await AllIdsAsync(crm, CrmObject.Contact);

        Assert.Empty(ids.Except(listed));
        Assert.Equal(listed.Distinct(StringComparer.Ordinal).Count(), listed.Length);
    }

    [Fact]
    public async Task Contacts_are_found_by_our_id_and_by_any_of_their_e_mail_addresses_whatever_its_case()
    {
        await using ICrm crm = await OpenAsync();
        (string first, string second, string other, string externalId) = (Mail(), Mail(), Mail(), ExternalId());
        string[] ids = [.. await MakeAsync([(Some(), first.Replace("conformance", "Conformance", StringComparison.Ordinal)), (Some(), second)])];
        CrmOutcome ours = await WriteAsync(crm, Contact(null, (Facts.TextField, Some())) with { ExternalId = externalId });
        if (Facts.HasSeveralEmails)
        {
            await AddEmailAsync(ids[1], other);
        }

        Assert.Empty(await crm.FindContactsAsync([], [], Cancelled));
        Assert.Empty(await crm.FindContactsAsync([ExternalId()], [Mail()], Cancelled));
        Assert.Equal([ids[0]], (await crm.FindContactsAsync([], [first], Cancelled)).Select(record => record.Id));
        Assert.Equal([ours.Record!.Id], (await crm.FindContactsAsync([externalId], [], Cancelled)).Select(record => record.Id));
        IReadOnlyList<CrmRecord> found = await crm.FindContactsAsync([externalId, ExternalId()], [first, Facts.HasSeveralEmails ? other : second, Mail()], Cancelled);
        Assert.Equal(Set(ids[0], ids[1], ours.Record.Id), Set([.. Ids(found)]));
        Assert.Equal(externalId, found.First(record => record.Id == ours.Record.Id).ExternalId);
    }

    [Fact]
    public async Task An_activity_belongs_to_its_contact_and_says_what_and_when_it_was()
    {
        if (!Facts.HasActivities)
        {
            return; // That it says so is the first test.
        }

        await using ICrm crm = await OpenAsync();
        string contact = Assert.Single(await MakeAsync([(Some(), null)]));
        DateTimeOffset since = await LaterAsync(crm);
        string id = await MakeActivityAsync(contact);

        CrmRecord activity = (await AllAsync(crm, CrmObject.Activity, since)).Last(record => record.Id == id);
        Assert.Equal([contact], activity.ContactIds);
        Assert.Contains(Text(activity, "kind"), s_kinds);
        Assert.Contains("subject", activity.Fields.Keys);
        Assert.True(DateTimeOffset.TryParse(Text(activity, "at"), System.Globalization.CultureInfo.InvariantCulture, out _));
        Assert.Contains(id, await AllIdsAsync(crm, CrmObject.Activity));
        CrmRecord[] read = [.. await crm.ReadAsync(CrmObject.Activity, [id, Facts.UnknownId, "nobody's id, written by a page of a website"], Cancelled)];
        Assert.Equal([contact], read.Single(record => record.Id == id).ContactIds);
        Assert.Equal(2, read.Count(record => record.IsDeleted));
    }

    [Fact]
    public async Task A_deal_belongs_to_its_contact_and_has_the_fields_that_all_deals_have()
    {
        if (!Facts.HasDeals)
        {
            return; // That it says so is the first test.
        }

        await using ICrm crm = await OpenAsync();
        string contact = Assert.Single(await MakeAsync([(Some(), null)]));
        DateTimeOffset since = await LaterAsync(crm);
        string id = await MakeDealAsync(contact);

        List<CrmRecord> told = await AllAsync(crm, CrmObject.Deal, since);
        CrmRecord deal = told.Last(record => record.Id == id);
        Assert.Equal([contact], deal.ContactIds);
        Assert.All(s_dealFields, name => Assert.Contains(name, deal.Fields.Keys));
        Assert.Contains(Text(deal, "status"), (string[])["open", "won", "lost"]);
        Assert.Contains(deal.Fields["amount"].ValueKind, (JsonValueKind[])[JsonValueKind.Number, JsonValueKind.Null]);
        Assert.Contains(id, await AllIdsAsync(crm, CrmObject.Deal));
        Assert.Equal([contact], Assert.Single(await crm.ReadAsync(CrmObject.Deal, [id], Cancelled)).ContactIds);
        Assert.True(Assert.Single(await crm.ReadAsync(CrmObject.Deal, [Facts.UnknownId], Cancelled)).IsDeleted);
        if (Facts.DealToMake is { } fields)
        {
            var write = new CrmWrite { Kind = CrmObject.Deal, ExternalId = ExternalId(), Fields = fields, ContactIds = [contact], OnlyIfNew = true };
            CrmOutcome made = await WriteAsync(crm, write);
            Assert.Equal((CrmOutcomeKind.Done, ""), (made.Kind, made.Reason));
            Assert.Equal([contact], made.Record!.ContactIds);
            Assert.All(fields, field => Assert.Equal(field.Value.GetRawText(), made.Record.Fields[field.Key].GetRawText()));

            // The same again, after an answer that was lost: what somebody made of it since stays.
            CrmOutcome again = await WriteAsync(crm, write with { Fields = new Dictionary<string, JsonElement>(fields) { ["name"] = JsonSerializer.SerializeToElement("another name") } });
            Assert.Equal((CrmOutcomeKind.Done, made.Record.Id, fields["name"].GetString()), (again.Kind, again.Record!.Id, Text(again.Record, "name")));
        }
        else
        {
            Assert.All(await crm.DescribeAsync(CrmObject.Deal, Cancelled), field => Assert.True(field.IsReadOnly, $"The facts say that deals are only read, and {field.Name} is described as one that can be written."));
        }
    }

    // ---- Writing --------------------------------------------------------------------------------------------------------------------

    [Fact]
    public async Task Each_write_has_its_outcome_in_its_place_with_what_is_stored_now()
    {
        await using ICrm crm = await OpenAsync();
        string[] ids = [.. await MakeAsync([(Some(), null), (Some(), null)])];
        string deleted = Assert.Single(await MakeAsync([(Some(), null)]));
        await DeleteAsync(deleted);
        string[] texts = [.. Enumerable.Range(0, 4).Select(_ => Some())];
        (string first, string second) = (ExternalId(), ExternalId());

        IReadOnlyList<CrmOutcome> outcomes = await crm.WriteAsync(
            [
                Contact(ids[1], (Facts.TextField, texts[0])),
                Contact(null, (Facts.TextField, texts[1])) with { ExternalId = first },
                Contact(deleted, (Facts.TextField, Some())),
                Contact(ids[0], (Facts.TextField, texts[2])),
                Contact(Facts.UnknownId, (Facts.TextField, Some())),
                Contact(null, (Facts.TextField, texts[3])) with { ExternalId = second },
            ],
            Cancelled);

        Assert.Equal([CrmOutcomeKind.Done, CrmOutcomeKind.Done, CrmOutcomeKind.Gone, CrmOutcomeKind.Done, CrmOutcomeKind.Gone, CrmOutcomeKind.Done], outcomes.Select(outcome => outcome.Kind));
        CrmOutcome[] done = [.. outcomes.Where(outcome => outcome.Kind == CrmOutcomeKind.Done)];
        Assert.Equal(texts, done.Select(outcome => Text(outcome.Record!, Facts.TextField)));
        Assert.Equal([ids[1], ids[0]], [done[0].Record!.Id, done[2].Record!.Id]);
        Assert.Equal([first, second], [done[1].Record!.ExternalId, done[3].Record!.ExternalId]);
        await MustBeStoredAsync(crm, done);
    }

    [Fact]
    public async Task Fields_that_are_not_written_stay()
    {
        await using ICrm crm = await OpenAsync();
        (string text, string other) = (Some(), Some());
        string id = Assert.Single(await MakeAsync([(text, null)]));

        CrmOutcome outcome = await WriteAsync(crm, Contact(id, (Facts.OtherField, other)));

        Assert.Equal((text, other), (Text(outcome.Record!, Facts.TextField), Text(outcome.Record!, Facts.OtherField)));
    }

    [Fact]
    public async Task A_row_that_is_refused_costs_no_other_and_names_its_field()
    {
        await using ICrm crm = await OpenAsync();
        string[] ids = [.. await MakeAsync([.. Enumerable.Range(0, 5).Select(_ => (Some(), (string?)null))])];
        string text = Some();

        IReadOnlyList<CrmOutcome> outcomes = await crm.WriteAsync([.. ids.Select((id, i) => Contact(id, i is 1 or 3 ? (Facts.Refused.Field, Facts.Refused.Value) : (Facts.TextField, text)))], Cancelled);

        Assert.Equal([CrmOutcomeKind.Done, CrmOutcomeKind.Refused, CrmOutcomeKind.Done, CrmOutcomeKind.Refused, CrmOutcomeKind.Done], outcomes.Select(outcome => outcome.Kind));
        Assert.All(outcomes.Where(outcome => outcome.Kind == CrmOutcomeKind.Refused), outcome => Assert.Equal((Facts.Refused.Field, true), (outcome.Field, outcome.Reason.Length > 0)));
        await MustBeStoredAsync(crm, [.. outcomes.Where(outcome => outcome.Kind == CrmOutcomeKind.Done)]);
        Assert.All(await crm.ReadAsync(CrmObject.Contact, [ids[0], ids[2], ids[4]], Cancelled), record => Assert.Equal(text, Text(record, Facts.TextField)));
    }

    [Fact]
    public async Task The_same_external_id_makes_one_record_also_where_the_answer_was_lost()
    {
        await using ICrm crm = await OpenAsync();
        (string externalId, string mail, string text) = (ExternalId(), Mail(), Some());
        CrmWrite write = Contact(null, (Facts.EmailField, mail), (Facts.TextField, Some())) with { ExternalId = externalId };
        await BehaveAsync(CrmAnswering.LosesAnswers);
        await MustBeAwayAsync(async () => await crm.WriteAsync([write], Cancelled), externalId, mail);
        await BehaveAsync(CrmAnswering.Answers);
        Advance(TimeSpan.FromSeconds(2));

        CrmOutcome first = await WriteAsync(crm, write);
        Advance(TimeSpan.FromSeconds(2));
        CrmOutcome again = await WriteAsync(crm, write with { Fields = Contact(null, (Facts.TextField, text)).Fields });

        Assert.Equal((CrmOutcomeKind.Done, CrmOutcomeKind.Done), (first.Kind, again.Kind));
        Assert.Equal(first.Record!.Id, again.Record!.Id);
        Assert.Equal(text, Text(again.Record, Facts.TextField));
        Assert.Equal([first.Record.Id], (await crm.FindContactsAsync([externalId], [mail], Cancelled)).Select(record => record.Id).Distinct());
    }

    [Fact]
    public async Task A_deleted_record_that_carried_the_external_id_is_not_brought_back()
    {
        await using ICrm crm = await OpenAsync();
        CrmWrite write = Contact(null, (Facts.TextField, Some())) with { ExternalId = ExternalId() };
        string id = (await WriteAsync(crm, write)).Record!.Id;
        await DeleteAsync(id);
        await LaterAsync(crm);

        CrmOutcome again = await WriteAsync(crm, write);

        Assert.Equal(CrmOutcomeKind.Done, again.Kind);
        Assert.NotEqual(id, again.Record!.Id);
        Assert.True(Assert.Single(await crm.ReadAsync(CrmObject.Contact, [id], Cancelled)).IsDeleted);
    }

    [Fact]
    public async Task A_write_from_an_old_revision_changes_nothing()
    {
        await using ICrm crm = await OpenAsync();
        string id = Assert.Single(await MakeAsync([(Some(), null)]));
        string? old = Assert.Single(await crm.ReadAsync(CrmObject.Contact, [id], Cancelled)).Revision;
        string typed = Some();
        Advance(TimeSpan.FromSeconds(2));
        await EditAsync(id, Facts.TextField, typed);

        CrmOutcome outcome = await WriteAsync(crm, Contact(id, (Facts.TextField, Some())) with { Revision = old });

        CrmRecord now = Assert.Single(await crm.ReadAsync(CrmObject.Contact, [id], Cancelled));
        Assert.Equal(Facts.HasRevisions, old is not null);
        Assert.Equal(Facts.HasRevisions ? CrmOutcomeKind.Stale : CrmOutcomeKind.Done, outcome.Kind);
        Assert.Equal(Facts.HasRevisions, Text(now, Facts.TextField) == typed);
        string text = Some();
        Assert.Equal(CrmOutcomeKind.Done, (await WriteAsync(crm, Contact(id, (Facts.TextField, text)) with { Revision = now.Revision })).Kind);
    }

    [Fact]
    public async Task Null_empties_a_field_and_an_empty_field_is_null()
    {
        await using ICrm crm = await OpenAsync();
        string id = Assert.Single(await MakeAsync([(Some(), Mail())]));
        await WriteAsync(crm, Contact(id, (Facts.OtherField, Some())));
        Advance(TimeSpan.FromSeconds(2));

        CrmOutcome outcome = await WriteAsync(crm, Contact(id, (Facts.OtherField, null), (Facts.EmailField, null)));

        Assert.Equal(CrmOutcomeKind.Done, outcome.Kind);
        Assert.All([Facts.OtherField, Facts.EmailField], field => Assert.Equal(JsonValueKind.Null, outcome.Record!.Fields[field].ValueKind));
        await MustBeStoredAsync(crm, [outcome]);
    }

    [Fact]
    public async Task What_is_stored_is_read_back_and_not_assumed()
    {
        await using ICrm crm = await OpenAsync();
        string id = Assert.Single(await MakeAsync([(Some(), null)]));
        string odd = $"  {Some()} Zoë \"Ünal\" \\ <b>&amp; 名前 🎈  ";

        CrmOutcome outcome = await WriteAsync(crm, Contact(id, (Facts.TextField, odd)));

        Assert.Equal(CrmOutcomeKind.Done, outcome.Kind);
        Assert.Equal(odd.Trim(), Text(outcome.Record!, Facts.TextField)!.Trim());
        await MustBeStoredAsync(crm, [outcome]);
    }

    [Fact]
    public async Task Values_have_the_type_of_their_field()
    {
        await using ICrm crm = await OpenAsync();
        string id = Assert.Single(await MakeAsync([(Some(), null)]));

        CrmOutcome outcome = await WriteAsync(crm, new CrmWrite { Kind = CrmObject.Contact, Id = id, Fields = Facts.Typed });

        Assert.Equal((CrmOutcomeKind.Done, ""), (outcome.Kind, outcome.Reason));
        Assert.All(Facts.Typed, field => Assert.True(JsonElement.DeepEquals(field.Value, outcome.Record!.Fields[field.Key]), $"{field.Key}: written {field.Value.GetRawText()}, stored {outcome.Record!.Fields[field.Key].GetRawText()}"));
        IReadOnlyList<CrmField> fields = await crm.DescribeAsync(CrmObject.Contact, Cancelled);
        Assert.All(outcome.Record!.Fields.Where(field => field.Value.ValueKind != JsonValueKind.Null), field => Assert.True(IsOf(fields.Single(one => one.Name == field.Key).Type, field.Value), $"{field.Key} is {field.Value.GetRawText()}, which is not of the type that it is described with."));
        await MustBeStoredAsync(crm, [outcome]);
    }

    [Fact]
    public async Task A_hundred_rows_are_one_batch()
    {
        await using ICrm crm = await OpenAsync();
        string text = Some();
        CrmWrite[] writes = [.. Enumerable.Range(0, 100).Select(i => Contact(null, (Facts.TextField, $"{text} {i}")) with { ExternalId = ExternalId() })];

        IReadOnlyList<CrmOutcome> outcomes = await crm.WriteAsync(writes, Cancelled);

        Assert.Equal(writes.Select(write => write.ExternalId), outcomes.Select(outcome => outcome.Record?.ExternalId));
        Assert.Equal(100, outcomes.Select(outcome => outcome.Record!.Id).Distinct().Count());
    }

    [Fact]
    public async Task Contacts_are_put_on_a_list_that_is_made_and_taken_off_again_and_who_is_gone_is_named()
    {
        await using ICrm crm = await OpenAsync();
        string[] ids = [.. await MakeAsync([(Some(), null), (Some(), null), (Some(), null)])];
        string deleted = Assert.Single(await MakeAsync([(Some(), null)]));
        await DeleteAsync(deleted);
        string list = $"Größe 1/2 & 100 % {Some()}";

        Assert.Empty(await crm.ChangeListAsync(list, [ids[0], ids[1]], [], Cancelled));
        await MustBeOnAsync(ids[0], ids[1]);
        Assert.Empty(await crm.ChangeListAsync(list, [ids[0], ids[1]], [], Cancelled));
        await MustBeOnAsync(ids[0], ids[1]);
        Assert.Empty(await crm.ChangeListAsync(list, [ids[2]], [ids[1]], Cancelled));
        await MustBeOnAsync(ids[0], ids[2]);
        Assert.Empty(await crm.ChangeListAsync(list, [], [ids[1]], Cancelled));
        await MustBeOnAsync(ids[0], ids[2]);
        string[] gone = [Facts.UnknownId, deleted];
        Assert.Equal(gone.Order(StringComparer.Ordinal), (await crm.ChangeListAsync(list, [.. gone, ids[1]], [ids[0]], Cancelled)).Order(StringComparer.Ordinal));
        await MustBeOnAsync(ids[1], ids[2]);
        await using ICrm fresh = await OpenAsync();
        Assert.Empty(await fresh.ChangeListAsync(list, [ids[0]], [], Cancelled));
        await MustBeOnAsync(ids[0], ids[1], ids[2]);

        async Task MustBeOnAsync(params string[] wanted) => Assert.Equal(wanted.Order(StringComparer.Ordinal), (await ListAsync(list)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Contacts_are_merged_once_or_it_says_that_it_cannot()
    {
        await using ICrm crm = await OpenAsync();
        string[] ids = [.. await MakeAsync([(Some(), Mail()), (Some(), null)])];

        string? stays = await crm.MergeContactsAsync(ids[0], ids[1], Cancelled);
        string? again = await crm.MergeContactsAsync(ids[0], ids[1], Cancelled);

        CrmRecord[] read = [.. await crm.ReadAsync(CrmObject.Contact, [.. ids.Append(stays ?? ids[1]).Distinct()], Cancelled)];
        Assert.Equal(Facts.CanMerge, stays is not null);
        Assert.Equal(stays, again);
        Assert.Equal(Facts.CanMerge, read.Single(record => record.Id == ids[0]).IsDeleted);
        Assert.Equal(stays, read.Single(record => record.Id == ids[0]).MergedInto);
        Assert.False(read.Single(record => record.Id == (stays ?? ids[1])).IsDeleted);
    }

    [Fact]
    public async Task Contacts_that_are_deleted_are_gone_and_twice_or_unknown_is_no_error_and_others_stay()
    {
        await using ICrm crm = await OpenAsync();
        (string mail, string text) = (Mail(), Some());
        string[] ids = [.. await MakeAsync([(Some(), mail), (text, Mail()), (Some(), null)])];
        string[] asked = [Facts.UnknownId, ids[0], "nobody's id, written by a page of a website", ids[2]];

        Assert.Empty(await crm.DeleteContactsAsync(asked, Cancelled));
        Assert.Empty(await crm.DeleteContactsAsync(asked, Cancelled));

        IReadOnlyList<CrmRecord> read = await crm.ReadAsync(CrmObject.Contact, ids, Cancelled);
        Assert.Equal(Set(ids[0], ids[2]), Set([.. read.Where(record => record is { IsDeleted: true, MergedInto: null }).Select(record => record.Id)]));
        Assert.Equal(text, Text(read.Single(record => record.Id == ids[1]), Facts.TextField));
        string[] listed = await AllIdsAsync(crm, CrmObject.Contact);
        Assert.Equal((false, true), (listed.Contains(ids[0]), listed.Contains(ids[1])));
        Assert.Empty(await crm.FindContactsAsync([], [mail], Cancelled));
    }

    [Fact]
    public async Task What_StreamCdp_made_and_deleted_is_made_anew_under_the_same_id_and_address()
    {
        await using ICrm crm = await OpenAsync();
        CrmWrite write = Contact(null, (Facts.EmailField, Mail()), (Facts.TextField, Some())) with { ExternalId = ExternalId() };
        string id = (await WriteAsync(crm, write)).Record!.Id;
        Assert.Empty(await crm.DeleteContactsAsync([id], Cancelled));
        Assert.Empty(await crm.FindContactsAsync([write.ExternalId!], [], Cancelled));

        CrmOutcome again = await WriteAsync(crm, write);

        Assert.Equal((CrmOutcomeKind.Done, write.ExternalId), (again.Kind, again.Record?.ExternalId));
        Assert.NotEqual(id, again.Record!.Id);
    }

    [Fact]
    public Task A_contact_that_a_deal_names_is_not_deleted_and_the_reason_is_told() => StaysAsync(Facts.HasDeals, MakeDealAsync);

    [Fact]
    public Task A_contact_that_an_activity_names_is_not_deleted_and_the_reason_is_told() => StaysAsync(Facts.HasActivities, MakeActivityAsync);

    private async Task StaysAsync(bool canBe, Func<string, ValueTask<string>> make)
    {
        if (!canBe)
        {
            return; // That it says so is the first test.
        }

        await using ICrm crm = await OpenAsync();
        string[] ids = [.. await MakeAsync([(Some(), null), (Some(), null)])];
        await make(ids[0]);

        (string id, string reason) = Assert.Single(await crm.DeleteContactsAsync(ids, Cancelled));

        Assert.Equal((ids[0], true), (id, reason.Length > 0));
        Assert.Equal([ids[0]], (await crm.ReadAsync(CrmObject.Contact, ids, Cancelled)).Where(record => !record.IsDeleted).Select(record => record.Id));
    }

    [Fact]
    public async Task What_is_made_ready_is_made_once()
    {
        ICrm crm = await OpenAsync();
        await using ICrm disposed = crm;
        if (crm is ICrmPreparation preparation)
        {
            CrmField[] fields = [new("conformance_number", CrmFieldType.Number, IsReadOnly: false)];
            Assert.Empty(await preparation.PrepareAsync(CrmObject.Contact, [], Cancelled));
            await preparation.PrepareAsync(CrmObject.Contact, fields, Cancelled);

            Assert.Empty(await preparation.PrepareAsync(CrmObject.Contact, fields, Cancelled));
            Assert.Equal(CrmFieldType.Number, Assert.Single(await crm.DescribeAsync(CrmObject.Contact, Cancelled), field => field.Name == "conformance_number").Type);
        }
    }

    // ---- When it does not work ------------------------------------------------------------------------------------------------------

    [Fact]
    public async Task While_it_is_away_each_question_says_so_and_names_nobody_and_then_it_works()
    {
        await EachAsync(CrmAnswering.IsAway, (_, _) => { });
    }

    [Fact]
    public async Task A_limit_is_waited_for_as_long_as_the_CRM_asks()
    {
        await EachAsync(CrmAnswering.IsLimited, (name, exception) =>
        {
            Assert.True(exception.IsRateLimit, $"{name}: IsRateLimit is false.");
            Assert.Equal((name, Facts.RetryAfter), (name, exception.RetryAfter));
        });
    }

    [Fact]
    public async Task An_answer_that_does_not_come_in_time_is_asked_for_again()
    {
        ICrm crm = await OpenAsync(TimeSpan.FromSeconds(4)); // A busy machine must answer the first question in time.
        await using ICrm disposed = crm;
        string id = Assert.Single(await MakeAsync([(Some(), null)]));
        await crm.ReadAsync(CrmObject.Contact, [id], Cancelled);
        await BehaveAsync(CrmAnswering.Hangs);
        try
        {
            await MustBeAwayAsync(async () => { await crm.ReadAsync(CrmObject.Contact, [id], Cancelled); return []; });
            await MustBeAwayAsync(async () => await crm.WriteAsync([Contact(id, (Facts.TextField, Some()))], Cancelled));
        }
        finally
        {
            await BehaveAsync(CrmAnswering.Answers);
        }
    }

    [Fact]
    public async Task A_stop_ends_a_request_under_way_and_is_no_outage()
    {
        ICrm crm = await OpenAsync();
        await using ICrm disposed = crm;
        string id = Assert.Single(await MakeAsync([(Some(), null)]));
        await crm.ReadAsync(CrmObject.Contact, [id], Cancelled);
        await BehaveAsync(CrmAnswering.Hangs);
        using var stop = new CancellationTokenSource(TimeSpan.FromMilliseconds(200));
        try
        {
            await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await crm.ReadAsync(CrmObject.Contact, [id], stop.Token));
        }
        finally
        {
            await BehaveAsync(CrmAnswering.Answers);
        }
    }

    [Fact]
    public async Task A_secret_that_is_not_good_pauses()
    {
        await using ICrm crm = await ConnectAsync(new Gate(), TimeSpan.FromSeconds(30), isAllowed: false);

        DestinationMustPauseException pause = await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await crm.ReadAsync(CrmObject.Contact, [Facts.UnknownId], Cancelled));

        Assert.NotEmpty(pause.Message);
        await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await crm.WriteAsync([Contact(Facts.UnknownId, (Facts.TextField, Some()))], Cancelled));
    }

    [Fact]
    public async Task Before_each_request_the_gate_is_asked_and_after_it_told()
    {
        var gate = new Gate();
        await using ICrm crm = await ConnectAsync(gate, TimeSpan.FromSeconds(30));
        await PrepareAsync(crm);
        string[] ids = [.. await MakeAsync([(Some(), Mail()), (Some(), null)])];
        foreach ((string name, Func<ICrm, ValueTask<IReadOnlyList<CrmOutcome>>> ask) in Questions(ids, ExternalId(), Mail(), Some()).Skip(1))
        {
            int before = gate.Waits;
            await ask(crm);
            Assert.True(gate.Waits > before, $"{name}: the gate was not asked.");
            Assert.Equal((name, gate.Waits), (name, gate.Outcomes.Count));
        }

        Assert.All(gate.Outcomes, outcome => Assert.Contains(outcome, (string[])["ok", "limited", "unavailable", "refused"]));
    }

    // ---- Parts ----------------------------------------------------------------------------------------------------------------------

    private async Task EachAsync(CrmAnswering answering, Action<string, DestinationUnavailableException> check)
    {
        string[] ids = [.. await MakeAsync([(Some(), Mail()), (Some(), null)])];
        (string externalId, string mail, string text) = (ExternalId(), Mail(), Some());
        foreach ((string name, Func<ICrm, ValueTask<IReadOnlyList<CrmOutcome>>> ask) in Questions(ids, externalId, mail, text))
        {
            await using ICrm crm = name == "Describe" ? await ConnectAsync(new Gate(), TimeSpan.FromSeconds(30)) : await OpenAsync();
            if (name != "Describe") // It may remember fields, so it is asked first.
            {
                await crm.ReadAsync(CrmObject.Contact, [ids[0]], Cancelled);
            }

            await BehaveAsync(answering);
            try
            {
                if (await MustBeAwayAsync(() => ask(crm), externalId, mail, text) is { } exception)
                {
                    check(name, exception);
                }
            }
            finally
            {
                await BehaveAsync(CrmAnswering.Answers);
            }

            await ask(crm);
        }
    }

    /// <summary>Each question that a connector can be asked.</summary>
    private IEnumerable<(string Name, Func<ICrm, ValueTask<IReadOnlyList<CrmOutcome>>> Ask)> Questions(string[] ids, string externalId, string mail, string text)
    {
        yield return ("Describe", async crm => await Nothing(crm.DescribeAsync(CrmObject.Contact, Cancelled)));
        yield return ("Changes", async crm => await Nothing(crm.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue, null, Cancelled)));
        yield return ("Read", async crm => await Nothing(crm.ReadAsync(CrmObject.Contact, ids, Cancelled)));
        yield return ("Ids", async crm => await Nothing(crm.IdsAsync(CrmObject.Contact, null, Cancelled)));
        yield return ("FindContacts", async crm => await Nothing(crm.FindContactsAsync([externalId], [mail], Cancelled)));
        yield return ("Write", crm => crm.WriteAsync([Contact(ids[0], (Facts.TextField, text))], Cancelled));
        yield return ("Write a new one", crm => crm.WriteAsync([Contact(null, (Facts.TextField, text), (Facts.EmailField, mail)) with { ExternalId = externalId }], Cancelled));
        yield return ("ChangeList", async crm => await Nothing(crm.ChangeListAsync(text, [ids[0]], [], Cancelled)));
        if (Facts.CanMerge)
        {
            yield return ("MergeContacts", async crm => await Nothing(crm.MergeContactsAsync(ids[1], ids[0], Cancelled)));
        }

        yield return ("DeleteContacts", async crm => await Nothing(crm.DeleteContactsAsync([ids[1]], Cancelled)));

        static async ValueTask<IReadOnlyList<CrmOutcome>> Nothing<T>(ValueTask<T> asked)
        {
            await asked;
            return [];
        }
    }

    /// <summary>It throws that it is away, without anybody's data; or all outcomes are <see cref="CrmOutcomeKind.TryAgain"/>.</summary>
    private static async ValueTask<DestinationUnavailableException?> MustBeAwayAsync(Func<ValueTask<IReadOnlyList<CrmOutcome>>> ask, params string[] personal)
    {
        try
        {
            IReadOnlyList<CrmOutcome> outcomes = await ask();
            Assert.NotEmpty(outcomes);
            Assert.All(outcomes, outcome => Assert.Equal(CrmOutcomeKind.TryAgain, outcome.Kind));
            return null;
        }
        catch (DestinationUnavailableException exception)
        {
            Assert.NotEmpty(exception.Message);
            Assert.All(personal, one => Assert.DoesNotContain(one, exception.Message, StringComparison.OrdinalIgnoreCase));
            return exception;
        }
    }

    private async ValueTask<ICrm> OpenAsync(TimeSpan? timeout = null)
    {
        ICrm crm = await ConnectAsync(new Gate(), timeout ?? TimeSpan.FromSeconds(30));
        await PrepareAsync(crm);
        return crm;
    }

    private static async ValueTask PrepareAsync(ICrm crm)
    {
        if (crm is ICrmPreparation preparation)
        {
            foreach (CrmObject kind in crm.Objects)
            {
                await preparation.PrepareAsync(kind, [new CrmField(preparation.IdField, CrmFieldType.Text, IsReadOnly: false)], Cancelled);
            }
        }
    }

    /// <summary>The CRM's time, at least two seconds after all that was done so far.</summary>
    private async Task<DateTimeOffset> LaterAsync(ICrm crm)
    {
        DateTimeOffset before = await NowAsync();
        Advance(TimeSpan.FromSeconds(3));
        for (long deadline = Environment.TickCount64 + 60_000; ; await Task.Delay(50, Cancelled))
        {
            if (await NowAsync() is var now && now >= before + TimeSpan.FromSeconds(3))
            {
                return now;
            }

            Assert.True(Environment.TickCount64 < deadline, "The CRM's clock does not move: ServerTime of pages stands still.");
        }

        async ValueTask<DateTimeOffset> NowAsync() => (await crm.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue, null, Cancelled)).ServerTime;
    }

    private static async Task<List<CrmRecord>> AllAsync(ICrm crm, CrmObject kind, DateTimeOffset since, string? page = null)
    {
        List<CrmRecord> told = [];
        var pages = new HashSet<string>(StringComparer.Ordinal);
        do
        {
            CrmPage answer = await crm.ChangesAsync(kind, since, page, Cancelled);
            told.AddRange(answer.Records);
            page = answer.Next;
            Assert.True(page is not { Length: > 1000 }, "Next is longer than 1,000 characters.");
            Assert.True(page is null || pages.Add(page), "Next leads round in a circle.");
        }
        while (page is not null);
        return told;
    }

    private static async Task<string[]> AllIdsAsync(ICrm crm, CrmObject kind)
    {
        List<string> all = [];
        string? page = null;
        do
        {
            (IReadOnlyList<string> ids, page) = await crm.IdsAsync(kind, page, Cancelled);
            all.AddRange(ids);
        }
        while (page is not null);
        return [.. all];
    }

    /// <summary>What the outcomes say is stored is what reading says.</summary>
    private static async Task MustBeStoredAsync(ICrm crm, IReadOnlyList<CrmOutcome> outcomes)
    {
        Dictionary<string, CrmRecord> read = (await crm.ReadAsync(CrmObject.Contact, [.. outcomes.Select(outcome => outcome.Record!.Id)], Cancelled)).ToDictionary(record => record.Id);
        Assert.All(outcomes, outcome => Assert.Equal(Shown(read[outcome.Record!.Id]), Shown(outcome.Record)));

        static IEnumerable<string> Shown(CrmRecord record) => record.Fields.OrderBy(field => field.Key, StringComparer.Ordinal).Select(field => $"{field.Key}={field.Value.GetRawText()}").Append(record.ExternalId ?? "");
    }

    private static async Task<CrmOutcome> WriteAsync(ICrm crm, CrmWrite write) => Assert.Single(await crm.WriteAsync([write], Cancelled));

    private static CrmWrite Contact(string? id, params (string Field, string? Value)[] fields) =>
        new() { Kind = CrmObject.Contact, Id = id, Fields = fields.ToDictionary(field => field.Field, field => JsonSerializer.SerializeToElement(field.Value), StringComparer.Ordinal) };

    private static IEnumerable<string> Ids(IEnumerable<CrmRecord> records) => records.Select(record => record.Id).Distinct(StringComparer.Ordinal);

    private static string? Text(CrmRecord record, string field) => record.Fields[field].ValueKind == JsonValueKind.String ? record.Fields[field].GetString() : null;

    private static HashSet<string> Set(params string[] ids) => new(ids, StringComparer.Ordinal);

    private static bool IsOf(CrmFieldType type, JsonElement value) => type switch
    {
        CrmFieldType.Number => value.ValueKind == JsonValueKind.Number,
        CrmFieldType.Boolean => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
        CrmFieldType.Date => value.ValueKind == JsonValueKind.String && DateOnly.TryParseExact(value.GetString(), "yyyy-MM-dd", out _),
        CrmFieldType.Instant => value.ValueKind == JsonValueKind.String && value.GetString()!.EndsWith('Z') && value.TryGetDateTimeOffset(out _),
        CrmFieldType.List => value.ValueKind == JsonValueKind.Array,
        _ => value.ValueKind == JsonValueKind.String,
    };

    /// <summary>A text that no other test has.</summary>
    private static string Some() => "T" + Guid.NewGuid().ToString("N")[..12];

    private static string Mail() => $"p{Guid.NewGuid().ToString("N")[..12]}@conformance.example.com";

    private static string ExternalId() => Guid.NewGuid().ToString("N");

    /// <summary>Lets everything through, and counts.</summary>
    private sealed class Gate : IRequestGate
    {
        public int Waits { get; private set; }

        public List<string> Outcomes { get; } = [];

        public ValueTask WaitAsync(CancellationToken cancellationToken)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Waits++;
            return ValueTask.CompletedTask;
        }

        public void Made(string outcome) => Outcomes.Add(outcome);
    }
}
