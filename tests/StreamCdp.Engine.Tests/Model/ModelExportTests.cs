using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

public sealed class ModelExportTests
{
    private const string Head = "identifiers: [ { type: user_id } ]\n";

    private static readonly ApiSegment[] s_written = [new("from_api", "From: the \"API\"", "count(\"A\") > 1 and traits.x == \"ü\""), new("second", "second", "in_segment(\"from_api\")")];

    [Theory]
    [InlineData("")]
    [InlineData("segments:\n")]
    [InlineData("segments: ~\n")]
    [InlineData("segments: {}\n")]
    [InlineData("segments: { own: { when: 'happened(\"B\")' } }\n")]
    [InlineData("segments:\n  # a comment stays\n  own: { when: 'happened(\"B\")' }   # and this\n  other:\n    when: happened(\"C\")\ntraits: {}\n")]
    [InlineData("segments:\n      own:\n        when: happened(\"B\")\n\n# the end")]
    public void One_file_has_the_segments_of_both(string section)
    {
        CdpModel file = Read(Head + section);
        CdpModel both = ModelReader.ReadPublished(ApiSegments.Join(file.Text, s_written)).Model!;

        CdpModel exported = Read(ApiSegments.Export(both));

        Assert.Equal(both.Segments.Select(Line).Order(), exported.Segments.Select(Line).Order());
        Assert.All(exported.Segments, segment => Assert.False(segment.IsOfApi));
        foreach (string line in section.Split('\n').Where(line => line.Contains('#', StringComparison.Ordinal)))
        {
            Assert.Contains(line, exported.Text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Without_segments_of_the_API_it_is_the_file()
    {
        CdpModel file = Read(Head + "segments:\n  own: { when: 'happened(\"B\")' }");
        Assert.Equal(file.Text, ApiSegments.Export(file));
    }

    private static string Line(SegmentDefinition segment) => $"{segment.Id} {segment.Name} {segment.When} {segment.Version}";

    private static CdpModel Read(string text)
    {
        ModelResult read = ModelReader.Read("cdp.yaml", text, _ => null);
        Assert.Empty(read.Errors);
        return read.Model!;
    }
}
