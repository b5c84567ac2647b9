using System.Diagnostics;
using System.Security.Cryptography;
using System.Text.Json;

namespace StreamCdp.Integration.Tests.Sdk;

/// <summary>The pinned SDKs of tests/sdk, installed by npm into a copy outside the repository; the copy is used again while the lock file is the same.</summary>
public sealed class SdkInstall : IAsyncLifetime
{
    private string _directory = "";

    /// <summary>Why the tests cannot run; null: they can.</summary>
    public string? WhyNot { get; private set; }

    public async ValueTask InitializeAsync()
    {
        string source = Repository.Path("tests", "sdk");
        string version = Convert.ToHexStringLower(SHA256.HashData(await File.ReadAllBytesAsync(Path.Combine(source, "package-lock.json"))))[..16];
        _directory = Path.Combine(Path.GetTempPath(), $"streamcdp-sdk-{version}");
        Directory.CreateDirectory(_directory);
        foreach (string file in Directory.GetFiles(source))
        {
            File.Copy(file, Path.Combine(_directory, Path.GetFileName(file)), overwrite: true);
        }

        string ready = Path.Combine(_directory, "node_modules", ".ready");
        if (File.Exists(ready))
        {
            return;
        }

        try
        {
            // Not "ci": it refuses the lock for the optional packages of other platforms that it does not hold. What the lock holds is checked by its hash either way.
            (int exitCode, string output) = await RunAsync("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"], _ => { });
            if (exitCode == 0)
            {
                await File.WriteAllTextAsync(ready, "");
            }
            else
            {
                WhyNot = $"npm install of tests/sdk ended with {exitCode}: {output[..Math.Min(output.Length, 500)]}";
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
    /// <param name="host">Address of the collector.</param>
    /// <param name="key">Write key.</param>
    /// <param name="heard">Hears at once what the SDK tells its caller.</param>
    /// <returns>All that the SDK told its caller.</returns>
    public async Task<IReadOnlyList<SdkWord>> RunAsync(string scenario, Uri host, string key, Action<SdkWord>? heard = null)
    {
        var words = new List<SdkWord>();
        (int exitCode, string output) = await RunAsync("node", ["run.mjs", scenario, host.ToString().TrimEnd('/'), key], line =>
        {
            using JsonDocument json = JsonDocument.Parse(line);
            var word = new SdkWord(json.RootElement.GetProperty("what").GetString()!, json.RootElement.GetProperty("value").ToString());
            words.Add(word);
            heard?.Invoke(word);
        });
        Assert.True(exitCode == 0, output);
        Assert.Contains(words, word => word.What == "done");
        return words;
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

/// <summary>What the SDK told its caller.</summary>
public sealed record SdkWord(string What, string Value);
