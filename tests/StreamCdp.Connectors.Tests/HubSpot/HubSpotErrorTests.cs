using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.HubSpot;
using StreamCdp.HubSpotEmulator;
using static StreamCdp.Connectors.Tests.HubSpot.HubSpotWorld;

namespace StreamCdp.Connectors.Tests.HubSpot;

public sealed class HubSpotErrorTests
{
    [Theory]
    [InlineData(null, "2026-11-25T22:00:00Z", 2)]
    [InlineData("America/New_York", "2026-11-25T22:00:00Z", 7)]
    [InlineData("Europe/Berlin", "2026-11-25T22:00:00Z", 1)]
    [InlineData("Europe/Berlin", "2026-10-24T23:00:00Z", 24)] // The night has one hour more.
    public async Task A_daily_limit_parks_until_midnight_of_the_account(string? zone, string now, int hours)
    {
        await using HubSpotWorld world = await StartAsync(options => options with { TimeZone = zone });
        world.Time.Now = DateTimeOffset.Parse(now);
        world.HubSpot.Faults.Next(HubSpotFault.DailyLimit);

        DestinationUnavailableException exception = await Assert.ThrowsAsync<DestinationUnavailableException>(() => world.ReadAsync(CrmObject.Contact, "1"));

        Assert.True(exception.IsRateLimit);
        Assert.Equal(TimeSpan.FromHours(hours) + TimeSpan.FromSeconds(5), exception.RetryAfter);
        Assert.Contains("limited", world.Gate.Outcomes);
    }

    [Theory]
    [InlineData(HubSpotFault.SecondlyLimit, 1, true)]
    [InlineData(HubSpotFault.TenSecondlyLimit, 10, true)]
    [InlineData(HubSpotFault.InternalError, null, false)]
    [InlineData(HubSpotFault.BadGateway, null, false)]
    [InlineData(HubSpotFault.Unavailable, null, false)]
    [InlineData(HubSpotFault.GatewayTimeout, null, false)]
    [InlineData(HubSpotFault.Migrating, 1800, false)]
    [InlineData(HubSpotFault.CutAnswer, null, false)]
    [InlineData(HubSpotFault.LostAnswer, null, false)]
    public async Task What_passes_is_waited_for(HubSpotFault fault, int? seconds, bool isRateLimit)
    {
        await using HubSpotWorld world = await StartAsync();
        world.HubSpot.Faults.Next(fault);

        DestinationUnavailableException exception = await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await world.Crm.DescribeAsync(CrmObject.Contact, Cancelled));

        Assert.Equal((seconds is null ? null : TimeSpan.FromSeconds(seconds.Value), isRateLimit), (exception.RetryAfter, exception.IsRateLimit));
    }

    [Fact]
    public async Task The_sixth_search_of_a_second_waits_for_the_next()
    {
        await using HubSpotWorld world = await StartAsync();
        world.HubSpot.SearchesPerSecond = 5;
        for (int number = 0; number < 5; number++)
        {
            await world.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue);
        }

        DestinationUnavailableException exception = await Assert.ThrowsAsync<DestinationUnavailableException>(() => world.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue));
        world.Time.Advance(exception.RetryAfter!.Value);

        Assert.Empty(await world.ChangesAsync(CrmObject.Contact, DateTimeOffset.MinValue));
    }

    [Fact]
    public async Task An_answer_that_does_not_come_is_a_timeout()
    {
        await using HubSpotWorld world = await StartAsync(options => options with { Timeout = TimeSpan.FromSeconds(1) });
        world.HubSpot.Faults.Next(HubSpotFault.NoAnswer);

        DestinationUnavailableException exception = await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await world.Crm.DescribeAsync(CrmObject.Contact, Cancelled));

        Assert.Contains("within 1 s", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_answer_that_is_slow_is_an_answer()
    {
        await using HubSpotWorld world = await StartAsync();
        world.HubSpot.Faults.Next(HubSpotFault.SlowAnswer);

        Assert.NotEmpty(await world.Crm.DescribeAsync(CrmObject.Contact, Cancelled));
    }

    [Fact]
    public async Task Giving_up_is_no_timeout()
    {
        await using HubSpotWorld world = await StartAsync();
        world.HubSpot.Faults.Next(HubSpotFault.NoAnswer);
        using var stop = new CancellationTokenSource();
        ValueTask<IReadOnlyList<CrmField>> asking = world.Crm.DescribeAsync(CrmObject.Contact, stop.Token);
        await stop.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await asking);
    }

    [Fact]
    public async Task Nobody_there_is_waited_for()
    {
        HubSpotWorld world = await StartAsync();
        await world.HubSpot.DisposeAsync();

        await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await world.Crm.DescribeAsync(CrmObject.Contact, Cancelled));
        await world.Crm.DisposeAsync();
    }

    [Fact]
    public async Task A_private_app_s_token_that_is_good_no_more_pauses_and_is_not_shown()
    {
        await using HubSpotWorld world = await StartAsync();
        world.HubSpot.Revoke(EmulatedHubSpot.PrivateAppToken);

        DestinationMustPauseException pause = await Assert.ThrowsAsync<DestinationMustPauseException>(() => world.ReadAsync(CrmObject.Contact, "1"));

        Assert.DoesNotContain(EmulatedHubSpot.PrivateAppToken, pause.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_right_that_is_missing_pauses_with_what_to_do()
    {
        await using HubSpotWorld world = await StartAsync();
        world.HubSpot.Faults.Next(HubSpotFault.MissingScope, "/name/");

        DestinationMustPauseException pause = await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await world.Crm.ChangeListAsync("Ann's friends", ["1"], [], Cancelled));

        Assert.Contains("scope", pause.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("Ann", pause.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_token_of_OAuth_is_had_again_before_it_ends_and_once_when_it_ended_early(bool hasRefreshToken)
    {
        await using HubSpotWorld world = await StartAsync(options => OAuth(options, hasRefreshToken));
        await world.ReadAsync(CrmObject.Contact, "1");
        await world.ReadAsync(CrmObject.Contact, "1");
        Assert.Equal(1, world.HubSpot.CountOf("oauth/token"));

        world.Time.Advance(TimeSpan.FromMinutes(30));
        await world.ReadAsync(CrmObject.Contact, "1");
        Assert.Equal(2, world.HubSpot.CountOf("oauth/token"));

        world.HubSpot.ExpireTokens();
        await world.ReadAsync(CrmObject.Contact, "1");
        Assert.Equal(3, world.HubSpot.CountOf("oauth/token"));
    }

    [Fact]
    public async Task A_token_that_is_refused_when_it_is_new_pauses()
    {
        await using HubSpotWorld world = await StartAsync(options => OAuth(options, true));
        world.HubSpot.Faults.Next(HubSpotFault.ExpiredToken, "properties/", times: 2);

        await Assert.ThrowsAsync<DestinationMustPauseException>(() => world.ReadAsync(CrmObject.Contact, "1"));
    }

    [Fact]
    public async Task A_client_that_OAuth_does_not_know_pauses_and_shows_no_secret()
    {
        await using HubSpotWorld world = await StartAsync(options => OAuth(options, true) with { RefreshToken = "revoked-1" });

        DestinationMustPauseException pause = await Assert.ThrowsAsync<DestinationMustPauseException>(() => world.ReadAsync(CrmObject.Contact, "1"));

        Assert.DoesNotContain("revoked-1", pause.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(EmulatedHubSpot.ClientSecret, pause.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Good_options_have_no_errors_and_show_no_secret()
    {
        var options = new HubSpotOptions { AccessToken = "pat-secret" };

        Assert.Empty(options.Errors());
        Assert.DoesNotContain("pat-secret", options.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void All_broken_rules_are_told_at_once()
    {
        var options = new HubSpotOptions
        {
            BaseUrl = new Uri("http://hubspot.example"),
            AccessToken = "with space",
            ClientId = "id",
            ApiVersion = "v4",
            IdProperty = "StreamCdp Id",
            Timeout = TimeSpan.Zero,
            SearchLag = TimeSpan.FromDays(1),
            PageRecords = 201,
            TimeZone = "Nowhere",
        };

        string[] errors = [.. options.Errors()];

        Assert.Equal(10, errors.Length);
        Assert.DoesNotContain(errors, error => error.Contains("with space", StringComparison.Ordinal));
        Assert.Contains("AccessToken is missing", Assert.Single(new HubSpotOptions().Errors()), StringComparison.Ordinal);
    }

    private static HubSpotOptions OAuth(HubSpotOptions options, bool hasRefreshToken) =>
        options with { AccessToken = null, ClientId = EmulatedHubSpot.ClientId, ClientSecret = EmulatedHubSpot.ClientSecret, RefreshToken = hasRefreshToken ? EmulatedHubSpot.RefreshToken : null };
}
