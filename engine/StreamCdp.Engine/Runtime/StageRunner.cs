using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.State;

namespace StreamCdp.Engine.Runtime;

/// <summary>Moves one stage: reads its logs, applies records, saves. A thread calls <see cref="Step"/> over and over; the simulation does so in its own order.</summary>
internal abstract class StageRunner(string name, WorkSignal signal) : IDisposable
{
    private readonly ConcurrentQueue<Action> _questions = new();
    private long _checkpointBeganMs;
    private long _nextCheckpointMs;

    /// <summary>Name for health, metrics and threads, for example <c>profile 0</c>.</summary>
    public string Name => name;

    /// <summary>Set when there may be work.</summary>
    public WorkSignal Signal => signal;

    /// <summary>Why the last checkpoint failed; null when it did not.</summary>
    public string? CheckpointProblem { get; protected set; }

    /// <summary>When the last checkpoint was completed, Unix ms; 0 before the first.</summary>
    public long CheckpointAtMs { get; protected set; }

    /// <summary>How long the last checkpoint took, ms.</summary>
    public long CheckpointTookMs => CheckpointAtMs - _checkpointBeganMs;

    /// <summary>Does some work.</summary>
    /// <param name="nowMs">Wall time.</param>
    /// <returns>False where there was nothing to do.</returns>
    public abstract bool Step(long nowMs);

    /// <summary>Starts a checkpoint, where none runs.</summary>
    public void BeginCheckpoint(long nowMs)
    {
        if (IsSaving)
        {
            return;
        }

        try
        {
            _checkpointBeganMs = nowMs;
            Begin();
        }
        catch (CheckpointFailedException error)
        {
            CheckpointProblem = error.Message;
        }
    }

    /// <summary>A checkpoint is under way.</summary>
    public abstract bool IsSaving { get; }

    /// <summary>There is work that waits for another stage, of which no signal tells.</summary>
    public virtual bool IsHeldUp => false;

    /// <summary>Starts a checkpoint of the state as it is now.</summary>
    /// <exception cref="CheckpointFailedException">It cannot be started.</exception>
    protected abstract void Begin();

    /// <summary>Goes on with a checkpoint.</summary>
    /// <returns>True when it was just completed.</returns>
    /// <exception cref="CheckpointFailedException">It failed.</exception>
    protected abstract bool Poll();

    /// <summary>Starts a checkpoint when one is due, and goes on with the one that runs.</summary>
    protected void Save(long nowMs, long intervalMs)
    {
        _nextCheckpointMs = _nextCheckpointMs == 0 ? nowMs + intervalMs : _nextCheckpointMs;
        if (nowMs >= _nextCheckpointMs)
        {
            _nextCheckpointMs = nowMs + intervalMs;
            BeginCheckpoint(nowMs);
        }

        try
        {
            if (IsSaving && Poll())
            {
                CheckpointAtMs = nowMs;
                CheckpointProblem = null;
            }
        }
        catch (CheckpointFailedException error)
        {
            CheckpointProblem = error.Message;
        }
    }

    /// <summary>Runs a question on the stage's thread, between records. Whatever it throws goes to who asked: a question must never stop a stage.</summary>
    [SuppressMessage("Design", "CA1031:Do not catch general exception types", Justification = "The border between a stage and who asks it: an error of the reading ends the request, not the stage's thread and with it the process.")]
    public Task<TResult> AskAsync<TResult>(Func<TResult> question)
    {
        var answer = new TaskCompletionSource<TResult>(TaskCreationOptions.RunContinuationsAsynchronously);
        _questions.Enqueue(() =>
        {
            try
            {
                answer.SetResult(question());
            }
            catch (Exception error)
            {
                answer.SetException(error);
            }
        });
        signal.Set();
        return answer.Task;
    }

    /// <inheritdoc/>
    public virtual void Dispose()
    {
        signal.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Answers what was asked.</summary>
    protected bool Answer()
    {
        bool any = false;
        while (_questions.TryDequeue(out Action? question))
        {
            question();
            any = true;
        }

        return any;
    }
}
