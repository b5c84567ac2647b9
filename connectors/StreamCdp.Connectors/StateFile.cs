using System.Diagnostics.CodeAnalysis;
using Microsoft.Data.Sqlite;

namespace StreamCdp.Connectors;

/// <summary>A file of the kit's state, in SQLite (adr/0010): links of a CRM, scheduled actions, who was sent with a consent. Not safe for concurrent use.</summary>
/// <remarks>
/// What cannot be written is an <see cref="IOException"/>, so that a full disk is waited for as one under a log is. Transactions are SQL alone: after a commit that fails SQLite has rolled back, and
/// SqliteTransaction knows no way on.
/// </remarks>
internal sealed class StateFile : IDisposable
{
    private readonly SqliteConnection _connection;
    private readonly string _whatToDo;

    /// <summary>Opens or makes the file.</summary>
    /// <param name="directory">Made where it is missing.</param>
    /// <param name="name">Of the file; made of names of the model.</param>
    /// <param name="version">Of its tables.</param>
    /// <param name="isDurable">Each transaction is on the disk when it ends; else the last ones may be missing after a power cut, and none is torn.</param>
    /// <param name="cacheKib">Memory for its pages, KiB.</param>
    /// <param name="schema">Statements that can run at each start; told whether the file is new.</param>
    /// <param name="whatToDo">For people, where it cannot be used.</param>
    /// <exception cref="InvalidDataException">It is damaged or of another version; the message says what to do.</exception>
    public StateFile(string directory, string name, int version, bool isDurable, int cacheKib, Func<bool, string> schema, string whatToDo)
    {
        Directory.CreateDirectory(directory);
        Path = System.IO.Path.Combine(directory, name);
        _whatToDo = whatToDo;
        _connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = Path, Pooling = false }.ToString());
        try
        {
            _connection.Open();
            Run($"PRAGMA journal_mode=WAL; PRAGMA synchronous={(isDurable ? "FULL" : "NORMAL")}; PRAGMA cache_size=-{cacheKib};");
            long found = (long)Scalar("PRAGMA user_version")!;
            if (found != 0 && found != version)
            {
                throw Unfit("it is of another version of StreamCdp");
            }

            InTransaction(() => Run(schema(found == 0) + (found == 0 ? $" PRAGMA user_version={version};" : ""))); // Nothing is written to one that is there: somebody else may be at work in it.
        }
        catch (Exception exception) when (exception is SqliteException or IOException)
        {
            _connection.Dispose();
            throw Unfit((exception.InnerException ?? exception).Message, exception);
        }
        catch
        {
            _connection.Dispose();
            throw;
        }
    }

    /// <summary>Where it is.</summary>
    public string Path { get; }

    /// <summary>It cannot be used.</summary>
    public InvalidDataException Unfit(string why, Exception? inner = null) => new($"{Path} cannot be used: {why}. {_whatToDo}", inner);

    /// <summary>A statement to be run many times.</summary>
    /// <param name="sql">No text from outside: values are parameters.</param>
    [SuppressMessage("Security", "CA2100", Justification = "No text from outside is in any statement: values are parameters.")]
    public SqliteCommand Command(string sql)
    {
        SqliteCommand command = _connection.CreateCommand();
        command.CommandText = sql;
        return command;
    }

    /// <summary>Runs a statement.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Run(string sql, params ReadOnlySpan<(string Name, object Value)> parameters)
    {
        using SqliteCommand command = Command(sql, parameters);
        try
        {
            command.ExecuteNonQuery();
        }
        catch (SqliteException exception)
        {
            throw Unusable(exception);
        }
    }

    /// <summary>The first value of the first row; null: there is none.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    public object? Scalar(string sql, params ReadOnlySpan<(string Name, object Value)> parameters)
    {
        using SqliteCommand command = Command(sql, parameters);
        try
        {
            return command.ExecuteScalar();
        }
        catch (SqliteException exception)
        {
            throw Unusable(exception);
        }
    }

    /// <summary>All rows.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    public List<T> Read<T>(string sql, Func<SqliteDataReader, T> row, params ReadOnlySpan<(string Name, object Value)> parameters)
    {
        using SqliteCommand command = Command(sql, parameters);
        try
        {
            using SqliteDataReader reader = command.ExecuteReader();
            List<T> rows = [];
            while (reader.Read())
            {
                rows.Add(row(reader));
            }

            return rows;
        }
        catch (SqliteException exception)
        {
            throw Unusable(exception);
        }
    }

    /// <summary>All or nothing.</summary>
    /// <exception cref="IOException">Nothing was written.</exception>
    public void InTransaction(Action work)
    {
        try
        {
            Run("BEGIN");
            work();
            Run("COMMIT");
        }
        catch (Exception exception)
        {
            RollBack();
            if (exception is SqliteException sqlite)
            {
                throw Unusable(sqlite); // Of a command that was made by Command.
            }

            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _connection.Dispose();

    private IOException Unusable(SqliteException exception) => new($"{Path} cannot be read or written ({exception.Message}).", exception);

    private void RollBack()
    {
        try
        {
            Run("ROLLBACK");
        }
        catch (IOException)
        {
            // SQLite has done it already.
        }
    }

    private SqliteCommand Command(string sql, ReadOnlySpan<(string Name, object Value)> parameters)
    {
        SqliteCommand command = Command(sql);
        foreach ((string name, object value) in parameters)
        {
            command.Parameters.AddWithValue(name, value);
        }

        return command;
    }
}
