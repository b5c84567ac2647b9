using System.Globalization;

namespace StreamCdp.Cli;

/// <summary>A reading of a server's /metrics.</summary>
internal sealed class Metrics
{
    private readonly Dictionary<string, double> _sums = [];
    private readonly Dictionary<string, SortedDictionary<double, double>> _buckets = [];

    private Metrics()
    {
    }

    /// <summary>Reads the Prometheus text format; null: nothing to read.</summary>
    public static Metrics? Parse(string? text)
    {
        if (text is null)
        {
            return null;
        }

        var metrics = new Metrics();
        foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            int space = line.LastIndexOf(' ');
            if (line[0] == '#' || space < 0 || !double.TryParse(line.AsSpan(space + 1), NumberStyles.Float, CultureInfo.InvariantCulture, out double value))
            {
                continue;
            }

            int brace = line.IndexOf('{', StringComparison.Ordinal);
            string name = line[..(brace < 0 ? space : brace)];
            metrics._sums[name] = metrics._sums.GetValueOrDefault(name) + value;
            if (name.EndsWith("_bucket", StringComparison.Ordinal) && Bound(line) is { } bound)
            {
                if (!metrics._buckets.TryGetValue(name, out SortedDictionary<double, double>? buckets))
                {
                    metrics._buckets.Add(name, buckets = []);
                }

                buckets[bound] = buckets.GetValueOrDefault(bound) + value;
            }
        }

        return metrics;
    }

    /// <summary>Sum over all labels; null: there is no such metric.</summary>
    public double? Sum(string name) => _sums.TryGetValue(name, out double value) ? value : null;

    /// <summary>A quantile of a histogram in its own unit, between its buckets by straight lines, as Prometheus does; null: no observations.</summary>
    /// <param name="name">Of the histogram.</param>
    /// <param name="quantile">0 to 1.</param>
    /// <param name="since">Only what came after this earlier reading; null: everything.</param>
    public double? Quantile(string name, double quantile, Metrics? since = null)
    {
        if (!_buckets.TryGetValue(name + "_bucket", out SortedDictionary<double, double>? buckets))
        {
            return null;
        }

        SortedDictionary<double, double>? earlier = since?._buckets.GetValueOrDefault(name + "_bucket");
        double Count(double bound) => buckets[bound] - (earlier?.GetValueOrDefault(bound) ?? 0);
        double all = Count(buckets.Last().Key);
        if (all <= 0)
        {
            return null;
        }

        double rank = quantile * all;
        double lowerBound = 0;
        double lowerCount = 0;
        foreach (double bound in buckets.Keys)
        {
            double count = Count(bound);
            if (count >= rank)
            {
                return double.IsPositiveInfinity(bound) ? lowerBound : lowerBound + ((bound - lowerBound) * (count > lowerCount ? (rank - lowerCount) / (count - lowerCount) : 1));
            }

            (lowerBound, lowerCount) = (bound, count);
        }

        return lowerBound;
    }

    private static double? Bound(string line)
    {
        const string Label = "le=\"";
        int start = line.IndexOf(Label, StringComparison.Ordinal) + Label.Length;
        int end = start < Label.Length ? -1 : line.IndexOf('"', start);
        string text = end < 0 ? "" : line[start..end];
        return text == "+Inf" ? double.PositiveInfinity : double.TryParse(text, CultureInfo.InvariantCulture, out double bound) ? bound : null;
    }
}
