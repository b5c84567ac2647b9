using System.Globalization;
using System.Threading.RateLimiting;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Api;

/// <summary>Answers a request, or says why not.</summary>
/// <returns>Null where the response is written.</returns>
internal delegate Task<ApiProblem?> ApiHandler(HttpContext context);

/// <summary>What every request of the query API passes: key, scope, rate, and at the way out, problems as RFC 9457.</summary>
internal sealed class ApiGate : IDisposable
{
    private readonly ApiKeys _keys;
    private readonly PartitionedRateLimiter<string>? _limiter;

    public ApiGate(ApiKeys keys, ApiOptions options)
    {
        _keys = keys;
        if (options.RequestsPerSecond > 0)
        {
            _limiter = PartitionedRateLimiter.Create<string, string>(keyId => RateLimitPartition.GetTokenBucketLimiter(keyId, _ => new TokenBucketRateLimiterOptions
            {
                TokenLimit = options.RequestBurst > 0 ? options.RequestBurst : options.RequestsPerSecond,
                TokensPerPeriod = options.RequestsPerSecond,
                ReplenishmentPeriod = TimeSpan.FromSeconds(1),
                QueueLimit = 0,
            }));
        }
    }

    /// <summary>For everybody.</summary>
    public static RequestDelegate Open(ApiHandler handler) => context => AnswerAsync(context, handler);

    /// <summary>For keys with a scope.</summary>
    public RequestDelegate Secured(string scope, ApiHandler handler) => context =>
        Refuse(context, scope) is { } problem ? problem.WriteAsync(context) : AnswerAsync(context, handler);

    public void Dispose() => _limiter?.Dispose();

    private ApiProblem? Refuse(HttpContext context, string scope)
    {
        ApiProblem? problem = _keys.Check(context.Request.Headers.Authorization.ToString(), scope, out string keyId);
        if (problem is not null)
        {
            string? challenge = problem.Code switch
            {
                "key_missing" => "Bearer realm=\"streamcdp\"",
                "key_wrong" => "Bearer realm=\"streamcdp\", error=\"invalid_token\"",
                "scope_missing" => $"Bearer realm=\"streamcdp\", error=\"insufficient_scope\", scope=\"{scope}\"",
                _ => null,
            };
            if (challenge is not null)
            {
                context.Response.Headers.WWWAuthenticate = challenge;
            }

            return problem;
        }

        if (_limiter is null)
        {
            return null;
        }

        using RateLimitLease lease = _limiter.AttemptAcquire(keyId);
        if (lease.IsAcquired)
        {
            return null;
        }

        int seconds = lease.TryGetMetadata(MetadataName.RetryAfter, out TimeSpan after) ? Math.Max(1, (int)Math.Ceiling(after.TotalSeconds)) : 1;
        return new ApiProblem(StatusCodes.Status429TooManyRequests, "too_many_requests", $"The key '{keyId}' sends more than {ApiOptions.Section}:RequestsPerSecond allows; try again in {seconds.ToString(CultureInfo.InvariantCulture)} s.", seconds);
    }

    private static async Task AnswerAsync(HttpContext context, ApiHandler handler)
    {
        ApiProblem? problem;
        try
        {
            problem = await handler(context);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            return; // The client went away: nobody reads an answer.
        }
        catch (LogUnavailableException e) when (!context.Response.HasStarted)
        {
            problem = new ApiProblem(StatusCodes.Status503ServiceUnavailable, "log_unavailable", e.Message, RetryAfterSeconds: 1);
        }
        catch (BadHttpRequestException e) when (!context.Response.HasStarted)
        {
            problem = e.StatusCode == StatusCodes.Status413PayloadTooLarge
                ? new ApiProblem(e.StatusCode, "body_too_large", $"The body is larger than {ApiOptions.Section}:MaxBodyBytes allows; send fewer identifiers at a time.")
                : new ApiProblem(e.StatusCode, "bad_request", e.Message);
        }

        if (problem is not null)
        {
            await problem.WriteAsync(context);
        }
    }
}
