using MimeKit;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Actions;
using StreamCdp.Connectors.Email;
using StreamCdp.Engine.Model;

namespace StreamCdp.Integration.Tests.Email;

/// <summary>The connector alone against a real SMTP server.</summary>
public sealed class EmailTargetTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_mail_arrives_as_it_was_meant()
    {
        await using SmtpServer server = await SmtpServer.StartAsync();
        await using EmailTarget target = Target(server);

        IReadOnlyList<Outcome> outcomes = await target.DoAsync([Call("ann@example.com", "Grüße,\r\nBcc: evil@example.com", html: "<p>Hi</p>")], Cancel);

        Assert.Equal([Outcome.Taken], outcomes);
        TakenMail mail = await server.NextAsync();
        Assert.Equal(("shop@shop.example", "ann@example.com"), (mail.From, mail.To));
        Assert.Equal("Grüße, Bcc: evil@example.com", mail.Message.Subject);
        Assert.Empty(mail.Message.Bcc);
        Assert.Equal("The Shop", Assert.IsType<MailboxAddress>(mail.Message.From[0]).Name);
        Assert.Equal(("Hello", "<p>Hi</p>"), (mail.Message.TextBody!.TrimEnd(), mail.Message.HtmlBody!.TrimEnd()));
        Assert.Equal("<https://cdp.example.com/v1/unsubscribe/x>", mail.Message.Headers["List-Unsubscribe"]);
        Assert.Equal("List-Unsubscribe=One-Click", mail.Message.Headers["List-Unsubscribe-Post"]);
        Assert.EndsWith("@shop.example", mail.Message.MessageId, StringComparison.Ordinal);
    }

    [Fact]
    public async Task One_that_is_refused_or_put_off_costs_no_other()
    {
        await using SmtpServer server = await SmtpServer.StartAsync();
        await using EmailTarget target = Target(server);

        IReadOnlyList<Outcome> outcomes = await target.DoAsync([Call("refused@example.com"), Call("busy@example.com"), Call("ann@example.com"), Call("a@example.com, b@example.com")], Cancel);

        Assert.Equal([OutcomeKind.Refused, OutcomeKind.TryAgain, OutcomeKind.Taken, OutcomeKind.Refused], outcomes.Select(outcome => outcome.Kind));
        Assert.Contains("550", outcomes[0].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_an_address_that_is_nobody_s_is_told_as_such()
    {
        await using SmtpServer server = await SmtpServer.StartAsync();
        await using EmailTarget target = Target(server);

        IReadOnlyList<Outcome> outcomes = await target.DoAsync([Call("refused@example.com"), Call("plain@example.com"), Call("policy@example.com"), Call("sender@example.com"), Call("relay@example.com"), Call("full@example.com"), Call("busy@example.com"), Call("ann@example.com")], Cancel);

        Assert.Equal([true, false, false, false, false, false, false, false], outcomes.Select(outcome => outcome.IsOfTarget));
        Assert.Equal(6, outcomes.Count(outcome => outcome.Kind == OutcomeKind.Refused));
    }

    [Fact]
    public async Task A_connection_that_ends_before_the_mail_is_no_harm_and_after_it_nobody_knows()
    {
        await using SmtpServer server = await SmtpServer.StartAsync();
        await using EmailTarget target = Target(server);

        IReadOnlyList<Outcome> dropped = await target.DoAsync([Call("ann@example.com"), Call("dropped@example.com"), Call("bob@example.com")], Cancel);
        IReadOnlyList<Outcome> cut = await target.DoAsync([Call("cut@example.com"), Call("bob@example.com")], Cancel);

        Assert.Equal([OutcomeKind.Taken, OutcomeKind.TryAgain, OutcomeKind.TryAgain], dropped.Select(outcome => outcome.Kind));
        Assert.Equal([OutcomeKind.Refused, OutcomeKind.TryAgain], cut.Select(outcome => outcome.Kind));
        Assert.Contains("not known whether", cut[0].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task It_logs_in_over_TLS_with_a_certificate_of_the_given_authority()
    {
        using var certificates = new TestCertificates();
        await using SmtpServer server = await SmtpServer.StartAsync("--auth", "cdp:secret", "--tls", certificates.CertificateFile, certificates.KeyFile);
        await using EmailTarget target = Target(server, options => options with { User = "cdp", Password = "secret", CaFile = certificates.CaFile });

        Finding finding = Assert.Single(await target.CheckAsync(Cancel));
        Assert.Contains("lets cdp in", finding.Text, StringComparison.Ordinal);
        Assert.Equal([Outcome.Taken], await target.DoAsync([Call("ann@example.com")], Cancel));

        TakenMail mail = await server.NextAsync();
        Assert.True(mail.IsEncrypted);
        Assert.Equal("cdp", mail.User);
    }

    [Theory]
    [InlineData("wrong", true, "does not let user cdp in")]
    [InlineData("secret", false, "could not be trusted")]
    public async Task A_wrong_password_or_a_strange_certificate_needs_a_person(string password, bool trusts, string message)
    {
        using var certificates = new TestCertificates();
        await using SmtpServer server = await SmtpServer.StartAsync("--auth", "cdp:secret", "--tls", certificates.CertificateFile, certificates.KeyFile);
        await using EmailTarget target = Target(server, options => options with { User = "cdp", Password = password, CaFile = trusts ? certificates.CaFile : "" });

        DestinationMustPauseException exception = await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await target.DoAsync([Call("ann@example.com")], Cancel));

        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(password, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_sender_that_the_server_does_not_take_needs_a_person()
    {
        await using SmtpServer server = await SmtpServer.StartAsync();
        await using EmailTarget target = Target(server, options => options with { From = "stranger@else.example" });

        await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await target.DoAsync([Call("ann@example.com")], Cancel));
    }

    [Fact]
    public async Task A_server_that_is_away_is_waited_for()
    {
        SmtpServer server = await SmtpServer.StartAsync();
        await using EmailTarget target = Target(server);
        await server.DisposeAsync();

        await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await target.DoAsync([Call("ann@example.com")], Cancel));
    }

    private static EmailTarget Target(SmtpServer server, Func<EmailOptions, EmailOptions>? with = null)
    {
        var options = new EmailOptions { Url = new Uri($"smtp://127.0.0.1:{server.Port}"), From = "The Shop <shop@shop.example>" };
        options = with?.Invoke(options) ?? options;
        Assert.Empty(options.Errors());
        return new EmailTarget(options, TimeProvider.System);
    }

    private static ActionCall Call(string to, string subject = "Welcome", string? html = null)
    {
        Dictionary<string, string> fields = new() { ["subject"] = subject, ["text"] = "Hello" };
        if (html is not null)
        {
            fields["html"] = html;
        }

        return new ActionCall
        {
            Key = "key of " + to,
            Action = new ActionDefinition { Id = "welcome", Segment = "s", OnEntered = true, Verb = ActionVerb.Send },
            ProfileId = new string('1', 32),
            Targets = [to],
            Fields = fields,
            At = DateTimeOffset.UnixEpoch,
            UnsubscribeUrl = new Uri("https://cdp.example.com/v1/unsubscribe/x"),
        };
    }
}
