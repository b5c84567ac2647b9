using System.Globalization;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli.Simulation;

/// <summary>What a verification found.</summary>
/// <param name="People">People compared.</param>
/// <param name="Values">Single values compared: identifiers, counts, traits, computed traits, memberships.</param>
/// <param name="Differences">One line each; empty: the server knows exactly what it must.</param>
internal sealed record VerifyResult(int People, long Values, IReadOnlyList<string> Differences);

/// <summary>Compares a server with the truth, person by person, by its query API.</summary>
internal sealed class TruthVerifier(CdpModel model, ShopTruth truth, CdpClient client, TimeProvider time)
{
    /// <summary>A shard's now is at most this much behind the wall clock: ticks come at 1 Hz (RULES.md §4.3).</summary>
    private const int TickSlackMs = 2_000;
    private const int Instants = 40;
    private const int Passes = 6;
    private static readonly TimeSpan s_betweenPasses = TimeSpan.FromSeconds(1.5);

    /// <summary>What a CRM of the model knows by itself is no part of the truth: its contact ids, its events, the traits that it wrote, segments over its records.</summary>
    private readonly HashSet<string> _crms = [.. model.Sources.Where(source => source.Kind == "crm").Select(source => source.Id)];
    private readonly List<string> _crmIds = [.. model.Destinations.Where(destination => destination.Crm is not null).Select(destination => destination.Kind + "_contact_id:")];
    private readonly HashSet<string> _segments = [.. model.Segments.Where(segment => !ExpressionWalk.Nodes(segment.When).OfType<CollectionExpression>().Any()).Select(segment => segment.Id)];
    private long _values;

    /// <summary>Reads everybody. Values that hang on the time are compared at the instants that the server can have meant; who differs is read again a few times,
    /// because an event's time may be known to some ms only.</summary>
    public async Task<VerifyResult> VerifyAsync(CancellationToken cancellationToken)
    {
        IReadOnlyList<TruthPerson> people = truth.People;
        IReadOnlyList<TruthPerson> open = people;
        var differences = new SortedDictionary<int, List<string>>();
        for (int pass = 0; pass < Passes && open.Count > 0; pass++)
        {
            if (pass > 0)
            {
                await Task.Delay(s_betweenPasses, time, cancellationToken).ConfigureAwait(false);
            }

            differences = await PassAsync(open, cancellationToken).ConfigureAwait(false);
            open = [.. differences.Keys.Select(i => open[i])];
        }

        return new VerifyResult(people.Count, _values, [.. differences.Values.SelectMany(lines => lines)]);
    }

    private async Task<SortedDictionary<int, List<string>>> PassAsync(IReadOnlyList<TruthPerson> people, CancellationToken cancellationToken)
    {
        var differences = new SortedDictionary<int, List<string>>();
        if (people.Count > 0)
        {
            TruthIdentifier any = people[0].Identifiers[0];
            await client.ProfileAsync(any.Type, any.Value, "?wait=true&timeout=30000", cancellationToken).ConfigureAwait(false);
        }

        await Parallel.ForAsync(0, people.Count, new ParallelOptions { MaxDegreeOfParallelism = 8, CancellationToken = cancellationToken }, async (i, token) =>
        {
            List<string> found = await CompareAsync(people[i], token).ConfigureAwait(false);
            if (found.Count > 0)
            {
                lock (differences)
                {
                    differences.Add(i, found);
                }
            }
        }).ConfigureAwait(false);
        return differences;
    }

    private async Task<List<string>> CompareAsync(TruthPerson person, CancellationToken cancellationToken)
    {
        TruthIdentifier who = person.Identifiers[0];
        long fromMs = time.GetUtcNow().ToUnixTimeMilliseconds() - TickSlackMs;
        JsonElement? found = await client.ProfileAsync(who.Type, who.Value, "", cancellationToken).ConfigureAwait(false);
        long toMs = time.GetUtcNow().ToUnixTimeMilliseconds();
        if (found is not { } profile)
        {
            return [$"{who}: the server knows nobody; expected {person.Events.Count} events"];
        }

        List<string> atEnd = Differences(person, profile, toMs);
        for (int i = 1; i <= Instants && atEnd.Count > 0; i++)
        {
            if (Differences(person, profile, toMs - ((toMs - fromMs) * i / Instants)).Count == 0)
            {
                return [];
            }
        }

        return atEnd;
    }

    /// <summary>Every value of the profile against the truth at one instant.</summary>
    private List<string> Differences(TruthPerson person, JsonElement profile, long nowMs)
    {
        var found = new List<string>();
        string who = person.Identifiers[0].ToString();
        var evaluation = new TruthEvaluation(model, person, nowMs);

        Set("identifiers", person.Identifiers.Select(identifier => identifier.ToString()), Items(profile, "identifiers", item => $"{item.GetProperty("type")}:{item.GetProperty("value")}").Where(identifier => !_crmIds.Any(type => identifier.StartsWith(type, StringComparison.Ordinal))));
        if (_crmIds.Count == 0)
        {
            Value("events", (double)person.Events.Count, TruthValue.At(profile, ["activity", "events"]));
        }

        foreach (string trait in evaluation.Traits.Keys.Union(Names(profile, "traits")).Where(trait => TruthValue.At(profile, ["provenance", trait, "source"])?.GetString() is not { } source || !_crms.Contains(source)))
        {
            Value($"traits.{trait}", evaluation.Traits.GetValueOrDefault(trait), TruthValue.At(profile, ["traits", trait]));
        }

        foreach (ComputedDefinition computed in model.Computed)
        {
            Value($"computed.{computed.Name}", evaluation.Computed(computed.Name), TruthValue.At(profile, ["computed", computed.Name]));
        }

        Set("segments", _segments.Where(segment => evaluation.IsMember(segment)), Items(profile, "segments", item => item.GetProperty("id").ToString()).Where(_segments.Contains));
        return found;

        void Value(string name, object? expected, JsonElement? actual)
        {
            Interlocked.Increment(ref _values);
            object? value = TruthValue.Of(actual);
            if (!AreAlike(expected, value))
            {
                found.Add($"{who}: {name} is {Text(value)}, expected {Text(expected)}");
            }
        }

        void Set(string name, IEnumerable<string> expected, IEnumerable<string> actual)
        {
            List<string> wanted = [.. expected.Order(StringComparer.Ordinal)];
            List<string> got = [.. actual.Order(StringComparer.Ordinal)];
            Interlocked.Add(ref _values, Math.Max(1, wanted.Count));
            if (!wanted.SequenceEqual(got))
            {
                found.Add($"{who}: {name} are [{string.Join(", ", got)}], expected [{string.Join(", ", wanted)}]");
            }
        }
    }

    private static IEnumerable<string> Names(JsonElement profile, string part) =>
        profile.TryGetProperty(part, out JsonElement json) && json.ValueKind == JsonValueKind.Object ? json.EnumerateObject().Where(property => property.Value.ValueKind != JsonValueKind.Null).Select(property => property.Name) : [];

    private static IEnumerable<string> Items(JsonElement profile, string part, Func<JsonElement, string> text) =>
        profile.TryGetProperty(part, out JsonElement json) && json.ValueKind == JsonValueKind.Array ? json.EnumerateArray().Select(text) : [];

    private static bool AreAlike(object? expected, object? actual) => (expected, actual) switch
    {
        (double a, double b) => a == b || Math.Abs(a - b) <= 1e-12 * Math.Max(Math.Abs(a), Math.Abs(b)),
        (List<object?> a, List<object?> b) => a.Count == b.Count && a.All(item => b.Any(other => TruthValue.AreEqual(item, other))), // A union is a set.
        _ => TruthValue.AreEqual(expected, actual),
    };

    private static string Text(object? value) => value switch
    {
        null => "null",
        double number => number.ToString("R", CultureInfo.InvariantCulture),
        JsonElement json => json.GetRawText(),
        _ => JsonSerializer.Serialize(value),
    };
}
