using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Puts the collector into a web application.</summary>
internal static class CollectEndpoints
{
    /// <summary>Answers the collector's paths; every other request goes on. Before routing: SDKs double slashes (<c>//v1/import/</c>), which routes do not match.</summary>
    public static IApplicationBuilder MapCollector(this IApplicationBuilder app, Collector collector)
    {
        return app.Use(next => context =>
            CollectRoute.Find(context.Request.Path.Value ?? "") is CollectRoute route
                ? collector.HandleAsync(context, route)
                : next(context));
    }

    /// <summary>Sets what protects the server from slow and half-open clients.</summary>
    public static void Limit(KestrelServerOptions kestrel, CollectOptions options)
    {
        kestrel.AddServerHeader = false;
        if (kestrel.Limits.MaxRequestBodySize is long most && most <= options.MaxRequestBytes)
        {
            kestrel.Limits.MaxRequestBodySize = options.MaxRequestBytes + 1L; // Kestrel's own is 30 MB; the collector says 413 itself, with its own words.
        }

        kestrel.Limits.MaxConcurrentConnections = options.MaxConnections;
        kestrel.Limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
        kestrel.Limits.KeepAliveTimeout = TimeSpan.FromSeconds(130); // Above the 60 to 120 s of proxies in front, so that they close first.
        kestrel.Limits.MinRequestBodyDataRate = options.MinBodyBytesPerSecond == 0 ? null : new MinDataRate(options.MinBodyBytesPerSecond, TimeSpan.FromSeconds(10));
    }
}
