using Prometheus;
using StreamCdp.Engine.Observability;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>What the collector counts (DESIGN §5.5). Labels are names from the model and words from the code, never what a client sent.</summary>
internal sealed class CollectCounters
{
    private readonly Counter _received;
    private readonly Counter _deadLetters;
    private readonly Counter _requests;
    private readonly Counter.Child[] _deadLettersByProblem;
    private readonly Counter.Child[] _requestsByOutcome;

    /// <param name="registry">Where the metrics live; asking it twice for the same metric gives the same.</param>
    public CollectCounters(CollectorRegistry registry)
    {
        MetricFactory metrics = Metrics.WithCustomRegistry(registry);
        _received = metrics.CreateCounter("streamcdp_events_received_total", "Events that the collector took, by source.", "source");
        _deadLetters = metrics.CreateCounter("streamcdp_dead_letters_total", "Events that could not be used, by reason.", "reason");
        _requests = metrics.CreateCounter("streamcdp_collect_requests_total", "Requests to the collector, by outcome.", "outcome");
        Retries = metrics.CreateCounter("streamcdp_collect_retries_total", "Requests that a client sent again (X-Retry-Count above 0): shows trouble on the clients' side.");
        InvalidIdentifiers = metrics.CreateCounter("streamcdp_collect_identifiers_invalid_total", "Identifiers dropped because they are no value of their type.");
        BlockedIdentifiers = metrics.CreateCounter("streamcdp_collect_identifiers_blocked_total", "Identifiers dropped because they are blocked.");
        Waiting = metrics.CreateGauge("streamcdp_collect_waiting_requests", "Requests that wait for the log.");
        BytesInFlight = metrics.CreateGauge("streamcdp_collect_bytes_in_flight", "Memory of request bodies.");
        Latency = EngineMetrics.StageLatencyIn(registry).WithLabels("collect");
        _deadLettersByProblem = [.. Enum.GetValues<EventProblem>().Select(problem => _deadLetters.WithLabels(problem == EventProblem.None ? "other" : problem.Reason()))];
        _requestsByOutcome = [.. Enum.GetValues<CollectOutcome>().Select(outcome => _requests.WithLabels(outcome.Label()))];
    }

    /// <summary>Requests sent again.</summary>
    public Counter Retries { get; }

    /// <summary>Dropped identifiers.</summary>
    public Counter InvalidIdentifiers { get; }

    /// <summary>Dropped identifiers.</summary>
    public Counter BlockedIdentifiers { get; }

    /// <summary>Requests that wait for the log.</summary>
    public Gauge Waiting { get; }

    /// <summary>Memory of request bodies.</summary>
    public Gauge BytesInFlight { get; }

    /// <summary>From the arrival of a request to its acknowledgement, seconds; what was refused is not in it.</summary>
    public Histogram.Child Latency { get; }

    /// <summary>Events received from a source of the model.</summary>
    public Counter.Child Received(string source) => _received.WithLabels(source);

    /// <summary>Dead letters with a reason.</summary>
    public Counter.Child DeadLetters(EventProblem problem) => _deadLettersByProblem[(int)problem];

    /// <summary>Requests with an outcome.</summary>
    public Counter.Child Requests(CollectOutcome outcome) => _requestsByOutcome[(int)outcome];
}

/// <summary>How a request ended.</summary>
internal enum CollectOutcome : byte
{
    /// <summary>200, durable.</summary>
    Taken,

    /// <summary>A preflight, a settings document, metrics of an SDK.</summary>
    Served,

    /// <summary>400.</summary>
    Unreadable,

    /// <summary>401.</summary>
    Unauthorized,

    /// <summary>404 or 405: a settings document for an unknown key, a wrong method.</summary>
    Refused,

    /// <summary>408: the body came too slowly.</summary>
    TooSlow,

    /// <summary>413.</summary>
    TooLarge,

    /// <summary>415: an encoding other than gzip.</summary>
    UnknownEncoding,

    /// <summary>429: the log cannot take it now.</summary>
    LogAway,

    /// <summary>429: too many requests or bytes.</summary>
    Busy,

    /// <summary>429: the source sends more than it may.</summary>
    RateLimited,

    /// <summary>The client went away.</summary>
    Aborted,
}

/// <summary>Labels of <see cref="CollectOutcome"/>.</summary>
internal static class CollectOutcomeLabel
{
    /// <summary>The label.</summary>
    public static string Label(this CollectOutcome outcome) => outcome switch
    {
        CollectOutcome.Taken => "taken",
        CollectOutcome.Served => "served",
        CollectOutcome.Unreadable => "unreadable",
        CollectOutcome.Unauthorized => "unauthorized",
        CollectOutcome.Refused => "refused",
        CollectOutcome.TooSlow => "too_slow",
        CollectOutcome.TooLarge => "too_large",
        CollectOutcome.UnknownEncoding => "unknown_encoding",
        CollectOutcome.LogAway => "log_away",
        CollectOutcome.Busy => "busy",
        CollectOutcome.RateLimited => "rate_limited",
        _ => "aborted",
    };
}
