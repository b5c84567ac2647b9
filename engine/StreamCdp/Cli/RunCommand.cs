using System.CommandLine;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp run</c>.</summary>
internal static class RunCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var model = new Option<string?>("--model") { Description = "The model. Key StreamCdp:Model; default: cdp.yaml.", HelpName = "FILE" };
        var log = new Option<string?>("--log") { Description = "Where the logs are: local (a directory) or kafka. Key StreamCdp:Log:Kind; default: local.", HelpName = "KIND" };
        var roles = new Option<string?>("--roles") { Description = $"What this process does, with commas: {string.Join(',', ServerSettings.AllRoles)}. Key StreamCdp:Roles; default: all.", HelpName = "ROLES" };
        var clock = new Option<string?>("--clock") { Description = "What moves time: wall, or event (imports, back-tests). Key StreamCdp:Clock; default: wall.", HelpName = "CLOCK" };
        var data = new Option<string?>("--data") { Description = "Directory of local logs and state. Key StreamCdp:State:Path; default: data.", HelpName = "DIR" };
        var urls = new Option<string?>("--urls") { Description = $"Addresses to listen at, with semicolons. Key StreamCdp:Http:Urls; default: {ServerOptions.DefaultUrl}.", HelpName = "URLS" };
        var command = new CommandWithExamples(
            "run",
            "Run the server until SIGTERM or Ctrl-C. Settings come from appsettings.json, then environment (StreamCdp__Log__Kind=kafka), then these flags; the last one wins.",
            "streamcdp run --model cdp.yaml --data /var/lib/streamcdp",
            "StreamCdp__Kafka__BootstrapServers=kafka:9092 streamcdp run --log kafka --urls http://0.0.0.0:8080",
            "streamcdp run --log kafka --roles collect   # one more collector; the stages and api run elsewhere")
        {
            model,
            log,
            roles,
            clock,
            data,
            urls,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            KeyValuePair<string, string?>[] flags =
            [
                KeyValuePair.Create("Model", parsed.GetValue(model)),
                KeyValuePair.Create("Log:Kind", parsed.GetValue(log)),
                KeyValuePair.Create("Roles", parsed.GetValue(roles)),
                KeyValuePair.Create("Clock", parsed.GetValue(clock)),
                KeyValuePair.Create("State:Path", parsed.GetValue(data)),
                KeyValuePair.Create("Http:Urls", parsed.GetValue(urls)),
            ];
            ServerSettings settings = ServerSettings.Load(flags);
            try
            {
                return await RunAsync(settings, parsed.InvocationConfiguration, cancellationToken).ConfigureAwait(false);
            }
            catch (CliException exception) when (IsWrongUsage(settings, flags))
            {
                throw new CliException(exception.Message, CommandLine.WrongUsage, exception);
            }
        });
        return command;
    }

    /// <summary>A flag has a value that does not exist. A file that is not there, and a wrong setting of file or environment, are no wrong usage of the command.</summary>
    private static bool IsWrongUsage(ServerSettings settings, IEnumerable<KeyValuePair<string, string?>> flags)
    {
        string[] wrong = [.. flags.Where(flag => flag.Value is not null && flag.Key is not ("Model" or "State:Path")).Select(flag => $"{ServerSettings.Section}:{flag.Key} ")];
        return settings.Errors().Any(error => wrong.Any(key => error.StartsWith(key, StringComparison.Ordinal)));
    }

    /// <summary>Prints every broken setting at once and stops, or returns.</summary>
    /// <exception cref="CliException">There are some.</exception>
    internal static void ThrowIfWrong(ServerSettings settings)
    {
        string[] errors = [.. settings.Errors()];
        if (errors.Length > 0)
        {
            throw new CliException(string.Join(System.Environment.NewLine, errors));
        }
    }

    private static async Task<int> RunAsync(ServerSettings settings, InvocationConfiguration console, CancellationToken cancellationToken)
    {
        await using ServerHost server = await ServerHost.StartAsync(settings, cancellationToken).ConfigureAwait(false);
        await console.Output.WriteLineAsync($"StreamCdp listens at {server.Address} (model {server.Model.Version:x16}). Ctrl-C stops it.").ConfigureAwait(false);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task note = NoteBackfillAsync(server, console.Error, stop.Token);
        var asked = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using CancellationTokenRegistration registration = cancellationToken.Register(asked.SetResult);
        Task ended = await Task.WhenAny(asked.Task, server.Stopped).ConfigureAwait(false);
        await stop.CancelAsync().ConfigureAwait(false);
        await note.ConfigureAwait(false);
        if (ended.Exception?.GetBaseException() is { } reason)
        {
            throw new CliException($"The server stopped by itself: {reason.Message}", inner: reason);
        }

        await console.Error.WriteLineAsync("Stopping.").ConfigureAwait(false);
        return cancellationToken.IsCancellationRequested ? CommandLine.Ok : CommandLine.Failed;
    }

    /// <summary>Says which segments and computed traits are not exact for the time before they were added or changed, once the shards have read up to this model.</summary>
    private static async Task NoteBackfillAsync(ServerHost server, TextWriter console, CancellationToken cancellationToken)
    {
        try
        {
            await server.WaitAppliedAsync(TimeSpan.FromMinutes(10), cancellationToken).ConfigureAwait(false);
            IReadOnlyList<string> names = server.NeedBackfill();
            if (names.Count > 0)
            {
                await console.WriteLineAsync($"Not exact for the past, because added or changed after events had come: {string.Join(", ", names)}. They count from exact_since of GET /v1/segments on; those with a window are exact again once it has passed. For the time before run streamcdp backfill --all, or put backfill: auto into the model.").ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (exception is CliException or OperationCanceledException)
        {
            // It stops, or is far behind: GET /v1/segments tells at any time.
        }
    }
}
