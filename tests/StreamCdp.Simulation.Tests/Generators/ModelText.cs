using System.Globalization;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Generators;

/// <summary>A model's objects as cdp.yaml, written by itself, so that a generated model can go both ways.</summary>
internal static class ModelText
{
    public static string Yaml(CdpModel model)
    {
        var yaml = new StringBuilder();
        yaml.AppendLine("sources:");
        foreach (SourceDefinition source in model.Sources)
        {
            yaml.AppendLine($"  - {{ id: {source.Id}, kind: {source.Kind}{(source is { Kind: "crm", Trusted: false } ? ", trust: public" : "")} }}");
        }

        yaml.AppendLine("identifiers:");
        foreach (IdentifierDefinition type in model.Identifiers)
        {
            List<string> keys = [$"type: {type.Type}", $"limit: {type.Limit}"];
            if (type.From.Count > 0)
            {
                keys.Add($"from: [{string.Join(", ", type.From.Select(path => string.Join('.', path)))}]");
            }

            if (type.Normalize != IdentifierNormalization.None)
            {
                keys.Add($"normalize: {(type.Normalize == IdentifierNormalization.Email ? "email" : "e164")}");
            }

            if (type.DefaultCountry is not null)
            {
                keys.Add($"default_country: {type.DefaultCountry}");
            }

            if (type.MergeByServer)
            {
                keys.Add("merge_by: server");
            }

            if (type.Blocked.Count + type.BlockedPatterns.Count > 0)
            {
                keys.Add($"blocked: [{string.Join(", ", type.Blocked.Concat(type.BlockedPatterns.Select(pattern => $"/{pattern}/")).Select(Quoted))}]");
            }

            if (!type.BlockedDefaults)
            {
                keys.Add("blocked_defaults: false");
            }

            yaml.AppendLine($"  - {{ {string.Join(", ", keys)} }}");
        }

        Section(yaml, "traits", model.Traits.Select(trait =>
        {
            List<string> keys = [$"merge: {trait.Merge.ToString().ToLowerInvariant()}"];
            if (trait.Prefer.Count > 0)
            {
                keys.Add($"prefer: [{string.Join(", ", trait.Prefer)}]");
            }

            if (trait.From is not null)
            {
                keys.Add($"from: {string.Join('.', trait.From)}");
            }

            return $"{trait.Name}: {{ {string.Join(", ", keys)} }}";
        }));
        Section(yaml, "computed", model.Computed.Select(computed => $"{computed.Name}: {{ value: {Quoted(Of(computed.Value))} }}"));
        Section(yaml, "segments", model.Segments.Select(segment => $"{segment.Id}: {{ name: {Quoted(segment.Name)}, when: {Quoted(Of(segment.When))} }}"));
        return yaml.ToString();
    }

    public static string Of(Expression expression) => expression switch
    {
        LiteralExpression { Value: null } => "null",
        LiteralExpression { Value: bool value } => value ? "true" : "false",
        LiteralExpression { Value: double value } => value.ToString("R", CultureInfo.InvariantCulture),
        LiteralExpression { Value: string value } => $"\"{JsonEncodedText.Encode(value)}\"",
        ListExpression list => $"[{string.Join(", ", list.Items.Select(Of))}]",
        NowExpression => "now",
        PathExpression path => Path(path),
        LogicExpression logic => string.Join(logic.IsAnd ? " and " : " or ", logic.Operands.Select(Operand)),
        NotExpression not => $"not {Operand(not.Operand)}",
        CompareExpression compare => $"{Of(compare.Left)} {Operator(compare.Operator)} {Of(compare.Right)}",
        ExistsExpression exists => $"{Of(exists.Operand)} exists",
        DateWithinExpression within => $"{Of(within.Operand)} within {(within.IsNext ? "next" : "last")} {Duration(within.WindowMs)}",
        FunctionExpression function => Function(function),
        CollectionExpression collection => Collection(collection),
        InSegmentExpression inSegment => $"in_segment(\"{inSegment.SegmentId}\")",
        _ => throw new NotSupportedException(expression.GetType().Name),
    };

    private static void Section(StringBuilder yaml, string name, IEnumerable<string> lines)
    {
        List<string> all = [.. lines];
        if (all.Count > 0)
        {
            yaml.AppendLine($"{name}:");
            all.ForEach(line => yaml.AppendLine($"  {line}"));
        }
    }

    private static string Operand(Expression operand) =>
        operand is FunctionExpression or CollectionExpression or InSegmentExpression ? Of(operand) : $"({Of(operand)})";

    private static string Path(PathExpression path)
    {
        string root = path.Root switch { PathRoot.EventType => "type", PathRoot.EventName => "event", _ => path.Root.ToString().ToLowerInvariant() };
        return string.Join('.', path.Path.Prepend(root));
    }

    private static string Function(FunctionExpression function)
    {
        string name = function.Kind switch
        {
            EventFunction.UniqueCount => "unique_count",
            EventFunction.MostFrequent => "most_frequent",
            _ => function.Kind.ToString().ToLowerInvariant(),
        };
        List<string> arguments = [.. function.Events.Select(e => $"\"{e}\"")];
        if (function.ValuePath is not null)
        {
            arguments.Add(Path(function.ValuePath));
        }

        if (function.WindowMs > 0)
        {
            arguments.Add($"within: {Duration(function.WindowMs)}");
        }

        if (function.Where is not null)
        {
            arguments.Add($"where: {Of(function.Where)}");
        }

        return $"{name}({string.Join(", ", arguments)})";
    }

    private static string Collection(CollectionExpression collection)
    {
        List<string> arguments = [collection.Collection];
        if (collection.Field is not null)
        {
            arguments.Add(string.Join('.', collection.Field));
        }

        if (collection.Where is not null)
        {
            arguments.Add(Of(collection.Where).Replace("properties.", "", StringComparison.Ordinal)); // Fields are bare names; no generated text has it.
        }

        return $"{collection.Function}({string.Join(", ", arguments)})";
    }

    private static string Operator(CompareOperator op) => op switch
    {
        CompareOperator.Equal => "==",
        CompareOperator.NotEqual => "!=",
        CompareOperator.Less => "<",
        CompareOperator.LessOrEqual => "<=",
        CompareOperator.Greater => ">",
        CompareOperator.GreaterOrEqual => ">=",
        CompareOperator.In => "in",
        CompareOperator.Contains => "contains",
        CompareOperator.StartsWith => "starts_with",
        _ => "ends_with",
    };

    private static string Duration(long ms) =>
        ms % 86_400_000 == 0 ? $"{ms / 86_400_000}d" : ms % 3_600_000 == 0 ? $"{ms / 3_600_000}h" : ms % 60_000 == 0 ? $"{ms / 60_000}m" : $"{ms / 1000}s";

    private static string Quoted(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";
}
