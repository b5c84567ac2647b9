using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors;

/// <summary>All destinations of a process: starts and stops them, tells how they are, pauses, resumes and replays.</summary>
internal sealed class ConnectorHost : IAsyncDisposable
{
    private readonly LogWake _wake = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Delivery> _deliveries;
    private readonly List<Task> _running = [];

    private ConnectorHost(List<Delivery> deliveries) => _deliveries = deliveries;

    /// <summary>Starts all.</summary>
    /// <param name="destinations">What each gets, and who sends it.</param>
    /// <param name="parts">What they work with.</param>
    /// <param name="registry">Where the metrics are served from.</param>
    public static ConnectorHost Start(IEnumerable<(DestinationSettings Settings, IDestination Destination)> destinations, DeliveryParts parts, Prometheus.CollectorRegistry registry)
    {
        var host = new ConnectorHost([.. destinations.Select(one => new Delivery(one.Settings, one.Destination, parts))]);
        registry.AddBeforeCollectCallback(() => host._deliveries.ForEach(delivery => parts.Metrics.LagOut(delivery.Id).Set(delivery.LagSeconds())));
        host._running.AddRange(host._deliveries.Select(delivery => Task.Run(() => delivery.RunAsync(host._wake, host._stop.Token))));
        return host;
    }

    /// <summary>How each is, in the model's order.</summary>
    public IReadOnlyList<DeliveryStatus> Statuses() => [.. _deliveries.Select(delivery => delivery.Status())];

    /// <summary>How one is; null: there is none with this id.</summary>
    public DeliveryStatus? Status(string id) => Find(id)?.Status();

    /// <summary>Holds one; false: there is none with this id.</summary>
    public bool TryPause(string id, string reason)
    {
        Delivery? delivery = Find(id);
        delivery?.Pause(reason);
        _wake.Signal.Set();
        return delivery is not null;
    }

    /// <summary>Lets one go on; false: there is none with this id.</summary>
    public bool TryResume(string id)
    {
        Delivery? delivery = Find(id);
        delivery?.Resume();
        _wake.Signal.Set();
        return delivery is not null;
    }

    /// <summary>Takes a dead letter of a destination to send again, if it is still true when its turn comes.</summary>
    /// <returns>False: no such destination now, no change in it, or no room.</returns>
    public bool TryReplay(in DeadLetter letter)
    {
        if (Find(System.Text.Encoding.UTF8.GetString(letter.Source)) is not { } delivery || !ChangeJson.TryReadPlace(letter.Payload, out ProfileChange change) || !delivery.TryReplay(change, letter.OriginPartition, letter.OriginOffset))
        {
            return false;
        }

        _wake.Signal.Set();
        return true;
    }

    /// <summary>For health: a destination never makes the process unready, because it takes events as well without it.</summary>
    public IEnumerable<PartHealth> Health() => Statuses().Select(status => new PartHealth("connect " + status.Id, IsLive: true, IsReady: true, status.Reason));

    /// <summary>Stops: requests under way may end for a few seconds, cursors are saved.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(_running).ConfigureAwait(false);
        foreach (Delivery delivery in _deliveries)
        {
            await delivery.DisposeAsync().ConfigureAwait(false);
        }

        _wake.Dispose();
        _stop.Dispose();
    }

    private Delivery? Find(string id) => _deliveries.Find(delivery => delivery.Id == id);
}
