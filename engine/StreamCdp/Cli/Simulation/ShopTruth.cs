using System.Collections.Frozen;
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli.Simulation;

/// <summary>What a server must know after the events that were sent: RULES.md §1 to §4 written down as plainly as possible, with nothing of the engine but the parsed model.</summary>
/// <remarks>Left out, because the simulated shop does not do it: phone numbers without a country code, <c>shared: latest</c>, the cap of 1,000 identifiers, a dedup window that ends.</remarks>
internal sealed class ShopTruth
{
    private const int MaxEventBytes = 32_768;
    private const int SkewToleranceMs = 1_000;
    private static readonly FrozenSet<string> s_types = FrozenSet.ToFrozenSet(["track", "identify", "page", "screen", "group", "alias"]);
    private static readonly FrozenSet<string> s_blockedDefaults = FrozenSet.ToFrozenSet(
        ["null", "none", "undefined", "nil", "nan", "true", "false", "0", "-1", "anonymous", "guest", "unknown", "not_authenticated", "distinct_id", "id", "email", "[object object]", "n/a"]);

    private readonly CdpModel _model;
    private readonly Dictionary<string, bool> _isTrusted;
    private readonly Dictionary<TruthIdentifier, TruthPerson> _owners = [];
    private readonly HashSet<TruthIdentifier> _known = [];
    private readonly HashSet<(TruthIdentifier Sender, string MessageId)> _seen = [];
    private int _place;

    /// <summary>Nobody yet.</summary>
    public ShopTruth(CdpModel model)
    {
        _model = model;
        _isTrusted = model.Sources.ToDictionary(source => source.Id, source => source.Trusted);
    }

    /// <summary>Events that count for nobody.</summary>
    public int DeadLetters { get; private set; }

    /// <summary>Events dropped as repeats.</summary>
    public int Repeats { get; private set; }

    /// <summary>Events that count.</summary>
    public int Counted { get; private set; }

    /// <summary>Everybody.</summary>
    public IReadOnlyList<TruthPerson> People => [.. _owners.Values.Distinct()];

    /// <summary>Takes the next event, in the order of sending.</summary>
    public void Apply(SentEvent sent)
    {
        _place++;
        JsonElement json = Parse(sent.Json);
        List<TruthIdentifier>? identifiers = Read(sent, json, out string type, out string name, out TruthIdentifier sender);
        if (identifiers is null)
        {
            DeadLetters++;
            return;
        }

        if (Text(json, "messageId") is { Length: > 0 } messageId && !_seen.Add((sender, messageId)))
        {
            Repeats++;
            return;
        }

        // The server received it between sending and acknowledgement: where that matters, the middle is the best guess.
        long timeMs = (EventTime(json, sent.BatchSentAt, sent.SentMs) + EventTime(json, sent.BatchSentAt, sent.AcknowledgedMs)) / 2;
        TruthPerson person = Link(identifiers, _isTrusted.GetValueOrDefault(sent.SourceId, true));
        person.Events.Add(new TruthEvent(json, type, name, timeMs, _place, sent.SourceId));
        Counted++;
    }

    /// <summary>The person an identifier points to, or null.</summary>
    public TruthPerson? Find(TruthIdentifier identifier) => _owners.GetValueOrDefault(identifier);

    /// <summary>Event time (RULES.md §4.1).</summary>
    internal static long EventTime(JsonElement json, string? batchSentAt, long receivedMs)
    {
        long? timestamp = Instant(json, "timestamp");
        long? original = Instant(json, "originalTimestamp");
        long? sentAt = Instant(json, "sentAt") ?? TruthValue.Instant(batchSentAt);
        long time;
        if (timestamp is not null && original is not null)
        {
            time = timestamp.Value;
        }
        else if ((original ?? timestamp) is not { } t)
        {
            time = receivedMs;
        }
        else if (sentAt is { } sent && Math.Abs(sent - receivedMs) >= SkewToleranceMs)
        {
            time = receivedMs - (sent - t);
        }
        else
        {
            time = t;
        }

        return Math.Min(time, receivedMs);
    }

    private static JsonElement Parse(ReadOnlyMemory<byte> json)
    {
        using JsonDocument document = JsonDocument.Parse(json);
        return document.RootElement.Clone();
    }

    private static string? Text(JsonElement json, string property) =>
        json.TryGetProperty(property, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static long? Instant(JsonElement json, string property)
    {
        if (!json.TryGetProperty(property, out JsonElement value))
        {
            return null;
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long ms) ? ms : value.ValueKind == JsonValueKind.String ? TruthValue.Instant(value.GetString()) : null;
    }

    /// <summary>§1: the identifiers in order; null for a dead letter.</summary>
    private List<TruthIdentifier>? Read(SentEvent sent, JsonElement json, out string type, out string name, out TruthIdentifier sender)
    {
        type = Text(json, "type") ?? "";
        name = "";
        sender = default;
        if (sent.Json.Length > MaxEventBytes || !s_types.Contains(type) || HasWrongShape(json))
        {
            return null;
        }

        if (type == "track")
        {
            if (Text(json, "event") is not { Length: > 0 } text)
            {
                return null;
            }

            name = text;
        }
        else if (type is "page" or "screen")
        {
            name = $"{type}:{Text(json, "name")}";
        }

        var identifiers = new List<TruthIdentifier>();
        var ofPrevious = default(TruthIdentifier);
        foreach (IdentifierDefinition definition in _model.Identifiers)
        {
            foreach (JsonElement value in Values(json, definition))
            {
                Add(definition, value);
            }

            if (type == "alias" && json.TryGetProperty("previousId", out JsonElement previous) && definition.Type == PreviousType(previous))
            {
                int before = identifiers.Count;
                Add(definition, previous);
                ofPrevious = identifiers.Count > before ? identifiers[^1] : ofPrevious;
            }
        }

        if (identifiers.Count == 0)
        {
            return null;
        }

        int anonymous = identifiers.FindIndex(identifier => identifier.Type == "anonymous_id" && identifier != ofPrevious);
        sender = identifiers[Math.Max(anonymous, 0)];
        return identifiers;

        void Add(IdentifierDefinition definition, JsonElement value)
        {
            if (Normalise(definition, value) is { } text && !identifiers.Contains(new TruthIdentifier(definition.Type, text)))
            {
                identifiers.Add(new TruthIdentifier(definition.Type, text));
            }
        }
    }

    private static bool HasWrongShape(JsonElement json)
    {
        foreach (string part in (string[])["properties", "traits", "context"])
        {
            if (json.TryGetProperty(part, out JsonElement value) && value.ValueKind is not (JsonValueKind.Object or JsonValueKind.Null))
            {
                return true;
            }
        }

        return json.TryGetProperty("timestamp", out JsonElement timestamp) && timestamp.ValueKind != JsonValueKind.Null && Instant(json, "timestamp") is null;
    }

    private static IEnumerable<JsonElement> Values(JsonElement json, IdentifierDefinition definition)
    {
        string? place = definition.Type switch { "user_id" => "userId", "anonymous_id" => "anonymousId", _ => null };
        if (place is not null && json.TryGetProperty(place, out JsonElement own))
        {
            yield return own;
        }

        foreach (string[] path in definition.From)
        {
            if (TruthValue.At(json, path) is { } value)
            {
                yield return value;
            }
        }

        if (TruthValue.At(json, ["context", "externalIds"]) is { ValueKind: JsonValueKind.Array } external)
        {
            foreach (JsonElement item in external.EnumerateArray())
            {
                if (item.ValueKind == JsonValueKind.Object && Text(item, "type") == definition.Type && (Text(item, "collection") ?? "users") == "users" && item.TryGetProperty("id", out JsonElement id))
                {
                    yield return id;
                }
            }
        }
    }

    private string PreviousType(JsonElement previous)
    {
        IdentifierDefinition? user = _model.Identifiers.FirstOrDefault(definition => definition.Type == "user_id");
        return user is not null && Normalise(user, previous) is { } text && _known.Contains(new TruthIdentifier("user_id", text)) ? "user_id" : "anonymous_id";
    }

    private static string? Normalise(IdentifierDefinition definition, JsonElement value)
    {
        string? text = value.ValueKind switch
        {
            JsonValueKind.String => value.GetString()!.Trim(),
            JsonValueKind.Number when value.TryGetInt64(out long number) => number.ToString(CultureInfo.InvariantCulture),
            _ => null,
        };
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        if (definition.Normalize == IdentifierNormalization.Email)
        {
            text = text.ToLowerInvariant();
            int at = text.IndexOf('@', StringComparison.Ordinal);
            if (at <= 0 || at == text.Length - 1 || text.LastIndexOf('@') != at || text.Any(char.IsWhiteSpace))
            {
                return null;
            }
        }
        else if (definition.Normalize == IdentifierNormalization.E164)
        {
            text = string.Concat(text.Where(c => !char.IsWhiteSpace(c) && c is not ('-' or '.' or '(' or ')' or '/')));
            text = text.StartsWith("00", StringComparison.Ordinal) ? "+" + text[2..] : text;
            if (!Regex.IsMatch(text, "^[+][1-9][0-9]{6,14}$"))
            {
                return null;
            }
        }

        bool isBlocked = (definition.BlockedDefaults && IsBlockedByDefault(text)) || definition.Blocked.Contains(text)
            || definition.BlockedPatterns.Any(pattern => Regex.IsMatch(text, $"^(?:{pattern})$", RegexOptions.CultureInvariant));
        return isBlocked ? null : text;
    }

    private static bool IsBlockedByDefault(string text)
    {
        string bare = text.Length >= 2 && text[0] == text[^1] && text[0] is '"' or '\'' ? text[1..^1] : text;
        return s_blockedDefaults.Contains(bare.ToLowerInvariant()) || (bare.Length > 0 && bare.All(c => c is '0' or '-'));
    }

    /// <summary>§3: the person for whom the event counts.</summary>
    private TruthPerson Link(List<TruthIdentifier> identifiers, bool isTrusted)
    {
        TruthIdentifier first = identifiers[0];
        TruthPerson person = Owner(first);
        bool firstBindsAlone = !isTrusted && _known.Contains(first) && Definition(first).MergeByServer;
        foreach (TruthIdentifier next in firstBindsAlone ? [] : identifiers.Skip(1))
        {
            TruthPerson? other = _owners.GetValueOrDefault(next);
            bool leftOut = other != person && ((!isTrusted && _known.Contains(next) && Definition(next).MergeByServer) || BreaksLimit(person, other?.Identifiers ?? [next]));
            if (leftOut || other == person)
            {
                continue;
            }

            other ??= Owner(next);
            foreach (TruthIdentifier moved in other.Identifiers)
            {
                _owners[moved] = person;
            }

            person.Identifiers.AddRange(other.Identifiers);
            person.Events.AddRange(other.Events);
            _known.Add(first);
            _known.Add(next);
        }

        if (first.Type != "anonymous_id")
        {
            _known.Add(first);
        }

        return person;
    }

    private bool BreaksLimit(TruthPerson person, List<TruthIdentifier> added) =>
        added.GroupBy(identifier => identifier.Type).Any(group => person.Count(group.Key) + group.Count() > Definition(group.First()).Limit);

    private TruthPerson Owner(TruthIdentifier identifier)
    {
        if (!_owners.TryGetValue(identifier, out TruthPerson? person))
        {
            person = new TruthPerson();
            person.Identifiers.Add(identifier);
            _owners.Add(identifier, person);
        }

        return person;
    }

    private IdentifierDefinition Definition(TruthIdentifier identifier) => _model.Identifiers.First(definition => definition.Type == identifier.Type);
}
