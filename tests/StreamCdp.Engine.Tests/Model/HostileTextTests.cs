using CsCheck;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

/// <summary>Whatever the text, there is a model, or errors with places inside the text; nothing is thrown.</summary>
public sealed class HostileTextTests
{
    private static readonly string Demo = File.ReadAllText(Repository.Path("engine/StreamCdp/demo/cdp.yaml"));

    private static readonly Gen<string> Piece = Gen.Frequency(
        (3, Gen.OneOf<string>(
            "'", "\"", "\\", "{", "}", "[", "]", ":", ": ", ", ", ",", "\n", "\r\n", "\r", "\t", " ", "- ", "? ", "#", " #", "&a ", "*a", "!!str ", "!", "|", ">", "|2\n", ">-\n", "---\n", "...\n", "%YAML 1.2\n", "%", "@", "`",
            "\uFEFF", "\u2028", "\u0085", "\0", "\ud800", "😀", "~", "null", "0", "-1", "1e999", "env:", "env:X", "/(/", "within: ", "where: ", "(", ")", "and", "or", "not ", "==", "<", "in", ".", "\\u12", "\\x4", "\\\n",
            "sources:", "segments:", "computed:", "identifiers:", "when:", "value:", "in_segment(\"vip\")", "computed.revenue", "traits.x", "count(\"A\"", "sum(deals, amount)", "30d", "now", "exists", "<<: ")),
        (1, Gen.String[0, 8]));

    private static readonly Gen<string> Mutated = Gen.Select(Gen.Int[0, Demo.Length], Gen.Int[0, 1500], Gen.Select(Gen.Int[0, 1500], Gen.Int[0, 12], Piece).Array[0, 6]).Select(parts =>
    {
        string text = Demo[parts.Item1..Math.Min(Demo.Length, parts.Item1 + parts.Item2)];
        text = parts.Item1 % 3 == 0 ? Demo : text;
        foreach ((int at, int length, string piece) in parts.Item3)
        {
            int start = Math.Min(at, text.Length);
            text = string.Concat(text.AsSpan(0, start), piece, text.AsSpan(Math.Min(text.Length, start + length)));
        }

        return text;
    });

    [Fact]
    public void A_mutated_model_gives_a_model_or_places() => Mutated.Sample(CheckModel, iter: 3000);

    [Fact]
    public void A_heap_of_pieces_gives_a_model_or_places() => Piece.Array[0, 30].Select(string.Concat).Sample(CheckModel, iter: 3000);

    [Fact]
    public void Any_expression_gives_a_tree_or_places() => Gen.Select(Piece, Gen.OneOf<string>("", " ")).Select(parts => parts.Item1 + parts.Item2).Array[0, 20].Select(string.Concat).Sample(text =>
    {
        ExpressionResult result = ExpressionReader.ReadCondition(text);
        Assert.Equal(result.Errors.Count == 0, result.Expression is not null);
        CheckPlaces(text, result.Errors.Select(error => (error.Line, error.Column)));
        if (result.Expression is { } expression)
        {
            Assert.Equal(expression, ExpressionReader.ReadCondition(expression.ToString()!).Expression);
        }
    }, iter: 10_000);

    /// <summary>Every scalar of a text that YAML accepts is found again, sign by sign, so that no place is a guess.</summary>
    [Fact]
    public void Every_sign_of_an_expression_has_its_own_place() => Gen.Select(Gen.Int[0, 5], Gen.OneOf<string>("traits.x", " ", "  ", "\n", "\n\n", "'", "\"", "\\", "and", "(", "\t", "é", "😀").Array[1, 12].Select(string.Concat)).Sample((style, value) =>
    {
        string body = string.Join("\n      ", value.Split('\n'));
        string text = style switch
        {
            0 => $"a: '{body.Replace("'", "''", StringComparison.Ordinal)}'\n",
            1 => $"a: \"{body.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"\n",
            2 => $"a: |\n      x{body}\nb: 1\n",
            3 => $"a: >\n      x{body}\n",
            4 => $"a: >-\n      x{body}\n\n\nb: 1\n",
            _ => $"a: x{body} # end\nb: 1\n",
        };
        bool yaml = true;
        YamlNode? root = YamlTree.Read(text, (_, _) => yaml = false);
        if (!yaml || root is not YamlMap { Entries: [(_, YamlScalar scalar), ..] } || value.Contains('\t', StringComparison.Ordinal))
        {
            return;
        }

        int[] places = ScalarPlaces.Of(text, scalar);
        for (int i = 0; i < scalar.Value.Length; i++)
        {
            char c = scalar.Value[i];
            Assert.True(c is ' ' or '\n' || text[places[i]] == c || text[places[i]] == '\\', $"'{c}' of {scalar.Value} is not at {places[i]} of {text}");
            Assert.True(i == 0 || places[i] > places[i - 1] || c is ' ' or '\n', $"{i} of {scalar.Value} in {text}");
        }
    }, iter: 5000);

    private static void CheckModel(string text)
    {
        ModelResult result = ModelReader.Read("cdp.yaml", text, _ => null);
        Assert.Equal(result.Errors.Count == 0, result.Model is not null);
        CheckPlaces(text.StartsWith('\uFEFF') ? text[1..] : text, result.Errors.Select(error => (error.Line, error.Column)).Concat(result.Notes.Select(note => (note.Line, note.Column))));
    }

    private static void CheckPlaces(string text, IEnumerable<(int Line, int Column)> places)
    {
        string[] lines = text.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n').Split('\n');
        foreach ((int line, int column) in places)
        {
            Assert.InRange(line, 1, lines.Length);
            Assert.InRange(column, 1, lines[line - 1].Length + 2);
        }
    }
}
