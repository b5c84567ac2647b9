namespace StreamCdp.Engine.Logs;

/// <summary>Numbers the appends of one user of a local log; all the work is the log's.</summary>
internal sealed class LocalLogWriter(LocalLog log) : ILogWriter
{
    private long _appended;
    private long _durable;

    public long Appended => Volatile.Read(ref _appended);

    public long Durable => Volatile.Read(ref _durable);

    public LogUnavailableException? Fault => log.Fault;

    /// <summary>Last ticket that the running commit covers; under the log's lock.</summary>
    public long Sealed { get; private set; }

    public bool IsDisposed { get; private set; }

    /// <summary>Under the log's lock.</summary>
    public long Count() => Interlocked.Increment(ref _appended);

    /// <summary>A commit begins; under the log's lock.</summary>
    public void Seal() => Sealed = Appended;

    /// <summary>The commit is done; under the log's lock.</summary>
    public void Unseal() => Volatile.Write(ref _durable, Sealed);

    public long Append(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        return log.Append(this, partition, key, value, timestampMs);
    }

    public bool TryAppend(int partition, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value, long timestampMs, long deadline, out long ticket)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        ticket = log.Append(this, partition, key, value, timestampMs, deadline);
        return ticket > 0;
    }

    public ValueTask WaitDurableAsync(long ticket, CancellationToken cancellationToken)
    {
        CheckTicket(ticket);
        return ticket <= Durable ? ValueTask.CompletedTask : log.WaitDurableAsync(this, ticket, cancellationToken);
    }

    public void WaitDurable(long ticket)
    {
        CheckTicket(ticket);
        if (ticket > Durable)
        {
            log.WaitDurable(this, ticket);
        }
    }

    /// <summary>Ends the use of this writer. What it appended is committed by the log all the same.</summary>
    public void Dispose()
    {
        IsDisposed = true;
        log.Forget(this);
    }

    private void CheckTicket(long ticket) => ArgumentOutOfRangeException.ThrowIfGreaterThan(ticket, Appended);
}
