using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Mime;
using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

/// <summary>What HubSpot answered: 2xx, or a 4xx that is about what was asked for.</summary>
/// <param name="Status">200, 201, 204, 207, 400, 404, 409, 413, 422.</param>
/// <param name="Body">JSON; of no kind where there was none.</param>
/// <param name="Date">HubSpot's clock, whole seconds.</param>
internal readonly record struct HubSpotAnswer(int Status, JsonElement Body, DateTimeOffset Date)
{
    public bool IsDone => Status is >= 200 and < 300;

    /// <summary>For dead letters: it may quote values.</summary>
    public string Message => Body.ValueKind == JsonValueKind.Object && Body.TryGetProperty("message", out JsonElement message) && message.ValueKind == JsonValueKind.String ? message.GetString()! : $"HubSpot answered {Status}.";

    public IEnumerable<JsonElement> Array(string name) =>
        Body.ValueKind == JsonValueKind.Object && Body.TryGetProperty(name, out JsonElement array) && array.ValueKind == JsonValueKind.Array ? array.EnumerateArray() : [];

    /// <summary>Token of the next page; null: this was the last.</summary>
    public string? After => Body.ValueKind == JsonValueKind.Object && Body.TryGetProperty("paging", out JsonElement paging) && paging.ValueKind == JsonValueKind.Object
        && paging.TryGetProperty("next", out JsonElement next) && next.ValueKind == JsonValueKind.Object && next.TryGetProperty("after", out JsonElement after) ? after.ToString() : null;
}

/// <summary>Paths, tokens, and what each answer of HubSpot means for the kit.</summary>
internal sealed class HubSpotRequests : IDisposable
{
    /// <summary>An account that moves to another data centre: hours. The kit asks again this often.</summary>
    private static readonly TimeSpan s_migration = TimeSpan.FromMinutes(30);

    private readonly HubSpotOptions _options;
    private readonly HttpClient _http;
    private readonly bool _ownsHttp;
    private readonly IRequestGate _gate;
    private readonly TimeProvider _time;
    private string? _token;
    private DateTimeOffset _tokenEnds = DateTimeOffset.MaxValue;

    public HubSpotRequests(HubSpotOptions options, IRequestGate gate, TimeProvider time, HttpClient? http)
    {
        _options = options;
        _gate = gate;
        _time = time;
        _token = options.AccessToken;
        _ownsHttp = http is null;
        _http = http ?? new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false, // A redirect would take the data and the token elsewhere.
            UseCookies = false,
            ConnectTimeout = options.Timeout,
            PooledConnectionLifetime = TimeSpan.FromMinutes(2), // Else a changed DNS record is not seen.
            AutomaticDecompression = System.Net.DecompressionMethods.All,
        })
        {
            Timeout = Timeout.InfiniteTimeSpan, // Ours, which a test's clock can drive.
        };
    }

    private string Host => _options.BaseUrl.GetLeftPart(UriPartial.Authority);

    private bool IsDated => _options.ApiVersion != "v3";

    public void Dispose()
    {
        if (_ownsHttp)
        {
            _http.Dispose();
        }
    }

    /// <summary>/crm/v3/objects/contacts…, or /crm/objects/2026-03/contacts…; likewise lists, properties, pipelines.</summary>
    public string Path(string api, string rest) => IsDated ? $"/crm/{api}/{_options.ApiVersion}{rest}" : $"/crm/v3/{api}{rest}";

    /// <summary>Associations are v4 where the others are v3.</summary>
    public string Associations(string rest) => IsDated ? $"/crm/associations/{_options.ApiVersion}{rest}" : $"/crm/v4/associations{rest}";

    public ValueTask<HubSpotAnswer> GetAsync(string path, CancellationToken cancellationToken) => SendAsync(HttpMethod.Get, path, null, cancellationToken);

    public ValueTask<HubSpotAnswer> PostAsync(string path, JsonObject body, CancellationToken cancellationToken) => SendAsync(HttpMethod.Post, path, body, cancellationToken);

    /// <summary>Asks once; a second time only where OAuth's token had ended.</summary>
    /// <exception cref="DestinationUnavailableException">Away, too much asked, or the answer was lost: what was asked for may be done or not.</exception>
    /// <exception cref="DestinationMustPauseException">The token or its rights.</exception>
    public async ValueTask<HubSpotAnswer> SendAsync(HttpMethod method, string path, JsonObject? body, CancellationToken cancellationToken)
    {
        byte[]? bytes = body is null ? null : JsonSerializer.SerializeToUtf8Bytes(body);
        for (bool isAgain = false; ; isAgain = true)
        {
            string token = await TokenAsync(cancellationToken).ConfigureAwait(false);
            HubSpotAnswer answer = await OnceAsync(() => Request(method, path, bytes, token), cancellationToken).ConfigureAwait(false);
            if (answer.Status is not (401 or 403))
            {
                return answer;
            }

            if (_options.AccessToken is not null || isAgain)
            {
                throw new DestinationMustPauseException(answer.Status == 401
                    ? $"{Host} does not take the access token (401). Check that the app still stands in HubSpot, and give its token again."
                    : $"{Host} answered 403: the app has no right to {method} {Shape(path)}. Give it the scope in HubSpot (crm.objects, crm.schemas and crm.lists, read and write), then resume.");
            }

            _token = null;
        }
    }

    private async ValueTask<string> TokenAsync(CancellationToken cancellationToken)
    {
        if (_token is not null && _time.GetUtcNow() < _tokenEnds)
        {
            return _token;
        }

        var form = new Dictionary<string, string> { ["grant_type"] = _options.RefreshToken is null ? "client_credentials" : "refresh_token", ["client_id"] = _options.ClientId!, ["client_secret"] = _options.ClientSecret! };
        if (_options.RefreshToken is not null)
        {
            form["refresh_token"] = _options.RefreshToken;
        }

        string path = IsDated ? $"/oauth/{_options.ApiVersion}/token" : "/oauth/v1/token";
        HubSpotAnswer answer = await OnceAsync(() => new HttpRequestMessage(HttpMethod.Post, new Uri(_options.BaseUrl, path)) { Content = new FormUrlEncodedContent(form) }, cancellationToken).ConfigureAwait(false);
        if (!answer.IsDone)
        {
            throw new DestinationMustPauseException($"{Host} gave no access token ({answer.Status}). Check the client's id and secret, and connect the app with the account again.");
        }

        answer.MustHave("access_token");

        // A minute early, so that it does not end on its way.
        _token = answer.Body.GetProperty("access_token").GetString()!;
        _tokenEnds = _time.GetUtcNow() + TimeSpan.FromSeconds(Math.Max(60, answer.Body.GetProperty("expires_in").GetInt32() - 60));
        return _token;
    }

    private HttpRequestMessage Request(HttpMethod method, string path, byte[]? body, string token)
    {
        var request = new HttpRequestMessage(method, new Uri(_options.BaseUrl, path));
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        request.Headers.UserAgent.Add(new ProductInfoHeaderValue("StreamCdp", "1"));
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(MediaTypeNames.Application.Json));
        if (body is not null)
        {
            request.Content = new ByteArrayContent(body);
            request.Content.Headers.ContentType = new MediaTypeHeaderValue(MediaTypeNames.Application.Json);
        }

        return request;
    }

    private async ValueTask<HubSpotAnswer> OnceAsync(Func<HttpRequestMessage> make, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        using var timeout = new CancellationTokenSource(_options.Timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        string outcome = "unavailable";
        try
        {
            using HttpRequestMessage request = make();
            using HttpResponseMessage response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token).ConfigureAwait(false);
            byte[] bytes = await response.Content.ReadAsByteArrayAsync(either.Token).ConfigureAwait(false);
            HubSpotAnswer answer = Answer(response, bytes);
            outcome = answer.IsDone ? "ok" : "refused";
            return answer;
        }
        catch (DestinationUnavailableException exception) when (exception.IsRateLimit)
        {
            outcome = "limited";
            throw;
        }
        catch (DestinationMustPauseException)
        {
            outcome = "refused";
            throw;
        }
        catch (HttpRequestException exception)
        {
            throw new DestinationUnavailableException($"{Host} could not be reached, or cut the connection ({exception.HttpRequestError}).", inner: exception);
        }
        catch (Exception exception) when (exception is JsonException or (IOException and not (DestinationUnavailableException or DestinationMustPauseException)))
        {
            throw new DestinationUnavailableException($"The answer of {Host} ended in the middle.", inner: exception);
        }
        catch (OperationCanceledException exception) when (timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new DestinationUnavailableException($"{Host} did not answer within {_options.Timeout.TotalSeconds:0.###} s.", inner: exception);
        }
        finally
        {
            _gate.Made(outcome);
        }
    }

    private HubSpotAnswer Answer(HttpResponseMessage response, byte[] bytes)
    {
        int status = (int)response.StatusCode;
        DateTimeOffset date = response.Headers.Date ?? _time.GetUtcNow();
        switch (status)
        {
            case >= 200 and < 300:
                return new HubSpotAnswer(status, bytes.Length == 0 ? default : JsonElement.Parse(bytes), date);
            case 400 or 401 or 403 or 404 or 409 or 413 or 422:
                return new HubSpotAnswer(status, TryParse(bytes), date);
            case 429:
                throw Limited(response, TryParse(bytes));
            case 477:
                throw new DestinationUnavailableException($"{Host} moves this account to another data centre (477).", RetryAfter(response) ?? s_migration);
            case 408 or 423 or 425 or >= 500:
                throw new DestinationUnavailableException($"{Host} answered {status}.", RetryAfter(response));
            default:
                throw new DestinationMustPauseException($"{Host} answered {status}. Check BaseUrl and ApiVersion; redirects are never followed.");
        }
    }

    /// <summary>The body says which limit it was; where it does not, the headers do.</summary>
    private DestinationUnavailableException Limited(HttpResponseMessage response, JsonElement body)
    {
        string policy = Text(body, "policyName") is { Length: > 0 } named ? named
            : Text(body, "message").Contains("daily", StringComparison.OrdinalIgnoreCase) || Header(response, "X-HubSpot-RateLimit-Daily-Remaining") == 0 ? "DAILY"
            : Text(body, "message").Contains("ten_secondly", StringComparison.OrdinalIgnoreCase) ? "TEN_SECONDLY_ROLLING"
            : Text(body, "message").Contains("secondly", StringComparison.OrdinalIgnoreCase) ? "SECONDLY"
            : "";
        TimeSpan wait = policy switch
        {
            "DAILY" => UntilMidnight(),
            _ when RetryAfter(response) is { } asked => asked,
            "SECONDLY" => TimeSpan.FromSeconds(1),
            _ => TimeSpan.FromMilliseconds(Math.Clamp(Header(response, "X-HubSpot-RateLimit-Interval-Milliseconds") ?? 10_000, 1_000, 60_000)),
        };
        string what = policy == "DAILY" ? $"the requests of the day are used up; it goes on at midnight, {_options.TimeZone ?? "UTC"}" : "too many requests";
        return new DestinationUnavailableException($"{Host} answered 429: {what}.", wait, isRateLimit: true);
    }

    /// <summary>Until the account's day ends, and a little more for clocks that differ.</summary>
    private TimeSpan UntilMidnight()
    {
        TimeZoneInfo zone = _options.TimeZone is null ? TimeZoneInfo.Utc : TimeZoneInfo.FindSystemTimeZoneById(_options.TimeZone);
        DateTimeOffset now = _time.GetUtcNow();
        DateTime midnight = TimeZoneInfo.ConvertTime(now, zone).Date.AddDays(1);
        if (zone.IsInvalidTime(midnight))
        {
            midnight = midnight.AddHours(1); // Summer time begins at midnight in some zones.
        }

        return new DateTimeOffset(midnight, zone.GetUtcOffset(midnight)) - now + TimeSpan.FromSeconds(5);
    }

    private TimeSpan? RetryAfter(HttpResponseMessage response) => response.Headers.RetryAfter switch
    {
        { Delta: TimeSpan delta } => delta,
        { Date: DateTimeOffset date } when date > _time.GetUtcNow() => date - _time.GetUtcNow(),
        _ => null,
    };

    private static int? Header(HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out IEnumerable<string>? values) && int.TryParse(values.First(), CultureInfo.InvariantCulture, out int value) ? value : null;

    private static JsonElement TryParse(byte[] bytes)
    {
        try
        {
            return bytes.Length == 0 ? default : JsonElement.Parse(bytes);
        }
        catch (JsonException)
        {
            return default; // A page of a proxy: the status says enough.
        }
    }

    private static string Text(JsonElement body, string name) =>
        body.ValueKind == JsonValueKind.Object && body.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";

    /// <summary>A path without ids and names.</summary>
    private static string Shape(string path)
    {
        string bare = path.Split('?')[0];
        int name = bare.IndexOf("/name/", StringComparison.Ordinal);
        return string.Join('/', (name < 0 ? bare : bare[..name]).Split('/').Select(segment => segment.Length > 0 && segment.All(char.IsAsciiDigit) ? "*" : segment));
    }
}
