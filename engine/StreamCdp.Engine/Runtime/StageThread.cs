using Microsoft.Extensions.Logging;

namespace StreamCdp.Engine.Runtime;

/// <summary>The thread of one stage. It ends with the stage, or when the stage cannot go on; then <see cref="Fault"/> says why.</summary>
internal sealed partial class StageThread : IDisposable
{
    private const int IdleMs = 200;
    private const int PollMs = 2;
    private static readonly TimeSpan SaveAtEnd = TimeSpan.FromSeconds(60);

    private readonly StageRunner _runner;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Action<StageThread> _publish;
    private readonly Action<StageThread, Exception> _failed;
    private readonly Thread _thread;
    private readonly int _idleMs;
    private volatile bool _stop;
    private volatile bool _save;

    /// <param name="runner">The stage.</param>
    /// <param name="time">Wall time.</param>
    /// <param name="logger">Where failures are told.</param>
    /// <param name="idleMs">Longest sleep without work.</param>
    /// <param name="publish">Called after each batch, on the stage's thread, for metrics.</param>
    /// <param name="failed">Called when the stage cannot go on.</param>
    public StageThread(StageRunner runner, TimeProvider time, ILogger logger, int idleMs, Action<StageThread> publish, Action<StageThread, Exception> failed)
    {
        _runner = runner;
        _time = time;
        _logger = logger;
        _idleMs = Math.Min(idleMs, IdleMs);
        _publish = publish;
        _failed = failed;
        _thread = new Thread(Run) { IsBackground = true, Name = runner.Name };
    }

    /// <summary>The stage.</summary>
    public StageRunner Runner => _runner;

    /// <summary>Why it stopped; null while it runs.</summary>
    public Exception? Fault { get; private set; }

    /// <summary>Starts the thread.</summary>
    public void Start() => _thread.Start();

    /// <summary>Asks it to stop after the current batch; does not wait.</summary>
    /// <param name="save">Takes a last checkpoint, so that the next start has nothing to read again.</param>
    public void RequestStop(bool save)
    {
        _save = save && Fault is null;
        _stop = true;
        _runner.Signal.Set();
    }

    /// <summary>Waits until it has stopped.</summary>
    public void Join()
    {
        if (_thread.IsAlive)
        {
            _thread.Join();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        RequestStop(save: false);
        Join();
        _runner.Dispose();
    }

    private void Run()
    {
        try
        {
            while (!_stop)
            {
                bool worked = _runner.Step(Now());
                _publish(this);
                if (!worked && !_stop)
                {
                    _runner.Signal.Wait(_runner.IsSaving || _runner.IsHeldUp ? PollMs : _idleMs);
                }
            }

            if (_save)
            {
                SaveNow();
            }
        }
        catch (Exception error) when (error is IOException or InvalidDataException or UnauthorizedAccessException or ObjectDisposedException or FASTER.core.FasterException)
        {
            // The border of a stage: its logs or its disk are away. It stops rather than going on wrong; the process ends or is restarted.
            Fault = error;
            LogStopped(_runner.Name, error.Message);
            _failed(this, error);
        }
    }

    private void SaveNow()
    {
        long deadline = Now() + (long)SaveAtEnd.TotalMilliseconds;
        while (_runner.IsSaving && Now() < deadline)
        {
            _runner.Step(Now());
        }

        _runner.BeginCheckpoint(Now());
        while (_runner.IsSaving && Now() < deadline)
        {
            _runner.Step(Now());
            _runner.Signal.Wait(PollMs);
        }
    }

    private long Now() => _time.GetUtcNow().ToUnixTimeMilliseconds();

    [LoggerMessage(Level = LogLevel.Error, Message = "Stage {Stage} stopped: {Reason} The state is safe; restart the process when the cause is gone.")]
    private partial void LogStopped(string stage, string reason);
}
