using StreamCdp.Engine.Logs;

namespace StreamCdp.Api;

/// <summary>Wakes the streams when a log has something new, and limits their number.</summary>
/// <remarks>
/// One thread waits for all streams on one <see cref="WorkSignal"/>; the streams themselves are asynchronous. Each stream reads the logs at its own pace,
/// so nothing queues up in memory for a slow one. The thread starts with the first stream.
/// </remarks>
internal sealed class StreamHub : IDisposable
{
    private readonly Lock _lock = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly int _maxStreams;
    private TaskCompletionSource _wake = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Thread? _thread;
    private int _open;
    private int _cut;

    public StreamHub(ILog memberships, ILog profiles, int maxStreams)
    {
        Memberships = memberships;
        Profiles = profiles;
        _maxStreams = maxStreams;
    }

    public ILog Memberships { get; }

    public ILog Profiles { get; }

    /// <summary>Open streams.</summary>
    public int Open => Volatile.Read(ref _open);

    /// <summary>Streams that were found too slow, since the start.</summary>
    public int Cut => Volatile.Read(ref _cut);

    /// <summary>For the readers of the streams.</summary>
    public WorkSignal Signal { get; } = new();

    /// <summary>Cancelled when the process stops: streams then say so and end.</summary>
    public CancellationToken Stopping => _stop.Token;

    /// <summary>Completes with the next news. Take it, then read the logs to their end, then wait for it: so nothing is missed.</summary>
    public Task NextWake => Volatile.Read(ref _wake).Task;

    /// <summary>Takes a place; false where there are as many streams as allowed. Give it back with <see cref="Leave"/>.</summary>
    public bool TryEnter()
    {
        lock (_lock)
        {
            if (_open >= _maxStreams || _stop.IsCancellationRequested)
            {
                return false;
            }

            _open++;
            if (_thread is null)
            {
                _thread = new Thread(WakeStreams) { IsBackground = true, Name = "api-streams" };
                _thread.Start();
            }

            return true;
        }
    }

    public void Leave() => Interlocked.Decrement(ref _open);

    public void CountCut() => Interlocked.Increment(ref _cut);

    /// <summary>The process stops: every stream ends. May be called again.</summary>
    public void Stop() => _stop.Cancel();

    public void Dispose()
    {
        _stop.Cancel();
        _thread?.Join();
        _stop.Dispose();
        Signal.Dispose();
    }

    private void WakeStreams()
    {
        try
        {
            while (true)
            {
                if (Signal.Wait(Timeout.Infinite, _stop.Token))
                {
                    Interlocked.Exchange(ref _wake, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The process stops; the streams have the same token.
        }
    }
}
