using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Spectre.Console;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli.Import;

/// <summary><c>streamcdp import FILE|-</c>.</summary>
internal static class ImportCommand
{
    private static readonly TimeSpan s_applyTimeout = TimeSpan.FromMinutes(10);

    /// <summary>The command.</summary>
    public static Command Create()
    {
        var file = new Argument<string>("FILE") { Description = "NDJSON (one event a line, in the shape of the Segment API) or CSV with a header; .gz is inflated; - is standard input." };
        var format = new Option<string?>("--format") { Description = "ndjson or csv. Default: csv for .csv and .csv.gz, else ndjson.", HelpName = "FORMAT" };
        format.AcceptOnlyFromAmong("ndjson", "csv");
        var map = new Option<string[]>("--map") { Description = "CSV: COLUMN=PATH[:TYPE] with type text, number, bool or time, or a YAML file with columns and constants. May be given often. Default: the columns' names are paths.", HelpName = "MAP", DefaultValueFactory = _ => [] };
        var set = new Option<string[]>("--set") { Description = "CSV: PATH=VALUE, the same in every event. May be given often.", HelpName = "SET", DefaultValueFactory = _ => [] };
        var source = new Option<string?>("--source") { Description = "Id of the source in the model. Default: its first source of the kind import.", HelpName = "ID" };
        var url = new Option<string?>("--url") { Description = "A running server. Without it, a server of its own runs in this process until everything is applied.", HelpName = "URL" };
        var writeKey = new Option<string?>("--write-key") { Description = "With --url: write key of a trusted source (kind import or server). Default: STREAMCDP_WRITE_KEY, else from --model and --source.", HelpName = "KEY" };
        var writeKeyFile = new Option<string?>("--write-key-file") { Description = "File with that key on its first line; a key on the command line can be read by everybody on the machine.", HelpName = "FILE" };
        var model = new Option<string?>("--model") { Description = "The model of the own server, or with --url to look up the write key. Default: cdp.yaml.", HelpName = "FILE" };
        var data = new Option<string?>("--data") { Description = "Directory of the own server. Default: as for run.", HelpName = "DIR" };
        var clock = new Option<string?>("--clock") { Description = "What moves the own server's time: wall, or event (the time of the events: a back-test).", HelpName = "CLOCK" };
        clock.AcceptOnlyFromAmong("wall", "event");
        var resume = new Option<bool>("--resume") { Description = "Go on after the last acknowledged batch of an import that was stopped." };
        var state = new Option<string?>("--state") { Description = "File of progress. Default: FILE.streamcdp-progress.", HelpName = "FILE" };
        var command = new CommandWithExamples(
            "import",
            "Import events at their own time. Safe to repeat: a line without messageId gets one made of file and line, and the server drops what it knows (within its dedup window).",
            "STREAMCDP_WRITE_KEY=$IMPORT_KEY streamcdp import events.ndjson --url http://127.0.0.1:8080",
            "streamcdp import orders.csv --map customer=userId --map ordered_at=timestamp --map total=properties.revenue:number --set event=\"Order Completed\"",
            "streamcdp import events.ndjson.gz --model cdp.yaml --data ./backtest --clock event",
            "streamcdp import orders.csv --map mapping.yaml --resume")
        {
            file, format, map, set, source, url, writeKey, writeKeyFile, model, data, clock, resume, state,
        };
        command.Validators.Add(result =>
        {
            if (result.GetValue(file) == "-" && (result.GetValue(resume) || result.GetValue(state) is not null))
            {
                result.AddError("Standard input cannot be read again, so --resume and --state do not go with -. Import a file instead.");
            }

            if (result.GetValue(url) is not null && (result.GetValue(data) is not null || result.GetValue(clock) is not null))
            {
                result.AddError("--data and --clock are for the own server; with --url the server has its own.");
            }
        });
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string path = parsed.GetRequiredValue(file);
            InvocationConfiguration console = parsed.InvocationConfiguration;
            if (path != "-" && !File.Exists(path))
            {
                throw new CliException($"{path} is not there.");
            }

            bool isCsv = (parsed.GetValue(format) ?? (path.Contains(".csv", StringComparison.OrdinalIgnoreCase) ? "csv" : "ndjson")) == "csv";
            ImportMapping? mapping = ImportMapping.Read(parsed.GetRequiredValue(map), parsed.GetRequiredValue(set));
            if (!isCsv && mapping is not null)
            {
                throw new CliException("--map and --set are for CSV; lines of NDJSON are events as they are.", CommandLine.WrongUsage);
            }

            if (path == "-")
            {
                await console.Error.WriteLineAsync("Standard input cannot be resumed; if this stops, start again: what the server knows it drops.").ConfigureAwait(false);
            }

            Uri? remote = parsed.GetValue(url) is { } text ? ServerOptions.Address(text) : null;
            string? key = remote is null ? null : ServerOptions.Secret(parsed, writeKey, writeKeyFile, "STREAMCDP_WRITE_KEY");
            ServerHost? own = remote is null ? await StartOwnAsync(parsed.GetValue(model), parsed.GetValue(data), parsed.GetValue(clock), cancellationToken).ConfigureAwait(false) : null;
            try
            {
                key ??= KeyOf(own?.Model ?? ModelFile.Read(parsed.GetValue(model) ?? throw new CliException("With --url there must be --write-key-file, STREAMCDP_WRITE_KEY, or --model.", CommandLine.WrongUsage), Environment.GetEnvironmentVariable), parsed.GetValue(source));
                await using ImportInput input = path == "-"
                    ? await ImportInput.FromAsync(Console.OpenStandardInput(), isGzip: false, cancellationToken).ConfigureAwait(false)
                    : await ImportInput.OpenAsync(path, cancellationToken).ConfigureAwait(false);
                var settings = new ImportSettings
                {
                    Name = path,
                    IsCsv = isCsv,
                    Mapping = mapping,
                    Server = remote ?? own!.Address,
                    WriteKey = key,
                    StatePath = path == "-" ? null : parsed.GetValue(state) ?? path + ".streamcdp-progress",
                    RejectedPath = path == "-" ? "stdin.rejected.ndjson" : path + ".rejected.ndjson",
                    Resume = parsed.GetValue(resume),
                };
                return await RunAsync(settings, input, own, console, cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                if (own is not null)
                {
                    await own.DisposeAsync().ConfigureAwait(false);
                }
            }
        });
        return command;
    }

    private static async Task<ServerHost> StartOwnAsync(string? model, string? data, string? clock, CancellationToken cancellationToken)
    {
        ServerSettings settings = ServerSettings.Load(
            [KeyValuePair.Create("Model", model), KeyValuePair.Create("State:Path", data), KeyValuePair.Create("Clock", clock), KeyValuePair.Create("Http:Urls", (string?)"http://127.0.0.1:0")]) with
        { IsQuiet = true };
        RunCommand.ThrowIfWrong(settings);
        return await ServerHost.StartAsync(settings, cancellationToken).ConfigureAwait(false);
    }

    private static string KeyOf(CdpModel model, string? sourceId)
    {
        SourceDefinition? source = sourceId is null ? model.Sources.FirstOrDefault(candidate => candidate.Kind == "import") : model.Sources.FirstOrDefault(candidate => candidate.Id == sourceId);
        string known = string.Join(", ", model.Sources.Select(candidate => candidate.Id));
        return source is null
            ? throw new CliException(sourceId is null ? $"The model has no source of the kind import; name one of its sources with --source: {known}." : $"The model has no source {sourceId}; it has {known}.")
            : source.WriteKey ?? throw new CliException($"The source {source.Id} has no write_key, so nobody can send to it.");
    }

    private static async Task<int> RunAsync(ImportSettings settings, ImportInput input, ServerHost? own, InvocationConfiguration console, CancellationToken cancellationToken)
    {
        using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(60) };
        var job = new ImportJob(settings, input, http, TimeProvider.System);
        long start = Stopwatch.GetTimestamp();
        Task<ImportState> running = job.RunAsync(cancellationToken);
        await ShowAsync(job, input, running, start, console).ConfigureAwait(false);
        ImportState state = await running.ConfigureAwait(false);
        if (own is not null)
        {
            await own.WaitAppliedAsync(s_applyTimeout, cancellationToken).ConfigureAwait(false);
        }

        TimeSpan took = Stopwatch.GetElapsedTime(start);
        long lines = state.Lines - job.LinesBefore;
        await console.Output.WriteLineAsync(
            $"{state.Sent:N0} events sent{(own is null ? "" : " and applied")}, {state.Rejected:N0} rows rejected, in {Text(took)} ({lines / Math.Max(took.TotalSeconds, 0.001):N0} lines/s)"
            + (job.LinesBefore > 0 ? $"; {job.LinesBefore:N0} lines were done before." : ".")).ConfigureAwait(false);
        if (state.Rejected > 0)
        {
            await console.Error.WriteLineAsync($"Rejected rows, each with its line and the reason: {settings.RejectedPath}").ConfigureAwait(false);
        }

        return CommandLine.Ok;
    }

    private static string Text(TimeSpan time) => time.TotalMinutes >= 1 ? time.ToString("h\\:mm\\:ss", CultureInfo.InvariantCulture) : $"{time.TotalSeconds:F1} s";

    /// <summary>A bar on a terminal, else a line now and then, until the job ends.</summary>
    private static async Task ShowAsync(ImportJob job, ImportInput input, Task running, long start, InvocationConfiguration console)
    {
        if (ReferenceEquals(console.Error, Console.Error) && !Console.IsErrorRedirected && input.Length is { } length)
        {
            IAnsiConsole ansi = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(console.Error) });
            await new Progress(ansi).AutoClear(true).Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn()).StartAsync(async context =>
            {
                ProgressTask bar = context.AddTask("import", autoStart: true, maxValue: Math.Max(1, length));
                while (await Task.WhenAny(running, Task.Delay(200)).ConfigureAwait(false) != running)
                {
                    bar.Value = input.Position;
                    bar.Description = Markup.Escape(Status(job, start));
                }
            }).ConfigureAwait(false);
            return;
        }

        while (await Task.WhenAny(running, Task.Delay(TimeSpan.FromSeconds(5))).ConfigureAwait(false) != running)
        {
            string percent = input.Length is > 0 and { } whole ? $"{100.0 * input.Position / whole,3:F0} %  " : "";
            await console.Error.WriteLineAsync(percent + Status(job, start)).ConfigureAwait(false);
        }
    }

    private static string Status(ImportJob job, long start)
    {
        ImportState state = job.State;
        double rate = (state.Lines - job.LinesBefore) / Stopwatch.GetElapsedTime(start).TotalSeconds;
        return $"{state.Lines:N0} lines, {rate:N0}/s, {state.Rejected:N0} rejected{(job.Waiting is { } waiting ? " – " + waiting : "")}";
    }
}
