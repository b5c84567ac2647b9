using System.Globalization;
using System.Text.Json;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

/// <summary>A type of activity. HubSpot keeps each as an object of its own; here they are one, whose ids begin with the type: <c>call-123</c>.</summary>
/// <param name="Kind">call, email, meeting, note, task.</param>
/// <param name="KindName">calls, emails, meetings, notes, tasks.</param>
/// <param name="TypeId">HubSpot's number of the object.</param>
/// <param name="ToContact">HubSpot's number of the link to a contact.</param>
/// <param name="Subject">Property that says what it is about; null: only its text does, which is not read.</param>
/// <param name="Direction">Property that says who began; null: nobody in particular.</param>
/// <param name="Outcome">Property with what came of it; null: none.</param>
/// <param name="Status">Property with how far it is; null: none.</param>
internal sealed record HubSpotActivity(string Kind, string KindName, string TypeId, int ToContact, string? Subject, string? Direction, string? Outcome, string? Status)
{
    private const string Duration = "hs_call_duration"; // Milliseconds.
    private const string Begin = "hs_meeting_start_time";
    private const string End = "hs_meeting_end_time";

    /// <summary>When it was, of a task when it is due: required by HubSpot for each of them.</summary>
    public const string At = "hs_timestamp";

    public static readonly HubSpotActivity[] All =
    [
        new("call", "calls", "0-48", 194, "hs_call_title", "hs_call_direction", "hs_call_disposition", "hs_call_status"),
        new("email", "emails", "0-49", 198, "hs_email_subject", "hs_email_direction", null, "hs_email_status"),
        new("meeting", "meetings", "0-47", 200, "hs_meeting_title", null, "hs_meeting_outcome", null),
        new("note", "notes", "0-46", 202, null, null, null, null),
        new("task", "tasks", "0-27", 204, "hs_task_subject", null, null, "hs_task_status"),
    ];

    /// <summary>Fields of all of them, the same for each.</summary>
    public static readonly CrmField[] Fields =
    [
        new("at", CrmFieldType.Instant, IsReadOnly: true),
        new("direction", CrmFieldType.Text, IsReadOnly: true, ["forwarded", "inbound", "outbound"]),
        new("duration_s", CrmFieldType.Number, IsReadOnly: true),
        new("kind", CrmFieldType.Text, IsReadOnly: true, [.. All.Select(activity => activity.Kind)]),
        new("outcome", CrmFieldType.Text, IsReadOnly: true),
        new("status", CrmFieldType.Text, IsReadOnly: true),
        new("subject", CrmFieldType.Text, IsReadOnly: true),
    ];

    /// <summary>Properties that are read. Not the texts of mails and notes: they are long, and what a person wrote to another is nobody else's.</summary>
    public IReadOnlyList<string> Properties { get; } =
        [At, .. ((string?[])[Subject, Direction, Outcome, Status, .. Kind switch { "call" => [Duration], "meeting" => (string[])[Begin, End], _ => [] }]).OfType<string>()];

    /// <summary>The one of a kind.</summary>
    public static HubSpotActivity Of(string kind) => All.First(activity => activity.Kind == kind);

    /// <summary>The kit's id of an activity.</summary>
    public string Id(string id) => $"{Kind}-{id}";

    /// <summary>HubSpot's id of one of this type; null: it is none.</summary>
    public string? OwnId(string id) => id.StartsWith(Kind, StringComparison.Ordinal) && id[Kind.Length..] is ['-', .. { Length: > 0 and <= 20 } own] && own.All(char.IsAsciiDigit) ? own : null;

    /// <summary>An object of HubSpot under the names that all activities have.</summary>
    public Dictionary<string, JsonElement> Read(JsonElement json, IReadOnlyDictionary<string, HubSpotDefinition> definitions)
    {
        double? seconds = Kind switch
        {
            "call" => Value(Duration) is { } text && long.TryParse(text, CultureInfo.InvariantCulture, out long milliseconds) ? milliseconds / 1000.0 : null,
            "meeting" => Value(Begin) is { } begin && Value(End) is { } end ? (HubSpotDefinition.Instant(end) - HubSpotDefinition.Instant(begin))?.TotalSeconds : null,
            _ => null,
        };
        return new(StringComparer.Ordinal)
        {
            ["kind"] = HubSpotDefinition.Json(Kind),
            ["at"] = HubSpotDefinition.Json(Value(At) is { } at && HubSpotDefinition.Instant(at) is { } instant ? HubSpotDefinition.Text(instant) : null),
            ["subject"] = HubSpotDefinition.Json(Value(Subject)),
            ["direction"] = HubSpotDefinition.Json(Value(Direction) switch { "EMAIL" or "OUTBOUND" => "outbound", "INCOMING_EMAIL" or "INBOUND" => "inbound", "FORWARDED_EMAIL" => "forwarded", var other => other }),
            ["outcome"] = HubSpotDefinition.Json(Label(Value(Outcome))),
            ["status"] = HubSpotDefinition.Json(Value(Status)),
            ["duration_s"] = JsonSerializer.SerializeToElement(seconds),
        };

        string? Value(string? property) => property is not null && HubSpotRecords.Value(json, property) is { Length: > 0 } value ? value : null;

        // What came of a call is a number that only this account knows by its name.
        string? Label(string? value) => value is not null && Outcome is not null && definitions.TryGetValue(Outcome, out HubSpotDefinition? definition) ? definition.Labels.GetValueOrDefault(value, value) : value;
    }
}
