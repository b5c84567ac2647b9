using System.Net;
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
    private readonly TestCertificates _certificates = new();
    private WebApplication? _server;
    private string _url = "";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen => listen.UseHttps(_certificates.Load())));
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

        _certificates.Dispose();
    }

    [Fact]
    public async Task The_given_certificate_authority_is_trusted()
    {
        using var registry = new RestSchemaRegistry(new SchemaRegistryOptions { Url = _url, CaFile = _certificates.CaFile });

        Assert.Equal("\"string\"", await registry.GetByIdAsync(1, Cancel));
    }

    [Fact]
    public async Task An_unknown_certificate_authority_is_not_trusted()
    {
        using var registry = new RestSchemaRegistry(new SchemaRegistryOptions { Url = _url, Retries = 0 });

        await Assert.ThrowsAsync<SchemaRegistryException>(() => registry.GetByIdAsync(1, Cancel));
    }
}
