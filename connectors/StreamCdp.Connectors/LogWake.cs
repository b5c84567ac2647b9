using StreamCdp.Engine.Logs;

namespace StreamCdp.Connectors;

/// <summary>Wakes the destinations when a log has something new: one thread waits for all of them.</summary>
internal sealed class LogWake : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Thread _thread;
    private TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Starts the thread.</summary>
    public LogWake()
    {
        _thread = new Thread(Run) { IsBackground = true, Name = "connect" };
        _thread.Start();
    }

    /// <summary>For the readers of the logs; set by hand it wakes everybody, too.</summary>
    public WorkSignal Signal { get; } = new();

    /// <summary>Completes with the next news. Take it, then read the logs to their end, then wait for it: so nothing is missed.</summary>
    public Task Next => Volatile.Read(ref _next).Task;

    /// <inheritdoc/>
    public void Dispose()
    {
        _stop.Cancel();
        _thread.Join();
        _stop.Dispose();
        Signal.Dispose();
    }

    private void Run()
    {
        try
        {
            while (true)
            {
                if (Signal.Wait(Timeout.Infinite, _stop.Token))
                {
                    Interlocked.Exchange(ref _next, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The process stops.
        }
    }
}
