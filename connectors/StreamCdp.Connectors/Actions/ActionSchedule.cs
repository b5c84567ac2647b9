using System.Globalization;
using Microsoft.Data.Sqlite;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Actions;

/// <summary>Something to do.</summary>
/// <param name="Key">Names it for good.</param>
/// <param name="Action">Id of the action.</param>
/// <param name="Change">What started it.</param>
/// <param name="Tries">How often it was tried.</param>
/// <param name="TriedMs">When it was tried first, Unix ms; null: not yet.</param>
/// <param name="IsMerge">It may be the same membership as another one's, that of somebody who is the same person.</param>
/// <param name="IsReplay">A person asked for it again.</param>
/// <param name="Due">When.</param>
internal sealed record ScheduledAction(string Key, string Action, ProfileChange Change, int Tries, long? TriedMs, bool IsMerge, bool IsReplay, DateTimeOffset Due);

/// <summary>What is to be done and what was done, on disk: the memory behind "once for each entry", delays and frequency caps.</summary>
/// <remarks>
/// Takes membership changes as a destination does, so the kit's <see cref="Delivery"/> brings each at least once and remembers how far it is; a change that comes again finds its key and changes
/// nothing. Under way is written before and done after each call, each durable (synchronous=FULL): so after a crash it is known what is not known. SQLite as for the links of a CRM (adr/0010).
/// </remarks>
internal sealed class ActionSchedule : IDestination
{
    private const int Version = 1;

    /// <summary>What was done is remembered for so long, or as long as the longest cap.</summary>
    private static readonly TimeSpan s_kept = TimeSpan.FromDays(30);

    private readonly Lock _lock = new();
    private readonly StateFile _file;
    private readonly IReadOnlyList<ActionDefinition> _actions;
    private readonly TimeProvider _time;
    private readonly Action _onNews;
    private readonly long _keptMs;

    /// <summary>Opens or makes the file.</summary>
    /// <param name="directory">Made where it is missing.</param>
    /// <param name="connectionId">A name of the model: safe in a path.</param>
    /// <param name="actions">What the model has.</param>
    /// <param name="atMost">The destination's own cap.</param>
    /// <param name="time">Now.</param>
    /// <param name="onNews">Told when something was put down.</param>
    /// <exception cref="InvalidDataException">It is damaged or of another version; the message says what to do.</exception>
    public ActionSchedule(string directory, string connectionId, IReadOnlyList<ActionDefinition> actions, ActionLimit? atMost, TimeProvider time, Action onNews)
    {
        (_actions, _time, _onNews) = (actions, time, onNews);
        _keptMs = Math.Max((long)s_kept.TotalMilliseconds, actions.Select(action => action.AtMost).Append(atMost).Max(limit => limit?.WithinMs ?? 0));
        _file = new StateFile(
            directory,
            "actions-" + connectionId.Replace(':', '~') + ".sqlite", // No id of the model has this character.
            Version,
            isDurable: true,
            cacheKib: 8192,
            _ => """
                CREATE TABLE IF NOT EXISTS due(key TEXT PRIMARY KEY, action TEXT NOT NULL, segment TEXT NOT NULL, is_entered INTEGER NOT NULL, profile TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL, cause TEXT, reason TEXT,
                    due_at INTEGER NOT NULL, state INTEGER NOT NULL, tries INTEGER NOT NULL, tried_at INTEGER, is_merge INTEGER NOT NULL, is_replay INTEGER NOT NULL) WITHOUT ROWID;
                CREATE INDEX IF NOT EXISTS due_when ON due(state, due_at);
                CREATE INDEX IF NOT EXISTS due_profile ON due(profile);
                CREATE TABLE IF NOT EXISTS done(key TEXT PRIMARY KEY, action TEXT NOT NULL, profile TEXT NOT NULL, target TEXT, at INTEGER NOT NULL, is_over INTEGER NOT NULL, is_known INTEGER NOT NULL) WITHOUT ROWID;
                CREATE INDEX IF NOT EXISTS done_profile ON done(profile, action);
                CREATE INDEX IF NOT EXISTS done_target ON done(target, action);
                CREATE INDEX IF NOT EXISTS done_at ON done(at);
                CREATE TABLE IF NOT EXISTS ended(action TEXT NOT NULL, profile TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY(action, profile)) WITHOUT ROWID;
                CREATE TABLE IF NOT EXISTS dead_target(target TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
                CREATE TABLE IF NOT EXISTS setting(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
                """,
            "Put back a copy, or delete it: then what waits is not done, and caps begin anew.");
    }

    /// <inheritdoc/>
    public bool AnswersPerChange => false;

    /// <summary>Why it is held, over restarts; null: it is not.</summary>
    public string? Paused
    {
        get
        {
            lock (_lock)
            {
                return _file.Scalar("SELECT value FROM setting WHERE name='paused'") as string;
            }
        }

        set
        {
            lock (_lock)
            {
                if (value is null)
                {
                    _file.Run("DELETE FROM setting WHERE name='paused'");
                    _file.Run("UPDATE due SET tried_at=NULL WHERE state=0"); // A pause is no try.
                }
                else
                {
                    _file.Run("INSERT INTO setting VALUES('paused', $value) ON CONFLICT DO UPDATE SET value=excluded.value", ("$value", value));
                }
            }
        }
    }

    /// <summary>Puts down what the changes start, and strikes out what they end.</summary>
    public ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            _file.InTransaction(() =>
            {
                foreach (ProfileChange change in batch)
                {
                    if (change.Kind == ChangeKind.Merged)
                    {
                        Merge(change.ProfileId, change.MergedInto!);
                    }
                    else
                    {
                        Take(change);
                    }
                }
            });
        }

        _onNews();
        return ValueTask.FromResult(Outcome.ForAll(Outcome.Taken, batch.Count));
    }

    /// <summary>Puts down an action again that a person asked for.</summary>
    /// <param name="change">What started it.</param>
    /// <param name="letterMs">When the dead letter was written, Unix ms. Of all letters of a change only one is done: not what waits already, and not what was done since the letter.</param>
    public void Again(ProfileChange change, long letterMs)
    {
        lock (_lock)
        {
            string from = change.Id + "@";
            bool isAnswered = IsTrue(
                "EXISTS(SELECT 1 FROM due WHERE key>=$from AND key<$to) OR EXISTS(SELECT 1 FROM done WHERE key>=$from AND key<$to AND is_known=1 AND at>=$letter)",
                ("$from", from),
                ("$to", change.Id + "A"), // The next character.
                ("$letter", letterMs));
            if (!isAnswered)
            {
                Put(string.Create(CultureInfo.InvariantCulture, $"{from}{letterMs}"), change.Action!, change, NowMs, isReplay: true);
            }
        }

        _onNews();
    }

    /// <summary>What is due; of one person one at most.</summary>
    public IReadOnlyList<ScheduledAction> Due(int limit)
    {
        lock (_lock)
        {
            return [.. Read("SELECT * FROM due WHERE state=0 AND due_at<=$now ORDER BY due_at LIMIT $limit", ("$now", NowMs), ("$limit", limit)).DistinctBy(action => action.Change.ProfileId)];
        }
    }

    /// <summary>What waits, due or not yet, after a place in its order.</summary>
    public IReadOnlyList<ScheduledAction> Waiting(long afterMs, string afterKey, int limit)
    {
        lock (_lock)
        {
            return Read("SELECT * FROM due WHERE state=0 AND (due_at, key)>($after, $key) ORDER BY due_at, key LIMIT $limit", ("$after", afterMs), ("$key", afterKey), ("$limit", limit));
        }
    }

    /// <summary>One that waits; null: it does not.</summary>
    public ScheduledAction? Find(string key)
    {
        lock (_lock)
        {
            return Read("SELECT * FROM due WHERE state=0 AND key=$key", ("$key", key)).FirstOrDefault();
        }
    }

    /// <summary>They are under way from now on, durably.</summary>
    public void Begin(IEnumerable<ScheduledAction> actions)
    {
        lock (_lock)
        {
            _file.InTransaction(() =>
            {
                foreach (ScheduledAction action in actions)
                {
                    _file.Run("UPDATE due SET state=1, tried_at=COALESCE(tried_at, $now) WHERE key=$key", ("$now", NowMs), ("$key", action.Key));
                }
            });
        }
    }

    /// <summary>What was under way when the process ended; it stays so.</summary>
    public IReadOnlyList<ScheduledAction> TakeInterrupted()
    {
        lock (_lock)
        {
            return Read("SELECT * FROM due WHERE state=1");
        }
    }

    /// <summary>When the next one is due; null: none is.</summary>
    public DateTimeOffset? NextAt()
    {
        lock (_lock)
        {
            return _file.Scalar("SELECT MIN(due_at) FROM due WHERE state=0") is long ms ? DateTimeOffset.FromUnixTimeMilliseconds(ms) : null;
        }
    }

    /// <summary>It was done, or will never be: <paramref name="target"/> null says the latter.</summary>
    /// <param name="action">What was due.</param>
    /// <param name="target">The person's id there.</param>
    /// <param name="isKnown">False: nobody knows whether it was done; it counts as done, and a person may ask for it again.</param>
    public void End(ScheduledAction action, string? target, bool isKnown = true)
    {
        lock (_lock)
        {
            _file.InTransaction(() =>
            {
                if (target is not null)
                {
                    if (isKnown)
                    {
                        _file.Run("DELETE FROM dead_target WHERE target=$target", ("$target", target)); // It was taken, so it lives.
                    }

                    // The row knows the person, also where two became one meanwhile; and the membership may have ended before this was done.
                    _file.Run(
                        """
                        INSERT OR REPLACE INTO done SELECT key, action, profile, $target, $at,
                            EXISTS(SELECT 1 FROM ended WHERE ended.action=due.action AND ended.profile=due.profile AND ended.version>due.version), $known FROM due WHERE key=$key
                        """,
                        ("$key", action.Key),
                        ("$target", target),
                        ("$at", NowMs),
                        ("$known", isKnown ? 1 : 0));
                    _file.Run("DELETE FROM done WHERE at<$before AND is_over=1", ("$before", NowMs - _keptMs));
                }

                _file.Run("DELETE FROM due WHERE key=$key", ("$key", action.Key));
            });
        }
    }

    /// <summary>The other side says that this is nobody's: nothing is done for it any more, unless a person asks for it.</summary>
    public void Bury(string target)
    {
        lock (_lock)
        {
            _file.Run("INSERT INTO dead_target VALUES($target, $at) ON CONFLICT DO UPDATE SET at=excluded.at", ("$target", target), ("$at", NowMs));
        }
    }

    /// <summary>Whether <see cref="Bury"/> was told of it.</summary>
    public bool IsDead(string target)
    {
        lock (_lock)
        {
            return IsTrue("EXISTS(SELECT 1 FROM dead_target WHERE target=$target)", ("$target", target));
        }
    }

    /// <summary>Two people are one, as a lookup told before the log did.</summary>
    public void Join(string from, string into)
    {
        lock (_lock)
        {
            _file.InTransaction(() => Merge(from, into));
        }
    }

    /// <summary>It waits again.</summary>
    public void PutOff(ScheduledAction action, DateTimeOffset until, bool isTry, bool isMerge = false)
    {
        lock (_lock)
        {
            _file.Run(
                "UPDATE due SET state=0, due_at=$due, tries=tries+$try, tried_at=CASE WHEN $try=1 THEN COALESCE(tried_at, $now) END, is_merge=is_merge OR $merge WHERE key=$key",
                ("$due", until.ToUnixTimeMilliseconds()),
                ("$try", isTry ? 1 : 0),
                ("$now", NowMs),
                ("$merge", isMerge ? 1 : 0),
                ("$key", action.Key));
        }
    }

    /// <summary>It was done for this person, under any of the ids, and the membership that it was done for still goes on.</summary>
    public bool WasDoneForMembership(string actionId, string profileId, IEnumerable<string> targets)
    {
        lock (_lock)
        {
            return IsTrue($"EXISTS(SELECT 1 FROM done WHERE action=$action AND is_over=0 AND {Whose(targets, out (string, object)[] parameters)})", [("$action", actionId), ("$profile", profileId), .. parameters]);
        }
    }

    /// <summary>How often it was done for this person within a time.</summary>
    /// <param name="actionId">One action; null: all.</param>
    /// <param name="profileId">The person.</param>
    /// <param name="targets">The person's ids there.</param>
    /// <param name="withinMs">Up to now.</param>
    public long CountDone(string? actionId, string profileId, IEnumerable<string> targets, long withinMs)
    {
        lock (_lock)
        {
            return (long)_file.Scalar(
                $"SELECT COUNT(*) FROM done WHERE ($action IS NULL OR action=$action) AND at>$since AND {Whose(targets, out (string, object)[] parameters)}",
                [("$action", actionId ?? (object)DBNull.Value), ("$since", NowMs - withinMs), ("$profile", profileId), .. parameters])!;
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _file.Dispose();
        return ValueTask.CompletedTask;
    }

    private static string Whose(IEnumerable<string> targets, out (string Name, object Value)[] parameters)
    {
        parameters = [.. targets.Take(100).Select((target, i) => ($"$target{i}", (object)target))];
        return $"(profile=$profile{(parameters.Length == 0 ? "" : $" OR target IN ({string.Join(',', parameters.Select(parameter => parameter.Name))})")})";
    }

    private void Take(ProfileChange change)
    {
        bool isEntered = change.Kind == ChangeKind.Entered;
        foreach (ActionDefinition action in _actions.Where(action => action.Segment == change.Segment))
        {
            if (action.OnEntered == isEntered)
            {
                string key = $"{change.Id}:{action.Id}";
                if ((!change.Backfill || action.Backfill) && !IsTrue("EXISTS(SELECT 1 FROM done WHERE key=$key)", ("$key", key)))
                {
                    Put(key, action.Id, change, change.At.ToUnixTimeMilliseconds() + action.AfterMs, isReplay: false);
                }

                continue;
            }

            // The membership, or its absence, that was waited on has ended.
            if (action.AfterMs > 0)
            {
                _file.Run("DELETE FROM due WHERE action=$action AND profile=$profile AND state=0 AND version<$version", ("$action", action.Id), ("$profile", change.ProfileId), ("$version", change.Version));
            }

            _file.Run("UPDATE done SET is_over=1 WHERE action=$action AND profile=$profile", ("$action", action.Id), ("$profile", change.ProfileId));
            _file.Run("INSERT INTO ended VALUES($action, $profile, $version) ON CONFLICT DO UPDATE SET version=MAX(version, excluded.version)", ("$action", action.Id), ("$profile", change.ProfileId), ("$version", change.Version));
        }
    }

    private long NowMs => _time.GetUtcNow().ToUnixTimeMilliseconds();

    private bool IsTrue(string condition, params ReadOnlySpan<(string Name, object Value)> parameters) => (long)_file.Scalar("SELECT " + condition, parameters)! == 1;

    private void Put(string key, string actionId, ProfileChange change, long dueMs, bool isReplay) => _file.Run(
        "INSERT OR IGNORE INTO due VALUES($key, $action, $segment, $is_entered, $profile, $version, $at, $cause, $reason, $due, 0, 0, NULL, $is_merge, $is_replay)",
        ("$key", key),
        ("$action", actionId),
        ("$segment", change.Segment!),
        ("$is_entered", change.Kind == ChangeKind.Entered ? 1 : 0),
        ("$profile", change.ProfileId),
        ("$version", change.Version),
        ("$at", change.At.ToUnixTimeMilliseconds()),
        ("$cause", change.Cause ?? (object)DBNull.Value),
        ("$reason", change.Reason ?? (object)DBNull.Value),
        ("$due", dueMs),
        ("$is_merge", change.Reason == "merge" ? 1 : 0),
        ("$is_replay", isReplay ? 1 : 0));

    /// <summary>What waits for the one, and what was done, is the other's from now on; what waits twice then is done once, at the earlier time.</summary>
    private void Merge(string from, string into)
    {
        _file.Run("UPDATE due SET profile=$into, is_merge=1 WHERE profile IN ($from, $into)", ("$from", from), ("$into", into));
        _file.Run("UPDATE done SET profile=$into WHERE profile=$from", ("$from", from), ("$into", into));
        _file.Run("""
            DELETE FROM due WHERE profile=$into AND state=0 AND is_replay=0 AND EXISTS(
                SELECT 1 FROM due AS other WHERE other.profile=$into AND other.action=due.action AND other.state=0 AND other.is_replay=0 AND (other.due_at, other.key)<(due.due_at, due.key))
            """, ("$into", into));
    }

    private List<ScheduledAction> Read(string sql, params ReadOnlySpan<(string Name, object Value)> parameters) => _file.Read(sql, Action, parameters);

    private static ScheduledAction Action(SqliteDataReader reader)
    {
        var change = new ProfileChange
        {
            Action = reader.GetString(1),
            Segment = reader.GetString(2),
            Kind = reader.GetInt64(3) == 1 ? ChangeKind.Entered : ChangeKind.Exited,
            ProfileId = reader.GetString(4),
            Version = reader.GetInt64(5),
            At = DateTimeOffset.FromUnixTimeMilliseconds(reader.GetInt64(6)),
            Cause = reader.IsDBNull(7) ? null : reader.GetString(7),
            Reason = reader.IsDBNull(8) ? null : reader.GetString(8),
        };
        return new ScheduledAction(reader.GetString(0), change.Action, change, reader.GetInt32(11), reader.IsDBNull(12) ? null : reader.GetInt64(12), reader.GetInt64(13) == 1, reader.GetInt64(14) == 1, DateTimeOffset.FromUnixTimeMilliseconds(reader.GetInt64(9)));
    }
}
