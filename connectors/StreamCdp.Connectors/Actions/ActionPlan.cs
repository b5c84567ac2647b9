using System.Text.Json;
using System.Text.Json.Serialization;

namespace StreamCdp.Connectors.Actions;

/// <summary>One action that waits, as it would be decided now. Two lines that say the same are the same: so a plan can be compared with what is true when it is applied.</summary>
internal sealed record ActionPlanLine
{
    /// <summary>do: it is done, as soon as it is due. skip: nothing is done, and that is the end of it. wait: it is tried again later. refuse: it becomes a dead letter.</summary>
    public string Change { get; init; } = "";

    /// <summary>Names the action for good.</summary>
    public string Key { get; init; } = "";

    /// <summary>Id in the model.</summary>
    public string Action { get; init; } = "";

    /// <summary>Whose change started it.</summary>
    public string Segment { get; init; } = "";

    /// <summary>Canonical id of the person's profile.</summary>
    public string Profile { get; init; } = "";

    /// <summary>The person's identifiers at the other side, the newest first.</summary>
    public IReadOnlyList<string> Targets { get; init; } = [];

    /// <summary>The action's templates, filled in.</summary>
    public IReadOnlyDictionary<string, string> Fields { get; init; } = new Dictionary<string, string>();

    /// <summary>When it is due.</summary>
    public DateTimeOffset Due { get; init; }

    /// <summary>Why nothing is done, in a word or a sentence; null: it is.</summary>
    public string? Why { get; init; }

    /// <summary>It says what to look at: a line that somebody wrote by hand need not.</summary>
    [JsonIgnore]
    public bool IsWhole => Change is "do" or "skip" or "wait" or "refuse" && Key is { Length: > 0 } && Targets is not null && Fields is not null;

    /// <summary>The line as it is sent and kept.</summary>
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, ActionPlanJson.Default.ActionPlanLine);

    /// <summary>Reads what <see cref="ToJson"/> wrote.</summary>
    /// <exception cref="JsonException">It is none.</exception>
    public static ActionPlanLine Parse(ReadOnlySpan<byte> json) => JsonSerializer.Deserialize(json, ActionPlanJson.Default.ActionPlanLine) ?? throw new JsonException("This is no line of a plan.");
}

/// <summary>How many there are of each.</summary>
internal sealed record ActionCounts
{
    /// <summary>Done now.</summary>
    public long ActionsToDo { get; set; }

    /// <summary>Done when they are due, if that is still so then.</summary>
    public long ActionsLater { get; set; }

    /// <summary>Of which nothing is done.</summary>
    public long ActionsSkipped { get; set; }

    /// <summary>False: a limit cut the plan off.</summary>
    public bool IsComplete { get; set; }

    /// <summary>Counts one more.</summary>
    public void Add(ActionPlanLine line, DateTimeOffset now)
    {
        ActionsToDo += line.Change == "do" && line.Due <= now ? 1 : 0;
        ActionsLater += line.Change is "do" or "wait" && (line.Due > now || line.Change == "wait") ? 1 : 0;
        ActionsSkipped += line.Change is "skip" or "refuse" ? 1 : 0;
    }
}

/// <summary>What a plan does before it is done, so that it keeps to frequency caps.</summary>
internal sealed class PlannedActions
{
    private readonly List<string> _actions = [];
    private readonly Dictionary<string, List<int>> _ofPerson = new(StringComparer.Ordinal);

    /// <summary>It is done.</summary>
    public void Add(ActionCall call)
    {
        foreach (string person in call.Targets.Append("profile " + call.ProfileId))
        {
            if (!_ofPerson.TryGetValue(person, out List<int>? of))
            {
                _ofPerson.Add(person, of = []);
            }

            of.Add(_actions.Count);
        }

        _actions.Add(call.Action.Id);
    }

    /// <summary>How many of an action, null: of all, for a person under any of the ids.</summary>
    public int Count(string? actionId, string profileId, IEnumerable<string> targets) =>
        targets.Append("profile " + profileId).SelectMany(person => _ofPerson.GetValueOrDefault(person) ?? []).Distinct().Count(index => actionId is null || _actions[index] == actionId);
}

[JsonSerializable(typeof(ActionPlanLine))]
[JsonSerializable(typeof(ActionCounts))]
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
internal sealed partial class ActionPlanJson : JsonSerializerContext;
