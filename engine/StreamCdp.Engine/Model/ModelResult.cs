namespace StreamCdp.Engine.Model;

/// <summary>What <see cref="ModelReader"/> made of a text: a model, or every reason why not.</summary>
/// <param name="Model">The checked model; null as soon as there is one error.</param>
/// <param name="Errors">All errors, in the order of their place.</param>
/// <param name="Notes">What is allowed but may surprise.</param>
public sealed record ModelResult(CdpModel? Model, IReadOnlyList<ModelError> Errors, IReadOnlyList<ModelNote> Notes);

/// <summary>What <see cref="ExpressionReader"/> made of a text: an expression, or every reason why not.</summary>
/// <param name="Expression">The checked expression; null as soon as there is one error.</param>
/// <param name="Errors">All errors, in the order of their place.</param>
public sealed record ExpressionResult(Expression? Expression, IReadOnlyList<ModelError> Errors)
{
    /// <summary>Names that no event has brought yet.</summary>
    public IReadOnlyList<ModelNote> Notes { get; init; } = [];
}

/// <summary>A reason to refuse a model.</summary>
/// <param name="FileName">As given to the reader.</param>
/// <param name="Line">1-based.</param>
/// <param name="Column">1-based, in UTF-16 code units, as editors count.</param>
/// <param name="Message">What is wrong, and what was expected. It never holds a secret.</param>
public sealed record ModelError(string FileName, int Line, int Column, string Message)
{
    /// <summary><c>cdp.yaml:12:31: expected a duration such as 30d, found "30"</c>, which editors and terminals make a link of.</summary>
    public override string ToString() => $"{FileName}:{Line}:{Column}: {Message}";
}

/// <summary>Something in a model that is allowed but may surprise.</summary>
/// <param name="FileName">As given to the reader.</param>
/// <param name="Line">1-based.</param>
/// <param name="Column">1-based, in UTF-16 code units.</param>
/// <param name="Message">What, and what it means.</param>
public sealed record ModelNote(string FileName, int Line, int Column, string Message)
{
    /// <summary>Like <see cref="ModelError.ToString"/>, with the word note.</summary>
    public override string ToString() => $"{FileName}:{Line}:{Column}: note: {Message}";
}
