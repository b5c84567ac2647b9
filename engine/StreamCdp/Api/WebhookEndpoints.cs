using System.Text.Json;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Api;

/// <summary>Takes what CRMs send when something changed there: hints to read a record now, signed by the CRM.</summary>
internal sealed class WebhookEndpoints(ConnectorHost connectors, IReadOnlyDictionary<string, ICrmWebhook> webhooks, TimeProvider time)
{
    private const int MaxBody = 1 << 20;

    /// <summary><c>POST /v1/webhooks/{id}</c>.</summary>
    public async Task<ApiProblem?> TakeAsync(HttpContext context)
    {
        if (!webhooks.TryGetValue(ApiRequest.RawSegment(context, fromEnd: 1), out ICrmWebhook? webhook))
        {
            return ApiProblem.NotFound("unknown_connector", "No destination of this server takes webhooks under this address; add webhook to it in cdp.yaml.");
        }

        using var body = new MemoryStream();
        byte[] buffer = new byte[8192];
        for (int read; (read = await context.Request.Body.ReadAsync(buffer, context.RequestAborted)) > 0;)
        {
            if (body.Length + read > MaxBody)
            {
                return ApiProblem.BadRequest("too_large", $"A webhook has {MaxBody} bytes at most.");
            }

            body.Write(buffer, 0, read);
        }

        IReadOnlyList<CrmHint>? hints;
        try
        {
            hints = webhook.Read(context.Request.Method, name => context.Request.Headers.TryGetValue(name, out var value) ? value.ToString() : null, body.GetBuffer().AsSpan(0, (int)body.Length), time.GetUtcNow());
        }
        catch (JsonException)
        {
            return ApiProblem.BadRequest("bad_webhook", "The body is not what this CRM sends.");
        }

        if (hints is null)
        {
            return new ApiProblem(StatusCodes.Status401Unauthorized, "not_signed", "The signature is missing, wrong or too old. Check secret and url of webhook in cdp.yaml: the url must be the one that the CRM was given.");
        }

        connectors.TryHint(ApiRequest.RawSegment(context, fromEnd: 1), hints);
        context.Response.StatusCode = StatusCodes.Status204NoContent;
        return null;
    }
}
