using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>All instants at which time alone may change a membership: more than there are, never fewer.</summary>
internal static class OracleInstants
{
    /// <summary>In order, after <paramref name="afterMs"/>, up to and with <paramref name="throughMs"/>.</summary>
    public static List<long> Of(CdpModel model, OraclePerson person, long afterMs, long throughMs)
    {
        List<Expression> all = [.. PartsOf(model)];
        HashSet<long> instants = [];

        foreach (FunctionExpression function in all.OfType<FunctionExpression>().Where(function => function.WindowMs > 0))
        {
            long width = OracleEvaluation.BucketMs(function.WindowMs);
            foreach (OracleRecord e in person.Events)
            {
                instants.Add(e.TimeMs + function.WindowMs);
                instants.Add((OracleEvaluation.Floor(e.TimeMs, width) + OracleEvaluation.Ceiling(function.WindowMs, width)) * width);
            }
        }

        HashSet<long> dates = [.. person.Events.SelectMany(e => e.Dates)];
        foreach (LiteralExpression literal in all.OfType<LiteralExpression>())
        {
            if (OracleValue.Instant(literal.Value) is { } ms)
            {
                dates.Add(ms);
            }
        }

        // A date is compared with now (no distance) or with now ± W.
        foreach (long window in all.OfType<DateWithinExpression>().Select(within => within.WindowMs).Prepend(0).Distinct())
        {
            foreach (long date in dates)
            {
                instants.UnionWith([date - window, date - window + 1, date + window, date + window + 1]);
            }
        }

        return [.. instants.Where(instant => instant > afterMs && instant <= throughMs).Order()];
    }

    /// <summary>Every expression of the model, and every part of each.</summary>
    public static IEnumerable<Expression> PartsOf(CdpModel model) =>
        model.Segments.SelectMany(segment => Parts(segment.When)).Concat(model.Computed.SelectMany(computed => Parts(computed.Value)));

    private static IEnumerable<Expression> Parts(Expression? expression)
    {
        IEnumerable<Expression?> below = expression switch
        {
            null => [],
            LogicExpression logic => logic.Operands,
            NotExpression not => [not.Operand],
            CompareExpression compare => [compare.Left, compare.Right],
            ExistsExpression exists => [exists.Operand],
            DateWithinExpression within => [within.Operand],
            FunctionExpression function => [function.Where],
            CollectionExpression collection => [collection.Where],
            ListExpression list => list.Items,
            _ => [],
        };
        return expression is null ? [] : below.SelectMany(Parts).Prepend(expression);
    }
}
