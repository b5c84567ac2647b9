using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Pipeline.Collect;

namespace StreamCdp.Cli;

/// <summary>The collector's writers: where one gave up (Kafka away for longer than its time limit), new ones take its place as soon as the log takes records again.</summary>
internal sealed class CollectorWriters : IAsyncDisposable
{
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(1);

    private readonly ILog _eventLog;
    private readonly ILog _deadLetterLog;
    private readonly CancellationTokenSource _stop = new();
    private readonly List<ILogWriter> _old = [];
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _renewal = Task.CompletedTask;

    /// <param name="events">The log <c>events</c>.</param>
    /// <param name="deadLetters">The log <c>dead-letters</c>.</param>
    public CollectorWriters(ILog events, ILog deadLetters)
    {
        (_eventLog, _deadLetterLog) = (events, deadLetters);
        Events = events.OpenWriter();
        DeadLetters = deadLetters.OpenWriter();
    }

    /// <summary>Writer of <c>events</c>.</summary>
    public ILogWriter Events { get; private set; }

    /// <summary>Writer of <c>dead-letters</c>.</summary>
    public ILogWriter DeadLetters { get; private set; }

    /// <summary>Why events cannot be taken now, or null.</summary>
    public LogUnavailableException? Fault => Events.Fault ?? DeadLetters.Fault;

    /// <summary>Fails where new writers do not help: the log itself takes no more records until it is opened anew (its disk is full). The exception says why and what to do.</summary>
    public Task Stopped => _stopped.Task;

    /// <summary>From now on the collector gets new writers when the old ones gave up.</summary>
    public void Renew(Collector collector) => _renewal = RenewAsync(collector);

    /// <summary>Closes the writers.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _renewal.ConfigureAwait(false);
        _old.ForEach(writer => writer.Dispose());
        Events.Dispose();
        DeadLetters.Dispose();
        _stop.Dispose();
    }

    private async Task RenewAsync(Collector collector)
    {
        using var timer = new PeriodicTimer(s_period);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false))
            {
                if (Fault is not null)
                {
                    Events = Renewed(Events, _eventLog);
                    DeadLetters = Renewed(DeadLetters, _deadLetterLog);
                    if (_stopped.Task.IsCompleted)
                    {
                        return;
                    }

                    collector.UseWriters(Events, DeadLetters);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // It ends with the server.
        }
    }

    /// <summary>What replaces a writer that gave up; requests that wait on the old one still hear their answer from it.</summary>
    private ILogWriter Renewed(ILogWriter writer, ILog log)
    {
        if (writer.Fault is null)
        {
            return writer;
        }

        try
        {
            ILogWriter renewed = log.OpenWriter();
            if (renewed.Fault is { } fault)
            {
                // Nobody else need notice: without new events the stages write nothing.
                _stopped.TrySetException(fault);
            }

            _old.Add(writer);
            return renewed;
        }
        catch (LogUnavailableException)
        {
            return writer; // Still away; the next tick tries again.
        }
    }
}
