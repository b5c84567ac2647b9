using System.Globalization;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace StreamCdp.Connectors.Webhook;

/// <summary>Posts batches as signed JSON to one address. An answer is for the whole batch.</summary>
public sealed class WebhookDestination : IDestination, ICheckable
{
    private readonly WebhookOptions _options;
    private readonly TimeProvider _time;
    private readonly HttpClient _http;

    /// <summary>Makes it; nothing is sent yet.</summary>
    /// <param name="options">Checked: <see cref="WebhookOptions.Errors"/> is empty.</param>
    /// <param name="time">For timestamps and timeouts.</param>
    public WebhookDestination(WebhookOptions options, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _time = time;
        _http = new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false, // A redirect would take the data to an address that nobody wrote into the model.
            UseCookies = false,
            ConnectTimeout = options.Timeout,
            PooledConnectionLifetime = TimeSpan.FromMinutes(2), // Else a changed DNS record is not seen.
            MaxConnectionsPerServer = 1,
        })
        {
            Timeout = System.Threading.Timeout.InfiniteTimeSpan, // Ours, which a test's clock can drive.
        };
    }

    /// <inheritdoc/>
    public bool AnswersPerChange => false;

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(batch);
        byte[] body = WebhookRequests.Body(batch);
        using HttpRequestMessage request = WebhookRequests.Request(_options, body, _time.GetUtcNow().ToUnixTimeSeconds());
        using var timeout = new CancellationTokenSource(_options.Timeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            using HttpResponseMessage response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, either.Token).ConfigureAwait(false);
            return await AnswerAsync(response, batch.Count, either.Token).ConfigureAwait(false);
        }
        catch (HttpRequestException exception)
        {
            throw new DestinationUnavailableException($"{Host} could not be reached ({Why(exception)}). Check that it runs, its address and its certificate.", inner: exception);
        }
        catch (Exception exception) when (exception is IOException and not (DestinationUnavailableException or BatchRefusedException or DestinationMustPauseException))
        {
            throw new DestinationUnavailableException($"The connection to {Host} was cut before it answered.", inner: exception);
        }
        catch (OperationCanceledException exception) when (timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new DestinationUnavailableException($"{Host} did not answer within {_options.Timeout.TotalSeconds:0.###} s. If it needs longer, set timeout, or make it answer before it works.", inner: exception);
        }
    }

    /// <inheritdoc/>
    /// <remarks>Connects, for https with TLS, and says nothing: whether the address takes a change shows only one that is sent.</remarks>
    public async ValueTask<IReadOnlyList<Finding>> CheckAsync(CancellationToken cancellationToken)
    {
        if (HttpClient.DefaultProxy.GetProxy(_options.Url) is not null)
        {
            return [new Finding("url", $"{Host} is reached by a proxy of the environment; not tried")];
        }

        try
        {
            using var tcp = new TcpClient();
            await tcp.ConnectAsync(_options.Url.IdnHost.Trim('[', ']'), _options.Url.Port, cancellationToken).ConfigureAwait(false);
            if (_options.Url.Scheme == "http")
            {
                return [new Finding("url", $"{Host} can be reached, without TLS; no change was sent")];
            }

            await using var tls = new SslStream(tcp.GetStream());
            await tls.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = _options.Url.IdnHost }, cancellationToken).ConfigureAwait(false);
            string until = tls.RemoteCertificate is X509Certificate2 certificate ? certificate.NotAfter.ToUniversalTime().ToString("yyyy-MM-dd", CultureInfo.InvariantCulture) : "?";
            return [new Finding("url", $"{Host} can be reached, {tls.SslProtocol}, certificate until {until}; no change was sent")];
        }
        catch (SocketException exception)
        {
            string why = exception.SocketErrorCode is SocketError.HostNotFound or SocketError.NoData or SocketError.TryAgain ? "its name is not known" : $"no connection: {exception.SocketErrorCode}";
            return [new Finding("url", $"{Host} could not be reached ({why}). Check that it runs, its address, and the firewall in between", IsProblem: true)];
        }
        catch (AuthenticationException exception)
        {
            return [new Finding("url", $"TLS with {Host} failed: {exception.Message.TrimEnd('.')}. Check its certificate and its name, or trust its issuer on this machine", IsProblem: true)];
        }
        catch (IOException)
        {
            return [new Finding("url", $"{Host} closed the connection before TLS was agreed on. Check that it speaks https there", IsProblem: true)];
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _http.Dispose();
        return ValueTask.CompletedTask;
    }

    private string Host => _options.Url.GetLeftPart(UriPartial.Authority);

    private async ValueTask<IReadOnlyList<Outcome>> AnswerAsync(HttpResponseMessage response, int count, CancellationToken cancellationToken)
    {
        int status = (int)response.StatusCode;
        switch (status)
        {
            case >= 200 and < 300:
                return Outcome.ForAll(Outcome.Taken, count); // Whatever its body says, and also where that is cut.
            case 408 or 425 or 429 or >= 500:
                throw new DestinationUnavailableException($"{Host} answered {status}.", RetryAfter(response), isRateLimit: status == 429);
            case 410:
                throw new DestinationMustPauseException($"{Host} answered 410: it is gone for good. Give another address, or take the destination out of the model.");
            case 300 or 301 or 302 or 303 or 304 or 305 or 306 or 307 or 308:
                throw new DestinationMustPauseException($"{Host} answered {status}, a redirect, which is never followed. Write the final address into the model.");
            case 400 or 413 or 422:
                throw new BatchRefusedException($"{Host} answered {status}{await TextAsync(response, cancellationToken).ConfigureAwait(false)}");
            default:
                return Outcome.ForAll(Outcome.Refused($"{Host} answered {status}{await TextAsync(response, cancellationToken).ConfigureAwait(false)}"), count);
        }
    }

    private TimeSpan? RetryAfter(HttpResponseMessage response) => response.Headers.RetryAfter switch
    {
        { Delta: TimeSpan delta } => delta,
        { Date: DateTimeOffset date } => date - _time.GetUtcNow(),
        _ => null,
    };

    /// <summary>The start of the answer, for the dead letter. What is longer is not read: the connection is closed instead.</summary>
    private async Task<string> TextAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        byte[] buffer = new byte[_options.MaxAnswerBytes];
        await using Stream stream = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
        int length = await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        return length == 0 ? "" : ": " + Encoding.UTF8.GetString(buffer, 0, length).Trim();
    }

    /// <summary>The kind of failure, without the address in it.</summary>
    private static string Why(HttpRequestException exception) => exception.HttpRequestError switch
    {
        HttpRequestError.NameResolutionError => "its name is not known",
        HttpRequestError.SecureConnectionError => "TLS failed",
        HttpRequestError.ConnectionError => "no connection",
        _ => exception.HttpRequestError.ToString(),
    };
}
