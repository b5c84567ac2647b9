using Microsoft.Extensions.Logging;
using StreamCdp.Engine.Logs;
using StreamCdp.Schemas;

namespace StreamCdp.Connectors;

/// <summary>What a <see cref="Delivery"/> works with, the same for all destinations of a process.</summary>
internal sealed record DeliveryParts
{
    /// <summary>Log of membership changes.</summary>
    public required ILog Memberships { get; init; }

    /// <summary>Log of profiles.</summary>
    public required ILog Profiles { get; init; }

    /// <summary>Log of what was refused.</summary>
    public required ILog DeadLetters { get; init; }

    /// <summary>Ids of the records' schemas.</summary>
    public required SchemaIds Schemas { get; init; }

    /// <summary>Finds a profile as it is now.</summary>
    public required ProfileLookup FindProfile { get; init; }

    /// <summary>Waits until the shards have applied what the logs have: while the engine recovers, its profiles are those of before.</summary>
    public Func<CancellationToken, Task> Applied { get; init; } = _ => Task.CompletedTask;

    /// <summary>Directory of the cursors.</summary>
    public required string StatePath { get; init; }

    /// <summary>Time of everything: waits, batches, the rate.</summary>
    public required TimeProvider Time { get; init; }

    /// <summary>Start of the jitter's random numbers.</summary>
    public required int Seed { get; init; }

    /// <summary>Metrics.</summary>
    public required ConnectorMetrics Metrics { get; init; }

    /// <summary>Told how many dead letters were written, for <c>dead_letters_total</c>.</summary>
    public Action<int> OnDeadLetters { get; init; } = _ => { };

    /// <summary>For changes of state.</summary>
    public required ILogger Logger { get; init; }
}
