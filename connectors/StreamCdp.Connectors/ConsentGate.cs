using System.Text.Json;
using Microsoft.Data.Sqlite;

namespace StreamCdp.Connectors;

/// <summary>Lets through what people have consented to, for a destination with a purpose; and has removed what was sent of people who took the consent back.</summary>
/// <remarks>
/// It remembers on disk of whom the other side has something: a profile stands there before the first change of it is sent, and until the removal has been taken. So a crash can repeat a removal or a
/// first sending and never lose one. Who consents is sent with all memberships of now, because none that began before was.
/// </remarks>
internal sealed class ConsentGate : IDisposable
{
    private const long IsOwed = -1; // The other side may have something under this id; the memberships of now are not known to have been sent.
    private const long IsRemoved = -2; // Only where people without a row may have been sent before the destination had its purpose.

    private readonly DestinationSettings _settings;
    private readonly SqliteConnection _connection;
    private readonly string _path;
    private readonly bool _knowsAll;
    private readonly HashSet<string> _removed = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _told = new(StringComparer.Ordinal);
    private bool _isOpen;

    /// <summary>Opens or makes the file.</summary>
    /// <param name="directory">Made where it is missing.</param>
    /// <param name="settings">With a purpose.</param>
    /// <param name="hasSent">The destination has sent before, perhaps without a purpose: then of everybody who is not known to the gate the other side may have something.</param>
    /// <exception cref="InvalidDataException">It is damaged; the message says what to do.</exception>
    public ConsentGate(string directory, DestinationSettings settings, bool hasSent)
    {
        _settings = settings;
        Directory.CreateDirectory(directory);
        _path = Path.Combine(directory, "consent-" + settings.Id + ".sqlite");
        _connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = _path, Pooling = false }.ToString());
        try
        {
            _connection.Open();
            Run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", null, 0);
            using SqliteCommand version = _connection.CreateCommand();
            version.CommandText = "PRAGMA user_version";
            if (version.ExecuteScalar() is 0L)
            {
                Run($"""
                    BEGIN;
                    CREATE TABLE sent(profile TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
                    CREATE TABLE began(late INTEGER NOT NULL);
                    {(hasSent ? "INSERT INTO began VALUES(1);" : "")}
                    PRAGMA user_version=1;
                    COMMIT;
                    """, null, 0);
            }

            using SqliteCommand began = _connection.CreateCommand();
            began.CommandText = "SELECT COUNT(*) FROM began";
            _knowsAll = began.ExecuteScalar() is 0L;
        }
        catch (Exception exception) when (exception is SqliteException or IOException)
        {
            _connection.Dispose();
            throw new InvalidDataException($"{_path} cannot be used ({exception.Message}). Put back a copy: without it nobody knows whom to remove from {settings.Id}.", exception);
        }
    }

    /// <summary>What is sent of a change. In the log's order, then <see cref="Begin"/>, send, <see cref="End"/>.</summary>
    /// <param name="logged">The change.</param>
    /// <param name="complete">With what the profile has now; null: it is no longer true.</param>
    /// <param name="view">The profile as it is now, of a merge the survivor; null: nobody knows it.</param>
    public IReadOnlyList<ProfileChange> Decide(LoggedChange logged, ProfileChange? complete, ProfileView? view)
    {
        ProfileChange change = logged.Change;
        string id = change.ProfileId;
        bool consents = IsGiven(view);
        long? since = Since(id);
        if (change.Kind == ChangeKind.Merged)
        {
            if (since is null && !logged.IsReplay)
            {
                return [];
            }

            // Now the other side may have something under the survivor's id, whatever was read of it before.
            string into = change.MergedInto!;
            Remove(id);
            return view is not { MergedInto: null } || view.Id != into ? Owe(into, [change])
                : consents ? Since(into) is null or IsOwed ? [change, .. Tell(view)] : [change]
                : [change, Suppressed(into, view, view.Version, view.UpdatedAt)];
        }

        if (!consents)
        {
            // Of one that became part of another, the merge tells.
            return view?.MergedInto is not null || (since is null && !logged.IsReplay) ? [] : [Suppressed(id, view, change.Version, change.At)];
        }

        if (since is null or IsOwed)
        {
            return Tell(view!);
        }

        return change.Kind switch
        {
            ChangeKind.Profile => _settings.SendsProfiles && complete is not null ? [complete] : [],
            ChangeKind.Entered or ChangeKind.Exited => complete is not null && (change.Version > since || logged.IsReplay) ? [complete] : [],
            _ => [],
        };
    }

    /// <summary>Makes durable of whom something is about to be sent.</summary>
    public void Begin()
    {
        if (_isOpen)
        {
            _isOpen = false; // Also where it fails: then SQLite has rolled back.
            Run("COMMIT", null, 0);
        }
    }

    /// <summary>A destination sends without a purpose: where it had one, of everybody who is not known to the gate the other side may have something from now on.</summary>
    public static void SentWithout(string directory, string destinationId)
    {
        string path = Path.Combine(directory, "consent-" + destinationId + ".sqlite");
        if (!File.Exists(path))
        {
            return;
        }

        using var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false }.ToString());
        connection.Open();
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = "INSERT INTO began SELECT 1 WHERE NOT EXISTS(SELECT 1 FROM began)";
        command.ExecuteNonQuery();
    }

    /// <summary>A person consents now.</summary>
    public bool IsGiven(ProfileView? view) => view is { MergedInto: null } && view.Value(_settings.Consent!.Path).ValueKind == JsonValueKind.True;

    /// <summary>What was decided was taken or refused for good, and is remembered so. <paramref name="isSent"/> false: it comes again, and is decided again.</summary>
    public void End(bool isSent)
    {
        if (isSent)
        {
            foreach ((string profile, long version) in _told)
            {
                Put(profile, version);
            }

            foreach (string profile in _removed)
            {
                if (_knowsAll)
                {
                    Run("DELETE FROM sent WHERE profile=$profile", profile, 0);
                }
                else
                {
                    Put(profile, IsRemoved);
                }
            }

            Begin();
        }

        _told.Clear();
        _removed.Clear();
    }

    /// <inheritdoc/>
    public void Dispose() => _connection.Dispose();

    private ProfileChange Suppressed(string id, ProfileView? view, long version, DateTimeOffset at)
    {
        Remove(id);
        return new ProfileChange { Kind = ChangeKind.Suppressed, ProfileId = id, Version = Math.Max(version, view?.Version ?? 0), At = view?.UpdatedAt ?? at, Identifiers = view?.Identifiers ?? [] };
    }

    private void Remove(string id)
    {
        _told.Remove(id);
        _removed.Add(id);
    }

    private List<ProfileChange> Owe(string id, List<ProfileChange> changes)
    {
        _removed.Remove(id);
        if (Since(id) is null)
        {
            Put(id, IsOwed);
        }

        return changes;
    }

    /// <summary>All that a person is and is in now. It stands on the disk as owed until it was taken.</summary>
    private List<ProfileChange> Tell(ProfileView view)
    {
        List<ProfileChange> changes = Owe(view.Id, _settings.SendsProfiles ? [ChangeReader.Of(view, _settings)] : []);
        _told[view.Id] = view.Version;
        if (_settings.SendsMemberships)
        {
            changes.AddRange(view.Segments.Where(segment => _settings.Segments?.Contains(segment) != false).Select(segment => new ProfileChange
            {
                Kind = ChangeKind.Entered,
                ProfileId = view.Id,
                Version = view.Version,
                At = view.UpdatedAt,
                Segment = segment,
                Reason = "consent",
                Identifiers = view.Identifiers,
                Fields = view.Fields(_settings.Fields),
            }));
        }

        return changes;
    }

    /// <summary>From which version on the other side was told of a profile, with this batch; null: it has nothing.</summary>
    private long? Since(string profile)
    {
        if (_removed.Contains(profile))
        {
            return null;
        }

        if (_told.TryGetValue(profile, out long told))
        {
            return told;
        }

        using SqliteCommand command = _connection.CreateCommand();
        command.CommandText = "SELECT since FROM sent WHERE profile=$profile";
        command.Parameters.AddWithValue("$profile", profile);
        return command.ExecuteScalar() switch { null => _knowsAll ? null : 0, IsRemoved => null, var since => (long)since };
    }

    private void Put(string profile, long since) => Run("INSERT INTO sent VALUES($profile, $since) ON CONFLICT DO UPDATE SET since=excluded.since", profile, since);

    /// <summary>With a profile within a transaction, which <see cref="Begin"/> ends. By SQL alone: after a commit that fails, SqliteTransaction knows no way on.</summary>
    private void Run(string sql, string? profile, long since)
    {
        try
        {
            using SqliteCommand command = _connection.CreateCommand();
            if (profile is not null && !_isOpen)
            {
                command.CommandText = "BEGIN";
                command.ExecuteNonQuery();
                _isOpen = true;
            }

            command.CommandText = sql;
            if (profile is not null)
            {
                command.Parameters.AddWithValue("$profile", profile);
                command.Parameters.AddWithValue("$since", since);
            }

            command.ExecuteNonQuery();
        }
        catch (SqliteException exception)
        {
            RollBack();
            throw new IOException($"{_path} cannot be written ({exception.Message}).", exception); // A disk that is full is waited for, as one under a log is.
        }
    }

    private void RollBack()
    {
        _isOpen = false;
        try
        {
            using SqliteCommand command = _connection.CreateCommand();
            command.CommandText = "ROLLBACK";
            command.ExecuteNonQuery();
        }
        catch (SqliteException)
        {
            // There was none any more.
        }
    }
}
