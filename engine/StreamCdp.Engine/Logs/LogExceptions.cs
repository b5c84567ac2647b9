namespace StreamCdp.Engine.Logs;

/// <summary>The log cannot be written or read now: broker away, disk full. The message says what to do; the stage waits or stops.</summary>
public class LogUnavailableException : IOException
{
    /// <summary>Made by the log that is away.</summary>
    public LogUnavailableException(string message, Exception? inner = null) : base(message, inner)
    {
    }
}

/// <summary>The wanted records were deleted (retention): what depends on them must be restored another way.</summary>
public sealed class LogTruncatedException(string log, int partition, long wanted, long begin)
    : IOException($"Log {log}, partition {partition}: offset {wanted} was deleted, the first record kept is {begin}. Restore from a newer checkpoint, or rebuild from the start of the log.")
{
    /// <summary>The first offset that still exists.</summary>
    public long Begin => begin;
}

/// <summary>A stored record fails its checksum, and it is not the torn tail that a crash leaves.</summary>
public sealed class LogCorruptException(string log, int partition, long offset, string detail)
    : IOException($"Log {log}, partition {partition}, offset {offset}: {detail}. The disk returned other bytes than were written; restore this log from a copy.");

/// <summary>An existing log has settings that would lose or mix up data.</summary>
public sealed class LogUnfitException(string message) : IOException(message);

/// <summary>The client of a log does not take the settings it was given; the message says which, and where they stand.</summary>
public sealed class LogSettingsException(string message, Exception? inner = null) : IOException(message, inner);

/// <summary>Another process runs the stages on the same logs, begun later than this one: this one must stop.</summary>
public sealed class LogTakenOverException()
    : IOException("Another process runs the stages on the same logs; it was started later and has taken them over. This one stops, so that nothing is decided by two. Run route, resolve and profile once for each set of logs (StreamCdp:Kafka:TopicPrefix).");

/// <summary>A reader was further than the log is: the log lost its newest records (a page-cache log after a power cut, a replaced topic).</summary>
public sealed class LogBehindException(string log, int partition, long wanted, long end)
    : IOException($"Log {log}, partition {partition} ends at offset {end}, but reading was to go on at {wanted}: the log lost its newest records, or is another one. Restore from a checkpoint at or before offset {end}, or rebuild from the start of the log.")
{
    /// <summary>Offset after the last record that exists.</summary>
    public long End => end;
}
