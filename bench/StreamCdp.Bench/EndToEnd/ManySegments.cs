using StreamCdp.Engine.Model;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>The demo model with more segments, as the marketing people of a large shop pile them up: each is three of about 600 leaves.</summary>
internal static class ManySegments
{
    private const string Categories = "shoes shirts bags coats toys";
    private const int Products = 200;
    private const int Paths = 80;

    /// <summary>The demo's segments come first; the rest are the same for every number, as far as it goes.</summary>
    public static CdpModel Of(CdpModel demo, int segments)
    {
        string[] leaves = [.. Leaves()];
        var choice = new SeededChoice(42);
        List<SegmentDefinition> all = [.. demo.Segments];
        while (all.Count < segments)
        {
            string one = leaves[choice.Below(leaves.Length)];
            string other = leaves[choice.Below(leaves.Length)];
            string third = leaves[choice.Below(leaves.Length)];
            string when = all.Count % 10 == 0 ? $"in_segment(\"{demo.Segments[choice.Below(demo.Segments.Count)].Id}\") and {one}" : $"{one} and {other} and {(choice.Chance(0.5) ? "not " : "")}{Single(third)}";
            Expression rule = ExpressionReader.ReadCondition(when).Expression ?? throw new InvalidOperationException(when);
            string id = $"many_{all.Count}";
            all.Add(new SegmentDefinition(id, id, rule, (ulong)all.Count));
        }

        return demo with { Segments = [.. all.Take(Math.Max(segments, demo.Segments.Count))] };
    }

    /// <summary>A rule may be of two parts, and not takes one.</summary>
    private static string Single(string leaf) => leaf.Contains(" and ", StringComparison.Ordinal) ? $"({leaf})" : leaf;

    /// <summary>Different leaves, each of them true for somebody.</summary>
    public static IEnumerable<string> Leaves()
    {
        foreach (string category in Categories.Split(' '))
        {
            foreach (string window in (string[])["7d", "90d"])
            {
                yield return $"count(\"Product Viewed\", within: {window}, where: properties.category == \"{category}\") >= 3";
                yield return $"happened(\"Product Added\", within: {window}, where: properties.category == \"{category}\")";
            }

            yield return $"most_frequent(\"Product Viewed\", properties.category) == \"{category}\"";
            yield return $"unique_count(\"Product Viewed\", properties.product_id, within: 30d, where: properties.category == \"{category}\") > 5";
        }

        for (int product = 0; product < Products; product++)
        {
            yield return $"happened(\"Product Viewed\", within: 7d, where: properties.product_id == \"p-{product}\")";
            yield return $"happened(\"Product Added\", within: 30d, where: properties.product_id == \"p-{product}\")";
        }

        for (int path = 0; path < Paths; path++)
        {
            yield return $"count(\"page:*\", within: 30d, where: properties.path == \"/c/{path}\") >= 2";
        }

        foreach (string window in (string[])["1d", "7d", "30d", "90d", "180d", "365d"])
        {
            yield return $"sum(\"Order Completed\", properties.revenue, within: {window}) >= 200";
            yield return $"count(\"Order Completed\", within: {window}) >= 2";
            yield return $"max(\"Order Completed\", properties.revenue, within: {window}) > 90";
        }

        foreach (string country in (string[])["DE", "FR", "AT", "US", "GB", "ES"])
        {
            yield return $"traits.country == \"{country}\"";
            yield return $"traits.country == \"{country}\" and traits.plan == \"pro\"";
            yield return $"traits.country == \"{country}\" and identifiers.email exists";
        }

        foreach (string campaign in (string[])["spring", "newsletter", "brand"])
        {
            yield return $"traits.first_campaign == \"{campaign}\"";
            yield return $"traits.last_campaign == \"{campaign}\"";
            yield return $"count(\"*\", where: context.campaign.name == \"{campaign}\") >= 3";
        }

        yield return "sequence(\"Product Viewed\", \"Product Added\", \"Order Completed\", within: 2h)";
        for (int hour = 1; hour <= 30; hour++)
        {
            yield return $"happened(\"page:Home\", within: {hour}h)";
        }
    }
}
