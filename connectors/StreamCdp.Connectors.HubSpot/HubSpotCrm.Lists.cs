using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

public sealed partial class HubSpotCrm
{
    private readonly Dictionary<string, string> _lists = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<string>> ChangeListAsync(string list, IReadOnlyList<string> add, IReadOnlyList<string> remove, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(add);
        ArgumentNullException.ThrowIfNull(remove);
        for (bool isAgain = false; ; isAgain = true)
        {
            string id = await ListIdAsync(list, cancellationToken).ConfigureAwait(false);
            var body = new JsonObject { ["recordIdsToAdd"] = Json(add), ["recordIdsToRemove"] = Json(remove) };
            HubSpotAnswer answer = await _requests.SendAsync(HttpMethod.Put, _requests.Path("lists", $"/{Uri.EscapeDataString(id)}/memberships/add-and-remove"), body, cancellationToken).ConfigureAwait(false);
            if (answer.Status == 404 && !isAgain)
            {
                _lists.Remove(list); // Somebody deleted it.
                continue;
            }

            if (answer.Status is 400 or 409 or 422)
            {
                throw new DestinationMustPauseException($"HubSpot does not let the list \"{list}\" be changed ({answer.Status}): it is an active list, perhaps. Give another name, or make it a static list.");
            }

            answer.MustBeDone("change a list");
            answer.MustHave("recordIdsMissing");
            return [.. answer.Array("recordIdsMissing").Select(missing => missing.ToString()).Distinct(StringComparer.Ordinal)];
        }
    }

    /// <inheritdoc/>
    public async ValueTask<string?> MergeContactsAsync(string from, string into, CancellationToken cancellationToken)
    {
        HubSpotRecords records = await RecordsAsync(CrmObject.Contact, [], cancellationToken).ConfigureAwait(false);
        Dictionary<string, CrmRecord> now = await ResolveAsync(records, [from, into], cancellationToken).ConfigureAwait(false);
        string survivor = now[into].MergedInto ?? into;
        if ((now[from].MergedInto ?? from) == survivor || now[from] is { IsDeleted: true, MergedInto: null })
        {
            return survivor; // Done before, and the answer was lost; or there is nothing to merge any more.
        }

        if (now[into] is { IsDeleted: true, MergedInto: null })
        {
            return now[from].MergedInto ?? from; // What should stay was deleted: the other one stays.
        }

        HubSpotAnswer answer = await _requests.PostAsync(
            _requests.Path("objects", "/contacts/merge"), new JsonObject { ["primaryObjectId"] = survivor, ["objectIdToMerge"] = now[from].MergedInto ?? from }, cancellationToken).ConfigureAwait(false);
        answer.MustBeDone("merge two contacts");
        answer.MustHave("id");
        return HubSpotRecords.Id(answer.Body);
    }

    /// <inheritdoc/>
    public string IdField => _options.IdProperty;

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<string>> PrepareAsync(CrmObject kind, IReadOnlyList<CrmField> fields, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(fields);
        if (kind == CrmObject.Activity)
        {
            return []; // None is written, but notes and tasks of actions, which see to it themselves.
        }

        string kindName = HubSpotRecords.NameOf(kind);
        _definitions.Forget(kindName);
        HubSpotRecords records = await RecordsAsync(kind, [], cancellationToken).ConfigureAwait(false);
        if (records.Definitions.TryGetValue(_options.IdProperty, out HubSpotDefinition? link) && !link.HasUniqueValue)
        {
            throw new DestinationMustPauseException($"The property {_options.IdProperty} of {kindName} has no unique values, and HubSpot cannot change that: writes could make a second record. Delete it in HubSpot, or give another IdProperty.");
        }

        var made = new List<string>();
        foreach (CrmField field in fields)
        {
            bool isShared = kind == CrmObject.Deal && (field.Name is "stage" or "pipeline" or "status" || HubSpotRecords.DealNames.Any(names => names.Shared == field.Name));
            if (isShared || records.Definitions.ContainsKey(field.Name) || made.Contains(field.Name))
            {
                continue;
            }

            if (NameError(field.Name) is { } error)
            {
                throw new DestinationMustPauseException($"Of {kindName}: {error}.");
            }

            string group = kind switch { CrmObject.Contact => "contactinformation", CrmObject.Company => "companyinformation", _ => "dealinformation" };
            HubSpotAnswer answer = await _requests.PostAsync(_requests.Path("properties", "/" + kindName), Definition(group, field), cancellationToken).ConfigureAwait(false);
            if (answer.Status != 409)
            {
                answer.MustBeDone($"make the property {field.Name} of {kindName}");
                made.Add(field.Name);
            }
        }

        _definitions.Forget(kindName);
        return made;
    }

    /// <inheritdoc/>
    public string? NameError(string field) => HubSpotOptions.PropertyName().IsMatch(field) ? null : $"HubSpot takes no property \"{field}\": allowed are lower case letters, digits and _, beginning with a letter; give it another name in the mapping";

    private JsonObject Definition(string group, CrmField field)
    {
        (string type, string fieldType) = field.Type switch
        {
            CrmFieldType.Number => ("number", "number"),
            CrmFieldType.Boolean => ("bool", "booleancheckbox"),
            CrmFieldType.Date => ("date", "date"),
            CrmFieldType.Instant => ("datetime", "date"),
            CrmFieldType.List when field.Options is { Count: > 0 } => ("enumeration", "checkbox"),
            _ when field.Options is { Count: > 0 } => ("enumeration", "select"),
            _ => ("string", "text"), // A list of any text has no type of its own in HubSpot.
        };
        bool isLink = field.Name == _options.IdProperty;
        var json = new JsonObject
        {
            ["name"] = field.Name,
            ["label"] = isLink ? "StreamCdp id" : field.Name,
            ["description"] = isLink ? "Which profile of StreamCdp this is. Do not edit." : "Written by StreamCdp.",
            ["groupName"] = group,
            ["type"] = type,
            ["fieldType"] = fieldType,
        };
        if (isLink)
        {
            json["hasUniqueValue"] = true;
        }

        IReadOnlyList<string> options = type == "bool" ? ["true", "false"] : type == "enumeration" ? field.Options! : [];
        if (options.Count > 0)
        {
            json["options"] = new JsonArray([.. options.Select((option, order) => new JsonObject { ["value"] = option, ["label"] = option, ["displayOrder"] = order, ["hidden"] = false })]);
        }

        return json;
    }

    private async ValueTask<string> ListIdAsync(string list, CancellationToken cancellationToken)
    {
        if (_lists.TryGetValue(list, out string? known))
        {
            return known;
        }

        HubSpotAnswer answer = await FindAsync().ConfigureAwait(false);
        if (answer.Status == 404)
        {
            answer = await _requests.PostAsync(_requests.Path("lists", IsV3 ? "/" : ""), new JsonObject { ["name"] = list, ["objectTypeId"] = "0-1", ["processingType"] = "MANUAL" }, cancellationToken).ConfigureAwait(false);
            if (answer.Status is 400 or 409)
            {
                answer = await FindAsync().ConfigureAwait(false); // Somebody, or an earlier try of ours, was faster.
            }
        }

        answer.MustBeDone("make a list");
        answer.MustHave("list");
        JsonElement found = answer.Body.GetProperty("list");
        if (found.TryGetProperty("processingType", out JsonElement type) && type.ValueEquals("DYNAMIC"))
        {
            throw new DestinationMustPauseException($"The list \"{list}\" is an active list, which HubSpot fills by its own rule. Give another name, or make it a static list.");
        }

        return _lists[list] = found.GetProperty("listId").ToString();

        ValueTask<HubSpotAnswer> FindAsync() => _requests.GetAsync(_requests.Path("lists", $"/object-type-id/0-1/name/{Uri.EscapeDataString(list)}"), cancellationToken);
    }

    private bool IsV3 => _options.ApiVersion == "v3";
}
