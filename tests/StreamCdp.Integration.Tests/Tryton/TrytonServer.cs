using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Integration.Tests.Tryton;

/// <summary>A real Tryton 6.0 from Debian on SQLite, at a free port, with a person (admin) and the user that StreamCdp works as.</summary>
internal sealed class TrytonServer : IAsyncDisposable
{
    public const string Bot = "cdpbot";
    public const string BotPassword = "cdpbot-pass-12345";
    private const string Daemon = "/usr/bin/trytond";
    private const string Admin = "/usr/bin/trytond-admin";
    private const string AdminPassword = "admin-pass-1";

    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-tryton-").FullName;
    private readonly HttpClient _http = new() { Timeout = TimeSpan.FromSeconds(60) };
    private readonly int _port;
    private Process? _process;
    private string _session = "";
    private int _calls;

    private TrytonServer()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        _port = ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    public Uri Url => new($"http://127.0.0.1:{_port}/crm/");

    /// <summary>Makes a database (about 20 s) and starts the server; the test is skipped where Tryton is not installed.</summary>
    public static async Task<TrytonServer> StartAsync()
    {
        Assert.SkipUnless(File.Exists(Daemon) && File.Exists(Admin), "Tryton is not installed: apt-get install tryton-server tryton-modules-party tryton-modules-sale-opportunity");
        var server = new TrytonServer();
        try
        {
            await server.MakeAsync();
            await server.RunAsync();
            await server.SeedAsync();
            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    /// <summary>Ends the process as a crash does.</summary>
    public async Task KillAsync()
    {
        _process!.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync(TestContext.Current.CancellationToken);
        _process.Dispose();
        _process = null;
    }

    /// <summary>Starts it again, and waits until it answers.</summary>
    public async Task RunAsync()
    {
        _process = Start(Daemon, "-d", "crm");
        long deadline = Environment.TickCount64 + 60_000;
        while (!await TryLoginAsync())
        {
            Assert.False(_process.HasExited, "Tryton ended by itself.");
            Assert.True(Environment.TickCount64 < deadline, "Tryton does not answer.");
            await Task.Delay(100, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>A call as the admin.</summary>
    /// <param name="method">For example model.party.party.write.</param>
    /// <param name="parameters">JSON array, with the context last.</param>
    public async Task<JsonElement> CallAsync(string method, string parameters)
    {
        JsonElement answer = await PostAsync(method, parameters);
        return answer.TryGetProperty("result", out JsonElement result) ? result : throw new InvalidOperationException($"{method}: {answer}");
    }

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            await KillAsync();
        }

        _http.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private async Task MakeAsync()
    {
        Directory.CreateDirectory(Path.Combine(_directory, "db"));
        await File.WriteAllTextAsync(Config, string.Create(CultureInfo.InvariantCulture, $"""
            [database]
            uri = sqlite://
            path = {_directory}/db
            [web]
            listen = 127.0.0.1:{_port}
            [session]
            authentications = password
            max_age = 86400

            """));
        await File.WriteAllTextAsync(Path.Combine(_directory, "pw"), AdminPassword + "\n");
        await File.WriteAllBytesAsync(Path.Combine(_directory, "db", "crm.sqlite"), []); // trytond-admin makes no file.
        using Process process = Start(Admin, "-d", "crm", "-u", "sale_opportunity", "--activate-dependencies", "--email", "admin@example.com");
        await process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromMinutes(4), TestContext.Current.CancellationToken);
        Assert.Equal(0, process.ExitCode);
    }

    private async Task SeedAsync()
    {
        await CallAsync("model.currency.currency.create", """[[{"name":"Euro","symbol":"E","code":"EUR"}],{}]""");
        await CallAsync("model.party.party.create", """[[{"name":"My Company"},{"name":"Sales Rep"}],{}]""");
        await CallAsync("model.company.company.create", """[[{"party":1,"currency":1}],{}]""");
        await CallAsync("model.company.employee.create", """[[{"party":2,"company":1}],{}]""");
        await CallAsync("model.res.user.write", """[[1],{"companies":[["add",[1]]],"company":1,"employees":[["add",[1]]],"employee":1},{}]""");
        string groups = (await CallAsync("model.res.group.search", """[[["name","in",["Party Administration","Sale Opportunity","Sales"]]],0,null,null,{}]""")).GetRawText();
        await CallAsync("model.res.user.create", $$"""[[{"name":"StreamCdp","login":"{{Bot}}","password":"{{BotPassword}}","companies":[["add",[1]]],"company":1,"employees":[["add",[1]]],"employee":1,"groups":[["add",{{groups}}]]}],{}]""");
    }

    private string Config => Path.Combine(_directory, "trytond.conf");

    private Process Start(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, ["-c", Config, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["TRYTONPASSFILE"] = Path.Combine(_directory, "pw");
        Process process = Process.Start(start)!;
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    private async Task<bool> TryLoginAsync()
    {
        try
        {
            JsonElement result = (await PostAsync("common.db.login", $$"""["admin",{"password":"{{AdminPassword}}"},"en"]""")).GetProperty("result");
            _session = Convert.ToBase64String(Encoding.UTF8.GetBytes($"admin:{result[0]}:{result[1]}"));
            return true;
        }
        catch (Exception exception) when (exception is HttpRequestException or JsonException)
        {
            return false;
        }
    }

    private async Task<JsonElement> PostAsync(string method, string parameters)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, Url) { Content = new StringContent($"{{\"id\":{++_calls},\"method\":\"{method}\",\"params\":{parameters}}}", Encoding.UTF8, "application/json") };
        if (_session.Length > 0)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Session", _session);
        }

        using HttpResponseMessage response = await _http.SendAsync(request, TestContext.Current.CancellationToken);
        return JsonElement.Parse(await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
    }
}
