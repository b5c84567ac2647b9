using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

public sealed class ModelReaderTests
{
    [Fact]
    public void The_demo_model_is_good()
    {
        ModelResult result = ModelReader.Read("cdp.yaml", File.ReadAllText(Repository.Path("engine/StreamCdp/demo/cdp.yaml")), _ => null);

        Assert.Empty(result.Errors);
        Assert.Equal(8, result.Model!.Computed.Count);
        Assert.Equal(10, result.Model.Segments.Count);
    }
}
