using System.Globalization;
using System.Text.Json;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Actions;

/// <summary>Does what the model says is to be done for people who enter or leave segments: later where it says so, only with consent, not too often, and once for each entry.</summary>
/// <remarks>
/// Two halves. A <see cref="Delivery"/> puts down in <see cref="ActionSchedule"/> what the changes start. This one does what is due: it asks for the profile as it is now, decides
/// again (RULES: a person who left, or took back the consent, meanwhile is left alone), fills in the templates and calls. Under way is written before, done after the call.
/// </remarks>
internal sealed partial class ActionConnection : IConnection
{
    private const int MostMerges = 10;
    private static readonly TimeSpan s_look = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan s_longestRetryAfter = TimeSpan.FromDays(1);

    private readonly ActionSettings _settings;
    private readonly IActionTarget _target;
    private readonly DeliveryParts _parts;
    private readonly Dictionary<string, ActionDefinition> _actions;
    private readonly ActionSchedule _schedule;
    private readonly Delivery _feed;
    private readonly DeadLetterWriter _letters;
    private readonly RequestBudget _budget;
    private readonly bool _targetKeepsToBudget;
    private readonly Random _random;
    private readonly ILogger _logger;
    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _turn = new(1); // What is due, and a plan that is applied: one at a time.
    private readonly CancellationTokenSource _abandon = new();
    private readonly Channel<bool> _news = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });

    private TaskCompletionSource _resumed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _isReady;
    private bool _isInterrupted;
    private string? _paused;
    private string? _stopped;
    private string? _waiting;
    private string? _lastError;
    private DateTimeOffset? _lastErrorAt;
    private long _requests;
    private long _taken;
    private long _refused;
    private long _retriesMade;
    private int _failures;

    /// <summary>Makes it; nothing is read or done yet.</summary>
    /// <param name="settings">What it does.</param>
    /// <param name="target">Does it; disposed with this.</param>
    /// <param name="budget">Requests to the other side.</param>
    /// <param name="targetKeepsToBudget">The target takes from the budget itself, before each request; else one is taken for each call.</param>
    /// <param name="parts">What it works with.</param>
    /// <exception cref="InvalidDataException">What is on disk cannot be used.</exception>
    public ActionConnection(ActionSettings settings, IActionTarget target, RequestBudget budget, bool targetKeepsToBudget, DeliveryParts parts)
    {
        (_settings, _target, _budget, _targetKeepsToBudget, _parts, _logger) = (settings, target, budget, targetKeepsToBudget, parts, parts.Logger);
        _actions = settings.Actions.ToDictionary(action => action.Id, StringComparer.Ordinal);
        _schedule = new ActionSchedule(parts.StatePath, settings.Id, settings.Actions, settings.AtMost, parts.Time, () => _news.Writer.TryWrite(true));
        var feed = new DestinationSettings
        {
            Id = settings.Id.Replace(':', '~') + "~feed", // No id of the model has this character.
            Kind = settings.Kind,
            Segments = settings.Actions.Select(action => action.Segment).ToHashSet(StringComparer.Ordinal),
            BatchAge = TimeSpan.FromMilliseconds(5),
            RequestsPerSecond = 1_000_000,
            BeginsAtEnd = true,
        };
        _feed = new Delivery(feed, _schedule, parts with { Metrics = new ConnectorMetrics(Prometheus.Metrics.NewCustomRegistry()) }); // What it puts down is no request to anybody.
        _letters = new DeadLetterWriter(parts, settings.Id);
        _random = new Random(parts.Seed ^ settings.Id.Length);
        _paused = _schedule.Paused;
        parts.Metrics.Begin(settings.Id);
        foreach (ActionDefinition action in settings.Actions)
        {
            parts.Metrics.Actions(settings.Id, action.Id, "done");
            parts.Metrics.Actions(settings.Id, action.Id, "refused");
        }
    }

    /// <inheritdoc/>
    public string Id => _settings.Id;

    /// <inheritdoc/>
    public DeliveryStatus Status()
    {
        DeliveryStatus feed = _feed.Status();
        lock (_lock)
        {
            string? stopped = _stopped ?? (feed.State == DeliveryState.Stopped ? feed.Reason : null);
            DeliveryState state = stopped is not null ? DeliveryState.Stopped : _paused is not null ? DeliveryState.Paused : _waiting is not null ? DeliveryState.Waiting : DeliveryState.Running;
            return feed with
            {
                Id = _settings.Id,
                Kind = _settings.Kind,
                Target = _settings.Target,
                State = state,
                Reason = stopped ?? _paused ?? _waiting ?? "",
                LagSeconds = LagSeconds(),
                BudgetLeft = Math.Floor(_budget.Left),
                Requests = Interlocked.Read(ref _requests),
                Taken = Interlocked.Read(ref _taken),
                DeadLetters = Interlocked.Read(ref _refused),
                Retries = Interlocked.Read(ref _retriesMade),
                LastError = _lastError ?? feed.LastError,
                LastErrorAt = _lastErrorAt ?? feed.LastErrorAt,
            };
        }
    }

    /// <inheritdoc/>
    public void Measure(ConnectorMetrics metrics) => metrics.LagOut(Id).Set(LagSeconds());

    /// <inheritdoc/>
    public void Pause(string reason)
    {
        lock (_lock)
        {
            _schedule.Paused = _paused ??= reason;
        }
    }

    /// <inheritdoc/>
    public void Resume()
    {
        lock (_lock)
        {
            _schedule.Paused = _paused = null;
        }

        Interlocked.Exchange(ref _resumed, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult(); // Also one that waits for the other side tries at once.
        _news.Writer.TryWrite(true);
    }

    /// <inheritdoc/>
    public bool TryReplay(ProfileChange change, int partition, long offset)
    {
        if (change.Action is null || change.Segment is null || !_actions.ContainsKey(change.Action))
        {
            return false;
        }

        _schedule.Again(change, offset);
        return true;
    }

    /// <inheritdoc/>
    public async Task RunAsync(LogWake wake, CancellationToken stop)
    {
        using CancellationTokenRegistration abandon = stop.Register(() => _abandon.CancelAfter(_settings.StopWait));
        Task feeding = _feed.RunAsync(wake, stop);
        while (!stop.IsCancellationRequested && _stopped is null)
        {
            try
            {
                await GoOnAsync(stop).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                break;
            }
            catch (InvalidDataException exception)
            {
                Failed(exception.Message);
                _stopped = exception.Message;
                LogStopped(Id, exception.Message);
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                await WaitAfterAsync(exception, stop).ConfigureAwait(false);
            }
        }

        await feeding.ConfigureAwait(false);
    }

    /// <summary>Does what is due now, and returns.</summary>
    internal async Task DrainAsync(CancellationToken cancellationToken)
    {
        await _feed.DrainAsync(cancellationToken).ConfigureAwait(false);
        await AfterCrashAsync(cancellationToken).ConfigureAwait(false);
        while (_paused is null && await StepAsync(cancellationToken).ConfigureAwait(false))
        {
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _feed.DisposeAsync().ConfigureAwait(false); // And with it the schedule.
        _letters.Dispose();
        _turn.Dispose();
        _abandon.Dispose();
        await _target.DisposeAsync().ConfigureAwait(false);
    }

    private async Task GoOnAsync(CancellationToken stop)
    {
        if (!_isReady)
        {
            await _parts.Applied(stop).ConfigureAwait(false);
            _isReady = true;
        }

        await _turn.WaitAsync(stop).ConfigureAwait(false);
        try
        {
            await AfterCrashAsync(stop).ConfigureAwait(false); // Nothing is under way: a plan that is applied is one turn.
        }
        finally
        {
            _turn.Release();
        }

        while (true)
        {
            stop.ThrowIfCancellationRequested();
            _ = _news.Reader.TryRead(out _); // Before looking: so nothing is missed.
            if (_paused is not null || !await TurnAsync(stop).ConfigureAwait(false))
            {
                TimeSpan wait = _paused is null && _schedule.NextAt() is { } next ? next - _parts.Time.GetUtcNow() : s_look;
                await WaitForNewsAsync(TimeSpan.FromMilliseconds(Math.Clamp(wait.TotalMilliseconds, 1, s_look.TotalMilliseconds)), stop).ConfigureAwait(false);
            }

            GoesOn();
        }
    }

    private async Task<bool> TurnAsync(CancellationToken stop)
    {
        await _turn.WaitAsync(stop).ConfigureAwait(false);
        try
        {
            return await StepAsync(stop).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    private async Task WaitForNewsAsync(TimeSpan atMost, CancellationToken stop)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await Task.WhenAny(_news.Reader.WaitToReadAsync(enough.Token).AsTask(), Task.Delay(atMost, _parts.Time, enough.Token)).ConfigureAwait(false);
        await enough.CancelAsync().ConfigureAwait(false);
    }

    /// <summary>Calls that were under way when the process ended: again where that is harmless, else nobody knows, and a person decides.</summary>
    private async Task AfterCrashAsync(CancellationToken cancellationToken)
    {
        foreach (ScheduledAction action in _schedule.TakeInterrupted())
        {
            if (_target.KnowsRepeats)
            {
                _schedule.PutOff(action, _parts.Time.GetUtcNow(), isTry: false);
            }
            else
            {
                await RefuseAsync(action, "It was interrupted while this was sent, so it is not known whether it was. Replaying it sends it, perhaps for the second time.").ConfigureAwait(false);
                _schedule.End(action, target: "", isKnown: false); // It counts as sent, for the caps.
            }
        }

        cancellationToken.ThrowIfCancellationRequested();
    }

    /// <summary>A plan that was being applied ended by a fault: what was under way then is settled, by whoever has the turn next.</summary>
    private async Task SettleInterruptedAsync(CancellationToken cancellationToken)
    {
        if (_isInterrupted)
        {
            await AfterCrashAsync(cancellationToken).ConfigureAwait(false);
            _isInterrupted = false;
        }
    }

    /// <summary>Does a batch of what is due; false: nothing is. One at a time where a call must not come twice: so that a crash leaves one of which nobody knows, and not many.</summary>
    private async Task<bool> StepAsync(CancellationToken cancellationToken)
    {
        await SettleInterruptedAsync(cancellationToken).ConfigureAwait(false);
        IReadOnlyList<ScheduledAction> due = _schedule.Due(_target.KnowsRepeats ? _settings.BatchLimit : 1);
        if (due.Count == 0)
        {
            return false;
        }

        var calls = new List<(ScheduledAction Scheduled, ActionCall Call)>();
        foreach (ScheduledAction action in due)
        {
            if (await DecideAsync(action, calls.Select(call => call.Call), cancellationToken).ConfigureAwait(false) is { } call)
            {
                calls.Add((action, call));
            }
        }

        if (calls.Count > 0)
        {
            await WaitForBudgetAsync(calls.Count, cancellationToken).ConfigureAwait(false);
            await CallAsync(calls).ConfigureAwait(false);
        }

        return true;
    }

    private async ValueTask WaitForBudgetAsync(int calls, CancellationToken cancellationToken)
    {
        TimeSpan wait = TimeSpan.Zero;
        for (int i = 0; i < calls && !_targetKeepsToBudget; i++)
        {
            wait = _budget.Take();
        }

        if (wait > TimeSpan.Zero)
        {
            _parts.Metrics.RateLimited(Id).Inc();
            await Task.Delay(wait, _parts.Time, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <returns>Why a person is needed before anything more is done; null: none is.</returns>
    private async Task<string?> CallAsync(List<(ScheduledAction Scheduled, ActionCall Call)> calls)
    {
        IReadOnlyList<Outcome> outcomes;
        _schedule.Begin(calls.Select(call => call.Scheduled));
        Interlocked.Add(ref _requests, calls.Count);
        try
        {
            outcomes = await _target.DoAsync([.. calls.Select(call => call.Call)], _abandon.Token).ConfigureAwait(false); // Not the token that stops: what is under way may end.
            if (outcomes.Count != calls.Count)
            {
                throw new InvalidOperationException($"The connector answered {outcomes.Count} outcomes for {calls.Count} calls; needed is one for each.");
            }
        }
        catch (DestinationMustPauseException exception)
        {
            calls.ForEach(call => _schedule.PutOff(call.Scheduled, _parts.Time.GetUtcNow(), isTry: false)); // None was done, by the contract.
            Failed(exception.Message);
            Pause(exception.Message);
            LogPaused(Id, exception.Message);
            _parts.Metrics.Requests(Id, "refused").Inc();
            return exception.Message;
        }
        catch (DestinationUnavailableException exception)
        {
            calls.ForEach(call => _schedule.PutOff(call.Scheduled, _parts.Time.GetUtcNow(), isTry: false));
            _parts.Metrics.Requests(Id, "unavailable").Inc();
            if (exception.IsRateLimit)
            {
                _parts.Metrics.RateLimited(Id).Inc();
            }

            throw;
        }

        // Any other exception leaves them under way: nobody knows what was done, as after a crash.
        _parts.Metrics.Requests(Id, outcomes.All(outcome => outcome.Kind == OutcomeKind.Taken) ? "taken" : "partial").Inc();
        foreach (((ScheduledAction scheduled, ActionCall call), Outcome outcome) in calls.Zip(outcomes).OrderBy(pair => pair.Second.Kind == OutcomeKind.Taken ? 0 : 1)) // A dead letter that cannot be written now must not make another one unknown.
        {
            await SettleAsync(scheduled, call.Targets[0], outcome).ConfigureAwait(false);
        }

        return null;
    }

    private async Task SettleAsync(ScheduledAction action, string target, Outcome outcome)
    {
        DateTimeOffset now = _parts.Time.GetUtcNow();
        switch (outcome.Kind)
        {
            case OutcomeKind.Taken:
                _schedule.End(action, target);
                Count(action, "done");
                Interlocked.Increment(ref _taken);
                break;
            case OutcomeKind.TryAgain when action.TriedMs is not { } tried || now.ToUnixTimeMilliseconds() - tried < _settings.GiveUpAfter.TotalMilliseconds:
                Interlocked.Increment(ref _retriesMade);
                _schedule.PutOff(action, now + Limited(outcome.RetryAfter ?? Backoff(action.Tries)), isTry: true);
                break;
            default:
                if (outcome.IsOfTarget)
                {
                    _schedule.Bury(target);
                }

                await RefuseAsync(action, outcome.Kind == OutcomeKind.TryAgain ? $"For {_settings.GiveUpAfter.TotalHours:0} h it could not be done: {outcome.Reason}" : outcome.Reason).ConfigureAwait(false);
                _schedule.End(action, outcome.MayBeDone ? target : null, isKnown: false);
                break;
        }
    }

    /// <summary>What is to be done for a person as the person is now; null: nothing now, and that is settled.</summary>
    private async ValueTask<ActionCall?> DecideAsync(ScheduledAction action, IEnumerable<ActionCall> others, CancellationToken cancellationToken)
    {
        ActionDecision decision = await LookAsync(action, null, cancellationToken).ConfigureAwait(false);
        switch (decision)
        {
            case { Not: { } why }:
                _schedule.End(action, target: null);
                Count(action, why);
                return null;
            case { Refused: { } reason }:
                await RefuseAsync(action, reason).ConfigureAwait(false);
                _schedule.End(action, target: null);
                return null;
            case var _ when others.Any(other => other.ProfileId == decision.ProfileId):
                _schedule.PutOff(action, _parts.Time.GetUtcNow(), isTry: false, isMerge: true); // Two who became one: first the other.
                return null;
            case { Later: { } reason }:
                await SettleAsync(action, "", Outcome.TryAgain(reason)).ConfigureAwait(false);
                return null;
            default:
                return decision.Call;
        }
    }

    /// <summary>Decides: the one place where that is done, for the doing and for a plan.</summary>
    /// <param name="action">What waits.</param>
    /// <param name="planned">What a plan has done already; null: this is no plan, and merges that are seen are noted.</param>
    /// <param name="cancellationToken">Gives up.</param>
    private async ValueTask<ActionDecision> LookAsync(ScheduledAction action, PlannedActions? planned, CancellationToken cancellationToken)
    {
        string profileId = action.Change.ProfileId;
        if (!_actions.TryGetValue(action.Action, out ActionDefinition? definition))
        {
            return Not("unknown"); // The model has it no more.
        }

        ProfileView? view = await _parts.FindProfile(profileId, cancellationToken).ConfigureAwait(false);
        for (int i = 0; i < MostMerges && view?.MergedInto is { } into; i++)
        {
            if (planned is null)
            {
                _schedule.Join(profileId, into);
            }

            profileId = into;
            view = await _parts.FindProfile(profileId, cancellationToken).ConfigureAwait(false);
        }

        if (view is null or { MergedInto: not null })
        {
            return Not("unknown");
        }

        if ((definition.AfterMs > 0 || action.IsReplay) && view.Segments.Contains(definition.Segment) != definition.OnEntered)
        {
            return Not("not_member");
        }

        if (_settings.Consent is { } consent && view.Value(consent.Path).ValueKind != JsonValueKind.True)
        {
            return Not("no_consent");
        }

        string[] targets = [.. view.Identifiers.Where(identifier => identifier.Type == _target.TargetType).Select(identifier => identifier.Value).Reverse()];
        if (!action.IsReplay)
        {
            bool isMerged = action.IsMerge || profileId != action.Change.ProfileId;
            if (isMerged && definition.OnEntered && _schedule.WasDoneForMembership(definition.Id, profileId, targets))
            {
                return Not("repeat");
            }

            if (IsCapped(definition.AtMost, definition.Id) || IsCapped(_settings.AtMost, null))
            {
                return Not("capped");
            }
        }

        if (targets.Length == 0)
        {
            return _target.TargetMayCome
                ? new ActionDecision(profileId, Later: $"The person has no {_target.TargetType}, so nobody is there to do it for. Check contacts.create.")
                : Not("no_target");
        }

        string[] living = action.IsReplay ? targets : [.. targets.Where(target => !_schedule.IsDead(target))];
        if (living.Length == 0)
        {
            return Not("dead_target");
        }

        Uri? unsubscribe = _settings.UnsubscribeUrl?.Invoke(profileId);
        try
        {
            Dictionary<string, object?> values = Values(view, profileId, definition, unsubscribe);
            return new ActionDecision(profileId, new ActionCall
            {
                Key = action.Key,
                Action = definition,
                ProfileId = profileId,
                Targets = living,
                Fields = definition.Fields.ToDictionary(field => field.Key, field => field.Value.Render(values, isHtml: field.Key == "html"), StringComparer.Ordinal),
                At = action.Change.At,
                UnsubscribeUrl = unsubscribe,
            });
        }
        catch (FormatException exception)
        {
            return new ActionDecision(profileId, Refused: exception.Message);
        }

        ActionDecision Not(string why) => new(profileId, Not: why);

        bool IsCapped(ActionLimit? limit, string? actionId) => limit is not null && _schedule.CountDone(actionId, profileId, targets, limit.WithinMs) + (planned?.Count(actionId, profileId, targets) ?? 0) >= limit.Times;
    }

    private static Dictionary<string, object?> Values(ProfileView view, string profileId, ActionDefinition definition, Uri? unsubscribe) => new()
    {
        ["traits"] = view.Traits,
        ["computed"] = view.Computed,
        ["identifiers"] = view.Identifiers.GroupBy(identifier => identifier.Type).ToDictionary(same => same.Key, same => (object?)same.Select(identifier => identifier.Value).ToArray()),
        ["segments"] = view.Segments,
        ["segment"] = definition.Segment,
        ["profile_id"] = profileId,
        ["unsubscribe_url"] = unsubscribe?.AbsoluteUri,
    };

    private async Task RefuseAsync(ScheduledAction action, string reason)
    {
        long now = _parts.Time.GetUtcNow().ToUnixTimeMilliseconds();
        _letters.Append(action.Change, "memberships"u8, 0, offset: now, now, reason); // Its place in the log is not known any more; this says when the letter was written, so that a replay knows what came since.
        await _letters.DurableAsync(1).ConfigureAwait(false);
        Interlocked.Increment(ref _refused);
        Count(action, "refused");
        Failed($"An action was refused and is a dead letter: see streamcdp dead-letters list --reason {Delivery.RefusedReason}.");
    }

    private void Count(ScheduledAction action, string outcome) => _parts.Metrics.Actions(Id, _actions.ContainsKey(action.Action) ? action.Action : "", outcome).Inc();

    /// <summary>Since when the oldest one that is due waits.</summary>
    private double LagSeconds() => _schedule.NextAt() is { } next ? Math.Max(0, (_parts.Time.GetUtcNow() - next).TotalSeconds) : 0;

    private static TimeSpan Limited(TimeSpan wish) => wish > s_longestRetryAfter ? s_longestRetryAfter : wish < TimeSpan.Zero ? TimeSpan.Zero : wish;

    private TimeSpan Backoff(int failures) =>
        TimeSpan.FromSeconds(Math.Min(_settings.LongestWait.TotalSeconds, _settings.FirstWait.TotalSeconds * Math.Pow(2, Math.Min(failures, 20))) * (0.5 + (_random.NextDouble() / 2)));

    private async Task WaitAfterAsync(Exception exception, CancellationToken stop)
    {
        bool isKnown = exception is IOException or UnauthorizedAccessException;
        string problem = isKnown ? exception.Message : $"The connector failed ({exception.GetType().Name}), which is a bug; the log has more.";
        if (!isKnown)
        {
            LogConnectorFailed(Id, exception.GetType().Name, exception.StackTrace);
        }

        TimeSpan wait = Limited((exception as DestinationUnavailableException)?.RetryAfter ?? Backoff(_failures++));
        Interlocked.Increment(ref _retriesMade);
        Failed(problem);
        bool isNew;
        lock (_lock)
        {
            isNew = _waiting is null;
            _waiting = string.Create(CultureInfo.InvariantCulture, $"{problem} Next try in {wait.TotalSeconds:0.#} s.");
        }

        if (isNew)
        {
            LogWaits(Id, problem);
        }

        using var enough = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await Task.WhenAny(Task.Delay(wait, _parts.Time, enough.Token), Volatile.Read(ref _resumed).Task).ConfigureAwait(false);
        await enough.CancelAsync().ConfigureAwait(false);
    }

    private void GoesOn()
    {
        bool waited;
        lock (_lock)
        {
            waited = _waiting is not null;
            _waiting = null;
            _failures = 0;
        }

        if (waited)
        {
            LogGoesOn(Id);
        }
    }

    private void Failed(string reason)
    {
        lock (_lock)
        {
            (_lastError, _lastErrorAt) = (reason, _parts.Time.GetUtcNow());
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "Actions of {Id} are paused: {Reason} Resume them with streamcdp connectors --resume {Id} when that is mended.")]
    private partial void LogPaused(string id, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Actions of {Id} stopped: {Reason}")]
    private partial void LogStopped(string id, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Actions of {Id} wait: {Reason}")]
    private partial void LogWaits(string id, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Actions of {Id} go on.")]
    private partial void LogGoesOn(string id);

    [LoggerMessage(Level = LogLevel.Error, Message = "The connector of the actions of {Id} failed with {Type}: {Stack}")]
    private partial void LogConnectorFailed(string id, string type, string? stack);
}
