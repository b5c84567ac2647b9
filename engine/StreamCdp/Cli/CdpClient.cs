using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Cli;

/// <summary>Asks a running server by HTTP (DESIGN §5.3). Every failure is a <see cref="CliException"/> that says what to do.</summary>
internal sealed class CdpClient : IDisposable
{
    private const int MaxAttempts = 5;
    private static readonly TimeSpan s_retryAfter = TimeSpan.FromSeconds(1);
    private readonly HttpClient _http;

    /// <summary>A client of one server.</summary>
    /// <param name="address">Base address.</param>
    /// <param name="key">Secret key, or null.</param>
    public CdpClient(Uri address, string? key)
    {
        Address = address;
        _http = new HttpClient(new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.FromMinutes(5) }) { BaseAddress = address, Timeout = TimeSpan.FromSeconds(100) };
        if (key is not null)
        {
            _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        }
    }

    /// <summary>Base address.</summary>
    public Uri Address { get; }

    /// <summary>What to tell where the server answers 404 to a path that each of this version has.</summary>
    public string HasNo(string what) => $"{Address} has no {what}. Is it a StreamCdp server of this version?";

    /// <summary>A profile document, or null where nobody has the identifier.</summary>
    public Task<JsonElement?> ProfileAsync(string type, string value, string query, CancellationToken cancellationToken) =>
        GetAsync($"/v1/profiles/{Uri.EscapeDataString(type)}:{Uri.EscapeDataString(value)}{query}", cancellationToken);

    /// <summary>Goes through the pages of a list.</summary>
    /// <param name="path">With its query, without cursor.</param>
    /// <param name="property">Name of the list in a page.</param>
    /// <param name="missing">Message for 404.</param>
    /// <param name="cancellationToken">Stops.</param>
    public async IAsyncEnumerable<JsonElement> PagesAsync(string path, string property, string missing, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        string? cursor = null;
        do
        {
            string page = cursor is null ? path : $"{path}{(path.Contains('?', StringComparison.Ordinal) ? '&' : '?')}cursor={Uri.EscapeDataString(cursor)}";
            JsonElement json = await GetAsync(page, cancellationToken).ConfigureAwait(false) ?? throw new CliException(missing);
            if (!json.TryGetProperty(property, out JsonElement items) || items.ValueKind != JsonValueKind.Array)
            {
                throw new CliException($"{page} answered without \"{property}\". Is {Address} a StreamCdp server of this version?");
            }

            foreach (JsonElement item in items.EnumerateArray())
            {
                yield return item;
            }

            string? next = json.TryGetProperty("next", out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            if (next is not null && next == cursor)
            {
                throw new CliException($"{page} answered with the cursor it was asked for: the list would never end.");
            }

            cursor = next;
        }
        while (cursor is not null);
    }

    /// <summary>GET; null for 404. A server that is busy is asked again a few times.</summary>
    public async Task<JsonElement?> GetAsync(string path, CancellationToken cancellationToken)
    {
        for (int attempt = 1; ; attempt++)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, path);
            try
            {
                return await SendAsync(request, cancellationToken).ConfigureAwait(false);
            }
            catch (ServerBusyException exception) when (attempt < MaxAttempts)
            {
                await Task.Delay(exception.RetryAfter, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>GET of text; null for 404.</summary>
    public async Task<string?> GetTextAsync(string path, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        using HttpResponseMessage? response = await HeadersAsync(request, cancellationToken).ConfigureAwait(false);
        return response is null ? null : await response.Content.ReadAsStringAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>POST of JSON; null for 404.</summary>
    public async Task<JsonElement?> PostAsync(string path, object body, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(JsonSerializer.Serialize(body), Encoding.UTF8, "application/json") };
        return await SendAsync(request, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>POST of text that is JSON already, a line each; null for 404. A server that is busy is asked again a few times.</summary>
    public async Task<JsonElement?> PostLinesAsync(string path, string lines, CancellationToken cancellationToken)
    {
        for (int attempt = 1; ; attempt++)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(lines, Encoding.UTF8, "application/x-ndjson") };
            try
            {
                return await SendAsync(request, cancellationToken).ConfigureAwait(false);
            }
            catch (ServerBusyException exception) when (attempt < MaxAttempts)
            {
                await Task.Delay(exception.RetryAfter, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>POST of a file with JSON, a line each; null for 404.</summary>
    public async Task<JsonElement?> PostFileAsync(string path, string file, CancellationToken cancellationToken)
    {
        using var content = new StreamContent(File.OpenRead(file));
        content.Headers.ContentType = new MediaTypeHeaderValue("application/x-ndjson");
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = content };
        return await SendAsync(request, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The lines of an answer to a POST, as they come; null for 404.</summary>
    public async IAsyncEnumerable<string> LinesAsync(string path, string missing, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path);
        using HttpResponseMessage? response = await HeadersAsync(request, cancellationToken).ConfigureAwait(false);
        if (response is null)
        {
            throw new CliException(missing);
        }

        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false));
        while (await reader.ReadLineAsync(cancellationToken).ConfigureAwait(false) is { } line)
        {
            yield return line;
        }
    }

    /// <summary>A text such as /metrics, or null where it is away.</summary>
    public async Task<string?> TextAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            using HttpResponseMessage response = await _http.GetAsync(new Uri(path, UriKind.Relative), cancellationToken).ConfigureAwait(false);
            return response.IsSuccessStatusCode ? await response.Content.ReadAsStringAsync(cancellationToken).ConfigureAwait(false) : null;
        }
        catch (HttpRequestException)
        {
            return null;
        }
    }

    /// <summary>An endless response, such as /v1/stream, or null where it is refused.</summary>
    public async Task<Stream?> StreamAsync(string path, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, path);
        HttpResponseMessage response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken).ConfigureAwait(false);
        if (response.IsSuccessStatusCode)
        {
            return await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false); // The stream owns the connection.
        }

        response.Dispose();
        return null;
    }

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    private async Task<JsonElement?> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        using HttpResponseMessage? response = await HeadersAsync(request, cancellationToken).ConfigureAwait(false);
        return response is null ? null : Parse(await response.Content.ReadAsByteArrayAsync(cancellationToken).ConfigureAwait(false), $"{request.Method} {request.RequestUri}");
    }

    /// <summary>A successful answer, whose body comes still; null for 404.</summary>
    private async Task<HttpResponseMessage?> HeadersAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        string what = $"{request.Method} {request.RequestUri}";
        HttpResponseMessage? response = null;
        try
        {
            response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken).ConfigureAwait(false);
            if (response.IsSuccessStatusCode)
            {
                HttpResponseMessage good = response;
                response = null;
                return good;
            }

            byte[] body = await response.Content.ReadAsByteArrayAsync(cancellationToken).ConfigureAwait(false);
            return response.StatusCode switch
            {
                HttpStatusCode.NotFound => null,
                HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden => throw new CliException(
                    $"{Address} refused the key ({(int)response.StatusCode}): {Reason(body)} Give a key of the model's api_keys with --key-file or STREAMCDP_API_KEY."),
                HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout => throw new ServerBusyException(
                    $"{what} answered {(int)response.StatusCode}: {Reason(body)}", response.Headers.RetryAfter?.Delta ?? s_retryAfter),
                _ => throw new CliException($"{what} answered {(int)response.StatusCode}: {Reason(body)}"),
            };
        }
        catch (HttpRequestException exception)
        {
            throw new CliException($"Nothing answers at {Address}: {exception.Message}. Is the server running? Give its address with --url or STREAMCDP_URL.", inner: exception);
        }
        catch (TaskCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new CliException($"{what} did not answer within {_http.Timeout.TotalSeconds.ToString(CultureInfo.InvariantCulture)} s.", inner: exception);
        }
        finally
        {
            response?.Dispose();
        }
    }

    private static JsonElement Parse(byte[] body, string what)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(body);
            return document.RootElement.Clone();
        }
        catch (JsonException exception)
        {
            throw new CliException($"{what} answered something that is not JSON.", inner: exception);
        }
    }

    /// <summary>The text of a problem document (RFC 9457), or the start of what came instead.</summary>
    private static string Reason(byte[] body)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(body);
            foreach (string name in (string[])["detail", "message", "title"])
            {
                if (document.RootElement.ValueKind == JsonValueKind.Object && document.RootElement.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String)
                {
                    return value.GetString()!;
                }
            }
        }
        catch (JsonException)
        {
            // Not ours; show what came.
        }

        return body.Length == 0 ? "no reason given." : Encoding.UTF8.GetString(body, 0, Math.Min(200, body.Length));
    }
}
