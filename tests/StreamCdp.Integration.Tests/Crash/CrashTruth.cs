using System.Text;
using System.Text.Json.Nodes;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Integration.Tests.Crash;

/// <summary>What the logs of a stopped server say must be true: the reference, fed in the order of the log <c>events</c>, and the membership changes that a reader of the log saw.</summary>
internal sealed class CrashTruth
{
    private readonly Dictionary<UInt128, List<OracleChange>> _changes = [];

    private CrashTruth(OracleWorld world) => World = world;

    /// <summary>The reference.</summary>
    public OracleWorld World { get; }

    /// <summary>messageIds in the log of events.</summary>
    public HashSet<string> MessageIds { get; } = [];

    /// <summary>messageIds in the log of dead letters.</summary>
    public HashSet<string> DeadMessageIds { get; } = [];

    /// <summary>Membership changes that came more than once.</summary>
    public int Repeats { get; private set; }

    /// <summary>Reads the logs of a server that is stopped.</summary>
    public static CrashTruth Read(ILogStore store)
    {
        ModelResult model = ModelReader.Read("cdp.yaml", CrashHistory.Model, _ => null);
        Assert.NotNull(model.Model);
        var truth = new CrashTruth(new OracleWorld(model.Model, OracleClock.Event, TimeSpan.FromDays(1)));
        var logs = new EngineLogs(store, new EngineOptions { Shards = 2, EventPartitions = 1 });
        Assert.Equal(1, logs.Events.Partitions); // Else there is no one order to feed the reference in.
        truth.ReadEvents(logs.Events);
        truth.ReadDeadLetters(logs.DeadLetters);
        truth.World.Settle();
        truth.ReadChanges(logs.Memberships);
        return truth;
    }

    /// <summary>Compares with a running server that has applied everything.</summary>
    /// <returns>Null where all is the same, else the first difference.</returns>
    public async Task<string?> DifferenceAsync(CrashServer server)
    {
        List<OraclePerson> people = [.. World.People.Where(person => person.Events.Count > 0)];
        var left = new Dictionary<UInt128, List<OracleChange>>(_changes);
        foreach (OraclePerson[] some in people.Chunk(100))
        {
            var identifiers = new JsonArray([.. some.Select(person => new JsonObject { ["type"] = person.Identifiers[0].Type, ["value"] = person.Identifiers[0].Value })]);
            using var body = new StringContent(new JsonObject { ["identifiers"] = identifiers }.ToJsonString(), Encoding.UTF8, "application/json");
            using HttpResponseMessage answer = await server.Client.PostAsync(new Uri("/v1/profiles/lookup", UriKind.Relative), body, TestContext.Current.CancellationToken);
            string text = await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
            Assert.True(answer.IsSuccessStatusCode, text);
            var found = (JsonArray)JsonNode.Parse(text)!["profiles"]!;
            for (int i = 0; i < some.Length; i++)
            {
                if (Difference(some[i], found[i]!["profile"] as JsonObject, left) is { } difference)
                {
                    return difference;
                }
            }
        }

        // Of profiles that are another person by now, ids cannot be matched: the sequences as a bag must be the same.
        List<string> losers = [.. World.Everybody.Where(person => person.MergedInto is not null && person.Changes.Count > 0).Select(person => string.Join("; ", person.Changes)).Order(StringComparer.Ordinal)];
        List<string> foundLosers = [.. left.Values.Select(sequence => string.Join("; ", sequence)).Order(StringComparer.Ordinal)];
        if (!losers.SequenceEqual(foundLosers))
        {
            return $"changes of merged profiles\nexpected and not found {string.Join("\n         ", Without(losers, foundLosers))}\nfound and not expected {string.Join("\n         ", Without(foundLosers, losers))}";
        }

        return await MembersDifferenceAsync(server, people) ?? await CountDifferenceAsync(server, people.Count);
    }

    private static List<string> Without(List<string> all, List<string> those)
    {
        List<string> rest = [.. all];
        those.ForEach(one => rest.Remove(one));
        return rest;
    }

    private static string? Difference(OraclePerson person, JsonObject? document, OracleWorld world)
    {
        if (document is null)
        {
            return $"{person.Identifiers[0]} has no profile.";
        }

        foreach ((string part, JsonNode? value) in OracleDocument.Of(world, person))
        {
            if (part != "provenance" && !OracleDocument.AreAlike(value, document[part]))
            {
                return $"{person.Identifiers[0]} ({document["id"]}): {part}\nexpected {value?.ToJsonString()}\nfound    {document[part]?.ToJsonString()}";
            }
        }

        return null;
    }

    private string? Difference(OraclePerson person, JsonObject? document, Dictionary<UInt128, List<OracleChange>> left)
    {
        if (Difference(person, document, World) is { } difference)
        {
            return difference;
        }

        left.Remove(CanonicalId.Parse(document!["id"]!.GetValue<string>()), out List<OracleChange>? found);
        return person.Changes.SequenceEqual(found ?? [])
            ? null
            : $"{person.Identifiers[0]} ({document["id"]}): changes\nexpected {string.Join("\n         ", person.Changes)}\nfound    {string.Join("\n         ", found ?? [])}";
    }

    /// <summary>Pages of members, each with since, against the memberships of the people.</summary>
    private async Task<string?> MembersDifferenceAsync(CrashServer server, List<OraclePerson> people)
    {
        foreach (SegmentDefinition segment in World.Model.Segments)
        {
            List<string> expected = [.. people.Where(person => person.Memberships.ContainsKey(segment.Id)).Select(person => $"{person.Identifiers[0]} since {OracleTime.Format(person.Memberships[segment.Id])}").Order(StringComparer.Ordinal)];
            var found = new List<string>();
            for (string? cursor = ""; cursor is not null;)
            {
                JsonNode page = await server.GetAsync($"/v1/segments/{segment.Id}/members?limit=100{(cursor.Length > 0 ? "&cursor=" + Uri.EscapeDataString(cursor) : "")}");
                found.AddRange(((JsonArray)page["members"]!).Select(member => $"{member!["identifiers"]![0]!["type"]}:{member["identifiers"]![0]!["value"]} since {member["since"]}"));
                cursor = page["next"]?.GetValue<string>();
            }

            found.Sort(StringComparer.Ordinal);
            if (!expected.SequenceEqual(found))
            {
                return $"members of {segment.Id}\nexpected and not found {string.Join("\n         ", Without(expected, found))}\nfound and not expected {string.Join("\n         ", Without(found, expected))}";
            }

            long count = (await server.GetAsync($"/v1/segments/{segment.Id}"))["members"]!.GetValue<long>();
            if (count != expected.Count)
            {
                return $"number of members of {segment.Id}: expected {expected.Count}, found {count}";
            }
        }

        return null;
    }

    /// <summary>The number of profiles, which the metric tells about twice a second.</summary>
    private static async Task<string?> CountDifferenceAsync(CrashServer server, int expected)
    {
        const string name = "streamcdp_profiles ";
        long deadline = Environment.TickCount64 + 10_000;
        while (true)
        {
            string metrics = await server.Client.GetStringAsync(new Uri("/metrics", UriKind.Relative), TestContext.Current.CancellationToken);
            string found = metrics.Split('\n').FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal))?[name.Length..].Trim() ?? "none";
            if (found == $"{expected}")
            {
                return null;
            }

            if (Environment.TickCount64 > deadline)
            {
                return $"number of profiles: expected {expected}, found {found}";
            }
        }
    }

    private void ReadEvents(ILog log)
    {
        using ILogReader reader = log.OpenReader(0, log.BeginOffset(0));
        while (reader.Position < log.EndOffset(0))
        {
            if (!reader.TryRead(out LogRecord record))
            {
                continue;
            }

            Assert.True(WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body));
            Assert.True(CustomerEvent.TryRead(body, out CustomerEvent e));
            MessageIds.Add(Encoding.UTF8.GetString(e.MessageId));
            World.Feed(new OracleEvent
            {
                Json = Encoding.UTF8.GetString(e.Payload),
                ReceivedAtMs = e.ReceivedAt,
                BatchSentAtMs = e.SentAt,
                Import = e.Import,
                SourceId = Encoding.UTF8.GetString(e.Source),
                BatchContextJson = e.Context.IsEmpty ? null : Encoding.UTF8.GetString(e.Context),
            });
        }
    }

    private void ReadDeadLetters(ILog log)
    {
        using ILogReader reader = log.OpenReader(0, log.BeginOffset(0));
        while (reader.Position < log.EndOffset(0))
        {
            if (reader.TryRead(out LogRecord record))
            {
                Assert.True(WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body));
                Assert.True(DeadLetter.TryRead(body, out DeadLetter letter));
                DeadMessageIds.Add(JsonNode.Parse(letter.Payload)!["messageId"]!.GetValue<string>());
            }
        }
    }

    /// <summary>As a careful reader does (P7): in the order of the log, what has not a higher version than the last of its profile is a repeat.</summary>
    private void ReadChanges(ILog log)
    {
        var seen = new Dictionary<(UInt128 Profile, long Version), OracleChange>();
        var last = new Dictionary<UInt128, long>();
        for (int shard = 0; shard < log.Partitions; shard++)
        {
            using ILogReader reader = log.OpenReader(shard, log.BeginOffset(shard));
            while (reader.Position < log.EndOffset(shard))
            {
                if (!reader.TryRead(out LogRecord record))
                {
                    continue;
                }

                Assert.True(WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body));
                Assert.True(SegmentMembership.TryRead(body, out SegmentMembership change));
                var mapped = new OracleChange(
                    Encoding.UTF8.GetString(change.Segment),
                    change.Change == MembershipChange.Entered,
                    change.At,
                    change.Cause.IsEmpty ? null : Encoding.UTF8.GetString(change.Cause),
                    change.Reason switch { MembershipReason.Time => OracleReason.Time, MembershipReason.Merge => OracleReason.Merge, _ => OracleReason.Event });
                UInt128 id = change.ProfileId;
                if (change.Version <= last.GetValueOrDefault(id, -1))
                {
                    Repeats++;
                    Assert.True(seen.TryGetValue((id, change.Version), out OracleChange? before) && before == mapped, $"{CanonicalId.Text(id)} version {change.Version} came before, as {before}, and is now {mapped}.");
                    continue;
                }

                seen[(id, change.Version)] = mapped;
                last[id] = change.Version;
                if (!_changes.TryGetValue(id, out List<OracleChange>? changes))
                {
                    _changes[id] = changes = [];
                }

                changes.Add(mapped);
            }
        }
    }
}
