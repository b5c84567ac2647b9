using System.Text.Json;
using StreamCdp.Engine.Logs;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Finds the refused event with a messageId, newest first.</summary>
/// <remarks>There is no index: refused events are few, and who asks for one asks soon. So the search is bounded, in records and in bytes, and reads in blocks from the end.</remarks>
internal static class DeadLetterSearch
{
    private const long MaxRecords = 100_000;
    private const long MaxBytes = 64L << 20;
    private const long Block = 2_000;

    /// <summary>Gets the letter that was found.</summary>
    public delegate void Visit(long offset, in DeadLetter letter);

    /// <summary>Looks through the newest dead letters.</summary>
    /// <param name="deadLetters">The log <c>dead-letters</c>; partition 0 has all.</param>
    /// <param name="messageId">As sent, UTF-8.</param>
    /// <param name="visit">Called once, where it is found: with the newest.</param>
    /// <param name="maxRecords">How far back to look.</param>
    /// <returns>False where none of those has it.</returns>
    public static bool TryFind(ILog deadLetters, ReadOnlySpan<byte> messageId, Visit visit, long maxRecords = MaxRecords)
    {
        long end = deadLetters.EndOffset(0);
        long begin = Math.Max(deadLetters.BeginOffset(0), end - maxRecords);
        long bytes = 0;
        for (long to = end; to > begin && bytes < MaxBytes; to = Math.Max(begin, to - Block))
        {
            long from = Math.Max(begin, to - Block);
            long found = -1;
            using (ILogReader reader = deadLetters.OpenReader(0, from))
            {
                while (reader.Position < to && reader.TryReadBefore(to, out LogRecord record))
                {
                    bytes += record.Value.Length;
                    if (TryOpen(record, out DeadLetter letter) && HasMessageId(letter.Payload, messageId))
                    {
                        found = record.Offset; // A later one of the block may have it, too.
                    }
                }
            }

            if (found >= 0)
            {
                using ILogReader again = deadLetters.OpenReader(0, found);
                return again.TryReadBefore(found + 1, out LogRecord record) && TryOpen(record, out DeadLetter letter) && Show(record.Offset, letter);
            }
        }

        return false;

        bool Show(long offset, in DeadLetter letter)
        {
            visit(offset, letter);
            return true;
        }
    }

    private static bool TryOpen(in LogRecord record, out DeadLetter letter)
    {
        letter = default;
        return WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && DeadLetter.TryRead(body, out letter);
    }

    /// <summary>The payload may be no JSON, or cut: what comes before that counts.</summary>
    private static bool HasMessageId(ReadOnlySpan<byte> payload, ReadOnlySpan<byte> messageId)
    {
        var reader = new Utf8JsonReader(payload, isFinalBlock: false, state: default);
        try
        {
            while (reader.Read())
            {
                if (reader.TokenType == JsonTokenType.PropertyName && reader.CurrentDepth == 1 && reader.ValueTextEquals("messageId"u8))
                {
                    return reader.Read() && reader.TokenType == JsonTokenType.String && reader.ValueTextEquals(messageId);
                }
            }
        }
        catch (JsonException)
        {
            // Refused for that.
        }

        return false;
    }
}
