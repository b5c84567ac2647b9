using Prometheus;

namespace StreamCdp.Connectors;

/// <summary>Metrics of the connectors (DESIGN §5.5). Labels are ids of the model: no personal data.</summary>
internal sealed class ConnectorMetrics
{
    private readonly Counter _requests;
    private readonly Gauge _lag;
    private readonly Counter _rateLimited;
    private readonly Counter _actions;
    private readonly Counter _conflicts;
    private readonly Counter _deletes;

    /// <summary>Registers them; a second instance on one registry shares them with the first.</summary>
    public ConnectorMetrics(CollectorRegistry registry)
    {
        MetricFactory factory = Metrics.WithCustomRegistry(registry);
        _requests = factory.CreateCounter("streamcdp_connector_requests_total", "Requests to a destination, by outcome: taken, partial (some refused or to try again), refused, unavailable.", ["connector", "outcome"]);
        _lag = factory.CreateGauge("streamcdp_connector_lag_seconds", "How long the oldest change that is not dealt with has been in the log, seconds (direction out), or since when a CRM was not asked for news to the end (direction in).", ["connector", "direction"]);
        _rateLimited = factory.CreateCounter("streamcdp_connector_rate_limited_total", "Requests that waited for the destination's own rate, or were answered with too many requests.", ["connector"]);
        _actions = factory.CreateCounter("streamcdp_actions_total", "Actions that came to their turn, by outcome: done, refused, and not done because not_member (the membership ended while it waited), no_consent, capped, repeat (done for this membership already), no_target (the person has no address there), dead_target (the other side said that it is nobody's), unknown (nobody knows the profile or the action any more).", ["connector", "action", "outcome"]);
        _conflicts = factory.CreateCounter("streamcdp_connector_conflicts_total", "Fields of a CRM that both sides had changed to different values: one of them was lost.", ["connector"]);
        _deletes = factory.CreateCounter("streamcdp_connector_deletes_total", "Contacts that were deleted in a CRM, because their persons do not consent.", ["connector"]);
    }

    /// <summary>Gives a destination its series, at 0: so the first failure is an increase, which an alert sees.</summary>
    public void Begin(string connector)
    {
        foreach (string outcome in (string[])["taken", "partial", "refused", "unavailable"])
        {
            Requests(connector, outcome);
        }

        RateLimited(connector);
        LagOut(connector);
    }

    /// <summary>As <see cref="Begin"/>, for a CRM.</summary>
    public void BeginCrm(string connector)
    {
        Begin(connector);
        Conflicts(connector);
        Deletes(connector);
    }

    /// <summary>The counter of one outcome.</summary>
    public Counter.Child Requests(string connector, string outcome) => _requests.WithLabels(connector, outcome);

    /// <summary>The gauge of one destination.</summary>
    public Gauge.Child LagOut(string connector) => _lag.WithLabels(connector, "out");

    /// <summary>The gauge of one CRM.</summary>
    public Gauge.Child LagIn(string connector) => _lag.WithLabels(connector, "in");

    /// <summary>The counter of one destination.</summary>
    public Counter.Child RateLimited(string connector) => _rateLimited.WithLabels(connector);

    /// <summary>The counter of one CRM.</summary>
    public Counter.Child Deletes(string connector) => _deletes.WithLabels(connector);

    /// <summary>The counter of one CRM.</summary>
    public Counter.Child Conflicts(string connector) => _conflicts.WithLabels(connector);

    /// <summary>The counter of one outcome of an action.</summary>
    public Counter.Child Actions(string connector, string action, string outcome) => _actions.WithLabels(connector, action, outcome);
}
