using Microsoft.Extensions.Logging;

namespace StreamCdp.Connectors;

/// <content>What it logs: once a change of state, never once a change of a profile, and nothing that a person is known by.</content>
internal sealed partial class Delivery
{
    [LoggerMessage(Level = LogLevel.Warning, Message = "Destination {Id} waits: {Reason} Nothing is lost; it is tried again by itself.")]
    private partial void LogWaiting(string id, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Destination {Id} goes on.")]
    private partial void LogGoesOn(string id);

    [LoggerMessage(Level = LogLevel.Error, Message = "Destination {Id} is paused: {Reason} Resume it when that is done (streamcdp connectors --resume {Id}); nothing is lost until then.")]
    private partial void LogPaused(string id, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Destination {Id} stopped: {Reason}")]
    private partial void LogStopped(string id, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "The connector of destination {Id} failed by {Type}, which is a bug of the connector. It is tried again by itself. {Stack}")]
    private partial void LogConnectorFailed(string id, string type, string? stack); // Not the exception: its message may name a person.

    [LoggerMessage(Level = LogLevel.Error, Message = "Destination {Id} failed by {Type}, which is a bug of StreamCdp: please report it. {Stack}")]
    private partial void LogFailed(string id, string type, string? stack);

    [LoggerMessage(Level = LogLevel.Error, Message = "Destination {Id} refused changes, {Count} of them in this batch: they are dead letters now. See streamcdp dead-letters list --reason destination_refused.")]
    private partial void LogRefused(string id, int count);
}
