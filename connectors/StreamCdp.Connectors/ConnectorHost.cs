using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors;

/// <summary>All connections of a process: starts and stops them, tells how they are, pauses, resumes and replays.</summary>
internal sealed class ConnectorHost : IAsyncDisposable
{
    private readonly LogWake _wake = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly List<IConnection> _connections;
    private readonly List<Task> _running = [];

    private ConnectorHost(List<IConnection> connections) => _connections = connections;

    /// <summary>Starts all.</summary>
    /// <param name="connections">Disposed with this.</param>
    /// <param name="metrics">What they count.</param>
    /// <param name="registry">Where the metrics are served from.</param>
    public static ConnectorHost Start(IEnumerable<IConnection> connections, ConnectorMetrics metrics, Prometheus.CollectorRegistry registry)
    {
        var host = new ConnectorHost([.. connections]);
        registry.AddBeforeCollectCallback(() => host._connections.ForEach(connection => connection.Measure(metrics)));
        host._running.AddRange(host._connections.Select(connection => Task.Run(() => connection.RunAsync(host._wake, host._stop.Token))));
        return host;
    }

    /// <summary>How each is, in the model's order.</summary>
    public IReadOnlyList<DeliveryStatus> Statuses() => [.. _connections.Select(connection => connection.Status())];

    /// <summary>How one is; null: there is none with this id.</summary>
    public DeliveryStatus? Status(string id) => Find(id)?.Status();

    /// <summary>The CRM with this id; null: there is none, or it is no CRM.</summary>
    public Crm.CrmConnection? Crm(string id) => Find(id) as Crm.CrmConnection;

    /// <summary>The actions with this id; null: there are none.</summary>
    public Actions.ActionConnection? Actions(string id) => Find(id) as Actions.ActionConnection;

    /// <summary>The destination with this id that goes one way; null: there is none, or it is something else.</summary>
    public Delivery? Delivery(string id) => Find(id) as Delivery;

    /// <summary>Hands on what a CRM told of its records; false: there is no CRM with this id.</summary>
    public bool TryHint(string id, IEnumerable<Crm.CrmHint> hints)
    {
        Crm.CrmConnection? connection = Crm(id);
        connection?.Hint(hints);
        _wake.Signal.Set();
        return connection is not null;
    }

    /// <summary>Holds one, and its actions; false: there is none with this id.</summary>
    public bool TryPause(string id, string reason) => TryChange(id, connection => connection.Pause(reason));

    /// <summary>Lets one go on, and its actions; false: there is none with this id.</summary>
    public bool TryResume(string id) => TryChange(id, connection => connection.Resume());

    /// <summary>Takes a dead letter of a destination to send again, if it is still true when its turn comes.</summary>
    /// <returns>False: no such destination now, no change in it, or no room.</returns>
    public bool TryReplay(in DeadLetter letter)
    {
        if (Find(System.Text.Encoding.UTF8.GetString(letter.Source)) is not { } connection || !ChangeJson.TryReadPlace(letter.Payload, out ProfileChange change) || !connection.TryReplay(change, letter.OriginPartition, letter.OriginOffset))
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
        foreach (IConnection connection in _connections)
        {
            await connection.DisposeAsync().ConfigureAwait(false);
        }

        _wake.Dispose();
        _stop.Dispose();
    }

    private bool TryChange(string id, Action<IConnection> change)
    {
        List<IConnection> found = _connections.FindAll(connection => connection.Id == id || connection.Id == id + ":actions");
        found.ForEach(change);
        _wake.Signal.Set();
        return found.Count > 0;
    }

    private IConnection? Find(string id) => _connections.Find(connection => connection.Id == id);
}
