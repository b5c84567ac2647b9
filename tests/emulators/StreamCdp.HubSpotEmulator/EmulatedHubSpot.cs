using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace StreamCdp.HubSpotEmulator;

/// <summary>HubSpot's API on 127.0.0.1, with one account. Deterministic: ids count up, the clock and the seeds are given.</summary>
public sealed partial class EmulatedHubSpot : IAsyncDisposable
{
    public const string ClientId = "client-of-the-tests";
    public const string ClientSecret = "secret-of-the-tests";
    public const string RefreshToken = "refresh-of-the-tests";

    private readonly WebApplication _app;
    private readonly TimeProvider _time;
    private readonly ConcurrentDictionary<string, int> _requests = new(StringComparer.Ordinal);
    private readonly HashSet<string> _tokens = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly List<DateTimeOffset> _searches = [];
    private readonly List<DateTimeOffset> _calls = [];
    private long _nextCorrelation;
    private int _nextToken;
    private bool _reverses;

    private EmulatedHubSpot(WebApplication app, TimeProvider time, int seed)
    {
        _app = app;
        _time = time;
        Account = new HubSpotAccount(time, seed);
        _tokens.Add(PrivateAppToken);
    }

    public static string PrivateAppToken => "pat-of-the-tests";

    public HubSpotAccount Account { get; }

    public HubSpotFaults Faults { get; } = new();

    public Uri Url => new(_app.Urls.First());

    /// <summary>Searches that one second takes, then 429; null: any number.</summary>
    public int? SearchesPerSecond { get; set; }

    /// <summary>Requests that ten seconds take, then 429, searches left out; null: any number.</summary>
    public int? RequestsPerTenSeconds { get; set; }

    /// <summary>How long a slow answer takes, by the machine's clock.</summary>
    public TimeSpan SlowAnswer { get; set; } = TimeSpan.FromMilliseconds(300);

    /// <summary>Requests so far, by method and path, with * for ids and without the version: <c>POST objects/contacts/batch/upsert</c>.</summary>
    public IReadOnlyDictionary<string, int> Requests => _requests;

    /// <summary>Requests whose method and path contain a text.</summary>
    public int CountOf(string path) => _requests.Where(entry => entry.Key.Contains(path, StringComparison.Ordinal)).Sum(entry => entry.Value);

    public static async Task<EmulatedHubSpot> StartAsync(TimeProvider time, int seed = 1, int port = 0, CancellationToken cancellationToken = default)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls($"http://127.0.0.1:{port}");
        WebApplication app = builder.Build();
        var emulator = new EmulatedHubSpot(app, time, seed);
        app.Run(emulator.HandleAsync);
        await app.StartAsync(cancellationToken);
        return emulator;
    }

    /// <summary>Until Ctrl+C or SIGTERM.</summary>
    public Task WaitForShutdownAsync() => _app.WaitForShutdownAsync();

    /// <summary>From now on a token is good for nothing.</summary>
    public void Revoke(string token)
    {
        lock (_tokens)
        {
            _tokens.Remove(token);
        }
    }

    /// <summary>All tokens that OAuth gave out so far are good for nothing.</summary>
    public void ExpireTokens()
    {
        lock (_tokens)
        {
            _tokens.RemoveWhere(token => token != PrivateAppToken);
        }
    }

    /// <summary>Signed requests with all that webhooks have not been told of yet.</summary>
    public IReadOnlyList<WebhookRequest> TakeWebhooks(Uri target)
    {
        lock (Account.Lock)
        {
            return Account.Webhooks.Take(target, ClientSecret, _time.GetUtcNow());
        }
    }

    /// <summary>Sends them.</summary>
    public async Task SendWebhooksAsync(Uri target, CancellationToken cancellationToken)
    {
        using var http = new HttpClient();
        foreach (WebhookRequest webhook in TakeWebhooks(target))
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, webhook.Uri) { Content = new StringContent(webhook.Body, Encoding.UTF8, "application/json") };
            request.Headers.Add("X-HubSpot-Signature-v3", webhook.Signature);
            request.Headers.Add("X-HubSpot-Request-Timestamp", webhook.Timestamp);
            using HttpResponseMessage response = await http.SendAsync(request, cancellationToken);
            response.EnsureSuccessStatusCode();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _app.DisposeAsync();
        _stop.Dispose();
    }

    private async Task HandleAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);
        string[] path = Normalized(context.Request.Path.Value!);
        string request = $"{context.Request.Method} {string.Join('/', path.Select(segment => long.TryParse(segment, CultureInfo.InvariantCulture, out _) ? "*" : segment))}";
        _requests.AddOrUpdate(request, 1, (_, count) => count + 1);
        context.Response.Headers.Date = _time.GetUtcNow().ToString("R", CultureInfo.InvariantCulture);
        HubSpotFault fault = Faults.Of(request);
        (int status, JsonNode? answer) = Before(fault, request) ?? Answer(context, path, body.ToArray());
        context.Response.StatusCode = status;
        Headers(context.Response, status, answer);
        byte[] bytes = answer is null ? [] : JsonSerializer.SerializeToUtf8Bytes(answer);
        switch (fault)
        {
            case HubSpotFault.LostAnswer:
                context.Abort();
                return;
            case HubSpotFault.NoAnswer:
                using (var either = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, _stop.Token))
                {
                    await Task.Delay(Timeout.Infinite, either.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }

                context.Abort();
                return;
            case HubSpotFault.SlowAnswer:
                await Task.Delay(SlowAnswer, context.RequestAborted);
                break;
            case HubSpotFault.CutAnswer:
                context.Response.ContentType = "application/json;charset=utf-8";
                context.Response.ContentLength = bytes.Length;
                await context.Response.Body.WriteAsync(bytes.AsMemory(0, bytes.Length / 2), context.RequestAborted);
                await context.Response.Body.FlushAsync(context.RequestAborted);
                context.Abort();
                return;
        }

        if (bytes.Length > 0)
        {
            context.Response.ContentType = "application/json;charset=utf-8";
            await context.Response.Body.WriteAsync(bytes, context.RequestAborted);
        }
    }

    /// <summary>Answers of faults for which nothing is done; null: the request is done.</summary>
    private (int, JsonNode?)? Before(HubSpotFault fault, string request)
    {
        switch (fault)
        {
            case HubSpotFault.SecondlyLimit:
                return Limited("You have reached your secondly limit.", "SECONDLY");
            case HubSpotFault.TenSecondlyLimit:
                return Limited("You have reached your ten_secondly_rolling limit.", "TEN_SECONDLY_ROLLING");
            case HubSpotFault.DailyLimit:
                return Limited("You have reached your daily limit.", "DAILY");
            case HubSpotFault.InternalError:
                return (500, new JsonObject { ["status"] = "error", ["message"] = "internal error", ["correlationId"] = Correlation() });
            case HubSpotFault.BadGateway:
                return (502, null);
            case HubSpotFault.Unavailable:
                return (503, new JsonObject { ["status"] = "error", ["message"] = "Service Unavailable" });
            case HubSpotFault.GatewayTimeout:
                return (504, null);
            case HubSpotFault.Migrating:
                return (477, new JsonObject { ["status"] = "error", ["message"] = "This account is being migrated.", ["category"] = "MIGRATION_IN_PROGRESS", ["correlationId"] = Correlation() });
            case HubSpotFault.ExpiredToken:
                return Expired();
            case HubSpotFault.MissingScope:
                return (403, new HubSpotErrorException(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call.").ToJson(Correlation()));
            case HubSpotFault.NoOp:
                return (200, new JsonObject { ["status"] = "COMPLETE", ["results"] = new JsonArray(), ["startedAt"] = Stamp(), ["completedAt"] = Stamp() });
        }

        DateTimeOffset now = _time.GetUtcNow();
        lock (_calls)
        {
            bool isSearch = request.EndsWith("/search", StringComparison.Ordinal);
            List<DateTimeOffset> calls = isSearch ? _searches : _calls;
            calls.RemoveAll(at => now - at >= TimeSpan.FromSeconds(isSearch ? 1 : 10));
            if (calls.Count >= (isSearch ? SearchesPerSecond : RequestsPerTenSeconds))
            {
                return isSearch ? Limited("You have reached your secondly limit.", "SECONDLY") : Limited("You have reached your ten_secondly_rolling limit.", "TEN_SECONDLY_ROLLING");
            }

            calls.Add(now);
        }

        return null;
    }

    private (int, JsonNode?) Answer(HttpContext context, string[] path, byte[] body)
    {
        if (path is ["oauth", "token"] && context.Request.Method == "POST")
        {
            return Token(body);
        }

        lock (_tokens)
        {
            string authorization = context.Request.Headers.Authorization.ToString();
            if (!authorization.StartsWith("Bearer ", StringComparison.Ordinal) || !_tokens.Contains(authorization["Bearer ".Length..]))
            {
                return Expired();
            }
        }

        try
        {
            JsonObject json = body.Length == 0 ? [] : JsonNode.Parse(body)!.AsObject();
            lock (Account.Lock)
            {
                return Route(context.Request.Method, path, json, context.Request.Query);
            }
        }
        catch (HubSpotErrorException exception)
        {
            return (exception.Status, exception.ToJson(Correlation()));
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or NullReferenceException)
        {
            return (400, new HubSpotErrorException(400, "VALIDATION_ERROR", "Invalid input JSON: " + exception.Message).ToJson(Correlation()));
        }
    }

    private (int, JsonNode?) Token(byte[] body)
    {
        Dictionary<string, string> form = Encoding.UTF8.GetString(body).Split('&').Select(pair => pair.Split('=')).ToDictionary(pair => Uri.UnescapeDataString(pair[0]), pair => Uri.UnescapeDataString(pair[1].Replace('+', ' ')), StringComparer.Ordinal);
        bool isGood = form.GetValueOrDefault("client_id") == ClientId && form.GetValueOrDefault("client_secret") == ClientSecret
            && (form.GetValueOrDefault("grant_type") == "client_credentials" || (form.GetValueOrDefault("grant_type") == "refresh_token" && form.GetValueOrDefault("refresh_token") == RefreshToken));
        if (!isGood)
        {
            return (400, new JsonObject { ["status"] = "BAD_REFRESH_TOKEN", ["message"] = "missing or invalid refresh token", ["correlationId"] = Correlation() });
        }

        string token = $"token-{Interlocked.Increment(ref _nextToken)}";
        lock (_tokens)
        {
            _tokens.Add(token);
        }

        return (200, new JsonObject { ["token_type"] = "bearer", ["access_token"] = token, ["refresh_token"] = form.GetValueOrDefault("refresh_token"), ["expires_in"] = 1800 });
    }

    /// <summary>The path without <c>crm</c> and the version, which stands in two places: /crm/v3/objects/contacts and /crm/objects/2026-03/contacts.</summary>
    private static string[] Normalized(string path)
    {
        string[] segments = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        return [.. segments.Where((segment, index) => !(index == 0 && segment == "crm") && !(index is 1 or 2 && segments[0] is "crm" or "oauth" && Version().IsMatch(segment)))
            .Select(Uri.UnescapeDataString)];
    }

    private static void Headers(HttpResponse response, int status, JsonNode? answer)
    {
        response.Headers["X-HubSpot-RateLimit-Max"] = "190";
        response.Headers["X-HubSpot-RateLimit-Interval-Milliseconds"] = "10000";
        response.Headers["X-HubSpot-RateLimit-Daily"] = "650000";
        bool isDaily = status == 429 && answer?["policyName"]?.ToString() == "DAILY";
        response.Headers["X-HubSpot-RateLimit-Daily-Remaining"] = isDaily ? "0" : "649000";
        response.Headers["X-HubSpot-RateLimit-Remaining"] = status == 429 && !isDaily ? "0" : "150";
    }

    private (int, JsonNode?) Limited(string message, string policy) =>
        (429, new JsonObject { ["status"] = "error", ["message"] = message, ["errorType"] = "RATE_LIMIT", ["correlationId"] = Correlation(), ["policyName"] = policy, ["requestId"] = Correlation() });

    private (int, JsonNode?) Expired() =>
        (401, new HubSpotErrorException(401, "EXPIRED_AUTHENTICATION", "Authentication credentials not found or expired.").ToJson(Correlation()));

    private string Correlation() => $"00000000-0000-4000-8000-{Interlocked.Increment(ref _nextCorrelation):x12}";

    private string Stamp() => HubSpotAccount.Instant(_time.GetUtcNow());

    [System.Text.RegularExpressions.GeneratedRegex(@"^(v[1-4]|\d{4}-\d{2}(-beta)?)$")]
    private static partial System.Text.RegularExpressions.Regex Version();
}
