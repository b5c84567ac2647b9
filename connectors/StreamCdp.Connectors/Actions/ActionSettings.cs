using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Actions;

/// <summary>What a destination does for people, and how fast.</summary>
internal sealed record ActionSettings
{
    /// <summary>Id of the model; of a CRM with <c>:actions</c> behind it.</summary>
    public required string Id { get; init; }

    /// <summary>Kind of the model, for example email.</summary>
    public required string Kind { get; init; }

    /// <summary>Where it is, as shown to people: nothing that is a secret.</summary>
    public string Target { get; init; } = "";

    /// <summary>What it does.</summary>
    public required IReadOnlyList<ActionDefinition> Actions { get; init; }

    /// <summary>How often at most for one person, all actions together; null: no limit.</summary>
    public ActionLimit? AtMost { get; init; }

    /// <summary>What people must have consented to; null: nothing.</summary>
    public ConsentDefinition? Consent { get; init; }

    /// <summary>Where a person takes the consent back; null: nowhere.</summary>
    public Func<string, Uri>? UnsubscribeUrl { get; init; }

    /// <summary>Calls of a batch at most.</summary>
    public int BatchLimit { get; init; } = 20;

    /// <summary>The first wait after an outage; it doubles, with jitter.</summary>
    public TimeSpan FirstWait { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest wait that the kit chooses.</summary>
    public TimeSpan LongestWait { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>How long a call under way may take when the process stops.</summary>
    public TimeSpan StopWait { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>One that could not be done for so long becomes a dead letter.</summary>
    public TimeSpan GiveUpAfter { get; init; } = TimeSpan.FromDays(1);
}
