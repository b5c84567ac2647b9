using System.Text.Json.Nodes;
using StreamCdp.Simulation.Tests.Generators;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Integration.Tests.Crash;

/// <summary>A batch for the collector.</summary>
internal sealed record CrashBatch(string Body, IReadOnlyList<string> MessageIds);

/// <summary>Seeded events of people who come and go: devices, links, merges of decided profiles, refused links, alias, late, repeated and unreadable events.</summary>
/// <remarks>
/// Every client time is explicit and long past, so nothing depends on when the server receives it. No event time falls on an instant at which time alone
/// changes something, and no two event times are the same: they all differ modulo one minute and are never a whole second or a millisecond after one, while
/// windows and dates are whole minutes. So a tick between two events, which a real process sends when it likes, finds what the next event would have found.
/// Ties are the simulation's work (EngineAgainstOracleTests).
/// </remarks>
internal sealed class CrashHistory(ulong seed)
{
    public const int BatchEvents = 10;

    private const long StartMs = 1_704_067_200_000; // 2024-01-01T00:00:00Z
    private const int People = 10;
    private const int MostEvents = 59_000;

    private static readonly int[] s_millisecondsOfMinute = [.. Enumerable.Range(0, 60_000).Where(ms => ms % 1000 > 1)];

    private readonly Choice _choice = new(seed);
    private readonly int[] _active = [.. Enumerable.Range(0, People)];
    private readonly List<JsonObject> _recent = [];
    private readonly Lock _lock = new();
    private int _nextPerson = People;
    private int _events;
    private int _messages;
    private long _minute;

    /// <summary>The model that the history is made for: small limits, every trait merge, and functions on each bucket width. unique_count, most_frequent and sequence are left out as in EngineAgainstOracleTests.</summary>
    public static string Model => """
        sources:
          - { id: web, write_key: web-key, kind: website }
          - { id: shop, write_key: shop-key, kind: server }
        api_keys: [ { id: test, key: crash-test-key, scopes: [read] } ]
        identifiers:
          - { type: user_id, limit: 1 }
          - { type: email, limit: 2, from: [traits.email], normalize: email }
          - { type: anonymous_id, limit: 4 }
        traits:
          plan: { merge: latest, prefer: [shop] }
          score: { merge: max }
          tags: { merge: union }
          campaign: { merge: first, from: context.campaign.name }
        computed:
          orders: { value: 'count("Order", within: 10m)' }
          spent: { value: 'sum("Order", properties.amount)' }
          last_cat: { value: 'last("Viewed", properties.cat)' }
        segments:
          active: { when: 'happened("*", within: 30m)' }
          abandoners: { when: 'happened("Added", within: 20m) and not happened("Order", within: 1h)' }
          spenders: { when: 'sum("Order", properties.amount, within: 2h) >= 20' }
          buyers: { when: 'computed.orders >= 1 or count("Order") > 3' }
          quiet: { when: 'count("Viewed", within: 1h) < 2 and traits.plan exists' }
          renewing: { when: 'traits.renewal within next 1d and not (traits.tags contains "z")' }
          known: { when: 'identifiers.email exists and traits.score >= 3' }
          good: { when: 'in_segment("known") and in_segment("buyers") and max("Order", properties.amount) > 8' }
        """;

    /// <summary>Key of the query API.</summary>
    public static string ApiKey => "crash-test-key";

    /// <summary>The next batch; with the same seed and order of calls the same batches.</summary>
    public CrashBatch Next()
    {
        lock (_lock)
        {
            Assert.True(_events + BatchEvents < MostEvents, "The history is at its end: there are no more different milliseconds in a minute.");
            var batch = new JsonArray();
            var ids = new List<string>();
            for (int i = 0; i < BatchEvents; i++)
            {
                bool again = _recent.Count > 0 && _choice.Percent(5);
                JsonObject e = again ? (JsonObject)_choice.Of<JsonObject>(_recent).DeepClone() : Fresh();
                if (!again)
                {
                    _recent.Add((JsonObject)e.DeepClone());
                    if (_recent.Count > 200)
                    {
                        _recent.RemoveAt(0);
                    }
                }

                ids.Add(e["messageId"]!.GetValue<string>());
                batch.Add(e);
            }

            return new CrashBatch(new JsonObject { ["writeKey"] = _choice.Percent(70) ? "web-key" : "shop-key", ["batch"] = batch }.ToJsonString(), ids);
        }
    }

    private JsonObject Fresh()
    {
        if (_choice.Percent(6))
        {
            _active[_choice.Below(People)] = _nextPerson++;
        }

        int person = _choice.Of<int>(_active);
        string type = _choice.Of("track", "track", "track", "track", "track", "identify", "identify", "identify", "page", "alias");
        var e = new JsonObject { ["type"] = type, ["messageId"] = $"m{_messages++}" };
        if (_choice.Percent(75))
        {
            e["anonymousId"] = Device(person);
        }

        if (_choice.Percent(type == "identify" ? 55 : 20) || (e["anonymousId"] is null && _choice.Percent(60)))
        {
            e["userId"] = User(person);
        }

        if (type == "alias")
        {
            e["previousId"] = _choice.Percent(40) ? User(person) : Device(person);
        }

        What(e, type, person);
        When(e);
        if (_choice.Percent(1))
        {
            e["type"] = "trak"; // A dead letter.
        }

        return e;
    }

    private int Somebody(int person) => _choice.Percent(4) ? _choice.Of<int>(_active) : person;

    private string Device(int person) => $"a{Somebody(person)}-{_choice.Below(3)}";

    private string User(int person) => $"u{Somebody(person)}{(_choice.Percent(4) ? "x" : "")}";

    private string Email(int person) => $"e{Somebody(person)}-{_choice.Below(2)}@x.de";

    private void What(JsonObject e, string type, int person)
    {
        if (type == "track")
        {
            e["event"] = _choice.Of("Viewed", "Viewed", "Added", "Order");
            e["properties"] = new JsonObject { ["amount"] = JsonNode.Parse(_choice.Of("1", "2.5", "0.1", "7", "10")), ["cat"] = _choice.Of("x", "y", null) };
        }
        else if (type == "page")
        {
            e["name"] = "Home";
        }

        if (_choice.Percent(20))
        {
            e["context"] = new JsonObject { ["campaign"] = new JsonObject { ["name"] = _choice.Of("spring", "autumn") } };
        }

        if (type != "identify" && e["anonymousId"] is not null && _choice.Percent(80))
        {
            return;
        }

        var traits = new JsonObject();
        if (_choice.Percent(50) || (e["anonymousId"] is null && e["userId"] is null))
        {
            traits["email"] = Email(person);
        }

        if (type == "identify")
        {
            traits["plan"] = _choice.Of("free", "pro", null);
            traits["score"] = _choice.Below(5);
            traits["tags"] = new JsonArray(_choice.Of("x", "y"), _choice.Of("y", "z", "w"));
            traits["renewal"] = OracleTime.Format(StartMs + ((_minute + _choice.Below(3000)) * 60_000));
        }

        e["traits"] = traits;
    }

    private void When(JsonObject e)
    {
        _minute += _choice.Percent(3) ? _choice.Below(60) : _choice.Percent(30) ? 1 : 0;
        long minute = _choice.Below(20) switch
        {
            0 => _minute - _choice.Of(10, 20, 30, 60, 120),
            1 => _minute - _choice.Below(2000),
            2 or 3 => _minute - _choice.Below(5),
            _ => _minute,
        };
        // 23,957 and the 59,880 good milliseconds have no common divisor: each comes once.
        int ms = s_millisecondsOfMinute[(int)(((long)_events++ * 23_957) % s_millisecondsOfMinute.Length)];
        long at = StartMs + (Math.Max(0, minute) * 60_000) + ms;
        e["originalTimestamp"] = at - 5_000_000;
        e["timestamp"] = at; // Both are given, so this one counts, whatever sentAt and the time of receiving are (RULES.md §4.1).
    }
}
