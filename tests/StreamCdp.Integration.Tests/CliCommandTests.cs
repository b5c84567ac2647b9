using System.Runtime.CompilerServices;
using System.Text;

namespace StreamCdp.Integration.Tests;

public sealed class CliCommandTests : IDisposable
{
    private static readonly string[][] s_commands =
        [[], ["demo"], ["run"], ["check"], ["import"], ["simulate"], ["export"], ["export", "profiles"], ["export", "segment"], ["profile"], ["dead-letters"], ["dead-letters", "list"], ["dead-letters", "replay"], ["connectors"], ["connectors", "plan"], ["connectors", "apply"], ["connectors", "conflicts"]];

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("streamcdp-cli-");

    public void Dispose() => _directory.Delete(recursive: true);

    /// <summary>Delete CliHelp.txt and run again to take over a wanted change.</summary>
    [Fact]
    public async Task The_help_of_each_command_is_as_agreed()
    {
        var help = new StringBuilder();
        foreach (string[] command in s_commands)
        {
            (int code, string output, _) = await CliFakeServer.RunAsync([.. command, "--help"]);
            Assert.Equal(0, code);
            help.Append("# streamcdp ").AppendJoin(' ', command).Append('\n').Append(output.TrimEnd()).Append("\n\n");
        }

        string actual = string.Join('\n', help.ToString().Split('\n').Select(line => line.TrimEnd()));
        string file = Path.Combine(Path.GetDirectoryName(ThisFile())!, "CliHelp.txt");
        if (!File.Exists(file))
        {
            await File.WriteAllTextAsync(file, actual, TestContext.Current.CancellationToken);
        }

        Assert.Equal(await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken), actual);
    }

    [Fact]
    public async Task The_roles_in_the_examples_of_run_are_not_refused()
    {
        (_, string help, _) = await CliFakeServer.RunAsync("run", "--help");
        string[] examples = [.. help.Split('\n').Where(line => line.Contains("--roles ", StringComparison.Ordinal) && line.TrimStart().StartsWith("streamcdp run", StringComparison.Ordinal))];

        Assert.NotEmpty(examples);
        foreach (string example in examples)
        {
            string roles = example.Split("--roles ")[1].Split(' ')[0];
            Assert.Empty(ServerFixtureHost.Settings(_directory.FullName, ServerFixtureHost.Model, ("Log:Kind", "kafka"), ("Kafka:BootstrapServers", "b:9092"), ("Roles", roles)).Errors());
        }
    }

    private static string ThisFile([CallerFilePath] string path = "") => path;

    [Theory]
    [InlineData("nonsense")]
    [InlineData("")]
    [InlineData("check")]
    [InlineData("profile", "no-colon")]
    [InlineData("demo", "--rate", "0")]
    [InlineData("demo", "--duration", "30")]
    [InlineData("simulate", "--people", "-1")]
    [InlineData("simulate", "--verify")]
    [InlineData("export", "segment", "a", "--format", "xml")]
    [InlineData("import", "-", "--resume")]
    [InlineData("import", "a.ndjson", "--url", "http://h", "--clock", "event")]
    [InlineData("dead-letters", "replay", "--from", "yesterday")]
    [InlineData("profile", "a:b", "--url", "h")]
    [InlineData("run", "--log", "redis")]
    [InlineData("run", "--clock", "moon")]
    [InlineData("run", "--roles", "fly")]
    public async Task Wrong_usage_is_exit_code_2_and_says_why(params string[] args)
    {
        (int code, string output, string error) = await CliFakeServer.RunAsync(args.Length == 1 && args[0].Length == 0 ? [] : args);

        Assert.True(code == 2, error + output);
        Assert.NotEmpty(error);
        Assert.Empty(output);
    }

    [Fact]
    public async Task Check_prints_every_error_with_its_place()
    {
        string file = Write("cdp.yaml", """
            sources: [ { id: web, write_key: k, kind: website } ]
            identifiers: [ { type: user_id, limit: 1 } ]
            segments:
              a: { when: 'count("X" > 3' }
              b: { when: 'traits.plan == ' }
            """);

        (int code, string output, string error) = await CliFakeServer.RunAsync("check", file);

        Assert.Equal(1, code);
        Assert.Empty(output);
        string[] lines = error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Contains(lines, line => line.StartsWith($"{file}:4:", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.StartsWith($"{file}:5:", StringComparison.Ordinal));
        Assert.All(lines, line => Assert.Matches(@"^.+:[0-9]+:[0-9]+: .+$", line));
    }

    [Fact]
    public async Task Check_of_a_good_model_reports_it()
    {
        (int code, string output, string error) = await CliFakeServer.RunAsync("check", Write("cdp.yaml", Cli.Demo.DemoModel.Shop()));

        Assert.True(code == 0, error);
        Assert.Contains("cart_abandoners", output, StringComparison.Ordinal);
        Assert.DoesNotContain("demo-web-key", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Check_reads_the_files_of_mails_beside_the_model_wherever_it_is_run()
    {
        string model = Write("cdp.yaml", """
            segments: { s: { when: 'happened("x")' } }
            identifiers: [ { type: email } ]
            destinations:
              - { id: m, kind: email, url: "smtp://127.0.0.1:2525", from: a@b.example, actions: [ { id: a, on: { entered: s }, send: { subject: Hi, html_file: mails/hi.html } } ] }
            """);
        (int missing, _, string error) = await CliFakeServer.RunAsync("check", model);
        Directory.CreateDirectory(Path.Combine(_directory.FullName, "mails"));
        await File.WriteAllTextAsync(Path.Combine(_directory.FullName, "mails", "hi.html"), "<p>Hi {{ traits.name }}</p>", TestContext.Current.CancellationToken);
        (int there, _, string none) = await CliFakeServer.RunAsync("check", model);

        Assert.Equal(1, missing);
        Assert.Contains("cdp.yaml:4:", error, StringComparison.Ordinal);
        Assert.Contains("html_file is mails/hi.html, which is not there", error, StringComparison.Ordinal);
        Assert.True(there == 0, none);

        await File.WriteAllBytesAsync(Path.Combine(_directory.FullName, "mails", "hi.html"), [.. "Gr"u8, 0xFC, .. "n"u8], TestContext.Current.CancellationToken);
        Assert.Contains("it is not UTF-8", (await CliFakeServer.RunAsync("check", model)).Error, StringComparison.Ordinal);
        foreach (string elsewhere in (string[])["../hi.html", "/etc/hostname", "mails/../../hi.html"])
        {
            string outside = Write("outside.yaml", (await File.ReadAllTextAsync(model, TestContext.Current.CancellationToken)).Replace("mails/hi.html", elsewhere, StringComparison.Ordinal));
            Assert.Contains("it must be in the model's directory or below", (await CliFakeServer.RunAsync("check", outside)).Error, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Check_of_a_missing_file_fails()
    {
        (int code, _, string error) = await CliFakeServer.RunAsync("check", "/nowhere/cdp.yaml");

        Assert.Equal(1, code);
        Assert.Contains("/nowhere/cdp.yaml", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_prints_all_wrong_settings_at_once()
    {
        (int code, _, string error) = await CliFakeServer.RunAsync("run", "--model", "/nowhere.yaml", "--log", "redis", "--roles", "collect,fly", "--clock", "moon", "--data", Write("file", ""), "--urls", "ftp://x");

        Assert.Equal(2, code);
        string[] lines = error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(6, lines.Length);
        foreach (string part in (string[])["StreamCdp:Model is /nowhere.yaml", "StreamCdp:Log:Kind is redis; allowed are local and kafka", "StreamCdp:Roles has fly", "StreamCdp:Clock is moon", "StreamCdp:State:Path is", "StreamCdp:Http:Urls has ftp://x"])
        {
            Assert.Contains(lines, line => line.StartsWith(part, StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Run_without_its_model_fails_and_is_no_wrong_usage()
    {
        (int code, _, string error) = await CliFakeServer.RunAsync("run", "--model", "/nowhere.yaml");

        Assert.Equal(1, code);
        Assert.Contains("/nowhere.yaml", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Profile_prints_the_document()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        server.Answers["/v1/profiles/email:a+b@c.d"] = """{"id":"7","traits":{"name":"Zoë"}}""";

        (int code, string output, string error) = await CliFakeServer.RunAsync("profile", "email:a+b@c.d", "--url", server.Address.ToString(), "--key", "secret");

        Assert.True(code == 0, error);
        Assert.Contains("\"name\": \"Zoë\"", output, StringComparison.Ordinal);
        Assert.Equal("Bearer secret", server.Headers[0].Authorization.ToString());
    }

    [Fact]
    public async Task A_key_comes_from_the_first_line_of_a_file_so_that_no_process_list_shows_it()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        server.Answers["/v1/profiles/user_id:1"] = "{}";
        string[] command = ["profile", "user_id:1", "--url", server.Address.ToString()];

        (int code, _, string error) = await CliFakeServer.RunAsync([.. command, "--key-file", Write("ops.key", "secret\nmore\n")]);
        (int both, _, string bothError) = await CliFakeServer.RunAsync([.. command, "--key", "secret", "--key-file", Write("ops.key", "secret")]);
        (int empty, _, string emptyError) = await CliFakeServer.RunAsync([.. command, "--key-file", Write("empty.key", "\n")]);
        (int missing, _, _) = await CliFakeServer.RunAsync([.. command, "--key-file", "/nowhere.key"]);

        Assert.True(code == 0, error);
        Assert.Equal("Bearer secret", Assert.Single(server.Headers).Authorization.ToString());
        Assert.Equal((2, 1, 1), (both, empty, missing));
        Assert.Contains("both given", bothError, StringComparison.Ordinal);
        Assert.Contains("empty.key", emptyError, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Profile_prints_a_trait_with_half_a_surrogate_pair_as_it_is()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        server.Answers["/v1/profiles/user_id:1"] = """{"id":"7","traits":{"name":"\ud800"}}""";

        (int code, string output, string error) = await CliFakeServer.RunAsync("profile", "user_id:1", "--url", server.Address.ToString());

        Assert.True(code == 0, error);
        Assert.Equal(server.Answers["/v1/profiles/user_id:1"] + "\n", output);
    }

    [Fact]
    public async Task An_unknown_profile_fails_and_names_it()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();

        (int code, string output, string error) = await CliFakeServer.RunAsync("profile", "user_id:1", "--url", server.Address.ToString());

        Assert.Equal(1, code);
        Assert.Empty(output);
        Assert.Equal("Nobody has the identifier user_id:1.\n", error);
    }

    [Fact]
    public async Task A_server_that_is_away_fails_and_says_what_to_do()
    {
        (int code, _, string error) = await CliFakeServer.RunAsync("profile", "user_id:1", "--url", "http://127.0.0.1:1");

        Assert.Equal(1, code);
        Assert.Contains("--url", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Export_of_profiles_goes_through_all_pages()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        server.Answers["/v1/profiles?limit=500"] = """{"profiles":[{"id":"1"},{"id":"2"}],"next":"c d"}""";
        server.Answers["/v1/profiles?limit=500&cursor=c%20d"] = """{"profiles":[{"id":"3"}],"next":null}""";

        (int code, string output, _) = await CliFakeServer.RunAsync("export", "profiles", "--url", server.Address.ToString());

        Assert.Equal(0, code);
        Assert.Equal("{\"id\":\"1\"}\n{\"id\":\"2\"}\n{\"id\":\"3\"}\n", output);
    }

    [Fact]
    public async Task Export_to_a_file_leaves_no_half_file()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        string file = Path.Combine(_directory.FullName, "out.ndjson");
        server.Answers["/v1/profiles?limit=500"] = """{"profiles":[{"id":"1"}],"next":"gone"}""";

        (int code, _, _) = await CliFakeServer.RunAsync("export", "profiles", "--url", server.Address.ToString(), "--out", file);

        Assert.Equal(1, code);
        Assert.False(File.Exists(file));
    }

    [Fact]
    public async Task Export_of_a_segment_as_csv_has_a_column_for_each_identifier_type()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        server.Answers["/v1/segments/vip/members?limit=500"] = """{"members":[{"id":"1","since":"2026-01-01T00:00:00Z","identifiers":[{"type":"user_id","value":"a,b"}]},{"id":"2","since":"2026-01-02T00:00:00Z","identifiers":[{"type":"email","value":"x@y.z"},{"type":"email","value":"z@y.x"}]}],"next":null}""";

        (int code, string output, _) = await CliFakeServer.RunAsync("export", "segment", "vip", "--format", "csv", "--url", server.Address.ToString());

        Assert.Equal(0, code);
        Assert.Equal("id,since,user_id,email\n1,2026-01-01T00:00:00Z,\"a,b\",\n2,2026-01-02T00:00:00Z,,x@y.z z@y.x\n", output);
    }

    [Fact]
    public async Task Dead_letters_are_listed_and_replayed()
    {
        await using CliFakeServer server = await CliFakeServer.StartAsync();
        server.Answers["/v1/dead-letters?limit=1&reason=too_large"] = """{"dead_letters":[{"reason":"too_large"}],"next":"x"}""";
        server.Answers["/v1/dead-letters/replay"] = """{"replayed":4,"still_invalid":2}""";

        (int listCode, string list, _) = await CliFakeServer.RunAsync("dead-letters", "list", "--limit", "1", "--reason", "too_large", "--url", server.Address.ToString());
        (int replayCode, string replay, _) = await CliFakeServer.RunAsync("dead-letters", "replay", "--from", "2026-11-24", "--url", server.Address.ToString());

        Assert.Equal((0, "{\"reason\":\"too_large\"}\n"), (listCode, list));
        Assert.Equal((0, "4 replayed, 2 still invalid.\n"), (replayCode, replay));
    }

    private string Write(string name, string text)
    {
        string path = Path.Combine(_directory.FullName, name);
        File.WriteAllText(path, text);
        return path;
    }
}
