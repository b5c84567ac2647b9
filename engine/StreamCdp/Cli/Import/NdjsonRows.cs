using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Text;

namespace StreamCdp.Cli.Import;

/// <summary>Events of a file with one JSON object a line.</summary>
internal static class NdjsonRows
{
    /// <summary>Longest line, bytes: far above the 32 KB of an event, so that memory stays bounded (1 MiB).</summary>
    private const int MaxLineBytes = 1 << 20;

    /// <summary>Reads all rows. Empty lines are skipped.</summary>
    /// <param name="content">UTF-8; a byte order mark is allowed.</param>
    /// <param name="events">Makes events of objects.</param>
    /// <param name="afterLine">Lines up to this one were imported before: they are not even parsed.</param>
    /// <param name="cancellationToken">Stops.</param>
    public static async IAsyncEnumerable<ImportRow> ReadAsync(Stream content, ImportEvents events, long afterLine, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        PipeReader reader = PipeReader.Create(content, new StreamPipeReaderOptions(bufferSize: 1 << 16, leaveOpen: true));
        long line = 0;
        bool isTooLong = false;
        while (true)
        {
            ReadResult result = await reader.ReadAsync(cancellationToken).ConfigureAwait(false);
            ReadOnlySequence<byte> buffer = result.Buffer;
            while (TryLine(ref buffer, result.IsCompleted, out ReadOnlySequence<byte> text))
            {
                line++;
                bool wasTooLong = isTooLong;
                isTooLong = false;
                if (line <= afterLine)
                {
                    continue;
                }

                if (wasTooLong)
                {
                    yield return ImportRow.Rejected(line, $"longer than {MaxLineBytes} bytes", "");
                }
                else if (Bytes(text, line) is { Length: > 0 } json)
                {
                    yield return events.Row(line, json);
                }
            }

            if (buffer.Length > MaxLineBytes)
            {
                isTooLong = true; // What is here goes; the rest of the line, too, when it comes.
                buffer = buffer.Slice(buffer.End);
            }

            reader.AdvanceTo(buffer.Start, buffer.End);
            if (result.IsCompleted)
            {
                break;
            }
        }

        await reader.CompleteAsync().ConfigureAwait(false);
    }

    private static bool TryLine(ref ReadOnlySequence<byte> buffer, bool isLast, out ReadOnlySequence<byte> line)
    {
        SequencePosition? end = buffer.PositionOf((byte)'\n');
        if (end is null)
        {
            line = buffer;
            bool hasTail = isLast && buffer.Length > 0;
            buffer = hasTail ? buffer.Slice(buffer.End) : buffer;
            return hasTail;
        }

        line = buffer.Slice(0, end.Value);
        buffer = buffer.Slice(buffer.GetPosition(1, end.Value));
        return true;
    }

    private static byte[] Bytes(ReadOnlySequence<byte> text, long line)
    {
        byte[] bytes = text.ToArray();
        ReadOnlySpan<byte> span = bytes;
        if (line == 1 && span.StartsWith(Encoding.UTF8.Preamble))
        {
            span = span[Encoding.UTF8.Preamble.Length..];
        }

        span = span.Trim(" \t\r"u8);
        return span.Length == bytes.Length ? bytes : span.ToArray();
    }
}
