namespace StreamCdp.Schemas;

/// <summary>Where the schema registry is and how to log in.</summary>
public sealed record SchemaRegistryOptions
{
    /// <summary>Where the settings are.</summary>
    public const string Section = "StreamCdp:Kafka:SchemaRegistry";

    /// <summary>Base address, what Confluent calls schema.registry.url, for example <c>https://registry:8081</c>. Empty: no registry.</summary>
    public string Url { get; init; } = "";

    /// <summary>User of basic authentication; empty: none.</summary>
    public string User { get; init; } = "";

    /// <summary>Password of basic authentication.</summary>
    public string Password { get; init; } = "";

    /// <summary>PEM file of the certificate authorities that sign the registry's certificate; empty: those of the system.</summary>
    public string CaFile { get; init; } = "";

    /// <summary>One request; more than 0, at most 5 minutes, default 10 s.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How often a request is tried again when the registry does not answer or says 5xx or 429: 0 to 100, default 4.</summary>
    public int Retries { get; init; } = 4;

    /// <summary>Wait before the first repeat, doubled each time up to 10 s; default 250 ms, so that a registry may restart within about 4 s.</summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>Every broken rule, each with its key, its value and what is allowed. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (Url.Length > 0 && !(Uri.TryCreate(Url, UriKind.Absolute, out Uri? uri) && uri.Scheme is "http" or "https"))
        {
            yield return $"{Section}:Url is '{Url}'; allowed is an http or https address.";
        }

        if (User.Length == 0 && Password.Length > 0)
        {
            yield return $"{Section}:Password is set without {Section}:User.";
        }

        if (CaFile.Length > 0 && !File.Exists(CaFile))
        {
            yield return $"{Section}:CaFile is '{CaFile}', which does not exist; allowed is a PEM file.";
        }

        if (Timeout <= TimeSpan.Zero || Timeout > TimeSpan.FromMinutes(5))
        {
            yield return $"{Section}:Timeout is {Timeout}; allowed is more than 0, at most 5 minutes.";
        }

        if (Retries is < 0 or > 100)
        {
            yield return $"{Section}:Retries is {Retries}; allowed are 0 to 100.";
        }

        if (RetryDelay < TimeSpan.Zero || RetryDelay > TimeSpan.FromSeconds(10))
        {
            yield return $"{Section}:RetryDelay is {RetryDelay}; allowed are 0 to 10 seconds.";
        }
    }
}
