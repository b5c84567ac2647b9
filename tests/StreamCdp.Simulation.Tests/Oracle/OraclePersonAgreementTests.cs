using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Pipeline.Profiles;
using StreamCdp.Engine.Pipeline.Segments;
using StreamCdp.Simulation.Tests.Generators;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>The engine's functions, segments and traits against the oracle's, for one person, without logs and identity in between.</summary>
public class OraclePersonAgreementTests
{
    [Fact]
    public void Memberships_by_ticks_are_alike() => Sample(OracleClock.Wall);

    [Fact]
    public void Memberships_by_event_time_are_alike() => Sample(OracleClock.Event);

    private static void Sample(OracleClock clock) => GeneratedCase.Any(clock).Sample(
        generated =>
        {
            GeneratedCase alone = Alone(generated);
            if (Difference(alone) is not null)
            {
                GeneratedCase reduced = alone.Reduced(smaller => Difference(smaller) is not null);
                Assert.Fail($"{Difference(reduced)}\n{reduced}");
            }
        },
        print: generated => $"seed {generated.Seed}",
        iter: 400,
        threads: 1);

    /// <summary>The same case with all events from one device.</summary>
    private static GeneratedCase Alone(GeneratedCase generated)
    {
        CdpModel model = generated.Model with { Identifiers = [OracleExample.Device] };
        return generated with
        {
            Model = model with { Text = ModelText.Yaml(model) },
            Steps = [.. generated.Steps.Select(step => step with { Event = step.Event is null ? null : Alone(step.Event) })],
        };
    }

    private static OracleEvent Alone(OracleEvent e)
    {
        JsonObject json = JsonNode.Parse(e.Json)!.AsObject();
        json["anonymousId"] = "a1";
        json.Remove("previousId");
        return e with { Json = json.ToJsonString(), BatchContextJson = null };
    }

    /// <summary>Null: engine and oracle say the same.</summary>
    private static string? Difference(GeneratedCase generated)
    {
        OracleWorld world = generated.Run();
        if (world.People.SingleOrDefault() is not { } person)
        {
            return null;
        }

        (string changes, JsonNode computed, JsonNode traits, JsonNode provenance) = Engine(generated, world, person);
        string expected = string.Join(' ', person.Changes.Select(change => $"{(change.Entered ? '+' : '-')}{change.Segment}@{change.AtMs}"));
        if (expected != changes)
        {
            return $"changes: expected {expected}\n         actual   {changes}";
        }

        JsonObject document = OracleDocument.Of(world, person);
        foreach ((string part, JsonNode actual) in ((string, JsonNode)[])[("computed", computed), ("traits", traits), ("provenance", provenance)])
        {
            if (!OracleDocument.AreAlike(document[part], actual))
            {
                return $"{part}: expected {document[part]!.ToJsonString()}\n  actual {actual.ToJsonString()}";
            }
        }

        return null;
    }

    private static (string Changes, JsonNode Computed, JsonNode Traits, JsonNode Provenance) Engine(GeneratedCase generated, OracleWorld world, OraclePerson person)
    {
        CdpModel model = generated.Model;
        var segments = new SegmentEngine(model);
        var traits = new TraitRules(model, segments.EventPaths.Count);
        var crm = new CrmRules(model, new CrmSkipped());
        List<IReadOnlyList<string>> paths = [.. segments.EventPaths, .. traits.Paths, ["context"], ["traits"], ["context", "traits"]];
        var scanner = new JsonPathScanner(paths);
        var slots = new JsonSlice[paths.Count];
        var profile = new ProfileState();
        profile.Reset(1);
        profile.AddIdentifier("anonymous_id"u8, "a1"u8, "web"u8);
        List<string> changes = [];
        long now = long.MinValue;
        long advanced = long.MinValue;
        bool exists = false;

        void Evaluate(long at)
        {
            SegmentChanges found = default;
            segments.Evaluate(profile, at, ref found);
            foreach (SegmentChange change in found.Items)
            {
                changes.Add($"{(change.Entered ? '+' : '-')}{model.Segments[change.Segment].Id}@{at}");
            }

            advanced = Math.Max(advanced, at);
        }

        void PassTime(long through)
        {
            while (exists && advanced < through && segments.NextDeadline(profile, advanced) is var deadline && deadline <= through)
            {
                Evaluate(deadline);
            }

            advanced = Math.Max(advanced, through);
        }

        int log = -1;
        foreach (HistoryStep step in generated.Steps)
        {
            if (step.Event is not { } e)
            {
                now = Math.Max(now, step.AtMs);
                PassTime(step.AtMs);
                continue;
            }

            log++;
            if (world.Outcomes[log].Verdict != OracleVerdict.Applied)
            {
                continue;
            }

            OracleRecord record = person.Events.Single(other => other.Log == log);
            now = Math.Max(now, record.TimeMs);
            PassTime(now - 1);
            byte[] payload = Encoding.UTF8.GetBytes(e.Json);
            Assert.True(scanner.Scan(payload, slots));
            var view = new EventView
            {
                Payload = payload,
                ContextPayload = payload,
                Slots = slots,
                Type = EventTypeText.Parse(Encoding.UTF8.GetBytes(record.Type)),
                Name = Encoding.UTF8.GetBytes(record.Name ?? ""),
                Order = new EventOrder(record.TimeMs, log, 0),
            };
            ReadOnlySpan<byte> Object(int slot) => slots[slot].Kind == JsonTokenType.StartObject ? slots[slot].In(payload) : default;
            traits.Apply(profile, view, Object(paths.Count - 2), Object(paths.Count - 1), Encoding.UTF8.GetBytes(e.SourceId));
            byte[] source = Encoding.UTF8.GetBytes(e.SourceId);
            if (crm.IsCrm(source) && slots[paths.Count - 3].Kind == JsonTokenType.StartObject)
            {
                crm.Apply(profile, Object(paths.Count - 3), source, view.Order);
            }

            segments.Apply(profile, view);
            exists = true;
            Evaluate(now);
        }

        PassTime(now); // As Settle.
        return (string.Join(' ', changes), Json(writer => segments.WriteComputed(writer, profile, now)), Json(writer => ProfileDocument.WriteTraits(writer, profile)),
            Json(writer => ProfileDocument.WriteProvenance(writer, profile)));
    }

    private static JsonNode Json(Action<Utf8JsonWriter> write)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(bytes))
        {
            write(writer);
        }

        return JsonNode.Parse(bytes.WrittenSpan)!;
    }
}
