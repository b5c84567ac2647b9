using System.Text.Json.Nodes;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Generators;

/// <summary>An event, or a tick of the wall clock.</summary>
internal sealed record HistoryStep(OracleEvent? Event, long AtMs);

/// <summary>Random histories of few people and devices, so that nearly everything collides: links, limits, alias, late, repeated, equal times, blocked, invalid, null.</summary>
/// <param name="choice">Seeded.</param>
/// <param name="crm">Puts CRM records into contexts.</param>
/// <param name="windows">Windows of the model and the dedup window: time likes to jump to their edges.</param>
/// <param name="hasTicks">Wall clock.</param>
internal sealed class HistoryGenerator(Choice choice, CrmGenerator crm, IReadOnlyList<long> windows, bool hasTicks)
{
    /// <summary>2026-01-01T00:00:00Z.</summary>
    private const long Base = 1_767_225_600_000;

    private readonly List<OracleEvent> _sent = [];
    private readonly List<long> _times = [];
    private readonly string _person = "123"[..(1 + choice.Below(3))];
    private long _now = Base + choice.Of(0, 1, 59_999, 3_599_999, 86_399_999, 12_345_678);
    private int _messages;

    public List<HistoryStep> Generate(int events)
    {
        List<HistoryStep> steps = [];
        while (_messages < events)
        {
            _now += Jump();
            if (hasTicks && choice.Percent(20))
            {
                steps.Add(new HistoryStep(null, _now));
                continue;
            }

            _messages++;
            OracleEvent e = _sent.Count > 0 && choice.Percent(8) ? Again(choice.Of<OracleEvent>(_sent)) : Fresh();
            _sent.Add(e);
            steps.Add(new HistoryStep(e, _now));
        }

        if (hasTicks)
        {
            steps.Add(new HistoryStep(null, _now + choice.Of(0, 1, 1_000, 86_400_000)));
        }

        return steps;
    }

    private long Jump() => choice.Below(12) switch
    {
        0 or 1 => 0,
        2 => 1,
        3 => choice.Below(1_000),
        4 => choice.Of(999, 1_000, 1_001),
        5 => choice.Below(60_000),
        6 => choice.Below(3_600_000),
        7 => choice.Below(86_400_000),
        8 => 86_400_000L * choice.Below(4),
        9 => Math.Max(0, choice.Of(windows) + choice.Of(-1, 0, 1)),
        10 => Edge(),
        _ => choice.Below(10_000),
    };

    /// <summary>To exactly where an earlier event leaves a window, or a millisecond beside.</summary>
    private long Edge() => _times.Count == 0 ? 1 : Math.Max(0, choice.Of<long>(_times) + choice.Of(windows) + choice.Of(-1, 0, 0, 1) - _now);

    /// <summary>A client's retry: the same text, later, sometimes with another batch.</summary>
    private OracleEvent Again(OracleEvent e) => e with { ReceivedAtMs = _now, BatchSentAtMs = choice.Percent(50) ? e.BatchSentAtMs : _now };

    private OracleEvent Fresh()
    {
        string type = choice.Of("track", "track", "track", "track", "track", "identify", "identify", "identify", "page", "page", "screen", "group", "alias", "alias");
        var json = new JsonObject { ["type"] = type };
        if (!choice.Percent(3))
        {
            json["messageId"] = $"m{(choice.Percent(4) ? choice.Below(_messages) : _messages)}";
        }

        Who(json, type);
        What(json, type);
        long? batchSentAt = When(json);
        Break(json);
        JsonObject? batchContext = choice.Percent(5) ? new JsonObject { ["campaign"] = new JsonObject { ["name"] = "batch" } } : null;
        int odd = choice.Below(20);
        bool isImport = choice.Percent(5);
        string source = crm.Source(choice.Of("web", "web", "app", "shop", "crm"));
        crm.Write(source, _now, () => ContextOf(json, batchContext));
        return new OracleEvent
        {
            Json = Odd(json.ToJsonString(), odd),
            ReceivedAtMs = _now,
            BatchSentAtMs = batchSentAt,
            Import = isImport,
            SourceId = source,
            BatchContextJson = batchContext?.ToJsonString(),
        };
    }

    /// <summary>The same text otherwise written: escapes, and keys that come twice, of which the last one counts.</summary>
    private static string Odd(string json, int odd) => odd switch
    {
        0 => json.Replace("\"x\"", "\"\\u0078\"", StringComparison.Ordinal),
        1 => json.Replace("\"traits\":{\"", "\"traits\":{\"plan\":\"first\",\"tags\":[\"first\"],\"country\":null,\"campaign\":1,\"score\":9,\"email\":\"e9@x.de\",\"", StringComparison.Ordinal),
        2 => json.Replace("\"properties\":{\"", "\"properties\":{\"amount\":99,\"cat\":\"z\",\"", StringComparison.Ordinal),
        3 => json.Replace("\"fields\":{\"", "\"fields\":{ \"amount\" : 99,\"st\\u0061ge\":\"won\",\"close\":null,\"", StringComparison.Ordinal),
        4 => json.Replace("\"crm\":{\"", "\"crm\":{\"id\":\"2\",\"fields\":{},\"", StringComparison.Ordinal),
        _ => json,
    };

    /// <summary>The context that counts for an event; null where it is broken.</summary>
    private static JsonObject? ContextOf(JsonObject json, JsonObject? ofBatch) =>
        json.TryGetPropertyValue("context", out JsonNode? context) ? context as JsonObject : ofBatch ?? Context(json);

    private void Who(JsonObject json, string type)
    {
        if (choice.Percent(75))
        {
            json["anonymousId"] = Anonymous();
        }

        if (choice.Percent(type == "identify" ? 65 : 30) || json["anonymousId"] is null)
        {
            json["userId"] = User();
        }

        if (type == "alias")
        {
            json["previousId"] = choice.Percent(50) ? User() : choice.Percent(10) ? "guest" : Anonymous();
            if (choice.Percent(15))
            {
                json.Remove("anonymousId");
                json.Remove("userId");
            }
        }

        if (choice.Percent(12))
        {
            JsonNode External() => new JsonObject
            {
                ["id"] = choice.Percent(50) ? $"k{1 + choice.Below(3)}" : User(),
                ["type"] = choice.Of("crm_id", "crm_id", "user_id", "email", "unheard_of", "group_id"),
                ["collection"] = choice.Of("users", "users", null, "accounts"),
            };
            Context(json)["externalIds"] = new JsonArray(External(), External());
        }
    }

    private JsonNode? User() => choice.Below(30) switch
    {
        0 => "test-user",
        1 => "bot-12",
        2 => choice.Of("\"NULL\"", "guest"),
        3 => "00000000-0000-0000-0000-000000000000",
        4 => 7,
        5 => 7.5,
        6 => null,
        7 => "  ",
        8 => " u1 ",
        9 => true,
        _ => $"u{choice.Of(_person.ToCharArray())}",
    };

    private JsonNode? Anonymous() => choice.Below(40) switch
    {
        0 => "undefined",
        1 => new JsonObject(),
        2 => "",
        3 => 17,
        _ => $"a{1 + choice.Below(4)}",
    };

    private JsonNode? Email() => choice.Below(16) switch
    {
        0 => "E1@X.de ",
        1 => "no mail",
        2 => null,
        3 => "a@b@c",
        4 => 5,
        _ => $"e{1 + choice.Below(4)}@x.de",
    };

    private void What(JsonObject json, string type)
    {
        if (type == "track")
        {
            json["event"] = choice.Of(ModelGenerator.TrackNames);
        }
        else if (type is "page" or "screen" && choice.Percent(80))
        {
            json["name"] = choice.Of("Home", "Cart");
        }
        else if (type == "group")
        {
            json["groupId"] = "g1";
            json["traits"] = new JsonObject { ["plan"] = "group plan" };
        }

        if (choice.Percent(type == "track" ? 85 : 20))
        {
            var properties = new JsonObject();
            if (choice.Percent(75))
            {
                properties["amount"] = Amount();
            }

            if (choice.Percent(75))
            {
                properties["cat"] = choice.Below(10) switch { 0 => null, 1 => 1, 2 => true, 3 => "ÿ", 4 => "\U0001F600", _ => choice.Of("x", "y", "z") };
            }

            if (choice.Percent(30))
            {
                properties["due"] = Date();
            }

            json["properties"] = properties;
        }

        if (type == "identify")
        {
            json["traits"] = Traits();
        }
        else if (type != "group" && choice.Percent(20))
        {
            json["traits"] = new JsonObject { ["email"] = Email(), ["plan"] = "no trait" };
        }

        if (choice.Percent(12))
        {
            Context(json)["traits"] = Traits();
        }

        if (choice.Percent(25))
        {
            Context(json)["campaign"] = new JsonObject { ["name"] = choice.Of("spring", "autumn", null) };
        }
    }

    private JsonNode? Amount() => choice.Below(16) switch
    {
        0 => null,
        1 => "2.5",
        2 => "two",
        3 => " 3",
        4 => true,
        5 => JsonNode.Parse("1e2"),
        6 => JsonNode.Parse("0.00000000001"),
        7 => JsonNode.Parse("1000000000000000"),
        8 => JsonNode.Parse("-4.10"),
        _ => JsonNode.Parse(choice.Of("1", "2", "0.1", "0.2", "3.30", "10", "5", "0")),
    };

    private JsonObject Traits()
    {
        var traits = new JsonObject();
        void Maybe(int percent, string key, Func<JsonNode?> value)
        {
            if (choice.Percent(percent))
            {
                traits[key] = value();
            }
        }

        Maybe(40, "email", Email);
        Maybe(20, "phone", () => choice.Of("+49 170 1234567", "0049-170/1234568", "+1 (555) 010-9999", "0170 1234567", "12"));
        Maybe(40, "plan", () => choice.Of("free", "pro", null, ""));
        Maybe(40, "score", () => choice.Below(6) switch { 0 => null, 1 => "3", 2 => JsonNode.Parse("2.0"), _ => 1 + choice.Below(5) });
        Maybe(35, "tags", () => choice.Below(5) switch { 0 => null, 1 => new JsonArray("x", null, 1, "y"), 2 => new JsonArray(new JsonArray("z")), 3 => JsonNode.Parse(choice.Of("[1.0, \"y\"]", "1e0", "[\"1\", true]")), _ => choice.Of("x", "y", "w") });
        Maybe(35, "renewal", Date);
        Maybe(25, "country", () => choice.Of("DE", "FR", "IT", null));
        Maybe(20, "address", () => new JsonObject { ["city"] = choice.Of("Berlin", "Bern", "Paris") });
        Maybe(20, "vip", () => choice.Of<JsonNode?>(true, false, "true"));
        Maybe(10, "campaign", () => "sent as a trait");
        return traits;
    }

    private JsonNode? Date()
    {
        long ms = _now + (choice.Of(windows) * choice.Of(-2, -1, 0, 1, 2)) + choice.Of(-1, 0, 0, 1, 5_000);
        return choice.Below(6) switch
        {
            0 => OracleTime.Format(ms)[..10],
            1 => "soon",
            2 => null,
            3 => OracleTime.Format(ms + 7_200_000)[..23] + "+02:00",
            _ => OracleTime.Format(ms),
        };
    }

    /// <summary>Sets the client's times; returns the batch's sentAt.</summary>
    private long? When(JsonObject json)
    {
        long time = choice.Below(10) switch
        {
            0 or 1 when _times.Count > 0 => choice.Of<long>(_times),
            2 => _now - choice.Of(windows) + choice.Of(-1, 0, 1),
            3 => _now - choice.Below(100_000),
            4 => _now - (86_400_000L * choice.Below(40)),
            5 => _now + choice.Below(5_000),
            _ => _now,
        };
        _times.Add(Math.Min(time, _now));
        long skew = choice.Of(0, 0, 0, 500, 999, 1_000, -3_600_000, 5_000_000);
        long? batchSentAt = null;
        switch (choice.Below(8))
        {
            case 0:
                break;
            case 1:
                json["timestamp"] = time;
                break;
            case 2:
                json["originalTimestamp"] = OracleTime.Format(time + skew);
                json["sentAt"] = OracleTime.Format(_now + skew);
                break;
            case 3:
                json["originalTimestamp"] = OracleTime.Format(time + skew);
                json["timestamp"] = OracleTime.Format(time);
                json["sentAt"] = OracleTime.Format(_now + skew);
                break;
            case 4:
                json["timestamp"] = OracleTime.Format(time + skew);
                batchSentAt = _now + skew;
                break;
            case 5:
                json["timestamp"] = OracleTime.Format(time + 19_800_000)[..23] + "567+05:30";
                json["sentAt"] = choice.Of("yesterday", null);
                break;
            default:
                json["timestamp"] = OracleTime.Format(time);
                break;
        }

        return batchSentAt;
    }

    private void Break(JsonObject json)
    {
        switch (choice.Below(70))
        {
            case 0:
                json["type"] = choice.Of("Track", null, "trak");
                break;
            case 1:
                json.Remove("event");
                break;
            case 2:
                json[choice.Of("properties", "traits", "context")] = choice.Of<JsonNode?>("text", 1, new JsonArray(), null);
                break;
            case 3:
                json["timestamp"] = choice.Of<JsonNode?>("yesterday", 1.5, true, "", null);
                break;
            case 4:
                json["properties"] = new JsonObject { ["large"] = new string('x', choice.Of(30_000, 32_768)) };
                break;
            case 5:
                json.Remove("anonymousId");
                json.Remove("userId");
                break;
            case 6:
                json["originalTimestamp"] = choice.Of<JsonNode?>("never", true, "2026-02-30");
                break;
        }
    }

    private static JsonObject Context(JsonObject json)
    {
        if (json["context"] is not JsonObject context)
        {
            json["context"] = context = [];
        }

        return context;
    }
}
