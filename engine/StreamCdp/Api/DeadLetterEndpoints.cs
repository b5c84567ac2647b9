using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Http.Features;
using StreamCdp.Engine.Pipeline.Collect;

namespace StreamCdp.Api;

/// <summary>Refused events: what they were, and sending them again.</summary>
internal sealed class DeadLetterEndpoints(DeadLetterBox box, ApiOptions options, TimeProvider time)
{
    private const int DefaultLetters = 100;
    private const int MaxLetters = 500;

    /// <summary><c>GET /v1/dead-letters</c>.</summary>
    public async Task<ApiProblem?> ListAsync(HttpContext context)
    {
        if (!ApiRequest.TryNumber(context.Request, "limit", DefaultLetters, 1, MaxLetters, out int limit, out ApiProblem? problem))
        {
            return problem;
        }

        string cursor = context.Request.Query["cursor"].ToString();
        string reason = context.Request.Query["reason"].ToString();
        try
        {
            await ApiJson.WriteAsync(context, box, (json, letters) =>
            {
                json.WriteStartObject();
                json.WriteStartArray("dead_letters"u8);
                string? next = letters.WritePage(json, cursor.Length == 0 ? null : cursor, limit, reason, context.RequestAborted);
                json.WriteEndArray();
                json.WriteString("next"u8, next);
                json.WriteEndObject();
            });
            return null;
        }
        catch (FormatException)
        {
            return ApiProblem.BadRequest("bad_cursor", "The cursor is not one of this API; send the 'next' of the page before, unchanged, or none for the first page.");
        }
    }

    /// <summary><c>POST /v1/dead-letters/replay</c>.</summary>
    public async Task<ApiProblem?> ReplayAsync(HttpContext context)
    {
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } limit)
        {
            limit.MaxRequestBodySize = options.MaxBodyBytes;
        }

        long from = long.MinValue;
        long to = time.GetUtcNow().ToUnixTimeMilliseconds() + 1;
        string reason = "";
        try
        {
            using JsonDocument body = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
            if (body.RootElement.ValueKind != JsonValueKind.Object || !TryTime(body.RootElement, "from", ref from) || !TryTime(body.RootElement, "to", ref to) || !TryText(body.RootElement, "reason", ref reason))
            {
                return ApiProblem.BadRequest("bad_body", "The body must be a JSON object with any of from and to (ISO 8601) and reason (text), for example {\"from\":\"2026-11-24T08:00:00Z\",\"reason\":\"no_identifier\"}.");
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return ApiProblem.BadRequest("bad_json", "The body is not JSON; send {} to replay all.");
        }

        (long replayed, long stillInvalid) = await box.ReplayAsync(from, to, reason, context.RequestAborted);
        await ApiJson.WriteAsync(context, (replayed, stillInvalid), static (json, counts) =>
        {
            json.WriteStartObject();
            json.WriteNumber("replayed"u8, counts.replayed);
            json.WriteNumber("still_invalid"u8, counts.stillInvalid);
            json.WriteEndObject();
        });
        return null;
    }

    private static bool TryTime(JsonElement body, string name, ref long unixMs)
    {
        string text = "";
        if (!TryText(body, name, ref text) || text.Length == 0)
        {
            return text.Length == 0 && (!body.TryGetProperty(name, out JsonElement value) || value.ValueKind == JsonValueKind.Null);
        }

        bool isTime = DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset at);
        unixMs = isTime ? at.ToUnixTimeMilliseconds() : unixMs;
        return isTime;
    }

    private static bool TryText(JsonElement body, string name, ref string text)
    {
        if (!body.TryGetProperty(name, out JsonElement value) || value.ValueKind == JsonValueKind.Null)
        {
            return true;
        }

        text = value.ValueKind == JsonValueKind.String ? value.GetString()! : text;
        return value.ValueKind == JsonValueKind.String;
    }
}
