namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Limits of the HTTP collector: memory and answers stay bounded whatever is sent.</summary>
public sealed record CollectOptions
{
    /// <summary>Configuration section.</summary>
    public const string Section = "StreamCdp:Collect";

    /// <summary>Largest request, bytes, as sent and inflated. 64 KiB to 64 MiB, default 4 MiB: SDKs send at most 500 KB, RudderStack's server takes 4000 KB.</summary>
    public int MaxRequestBytes { get; init; } = 4 << 20;

    /// <summary>Most events in one request. 1 to 1,000,000, default 10,000: SDKs send at most 250; 4 MiB of <c>0,</c> would be two million dead letters.</summary>
    public int MaxBatchEvents { get; init; } = 10_000;

    /// <summary>Largest <c>context</c> of a batch, bytes. 256 to 32,768, default 8,192: it is stored again with each event that has none (SDKs send about 100 bytes). Beyond it those events are dead letters; together the copies stay below <see cref="MaxRequestBytes"/>, else the request is refused with 413.</summary>
    public int MaxBatchContextBytes { get; init; } = 8_192;

    /// <summary>Bytes of an event kept in its dead letter. 32,768 to 900,000, default 262,144: Kafka takes 1 MB a record. What is cut off was too large to be sent again anyway.</summary>
    public int MaxDeadLetterBytes { get; init; } = 262_144;

    /// <summary>Memory for request bodies, bytes. 16 MiB to 8 GiB, default 256 MiB. Beyond it the answer is 429.</summary>
    public long MaxBytesInFlight { get; init; } = 256L << 20;

    /// <summary>Requests that wait for the log. 1 to 100,000, default 4,096. Beyond it the answer is 429.</summary>
    public int MaxWaitingRequests { get; init; } = 4_096;

    /// <summary>Open connections. 10 to 1,000,000, default 20,000: about 10 KB each while idle.</summary>
    public int MaxConnections { get; init; } = 20_000;

    /// <summary>How long a request waits for the log after its body came, for room and for the commit together. 1 to 60 s, default 8 s: analytics-node waits 10 s for an answer. Then 429.</summary>
    public TimeSpan DurableTimeout { get; init; } = TimeSpan.FromSeconds(8);

    /// <summary>Slowest body, bytes a second over 10 s. 0 (off) to 1,000,000, default 240 (Kestrel's own).</summary>
    public int MinBodyBytesPerSecond { get; init; } = 240;

    /// <summary>Smallest Retry-After. 1 to 300 s, default 10 s: a shorter one brings everybody back into the same trouble.</summary>
    public TimeSpan RetryAfterMin { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Largest Retry-After. <see cref="RetryAfterMin"/> to 300 s (analytics-node's cap), default 30 s. The answer is random between the two, so that clients do not come back at once.</summary>
    public TimeSpan RetryAfterMax { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Events a second from one source; 0 (default): no limit. 10 s of it may come at once. Beyond it the answer is 429.</summary>
    public int MaxEventsPerSecondOfSource { get; init; }

    /// <summary>Origins of browsers that may send, for example <c>https://shop.example.com</c>. Empty (default): every origin, as SDKs expect.</summary>
    public IReadOnlyList<string> AllowedOrigins { get; init; } = [];

    /// <summary>Address that clients use, for the settings documents, for example <c>https://cdp.example.com</c>. Null (default): host and scheme of the request; behind a proxy that ends TLS that is http, which browsers on https pages refuse, so set it there.</summary>
    public string? PublicUrl { get; init; }

    /// <summary>Events in one request of analytics-next, told by its settings document. 0: it sends each event alone, with a preflight for each path. Default 10.</summary>
    public int BrowserBatchSize { get; init; } = 10;

    /// <summary>Every broken rule, each with its key, its value and what is allowed. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        foreach ((string key, long value, long min, long max) in new (string, long, long, long)[]
        {
            (nameof(MaxRequestBytes), MaxRequestBytes, 64 << 10, 64 << 20),
            (nameof(MaxBatchEvents), MaxBatchEvents, 1, 1_000_000),
            (nameof(MaxBatchContextBytes), MaxBatchContextBytes, 256, EventReader.MaxBytes),
            (nameof(MaxDeadLetterBytes), MaxDeadLetterBytes, EventReader.MaxBytes, 900_000),
            (nameof(MaxBytesInFlight), MaxBytesInFlight, 16L << 20, 8L << 30),
            (nameof(MaxWaitingRequests), MaxWaitingRequests, 1, 100_000),
            (nameof(MaxConnections), MaxConnections, 10, 1_000_000),
            (nameof(DurableTimeout), (long)DurableTimeout.TotalSeconds, 1, 60),
            (nameof(MinBodyBytesPerSecond), MinBodyBytesPerSecond, 0, 1_000_000),
            (nameof(RetryAfterMin), (long)RetryAfterMin.TotalSeconds, 1, 300),
            (nameof(RetryAfterMax), (long)RetryAfterMax.TotalSeconds, (long)RetryAfterMin.TotalSeconds, 300),
            (nameof(MaxEventsPerSecondOfSource), MaxEventsPerSecondOfSource, 0, 10_000_000),
            (nameof(BrowserBatchSize), BrowserBatchSize, 0, 100),
        })
        {
            if (value < min || value > max)
            {
                yield return $"{Section}:{key} is {value}; allowed are {min} to {max}.";
            }
        }

        if (PublicUrl is not null && !(Uri.TryCreate(PublicUrl, UriKind.Absolute, out Uri? url) && url.Scheme is "http" or "https"))
        {
            yield return $"{Section}:{nameof(PublicUrl)} is \"{PublicUrl}\"; allowed is an address such as https://cdp.example.com.";
        }
    }
}
