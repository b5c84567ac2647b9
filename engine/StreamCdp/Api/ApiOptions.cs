namespace StreamCdp.Api;

/// <summary>Settings of the HTTP side: addresses, TLS, limits of the query API.</summary>
public sealed record ApiOptions
{
    /// <summary>Configuration section.</summary>
    public const string Section = "StreamCdp:Http";

    /// <summary>Identifiers in one lookup: 100, so that one request cannot hold every shard for long.</summary>
    public const int MaxLookupIdentifiers = 100;

    /// <summary>Members in one page: 1000 (the limit of the engine's own pages).</summary>
    public const int MaxMembersPage = 1000;

    /// <summary>Events in one answer: 100; the engine keeps the latest 32 of a profile by place.</summary>
    public const int MaxEvents = 100;

    /// <summary>Longest <c>?wait=true</c>, 30 s: proxies cut requests soon after.</summary>
    public const int MaxWaitMs = 30_000;

    /// <summary>Addresses to listen on, with <c>;</c> between them. An https address needs <see cref="CertificatePath"/> or Kestrel's own configuration.</summary>
    public string Urls { get; init; } = "http://127.0.0.1:8080";

    /// <summary>PEM or PFX file of the TLS certificate; empty: none, or what Kestrel's section (<c>Kestrel:Certificates:Default</c>) says.</summary>
    public string CertificatePath { get; init; } = "";

    /// <summary>PEM file of the certificate's private key; empty for a PFX file.</summary>
    public string CertificateKeyPath { get; init; } = "";

    /// <summary><c>/metrics</c> wants a key with the scope read. Default: open, as scrapers expect; it holds no personal data.</summary>
    public bool MetricsNeedKey { get; init; }

    /// <summary>Wait of <c>?wait=true</c> without <c>timeout</c>, ms. 1 to 30000, default 5000.</summary>
    public int WaitMs { get; init; } = 5_000;

    /// <summary>Largest request body of the query API, bytes. 1 KiB to 4 MiB, default 256 KiB: 100 identifiers of 2 KiB.</summary>
    public int MaxBodyBytes { get; init; } = 256 << 10;

    /// <summary>Requests per second of one API key. 0 to 1000000, default 0: no limit.</summary>
    public int RequestsPerSecond { get; init; }

    /// <summary>Requests that one API key may send at once after a pause. 0 to 1000000, default 0: as many as <see cref="RequestsPerSecond"/>.</summary>
    public int RequestBurst { get; init; }

    /// <summary>Open streams at one time. 0 to 1000, default 32: each reads every membership change, so each costs processor time.</summary>
    public int MaxStreams { get; init; } = 32;

    /// <summary>A stream that had nothing to say sends a comment after this time, ms. 10 to 300000, default 15000: below the idle limit of usual proxies (60 s).</summary>
    public int StreamHeartbeatMs { get; init; } = 15_000;

    /// <summary>A stream whose client takes no bytes for this time is cut, ms. 10 to 300000, default 10000.</summary>
    public int StreamWriteTimeoutMs { get; init; } = 10_000;

    /// <summary>Every broken rule, each with its key, its value and what is allowed. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        string[] urls = Urls.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        if (urls.Length == 0)
        {
            yield return $"{Section}:Urls is empty; write at least one address, for example http://127.0.0.1:8080.";
        }

        foreach (string url in urls)
        {
            // Kestrel also takes * and + as the host: all interfaces.
            string uri = url.Replace("://*", "://localhost", StringComparison.Ordinal).Replace("://+", "://localhost", StringComparison.Ordinal);
            if (!Uri.TryCreate(uri, UriKind.Absolute, out Uri? parsed) || parsed.Scheme is not ("http" or "https") || parsed.PathAndQuery != "/")
            {
                yield return $"{Section}:Urls has '{url}'; allowed are addresses such as http://127.0.0.1:8080 or https://*:8443, without a path.";
            }
        }

        if (CertificatePath.Length > 0 && !File.Exists(CertificatePath))
        {
            yield return $"{Section}:CertificatePath is '{CertificatePath}', where there is no file; write the path of a PEM or PFX file, or leave it empty.";
        }

        if (CertificateKeyPath.Length > 0 && !File.Exists(CertificateKeyPath))
        {
            yield return $"{Section}:CertificateKeyPath is '{CertificateKeyPath}', where there is no file; write the path of the key's PEM file, or leave it empty.";
        }

        if (CertificateKeyPath.Length > 0 && CertificatePath.Length == 0)
        {
            yield return $"{Section}:CertificateKeyPath is set and {Section}:CertificatePath is empty; a key needs its certificate.";
        }

        foreach ((string key, int value, int least, int most, string unit) in new[]
        {
            (nameof(WaitMs), WaitMs, 1, MaxWaitMs, " ms"),
            (nameof(MaxBodyBytes), MaxBodyBytes, 1 << 10, 4 << 20, " bytes"),
            (nameof(RequestsPerSecond), RequestsPerSecond, 0, 1_000_000, ", 0 is no limit"),
            (nameof(RequestBurst), RequestBurst, 0, 1_000_000, ", 0 is as many as RequestsPerSecond"),
            (nameof(MaxStreams), MaxStreams, 0, 1_000, ", 0 is no stream"),
            (nameof(StreamHeartbeatMs), StreamHeartbeatMs, 10, 300_000, " ms"),
            (nameof(StreamWriteTimeoutMs), StreamWriteTimeoutMs, 10, 300_000, " ms"),
        })
        {
            if (value < least || value > most)
            {
                yield return $"{Section}:{key} is {value}; allowed are {least} to {most}{unit}.";
            }
        }
    }

    /// <summary>The certificate in the words of Kestrel's own configuration section; empty where none is set.</summary>
    public IEnumerable<KeyValuePair<string, string?>> KestrelSettings()
    {
        if (CertificatePath.Length > 0)
        {
            yield return new("Kestrel:Certificates:Default:Path", CertificatePath);
        }

        if (CertificateKeyPath.Length > 0)
        {
            yield return new("Kestrel:Certificates:Default:KeyPath", CertificateKeyPath);
        }
    }
}
