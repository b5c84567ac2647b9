using System.Globalization;
using System.Text.Json;
using Microsoft.Data.Sqlite;

namespace StreamCdp.Connectors.Crm;

/// <summary>The link table of one connection, and its cursors: saved together in one transaction, so that neither is ever ahead of the other.</summary>
/// <remarks>SQLite: a million links in bounded memory, whole or not at all after a crash (adr/0010). Not safe for concurrent use.</remarks>
internal sealed class CrmLinks : IDisposable
{
    private const int Version = 1;
    private const int KeptConflicts = 100_000;
    private const int MostMissing = 100; // As many as one question to the CRM can have.
    private const int Scanned = 5_000;

    private readonly StateFile _file;
    private readonly SqliteCommand _get;
    private readonly SqliteCommand _put;
    private readonly SqliteCommand _cursor;
    private readonly SqliteCommand _putCursor;
    private readonly SqliteCommand _conflict;
    private readonly SqliteCommand _unname;
    private readonly SqliteCommand _name;
    private readonly SqliteCommand _isNamed;
    private readonly SqliteCommand _doom;
    private readonly SqliteCommand _spare;

    /// <summary>Opens or makes the file.</summary>
    /// <param name="directory">Made where it is missing.</param>
    /// <param name="connectionId">A name of the model: safe in a path.</param>
    /// <exception cref="InvalidDataException">It is no link table of this version; the message says what to do.</exception>
    public CrmLinks(string directory, string connectionId)
    {
        _file = new StateFile(
            directory,
            "crm-" + connectionId + ".sqlite",
            Version,
            isDurable: false,
            cacheKib: 16384,
            _ => """
                CREATE TABLE IF NOT EXISTS link(kind INTEGER NOT NULL, id TEXT NOT NULL, profile TEXT, is_deleted INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
                CREATE INDEX IF NOT EXISTS link_profile ON link(profile) WHERE profile IS NOT NULL;
                CREATE INDEX IF NOT EXISTS link_living ON link(kind, id) WHERE is_deleted=0;
                CREATE TABLE IF NOT EXISTS listed(kind INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
                CREATE TABLE IF NOT EXISTS cursor(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
                CREATE TABLE IF NOT EXISTS conflict(number INTEGER PRIMARY KEY, at TEXT NOT NULL, kind INTEGER NOT NULL, id TEXT NOT NULL, field TEXT NOT NULL, kept TEXT, lost TEXT);
                CREATE INDEX IF NOT EXISTS conflict_field ON conflict(kind, id, field);
                CREATE TABLE IF NOT EXISTS named(contact TEXT NOT NULL, kind INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY(contact, kind, id)) WITHOUT ROWID;
                CREATE INDEX IF NOT EXISTS named_by ON named(kind, id);
                CREATE TABLE IF NOT EXISTS doomed(id TEXT PRIMARY KEY, day TEXT NOT NULL) WITHOUT ROWID;
                CREATE TEMP TABLE present(kind INTEGER NOT NULL, id TEXT NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
                """,
            "Put back a copy. Without one, delete the file: then the CRM and the profiles meet anew, and where both have a value the field's policy decides.");
        _get = Command("SELECT profile, is_deleted, data FROM link WHERE kind=$kind AND id=$id", "$kind", "$id");
        _put = Command(
            "INSERT INTO link VALUES($kind, $id, $profile, $is_deleted, $data) ON CONFLICT DO UPDATE SET profile=excluded.profile, is_deleted=excluded.is_deleted, data=excluded.data",
            "$kind",
            "$id",
            "$profile",
            "$is_deleted",
            "$data");
        _cursor = Command("SELECT value FROM cursor WHERE name=$name", "$name");
        _putCursor = Command("INSERT INTO cursor VALUES($name, $value) ON CONFLICT DO UPDATE SET value=excluded.value", "$name", "$value");
        _conflict = Command(
            """
            INSERT INTO conflict(at, kind, id, field, kept, lost) SELECT $at, $kind, $id, $field, $kept, $lost WHERE NOT EXISTS(
                SELECT 1 FROM conflict AS other WHERE other.kept IS $kept AND other.lost IS $lost AND number=(SELECT max(number) FROM conflict WHERE kind=$kind AND id=$id AND field=$field))
            """,
            "$at",
            "$kind",
            "$id",
            "$field",
            "$kept",
            "$lost");
        _unname = Command("DELETE FROM named WHERE kind=$kind AND id=$id", "$kind", "$id");
        _name = Command("INSERT OR IGNORE INTO named VALUES($contact, $kind, $id)", "$contact", "$kind", "$id");
        _isNamed = Command(string.Create(CultureInfo.InvariantCulture, $"SELECT EXISTS(SELECT 1 FROM named WHERE contact=$contact AND kind<>{(int)CrmObject.Company})"), "$contact");
        _doom = Command("INSERT INTO doomed VALUES($id, $day) ON CONFLICT DO UPDATE SET day=excluded.day", "$id", "$day");
        _spare = Command("DELETE FROM doomed WHERE id=$id", "$id");
    }

    /// <summary>The file.</summary>
    public string Path => _file.Path;

    /// <summary>What is known of a record; null: nothing.</summary>
    public CrmLink? Find(CrmObject kind, string id)
    {
        Set(_get, (int)kind, id);
        using SqliteDataReader reader = _get.ExecuteReader();
        return reader.Read() ? Read(kind, id, reader, 0) : null;
    }

    /// <summary>All records of an object that belong to a profile, deleted ones too.</summary>
    public IReadOnlyList<CrmLink> OfProfile(CrmObject kind, string profileId)
    {
        using SqliteCommand command = Command("SELECT id, profile, is_deleted, data FROM link WHERE kind=$kind AND profile=$profile", "$kind", "$profile");
        Set(command, (int)kind, profileId);
        using SqliteDataReader reader = command.ExecuteReader();
        List<CrmLink> links = [];
        while (reader.Read())
        {
            links.Add(Read(kind, reader.GetString(0), reader, 1));
        }

        return links;
    }

    /// <summary>A deal or activity that is there names this contact, so somebody works with it. A company says nothing of the kind: CRMs link it by the domain of an address.</summary>
    public bool IsNamed(string contactId)
    {
        Set(_isNamed, contactId);
        return _isNamed.ExecuteScalar() is 1L;
    }

    /// <summary>Contacts that wait to be deleted, some of them: first those whose deletion was begun on a day, and so counts no more.</summary>
    public IReadOnlyList<(string Id, bool IsBegun)> Doomed(string day, int limit) =>
        _file.Read("SELECT id, day=$day FROM doomed ORDER BY day=$day DESC LIMIT $limit", row => (row.GetString(0), row.GetBoolean(1)), ("$day", day), ("$limit", limit));

    /// <summary>A saved cursor; null: none.</summary>
    public string? Cursor(string name)
    {
        Set(_cursor, name);
        return _cursor.ExecuteScalar() as string;
    }

    /// <summary>Saves links and cursors together.</summary>
    /// <param name="links">Whole.</param>
    /// <param name="cursors">The others stay.</param>
    /// <param name="conflicts">One that says the same as the latest of its field is that one, decided again: after a crash, or because somebody was faster.</param>
    /// <returns>Conflicts that are new.</returns>
    public int Save(IEnumerable<CrmLink> links, IEnumerable<(string Name, string Value)> cursors, IEnumerable<CrmConflict>? conflicts = null)
    {
        int added = 0;
        _file.InTransaction(() => added = SaveAll(links, cursors, conflicts ?? []));
        return added;
    }

    /// <summary>Conflicts, the newest first.</summary>
    /// <param name="before">The number of the last one of the page before; <see cref="long.MaxValue"/>: from the newest on.</param>
    /// <param name="limit">At most so many.</param>
    public IReadOnlyList<(long Number, CrmConflict Conflict)> Conflicts(long before, int limit) => _file.Read(
        "SELECT number, at, kind, id, field, kept, lost FROM conflict WHERE number<$before ORDER BY number DESC LIMIT $limit",
        row => (row.GetInt64(0), new CrmConflict(
            DateTimeOffset.Parse(row.GetString(1), CultureInfo.InvariantCulture), (CrmObject)row.GetInt32(2), row.GetString(3), row.GetString(4), row.IsDBNull(5) ? null : row.GetString(5), row.IsDBNull(6) ? null : row.GetString(6))),
        ("$before", before),
        ("$limit", limit));

    /// <summary>How many conflicts are kept.</summary>
    public long CountConflicts() => (long)_file.Scalar("SELECT count(*) FROM conflict")!;

    private int SaveAll(IEnumerable<CrmLink> links, IEnumerable<(string Name, string Value)> cursors, IEnumerable<CrmConflict> conflicts)
    {
        int added = 0;
        foreach (CrmLink link in links)
        {
            Set(_put, (int)link.Kind, link.Id, link.Profile, link.IsDeleted ? 1 : 0, JsonSerializer.SerializeToUtf8Bytes(link, LinkJson.Default.CrmLink));
            _put.ExecuteNonQuery();
            if (link.Kind == CrmObject.Contact)
            {
                SqliteCommand fate = link.AwaitsDelete ? _doom : _spare;
                Set(fate, link.AwaitsDelete ? [link.Id, link.DeleteDay ?? ""] : [link.Id]);
                fate.ExecuteNonQuery();
                continue;
            }

            Set(_unname, (int)link.Kind, link.Id);
            _unname.ExecuteNonQuery();
            foreach (string contact in link.ContactIds)
            {
                Set(_name, contact, (int)link.Kind, link.Id);
                _name.ExecuteNonQuery();
            }
        }

        foreach ((string name, string value) in cursors)
        {
            Set(_putCursor, name, value);
            _putCursor.ExecuteNonQuery();
        }

        foreach (CrmConflict conflict in conflicts)
        {
            Set(_conflict, conflict.At.ToString("O", CultureInfo.InvariantCulture), (int)conflict.Kind, conflict.Id, conflict.Field, conflict.Kept, conflict.Lost);
            added += _conflict.ExecuteNonQuery();
        }

        return added;
    }

    /// <summary>Forgets the oldest conflicts beyond those kept.</summary>
    public void Trim() => _file.Run(string.Create(CultureInfo.InvariantCulture, $"DELETE FROM conflict WHERE number <= (SELECT max(number) FROM conflict) - {KeptConflicts}"));

    // ---- Which ids the CRM has, kept on disk and not in memory: for the whole reader over restarts, for a plan as long as it is made. ----

    /// <summary>Begins to note what the CRM has of an object.</summary>
    /// <param name="kind">Which object.</param>
    /// <param name="isKept">Over a restart.</param>
    public void BeginListed(CrmObject kind, bool isKept) => _file.Run(string.Create(CultureInfo.InvariantCulture, $"DELETE FROM {Table(isKept)} WHERE kind={(int)kind}"));

    /// <summary>The CRM has these.</summary>
    /// <returns>Those that were not noted yet.</returns>
    public IReadOnlyList<string> AddListed(CrmObject kind, IEnumerable<string> ids, bool isKept, IEnumerable<(string Name, string Value)>? cursors = null)
    {
        List<string> added = [];
        _file.InTransaction(() =>
        {
            using SqliteCommand command = Command($"INSERT OR IGNORE INTO {Table(isKept)} VALUES($kind, $id)", "$kind", "$id");
            foreach (string id in ids)
            {
                Set(command, (int)kind, id);
                if (command.ExecuteNonQuery() == 1)
                {
                    added.Add(id);
                }
            }

            SaveAll([], cursors ?? [], []);
        });
        return added;
    }

    /// <summary>Linked records that the CRM did not list, after an id; a part of them, and where the next one begins, null: nowhere.</summary>
    public (IReadOnlyList<string> Ids, string? After) Missing(CrmObject kind, string after, bool isKept) => Others(
        $"SELECT id, EXISTS(SELECT 1 FROM {Table(isKept)} AS other WHERE other.kind=$kind AND other.id=link.id) FROM link WHERE kind=$kind AND is_deleted=0 AND id>$after ORDER BY id LIMIT {Scanned}", kind, after);

    /// <summary>Records that the CRM listed and that are not linked, after an id.</summary>
    public (IReadOnlyList<string> Ids, string? After) Unknown(CrmObject kind, string after) => Others(
        $"SELECT id, EXISTS(SELECT 1 FROM link WHERE link.kind=$kind AND link.id=listed.id AND is_deleted=0) FROM listed WHERE kind=$kind AND id>$after ORDER BY id LIMIT {Scanned}", kind, after);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SqliteCommand command in (SqliteCommand[])[_get, _put, _cursor, _putCursor, _conflict, _unname, _name, _isNamed, _doom, _spare])
        {
            command.Dispose();
        }

        _file.Dispose();
    }

    private static string Table(bool isKept) => isKept ? "listed" : "present";

    /// <summary>Of the next rows those whose second column is 0; never so many rows that others wait.</summary>
    private (IReadOnlyList<string> Ids, string? After) Others(string sql, CrmObject kind, string after)
    {
        using SqliteCommand command = Command(sql, "$kind", "$after");
        Set(command, (int)kind, after);
        using SqliteDataReader reader = command.ExecuteReader();
        List<string> ids = [];
        int rows = 0;
        string last = after;
        while (ids.Count < MostMissing && reader.Read())
        {
            rows++;
            last = reader.GetString(0);
            if (reader.GetInt32(1) == 0)
            {
                ids.Add(last);
            }
        }

        return (ids, ids.Count == MostMissing || rows == Scanned ? last : null);
    }

    private CrmLink Read(CrmObject kind, string id, SqliteDataReader reader, int from)
    {
        try
        {
            CrmLink link = JsonSerializer.Deserialize((byte[])reader[from + 2], LinkJson.Default.CrmLink) ?? throw new JsonException();
            (link.Kind, link.Id, link.Profile, link.IsDeleted) = (kind, id, reader.IsDBNull(from) ? null : reader.GetString(from), reader.GetInt32(from + 1) == 1);
            return link;
        }
        catch (JsonException exception)
        {
            throw _file.Unfit("a row of it cannot be read", exception);
        }
    }

    /// <param name="sql">A constant, or made of numbers alone.</param>
    /// <param name="names">Parameters in the order of <see cref="Set"/>.</param>
    private SqliteCommand Command(string sql, params string[] names)
    {
        SqliteCommand command = _file.Command(sql);
        foreach (string name in names)
        {
            command.Parameters.Add(new SqliteParameter { ParameterName = name });
        }

        return command;
    }

    private static void Set(SqliteCommand command, params object?[] values)
    {
        for (int i = 0; i < values.Length; i++)
        {
            command.Parameters[i].Value = values[i] ?? DBNull.Value;
        }
    }
}

/// <summary>A field that both sides had changed: what stayed and what went, so that a person can put it back.</summary>
internal sealed record CrmConflict(DateTimeOffset At, CrmObject Kind, string Id, string Field, string? Kept, string? Lost);
