using System.Text.Json;

namespace StreamCdp.Connectors.Crm;

/// <summary>A record as the CRM had it at one instant.</summary>
public sealed record CrmRecord
{
    /// <summary>What it is.</summary>
    public required CrmObject Kind { get; init; }

    /// <summary>Id in the CRM, 1 to 100 characters; unique within account and object.</summary>
    public required string Id { get; init; }

    /// <summary>When it was made, by the CRM's clock; null: unknown.</summary>
    public DateTimeOffset? CreatedAt { get; init; }

    /// <summary>When it, or a part of it, was changed last, by the CRM's clock; null: unknown.</summary>
    public DateTimeOffset? ModifiedAt { get; init; }

    /// <summary>It is gone: deleted, archived, or merged (<see cref="MergedInto"/>).</summary>
    public bool IsDeleted { get; init; }

    /// <summary>The record of the same object that took it over; null: none.</summary>
    public string? MergedInto { get; init; }

    /// <summary>StreamCdp's id that an earlier <see cref="CrmWrite"/> gave it: a canonical profile id; null: none.</summary>
    public string? ExternalId { get; init; }

    /// <summary>
    /// Fields by the CRM's own names. Values are JSON text, numbers, booleans, null, or lists of them, by the field's type and not as the wire has them: a number
    /// that the wire carries as text is a number here, an instant is ISO 8601 text in UTC. A field that has no value is null; one that is not there does not exist for this account.
    /// </summary>
    /// <remarks>A deal has at least <c>name, stage, pipeline, amount, currency</c> and <c>status</c> (open, won, lost); an activity <c>kind</c> (call, email, meeting, note, task), <c>subject</c>, <c>at</c>.</remarks>
    public IReadOnlyDictionary<string, JsonElement> Fields { get; init; } = new Dictionary<string, JsonElement>();

    /// <summary>Contacts that a deal, activity or company belongs to, the main one first.</summary>
    public IReadOnlyList<string> ContactIds { get; init; } = [];

    /// <summary>For a write that must fail where somebody changed the record since; opaque. Null: the CRM has nothing of the kind.</summary>
    public string? Revision { get; init; }
}
