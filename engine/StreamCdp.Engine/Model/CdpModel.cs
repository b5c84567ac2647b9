namespace StreamCdp.Engine.Model;

/// <summary>A checked cdp.yaml (DESIGN §5.2): what exists, with every expression parsed and type-checked.</summary>
public sealed record CdpModel
{
    /// <summary>The text it was read from, without the secrets written into it: it travels in the log <c>models</c>.</summary>
    public required string Text { get; init; }

    /// <summary>First 8 bytes of the SHA-256 of <see cref="Text"/>; two models with the same text have the same version.</summary>
    public required ulong Version { get; init; }

    /// <summary>Where events come from.</summary>
    public IReadOnlyList<SourceDefinition> Sources { get; init; } = [];

    /// <summary>Who may ask the query API.</summary>
    public IReadOnlyList<ApiKeyDefinition> ApiKeys { get; init; } = [];

    /// <summary>Identifier types in order of priority (RULES.md §1.1).</summary>
    public IReadOnlyList<IdentifierDefinition> Identifiers { get; init; } = [];

    /// <summary>Declared traits; a trait that is not declared is <see cref="TraitMerge.Latest"/> and comes from identify.</summary>
    public IReadOnlyList<TraitDefinition> Traits { get; init; } = [];

    /// <summary>Computed traits, in the file's order.</summary>
    public IReadOnlyList<ComputedDefinition> Computed { get; init; } = [];

    /// <summary>Segments, in an order in which each comes after those that it uses by in_segment.</summary>
    public IReadOnlyList<SegmentDefinition> Segments { get; init; } = [];

    /// <summary>Where changes go, in the file's order.</summary>
    public IReadOnlyList<DestinationDefinition> Destinations { get; init; } = [];

    /// <summary>Purposes and where the consent to them stands.</summary>
    public IReadOnlyList<ConsentDefinition> Consents { get; init; } = [];

    /// <summary><c>backfill: auto</c>: history is counted for new rules before they are served.</summary>
    public bool BackfillsItself { get; init; }
}

/// <summary>A source of events. <c>write_key: env:NAME</c> is resolved when the model is read.</summary>
/// <param name="Id">Name, also the <c>source</c> in provenance and metrics.</param>
/// <param name="WriteKey">The secret that its clients send; null: no HTTP client can write to it.</param>
/// <param name="Kind">website, app, server, import, crm, …</param>
/// <param name="Trusted">False for website and app, whose key everybody can read (RULES.md §3.3).</param>
public sealed record SourceDefinition(string Id, string? WriteKey, string Kind, bool Trusted);

/// <summary>A key of the query API.</summary>
/// <param name="Id">Name for logs and receipts.</param>
/// <param name="Key">The secret.</param>
/// <param name="Scopes">Some of read, write, admin.</param>
public sealed record ApiKeyDefinition(string Id, string Key, IReadOnlyList<string> Scopes);

/// <summary>A type of identifier.</summary>
public sealed record IdentifierDefinition
{
    /// <summary>For example user_id, email, anonymous_id.</summary>
    public required string Type { get; init; }

    /// <summary>How many values a profile may have by linking (RULES.md §3.1).</summary>
    public required int Limit { get; init; }

    /// <summary>Paths in the event, for example ["traits","email"], after the type's own place.</summary>
    public IReadOnlyList<string[]> From { get; init; } = [];

    /// <summary>How the text is normalised.</summary>
    public IdentifierNormalization Normalize { get; init; }

    /// <summary>Region of E.164 numbers without country code, for example DE; null: such numbers are invalid.</summary>
    public string? DefaultCountry { get; init; }

    /// <summary><c>merge_by: server</c>: events of public sources cannot join known people by it (RULES.md §3.3).</summary>
    public bool MergeByServer { get; init; }

    /// <summary>Values that are not identifiers, compared after normalisation, exactly.</summary>
    public IReadOnlyList<string> Blocked { get; init; } = [];

    /// <summary>Regular expressions that must match a whole value to block it.</summary>
    public IReadOnlyList<string> BlockedPatterns { get; init; } = [];

    /// <summary>The defaults of RULES.md §1.4 are on.</summary>
    public bool BlockedDefaults { get; init; } = true;
}

/// <summary>Normalisation of an identifier's text (RULES.md §1.3).</summary>
public enum IdentifierNormalization
{
    /// <summary>Trimmed only.</summary>
    None,

    /// <summary>Lower case, one @.</summary>
    Email,

    /// <summary>E.164 phone number.</summary>
    E164,
}

/// <summary>How a trait's writes become one value (RULES.md §5.2).</summary>
public enum TraitMerge
{
    /// <summary>The write that is highest in order.</summary>
    Latest,

    /// <summary>The write that is lowest in order.</summary>
    First,

    /// <summary>The smallest JSON number.</summary>
    Min,

    /// <summary>The largest JSON number.</summary>
    Max,

    /// <summary>The set of all scalars.</summary>
    Union,
}

/// <summary>A declared trait.</summary>
/// <param name="Name">Top-level key.</param>
/// <param name="Merge">How writes become one value.</param>
/// <param name="Prefer">Source ids or kinds, best first; empty: all alike.</param>
/// <param name="From">The only path it is read from, of every event type; null: from identify's traits.</param>
public sealed record TraitDefinition(string Name, TraitMerge Merge, IReadOnlyList<string> Prefer, string[]? From);

/// <summary>A computed trait: <c>orders_90d: { value: 'count("Order Completed", within: 90d)' }</c>.</summary>
public sealed record ComputedDefinition(string Name, Expression Value);

/// <summary>A segment.</summary>
/// <param name="Id">Key in cdp.yaml.</param>
/// <param name="Name">For people; the id where none is given.</param>
/// <param name="When">Member as long as this is true.</param>
/// <param name="Version">First 8 bytes of the SHA-256 of the rule's normal text (and those of segments it uses): changes when the meaning may have changed.</param>
public sealed record SegmentDefinition(string Id, string Name, Expression When, ulong Version)
{
    /// <summary>The API wrote it; cdp.yaml does not have it.</summary>
    public bool IsOfApi { get; init; }
}
