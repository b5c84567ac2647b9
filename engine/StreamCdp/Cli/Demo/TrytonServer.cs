using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Cli.Demo;

/// <summary>A real Tryton 6.0 from Debian on SQLite in a directory of its own, at a free port, with a person (admin) and the user that StreamCdp works as.</summary>
internal sealed class TrytonServer : IAsyncDisposable
{
    /// <summary>Login of StreamCdp.</summary>
    public const string Bot = "streamcdp";

    /// <summary>What to do where <see cref="IsInstalled"/> is not.</summary>
    public const string NotInstalled = "Tryton is not installed here. On Debian or Ubuntu: apt-get install tryton-server tryton-modules-party tryton-modules-sale-opportunity";

    private const string Daemon = "/usr/bin/trytond";
    private const string Administration = "/usr/bin/trytond-admin";
    private static readonly TimeSpan s_makeWait = TimeSpan.FromMinutes(4);
    private static readonly TimeSpan s_startWait = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(100);

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

    /// <summary>Tryton's programs are where Debian puts them.</summary>
    public static bool IsInstalled => File.Exists(Daemon) && File.Exists(Administration);

    /// <summary>Address with the database's name.</summary>
    public Uri Url => new($"http://127.0.0.1:{_port}/crm/");

    /// <summary>Password of the user admin.</summary>
    public string AdminPassword { get; } = Password();

    /// <summary>Password of <see cref="Bot"/>.</summary>
    public string BotPassword { get; } = Password();

    /// <summary>Makes a database (about 20 s) and starts the server.</summary>
    /// <exception cref="CliException">It is not installed, or does not start.</exception>
    public static async Task<TrytonServer> StartAsync(CancellationToken cancellationToken)
    {
        if (!IsInstalled)
        {
            throw new CliException(NotInstalled);
        }

        var server = new TrytonServer();
        try
        {
            await server.MakeAsync(cancellationToken).ConfigureAwait(false);
            await server.RunAsync(cancellationToken).ConfigureAwait(false);
            await server.SeedAsync(cancellationToken).ConfigureAwait(false);
            return server;
        }
        catch
        {
            await server.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Ends the process as a crash does.</summary>
    public async Task KillAsync()
    {
        _process!.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
        _process.Dispose();
        _process = null;
    }

    /// <summary>Starts it again, and waits until it answers.</summary>
    /// <exception cref="CliException">It ends by itself, or does not answer within a minute.</exception>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        _process = Start(Daemon, "-d", "crm");
        long start = Stopwatch.GetTimestamp();
        while (!await TryLoginAsync(cancellationToken).ConfigureAwait(false))
        {
            if (_process.HasExited || Stopwatch.GetElapsedTime(start) > s_startWait)
            {
                throw new CliException($"Tryton {(_process.HasExited ? "ended by itself" : "does not answer")}. Try it by hand: {Daemon} -v");
            }

            await Task.Delay(s_look, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>A call as the admin.</summary>
    /// <param name="method">For example model.party.party.write.</param>
    /// <param name="parameters">JSON array, with the context last.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="InvalidOperationException">Tryton refused it.</exception>
    public async Task<JsonElement> CallAsync(string method, string parameters, CancellationToken cancellationToken)
    {
        JsonElement answer = await PostAsync(method, parameters, cancellationToken).ConfigureAwait(false);
        return answer.TryGetProperty("result", out JsonElement result) ? result : throw new InvalidOperationException($"{method}: {answer}");
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            await KillAsync().ConfigureAwait(false);
        }

        _http.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private async Task MakeAsync(CancellationToken cancellationToken)
    {
        Directory.CreateDirectory(Path.Combine(_directory, "db"));
        await File.WriteAllTextAsync(
            Config,
            string.Create(CultureInfo.InvariantCulture, $"""
            [database]
            uri = sqlite://
            path = {_directory}/db
            [web]
            listen = 127.0.0.1:{_port}
            [session]
            authentications = password
            max_age = 86400

            """),
            cancellationToken).ConfigureAwait(false);
        await File.WriteAllTextAsync(PasswordFile, AdminPassword + "\n", cancellationToken).ConfigureAwait(false);
        await File.WriteAllBytesAsync(Path.Combine(_directory, "db", "crm.sqlite"), [], cancellationToken).ConfigureAwait(false); // trytond-admin makes no file.
        using Process process = Start(Administration, "-d", "crm", "-u", "sale_opportunity", "--activate-dependencies", "--email", "admin@example.com");
        try
        {
            await process.WaitForExitAsync(cancellationToken).WaitAsync(s_makeWait, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is TimeoutException or OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }

        if (process.ExitCode != 0)
        {
            throw new CliException($"Tryton could not make a database (exit code {process.ExitCode}). {NotInstalled}");
        }
    }

    private async Task SeedAsync(CancellationToken cancellationToken)
    {
        await CallAsync("model.currency.currency.create", """[[{"name":"Euro","symbol":"E","code":"EUR"}],{}]""", cancellationToken).ConfigureAwait(false);
        await CallAsync("model.party.party.create", """[[{"name":"My Company"},{"name":"Sales Rep"}],{}]""", cancellationToken).ConfigureAwait(false);
        await CallAsync("model.company.company.create", """[[{"party":1,"currency":1}],{}]""", cancellationToken).ConfigureAwait(false);
        await CallAsync("model.company.employee.create", """[[{"party":2,"company":1}],{}]""", cancellationToken).ConfigureAwait(false);
        await CallAsync("model.res.user.write", """[[1],{"companies":[["add",[1]]],"company":1,"employees":[["add",[1]]],"employee":1},{}]""", cancellationToken).ConfigureAwait(false);
        string groups = (await CallAsync("model.res.group.search", """[[["name","in",["Party Administration","Sale Opportunity","Sales"]]],0,null,null,{}]""", cancellationToken).ConfigureAwait(false)).GetRawText();
        await CallAsync("model.res.user.create", $$"""[[{"name":"StreamCdp","login":"{{Bot}}","password":"{{BotPassword}}","companies":[["add",[1]]],"company":1,"employees":[["add",[1]]],"employee":1,"groups":[["add",{{groups}}]]}],{}]""", cancellationToken).ConfigureAwait(false);
    }

    /// <summary>20 different characters: Tryton refuses a password in which they repeat.</summary>
    private static string Password()
    {
        char[] characters = [.. "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"];
        RandomNumberGenerator.Shuffle(characters.AsSpan());
        return new string(characters, 0, 20);
    }

    private string Config => Path.Combine(_directory, "trytond.conf");

    private string PasswordFile => Path.Combine(_directory, "pw");

    /// <summary>Starts a program in a session of its own: Ctrl-C at the terminal is for us alone, and the comparison at the end still needs the CRM.</summary>
    private Process Start(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo("setsid", [program, "-c", Config, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["TRYTONPASSFILE"] = PasswordFile;
        Process process = Process.Start(start)!;
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    private async Task<bool> TryLoginAsync(CancellationToken cancellationToken)
    {
        try
        {
            JsonElement result = (await PostAsync("common.db.login", $$"""["admin",{"password":"{{AdminPassword}}"},"en"]""", cancellationToken).ConfigureAwait(false)).GetProperty("result");
            _session = Convert.ToBase64String(Encoding.UTF8.GetBytes($"admin:{result[0]}:{result[1]}"));
            return true;
        }
        catch (Exception exception) when (exception is HttpRequestException or JsonException or KeyNotFoundException)
        {
            return false;
        }
    }

    private async Task<JsonElement> PostAsync(string method, string parameters, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, Url) { Content = new StringContent($"{{\"id\":{Interlocked.Increment(ref _calls)},\"method\":\"{method}\",\"params\":{parameters}}}", Encoding.UTF8, "application/json") };
        if (_session.Length > 0)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Session", _session);
        }

        using HttpResponseMessage response = await _http.SendAsync(request, cancellationToken).ConfigureAwait(false);
        return JsonElement.Parse(await response.Content.ReadAsByteArrayAsync(cancellationToken).ConfigureAwait(false));
    }
}
