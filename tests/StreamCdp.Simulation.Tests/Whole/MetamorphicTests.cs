using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using CsCheck;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Simulation.Tests.Generators;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>What must change nothing changes no byte: the order of different people's events, the number of shards, a checkpoint, and when two were found to be one.</summary>
/// <remarks>No reference is needed for that, so it also finds what reference and engine have wrong together.</remarks>
public sealed partial class MetamorphicTests
{
    private const int EventsOfTick = 8;

    [Fact]
    public void The_order_of_the_events_of_different_people_changes_no_byte() => Gen.ULong.Sample(seed =>
    {
        GeneratedCase generated = Crowd(seed, people: 3);
        var choice = new Choice(seed ^ 0xBEEF);
        GeneratedCase permuted = generated with { Steps = [.. Permuted(generated.Steps, choice)] };

        Compare(Run(generated, shards: 1).WithoutIds(), Run(permuted, shards: 1).WithoutIds(), permuted);
    }, iter: 200);

    [Fact]
    public void The_number_of_shards_changes_no_byte() => Gen.ULong.Sample(seed =>
    {
        GeneratedCase generated = Crowd(seed, people: 2);

        Outcome one = Run(generated, shards: 1);
        foreach (int shards in (int[])[2, 3, 7])
        {
            Compare(one, Run(generated, shards), generated);
        }
    }, iter: 100);

    [Fact]
    public void Going_on_from_a_checkpoint_or_from_the_log_alone_changes_no_byte() => Gen.ULong.Sample(seed =>
    {
        GeneratedCase generated = Crowd(seed, people: 2);
        int shards = 1 + (int)(seed % 3);

        Compare(Run(generated, shards, isEachDecided: true).WithoutIds(), Run(generated, shards, kills: new Choice(seed), isEachDecided: true).WithoutIds(), generated);
    }, iter: 200);

    /// <summary>In which order unrelated events that wait are decided is not promised, and with it who survives a merge later; what is known of each person is.</summary>
    [Fact]
    public void A_crash_while_some_events_wait_and_later_ones_pass_changes_no_value() => Gen.ULong.Sample(CheckValues, iter: 400);

    /// <summary>A checkpoint knew where the first waiting event stood, and not that later ones had passed it: they counted twice.</summary>
    [Theory]
    [InlineData(27UL)]
    [InlineData(78UL)]
    public void A_case_that_failed_once_stays_right(ulong seed) => CheckValues(seed);

    [Fact]
    public void When_two_are_found_to_be_one_changes_no_value() => Gen.ULong.Sample(seed =>
    {
        GeneratedCase generated = Crowd(seed, people: 2);
        generated = generated with { Model = generated.Model with { Identifiers = [.. generated.Model.Identifiers.Select(type => type.Type == "anonymous_id" ? type with { Limit = 2 } : type)] } };
        List<HistoryStep> devices = [.. generated.Steps.Select(step => step.Event is null ? step : step with { Event = step.Event with { Json = OneDevice(step.Event.Json, PersonOf(step.Event.Json)) } })];
        string? first = null;
        foreach (int place in (int[])[1, devices.Count / 2, devices.Count - 1])
        {
            long at = devices[Math.Min(place, devices.Count - 1)].AtMs;
            var link = new OracleEvent
            {
                // Earlier than all others, whenever it comes.
                Json = """{"type":"alias","messageId":"link","anonymousId":"device1","previousId":"device2","timestamp":"2020-01-01T00:00:00Z"}""",
                ReceivedAtMs = at,
                SourceId = "web",
            };
            GeneratedCase linked = generated with { Steps = [.. devices[..place], new HistoryStep(link, at), .. devices[place..]] };
            string values = Values(Assert.Single(Run(linked, shards: 2).Documents).Value);
            first ??= values;
            Assert.True(first == values, $"linked at {place}:\n{values}\nlinked at first:\n{first}\n{linked}");
        }
    }, iter: 300);

    private static void CheckValues(ulong seed)
    {
        GeneratedCase generated = Crowd(seed, people: 2);
        int shards = 1 + (int)(seed % 3);

        string[] expected = [.. Run(generated, shards).Documents.Values.Select(Values).Order(StringComparer.Ordinal)];
        string[] found = [.. Run(generated, shards, kills: new Choice(seed)).Documents.Values.Select(Values).Order(StringComparer.Ordinal)];
        Assert.True(expected.SequenceEqual(found), $"{string.Join('\n', expected.Except(found))}\n\n{string.Join('\n', found.Except(expected))}\n{generated}");
    }

    /// <summary>So many people who have nothing in common, with a tick before each <see cref="EventsOfTick"/> events, at which they are received: so nobody's now is another one's event.</summary>
    private static GeneratedCase Crowd(ulong seed, int people)
    {
        GeneratedCase model = GeneratedCase.Of(seed, OracleClock.Wall);
        IEnumerable<HistoryStep> events = Enumerable.Range(1, people)
            .SelectMany(person => GeneratedCase.Of(seed + (ulong)person, OracleClock.Event).Steps.Where(step => step.Event is not null).Select(step => step with { Event = step.Event! with { Json = Named(step.Event.Json, person) } }))
            .OrderBy(step => step.AtMs);
        List<HistoryStep> steps = [.. events.Chunk(EventsOfTick).SelectMany(interval => interval.Select(step => new HistoryStep(step.Event! with { ReceivedAtMs = interval[^1].AtMs }, interval[^1].AtMs)).Prepend(new HistoryStep(null, interval[^1].AtMs)))];
        return model with { Steps = [.. steps, new HistoryStep(null, steps[^1].AtMs + 60_000)] };
    }

    /// <summary>Identifiers that nobody else has.</summary>
    private static string Named(string json, int person) => Identifier().Replace(json, match =>
        match.Groups["number"].Success ? $"\"{match.Groups["key"].Value}\":{match.Groups["number"].Value}{person}"
        : match.Groups["key"].Value == "phone" ? $"\"phone\":\"{match.Groups["text"].Value[..^1]}{person}\""
        : $"\"{match.Groups["key"].Value}\":\"{person}{match.Groups["text"].Value}\"").Insert(1, $"\"person\":{person},");

    private static int PersonOf(string json) => json[10] - '0';

    /// <summary>The same event of a device that nobody has logged in on.</summary>
    private static string OneDevice(string json, int person) => Identifier().Replace(json, match => $"\"{match.Groups["key"].Value}_of_nobody\":1").Insert(1, $"\"anonymousId\":\"device{person}\",\"messageId\":\"{person}-{Message().Match(json).Groups[1].Value}\",").Replace("\"type\":\"alias\"", "\"type\":\"track\",\"event\":\"A\"", StringComparison.Ordinal);

    /// <summary>Any order in which the ticks stay, and each person's events keep theirs.</summary>
    private static IEnumerable<HistoryStep> Permuted(IReadOnlyList<HistoryStep> steps, Choice choice)
    {
        for (int from = 0; from < steps.Count;)
        {
            yield return steps[from++]; // A tick.
            HistoryStep[] interval = [.. steps.Skip(from).TakeWhile(step => step.Event is not null)];
            from += interval.Length;
            List<Queue<HistoryStep>> left = [.. interval.GroupBy(step => PersonOf(step.Event!.Json)).Select(own => new Queue<HistoryStep>(own))];
            while (left.Count > 0)
            {
                Queue<HistoryStep> next = choice.Of<Queue<HistoryStep>>(left);
                yield return next.Dequeue();
                left.RemoveAll(queue => queue.Count == 0);
            }
        }
    }

    private static Outcome Run(GeneratedCase generated, int shards, Choice? kills = null, bool isEachDecided = false)
    {
        using var engine = new SimulatedEngine(generated.Model, OracleClock.Wall, generated.DedupWindow, shards);
        foreach (HistoryStep step in generated.Steps)
        {
            if (step.Event is null)
            {
                engine.Tick(step.AtMs);
            }
            else
            {
                engine.Feed(step.Event);
                if (isEachDecided)
                {
                    engine.Route();
                }
            }

            if (kills?.Percent(20) == true)
            {
                engine.Checkpoint();
                for (int moves = kills.Below(20); moves > 0; moves--)
                {
                    engine.Move(kills, mayCrash: false);
                }
            }

            if (kills?.Percent(10) == true)
            {
                engine.MoveShards(kills);
                engine.Crash(kills);
                if (kills.Percent(40))
                {
                    // And again before it is through with what it found of the last run.
                    for (int moves = kills.Below(10); moves > 0; moves--)
                    {
                        engine.Move(kills, mayCrash: false);
                    }

                    engine.Checkpoint();
                    for (int moves = kills.Below(20); moves > 0; moves--)
                    {
                        engine.Move(kills, mayCrash: false);
                    }

                    engine.Crash(kills);
                }

                if (kills.Percent(50))
                {
                    engine.Quiet();
                }
                else if (isEachDecided)
                {
                    engine.Route();
                }
            }
        }

        engine.Quiet();
        Dictionary<string, string> changes = engine.Changes().ToDictionary(of => CanonicalId.Text(of.Key), of => string.Join('\n', of.Value));
        SortedDictionary<string, string> documents = engine.Documents();
        return new Outcome(documents, [.. documents.Select(of => $"{of.Value}\n{changes.GetValueOrDefault(of.Key)}")]);
    }

    private static void Compare(Outcome expected, Outcome found, GeneratedCase generated)
    {
        foreach ((string one, string other) in expected.People.Zip(found.People))
        {
            Assert.True(one == other, $"{one}\n{other}\n{generated}");
        }

        Assert.Equal(expected.People.Count, found.People.Count);
    }

    /// <summary>All but what says when and as whom; objects in the order of their keys, which come as they joined.</summary>
    internal static string Values(string document)
    {
        var json = (JsonObject)JsonNode.Parse(document)!;
        foreach (string part in (string[])["id", "version", "updated_at", "merged_from"])
        {
            json.Remove(part);
        }

        json["segments"] = new JsonArray([.. json["segments"]!.AsArray().Select(segment => segment!["id"]!.GetValue<string>()).Order(StringComparer.Ordinal).Select(id => (JsonNode)id)]);
        json["identifiers"] = new JsonArray([.. json["identifiers"]!.AsArray().Select(identifier => identifier!.ToJsonString()).Order(StringComparer.Ordinal).Select(text => (JsonNode)text)]);
        foreach (string part in (string[])["traits", "provenance", "crm", "notes"])
        {
            json[part] = new JsonObject(json[part]!.AsObject().OrderBy(member => member.Key, StringComparer.Ordinal).Select(member => KeyValuePair.Create(member.Key, member.Value?.DeepClone())));
        }

        return json.ToJsonString();
    }

    [GeneratedRegex("\"(?<key>userId|anonymousId|previousId|email|phone|id)\":(\"(?<text>[^\"]*)\"|(?<number>[0-9]+)(?=[,}]))")]
    private static partial Regex Identifier();

    [GeneratedRegex("^{\"id\":\"[0-9a-f]{32}\",|\"merged_from\":\\[[^\\]]*\\]")]
    private static partial Regex Ids();

    [GeneratedRegex("\"messageId\":\"([^\"]*)\"")]
    private static partial Regex Message();

    /// <param name="Documents">By id.</param>
    /// <param name="People">Documents with their membership changes, by id.</param>
    private sealed record Outcome(SortedDictionary<string, string> Documents, IReadOnlyList<string> People)
    {
        /// <summary>An id comes of the number of the resolver's decision: other people's events before change it, and a crash before it was durable.</summary>
        public Outcome WithoutIds() => this with { People = [.. People.Select(person => Ids().Replace(person, "")).Order(StringComparer.Ordinal)] };
    }
}
