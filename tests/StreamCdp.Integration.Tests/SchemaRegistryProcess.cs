using System.Diagnostics;

namespace StreamCdp.Integration.Tests;

/// <summary>A real schema registry with Confluent's API for the tests of one class: <c>registry-up</c> of <c>../shared/schema-registry</c> beside the repository, or of SCHEMA_REGISTRY_HOME.</summary>
public sealed class SchemaRegistryProcess : IAsyncLifetime
{
    public const string WhyNot = "No schema registry here: ../shared/schema-registry beside the repository is missing, and SCHEMA_REGISTRY_HOME is not set to a directory with registry-up.";

    private readonly string _directory = Path.Combine(Path.GetTempPath(), $"streamcdp-registry-{Environment.ProcessId}");
    private string? _home;

    /// <summary>Base address; null where there is no registry to start.</summary>
    public string? Url { get; private set; }

    public async ValueTask InitializeAsync()
    {
        _home = Candidates().FirstOrDefault(home => File.Exists(Path.Combine(home, "registry-up")));
        if (_home is not null)
        {
            try
            {
                Url = await RunAsync("registry-up");
            }
            catch (InvalidOperationException)
            {
                await RunAsync("registry-down"); // It may be half up.
                throw;
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_home is not null && Directory.Exists(_directory))
        {
            await RunAsync("registry-down");
            Directory.Delete(_directory, recursive: true);
        }
    }

    private static IEnumerable<string> Candidates()
    {
        yield return Repository.Path("..", "shared", "schema-registry");
        if (Environment.GetEnvironmentVariable("SCHEMA_REGISTRY_HOME") is { Length: > 0 } home)
        {
            yield return home;
        }
    }

    private async Task<string> RunAsync(string script)
    {
        Directory.CreateDirectory(_directory);
        using var process = Process.Start(new ProcessStartInfo(Path.Combine(_home!, script), [_directory]) { RedirectStandardOutput = true })!;
        string output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return process.ExitCode == 0 ? output.Trim() : throw new InvalidOperationException($"{script} ended with {process.ExitCode}; see its log in {_directory}.");
    }
}
