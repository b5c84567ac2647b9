using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Kafka;

/// <summary>Which topic changes are written to, and how its brokers are reached.</summary>
public sealed record KafkaOptions
{
    /// <summary>Largest message that is handed to a broker, bytes: as the engine's own topics take. What the topic takes may be less.</summary>
    public const int MaxMessageBytes = 8 << 20;

    /// <summary>host:port of the brokers to ask first, separated by commas.</summary>
    public required string Brokers { get; init; }

    /// <summary>Name of the topic; made with the brokers' defaults where it is missing and the user may do that.</summary>
    public required string Topic { get; init; }

    /// <summary>The connection is encrypted, and the broker's certificate and name are checked.</summary>
    public bool Tls { get; init; }

    /// <summary>File with the certificates to trust, PEM; null: the system's.</summary>
    public string? CaPath { get; init; }

    /// <summary>User for SASL; null: no login.</summary>
    public string? User { get; init; }

    /// <summary>Password of the user.</summary>
    public string Secret { get; init; } = "";

    /// <summary>PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 (default).</summary>
    public string Sasl { get; init; } = "SCRAM-SHA-512";

    /// <summary>How long a change may take until the brokers have it. 1 s to 5 min, default 10 s; the client looks once a second.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Every broken rule, each with its name, its value and what is allowed; the secret is not shown. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (KafkaDefinition.BrokersError(Brokers) is { } brokers)
        {
            yield return brokers;
        }

        if (KafkaDefinition.TopicError(Topic) is { } topic)
        {
            yield return topic;
        }

        if (Sasl is not ("PLAIN" or "SCRAM-SHA-256" or "SCRAM-SHA-512"))
        {
            yield return $"sasl is {Sasl}; allowed are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512";
        }

        if (CaPath is not null && !File.Exists(CaPath))
        {
            yield return $"ca is \"{CaPath}\", where there is no file; allowed is the path of a PEM file that this process may read";
        }

        if (Timeout < TimeSpan.FromSeconds(1) || Timeout > TimeSpan.FromMinutes(5))
        {
            yield return $"timeout is {Timeout.TotalSeconds:0.###} s; allowed are 1 s to 5 min";
        }
    }

    /// <summary>The client's settings, in librdkafka's words.</summary>
    internal Dictionary<string, string> Client()
    {
        string milliseconds = $"{(int)Timeout.TotalMilliseconds}";
        Dictionary<string, string> settings = new()
        {
            ["bootstrap.servers"] = Brokers,
            ["client.id"] = "streamcdp",
            ["security.protocol"] = (User is not null, Tls) switch { (true, true) => "sasl_ssl", (true, false) => "sasl_plaintext", (false, true) => "ssl", _ => "plaintext" },
            ["acks"] = "all",
            ["enable.idempotence"] = "true", // A message that the client itself sends again is neither doubled nor overtaken.
            ["partitioner"] = "murmur2_random", // A profile is in the partition where Java's clients put the same key.
            ["message.timeout.ms"] = milliseconds,
            ["message.max.bytes"] = $"{MaxMessageBytes}",
            ["queue.buffering.max.kbytes"] = "65536",
            ["linger.ms"] = "1",
            ["allow.auto.create.topics"] = "false", // A name misspelt is told, where the brokers would make a topic of it in silence.
            ["topic.metadata.refresh.fast.interval.ms"] = "100",
            ["reconnect.backoff.ms"] = "50",
            ["reconnect.backoff.max.ms"] = "2000",
            ["socket.connection.setup.timeout.ms"] = $"{Math.Clamp((int)Timeout.TotalMilliseconds, 1000, 30_000)}",
        };
        if (User is not null)
        {
            settings["sasl.mechanism"] = Sasl;
            settings["sasl.username"] = User;
            settings["sasl.password"] = Secret;
        }

        if (CaPath is not null)
        {
            settings["ssl.ca.location"] = CaPath;
        }

        return settings;
    }
}
