using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using StreamCdp.Cli.Demo;
using StreamCdp.Cli.Import;
using StreamCdp.Cli.Simulation;

namespace StreamCdp.Cli;

/// <summary>The command <c>streamcdp</c> (DESIGN §5.1).</summary>
internal static class CommandLine
{
    /// <summary>Exit code: done.</summary>
    public const int Ok = 0;

    /// <summary>Exit code: understood, but it failed.</summary>
    public const int Failed = 1;

    /// <summary>Exit code: not understood; nothing was done.</summary>
    public const int WrongUsage = 2;

    private const int HelpWidth = 110;

    /// <summary>Parses and runs.</summary>
    /// <param name="args">As typed.</param>
    /// <param name="output">Results.</param>
    /// <param name="error">Problems and progress.</param>
    /// <param name="cancellationToken">Stops as Ctrl-C does.</param>
    /// <returns>The exit code.</returns>
    public static async Task<int> RunAsync(string[] args, TextWriter output, TextWriter error, CancellationToken cancellationToken)
    {
        RootCommand root = Root();
        ParseResult parsed = root.Parse(args);
        if (parsed.Errors.Count > 0 && parsed.Action is null or ParseErrorAction)
        {
            foreach (System.CommandLine.Parsing.ParseError problem in parsed.Errors)
            {
                await error.WriteLineAsync(problem.Message).ConfigureAwait(false);
            }

            await error.WriteLineAsync($"Try: {FullName(parsed.CommandResult.Command)} --help").ConfigureAwait(false);
            return WrongUsage;
        }

        var invocation = new InvocationConfiguration { Output = output, Error = error, ProcessTerminationTimeout = TimeSpan.FromMinutes(2), EnableDefaultExceptionHandler = false };
        try
        {
            return await parsed.InvokeAsync(invocation, cancellationToken).ConfigureAwait(false);
        }
        catch (CliException exception)
        {
            await error.WriteLineAsync(exception.Message).ConfigureAwait(false);
            return exception.ExitCode;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            await error.WriteLineAsync(exception.Message).ConfigureAwait(false);
            return Failed;
        }
        catch (OperationCanceledException)
        {
            await error.WriteLineAsync("Stopped before it was done.").ConfigureAwait(false);
            return Failed;
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            await error.WriteLineAsync($"This is a bug of StreamCdp; please report it with these lines.{Environment.NewLine}{exception}").ConfigureAwait(false);
            return Failed;
        }
    }

    /// <summary>All commands.</summary>
    internal static RootCommand Root()
    {
        var root = new RootCommand("StreamCdp, a real-time customer data platform: events in, live profiles and segments out. Exit codes: 0 ok, 1 failed, 2 wrong usage.")
        {
            DemoCommand.Create(),
            RunCommand.Create(),
            CheckCommand.Create(),
            ImportCommand.Create(),
            SimulateCommand.Create(),
            ExportCommand.Create(),
            BackfillCommand.Create(),
            ModelCommand.Create(),
            SchemaCommand.Create(),
            ProfileCommand.Create(),
            DeadLettersCommand.Create(),
            ConnectorsCommand.Create(),
        };
        root.HelpName = "streamcdp"; // Whatever the process is called.
        HelpOption help = root.Options.OfType<HelpOption>().Single();
        help.Action = new HelpWithExamples((HelpAction)help.Action!);
        return root;
    }

    private static string FullName(Command command)
    {
        var names = new Stack<string>();
        for (Symbol? symbol = command; symbol is Command; symbol = symbol.Parents.FirstOrDefault())
        {
            names.Push(symbol is RootCommand ? "streamcdp" : symbol.Name);
        }

        return string.Join(' ', names);
    }

    /// <summary>The usual help, then the examples of the command.</summary>
    private sealed class HelpWithExamples(HelpAction usual) : SynchronousCommandLineAction
    {
        /// <inheritdoc/>
        public override bool ClearsParseErrors => true;

        /// <inheritdoc/>
        public override int Invoke(ParseResult parseResult)
        {
            usual.MaxWidth = HelpWidth;
            int result = usual.Invoke(parseResult);
            if (parseResult.CommandResult.Command is CommandWithExamples { Examples.Count: > 0 } command)
            {
                TextWriter output = parseResult.InvocationConfiguration.Output;
                output.WriteLine("Examples:");
                foreach (string example in command.Examples)
                {
                    output.WriteLine("  " + example);
                }

                output.WriteLine();
            }

            return result;
        }
    }
}

/// <summary>A command whose help ends with examples.</summary>
internal sealed class CommandWithExamples(string name, string description, params string[] examples) : Command(name, description)
{
    /// <summary>Lines that can be typed as they are.</summary>
    public IReadOnlyList<string> Examples { get; } = examples;
}
