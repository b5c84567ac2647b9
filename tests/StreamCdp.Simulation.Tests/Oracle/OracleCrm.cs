using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>A CRM record of a person.</summary>
/// <param name="Collection">deals, contacts, …</param>
/// <param name="Source">Id of the source.</param>
/// <param name="Id">Id in the CRM.</param>
/// <param name="Fields">An object.</param>
internal sealed record OracleCrmRecord(string Collection, string Source, string Id, JsonElement Fields)
{
    /// <summary>What a name means in the condition of a collection.</summary>
    public object? Field(IReadOnlyList<string> path) => path switch
    {
        ["id"] => Id,
        ["source"] => Source,
        ["id" or "source", ..] => null,
        _ => path.Aggregate(Fields, OracleRecord.Child),
    };
}

/// <summary>RULES.md §8, from all of a person's events.</summary>
internal static class OracleCrm
{
    private const int MaxFieldsBytes = 8_192;

    private static readonly (string Object, string Collection)[] s_objects = [("contact", "contacts"), ("deal", "deals"), ("lead", "leads"), ("company", "companies"), ("activity", "activities")];

    /// <summary>The records that are there, by collection, then in code point order of source and id.</summary>
    public static List<OracleCrmRecord> Of(CdpModel model, OraclePerson person)
    {
        var latest = new Dictionary<(string, string, string), OracleCrmRecord>();
        foreach (OracleCrmRecord write in person.Events.Select(e => Read(model, e)).OfType<OracleCrmRecord>().Where(write => !IsTooLong(write)))
        {
            latest[(write.Collection, write.Source, write.Id)] = write; // Events are in order: the last one is the highest.
        }

        return
        [
            .. latest.Values.Where(record => record.Fields.ValueKind == JsonValueKind.Object)
                .OrderBy(record => Array.FindIndex(s_objects, words => words.Collection == record.Collection))
                .ThenBy(record => record.Source, Comparer<string>.Create(OracleValue.CompareCodePoints))
                .ThenBy(record => record.Id, Comparer<string>.Create(OracleValue.CompareCodePoints)),
        ];
    }

    /// <summary>Something was not kept; that there are more than 1,000 is beyond the generated cases.</summary>
    public static bool IsLimited(CdpModel model, OraclePerson person) => person.Events.Select(e => Read(model, e)).OfType<OracleCrmRecord>().Any(IsTooLong);

    /// <summary>Null: the event brings no record.</summary>
    public static OracleCrmRecord? Read(CdpModel model, OracleRecord e)
    {
        JsonElement crm = OracleRecord.Child(e.Context, "crm");
        JsonElement id = OracleRecord.Child(crm, "id");
        JsonElement fields = OracleRecord.Child(crm, "fields");
        string? type = OracleRecord.Child(crm, "object") is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;
        string? idText = id.ValueKind switch
        {
            JsonValueKind.String => id.GetString(),
            JsonValueKind.Number when !id.GetRawText().AsSpan().ContainsAny(".eE") => id.GetRawText(),
            _ => null,
        };
        bool isCrm = model.Sources.Any(source => source.Id == e.SourceId && source.Kind == "crm" && source.Trusted);
        bool isGood = s_objects.Any(words => words.Object == type) && idText is not null && idText.EnumerateRunes().Count() is > 0 and <= 100
            && fields.ValueKind is JsonValueKind.Object or JsonValueKind.Null;
        return isCrm && isGood ? new OracleCrmRecord(s_objects.First(words => words.Object == type).Collection, e.SourceId, idText!, fields) : null;
    }

    /// <summary>Without white space; no generated text has any in it.</summary>
    private static bool IsTooLong(OracleCrmRecord write) => Encoding.UTF8.GetByteCount([.. write.Fields.GetRawText().Where(c => !char.IsWhiteSpace(c))]) > MaxFieldsBytes;
}
