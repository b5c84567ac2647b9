using System.Text;
using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Simulation.Tests.Generators;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Collect;

/// <summary>The reader that allocates nothing finds in any event what the slow and obvious one finds.</summary>
public class EventReaderOracleTests
{
    private const long ReceivedAt = 1_767_323_045_678;

    private static readonly CdpModel s_model = new()
    {
        Text = "",
        Version = 1,
        Identifiers =
        [
            new() { Type = "user_id", Limit = 1, Blocked = ["blocked"], BlockedPatterns = ["t[0-9]+"] },
            new() { Type = "email", Limit = 5, From = [["traits", "email"], ["context", "traits", "email"]], Normalize = IdentifierNormalization.Email },
            new() { Type = "phone", Limit = 5, From = [["traits", "phone"]], Normalize = IdentifierNormalization.E164 },
            new() { Type = "anonymous_id", Limit = 100, Blocked = ["p"] },
            new() { Type = "mobile", Limit = 5, From = [["traits", "phone"], ["properties", "a", "b"]], Normalize = IdentifierNormalization.E164, DefaultCountry = "DE" },
            new() { Type = "card", Limit = 5, From = [["properties", "a", "b"], ["context", "card"]], BlockedDefaults = false },
        ],
    };

    private static readonly string[] s_scalars =
    [
        "null", "true", "0", "7", "-1", "1.0", "1e3", "12345678901234567890", "{}", "[]", "[\"u\"]", "\"\"", "\" \"", "\"u\"", "\" u\\u00a0\"", "\"\\u3000U\\t\"", "\"NULL\"", "\"'null'\"", "\"\\\"Undefined\\\"\"",
        "\"000-0\"", "\"blocked\"", "\" blocked\"", "\"t12\"", "\"t12x\"", "\"p\"", "\"a@b.c\"", "\"A@B.C \"", "\"a@@b\"", "\"a b@c\"", "\"\\u00c4@x\"", "\"@\"", "\"+49 171 2345678\"", "\"0049-171/2345678\"",
        "\"0171 2345678\"", "\"+0171\"", "\"+123\"", "\"1712345678\"", "1712345678", "\"a\\u0000b\"", "\"\\ud83d\\ude00\"", "\"e\\u0301\"", "\"\\u200b\"", "\"n/a\"", "\"--\"",
    ];

    private static readonly string[] s_times =
    [
        "null", "\"\"", "\"x\"", "0", "-5", "1767323045678", "1767323040000", "1767323050000", "1.5", "1e12", "99999999999999999", "\"1767323045678\"", "\"2026-01-02\"", "\"2026-01-02T03:04Z\"", "\"2026-01-02T03:04:05\"",
        "\"2026-01-02T03:04:04.7Z\"", "\"2026-01-02T03:04:05.678999999+00:00\"", "\"2026-01-02T05:04:04,5+02\"", "\"2026-01-02T03:04:05-0130\"", "\"2026-02-29\"", "\"2026-01-02T24:00Z\"", "\"2026-01-02T03:04:60Z\"",
        "\"2026-01-02 03:04:05Z\"", "\"2026-01-02T03:04:05z\"", "\"0001-01-01\"", "\"9999-12-31T23:59:59.999Z\"", "\"0000-01-01\"", "true", "{}", "[]", "\"2026-01-02T03:04:05.Z\"", "\"2026-01-02T03:04:05+25:00\"",
    ];

    [Fact]
    public void It_finds_what_the_oracle_finds() => Gen.ULong.Sample(
        seed =>
        {
            var choice = new Choice(seed);
            string json = Event(choice);
            string? batchContext = choice.Percent(30) ? Object(choice, 3, Context) : null;
            long? batchSentAt = choice.Percent(50) ? ReceivedAt + choice.Of(-5000L, -1000, -999, 0, 1000, 100_000) : null;
            bool import = choice.Percent(20);
            HashSet<string> known = choice.Percent(50) ? ["u", "7", "a@b.c"] : [];

            string expected = Expected(new OracleEvent { Json = json, SourceId = "s", ReceivedAtMs = ReceivedAt, BatchContextJson = batchContext, BatchSentAtMs = batchSentAt, Import = import }, known);
            string found = Found(json, batchContext, batchSentAt, import, known);

            Assert.True(expected == found, $"{json}\ncontext of the batch: {batchContext}\nexpected {expected}\nfound    {found}");
        },
        iter: 20_000);

    private static string Expected(OracleEvent input, HashSet<string> known)
    {
        (OracleRecord? record, OracleOutcome? deadLetter) = new OracleReader(s_model, known.Contains, _ => { }).Read(input, 0);
        if (record is null)
        {
            return "dead letter: " + deadLetter!.Field;
        }

        return $"{record.Type} {record.Name} {record.MessageId} {Math.Max(record.TimeMs, EventTimestamp.MinMs)} [{string.Join(", ", record.Identifiers)}] {record.Sender}";
    }

    private static string Found(string json, string? batchContext, long? batchSentAt, bool import, HashSet<string> known)
    {
        var reader = new EventReader(s_model);
        EventProblem problem = reader.Read(Encoding.UTF8.GetBytes(json), Encoding.UTF8.GetBytes(batchContext ?? ""));
        if (problem == EventProblem.None && reader.HasPreviousId)
        {
            reader.AddPreviousId(known.Contains(Encoding.UTF8.GetString(reader.PreviousUserId)));
            problem = reader.IdentifierCount == 0 ? EventProblem.NoIdentifier : problem;
        }

        if (problem != EventProblem.None)
        {
            return "dead letter: " + problem.Field();
        }

        string type = Encoding.UTF8.GetString(EventTypeText.Text(reader.Type));
        string[] identifiers = [.. Enumerable.Range(0, reader.IdentifierCount).Select(i => Encoding.UTF8.GetString(reader.IdentifierKey(i)))];
        string sender = Encoding.UTF8.GetString(reader.SenderKey);
        return $"{type} {Encoding.UTF8.GetString(reader.Name)} {Encoding.UTF8.GetString(reader.MessageId)} {reader.EventTime(ReceivedAt, batchSentAt, import)} [{string.Join(", ", identifiers)}] {sender}";
    }

    private static string Event(Choice choice)
    {
        var fields = new List<string>();
        Maybe(95, "type", () => choice.Percent(97) ? Quote(choice.Of("track", "identify", "page", "screen", "group", "alias", "alias")) : choice.Of("\"Track\"", "7", "null", "\"\"", "\"tr\\u0061ck\""));
        Maybe(80, "event", () => choice.Percent(95) ? choice.Of("\"Order\"", "\"a \\\"b\\\"\"", "\" \"") : choice.Of("\"\"", "null", "3"));
        Maybe(50, "name", () => choice.Of("\"Home\"", "7", "\"\"", "\"\\u00e9\""));
        Maybe(60, "userId", () => choice.Of(s_scalars));
        Maybe(50, "anonymousId", () => choice.Of(s_scalars));
        Maybe(60, "previousId", () => choice.Of(s_scalars));
        Maybe(30, "groupId", () => choice.Of(s_scalars));
        Maybe(50, "messageId", () => choice.Of("\"m\"", "\"m\\n\"", "7", "null", "\"\""));
        Maybe(40, "timestamp", () => choice.Percent(20) ? choice.Of(s_times) : choice.Of("1767323040000", "\"2026-01-02T03:04:04.7Z\"", "null"));
        Maybe(40, "originalTimestamp", () => choice.Of(s_times));
        Maybe(40, "sentAt", () => choice.Of(s_times));
        Maybe(40, "traits", () => choice.Percent(97) ? Object(choice, 2, c => (c.Of("email", "phone", "\\u0065mail", "x"), c.Of(s_scalars))) : choice.Of("null", "[]", "\"x\""));
        Maybe(40, "properties", () => choice.Percent(97) ? Object(choice, 2, c => ("a", c.Percent(80) ? Object(c, 2, d => ("b", d.Of(s_scalars))) : c.Of(s_scalars))) : choice.Of("null", "1"));
        Maybe(50, "context", () => choice.Percent(97) ? Object(choice, 3, Context) : choice.Of("null", "[]"));
        return $"{{{string.Join(',', choice.Shuffled(fields))}}}";

        void Maybe(int percent, string key, Func<string> value)
        {
            for (bool again = choice.Percent(percent); again; again = choice.Percent(4))
            {
                fields.Add($"\"{key}\":{value()}");
            }
        }
    }

    private static (string Key, string Value) Context(Choice choice) => choice.Below(4) switch
    {
        0 => ("traits", Object(choice, 2, c => (c.Of("email", "phone"), c.Of(s_scalars)))),
        1 => ("card", choice.Of(s_scalars)),
        2 => ("externalIds", $"[{string.Join(',', Enumerable.Range(0, choice.Below(4)).Select(_ => External(choice)))}]"),
        _ => choice.Of(("externalIds", "{}"), ("externalIds", "null"), ("x", "1")),
    };

    private static string External(Choice choice) => choice.Percent(10) ? choice.Of("null", "7", "\"x\"", "[]", "{}") : Object(choice, 4, c => c.Below(3) switch
    {
        0 => ("id", c.Of(s_scalars)),
        1 => ("type", c.Of("\"card\"", "\"user_id\"", "\"anonymous_id\"", "\"c\\u0061rd\"", "\"nope\"", "7", "null")),
        _ => ("collection", c.Of("\"users\"", "\"users\"", "null", "\"accounts\"", "7")),
    });

    private static string Object(Choice choice, int fields, Func<Choice, (string Key, string Value)> field) =>
        $"{{{string.Join(", ", Enumerable.Range(0, choice.Below(fields + 1)).Select(_ => field(choice)).Select(pair => $"\"{pair.Key}\" : {pair.Value}"))}}}";

    private static string Quote(string text) => $"\"{text}\"";
}
