using System.Text;
using StreamCdp.Connectors.Actions;

namespace StreamCdp.Api;

/// <summary>The page behind the link of a mail. GET only asks: mail scanners follow links. POST takes the consent back: the page's button, and the one click of mail programs (RFC 8058).</summary>
internal sealed class UnsubscribeEndpoints(Unsubscriber unsubscriber)
{
    private const string Dead = "<p>This link is no good any more. Please use the one of a newer mail, or answer to it.</p>";

    /// <summary><c>GET /v1/unsubscribe/{token}</c>.</summary>
    public Task<ApiProblem?> ShowAsync(HttpContext context) => unsubscriber.Purpose(ApiRequest.RawSegment(context, fromEnd: 1)) is { } purpose
        ? PageAsync(context, StatusCodes.Status200OK, $"<p>Do you want to get no more messages of the kind “{purpose}”?</p><form method=\"post\"><button>Unsubscribe</button></form>")
        : PageAsync(context, StatusCodes.Status404NotFound, Dead);

    /// <summary><c>POST /v1/unsubscribe/{token}</c>.</summary>
    public async Task<ApiProblem?> TakeBackAsync(HttpContext context)
    {
        try
        {
            return await unsubscriber.TakeBackAsync(ApiRequest.RawSegment(context, fromEnd: 1), context.RequestAborted)
                ? await PageAsync(context, StatusCodes.Status200OK, "<p>You are unsubscribed.</p>")
                : await PageAsync(context, StatusCodes.Status404NotFound, Dead);
        }
        catch (TimeoutException)
        {
            context.Response.Headers.RetryAfter = "30";
            return await PageAsync(context, StatusCodes.Status503ServiceUnavailable, "<p>That did not work just now. Please try again in a minute, or answer to the mail.</p>");
        }
    }

    private static async Task<ApiProblem?> PageAsync(HttpContext context, int status, string body)
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "text/html; charset=utf-8";
        context.Response.Headers.CacheControl = "no-store";
        context.Response.Headers.ContentSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'";
        context.Response.Headers["Referrer-Policy"] = "no-referrer"; // The link is the key.
        string page = $"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Unsubscribe</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}}button{{font:inherit;padding:.4em 1em}}</style>{body}</html>";
        await context.Response.Body.WriteAsync(Encoding.UTF8.GetBytes(page), context.RequestAborted);
        return null;
    }
}
