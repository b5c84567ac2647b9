using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Pipeline;

namespace StreamCdp.Engine.Tests.Segments;

/// <summary>An event of a test.</summary>
internal sealed record PersonEvent(string Name, long TimeMs, long Offset)
{
    public EventType Type { get; init; } = EventType.Track;

    public int Partition { get; init; }

    public string Properties { get; init; } = "{}";

    public string Context { get; init; } = "{}";

    public byte[] Payload() => Encoding.UTF8.GetBytes(
        $$"""{ "type":{{JsonSerializer.Serialize(Type.ToString().ToLowerInvariant())}}, "event":{{JsonSerializer.Serialize(Name)}}, "properties": {{Properties}}, "context": {{Context}} }""");
}
