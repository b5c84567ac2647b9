using System.Text.RegularExpressions;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Tidy;

/// <summary>What a reader of the repository may rely on: names say something, links and references lead somewhere.</summary>
public partial class TidyTests
{
    [Fact]
    public void No_file_and_no_type_is_a_manager_a_helper_or_utils()
    {
        List<string> found = [];
        foreach (string file in Tree.Files("engine", "*.cs").Concat(Tree.Files("schemas", "*.cs")))
        {
            if (EmptyName().IsMatch(Path.GetFileNameWithoutExtension(file)))
            {
                found.Add(file);
            }

            found.AddRange(TypeName().Matches(Tree.Read(file)).Select(match => match.Groups[1].Value).Where(name => EmptyName().IsMatch(name)).Select(name => $"{file}: {name}"));
        }

        Assert.Empty(found);
    }

    [Fact]
    public void Every_link_in_a_page_leads_somewhere()
    {
        List<string> dead = [];
        foreach (string page in Tree.Files("", "*.md"))
        {
            string text = CodeBlock().Replace(Tree.Read(page), "");
            foreach (string target in Link().Matches(text).Select(match => match.Groups[1].Value).Where(target => !target.Contains("://", StringComparison.Ordinal)))
            {
                string path = Path.Combine(Tree.Root, Path.GetDirectoryName(page)!, target);
                if (!File.Exists(path) && !Directory.Exists(path))
                {
                    dead.Add($"{page}: {target}");
                }
            }
        }

        Assert.Empty(dead);
    }

    [Fact]
    public void Every_folder_of_the_engine_is_in_its_README()
    {
        string readme = Tree.Read("engine/README.md");
        IEnumerable<string> folders = Tree.Folders("engine/StreamCdp.Engine").Skip(1).Concat(Tree.Folders("engine/StreamCdp").Skip(1)).Select(folder => folder["engine/".Length..]);

        Assert.All(folders, folder => Assert.Contains($"`{folder}`", readme, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_decision_that_a_comment_names_exists()
    {
        string[] decisions = [.. Tree.Files("engine/docs/adr").Select(Path.GetFileNameWithoutExtension)!];
        List<string> missing = [];
        foreach (string file in new[] { "engine", "schemas", "tests", "bench" }.SelectMany(folder => Tree.Files(folder, "*.cs")))
        {
            missing.AddRange(Decision().Matches(Tree.Read(file))
                .Where(match => !decisions.Any(decision => match.Groups[2].Success ? decision == match.Groups[1].Value : decision.StartsWith(match.Groups[1].Value + "-", StringComparison.Ordinal)))
                .Select(match => $"{file}: {match.Value}"));
        }

        Assert.Empty(missing);
    }

    [Fact]
    public void No_file_names_a_place_on_somebody_s_machine()
    {
        string[] places = ["/" + "work/", "/" + "root/", "/" + "home/", "/" + "farm/", @"C:\" + "Users"];
        List<string> found = [];
        foreach (string file in Tree.Files("").Where(file => !file.EndsWith(".png", StringComparison.Ordinal)))
        {
            string text = Tree.Read(file);
            found.AddRange(places.Where(place => text.Contains(place, StringComparison.Ordinal)).Select(place => $"{file}: {place}"));
            found.AddRange(Registry().Matches(text).Select(match => match.Groups[1].Value).Where(host => host is not ("registry.npmjs.org" or "api.nuget.org")).Select(host => $"{file}: {host}"));
        }

        Assert.Empty(found);
    }

    [Fact]
    public void The_model_of_the_README_is_good()
    {
        string yaml = YamlBlock().Match(Tree.Read("README.md")).Groups[1].Value;
        ModelResult result = ModelReader.Read("README.md", yaml, name => name);

        Assert.Empty(result.Errors);
    }

    [GeneratedRegex("(Manager|Helpers?|Util(itie)?s?)$")]
    private static partial Regex EmptyName();

    [GeneratedRegex(@"\b(?:class|struct|record|interface|enum)\s+(?:struct\s+|class\s+)?(\w+)")]
    private static partial Regex TypeName();

    [GeneratedRegex("^```.*?^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex CodeBlock();

    [GeneratedRegex(@"\]\(([^)#\s]+)(?:#[^)]*)?\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"adr/(\d{4}(-[a-z0-9-]+)?)")]
    private static partial Regex Decision();

    [GeneratedRegex("(?:\"resolved\": *\"|packageSource[^>]*value=\")https?://([^/\"]+)")]
    private static partial Regex Registry();

    [GeneratedRegex("^```yaml\n(.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex YamlBlock();
}
