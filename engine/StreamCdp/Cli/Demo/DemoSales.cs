using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace StreamCdp.Cli.Demo;

/// <summary>Sales people at the Tryton of the demo: they see big spenders appear, make deals with them, move the deals, and correct names. It measures how long each way takes.</summary>
/// <remarks>Both times hang on the destination's <c>poll</c> (1 s in the demo) and are measured by asking every <see cref="s_look"/>: a figure is up to that much too long.</remarks>
internal sealed class DemoSales(TrytonServer tryton, CdpClient client, DemoFeed feed, int seed)
{
    private const string ConnectionId = "tryton";
    private const string BigSpenders = "big_spenders";
    private const int WaitForDealSeconds = 30;
    private static readonly string[] s_stages = ["opportunity", "won"];
    private static readonly string[] s_lost = ["opportunity", "lost"];
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_quietFor = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_quietWithin = TimeSpan.FromSeconds(90);

    private readonly Random _random = new(seed);
    private readonly Dictionary<string, long> _entered = [];
    private readonly Dictionary<long, string> _parties = [];
    private readonly List<double> _toParty = [];
    private readonly List<double> _toSegment = [];
    private readonly Lock _lock = new();
    private int _deals;
    private int _renamed;

    /// <summary>What there is so far, in one line.</summary>
    public string Line
    {
        get
        {
            lock (_lock)
            {
                return $"parties {_parties.Count:N0}  deals {_deals:N0}  names corrected {_renamed:N0}  segment to party {Times(_toParty)}  stage to segment {Times(_toSegment)}";
            }
        }
    }

    /// <summary>Works until told to stop.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        feed.Changed += Entered;
        try
        {
            await Task.WhenAll(AgainAsync(WatchAsync, stop), AgainAsync(SellAsync, stop)).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // Home time.
        }
        finally
        {
            feed.Changed -= Entered;
        }
    }

    /// <summary>Waits until nothing moves any more, then compares every party with its profile.</summary>
    /// <returns>True: both sides hold the same, and only the polls go on.</returns>
    public async Task<bool> CompareAsync(TextWriter output, CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp();
        List<string> differences;
        do
        {
            await Task.Delay(s_pause, cancellationToken).ConfigureAwait(false);
            differences = await DifferencesAsync(cancellationToken).ConfigureAwait(false);
        }
        while (differences.Count > 0 && Stopwatch.GetElapsedTime(start) < s_quietWithin);

        (double requests, double writes) before;
        (double requests, double writes) after = await CountersAsync(cancellationToken).ConfigureAwait(false);
        do
        {
            before = after;
            await Task.Delay(s_quietFor, cancellationToken).ConfigureAwait(false);
            after = await CountersAsync(cancellationToken).ConfigureAwait(false);
        }
        while (after.writes != before.writes && Stopwatch.GetElapsedTime(start) < s_quietWithin);

        await output.WriteLineAsync(Line).ConfigureAwait(false);
        await output.WriteLineAsync(
            $"Compared Tryton with the profiles: {_parties.Count:N0} parties. {(differences.Count == 0 ? "No differences." : $"{differences.Count:N0} differences:")}{Environment.NewLine}"
            + $"In {s_quietFor.TotalSeconds:0} s with nothing to do: {after.writes - before.writes:N0} writes, {after.requests - before.requests:N0} requests (the poll of each second).").ConfigureAwait(false);
        foreach (string line in differences.Take(20))
        {
            await output.WriteLineAsync("  " + line).ConfigureAwait(false);
        }

        return differences.Count == 0 && after.writes == before.writes;
    }

    private void Entered(string change, string profile, string segment)
    {
        if (change == "entered" && segment == BigSpenders)
        {
            lock (_lock)
            {
                _entered.TryAdd(profile, Stopwatch.GetTimestamp());
            }
        }
    }

    /// <summary>Goes on after an error of Tryton, such as a record that somebody else writes at this moment: a sales person tries again.</summary>
    private static async Task AgainAsync(Func<CancellationToken, Task> work, CancellationToken stop)
    {
        while (true)
        {
            try
            {
                await work(stop).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is InvalidOperationException or JsonException or HttpRequestException)
            {
                await Task.Delay(s_pause, stop).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Looks for parties that came into the category.</summary>
    private async Task WatchAsync(CancellationToken stop)
    {
        while (true)
        {
            List<long> fresh = [.. (await SearchAsync(stop).ConfigureAwait(false)).Where(id => !_parties.ContainsKey(id))];
            long now = Stopwatch.GetTimestamp();
            foreach (JsonElement party in fresh.Count == 0 ? [] : await ReadAsync(fresh, stop).ConfigureAwait(false))
            {
                if (ProfileId(party) is not { } profile)
                {
                    continue; // Its identifier comes with the next look.
                }

                lock (_lock)
                {
                    _parties.Add(party.GetProperty("id").GetInt64(), profile);
                    if (_entered.TryGetValue(profile, out long entered))
                    {
                        _toParty.Add(Stopwatch.GetElapsedTime(entered, now).TotalSeconds);
                    }
                }
            }

            await Task.Delay(s_look, stop).ConfigureAwait(false);
        }
    }

    private async Task SellAsync(CancellationToken stop)
    {
        while (true)
        {
            await Task.Delay(s_pause, stop).ConfigureAwait(false);
            List<(long Party, string Profile)> parties;
            lock (_lock)
            {
                parties = [.. _parties.Select(party => (party.Key, party.Value))];
            }

            if (parties.Count == 0)
            {
                continue;
            }

            (long party, string profile) = parties[_random.Next(parties.Count)];
            if (_random.Next(3) == 0)
            {
                _renamed++;
                await tryton.CallAsync("model.party.party.write", $$"""[[{{party}}],{"name":"Corrected {{_renamed}}"},{}]""", stop).ConfigureAwait(false);
                continue;
            }

            int amount = _random.Next(10_001, 50_000);
            JsonElement made = await tryton.CallAsync("model.sale.opportunity.create", $$$"""[[{"party":{{{party}}},"employee":1,"description":"Deal {{{++_deals}}}","amount":{"__class__":"Decimal","decimal":"{{{amount}}}"},"company":1}],{"company":1}]""", stop).ConfigureAwait(false);
            if (!await IsHotAsync(profile, expected: true, stop).ConfigureAwait(false))
            {
                continue;
            }

            // Only where this is the person's one open deal, its end moves the segment.
            foreach (string stage in _random.Next(2) == 0 ? s_stages : s_lost)
            {
                await tryton.CallAsync("model.sale.opportunity.write", $$"""[[{{made[0]}}],{"state":"{{stage}}"},{"company":1}]""", stop).ConfigureAwait(false);
            }

            long moved = Stopwatch.GetTimestamp();
            if (await IsHotAsync(profile, expected: false, stop).ConfigureAwait(false))
            {
                lock (_lock)
                {
                    _toSegment.Add(Stopwatch.GetElapsedTime(moved).TotalSeconds);
                }
            }
        }
    }

    /// <summary>Waits until the profile is in the segment of open deals, or is not.</summary>
    private async Task<bool> IsHotAsync(string profile, bool expected, CancellationToken stop)
    {
        long start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start).TotalSeconds < WaitForDealSeconds)
        {
            JsonElement? found = await client.ProfileAsync("id", profile, "?include=segments", stop).ConfigureAwait(false);
            if (found is { } json && Segments(json).Contains("hot_lead") == expected)
            {
                return true;
            }

            await Task.Delay(s_look, stop).ConfigureAwait(false);
        }

        return false;
    }

    private async Task<List<string>> DifferencesAsync(CancellationToken cancellationToken)
    {
        var differences = new List<string>();
        IReadOnlyList<long> ids = await SearchAsync(cancellationToken).ConfigureAwait(false);
        foreach (long[] some in ids.Chunk(100))
        {
            foreach (JsonElement party in await ReadAsync(some, cancellationToken).ConfigureAwait(false))
            {
                string id = party.GetProperty("id").ToString();
                JsonElement? found = await client.ProfileAsync("tryton_contact_id", id, "?wait=true&timeout=30000", cancellationToken).ConfigureAwait(false);
                if (found is not { } profile)
                {
                    differences.Add($"party {id}: no profile has it");
                    continue;
                }

                Compare("name", party.GetProperty("name").GetString(), profile.GetProperty("traits").TryGetProperty("name", out JsonElement name) ? name.GetString() : null);
                string[] mails = [.. party.GetProperty("contact_mechanisms.").EnumerateArray().Where(one => one.GetProperty("type").GetString() == "email").Select(one => one.GetProperty("value").GetString()!)];
                string[] known = [.. profile.GetProperty("identifiers").EnumerateArray().Where(one => one.GetProperty("type").GetString() == "email").Select(one => one.GetProperty("value").GetString()!)];
                if (mails.Length != 1 || !known.Contains(mails[0]))
                {
                    differences.Add($"party {id}: {mails.Length} e-mail addresses, the profile has {known.Length}");
                }

                Compare("lists", string.Join(' ', party.GetProperty("categories.").EnumerateArray().Select(one => one.GetProperty("name").GetString()).Order()), string.Join(' ', Segments(profile).Where(segment => segment is BigSpenders or "hot_lead").Order()));

                void Compare(string what, string? theirs, string? ours)
                {
                    if (theirs != ours)
                    {
                        differences.Add($"party {id}: {what} is \"{theirs}\", the profile's is \"{ours}\"");
                    }
                }
            }
        }

        return differences;
    }

    private async Task<(double Requests, double Writes)> CountersAsync(CancellationToken cancellationToken)
    {
        JsonElement all = await client.GetAsync("/v1/connectors", cancellationToken).ConfigureAwait(false) ?? throw new CliException("The server has no connectors.");
        JsonElement status = all.GetProperty("connectors").EnumerateArray().First(one => one.GetProperty("id").GetString() == ConnectionId);
        return (status.GetProperty("requests").GetDouble(), status.GetProperty("taken").GetDouble());
    }

    private async Task<IReadOnlyList<long>> SearchAsync(CancellationToken cancellationToken) =>
        [.. (await tryton.CallAsync("model.party.party.search", $$"""[[["categories.name","=","{{BigSpenders}}"]],0,null,null,{}]""", cancellationToken).ConfigureAwait(false)).EnumerateArray().Select(id => id.GetInt64())];

    private async Task<IEnumerable<JsonElement>> ReadAsync(IReadOnlyList<long> ids, CancellationToken cancellationToken) =>
        (await tryton.CallAsync("model.party.party.read", $$"""[[{{string.Join(',', ids)}}],["name","identifiers.code","contact_mechanisms.type","contact_mechanisms.value","categories.name"],{}]""", cancellationToken).ConfigureAwait(false)).EnumerateArray();

    private static string? ProfileId(JsonElement party) =>
        party.GetProperty("identifiers.").EnumerateArray().Select(one => one.GetProperty("code").GetString()!).Where(code => code.StartsWith("streamcdp:", StringComparison.Ordinal)).Select(code => code["streamcdp:".Length..]).FirstOrDefault();

    private static IEnumerable<string> Segments(JsonElement profile) => profile.GetProperty("segments").EnumerateArray().Select(one => one.GetProperty("id").GetString()!);

    private static string Times(List<double> seconds)
    {
        if (seconds.Count == 0)
        {
            return "–";
        }

        List<double> sorted = [.. seconds.Order()];
        return string.Create(CultureInfo.InvariantCulture, $"p50 {sorted[sorted.Count / 2]:F1} s, longest {sorted[^1]:F1} s");
    }
}
