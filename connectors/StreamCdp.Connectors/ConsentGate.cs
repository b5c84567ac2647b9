using System.Text.Json;
using Microsoft.Data.Sqlite;

namespace StreamCdp.Connectors;

/// <summary>Lets through what people have consented to, for a destination with a purpose; and has removed what was sent of people who took the consent back.</summary>
/// <remarks>
/// It remembers on disk of whom the other side has something: a profile stands there before the first change of it is sent, and until the removal has been taken. So a crash can repeat a removal and never lose one.
/// Who consents is sent with all memberships of now, because none that began before was.
/// </remarks>
internal sealed class ConsentGate : IDisposable
{
    private const long IsOwed = -1; // The other side has something under this id from a merge; the memberships of now were not sent.

    private readonly DestinationSettings _settings;
    private readonly SqliteConnection _connection;
    private readonly HashSet<string> _forget = new(StringComparer.Ordinal);
    private SqliteTransaction? _transaction;

    /// <summary>Opens or makes the file.</summary>
    /// <param name="directory">Made where it is missing.</param>
    /// <param name="settings">With a purpose.</param>
    /// <exception cref="InvalidDataException">It is damaged; the message says what to do.</exception>
    public ConsentGate(string directory, DestinationSettings settings)
    {
        _settings = settings;
        Directory.CreateDirectory(directory);
        string path = Path.Combine(directory, "consent-" + settings.Id + ".sqlite");
        _connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false }.ToString());
        try
        {
            _connection.Open();
            Run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS sent(profile TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID; PRAGMA user_version=1;", null, 0);
        }
        catch (SqliteException exception)
        {
            _connection.Dispose();
            throw new InvalidDataException($"{path} cannot be used ({exception.Message}). Put back a copy: without it nobody knows whom to remove from {settings.Id}.", exception);
        }
    }

    /// <summary>What is sent of a change. In the log's order, then <see cref="Begin"/>, send, <see cref="End"/>.</summary>
    /// <param name="logged">The change.</param>
    /// <param name="complete">With what the profile has now; null: it is no longer true.</param>
    /// <param name="view">The profile as it is now; null: nobody knows it.</param>
    public IReadOnlyList<ProfileChange> Decide(LoggedChange logged, ProfileChange? complete, ProfileView? view)
    {
        ProfileChange change = logged.Change;
        string id = change.ProfileId;
        long? since = _forget.Contains(id) ? null : Since(id);
        if (change.Kind == ChangeKind.Merged)
        {
            if (since is null && !logged.IsReplay)
            {
                return [];
            }

            _forget.Add(id);
            Put(change.MergedInto!, Since(change.MergedInto!) ?? IsOwed);
            return [change];
        }

        if (view is not { MergedInto: null } || view.Value(_settings.Consent!.Path).ValueKind != JsonValueKind.True)
        {
            if (view?.MergedInto is not null || (since is null && !logged.IsReplay))
            {
                return []; // Of one that became part of another, the merge tells.
            }

            _forget.Add(id);
            return [new ProfileChange { Kind = ChangeKind.Suppressed, ProfileId = id, Version = Math.Max(change.Version, view?.Version ?? 0), At = view?.UpdatedAt ?? change.At, Identifiers = view?.Identifiers ?? [] }];
        }

        if (since is null or IsOwed)
        {
            Put(id, view.Version);
            return Everything(view);
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
        _transaction?.Commit();
        _transaction?.Dispose();
        _transaction = null;
    }

    /// <summary>What was decided was taken or refused for good: who was removed is forgotten. <paramref name="isSent"/> false: it comes again.</summary>
    public void End(bool isSent)
    {
        foreach (string profile in isSent ? _forget : [])
        {
            Run("DELETE FROM sent WHERE profile=$profile", profile, 0);
        }

        Begin();
        _forget.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _transaction?.Dispose();
        _connection.Dispose();
    }

    private List<ProfileChange> Everything(ProfileView view)
    {
        List<ProfileChange> changes = _settings.SendsProfiles ? [ChangeReader.Of(view, _settings)] : [];
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

    private long? Since(string profile)
    {
        using SqliteCommand command = _connection.CreateCommand();
        command.CommandText = "SELECT since FROM sent WHERE profile=$profile";
        command.Parameters.AddWithValue("$profile", profile);
        return command.ExecuteScalar() as long?;
    }

    private void Put(string profile, long since) => Run("INSERT INTO sent VALUES($profile, $since) ON CONFLICT DO UPDATE SET since=excluded.since", profile, since);

    private void Run(string sql, string? profile, long since)
    {
        if (profile is not null)
        {
            _transaction ??= _connection.BeginTransaction();
        }

        using SqliteCommand command = _connection.CreateCommand();
        command.CommandText = sql;
        if (profile is not null)
        {
            command.Parameters.AddWithValue("$profile", profile);
            command.Parameters.AddWithValue("$since", since);
        }

        command.ExecuteNonQuery();
    }
}
