using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace StreamCdp.Integration.Tests;

/// <summary><c>streamcdp run</c> as a process of its own, at one port for all its lives.</summary>
internal sealed class ServerProcess : IAsyncDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-process-").FullName;
    private Process? _process;

    public ServerProcess()
    {
        using var free = new TcpListener(IPAddress.Loopback, 0);
        free.Start();
        Address = new Uri($"http://127.0.0.1:{((IPEndPoint)free.LocalEndpoint).Port}");
        free.Stop();
        File.WriteAllText(Path.Combine(_directory, "cdp.yaml"), ServerFixtureHost.Model);
    }

    public Uri Address { get; }

    /// <summary>Starts it and waits until it is ready.</summary>
    public async Task StartAsync()
    {
        _process = Start();
        using var client = new HttpClient { BaseAddress = Address };
        while (true)
        {
            Assert.False(_process.HasExited, "The server ended.");
            try
            {
                using HttpResponseMessage response = await client.GetAsync("/readyz", TestContext.Current.CancellationToken);
                if (response.IsSuccessStatusCode)
                {
                    return;
                }
            }
            catch (HttpRequestException)
            {
                // Not yet.
            }

            await Task.Delay(50, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>kill -9.</summary>
    public void Kill()
    {
        _process!.Kill();
        _process.WaitForExit();
        _process.Dispose();
        _process = null;
    }

    /// <summary>SIGTERM.</summary>
    /// <returns>The exit code.</returns>
    public async Task<int> StopAsync()
    {
        using (Process kill = Process.Start("kill", ["-TERM", $"{_process!.Id}"]))
        {
            await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        await _process.WaitForExitAsync(TestContext.Current.CancellationToken);
        int code = _process.ExitCode;
        _process.Dispose();
        _process = null;
        return code;
    }

    /// <summary>Runs a second one on the same data.</summary>
    public async Task<(int Code, string Error)> RunAnotherAsync()
    {
        using Process another = Start("http://127.0.0.1:0");
        string error = await another.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await another.WaitForExitAsync(TestContext.Current.CancellationToken);
        return (another.ExitCode, error);
    }

    public ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            Kill();
        }

        Directory.Delete(_directory, recursive: true);
        return ValueTask.CompletedTask;
    }

    private Process Start(string? urls = null)
    {
        var process = new Process
        {
            StartInfo = new ProcessStartInfo(
                "dotnet",
                [Path.Combine(AppContext.BaseDirectory, "streamcdp.dll"), "run", "--model", Path.Combine(_directory, "cdp.yaml"), "--data", Path.Combine(_directory, "data"), "--urls", urls ?? Address.ToString()])
            {
                WorkingDirectory = _directory,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                Environment = { ["StreamCdp__Engine__MemoryBytes"] = $"{64 << 20}", ["Logging__LogLevel__Default"] = "Warning" },
            },
        };
        process.Start();
        if (urls is null)
        {
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
        }

        return process;
    }
}
