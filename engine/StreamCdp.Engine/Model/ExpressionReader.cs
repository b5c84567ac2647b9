namespace StreamCdp.Engine.Model;

/// <summary>Reads one expression on its own: the API's segments, the preview, tests.</summary>
public static class ExpressionReader
{
    /// <summary>Reads a segment's rule: it must be a condition.</summary>
    /// <param name="text">The expression.</param>
    /// <param name="model">Where computed traits, segments and identifier types are looked up; null: every name is taken as known.</param>
    /// <param name="fileName">Only for messages.</param>
    /// <param name="seen">What events have brought so far: other names get a note.</param>
    public static ExpressionResult ReadCondition(string text, CdpModel? model = null, string fileName = "expression", SeenSchema? seen = null) => Read(text, model, fileName, seen, isCondition: true);

    /// <summary>Reads a computed trait's value.</summary>
    /// <inheritdoc cref="ReadCondition"/>
    public static ExpressionResult ReadValue(string text, CdpModel? model = null, string fileName = "expression", SeenSchema? seen = null) => Read(text, model, fileName, seen, isCondition: false);

    private static ExpressionResult Read(string text, CdpModel? model, string fileName, SeenSchema? seen, bool isCondition)
    {
        ArgumentNullException.ThrowIfNull(text);
        List<ExpressionError> errors = [];
        ParsedExpression? parsed = ExpressionParser.Parse(text, errors);
        if (parsed is not null)
        {
            if (model is not null)
            {
                CheckNames(parsed, model, isCondition, errors);
            }

            Func<string, ExpressionType> computedType = name => TypeOf(name, model);
            if (isCondition)
            {
                ExpressionChecker.CheckCondition(parsed, computedType, errors);
            }
            else
            {
                ExpressionChecker.CheckValue(parsed, computedType, errors);
            }
        }

        SourceText source = new(text);
        ModelError[] found = [.. errors
            .Select(error => (Place: source.Place(error.Offset), error.Message))
            .OrderBy(error => error.Place)
            .Select(error => new ModelError(fileName, error.Place.Line, error.Place.Column, error.Message))];
        ModelNote[] notes = found.Length > 0 || seen is null ? [] : [.. new SeenNames(seen, model?.Traits.Select(trait => trait.Name) ?? []).Notes(parsed!)
            .Select(note => (Place: source.Place(note.Offset), note.Message))
            .Select(note => new ModelNote(fileName, note.Place.Line, note.Place.Column, note.Message))];
        return new ExpressionResult(found.Length == 0 ? parsed!.Root : null, found) { Notes = notes };
    }

    private static ExpressionType TypeOf(string name, CdpModel? model)
    {
        // One that only repeats another has its type; a checked model has no circle, the count ends one all the same.
        for (int i = 0; i < model?.Computed.Count; i++)
        {
            Expression? value = model.Computed.FirstOrDefault(computed => computed.Name == name)?.Value;
            if (value is not PathExpression { Root: PathRoot.Computed } path)
            {
                return value?.Type ?? ExpressionType.Any;
            }

            name = path.Path[0];
        }

        return ExpressionType.Any;
    }

    private static void CheckNames(ParsedExpression parsed, CdpModel model, bool isCondition, List<ExpressionError> errors)
    {
        ExpressionNames names = new(
            [.. model.Computed.Select(computed => computed.Name)],
            [.. model.Segments.Select(segment => segment.Id)],
            [.. model.Identifiers.Select(identifier => identifier.Type)]);
        foreach (ExpressionReference reference in parsed.References)
        {
            if (names.Error(reference, isCondition) is { } error)
            {
                errors.Add(new ExpressionError(reference.Offset, error));
            }
        }
    }
}
