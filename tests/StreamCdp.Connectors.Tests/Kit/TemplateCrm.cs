using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>A CRM's connector to begin from: it talks to a <see cref="Rolodex"/>, which answers as a web API does, and passes the conformance suite (<see cref="TemplateCrmConformanceTests"/>).</summary>
internal sealed class TemplateCrm(Rolodex rolodex, string secret, IRequestGate gate, TimeSpan timeout) : ICrm
{
    private static readonly CrmField[] s_fields =
        [new("name", CrmFieldType.Text, IsReadOnly: false), new("note", CrmFieldType.Text, IsReadOnly: false), new("email", CrmFieldType.Text, IsReadOnly: false), new("age", CrmFieldType.Number, IsReadOnly: false)];

    public IReadOnlyList<CrmObject> Objects { get; } = [CrmObject.Contact]; // It has no deals, and says so.

    public string ContactIdType => "rolodex_contact_id";

    public async ValueTask<IReadOnlyList<CrmField>> DescribeAsync(CrmObject kind, CancellationToken cancellationToken)
    {
        await AskAsync("GET cards/ping", [], cancellationToken); // A CRM with fields of its own is asked for them here.
        return s_fields;
    }

    public async ValueTask<CrmPage> ChangesAsync(CrmObject kind, DateTimeOffset since, string? page, CancellationToken cancellationToken)
    {
        // Sorted by number and not by time: so many cards with one time are no problem, and a card that changes meanwhile is found by the next question.
        var question = new JsonObject { ["since"] = since.ToUnixTimeMilliseconds(), ["after"] = page is null ? 0 : long.Parse(page, CultureInfo.InvariantCulture) };
        (JsonNode answer, DateTimeOffset at) = await AskAsync("GET cards", question, cancellationToken);
        CrmRecord[] records = [.. answer.AsArray().Select(Record)];
        return new CrmPage(records, records.Length == Rolodex.PageCards ? records[^1].Id : null, at); // The rolodex's clock, and not ours.
    }

    public async ValueTask<IReadOnlyList<CrmRecord>> ReadAsync(CrmObject kind, IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        (JsonNode answer, _) = await AskAsync("GET cards/some", new JsonObject { ["ids"] = Json(ids.Where(IsNumber)) }, cancellationToken);
        Dictionary<string, CrmRecord> found = answer.AsArray().Select(Record).ToDictionary(record => record.Id);
        return [.. ids.Select(id => found.GetValueOrDefault(id) ?? Gone(id))]; // What it does not know is gone: one answer for each id.
    }

    public async ValueTask<(IReadOnlyList<string> Ids, string? Next)> IdsAsync(CrmObject kind, string? page, CancellationToken cancellationToken)
    {
        CrmPage all = await ChangesAsync(kind, DateTimeOffset.UnixEpoch, page, cancellationToken);
        return ([.. all.Records.Where(record => !record.IsDeleted).Select(record => record.Id)], all.Next); // A page of deleted cards alone is empty, and not the last one.
    }

    public async ValueTask<IReadOnlyList<CrmRecord>> FindContactsAsync(IReadOnlyList<string> externalIds, IReadOnlyList<string> emails, CancellationToken cancellationToken)
    {
        (JsonNode answer, _) = await AskAsync("GET cards/find", new JsonObject { ["keys"] = Json(externalIds), ["emails"] = Json(emails) }, cancellationToken);
        return [.. answer.AsArray().Select(Record).Where(record => !record.IsDeleted)];
    }

    public async ValueTask<IReadOnlyList<CrmOutcome>> WriteAsync(IReadOnlyList<CrmWrite> writes, CancellationToken cancellationToken)
    {
        IReadOnlyList<CrmRecord> known = await FindContactsAsync([.. writes.Where(write => write.Id is null && write.ExternalId is not null).Select(write => write.ExternalId!)], [], cancellationToken);
        List<CrmOutcome> outcomes = [];
        foreach (CrmWrite write in writes) // Cards are written one by one, so one that is refused costs no other. A CRM with batches needs fewer requests.
        {
            string? id = write.Id ?? known.FirstOrDefault(record => record.ExternalId == write.ExternalId)?.Id; // What an earlier try made is not made again.
            var card = new JsonObject { ["id"] = id, ["revision"] = write.Revision, ["key"] = write.ExternalId };
            card["fields"] = new JsonObject(write.Fields.Select(field => KeyValuePair.Create(field.Key, JsonSerializer.SerializeToNode(field.Value))));
            (JsonNode answer, _) = await AskAsync("PUT card", card, cancellationToken);
            outcomes.Add((string?)answer["problem"] switch
            {
                null => new CrmOutcome(CrmOutcomeKind.Done, Record(answer["card"])), // The card as it is stored now comes back.
                "gone" => new CrmOutcome(CrmOutcomeKind.Gone, answer["card"] is null ? Gone(id!) : Record(answer["card"])),
                "changed" => new CrmOutcome(CrmOutcomeKind.Stale, Record(answer["card"])),
                string field => new CrmOutcome(CrmOutcomeKind.Refused, Reason: $"The rolodex does not take this {field}.", Field: field),
            });
        }

        return outcomes;
    }

    public async ValueTask<IReadOnlyList<string>> ChangeListAsync(string list, IReadOnlyList<string> add, IReadOnlyList<string> remove, CancellationToken cancellationToken)
    {
        (JsonNode gone, _) = await AskAsync("PUT tab", new JsonObject { ["name"] = list, ["add"] = Json(add), ["remove"] = Json(remove) }, cancellationToken);
        return [.. gone.AsArray().Select(id => (string)id!)];
    }

    public ValueTask<string?> MergeContactsAsync(string from, string into, CancellationToken cancellationToken) => new((string?)null); // A rolodex cannot.

    public async ValueTask<IReadOnlyDictionary<string, string>> DeleteContactsAsync(IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        await AskAsync("DELETE cards", new JsonObject { ["ids"] = Json(ids.Where(IsNumber)) }, cancellationToken);
        return new Dictionary<string, string>(); // It refuses none. A CRM that does, or that has deals which name some, tells which.
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    /// <summary>One request: gate, time limit, and the answer in the kit's terms. No message has anything in it that came from a person.</summary>
    private async ValueTask<(JsonNode Answer, DateTimeOffset At)> AskAsync(string what, JsonObject question, CancellationToken cancellationToken)
    {
        await gate.WaitAsync(cancellationToken);
        string outcome = "unavailable";
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(timeout);
        try
        {
            (int status, JsonNode? answer, DateTimeOffset at, TimeSpan? retryAfter) = await rolodex.AskAsync(secret, what, question, limit.Token);
            outcome = status switch { < 300 => "ok", 429 => "limited", >= 500 => "unavailable", _ => "refused" };
            return status switch
            {
                < 300 => (answer!, at),
                401 or 403 => throw new DestinationMustPauseException("The rolodex does not let StreamCdp in. Check the secret."),
                _ => throw new DestinationUnavailableException($"The rolodex answered {status} to {what}.", retryAfter, isRateLimit: status == 429),
            };
        }
        catch (IOException exception) when (exception is not (DestinationUnavailableException or DestinationMustPauseException))
        {
            throw new DestinationUnavailableException("The rolodex is away. Look whether it stands.", inner: exception);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new DestinationUnavailableException($"The rolodex did not answer within {timeout.TotalSeconds} s.", inner: exception);
        }
        finally
        {
            gate.Made(outcome);
        }
    }

    private static CrmRecord Record(JsonNode? card) => new()
    {
        Kind = CrmObject.Contact,
        Id = (string)card!["id"]!,
        ModifiedAt = DateTimeOffset.FromUnixTimeMilliseconds((long)card["changed"]!),
        IsDeleted = (bool)card["deleted"]!,
        ExternalId = (string?)card["key"],
        Revision = (string?)card["revision"],
        Fields = s_fields.ToDictionary(field => field.Name, field => JsonSerializer.SerializeToElement(card["fields"]![field.Name])), // One without a value is null, and not missing.
    };

    private static CrmRecord Gone(string id) => new() { Kind = CrmObject.Contact, Id = id, IsDeleted = true };

    private static bool IsNumber(string id) => long.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out _);

    private static JsonArray Json(IEnumerable<string> texts) => [.. texts.Select(text => (JsonNode)text)];
}

public sealed class TemplateCrmConformanceTests : CrmConformance
{
    private readonly Rolodex _rolodex = new();

    protected override CrmFacts Facts { get; } = new()
    {
        TextField = "name",
        OtherField = "note",
        Refused = ("age", "old"),
        Typed = new Dictionary<string, JsonElement> { ["age"] = JsonElement.Parse("42") },
        UnknownId = "987654321",
        PageRecords = Rolodex.PageCards,
        HasRevisions = true,
        TellsOfDeleted = true,
        HasSeveralEmails = false,
        CanMerge = false,
        HasDeals = false,
        RetryAfter = TimeSpan.FromSeconds(7),
    };

    protected override ValueTask<ICrm> ConnectAsync(IRequestGate gate, TimeSpan timeout, bool isAllowed) => new(new TemplateCrm(_rolodex, isAllowed ? Rolodex.Secret : "wrong", gate, timeout));

    protected override ValueTask BehaveAsync(CrmAnswering answering) => _rolodex.BehaveAsync(answering);

    protected override void Advance(TimeSpan by) => _rolodex.Now += by;

    protected override ValueTask<IReadOnlyList<string>> MakeAsync(IReadOnlyList<(string Text, string? Email)> contacts) => new([.. contacts.Select(contact => _rolodex.Put(null, ("name", contact.Text), ("email", contact.Email)))]);

    protected override ValueTask EditAsync(string id, string field, string value) => new(Task.FromResult(_rolodex.Put(id, (field, value))));

    protected override ValueTask DeleteAsync(string id) => new(Task.FromResult(_rolodex.Delete(id)));

    protected override ValueTask<string?> MergeAsync(string from, string into) => new((string?)null);

    protected override ValueTask<IReadOnlyCollection<string>> ListAsync(string list) => new(_rolodex.Tabs.GetValueOrDefault(list) ?? []);
}
