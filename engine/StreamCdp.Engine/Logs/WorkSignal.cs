namespace StreamCdp.Engine.Logs;

/// <summary>Wakes one waiting thread when there may be work; many logs and mailboxes can set the same signal.</summary>
/// <remarks>Setting it while nobody waits is remembered once. Cost of <see cref="Set"/> with nobody waiting: one volatile read and, at the first time, one write.</remarks>
public sealed class WorkSignal : IDisposable
{
    private readonly ManualResetEventSlim _event = new(false, spinCount: 0);

    /// <summary>There may be work.</summary>
    public void Set()
    {
        if (!_event.IsSet)
        {
            _event.Set();
        }
    }

    /// <summary>Waits until <see cref="Set"/> was called since the last wait, or the time is over.</summary>
    /// <returns>False when the time was over.</returns>
    public bool Wait(int timeoutMs, CancellationToken cancellationToken = default)
    {
        bool set = _event.Wait(timeoutMs, cancellationToken);
        if (set)
        {
            _event.Reset(); // The waiter looks at every input after this, so a Set between Wait and Reset loses nothing.
        }

        return set;
    }

    /// <inheritdoc/>
    public void Dispose() => _event.Dispose();
}
