using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

/// <summary>HubSpot's objects as records.</summary>
/// <remarks>Deals get, besides their own properties, the names that all CRMs share: name, stage and pipeline (labels), stage_id, pipeline_id, status, currency, close_date.</remarks>
internal sealed class HubSpotRecords(string kindName, CrmObject kind, string idProperty, SortedDictionary<string, HubSpotDefinition> definitions, IReadOnlyList<string>? chosen, IReadOnlyCollection<string> also, IReadOnlyList<HubSpotStage> stages, HubSpotActivity? activity = null)
{
    /// <summary>Names that all CRMs share, and HubSpot's own for them, which has the value.</summary>
    public static readonly (string Shared, string Own)[] DealNames = [("name", "dealname"), ("currency", "deal_currency_code"), ("close_date", "closedate"), ("stage_id", "dealstage"), ("pipeline_id", "pipeline")];

    private static readonly string[] s_needed = ["hs_object_id", "hs_merged_object_ids", "hs_calculated_merged_vids", "email", "hs_additional_emails", "dealname", "dealstage", "pipeline", "amount", "closedate", "deal_currency_code"];

    private readonly List<HubSpotDefinition> _read = [.. definitions.Values.Where(definition => IsChosen(kind, idProperty, chosen, definition.Name) || also.Contains(definition.Name, StringComparer.Ordinal))];

    public CrmObject Kind => kind;

    /// <summary>contacts, companies, deals, or a type of activities.</summary>
    public string KindName => kindName;

    public IReadOnlyDictionary<string, HubSpotDefinition> Definitions => definitions;

    public IReadOnlyList<HubSpotStage> Stages => stages;

    /// <summary>Names to ask for. Of activities always whose they are: an action may have made that property since the definitions were read, and HubSpot ignores names that it does not know.</summary>
    public IEnumerable<string> Read => activity is null ? _read.Select(definition => definition.Name) : _read.Select(definition => definition.Name).Append(idProperty).Distinct(StringComparer.Ordinal);

    public static string NameOf(CrmObject kind) => kind switch
    {
        CrmObject.Contact => "contacts",
        CrmObject.Company => "companies",
        CrmObject.Deal => "deals",
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "This connector has contacts, companies, deals, and activities by their type."),
    };

    /// <summary>Of contacts it has another name.</summary>
    public static string ModifiedName(CrmObject kind) => kind == CrmObject.Contact ? "lastmodifieddate" : "hs_lastmodifieddate";

    /// <summary>HubSpot's own id.</summary>
    public static string Id(JsonElement json) => json.GetProperty("id").ToString();

    /// <summary>The kit's id of one of HubSpot's.</summary>
    public string IdOf(string id) => activity?.Id(id) ?? id;

    /// <summary>What is not there any more.</summary>
    public CrmRecord Gone(string id, string? mergedInto) => new() { Kind = kind, Id = IdOf(id), IsDeleted = true, MergedInto = mergedInto is null ? null : IdOf(mergedInto) };

    public static string? Value(JsonElement json, string property) =>
        json.TryGetProperty("properties", out JsonElement properties) && properties.TryGetProperty(property, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    /// <summary>When it was changed last, milliseconds: what the search is sorted by.</summary>
    public long ModifiedMs(JsonElement json) =>
        (Value(json, ModifiedName(kind)) is { } text ? HubSpotDefinition.Instant(text) : null ?? Instant(json, "updatedAt"))?.ToUnixTimeMilliseconds() ?? 0;

    /// <summary>Ids that became part of this one.</summary>
    public static IEnumerable<string> MergedIds(JsonElement json) =>
        Split(Value(json, "hs_merged_object_ids")).Concat(Split(Value(json, "hs_calculated_merged_vids")).Select(entry => entry.Split(':')[0])); // "id:when".

    public static string[] Split(string? text) => text?.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) ?? [];

    public CrmRecord Record(JsonElement json, IReadOnlyList<string> contactIds)
    {
        Dictionary<string, JsonElement> fields = activity?.Read(json, definitions) ?? new(_read.Count + 8, StringComparer.Ordinal);
        foreach (HubSpotDefinition definition in activity is null ? _read : [])
        {
            fields[definition.Name] = definition.Read(Value(json, definition.Name));
        }

        if (kind == CrmObject.Deal)
        {
            AddDealNames(json, fields);
        }

        fields.Remove(ModifiedName(kind)); // Stands in ModifiedAt. It changes with every write, so that our own would look like somebody's.
        return new CrmRecord
        {
            Kind = kind,
            Id = IdOf(Id(json)),
            CreatedAt = Instant(json, "createdAt"),
            ModifiedAt = DateTimeOffset.FromUnixTimeMilliseconds(ModifiedMs(json)),
            IsDeleted = json.TryGetProperty("archived", out JsonElement archived) && archived.ValueKind == JsonValueKind.True,
            ExternalId = Value(json, idProperty) is { Length: > 0 } external ? external : null,
            Fields = fields,
            ContactIds = contactIds,
            Revision = Revision(json),
        };
    }

    /// <summary>
    /// What people and programs can write, hashed. Not the time of the last change: HubSpot moves that for values that it computes itself, which would make every write stale, and two changes can have the same millisecond.
    /// </summary>
    private string Revision(JsonElement json)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (HubSpotDefinition definition in _read)
        {
            if (!definition.IsReadOnly && IsChosen(kind, idProperty, chosen, definition.Name) && Value(json, definition.Name) is { Length: > 0 } value)
            {
                hash.AppendData(Encoding.UTF8.GetBytes($"{definition.Name.Length} {definition.Name}{value.Length} {value}"));
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, 16));
    }

    private void AddDealNames(JsonElement json, Dictionary<string, JsonElement> fields)
    {
        string? pipelineId = Value(json, "pipeline");
        string? stageId = Value(json, "dealstage");
        HubSpotStage? stage = stages.FirstOrDefault(found => found.Id == stageId && found.PipelineId == pipelineId) ?? stages.FirstOrDefault(found => found.Id == stageId);
        foreach ((string shared, string own) in DealNames)
        {
            fields[shared] = definitions.TryGetValue(own, out HubSpotDefinition? definition) ? definition.Read(Value(json, own)) : HubSpotDefinition.Json(Value(json, own));
        }

        fields["stage"] = HubSpotDefinition.Json(stage?.Label ?? stageId);
        fields["pipeline"] = HubSpotDefinition.Json(stage?.PipelineLabel ?? stages.FirstOrDefault(found => found.PipelineId == pipelineId)?.PipelineLabel ?? pipelineId);
        fields["status"] = HubSpotDefinition.Json(stage?.Status ?? "open");
        fields.TryAdd("amount", HubSpotDefinition.Json(null));
    }

    private static bool IsChosen(CrmObject kind, string idProperty, IReadOnlyList<string>? chosen, string name) =>
        chosen is null || name == idProperty || name == ModifiedName(kind) || s_needed.Contains(name, StringComparer.Ordinal) || chosen.Contains(name, StringComparer.Ordinal);

    private static DateTimeOffset? Instant(JsonElement json, string name) =>
        json.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String && DateTimeOffset.TryParse(value.GetString(), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out DateTimeOffset at) ? at : null;
}
