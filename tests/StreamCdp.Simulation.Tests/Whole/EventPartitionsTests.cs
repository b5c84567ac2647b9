using System.Text.Json.Nodes;
using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Generators;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Whole;

/// <summary>Several partitions of <c>events</c>, read in any order, with crashes: people whose devices are in different ones.</summary>
/// <remarks>
/// Between partitions no order is promised, so only what no order changes is asked for: without limits and aliases, and with event times that are
/// all different, what is known of a person at the end depends on their events alone.
/// </remarks>
public sealed class EventPartitionsTests
{
    [Fact]
    public void In_event_time_partitions_and_crashes_change_no_value() => Gen.ULong.Sample(seed => Check(seed, OracleClock.Event), iter: 1500);

    [Fact]
    public void In_wall_time_partitions_and_crashes_change_no_value() => Gen.ULong.Sample(seed => Check(seed, OracleClock.Wall), iter: 1500);

    /// <summary>Cases that failed once.</summary>
    [Theory]
    [InlineData(3511UL, OracleClock.Wall)]
    [InlineData(6430487765786827UL, OracleClock.Wall)]
    internal void A_case_that_failed_once_stays_right(ulong seed, OracleClock clock) => Check(seed, clock);

    private static void Check(ulong seed, OracleClock clock)
    {
        GeneratedCase generated = WithoutOrder(GeneratedCase.Of(seed, clock));
        string? difference = Difference(generated);
        if (difference is not null)
        {
            GeneratedCase smaller = generated.Reduced(candidate => Difference(candidate) is not null);
            Assert.Fail($"{Difference(smaller)}\n{smaller}");
        }
    }

    private static string? Difference(GeneratedCase generated)
    {
        string[] expected = Run(generated, shards: 1, eventPartitions: 1, kills: null, out _);
        string[] found = Run(generated, shards: 1 + (int)(generated.Seed % 3), eventPartitions: 2 + (int)(generated.Seed / 3 % 2), new Choice(generated.Seed ^ 0x9A27), out string logs);
        return expected.SequenceEqual(found) ? null : $"expected {string.Join('\n', expected.Except(found))}\nfound    {string.Join('\n', found.Except(expected))}\n{logs}";
    }

    private static string[] Run(GeneratedCase generated, int shards, int eventPartitions, Choice? kills, out string logs)
    {
        using var engine = new SimulatedEngine(generated.Model, generated.Clock, generated.DedupWindow, shards, eventPartitions: eventPartitions);
        foreach (HistoryStep step in generated.Steps)
        {
            if (step.Event is not null)
            {
                engine.Feed(step.Event, PartitionOf(step.Event, generated, eventPartitions));
            }

            for (int moves = kills?.Below(12) ?? 0; moves > 0; moves--)
            {
                engine.Move(kills!, mayCrash: true);
            }
        }

        for (int moves = kills is null ? 0 : 100; moves > 0; moves--)
        {
            engine.Move(kills!, mayCrash: true);
        }

        if (generated.Clock == OracleClock.Event)
        {
            engine.Settle();
        }
        else
        {
            engine.Tick(generated.Steps[^1].AtMs);
        }

        logs = kills is null ? "" : engine.Dump();
        return engine.Queued > 0 ? [$"{engine.Queued} records wait for ever."] : [.. engine.Documents().Values.Select(MetamorphicTests.Values).Order(StringComparer.Ordinal)];
    }

    /// <summary>A sender's events are in one partition (RULES.md §2).</summary>
    private static int PartitionOf(OracleEvent e, GeneratedCase generated, int partitions) => (int)(Hash(SenderOf(e, generated.Model)) % (uint)partitions);

    private static string SenderOf(OracleEvent e, CdpModel model) => new OracleReader(model, _ => false, _ => { }).Read(e, 0).Record?.Sender.ToString() ?? "";

    private static uint Hash(string text) => text.Aggregate(2_166_136_261u, (hash, character) => (hash ^ character) * 16_777_619u);

    /// <summary>The same history where what comes first decides nothing.</summary>
    private static GeneratedCase WithoutOrder(GeneratedCase generated)
    {
        CdpModel model = generated.Model with { Identifiers = [.. generated.Model.Identifiers.Select(type => type with { Limit = 1000, MergeByServer = false })] };
        long at = 0;
        List<HistoryStep> steps = [];
        foreach (HistoryStep step in generated.Steps)
        {
            at = Math.Max(at + 1, step.AtMs);
            steps.Add(step.Event is null ? step with { AtMs = at } : new HistoryStep(WithoutOrder(step.Event, model) with { ReceivedAtMs = at, BatchSentAtMs = null }, at));
        }

        steps.Add(new HistoryStep(null, at + 1));
        return generated with { Model = model, Steps = steps };
    }

    private static OracleEvent WithoutOrder(OracleEvent e, CdpModel model)
    {
        if (JsonNode.Parse(e.Json) is not JsonObject json)
        {
            return e;
        }

        foreach (string field in (string[])["timestamp", "originalTimestamp", "sentAt", "previousId"])
        {
            json.Remove(field);
        }

        if (json["type"] is JsonValue type && type.TryGetValue(out string? name) && name == "alias")
        {
            json["type"] = "track";
            json["event"] = "A";
        }

        OracleEvent changed = e with { Json = json.ToJsonString() };
        if (json["messageId"] is JsonValue messageId)
        {
            json["messageId"] = $"{messageId} of {SenderOf(changed, model)}"; // Else one of another sender, read earlier and received later, could make a kept one be forgotten.
        }

        return changed with { Json = json.ToJsonString() };
    }
}
