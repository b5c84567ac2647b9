using System.Text.Json;

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
    private readonly StateFile _file;
    private readonly bool _knowsAll;
    private readonly HashSet<string> _removed = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _told = new(StringComparer.Ordinal);
    private readonly HashSet<string> _owed = new(StringComparer.Ordinal);

    /// <summary>Opens or makes the file.</summary>
    /// <param name="directory">Made where it is missing.</param>
    /// <param name="settings">With a purpose.</param>
    /// <param name="hasSent">The destination has sent before, perhaps without a purpose: then of everybody who is not known to the gate the other side may have something.</param>
    /// <exception cref="InvalidDataException">It is damaged; the message says what to do.</exception>
    public ConsentGate(string directory, DestinationSettings settings, bool hasSent)
    {
        _settings = settings;
        _file = Open(directory, settings.Id, hasSent);
        _knowsAll = _file.Scalar("SELECT COUNT(*) FROM began") is 0L;
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

    /// <summary>A destination sends without a purpose: where it had one, of everybody who is not known to the gate the other side may have something from now on.</summary>
    public static void SentWithout(string directory, string destinationId)
    {
        if (File.Exists(Path.Combine(directory, Name(destinationId))))
        {
            using StateFile file = Open(directory, destinationId, hasSent: true);
            file.Run("INSERT INTO began SELECT 1 WHERE NOT EXISTS(SELECT 1 FROM began)");
        }
    }

    /// <summary>Makes durable of whom something is about to be sent.</summary>
    public void Begin() => Write(() =>
    {
        foreach (string profile in _owed)
        {
            Put(profile, IsOwed);
        }
    }, _owed.Count);

    /// <summary>A person consents now.</summary>
    public bool IsGiven(ProfileView? view) => view is { MergedInto: null } && view.Value(_settings.Consent!.Path).ValueKind == JsonValueKind.True;

    /// <summary>What was decided was taken or refused for good, and is remembered so. <paramref name="isSent"/> false: it comes again, and is decided again.</summary>
    public void End(bool isSent)
    {
        Write(() =>
        {
            foreach ((string profile, long version) in _told)
            {
                Put(profile, version);
            }

            foreach (string profile in _removed)
            {
                if (_knowsAll)
                {
                    _file.Run("DELETE FROM sent WHERE profile=$profile", ("$profile", profile));
                }
                else
                {
                    Put(profile, IsRemoved);
                }
            }
        }, isSent ? _told.Count + _removed.Count : 0);
        _owed.Clear();
        _told.Clear();
        _removed.Clear();
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static string Name(string destinationId) => "consent-" + destinationId + ".sqlite";

    private static StateFile Open(string directory, string destinationId, bool hasSent) => new(
        directory,
        Name(destinationId),
        version: 1,
        isDurable: true,
        cacheKib: 8192,
        isNew => $"""
            CREATE TABLE IF NOT EXISTS sent(profile TEXT PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS began(late INTEGER NOT NULL);
            {(isNew && hasSent ? "INSERT INTO began VALUES(1);" : "")}
            """,
        "Put back a copy: without it nobody knows whom to remove from the destination.");

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
            _owed.Add(id);
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

        return _owed.Contains(profile) ? IsOwed : _file.Scalar("SELECT since FROM sent WHERE profile=$profile", ("$profile", profile)) switch { null => _knowsAll ? null : 0, IsRemoved => null, var since => (long)since };
    }

    private void Put(string profile, long since) => _file.Run("INSERT INTO sent VALUES($profile, $since) ON CONFLICT DO UPDATE SET since=excluded.since", ("$profile", profile), ("$since", since));

    private void Write(Action work, int rows)
    {
        if (rows > 0)
        {
            _file.InTransaction(work);
        }
    }
}
