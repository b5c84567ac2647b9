using System.Text;
using CsCheck;
using StreamCdp.Engine.Model;
using StreamCdp.Simulation.Tests.Oracle;

namespace StreamCdp.Simulation.Tests.Generators;

/// <summary>A model and a history, from one seed. <see cref="object.ToString"/> shows all of it.</summary>
internal sealed record GeneratedCase(ulong Seed, CdpModel Model, OracleClock Clock, TimeSpan DedupWindow, IReadOnlyList<HistoryStep> Steps)
{
    /// <summary>For CsCheck; it shrinks nothing, <see cref="Reduced"/> does.</summary>
    public static Gen<GeneratedCase> Any(OracleClock clock, HashSet<EventFunction>? without = null) => Gen.ULong.Select(seed => Of(seed, clock, without));

    /// <param name="seed">The same seed, clock and functions give the same case.</param>
    /// <param name="clock">The event clock has no ticks.</param>
    /// <param name="without">Functions that the model does not use; null: it may use all.</param>
    public static GeneratedCase Of(ulong seed, OracleClock clock, HashSet<EventFunction>? without = null)
    {
        var choice = new Choice(seed);
        CdpModel model = new ModelGenerator(choice, without ?? []).Generate();
        TimeSpan dedupWindow = TimeSpan.FromMilliseconds(choice.Of(1_000, 60_000, 3_600_000, 86_400_000));
        var crm = new CrmGenerator(new Choice(seed ^ 0xC12));
        long[] windows = [.. ModelGenerator.Windows.Where(_ => choice.Percent(25)), (long)dedupWindow.TotalMilliseconds, .. WindowsOf(model)];
        List<HistoryStep> steps = new HistoryGenerator(choice, crm, windows, clock == OracleClock.Wall).Generate(5 + choice.Below(60));
        return new GeneratedCase(seed, crm.Extend(model), clock, dedupWindow, steps);
    }

    /// <summary>The oracle's answer.</summary>
    public OracleWorld Run()
    {
        var world = new OracleWorld(Model, Clock, DedupWindow);
        foreach (HistoryStep step in Steps)
        {
            if (step.Event is not null)
            {
                world.Feed(step.Event);
            }
            else
            {
                world.Tick(step.AtMs);
            }
        }

        world.Settle();
        return world;
    }

    /// <summary>A smaller case that still fails: without steps, segments and computed traits that do not matter.</summary>
    public GeneratedCase Reduced(Func<GeneratedCase, bool> fails)
    {
        GeneratedCase best = this;
        for (int size = Math.Max(1, best.Steps.Count / 2); ; size /= 2)
        {
            for (int start = 0; start < best.Steps.Count;)
            {
                GeneratedCase smaller = best with { Steps = [.. best.Steps.Where((_, i) => i < start || i >= start + size)] };
                if (fails(smaller))
                {
                    best = smaller;
                }
                else
                {
                    start += size;
                }
            }

            if (size <= 1)
            {
                break;
            }
        }

        foreach (SegmentDefinition segment in best.Model.Segments.Reverse())
        {
            best = Without(best, best.Model with { Segments = [.. best.Model.Segments.Where(other => other.Id != segment.Id)] }, $"in_segment(\"{segment.Id}\")", fails);
        }

        foreach (ComputedDefinition computed in best.Model.Computed)
        {
            best = Without(best, best.Model with { Computed = [.. best.Model.Computed.Where(other => other.Name != computed.Name)] }, $"computed.{computed.Name}", fails);
        }

        return best;
    }

    public override string ToString()
    {
        var text = new StringBuilder();
        text.AppendLine($"seed {Seed}, {Clock} clock, dedup window {DedupWindow}");
        text.AppendLine(Model.Text);
        foreach (HistoryStep step in Steps)
        {
            text.AppendLine(step.Event is { } e
                ? $"{OracleTime.Format(e.ReceivedAtMs)} {e.SourceId}{(e.Import ? " import" : "")}{(e.BatchSentAtMs is { } sent ? $" sent {OracleTime.Format(sent)}" : "")} {e.Json} {e.BatchContextJson}"
                : $"{OracleTime.Format(step.AtMs)} tick");
        }

        return text.ToString();
    }

    private static GeneratedCase Without(GeneratedCase best, CdpModel smallerModel, string use, Func<GeneratedCase, bool> fails)
    {
        string text = ModelText.Yaml(smallerModel);
        GeneratedCase smaller = best with { Model = smallerModel with { Text = text } };
        return !text.Contains(use, StringComparison.Ordinal) && smallerModel.Segments.Count > 0 && fails(smaller) ? smaller : best;
    }

    private static IEnumerable<long> WindowsOf(CdpModel model) =>
        OracleInstants.PartsOf(model).Select(part => part switch { FunctionExpression function => function.WindowMs, DateWithinExpression within => within.WindowMs, _ => 0 }).Where(ms => ms > 0);
}
