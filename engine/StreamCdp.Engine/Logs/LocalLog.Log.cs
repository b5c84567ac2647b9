using Microsoft.Extensions.Logging;

namespace StreamCdp.Engine.Logs;

/// <summary>What local logs say. Warning: nothing lost; error: a person is needed.</summary>
internal static partial class LocalLogMessages
{
    [LoggerMessage(Level = LogLevel.Warning, Message = "Log {Log}, partition {Partition}: {Path} ended in a half-written frame at byte {Position}; {Bytes} bytes of commits that were never confirmed are cut off, the log ends at offset {End}.")]
    public static partial void TornTail(this ILogger logger, string log, int partition, string path, long position, long bytes, long end);

    [LoggerMessage(Level = LogLevel.Error, Message = "Log {Log}, partition {Partition}: {Path} is damaged at byte {Position}; reading there fails. Restore the file from a copy.")]
    public static partial void Damaged(this ILogger logger, string log, int partition, string path, long position);

    [LoggerMessage(Level = LogLevel.Error, Message = "Log {Log} is faulted and takes no more records: {Reason}")]
    public static partial void Faulted(this ILogger logger, Exception error, string log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "What a failed commit wrote to {Directory} could not be taken away; the next opening checks it.")]
    public static partial void CannotAbandon(this ILogger logger, Exception error, string directory);

    [LoggerMessage(Level = LogLevel.Information, Message = "Log {Log}, partition {Partition}: {Segments} old segments deleted, the log now begins at offset {Begin}.")]
    public static partial void SegmentsDeleted(this ILogger logger, string log, int partition, int segments, long begin);

    [LoggerMessage(Level = LogLevel.Information, Message = "Log {Log}, partition {Partition}: compacted {Segments} segments from {Before} to {After} bytes.")]
    public static partial void Compacted(this ILogger logger, string log, int partition, int segments, long before, long after);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Log {Log}, partition {Partition}: clean-up failed, it is tried again; until then old records stay.")]
    public static partial void CleanupFailed(this ILogger logger, Exception error, string log, int partition);
}
