using System.Net;
using System.Text;
using System.Text.Json;
using StreamCdp.HubSpotEmulator;

namespace StreamCdp.Integration.Tests;

/// <summary>A whole server that a CRM tells of changes: they come long before the next poll.</summary>
public sealed class ServerCrmWebhookTests : IAsyncLifetime
{
    private static readonly Uri s_public = new("https://cdp.example.com/v1/webhooks/hubspot");

    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-webhook-").FullName;
    private EmulatedHubSpot _hubspot = null!;
    private ServerFixtureHost _server = null!;

    public async ValueTask InitializeAsync()
    {
        _hubspot = await EmulatedHubSpot.StartAsync(TimeProvider.System, cancellationToken: TestContext.Current.CancellationToken);
        Environment.SetEnvironmentVariable("WEBHOOK_TEST_TOKEN", EmulatedHubSpot.PrivateAppToken);
        Environment.SetEnvironmentVariable("WEBHOOK_TEST_SECRET", EmulatedHubSpot.ClientSecret);
        _server = await ServerFixtureHost.StartAsync(_data, $$"""
            sources: [ { id: web, write_key: web-key, kind: website }, { id: hubspot, kind: crm } ]
            api_keys: [ { id: ops, key: ops-key-0123456789, scopes: [read, write, admin] } ]
            identifiers:
              - { type: user_id, limit: 1 }
              - { type: email, limit: 5, from: [traits.email], normalize: email }
              - { type: hubspot_contact_id, limit: 100 }
              - { type: anonymous_id, limit: 100 }
            destinations:
              - id: hubspot
                kind: hubspot
                url: "{{_hubspot.Url}}"
                secret: env:WEBHOOK_TEST_TOKEN
                webhook: { url: "{{s_public}}", secret: env:WEBHOOK_TEST_SECRET }
                poll: 1h
                contacts: { fields: { firstname: traits.name, email: identifiers.email } }
            """);
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        if (_hubspot is not null)
        {
            await _hubspot.DisposeAsync();
        }

        Directory.Delete(_data, recursive: true);
    }

    [Fact]
    public async Task What_HubSpot_tells_of_is_read_at_once()
    {
        string ann = _hubspot.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"), ("firstname", "Ann"));
        await NameAsync("ann@example.com", "Ann");
        _hubspot.Account.Set(HubSpotAccount.Contacts, ann, "firstname", "Anna");
        await NameAsync("ann@example.com", "Anna");
    }

    [Fact]
    public async Task What_HubSpot_did_not_sign_is_not_taken()
    {
        _hubspot.Account.Create(HubSpotAccount.Contacts, ("email", "ann@example.com"), ("firstname", "Ann"));
        WebhookRequest good = Assert.Single(_hubspot.TakeWebhooks(s_public));

        Assert.Equal(HttpStatusCode.Unauthorized, await PostAsync(good with { Body = good.Body.Replace("1", "2", StringComparison.Ordinal) }));
        Assert.Equal(HttpStatusCode.Unauthorized, await PostAsync(good with { Signature = "" }));
        Assert.Equal(HttpStatusCode.NotFound, await PostAsync(good, "/v1/webhooks/other"));
        Assert.Equal(HttpStatusCode.NoContent, await PostAsync(good));
    }

    private async Task NameAsync(string email, string name)
    {
        long deadline = Environment.TickCount64 + 30_000;
        while (true)
        {
            foreach (WebhookRequest request in _hubspot.TakeWebhooks(s_public))
            {
                Assert.Equal(HttpStatusCode.NoContent, await PostAsync(request));
            }

            using HttpResponseMessage response = await _server.Client.GetAsync(new Uri($"/v1/profiles/email:{Uri.EscapeDataString(email)}?wait=true&timeout=30000", UriKind.Relative), TestContext.Current.CancellationToken);
            if (response.IsSuccessStatusCode && JsonElement.Parse(await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken)).GetProperty("traits").TryGetProperty("name", out JsonElement now) && now.GetString() == name)
            {
                return;
            }

            Assert.True(Environment.TickCount64 < deadline, $"{name} did not come.");
            await Task.Delay(50, TestContext.Current.CancellationToken);
        }
    }

    private async Task<HttpStatusCode> PostAsync(WebhookRequest webhook, string path = "/v1/webhooks/hubspot")
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(webhook.Body, Encoding.UTF8, "application/json") };
        request.Headers.TryAddWithoutValidation("X-HubSpot-Signature-v3", webhook.Signature);
        request.Headers.TryAddWithoutValidation("X-HubSpot-Request-Timestamp", webhook.Timestamp);
        using HttpResponseMessage response = await _server.Client.SendAsync(request, TestContext.Current.CancellationToken);
        return response.StatusCode;
    }
}
