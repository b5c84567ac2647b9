using System.Diagnostics;
using System.Net.Http.Headers;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Integration.Tests.Crash;

/// <summary><c>streamcdp run</c> in a process of its own, which may be killed.</summary>
internal sealed partial class CrashServer : IDisposable
{
    private const int SigTerm = 15;
    private const int KeptLines = 200;
    private static readonly TimeSpan s_deadline = TimeSpan.FromSeconds(60);

    private readonly Process _process;
    private readonly Queue<string> _lines = [];
    private readonly TaskCompletionSource<Uri> _listens = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private CrashServer(ProcessStartInfo start)
    {
        _process = new Process { StartInfo = start, EnableRaisingEvents = true };
        _process.OutputDataReceived += (_, e) => Hear(e.Data);
        _process.ErrorDataReceived += (_, e) => Hear(e.Data);
        _process.Exited += (_, _) => _listens.TrySetException(new InvalidOperationException("The server ended before it listened."));
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    /// <summary>Talks to it, with the key of the query API.</summary>
    public HttpClient Client { get; } = new() { Timeout = s_deadline };

    public bool HasEnded => _process.HasExited;

    public int ExitCode => _process.ExitCode;

    /// <summary>What it wrote last, for messages of failed tests.</summary>
    public string Output
    {
        get
        {
            lock (_lines)
            {
                return string.Join('\n', _lines);
            }
        }
    }

    /// <summary>Starts a process; it may end at once.</summary>
    /// <param name="directory">Holds cdp.yaml and the data.</param>
    /// <param name="settings">Environment variables on top of the fast settings of these tests.</param>
    /// <param name="crashAt">A name of <see cref="CrashPoint"/> and the passage, or null.</param>
    public static CrashServer Start(string directory, IReadOnlyDictionary<string, string> settings, string? crashAt = null)
    {
        string[] command =
        [
            "dotnet", "exec", Path.Combine(AppContext.BaseDirectory, "streamcdp.dll"), "run", "--model", Path.Combine(directory, "cdp.yaml"),
            "--data", Path.Combine(directory, "data"), "--clock", "event", "--urls", "http://127.0.0.1:0",
        ];
        ProcessStartInfo start = new(command[0], command[1..]) { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = directory };
        start.Environment["StreamCdp__Engine__CheckpointMs"] = "1000";
        start.Environment["StreamCdp__Engine__Shards"] = "2";
        start.Environment["StreamCdp__Engine__EventPartitions"] = "1";
        start.Environment["StreamCdp__Engine__MemoryBytes"] = "67108864";
        start.Environment["StreamCdp__Engine__TickMs"] = "100";
        start.Environment["DOTNET_TieredPGO"] = "0";
        foreach ((string name, string value) in settings)
        {
            start.Environment[name] = value;
        }

        if (crashAt is not null)
        {
            start.Environment[CrashPoint.Variable] = crashAt;
        }

        return new CrashServer(start);
    }

    /// <summary>Waits until it takes requests.</summary>
    /// <returns>False where it ended before that.</returns>
    public async Task<bool> ListensAsync()
    {
        try
        {
            Client.BaseAddress = await _listens.Task.WaitAsync(s_deadline, TestContext.Current.CancellationToken);
            Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", CrashHistory.ApiKey);
            return true;
        }
        catch (InvalidOperationException)
        {
            return false;
        }
        catch (TimeoutException)
        {
            throw new TimeoutException($"The server does not listen after {s_deadline.TotalSeconds} s.\n{Output}");
        }
    }

    /// <summary>kill -9.</summary>
    public async Task KillAsync()
    {
        _process.Kill();
        await EndedAsync();
    }

    /// <summary>SIGTERM: it saves and ends.</summary>
    /// <returns>Its exit code.</returns>
    public async Task<int> TerminateAsync()
    {
        Assert.Equal(0, Signal(_process.Id, SigTerm));
        await EndedAsync();
        return ExitCode;
    }

    /// <summary>Waits until it has ended.</summary>
    public async Task EndedAsync()
    {
        try
        {
            await _process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(s_deadline, TestContext.Current.CancellationToken);
        }
        catch (TimeoutException)
        {
            throw new TimeoutException($"The server has not ended after {s_deadline.TotalSeconds} s.\n{Output}");
        }
    }

    /// <summary>Waits until everything acknowledged is applied, to the profiles and to the clock.</summary>
    public async Task AppliedAsync()
    {
        using HttpResponseMessage answer = await Client.GetAsync(new Uri("/v1/segments?wait=true&timeout=30000", UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.True(answer.IsSuccessStatusCode, $"{await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)}\n{Output}");
    }

    public async Task<JsonNode> GetAsync(string path)
    {
        string text = await Client.GetStringAsync(new Uri(path, UriKind.Relative), TestContext.Current.CancellationToken);
        return JsonNode.Parse(text)!;
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
        Client.Dispose();
    }

    private void Hear(string? line)
    {
        if (line is null)
        {
            return;
        }

        const string says = "StreamCdp listens at ";
        if (line.StartsWith(says, StringComparison.Ordinal))
        {
            _listens.TrySetResult(new Uri(line[says.Length..line.IndexOf(' ', says.Length)]));
        }

        lock (_lines)
        {
            _lines.Enqueue(line);
            if (_lines.Count > KeptLines)
            {
                _lines.Dequeue();
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Signal(int pid, int signal);
}
