using System.Text;
using StreamCdp.Engine.Pipeline.Segments;

namespace StreamCdp.Engine.Tests.Segments;

public class IsoDateTests
{
    [Theory]
    [InlineData("1970-01-01", 0)]
    [InlineData("1969-12-31T23:59:59.999Z", -1)]
    [InlineData("2026-03-01T12:00:00.000Z", 1_772_366_400_000)]
    [InlineData("2026-03-01T12:00", 1_772_366_400_000)]
    [InlineData("2026-03-01 12:00:00", 1_772_366_400_000)]
    [InlineData("2026-03-01t12:00:00z", 1_772_366_400_000)]
    [InlineData("2026-03-01T12:00:00.1239999Z", 1_772_366_400_123)]
    [InlineData("2026-03-01T12:00:00,5Z", 1_772_366_400_500)]
    [InlineData("2026-03-01T13:30:00+01:30", 1_772_366_400_000)]
    [InlineData("2026-03-01T13:30:00+0130", 1_772_366_400_000)]
    [InlineData("2026-03-01T04:00:00-08", 1_772_366_400_000)]
    [InlineData("2024-02-29", 1_709_164_800_000)]
    [InlineData("0001-01-01", -62_135_596_800_000)]
    [InlineData("9999-12-31T23:59:59.999Z", 253_402_300_799_999)]
    public void Reads_ISO_8601(string text, long unixMs)
    {
        Assert.True(IsoDate.TryParse(Encoding.UTF8.GetBytes(text), out long actual, out bool hasTime));
        Assert.Equal((unixMs, text.Length > 10), (actual, hasTime));
    }

    [Theory]
    [InlineData("")]
    [InlineData("2026")]
    [InlineData("2026-3-1")]
    [InlineData("2026-02-29")]
    [InlineData("2026-13-01")]
    [InlineData("2026-03-00")]
    [InlineData("0000-01-01")]
    [InlineData("20260301")]
    [InlineData("2026-03-01T")]
    [InlineData("2026-03-01T12")]
    [InlineData("2026-03-01T24:00:00Z")]
    [InlineData("2026-03-01T12:60:00Z")]
    [InlineData("2026-03-01T12:00:60Z")]
    [InlineData("2026-03-01T12:00:00.Z")]
    [InlineData("2026-03-01T12:00:00ZZ")]
    [InlineData("2026-03-01T12:00:00+1")]
    [InlineData("2026-03-01T12:00:00+01:60")]
    [InlineData("2026-03-01T12:00:00 ")]
    [InlineData(" 2026-03-01")]
    [InlineData("2026-03-01x")]
    public void Other_text_is_no_date(string text) => Assert.False(IsoDate.TryParse(Encoding.UTF8.GetBytes(text), out _, out _));
}
