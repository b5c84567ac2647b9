using System.Text.Json;
using StreamCdp.Connectors.Tests.Kit;
using StreamCdp.Connectors.Webhook;

namespace StreamCdp.Connectors.Tests.Webhook;

public sealed class WebhookConformanceTests : DestinationConformance, IAsyncLifetime
{
    private HookReceiver _receiver = null!;

    public async ValueTask InitializeAsync() => _receiver = await HookReceiver.StartAsync();

    public ValueTask DisposeAsync() => _receiver.DisposeAsync();

    protected override ValueTask<IDestination> CreateAsync(TimeSpan timeout) =>
        new(new WebhookDestination(new WebhookOptions { Url = _receiver.Url, Secret = HookReceiver.Secret, Timeout = timeout }, TimeProvider.System));

    protected override void Set(Receiving receiving) => _receiver.Behaviour = receiving switch
    {
        Receiving.Takes => null,
        Receiving.IsAway => (context, _, _) =>
        {
            context.Response.StatusCode = 503;
            return Task.FromResult(false);
        },
        Receiving.Hangs => (context, _, _) => _receiver.HangAsync(context),
        _ => (context, _, changes) =>
        {
            bool isBad = changes.Any(change => change.GetProperty("profile_id").GetString() == BadProfile);
            context.Response.StatusCode = isBad ? 422 : 200;
            return Task.FromResult(!isBad);
        },
    };

    protected override IReadOnlyList<string> Held() => [.. _receiver.Changes.Select((JsonElement change) => change.GetProperty("id").GetString()!)];
}
