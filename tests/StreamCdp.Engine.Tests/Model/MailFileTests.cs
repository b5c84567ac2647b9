using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

/// <summary>Texts of mails that stand in files beside the model.</summary>
public sealed class MailFileTests
{
    private static readonly Dictionary<string, string> s_files = new()
    {
        ["mails/welcome.html"] = "<p>\nHello {{ traits.name }}</p>",
        ["mails/welcome.txt"] = "Hello {{ traits.name }}",
        ["mails/broken.html"] = "<p>\n{% if %}</p>",
        ["mails/typo.html"] = "<p>\n  {{ trait.name }}</p>",
        ["mails/unknown.html"] = "<p>\n\n{{ computed.orders }}</p>",
        ["mails/empty.html"] = " \n",
    };

    [Fact]
    public void Files_are_the_templates_of_a_mail()
    {
        ModelResult result = Read("text_file: mails/welcome.txt, html_file: mails/welcome.html");

        Assert.Empty(result.Errors);
        ActionDefinition action = Assert.Single(Assert.Single(result.Model!.Destinations).Actions);
        Assert.Equal(["html", "subject", "text"], action.Fields.Keys.Order(StringComparer.Ordinal));
        Assert.Equal("<p>\nHello &lt;Ann&gt;</p>", action.Fields["html"].Render(new Dictionary<string, object?> { ["traits"] = System.Text.Json.JsonElement.Parse("""{"name":"<Ann>"}""") }, isHtml: true));
    }

    [Theory]
    [InlineData("html_file: mails/none.html", "html_file is mails/none.html, which is not there; a path begins in the directory of the model")]
    [InlineData("html_file: mails/empty.html", "html_file is mails/empty.html, which is empty")]
    [InlineData("html_file: mails/denied.html", "html_file is mails/denied.html, which cannot be read: denied")]
    [InlineData("html_file: mails/typo.html", "mails/typo.html is no good template: a template knows no trait; did you mean \"traits\"? at (2:6)")]
    [InlineData("html_file: mails/unknown.html", "mails/unknown.html is no good template: there is no computed trait called \"orders\" at (3:4)")]
    [InlineData("html: x, html_file: mails/welcome.html", "html stands here and in html_file; allowed is one of both")]
    public void What_is_wrong_with_a_file_is_told_with_both_places(string body, string message)
    {
        string error = Assert.Single(Read(body).Errors).ToString();

        Assert.StartsWith("cdp.yaml:11:", error, StringComparison.Ordinal);
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    [Fact]
    public void The_parser_says_where_in_the_file_it_gave_up() =>
        Assert.Matches(@"^cdp\.yaml:11:\d+: mails/broken\.html is no good template: .*\(2:", Assert.Single(Read("html_file: mails/broken.html").Errors).ToString());

    [Fact]
    public void A_model_that_is_no_file_has_no_files_beside_it() =>
        Assert.Contains("this model is no file", Assert.Single(ModelReader.Read("cdp.yaml", Yaml("text_file: mails/welcome.txt"), _ => null).Errors).ToString(), StringComparison.Ordinal);

    private static ModelResult Read(string body) => ModelReader.Read("cdp.yaml", Yaml(body), _ => null, path => path.Contains("denied", StringComparison.Ordinal) ? throw new UnauthorizedAccessException("denied") : s_files.GetValueOrDefault(path) ?? throw new FileNotFoundException());

    private static string Yaml(string body) => $$"""
        segments: { s: { when: 'happened("x")' } }
        identifiers: [ { type: email } ]
        destinations:
          - id: m
            kind: email
            url: smtp://a.example
            from: a@b.example
            actions:
              - id: a
                on: { entered: s }
                send: { subject: Welcome, {{body}} }
        """;
}
