namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>The JSON that a slot refers to.</summary>
internal static class EventJson
{
    /// <param name="e">The event.</param>
    /// <param name="inContext">The slot's path begins with <c>context</c>.</param>
    public static ReadOnlySpan<byte> Of(scoped in EventView e, bool inContext) => inContext && !e.ContextPayload.IsEmpty ? e.ContextPayload : e.Payload;
}
