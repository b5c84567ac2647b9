using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

/// <summary>Reads and writes contacts, companies and deals of one HubSpot account, and reads its activities.</summary>
public sealed partial class HubSpotCrm : ICrm, ICrmPreparation
{
    private const int BatchLimit = 100;
    private const int AssociationBatchLimit = 1000;

    private readonly HubSpotOptions _options;
    private readonly HubSpotRequests _requests;
    private readonly HubSpotDefinitions _definitions;
    private readonly TimeProvider _time;
    private readonly HubSpotActivity[] _activities;

    /// <summary>Makes it; nothing is asked yet.</summary>
    /// <param name="options">Checked: <see cref="HubSpotOptions.Errors"/> is empty.</param>
    /// <param name="gate">Of the account: asked before each request.</param>
    /// <param name="time">For tokens, limits and timeouts.</param>
    /// <param name="http">Null: one of its own, which it disposes. Another should follow no redirects and have no timeout.</param>
    public HubSpotCrm(HubSpotOptions options, IRequestGate gate, TimeProvider time, HttpClient? http = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(gate);
        ArgumentNullException.ThrowIfNull(time);
        _options = options;
        _time = time;
        _requests = new HubSpotRequests(options, gate, time, http);
        _definitions = new HubSpotDefinitions(_requests, time);
        _activities = [.. options.Activities.Select(HubSpotActivity.Of)];
    }

    /// <inheritdoc/>
    /// <remarks>Activities also where none is read: then their questions cost no request, and what was read before is gone.</remarks>
    public IReadOnlyList<CrmObject> Objects { get; } = [CrmObject.Contact, CrmObject.Company, CrmObject.Deal, CrmObject.Activity];

    /// <inheritdoc/>
    public string ContactIdType => "hubspot_contact_id";

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CrmField>> DescribeAsync(CrmObject kind, CancellationToken cancellationToken)
    {
        if (kind == CrmObject.Activity)
        {
            return HubSpotActivity.Fields;
        }

        _definitions.Forget(HubSpotRecords.NameOf(kind));
        HubSpotRecords records = await RecordsAsync(kind, [], cancellationToken).ConfigureAwait(false);
        var fields = records.Definitions.Values.ToDictionary(definition => definition.Name, definition => new CrmField(definition.Name, definition.Type, definition.IsReadOnly, definition.Options), StringComparer.Ordinal);
        if (kind == CrmObject.Deal)
        {
            foreach ((string shared, string own) in HubSpotRecords.DealNames.Where(names => records.Definitions.ContainsKey(names.Own)))
            {
                fields[shared] = fields[own] with { Name = shared };
            }

            fields["stage"] = new CrmField("stage", CrmFieldType.Text, IsReadOnly: false, [.. records.Stages.Select(stage => stage.Label).Distinct(StringComparer.Ordinal)]);
            fields["pipeline"] = new CrmField("pipeline", CrmFieldType.Text, IsReadOnly: false, [.. records.Stages.Select(stage => stage.PipelineLabel).Distinct(StringComparer.Ordinal)]);
            fields["status"] = new CrmField("status", CrmFieldType.Text, IsReadOnly: true, ["open", "won", "lost"]);
        }

        return [.. fields.Values.OrderBy(field => field.Name, StringComparer.Ordinal)];
    }

    /// <inheritdoc/>
    /// <remarks>
    /// HubSpot's search sorts by one property, gives 10,000 results of a query, and any number of records can have the same millisecond: its own nightly jobs make them. So a page begins at an instant
    /// (<c>t:ms</c>); where all of a page have one instant, that instant is read by id (<c>e:ms:id</c>). No query is paged, so no cap is met, and nothing but the position is kept.
    /// </remarks>
    public async ValueTask<CrmPage> ChangesAsync(CrmObject kind, DateTimeOffset since, string? page, CancellationToken cancellationToken)
    {
        if (kind != CrmObject.Activity)
        {
            return await ChangesAsync(await RecordsAsync(kind, [], cancellationToken).ConfigureAwait(false), since, page, cancellationToken).ConfigureAwait(false);
        }

        if (_activities.Length == 0)
        {
            return new CrmPage([], null, _time.GetUtcNow() - _options.SearchLag);
        }

        (int type, string? own) = Type(page);
        CrmPage changes = await ChangesAsync(await RecordsAsync(_activities[type], cancellationToken).ConfigureAwait(false), since, own, cancellationToken).ConfigureAwait(false);
        return changes with { Next = Page(type, changes.Next) };
    }

    private async ValueTask<CrmPage> ChangesAsync(HubSpotRecords records, DateTimeOffset since, string? page, CancellationToken cancellationToken)
    {
        string[] position = (page ?? $"t:{Math.Max(0, since.ToUnixTimeMilliseconds())}").Split(':', 3);
        if (position[0] == "a")
        {
            return await ArchivedAsync(records, since, position[1], cancellationToken).ConfigureAwait(false);
        }

        long ms = long.Parse(position[1], CultureInfo.InvariantCulture);
        if (position[0] == "t")
        {
            HubSpotAnswer answer = await SearchAsync(records, "GTE", ms, null, cancellationToken).ConfigureAwait(false);
            List<JsonElement> found = [.. answer.Array("results")];
            if (IsLast(answer, found.Count))
            {
                return await PageAsync(records, found, _options.ListsArchived ? "a:" : null, answer.Date, cancellationToken).ConfigureAwait(false);
            }

            long last = found.Max(records.ModifiedMs);
            List<JsonElement> whole = [.. found.Where(json => records.ModifiedMs(json) < last)];
            if (whole.Count > 0)
            {
                return await PageAsync(records, whole, $"t:{last}", answer.Date, cancellationToken).ConfigureAwait(false); // The last instant may go on.
            }

            position = ["e", "", "0"];
            ms = last;
        }

        HubSpotAnswer equal = await SearchAsync(records, "EQ", ms, position[2], cancellationToken).ConfigureAwait(false);
        List<JsonElement> ofInstant = [.. equal.Array("results")];
        string next = IsLast(equal, ofInstant.Count) ? $"t:{ms + 1}" : $"e:{ms}:{HubSpotRecords.Id(ofInstant[^1])}";
        return await PageAsync(records, ofInstant, next, equal.Date, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CrmRecord>> ReadAsync(CrmObject kind, IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(ids);
        if (kind != CrmObject.Activity)
        {
            Dictionary<string, CrmRecord> read = await ResolveAsync(await RecordsAsync(kind, [], cancellationToken).ConfigureAwait(false), ids, cancellationToken).ConfigureAwait(false);
            return [.. ids.Distinct(StringComparer.Ordinal).Select(id => read[id])];
        }

        var activities = new Dictionary<string, CrmRecord>(StringComparer.Ordinal);
        foreach (HubSpotActivity activity in _activities)
        {
            string[] own = [.. ids.Select(activity.OwnId).OfType<string>().Distinct(StringComparer.Ordinal)];
            if (own.Length > 0)
            {
                HubSpotRecords records = await RecordsAsync(activity, cancellationToken).ConfigureAwait(false);
                foreach (CrmRecord record in (await ResolveAsync(records, own, cancellationToken).ConfigureAwait(false)).Values)
                {
                    activities[record.Id] = record;
                }
            }
        }

        // Of a type that is not read any more nothing is kept.
        return [.. ids.Distinct(StringComparer.Ordinal).Select(id => activities.GetValueOrDefault(id) ?? new CrmRecord { Kind = kind, Id = id, IsDeleted = true })];
    }

    /// <inheritdoc/>
    public async ValueTask<(IReadOnlyList<string> Ids, string? Next)> IdsAsync(CrmObject kind, string? page, CancellationToken cancellationToken)
    {
        if (kind != CrmObject.Activity)
        {
            return await IdsAsync(HubSpotRecords.NameOf(kind), page, cancellationToken).ConfigureAwait(false);
        }

        if (_activities.Length == 0)
        {
            return ([], null);
        }

        (int type, string? own) = Type(page);
        (IReadOnlyList<string> ids, string? next) = await IdsAsync(_activities[type].KindName, own, cancellationToken).ConfigureAwait(false);
        return ([.. ids.Select(_activities[type].Id)], Page(type, next));
    }

    private async ValueTask<(IReadOnlyList<string> Ids, string? Next)> IdsAsync(string kindName, string? page, CancellationToken cancellationToken)
    {
        HubSpotAnswer answer = await ListAsync(kindName, isArchived: false, page, cancellationToken).ConfigureAwait(false);
        List<string> ids = [.. answer.Array("results").Select(HubSpotRecords.Id)];
        if (ids.Count == 0 && page is null)
        {
            // What is missing here counts as deleted: so nothing at all is believed only when it is said twice.
            HubSpotAnswer search = await _requests.PostAsync(_requests.Path("objects", $"/{kindName}/search"), new JsonObject { ["limit"] = 1 }, cancellationToken).ConfigureAwait(false);
            search.MustBeDone("search " + kindName);
            search.MustHave("total");
            if (search.Body.GetProperty("total").GetInt64() > 0)
            {
                throw new DestinationUnavailableException($"HubSpot listed no {kindName}, but search finds some.");
            }
        }

        return (ids, answer.After);
    }

    /// <inheritdoc/>
    /// <remarks>Ids and main addresses are read, which is exact at once; addresses besides the main one only search can find, up to <see cref="HubSpotOptions.SearchLag"/> late.</remarks>
    public async ValueTask<IReadOnlyList<CrmRecord>> FindContactsAsync(IReadOnlyList<string> externalIds, IReadOnlyList<string> emails, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(externalIds);
        ArgumentNullException.ThrowIfNull(emails);
        HubSpotRecords records = await RecordsAsync(CrmObject.Contact, [], cancellationToken).ConfigureAwait(false);
        var found = new Dictionary<string, CrmRecord>(StringComparer.Ordinal);
        if (records.Definitions.TryGetValue(_options.IdProperty, out HubSpotDefinition? link) && link.HasUniqueValue)
        {
            await AddAsync(externalIds, _options.IdProperty).ConfigureAwait(false);
        }

        string[] wanted = [.. emails.Select(email => email.ToLowerInvariant()).Distinct(StringComparer.Ordinal)];
        await AddAsync(wanted, "email").ConfigureAwait(false);
        string[] missing = [.. wanted.Except(found.Values.Select(record => Text(record, "email")), StringComparer.Ordinal)];
        if (missing.Length > 0 && records.Definitions.ContainsKey("hs_additional_emails"))
        {
            var query = new JsonObject
            {
                ["filterGroups"] = new JsonArray(new JsonObject { ["filters"] = new JsonArray(new JsonObject { ["propertyName"] = "hs_additional_emails", ["operator"] = "IN", ["values"] = Json(missing) }) }),
                ["properties"] = Json(["hs_additional_emails"]),
                ["limit"] = BatchLimit,
            };
            HubSpotAnswer answer = await _requests.PostAsync(_requests.Path("objects", "/contacts/search"), query, cancellationToken).ConfigureAwait(false);
            answer.MustBeDone("search contacts");
            answer.MustHave("total");
            string[] ids = [.. answer.Array("results").Where(json => HubSpotRecords.Split(HubSpotRecords.Value(json, "hs_additional_emails")).Any(email => missing.Contains(email, StringComparer.OrdinalIgnoreCase)))
                .Select(HubSpotRecords.Id).Where(id => !found.ContainsKey(id))];
            await AddAsync(ids, null).ConfigureAwait(false);
        }

        return [.. found.Values];

        async ValueTask AddAsync(IReadOnlyList<string> keys, string? property)
        {
            foreach (JsonElement json in await BatchReadAsync(records, keys, property, cancellationToken).ConfigureAwait(false))
            {
                CrmRecord record = records.Record(json, []);
                if (!record.IsDeleted)
                {
                    found[record.Id] = record;
                }
            }
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _requests.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <summary>Which type of activity a page is of, and its page of that; a type that is not read any more, or none: the first type's first.</summary>
    private (int Type, string? Page) Type(string? page)
    {
        string[] parts = page?.Split('/', 2) ?? [];
        int type = parts.Length == 2 ? Array.FindIndex(_activities, activity => activity.Kind == parts[0]) : -1;
        return type < 0 ? (0, null) : (type, parts[1].Length == 0 ? null : parts[1]);
    }

    /// <summary>The page after one of a type: its own next, else the first of the next type; null: that was the last.</summary>
    private string? Page(int type, string? next) => next is not null ? $"{_activities[type].Kind}/{next}" : type + 1 < _activities.Length ? _activities[type + 1].Kind + "/" : null;

    private async ValueTask<HubSpotRecords> RecordsAsync(HubSpotActivity activity, CancellationToken cancellationToken) => new(
        activity.KindName, CrmObject.Activity, _options.IdProperty, await _definitions.PropertiesAsync(activity.KindName, [], cancellationToken).ConfigureAwait(false), activity.Properties, [], [], activity);

    private async ValueTask<HubSpotRecords> RecordsAsync(CrmObject kind, IReadOnlyCollection<string> mustHave, CancellationToken cancellationToken, IEnumerable<string>? stages = null)
    {
        string name = HubSpotRecords.NameOf(kind);
        SortedDictionary<string, HubSpotDefinition> definitions = await _definitions.PropertiesAsync(name, mustHave, cancellationToken).ConfigureAwait(false);
        return new HubSpotRecords(name, kind, _options.IdProperty, definitions, _options.Properties?.GetValueOrDefault(kind), mustHave, kind == CrmObject.Deal ? await _definitions.StagesAsync(stages ?? [], cancellationToken).ConfigureAwait(false) : []);
    }

    /// <summary>Records from an instant on in its order (GTE), or of an instant by their ids (EQ).</summary>
    private async ValueTask<HubSpotAnswer> SearchAsync(HubSpotRecords records, string comparison, long ms, string? afterId, CancellationToken cancellationToken)
    {
        string modified = HubSpotRecords.ModifiedName(records.Kind);
        var filters = new JsonArray(new JsonObject { ["propertyName"] = modified, ["operator"] = comparison, ["value"] = ms.ToString(CultureInfo.InvariantCulture) });
        if (afterId is not null)
        {
            filters.Add(new JsonObject { ["propertyName"] = "hs_object_id", ["operator"] = "GT", ["value"] = afterId });
        }

        var query = new JsonObject
        {
            ["filterGroups"] = new JsonArray(new JsonObject { ["filters"] = filters }),
            ["sorts"] = Json([afterId is null ? modified : "hs_object_id"]), // Ascending; HubSpot takes one.
            ["properties"] = Json(records.Read),
            ["limit"] = _options.PageRecords,
        };
        HubSpotAnswer answer = await _requests.PostAsync(_requests.Path("objects", $"/{records.KindName}/search"), query, cancellationToken).ConfigureAwait(false);
        answer.MustBeDone("search " + records.KindName);
        answer.MustHave("total");
        return answer;
    }

    private bool IsLast(HubSpotAnswer answer, int found) => found == 0 || (found < _options.PageRecords && answer.After is null);

    private async ValueTask<CrmPage> PageAsync(HubSpotRecords records, IReadOnlyList<JsonElement> found, string? next, DateTimeOffset date, CancellationToken cancellationToken) =>
        new(await WholeAsync(records, found, cancellationToken).ConfigureAwait(false), next, date - _options.SearchLag);

    /// <summary>Archived records: those that were archived since are told, as deleted or merged.</summary>
    private async ValueTask<CrmPage> ArchivedAsync(HubSpotRecords records, DateTimeOffset since, string after, CancellationToken cancellationToken)
    {
        HubSpotAnswer answer = await ListAsync(records.KindName, isArchived: true, after.Length == 0 ? null : after, cancellationToken).ConfigureAwait(false);
        string[] ids = [.. answer.Array("results").Where(json => !json.TryGetProperty("archivedAt", out JsonElement at) || at.ValueKind != JsonValueKind.String || HubSpotDefinition.Instant(at.GetString()!) >= since).Select(HubSpotRecords.Id)];
        IReadOnlyList<CrmRecord> gone = ids.Length == 0 ? [] : [.. (await ResolveAsync(records, ids, cancellationToken).ConfigureAwait(false)).Values.Where(record => record.IsDeleted)];
        return new CrmPage(gone, answer.After is { } next ? "a:" + next : null, answer.Date - _options.SearchLag);
    }

    private async ValueTask<HubSpotAnswer> ListAsync(string kindName, bool isArchived, string? after, CancellationToken cancellationToken)
    {
        string query = $"/{kindName}?limit={BatchLimit}&properties=hs_object_id&archived={(isArchived ? "true" : "false")}{(after is null ? "" : "&after=" + Uri.EscapeDataString(after))}";
        HubSpotAnswer answer = await _requests.GetAsync(_requests.Path("objects", query), cancellationToken).ConfigureAwait(false);
        answer.MustBeDone("list " + kindName);
        return answer;
    }

    /// <summary>What each of HubSpot's ids is now: the record, or that it is deleted or merged.</summary>
    private async ValueTask<Dictionary<string, CrmRecord>> ResolveAsync(HubSpotRecords records, IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        IReadOnlyList<JsonElement> found = await BatchReadAsync(records, ids, null, cancellationToken).ConfigureAwait(false);
        var read = found.Select(HubSpotRecords.Id).Zip(await WholeAsync(records, found, cancellationToken).ConfigureAwait(false)).ToDictionary(one => one.First, one => one.Second, StringComparer.Ordinal);
        var winners = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (JsonElement json in found)
        {
            foreach (string loser in HubSpotRecords.MergedIds(json))
            {
                winners[loser] = HubSpotRecords.Id(json);
            }
        }

        var resolved = new Dictionary<string, CrmRecord>(StringComparer.Ordinal);
        foreach (string id in ids)
        {
            if (resolved.ContainsKey(id))
            {
                continue;
            }

            resolved[id] = read.TryGetValue(id, out CrmRecord? record) ? record
                : winners.TryGetValue(id, out string? winner) ? records.Gone(id, winner)
                : records.Gone(id, await WinnerAsync(records.KindName, id, cancellationToken).ConfigureAwait(false));
        }

        return resolved;
    }

    /// <summary>Reading the id of a loser answers the winner, with the winner's id. Null: it is deleted.</summary>
    private async ValueTask<string?> WinnerAsync(string kindName, string id, CancellationToken cancellationToken)
    {
        HubSpotAnswer answer = await _requests.GetAsync(_requests.Path("objects", $"/{kindName}/{Uri.EscapeDataString(id)}?properties=hs_object_id"), cancellationToken).ConfigureAwait(false);
        if (answer.Status == 404)
        {
            return null;
        }

        answer.MustBeDone("read " + kindName);
        answer.MustHave("id");
        string winner = HubSpotRecords.Id(answer.Body);
        return winner != id ? winner : throw new DestinationUnavailableException("HubSpot told two things of one record: that it is there, and that it is not.");
    }

    /// <summary>Objects with their contacts.</summary>
    private async ValueTask<IReadOnlyList<CrmRecord>> WholeAsync(HubSpotRecords records, IReadOnlyList<JsonElement> found, CancellationToken cancellationToken)
    {
        if (records.Kind == CrmObject.Contact || found.Count == 0)
        {
            return [.. found.Select(json => records.Record(json, []))];
        }

        HubSpotRecords known = records.Kind != CrmObject.Deal ? records : await RecordsAsync(CrmObject.Deal, [], cancellationToken, found.Select(json => HubSpotRecords.Value(json, "dealstage")).OfType<string>()).ConfigureAwait(false);
        Dictionary<string, List<string>> contacts = await AssociatedAsync(records.KindName, "contacts", [.. found.Select(HubSpotRecords.Id)], cancellationToken).ConfigureAwait(false);
        return [.. found.Select(json => known.Record(json, contacts.GetValueOrDefault(HubSpotRecords.Id(json)) ?? []))];
    }

    /// <summary>Search and batch/read do not tell of associations. Ids that have none may be left out.</summary>
    private async ValueTask<Dictionary<string, List<string>>> AssociatedAsync(string from, string to, IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        var associated = new Dictionary<string, List<string>>(StringComparer.Ordinal);
        Queue<(string Id, string? After)> open = new(ids.Select(id => (id, (string?)null)));
        while (open.Count > 0)
        {
            var inputs = new JsonArray();
            while (inputs.Count < AssociationBatchLimit && open.TryDequeue(out (string Id, string? After) next))
            {
                JsonObject input = new() { ["id"] = next.Id };
                if (next.After is not null)
                {
                    input["after"] = next.After;
                }

                inputs.Add(input);
            }

            HubSpotAnswer answer = await _requests.PostAsync(_requests.Associations($"/{from}/{to}/batch/read"), new JsonObject { ["inputs"] = inputs }, cancellationToken).ConfigureAwait(false);
            answer.MustBeDone($"read the {to} of {from}");
            if (!answer.Array("results").Any())
            {
                answer.MustHave("errors");
            }

            foreach (JsonElement result in answer.Array("results"))
            {
                string id = result.GetProperty("from").GetProperty("id").ToString();
                if (!associated.TryGetValue(id, out List<string>? of))
                {
                    associated.Add(id, of = []);
                }

                of.AddRange(result.GetProperty("to").EnumerateArray().Select(other => other.GetProperty("toObjectId").ToString()).Except(of));
                if (new HubSpotAnswer(200, result, default).After is { } after)
                {
                    open.Enqueue((id, after));
                }
            }
        }

        return associated;
    }

    /// <summary>Objects that are there; others are left out.</summary>
    /// <param name="records">Of which object, and what to read.</param>
    /// <param name="keys">Any number, repeats do no harm.</param>
    /// <param name="property">What the keys are values of; null: ids.</param>
    /// <param name="cancellationToken">Gives up.</param>
    private async ValueTask<IReadOnlyList<JsonElement>> BatchReadAsync(HubSpotRecords records, IReadOnlyList<string> keys, string? property, CancellationToken cancellationToken)
    {
        var found = new List<JsonElement>();
        foreach (string[] chunk in keys.Where(key => key.Length > 0).Distinct(StringComparer.Ordinal).Chunk(BatchLimit))
        {
            var body = new JsonObject { ["inputs"] = new JsonArray([.. chunk.Select(key => new JsonObject { ["id"] = key })]), ["properties"] = Json(records.Read) };
            if (property is not null)
            {
                body["idProperty"] = property;
            }

            HubSpotAnswer answer = await _requests.PostAsync(_requests.Path("objects", $"/{records.KindName}/batch/read"), body, cancellationToken).ConfigureAwait(false);
            if (answer.Status != 404)
            {
                answer.MustBeDone("read " + records.KindName);
                if (!answer.Array("results").Any())
                {
                    answer.MustHave("errors"); // Taken for an answer, a silent no-op would be: all of these are deleted.
                }

                found.AddRange(answer.Array("results"));
            }
        }

        return found;
    }

    private static string Text(CrmRecord record, string field) => record.Fields.TryGetValue(field, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";

    private static JsonArray Json(IEnumerable<string> texts) => new([.. texts.Select(text => (JsonNode)text)]);
}
