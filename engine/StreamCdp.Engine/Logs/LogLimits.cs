using System.Buffers;

namespace StreamCdp.Engine.Logs;

/// <summary>What every kind of log takes, so that what works on one works on all.</summary>
public static class LogLimits
{
    /// <summary>Largest key and value of a record together, bytes: a little less than the 8 MiB that our Kafka topics take.</summary>
    public const int RecordBytes = (8 << 20) - 4096;

    private static readonly SearchValues<char> s_nameLetters = SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    internal static void Check(LogDefinition log, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        if (key.Length > RecordBytes || value.Length > RecordBytes - key.Length)
        {
            throw new ArgumentException($"A record for log {log.Name} has {(long)key.Length + value.Length} bytes; allowed are {RecordBytes}.");
        }

        if (key.IsEmpty && log.Cleanup == LogCleanup.Compact)
        {
            throw new ArgumentException($"A record for log {log.Name} has no key; a compacted log needs one.");
        }
    }

    /// <summary>Stops a definition that no kind of log can make.</summary>
    internal static void Check(LogDefinition log)
    {
        ArgumentNullException.ThrowIfNull(log);
        if (log.Name.Length is 0 or > 200 || log.Name.AsSpan().ContainsAnyExcept(s_nameLetters) || log.Name.StartsWith('.'))
        {
            throw new ArgumentException($"\"{log.Name}\" cannot be a log's name: 1 to 200 letters, digits, '.', '_' and '-', not with a '.' at the beginning.");
        }

        if (log.Partitions is < 1 or > 10_000)
        {
            throw new ArgumentException($"Log {log.Name} is to have {log.Partitions} partitions; allowed are 1 to 10000.");
        }
    }
}
