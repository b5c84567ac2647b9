using System.Text.Json;
using CsCheck;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Tests.Kit;

/// <summary>A destination with a purpose: nothing of people without consent, and what was sent of them is removed.</summary>
public sealed class ConsentTests : IDisposable
{
    private static readonly ConsentDefinition s_consent = new("marketing", new PathExpression(PathRoot.Traits, new EquatableList<string>(["ok"])));

    private readonly World _world = new();

    public void Dispose() => _world.Dispose();

    [Fact]
    public async Task Of_people_without_consent_nothing_is_sent()
    {
        Person(1, 1, null, "s");
        Person(2, 1, false, "s");
        _world.Membership(1, 1);
        _world.Membership(2, 1);
        var destination = new ScriptedDestination();

        await DrainAsync(destination, profiles: true);

        Assert.Empty(destination.Calls);
    }

    [Fact]
    public async Task Who_consents_is_sent_with_the_memberships_of_now()
    {
        Person(1, 1, false, "s", "t");
        _world.Membership(1, 1);
        var destination = new ScriptedDestination();
        await DrainAsync(destination);

        Person(1, 4, true, "s", "t");
        _world.Membership(1, 3, "t"); // Older than what was told with the consent.
        await DrainAsync(destination);

        Assert.Equal(["Entered s 4 consent", "Entered t 4 consent"], destination.Taken.Select(change => $"{change.Kind} {change.Segment} {change.Version} {change.Reason}"));
        Assert.Equal("p1@example.com", destination.Taken[0].Identifiers[0].Value);
    }

    [Fact]
    public async Task Who_takes_it_back_is_removed_once_and_comes_back_with_a_new_consent()
    {
        var destination = new ScriptedDestination();
        Person(1, 1, true, "s");
        _world.Membership(1, 1);
        await DrainAsync(destination);
        Person(1, 2, false, "s");
        Person(1, 3, false, "s");
        await DrainAsync(destination);
        _world.Membership(1, 4, entered: false);
        await DrainAsync(destination);
        Person(1, 5, true, "s");
        await DrainAsync(destination);

        Assert.Equal(["Entered 1", "Suppressed 3", "Entered 5"], destination.Taken.Select(change => $"{change.Kind} {change.Version}"));
    }

    [Fact]
    public async Task A_removal_that_was_not_taken_comes_again()
    {
        Person(1, 1, true, "s");
        await DrainAsync(new ScriptedDestination());
        Person(1, 2, false, "s");
        var paused = new ScriptedDestination((_, _) => throw new DestinationMustPauseException("no"));
        await DrainAsync(paused);
        Assert.Single(paused.Calls);

        var destination = new ScriptedDestination();
        await using (Delivery delivery = _world.Delivery(destination, With(false)))
        {
            await delivery.DrainAsync(TestContext.Current.CancellationToken);
            delivery.Resume();
            await delivery.DrainAsync(TestContext.Current.CancellationToken);
        }

        Assert.Equal(ChangeKind.Suppressed, Assert.Single(destination.Taken).Kind);
    }

    [Fact]
    public async Task What_could_not_be_sent_when_the_consent_came_is_sent_later()
    {
        Person(1, 1, true, "s");
        _world.Membership(1, 1);
        await DrainAsync(new ScriptedDestination((_, _) => throw new DestinationMustPauseException("a wrong secret")));

        var destination = new ScriptedDestination();
        await using Delivery delivery = _world.Delivery(destination, With(false));
        await delivery.DrainAsync(TestContext.Current.CancellationToken);
        delivery.Resume();
        await delivery.DrainAsync(TestContext.Current.CancellationToken);

        Assert.Equal("Entered s", Assert.Single(destination.Taken.Select(change => $"{change.Kind} {change.Segment}")));
    }

    [Fact]
    public async Task Who_was_sent_before_there_was_a_purpose_is_removed_without_consent()
    {
        Person(1, 1, false, "s");
        _world.Membership(1, 1);
        await _world.DrainAsync(new ScriptedDestination());
        Person(1, 2, false, "s");
        Person(1, 3, false, "s");
        var destination = new ScriptedDestination();
        await DrainAsync(destination);
        Person(1, 4, false, "s");
        await DrainAsync(destination);

        Assert.Equal(ChangeKind.Suppressed, Assert.Single(destination.Taken).Kind);
    }

    [Fact]
    public async Task A_merge_into_somebody_without_consent_is_told_and_removed()
    {
        Person(1, 1, true, "s");
        _world.Membership(1, 1);
        await DrainAsync(new ScriptedDestination());
        Person(2, 9, false, "s"); // Read before the merge is.
        _world.Profiles[World.IdText(1)] = new ProfileView { Id = World.IdText(1), Version = 0, MergedInto = World.IdText(2) };
        _world.Profile(1, 2, mergedInto: 2);
        var destination = new ScriptedDestination();
        await DrainAsync(destination);

        Assert.Equal([$"Merged {World.IdText(1)}", $"Suppressed {World.IdText(2)}"], destination.Taken.Select(change => $"{change.Kind} {change.ProfileId}"));
    }

    [Fact]
    public async Task Who_takes_it_back_while_the_other_side_is_away_is_not_sent()
    {
        Person(1, 1, true, "s");
        Person(2, 1, true, "s");
        _world.Membership(1, 1);
        _world.Membership(2, 1);
        var destination = new ScriptedDestination((_, call) =>
        {
            if (call > 1)
            {
                return null;
            }

            Person(1, 2, false, "s");
            throw new DestinationUnavailableException("away", TimeSpan.FromMinutes(5));
        });
        await DrainAsync(destination);

        Assert.DoesNotContain(destination.Taken, change => change.ProfileId == World.IdText(1) && change.Kind == ChangeKind.Entered);
        Assert.Contains(destination.Taken, change => change.ProfileId == World.IdText(2) && change.Kind == ChangeKind.Entered);
    }

    [Fact]
    public async Task Who_was_sent_while_there_was_no_purpose_in_between_is_removed()
    {
        await DrainAsync(new ScriptedDestination());
        Person(1, 1, false, "s");
        _world.Membership(1, 1);
        await _world.DrainAsync(new ScriptedDestination());
        Person(1, 2, false, "s");
        var destination = new ScriptedDestination();
        await DrainAsync(destination);

        Assert.Equal(ChangeKind.Suppressed, Assert.Single(destination.Taken).Kind);
    }

    /// <summary>People enter, leave, consent, take it back and become one, at any time; the receiver holds exactly what those who consent are in, and nothing of others.</summary>
    [Fact]
    public async Task In_the_end_the_other_side_holds_exactly_what_people_consent_to() =>
        await Gen.Select(Gen.Int[1, 4], Gen.Int[1, 4], Gen.Int[0, 11]).Array[1, 60].SampleAsync(
            async steps =>
            {
                using var world = new World(partitions: 2); // So that the order between profiles is not always that of the steps.
                var truth = new Dictionary<int, (long Version, bool Consents, HashSet<string> Segments)>();
                for (int i = 1; i <= 4; i++)
                {
                    truth[i] = (0, false, []);
                }

                var receiver = new Receiver();
                foreach ((int person, int other, int what) in steps)
                {
                    if (!truth.TryGetValue(person, out (long Version, bool Consents, HashSet<string> Segments) now))
                    {
                        continue;
                    }

                    now.Version++;
                    switch (what)
                    {
                        case <= 3:
                            string segment = what % 2 == 0 ? "s" : "t";
                            bool entered = now.Segments.Add(segment) || !now.Segments.Remove(segment);
                            truth[person] = now;
                            world.Membership(person, now.Version, segment, entered);
                            break;
                        case <= 6:
                            now.Consents = !now.Consents;
                            break;
                        case 7 when other != person && truth.TryGetValue(other, out (long Version, bool Consents, HashSet<string> Segments) survivor):
                            truth.Remove(person);
                            foreach (string gained in now.Segments.Except(survivor.Segments).ToArray())
                            {
                                survivor.Version++;
                                survivor.Segments.Add(gained);
                                world.Membership(other, survivor.Version, gained, reason: Schemas.MembershipReason.Merge);
                            }

                            survivor.Version++;
                            truth[other] = survivor;
                            world.Profiles[World.IdText(person)] = new ProfileView { Id = World.IdText(person), Version = 0, MergedInto = World.IdText(other) };
                            world.Profile(person, now.Version, mergedInto: other);
                            Tell(world, other, survivor.Version, survivor.Consents, survivor.Segments);
                            continue;
                        case > 8:
                            receiver.FailsNext = what == 9;
                            await DrainAsync(world, receiver);
                            break;
                    }

                    truth[person] = now;
                    Tell(world, person, now.Version, now.Consents, now.Segments);
                }

                await DrainAsync(world, receiver);

                string expected = string.Join(' ', truth.Where(person => person.Value.Consents && person.Value.Segments.Count > 0).OrderBy(person => person.Key).Select(person => $"{World.IdText(person.Key)}:{string.Join(',', person.Value.Segments.Order(StringComparer.Ordinal))}"));
                Assert.Equal(expected, receiver.Text());
            },
            iter: 120);

    /// <summary>A process that starts, sends, is paused where the other side refuses to talk, goes on, and stops.</summary>
    private static async Task DrainAsync(World world, Receiver receiver)
    {
        await using (Delivery delivery = world.Delivery(receiver, With(profiles: false)))
        {
            await delivery.DrainAsync(TestContext.Current.CancellationToken);
            delivery.Resume();
            await delivery.DrainAsync(TestContext.Current.CancellationToken);
        }
    }

    private static void Tell(World world, int person, long version, bool consents, IEnumerable<string> segments)
    {
        string traits = consents ? """{"ok":true}""" : """{"ok":false}""";
        world.Profiles[World.IdText(person)] = new ProfileView { Id = World.IdText(person), Version = version, Segments = [.. segments], Traits = JsonElement.Parse(traits) };
        world.Profile(person, version, traits);
    }

    private static Func<DestinationSettings, DestinationSettings> With(bool profiles) => settings => settings with { Consent = s_consent, SendsProfiles = profiles };

    private void Person(int person, long version, bool? consents, params string[] segments)
    {
        string traits = consents is null ? "{}" : consents.Value ? """{"ok":true}""" : """{"ok":false}""";
        _world.Profiles[World.IdText(person)] = new ProfileView { Id = World.IdText(person), Version = version, Segments = segments, Identifiers = [new ChangeIdentifier("email", $"p{person}@example.com")], Traits = JsonElement.Parse(traits) };
        _world.Profile(person, version, traits);
    }

    private async Task DrainAsync(ScriptedDestination destination, bool profiles = false) => await _world.DrainAsync(destination, With(profiles));

    /// <summary>The other side, as the page of the webhook tells it to be.</summary>
    private sealed class Receiver : IDestination
    {
        private readonly SortedDictionary<string, SortedDictionary<string, (long Version, bool IsIn)>> _held = new(StringComparer.Ordinal);

        public bool AnswersPerChange => false;

        public bool FailsNext { get; set; }

        public ValueTask<IReadOnlyList<Outcome>> SendAsync(IReadOnlyList<ProfileChange> batch, CancellationToken cancellationToken)
        {
            if (FailsNext)
            {
                FailsNext = false;
                throw new DestinationMustPauseException("a wrong secret");
            }

            foreach (ProfileChange change in batch)
            {
                if (change.Kind is ChangeKind.Merged or ChangeKind.Suppressed)
                {
                    _held.Remove(change.ProfileId);
                    continue;
                }

                if (!_held.TryGetValue(change.ProfileId, out SortedDictionary<string, (long Version, bool IsIn)>? segments))
                {
                    _held[change.ProfileId] = segments = new(StringComparer.Ordinal);
                }

                Assert.True(!segments.TryGetValue(change.Segment!, out (long Version, bool IsIn) before) || change.Version > before.Version, $"{change.Id} after version {before.Version}");
                segments[change.Segment!] = (change.Version, change.Kind == ChangeKind.Entered);
            }

            return ValueTask.FromResult(Outcome.ForAll(Outcome.Taken, batch.Count));
        }

        public string Text() => string.Join(' ', _held.Select(profile => (profile.Key, Segments: string.Join(',', profile.Value.Where(segment => segment.Value.IsIn).Select(segment => segment.Key)))).Where(profile => profile.Segments.Length > 0).Select(profile => $"{profile.Key}:{profile.Segments}"));

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
