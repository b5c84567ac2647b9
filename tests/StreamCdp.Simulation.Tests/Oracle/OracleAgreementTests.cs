using System.Text;
using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Simulation.Tests.Generators;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>The engine's readers and the oracle's, on the same generated texts.</summary>
public class OracleAgreementTests
{
    [Fact]
    public void A_generated_model_is_read_from_its_text_as_it_is() => GeneratedCase.Any(OracleClock.Event).Sample(
        generated =>
        {
            ModelResult result = ModelReader.Read("cdp.yaml", generated.Model.Text, _ => null);
            Assert.Empty(result.Errors);
            CdpModel read = result.Model!;
            Assert.Equal(generated.Model.Sources, read.Sources);
            Assert.Equal(generated.Model.Computed, read.Computed);
            Assert.Equal(generated.Model.Segments, read.Segments.Select(segment => segment with { Version = 0 }));
            Assert.Equal(ModelText.Yaml(generated.Model), ModelText.Yaml(read)); // Identifiers and traits, which hold lists.
        },
        print: generated => generated.Model.Text,
        iter: 500,
        threads: 1);

    [Fact]
    public void Events_are_read_alike() => GeneratedCase.Any(OracleClock.Event).Sample(
        generated =>
        {
            static bool IsKnown(string user) => user is "u1" or "7";
            var engine = new EventReader(generated.Model);
            var oracle = new OracleReader(generated.Model, IsKnown, _ => { });
            foreach (OracleEvent e in generated.Steps.Select(step => step.Event!))
            {
                EventProblem problem = engine.Read(Encoding.UTF8.GetBytes(e.Json), Encoding.UTF8.GetBytes(e.BatchContextJson ?? ""));
                string sender = Encoding.UTF8.GetString(engine.SenderKey);
                if (problem == EventProblem.None && engine.HasPreviousId)
                {
                    engine.AddPreviousId(IsKnown(Encoding.UTF8.GetString(engine.PreviousUserId)));
                    problem = engine.IdentifierCount == 0 ? EventProblem.NoIdentifier : problem;
                }

                (OracleRecord? record, OracleOutcome? deadLetter) = oracle.Read(e, 0);
                string actual = problem != EventProblem.None ? $"dead letter: {problem.Field()}" : Line(
                    Enumerable.Range(0, engine.IdentifierCount).Select(i => $"{generated.Model.Identifiers[engine.IdentifierType(i)].Type}:{Encoding.UTF8.GetString(engine.IdentifierValue(i))}"),
                    sender.Split('\0', '\u001F')[^1],
                    engine.EventTime(e.ReceivedAtMs, e.BatchSentAtMs, e.Import),
                    Encoding.UTF8.GetString(engine.Name),
                    Encoding.UTF8.GetString(engine.MessageId));
                string expected = record is null ? $"dead letter: {deadLetter!.Field}" : Line(
                    record.Identifiers.Select(id => id.ToString()), sender.Contains(':') ? record.Sender.ToString() : record.Sender.Value, record.TimeMs, record.Name ?? "", record.MessageId ?? "");
                Assert.True(expected == actual, $"expected {expected}\nactual   {actual}\n{e}");
            }
        },
        print: generated => $"seed {generated.Seed}",
        iter: 500,
        threads: 1);

    private static string Line(IEnumerable<string> identifiers, string sender, long time, string name, string messageId) =>
        $"{string.Join(' ', identifiers)}, sent by {sender} at {time}: {name} {messageId}";
}
