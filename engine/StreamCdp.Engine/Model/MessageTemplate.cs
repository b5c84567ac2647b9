using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Fluid;
using Fluid.Ast;
using Fluid.Values;

namespace StreamCdp.Engine.Model;

/// <summary>A text with places for values of a profile, in the Liquid language: <c>Hello {{ traits.name | default: "you" }}</c>.</summary>
public sealed class MessageTemplate
{
    /// <summary>What a template may name.</summary>
    public static readonly IReadOnlyList<string> Roots = ["traits", "computed", "identifiers", "segments", "segment", "profile_id", "unsubscribe_url"];

    /// <summary>Loops are cut here: a template is somebody's text, not a program.</summary>
    private const int MostSteps = 100_000;
    private const int LongestResult = 1 << 20;

    private static readonly FluidParser s_parser = new();
    private static readonly TemplateOptions s_options = new() { CultureInfo = CultureInfo.InvariantCulture, TimeZone = TimeZoneInfo.Utc, MaxSteps = MostSteps };

    private readonly IFluidTemplate _template;

    private MessageTemplate(IFluidTemplate template, string text, IReadOnlyList<string> names) => (_template, Text, Names) = (template, text, names);

    /// <summary>As it was written.</summary>
    public string Text { get; }

    /// <summary>Dotted names that it reads, such as traits.name.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>Reads one.</summary>
    /// <param name="text">Liquid.</param>
    /// <param name="error">What is wrong and was expected; null: nothing.</param>
    /// <returns>Null where there is an error.</returns>
    public static MessageTemplate? Parse(string text, out string? error)
    {
        if (!s_parser.TryParse(text, out IFluidTemplate? template, out error))
        {
            return null;
        }

        var names = new NameVisitor();
        names.VisitTemplate(template);
        string? unknown = names.Read.Select(name => name.Split('.')[0]).FirstOrDefault(root => !Roots.Contains(root) && !names.Own.Contains(root));
        if (unknown is not null)
        {
            error = $"a template knows no {ModelDraft.Short(unknown)}{(Suggestion.For(unknown, Roots) is { Length: > 0 } near ? near : $"; it knows {string.Join(", ", Roots)}")}{Place(text, unknown)}";
            return null;
        }

        error = null;
        return new MessageTemplate(template, text, [.. names.Read.Where(name => !names.Own.Contains(name.Split('.')[0]))]);
    }

    /// <summary>Where a name stands first, for a text of several lines; else nothing: the place of the text is enough.</summary>
    internal static string Place(string text, string name)
    {
        int at = text.Contains('\n', StringComparison.Ordinal) ? text.IndexOf(name, StringComparison.Ordinal) : -1;
        return at < 0 ? "" : string.Create(CultureInfo.InvariantCulture, $" at ({text.AsSpan(0, at).Count('\n') + 1}:{at - text.LastIndexOf('\n', at)})"); // As the parser says it.
    }

    /// <summary>Fills it in.</summary>
    /// <param name="values">By root. Values are text, booleans, numbers, JSON, or lists of text; what is missing is empty.</param>
    /// <param name="isHtml">Values are made harmless in HTML; <c>| raw</c> leaves one as it is.</param>
    /// <exception cref="FormatException">It cannot be filled in for these values; the message has none of them.</exception>
    public string Render(IReadOnlyDictionary<string, object?> values, bool isHtml = false)
    {
        ArgumentNullException.ThrowIfNull(values);
        var context = new TemplateContext(s_options);
        foreach ((string name, object? value) in values)
        {
            context.SetValue(name, ValueOf(value));
        }

        try
        {
            string text = _template.Render(context, isHtml ? HtmlEncoder.Default : NullEncoder.Default);
            return text.Length <= LongestResult ? text : throw new FormatException($"The result has {text.Length} characters; allowed are {LongestResult}.");
        }
        catch (Exception exception) when (exception is not (FormatException or OutOfMemoryException))
        {
            throw new FormatException($"The template failed ({exception.GetType().Name}).", exception); // The kit's border to a foreign language.
        }
    }

    private static FluidValue ValueOf(object? value) => value switch
    {
        null => NilValue.Instance,
        string text => new StringValue(text),
        bool flag => BooleanValue.Create(flag),
        JsonElement json => Of(json),
        IEnumerable<string> texts => new ArrayValue([.. texts.Select(text => new StringValue(text))]),
        IReadOnlyDictionary<string, object?> members => new DictionaryValue(new FluidValueDictionaryFluidIndexable(members.ToDictionary(member => member.Key, member => ValueOf(member.Value)))),
        _ => FluidValue.Create(value, s_options),
    };

    private static FluidValue Of(JsonElement json) => json.ValueKind switch
    {
        JsonValueKind.Object => new DictionaryValue(new FluidValueDictionaryFluidIndexable(json.EnumerateObject().GroupBy(member => member.Name).ToDictionary(same => same.Key, same => Of(same.Last().Value)))),
        JsonValueKind.Array => new ArrayValue([.. json.EnumerateArray().Select(Of)]),
        JsonValueKind.String => new StringValue(json.GetString()!),
        JsonValueKind.Number => json.TryGetDecimal(out decimal number) ? NumberValue.Create(number) : new StringValue(json.GetRawText()),
        JsonValueKind.True or JsonValueKind.False => BooleanValue.Create(json.GetBoolean()),
        _ => NilValue.Instance,
    };

    /// <summary>Finds the names that are read, and those that the template makes itself.</summary>
    private sealed class NameVisitor : AstVisitor
    {
        public HashSet<string> Read { get; } = [];

        public HashSet<string> Own { get; } = ["forloop"];

        protected override Fluid.Ast.Expression VisitMemberExpression(MemberExpression memberExpression)
        {
            Read.Add(string.Join('.', memberExpression.Segments.OfType<IdentifierSegment>().Select(segment => segment.Identifier)));
            return base.VisitMemberExpression(memberExpression);
        }

        protected override Statement VisitForStatement(ForStatement forStatement)
        {
            Own.Add(forStatement.Identifier);
            return base.VisitForStatement(forStatement);
        }

        protected override Statement VisitAssignStatement(AssignStatement assignStatement)
        {
            Own.Add(assignStatement.Identifier);
            return base.VisitAssignStatement(assignStatement);
        }

        protected override Statement VisitCaptureStatement(CaptureStatement captureStatement)
        {
            Own.Add(captureStatement.Identifier);
            return base.VisitCaptureStatement(captureStatement);
        }
    }
}
