using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Schemas;

/// <summary>A schema registry with Confluent's REST API (Confluent, Apicurio, Karapace, Redpanda). Safe for many threads.</summary>
public sealed class RestSchemaRegistry : ISchemaRegistry, IDisposable
{
    private const string MediaType = "application/vnd.schemaregistry.v1+json";
    private const int SchemaNotFound = 40403;

    private readonly SchemaRegistryOptions _options;
    private readonly HttpClient _http;

    /// <summary>Connects at the first request.</summary>
    /// <exception cref="ArgumentException">The options are wrong; the message has every broken rule.</exception>
    /// <exception cref="CryptographicException">The file of certificate authorities is no PEM.</exception>
    public RestSchemaRegistry(SchemaRegistryOptions options)
        : this(options, NewHandler(options))
    {
    }

    /// <summary>With an own way to send requests, for a proxy or a test.</summary>
    /// <param name="options">Without the certificate authorities, which are the handler's.</param>
    /// <param name="handler">Disposed with this.</param>
    /// <exception cref="ArgumentException">The options are wrong; the message has every broken rule.</exception>
    public RestSchemaRegistry(SchemaRegistryOptions options, HttpMessageHandler handler)
    {
        Check(options);
        _options = options;
        _http = new HttpClient(handler) { BaseAddress = new Uri(options.Url.TrimEnd('/') + "/"), Timeout = options.Timeout };
        _http.DefaultRequestHeaders.Accept.Add(new MediaTypeWithQualityHeaderValue(MediaType));
        if (options.User.Length > 0)
        {
            string login = Convert.ToBase64String(Encoding.UTF8.GetBytes($"{options.User}:{options.Password}"));
            _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Basic", login);
        }
    }

    /// <inheritdoc/>
    public async Task<int> RegisterAsync(string subject, string schemaText, CancellationToken cancellationToken)
    {
        byte[] body = JsonSerializer.SerializeToUtf8Bytes(new Dictionary<string, string> { ["schema"] = schemaText });
        using JsonDocument? answer = await AskAsync(HttpMethod.Post, $"subjects/{Uri.EscapeDataString(subject)}/versions", body, cancellationToken).ConfigureAwait(false);
        return answer is not null && answer.RootElement.TryGetProperty("id", out JsonElement id) && id.TryGetInt32(out int value)
            ? value
            : throw new SchemaRegistryException($"The schema registry at {Address} took the schema of subject '{subject}' but gave no id.");
    }

    /// <inheritdoc/>
    public async Task<string?> GetByIdAsync(int id, CancellationToken cancellationToken)
    {
        using JsonDocument? answer = await AskAsync(HttpMethod.Get, $"schemas/ids/{id}", body: null, cancellationToken).ConfigureAwait(false);
        if (answer is null)
        {
            return null;
        }

        return answer.RootElement.TryGetProperty("schema", out JsonElement schema) && schema.ValueKind == JsonValueKind.String
            ? schema.GetString()
            : throw new SchemaRegistryException($"The schema registry at {Address} answered for schema id {id} without a schema.");
    }

    /// <summary>Closes the connections.</summary>
    public void Dispose() => _http.Dispose();

    private string Address => _http.BaseAddress!.GetComponents(UriComponents.SchemeAndServer | UriComponents.Path, UriFormat.UriEscaped);

    /// <summary>Null: no such schema.</summary>
    private async Task<JsonDocument?> AskAsync(HttpMethod method, string path, byte[]? body, CancellationToken cancellationToken)
    {
        TimeSpan delay = _options.RetryDelay;
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                return await AskOnceAsync(method, path, body, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (IsPassing(exception, cancellationToken))
            {
                if (attempt >= _options.Retries)
                {
                    throw new SchemaRegistryException(
                        $"The schema registry at {Address} did not answer {method} {path} in {attempt + 1} attempts: {exception.Message} Check {SchemaRegistryOptions.Section}:Url and that it runs.", exception);
                }
            }

            await Task.Delay(delay, cancellationToken).ConfigureAwait(false);
            delay = TimeSpan.FromTicks(Math.Min(delay.Ticks * 2, TimeSpan.FromSeconds(10).Ticks));
        }
    }

    private async Task<JsonDocument?> AskOnceAsync(HttpMethod method, string path, byte[]? body, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = new ByteArrayContent(body);
            request.Content.Headers.ContentType = new MediaTypeHeaderValue(MediaType);
        }

        using HttpResponseMessage response = await _http.SendAsync(request, cancellationToken).ConfigureAwait(false);
        byte[] content = await response.Content.ReadAsByteArrayAsync(cancellationToken).ConfigureAwait(false);
        int status = (int)response.StatusCode;
        if (status >= 500 || response.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.RequestTimeout)
        {
            throw new HttpRequestException($"It answered {status}.", inner: null, response.StatusCode);
        }

        JsonDocument? answer = Parse(content);
        if (response.IsSuccessStatusCode && answer is { RootElement.ValueKind: JsonValueKind.Object })
        {
            return answer;
        }

        using (answer)
        {
            (int code, string message) = ErrorOf(answer);
            if (response.StatusCode == HttpStatusCode.NotFound && code == SchemaNotFound)
            {
                return null;
            }

            string hint = response.StatusCode switch
            {
                HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden => $"Check {SchemaRegistryOptions.Section}:User and :Password, and that this user may do it.",
                HttpStatusCode.Conflict => "The subject holds another schema, and its compatibility rule refuses this one: use another topic prefix, or set the subject's compatibility to NONE.",
                _ => $"Check that {SchemaRegistryOptions.Section}:Url is the base address of Confluent's API.",
            };
            throw new SchemaRegistryException($"The schema registry at {Address} answered {status} to {method} {path}{(message.Length > 0 ? $" ({message})" : "")}. {hint}");
        }
    }

    private static bool IsPassing(Exception exception, CancellationToken cancellationToken) =>
        exception is HttpRequestException or IOException || (exception is TaskCanceledException && !cancellationToken.IsCancellationRequested);

    private static JsonDocument? Parse(byte[] content)
    {
        try
        {
            return JsonDocument.Parse(content);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static (int Code, string Message) ErrorOf(JsonDocument? answer)
    {
        if (answer is not { RootElement.ValueKind: JsonValueKind.Object })
        {
            return (0, "");
        }

        JsonElement root = answer.RootElement;
        int code = root.TryGetProperty("error_code", out JsonElement number) && number.ValueKind == JsonValueKind.Number && number.TryGetInt32(out int value) ? value : 0;
        return (code, root.TryGetProperty("message", out JsonElement text) ? text.ToString() : "");
    }

    private static void Check(SchemaRegistryOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        List<string> errors = [.. options.Errors()];
        if (options.Url.Length == 0)
        {
            errors.Add($"{SchemaRegistryOptions.Section}:Url is empty; allowed is an http or https address.");
        }

        if (errors.Count > 0)
        {
            throw new ArgumentException(string.Join(Environment.NewLine, errors), nameof(options));
        }
    }

    [SuppressMessage("Reliability", "CA2000:Dispose objects before losing scope", Justification = "The client disposes it.")]
    private static SocketsHttpHandler NewHandler(SchemaRegistryOptions options)
    {
        Check(options);
        var handler = new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.FromMinutes(5), ConnectTimeout = options.Timeout };
        if (options.CaFile.Length > 0)
        {
            var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            policy.CustomTrustStore.ImportFromPemFile(options.CaFile);
            handler.SslOptions = new SslClientAuthenticationOptions { CertificateChainPolicy = policy };
        }

        return handler;
    }
}
