using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace StreamCdp.Api;

/// <summary>Why a request was not answered: RFC 9457 problem details, with <c>code</c> for programs and <c>message</c> for people.</summary>
/// <param name="Status">HTTP status.</param>
/// <param name="Code">Stable, snake case.</param>
/// <param name="Message">What is wrong, what is allowed, what to do.</param>
/// <param name="RetryAfterSeconds">For Retry-After; 0: no such header.</param>
internal sealed record ApiProblem(int Status, string Code, string Message, int RetryAfterSeconds = 0)
{
    public const string ContentType = "application/problem+json";

    public static ApiProblem BadRequest(string code, string message) => new(StatusCodes.Status400BadRequest, code, message);

    public static ApiProblem NotFound(string code, string message) => new(StatusCodes.Status404NotFound, code, message);

    /// <summary>Answers with this problem; the response must not have started.</summary>
    public Task WriteAsync(HttpContext context)
    {
        HttpResponse response = context.Response;
        response.StatusCode = Status;
        if (RetryAfterSeconds > 0)
        {
            response.Headers.RetryAfter = RetryAfterSeconds.ToString(CultureInfo.InvariantCulture);
        }

        return ApiJson.WriteAsync(context, ContentType, this, static (json, problem) =>
        {
            json.WriteStartObject();
            json.WriteString("type"u8, "about:blank"u8);
            json.WriteString("title"u8, Microsoft.AspNetCore.WebUtilities.ReasonPhrases.GetReasonPhrase(problem.Status));
            json.WriteNumber("status"u8, problem.Status);
            json.WriteString("detail"u8, problem.Message);
            json.WriteString("code"u8, problem.Code);
            json.WriteString("message"u8, problem.Message);
            json.WriteEndObject();
        });
    }
}

/// <summary>Writes JSON answers: UTF-8, times as ISO 8601 UTC with milliseconds, never cached.</summary>
internal static class ApiJson
{
    public const string ContentType = "application/json";

    /// <summary>Text beyond ASCII stays readable; answers are JSON by content type and never sniffed, so HTML in them is harmless.</summary>
    public static readonly JsonWriterOptions Options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true };

    public static Task WriteAsync<T>(HttpContext context, T value, Action<Utf8JsonWriter, T> write) => WriteAsync(context, ContentType, value, write);

    public static Task WriteAsync<T>(HttpContext context, string contentType, T value, Action<Utf8JsonWriter, T> write)
    {
        var buffer = new System.Buffers.ArrayBufferWriter<byte>(1024);
        using (var json = new Utf8JsonWriter(buffer, Options))
        {
            write(json, value);
        }

        return WriteBytesAsync(context, contentType, buffer.WrittenMemory);
    }

    public static Task WriteBytesAsync(HttpContext context, string contentType, ReadOnlyMemory<byte> bytes)
    {
        HttpResponse response = context.Response;
        response.ContentType = contentType;
        response.ContentLength = bytes.Length;
        response.Headers.CacheControl = "no-store";
        response.Headers.XContentTypeOptions = "nosniff";
        return response.Body.WriteAsync(bytes, context.RequestAborted).AsTask();
    }

    public static void WriteTime(Utf8JsonWriter json, ReadOnlySpan<byte> name, long unixMs)
    {
        Span<char> text = stackalloc char[24];
        DateTimeOffset time = DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(unixMs, -62135596800000, 253402300799999));
        bool written = time.UtcDateTime.TryFormat(text, out int length, "yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);
        System.Diagnostics.Debug.Assert(written, "An instant has 24 characters.");
        json.WriteString(name, text[..length]);
    }
}
