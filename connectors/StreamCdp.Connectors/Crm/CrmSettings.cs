namespace StreamCdp.Connectors.Crm;

/// <summary>What a two-way connection does.</summary>
internal sealed record CrmSettings
{
    /// <summary>Id of the model: also the source of its events.</summary>
    public required string Id { get; init; }

    /// <summary>Kind of the model, for example tryton.</summary>
    public required string Kind { get; init; }

    /// <summary>Where it is, as shown to people: nothing that is a secret.</summary>
    public string Target { get; init; } = "";

    /// <summary>Which account it is: another one has other records under the same ids.</summary>
    public string Account { get; init; } = "";

    /// <summary>Mapped fields of contacts.</summary>
    public IReadOnlyList<FieldRule> Fields { get; init; } = [];

    /// <summary>Members of these segments get a contact where they have none; empty: none is made.</summary>
    public IReadOnlySet<string> CreateFor { get; init; } = new HashSet<string>();

    /// <summary>Segments that are lists in the CRM.</summary>
    public IReadOnlySet<string> Lists { get; init; } = new HashSet<string>();

    /// <summary>Contacts that StreamCdp made are merged in the CRM when their persons turn out to be one.</summary>
    public bool MergesOwn { get; init; } = true;

    /// <summary>Contacts that StreamCdp made are deleted in the CRM when their persons do not consent, so many a day (UTC) at most; null: none is.</summary>
    public int? DeletesAtMost { get; init; }

    /// <summary>Where it is new, it begins paused: somebody looks at its plan first.</summary>
    public bool StartsPaused { get; init; }

    /// <summary>How often it asks for what is new.</summary>
    public TimeSpan Poll { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How far each question reaches back before the last one: what was committed meanwhile carries an earlier time.</summary>
    public TimeSpan Overlap { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>How often the second reader asks, for what was committed later than <see cref="Overlap"/>.</summary>
    public TimeSpan LatePoll { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How far the second reader reaches back.</summary>
    public TimeSpan LateOverlap { get; init; } = TimeSpan.FromHours(1);

    /// <summary>How often everything is read again, and what is missing counts as deleted.</summary>
    public TimeSpan Reconcile { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Requests a second at most.</summary>
    public double RequestsPerSecond { get; init; } = 10;

    /// <summary>Changed profiles of one round at most.</summary>
    public int BatchLimit { get; init; } = 100;

    /// <summary>The first wait after an outage; it doubles, with jitter.</summary>
    public TimeSpan FirstWait { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait that the kit chooses.</summary>
    public TimeSpan LongestWait { get; init; } = TimeSpan.FromMinutes(5);
}
