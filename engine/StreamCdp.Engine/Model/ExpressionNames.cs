namespace StreamCdp.Engine.Model;

/// <summary>The names that expressions of a model may use.</summary>
internal sealed record ExpressionNames(IReadOnlySet<string> Computed, IReadOnlySet<string> Segments, IReadOnlySet<string> IdentifierTypes)
{
    public ExpressionNames(IEnumerable<string> computed, IEnumerable<string> segments, IEnumerable<string> identifierTypes)
        : this(computed.ToHashSet(), segments.ToHashSet(), identifierTypes.ToHashSet())
    {
    }

    /// <summary>What is wrong with a name; null: nothing.</summary>
    /// <param name="reference">The name and its kind.</param>
    /// <param name="isCondition">A segment's rule, not a computed trait.</param>
    public string? Error(ExpressionReference reference, bool isCondition)
    {
        string name = ModelDraft.Short(reference.Name);
        return reference.Root switch
        {
            PathRoot.Computed when !Computed.Contains(reference.Name) => $"there is no computed trait called \"{name}\"{Suggestion.For(reference.Name, Computed)}",
            PathRoot.Identifiers when !IdentifierTypes.Contains(reference.Name) => $"there is no identifier type called \"{name}\"{Suggestion.For(reference.Name, IdentifierTypes)}",
            null when !isCondition => "in_segment is only for segments: computed traits are evaluated before them",
            null when !Segments.Contains(reference.Name) => $"there is no segment with the id \"{name}\"{Suggestion.For(reference.Name, Segments)}",
            _ => null,
        };
    }
}
