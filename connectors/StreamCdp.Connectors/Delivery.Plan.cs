using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Logs;

namespace StreamCdp.Connectors;

/// <summary>What waits for a destination, shown before it is sent, and then sent up to there.</summary>
/// <remarks>
/// The end of a plan is a place in each log, so no change can come in before it; of each change the profile is looked up again when it is sent, as always. What was sent since the plan was made is known by
/// <see cref="DestinationCursor.Sent"/> and not by the cursor, which also moves over records that do not concern the destination.
/// </remarks>
internal sealed partial class Delivery
{
    private static readonly TimeSpan s_planWait = TimeSpan.FromSeconds(30);

    private bool IsHeld => _paused is not null && _until is null;

    /// <summary>What a plan is made for: from where it is now to the end of the logs, asked now.</summary>
    /// <exception cref="TimeoutException">The shards, or a log, did not answer in time.</exception>
    /// <exception cref="LogUnavailableException">A log is away.</exception>
    public async Task<PlanHead> PlanHeadAsync(CancellationToken cancellationToken)
    {
        await _parts.Applied(cancellationToken).ConfigureAwait(false);
        long sent = Current().Sent; // Before the ends: what is sent meanwhile makes the plan one of before.
        var until = new LogPositions(_settings.SendsMemberships ? await _parts.Memberships.AskEndOffsetsAsync(s_planWait).ConfigureAwait(false) : [], await _parts.Profiles.AskEndOffsetsAsync(s_planWait).ConfigureAwait(false));
        return new PlanHead(_settings.Id, Mapping(), _parts.Time.GetUtcNow()) { Until = until, Sent = sent };
    }

    /// <summary>Each change that waits, as it would be sent now; also while it is paused. Nothing is changed.</summary>
    /// <param name="head">Says up to where.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="DestinationUnavailableException">A log does not come to its end.</exception>
    public async IAsyncEnumerable<ProfileChange> PlanAsync(PlanHead head, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var reader = new ChangeReader(_parts.Memberships, _parts.Profiles, _settings, Current(), null, head.Until);
        using ConsentGate? consent = _settings.Consent is null ? null : new ConsentGate(_parts.StatePath, _settings, hasSent: _file.Exists); // Decides as its own does, and remembers nothing.
        List<LoggedChange> some = [];
        long since = _parts.Time.GetTimestamp();
        while (true)
        {
            while (some.Count < _settings.BatchLimit && reader.TryRead(out LoggedChange? change))
            {
                some.Add(change);
            }

            bool isEnd = reader.IsAtEnd;
            if (some.Count == _settings.BatchLimit || (isEnd && some.Count > 0))
            {
                foreach (Sending sending in await CompleteAsync(some, consent, cancellationToken).ConfigureAwait(false))
                {
                    yield return sending.Change;
                }

                some.Clear();
                since = _parts.Time.GetTimestamp();
            }
            else if (isEnd)
            {
                yield break;
            }
            else if (_parts.Time.GetElapsedTime(since) > s_planWait)
            {
                throw new DestinationUnavailableException("A log of StreamCdp does not come to its end.");
            }
            else
            {
                await Task.Delay(TimeSpan.FromMilliseconds(10), _parts.Time, cancellationToken).ConfigureAwait(false); // Kafka brings records when it likes.
            }
        }
    }

    /// <summary>Sends what a plan says, and nothing else: up to its end, and is paused again then.</summary>
    public PlanStart Apply(PlanHead head)
    {
        LogPositions until = head.Until!;
        lock (_lock)
        {
            if (_stopped is not null)
            {
                return PlanStart.Stopped;
            }

            DestinationCursor current = Current();
            if (until.IsReached(current))
            {
                return PlanStart.Done;
            }

            if (current.Sent != head.Sent || head.Mapping != Mapping())
            {
                return PlanStart.Moved;
            }

            bool isPaused = _paused is not null || (_cursor is null && !_isResumed && current.Paused is not null); // Before it has begun, its file says so.
            if (!isPaused)
            {
                return PlanStart.NotPaused;
            }

            _until = until;
            _ = _interrupt.CancelAsync(); // It reads anew, up to there.
            return PlanStart.Begun;
        }
    }

    private DestinationCursor Current() => Volatile.Read(ref _cursor) ?? _file.Load();

    /// <summary>Where all of a plan was sent, it is paused again.</summary>
    private void EndPlan(WorkSignal? signal)
    {
        if (_until is null || _pending.Count > 0 || !_reader!.IsAtEnd)
        {
            return;
        }

        lock (_lock)
        {
            (_paused, _until) = ($"All of a plan was sent. See what waits now: streamcdp connectors plan {_settings.Id}; or resume it.", null);
        }

        Open(signal);
    }

    /// <summary>Changes with each key of the model that a plan depends on.</summary>
    private string Mapping()
    {
        IEnumerable<string> fields = _settings.Fields.Select(field => $"{field.Name}|{field.Path.Root}|{string.Join('.', field.Path.Path)}");
        string text = string.Join('\n', (IEnumerable<string>)[_settings.Kind, _settings.Target, $"{_settings.SendsMemberships} {_settings.SendsProfiles} {_settings.Consent?.Purpose}", .. fields, "segments", .. _settings.Segments?.Order(StringComparer.Ordinal) ?? Enumerable.Repeat("*", 1)]);
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, 8));
    }
}

/// <summary>What became of the wish to apply a plan.</summary>
internal enum PlanStart
{
    /// <summary>It sends, up to the plan's end.</summary>
    Begun,

    /// <summary>All of it was sent before.</summary>
    Done,

    /// <summary>Something was sent since the plan was made, or the mapping is another one.</summary>
    Moved,

    /// <summary>It is not paused, so it sends by itself, and not only this.</summary>
    NotPaused,

    /// <summary>It cannot go on; a person is needed.</summary>
    Stopped,
}

/// <summary>How many changes of each kind a plan has.</summary>
internal sealed record DeliveryCounts
{
    /// <summary>Of all kinds.</summary>
    public long Changes { get; set; }

    /// <summary>Memberships that began.</summary>
    public long Entered { get; set; }

    /// <summary>Memberships that ended.</summary>
    public long Exited { get; set; }

    /// <summary>Profiles.</summary>
    public long Profiles { get; set; }

    /// <summary>Profiles that became part of others.</summary>
    public long Merged { get; set; }

    /// <summary>People who are to be removed.</summary>
    public long Suppressed { get; set; }

    /// <summary>False: a limit cut the plan off, and it cannot be applied.</summary>
    public bool IsComplete { get; set; }

    /// <summary>Counts one more.</summary>
    public void Add(ProfileChange change)
    {
        Changes++;
        Entered += change.Kind == ChangeKind.Entered ? 1 : 0;
        Exited += change.Kind == ChangeKind.Exited ? 1 : 0;
        Profiles += change.Kind == ChangeKind.Profile ? 1 : 0;
        Merged += change.Kind == ChangeKind.Merged ? 1 : 0;
        Suppressed += change.Kind == ChangeKind.Suppressed ? 1 : 0;
    }
}
