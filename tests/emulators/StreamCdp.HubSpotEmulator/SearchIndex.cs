using System.Globalization;
using System.Text.Json.Nodes;

namespace StreamCdp.HubSpotEmulator;

/// <summary>What search finds: it lags behind the records, each change by its own time.</summary>
internal sealed class SearchIndex(TimeProvider time)
{
    private readonly PriorityQueue<IndexedRecord, (DateTimeOffset At, long Version)> _coming = new();
    private readonly Dictionary<HubSpotRecord, IndexedRecord> _found = [];

    public void Add(IndexedRecord image, TimeSpan lag) => _coming.Enqueue(image, (time.GetUtcNow() + lag, image.Version));

    public (IReadOnlyList<IndexedRecord> Page, int Total, int? Next) Search(HubSpotAccount account, string kind, JsonObject query)
    {
        CatchUp();
        int limit = query["limit"]?.GetValue<int>() ?? 10;
        if (limit is < 0 or > 200)
        {
            throw Bad($"Invalid limit: {limit}. The maximum is 200.");
        }

        string after = query["after"]?.ToString() ?? "0";
        if (!int.TryParse(after, CultureInfo.InvariantCulture, out int offset))
        {
            throw Bad($"Invalid input JSON on line 1, column 1: Cannot deserialize value of type `int` from String \"{after}\": not a valid `int` value");
        }

        if (offset + limit > account.SearchCap)
        {
            throw Bad($"The maximum number of results is {account.SearchCap}: there was a problem with the request (after {offset}).");
        }

        IEnumerable<IndexedRecord> found = _found.Values.Where(image => image.Record.Kind == kind && !image.IsGone);
        if (query["filterGroups"] is JsonArray { Count: > 0 } groups)
        {
            if (groups.Count > 6)
            {
                throw Bad("Too many filter groups.");
            }

            List<JsonArray> each = [.. groups.Select(group => group!["filters"]!.AsArray())];
            found = found.Where(image => each.Any(filters => filters.All(filter => Matches(account, kind, image, filter!.AsObject()))));
        }

        List<IndexedRecord> sorted = Sorted(account, kind, query["sorts"] as JsonArray, found);
        List<IndexedRecord> page = [.. sorted.Skip(offset).Take(limit)];
        return (page, sorted.Count, offset + page.Count < sorted.Count && page.Count > 0 ? offset + page.Count : null);
    }

    private void CatchUp()
    {
        while (_coming.TryPeek(out _, out (DateTimeOffset At, long Version) next) && next.At <= time.GetUtcNow())
        {
            IndexedRecord image = _coming.Dequeue();
            if (!_found.TryGetValue(image.Record, out IndexedRecord? has) || has.Version < image.Version)
            {
                _found[image.Record] = image;
            }
        }
    }

    private static List<IndexedRecord> Sorted(HubSpotAccount account, string kind, JsonArray? sorts, IEnumerable<IndexedRecord> found)
    {
        if (sorts is null or { Count: 0 })
        {
            return [.. found.OrderBy(image => image.Record.CreatedAt).ThenBy(image => image.Record.Id)];
        }

        if (sorts.Count > 1)
        {
            throw Bad("Only one sort is allowed.");
        }

        string property;
        bool isDescending;
        if (sorts[0] is JsonObject sort)
        {
            property = sort["propertyName"]!.ToString();
            isDescending = sort["direction"]?.ToString() == "DESCENDING";
        }
        else
        {
            property = sorts[0]!.ToString().TrimStart('-');
            isDescending = sorts[0]!.ToString().StartsWith('-');
        }

        HubSpotProperty definition = account.PropertiesOf(kind).GetValueOrDefault(property) ?? throw Bad($"There was a problem with the request: no property {property}.");
        Comparison<IndexedRecord> byValue = (a, b) => Compare(definition, a.Values.GetValueOrDefault(property, ""), b.Values.GetValueOrDefault(property, ""));
        List<IndexedRecord> sorted = [.. found];

        // Equal ones come in an order that is the index's own: the version, upside down.
        sorted.Sort((a, b) => byValue(a, b) is int order and not 0 ? (isDescending ? -order : order) : b.Version.CompareTo(a.Version));
        return sorted;
    }

    private static bool Matches(HubSpotAccount account, string kind, IndexedRecord image, JsonObject filter)
    {
        string name = filter["propertyName"]!.ToString();
        HubSpotProperty property = account.PropertiesOf(kind).GetValueOrDefault(name) ?? throw Bad($"There was a problem with the request: no property {name}.");
        string? value = image.Values.GetValueOrDefault(name);
        string wanted = filter["value"]?.ToString() ?? "";
        string[] values = filter["values"] is JsonArray array ? [.. array.Select(item => item!.ToString())] : [];
        string[] has = property.FieldType == "checkbox" ? HubSpotAccount.Split(value) : value is null ? [] : [value];
        return filter["operator"]!.ToString() switch
        {
            "EQ" => has.Any(item => Compare(property, item, wanted) == 0),
            "NEQ" => value is not null && !has.Any(item => Compare(property, item, wanted) == 0),
            "LT" => value is not null && Compare(property, value, wanted) < 0,
            "LTE" => value is not null && Compare(property, value, wanted) <= 0,
            "GT" => value is not null && Compare(property, value, wanted) > 0,
            "GTE" => value is not null && Compare(property, value, wanted) >= 0,
            "BETWEEN" => value is not null && Compare(property, value, wanted) >= 0 && Compare(property, value, filter["highValue"]!.ToString()) <= 0,
            "IN" => has.Any(item => values.Any(one => Compare(property, item, one) == 0)),
            "NOT_IN" => value is not null && !has.Any(item => values.Any(one => Compare(property, item, one) == 0)),
            "HAS_PROPERTY" => value is not null,
            "NOT_HAS_PROPERTY" => value is null,
            "CONTAINS_TOKEN" => Contains(value, wanted),
            "NOT_CONTAINS_TOKEN" => !Contains(value, wanted),
            string other => throw Bad($"Invalid input JSON: operator {other}."),
        };
    }

    private static bool Contains(string? value, string token) =>
        value is not null && value.Split([';', ' ', '@', ','], StringSplitOptions.RemoveEmptyEntries).Append(value).Concat(HubSpotAccount.Split(value)).Any(part =>
            token.StartsWith('*') || token.EndsWith('*') ? part.Contains(token.Trim('*'), StringComparison.OrdinalIgnoreCase) : part.Equals(token, StringComparison.OrdinalIgnoreCase));

    private static int Compare(HubSpotProperty property, string a, string b) => property.Type switch
    {
        "number" when decimal.TryParse(a, CultureInfo.InvariantCulture, out decimal x) && decimal.TryParse(b, CultureInfo.InvariantCulture, out decimal y) => x.CompareTo(y),
        "datetime" or "date" when HubSpotAccount.At(a) is { } x && HubSpotAccount.At(b) is { } y => x.CompareTo(y),
        "string" or "enumeration" => string.Compare(a, b, StringComparison.OrdinalIgnoreCase),
        _ => string.CompareOrdinal(a, b),
    };

    private static HubSpotErrorException Bad(string message) => new(400, "VALIDATION_ERROR", message);
}
