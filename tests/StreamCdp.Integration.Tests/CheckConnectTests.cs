using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using StreamCdp.HubSpotEmulator;
using StreamCdp.Integration.Tests.Tryton;

namespace StreamCdp.Integration.Tests;

/// <summary><c>streamcdp check --connect</c> with the real other sides.</summary>
public sealed class CheckConnectTests(KafkaFixture kafka) : IDisposable
{
    private const string Secret = "check-secret-0123456789";

    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-check-").FullName;

    private string File => Path.Combine(_directory, "cdp.yaml");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task Without_the_option_nothing_is_connected()
    {
        (int code, string output, _) = await CheckAsync("""{ id: hook, kind: webhook, url: "http://127.0.0.1:1/hook", secret: env:CHECK_SECRET }""", connect: false);

        Assert.Equal(0, code);
        Assert.DoesNotContain("connections", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_would_work_is_reported_and_nothing_is_sent_or_left()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        int port = ((IPEndPoint)listener.LocalEndpoint).Port;

        (int code, string output, string error) = await CheckAsync($$"""
            { id: hook, kind: webhook, url: "http://127.0.0.1:{{port}}/hook?tenant=1", secret: env:CHECK_SECRET }
              - { id: here, kind: file, path: "{{_directory}}/{date}.ndjson" }
              - { id: below, kind: file, path: "{{_directory}}/a/b/{date}.ndjson" }
            """);

        Assert.True(code == 0, error);
        Assert.EndsWith($"""

            connections (3)
              hook: webhook
                - http://127.0.0.1:{port} can be reached, without TLS; no change was sent
              here: file
                - {_directory} can be written
              below: file
                - {_directory}/a/b is not there; the server makes it in {_directory}, which can be written

            """.ReplaceLineEndings("\n"), output, StringComparison.Ordinal);
        Assert.Equal([File], Directory.GetFileSystemEntries(_directory));
        using TcpClient caller = await listener.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
        Assert.Equal(0, await caller.GetStream().ReadAsync(new byte[1], TestContext.Current.CancellationToken)); // It hung up without a word.
    }

    [Fact]
    public async Task What_would_not_work_is_told_with_its_place_and_without_a_secret()
    {
        await System.IO.File.WriteAllTextAsync(Path.Combine(_directory, "taken"), "", TestContext.Current.CancellationToken);
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        int port = ((IPEndPoint)listener.LocalEndpoint).Port;
        Task impostor = ImpersonateAsync(listener);

        (int code, string output, string error) = await CheckAsync($$"""
            { id: hook, kind: webhook, secret: env:CHECK_SECRET, url: "http://127.0.0.1:1/hook" }
              - { id: tls, kind: webhook, secret: env:CHECK_SECRET_2, url: "https://127.0.0.1:{{port}}/hook" }
              - { id: files, kind: file, path: "{{_directory}}/taken/{date}.ndjson" }
              - { id: stream, kind: kafka, brokers: "127.0.0.1:1", topic: t, ca: /nowhere/ca.pem, tls: true }
            """);
        await impostor;

        string[] lines = error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(1, code);
        Assert.Equal($"{File}:2:63: hook: http://127.0.0.1:1 could not be reached (no connection: ConnectionRefused). Check that it runs, its address, and the firewall in between", lines[0]);
        Assert.StartsWith($"{File}:3:64: tls: TLS with https://127.0.0.1:{port} failed: ", lines[1], StringComparison.Ordinal);
        Assert.StartsWith($"{File}:4:36: files: {_directory}/taken/{{date}}.ndjson cannot be made: a part of it is no directory", lines[2], StringComparison.Ordinal);
        Assert.Equal($"{File}:5:11: stream: Destination stream: ca is \"/nowhere/ca.pem\", where there is no file; allowed is the path of a PEM file that this process may read", lines[3]);
        Assert.DoesNotContain(Secret, output + error, StringComparison.Ordinal);
        Assert.Contains("hook: webhook, would not work like this", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Who_does_not_answer_is_given_up_after_a_while()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();

        (int code, _, string error) = await CheckAsync($$"""{ id: hook, kind: webhook, secret: env:CHECK_SECRET, url: "https://127.0.0.1:{{((IPEndPoint)listener.LocalEndpoint).Port}}/hook" }""");

        Assert.Equal((1, $"{File}:2:11: hook: no answer within 10 s; check that it runs and can be reached from here\n"), (code, error));
    }

    [Fact]
    public async Task Of_Kafka_the_topic_is_looked_at()
    {
        string servers = (await kafka.SharedAsync()).BootstrapServers;
        string topic = "check-" + Guid.NewGuid().ToString("N");
        await KafkaTopic.MakeAsync(servers, topic);

        (int code, string output, string error) = await CheckAsync($$"""
            { id: there, kind: kafka, brokers: "{{servers}}", topic: {{topic}} }
              - { id: missing, kind: kafka, brokers: "{{servers}}", topic: {{topic}}.missing }
            """);
        (int away, _, string reason) = await CheckAsync("""{ id: away, kind: kafka, brokers: "127.0.0.1:1", topic: t }""");

        Assert.True(code == 0, error);
        Assert.Contains($"{topic} has 1 partitions, and may be written; no change was sent", output, StringComparison.Ordinal);
        Assert.Contains($"there is no topic {topic}.missing; the server makes it with the first change", output, StringComparison.Ordinal);
        Assert.Equal(1, away);
        Assert.StartsWith($"{File}:2:11: away: Kafka at 127.0.0.1:1 did not confirm within 5 s", reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_HubSpot_each_mapped_field_is_compared()
    {
        await using EmulatedHubSpot hubspot = await EmulatedHubSpot.StartAsync(TimeProvider.System, cancellationToken: TestContext.Current.CancellationToken);
        Environment.SetEnvironmentVariable("CHECK_TOKEN", EmulatedHubSpot.PrivateAppToken);

        (int code, string output, string error) = await CheckAsync($$"""
            { id: hubspot, kind: hubspot, url: "{{hubspot.Url}}", secret: env:CHECK_TOKEN, contacts: { fields: { firstname: traits.name, plan: traits.plan, createdate: traits.since } } }
            sources: [ { id: hubspot, kind: crm } ]
            identifiers: [ { type: user_id }, { type: hubspot_contact_id, limit: 100 } ]
            """);

        Assert.Equal(1, code);
        Assert.Contains("    - firstname: text\n    - plan: not there; the server makes it as text at its start\n", output, StringComparison.Ordinal);
        int column = $$"""  - { id: hubspot, kind: hubspot, url: "{{hubspot.Url}}", secret: env:CHECK_TOKEN, contacts: { fields: { firstname: traits.name, plan: traits.plan, """.Length + 1;
        Assert.Equal($"{File}:2:{column}: hubspot: the field \"createdate\" can only be read in the CRM; write direction: in, or take another field\n", error);
        Assert.DoesNotContain(EmulatedHubSpot.PrivateAppToken, output + error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_Tryton_each_mapped_field_is_compared()
    {
        await using TrytonServer tryton = await TrytonServer.StartAsync();
        Environment.SetEnvironmentVariable("CHECK_PASSWORD", tryton.BotPassword);

        string more = """
            sources: [ { id: tryton, kind: crm } ]
            identifiers: [ { type: user_id }, { type: tryton_contact_id, limit: 100 } ]
            """;
        (int code, string output, string error) = await CheckAsync($$"""
            { id: tryton, kind: tryton, url: "{{tryton.Url}}", user: {{TrytonServer.Bot}}, secret: env:CHECK_PASSWORD, contacts: { fields: { name: traits.name, moblie: traits.mobile } } }
            {{more}}
            """);
        Environment.SetEnvironmentVariable("CHECK_PASSWORD", "another-password-123");
        (int refused, _, string reason) = await CheckAsync($$"""
            { id: tryton, kind: tryton, url: "{{tryton.Url}}", user: {{TrytonServer.Bot}}, secret: env:CHECK_PASSWORD, contacts: { fields: { name: traits.name } } }
            {{more}}
            """);

        Assert.Equal(1, code);
        Assert.Contains("    - name: text\n", output, StringComparison.Ordinal);
        Assert.EndsWith(": tryton: contacts have no field \"moblie\"; did you mean \"mobile\"?\n", error, StringComparison.Ordinal);
        Assert.Equal(1, refused);
        Assert.StartsWith($"{File}:2:11: tryton: ", reason, StringComparison.Ordinal);
        Assert.DoesNotContain("another-password-123", reason, StringComparison.Ordinal);
    }

    /// <summary>A server whose certificate nobody trusts.</summary>
    private static async Task ImpersonateAsync(TcpListener listener)
    {
        using RSA key = RSA.Create(2048);
        using X509Certificate2 certificate = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1).CreateSelfSigned(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch.AddYears(200));
        using TcpClient caller = await listener.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
        await using var tls = new SslStream(caller.GetStream());
        try
        {
            await tls.AuthenticateAsServerAsync(certificate);
            await tls.ReadExactlyAsync(new byte[1], TestContext.Current.CancellationToken);
        }
        catch (Exception exception) when (exception is IOException or System.Security.Authentication.AuthenticationException)
        {
            // It hung up, as it should.
        }
    }

    private async Task<(int Code, string Output, string Error)> CheckAsync(string destinations, bool connect = true)
    {
        Environment.SetEnvironmentVariable("CHECK_SECRET", Secret);
        Environment.SetEnvironmentVariable("CHECK_SECRET_2", Secret + "-2");
        await System.IO.File.WriteAllTextAsync(File, $"destinations:\n  - {destinations}\n", TestContext.Current.CancellationToken);
        return await CliFakeServer.RunAsync(connect ? ["check", "--connect", File] : ["check", File]);
    }
}
