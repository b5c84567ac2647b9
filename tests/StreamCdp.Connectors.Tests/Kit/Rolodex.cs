using System.Globalization;
using System.Text.Json.Nodes;

namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>The other side of <see cref="TemplateCrm"/>: cards in memory, behind requests with a status, as a web API has them.</summary>
internal sealed class Rolodex
{
    public const string Secret = "secret-of-the-rolodex";
    public const int PageCards = 3;

    private readonly SortedDictionary<long, JsonObject> _cards = [];
    private CrmAnswering _answering;

    public DateTimeOffset Now { get; set; } = new(2026, 11, 25, 0, 0, 0, TimeSpan.Zero);

    public Dictionary<string, HashSet<string>> Tabs { get; } = [];

    public ValueTask BehaveAsync(CrmAnswering answering)
    {
        _answering = answering;
        return ValueTask.CompletedTask;
    }

    /// <summary>A person, or a request, writes a card.</summary>
    public string Put(string? id, params (string Field, JsonNode? Value)[] fields)
    {
        long number = id is null ? _cards.Count + 1 : long.Parse(id, CultureInfo.InvariantCulture);
        if (!_cards.TryGetValue(number, out JsonObject? card))
        {
            _cards[number] = card = new JsonObject { ["id"] = number.ToString(CultureInfo.InvariantCulture), ["key"] = null, ["deleted"] = false, ["revision"] = "0", ["fields"] = new JsonObject() };
        }

        foreach ((string field, JsonNode? value) in fields)
        {
            card["fields"]![field] = value?.DeepClone();
        }

        card["changed"] = Now.ToUnixTimeMilliseconds();
        card["revision"] = (int.Parse((string)card["revision"]!, CultureInfo.InvariantCulture) + 1).ToString(CultureInfo.InvariantCulture);
        return (string)card["id"]!;
    }

    public string Delete(string id)
    {
        _cards[long.Parse(id, CultureInfo.InvariantCulture)]["deleted"] = true;
        return Put(id);
    }

    /// <summary>A request.</summary>
    public async Task<(int Status, JsonNode? Answer, DateTimeOffset At, TimeSpan? RetryAfter)> AskAsync(string secret, string what, JsonObject question, CancellationToken cancellationToken)
    {
        if (_answering == CrmAnswering.Hangs)
        {
            await Task.Delay(Timeout.Infinite, cancellationToken);
        }

        if (secret != Secret || _answering is CrmAnswering.IsAway or CrmAnswering.IsLimited)
        {
            return (secret != Secret ? 401 : _answering == CrmAnswering.IsAway ? 503 : 429, null, Now, _answering == CrmAnswering.IsLimited ? TimeSpan.FromSeconds(7) : null);
        }

        JsonNode answer = what switch
        {
            "GET cards" => Json(_cards.Where(card => card.Key > (long)question["after"]! && (long)card.Value["changed"]! >= (long)question["since"]!).Take(PageCards).Select(card => card.Value)),
            "GET cards/some" => Json(Texts(question["ids"]).Select(Find).OfType<JsonObject>()),
            "GET cards/find" => Json(_cards.Values.Where(card => Texts(question["keys"]).Contains((string?)card["key"]) || Texts(question["emails"]).Contains((string?)card["fields"]!["email"], StringComparer.OrdinalIgnoreCase))),
            "DELETE cards" => Json(Texts(question["ids"]).Select(Find).OfType<JsonObject>().Where(card => !(bool)card["deleted"]!).ToList().Select(card => Find(Delete((string)card["id"]!))!)),
            "PUT card" => Write(question),
            "PUT tab" => Tab(question),
            _ => new JsonArray(),
        };
        return what == "PUT card" && _answering == CrmAnswering.LosesAnswers ? throw new IOException("Cut.") : (200, answer, Now, null);
    }

    private JsonObject Write(JsonObject wanted)
    {
        string? id = (string?)wanted["id"];
        JsonObject? card = id is null ? null : Find(id);
        JsonObject fields = wanted["fields"]!.AsObject();
        string? problem = id is not null && (card is null || (bool)card["deleted"]!) ? "gone"
            : card is not null && (string?)wanted["revision"] is { } revision && revision != (string?)card["revision"] ? "changed"
            : fields.FirstOrDefault(field => field.Key is not ("name" or "note" or "email" or "age") || (field.Key == "age" && field.Value?.GetValueKind() is not (null or System.Text.Json.JsonValueKind.Number))).Key;
        if (problem is null)
        {
            card = Find(Put(id, [.. fields.Select(field => (field.Key, field.Value?.GetValueKind() == System.Text.Json.JsonValueKind.String ? (JsonNode)((string)field.Value!).Trim() : field.Value))]))!;
            card["key"] = (string?)wanted["key"] ?? (string?)card["key"];
        }

        return new JsonObject { ["problem"] = problem, ["card"] = card?.DeepClone() };
    }

    private JsonArray Tab(JsonObject wanted)
    {
        string name = (string)wanted["name"]!;
        HashSet<string> tab = Tabs.TryGetValue(name, out HashSet<string>? found) ? found : Tabs[name] = [];
        string[] gone = [.. Texts(wanted["add"]).OfType<string>().Where(id => Find(id) is not { } card || (bool)card["deleted"]!)];
        tab.UnionWith(Texts(wanted["add"]).OfType<string>().Except(gone));
        tab.ExceptWith(Texts(wanted["remove"]).OfType<string>());
        return [.. gone.Select(id => (JsonNode)id)];
    }

    private JsonObject? Find(string? id) => long.TryParse(id, CultureInfo.InvariantCulture, out long number) ? _cards.GetValueOrDefault(number) : null;

    private static JsonArray Json(IEnumerable<JsonObject> cards) => [.. cards.Select(card => card.DeepClone())];

    private static string?[] Texts(JsonNode? texts) => [.. texts!.AsArray().Select(text => (string?)text)];
}
