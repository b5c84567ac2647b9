using System.Globalization;
using System.Text.Json;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.HubSpot;

/// <summary>A property of an object, as the account defines it.</summary>
internal sealed record HubSpotDefinition(string Name, CrmFieldType Type, bool IsReadOnly, bool HasUniqueValue, IReadOnlyList<string>? Options)
{
    /// <summary>What people see of each option.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; private init; } = new Dictionary<string, string>();

    /// <summary>Where people find it: a new property of the object may stand there, too.</summary>
    public string Group { get; private init; } = "";

    private static readonly JsonElement s_null = JsonElement.Parse("null"u8);
    private static readonly JsonElement s_true = JsonElement.Parse("true"u8);
    private static readonly JsonElement s_false = JsonElement.Parse("false"u8);

    /// <summary>Of an answer of the properties API.</summary>
    public static HubSpotDefinition Of(JsonElement json)
    {
        string fieldType = json.GetProperty("fieldType").GetString() ?? "";
        CrmFieldType type = json.GetProperty("type").GetString() switch
        {
            "number" => CrmFieldType.Number,
            "bool" => CrmFieldType.Boolean,
            "date" => CrmFieldType.Date,
            "datetime" => CrmFieldType.Instant,
            "enumeration" when fieldType == "booleancheckbox" => CrmFieldType.Boolean,
            "enumeration" when fieldType == "checkbox" => CrmFieldType.List,
            _ => CrmFieldType.Text,
        };
        bool isReadOnly = (json.TryGetProperty("calculated", out JsonElement calculated) && calculated.ValueKind == JsonValueKind.True)
            || (json.TryGetProperty("modificationMetadata", out JsonElement metadata) && metadata.ValueKind == JsonValueKind.Object && metadata.TryGetProperty("readOnlyValue", out JsonElement readOnly) && readOnly.ValueKind == JsonValueKind.True);
        bool hasUniqueValue = json.TryGetProperty("hasUniqueValue", out JsonElement unique) && unique.ValueKind == JsonValueKind.True;
        List<JsonElement> options = json.TryGetProperty("options", out JsonElement array) && array.ValueKind == JsonValueKind.Array ? [.. array.EnumerateArray()] : [];
        IReadOnlyList<string>? values = options.Count > 0 && type is (CrmFieldType.Text or CrmFieldType.List) ? [.. options.Select(option => option.GetProperty("value").GetString()!)] : null;
        return new HubSpotDefinition(json.GetProperty("name").GetString()!, type, isReadOnly, hasUniqueValue, values)
        {
            Labels = options.Where(option => option.TryGetProperty("label", out JsonElement label) && label.ValueKind == JsonValueKind.String).GroupBy(option => option.GetProperty("value").GetString()!).ToDictionary(same => same.Key, same => same.First().GetProperty("label").GetString()!),
            Group = json.TryGetProperty("groupName", out JsonElement group) && group.ValueKind == JsonValueKind.String ? group.GetString()! : "",
        };
    }

    /// <summary>A value of the wire, where everything is text, by its type; what does not fit its type stays text.</summary>
    public JsonElement Read(string? wire)
    {
        if (string.IsNullOrEmpty(wire))
        {
            return s_null;
        }

        return Type switch
        {
            CrmFieldType.Number when decimal.TryParse(wire, NumberStyles.Float, CultureInfo.InvariantCulture, out decimal number) => JsonSerializer.SerializeToElement(number),
            CrmFieldType.Number when double.TryParse(wire, CultureInfo.InvariantCulture, out double number) && double.IsFinite(number) => JsonSerializer.SerializeToElement(number),
            CrmFieldType.Boolean when wire is "true" or "false" => wire == "true" ? s_true : s_false,
            CrmFieldType.Date when Instant(wire) is { } day => Json(day.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)),
            CrmFieldType.Instant when Instant(wire) is { } at => Json(Text(at)),
            CrmFieldType.List => JsonSerializer.SerializeToElement(wire.Split(';', StringSplitOptions.RemoveEmptyEntries)),
            _ => Json(wire),
        };
    }

    /// <summary>A value as it goes on the wire.</summary>
    /// <returns>False: it is not of the property's type.</returns>
    public bool TryWrite(JsonElement value, out string wire)
    {
        wire = "";
        if (value.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined)
        {
            return true; // Empty text empties a property.
        }

        switch (Type)
        {
            case CrmFieldType.Number:
                wire = value.ValueKind == JsonValueKind.Number ? value.GetRawText() : value.ValueKind == JsonValueKind.String ? value.GetString()! : "";
                return value.ValueKind == JsonValueKind.Number || (value.ValueKind == JsonValueKind.String && decimal.TryParse(wire, NumberStyles.Float, CultureInfo.InvariantCulture, out _));
            case CrmFieldType.Boolean:
                wire = value.ValueKind switch { JsonValueKind.True => "true", JsonValueKind.False => "false", JsonValueKind.String => value.GetString()!, _ => "" };
                return wire is "true" or "false";
            case CrmFieldType.Date or CrmFieldType.Instant:
                if (value.ValueKind != JsonValueKind.String || Instant(value.GetString()!) is not { } at)
                {
                    return false;
                }

                if (Type == CrmFieldType.Date)
                {
                    at = new DateTimeOffset(at.UtcDateTime.Date, TimeSpan.Zero); // HubSpot takes a day only as its midnight in UTC.
                }

                wire = at.ToUnixTimeMilliseconds().ToString(CultureInfo.InvariantCulture);
                return true;
            case CrmFieldType.List when value.ValueKind == JsonValueKind.Array:
                wire = string.Join(';', value.EnumerateArray().Select(item => item.ToString()));
                return value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String && !item.GetString()!.Contains(';', StringComparison.Ordinal));
            default:
                wire = value.ValueKind switch { JsonValueKind.String => value.GetString()!, JsonValueKind.Number => value.GetRawText(), JsonValueKind.True => "true", JsonValueKind.False => "false", _ => "" };
                return value.ValueKind is not (JsonValueKind.Object or JsonValueKind.Array);
        }
    }

    /// <summary>Whether what is stored is what was sent. HubSpot writes e-mail addresses in lower case, lists in its own order.</summary>
    public bool IsStored(string sent, JsonElement stored)
    {
        JsonElement wanted = Read(sent);
        return (wanted.ValueKind, stored.ValueKind) switch
        {
            (JsonValueKind.String, JsonValueKind.String) => string.Equals(wanted.GetString()!.Trim(), stored.GetString()!.Trim(), Name == "email" ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal),
            (JsonValueKind.Array, JsonValueKind.Array) => wanted.EnumerateArray().Select(item => item.ToString()).ToHashSet(StringComparer.Ordinal).SetEquals(stored.EnumerateArray().Select(item => item.ToString())),
            _ => JsonElement.DeepEquals(wanted, stored),
        };
    }

    /// <summary>Of milliseconds or ISO 8601; HubSpot writes both.</summary>
    public static DateTimeOffset? Instant(string wire)
    {
        if (long.TryParse(wire, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long milliseconds))
        {
            return milliseconds is > -62_135_596_800_000 and < 253_402_300_800_000 ? DateTimeOffset.FromUnixTimeMilliseconds(milliseconds) : null;
        }

        return DateTimeOffset.TryParse(wire, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out DateTimeOffset at) ? at : null;
    }

    public static string Text(DateTimeOffset at) => at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    public static JsonElement Json(string? text) => text is null ? s_null : JsonSerializer.SerializeToElement(text);
}

/// <summary>A stage of deals.</summary>
internal sealed record HubSpotStage(string Id, string Label, string PipelineId, string PipelineLabel, string Status);

/// <summary>Properties and pipelines of an account, asked for once an hour.</summary>
internal sealed class HubSpotDefinitions(HubSpotRequests requests, TimeProvider time)
{
    private static readonly TimeSpan s_maxAge = TimeSpan.FromHours(1);

    /// <summary>A name that is not known is looked for again, but not more often than this.</summary>
    private static readonly TimeSpan s_minAge = TimeSpan.FromMinutes(1);

    private readonly Dictionary<string, (DateTimeOffset At, SortedDictionary<string, HubSpotDefinition> All)> _properties = new(StringComparer.Ordinal);
    private (DateTimeOffset At, IReadOnlyList<HubSpotStage> All)? _stages;

    /// <summary>Properties of an object by name, in the order of their names.</summary>
    /// <param name="kind">contacts, companies, deals, calls and the other activities.</param>
    /// <param name="mustHave">Names that the caller wants: where one is missing, the account is asked again.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async ValueTask<SortedDictionary<string, HubSpotDefinition>> PropertiesAsync(string kind, IEnumerable<string> mustHave, CancellationToken cancellationToken)
    {
        if (_properties.TryGetValue(kind, out (DateTimeOffset At, SortedDictionary<string, HubSpotDefinition> All) known)
            && time.GetUtcNow() - known.At is TimeSpan age && age < s_maxAge && (age < s_minAge || mustHave.All(known.All.ContainsKey)))
        {
            return known.All;
        }

        HubSpotAnswer answer = await requests.GetAsync(requests.Path("properties", "/" + kind), cancellationToken).ConfigureAwait(false);
        answer.MustBeDone("list its properties");
        var all = new SortedDictionary<string, HubSpotDefinition>(StringComparer.Ordinal);
        foreach (JsonElement json in answer.Array("results"))
        {
            HubSpotDefinition definition = HubSpotDefinition.Of(json);
            all[definition.Name] = definition;
        }

        if (all.Count == 0)
        {
            throw new DestinationUnavailableException("HubSpot answered 200 and named no property, but every account has some.");
        }

        _properties[kind] = (time.GetUtcNow(), all);
        return all;
    }

    /// <summary>Properties were made: ask again.</summary>
    public void Forget(string kind) => _properties.Remove(kind);

    /// <summary>Stages of all pipelines of deals, in their order.</summary>
    public async ValueTask<IReadOnlyList<HubSpotStage>> StagesAsync(IEnumerable<string> mustHave, CancellationToken cancellationToken)
    {
        if (_stages is { } known && time.GetUtcNow() - known.At is TimeSpan age && age < s_maxAge && (age < s_minAge || mustHave.All(id => known.All.Any(stage => stage.Id == id))))
        {
            return known.All;
        }

        HubSpotAnswer answer = await requests.GetAsync(requests.Path("pipelines", "/deals"), cancellationToken).ConfigureAwait(false);
        answer.MustBeDone("list its pipelines");
        List<HubSpotStage> stages =
        [
            .. answer.Array("results").SelectMany(pipeline => pipeline.GetProperty("stages").EnumerateArray().OrderBy(Order).Select(stage => new HubSpotStage(
                stage.GetProperty("id").GetString()!, stage.GetProperty("label").GetString()!, pipeline.GetProperty("id").GetString()!, pipeline.GetProperty("label").GetString()!, Status(stage)))),
        ];
        if (stages.Count == 0)
        {
            throw new DestinationUnavailableException("HubSpot answered 200 and named no pipeline, but every account has one.");
        }

        _stages = (time.GetUtcNow(), stages);
        return stages;

        static int Order(JsonElement stage) => stage.TryGetProperty("displayOrder", out JsonElement order) && order.TryGetInt32(out int number) ? number : 0;
    }

    /// <summary>A closed stage with a probability of 1 is won, any other closed one lost.</summary>
    private static string Status(JsonElement stage)
    {
        if (!stage.TryGetProperty("metadata", out JsonElement metadata) || metadata.ValueKind != JsonValueKind.Object)
        {
            return "open";
        }

        double? probability = metadata.TryGetProperty("probability", out JsonElement text) && double.TryParse(text.ToString(), CultureInfo.InvariantCulture, out double number) ? number : null;
        bool isClosed = metadata.TryGetProperty("isClosed", out JsonElement closed) ? closed.ToString().Equals("true", StringComparison.OrdinalIgnoreCase) : probability is 0 or 1;
        return !isClosed ? "open" : probability == 1 ? "won" : "lost";
    }
}

/// <summary>Answers that can only be yes.</summary>
internal static class HubSpotAnswers
{
    /// <summary>Lets an answer through that is about no record at all only where it is yes: else a person must look.</summary>
    public static void MustBeDone(this HubSpotAnswer answer, string what)
    {
        if (!answer.IsDone)
        {
            throw new DestinationMustPauseException($"HubSpot refused to {what} ({answer.Status}). Check ApiVersion and the scopes of the app.");
        }
    }

    /// <summary>HubSpot sometimes answers 200 with a body that tells nothing, and did nothing.</summary>
    public static void MustHave(this HubSpotAnswer answer, string name)
    {
        if (answer.Body.ValueKind != JsonValueKind.Object || !answer.Body.TryGetProperty(name, out _))
        {
            throw new DestinationUnavailableException("HubSpot answered 200 and told nothing of what was asked for.");
        }
    }
}
