using System.Text.Json;
using System.Text.RegularExpressions;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

/// <summary>What docs/model.md shows works, and it shows everything.</summary>
public sealed partial class ModelDocsTests
{
    private static readonly string Text = File.ReadAllText(Repository.Path("docs/model.md"));

    private static readonly CdpModel Known = ModelReader.Read("cdp.yaml", string.Join('\n', Blocks("yaml").Where(block => (block.StartsWith("computed:", StringComparison.Ordinal) || block.StartsWith("segments:", StringComparison.Ordinal)) && !block.Contains("destinations:", StringComparison.Ordinal))), _ => null).Model!;

    [Fact]
    public void Every_model_of_the_page_is_good()
    {
        Assert.True(Blocks("yaml").Count >= 7);
        Assert.All(Blocks("yaml"), block => Assert.Empty(ModelReader.Read("cdp.yaml", block, name => name).Errors));
    }

    [Fact]
    public void Every_expression_of_the_page_is_good()
    {
        Assert.True(Blocks("expr").Count >= 17);
        Assert.All(Blocks("expr"), block => Assert.Empty(ExpressionReader.ReadCondition(block, Known).Errors));
    }

    [Fact]
    public void The_page_has_an_example_of_every_function_and_operator() =>
        Assert.All([.. ExpressionWords.Functions.Keys.Select(name => $"{name}(\""), .. ExpressionWords.Operators.Keys.Select(name => $" {name} "), " exists", " within next ", " within last ", "in_segment(", "exists(deals", "sum(deals"], example =>
            Assert.Contains(Blocks("expr"), block => block.Contains(example, StringComparison.Ordinal) || (example is " <= " or " < " && Text.Contains($"`{example.Trim()}`", StringComparison.Ordinal))));

    [Fact]
    public void The_schema_for_editors_knows_the_same_keys()
    {
        using JsonDocument schema = JsonDocument.Parse(File.ReadAllText(Repository.Path("schemas/cdp.schema.json")));
        JsonElement sections = schema.RootElement.GetProperty("properties");

        // Each key is tried: a known one gives no "has no key".
        foreach (JsonProperty section in sections.EnumerateObject())
        {
            Assert.DoesNotContain("has no key", Errors($"{section.Name}:"), StringComparison.Ordinal);
        }

        foreach ((string section, string shape) in (ReadOnlySpan<(string, string)>)[("sources", "items"), ("api_keys", "items"), ("identifiers", "items"), ("traits", "additionalProperties"), ("computed", "additionalProperties"), ("segments", "additionalProperties")])
        {
            string[] keys = [.. sections.GetProperty(section).GetProperty(shape).GetProperty("properties").EnumerateObject().Select(key => key.Name)];
            string item = $"{{ {string.Join(", ", keys.Select(key => $"{key}: x"))}, nothing: x }}";
            string errors = Errors(shape == "items" ? $"{section}: [ {item} ]" : $"{section}: {{ a: {item} }}");
            Match known = KnownKeys().Match(errors);
            Assert.True(known.Success, errors);
            Assert.Equal(known.Groups[1].Value.Split(", "), keys);
        }

        // Each kind has keys of its own; for editors they stand in one list.
        IEnumerable<string> Known(string kind) => KnownKeys().Match(Errors($"destinations: [ {{ kind: {kind}, nothing: x }} ]")).Groups[1].Value.Split(", ");
        string[] kinds = [.. sections.GetProperty("destinations").GetProperty("items").GetProperty("properties").GetProperty("kind").GetProperty("enum").EnumerateArray().Select(kind => kind.GetString()!)];
        Assert.EndsWith("; known are " + string.Join(", ", kinds), Errors("destinations: [ { id: a, kind: fax, url: \"https://a.example/\", secret: env:A } ]").Split('\n')[0], StringComparison.Ordinal);
        Assert.Equal(kinds.SelectMany(Known).Distinct().Order(), sections.GetProperty("destinations").GetProperty("items").GetProperty("properties").EnumerateObject().Select(key => key.Name).Order());
    }

    private static string Errors(string yaml) => string.Join('\n', ModelReader.Read("cdp.yaml", yaml, _ => null).Errors);

    private static List<string> Blocks(string language) => [.. Regex.Matches(Text, $@"^```{language}\n(.*?)\n```$", RegexOptions.Multiline | RegexOptions.Singleline).Select(match => match.Groups[1].Value)];

    [GeneratedRegex("has no key \"nothing\"; known are (.*)$", RegexOptions.Multiline)]
    private static partial Regex KnownKeys();
}
