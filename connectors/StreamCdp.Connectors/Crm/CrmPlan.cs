using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace StreamCdp.Connectors.Crm;

/// <summary>One thing that a sync would do now. Two lines that say the same are the same change: so a plan can be compared with what is true when it is applied.</summary>
internal sealed record PlanLine
{
    /// <summary>update, create, new_profile, merge, delete, gone, record, make_field.</summary>
    public string Change { get; init; } = "";

    /// <summary>contact, lead, company, deal, activity.</summary>
    public string Object { get; init; } = "contact";

    /// <summary>Of the record in the CRM; null: it is made, or it is a field.</summary>
    public string? Id { get; init; }

    /// <summary>Canonical id of the profile; null: there is none yet, or it is no matter of one.</summary>
    public string? Profile { get; init; }

    /// <summary>Record and profile are not linked yet and would be.</summary>
    public bool Links { get; init; }

    /// <summary>What takes the record over.</summary>
    public string? Into { get; init; }

    /// <summary>Fields that change on one side.</summary>
    public IReadOnlyList<PlannedField> Fields { get; init; } = [];

    /// <summary>Lists that the contact is put on.</summary>
    public IReadOnlyList<string> On { get; init; } = [];

    /// <summary>Lists that it is taken off.</summary>
    public IReadOnlyList<string> Off { get; init; } = [];

    /// <summary>Of what the record holds, where that alone is the change: a deal that is new or another now.</summary>
    public string? Digest { get; init; }

    /// <summary>It says what to look at: a line that somebody wrote by hand need not.</summary>
    [JsonIgnore]
    public bool IsWhole => Enum.TryParse<CrmObject>(Object, ignoreCase: true, out _) && Fields.All(one => one is { Field: not null, To: "crm" or "profile" }) && Change switch
    {
        "create" => Profile is { Length: > 0 },
        "update" or "new_profile" or "merge" or "delete" or "gone" or "record" or "make_field" => Id is { Length: > 0 },
        _ => false,
    };

    /// <summary>The line as it is sent and kept.</summary>
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, PlanJson.Default.PlanLine);

    /// <summary>Reads what <see cref="ToJson"/> wrote.</summary>
    /// <exception cref="JsonException">It is none.</exception>
    public static PlanLine Parse(ReadOnlySpan<byte> json) => JsonSerializer.Deserialize(json, PlanJson.Default.PlanLine) is { Fields: not null, On: not null, Off: not null, Change: not null, Object: not null } line ? line : throw new JsonException("This is no line of a plan.");
}

/// <summary>A field that changes.</summary>
/// <param name="Field">The CRM's name.</param>
/// <param name="To">crm: the CRM gets the profile's value; profile: the other way round.</param>
/// <param name="Crm">What the record has; null: nothing.</param>
/// <param name="Profile">What the profile has; null: nothing.</param>
/// <param name="Why">For people.</param>
/// <param name="Conflict">Both had changed, and one value is lost.</param>
internal sealed record PlannedField(string Field, string To, JsonElement Crm, JsonElement Profile, string Why, bool Conflict = false);

/// <summary>What a plan was made for; it is applied to nothing else.</summary>
/// <param name="Connector">Id of the destination.</param>
/// <param name="Mapping">Digest of the mapping: another one decides otherwise.</param>
/// <param name="MadeAt">When.</param>
internal sealed record PlanHead(string Connector, string Mapping, DateTimeOffset MadeAt)
{
    /// <summary>Of a destination that goes one way, up to where the plan says what is sent; null: it is a CRM.</summary>
    public LogPositions? Until { get; init; }

    /// <summary>Of a destination that goes one way, <see cref="DestinationCursor.Sent"/> when the plan was made.</summary>
    public long? Sent { get; init; }
}

/// <summary>How many there are of each.</summary>
internal sealed record PlanCounts
{
    /// <summary>Contacts to make in the CRM.</summary>
    public long ContactsToCreate { get; set; }

    /// <summary>Fields to write in the CRM, those of new contacts not counted.</summary>
    public long FieldsToWrite { get; set; }

    /// <summary>Values that come to profiles.</summary>
    public long FieldsToTake { get; set; }

    /// <summary>Fields of those in which both sides had changed.</summary>
    public long Conflicts { get; set; }

    /// <summary>Contacts to put on a list.</summary>
    public long ListEntries { get; set; }

    /// <summary>Contacts to take off a list.</summary>
    public long ListExits { get; set; }

    /// <summary>Contacts of ours to merge in the CRM.</summary>
    public long Merges { get; set; }

    /// <summary>Contacts of ours to delete in the CRM, because their persons do not consent.</summary>
    public long ContactsToDelete { get; set; }

    /// <summary>Contacts that would become new profiles.</summary>
    public long NewProfiles { get; set; }

    /// <summary>Contacts that would be linked with a profile that is there.</summary>
    public long Links { get; set; }

    /// <summary>Deals and other records that are new or changed.</summary>
    public long Records { get; set; }

    /// <summary>Records that are gone in the CRM.</summary>
    public long Gone { get; set; }

    /// <summary>Fields to make in the CRM.</summary>
    public long FieldsToMake { get; set; }

    /// <summary>False: a limit cut the plan off.</summary>
    public bool IsComplete { get; set; }

    /// <summary>Counts one more.</summary>
    public void Add(PlanLine line)
    {
        ContactsToCreate += line.Change == "create" ? 1 : 0;
        FieldsToWrite += line.Change == "create" ? 0 : line.Fields.Count(field => field.To == "crm");
        FieldsToTake += line.Fields.Count(field => field.To == "profile");
        Conflicts += line.Fields.Count(field => field.Conflict);
        ListEntries += line.On.Count;
        ListExits += line.Off.Count;
        Merges += line.Change == "merge" ? 1 : 0;
        ContactsToDelete += line.Change == "delete" ? 1 : 0;
        NewProfiles += line.Change == "new_profile" ? 1 : 0;
        Links += line.Links ? 1 : 0;
        Records += line.Change == "record" ? 1 : 0;
        Gone += line.Change == "gone" ? 1 : 0;
        FieldsToMake += line.Change == "make_field" ? 1 : 0;
    }
}

/// <summary>What may be changed while a plan is applied: what stands in it, to the value.</summary>
internal sealed class PlannedChanges
{
    private readonly HashSet<string> _allowed = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _made = new(StringComparer.Ordinal);

    /// <summary>Fields that the CRM has not, and that are not to be made: they are left out.</summary>
    public IReadOnlySet<string> Missing { get; init; } = new HashSet<string>();

    /// <summary>Allows what a line says.</summary>
    public void Add(PlanLine line)
    {
        string contact = line.Id ?? New(line.Profile!);
        foreach (PlannedField field in line.Fields)
        {
            _allowed.Add(Key(contact, field.Field, field.To, CanonicalValue.Of(field.To == "crm" ? field.Profile : field.Crm)));
        }

        _allowed.UnionWith(line.On.Select(list => Key("list", contact, list, "on")));
        _allowed.UnionWith(line.Off.Select(list => Key("list", contact, list, "off")));
        if (line.Change == "create")
        {
            _allowed.Add(Key("new", line.Profile, CrmSync.Digest(line.Fields.ToDictionary(field => field.Field, field => field.Profile), []), null));
        }

        if (line.Change is "merge" or "delete")
        {
            _allowed.Add(Key(line.Change, line.Id, line.Into, null));
        }
    }

    /// <summary>A contact was made of a profile: what its line says of it is allowed for it.</summary>
    public void Made(string contactId, string profileId) => _made[contactId] = New(profileId);

    /// <summary>A field of a contact may go over, with this value.</summary>
    public bool Allows(string contactId, FieldDecision field) => field.Step == FieldStep.ToCrm
        ? !Missing.Contains(field.Rule.Field) && _allowed.Contains(Key(Of(contactId), field.Rule.Field, "crm", field.Ours))
        : _allowed.Contains(Key(Of(contactId), field.Rule.Field, "profile", field.Theirs));

    /// <summary>A contact may be made of a profile, with these values.</summary>
    public bool AllowsNew(string profileId, IReadOnlyDictionary<string, JsonElement> fields) => _allowed.Contains(Key("new", profileId, CrmSync.Digest(fields, []), null));

    /// <summary>A contact may be put on a list, or taken off.</summary>
    public bool AllowsList(string contactId, string list, bool isOn) => _allowed.Contains(Key("list", Of(contactId), list, isOn ? "on" : "off"));

    /// <summary>A contact may become part of another.</summary>
    public bool AllowsMerge(string from, string into) => _allowed.Contains(Key("merge", from, into, null));

    /// <summary>A contact may be deleted.</summary>
    public bool AllowsDelete(string contactId) => _allowed.Contains(Key("delete", contactId, null, null));

    private string Of(string contactId) => _made.GetValueOrDefault(contactId, contactId);

    private static string New(string profileId) => "new contact of " + profileId;

    private static string Key(string? a, string? b, string? c, string? d) => JsonSerializer.Serialize((string?[])[a, b, c, d], PlanJson.Default.NullableStringArray);
}

/// <summary>A mapping's digest.</summary>
internal static class PlanMapping
{
    /// <summary>Changes with each key of the model that a plan depends on.</summary>
    public static string Of(CrmSettings settings)
    {
        IEnumerable<string> rules = settings.Fields.Select(rule => $"{rule.Field}|{rule.Value?.Root}|{string.Join('.', rule.Value?.Path ?? [])}|{rule.Direction}|{rule.Policy}");
        string text = string.Join('\n', rules.Append("create").Concat(settings.CreateFor.Order(StringComparer.Ordinal)).Append("lists").Concat(settings.Lists.Order(StringComparer.Ordinal)).Append(settings.Account).Append($"delete {settings.DeletesAtMost}"));
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, 8));
    }
}

[JsonSerializable(typeof(PlanLine))]
[JsonSerializable(typeof(PlanHead))]
[JsonSerializable(typeof(PlanCounts))]
[JsonSerializable(typeof(DeliveryCounts))]
[JsonSerializable(typeof(string?[]), TypeInfoPropertyName = "NullableStringArray")]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
internal sealed partial class PlanJson : JsonSerializerContext;
