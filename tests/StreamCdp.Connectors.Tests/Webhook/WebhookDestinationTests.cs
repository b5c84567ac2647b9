using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using StreamCdp.Connectors.Tests.Kit;
using StreamCdp.Connectors.Webhook;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Tests.Webhook;

public sealed class WebhookDestinationTests : IAsyncLifetime
{
    private static readonly ProfileChange s_change = new()
    {
        Kind = ChangeKind.Entered,
        ProfileId = "00000000000000000000000000000007",
        Version = 5,
        At = new DateTimeOffset(2026, 11, 25, 12, 0, 0, 250, TimeSpan.Zero),
        Segment = "big_spenders",
        SegmentVersion = "0123456789abcdef",
        Cause = "message-1",
        Reason = "event",
        Identifiers = [new ChangeIdentifier("email", "zoë@example.com")],
        Fields = new Dictionary<string, JsonElement> { ["Plan"] = JsonElement.Parse("\"pro\""u8), ["City"] = JsonElement.Parse("null"u8) },
    };

    private HookReceiver _receiver = null!;

    public async ValueTask InitializeAsync() => _receiver = await HookReceiver.StartAsync();

    public ValueTask DisposeAsync() => _receiver.DisposeAsync();

    [Fact]
    public void The_body_is_this_JSON() =>
        Assert.Equal(
            """{"changes":[{"id":"00000000000000000000000000000007:5:entered:big_spenders","type":"entered","profile_id":"00000000000000000000000000000007","version":5,"at":"2026-11-25T12:00:00.250Z","segment":"big_spenders","segment_version":"0123456789abcdef","cause":"message-1","reason":"event","backfill":false,"identifiers":[{"type":"email","value":"zoë@example.com"}],"fields":{"Plan":"pro","City":null}}]}""",
            Encoding.UTF8.GetString(WebhookRequests.Body([s_change])));

    [Fact]
    public void The_signature_is_that_of_another_implementation() => // printf '1764072000.{"changes":[]}' | openssl dgst -sha256 -hmac 'a secret of the tests'
        Assert.Equal(KnownSignature, WebhookRequests.Signature(HookReceiver.Secret, 1764072000, "{\"changes\":[]}"u8));

    [Fact]
    public async Task The_same_batch_has_the_same_delivery_id_and_another_one_another()
    {
        await using WebhookDestination destination = Destination();

        await destination.SendAsync([s_change], TestContext.Current.CancellationToken);
        await destination.SendAsync([s_change], TestContext.Current.CancellationToken);
        await destination.SendAsync([s_change with { Version = 6 }], TestContext.Current.CancellationToken);

        Assert.Empty(_receiver.Problems);
        Assert.Equal(_receiver.Deliveries[0], _receiver.Deliveries[1]);
        Assert.NotEqual(_receiver.Deliveries[0], _receiver.Deliveries[2]);
    }

    [Theory]
    [InlineData(200)]
    [InlineData(202)]
    [InlineData(204)]
    public async Task Any_2xx_is_taken(int status)
    {
        await using WebhookDestination destination = Destination();
        Answer(status);

        Assert.Equal([Outcome.Taken], await destination.SendAsync([s_change], TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData(408)]
    [InlineData(425)]
    [InlineData(429)]
    [InlineData(500)]
    [InlineData(503)]
    public async Task What_may_pass_is_tried_again_when_the_answer_asks_for_it(int status)
    {
        await using WebhookDestination destination = Destination();
        Answer(status, context => context.Response.Headers.RetryAfter = "17");

        DestinationUnavailableException exception = await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await destination.SendAsync([s_change], TestContext.Current.CancellationToken));

        Assert.Equal((TimeSpan.FromSeconds(17), status == 429), (exception.RetryAfter, exception.IsRateLimit));
        Assert.Contains($"answered {status}", exception.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("tenant", exception.Message, StringComparison.Ordinal); // A path or query may be a secret.
    }

    [Fact]
    public async Task A_date_to_come_again_is_understood()
    {
        await using WebhookDestination destination = Destination();
        Answer(503, context => context.Response.Headers.RetryAfter = DateTimeOffset.UtcNow.AddMinutes(10).ToString("R"));

        DestinationUnavailableException exception = await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await destination.SendAsync([s_change], TestContext.Current.CancellationToken));

        Assert.InRange(exception.RetryAfter!.Value, TimeSpan.FromMinutes(9), TimeSpan.FromMinutes(10));
    }

    [Theory]
    [InlineData(400)]
    [InlineData(413)]
    [InlineData(422)]
    public async Task What_a_single_change_may_cause_is_refused_as_a_batch_with_the_start_of_the_answer(int status)
    {
        await using WebhookDestination destination = Destination();
        Answer(status, body: "no such field" + new string('x', 100_000));

        BatchRefusedException exception = await Assert.ThrowsAsync<BatchRefusedException>(async () => await destination.SendAsync([s_change], TestContext.Current.CancellationToken));

        Assert.Contains($"answered {status}: no such field", exception.Message, StringComparison.Ordinal);
        Assert.InRange(exception.Message.Length, 4096, 4200);
    }

    [Theory]
    [InlineData(401)]
    [InlineData(403)]
    [InlineData(404)]
    public async Task Other_4xx_are_refused(int status)
    {
        await using WebhookDestination destination = Destination();
        Answer(status, body: "nobody here");

        IReadOnlyList<Outcome> outcomes = await destination.SendAsync([s_change, s_change with { Version = 6 }], TestContext.Current.CancellationToken);

        Assert.Equal(2, outcomes.Count);
        Assert.All(outcomes, outcome => Assert.Equal(OutcomeKind.Refused, outcome.Kind));
        Assert.EndsWith($"answered {status}: nobody here", outcomes[0].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Gone_for_good_pauses()
    {
        await using WebhookDestination destination = Destination();
        Answer(410);

        await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await destination.SendAsync([s_change], TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData(301)]
    [InlineData(307)]
    public async Task A_redirect_is_not_followed_and_pauses(int status)
    {
        await using WebhookDestination destination = Destination();
        Answer(status, context => context.Response.Headers.Location = _receiver.Url.ToString());

        await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await destination.SendAsync([s_change], TestContext.Current.CancellationToken));

        Assert.Equal(1, _receiver.Requests);
    }

    [Fact]
    public async Task A_cut_connection_and_a_closed_port_are_tried_again()
    {
        await using WebhookDestination destination = Destination();
        _receiver.Behaviour = (context, _, _) =>
        {
            context.Abort();
            return Task.FromResult(false);
        };
        await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await destination.SendAsync([s_change], TestContext.Current.CancellationToken));
        await _receiver.StopAsync();
        await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await destination.SendAsync([s_change], TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData("https://example.com/hook", false, null)]
    [InlineData("http://127.0.0.1:8080/hook", false, null)]
    [InlineData("http://[::1]:8080/hook", false, null)]
    [InlineData("http://localhost/hook", false, null)]
    [InlineData("http://example.com/hook", true, null)]
    [InlineData("http://example.com/hook", false, "url is http to example.com, so everybody on the way can read it; use https, or write allow_http: true")]
    [InlineData("http://127.0.0.1.example.com/", false, "url is http to 127.0.0.1.example.com, so everybody on the way can read it; use https, or write allow_http: true")]
    [InlineData("ftp://example.com/", false, "expected url to be an address such as https://example.com/hook")]
    [InlineData("https://user:pass@example.com/", false, "url has a user or a password in it, which is refused: requests are signed instead")]
    public void An_address_must_be_safe(string url, bool allowsHttp, string? error) =>
        Assert.Equal(error, DestinationDefinition.UrlError(url, allowsHttp));

    [Fact]
    public void All_broken_options_are_told_at_once()
    {
        IEnumerable<string> errors = new WebhookOptions { Url = new Uri("ftp://x/"), Secret = "", Timeout = TimeSpan.Zero, MaxAnswerBytes = -1 }.Errors();

        Assert.Equal(4, errors.Count());
    }

    [Fact]
    public async Task With_the_kit_every_change_arrives_in_order_through_429_500_and_cut_connections()
    {
        using var world = new World(partitions: 2);
        var random = new Random(7);
        for (int version = 1; version <= 20; version++)
        {
            for (int person = 1; person <= 6; person++)
            {
                world.Membership(person, version, $"s{version % 3}", version % 2 == 0);
            }
        }

        _receiver.Behaviour = (context, number, changes) =>
        {
            int fault = number > 60 ? 9 : random.Next(8);
            bool isBad = changes.Any(change => change.GetProperty("id").GetString()!.StartsWith(World.IdText(3) + ":7:", StringComparison.Ordinal));
            switch (fault)
            {
                case 0:
                    context.Response.StatusCode = 429;
                    context.Response.Headers.RetryAfter = "1";
                    return Task.FromResult(false);
                case 1:
                    context.Response.StatusCode = 500;
                    return Task.FromResult(false);
                case 2:
                    context.Abort();
                    return Task.FromResult(false);
                case 3 when !isBad:
                    context.Abort();
                    return Task.FromResult(true); // It took them, and the answer was lost.
                default:
                    context.Response.StatusCode = isBad ? 422 : 200;
                    return Task.FromResult(!isBad);
            }
        };

        DeliveryStatus status = await world.DrainAsync(Destination(), settings => settings with { BatchLimit = 10 });

        Assert.Empty(_receiver.Problems);
        IReadOnlyList<JsonElement> first = [.. _receiver.Changes.DistinctBy(change => change.GetProperty("id").GetString())];
        Assert.Equal((6 * 20) - 1, first.Count);
        Assert.All(first.GroupBy(change => change.GetProperty("profile_id").GetString()), profile => Assert.Equal(profile.Select(change => change.GetProperty("version").GetInt64()).Order(), profile.Select(change => change.GetProperty("version").GetInt64())));
        Assert.Contains(":7:", JsonElement.Parse(Assert.Single(world.Letters()).Payload).GetProperty("id").GetString(), StringComparison.Ordinal);
        Assert.True(status.Retries > 0);
    }

    private WebhookDestination Destination() => new(new WebhookOptions { Url = _receiver.Url, Secret = HookReceiver.Secret }, TimeProvider.System);

    private void Answer(int status, Action<HttpContext>? with = null, string body = "") => _receiver.Behaviour = async (context, _, _) =>
    {
        context.Response.StatusCode = status;
        with?.Invoke(context);
        if (body.Length > 0)
        {
            await context.Response.WriteAsync(body, context.RequestAborted);
        }

        return status < 300;
    };

    private const string KnownSignature = "v1=cb08a1e48effd4e178fefcf966b6cc7da3a91bfcc1317f43f2a82776eee9be93";
}
