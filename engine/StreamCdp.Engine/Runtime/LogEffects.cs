using StreamCdp.Engine.Logs;

namespace StreamCdp.Engine.Runtime;

/// <summary>Appends of one stage to the real logs.</summary>
internal sealed class LogEffects : IEffects, IDisposable
{
    private readonly ILogWriter?[] _writers = new ILogWriter?[Enum.GetValues<StageLog>().Length];

    /// <param name="logs">The logs that the stage writes.</param>
    public LogEffects(params ReadOnlySpan<(StageLog Log, ILog Target)> logs)
    {
        foreach ((StageLog log, ILog target) in logs)
        {
            _writers[(int)log] = target.OpenWriter();
        }
    }

    /// <inheritdoc/>
    public void Append(StageLog log, int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs) =>
        _writers[(int)log]!.Append(partition, key, value, timestampMs);

    /// <inheritdoc/>
    public void WaitDurable(StageLog log)
    {
        ILogWriter writer = _writers[(int)log]!;
        writer.WaitDurable(writer.Appended);
    }

    /// <summary>Asked on the stage's thread; the answer may be called on any: whether all that was appended until now is durable.</summary>
    public Func<bool> UntilDurable()
    {
        Tickets now = Now();
        return () => IsDurable(now);
    }

    /// <summary>Everything appended so far.</summary>
    public Tickets Now() => new([.. _writers.Select(writer => writer?.Appended ?? 0)]);

    /// <summary>Whether it is durable.</summary>
    public bool IsDurable(Tickets tickets)
    {
        for (int i = 0; i < _writers.Length; i++)
        {
            if (_writers[i] is { } writer)
            {
                if (writer.Fault is { } fault)
                {
                    throw new LogUnavailableException(fault.Message, fault);
                }

                if (writer.Durable < tickets.Appended[i])
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (ILogWriter? writer in _writers)
        {
            writer?.Dispose();
        }
    }

    /// <summary>A moment in the appends of a stage.</summary>
    internal sealed record Tickets(IReadOnlyList<long> Appended);
}
