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

    protected override void Behave(Receiving receiving) => _receiver.Behaviour = async (context, _, changes) =>
    {
        if (receiving == Receiving.Hangs)
        {
            return await _receiver.HangAsync(context);
        }

        bool isBad = receiving == Receiving.RefusesOne && changes.Any(change => change.GetProperty("profile_id").GetString() == BadProfile);
        context.Response.StatusCode = receiving == Receiving.IsAway ? 503 : isBad ? 422 : 200;
        return context.Response.StatusCode == 200;
    };

    protected override IReadOnlyList<string> Held() => [.. _receiver.Changes.Select((JsonElement change) => change.GetProperty("id").GetString()!)];
}
