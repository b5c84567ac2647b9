using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;

namespace StreamCdp.HubSpotEmulator;

public sealed partial class EmulatedHubSpot
{
    private const int MostOfABatch = 100;

    private (int, JsonNode?) Route(string method, string[] path, JsonObject body, IQueryCollection query) => (method, path) switch
    {
        ("GET", ["objects", string kind]) => List(kind, query),
        ("POST", ["objects", string kind]) => (201, Json(Linked(Account.Create(kind, WithTime(kind, Values(body)), "INTEGRATION"), body), null)),
        ("POST", ["objects", string kind, "search"]) => Search(kind, body),
        ("POST", ["objects", string kind, "merge"]) => (200, Json(Account.MergeRecords(kind, body["primaryObjectId"]!.ToString(), body["objectIdToMerge"]!.ToString(), mintsNewId: MergesMintIds), null)),
        ("POST", ["objects", string kind, "batch", "read"]) => BatchRead(kind, body, query),
        ("POST", ["objects", string kind, "batch", "create"]) => BatchCreate(kind, body),
        ("POST", ["objects", string kind, "batch", "update"]) => BatchUpdate(kind, body),
        ("POST", ["objects", string kind, "batch", "upsert"]) => BatchUpsert(kind, body),
        ("POST", ["objects", string kind, "batch", "archive"]) => BatchArchive(kind, body),
        ("GET", ["objects", string kind, string id]) => (200, Json(One(kind, id, query), Names(query["properties"]), history: Names(query["propertiesWithHistory"]))),
        ("PATCH", ["objects", string kind, string id]) => Patch(kind, One(kind, id, query), body),
        ("DELETE", ["objects", string kind, string id]) => Delete(kind, id),
        ("PUT", ["objects", string from, string fromId, "associations", "default", string to, string toId]) => Associate(from, fromId, to, toId),
        ("POST", ["associations", string from, string to, "batch", "read"]) => ReadAssociations(from, to, body),
        ("POST", ["associations", string from, string to, "batch", "create"]) => CreateAssociations(from, to, body, 201),
        ("POST", ["associations", string from, string to, "batch", "associate", "default"]) => CreateAssociations(from, to, body, 200),
        ("POST", ["associations", string from, string to, "batch", "archive"]) => ArchiveAssociations(from, to, body),
        ("GET", ["properties", string kind]) => (200, new JsonObject { ["results"] = new JsonArray([.. Account.PropertiesOf(kind).Values.Select(Json)]) }),
        ("GET", ["properties", string kind, string name]) => (200, Json(Account.PropertiesOf(kind).GetValueOrDefault(name) ?? throw HubSpotErrorException.NotFound($"Property {name} does not exist."))),
        ("POST", ["properties", string kind]) => CreateProperty(kind, body),
        ("GET", ["pipelines", "deals"]) => (200, new JsonObject { ["results"] = new JsonArray([.. Account.Pipelines.Select((pipeline, index) => Json(pipeline, index))]) }),
        ("GET", ["lists", "object-type-id", "0-1", "name", string name]) => (200, new JsonObject { ["list"] = Json(Account.ListOf(name) ?? throw HubSpotErrorException.NotFound("List does not exist.")) }),
        ("GET", ["lists", string id]) => (200, new JsonObject { ["list"] = Json(Account.ListById(id) ?? throw HubSpotErrorException.NotFound("List does not exist.")) }),
        ("POST", ["lists"]) => (200, new JsonObject { ["list"] = Json(Account.AddList(body["name"]!.ToString(), body["processingType"]!.ToString())) }),
        ("PUT", ["lists", string id, "memberships", "add-and-remove"]) => ChangeList(id, body),
        ("GET", ["lists", string id, "memberships"]) => Memberships(id),
        _ => (404, new HubSpotErrorException(404, "OBJECT_NOT_FOUND", "The requested resource does not exist.").ToJson(Correlation())),
    };

    /// <summary>Merges through the API give what stays an id of its own.</summary>
    public bool MergesMintIds { get; set; }

    private (int, JsonNode?) List(string kind, IQueryCollection query)
    {
        int limit = int.TryParse(query["limit"], CultureInfo.InvariantCulture, out int wanted) ? wanted : 10;
        if (limit is < 1 or > 100)
        {
            throw new HubSpotErrorException(400, "VALIDATION_ERROR", $"Invalid limit: {limit}.");
        }

        long after = 0;
        if (query["after"].ToString() is { Length: > 0 } token && !TryToken(token, out after))
        {
            throw new HubSpotErrorException(400, "VALIDATION_ERROR", $"Invalid paging token: Cannot deserialize value of type from \"{token}\".");
        }

        bool isArchived = query["archived"] == "true";
        List<HubSpotRecord> found = [.. Account.All(kind).Where(record => record.Id > after && record.ArchivedAt is not null == isArchived && record.MergedInto is null).Take(limit + 1)];
        string[] linked = Names(query["associations"]);
        var results = new JsonArray();
        foreach (HubSpotRecord record in found.Take(limit))
        {
            JsonObject json = Json(record, Names(query["properties"]), history: Names(query["propertiesWithHistory"]));
            if (linked.Length > 0)
            {
                var associations = new JsonObject();
                foreach (string to in linked)
                {
                    string type = $"{kind[..^1]}_to_{(to == HubSpotAccount.Companies ? "company" : to[..^1])}";
                    associations[to] = new JsonObject { ["results"] = new JsonArray([.. Account.Linked(kind, record.Id, to).Select(id => new JsonObject { ["id"] = Text(id), ["type"] = type })]) };
                }

                json["associations"] = associations;
            }

            results.Add(json);
        }

        var answer = new JsonObject { ["results"] = results };
        if (found.Count > limit)
        {
            answer["paging"] = new JsonObject { ["next"] = new JsonObject { ["after"] = Convert.ToBase64String(Encoding.ASCII.GetBytes("id:" + found[limit - 1].IdText)), ["link"] = "" } };
        }

        return (200, answer);
    }

    private (int, JsonNode?) Search(string kind, JsonObject body)
    {
        (IReadOnlyList<IndexedRecord> page, int total, int? next) = Account.Index.Search(Account, kind, body);
        string[] names = Names(body["properties"]);
        var answer = new JsonObject { ["total"] = total, ["results"] = new JsonArray([.. page.Select(image => Json(image.Record, names, image))]) };
        if (next is not null)
        {
            answer["paging"] = new JsonObject { ["next"] = new JsonObject { ["after"] = Text(next.Value), ["link"] = "" } };
        }

        return (200, answer);
    }

    private (int, JsonNode?) BatchRead(string kind, JsonObject body, IQueryCollection query)
    {
        string? idProperty = body["idProperty"]?.ToString();
        bool isArchived = query["archived"] == "true";
        string[] names = Names(body["properties"]);
        string[] history = Names(body["propertiesWithHistory"]);
        var results = new List<JsonNode>();
        var missing = new List<string>();
        var seen = new HashSet<long>();
        foreach (JsonNode? input in Inputs(body))
        {
            string id = input!["id"]!.ToString();
            HubSpotRecord? record = idProperty is not null ? Account.By(kind, idProperty, id)
                : isArchived ? Account.Find(kind, id) is { ArchivedAt: not null, MergedInto: null } gone ? gone : null
                : Account.Live(kind, id);
            if (record is not null && idProperty is null && record.IdText != id && !Account.BatchReadFollowsMerges)
            {
                record = null;
            }

            if (record is null)
            {
                missing.Add(id);
            }
            else if (seen.Add(record.Id))
            {
                results.Add(Json(record, names, history: history));
            }
        }

        JsonObject[] errors = missing.Count == 0 ? [] : [RowError("OBJECT_NOT_FOUND", "Could not get some " + kind + " objects, they may be deleted or not exist. Check that ids are valid.", ("ids", [.. missing]))];
        return Batch(results, errors, 200);
    }

    private (int, JsonNode?) BatchCreate(string kind, JsonObject body)
    {
        JsonArray inputs = Inputs(body);
        foreach (JsonNode? input in inputs)
        {
            Account.Validated(kind, WithTime(kind, Values(input!.AsObject())), null);
        }

        foreach (JsonNode? input in inputs)
        {
            if (Values(input!.AsObject()).TryGetValue("email", out string? email) && Account.All(kind).FirstOrDefault(record => record.ArchivedAt is null && email.Equals(record["email"], StringComparison.OrdinalIgnoreCase)) is { } holder)
            {
                throw new HubSpotErrorException(409, "CONFLICT", $"Contact already exists. Existing ID: {holder.Id}");
            }
        }

        return Batch([.. inputs.Select(input => Traced(Json(Linked(Account.Create(kind, Values(input!.AsObject()), "INTEGRATION"), input.AsObject()), [.. Values(input.AsObject()).Keys]), input))], [], 201);
    }

    private static Dictionary<string, string> WithTime(string kind, Dictionary<string, string> values) => !HubSpotAccount.IsActivity(kind) || values.ContainsKey("hs_timestamp")
        ? values
        : throw new HubSpotErrorException(400, "VALIDATION_ERROR", "Error creating object. Required properties were not set: [hs_timestamp]");

    private (int, JsonNode?) BatchUpdate(string kind, JsonObject body)
    {
        var results = new List<JsonNode>();
        var errors = new List<JsonObject>();
        List<(JsonObject Input, HubSpotRecord? Record, Dictionary<string, string> Values)> rows = [];
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (JsonNode? input in Inputs(body))
        {
            string? idProperty = input!["idProperty"]?.ToString();
            if (idProperty == "hs_object_id")
            {
                throw new HubSpotErrorException(400, "VALIDATION_ERROR", "idProperty hs_object_id is not allowed: omit it.");
            }

            string id = input["id"]!.ToString();
            if (!seen.Add(id))
            {
                throw new HubSpotErrorException(400, "VALIDATION_ERROR", $"Duplicate IDs found in batch input: [{id}]. IDs must be unique.");
            }

            HubSpotRecord? record = idProperty is null ? Account.Live(kind, id) : Account.By(kind, idProperty, id);
            rows.Add((input.AsObject(), record, Account.Validated(kind, Values(input.AsObject()), record)));
        }

        foreach ((JsonObject input, HubSpotRecord? record, Dictionary<string, string> values) in rows)
        {
            if (record is null)
            {
                errors.Add(RowError("OBJECT_NOT_FOUND", "Could not find some of the objects.", ("ids", [input["id"]!.ToString()]), ("objectWriteTraceId", Trace(input))));
            }
            else
            {
                try
                {
                    Account.MustBeFree(values, record);
                    Account.Apply(record, values, "INTEGRATION");
                    results.Add(Traced(Json(record, [.. values.Keys]), input));
                }
                catch (HubSpotErrorException exception) when (exception.Status == 409)
                {
                    errors.Add(RowError(exception.Category, exception.Message, ("objectWriteTraceId", Trace(input))));
                }
            }
        }

        return Batch(results, errors, 200);
    }

    private (int, JsonNode?) BatchUpsert(string kind, JsonObject body)
    {
        var results = new List<JsonNode>();
        var errors = new List<JsonObject>();
        JsonArray inputs = Inputs(body);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        List<(JsonObject Input, HubSpotRecord? Record, Dictionary<string, string> Values)> rows = [];
        foreach (JsonNode? node in inputs)
        {
            JsonObject input = node!.AsObject();
            string idProperty = input["idProperty"]?.ToString() ?? throw new HubSpotErrorException(400, "VALIDATION_ERROR", "idProperty is required.");
            string id = input["id"]!.ToString();
            if (!seen.Add(id))
            {
                throw new HubSpotErrorException(400, "VALIDATION_ERROR", $"Duplicate IDs found in batch input: [{id}]. IDs must be unique.");
            }

            HubSpotRecord? record = Account.By(kind, idProperty, id);
            Dictionary<string, string> values = Values(input);
            values[idProperty] = id;
            rows.Add((input, record, Account.Validated(kind, values, record)));
        }

        foreach ((JsonObject input, HubSpotRecord? record, Dictionary<string, string> values) in rows)
        {
            try
            {
                HubSpotRecord written = record ?? Account.Create(kind, values, "INTEGRATION");
                if (record is not null)
                {
                    Account.MustBeFree(values, record);
                    Account.Apply(record, values, "INTEGRATION");
                }

                JsonObject json = Traced(Json(written, [.. values.Keys]), input);
                json["new"] = record is null;
                results.Add(json);
            }
            catch (HubSpotErrorException exception) when (exception.Status == 409)
            {
                errors.Add(RowError(exception.Category, exception.Message, ("objectWriteTraceId", Trace(input))));
            }
        }

        return Batch(results, errors, 200);
    }

    private (int, JsonNode?) BatchArchive(string kind, JsonObject body)
    {
        foreach (JsonNode? input in Inputs(body))
        {
            if (Account.Live(kind, input!["id"]!.ToString()) is { } record)
            {
                Account.Archive(record);
            }
        }

        return (204, null);
    }

    private (int, JsonNode?) Patch(string kind, HubSpotRecord record, JsonObject body)
    {
        Dictionary<string, string> values = Account.Validated(kind, Values(body), record);
        Account.MustBeFree(values, record);
        Account.Apply(record, values, "INTEGRATION");
        return (200, Json(record, [.. values.Keys]));
    }

    private (int, JsonNode?) Delete(string kind, string id)
    {
        if (Account.Live(kind, id) is { } record)
        {
            Account.Archive(record);
        }

        return (204, null);
    }

    private (int, JsonNode?) Associate(string from, string fromId, string to, string toId)
    {
        HubSpotRecord a = Account.Live(from, fromId) ?? throw HubSpotErrorException.NotFound("resource not found");
        HubSpotRecord b = Account.Live(to, toId) ?? throw HubSpotErrorException.NotFound("resource not found");
        Account.Link(from, a.Id, to, b.Id);
        var result = new JsonObject
        {
            ["from"] = new JsonObject { ["id"] = a.IdText },
            ["to"] = new JsonObject { ["id"] = b.IdText },
            ["associationSpec"] = new JsonObject { ["associationCategory"] = "HUBSPOT_DEFINED", ["associationTypeId"] = TypeId(from, to) },
        };
        return Batch([result], [], 200);
    }

    private (int, JsonNode?) ReadAssociations(string from, string to, JsonObject body)
    {
        var results = new List<JsonNode>();
        var errors = new List<JsonObject>();
        foreach (JsonNode? input in Inputs(body, most: 1000))
        {
            string id = input!["id"]!.ToString();
            IReadOnlyList<long> linked = Account.Live(from, id) is { } record ? Account.Linked(from, record.Id, to) : [];
            if (linked.Count == 0)
            {
                JsonObject error = RowError("OBJECT_NOT_FOUND", $"No {to[..^1]} is associated with {from[..^1]} {id}.", ("fromObjectId", [id]));
                error["subCategory"] = "crm.associations.NO_ASSOCIATIONS_FOUND";
                errors.Add(error);
                continue;
            }

            results.Add(new JsonObject
            {
                ["from"] = new JsonObject { ["id"] = id },
                ["to"] = new JsonArray([.. linked.Select(toId => new JsonObject
                {
                    ["toObjectId"] = toId,
                    ["associationTypes"] = new JsonArray(new JsonObject { ["category"] = "HUBSPOT_DEFINED", ["typeId"] = TypeId(from, to), ["label"] = null }),
                })]),
            });
        }

        return Batch(results, errors, 200);
    }

    private (int, JsonNode?) CreateAssociations(string from, string to, JsonObject body, int status)
    {
        var results = new List<JsonNode>();
        var errors = new List<JsonObject>();
        foreach (JsonNode? input in Inputs(body, most: 2000))
        {
            HubSpotRecord? a = Account.Live(from, input!["from"]!["id"]!.ToString());
            HubSpotRecord? b = Account.Live(to, input["to"]!["id"]!.ToString());
            if (a is null || b is null)
            {
                errors.Add(RowError("OBJECT_NOT_FOUND", "resource not found", ("fromObjectId", [input["from"]!["id"]!.ToString()]), ("toObjectId", [input["to"]!["id"]!.ToString()])));
                continue;
            }

            Account.Link(from, a.Id, to, b.Id);
            results.Add(new JsonObject { ["fromObjectTypeId"] = HubSpotAccount.TypeOf(from), ["fromObjectId"] = a.Id, ["toObjectTypeId"] = HubSpotAccount.TypeOf(to), ["toObjectId"] = b.Id, ["labels"] = new JsonArray() });
        }

        return Batch(results, errors, status);
    }

    private (int, JsonNode?) ArchiveAssociations(string from, string to, JsonObject body)
    {
        foreach (JsonNode? input in Inputs(body, most: 2000))
        {
            foreach (JsonNode? target in input!["to"]!.AsArray())
            {
                if (Account.Live(from, input["from"]!["id"]!.ToString()) is { } a && Account.Live(to, target!["id"]!.ToString()) is { } b)
                {
                    Account.Unlink(from, a.Id, to, b.Id);
                }
            }
        }

        return (204, null);
    }

    private (int, JsonNode?) CreateProperty(string kind, JsonObject body)
    {
        string name = body["name"]!.ToString();
        if (!System.Text.RegularExpressions.Regex.IsMatch(name, "^[a-z][a-z0-9_]*$"))
        {
            throw new HubSpotErrorException(400, "VALIDATION_ERROR", $"Property name {name} is invalid: lower case letters, digits and underscores.");
        }

        if (Account.PropertiesOf(kind).ContainsKey(name))
        {
            throw new HubSpotErrorException(409, "OBJECT_ALREADY_EXISTS", $"A property named '{name}' already exists.");
        }

        string[]? options = body["options"] is JsonArray { Count: > 0 } array ? [.. array.Select(option => option!["value"]!.ToString())] : null;
        var property = new HubSpotProperty(name, body["type"]!.ToString(), body["fieldType"]!.ToString(), HasUniqueValue: body["hasUniqueValue"]?.GetValue<bool>() ?? false, Options: options, Label: body["label"]?.ToString(), Group: body["groupName"]!.ToString());
        Account.Define(kind, property);
        return (201, Json(property));
    }

    private (int, JsonNode?) ChangeList(string id, JsonObject body)
    {
        HubSpotList list = Account.ListById(id) ?? throw HubSpotErrorException.NotFound("List does not exist.");
        if (list.ProcessingType == "DYNAMIC")
        {
            throw new HubSpotErrorException(400, "VALIDATION_ERROR", "Cannot change memberships of a DYNAMIC list.", subCategory: "ILS.INVALID_LIST_PROCESSING_TYPE");
        }

        string[] add = Names(body["recordIdsToAdd"]);
        string[] remove = Names(body["recordIdsToRemove"]);
        var added = new JsonArray();
        var removed = new JsonArray();
        var missing = new JsonArray();
        foreach (string contact in add)
        {
            if (Account.Live(HubSpotAccount.Contacts, contact) is { } record)
            {
                if (list.Members.TryAdd(record.Id, Account.Now()))
                {
                    added.Add(contact);
                }
            }
            else
            {
                missing.Add(contact);
            }
        }

        foreach (string contact in remove)
        {
            if (Account.Live(HubSpotAccount.Contacts, contact) is not { } record)
            {
                missing.Add(contact);
            }
            else if (list.Members.Remove(record.Id))
            {
                removed.Add(contact);
            }
        }

        return (200, new JsonObject { ["recordsIdsAdded"] = added, ["recordIdsRemoved"] = removed, ["recordIdsMissing"] = missing });
    }

    private (int, JsonNode?) Memberships(string id)
    {
        HubSpotList list = Account.ListById(id) ?? throw HubSpotErrorException.NotFound("List does not exist.");
        return (200, new JsonObject
        {
            ["results"] = new JsonArray([.. list.Members.Select(member => new JsonObject { ["recordId"] = Text(member.Key), ["membershipTimestamp"] = HubSpotAccount.Instant(member.Value) })]),
            ["total"] = list.Members.Count,
        });
    }

    private HubSpotRecord One(string kind, string id, IQueryCollection query)
    {
        HubSpotRecord? record = query["idProperty"].ToString() is { Length: > 0 } property ? Account.By(kind, property, id)
            : query["archived"] == "true" ? Account.Find(kind, id)
            : Account.Live(kind, id);
        return record ?? throw HubSpotErrorException.NotFound("Object not found. objectId are usually numeric.");
    }

    /// <summary>Links what was just made, as the associations of its request say.</summary>
    private HubSpotRecord Linked(HubSpotRecord record, JsonObject body)
    {
        if (body["associations"] is JsonArray associations)
        {
            foreach (JsonNode? association in associations)
            {
                int type = association!["types"]![0]!["associationTypeId"]!.GetValue<int>();
                string to = type is 3 or 280 or 194 or 198 or 200 or 202 or 204 ? HubSpotAccount.Contacts : type is 4 ? HubSpotAccount.Deals : HubSpotAccount.Companies;
                if (Account.Live(to, association["to"]!["id"]!.ToString()) is { } other)
                {
                    Account.Link(record.Kind, record.Id, to, other.Id);
                }
            }
        }

        return record;
    }

    /// <summary>Batch answers are in no order that anybody may rely on: every other one comes upside down.</summary>
    private (int, JsonNode?) Batch(List<JsonNode> results, IReadOnlyList<JsonObject> errors, int status)
    {
        _reverses = !_reverses;
        if (_reverses)
        {
            results.Reverse();
        }

        var answer = new JsonObject { ["status"] = "COMPLETE", ["results"] = new JsonArray([.. results]), ["startedAt"] = Stamp(), ["completedAt"] = Stamp() };
        if (errors.Count == 0)
        {
            return (status, answer);
        }

        answer["numErrors"] = errors.Count;
        answer["errors"] = new JsonArray([.. errors]);
        return (207, answer);
    }

    private static JsonObject RowError(string category, string message, params (string Key, string[] Values)[] context)
    {
        var json = new JsonObject();
        foreach ((string key, string[] values) in context.Where(entry => entry.Values.Length > 0))
        {
            json[key] = new JsonArray([.. values.Select(value => (JsonNode)value)]);
        }

        return new JsonObject { ["status"] = "error", ["category"] = category, ["message"] = message, ["context"] = json, ["links"] = new JsonObject(), ["errors"] = new JsonArray() };
    }

    private static string[] Trace(JsonNode input) => input["objectWriteTraceId"] is { } trace ? [trace.ToString()] : [];

    private static JsonObject Traced(JsonObject json, JsonNode? input)
    {
        if (input!["objectWriteTraceId"] is { } trace)
        {
            json["objectWriteTraceId"] = trace.ToString();
        }

        return json;
    }

    private static JsonArray Inputs(JsonObject body, int most = MostOfABatch)
    {
        JsonArray inputs = body["inputs"] as JsonArray ?? throw new HubSpotErrorException(400, "VALIDATION_ERROR", "Invalid input JSON: inputs is missing.");
        return inputs.Count <= most ? inputs : throw new HubSpotErrorException(400, "VALIDATION_ERROR", $"The maximum number of inputs supported in a batch request is {most} but found {inputs.Count}.");
    }

    private static Dictionary<string, string> Values(JsonObject body) =>
        body["properties"] is JsonObject properties ? properties.ToDictionary(pair => pair.Key, pair => pair.Value?.ToString() ?? "", StringComparer.Ordinal) : [];

    private static string[] Names(JsonNode? names) => names is JsonArray array ? [.. array.Select(name => name!.ToString())] : [];

    private static string[] Names(Microsoft.Extensions.Primitives.StringValues names) => [.. names.SelectMany(text => (text ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries))];

    private JsonObject Json(HubSpotRecord record, string[]? names, IndexedRecord? image = null, string[]? history = null)
    {
        IReadOnlyDictionary<string, string> values = image is null ? record.Values : image.Values;
        var properties = new JsonObject();
        string[] standard = record.Kind == HubSpotAccount.Contacts ? ["email", "firstname", "lastname"] : record.Kind == HubSpotAccount.Deals ? ["dealname", "amount", "dealstage", "pipeline", "closedate"] : HubSpotAccount.IsActivity(record.Kind) ? ["hs_timestamp"] : ["name", "domain"];
        foreach (string name in (names is { Length: > 0 } ? names : standard).Concat(["createdate", "hs_object_id", HubSpotAccount.ModifiedProperty(record.Kind)]).Distinct(StringComparer.Ordinal).Where(Account.PropertiesOf(record.Kind).ContainsKey))
        {
            properties[name] = values.GetValueOrDefault(name);
        }

        var json = new JsonObject
        {
            ["id"] = record.IdText,
            ["properties"] = properties,
            ["createdAt"] = HubSpotAccount.Instant(record.CreatedAt),
            ["updatedAt"] = HubSpotAccount.Instant(image?.UpdatedAt ?? record.UpdatedAt),
            ["archived"] = record.ArchivedAt is not null,
        };
        if (record.ArchivedAt is { } archivedAt)
        {
            json["archivedAt"] = HubSpotAccount.Instant(archivedAt);
        }

        if (history is { Length: > 0 })
        {
            var all = new JsonObject();
            foreach (string name in history)
            {
                all[name] = new JsonArray([.. record.History.GetValueOrDefault(name, []).Select(value => new JsonObject { ["value"] = value.Value, ["timestamp"] = HubSpotAccount.Instant(value.At), ["sourceType"] = value.SourceType })]);
            }

            json["propertiesWithHistory"] = all;
        }

        return json;
    }

    private static JsonObject Json(HubSpotProperty property) => new()
    {
        ["name"] = property.Name,
        ["label"] = property.Label ?? property.Name,
        ["description"] = "",
        ["groupName"] = property.Group,
        ["type"] = property.Type,
        ["fieldType"] = property.FieldType,
        ["hasUniqueValue"] = property.HasUniqueValue,
        ["calculated"] = false,
        ["archived"] = false,
        ["options"] = new JsonArray([.. (property.Options ?? []).Select((option, index) => new JsonObject { ["value"] = option, ["label"] = property.OptionLabels?[index] ?? option, ["displayOrder"] = index, ["hidden"] = false })]),
        ["modificationMetadata"] = new JsonObject { ["readOnlyValue"] = property.IsReadOnly, ["readOnlyDefinition"] = property.IsReadOnly, ["archivable"] = !property.IsReadOnly },
    };

    private JsonObject Json(HubSpotPipeline pipeline, int order) => new()
    {
        ["id"] = pipeline.Id,
        ["label"] = pipeline.Label,
        ["displayOrder"] = order,
        ["archived"] = false,
        ["createdAt"] = Stamp(),
        ["updatedAt"] = Stamp(),
        ["stages"] = new JsonArray([.. pipeline.Stages.Select((stage, index) => new JsonObject
        {
            ["id"] = stage.Id,
            ["label"] = stage.Label,
            ["displayOrder"] = index,
            ["archived"] = false,
            ["createdAt"] = Stamp(),
            ["updatedAt"] = Stamp(),
            ["metadata"] = new JsonObject { ["isClosed"] = stage.IsClosed ? "true" : "false", ["probability"] = stage.Probability.ToString("0.0", CultureInfo.InvariantCulture) },
        })]),
    };

    private static JsonObject Json(HubSpotList list) => new()
    {
        ["listId"] = list.Id,
        ["listVersion"] = 1,
        ["name"] = list.Name,
        ["objectTypeId"] = "0-1",
        ["processingType"] = list.ProcessingType,
        ["processingStatus"] = "COMPLETE",
    };

    private static bool TryToken(string token, out long id)
    {
        Span<byte> bytes = stackalloc byte[64];
        id = 0;
        return Convert.TryFromBase64String(token, bytes, out int length) && Encoding.ASCII.GetString(bytes[..length]) is ['i', 'd', ':', .. string number] && long.TryParse(number, CultureInfo.InvariantCulture, out id);
    }

    private static int TypeId(string from, string to) => (from, to) switch
    {
        (HubSpotAccount.Deals, HubSpotAccount.Contacts) => 3,
        (HubSpotAccount.Contacts, HubSpotAccount.Deals) => 4,
        (HubSpotAccount.Companies, HubSpotAccount.Contacts) => 280,
        (HubSpotAccount.Contacts, HubSpotAccount.Companies) => 279,
        (HubSpotAccount.Deals, HubSpotAccount.Companies) => 341,
        (HubSpotAccount.Calls, HubSpotAccount.Contacts) => 194,
        (HubSpotAccount.Contacts, HubSpotAccount.Calls) => 193,
        (HubSpotAccount.Emails, HubSpotAccount.Contacts) => 198,
        (HubSpotAccount.Contacts, HubSpotAccount.Emails) => 197,
        (HubSpotAccount.Meetings, HubSpotAccount.Contacts) => 200,
        (HubSpotAccount.Contacts, HubSpotAccount.Meetings) => 199,
        (HubSpotAccount.Notes, HubSpotAccount.Contacts) => 202,
        (HubSpotAccount.Contacts, HubSpotAccount.Notes) => 201,
        (HubSpotAccount.Tasks, HubSpotAccount.Contacts) => 204,
        (HubSpotAccount.Contacts, HubSpotAccount.Tasks) => 203,
        _ => 342,
    };

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);
}
