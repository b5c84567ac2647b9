using System.Diagnostics;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Kafka;

namespace StreamCdp.Integration.Tests;

/// <summary>The destination against a broker that speaks TLS alone.</summary>
public sealed class KafkaDestinationTlsTests : IAsyncLifetime
{
    private static readonly ProfileChange Change = new() { Kind = ChangeKind.Merged, ProfileId = new string('a', 32), Version = 1, At = DateTimeOffset.UnixEpoch, MergedInto = new string('b', 32) };

    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-tls-").FullName;
    private KafkaCluster? _cluster;

    public async ValueTask InitializeAsync()
    {
        Assert.SkipWhen(KafkaCluster.Home is null, KafkaCluster.WhyNot);
        using RSA authorityKey = RSA.Create(2048);
        using X509Certificate2 authority = Authority("CN=tests", authorityKey);
        using RSA otherKey = RSA.Create(2048);
        using X509Certificate2 other = Authority("CN=others", otherKey);
        using RSA brokerKey = RSA.Create(2048);
        var request = new CertificateRequest("CN=broker", brokerKey, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using X509Certificate2 broker = request.Create(authority, authority.NotBefore, authority.NotAfter, [1]);
        await File.WriteAllTextAsync(PathOf("ca.pem"), authority.ExportCertificatePem());
        await File.WriteAllTextAsync(PathOf("other.pem"), other.ExportCertificatePem());
        await File.WriteAllTextAsync(PathOf("broker.pem"), brokerKey.ExportPkcs8PrivateKeyPem() + "\n" + broker.ExportCertificatePem());
        _cluster = await KafkaCluster.StartAsync(
            "listener.security.protocol.map=PLAINTEXT:SSL,CONTROLLER:PLAINTEXT",
            "ssl.keystore.type=PEM",
            $"ssl.keystore.location={PathOf("broker.pem")}",
            "ssl.truststore.type=PEM",
            $"ssl.truststore.location={PathOf("ca.pem")}");
    }

    public async ValueTask DisposeAsync()
    {
        if (_cluster is not null)
        {
            await _cluster.DisposeAsync();
        }

        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task Only_a_broker_whose_issuer_is_trusted_gets_a_change()
    {
        var options = new KafkaOptions { Brokers = _cluster!.BootstrapServers, Topic = "changes", Tls = true, CaPath = PathOf("ca.pem") };
        await using var destination = new KafkaDestination(options);
        await using var distrustful = new KafkaDestination(options with { CaPath = PathOf("other.pem"), Timeout = TimeSpan.FromSeconds(3) });

        Assert.Equal(OutcomeKind.Taken, Assert.Single(await destination.SendAsync([Change], TestContext.Current.CancellationToken)).Kind);
        string message;
        var deadline = Stopwatch.StartNew();
        do
        {
            // On a busy machine the first try may end before the handshake has.
            message = (await Assert.ThrowsAsync<DestinationUnavailableException>(async () => await distrustful.SendAsync([Change], TestContext.Current.CancellationToken))).Message;
        }
        while (!message.Contains("SSL", StringComparison.Ordinal) && deadline.Elapsed < TimeSpan.FromSeconds(60));

        Assert.Contains("SSL handshake failed", message, StringComparison.Ordinal);
    }

    private static X509Certificate2 Authority(string name, RSA key)
    {
        var request = new CertificateRequest(name, key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: false, pathLengthConstraint: 0, critical: true));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddYears(1));
    }

    private string PathOf(string name) => Path.Combine(_directory, name);
}
