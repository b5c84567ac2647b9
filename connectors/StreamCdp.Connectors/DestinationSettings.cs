using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors;

/// <summary>What a destination gets, and how fast.</summary>
internal sealed record DestinationSettings
{
    /// <summary>Id of the model.</summary>
    public required string Id { get; init; }

    /// <summary>Kind of the model, for example webhook.</summary>
    public required string Kind { get; init; }

    /// <summary>Where it sends, as shown to people: nothing that is a secret.</summary>
    public string Target { get; init; } = "";

    /// <summary>Only these segments; null: all.</summary>
    public IReadOnlySet<string>? Segments { get; init; }

    /// <summary>Gets entered and exited.</summary>
    public bool SendsMemberships { get; init; } = true;

    /// <summary>Gets profile.</summary>
    public bool SendsProfiles { get; init; }

    /// <summary>Mapped fields, in the model's order; empty: no mapping.</summary>
    public IReadOnlyList<FieldDefinition> Fields { get; init; } = [];

    /// <summary>Changes of a batch at most.</summary>
    public int BatchLimit { get; init; } = 100;

    /// <summary>How long the first change of a batch waits for others.</summary>
    public TimeSpan BatchAge { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Requests a second at most, all counted: also those that are tried again.</summary>
    public double RequestsPerSecond { get; init; } = 50;

    /// <summary>The first wait after an outage; it doubles, with jitter.</summary>
    public TimeSpan FirstWait { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait that the kit chooses.</summary>
    public TimeSpan LongestWait { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How long a request under way may take when the process stops.</summary>
    public TimeSpan StopWait { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>What people must have consented to; null: nothing.</summary>
    public ConsentDefinition? Consent { get; init; }

    /// <summary>A new one begins paused, so that somebody looks first at what it would send.</summary>
    public bool StartsPaused { get; init; }

    /// <summary>A new one begins with what comes from now on; else with everybody who is a member already.</summary>
    public bool BeginsAtEnd { get; init; }

    /// <summary>Profiles whose newest version is remembered for each log, so that repeats are dropped; the engine repeats what it wrote since its last checkpoint.</summary>
    public int RememberedProfiles { get; init; } = 100_000;
}
