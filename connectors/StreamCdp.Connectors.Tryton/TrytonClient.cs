using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.Tryton;

/// <summary>Tryton's JSON-RPC: a session, calls, and its errors in our terms.</summary>
/// <remarks>Errors come with HTTP 200; a wrong password with 401 and HTML; a method that does not exist, or a user who may not log in, with 403. Measured on 6.0 (facts on CRM servers §1).</remarks>
internal sealed class TrytonClient : IDisposable
{
    private readonly TrytonOptions _options;
    private readonly Uri _url;
    private readonly IRequestGate _gate;
    private readonly TimeProvider _time;
    private readonly HttpClient _http;
    private string? _session;
    private int _calls;

    public TrytonClient(TrytonOptions options, IRequestGate gate, TimeProvider time)
    {
        (_options, _gate, _time) = (options, gate, time);
        _url = options.Url.AbsolutePath.EndsWith('/') ? options.Url : new Uri(options.Url.AbsoluteUri + "/");
        _http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false, ConnectTimeout = options.Timeout, PooledConnectionLifetime = TimeSpan.FromMinutes(2) }) { Timeout = Timeout.InfiniteTimeSpan };
    }

    /// <summary>The server's clock when the latest answer was begun, or a little before.</summary>
    public DateTimeOffset ServerTime { get; private set; }

    /// <summary>Calls a method.</summary>
    /// <param name="method">For example <c>model.party.party.read</c>.</param>
    /// <param name="parameters">Without the context, which comes last.</param>
    /// <param name="context">The context; null: an empty one.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="TrytonException">Tryton refused it.</exception>
    public async ValueTask<JsonElement> CallAsync(string method, JsonArray parameters, JsonObject? context, CancellationToken cancellationToken)
    {
        parameters.Add(context ?? []);
        string text = parameters.ToJsonString();
        for (bool isFirst = true; ; isFirst = false)
        {
            bool isFresh = _session is null;
            _session ??= await LoginAsync(cancellationToken).ConfigureAwait(false);
            (HttpStatusCode status, JsonElement answer, TimeSpan? retryAfter) = await PostAsync(method, text, cancellationToken).ConfigureAwait(false);
            switch (status)
            {
                case HttpStatusCode.OK:
                    return Result(method, answer);
                case HttpStatusCode.Unauthorized when isFirst && !isFresh:
                    _session = null; // It ended; sessions do.
                    continue;
                case HttpStatusCode.Unauthorized:
                    _session = null;
                    throw new DestinationMustPauseException($"{Host} does not keep the session of user {_options.User}. Check that the user is active.");
                case HttpStatusCode.Forbidden or HttpStatusCode.NotFound:
                    throw new DestinationMustPauseException($"{Host} answered {(int)status} to {method}. Check the address, with the database's name, and that the modules party and sale_opportunity are active.");
                default:
                    throw new DestinationUnavailableException($"{Host} answered {(int)status}.", retryAfter, status == HttpStatusCode.TooManyRequests);
            }
        }
    }

    public void Dispose() => _http.Dispose();

    private string Host => _url.GetLeftPart(UriPartial.Authority);

    private async ValueTask<string> LoginAsync(CancellationToken cancellationToken)
    {
        JsonArray parameters = [_options.User, new JsonObject { ["password"] = _options.Password }, "en"];
        (HttpStatusCode status, JsonElement answer, TimeSpan? retryAfter) = await PostAsync("common.db.login", parameters.ToJsonString(), cancellationToken).ConfigureAwait(false);
        return status switch
        {
            HttpStatusCode.OK when answer.TryGetProperty("result"u8, out JsonElement result) && result.ValueKind == JsonValueKind.Array && result.GetArrayLength() == 2 =>
                Convert.ToBase64String(Encoding.UTF8.GetBytes($"{_options.User}:{result[0]}:{result[1].GetString()}")),
            HttpStatusCode.OK or HttpStatusCode.Unauthorized => throw new DestinationMustPauseException($"{Host} does not let user {_options.User} in. Check user and secret."),
            HttpStatusCode.TooManyRequests => throw new DestinationUnavailableException($"{Host} had too many logins.", retryAfter, isRateLimit: true),
            HttpStatusCode.Forbidden => throw new DestinationMustPauseException($"{Host} answered 403 to the login. Check the address, with the database's name."),
            HttpStatusCode.NotFound => throw new DestinationUnavailableException($"{Host} answered 404 to the login: its database is down, or the address is wrong (it ends with the database's name)."),
            _ => throw new DestinationUnavailableException($"{Host} answered {(int)status} to the login.", retryAfter),
        };
    }

    private async ValueTask<(HttpStatusCode Status, JsonElement Answer, TimeSpan? RetryAfter)> PostAsync(string method, string parameters, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        string outcome = "unavailable";
        using var timeout = new CancellationTokenSource(_options.Timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, _url)
            {
                Content = new StringContent($"{{\"id\":{++_calls},\"method\":\"{method}\",\"params\":{parameters}}}", Encoding.UTF8, "application/json"),
            };
            if (_session is not null && method != "common.db.login")
            {
                request.Headers.Authorization = new AuthenticationHeaderValue("Session", _session);
            }

            long start = _time.GetTimestamp();
            using HttpResponseMessage response = await _http.SendAsync(request, either.Token).ConfigureAwait(false);
            ServerTime = (response.Headers.Date ?? _time.GetUtcNow()) - _time.GetElapsedTime(start);
            JsonElement answer = response.StatusCode == HttpStatusCode.OK ? JsonElement.Parse(await response.Content.ReadAsByteArrayAsync(either.Token).ConfigureAwait(false)) : default;
            outcome = response.StatusCode == HttpStatusCode.OK ? "ok" : response.StatusCode == HttpStatusCode.TooManyRequests ? "limited" : (int)response.StatusCode >= 500 ? "unavailable" : "refused";
            RetryConditionHeaderValue? wish = response.Headers.RetryAfter; // Not Tryton's own: of a proxy before it.
            return (response.StatusCode, answer, wish?.Delta ?? (wish?.Date is { } date ? date - _time.GetUtcNow() is var left && left > TimeSpan.Zero ? left : TimeSpan.Zero : null));
        }
        catch (HttpRequestException exception)
        {
            throw new DestinationUnavailableException($"{Host} could not be reached ({exception.HttpRequestError}). Check that it runs, its address and its certificate.", inner: exception);
        }
        catch (Exception exception) when (exception is IOException and not DestinationUnavailableException or JsonException)
        {
            throw new DestinationUnavailableException($"{Host} sent an answer that was cut off.", inner: exception);
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

    private static JsonElement Result(string method, JsonElement answer)
    {
        if (answer.TryGetProperty("result"u8, out JsonElement result))
        {
            return result;
        }

        JsonElement error = answer.GetProperty("error"u8);
        string kind = error[0].ToString();
        JsonElement details = error.GetArrayLength() > 1 ? error[1] : default;
        bool isList = details.ValueKind == JsonValueKind.Array;
        string name = isList && kind == "UserWarning" ? details[0].ToString() : "";
        string message = isList ? string.Join(": ", details.EnumerateArray().Where(part => part.ValueKind == JsonValueKind.String && part.GetString()!.Length > 0).Select(part => part.GetString())) : details.ValueKind == JsonValueKind.String ? details.GetString()! : "";
        throw new TrytonException(kind, name, kind is "UserError" or "UserWarning" or "ConcurrencyException" ? message : $"{method}: {kind}");
    }
}

/// <summary>What Tryton says instead of a result.</summary>
/// <param name="kind">UserError, UserWarning, ConcurrencyException, or the text of a Python exception.</param>
/// <param name="warning">Name of a warning, to say yes to it.</param>
/// <param name="message">For people; may quote values.</param>
internal sealed class TrytonException(string kind, string warning, string message) : Exception(message)
{
    public bool IsConcurrency => kind == "ConcurrencyException";

    /// <summary>The database is busy; the same call works later.</summary>
    public bool IsBusy => kind.Contains("locked", StringComparison.OrdinalIgnoreCase) || kind.Contains("serialize", StringComparison.OrdinalIgnoreCase) || kind.Contains("deadlock", StringComparison.OrdinalIgnoreCase);

    /// <summary>The user lacks a right on the whole table: not on some of its rows, which are refused apart.</summary>
    public bool IsAccess => kind == "UserError" && Message.StartsWith("You are not allowed to access", StringComparison.Ordinal);

    public bool IsUser => kind is "UserError" or "UserWarning";

    public string Warning => warning;
}
