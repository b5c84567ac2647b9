using System.Diagnostics;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli.Simulation;

/// <summary>Works out the truth of what was sent, compares the server with it, and prints what it found.</summary>
internal static class TruthReport
{
    private const int MostLines = 50;

    /// <summary>True: no difference.</summary>
    /// <param name="model">What the server runs with.</param>
    /// <param name="sender">What was sent.</param>
    /// <param name="client">The server.</param>
    /// <param name="ownsServer">Nobody else sends to it, so its counters must be right, too.</param>
    /// <param name="output">Where to print.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<bool> VerifyAsync(CdpModel model, ShopSender sender, CdpClient client, bool ownsServer, TextWriter output, CancellationToken cancellationToken)
    {
        if (sender.Lost > 0 || !sender.RemembersAll)
        {
            await output.WriteLineAsync(sender.Lost > 0
                ? $"Not verified: {sender.Lost:N0} events were never acknowledged{(sender.LastProblem is { } problem ? $" ({problem})" : "")}, so nobody knows whether they count."
                : "Not verified: more was sent than is kept in memory to compare with. Send less or for a shorter time.").ConfigureAwait(false);
            return false;
        }

        long start = Stopwatch.GetTimestamp();
        var truth = new ShopTruth(model);
        foreach (SentEvent sent in sender.Sent)
        {
            truth.Apply(sent);
        }

        VerifyResult result = await new TruthVerifier(model, truth, client, TimeProvider.System).VerifyAsync(cancellationToken).ConfigureAwait(false);
        List<string> differences = [.. result.Differences];
        if (ownsServer)
        {
            differences.AddRange(await CountersAsync(truth, sender, client, cancellationToken).ConfigureAwait(false));
        }

        await output.WriteLineAsync(
            $"Sent: {truth.Counted:N0} events that count, {truth.Repeats:N0} repeats, {truth.DeadLetters:N0} invalid.{Environment.NewLine}"
            + $"Compared with the truth: {result.People:N0} people, {result.Values:N0} values, in {Stopwatch.GetElapsedTime(start).TotalSeconds:F1} s.").ConfigureAwait(false);
        foreach (string line in differences.Take(MostLines))
        {
            await output.WriteLineAsync("  " + line).ConfigureAwait(false);
        }

        await output.WriteLineAsync(differences.Count == 0 ? "No differences." : $"{differences.Count:N0} differences{(differences.Count > MostLines ? $", the first {MostLines} are above" : "")}.").ConfigureAwait(false);
        return differences.Count == 0;
    }

    /// <summary>Dead letters, repeats and people of the whole server.</summary>
    private static async Task<List<string>> CountersAsync(ShopTruth truth, ShopSender sender, CdpClient client, CancellationToken cancellationToken)
    {
        var differences = new List<string>();
        Metrics? metrics = Metrics.Parse(await client.TextAsync("/metrics", cancellationToken).ConfigureAwait(false));
        if (metrics is null || sender.Retries > 0)
        {
            return differences; // A call sent again may have been counted twice, rightly.
        }

        if (metrics.Sum("streamcdp_events_received_total") is { } received && received != sender.Sent.Count)
        {
            return differences; // Somebody tried the examples: the server's totals are no longer the shop's alone.
        }

        Compare("streamcdp_dead_letters_total", truth.DeadLetters);
        Compare("streamcdp_events_duplicate_total", truth.Repeats);
        Compare("streamcdp_profiles", truth.People.Count);
        return differences;

        void Compare(string name, long expected)
        {
            if (metrics.Sum(name) is { } actual && actual != expected)
            {
                differences.Add($"{name} is {actual:N0}, expected {expected:N0}");
            }
        }
    }
}
