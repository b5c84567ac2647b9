using System.Text.Json;

namespace StreamCdp.Cli.Simulation;

/// <summary>A typed identifier.</summary>
/// <param name="Type">Type of the model.</param>
/// <param name="Value">Normalised.</param>
internal readonly record struct TruthIdentifier(string Type, string Value)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Type}:{Value}";
}

/// <summary>One counted event of a person.</summary>
/// <param name="Json">As sent.</param>
/// <param name="Type">track, identify, …</param>
/// <param name="Name">As event functions call it: the event for track, <c>page:Name</c>, <c>screen:Name</c>; empty for the rest.</param>
/// <param name="TimeMs">Event time by RULES.md §4.1, Unix ms.</param>
/// <param name="Place">Place in the order of sending.</param>
/// <param name="SourceId">Source of the model.</param>
internal sealed record TruthEvent(JsonElement Json, string Type, string Name, long TimeMs, int Place, string SourceId);

/// <summary>A person as RULES.md says it must be.</summary>
internal sealed class TruthPerson
{
    /// <summary>In order of joining.</summary>
    public List<TruthIdentifier> Identifiers { get; } = [];

    /// <summary>All counted events.</summary>
    public List<TruthEvent> Events { get; } = [];

    /// <summary>Number of values of a type.</summary>
    public int Count(string type) => Identifiers.Count(identifier => identifier.Type == type);
}
