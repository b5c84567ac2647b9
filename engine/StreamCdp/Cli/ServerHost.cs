using StreamCdp.Engine.Model;

namespace StreamCdp.Cli;

/// <summary>A server in this process: engine, collector and query API behind one address.</summary>
/// <remarks>
/// SEAM. This file alone joins the command line to the engine (StreamCdp.Engine.Runtime.CdpEngine), the collector and the API.
/// All else of Cli/ knows a server by its HTTP address, so it works as well against one that runs elsewhere.
/// </remarks>
internal sealed class ServerHost : IAsyncDisposable
{
    private ServerHost(Uri address, CdpModel model)
    {
        Address = address;
        Model = model;
    }

    /// <summary>Where it listens; with port 0 in the settings, the port it got. The first of several.</summary>
    public Uri Address { get; }

    /// <summary>The model it runs with.</summary>
    public CdpModel Model { get; }

    /// <summary>Starts everything and returns when it takes requests.</summary>
    /// <param name="settings">Checked: <see cref="ServerSettings.Errors"/> is empty.</param>
    /// <param name="cancellationToken">Gives up starting.</param>
    /// <exception cref="CliException">It cannot start; the message lists every reason, with key, value and what is allowed.</exception>
    public static Task<ServerHost> StartAsync(ServerSettings settings, CancellationToken cancellationToken) =>
        throw new CliException("The engine is not part of this build yet (Cli/ServerHost.cs).");

    /// <summary>Completes when the server stops by itself: an engine that cannot go on. The exception says why and what to do.</summary>
    public Task Stopped { get; } = Task.Delay(Timeout.Infinite);

    /// <summary>Waits until every event acknowledged before is applied (IEngineQueries.WaitAppliedAsync).</summary>
    /// <exception cref="CliException">Not within the time; the message says which stage is behind.</exception>
    public Task WaitAppliedAsync(TimeSpan timeout, CancellationToken cancellationToken) =>
        throw new CliException($"The engine is not part of this build yet (Cli/ServerHost.cs); waited {timeout}, {Address}, {cancellationToken.IsCancellationRequested}.");

    /// <summary>Takes no more requests, ends those under way, writes checkpoints, closes the logs.</summary>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
