namespace StreamCdp.Engine.Logs;

/// <summary>Reads what a log has now, for those who need it before they go on: recovery, and questions about single records.</summary>
internal static class LogReading
{
    private const int WaitMs = 15_000;

    /// <summary>Takes the next record before an offset, waiting for it where it is on its way from a broker.</summary>
    /// <param name="reader">A reader that nobody else uses.</param>
    /// <param name="end">Reading stops here: <see cref="ILog.EndOffset"/>, asked after the reader was opened.</param>
    /// <param name="record">Its spans are valid until the next call on this reader.</param>
    /// <returns>False: everything before the end was read.</returns>
    /// <exception cref="LogUnavailableException">Nothing came for 15 s.</exception>
    public static bool TryReadBefore(this ILogReader reader, long end, out LogRecord record)
    {
        long deadline = 0;
        while (reader.Position < end)
        {
            if (reader.TryRead(out record))
            {
                return record.Offset < end;
            }

            if (!reader.IsRemote)
            {
                return false;
            }

            long now = Environment.TickCount64;
            deadline = deadline == 0 ? now + WaitMs : deadline;
            if (now > deadline)
            {
                throw new LogUnavailableException($"The log did not give offset {reader.Position} within {WaitMs / 1000} s, although it ends at {end}. Check that the brokers run, then try again.");
            }

            Thread.Sleep(1); // The caller is synchronous and the broker answers in its own time.
        }

        record = default;
        return false;
    }
}
