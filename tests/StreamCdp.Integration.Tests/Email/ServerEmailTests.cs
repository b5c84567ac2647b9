using System.Net;
using System.Text.Json;

namespace StreamCdp.Integration.Tests.Email;

/// <summary>A whole server that sends mails: entering a segment to a mail, a delay, consent, and unsubscribing.</summary>
public sealed class ServerEmailTests : IAsyncLifetime
{
    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-mail-").FullName;
    private SmtpServer _smtp = null!;
    private ServerFixtureHost _server = null!;

    public async ValueTask InitializeAsync()
    {
        _smtp = await SmtpServer.StartAsync();
        _server = await StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        if (_smtp is not null)
        {
            await _smtp.DisposeAsync();
        }

        Directory.Delete(_data, recursive: true);
    }

    [Fact]
    public async Task Who_enters_a_segment_gets_a_mail_with_a_link_that_takes_the_consent_back()
    {
        await _server.SendAsync("identify", """{"userId":"u1","traits":{"email":"Ann@Example.com","name":"Ann","consent":{"marketing":true,"research":true}}}""");
        await BuyAsync("u1", "m1");

        TakenMail mail = await _smtp.NextAsync();
        Assert.Equal(("ann@example.com", "Thank you, Ann"), (mail.To, mail.Message.Subject));
        string link = mail.Message.Headers["List-Unsubscribe"]!.Trim('<', '>');
        Assert.Contains(link, mail.Message.TextBody!.ReplaceLineEndings(""), StringComparison.Ordinal);

        // A scanner that follows the link changes nothing; the button, or the mail program, does.
        var path = new Uri(new Uri(link).PathAndQuery, UriKind.Relative);
        using var stranger = new HttpClient { BaseAddress = _server.Address };
        string page = await stranger.GetStringAsync(path, TestContext.Current.CancellationToken);
        Assert.Contains("marketing", page, StringComparison.Ordinal);
        Assert.True(Consent(await _server.ProfileAsync("user_id:u1"), "marketing"));
        using HttpResponseMessage done = await stranger.PostAsync(path, new FormUrlEncodedContent([KeyValuePair.Create("List-Unsubscribe", "One-Click")]), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, done.StatusCode);
        JsonElement profile = await _server.ProfileAsync("user_id:u1");
        Assert.False(Consent(profile, "marketing"));
        Assert.True(Consent(profile, "research"));

        // From now on nothing is sent to this person, and to others still.
        await BuyAsync("u1", "r1", revenue: 0);
        await BuyAsync("u1", "m2");
        await _server.SendAsync("identify", """{"userId":"u2","traits":{"email":"bob@example.com","name":"Bob","consent":{"marketing":true}}}""");
        await BuyAsync("u2", "m3");
        Assert.Equal("bob@example.com", (await _smtp.NextAsync()).To);
        Assert.Equal(0, _smtp.Waiting);
    }

    [Fact]
    public async Task A_link_that_somebody_made_up_is_no_link()
    {
        await _server.SendAsync("identify", """{"userId":"u1","traits":{"email":"ann@example.com","name":"Ann","consent":{"marketing":true}}}""");
        await BuyAsync("u1", "m1");
        string link = (await _smtp.NextAsync()).Message.Headers["List-Unsubscribe"]!.Trim('<', '>');
        string path = new Uri(link).PathAndQuery;
        string forged = path[..^1] + (path[^1] == 'A' ? 'B' : 'A');
        int last = path.LastIndexOf('/') + 1;
        string other = path[..last] + (path[last] == 'A' ? 'B' : 'A') + path[(last + 1)..];

        foreach (string wrong in (string[])[forged, other, "/v1/unsubscribe/", "/v1/unsubscribe/AAAA"])
        {
            using HttpResponseMessage response = await _server.Client.PostAsync(new Uri(wrong, UriKind.Relative), null, TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
        }

        Assert.True(Consent(await _server.ProfileAsync("user_id:u1"), "marketing"));
    }

    [Fact]
    public async Task A_restart_sends_nothing_twice_and_what_is_refused_can_be_sent_again()
    {
        await _server.SendAsync("identify", """{"userId":"u1","traits":{"email":"ann@example.com","name":"Ann","consent":{"marketing":true}}}""");
        await BuyAsync("u1", "m1");
        await _smtp.NextAsync();
        await _server.SendAsync("identify", """{"userId":"u2","traits":{"email":"refused@example.com","name":"Bob","consent":{"marketing":true}}}""");
        await BuyAsync("u2", "m2");
        JsonElement status = await StatusAsync(one => one.GetProperty("dead_letters").GetInt64() == 1);
        Assert.Equal(("mail", "email", 1), (status.GetProperty("id").GetString(), status.GetProperty("kind").GetString(), status.GetProperty("taken").GetInt32()));

        await _server.DisposeAsync();
        _server = await StartAsync();
        await _server.SendAsync("identify", """{"userId":"u2","traits":{"email":"new@example.com"}}""");
        await _server.ProfileAsync("user_id:u2"); // Applied.
        JsonElement letters = await _server.GetAsync("/v1/dead-letters?reason=destination_refused");
        Assert.Contains("550", letters.GetRawText(), StringComparison.Ordinal);
        await _server.PostAsync("/v1/dead-letters/replay", """{"reason":"destination_refused"}""");

        Assert.Equal("new@example.com", (await _smtp.NextAsync()).To);
        Assert.Equal(0, _smtp.Waiting);
    }

    [Fact]
    public async Task The_plan_of_a_paused_one_is_shown_and_exactly_that_is_sent()
    {
        await _server.PostAsync("/v1/connectors/mail/pause", "{}");
        foreach ((string user, string name) in ((string, string)[])[("u1", "Ann"), ("u2", "Bob")])
        {
            await _server.SendAsync("identify", $$$"""{"userId":"{{{user}}}","traits":{"email":"{{{user}}}@example.com","name":"{{{name}}}","consent":{"marketing":true} } }""");
            await BuyAsync(user, "m" + user);
        }

        string file = Path.Combine(_data, "plan.json");
        string text = "";
        for (long deadline = Environment.TickCount64 + 30_000; !text.Contains("2 actions to do.", StringComparison.Ordinal); await Task.Delay(50, TestContext.Current.CancellationToken))
        {
            Assert.True(Environment.TickCount64 < deadline, text);
            (_, text) = await RunAsync("plan", "mail");
        }

        Assert.Contains(" for u1@example.com (profile ", text, StringComparison.Ordinal);
        Assert.Contains("  subject: Thank you, Bob", text, StringComparison.Ordinal);
        Assert.Equal((0, "2 actions to do." + Environment.NewLine), await RunAsync("plan", "mail", "--out", file));
        string[] lines = await File.ReadAllLinesAsync(file, TestContext.Current.CancellationToken);
        await File.WriteAllLinesAsync(file, lines.Where(line => !line.Contains("u1@example.com", StringComparison.Ordinal)), TestContext.Current.CancellationToken);

        Assert.Equal((0, "1 applied, 0 not applied." + Environment.NewLine), await RunAsync("apply", file));
        Assert.Equal("u2@example.com", (await _smtp.NextAsync()).To);
        Assert.Equal("paused", (await StatusAsync(one => one.GetProperty("taken").GetInt64() == 1)).GetProperty("state").GetString());
        (int again, string why) = await RunAsync("apply", file);
        Assert.Equal(1, again);
        Assert.Contains("It does not wait any more", why, StringComparison.Ordinal);
        await _server.PostAsync("/v1/connectors/mail/resume", "{}");
        Assert.Equal("u1@example.com", (await _smtp.NextAsync()).To);
        Assert.Equal(0, _smtp.Waiting);

        async Task<(int Code, string Output)> RunAsync(params string[] arguments)
        {
            (int code, string output, _) = await CliFakeServer.RunAsync(["connectors", .. arguments, "--url", _server.Address.ToString(), "--key", ServerFixtureHost.Key]);
            return (code, output);
        }
    }

    private static bool Consent(JsonElement profile, string purpose) => profile.GetProperty("traits").GetProperty("consent").GetProperty(purpose).GetBoolean();

    private async Task BuyAsync(string user, string message, int revenue = 10) =>
        await _server.SendAsync("track", $$$"""{"userId":"{{{user}}}","event":"Order Completed","properties":{"revenue":{{{revenue}}}},"messageId":"{{{message}}}"}""");

    private async Task<JsonElement> StatusAsync(Func<JsonElement, bool> isSo)
    {
        long deadline = Environment.TickCount64 + 30_000;
        while (true)
        {
            JsonElement status = (await _server.GetAsync("/v1/connectors")).GetProperty("connectors")[0];
            if (isSo(status))
            {
                return status;
            }

            Assert.True(Environment.TickCount64 < deadline, status.GetRawText());
            await Task.Delay(50, TestContext.Current.CancellationToken);
        }
    }

    private async Task<ServerFixtureHost> StartAsync() => await ServerFixtureHost.StartAsync(_data, $$$"""
        sources:  [ { id: web, write_key: web-key, kind: website }, { id: mail, kind: server } ]
        api_keys: [ { id: ops, key: ops-key-0123456789, scopes: [read, write, admin] } ]
        identifiers:
          - { type: user_id, limit: 1 }
          - { type: email, limit: 5, from: [traits.email], normalize: email }
          - { type: anonymous_id, limit: 100 }
        segments:
          buyers: { when: 'last("Order Completed", properties.revenue) > 0' }
        privacy: { consent: { marketing: traits.consent.marketing } }
        destinations:
          - id: mail
            kind: email
            url: smtp://127.0.0.1:{{{_smtp.Port}}}
            from: Shop <shop@shop.example>
            purpose: marketing
            unsubscribe: https://cdp.shop.example
            actions:
              - id: thanks
                on: { entered: buyers }
                send: { subject: "Thank you, {{ traits.name }}", text: "Hello {{ traits.name }}\n{{ unsubscribe_url }}" }
        """);
}
