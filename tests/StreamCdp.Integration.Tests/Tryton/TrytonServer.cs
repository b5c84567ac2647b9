using System.Text.Json;
using Demo = StreamCdp.Cli.Demo;

namespace StreamCdp.Integration.Tests.Tryton;

/// <summary>The demo's Tryton, for tests: skipped where it is not installed, and given up with the test.</summary>
internal sealed class TrytonServer(Demo.TrytonServer server) : IAsyncDisposable
{
    public const string Bot = Demo.TrytonServer.Bot;

    public string BotPassword => server.BotPassword;

    public Uri Url => server.Url;

    /// <summary>Makes a database (about 20 s) and starts the server.</summary>
    public static async Task<TrytonServer> StartAsync()
    {
        Assert.SkipUnless(Demo.TrytonServer.IsInstalled, Demo.TrytonServer.NotInstalled);
        return new TrytonServer(await Demo.TrytonServer.StartAsync(TestContext.Current.CancellationToken));
    }

    /// <summary>Ends the process as a crash does.</summary>
    public Task KillAsync() => server.KillAsync();

    /// <summary>Starts it again, and waits until it answers.</summary>
    public Task RunAsync() => server.RunAsync(TestContext.Current.CancellationToken);

    /// <summary>A call as the admin.</summary>
    /// <param name="method">For example model.party.party.write.</param>
    /// <param name="parameters">JSON array, with the context last.</param>
    public Task<JsonElement> CallAsync(string method, string parameters) => server.CallAsync(method, parameters, TestContext.Current.CancellationToken);

    public ValueTask DisposeAsync() => server.DisposeAsync();
}
