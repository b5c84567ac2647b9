using System.Text.Json;
using System.Text.Json.Serialization;

namespace StreamCdp.Connectors.Crm;

/// <summary>What is known of one record of the CRM, and what was agreed on with its profile.</summary>
internal sealed record CrmLink
{
    /// <summary>What it is.</summary>
    [JsonIgnore]
    public CrmObject Kind { get; set; }

    /// <summary>Id in the CRM.</summary>
    [JsonIgnore]
    public string Id { get; set; } = "";

    /// <summary>Canonical id of the profile that it was last seen to belong to; null: nobody's.</summary>
    [JsonIgnore]
    public string? Profile { get; set; }

    /// <summary>It is gone. The row stays, so that it is not made again.</summary>
    [JsonIgnore]
    public bool IsDeleted { get; set; }

    /// <summary>StreamCdp made the record.</summary>
    public bool IsOurs { get; set; }

    /// <summary>Somebody else has a part in it: it was merged in the CRM, or became part of a contact that a person made. It is never deleted.</summary>
    public bool IsShared { get; set; }

    /// <summary>It is to be deleted, on another day.</summary>
    public bool AwaitsDelete { get; set; }

    /// <summary>The day (UTC, 2026-11-25) on which its deletion by StreamCdp was begun, and counted; null: it was not.</summary>
    public string? DeleteDay { get; set; }

    /// <summary>The CRM refused to delete it as it is.</summary>
    public bool IsDeleteRefused { get; set; }

    /// <summary>It is gone because StreamCdp deleted it: a person's contact may be made again.</summary>
    [JsonIgnore]
    public bool IsRemoved => IsDeleted && DeleteDay is not null;

    /// <summary>It may be deleted, where its person does not consent.</summary>
    [JsonIgnore]
    public bool IsDeletable => Kind == CrmObject.Contact && IsOurs && !IsShared && !IsDeleted && !IsDeleteRefused;

    /// <summary>What was seen is not settled with the profile yet: a round was cut off.</summary>
    public bool IsOpen { get; set; }

    /// <summary>Fields as last seen in the CRM.</summary>
    public Dictionary<string, JsonElement> Seen { get; set; } = [];

    /// <summary>Of all that was last seen: the same hash is the same record.</summary>
    public string Hash { get; set; } = "";

    /// <summary>Contacts that it belonged to when last seen.</summary>
    public List<string> ContactIds { get; set; } = [];

    /// <summary>Revision of the CRM when last seen.</summary>
    public string? Revision { get; set; }

    /// <summary>When the CRM's record was changed last, as last seen.</summary>
    public DateTimeOffset? ModifiedAt { get; set; }

    /// <summary>Bases of the three-way merge, by field.</summary>
    public Dictionary<string, AgreedPair> Agreed { get; set; } = [];

    /// <summary>Lists that it was put on.</summary>
    public List<string> Lists { get; set; } = [];

    /// <summary>Lists of which it is not known whether it is on them: a change was begun and not ended, or a merge brought it there. They are said again.</summary>
    public List<string> UnsureLists { get; set; } = [];

    /// <summary>Number of events written of it: part of their messageIds, so that a value that comes back later is no repeat.</summary>
    public long Sequence { get; set; }

    /// <summary>Time of its latest event, Unix ms: events of a record are in strict order.</summary>
    public long EmittedMs { get; set; }
}

[JsonSerializable(typeof(CrmLink))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
internal sealed partial class LinkJson : JsonSerializerContext;
