using System.Text.Json;

namespace StreamCdp.Connectors.Crm;

/// <summary>A change of one record, or a new one.</summary>
public sealed record CrmWrite
{
    /// <summary>What it is.</summary>
    public required CrmObject Kind { get; init; }

    /// <summary>The record to change; null: make one, unless a record that is not deleted carries <see cref="ExternalId"/> already: then change that, so that a write that comes again after a crash makes no second one.</summary>
    public string? Id { get; init; }

    /// <summary>StreamCdp's id, a canonical profile id: is stored in the record. Null: leave what it has.</summary>
    public string? ExternalId { get; init; }

    /// <summary>Where a record carries <see cref="ExternalId"/> already, it stays as it is, and the outcome is done: somebody may have changed it since it was made.</summary>
    public bool OnlyIfNew { get; init; }

    /// <summary>Fields to set, as in <see cref="CrmRecord.Fields"/>; JSON null empties one. Others stay.</summary>
    public IReadOnlyDictionary<string, JsonElement> Fields { get; init; } = new Dictionary<string, JsonElement>();

    /// <summary>Contacts that a deal or activity that is made belongs to.</summary>
    public IReadOnlyList<string> ContactIds { get; init; } = [];

    /// <summary><see cref="CrmRecord.Revision"/> of what the change was made from: where the record is newer, it stays as it is and the outcome is <see cref="CrmOutcomeKind.Stale"/>. Null, or a CRM without revisions: last write wins.</summary>
    public string? Revision { get; init; }
}

/// <summary>What became of a <see cref="CrmWrite"/>.</summary>
public enum CrmOutcomeKind
{
    /// <summary>It was done, as far as the CRM does such things; <see cref="CrmOutcome.Record"/> says what is stored now, which the kit takes for the truth. Nothing to do is done, too.</summary>
    Done,

    /// <summary>Somebody changed the record meanwhile; nothing was written.</summary>
    Stale,

    /// <summary>There is no such record any more: deleted, or merged into <see cref="CrmRecord.MergedInto"/> of <see cref="CrmOutcome.Record"/> where that is known.</summary>
    Gone,

    /// <summary>The CRM will never take it; nothing of this write was stored, and the reason says why. With <see cref="CrmOutcome.Field"/> the kit writes the rest again without that field.</summary>
    Refused,

    /// <summary>Not now: the kit writes it again later.</summary>
    TryAgain,
}

/// <summary>What became of one write of a batch.</summary>
/// <param name="Kind">What.</param>
/// <param name="Record">After <see cref="CrmOutcomeKind.Done"/> the record as the CRM stored it, read back and not assumed; else null or what is known.</param>
/// <param name="Reason">For people, empty when done. It may quote values, so it stands in dead letters and never in a log line.</param>
/// <param name="Field">Of <see cref="CrmOutcomeKind.Refused"/> the field of the write that is to blame, where it is known. Of <see cref="CrmOutcomeKind.Done"/> null, or a field that is stored otherwise than it was written (rounded, ignored): for people.</param>
public sealed record CrmOutcome(CrmOutcomeKind Kind, CrmRecord? Record = null, string Reason = "", string? Field = null);
