namespace StreamCdp.Cli.Import;

/// <summary>One row of the input: an event, or why it is none.</summary>
/// <param name="Line">Line of the file where it begins, from 1.</param>
/// <param name="Event">JSON of the event with its messageId; empty where there is a problem.</param>
/// <param name="Problem">Why it is rejected, or null.</param>
/// <param name="Raw">The text of a rejected row.</param>
internal readonly record struct ImportRow(long Line, ReadOnlyMemory<byte> Event, string? Problem, string? Raw)
{
    /// <summary>A row that cannot be sent.</summary>
    public static ImportRow Rejected(long line, string problem, string raw) => new(line, default, problem, raw);
}
