using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text.RegularExpressions;
using MailKit;
using MailKit.Net.Smtp;
using MailKit.Security;
using MimeKit;
using StreamCdp.Connectors.Actions;

namespace StreamCdp.Connectors.Email;

/// <summary>Sends mails by SMTP (RFC 5321), over a connection that stays for a while.</summary>
/// <remarks>
/// SMTP cannot be asked whether a mail was taken. A connection that breaks before the server could have the whole mail is no harm: it is sent again. One that breaks after it, before the answer, leaves a
/// mail of which nobody knows: it is refused with that reason, because a person who gets the same mail twice is worse than a dead letter that somebody looks at.
/// </remarks>
public sealed partial class EmailTarget : IActionTarget, ICheckable
{
    private static readonly TimeSpan s_idle = TimeSpan.FromSeconds(30); // Servers close after a few minutes; a new connection is cheap.
    private static readonly TimeSpan s_quit = TimeSpan.FromSeconds(2);

    private readonly EmailOptions _options;
    private readonly MailboxAddress _from;
    private readonly TimeProvider _time;
    private SmtpClient? _client;
    private long _usedAt;

    /// <summary>Makes it; nothing is sent yet.</summary>
    /// <param name="options">Have no errors.</param>
    /// <param name="time">For the date of the mails.</param>
    public EmailTarget(EmailOptions options, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_options, _time, _from) = (options, time, MailboxAddress.Parse(options.From));
    }

    /// <inheritdoc/>
    public string TargetType => "email";

    /// <inheritdoc/>
    public bool KnowsRepeats => false;

    private string Host => $"{_options.Url.Host}:{Port}";

    private int Port => _options.Url.Port > 0 ? _options.Url.Port : _options.Url.Scheme == "smtps" ? 465 : 587;

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<Outcome>> DoAsync(IReadOnlyList<ActionCall> calls, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(calls);
        if (_client is not { IsConnected: true } || _time.GetElapsedTime(_usedAt) > s_idle)
        {
            await CloseAsync().ConfigureAwait(false);
            _client = await ConnectAsync(cancellationToken).ConfigureAwait(false);
        }

        var outcomes = new List<Outcome>(calls.Count);
        foreach (ActionCall call in calls)
        {
            outcomes.Add(_client.IsConnected
                ? await SendAsync(_client, call, isFirst: outcomes.Count == 0, cancellationToken).ConfigureAwait(false)
                : Outcome.TryAgain("The mail server closed the connection before.", TimeSpan.Zero));
        }

        _usedAt = _time.GetTimestamp();
        return outcomes;
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<Finding>> CheckAsync(CancellationToken cancellationToken)
    {
        using SmtpClient client = await ConnectAsync(cancellationToken).ConfigureAwait(false);
        string encryption = client.IsSecure ? $"encrypted ({client.SslProtocol})" : "not encrypted";
        await QuitAsync(client).ConfigureAwait(false);
        return [new Finding("url", $"{Host} answers, {encryption}{(_options.User.Length == 0 ? "" : $", and lets {_options.User} in")}; nothing was sent, so whether it takes mails from {_from.Address} is not known")];
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => CloseAsync();

    private async ValueTask CloseAsync()
    {
        if (_client is not null)
        {
            await QuitAsync(_client).ConfigureAwait(false);
            _client.Dispose();
            _client = null;
        }
    }

    /// <summary>Connects and logs in.</summary>
    /// <exception cref="DestinationUnavailableException">Not now.</exception>
    /// <exception cref="DestinationMustPauseException">Not with this encryption, user or password.</exception>
    private async ValueTask<SmtpClient> ConnectAsync(CancellationToken cancellationToken)
    {
        bool allowsPlain = _options.AllowsPlain || _options.Url.IsLoopback;
        var client = new SmtpClient { Timeout = (int)_options.Timeout.TotalMilliseconds };
        if (_options.CaFile.Length > 0)
        {
            client.CheckCertificateRevocation = false; // An authority of one's own seldom says what it revoked.
            client.ServerCertificateValidationCallback = IsTrusted;
        }

        try
        {
            await client.ConnectAsync(_options.Url.Host, Port, _options.Url.Scheme == "smtps" ? SecureSocketOptions.SslOnConnect : allowsPlain ? SecureSocketOptions.StartTlsWhenAvailable : SecureSocketOptions.StartTls, cancellationToken).ConfigureAwait(false);
            if (_options.User.Length > 0)
            {
                await client.AuthenticateAsync(_options.User, _options.Password, cancellationToken).ConfigureAwait(false);
            }

            return client;
        }
        catch (Exception exception)
        {
            client.Dispose();
            throw exception switch
            {
                AuthenticationException => new DestinationMustPauseException($"{Host} does not let user {_options.User} in. Check user and secret."),
                SslHandshakeException => new DestinationMustPauseException($"{Host} could not be trusted, or speaks no TLS this machine does. Check its certificate, its name, and that the port fits (smtps:// for TLS from the start, smtp:// for STARTTLS)."),
                NotSupportedException => new DestinationMustPauseException($"{Host} offers no STARTTLS, or no way to log in. Use smtps://, or write allow_plain: true where the way there is safe."),
                SmtpCommandException command => new DestinationUnavailableException($"{Host} answered {(int)command.StatusCode} to the greeting.", inner: exception),
                SocketException or IOException or ProtocolException or TimeoutException => new DestinationUnavailableException($"{Host} could not be reached. Check that it runs, and its address.", inner: exception),
                OperationCanceledException => new DestinationUnavailableException($"{Host} did not answer in time.", inner: exception), // Also where the process stops: nothing was sent.
                _ => exception,
            };
        }
    }

    /// <summary>Comes from the given authorities, and has the server's name.</summary>
    private bool IsTrusted(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        if ((errors & ~SslPolicyErrors.RemoteCertificateChainErrors) != SslPolicyErrors.None || certificate is not X509Certificate2 presented)
        {
            return false;
        }

        using var own = new X509Chain();
        own.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        own.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        own.ChainPolicy.CustomTrustStore.ImportFromPemFile(_options.CaFile);
        X509Certificate2[] sent = [.. chain?.ChainElements.Select(element => element.Certificate) ?? []];
        own.ChainPolicy.ExtraStore.AddRange(sent);
        return own.Build(presented);
    }

    private async ValueTask<Outcome> SendAsync(SmtpClient client, ActionCall call, bool isFirst, CancellationToken cancellationToken)
    {
        if (EmailMessages.Make(call, _from, _time.GetUtcNow()) is not { } message)
        {
            return Outcome.Refused("The person's e-mail address is none.");
        }

        using (message)
        {
            var progress = new Progress();
            try
            {
                await client.SendAsync(message, cancellationToken, progress).ConfigureAwait(false);
                return Outcome.Taken;
            }
            catch (SmtpCommandException exception)
            {
                int status = (int)exception.StatusCode;
                if (status < 500)
                {
                    return Outcome.TryAgain($"The mail server answered {status} {exception.Message}");
                }

                if (exception.ErrorCode == SmtpErrorCode.SenderNotAccepted)
                {
                    return isFirst ? throw new DestinationMustPauseException($"{Host} does not take mails from {_from.Address} ({status}). Check from, and what the server lets this user send.") : Outcome.TryAgain($"The mail server answered {status} {exception.Message}");
                }

                return Outcome.Refused($"The mail server answered {status} {exception.Message}") with { IsOfTarget = exception.ErrorCode == SmtpErrorCode.RecipientNotAccepted && IsNobody(exception.Message) };
            }
            catch (Exception exception) when (exception is IOException or SocketException or ProtocolException or TimeoutException or ServiceNotConnectedException or OperationCanceledException)
            {
                await client.DisconnectAsync(quit: false, CancellationToken.None).ConfigureAwait(false);
                return progress.HasBegun
                    ? Outcome.Unknown("The connection ended before the mail server had answered, so it is not known whether the mail was sent. Replaying it sends it, perhaps for the second time.")
                    : Outcome.TryAgain($"The connection to {Host} ended before the mail was sent.");
            }
        }
    }

    /// <summary>The address is nobody's (RFC 3463): no such mailbox, no such host, not an address, moved without a new one, a domain that takes no mail.</summary>
    /// <remarks>
    /// Nothing else is taken for that: 5.1.7 and 5.1.8 blame our own address, which many servers look at only with the recipient, and 551, 553 or 550 without such a code may be a relay or a policy. A fault of
    /// the sender would bury one living address after the other.
    /// </remarks>
    private static bool IsNobody(string text) => EnhancedCode().Match(text) is { Success: true, Value: "5.1.1" or "5.1.2" or "5.1.3" or "5.1.6" or "5.1.10" };

    [GeneratedRegex(@"^[245]\.\d{1,3}\.\d{1,3}\b")]
    private static partial Regex EnhancedCode();

    private static async ValueTask QuitAsync(SmtpClient client)
    {
        using var limit = new CancellationTokenSource(s_quit);
        try
        {
            await client.DisconnectAsync(quit: true, limit.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            // The mails have their answers; how the server takes its leave is nothing to us.
        }
    }

    /// <summary>Whether the mail itself was on its way.</summary>
    private sealed class Progress : ITransferProgress
    {
        public bool HasBegun { get; private set; }

        public void Report(long bytesTransferred, long totalSize) => HasBegun = true;

        public void Report(long bytesTransferred) => HasBegun = true;
    }
}
