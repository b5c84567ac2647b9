using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

public sealed partial class HubSpotCrm
{
    /// <summary>More suspects than this of a refused batch are found by halving.</summary>
    private const int MostSuspects = 5;

    /// <inheritdoc/>
    /// <remarks>
    /// Reads what is there, writes what differs, and reads back. A row that has already what it wants is not written. HubSpot has no conditional write: between the reading and the writing somebody can
    /// change a record, and loses. Of a batch at most one request writes a row, except where HubSpot refuses the batch whole: then the rows to blame are found, by what HubSpot says or by halves.
    /// </remarks>
    public async ValueTask<IReadOnlyList<CrmOutcome>> WriteAsync(IReadOnlyList<CrmWrite> writes, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(writes);
        if (writes.Count == 0)
        {
            return [];
        }

        CrmObject kind = writes[0].Kind;
        if (writes.Any(write => write.Kind != kind))
        {
            throw new ArgumentException("The writes of a batch are of one object.", nameof(writes));
        }

        HubSpotRecords records = await RecordsAsync(kind, OwnNames(kind, writes), cancellationToken, kind == CrmObject.Deal ? StageIds(writes) : null).ConfigureAwait(false);
        HubSpotRow[] rows = [.. writes.Select((write, number) => new HubSpotRow(number, write))];
        if (rows.Any(row => row.Write.ExternalId is not null) && !(records.Definitions.TryGetValue(_options.IdProperty, out HubSpotDefinition? link) && link.HasUniqueValue))
        {
            _definitions.Forget(records.KindName);
            throw new DestinationMustPauseException($"HubSpot has no property {_options.IdProperty} of {records.KindName} with unique values, in which StreamCdp's id is kept. Let StreamCdp make it (check --connect), or make it by hand: single-line text, unique values.");
        }

        foreach (IGrouping<string, HubSpotRow> same in rows.Where(row => row.Write.Id is null && row.Write.ExternalId is not null).GroupBy(row => row.Write.ExternalId!, StringComparer.Ordinal))
        {
            foreach (HubSpotRow row in same.SkipLast(1))
            {
                row.Later = same.Last(); // Twice in a batch, HubSpot refuses the whole.
            }
        }

        await CompareAsync(records, rows, cancellationToken).ConfigureAwait(false);
        await SendAsync(records, "update", [.. rows.Where(row => row.IsOpen && row.Id is not null)], cancellationToken).ConfigureAwait(false);
        await SendAsync(records, "upsert", [.. rows.Where(row => row.IsOpen && row.Id is null && row.Write.ExternalId is not null)], cancellationToken).ConfigureAwait(false);
        await SendAsync(records, "create", [.. rows.Where(row => row.IsOpen && row.Id is null && row.Write.ExternalId is null)], cancellationToken).ConfigureAwait(false);
        if (kind == CrmObject.Deal)
        {
            await LinkAsync(rows, cancellationToken).ConfigureAwait(false);
        }

        await ReadBackAsync(records, rows, cancellationToken).ConfigureAwait(false);
        return [.. rows.Select(row => (row.Later ?? row).Outcome ?? new CrmOutcome(CrmOutcomeKind.TryAgain, null, "HubSpot told nothing of this record."))];
    }

    /// <inheritdoc/>
    /// <remarks>HubSpot archives them: they stand in its recycle bin for 90 days.</remarks>
    public async ValueTask<IReadOnlyDictionary<string, string>> DeleteContactsAsync(IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        var refused = new Dictionary<string, string>(StringComparer.Ordinal);
        string[] living = [.. (await ReadAsync(CrmObject.Contact, ids, cancellationToken).ConfigureAwait(false)).Where(record => !record.IsDeleted).Select(record => record.Id)];
        if (living.Length == 0)
        {
            return refused;
        }

        foreach ((string contact, List<string> deals) in await AssociatedAsync("contacts", "deals", living, cancellationToken).ConfigureAwait(false))
        {
            if (deals.Count > 0)
            {
                refused[contact] = $"deal {deals[0]} names it.";
            }
        }

        foreach (HubSpotActivity activity in HubSpotActivity.All)
        {
            string[] left = [.. living.Where(id => !refused.ContainsKey(id))];
            try
            {
                await RefuseNamedAsync(activity, left, refused, cancellationToken).ConfigureAwait(false);
            }
            catch (DestinationMustPauseException exception)
            {
                // A right that reading does without: the sync goes on, and who may be somebody's work stays.
                foreach (string id in left)
                {
                    refused[id] = $"it cannot be known whether {activity.KindName} name it: {exception.Message}";
                }
            }
        }

        await ArchiveAsync([.. living.Where(id => !refused.ContainsKey(id))], refused, cancellationToken).ConfigureAwait(false);
        return refused;
    }

    /// <summary>Contacts that an activity names stay, whether it is read or not: somebody called them. One that an action of StreamCdp made is nobody's work.</summary>
    private async ValueTask RefuseNamedAsync(HubSpotActivity activity, string[] contacts, Dictionary<string, string> refused, CancellationToken cancellationToken)
    {
        Dictionary<string, List<string>> named = contacts.Length == 0 ? [] : await AssociatedAsync("contacts", activity.KindName, contacts, cancellationToken).ConfigureAwait(false);
        HashSet<string> ours = [];
        if (named.Count > 0 && NoteKinds.Contains(activity.Kind))
        {
            HubSpotRecords records = await RecordsAsync(activity, cancellationToken).ConfigureAwait(false);
            IReadOnlyList<JsonElement> read = await BatchReadAsync(records, [.. named.Values.SelectMany(ids => ids)], null, cancellationToken).ConfigureAwait(false);
            ours = [.. read.Where(json => HubSpotRecords.Value(json, _options.IdProperty) is { Length: > 0 }).Select(HubSpotRecords.Id)];
        }

        foreach ((string contact, List<string> ids) in named)
        {
            if (ids.Find(id => !ours.Contains(id)) is { } other)
            {
                refused[contact] = $"{activity.Kind} {other} names it.";
            }
        }
    }

    /// <summary>In one request; where HubSpot refuses that, in halves.</summary>
    private async ValueTask ArchiveAsync(string[] ids, Dictionary<string, string> refused, CancellationToken cancellationToken)
    {
        if (ids.Length == 0)
        {
            return;
        }

        var body = new JsonObject { ["inputs"] = new JsonArray([.. ids.Select(id => new JsonObject { ["id"] = id })]) };
        HubSpotAnswer answer = await _requests.PostAsync(_requests.Path("objects", "/contacts/batch/archive"), body, cancellationToken).ConfigureAwait(false);
        if (!answer.IsDone && ids.Length == 1)
        {
            refused[ids[0]] = answer.Message;
        }
        else if (!answer.IsDone)
        {
            int half = ids.Length / 2;
            await ArchiveAsync(ids[..half], refused, cancellationToken).ConfigureAwait(false);
            await ArchiveAsync(ids[half..], refused, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>HubSpot's names of all that is written.</summary>
    private static HashSet<string> OwnNames(CrmObject kind, IEnumerable<CrmWrite> writes) =>
        [.. writes.SelectMany(write => write.Fields.Keys).Where(field => kind != CrmObject.Deal || field is not ("stage" or "status")).Select(field => kind == CrmObject.Deal ? HubSpotRecords.DealNames.FirstOrDefault(names => names.Shared == field).Own ?? field : field)];

    private static IEnumerable<string> StageIds(IEnumerable<CrmWrite> writes) =>
        writes.SelectMany(write => write.Fields).Where(field => field.Key is "stage_id" or "dealstage" && field.Value.ValueKind == JsonValueKind.String).Select(field => field.Value.GetString()!);

    /// <summary>Finds what is there: rows that are gone, stale, or have it all already, are done with.</summary>
    private async ValueTask CompareAsync(HubSpotRecords records, HubSpotRow[] rows, CancellationToken cancellationToken)
    {
        string[] ids = [.. rows.Where(row => row.Write.Id is not null).Select(row => row.Write.Id!)];
        Dictionary<string, CrmRecord> byId = ids.Length == 0 ? [] : await ResolveAsync(records, ids, cancellationToken).ConfigureAwait(false);
        string[] externalIds = [.. rows.Where(row => row.Write.Id is null && row.Write.ExternalId is not null && row.Later is null).Select(row => row.Write.ExternalId!)];
        IReadOnlyList<JsonElement> known = externalIds.Length == 0 ? [] : await BatchReadAsync(records, externalIds, _options.IdProperty, cancellationToken).ConfigureAwait(false);
        var byExternalId = (await WholeAsync(records, known, cancellationToken).ConfigureAwait(false)).Where(record => record.ExternalId is not null && !record.IsDeleted).ToDictionary(record => record.ExternalId!, StringComparer.Ordinal);
        foreach (HubSpotRow row in rows.Where(row => row.Later is null))
        {
            CrmRecord? before = row.Write.Id is { } id ? byId[id] : row.Write.ExternalId is { } externalId ? byExternalId.GetValueOrDefault(externalId) : null;
            Begin(records, row, before);
        }
    }

    private void Begin(HubSpotRecords records, HubSpotRow row, CrmRecord? before)
    {
        if (before is { IsDeleted: true })
        {
            row.Outcome = new CrmOutcome(CrmOutcomeKind.Gone, before, before.MergedInto is null ? $"{before.Id} is deleted." : $"{before.Id} became part of {before.MergedInto}.");
            return;
        }

        row.Id = before?.Id;
        row.Prepare(records, _options.IdProperty, before);
        if (row.Outcome is not null || before is null)
        {
            return;
        }

        if (row.Write is { Id: null, OnlyIfNew: true })
        {
            row.Outcome = new CrmOutcome(CrmOutcomeKind.Done, before);
            return;
        }

        bool isNews = row.Differs(records, before) is not null || (row.Write.Id is null && row.Write.ContactIds.Except(before.ContactIds, StringComparer.Ordinal).Any());
        if (!isNews)
        {
            row.Outcome = new CrmOutcome(CrmOutcomeKind.Done, before); // After a lost answer it is all there: nothing is written twice, and nobody's change is taken for our own.
        }
        else if (row.Write.Revision is not null && row.Write.Revision != before.Revision)
        {
            row.Outcome = new CrmOutcome(CrmOutcomeKind.Stale, before, $"{before.Id} was changed since.");
        }
    }

    /// <summary>Sends rows in one request; those that HubSpot refuses whole, again in parts.</summary>
    /// <param name="records">The object.</param>
    /// <param name="how">create, update, upsert.</param>
    /// <param name="rows">100 at most, may be none.</param>
    /// <param name="cancellationToken">Gives up.</param>
    private async ValueTask SendAsync(HubSpotRecords records, string how, IReadOnlyList<HubSpotRow> rows, CancellationToken cancellationToken)
    {
        if (rows.Count == 0)
        {
            return;
        }

        var body = new JsonObject { ["inputs"] = new JsonArray([.. rows.Select(row => row.Input(_options.IdProperty))]) };
        HubSpotAnswer answer = await _requests.PostAsync(_requests.Path("objects", $"/{records.KindName}/batch/{how}"), body, cancellationToken).ConfigureAwait(false);
        if (answer.IsDone)
        {
            await TakeAsync(records, how, rows, answer, cancellationToken).ConfigureAwait(false);
            return;
        }

        (string Name, string Error, string Message)[] wrong = [.. Wrong(answer.Message)];
        if (rows.Count == 1)
        {
            await RefusedAsync(records, rows[0], answer.Status switch { 409 => "CONFLICT", 404 => "OBJECT_NOT_FOUND", _ => "VALIDATION_ERROR" }, answer.Message, cancellationToken).ConfigureAwait(false);
            return;
        }

        // A property that is not there is so for every row that has it. Of other values the message quotes one: the rows that have it go alone, so that no other is blamed for it.
        foreach ((string name, _, string message) in wrong.Where(entry => entry.Error is "PROPERTY_DOESNT_EXIST" or "READ_ONLY_VALUE"))
        {
            _definitions.Forget(records.KindName);
            foreach (HubSpotRow row in rows.Where(row => row.Values.ContainsKey(name)))
            {
                row.Refuse(message, name);
            }
        }

        List<HubSpotRow> left = [.. rows.Where(row => row.IsOpen)];
        List<HubSpotRow> suspects = [.. left.Where(row => wrong.Any(entry => row.Values.TryGetValue(entry.Name, out (string Wire, string Field) value) && value.Wire.Length > 0 && entry.Message.Contains(value.Wire, StringComparison.OrdinalIgnoreCase)))];
        if (left.Count == rows.Count && (suspects.Count is 0 or > MostSuspects || suspects.Count == rows.Count))
        {
            int half = rows.Count / 2;
            await SendAsync(records, how, [.. rows.Take(half)], cancellationToken).ConfigureAwait(false);
            await SendAsync(records, how, [.. rows.Skip(half)], cancellationToken).ConfigureAwait(false);
            return;
        }

        if (suspects.Count is > 0 and <= MostSuspects)
        {
            foreach (HubSpotRow suspect in suspects)
            {
                await SendAsync(records, how, [suspect], cancellationToken).ConfigureAwait(false);
            }

            left.RemoveAll(suspects.Contains);
        }

        await SendAsync(records, how, left, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Gives each row what the answer says of it. 200 and 207 alike: every row must be in the results or the errors.</summary>
    private async ValueTask TakeAsync(HubSpotRecords records, string how, IReadOnlyList<HubSpotRow> rows, HubSpotAnswer answer, CancellationToken cancellationToken)
    {
        var byTrace = rows.ToDictionary(row => row.Trace, StringComparer.Ordinal);
        foreach (JsonElement result in answer.Array("results"))
        {
            HubSpotRow? row = result.TryGetProperty("objectWriteTraceId", out JsonElement trace) && trace.ValueKind == JsonValueKind.String ? byTrace.GetValueOrDefault(trace.GetString()!) : null;
            row ??= rows.FirstOrDefault(candidate => candidate.IsOpen && (candidate.Id is not null ? candidate.Id == HubSpotRecords.Id(result)
                : candidate.Write.ExternalId is not null ? HubSpotRecords.Value(result, _options.IdProperty) == candidate.Write.ExternalId
                : candidate.Values.All(value => string.Equals(HubSpotRecords.Value(result, value.Key) ?? "", value.Value.Wire, StringComparison.OrdinalIgnoreCase))));
            if (row is not null)
            {
                row.Id = HubSpotRecords.Id(result);
                row.IsSent = true;
            }
        }

        JsonElement? ofNobody = null;
        foreach (JsonElement error in answer.Array("errors"))
        {
            List<HubSpotRow> blamed = [.. Context(error, "objectWriteTraceId").Select(byTrace.GetValueOrDefault).OfType<HubSpotRow>()];
            if (blamed.Count == 0)
            {
                string[] ids = [.. Context(error, "ids").Concat(Context(error, "id"))];
                blamed = [.. rows.Where(row => row.IsOpen && ids.Contains(row.Id ?? row.Write.ExternalId, StringComparer.Ordinal))];
            }

            if (blamed.Count == 0)
            {
                ofNobody = error;
            }

            foreach (HubSpotRow row in blamed.Where(row => row.IsOpen))
            {
                await RefusedAsync(records, row, Text(error, "category"), Text(error, "message"), cancellationToken).ConfigureAwait(false);
            }
        }

        List<HubSpotRow> open = [.. rows.Where(row => row.IsOpen)];
        if (open.Count == 1 && ofNobody is { } only)
        {
            await RefusedAsync(records, open[0], Text(only, "category"), Text(only, "message"), cancellationToken).ConfigureAwait(false);
        }
        else if (ofNobody is not null)
        {
            foreach (HubSpotRow[] part in open.Chunk((open.Count + 1) / 2))
            {
                await SendAsync(records, how, part, cancellationToken).ConfigureAwait(false);
            }
        }
        else
        {
            foreach (HubSpotRow row in open)
            {
                row.Outcome = new CrmOutcome(CrmOutcomeKind.TryAgain, null, $"HubSpot answered {answer.Status}, and told nothing of this record.");
            }
        }
    }

    /// <summary>One row was refused: what it means.</summary>
    private async ValueTask RefusedAsync(HubSpotRecords records, HubSpotRow row, string category, string message, CancellationToken cancellationToken)
    {
        switch (category)
        {
            case "OBJECT_NOT_FOUND":
                row.Outcome = new CrmOutcome(CrmOutcomeKind.Gone, row.Id is null ? null : records.Gone(row.Id, null), message);
                break;
            case "CONFLICT" when row.Id is null && ExistingId().Match(message) is { Success: true } match:
                await AdoptAsync(records, row, match.Groups[1].Value, message, cancellationToken).ConfigureAwait(false);
                break;
            case "RATE_LIMITS" or "INTERNAL_ERROR" or "SERVICE_UNAVAILABLE":
                row.Outcome = new CrmOutcome(CrmOutcomeKind.TryAgain, null, message);
                break;
            default:
                (string Name, string Error, string Message) wrong = Wrong(message).FirstOrDefault(entry => row.Values.ContainsKey(entry.Name));
                row.Refuse(wrong.Message is { Length: > 0 } reason ? reason : message, wrong.Name ?? (category == "CONFLICT" && row.Values.ContainsKey("email") ? "email" : null));
                break;
        }
    }

    /// <summary>Somebody made the contact meanwhile: it is changed, where it is nobody else's.</summary>
    private async ValueTask AdoptAsync(HubSpotRecords records, HubSpotRow row, string existing, string message, CancellationToken cancellationToken)
    {
        CrmRecord found = (await ResolveAsync(records, [existing], cancellationToken).ConfigureAwait(false))[existing];
        if (found.IsDeleted)
        {
            row.Outcome = new CrmOutcome(CrmOutcomeKind.TryAgain, null, message);
        }
        else if (found.ExternalId is not null && found.ExternalId != row.Write.ExternalId)
        {
            row.Outcome = new CrmOutcome(CrmOutcomeKind.Refused, found, $"{found.Id} has this e-mail address, and is linked with another profile.", row.Values.TryGetValue("email", out (string Wire, string Field) email) ? email.Field : "email");
        }
        else
        {
            row.Values.Clear();
            Begin(records, row, found);
            if (found.ExternalId is null)
            {
                row.Values.Remove(_options.IdProperty); // It is his who made it, as one that is found by its address.
            }

            if (row.IsOpen)
            {
                await SendAsync(records, "update", [row], cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Links deals that were made with their contacts. Linking twice is harmless.</summary>
    private async ValueTask LinkAsync(HubSpotRow[] rows, CancellationToken cancellationToken)
    {
        List<JsonObject> inputs =
        [
            .. rows.Where(row => row.IsSent && row.Write.Id is null).SelectMany(row => row.Write.ContactIds.Distinct(StringComparer.Ordinal).Select(contact => new JsonObject
            {
                ["from"] = new JsonObject { ["id"] = row.Id },
                ["to"] = new JsonObject { ["id"] = contact },
            })),
        ];
        foreach (JsonObject[] chunk in inputs.Chunk(BatchLimit))
        {
            await LinkAsync(chunk, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>What is refused is a contact that is gone, and costs no other: the record that is read back tells which are linked.</summary>
    private async ValueTask LinkAsync(JsonObject[] inputs, CancellationToken cancellationToken)
    {
        var body = new JsonObject { ["inputs"] = new JsonArray([.. inputs.Select(input => input.DeepClone())]) };
        HubSpotAnswer answer = await _requests.PostAsync(_requests.Associations("/deals/contacts/batch/associate/default"), body, cancellationToken).ConfigureAwait(false);
        if (!answer.IsDone && inputs.Length > 1)
        {
            int half = inputs.Length / 2;
            await LinkAsync([.. inputs.Take(half)], cancellationToken).ConfigureAwait(false);
            await LinkAsync([.. inputs.Skip(half)], cancellationToken).ConfigureAwait(false);
        }
        else if (answer.IsDone && !answer.Array("results").Any())
        {
            answer.MustHave("errors");
        }
    }

    /// <summary>HubSpot keeps some values as they were and says that it took them: only what is read is true.</summary>
    private async ValueTask ReadBackAsync(HubSpotRecords records, HubSpotRow[] rows, CancellationToken cancellationToken)
    {
        HubSpotRow[] sent = [.. rows.Where(row => row.IsSent && row.Outcome is null)];
        if (sent.Length == 0)
        {
            return;
        }

        Dictionary<string, CrmRecord> stored = await ResolveAsync(records, [.. sent.Select(row => row.Id!)], cancellationToken).ConfigureAwait(false);
        foreach (HubSpotRow row in sent)
        {
            CrmRecord record = stored[row.Id!];
            row.Outcome = record.IsDeleted
                ? new CrmOutcome(CrmOutcomeKind.Gone, record, $"{record.Id} was deleted or merged just after it was written.")
                : new CrmOutcome(CrmOutcomeKind.Done, record, Field: row.Differs(records, record));
        }
    }

    /// <summary>The array that HubSpot writes as text into the message of a 400: <c>Property values were not valid: [{"name":…,"error":…,"message":…}]</c>.</summary>
    private static IEnumerable<(string Name, string Error, string Message)> Wrong(string message)
    {
        int begin = message.IndexOf('[', StringComparison.Ordinal);
        int end = message.LastIndexOf(']');
        if (begin < 0 || end < begin)
        {
            return [];
        }

        try
        {
            return [.. JsonElement.Parse(message[begin..(end + 1)]).EnumerateArray().Where(entry => entry.ValueKind == JsonValueKind.Object).Select(entry => (Text(entry, "name"), Text(entry, "error"), Text(entry, "message")))];
        }
        catch (JsonException)
        {
            return []; // Another text with brackets.
        }
    }

    private static IEnumerable<string> Context(JsonElement error, string key) =>
        error.TryGetProperty("context", out JsonElement context) && context.ValueKind == JsonValueKind.Object && context.TryGetProperty(key, out JsonElement values) && values.ValueKind == JsonValueKind.Array
            ? values.EnumerateArray().Select(value => value.ToString())
            : [];

    private static string Text(JsonElement json, string name) => json.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";

    [GeneratedRegex(@"Existing ID: (\d+)")]
    private static partial Regex ExistingId();
}
