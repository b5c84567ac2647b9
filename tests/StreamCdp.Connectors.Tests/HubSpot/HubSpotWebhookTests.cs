using System.Text;
using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.HubSpot;
using StreamCdp.HubSpotEmulator;

namespace StreamCdp.Connectors.Tests.HubSpot;

public sealed class HubSpotWebhookTests
{
    private static readonly Uri s_target = new("https://cdp.example/hubspot?tenant=a%40b%2Fc");

    [Fact]
    public async Task What_HubSpot_signs_is_taken_and_what_somebody_changed_is_not()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        world.Account.Create(HubSpotAccount.Contacts, ("email", "zoë@example.com"));
        WebhookRequest request = Assert.Single(world.HubSpot.TakeWebhooks(new Uri("https://cdp.example/hubspot?tenant=1")));
        byte[] body = Encoding.UTF8.GetBytes(request.Body);
        string uri = request.Uri.OriginalString;

        Assert.True(IsSigned(EmulatedHubSpot.ClientSecret, "POST", uri, body, request.Timestamp, request.Signature, world.Time.Now));
        Assert.True(IsSigned(EmulatedHubSpot.ClientSecret, "POST", uri, body, request.Timestamp, request.Signature, world.Time.Now + TimeSpan.FromMinutes(5)));
        Assert.False(IsSigned(EmulatedHubSpot.ClientSecret, "POST", uri, body, request.Timestamp, request.Signature, world.Time.Now + TimeSpan.FromMinutes(5.1)));
        Assert.False(IsSigned(EmulatedHubSpot.ClientSecret, "POST", uri, body, request.Timestamp, request.Signature, world.Time.Now - TimeSpan.FromMinutes(5.1)));
        Assert.False(IsSigned("another", "POST", uri, body, request.Timestamp, request.Signature, world.Time.Now));
        Assert.False(IsSigned(EmulatedHubSpot.ClientSecret, "PUT", uri, body, request.Timestamp, request.Signature, world.Time.Now));
        Assert.False(IsSigned(EmulatedHubSpot.ClientSecret, "POST", uri + "0", body, request.Timestamp, request.Signature, world.Time.Now));
        Assert.False(IsSigned(EmulatedHubSpot.ClientSecret, "POST", uri, [.. body, 32], request.Timestamp, request.Signature, world.Time.Now));
        Assert.False(IsSigned(EmulatedHubSpot.ClientSecret, "POST", uri, body, request.Timestamp + "0", request.Signature, world.Time.Now));
    }

    [Theory]
    [InlineData(null, "AAAA")]
    [InlineData("", "AAAA")]
    [InlineData("x", "AAAA")]
    [InlineData("99999999999999999999", "AAAA")]
    [InlineData("-1764072000000", "AAAA")]
    [InlineData("1764072000000", null)]
    [InlineData("1764072000000", "")]
    [InlineData("1764072000000", "not base64")]
    [InlineData("1764072000000", "AAAA")]
    public void Headers_that_are_missing_or_nonsense_are_not_taken(string? timestamp, string? signature) =>
        Assert.False(HubSpotWebhook.IsSigned("secret", "POST", s_target.OriginalString, "[]"u8, timestamp, signature, DateTimeOffset.FromUnixTimeMilliseconds(1764072000000)));

    [Fact]
    public void The_signature_is_that_of_another_implementation_over_the_address_without_its_escapes() =>
        // printf 'POSThttps://cdp.example/hubspot?tenant=a@b/c[]1764072000000' | openssl dgst -sha256 -hmac 'a secret of the tests' -binary | base64
        Assert.True(HubSpotWebhook.IsSigned("a secret of the tests", "POST", s_target.OriginalString, "[]"u8, "1764072000000", KnownSignature, DateTimeOffset.FromUnixTimeMilliseconds(1764072000000)));

    [Fact]
    public async Task All_that_people_do_becomes_hints()
    {
        await using HubSpotWorld world = await HubSpotWorld.StartAsync();
        string winner = world.Account.Create(HubSpotAccount.Contacts, ("email", "w@example.com"));
        string loser = world.Account.Create(HubSpotAccount.Contacts, ("email", "l@example.com"));
        string company = world.Account.Create(HubSpotAccount.Companies, ("name", "Acme"));
        string deal = world.Account.Create(HubSpotAccount.Deals, ("dealname", "Engine"));
        Assert.Equal([(CrmObject.Contact, winner), (CrmObject.Contact, loser), (CrmObject.Company, company), (CrmObject.Deal, deal)], Hints());

        world.Account.Associate(HubSpotAccount.Deals, deal, loser);
        Assert.Equal([(CrmObject.Deal, deal), (CrmObject.Contact, loser)], Hints());

        world.Account.MoveDeal(deal, "closedwon");
        Assert.Equal([(CrmObject.Deal, deal)], Hints());

        string survivor = world.Account.Merge(HubSpotAccount.Contacts, winner, loser, mintsNewId: true);
        Assert.Equal(new[] { winner, loser, survivor }.Order(StringComparer.Ordinal), Hints().Select(hint => hint.Id).Order(StringComparer.Ordinal));

        world.Account.Delete(HubSpotAccount.Contacts, survivor);
        Assert.Equal([(CrmObject.Contact, survivor)], Hints());

        IEnumerable<(CrmObject Kind, string Id)> Hints() => world.HubSpot.TakeWebhooks(s_target).SelectMany(request => HubSpotWebhook.Read(Encoding.UTF8.GetBytes(request.Body))).Select(hint => (hint.Kind, hint.Id));
    }

    [Fact]
    public void Events_of_other_objects_and_without_an_id_are_left_out()
    {
        byte[] body = """
            [{"subscriptionType":"ticket.creation","objectId":1},{"subscriptionType":"contact.creation"},{"subscriptionType":"contact.creation","objectId":"x/../y"},{},7,
             {"subscriptionType":"object.propertyChange","objectTypeId":"0-3","objectId":5},{"subscriptionType":"contact.privacyDeletion","objectId":6},{"subscriptionType":"contact.creation","objectId":6}]
            """u8.ToArray();

        Assert.Equal([new CrmHint(CrmObject.Deal, "5"), new CrmHint(CrmObject.Contact, "6")], HubSpotWebhook.Read(body));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("[")]
    public void A_body_that_HubSpot_would_not_send_is_an_error(string body) =>
        Assert.ThrowsAny<JsonException>(() => HubSpotWebhook.Read(Encoding.UTF8.GetBytes(body)));

    private const string KnownSignature = "pFZJMQWvC7nKN66g43AAbJmv482S/0lAmvk21zY/29Q=";

    private static bool IsSigned(string secret, string method, string address, byte[] body, string timestamp, string signature, DateTimeOffset now) =>
        HubSpotWebhook.IsSigned(secret, method, address, body, timestamp, signature, now);
}
