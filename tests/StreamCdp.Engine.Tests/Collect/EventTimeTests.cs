using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Collect;

namespace StreamCdp.Engine.Tests.Collect;

/// <summary>RULES.md §4.1, and the time formats of §1.5.</summary>
public class EventTimeTests
{
    private const long ReceivedAt = 1_767_323_045_678; // 2026-01-02T03:04:05.678Z

    [Theory]
    [InlineData("\"2026-01-02T03:04:05.678Z\"", ReceivedAt)]
    [InlineData("\"2026-01-02T03:04:05.678999999Z\"", ReceivedAt)]
    [InlineData("\"2026-01-02T03:04:05.678999999999Z\"", ReceivedAt)]
    [InlineData("\"2026-01-02T03:04:05,678Z\"", ReceivedAt)]
    [InlineData("\"2026-01-02T03:04:05.678\"", ReceivedAt)]
    [InlineData("\"2026-01-02t03:04:05.678z\"", ReceivedAt)]
    [InlineData("\"2026-01-02 03:04:05.678\"", ReceivedAt)]
    [InlineData("\"0001-01-01T00:00:00+01:00\"", EventTimestamp.MinMs - 3_600_000)]
    [InlineData("\"9999-12-31T23:59:59.999-01:00\"", EventTimestamp.MaxMs + 3_600_000)]
    [InlineData("\"2026-01-02T05:34:05.678+02:30\"", ReceivedAt)]
    [InlineData("\"2026-01-02T05:34:05.678+0230\"", ReceivedAt)]
    [InlineData("\"2026-01-01T22:04:05.678-05\"", ReceivedAt)]
    [InlineData("\"2026-01-02T03:04:05.67Z\"", ReceivedAt - 8)]
    [InlineData("\"2026-01-02T03:04:05+00:00\"", ReceivedAt - 678)]
    [InlineData("\"2026-01-02T03:04Z\"", ReceivedAt - 5678)]
    [InlineData("\"2026-01-02\"", ReceivedAt - 11_045_678)]
    [InlineData("\"2026-01-02T03:04:05.678\\u005a\"", ReceivedAt)]
    [InlineData("\"0001-01-01T00:00:00Z\"", EventTimestamp.MinMs)]
    [InlineData("\"9999-12-31T23:59:59.999Z\"", EventTimestamp.MaxMs)]
    [InlineData("\"2024-02-29\"", 1_709_164_800_000)]
    [InlineData("\"1969-12-31T23:59:59.9995Z\"", -1)]
    [InlineData("1767323045678", ReceivedAt)]
    [InlineData("-1", -1)]
    [InlineData("0", 0)]
    public void Iso_8601_and_whole_milliseconds_are_read(string json, long expected)
    {
        Assert.True(TryRead(json, out long unixMs));
        Assert.Equal(expected, unixMs);
    }

    [Theory]
    [InlineData("\"\"")]
    [InlineData("\"1767323045678\"")]
    [InlineData("\"2026-1-2\"")]
    [InlineData("\"2026-13-01\"")]
    [InlineData("\"2025-02-29\"")]
    [InlineData("\"2026-01-00\"")]
    [InlineData("\"0000-01-01\"")]
    [InlineData("\"10000-01-01\"")]
    [InlineData("\"2026-01-02T\"")]
    [InlineData("\"2026-01-02T24:00:00Z\"")]
    [InlineData("\"2026-01-02T03\"")]
    [InlineData("\"2026-01-02T03:60Z\"")]
    [InlineData("\"2026-01-02T03:04:60Z\"")]
    [InlineData("\"2026-01-02T03:04:05.Z\"")]
    [InlineData("\"2026-01-02T03:04:05.678ZZ\"")]
    [InlineData("\"2026-01-02T03:04:05+24:00\"")]
    [InlineData("\"2026-01-02T03:04:05+1:00\"")]
    [InlineData("\"Fri Jan 02 2026\"")]
    [InlineData("\" 2026-01-02\"")]
    [InlineData("1.5")]
    [InlineData("1e3")]
    [InlineData("1e400")]
    [InlineData("253402300800000")]
    [InlineData("-62135596800001")]
    [InlineData("99999999999999999999")]
    [InlineData("true")]
    [InlineData("{}")]
    public void Everything_else_is_unreadable(string json) => Assert.False(TryRead(json, out _));

    [Theory]
    // Without a client time: received.
    [InlineData(null, null, null, null, ReceivedAt)]
    [InlineData(null, null, 5L, 6L, ReceivedAt)]
    // The client's time, without sentAt.
    [InlineData(null, 1000L, null, null, 1000L)]
    [InlineData(2000L, null, null, null, 2000L)]
    // Both fields: timestamp, whatever sentAt says.
    [InlineData(2000L, 1000L, ReceivedAt - 50_000, null, 1000L)]
    // Corrected for the client's clock: sent one hour ago by its clock, happened 5 s before sending.
    [InlineData(null, ReceivedAt - 3_605_000, ReceivedAt - 3_600_000, null, ReceivedAt - 5000)]
    [InlineData(ReceivedAt + 3_595_000, null, ReceivedAt + 3_600_000, null, ReceivedAt - 5000)]
    // sentAt within 1000 ms: as it is.
    [InlineData(null, ReceivedAt - 5000, ReceivedAt - 999, null, ReceivedAt - 5000)]
    [InlineData(null, ReceivedAt - 5000, ReceivedAt - 1000, null, ReceivedAt - 4000)]
    [InlineData(null, ReceivedAt - 5000, ReceivedAt + 999, null, ReceivedAt - 5000)]
    [InlineData(null, ReceivedAt - 5000, ReceivedAt + 1000, null, ReceivedAt - 6000)]
    // sentAt of the event wins over that of the batch.
    [InlineData(null, ReceivedAt - 5000, null, ReceivedAt - 2000, ReceivedAt - 3000)]
    [InlineData(null, ReceivedAt - 5000, ReceivedAt, ReceivedAt - 2000, ReceivedAt - 5000)]
    // Never later than received.
    [InlineData(null, ReceivedAt + 1, null, null, ReceivedAt)]
    [InlineData(2000L, ReceivedAt + 9999, null, null, ReceivedAt)]
    [InlineData(null, ReceivedAt, ReceivedAt - 2000, null, ReceivedAt)]
    // Never before year 1.
    [InlineData(null, EventTimestamp.MinMs, EventTimestamp.MaxMs, null, EventTimestamp.MinMs)]
    public void Event_time_is_corrected_for_the_clients_clock(long? original, long? timestamp, long? sentAt, long? batchSentAt, long expected) =>
        Assert.Equal(expected, Reader(original, timestamp, sentAt).EventTime(ReceivedAt, batchSentAt, asIs: false));

    [Theory]
    [InlineData(null, 1000L, ReceivedAt - 50_000, 1000L)]
    [InlineData(2000L, 1000L, null, 2000L)]
    [InlineData(null, null, null, ReceivedAt)]
    [InlineData(null, ReceivedAt + 1, null, ReceivedAt)]
    public void An_import_takes_the_clients_time_as_it_is(long? original, long? timestamp, long? sentAt, long expected) =>
        Assert.Equal(expected, Reader(original, timestamp, sentAt).EventTime(ReceivedAt, null, asIs: true));

    [Fact]
    public void An_unreadable_originalTimestamp_or_sentAt_counts_as_missing()
    {
        var reader = new EventReader(s_model);
        Assert.Equal(EventProblem.None, reader.Read("""{"type":"page","userId":"u","timestamp":5,"originalTimestamp":"x","sentAt":1.5}"""u8, default));

        Assert.Equal(5, reader.EventTime(ReceivedAt, null, asIs: false));
    }

    private static readonly CdpModel s_model = new() { Text = "", Version = 1, Identifiers = [new() { Type = "user_id", Limit = 1 }] };

    private static EventReader Reader(long? original, long? timestamp, long? sentAt)
    {
        var reader = new EventReader(s_model);
        string json = JsonSerializer.Serialize(new { type = "page", userId = "u", originalTimestamp = original, timestamp, sentAt });
        Assert.Equal(EventProblem.None, reader.Read(Encoding.UTF8.GetBytes(json), default));
        return reader;
    }

    private static bool TryRead(string json, out long unixMs)
    {
        var reader = new EventReader(s_model);
        bool read = reader.Read(Encoding.UTF8.GetBytes($$"""{"type":"page","userId":"u","timestamp":{{json}}}"""), default) == EventProblem.None;
        unixMs = reader.Timestamp ?? 0;
        return read;
    }
}
