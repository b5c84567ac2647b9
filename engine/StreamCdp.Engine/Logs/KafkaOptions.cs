namespace StreamCdp.Engine.Logs;

/// <summary>How to reach Kafka, and how our topics are made there.</summary>
public sealed record KafkaOptions
{
    /// <summary>Where these options stand in the configuration.</summary>
    public const string Section = "StreamCdp:Kafka";

    /// <summary>Settings that the promises rest on; <see cref="Client"/> must not change them.</summary>
    private static readonly HashSet<string> s_ours = new(StringComparer.Ordinal)
    {
        "acks", "request.required.acks", "enable.idempotence", "enable.partition.eof", "auto.offset.reset", "log.queue", "enable.auto.commit",
        "auto.commit.enable", "enable.auto.offset.store", "group.id", "transactional.id", "bootstrap.servers", "metadata.broker.list",
        "enable.gapless.guarantee", "check.crcs",
    };

    /// <summary>What librdkafka knows.</summary>
    private static readonly string[] s_mechanisms = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"];

    /// <summary>Brokers to ask first: host:port, separated by commas. No default.</summary>
    public string BootstrapServers { get; init; } = "";

    /// <summary>A topic is called prefix + log. Default <c>streamcdp.</c></summary>
    public string TopicPrefix { get; init; } = "streamcdp.";

    /// <summary>Copies of each partition of topics that we make. 1 to 32767; default -1: the brokers' default.</summary>
    public short ReplicationFactor { get; init; } = -1;

    /// <summary>Copies that must have a record before it counts as durable, for topics that we make. 1 to 32767; default -1: the brokers' default.</summary>
    public int MinInSyncReplicas { get; init; } = -1;

    /// <summary>plaintext (default), ssl, sasl_plaintext or sasl_ssl.</summary>
    public string SecurityProtocol { get; init; } = "plaintext";

    /// <summary>PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, GSSAPI or OAUTHBEARER; needed with sasl_*. What the last two need besides, by <see cref="Client"/>.</summary>
    public string? SaslMechanism { get; init; }

    /// <summary>User for SASL.</summary>
    public string? SaslUsername { get; init; }

    /// <summary>Password for SASL.</summary>
    public string? SaslPassword { get; init; }

    /// <summary>File with the certificates to trust, PEM. Default: the system's.</summary>
    public string? SslCaLocation { get; init; }

    /// <summary>File with our own certificate, PEM, where brokers ask for one.</summary>
    public string? SslCertificateLocation { get; init; }

    /// <summary>File with our own key, PEM.</summary>
    public string? SslKeyLocation { get; init; }

    /// <summary>How long a record waits for others to travel with, ms. 0 to 1000, default 1. Measured at 20,000 records/s over 4 partitions (2-core
    /// VM with its broker): 1 ms costs 0.28 of a core and 1.6 ms from append to reader; 5 ms 0.11 and 5.9 ms; 20 ms 0.07 and 21 ms.</summary>
    public double LingerMs { get; init; } = 1;

    /// <summary>Bound of the records waiting to be sent, all logs together, bytes. 1 MiB to 2 GiB, default 64 MiB.</summary>
    public long BufferBytes { get; init; } = 64L << 20;

    /// <summary>Bound of the records read ahead, per reader, bytes. 64 KiB to 1 GiB, default 4 MiB. Native memory.</summary>
    public long ReadAheadBytes { get; init; } = 4L << 20;

    /// <summary>How long <see cref="ILogWriter.Append"/> waits for room before it says that the log is unavailable. Default 10 s.</summary>
    public TimeSpan AppendWait { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a record may stay undelivered before its writer is faulted. 1 s to 1 day, default 5 min.</summary>
    public TimeSpan DeliveryTimeout { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How long a question to the cluster may take: topics, offsets, flushing when closing. 1 s to 10 min, default 15 s.</summary>
    public TimeSpan RequestTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Further librdkafka settings, for all clients, by their own names.</summary>
    public IReadOnlyDictionary<string, string> Client { get; init; } = new Dictionary<string, string>();

    /// <summary>Every broken rule, each with its key, its value and what is allowed. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (string.IsNullOrWhiteSpace(BootstrapServers))
        {
            yield return $"{Section}:BootstrapServers is empty; needed is host:port of at least one broker.";
        }

        if (TopicPrefix.Any(letter => !char.IsAsciiLetterOrDigit(letter) && letter is not ('.' or '_' or '-')))
        {
            yield return $"{Section}:TopicPrefix is \"{TopicPrefix}\"; allowed are letters, digits, '.', '_' and '-'.";
        }

        if (ReplicationFactor is 0 or < -1)
        {
            yield return $"{Section}:ReplicationFactor is {ReplicationFactor}; allowed are 1 to 32767, and -1 for the brokers' default.";
        }

        if (MinInSyncReplicas is 0 or < -1 or > 32767)
        {
            yield return $"{Section}:MinInSyncReplicas is {MinInSyncReplicas}; allowed are 1 to 32767, and -1 for the brokers' default.";
        }

        if (SecurityProtocol is not ("plaintext" or "ssl" or "sasl_plaintext" or "sasl_ssl"))
        {
            yield return $"{Section}:SecurityProtocol is \"{SecurityProtocol}\"; allowed are plaintext, ssl, sasl_plaintext and sasl_ssl.";
        }
        else if (SecurityProtocol.StartsWith("sasl", StringComparison.Ordinal) && string.IsNullOrEmpty(SaslMechanism))
        {
            yield return $"{Section}:SaslMechanism is empty; {SecurityProtocol} needs PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or another that the brokers offer.";
        }

        if (!string.IsNullOrEmpty(SaslMechanism) && !s_mechanisms.Contains(SaslMechanism, StringComparer.OrdinalIgnoreCase))
        {
            yield return $"{Section}:SaslMechanism is \"{SaslMechanism}\"; allowed are {string.Join(", ", s_mechanisms)}.";
        }

        foreach ((string key, string? path) in new[] { (nameof(SslCaLocation), SslCaLocation), (nameof(SslCertificateLocation), SslCertificateLocation), (nameof(SslKeyLocation), SslKeyLocation) })
        {
            if (!string.IsNullOrEmpty(path) && path != "probe" && !File.Exists(path) && !Directory.Exists(path))
            {
                yield return $"{Section}:{key} is \"{path}\", where there is no file; allowed is the path of a PEM file.";
            }
        }

        if (LingerMs is not (>= 0 and <= 1000))
        {
            yield return $"{Section}:LingerMs is {LingerMs}; allowed are 0 to 1000 ms.";
        }

        if (BufferBytes is < (1L << 20) or > (2L << 30))
        {
            yield return $"{Section}:BufferBytes is {BufferBytes}; allowed are 1048576 to 2147483648 bytes.";
        }

        if (ReadAheadBytes is < (64L << 10) or > (1L << 30))
        {
            yield return $"{Section}:ReadAheadBytes is {ReadAheadBytes}; allowed are 65536 to 1073741824 bytes.";
        }

        if (AppendWait < TimeSpan.Zero || AppendWait > TimeSpan.FromMinutes(10))
        {
            yield return $"{Section}:AppendWait is {AppendWait}; allowed are 00:00:00 to 00:10:00.";
        }

        if (DeliveryTimeout < TimeSpan.FromSeconds(1) || DeliveryTimeout > TimeSpan.FromDays(1))
        {
            yield return $"{Section}:DeliveryTimeout is {DeliveryTimeout}; allowed are 00:00:01 to 1.00:00:00.";
        }

        if (RequestTimeout < TimeSpan.FromSeconds(1) || RequestTimeout > TimeSpan.FromMinutes(10))
        {
            yield return $"{Section}:RequestTimeout is {RequestTimeout}; allowed are 00:00:01 to 00:10:00.";
        }

        foreach (string name in Client.Keys.Where(s_ours.Contains))
        {
            yield return $"{Section}:Client:{name} is set; that one is StreamCdp's own, because its promises rest on it. Leave it out.";
        }
    }

    /// <summary>The client says what is wrong by its own names; the settings here have the same ones in other letters.</summary>
    internal static LogSettingsException Refused(string reason, Exception? inner = null) =>
        new($"The Kafka client cannot start with the settings under {Section} (those of {Section}:{nameof(Client)} by their own names, the others as ssl.ca.location for SslCaLocation): {reason.TrimEnd('.')}.", inner);

    /// <summary>What all clients have in common, in librdkafka's words.</summary>
    internal Dictionary<string, string> Common()
    {
        Dictionary<string, string> settings = new()
        {
            ["bootstrap.servers"] = BootstrapServers,
            ["security.protocol"] = SecurityProtocol,
            ["client.id"] = "streamcdp",
            ["socket.nagle.disable"] = "true",
            ["reconnect.backoff.ms"] = "50",
            ["reconnect.backoff.max.ms"] = "2000",
            ["topic.metadata.refresh.fast.interval.ms"] = "100",
        };
        Add("sasl.mechanism", SaslMechanism);
        Add("sasl.username", SaslUsername);
        Add("sasl.password", SaslPassword);
        Add("ssl.ca.location", SslCaLocation);
        Add("ssl.certificate.location", SslCertificateLocation);
        Add("ssl.key.location", SslKeyLocation);
        return settings;

        void Add(string name, string? value)
        {
            if (!string.IsNullOrEmpty(value))
            {
                settings[name] = value;
            }
        }
    }
}
