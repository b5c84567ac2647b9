using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Polly;
using Polly.Retry;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Connectors;

/// <summary>Brings one destination what concerns it, from the logs: at least once, each profile's changes in order.</summary>
/// <remarks>
/// One batch is under way at a time. A batch ends when the outcome of each of its changes is known, and its dead letters are durable; only then the cursor moves, durably,
/// too. So a crash repeats the last batch and loses nothing. A destination that is away holds up its own changes alone; the logs keep them meanwhile.
/// Memory: one batch (four where the connector answers each change apart) and <see cref="RecentVersions"/>.
/// </remarks>
internal sealed partial class Delivery : IConnection
{
    /// <summary>Reason code of the dead letters.</summary>
    public const string RefusedReason = "destination_refused";

    private const int MaxReplays = 10_000;
    private const int LastDoubling = 30; // Beyond, Polly's own formula overflows to no wait at all; the longest wait is reached long before.
    private static readonly TimeSpan s_saveEvery = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_logWait = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_longestRetryAfter = TimeSpan.FromDays(1);
    private static readonly TimeSpan s_decisionAge = TimeSpan.FromSeconds(30);

    private readonly DestinationSettings _settings;
    private readonly IDestination _destination;
    private readonly DeliveryParts _parts;
    private readonly DestinationCursorFile _file;
    private readonly RequestBudget _budget;
    private readonly ResiliencePipeline<Round> _retries;
    private readonly ILogger _logger;
    private readonly DeadLetterWriter _letters;
    private readonly ConsentGate? _consent;
    private readonly List<LoggedChange> _pending = [];
    private readonly int _room;
    private readonly Channel<LoggedChange> _replays = Channel.CreateBounded<LoggedChange>(MaxReplays);
    private readonly CancellationTokenSource _abandon = new();
    private readonly Lock _lock = new();

    private CancellationTokenSource _interrupt = new();
    private ChangeReader? _reader;
    private DestinationCursor? _cursor;
    private bool _isReady;
    private long _pendingSince;
    private long _decidedAt;
    private long _savedAt;
    private long _oldestMs;
    private string? _paused;
    private LogPositions? _until;
    private bool _isResumed;
    private long _sent;
    private string? _stopped;
    private string? _waiting;
    private string? _lastError;
    private DateTimeOffset? _lastErrorAt;
    private long _requests;
    private long _taken;
    private long _refused;
    private long _retriesMade;

    /// <summary>Makes it; nothing is read or sent yet.</summary>
    /// <param name="settings">What it gets.</param>
    /// <param name="destination">Gets it; disposed with this.</param>
    /// <param name="parts">What it works with.</param>
    public Delivery(DestinationSettings settings, IDestination destination, DeliveryParts parts)
    {
        _settings = settings;
        _destination = destination;
        _parts = parts;
        _logger = parts.Logger;
        _file = new DestinationCursorFile(parts.StatePath, settings.Id);
        _budget = new RequestBudget(settings.RequestsPerSecond, parts.Time);
        _room = destination.AnswersPerChange ? settings.BatchLimit * 4 : settings.BatchLimit;
        _letters = new DeadLetterWriter(parts, settings.Id);
        _consent = settings.Consent is null ? null : new ConsentGate(parts.StatePath, settings, hasSent: _file.Exists);
        if (_consent is null)
        {
            ConsentGate.SentWithout(parts.StatePath, settings.Id);
        }

        parts.Metrics.Begin(settings.Id);
        var random = new Random(parts.Seed ^ (int)Fnv(settings.Id)); // Two destinations that fail together do not come back together.
        _retries = new ResiliencePipelineBuilder<Round> { TimeProvider = parts.Time }
            .AddRetry(new RetryStrategyOptions<Round>
            {
                MaxRetryAttempts = int.MaxValue,
                BackoffType = DelayBackoffType.Exponential,
                UseJitter = true,
                Delay = settings.FirstWait,
                MaxDelay = settings.LongestWait,
                Randomizer = random.NextDouble,
                ShouldHandle = args => ValueTask.FromResult(IsTriedAgain(args.Outcome, args.Context.CancellationToken)),
                DelayGenerator = args => ValueTask.FromResult(Wish(args.Outcome) ?? (args.AttemptNumber > LastDoubling ? settings.LongestWait * (0.5 + (random.NextDouble() / 2)) : null)),
                OnRetry = args =>
                {
                    OnRetry(args.Outcome, args.RetryDelay);
                    return ValueTask.CompletedTask;
                },
            })
            .Build();
    }

    /// <summary>Id of the destination.</summary>
    public string Id => _settings.Id;

    /// <summary>What it does now.</summary>
    public DeliveryStatus Status()
    {
        lock (_lock)
        {
            DeliveryState state = _stopped is not null ? DeliveryState.Stopped : IsHeld ? DeliveryState.Paused : _waiting is not null ? DeliveryState.Waiting : DeliveryState.Running;
            return new DeliveryStatus(
                _settings.Id,
                _settings.Kind,
                IsCrm: false,
                _settings.Target,
                state,
                _stopped ?? (IsHeld ? _paused : null) ?? _waiting ?? (_until is not null ? "It sends what a plan says, and is paused again then." : ""),
                LagRecords(),
                LagSeconds(),
                LagInSeconds: null,
                Math.Floor(_budget.Left),
                _requests,
                _taken,
                _refused,
                _retriesMade,
                _lastError,
                _lastErrorAt);
        }
    }

    /// <summary>How long the oldest change that is not dealt with has been in the log; 0: there is none.</summary>
    public double LagSeconds()
    {
        long oldest = Volatile.Read(ref _oldestMs);
        return oldest == 0 ? 0 : Math.Max(0, (_parts.Time.GetUtcNow().ToUnixTimeMilliseconds() - oldest) / 1000.0);
    }

    /// <inheritdoc/>
    public void Measure(ConnectorMetrics metrics) => metrics.LagOut(Id).Set(LagSeconds());

    /// <summary>Holds it: what is under way is finished, then nothing is sent until <see cref="Resume"/>, also after a restart.</summary>
    public void Pause(string reason)
    {
        lock (_lock)
        {
            _paused = _until is null ? _paused ?? reason : reason;
            _until = null;
            _ = _interrupt.CancelAsync(); // Ends a wait; a request under way goes on to its end. Not on this thread: it holds the lock.
        }
    }

    /// <summary>Goes on.</summary>
    public void Resume()
    {
        lock (_lock)
        {
            (_paused, _until, _isResumed) = (null, null, true);
            _ = _interrupt.CancelAsync(); // Also one that waits for the other side tries at once.
        }
    }

    /// <summary>Takes a refused change to send again, if it is still true then.</summary>
    /// <returns>False: there is no room now.</returns>
    public bool TryReplay(ProfileChange change, int partition, long offset) =>
        _replays.Writer.TryWrite(new LoggedChange(change, Tail: -1, partition, offset, _parts.Time.GetUtcNow().ToUnixTimeMilliseconds()));

    /// <summary>Runs until the token is cancelled; then a request under way may end, and the cursor is saved.</summary>
    /// <param name="wake">Says when there may be news.</param>
    /// <param name="stop">Stops.</param>
    public async Task RunAsync(LogWake wake, CancellationToken stop)
    {
        using CancellationTokenRegistration abandon = stop.Register(() => _abandon.CancelAfter(_settings.StopWait));
        while (!stop.IsCancellationRequested && _stopped is null)
        {
            try
            {
                await GoOnAsync(wake, stop).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                break; // The batch under way comes again after the restart.
            }
            catch (OperationCanceledException) when (_interrupt.IsCancellationRequested)
            {
                Renew();
            }
            catch (Exception exception) when (exception is LogBehindException or LogTruncatedException or LogCorruptException or LogUnfitException or InvalidDataException)
            {
                Stop(exception.Message);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                Wait(exception.Message);
                await WaitForLogAsync(stop).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                // The kit's border: a bug ends this destination and is told, the others go on.
                LogFailed(_settings.Id, exception.GetType().Name, exception.StackTrace);
                Stop($"A bug of StreamCdp ({exception.GetType().Name}): see the log, and report it. A restart tries again.");
            }
        }

        Close();
    }

    /// <summary>Sends what the logs have now, to their end, and returns; it does not wait for news.</summary>
    internal async Task DrainAsync(CancellationToken cancellationToken)
    {
        Open(null);
        while (Fill() && !IsHeld)
        {
            await SendBatchAsync(cancellationToken).ConfigureAwait(false);
        }

        EndPlan(null);
        Save();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _reader?.Dispose();
        _letters.Dispose();
        _consent?.Dispose();
        _interrupt.Dispose();
        _abandon.Dispose();
        await _destination.DisposeAsync().ConfigureAwait(false);
    }

    private async Task GoOnAsync(LogWake wake, CancellationToken stop)
    {
        CancellationToken interrupt = _interrupt.Token;
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(stop, interrupt);
        Open(wake.Signal);
        if (!_isReady)
        {
            await _parts.Applied(linked.Token).ConfigureAwait(false);
            _isReady = true;
        }

        while (true)
        {
            linked.Token.ThrowIfCancellationRequested();
            Task news = wake.Next; // Before reading: so nothing is missed.
            bool hasSome = Fill();
            EndPlan(wake.Signal);
            LogPositions? until = _until; // Once: a plan may begin at any moment, and the interruption comes a little later.
            if (_reader!.Until != until)
            {
                Open(wake.Signal); // What was read stands beyond its end, perhaps.
                continue;
            }

            if ((_paused is not null && until is null) || !hasSome)
            {
                SaveNowAndThen();
                await news.WaitAsync(linked.Token).ConfigureAwait(false);
                continue;
            }

            TimeSpan left = _settings.BatchAge - _parts.Time.GetElapsedTime(_pendingSince);
            if (_pending.Count < _settings.BatchLimit && left > TimeSpan.Zero)
            {
                using var enough = CancellationTokenSource.CreateLinkedTokenSource(linked.Token);
                await Task.WhenAny(news, Task.Delay(left, _parts.Time, enough.Token)).ConfigureAwait(false);
                await enough.CancelAsync().ConfigureAwait(false);
                continue;
            }

            await SendBatchAsync(linked.Token).ConfigureAwait(false);
        }
    }

    private void Open(WorkSignal? signal)
    {
        if (_cursor is null)
        {
            _cursor = _file.Load();
            if (ReferenceEquals(_cursor, DestinationCursor.Start) && _settings.BeginsAtEnd)
            {
                _cursor = DestinationCursor.End(_parts.Memberships, _parts.Profiles);
                _file.Save(_cursor); // Now: else a crash before the first change would begin later, and miss what came between.
            }
            else if (ReferenceEquals(_cursor, DestinationCursor.Start) && _settings.StartsPaused)
            {
                _cursor = _cursor with { Paused = $"It begins held (start: paused). See what it would send: streamcdp connectors plan {_settings.Id}; then resume it." };
                _file.Save(_cursor);
            }

            _sent = _cursor.Sent;
            lock (_lock)
            {
                if (!_isResumed) // Not where somebody resumed it before it had begun.
                {
                    _paused ??= _cursor.Paused;
                    _until ??= _cursor.Until;
                }
            }
        }

        if (_reader is not null && _reader.Until != _until)
        {
            Save();
            _reader.Dispose(); // What was read ahead is read again, up to the end of the plan, or beyond it.
            _reader = null;
        }

        if (_reader is null)
        {
            _pending.ForEach(change => _ = change.IsReplay && _replays.Writer.TryWrite(change)); // What the logs have is read again; what somebody sent again is no part of a plan, and comes after it.
            _pending.Clear();
            _reader = new ChangeReader(_parts.Memberships, _parts.Profiles, _settings, _cursor, signal, _until);
        }
    }

    /// <summary>Reads until there is a batch or the logs end; false where there is nothing to send.</summary>
    private bool Fill()
    {
        bool wasEmpty = _pending.Count == 0;
        while (_pending.Count < _room && ((_until is null && _replays.Reader.TryRead(out LoggedChange? change)) || _reader!.TryRead(out change)))
        {
            _pending.Add(change);
        }

        if (wasEmpty && _pending.Count > 0)
        {
            _pendingSince = _parts.Time.GetTimestamp();
        }

        Volatile.Write(ref _oldestMs, _pending.Count == 0 ? 0 : _pending.Min(change => change.TimestampMs));
        return _pending.Count > 0;
    }

    private async Task SendBatchAsync(CancellationToken cancellationToken)
    {
        List<LoggedChange> chosen = Choose();
        List<Sending> batch = await CompleteAsync(chosen, _consent, cancellationToken).ConfigureAwait(false);
        _decidedAt = _parts.Time.GetTimestamp();
        bool isSent = false;
        try
        {
            _consent?.Begin();
            foreach (Sending[] part in batch.Chunk(_settings.BatchLimit))
            {
                await SendAsync([.. part], cancellationToken).ConfigureAwait(false);
            }

            isSent = true;
        }
        catch (DestinationMustPauseException exception)
        {
            Failed(exception.Message);
            Pause(exception.Message);
            LogPaused(_settings.Id, exception.Message);
            Save();
            return;
        }
        finally
        {
            _consent?.End(isSent);
        }

        var done = chosen.ToHashSet(ReferenceEqualityComparer.Instance);
        _pending.RemoveAll(done.Contains);
        GoesOn();
        if (batch.Count > 0)
        {
            _sent++;
            Save();
        }
        else
        {
            SaveNowAndThen();
        }
    }

    /// <summary>The first changes in order; where the other side answers each apart, one of a profile at most.</summary>
    private List<LoggedChange> Choose()
    {
        if (!_destination.AnswersPerChange)
        {
            return [.. _pending.Take(_settings.BatchLimit)];
        }

        var profiles = new HashSet<string>(StringComparer.Ordinal);
        return [.. _pending.Where(change => profiles.Add(change.Change.ProfileId)).Take(_settings.BatchLimit)]; // One that is left out leaves out all later ones of its profile.
    }

    /// <summary>What is sent of some changes, with what the profiles have now.</summary>
    private async Task<List<Sending>> CompleteAsync(List<LoggedChange> chosen, ConsentGate? consent, CancellationToken cancellationToken)
    {
        ProfileView?[] views = await Task.WhenAll(chosen.Select(change => FindAsync(change, cancellationToken).AsTask())).ConfigureAwait(false);
        return [.. chosen.Zip(views).SelectMany(pair => Decide(pair.First, pair.Second, consent).Select(change => new Sending(pair.First, change)))];
    }

    /// <summary>The profile as it is now, for those changes that need it; of a merge the survivor.</summary>
    private ValueTask<ProfileView?> FindAsync(LoggedChange logged, CancellationToken cancellationToken) =>
        _consent is null && IsComplete(logged) ? default : _parts.FindProfile(logged.Change.Kind == ChangeKind.Merged ? logged.Change.MergedInto! : logged.Change.ProfileId, cancellationToken);

    private IReadOnlyList<ProfileChange> Decide(LoggedChange logged, ProfileView? view, ConsentGate? consent)
    {
        ProfileChange? complete = Complete(logged, view);
        return consent is not null ? consent.Decide(logged, complete, view) : complete is null ? [] : [complete];
    }

    /// <summary>It has all that is sent of it.</summary>
    private static bool IsComplete(LoggedChange logged) => logged.Change.Kind is ChangeKind.Merged or ChangeKind.Suppressed || (logged.Change.Kind == ChangeKind.Profile && !logged.IsReplay);

    /// <summary>Adds what the profile has now; null for a replay that is no longer true.</summary>
    private ProfileChange? Complete(LoggedChange logged, ProfileView? view)
    {
        ProfileChange change = logged.Change;
        if (IsComplete(logged))
        {
            return change;
        }

        bool lives = view is { MergedInto: null };
        if (change.Kind == ChangeKind.Profile)
        {
            return lives ? ChangeReader.Of(view!, _settings) : null;
        }

        if (logged.IsReplay && (!lives || view!.Segments.Contains(change.Segment!) != (change.Kind == ChangeKind.Entered)))
        {
            return null;
        }

        return view is null ? change : change with { MergedInto = view.MergedInto, Identifiers = view.Identifiers, Fields = lives ? view.Fields(_settings.Fields) : null };
    }

    /// <summary>Sends until every outcome is known and every dead letter durable.</summary>
    private async Task SendAsync(List<Sending> batch, CancellationToken cancellationToken)
    {
        var refused = new List<(Sending Sending, string Reason)>();
        var parts = new Stack<List<Sending>>();
        parts.Push(batch);
        while (parts.TryPop(out List<Sending>? part))
        {
            var round = new Round(part, refused);
            try
            {
                await _retries.ExecuteAsync((sending, token) => SendOnceAsync(sending, token), round, cancellationToken).ConfigureAwait(false);
            }
            catch (BatchRefusedException exception)
            {
                List<Sending> left = round.Left;
                if (left.Count == 1)
                {
                    refused.Add((left[0], exception.Message));
                    continue;
                }

                parts.Push(left[(left.Count / 2)..]);
                parts.Push(left[..(left.Count / 2)]); // First: the order stays.
            }
        }

        if (refused.Count > 0)
        {
            await WriteLettersAsync(refused).ConfigureAwait(false);
        }
    }

    private async ValueTask<Round> SendOnceAsync(Round round, CancellationToken cancellationToken)
    {
        if (_consent is not null && _parts.Time.GetElapsedTime(_decidedAt) > s_decisionAge)
        {
            await KeepConsentingAsync(round, cancellationToken).ConfigureAwait(false); // The other side was away for long; somebody may have taken the consent back.
            if (round.Left.Count == 0)
            {
                return round;
            }
        }

        TimeSpan wait = _budget.Take();
        if (wait > TimeSpan.Zero)
        {
            _parts.Metrics.RateLimited(_settings.Id).Inc();
            await Task.Delay(wait, _parts.Time, cancellationToken).ConfigureAwait(false);
        }

        cancellationToken.ThrowIfCancellationRequested();
        Interlocked.Increment(ref _requests);
        IReadOnlyList<Outcome> outcomes;
        string counted = "unavailable";
        try
        {
            outcomes = await _destination.SendAsync([.. round.Left.Select(sending => sending.Change)], _abandon.Token).ConfigureAwait(false);
            if (outcomes.Count != round.Left.Count)
            {
                throw new InvalidOperationException($"The connector answered {outcomes.Count} outcomes for {round.Left.Count} changes; needed is one for each.");
            }

            counted = round.Take(outcomes);
        }
        catch (BatchRefusedException)
        {
            counted = "refused";
            throw;
        }
        catch (DestinationUnavailableException exception) when (exception.IsRateLimit)
        {
            _parts.Metrics.RateLimited(_settings.Id).Inc();
            throw;
        }
        finally
        {
            _parts.Metrics.Requests(_settings.Id, counted).Inc();
        }

        Interlocked.Add(ref _taken, outcomes.Count(outcome => outcome.Kind == OutcomeKind.Taken));
        return round;
    }

    /// <summary>Leaves out what is of people who consent no longer. What was sent of them before is removed when their change comes.</summary>
    private async Task KeepConsentingAsync(Round round, CancellationToken cancellationToken)
    {
        var left = new List<Sending>();
        foreach (Sending sending in round.Left)
        {
            if (sending.Change.Kind is ChangeKind.Merged or ChangeKind.Suppressed || _consent!.IsGiven(await _parts.FindProfile(sending.Change.ProfileId, cancellationToken).ConfigureAwait(false)))
            {
                left.Add(sending);
            }
        }

        round.Keep(left);
        _decidedAt = _parts.Time.GetTimestamp();
    }

    private async Task WriteLettersAsync(List<(Sending Sending, string Reason)> refused)
    {
        int written = 0;
        foreach ((Sending sending, string detail) in refused)
        {
            if (!sending.Logged.IsReplay) // Its letter is there already.
            {
                _letters.Append(sending.Change, sending.Change.Segment is not null ? "memberships"u8 : "profiles"u8, sending.Logged.Partition, sending.Logged.Offset, sending.Logged.TimestampMs, detail);
                written++;
            }
        }

        await _letters.DurableAsync(written).ConfigureAwait(false);
        Interlocked.Add(ref _refused, refused.Count);
        Failed($"{refused.Count} changes were refused and are dead letters: see streamcdp dead-letters list --reason {RefusedReason}.");
        LogRefused(_settings.Id, refused.Count);
    }

    /// <summary>While nothing concerns this destination, the cursor is saved once a second at most: what is read again is only skipped again.</summary>
    private void SaveNowAndThen()
    {
        if (_paused != _cursor!.Paused || _until != _cursor.Until || _parts.Time.GetElapsedTime(_savedAt) >= s_saveEvery)
        {
            Save();
        }
    }

    /// <summary>Saves the cursor where it moved, or the pause changed.</summary>
    private void Save()
    {
        _savedAt = _parts.Time.GetTimestamp();
        DestinationCursor cursor = Now();
        if (_cursor is null || cursor.Paused != _cursor.Paused || cursor.Sent != _cursor.Sent || cursor.Until != _cursor.Until || !cursor.Memberships.SequenceEqual(_cursor.Memberships) || !cursor.Profiles.SequenceEqual(_cursor.Profiles))
        {
            _cursor = cursor;
            _file.Save(cursor);
        }
    }

    private DestinationCursor Now() => _reader!.Cursor(_pending, _paused) with { Sent = _sent, Until = _until };

    private bool IsTriedAgain(Outcome<Round> outcome, CancellationToken cancellationToken) => outcome.Exception switch
    {
        null => outcome.Result!.Left.Count > 0,
        BatchRefusedException or DestinationMustPauseException => false,
        OperationCanceledException => !cancellationToken.IsCancellationRequested && !_abandon.IsCancellationRequested,
        _ => true,
    };

    private static TimeSpan? Wish(Outcome<Round> outcome)
    {
        TimeSpan? wish = outcome.Exception is DestinationUnavailableException unavailable ? unavailable.RetryAfter : outcome.Result?.RetryAfter;
        return wish is null ? null : wish > s_longestRetryAfter ? s_longestRetryAfter : wish < TimeSpan.Zero ? TimeSpan.Zero : wish;
    }

    private void OnRetry(Outcome<Round> outcome, TimeSpan delay)
    {
        string problem;
        switch (outcome.Exception)
        {
            case null:
                problem = $"{outcome.Result!.Left.Count} changes are to be tried again ({outcome.Result.Reason}).";
                break;
            case DestinationUnavailableException unavailable:
                problem = unavailable.Message;
                break;
            default:
                LogConnectorFailed(_settings.Id, outcome.Exception.GetType().Name, outcome.Exception.StackTrace);
                problem = $"The connector failed ({outcome.Exception.GetType().Name}), which is a bug of the connector; the log has more.";
                break;
        }

        Interlocked.Increment(ref _retriesMade);
        Wait($"{problem} Next try in {delay.TotalSeconds:0.#} s.");
    }

    private void Wait(string reason)
    {
        bool isNew;
        lock (_lock)
        {
            isNew = _waiting is null;
            _waiting = reason;
        }

        Failed(reason);
        if (isNew)
        {
            LogWaiting(_settings.Id, reason);
        }
    }

    private void GoesOn()
    {
        bool waited;
        lock (_lock)
        {
            waited = _waiting is not null;
            _waiting = null;
        }

        if (waited)
        {
            LogGoesOn(_settings.Id);
        }
    }

    private void Stop(string reason)
    {
        lock (_lock)
        {
            _stopped = reason;
        }

        Failed(reason);
        LogStopped(_settings.Id, reason);
    }

    private void Failed(string reason)
    {
        lock (_lock)
        {
            _lastError = reason;
            _lastErrorAt = _parts.Time.GetUtcNow();
        }
    }

    /// <summary>After an interruption: the next one must be heard, too.</summary>
    private void Renew()
    {
        lock (_lock)
        {
            _waiting = null; // Tried at once, or paused.
            _interrupt = new CancellationTokenSource(); // The old one may be cancelling still; it holds nothing.
        }
    }

    /// <summary>A log or the disk is away: begins again from the cursor, after a while.</summary>
    private async Task WaitForLogAsync(CancellationToken stop)
    {
        _cursor = _reader is null ? _cursor : Now();
        _reader?.Dispose();
        _reader = null;
        await Task.Delay(s_logWait, _parts.Time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private void Close()
    {
        if (_reader is null || _stopped is not null)
        {
            return;
        }

        try
        {
            Save();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Wait($"How far it is could not be saved, so the restart repeats some changes: {exception.Message}");
        }
    }

    private long LagRecords()
    {
        ChangeReader? reader = _reader;
        try
        {
            return (reader?.UnreadRecords ?? 0) + _pending.Count;
        }
        catch (ObjectDisposedException)
        {
            return _pending.Count; // It begins again just now.
        }
    }

    private static uint Fnv(string text)
    {
        uint hash = 2_166_136_261;
        foreach (char c in text)
        {
            hash = (hash ^ c) * 16_777_619;
        }

        return hash;
    }

    /// <summary>A change on its way.</summary>
    /// <param name="Logged">As read.</param>
    /// <param name="Change">As sent.</param>
    private sealed record Sending(LoggedChange Logged, ProfileChange Change);

    /// <summary>What of a part of a batch has no outcome yet.</summary>
    private sealed class Round(List<Sending> left, List<(Sending Sending, string Reason)> refused)
    {
        public List<Sending> Left { get; private set; } = left;

        public string Reason { get; private set; } = "";

        public TimeSpan? RetryAfter { get; private set; }

        /// <summary>The others are not sent.</summary>
        public void Keep(List<Sending> kept) => Left = kept;

        /// <summary>Sorts by outcome; gives the word that the request counts as.</summary>
        public string Take(IReadOnlyList<Outcome> outcomes)
        {
            var again = new List<Sending>();
            RetryAfter = null;
            for (int i = 0; i < outcomes.Count; i++)
            {
                if (outcomes[i].Kind == OutcomeKind.Refused)
                {
                    refused.Add((Left[i], outcomes[i].Reason));
                }
                else if (outcomes[i].Kind == OutcomeKind.TryAgain)
                {
                    again.Add(Left[i]);
                    Reason = outcomes[i].Reason;
                    RetryAfter = outcomes[i].RetryAfter is { } wish && (RetryAfter is null || wish > RetryAfter) ? wish : RetryAfter;
                }
            }

            Left = again;
            return outcomes.All(outcome => outcome.Kind == OutcomeKind.Taken) ? "taken" : outcomes.All(outcome => outcome.Kind == OutcomeKind.Refused) ? "refused" : again.Count == outcomes.Count ? "unavailable" : "partial";
        }
    }
}
