using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Microsoft.AspNetCore.Routing;
using StreamCdp.Api;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Integration.Tests;

public sealed class ApiDocumentTests
{
    [Fact]
    public async Task The_document_has_every_path_and_no_other()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        (_, JsonElement document) = await host.GetAsync("openapi/v1.json");

        IEnumerable<string> mapped = host.Routes.Select(r => $"{string.Join(',', r.Metadata.GetRequiredMetadata<IHttpMethodMetadata>().HttpMethods).ToUpperInvariant()} {r.RoutePattern.RawText}");
        IEnumerable<string> described = document.GetProperty("paths").EnumerateObject().SelectMany(p => p.Value.EnumerateObject().Select(o => $"{o.Name.ToUpperInvariant()} {p.Name}"));

        Assert.Equal(mapped.Order(), described.Order());
    }

    [Fact]
    public async Task The_collector_takes_no_path_of_the_API()
    {
        await using ApiHost host = await ApiHost.StartAsync();

        Assert.All(host.Routes, r => Assert.Null(CollectRoute.Find(r.RoutePattern.RawText!.Replace("{identifier}", "user_id:42").Replace("{id}", "batch"))));
    }

    [Fact]
    public async Task Every_reference_in_the_document_leads_somewhere()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        (_, JsonElement document) = await host.GetAsync("openapi/v1.json");

        foreach (string reference in References(document))
        {
            JsonElement at = document;
            foreach (string name in reference.Split('/').Skip(1))
            {
                Assert.True(at.TryGetProperty(name, out at), reference);
            }
        }
    }

    [Fact]
    public async Task The_front_page_leads_only_to_paths_that_answer()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        string page = await host.Client.GetStringAsync("/", TestContext.Current.CancellationToken);

        string[] links = [.. page.Split("href=\"").Skip(1).Select(l => l[..l.IndexOf('"', StringComparison.Ordinal)])];

        Assert.NotEmpty(links);
        foreach (string link in links)
        {
            using HttpResponseMessage response = await host.Client.GetAsync(link, TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }
    }

    [Fact]
    public async Task A_part_that_is_not_ready_says_why()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        Assert.Equal("""{"status":"ready","reasons":[]}""", (await host.GetAsync("readyz")).Body.GetRawText());
        host.Queries.Parts.Add(new PartHealth("log profiles", IsLive: true, IsReady: false, "The disk is full: free 1 GiB."));

        (HttpStatusCode ready, JsonElement reasons) = await host.GetAsync("readyz");
        (HttpStatusCode live, _) = await host.GetAsync("healthz");

        Assert.Equal(HttpStatusCode.ServiceUnavailable, ready);
        Assert.Equal("""{"status":"not ready","reasons":[{"part":"log profiles","reason":"The disk is full: free 1 GiB."}]}""", reasons.GetRawText());
        Assert.Equal(HttpStatusCode.OK, live);
        string metrics = await host.Client.GetStringAsync("metrics", TestContext.Current.CancellationToken);
        Assert.Contains("streamcdp_part_ready{part=\"log profiles\"} 0", metrics);
        Assert.Contains("streamcdp_part_ready{part=\"collect\"} 1", metrics);
    }

    [Fact]
    public async Task A_ready_part_tells_what_needs_a_person()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        host.Queries.Parts.Add(new PartHealth("route", IsLive: true, IsReady: true, "The checkpoint failed: free some disk."));

        (HttpStatusCode status, JsonElement body) = await host.GetAsync("readyz");

        Assert.Equal(HttpStatusCode.OK, status);
        Assert.Equal("""{"status":"ready","reasons":[{"part":"route","reason":"The checkpoint failed: free some disk."}]}""", body.GetRawText());
    }

    [Fact]
    public async Task A_part_that_cannot_recover_makes_the_process_not_live()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        host.Queries.Parts.Add(new PartHealth("shard 3", IsLive: false, IsReady: false, "Restart."));

        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await host.GetAsync("healthz")).Status);
    }

    [Fact]
    public async Task An_https_address_uses_the_certificate_of_the_options()
    {
        string directory = Directory.CreateTempSubdirectory("streamcdp-tls-").FullName;
        using var key = ECDsa.Create();
        using X509Certificate2 certificate = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256).CreateSelfSigned(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch.AddYears(200));
        var options = new ApiOptions { CertificatePath = Path.Combine(directory, "c.pem"), CertificateKeyPath = Path.Combine(directory, "k.pem") };
        await File.WriteAllTextAsync(options.CertificatePath, certificate.ExportCertificatePem(), TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(options.CertificateKeyPath, key.ExportPkcs8PrivateKeyPem(), TestContext.Current.CancellationToken);
        await using ApiHost host = await ApiHost.StartAsync(options);

        Assert.Empty(options.Errors());
        Assert.Equal("https", host.Address.Scheme);
        Assert.Equal(HttpStatusCode.OK, (await host.GetAsync("healthz")).Status);
        Directory.Delete(directory, recursive: true);
    }

    [Fact]
    public void Default_options_are_good() => Assert.Empty(new ApiOptions().Errors());

    [Fact]
    public void All_broken_options_are_told_at_once()
    {
        var options = new ApiOptions { Urls = "ftp://x;http://*:8080", CertificatePath = "/no/such.pem", CertificateKeyPath = "/no/such.key", WaitMs = 0, MaxStreams = -1, RequestsPerSecond = -5, StreamHeartbeatMs = 1 };

        string[] errors = [.. options.Errors()];

        Assert.Equal(7, errors.Length);
        Assert.All(errors, e => Assert.StartsWith("StreamCdp:Http:", e));
        Assert.Contains(errors, e => e.Contains("ftp://x", StringComparison.Ordinal));
    }

    private static IEnumerable<string> References(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => element.EnumerateObject().SelectMany(p => p.NameEquals("$ref") ? [p.Value.GetString()!] : References(p.Value)),
        JsonValueKind.Array => element.EnumerateArray().SelectMany(References),
        _ => [],
    };
}
