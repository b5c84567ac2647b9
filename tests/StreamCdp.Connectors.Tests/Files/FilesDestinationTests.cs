using System.Diagnostics;
using System.Text;
using System.Text.Json;
using StreamCdp.Connectors.Files;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Tests.Files;

public sealed class FilesDestinationTests : IDisposable
{
    private const string Part = "2026-11-25.ndjson.20261125T121000000.part";
    private const string CsvPart = "2026-11-25.csv.20261125T121000000.part";
    private const string CsvHeader = "id,type,profile_id,version,at,segment,reason,merged_into,Name\r\n";

    private readonly FilesFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_file_has_its_name_only_when_it_is_finished_also_when_nothing_comes_any_more()
    {
        await using FilesDestination destination = New();
        await SendAsync(destination, 1);
        _folder.Time.Look();
        string[] inWork = _folder.Names();

        _folder.Time.Now = _folder.Time.Now.AddMinutes(50); // 13:00: the hour is over.
        _folder.Time.Look();

        Assert.Equal([Part], inWork);
        Assert.Equal(["2026-11-25.ndjson"], _folder.Names());
        Assert.Equal(Encoding.UTF8.GetString(ChangeJson.Bytes(Change(1))) + "\n", _folder.Text("2026-11-25.ndjson"));
    }

    [Fact]
    public async Task Date_and_time_are_those_of_the_begin_and_a_name_that_is_taken_gets_a_number()
    {
        await using FilesDestination destination = New("{date}T{time}.ndjson");
        await using FilesDestination other = New("x-{date}.ndjson");
        foreach (int hour in (int[])[1, 2, 3])
        {
            await SendAsync(destination, hour);
            await SendAsync(other, hour);
            _folder.Time.Now = _folder.Time.Now.AddHours(1);
        }

        await SendAsync(destination, 4);
        await SendAsync(other, 4);

        Assert.Equal(
            ["2026-11-25T121000.ndjson", "2026-11-25T131000.ndjson", "2026-11-25T141000.ndjson", "2026-11-25T151000.ndjson.20261125T151000000.part", "x-2026-11-25-2.ndjson", "x-2026-11-25-3.ndjson", "x-2026-11-25.ndjson", "x-2026-11-25.ndjson.20261125T151000000.part"],
            _folder.Names());
        Assert.Equal([1, 2, 3], new[] { "x-2026-11-25.ndjson", "x-2026-11-25-2.ndjson", "x-2026-11-25-3.ndjson" }.Select(name => JsonElement.Parse(_folder.Text(name)).GetProperty("version").GetInt32()));
    }

    [Fact]
    public async Task A_file_that_is_large_enough_takes_no_more()
    {
        await using FilesDestination destination = new(_folder.Options() with { MaxBytes = 1 << 20 }, _folder.Time);
        await destination.SendAsync([.. Enumerable.Range(1, 3).Select(version => Change(version) with { Traits = JsonElement.Parse($$"""{"t":"{{new string('x', 400_000)}}"}""") })], TestContext.Current.CancellationToken);

        await SendAsync(destination, 4);

        Assert.Equal(["2026-11-25.ndjson", Part], _folder.Names());
        Assert.Equal(3, _folder.Text("2026-11-25.ndjson").Count(c => c == '\n'));
    }

    /// <summary>What a kill in the middle of a write leaves: a part of a line, also one that ends within a text with a line break, and zeros where the file had grown already.</summary>
    [Theory]
    [InlineData("ndjson", "{\"id\":\"0000")]
    [InlineData("ndjson", "{\"id\":\"x\",\"type\":\"profile\"}")]
    [InlineData("ndjson", "\0\0\0\0")]
    [InlineData("ndjson", "\0\0\0\n{\"id\":\"x\"}\n")]
    [InlineData("csv", "x,profile,\"a\nb")]
    [InlineData("csv", "x,profile\r")]
    [InlineData("ndjson", "{\"id\":\"x\",\"t\":\"", 5000)]
    [InlineData("csv", "x,profile,\"", 5000)]
    public async Task What_a_crash_left_of_a_line_is_cut_off_and_never_glued_to_the_next(string extension, string torn, int length = 0)
    {
        string part = extension == "csv" ? CsvPart : Part;
        await using (FilesDestination destination = New("{date}." + extension))
        {
            await SendAsync(destination, 1);
        }

        string whole = _folder.Text(part);
        File.AppendAllText(_folder.PathOf(part), torn.PadRight(length, 'x')); // Also longer than the next line.

        await using FilesDestination again = New("{date}." + extension);
        await SendAsync(again, 2);

        Assert.StartsWith(whole, _folder.Text(part), StringComparison.Ordinal);
        string[] lines = _folder.Text(part)[whole.Length..].Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Contains(Change(2).Id, Assert.Single(lines), StringComparison.Ordinal);
        Assert.DoesNotContain('\0', _folder.Text(part));
    }

    [Theory]
    [InlineData("")]
    [InlineData("id,type,pro")]
    public async Task A_csv_that_a_crash_left_without_a_whole_header_gets_one(string left)
    {
        await File.WriteAllTextAsync(_folder.PathOf(CsvPart), left, TestContext.Current.CancellationToken);
        await using FilesDestination destination = New("{date}.csv");

        await SendAsync(destination, 1);

        Assert.Equal(CsvHeader + $"{Change(1).Id},profile,{Change(1).ProfileId},1,2026-11-25T12:00:00.000Z,,,,Zoë\r\n", _folder.Text(CsvPart));
    }

    [Theory]
    [InlineData("ndjson")]
    [InlineData("csv")]
    public async Task A_batch_that_comes_again_after_a_crash_is_not_twice_in_the_file_in_work(string extension)
    {
        ProfileChange[] batch = [Change(1), Change(2), Change(3)];
        await using (FilesDestination destination = New("{date}." + extension))
        {
            await destination.SendAsync(batch[..2], TestContext.Current.CancellationToken);
        }

        await using FilesDestination again = New("{date}." + extension);
        IReadOnlyList<Outcome> outcomes = await again.SendAsync(batch, TestContext.Current.CancellationToken);

        Assert.All(outcomes, outcome => Assert.Equal(OutcomeKind.Taken, outcome.Kind));
        Assert.Equal(3, _folder.Lines().Count(line => !line.StartsWith("id,", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Other_columns_begin_another_file()
    {
        await using (FilesDestination destination = New("{date}.csv"))
        {
            await SendAsync(destination, 1);
        }

        await using FilesDestination wider = new(_folder.Options("{date}.csv") with { Columns = ["Name", "Plan"] }, _folder.Time);
        await SendAsync(wider, 2);

        Assert.Equal(["2026-11-25.csv", CsvPart], _folder.Names());
        Assert.Equal(CsvHeader.Replace("Name", "Name,Plan", StringComparison.Ordinal), _folder.Text(CsvPart).Split('\n')[0] + "\n");
    }

    [Fact]
    public async Task A_file_with_a_line_is_kept_also_where_the_new_header_is_longer_than_all_of_it()
    {
        await using (FilesDestination destination = New("{date}.csv"))
        {
            await SendAsync(destination, 1);
        }

        await using FilesDestination wider = new(_folder.Options("{date}.csv") with { Columns = ["Name", .. Enumerable.Range(0, 40).Select(i => $"Column{i:00}")] }, _folder.Time);
        await SendAsync(wider, 2);

        Assert.Contains("2026-11-25.csv", _folder.Names());
        Assert.Contains(":1:", _folder.Text("2026-11-25.csv"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_value_with_a_NUL_costs_no_line_at_the_next_start()
    {
        await using (FilesDestination destination = New("{date}.csv"))
        {
            await SendAsync(destination, 1, """ "a\u0000b" """);
            await SendAsync(destination, 2);
        }

        await using FilesDestination again = New("{date}.csv");
        await SendAsync(again, 3);

        Assert.Equal([1, 2, 3], _folder.Text(CsvPart).Split("\r\n", StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(line => int.Parse(line.Split(',')[3], System.Globalization.CultureInfo.InvariantCulture)));
    }

    [Fact]
    public async Task Files_that_older_runs_left_are_finished_and_the_newest_is_gone_on_with()
    {
        File.WriteAllText(_folder.PathOf("2026-11-20.ndjson.20261120T100000000.part"), "{\"id\":\"a\"}\n{\"id\":\"b");
        File.WriteAllText(_folder.PathOf("2026-11-21.ndjson.20261121T100000000.part"), "");
        File.WriteAllText(_folder.PathOf("2026-11-25.ndjson.20261125T120100000.part"), "{\"id\":\"c\"}\n");
        File.WriteAllText(_folder.PathOf("other-2026-11-20.ndjson.20261120T100000000.part"), "of another destination");
        await using FilesDestination destination = New();

        await SendAsync(destination, 1);

        Assert.Equal(["2026-11-20.ndjson", "2026-11-25.ndjson.20261125T120100000.part", "other-2026-11-20.ndjson.20261120T100000000.part"], _folder.Names());
        Assert.Equal("{\"id\":\"a\"}\n", _folder.Text("2026-11-20.ndjson"));
        Assert.Equal(2, _folder.Text("2026-11-25.ndjson.20261125T120100000.part").Count(c => c == '\n'));
    }

    [Fact]
    public async Task What_is_sent_after_somebody_took_the_file_in_work_is_in_a_new_one()
    {
        await using FilesDestination destination = New();
        await SendAsync(destination, 1);
        File.Move(_folder.PathOf(Part), _folder.PathOf("taken"));

        await SendAsync(destination, 2);

        Assert.Contains(Change(2).Id, _folder.Text(Part), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("=1+2", false, "=1+2")]
    [InlineData("=1+2", true, "\"'=1+2\"")]
    [InlineData("+49 170", false, "+49 170")]
    [InlineData("@x", true, "\"'@x\"")]
    [InlineData("a, \"b\"\r\nc", false, "\"a, \"\"b\"\"\nc\"")]
    public async Task Texts_of_a_csv_are_as_they_are_but_for_formulas_on_demand_and_line_breaks(string value, bool escapes, string expected)
    {
        await using FilesDestination destination = new(_folder.Options("{date}.csv") with { EscapesFormulas = escapes }, _folder.Time);

        await SendAsync(destination, 1, JsonSerializer.Serialize(value));

        Assert.EndsWith($",,,,{expected}\r\n", _folder.Text(CsvPart), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("-1.50", "-1.50")]
    [InlineData("true", "true")]
    [InlineData("null", "")]
    [InlineData("""["a@b.example","c@d.example"]""", "a@b.example c@d.example")]
    [InlineData("""{"a":1}""", "\"{\"\"a\"\":1}\"")]
    public async Task Other_values_of_a_csv_are_plain(string value, string expected)
    {
        await using FilesDestination destination = new(_folder.Options("{date}.csv") with { EscapesFormulas = true }, _folder.Time);

        await SendAsync(destination, 1, value);

        Assert.EndsWith($",,,,{expected}\r\n", _folder.Text(CsvPart), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, UnixFileMode.UserRead | UnixFileMode.UserWrite, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute)]
    [InlineData(true, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupRead | UnixFileMode.GroupExecute)]
    public async Task Only_the_user_reads_it_or_its_group_too_when_it_is_said(bool isGroupReadable, UnixFileMode file, UnixFileMode directory)
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Skip("Windows has other rights.");
            return;
        }

        await using FilesDestination destination = new(_folder.Options("made/{date}.ndjson") with { IsGroupReadable = isGroupReadable }, _folder.Time);

        await SendAsync(destination, 1);

        Assert.Equal((file, directory), (File.GetUnixFileMode(Directory.GetFiles(_folder.PathOf("made"))[0]), File.GetUnixFileMode(_folder.PathOf("made"))));
    }

    [Fact]
    public async Task A_really_full_disk_is_waited_for_and_leaves_no_half_line()
    {
        string mount = _folder.PathOf("small");
        Directory.CreateDirectory(mount);
        Assert.SkipUnless(OperatingSystem.IsLinux() && Run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mount), "A small file system cannot be mounted here (no right to).");
        try
        {
            var disk = new FilesFolder(mount);
            string ballast = disk.PathOf("ballast");
            await File.WriteAllBytesAsync(ballast, new byte[128 << 10], TestContext.Current.CancellationToken);
            await using FilesDestination destination = new(disk.Options(), _folder.Time);
            ProfileChange[] large = [.. Enumerable.Range(2, 10).Select(version => Change(version) with { Traits = JsonElement.Parse($$"""{"t":"{{new string('x', 20_000)}}"}""") })];
            await SendAsync(destination, 1);

            string message = (await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await destination.SendAsync(large, TestContext.Current.CancellationToken))).Message;
            File.Delete(ballast);
            await destination.SendAsync(large, TestContext.Current.CancellationToken);

            Assert.Equal($"The disk of {mount} is full: free space. It goes on by itself.", message);
            Assert.Equal(Enumerable.Range(1, 11), disk.Lines().Select(line => JsonElement.Parse(line).GetProperty("version").GetInt32()));
        }
        finally
        {
            Run("umount", "-l", mount);
        }
    }

    [Fact]
    public async Task A_disk_that_can_only_be_read_needs_a_person()
    {
        string mount = _folder.PathOf("fixed");
        Directory.CreateDirectory(mount);
        Assert.SkipUnless(OperatingSystem.IsLinux() && Run("mount", "-t", "tmpfs", "-o", "size=256k,ro", "tmpfs", mount), "A file system cannot be mounted here (no right to).");
        try
        {
            await using FilesDestination destination = New("fixed/{date}.ndjson");

            string message = (await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await SendAsync(destination, 1))).Message;

            Assert.StartsWith($"The disk of {mount} can only be read.", message, StringComparison.Ordinal);
        }
        finally
        {
            Run("umount", "-l", mount);
        }
    }

    [Fact]
    public async Task Where_a_file_stands_in_place_of_the_directory_a_person_is_needed()
    {
        File.WriteAllText(_folder.PathOf("file"), "");
        await using FilesDestination destination = New("file/{date}.ndjson");

        Assert.Contains("is no directory", (await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await SendAsync(destination, 1))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Options_name_every_broken_rule()
    {
        FilesOptions wrong = new() { Path = "a.txt", Rotate = TimeSpan.FromDays(2), MaxBytes = 1, Timeout = TimeSpan.Zero };

        Assert.Equal(["expected path to end with .ndjson or .csv, such as exports/{date}.ndjson", "rotate is 2.00:00:00; allowed are 1 min to 1 day", "max_mb is 0; allowed are 1 to 1000", "timeout is 0 s; allowed are 1 s to 5 min"], wrong.Errors());
        Assert.Empty(_folder.Options().Errors());
        Assert.NotNull(FileDefinition.PathError("exports/{date}/a.csv"));
    }

    private static bool Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true });
        process!.WaitForExit();
        return process.ExitCode == 0;
    }

    private static ProfileChange Change(int version) => new()
    {
        Kind = ChangeKind.Profile,
        ProfileId = new string('a', 32),
        Version = version,
        At = new DateTimeOffset(2026, 11, 25, 12, 0, 0, TimeSpan.Zero),
        Fields = new Dictionary<string, JsonElement> { ["Name"] = JsonElement.Parse("\"Zoë\"") },
    };

    private static async Task SendAsync(FilesDestination destination, int version, string value = "\"Zoë\"") =>
        Assert.Equal(OutcomeKind.Taken, Assert.Single(await destination.SendAsync([Change(version) with { Fields = new Dictionary<string, JsonElement> { ["Name"] = JsonElement.Parse(value) } }], TestContext.Current.CancellationToken)).Kind);

    private FilesDestination New(string name = "{date}.ndjson") => new(_folder.Options(name), _folder.Time);
}
