using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

/// <summary>A write on its way.</summary>
internal sealed class HubSpotRow(int number, CrmWrite write)
{
    public CrmWrite Write => write;

    /// <summary>Comes back with what became of the row: answers are in no order.</summary>
    public string Trace { get; } = "streamcdp-" + number.ToString(CultureInfo.InvariantCulture);

    /// <summary>The record to change, also one that was only found; null: none yet.</summary>
    public string? Id { get; set; } = write.Id;

    /// <summary>Values as they go on the wire, and the field that each comes from.</summary>
    public Dictionary<string, (string Wire, string Field)> Values { get; } = new(StringComparer.Ordinal);

    /// <summary>What became of it; null: it is under way, or was sent and must be read back.</summary>
    public CrmOutcome? Outcome { get; set; }

    /// <summary>It was sent, and HubSpot said that it took it.</summary>
    public bool IsSent { get; set; }

    /// <summary>Another write of the batch has the same external id and is the later one: what becomes of that becomes of this.</summary>
    public HubSpotRow? Later { get; set; }

    public bool IsOpen => Outcome is null && !IsSent && Later is null;

    public void Refuse(string reason, string? property = null) =>
        Outcome = new CrmOutcome(CrmOutcomeKind.Refused, null, reason, property is null ? null : Values.TryGetValue(property, out (string Wire, string Field) value) ? value.Field : property);

    public JsonObject Input(string idProperty)
    {
        var properties = new JsonObject();
        foreach ((string name, (string wire, _)) in Values)
        {
            properties[name] = wire;
        }

        var input = new JsonObject { ["properties"] = properties, ["objectWriteTraceId"] = Trace };
        if (Id is not null)
        {
            input["id"] = Id;
        }
        else if (write.ExternalId is not null)
        {
            input["id"] = write.ExternalId;
            input["idProperty"] = idProperty;
        }

        return input;
    }

    /// <summary>Makes <see cref="Values"/> of the write's fields, or refuses it.</summary>
    /// <param name="records">The object.</param>
    /// <param name="idProperty">Holds the external id.</param>
    /// <param name="before">The record as it is; null: a new one.</param>
    public void Prepare(HubSpotRecords records, string idProperty, CrmRecord? before)
    {
        foreach ((string field, JsonElement value) in write.Fields)
        {
            string property = field;
            if (records.Kind == CrmObject.Deal)
            {
                if (field is "stage" or "pipeline" or "stage_id" or "pipeline_id" or "dealstage")
                {
                    continue; // Together, below.
                }

                if (field == "status")
                {
                    Refuse("status cannot be written: it follows from the stage. Write stage.", field);
                    return;
                }

                property = HubSpotRecords.DealNames.FirstOrDefault(names => names.Shared == field).Own ?? field;
            }

            if (!records.Definitions.TryGetValue(property, out HubSpotDefinition? definition))
            {
                Refuse($"HubSpot has no property {property} of {records.KindName}: make it, or take it out of the mapping.", field);
            }
            else if (definition.IsReadOnly)
            {
                Refuse($"{property} of {records.KindName} is computed by HubSpot and cannot be written.", field);
            }
            else if (!definition.TryWrite(value, out string wire))
            {
                Refuse($"{property} of {records.KindName} takes {definition.Type}, not {value.GetRawText()}.", field);
            }
            else
            {
                Values[property] = (wire, field);
            }

            if (Outcome is not null)
            {
                return;
            }
        }

        if (records.Kind == CrmObject.Deal)
        {
            PrepareStage(records, before);
        }

        if (write.ExternalId is not null)
        {
            Values[idProperty] = (write.ExternalId, idProperty);
        }

        // An address that the contact has besides its main one must not become the main one.
        if (before is not null && Values.TryGetValue("email", out (string Wire, string Field) email) && records.Kind == CrmObject.Contact && OtherEmails(before).Contains(email.Wire, StringComparer.OrdinalIgnoreCase))
        {
            Values.Remove("email");
        }
    }

    /// <summary>Whether a record has all that this row writes.</summary>
    /// <returns>The first field that it has otherwise; null: none.</returns>
    public string? Differs(HubSpotRecords records, CrmRecord stored)
    {
        foreach ((string property, (string wire, string field)) in Values)
        {
            JsonElement value = records.Kind == CrmObject.Deal && property == "pipeline" ? stored.Fields["pipeline_id"] : stored.Fields.GetValueOrDefault(property);
            if (stored.Fields.ContainsKey(property) && !records.Definitions[property].IsStored(wire, value))
            {
                return field;
            }
        }

        return null;
    }

    /// <summary>Stages and pipelines come by label or id. A stage brings its pipeline along.</summary>
    private void PrepareStage(HubSpotRecords records, CrmRecord? before)
    {
        string? pipeline = Field("pipeline") ?? Field("pipeline_id");
        string? stage = Field("stage") ?? Field("stage_id") ?? Field("dealstage");
        if (pipeline is null && stage is null)
        {
            return;
        }

        string stageField = write.Fields.ContainsKey("stage") ? "stage" : write.Fields.ContainsKey("stage_id") ? "stage_id" : "dealstage";
        string pipelineField = write.Fields.ContainsKey("pipeline") ? "pipeline" : "pipeline_id";
        List<HubSpotStage> possible = [.. records.Stages.Where(found => pipeline is null || found.PipelineId == pipeline || found.PipelineLabel == pipeline)];
        if (possible.Count == 0)
        {
            Refuse($"HubSpot has no pipeline {pipeline} of deals.", pipelineField);
            return;
        }

        if (stage is not null)
        {
            possible = possible.Any(found => found.Id == stage) ? [.. possible.Where(found => found.Id == stage)] : [.. possible.Where(found => found.Label == stage)];
            string? current = before is not null && before.Fields.TryGetValue("pipeline_id", out JsonElement id) ? id.ToString() : null;
            if (possible.Any(found => found.PipelineId == current))
            {
                possible = [.. possible.Where(found => found.PipelineId == current)];
            }
        }

        if (possible.Count == 0 || (stage is not null && possible.Count > 1))
        {
            Refuse(possible.Count == 0 ? $"HubSpot has no stage {stage} of deals{(pipeline is null ? "" : " in pipeline " + pipeline)}." : $"Several pipelines have a stage {stage}: write pipeline, too.", stageField);
            return;
        }

        // Without a stage, HubSpot needs one of the new pipeline all the same: its first.
        Values["pipeline"] = (possible[0].PipelineId, pipeline is null ? stageField : pipelineField);
        if (stage is not null || before is null || before.Fields["pipeline_id"].ToString() != possible[0].PipelineId)
        {
            Values["dealstage"] = (possible[0].Id, stage is null ? pipelineField : stageField);
        }
    }

    private string? Field(string name) => write.Fields.TryGetValue(name, out JsonElement value) && value.ValueKind == JsonValueKind.String && value.GetString() is { Length: > 0 } text ? text : null;

    private static IEnumerable<string> OtherEmails(CrmRecord record) => record.Fields.TryGetValue("hs_additional_emails", out JsonElement value)
        ? value.ValueKind == JsonValueKind.Array ? value.EnumerateArray().Select(item => item.ToString()) : HubSpotRecords.Split(value.ValueKind == JsonValueKind.String ? value.GetString() : null)
        : [];
}
