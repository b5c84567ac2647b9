using System.Text.Json;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>What drives <c>now</c> (RULES.md §4.3).</summary>
internal enum OracleClock
{
    /// <summary>Ticks, and the event times applied.</summary>
    Wall,

    /// <summary>The latest event time of the accepted events.</summary>
    Event,
}

/// <summary>One record of the log <c>events</c>, as it was received.</summary>
internal sealed record OracleEvent
{
    public required string Json { get; init; }

    public required long ReceivedAtMs { get; init; }

    /// <summary><c>sentAt</c> of its batch, already read.</summary>
    public long? BatchSentAtMs { get; init; }

    /// <summary>From the command import, or a Kafka record without receivedAt: the client's time is taken as it is.</summary>
    public bool Import { get; init; }

    public required string SourceId { get; init; }

    /// <summary><c>context</c> of its batch: the event's where the event has none.</summary>
    public string? BatchContextJson { get; init; }
}

/// <summary>What became of an event.</summary>
internal enum OracleVerdict
{
    DeadLetter,
    Repeat,
    Applied,
}

/// <summary>What became of an event.</summary>
/// <param name="Verdict">One of three.</param>
/// <param name="Field">The bad field of a dead letter; null where it is the event as a whole.</param>
/// <param name="Reason">Why it is a dead letter, for people.</param>
/// <param name="Person">Whom it counted for, as of then; follow <see cref="OraclePerson.Current"/>.</param>
internal sealed record OracleOutcome(OracleVerdict Verdict, string? Field, string? Reason, OraclePerson? Person);

/// <summary>Why a membership changed.</summary>
internal enum OracleReason
{
    /// <summary>An event that merged nobody.</summary>
    Event,

    /// <summary>An event that merged at least one other profile into this one.</summary>
    Merge,

    /// <summary>Time passed.</summary>
    Time,

    /// <summary>The model changed. The oracle has one model; kept so that the words are the engine's.</summary>
    Edit,
}

/// <summary>A membership began or ended.</summary>
internal sealed record OracleChange(string Segment, bool Entered, long AtMs, string? Cause, OracleReason Reason);

/// <summary>An identifier, normalised.</summary>
internal readonly record struct OracleIdentifier(string Type, string Value)
{
    public override string ToString() => $"{Type}:{Value}";
}

/// <summary>An event that was accepted, with all that its own text says.</summary>
internal sealed class OracleRecord
{
    /// <summary>Place in the log.</summary>
    public required int Log { get; init; }

    public required JsonElement Root { get; init; }

    /// <summary>Its own context, else that of the batch, else undefined.</summary>
    public required JsonElement Context { get; init; }

    public required string Type { get; init; }

    /// <summary>track: <c>event</c>; page and screen: <c>name</c>, empty where it has none; else null.</summary>
    public required string? Name { get; init; }

    public required string? MessageId { get; init; }

    public required string SourceId { get; init; }

    public required long ReceivedAtMs { get; init; }

    public required long TimeMs { get; init; }

    /// <summary>All of RULES.md §1, in order.</summary>
    public required IReadOnlyList<OracleIdentifier> Identifiers { get; init; }

    public required OracleIdentifier Sender { get; init; }

    /// <summary>Every text in it that is a date: those are the instants at which a date rule may change.</summary>
    public required IReadOnlySet<long> Dates { get; init; }

    /// <summary>The identifiers that were not left out when it was linked.</summary>
    public List<OracleIdentifier> Kept { get; } = [];

    /// <summary>The value at a path from the root; undefined where it is missing.</summary>
    public JsonElement At(IEnumerable<string> path)
    {
        JsonElement at = Root;
        bool isFirst = true;
        foreach (string key in path)
        {
            at = isFirst && key == "context" ? Context : Child(at, key);
            isFirst = false;
        }

        return at;
    }

    public static JsonElement Child(JsonElement parent, string key) =>
        parent.ValueKind == JsonValueKind.Object && parent.TryGetProperty(key, out JsonElement child) ? child : default;

    public static bool IsAbsent(JsonElement value) => value.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null;
}

/// <summary>A person with the full list of events.</summary>
internal sealed class OraclePerson
{
    /// <summary>Stable; given at the first event, 0 before.</summary>
    public int Id { get; set; }

    /// <summary>Number of the first decision on it; null: never decided.</summary>
    public int? Epoch { get; set; }

    /// <summary>In order of joining.</summary>
    public List<OracleIdentifier> Identifiers { get; } = [];

    /// <summary>In order (RULES.md §4.2).</summary>
    public List<OracleRecord> Events { get; } = [];

    /// <summary>Segment → since.</summary>
    public Dictionary<string, long> Memberships { get; } = [];

    /// <summary>All changes ever; those of a loser stay with the loser.</summary>
    public List<OracleChange> Changes { get; } = [];

    /// <summary>Everybody that became this person, those of the losers included.</summary>
    public List<int> MergedFrom { get; } = [];

    public OraclePerson? MergedInto { get; set; }

    /// <summary>All instants up to and including this one are evaluated.</summary>
    public long EvaluatedThroughMs { get; set; } = long.MinValue;

    /// <summary>The person it is by now.</summary>
    public OraclePerson Current => MergedInto is null ? this : MergedInto.Current;

    /// <summary>Earliest event time, which is also activity.first_seen.</summary>
    public long CreatedAtMs => Events.Min(e => e.TimeMs);

    public long LastSeenMs => Events.Max(e => e.TimeMs);

    /// <summary>First and last event time, and the source of the event lowest in order, over the events that kept the identifier.</summary>
    public (long FirstMs, long LastMs, string Source) Seen(OracleIdentifier identifier)
    {
        List<OracleRecord> naming = [.. Events.Where(e => e.Kept.Contains(identifier))];
        return (naming[0].TimeMs, naming[^1].TimeMs, naming[0].SourceId);
    }
}
