using System.Buffers;
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Why a request gets no 200.</summary>
/// <param name="Status">HTTP status.</param>
/// <param name="Outcome">How it is counted.</param>
/// <param name="Code">For programs.</param>
/// <param name="Message">For people: what is wrong and what is allowed.</param>
/// <param name="Field">What is wrong; empty for the whole request.</param>
internal sealed record Refusal(int Status, CollectOutcome Outcome, string Code, string Message, string Field = "")
{
    /// <summary>400: not JSON.</summary>
    public static Refusal Unreadable { get; } = new(400, CollectOutcome.Unreadable, "invalid_json", "The body is not one JSON object in UTF-8.");

    /// <summary>400: not gzip.</summary>
    public static Refusal NotGzip { get; } = new(400, CollectOutcome.Unreadable, "invalid_gzip", "Content-Encoding says gzip, the body is something else or cut off.", "Content-Encoding");

    /// <summary>400: no batch.</summary>
    public static Refusal NoBatch { get; } = new(400, CollectOutcome.Unreadable, "no_batch", "batch is missing or no array. A single event goes to /v1/track, /v1/identify, …", "batch");

    /// <summary>400: the body ended too early.</summary>
    public static Refusal CutOff { get; } = new(400, CollectOutcome.Aborted, "body_cut_off", "The body ended before its announced end.");

    /// <summary>401.</summary>
    public static Refusal WrongKey { get; } = new(401, CollectOutcome.Unauthorized, "invalid_write_key", "The write key is missing or unknown. Send it as user name of Basic authorization, as X-Write-Key, as writeKey in the body, or as ?writeKey=.", "writeKey");

    /// <summary>404.</summary>
    public static Refusal NoSettings { get; } = new(404, CollectOutcome.Refused, "unknown_write_key", "No source has this write key.", "writeKey");

    /// <summary>405.</summary>
    public static Refusal WrongMethod { get; } = new(405, CollectOutcome.Refused, "wrong_method", "This path does not take this method; the header Allow lists what it takes.");

    /// <summary>408.</summary>
    public static Refusal TooSlow { get; } = new(408, CollectOutcome.TooSlow, "too_slow", "The body came too slowly.");

    /// <summary>415.</summary>
    public static Refusal UnknownEncoding { get; } = new(415, CollectOutcome.UnknownEncoding, "unknown_encoding", "Content-Encoding must be gzip or absent.", "Content-Encoding");

    /// <summary>429: the log.</summary>
    public static Refusal LogAway { get; } = new(429, CollectOutcome.LogAway, "log_unavailable", "Events cannot be stored now. Send the same request again after Retry-After.");

    /// <summary>429: too much at once.</summary>
    public static Refusal Busy { get; } = new(429, CollectOutcome.Busy, "busy", "Too many requests are waiting. Send the same request again after Retry-After.");

    /// <summary>429: the source's limit.</summary>
    public static Refusal RateLimited { get; } = new(429, CollectOutcome.RateLimited, "rate_limited", "This source sends more events a second than it may. Send the same request again after Retry-After.");

    /// <summary>413.</summary>
    public static Refusal TooLarge(int maxBytes) => new(413, CollectOutcome.TooLarge, "request_too_large", $"The body is larger than {maxBytes} bytes (inflated, where it is gzipped). Send smaller batches.");

    /// <summary>413.</summary>
    public static Refusal TooManyEvents(int max) => new(413, CollectOutcome.TooLarge, "too_many_events", $"batch has more than {max} events. Send smaller batches.", "batch");

    /// <summary>413: small on the wire, large in the log.</summary>
    public static Refusal ContextTooOften(int bytes, int events, int maxBytes) => new(413, CollectOutcome.TooLarge, "context_too_large", $"The context of the batch has {bytes} bytes and would be stored with each of {events} events that have none, together more than {maxBytes} bytes. Send smaller batches or a smaller context.", "context");
}

/// <summary>Writes answers, CORS headers and settings documents (facts/tracking-clients.md §1.8 to §1.10, §3).</summary>
internal static class CollectAnswers
{
    private const string AllowedHeaders = "authorization, content-type, content-encoding, x-retry-count, x-write-key, x-import, anonymousid, sentat";

    /// <summary>Allows a browser's origin to read the answer, where the options allow the origin.</summary>
    public static bool AllowOrigin(HttpContext context, CollectOptions options)
    {
        string origin = context.Request.Headers.Origin.ToString();
        if (origin.Length == 0)
        {
            return false;
        }

        IHeaderDictionary headers = context.Response.Headers;
        headers.Vary = "Origin";
        if (options.AllowedOrigins.Count > 0 && !options.AllowedOrigins.Contains(origin, StringComparer.OrdinalIgnoreCase))
        {
            return false;
        }

        headers.AccessControlAllowOrigin = origin;
        headers.AccessControlExposeHeaders = "Retry-After"; // Without it a browser hides the header from the SDK.
        return true;
    }

    /// <summary>Answers a preflight.</summary>
    public static void Preflight(HttpContext context, bool originAllowed)
    {
        context.Response.StatusCode = StatusCodes.Status204NoContent;
        if (originAllowed)
        {
            IHeaderDictionary headers = context.Response.Headers;
            headers.AccessControlAllowMethods = "GET, POST, OPTIONS";
            headers.AccessControlAllowHeaders = AllowedHeaders;
            headers.AccessControlMaxAge = "86400";
        }
    }

    /// <summary>Problem details (RFC 9457) with <c>code</c> and <c>message</c>, which rudder-sdk-python needs to understand that it must not try again.</summary>
    public static async Task<CollectOutcome> RefuseAsync(HttpContext context, Refusal refusal, int? retryAfterSeconds = null)
    {
        if (retryAfterSeconds is int seconds)
        {
            context.Response.Headers.RetryAfter = seconds.ToString();
        }

        var bytes = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteString("type"u8, "about:blank"u8);
            json.WriteString("title"u8, Title(refusal.Status));
            json.WriteNumber("status"u8, refusal.Status);
            json.WriteString("detail"u8, refusal.Message);
            json.WriteString("code"u8, refusal.Code);
            json.WriteString("message"u8, refusal.Message);
            if (refusal.Field.Length > 0)
            {
                json.WriteString("field"u8, refusal.Field);
            }

            json.WriteEndObject();
        }

        await WriteAsync(context, refusal.Status, "application/problem+json", bytes.WrittenMemory).ConfigureAwait(false);
        return refusal.Outcome;
    }

    /// <summary>Writes a whole answer.</summary>
    public static async Task WriteAsync(HttpContext context, int status, string contentType, ReadOnlyMemory<byte> body)
    {
        HttpResponse response = context.Response;
        response.StatusCode = status;
        response.ContentType = contentType;
        response.ContentLength = body.Length;
        await response.BodyWriter.WriteAsync(body, context.RequestAborted).ConfigureAwait(false);
    }

    /// <summary>Settings of analytics-next. <c>apiHost</c> has no scheme; <c>sampleRate</c> 0 keeps the SDK from sending its own metrics to Segment.</summary>
    public static byte[] Settings(HttpRequest request, string writeKey, CollectOptions options)
    {
        (string host, string protocol) = options.PublicUrl is null
            ? (request.Host.Value ?? "", request.Scheme)
            : (new Uri(options.PublicUrl).Authority + new Uri(options.PublicUrl).AbsolutePath.TrimEnd('/'), new Uri(options.PublicUrl).Scheme);
        var bytes = new ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteStartObject("integrations"u8);
            json.WriteStartObject("Segment.io"u8);
            json.WriteString("apiKey"u8, writeKey);
            json.WriteString("apiHost"u8, host + "/v1");
            json.WriteString("protocol"u8, protocol);
            if (options.BrowserBatchSize > 0)
            {
                json.WriteStartObject("deliveryStrategy"u8);
                json.WriteString("strategy"u8, "batching"u8);
                json.WriteStartObject("config"u8);
                json.WriteNumber("size"u8, options.BrowserBatchSize);
                json.WriteNumber("timeout"u8, 5000);
                json.WriteEndObject();
                json.WriteEndObject();
            }

            json.WriteEndObject();
            json.WriteEndObject();
            json.WriteStartObject("metrics"u8);
            json.WriteNumber("sampleRate"u8, 0);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return bytes.WrittenSpan.ToArray();
    }

    /// <summary>Settings of RudderStack's browser SDK.</summary>
    public static byte[] SourceConfig(string sourceId, string writeKey) => JsonSerializer.SerializeToUtf8Bytes(new
    {
        source = new
        {
            id = sourceId,
            name = sourceId,
            writeKey,
            enabled = true,
            workspaceId = "streamcdp",
            destinations = Array.Empty<object>(),
            config = new { statsCollection = new { errors = new { enabled = false }, metrics = new { enabled = false } } },
        },
        updatedAt = "2026-01-01T00:00:00Z",
    });

    private static string Title(int status) => status switch
    {
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        _ => "Too Many Requests",
    };
}
