using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Threading.Channels;
using MimeKit;

namespace StreamCdp.Integration.Tests.Email;

/// <summary>A mail as the server took it.</summary>
internal sealed record TakenMail(string From, string To, bool IsEncrypted, string User, MimeMessage Message);

/// <summary>The real SMTP server of tests/smtp: aiosmtpd from Debian, at a free port.</summary>
internal sealed class SmtpServer : IAsyncDisposable
{
    private const string Python = "/usr/bin/python3";

    private readonly Process _process;
    private readonly Channel<TakenMail> _mails = Channel.CreateUnbounded<TakenMail>();

    private SmtpServer(Process process, int port) => (_process, Port) = (process, port);

    public int Port { get; }

    public static async Task<SmtpServer> StartAsync(params string[] arguments)
    {
        using (Process? probe = File.Exists(Python) ? Process.Start(new ProcessStartInfo(Python, ["-c", "import aiosmtpd"]) { RedirectStandardError = true }) : null)
        {
            Assert.SkipWhen(probe is null, "There is no python3.");
            await probe.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.SkipWhen(probe.ExitCode != 0, "aiosmtpd is not installed: apt-get install python3-aiosmtpd");
        }

        var process = Process.Start(new ProcessStartInfo(Python, ["-W", "ignore", Repository.Path("tests", "smtp", "server.py"), .. arguments]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        string? port = await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        var server = new SmtpServer(process, int.Parse(port!, CultureInfo.InvariantCulture));
        _ = server.ReadAsync();
        return server;
    }

    /// <summary>The next mail that was taken.</summary>
    public async Task<TakenMail> NextAsync() => await _mails.Reader.ReadAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);

    /// <summary>Mails that were taken and not looked at yet.</summary>
    public int Waiting => _mails.Reader.Count;

    public async ValueTask DisposeAsync()
    {
        _process.StandardInput.Close();
        if (!_process.WaitForExit(TimeSpan.FromSeconds(5)))
        {
            _process.Kill();
        }

        await _process.WaitForExitAsync(CancellationToken.None);
        _process.Dispose();
    }

    private async Task ReadAsync()
    {
        while (await _process.StandardOutput.ReadLineAsync() is { } line)
        {
            JsonElement mail = JsonElement.Parse(line);
            using var data = new MemoryStream(mail.GetProperty("data").GetBytesFromBase64());
            _mails.Writer.TryWrite(new TakenMail(mail.GetProperty("from").GetString()!, mail.GetProperty("to")[0].GetString()!, mail.GetProperty("tls").GetBoolean(), mail.GetProperty("user").GetString()!, await MimeMessage.LoadAsync(data)));
        }
    }
}
