using System.Reflection;
using Prometheus;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Api;

/// <summary>Health, metrics, the API's description and the front page: open to everybody, without personal data.</summary>
internal sealed class HealthEndpoints(Func<IReadOnlyList<PartHealth>> health, EngineMetrics metrics)
{
    private static readonly byte[] OpenApiDocument = Resource("StreamCdp.Api.openapi.json");
    private static readonly byte[] IndexPage = Resource("StreamCdp.Api.index.html");

    /// <summary><c>GET /healthz</c>: 503 where a part cannot recover by itself, so restart the process.</summary>
    public Task<ApiProblem?> LiveAsync(HttpContext context) => WriteAsync(context, "live", static part => part.IsLive, static part => !part.IsLive);

    /// <summary><c>GET /readyz</c>: 503 where traffic should go elsewhere for now. Reasons come with 200, too: what needs a person though all works, such as a checkpoint that failed.</summary>
    public Task<ApiProblem?> ReadyAsync(HttpContext context) => WriteAsync(context, "ready", static part => part.IsReady, static part => !part.IsReady || part.Reason.Length > 0);

    /// <summary><c>GET /metrics</c>, Prometheus text format.</summary>
    public async Task<ApiProblem?> MetricsAsync(HttpContext context)
    {
        foreach (PartHealth part in health())
        {
            metrics.PartReady(part.Part).Set(part.IsReady ? 1 : 0);
        }

        using var buffer = new MemoryStream();
        try
        {
            await metrics.Registry.CollectAndExportAsTextAsync(buffer, context.RequestAborted);
        }
        catch (ScrapeFailedException e)
        {
            return new ApiProblem(StatusCodes.Status503ServiceUnavailable, "scrape_failed", e.Message);
        }

        await ApiJson.WriteBytesAsync(context, "text/plain; version=0.0.4; charset=utf-8", buffer.GetBuffer().AsMemory(0, (int)buffer.Length));
        return null;
    }

    /// <summary><c>GET /openapi/v1.json</c>.</summary>
    public static async Task<ApiProblem?> OpenApiAsync(HttpContext context)
    {
        await ApiJson.WriteBytesAsync(context, ApiJson.ContentType, OpenApiDocument);
        return null;
    }

    /// <summary><c>GET /</c>.</summary>
    public static async Task<ApiProblem?> IndexAsync(HttpContext context)
    {
        await ApiJson.WriteBytesAsync(context, "text/html; charset=utf-8", IndexPage);
        return null;
    }

    private async Task<ApiProblem?> WriteAsync(HttpContext context, string status, Func<PartHealth, bool> isGood, Func<PartHealth, bool> isTold)
    {
        IReadOnlyList<PartHealth> parts = health();
        bool areGood = parts.All(isGood);
        if (!areGood)
        {
            context.Response.StatusCode = StatusCodes.Status503ServiceUnavailable;
        }

        await ApiJson.WriteAsync(context, (Told: parts.Where(isTold), Status: areGood ? status : "not " + status), static (json, health) =>
        {
            json.WriteStartObject();
            json.WriteString("status"u8, health.Status);
            json.WriteStartArray("reasons"u8);
            foreach (PartHealth part in health.Told)
            {
                json.WriteStartObject();
                json.WriteString("part"u8, part.Part);
                json.WriteString("reason"u8, part.Reason);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        });
        return null;
    }

    private static byte[] Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream(name)
            ?? throw new InvalidOperationException($"The program was built without its resource {name}.");
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }
}
