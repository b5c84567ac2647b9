using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using StreamCdp.Schemas;

namespace StreamCdp.Integration.Tests;

/// <summary>The registry's own interface over TLS, with a certificate authority that no system knows.</summary>
public sealed class SchemaRegistryTlsTests : IAsyncLifetime
{
    private readonly string _caFile = Path.Combine(Path.GetTempPath(), $"streamcdp-ca-{Guid.NewGuid():N}.pem");
    private WebApplication? _server;
    private string _url = "";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        using var caKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var caRequest = new CertificateRequest("CN=Test CA", caKey, HashAlgorithmName.SHA256);
        caRequest.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        using X509Certificate2 ca = caRequest.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        await File.WriteAllTextAsync(_caFile, ca.ExportCertificatePem(), Cancel);

        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using X509Certificate2 signed = request.Create(ca, ca.NotBefore, ca.NotAfter, [1, 2, 3, 4]);
        using X509Certificate2 withKey = signed.CopyWithPrivateKey(key);
        X509Certificate2 certificate = X509CertificateLoader.LoadPkcs12(withKey.Export(X509ContentType.Pkcs12), null);

        WebApplicationBuilder builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen => listen.UseHttps(certificate)));
        _server = builder.Build();
        _server.MapGet("/schemas/ids/{id:int}", () => Results.Text("""{"schema":"\"string\""}""", "application/vnd.schemaregistry.v1+json"));
        await _server.StartAsync(Cancel);
        _url = _server.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        File.Delete(_caFile);
    }

    [Fact]
    public async Task The_given_certificate_authority_is_trusted()
    {
        using var registry = new RestSchemaRegistry(new SchemaRegistryOptions { Url = _url, CaFile = _caFile });

        Assert.Equal("\"string\"", await registry.GetByIdAsync(1, Cancel));
    }

    [Fact]
    public async Task An_unknown_certificate_authority_is_not_trusted()
    {
        using var registry = new RestSchemaRegistry(new SchemaRegistryOptions { Url = _url, Retries = 0 });

        await Assert.ThrowsAsync<SchemaRegistryException>(() => registry.GetByIdAsync(1, Cancel));
    }
}
