using System.Collections.Frozen;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>What a path of the collector takes.</summary>
internal enum CollectKind : byte
{
    /// <summary>One event, POST.</summary>
    Event,

    /// <summary>A batch, POST.</summary>
    Batch,

    /// <summary>Metrics of an SDK about itself, POST: taken and dropped.</summary>
    SdkMetrics,

    /// <summary>Settings of analytics-next, GET.</summary>
    Settings,

    /// <summary>Settings of RudderStack's browser SDK, GET.</summary>
    SourceConfig,
}

/// <summary>A path of the collector (facts/tracking-clients.md §1.1, without PostHog's: adr/0009-posthogs-protocol-is-not-taken).</summary>
/// <param name="Kind">What it takes.</param>
/// <param name="Type">Type of an event whose body lacks it.</param>
internal sealed record CollectRoute(CollectKind Kind, EventType Type = EventType.Unknown)
{
    /// <summary>Longest path that is looked at.</summary>
    private const int MaxPath = 512;

    private const string SettingsPrefix = "/v1/projects/";
    private const string SettingsSuffix = "/settings";

    private static readonly CollectRoute s_settings = new(CollectKind.Settings);

    private static readonly FrozenDictionary<string, CollectRoute> s_routes = Routes().ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>The route of a path, with slashes doubled or at the end; null where the path is not the collector's.</summary>
    public static CollectRoute? Find(string path)
    {
        if (s_routes.TryGetValue(path, out CollectRoute? route))
        {
            return route;
        }

        if (path.Length is < 2 or > MaxPath || (path[^1] != '/' && !path.Contains("//", StringComparison.Ordinal) && !path.StartsWith(SettingsPrefix, StringComparison.Ordinal)))
        {
            return null;
        }

        string normal = '/' + string.Join('/', path.Split('/', StringSplitOptions.RemoveEmptyEntries));
        return s_routes.TryGetValue(normal, out route) ? route : SettingsKey(normal).IsEmpty ? null : s_settings;
    }

    /// <summary>The write key in the path of a settings document; empty where it is another path.</summary>
    public static ReadOnlySpan<char> SettingsKey(string path)
    {
        ReadOnlySpan<char> rest = path.AsSpan().TrimEnd('/');
        int start = rest.IndexOf(SettingsPrefix, StringComparison.Ordinal);
        if (start < 0 || rest[..start].ContainsAnyExcept('/') || !rest.EndsWith(SettingsSuffix, StringComparison.Ordinal) || rest.Length < start + SettingsPrefix.Length + SettingsSuffix.Length)
        {
            return default;
        }

        ReadOnlySpan<char> key = rest[(start + SettingsPrefix.Length)..^SettingsSuffix.Length].Trim('/');
        return key.Contains('/') ? default : key;
    }

    private static IEnumerable<KeyValuePair<string, CollectRoute>> Routes()
    {
        foreach ((string name, string shortName, EventType type) in new[]
        {
            ("track", "t", EventType.Track), ("identify", "i", EventType.Identify), ("page", "p", EventType.Page),
            ("screen", "s", EventType.Screen), ("group", "g", EventType.Group), ("alias", "a", EventType.Alias),
        })
        {
            var route = new CollectRoute(CollectKind.Event, type);
            foreach (string path in new[] { $"/v1/{name}", $"/v1/{shortName}", $"/api/s/{name}", $"/api/s/s2s/{name}" })
            {
                yield return new(path, route);
            }
        }

        foreach (string path in new[] { "/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch" })
        {
            yield return new(path, new CollectRoute(CollectKind.Batch));
        }

        yield return new("/v1/m", new CollectRoute(CollectKind.SdkMetrics));
        yield return new("/sourceConfig", new CollectRoute(CollectKind.SourceConfig));
    }
}
