using System.Diagnostics;
using StreamCdp.Engine.Pipeline.Collect;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Instants as the API writes them: <c>2026-01-31T12:00:00.000Z</c>.</summary>
internal static class Instants
{
    /// <summary>Longest text of <see cref="Format"/>.</summary>
    public const int TextBytes = 24;

    /// <param name="unixMs">Outside the years 0001 to 9999 the nearest instant in them is written: a read must never stop a stage.</param>
    /// <param name="text">At least <see cref="TextBytes"/> long.</param>
    /// <returns>Bytes written.</returns>
    public static int Format(long unixMs, Span<byte> text)
    {
        bool fits = DateTimeOffset.FromUnixTimeMilliseconds(EventTimestamp.Nearest(unixMs)).UtcDateTime.TryFormat(text, out int written, "yyyy-MM-dd'T'HH:mm:ss.fff'Z'");
        Debug.Assert(fits, "Too small.");
        return written;
    }
}
