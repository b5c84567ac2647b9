using System.Diagnostics;
using System.Security.Cryptography;
using System.Text.Json;

namespace StreamCdp.Connectors.Tests.HubSpot;

/// <summary>HubSpot's own client of tests/sdk-hubspot, installed by npm into a copy outside the repository; the copy is used again while the lock file is the same.</summary>
public sealed class HubSpotClient : IAsyncLifetime
{
    private string _directory = "";

    /// <summary>Why the tests cannot run; null: they can.</summary>
    public string? WhyNot { get; private set; }

    public async ValueTask InitializeAsync()
    {
        string source = Repository.Path("tests", "sdk-hubspot");
        string version = Convert.ToHexStringLower(SHA256.HashData(await File.ReadAllBytesAsync(Path.Combine(source, "package-lock.json"))))[..16];
        _directory = Path.Combine(Path.GetTempPath(), $"streamcdp-sdk-hubspot-{version}");
        Directory.CreateDirectory(_directory);
        foreach (string file in Directory.GetFiles(source))
        {
            File.Copy(file, Path.Combine(_directory, Path.GetFileName(file)), overwrite: true);
        }

        string ready = Path.Combine(_directory, "node_modules", ".ready");
        try
        {
            await RunAsync("node", ["--version"], _ => { });
            if (File.Exists(ready))
            {
                return;
            }

            // Not "ci": it refuses the lock for optional packages of other platforms. What the lock holds is checked by its hash either way.
            (int exitCode, string output) = await RunAsync("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"], _ => { });
            if (exitCode == 0)
            {
                await File.WriteAllTextAsync(ready, "");
            }
            else
            {
                throw new InvalidOperationException($"npm install of tests/sdk-hubspot ended with {exitCode}: {output[..Math.Min(output.Length, 500)]}");
            }
        }
        catch (System.ComponentModel.Win32Exception)
        {
            WhyNot = "node and npm are not installed; install Node.js 20 or later.";
        }
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    /// <summary>Runs a scenario of run.mjs.</summary>
    /// <param name="scenario">Its name.</param>
    /// <param name="host">Address of the emulator.</param>
    /// <param name="token">Access token.</param>
    /// <param name="heard">Hears at once what the client tells.</param>
    /// <returns>All that the client told, by what.</returns>
    public async Task<ILookup<string, JsonElement>> RunAsync(string scenario, Uri host, string token, Func<string, JsonElement, Task>? heard = null)
    {
        var words = new List<(string What, JsonElement Value)>();
        var following = new List<Task>();
        (int exitCode, string output) = await RunAsync("node", ["run.mjs", scenario, host.ToString().TrimEnd('/'), token], line =>
        {
            JsonElement json = JsonElement.Parse(line);
            words.Add((json.GetProperty("what").GetString()!, json.GetProperty("value")));
            if (heard is not null)
            {
                following.Add(heard(words[^1].What, words[^1].Value));
            }
        });
        await Task.WhenAll(following);
        Assert.True(exitCode == 0, output);
        Assert.Contains(words, word => word.What == "done");
        return words.ToLookup(word => word.What, word => word.Value);
    }

    private async Task<(int ExitCode, string Output)> RunAsync(string program, string[] arguments, Action<string> onLine)
    {
        using var process = new Process
        {
            StartInfo = new ProcessStartInfo(program, arguments) { WorkingDirectory = _directory, RedirectStandardOutput = true, RedirectStandardError = true },
        };
        process.Start();
        Task<string> errors = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        while (await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is string line)
        {
            if (line.StartsWith('{'))
            {
                onLine(line);
            }
        }

        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        return (process.ExitCode, await errors);
    }
}
