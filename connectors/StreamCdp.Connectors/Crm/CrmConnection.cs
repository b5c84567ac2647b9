using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Connectors.Crm;

/// <summary>Runs the two-way sync of one CRM account: when to ask, how far it is, when to wait.</summary>
/// <remarks>
/// Three readers ask the CRM for changes. The near one asks often and reaches back a little; the late one asks seldom and reaches back far, for what was committed late (a timestamp
/// cursor alone loses that: facts on CRMs, measured); the whole one reads everything now and then, and what is missing then was deleted. All of them hand the same records to <see cref="CrmSync"/>,
/// which knows what is news. Each saves its page with what it read, so a restart goes on in the middle. One page or one batch at a time, changed profiles first: a long first read holds up nobody.
/// </remarks>
internal sealed partial class CrmConnection : IConnection, IRequestGate
{
    private const string LogsCursor = "logs";
    private const string PausedCursor = "paused";
    private const string AccountCursor = "account";
    private const int MaxReplays = 10_000;
    private const int MaxHints = 10_000; // What finds no room is found by the near reader.
    private const int MaxRead = 100;
    private static readonly TimeSpan s_longestRetryAfter = TimeSpan.FromDays(1);
    private static readonly TimeSpan s_pageAge = TimeSpan.FromHours(1);

    private readonly CrmSettings _settings;
    private readonly ICrm _crm;
    private readonly IProfiles _profiles;
    private readonly DeliveryParts _parts;
    private readonly RequestBudget _budget;
    private readonly DeadLetterWriter _letters;
    private readonly Random _random;
    private readonly ILogger _logger;
    private readonly Channel<CrmHint> _hints = Channel.CreateBounded<CrmHint>(MaxHints);
    private readonly Channel<string> _replays = Channel.CreateBounded<string>(MaxReplays);
    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _turn = new(1); // The sync, its links and the connector: one at a time.
    private readonly Func<IRequestGate, ICrm> _make;

    private CancellationTokenSource _interrupt = new();
    private CrmLinks? _links;
    private CrmSync? _sync;
    private ChangeReader? _reader;
    private List<Pass> _passes = [];
    private string? _paused;
    private bool _pauseChanged;
    private bool _isPrepared;
    private bool _isReady;
    private bool _wasOften;
    private string? _stopped;
    private string? _waiting;
    private string? _lastError;
    private DateTimeOffset? _lastErrorAt;
    private long _oldestMs;
    private long _pending;
    private long _askedAt;
    private long _requests;
    private long _retriesMade;
    private long _conflictsBefore;
    private bool _deletesWait;
    private HashSet<string> _doomed = [];
    private int _failures;

    /// <summary>Makes it; nothing is read or written yet.</summary>
    /// <param name="settings">What it does.</param>
    /// <param name="make">Makes the connector, which asks this before each request; disposed with this.</param>
    /// <param name="profiles">The engine.</param>
    /// <param name="parts">What it works with.</param>
    public CrmConnection(CrmSettings settings, Func<IRequestGate, ICrm> make, IProfiles profiles, DeliveryParts parts)
    {
        (_settings, _profiles, _parts, _logger) = (settings, profiles, parts, parts.Logger);
        _budget = new RequestBudget(settings.RequestsPerSecond, parts.Time);
        _random = new Random(parts.Seed);
        _letters = new DeadLetterWriter(parts, settings.Id);
        _make = make;
        _crm = make(this);
        parts.Metrics.BeginCrm(settings.Id);
    }

    /// <inheritdoc/>
    public string Id => _settings.Id;

    /// <summary>Requests to the account: one for all that talks to it.</summary>
    public RequestBudget Budget => _budget;

    /// <inheritdoc/>
    public DeliveryStatus Status()
    {
        lock (_lock)
        {
            DeliveryState state = _stopped is not null ? DeliveryState.Stopped : _paused is not null ? DeliveryState.Paused : _waiting is not null ? DeliveryState.Waiting : DeliveryState.Running;
            return new DeliveryStatus(
                _settings.Id,
                _settings.Kind,
                IsCrm: true,
                _settings.Target,
                state,
                _stopped ?? _paused ?? _waiting ?? CapReached() ?? "",
                Volatile.Read(ref _pending),
                LagSeconds(),
                LagInSeconds(),
                Math.Floor(_budget.Left),
                Interlocked.Read(ref _requests),
                _sync?.Written ?? 0,
                _sync?.Refused ?? 0,
                Interlocked.Read(ref _retriesMade),
                _lastError,
                _lastErrorAt,
                _sync is null ? null : _conflictsBefore + _sync.Conflicts,
                _settings.DeletesAtMost is null ? null : _sync?.Deletes.Count);
        }
    }

    /// <inheritdoc/>
    public void Measure(ConnectorMetrics metrics)
    {
        metrics.LagOut(Id).Set(LagSeconds());
        metrics.LagIn(Id).Set(LagInSeconds() ?? 0);
        metrics.Conflicts(Id).IncTo(_sync?.Conflicts ?? 0);
        metrics.Deletes(Id).IncTo(_sync?.Deleted ?? 0);
    }

    /// <inheritdoc/>
    public void Pause(string reason)
    {
        lock (_lock)
        {
            _paused ??= reason;
            _pauseChanged = true;
            _ = _interrupt.CancelAsync(); // Not on this thread: it holds the lock.
        }
    }

    /// <inheritdoc/>
    public void Resume()
    {
        lock (_lock)
        {
            _paused = null;
            _pauseChanged = true;
            _ = _interrupt.CancelAsync();
        }
    }

    /// <summary>Takes word of records that may have changed: they are read at once.</summary>
    public void Hint(IEnumerable<CrmHint> hints)
    {
        foreach (CrmHint hint in hints.Where(hint => _crm.Objects.Contains(hint.Kind)))
        {
            _hints.Writer.TryWrite(hint);
        }
    }

    /// <inheritdoc/>
    public bool TryReplay(ProfileChange change, int partition, long offset) => _replays.Writer.TryWrite(change.ProfileId);

    /// <inheritdoc/>
    public async ValueTask WaitAsync(CancellationToken cancellationToken)
    {
        TimeSpan wait = _budget.Take();
        if (wait > TimeSpan.Zero)
        {
            _parts.Metrics.RateLimited(_settings.Id).Inc();
            await Task.Delay(wait, _parts.Time, cancellationToken).ConfigureAwait(false);
        }

        Interlocked.Increment(ref _requests);
    }

    /// <inheritdoc/>
    public void Made(string outcome) => _parts.Metrics.Requests(_settings.Id, outcome == "ok" ? "taken" : outcome == "limited" ? "unavailable" : outcome).Inc();

    /// <inheritdoc/>
    public async Task RunAsync(LogWake wake, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested && _stopped is null)
        {
            using var linked = CancellationTokenSource.CreateLinkedTokenSource(stop, _interrupt.Token);
            try
            {
                await GoOnAsync(wake, linked.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                break; // What was under way is done again after the restart.
            }
            catch (OperationCanceledException) when (linked.IsCancellationRequested)
            {
                Renew();
            }
            catch (DestinationMustPauseException exception)
            {
                Failed(exception.Message);
                Pause(exception.Message);
                LogPaused(_settings.Id, exception.Message);
            }
            catch (Exception exception) when (exception is LogBehindException or LogTruncatedException or LogCorruptException or LogUnfitException or InvalidDataException)
            {
                Failed(exception.Message);
                _stopped = exception.Message;
                LogStopped(_settings.Id, exception.Message);
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                await WaitAfterAsync(exception, linked.Token).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Fields that both sides had changed, the newest first; read beside the sync, which goes on meanwhile.</summary>
    /// <param name="before">The number of the last one of the page before; <see cref="long.MaxValue"/>: from the newest on.</param>
    /// <param name="limit">At most so many.</param>
    public IReadOnlyList<(long Number, CrmConflict Conflict)> Conflicts(long before, int limit)
    {
        using CrmLinks links = OpenLinks();
        return links.Conflicts(before, limit);
    }

    /// <summary>What the plan is made for.</summary>
    public PlanHead PlanHead() => new(_settings.Id, PlanMapping.Of(_settings), _parts.Time.GetUtcNow());

    /// <summary>All that the sync would do now, also while it is paused; nothing is changed. With a connector and a view of the links of its own, and within the same rate.</summary>
    public async IAsyncEnumerable<PlanLine> PlanAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await using ICrm crm = _make(new BackgroundGate(this));
        using CrmLinks links = OpenLinks();
        using var members = new ChangeReader(_parts.Memberships, _parts.Profiles, new DestinationSettings { Id = _settings.Id, Kind = _settings.Kind }, DestinationCursor.Start, null);
        await foreach (PlanLine line in new CrmPlanner(_settings, crm, links, _profiles).AllAsync(members, cancellationToken).ConfigureAwait(false))
        {
            yield return line;
        }
    }

    /// <summary>Does what lines of a plan say, and nothing else; also while it is paused.</summary>
    /// <param name="lines">Up to 100.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>For each line why it was not applied, null: it was; and how many writes the CRM refused, which are dead letters.</returns>
    public async Task<(IReadOnlyList<string?> Why, long Refused)> ApplyAsync(IReadOnlyList<PlanLine> lines, CancellationToken cancellationToken)
    {
        if (_stopped is not null)
        {
            return ([.. lines.Select(_ => _stopped)], 0);
        }

        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            OpenSync();
            await ReadyAsync(cancellationToken).ConfigureAwait(false);
            HashSet<string> missing = await MakeFieldsAsync(lines, cancellationToken).ConfigureAwait(false);
            var planner = new CrmPlanner(_settings, _crm, _links!, _profiles);
            Dictionary<string, CrmRecord> records = [];
            foreach (IGrouping<string, PlanLine> same in lines.Where(line => line.Id is not null && line.Change != "make_field").GroupBy(line => line.Object))
            {
                foreach (CrmRecord record in await _crm.ReadAsync(Enum.Parse<CrmObject>(same.Key, ignoreCase: true), [.. same.Select(line => line.Id!).Distinct()], cancellationToken).ConfigureAwait(false))
                {
                    records[same.Key + record.Id] = record;
                }
            }

            Dictionary<string, PlanLine> made = (await planner.OfProfilesAsync([.. lines.Where(line => line.Id is null && line.Profile is not null).Select(line => line.Profile!).Distinct()], cancellationToken).ConfigureAwait(false))
                .Where(line => line.Profile is not null).DistinctBy(line => line.Profile).ToDictionary(line => line.Profile!, StringComparer.Ordinal);
            int deletesLeft = HasReadAll ? _sync!.DeletesLeft : 0;
            var only = new PlannedChanges { Missing = missing };
            string?[] why = new string?[lines.Count];
            List<CrmRecord> toDo = [];
            List<string> profileIds = [];
            for (int i = 0; i < lines.Count; i++)
            {
                PlanLine line = lines[i];
                PlanLine? now = line.Change == "make_field" ? (IsMapped(line) ? line : null)
                    : line.Id is not null ? await planner.OfRecordAsync(records[line.Object + line.Id], cancellationToken).ConfigureAwait(false)
                    : line.Profile is null ? null : made.GetValueOrDefault(line.Profile);
                if (now is null)
                {
                    why[i] = "There is nothing to do any more: it was done since, or is as it was planned.";
                }
                else if (!now.ToJson().AsSpan().SequenceEqual(line.ToJson()))
                {
                    why[i] = "The record or its profile changed since. Make a new plan.";
                }
                else if (line.Change == "delete" && deletesLeft-- <= 0)
                {
                    why[i] = HasReadAll
                        ? "As many contacts as delete.at_most allows were deleted today. Apply it again tomorrow (UTC)."
                        : "Nothing is deleted before the sync has read all of the CRM once, deals, companies and activities too. Let it run, then apply this again.";
                }
                else if (line.Change == "create" && _crm is ICrmPreparation preparation && missing.Contains(preparation.IdField))
                {
                    why[i] = $"A contact is made only with StreamCdp's id, and the line that makes its field {preparation.IdField} is not in the plan.";
                }
                else if (line.Change != "make_field")
                {
                    string[] without = [.. line.Fields.Where(field => field.To == "crm" && missing.Contains(field.Field)).Select(field => field.Field)];
                    why[i] = without.Length > 0 ? $"It was done without {string.Join(", ", without)}: the CRM has no such field, and the line that makes it is not in the plan." : null;
                    only.Add(line);
                    toDo.AddRange(line.Id is not null ? [records[line.Object + line.Id]] : []);
                    profileIds.AddRange(line.Profile is not null ? [line.Profile] : []);
                }
            }

            long refused = _sync!.Refused;
            _sync.MayDelete = [.. toDo.Select(record => record.Id)];
            await _sync.ProcessAsync(toDo, profileIds, [], cancellationToken, only).ConfigureAwait(false);
            return (why, _sync.Refused - refused);
        }
        finally
        {
            _sync?.MayDelete = [];
            _turn.Release();
        }
    }

    /// <summary>Works until there is nothing to do now.</summary>
    internal async Task DrainAsync(CancellationToken cancellationToken)
    {
        Open(null);
        while (await StepAsync(cancellationToken).ConfigureAwait(false))
        {
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _turn.Dispose();
        _reader?.Dispose();
        _links?.Dispose();
        _letters.Dispose();
        _interrupt.Dispose();
        (_profiles as IDisposable)?.Dispose();
        await _crm.DisposeAsync().ConfigureAwait(false);
    }

    private bool HasReadAll => _passes.TrueForAll(pass => !pass.IsWhole || pass.State.WholeDone);

    private string? CapReached() => Volatile.Read(ref _deletesWait) && _sync is { DeletesLeft: 0 }
        ? string.Create(CultureInfo.InvariantCulture, $"{_sync.Deletes.Count} contacts were deleted in the CRM today, as many as delete.at_most allows; others wait for tomorrow (UTC).") : null;

    private double LagSeconds()
    {
        long oldest = Volatile.Read(ref _oldestMs);
        return oldest == 0 ? 0 : Math.Max(0, (_parts.Time.GetUtcNow().ToUnixTimeMilliseconds() - oldest) / 1000.0);
    }

    private double? LagInSeconds() => Volatile.Read(ref _askedAt) is > 0 and long asked ? Math.Max(0, (_parts.Time.GetUtcNow().ToUnixTimeMilliseconds() - asked) / 1000.0) : null;

    private async Task GoOnAsync(LogWake wake, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            Open(wake.Signal);
        }
        finally
        {
            _turn.Release();
        }

        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Task news = wake.Next; // Before reading: so nothing is missed.
            if (_paused is not null)
            {
                await Task.Delay(Timeout.InfiniteTimeSpan, _parts.Time, cancellationToken).ConfigureAwait(false);
            }
            else if (!await StepAsync(cancellationToken).ConfigureAwait(false))
            {
                TimeSpan left = _passes.Min(DueIn);
                using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
                await Task.WhenAny(news, Task.Delay(left > TimeSpan.Zero ? left : TimeSpan.FromMilliseconds(1), _parts.Time, enough.Token)).ConfigureAwait(false);
                await enough.CancelAsync().ConfigureAwait(false);
            }

            GoesOn();
        }
    }

    private void Open(WorkSignal? signal)
    {
        OpenSync();
        if (_reader is null)
        {
            DestinationCursor cursor = _links!.Cursor(LogsCursor) is { } saved ? JsonSerializer.Deserialize(saved, CursorJson.Default.DestinationCursor)! : DestinationCursor.Start;
            _reader = new ChangeReader(_parts.Memberships, _parts.Profiles, new DestinationSettings { Id = _settings.Id, Kind = _settings.Kind, SendsProfiles = true }, cursor, signal);
        }
    }

    private void OpenSync()
    {
        if (_links is null)
        {
            _links = OpenLinks();
            if (_settings.StartsPaused && _links.Cursor(AccountCursor) is null)
            {
                _links.Save([], [(PausedCursor, "It begins held (start: paused). See what it would do: streamcdp connectors plan " + _settings.Id + "; then resume it.")]);
            }

            _links.Save([], [(AccountCursor, _settings.Account)]);
            _conflictsBefore = _links.CountConflicts();
            _sync = new CrmSync(_settings, _crm, _links, _profiles, _parts.Time, RefuseAsync);
            lock (_lock)
            {
                _paused ??= !_pauseChanged && _links.Cursor(PausedCursor) is { Length: > 0 } reason ? reason : null; // Not where somebody resumed it before it had begun.
            }

            _passes = [.. _crm.Objects.SelectMany(kind => (Pass[])
            [
                new Pass("near", kind, _settings.Poll, _settings.Overlap, IsWhole: false),
                new Pass("late", kind, _settings.LatePoll, _settings.LateOverlap, IsWhole: false),
                new Pass("whole", kind, _settings.Reconcile, TimeSpan.Zero, IsWhole: true),
            ])];
            foreach (Pass pass in _passes)
            {
                pass.State = _links.Cursor(pass.Name) is { } saved ? JsonSerializer.Deserialize(saved, PassJson.Default.PassState)! : new PassState();
            }
        }

        if (_pauseChanged)
        {
            _pauseChanged = false;
            _links.Save([], [(PausedCursor, _paused ?? "")]);
        }
    }

    private CrmLinks OpenLinks()
    {
        var links = new CrmLinks(_parts.StatePath, _settings.Id);
        if (links.Cursor(AccountCursor) is { } account && account != _settings.Account)
        {
            string path = links.Path;
            links.Dispose();
            throw new InvalidDataException($"{path} belongs to {account}, and the model now says {_settings.Account}: records of two accounts have the same numbers. Give the destination another id, or put back the address.");
        }

        return links;
    }

    private async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        await ReadyAsync(cancellationToken).ConfigureAwait(false);
        if (!_isPrepared && _crm is ICrmPreparation preparation)
        {
            foreach (CrmObject kind in _crm.Objects)
            {
                await preparation.PrepareAsync(kind, CrmPlanner.Written(_settings, kind, preparation), cancellationToken).ConfigureAwait(false);
            }
        }

        _isPrepared = true;
    }

    /// <summary>A line that makes a field names one of the mapping.</summary>
    private bool IsMapped(PlanLine line) => _crm is ICrmPreparation preparation && CrmPlanner.Written(_settings, Enum.Parse<CrmObject>(line.Object, ignoreCase: true), preparation).Any(field => field.Name == line.Id);

    private async ValueTask ReadyAsync(CancellationToken cancellationToken)
    {
        if (!_isReady)
        {
            await _profiles.AppliedAsync(cancellationToken).ConfigureAwait(false); // While the engine recovers, its profiles are those of before.
            _isReady = true;
        }
    }

    /// <summary>Makes the fields that lines of a plan name.</summary>
    /// <returns>Fields of contacts that are missing all the same, because their lines are not in the plan.</returns>
    private async ValueTask<HashSet<string>> MakeFieldsAsync(IReadOnlyList<PlanLine> lines, CancellationToken cancellationToken)
    {
        if (_isPrepared || _crm is not ICrmPreparation preparation)
        {
            return [];
        }

        foreach (IGrouping<string, PlanLine> same in lines.Where(line => line.Change == "make_field").GroupBy(line => line.Object))
        {
            CrmObject kind = Enum.Parse<CrmObject>(same.Key, ignoreCase: true);
            HashSet<string> wanted = [.. same.Select(line => line.Id!)];
            await preparation.PrepareAsync(kind, [.. CrmPlanner.Written(_settings, kind, preparation).Where(field => wanted.Contains(field.Name))], cancellationToken).ConfigureAwait(false);
        }

        HashSet<string> known = [.. (await _crm.DescribeAsync(CrmObject.Contact, cancellationToken).ConfigureAwait(false)).Select(field => field.Name)];
        return [.. CrmPlanner.Written(_settings, CrmObject.Contact, preparation).Select(field => field.Name).Where(field => !known.Contains(field))];
    }

    /// <summary>Does the next thing; false: there is nothing to do now.</summary>
    private async Task<bool> StepAsync(CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await PrepareAsync(cancellationToken).ConfigureAwait(false);
            return await WorkAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    private async Task<bool> WorkAsync(CancellationToken cancellationToken)
    {
        bool hasWorked = false;
        while (_replays.Reader.TryPeek(out string? profileId))
        {
            await _sync!.ReplayAsync(profileId, cancellationToken).ConfigureAwait(false);
            _ = _replays.Reader.TryRead(out _);
            hasWorked = true;
        }

        hasWorked |= await SendChangesAsync(cancellationToken).ConfigureAwait(false);
        hasWorked |= await ReadHintsAsync(cancellationToken).ConfigureAwait(false);
        hasWorked |= await DeleteDoomedAsync(cancellationToken).ConfigureAwait(false);
        Pass? often = _passes.Find(pass => !pass.IsWhole && DueIn(pass) <= TimeSpan.Zero);
        Pass? whole = _passes.Find(pass => pass.IsWhole && DueIn(pass) <= TimeSpan.Zero);
        if ((_wasOften ? whole ?? often : often ?? whole) is { } due) // In turn: a CRM that is slow to answer the one must not keep the other from ever ending.
        {
            _wasOften = !due.IsWhole;
            await ReadPageAsync(due, cancellationToken).ConfigureAwait(false);
            hasWorked = true;
        }

        return hasWorked;
    }

    /// <summary>Contacts that wait to be deleted: as many as today allows, and not before the near readers have asked once more, because somebody may have merged one or made a deal of it meanwhile.</summary>
    private async Task<bool> DeleteDoomedAsync(CancellationToken cancellationToken)
    {
        if (_settings.DeletesAtMost is null)
        {
            return false;
        }

        List<Pass> near = _passes.FindAll(pass => !pass.IsBackground);
        if (_doomed.Count == 0)
        {
            IReadOnlyList<(string Id, bool IsBegun)> doomed = _links!.Doomed(_sync!.Deletes.Day, MaxRead);
            Volatile.Write(ref _deletesWait, doomed.Count > 0);
            _doomed = HasReadAll ? [.. doomed.Where(one => one.IsBegun || _sync.DeletesLeft > 0).Select(one => one.Id)] : [];
            if (_doomed.Count > 0)
            {
                near.ForEach(pass => (pass.State, pass.MustEnd) = (pass.State with { NextAt = DateTimeOffset.MinValue }, pass.Run + 1));
            }

            return false;
        }

        if (near.Exists(pass => pass.Ended < pass.MustEnd))
        {
            return false;
        }

        _sync!.MayDelete = _doomed;
        try
        {
            await _sync.ProcessAsync(await _crm.ReadAsync(CrmObject.Contact, [.. _doomed], cancellationToken).ConfigureAwait(false), [], [], cancellationToken).ConfigureAwait(false);
            return true;
        }
        finally
        {
            _sync.MayDelete = _doomed = [];
        }
    }

    /// <summary>Reads what a hint named; where that fails, the near reader finds it.</summary>
    private async Task<bool> ReadHintsAsync(CancellationToken cancellationToken)
    {
        var hints = new HashSet<CrmHint>();
        while (hints.Count < MaxRead && _hints.Reader.TryRead(out CrmHint hint))
        {
            hints.Add(hint);
        }

        foreach (IGrouping<CrmObject, CrmHint> same in hints.GroupBy(hint => hint.Kind))
        {
            await _sync!.ProcessAsync(await _crm.ReadAsync(same.Key, [.. same.Select(hint => hint.Id)], cancellationToken).ConfigureAwait(false), [], [], cancellationToken).ConfigureAwait(false);
        }

        return hints.Count > 0;
    }

    private async Task<bool> SendChangesAsync(CancellationToken cancellationToken)
    {
        var profiles = new HashSet<string>(StringComparer.Ordinal);
        int changes = 0;
        try
        {
            while (profiles.Count < _settings.BatchLimit && _reader!.TryRead(out LoggedChange? change))
            {
                changes++;
                profiles.Add(change.Change.ProfileId);
                Volatile.Write(ref _oldestMs, Volatile.Read(ref _oldestMs) is > 0 and long oldest ? Math.Min(oldest, change.TimestampMs) : change.TimestampMs);
            }

            Volatile.Write(ref _pending, _reader!.UnreadRecords + changes);
            if (changes == 0)
            {
                return false;
            }

            string cursor = JsonSerializer.Serialize(_reader.Cursor([], null), CursorJson.Default.DestinationCursor);
            await _sync!.ProcessAsync([], profiles, [(LogsCursor, cursor)], cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            _reader?.Dispose(); // They are read again.
            _reader = null;
            throw;
        }

        Volatile.Write(ref _oldestMs, 0);
        Volatile.Write(ref _pending, _reader.UnreadRecords);
        return true;
    }

    /// <summary>When a reader has something to do. What can wait leaves half of the account's burst to what somebody waits for: so a million records are read at the account's rate without harm to live changes.</summary>
    private TimeSpan DueIn(Pass pass)
    {
        TimeSpan due = pass.DueIn(_parts.Time.GetUtcNow());
        return pass.IsBackground && _budget.SpareIn is var spare && spare > due ? spare : due;
    }

    /// <summary>One page of a reader; after the last one it is done until it is due again.</summary>
    private async Task ReadPageAsync(Pass pass, CancellationToken cancellationToken)
    {
        PassState state = pass.State;
        if (state.IsMissing)
        {
            await ReconcileAsync(pass, cancellationToken).ConfigureAwait(false);
            return;
        }

        pass.Run += state.Page is null ? 1 : 0;
        DateTimeOffset since = pass.IsWhole || state.Since == DateTimeOffset.MinValue ? DateTimeOffset.MinValue : state.Since - pass.Overlap;
        CrmPage page = await _crm.ChangesAsync(pass.Kind, since, state.Page, cancellationToken).ConfigureAwait(false);
        DateTimeOffset began = state.Page is null ? page.ServerTime : state.Began;
        bool isLast = page.Next is null;
        PassState next = isLast
            ? new PassState { Since = began, Began = began, NextAt = pass.IsWhole ? _parts.Time.GetUtcNow() : _parts.Time.GetUtcNow() + pass.Every, IsMissing = pass.IsWhole, WholeDone = true }
            : state with { Page = page.Next, Began = began };
        List<(string, string)> cursors = [(pass.Name, Text(next))];
        // Changes since the very first page of the first whole read are the other readers' from now on; nothing is read twice and nothing is missed.
        PassState begun = new() { Since = began, Began = began, WholeDone = true, NextAt = _parts.Time.GetUtcNow() };
        List<Pass> first = [.. _passes.Where(one => one.Kind == pass.Kind && !one.IsWhole && !one.State.WholeDone && pass.IsWhole)];
        cursors.AddRange(first.Select(one => (one.Name, Text(begun))));

        await _sync!.ProcessAsync(page.Records, [], cursors, cancellationToken).ConfigureAwait(false);
        pass.State = next;
        first.ForEach(one => one.State = begun); // Not before it is saved: else a page that fails would leave them begun here and not on the disk.
        pass.Ended = isLast ? pass.Run : pass.Ended;
        if (isLast && !pass.IsWhole)
        {
            Volatile.Write(ref _askedAt, _parts.Time.GetUtcNow().ToUnixTimeMilliseconds());
        }
    }

    /// <summary>What the CRM does not list any more is asked for by id, and what is not linked is read: a list alone proves nothing. One page or one question at a time, so that others go between.</summary>
    private async Task ReconcileAsync(Pass pass, CancellationToken cancellationToken)
    {
        CrmLinks links = _links!;
        PassState state = pass.State;
        if (state.Phase == ReconcilePhase.List)
        {
            if (state.Page is null || _parts.Time.GetUtcNow() - state.NextAt > s_pageAge)
            {
                links.BeginListed(pass.Kind, isKept: true);
                state = state with { Page = null };
            }

            (IReadOnlyList<string> listed, string? page) = await _crm.IdsAsync(pass.Kind, state.Page, cancellationToken).ConfigureAwait(false);
            PassState more = state with { Page = page, Phase = page is null ? ReconcilePhase.Missing : ReconcilePhase.List, NextAt = _parts.Time.GetUtcNow() };
            links.AddListed(pass.Kind, listed, isKept: true, [(pass.Name, Text(more))]);
            pass.State = more;
            return;
        }

        bool isMissing = state.Phase == ReconcilePhase.Missing;
        (IReadOnlyList<string> ids, string? after) = isMissing ? links.Missing(pass.Kind, state.After, isKept: true) : links.Unknown(pass.Kind, state.After);
        PassState next = state with { After = after ?? "", Phase = after is not null ? state.Phase : isMissing ? ReconcilePhase.Unknown : ReconcilePhase.List };
        if (after is null && !isMissing)
        {
            next = next with { IsMissing = false, Page = null, NextAt = _parts.Time.GetUtcNow() + pass.Every };
        }

        await _sync!.ProcessAsync(ids.Count == 0 ? [] : await _crm.ReadAsync(pass.Kind, ids, cancellationToken).ConfigureAwait(false), [], [(pass.Name, Text(next))], cancellationToken).ConfigureAwait(false);
        pass.State = next;
        if (!next.IsMissing)
        {
            links.BeginListed(pass.Kind, isKept: true); // They are not needed any more.
            links.Trim();
        }
    }

    private static string Text(PassState state) => JsonSerializer.Serialize(state, PassJson.Default.PassState);

    private async ValueTask RefuseAsync(ProfileChange change, string reason, CancellationToken cancellationToken)
    {
        // The log's name makes it a change that can be sent again; a place there it has none.
        _letters.Append(change, "profiles"u8, 0, 0, _parts.Time.GetUtcNow().ToUnixTimeMilliseconds(), reason);
        await _letters.DurableAsync(1).ConfigureAwait(false);
        Failed($"A write was refused and is a dead letter: see streamcdp dead-letters list --reason {Delivery.RefusedReason}.");
    }

    private async Task WaitAfterAsync(Exception exception, CancellationToken cancellationToken)
    {
        string problem = exception switch
        {
            DestinationUnavailableException or IOException or UnauthorizedAccessException or TimeoutException => exception.Message,
            _ => $"The connector failed ({exception.GetType().Name}), which is a bug; the log has more.",
        };
        if (exception is DestinationUnavailableException { IsRateLimit: true })
        {
            _parts.Metrics.RateLimited(_settings.Id).Inc();
        }
        else if (exception is not (IOException or UnauthorizedAccessException or TimeoutException))
        {
            LogConnectorFailed(_settings.Id, exception.GetType().Name, exception.StackTrace);
        }

        double doubled = Math.Min(_settings.LongestWait.TotalSeconds, _settings.FirstWait.TotalSeconds * Math.Pow(2, Math.Min(_failures++, 20)));
        TimeSpan wait = (exception as DestinationUnavailableException)?.RetryAfter ?? TimeSpan.FromSeconds(doubled * (0.5 + (_random.NextDouble() / 2)));
        wait = wait > s_longestRetryAfter ? s_longestRetryAfter : wait < TimeSpan.Zero ? TimeSpan.Zero : wait;
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
            LogWaits(_settings.Id, problem);
        }

        try
        {
            await Task.Delay(wait, _parts.Time, cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            Renew();
        }
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
            LogGoesOn(_settings.Id);
        }
    }

    private void Failed(string reason)
    {
        lock (_lock)
        {
            (_lastError, _lastErrorAt) = (reason, _parts.Time.GetUtcNow());
        }
    }

    private void Renew()
    {
        lock (_lock)
        {
            if (_interrupt.IsCancellationRequested)
            {
                _waiting = null;
                _interrupt = new CancellationTokenSource();
            }
        }
    }

    /// <summary>For a plan: it waits until there is more than what the sync may need at once.</summary>
    private sealed class BackgroundGate(CrmConnection connection) : IRequestGate
    {
        public async ValueTask WaitAsync(CancellationToken cancellationToken)
        {
            while (connection._budget.SpareIn is var wait && wait > TimeSpan.Zero)
            {
                await Task.Delay(wait, connection._parts.Time, cancellationToken).ConfigureAwait(false);
            }

            await connection.WaitAsync(cancellationToken).ConfigureAwait(false);
        }

        public void Made(string outcome) => connection.Made(outcome);
    }

    /// <summary>A reader of one object.</summary>
    private sealed record Pass(string Reader, CrmObject Kind, TimeSpan Every, TimeSpan Overlap, bool IsWhole)
    {
        public string Name => $"{Reader}:{Kind}";

        /// <summary>Nobody waits for it.</summary>
        public bool IsBackground => Reader != "near";

        public PassState State { get; set; } = new();

        /// <summary>Number of the round that it is in, since the start.</summary>
        public int Run { get; set; }

        /// <summary>Number of the last round that it went through to its end.</summary>
        public int Ended { get; set; }

        /// <summary>Before this round has ended nothing is deleted.</summary>
        public int MustEnd { get; set; }

        /// <summary>A reader in the middle of its pages is due.</summary>
        public TimeSpan DueIn(DateTimeOffset now) => !IsWhole && !State.WholeDone ? TimeSpan.FromDays(1) : State.Page is not null || State.IsMissing ? TimeSpan.Zero : State.NextAt - now;
    }

    /// <summary>What the whole reader does after it has read everything.</summary>
    internal enum ReconcilePhase
    {
        /// <summary>It notes all ids of the CRM.</summary>
        List,

        /// <summary>It asks for linked records that were not listed.</summary>
        Missing,

        /// <summary>It reads what was listed and is not linked.</summary>
        Unknown,
    }

    /// <summary>How far a reader is.</summary>
    internal sealed record PassState
    {
        /// <summary>It knows all that was committed before, by the CRM's clock.</summary>
        public DateTimeOffset Since { get; init; } = DateTimeOffset.MinValue;

        /// <summary>When its first page was asked for, by the CRM's clock.</summary>
        public DateTimeOffset Began { get; init; } = DateTimeOffset.MinValue;

        /// <summary>The next page; null: it begins anew.</summary>
        public string? Page { get; init; }

        /// <summary>When it is due again, by our clock.</summary>
        public DateTimeOffset NextAt { get; init; } = DateTimeOffset.MinValue;

        /// <summary>The whole reader has read everything and now looks for what is missing.</summary>
        public bool IsMissing { get; init; }

        /// <summary>How it does that.</summary>
        public ReconcilePhase Phase { get; init; }

        /// <summary>The id that it has come to in <see cref="ReconcilePhase.Missing"/> and <see cref="ReconcilePhase.Unknown"/>.</summary>
        public string After { get; init; } = "";

        /// <summary>The first whole read has begun, so this reader knows from when on.</summary>
        public bool WholeDone { get; init; }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "CRM {Id} is paused: {Reason} Resume it with streamcdp connectors --resume {Id} when that is mended.")]
    private partial void LogPaused(string id, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "CRM {Id} stopped: {Reason}")]
    private partial void LogStopped(string id, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "CRM {Id} waits: {Reason}")]
    private partial void LogWaits(string id, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "CRM {Id} goes on.")]
    private partial void LogGoesOn(string id);

    [LoggerMessage(Level = LogLevel.Error, Message = "The connector of CRM {Id} failed with {Type}: {Stack}")]
    private partial void LogConnectorFailed(string id, string type, string? stack);
}

[System.Text.Json.Serialization.JsonSerializable(typeof(CrmConnection.PassState))]
[System.Text.Json.Serialization.JsonSourceGenerationOptions(PropertyNamingPolicy = System.Text.Json.Serialization.JsonKnownNamingPolicy.SnakeCaseLower)]
internal sealed partial class PassJson : System.Text.Json.Serialization.JsonSerializerContext;
