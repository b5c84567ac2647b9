using System.Text.Json;
using StreamCdp.HubSpotEmulator;

namespace StreamCdp.Connectors.Tests.HubSpot;

/// <summary>The emulator against HubSpot's own client of npm, changed only in its host: what the client understands is what HubSpot says.</summary>
public sealed class HubSpotEmulatorTests(HubSpotClient client) : IClassFixture<HubSpotClient>, IAsyncLifetime
{
    private EmulatedHubSpot _hubspot = null!;

    public async ValueTask InitializeAsync() => _hubspot = await EmulatedHubSpot.StartAsync(TimeProvider.System, cancellationToken: TestContext.Current.CancellationToken);

    public ValueTask DisposeAsync() => _hubspot.DisposeAsync();

    [Fact]
    public async Task The_client_makes_reads_changes_and_archives_contacts()
    {
        ILookup<string, JsonElement> said = await RunAsync("records");

        JsonElement made = said["made"].Single();
        Assert.Equal("ann@example.com", made.GetProperty("email").GetString());
        Assert.True(made.GetProperty("created").GetBoolean());
        JsonElement[] refused = [.. said["refused"]];
        Assert.Equal((409, "CONFLICT"), (refused[0].GetProperty("code").GetInt32(), refused[0].GetProperty("category").GetString()));
        Assert.Equal($"Contact already exists. Existing ID: {made.GetProperty("id")}", refused[0].GetProperty("message").GetString());
        Assert.Equal(400, refused[1].GetProperty("code").GetInt32());
        Assert.Contains("\"error\":\"INVALID_EMAIL\"", refused[1].GetProperty("message").GetString(), StringComparison.Ordinal);
        Assert.Equal("""{"id":"100","firstname":"Anna","history":["Anna","Ann"]}""", said["read"].Single().GetRawText());
        Assert.Equal("""["100"]""", said["all"].Single().GetRawText());
        Assert.Equal(404, refused[2].GetProperty("code").GetInt32());
    }

    [Fact]
    public async Task The_client_archives_a_batch_and_what_is_archived_or_unknown_is_no_error()
    {
        ILookup<string, JsonElement> said = await RunAsync("archive");

        Assert.Equal(404, said["refused"].Single().GetProperty("code").GetInt32());
        Assert.Equal("""{"archived":true,"again":true,"left":true}""", said["archived"].Single().GetRawText());
    }

    [Fact]
    public async Task A_batch_of_which_a_row_is_refused_is_a_207_with_its_trace()
    {
        ILookup<string, JsonElement> said = await RunAsync("upsert");

        Assert.Equal("""{"status":"COMPLETE","results":[["t1",true]],"errors":[["CONFLICT","t2"]]}""", said["first"].Single().GetRawText());
        Assert.Equal("""{"results":[false],"hasErrors":false}""", said["again"].Single().GetRawText());
        Assert.Contains("PROPERTY_DOESNT_EXIST", said["refused"].Single().GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Search_gives_pages_up_to_its_cap()
    {
        _hubspot.Account.SearchCap = 10;

        ILookup<string, JsonElement> said = await RunAsync("search");

        Assert.Equal("""{"total":6,"emails":["c9@example.com","c7@example.com","c5@example.com","c3@example.com","c1@example.com","c11@example.com"],"isLast":true}""", said["found"].Single().GetRawText());
        Assert.All(said["refused"], refused => Assert.Equal(400, refused.GetProperty("code").GetInt32()));
        Assert.Equal(2, said["refused"].Count());
    }

    [Fact]
    public async Task The_client_waits_a_second_for_a_secondly_limit()
    {
        _hubspot.Faults.Next(HubSpotFault.SecondlyLimit);

        JsonElement waited = (await RunAsync("limited"))["waited"].Single();

        Assert.InRange(waited.GetProperty("ms").GetInt32(), 990, 9_000);
        Assert.Equal(2, _hubspot.CountOf("GET objects/contacts"));
    }

    [Fact]
    public async Task The_client_gives_up_at_a_daily_limit()
    {
        _hubspot.Faults.Next(HubSpotFault.DailyLimit);

        JsonElement refused = (await RunAsync("daily"))["refused"].Single();

        Assert.Equal(429, refused.GetProperty("code").GetInt32());
        Assert.Equal(1, _hubspot.CountOf("GET objects/contacts"));
    }

    [Fact]
    public async Task The_client_merges_and_the_old_ids_lead_to_the_new_one()
    {
        _hubspot.MergesMintIds = true;

        ILookup<string, JsonElement> said = await RunAsync("merge");

        Assert.Equal("""{"isNew":true,"follows":true,"city":"Oslo","more":"l@example.com","losers":true}""", said["merged"].Single().GetRawText());
    }

    [Fact]
    public async Task The_client_makes_deals_and_links_contacts()
    {
        ILookup<string, JsonElement> said = await RunAsync("deals");

        Assert.True(said["linked"].Single().GetBoolean());
        Assert.Equal("""{"stage":"closedwon","linked":2}""", said["page"].Single().GetRawText());
        Assert.Equal(1, said["left"].Single().GetInt32());
    }

    [Fact]
    public async Task The_client_makes_finds_and_links_activities()
    {
        ILookup<string, JsonElement> said = await RunAsync("activities");

        Assert.Equal(400, said["refused"].Single().GetProperty("code").GetInt32());
        Assert.Equal("""{"title":"Demo","body":"secret","linked":[true,true]}""", said["call"].Single().GetRawText());
        Assert.Equal("""{"kinds":["Re: Demo","Demo","Call Ann"],"types":[198,200,202,204]}""", said["others"].Single().GetRawText());
        Assert.Equal("Connected", said["label"].Single().GetString());
    }

    [Fact]
    public async Task The_client_puts_contacts_on_lists()
    {
        ILookup<string, JsonElement> said = await RunAsync("lists");

        Assert.Equal("""{"same":true,"added":1,"missing":["999999"],"members":[true]}""", said["list"].Single().GetRawText());
        Assert.Equal(400, said["refused"].Single().GetProperty("code").GetInt32());
    }

    [Fact]
    public async Task The_client_refreshes_a_token()
    {
        ILookup<string, JsonElement> said = await RunAsync("oauth");

        Assert.Equal("""{"seconds":1800,"works":0}""", said["token"].Single().GetRawText());
    }

    [Fact]
    public async Task The_client_finds_the_signature_of_our_webhooks_valid()
    {
        _hubspot.Account.Create(HubSpotAccount.Contacts, ("email", "zoë@example.com"));

        ILookup<string, JsonElement> said = await RunAsync("signature", async (what, value) =>
        {
            if (what == "listening")
            {
                await _hubspot.SendWebhooksAsync(new Uri(value.GetString()!), TestContext.Current.CancellationToken);
            }
        });

        Assert.Equal("""{"isValid":true,"isValidWithAnother":false,"events":2}""", said["webhook"].Single().GetRawText());
    }

    private Task<ILookup<string, JsonElement>> RunAsync(string scenario, Func<string, JsonElement, Task>? heard = null)
    {
        Assert.SkipWhen(client.WhyNot is not null, client.WhyNot ?? "");
        return client.RunAsync(scenario, _hubspot.Url, EmulatedHubSpot.PrivateAppToken, heard);
    }
}
