using System.Globalization;

namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>Random histories against random faults; a seed repeats its run.</summary>
public sealed class DeliverySimulationTests
{
    private static readonly int s_rounds = int.Parse(Environment.GetEnvironmentVariable("CONNECT_SEEDS") ?? "150", CultureInfo.InvariantCulture);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Every_change_arrives_or_is_a_dead_letter_and_the_first_time_in_its_profile_s_order(bool answersPerChange)
    {
        for (int seed = 1; seed <= s_rounds; seed++)
        {
            try
            {
                await RunAsync(seed, answersPerChange);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                throw new InvalidOperationException($"Seed {seed}, answers per change {answersPerChange}: {exception.Message}", exception);
            }
        }
    }

    private static async Task RunAsync(int seed, bool answersPerChange)
    {
        var random = new Random(seed);
        using var world = new World(partitions: random.Next(1, 4));
        int people = random.Next(1, 8);
        long[] versions = new long[people + 1];
        var written = new HashSet<string>(); // Ids of all changes.
        var poison = new HashSet<string>();
        var redo = new List<Action>();
        var received = new List<ProfileChange>();
        double faults = random.NextDouble() * 0.6;
        bool isCalm = false;
        int batch = random.Next(1, 9);

        for (int step = 0; step < 12; step++)
        {
            Write(random.Next(0, 12));
            byte[]? before = File.Exists(world.CursorPath) ? await File.ReadAllBytesAsync(world.CursorPath, TestContext.Current.CancellationToken) : null;
            await world.DrainAsync(new ScriptedDestination(Answer, answersPerChange), With, seed);
            if (random.NextDouble() < 0.3)
            {
                // It died after sending and before, or while, the cursor was saved.
                if (before is null)
                {
                    File.Delete(world.CursorPath);
                }
                else
                {
                    await File.WriteAllBytesAsync(world.CursorPath, before, TestContext.Current.CancellationToken);
                }
            }
        }

        isCalm = true;
        await world.DrainAsync(new ScriptedDestination(Answer, answersPerChange), With, seed);

        Assert.Equal(written.Except(poison).Order(), received.Select(change => change.Id).Distinct().Order());
        var highest = new Dictionary<(string, bool), long>();
        foreach (ProfileChange change in received.DistinctBy(change => change.Id))
        {
            (string ProfileId, bool) line = (change.ProfileId, change.Segment is null);
            Assert.True(change.Version > highest.GetValueOrDefault(line), $"{change.Id} came for the first time after version {highest.GetValueOrDefault(line)}.");
            highest[line] = change.Version;
        }

        Assert.Equal(
            poison.Order(),
            world.Letters().DistinctBy(letter => letter.Origin).Select(letter => System.Text.Json.JsonElement.Parse(letter.Payload).GetProperty("id").GetString()!).Order());

        DestinationSettings With(DestinationSettings settings) => settings with { BatchLimit = batch, SendsProfiles = true };

        void Write(int count)
        {
            for (int i = 0; i < count; i++)
            {
                if (redo.Count > 0 && random.NextDouble() < 0.1)
                {
                    redo.Skip(random.Next(redo.Count)).ToList().ForEach(append => append()); // The engine restarted and writes its last outputs again.
                }

                int person = random.Next(1, people + 1);
                long version = ++versions[person];
                Action append;
                string id;
                if (random.NextDouble() < 0.3)
                {
                    append = () => world.Profile(person, version);
                    id = $"{World.IdText(person)}:{version}:profile";
                }
                else
                {
                    string segment = $"s{random.Next(3)}";
                    bool entered = random.NextDouble() < 0.5;
                    append = () => world.Membership(person, version, segment, entered);
                    id = $"{World.IdText(person)}:{version}:{(entered ? "entered" : "exited")}:{segment}";
                }

                append();
                redo.Add(append);
                written.Add(id);
                if (random.NextDouble() < 0.1)
                {
                    poison.Add(id);
                }
            }
        }

        IReadOnlyList<Outcome> Answer(IReadOnlyList<ProfileChange> changes, int call)
        {
            if (answersPerChange)
            {
                Assert.Equal(changes.Count, changes.Select(change => change.ProfileId).Distinct().Count());
            }

            if (!isCalm && random.NextDouble() < faults)
            {
                switch (random.Next(3))
                {
                    case 0:
                        throw new DestinationUnavailableException("away", random.Next(2) == 0 ? TimeSpan.FromSeconds(random.Next(100)) : null);
                    case 1 when !changes.Any(change => poison.Contains(change.Id)):
                        received.AddRange(changes);
                        throw new DestinationUnavailableException("The answer was lost.");
                    default:
                        throw new InvalidOperationException("A bug.");
                }
            }

            if (changes.Any(change => poison.Contains(change.Id)) && (!answersPerChange || random.Next(2) == 0))
            {
                throw new BatchRefusedException("422");
            }

            List<Outcome> outcomes = [.. changes.Select(change =>
                poison.Contains(change.Id) ? Outcome.Refused("422")
                : answersPerChange && !isCalm && random.NextDouble() < faults ? Outcome.TryAgain("busy")
                : Outcome.Taken)];
            received.AddRange(changes.Where((_, i) => outcomes[i].Kind == OutcomeKind.Taken));
            return outcomes;
        }
    }
}
