using StreamCdp.Engine.Model;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>RULES.md, slow and obvious: everybody's full list of events, and everything from scratch at each instant. Shares nothing with the engine but the model's objects.</summary>
/// <remarks>
/// One partition of <c>events</c>, one shard (in wall mode <c>now</c> is one for all).
/// Choices where RULES.md leaves room:
/// 1. A linking event's merge and the event itself are evaluated together, once: cause = its messageId, reason <see cref="OracleReason.Merge"/> where a profile that had events
///    was merged in, else <see cref="OracleReason.Event"/>. A survivor keeps <c>since</c> of what it
///    was in; what only a loser was in is an entry of the survivor at that instant. The loser's memberships vanish without exits.
/// 2. A left-out unknown identifier is remembered nowhere (§3.2): a later event may link it, also where it does not come first.
/// 3. An event "names" (first_seen, last_seen, source) the identifiers that it kept, not those left out.
/// 4. Order of joining: the survivor's identifiers, then those of the others reached in the event's order (a new identifier is a person of its own until then).
/// 5. An identifier that is already among those reached is kept whatever <c>merge_by</c> says: it links nothing new.
/// 6. <c>merged_from</c> names only people who had events; those of a loser come before the loser itself.
/// 7. The type of <c>previousId</c> is decided before the event is linked. As the only identifier it is also the sender, as an anonymous_id where it can be one.
/// 8. Repeats and dead letters move no clock. A messageId is text that is not empty. A repeat is also one received before the kept event.
/// 9. Dead letters: the first reason of size, JSON, type, event, properties, traits, context, timestamp, identifiers is told. An empty <c>event</c> is none; one of spaces is a name.
/// 10. Client times: JSON integers, and ISO 8601 in the extended format, without an offset UTC; cut to milliseconds before the correction. import: never later than receivedAt either,
///     and <c>originalTimestamp</c> before <c>timestamp</c>. Phone numbers: all white space is removed.
/// 11. Batch context: for events without the key context (null is a context).
/// 12. Blocked defaults "in quotes": one pair of ' or ".
/// 13. Traits: <c>prefer</c> says something for <c>latest</c> only. A union flattens arrays in arrays, leaves out objects; its order is that of adding; "added" is judged in order (§4.2).
/// 14. The limits of exact sums (by value: 1.50 has one decimal) are for sum and avg, not for min and max, which take every finite number. avg is decimal sum / count, then a double.
/// 15. "page:X" names page events only, never a track called "page:X". <c>event</c> in where: is the name of a page or screen, null where there is none.
/// 16. Different values (unique_count, most_frequent) are different JSON texts, or different texts: 1 and 1.0 are two.
/// 17. A boolean operand that is not true counts as false. Booleans and lists have no order. <c>in</c> and <c>contains</c> compare dates as texts.
/// 18. A tick at N evaluates d ≤ N, also where now is already later than N.
/// 19. CRM: <c>context.crm</c> null is none; an id is not trimmed; of a field that comes twice the last one counts. Fields called id and source are no fields.
/// Not here: split, erase, backfill, suppression, shared: latest, more than 1,000 CRM records, forgetting beyond 256 and 64 different values.
/// </remarks>
internal sealed class OracleWorld(CdpModel model, OracleClock clock, TimeSpan dedupWindow, int maxIdentifiers = 1000)
{
    private readonly List<OraclePerson> _people = [];
    private readonly List<OracleRecord> _accepted = [];
    private readonly List<OracleOutcome> _outcomes = [];
    private int _decisions;

    public CdpModel Model => model;

    /// <summary>Unix ms; <see cref="long.MinValue"/> before the first event or tick.</summary>
    public long NowMs { get; private set; } = long.MinValue;

    /// <summary>One for each event fed, in log order.</summary>
    public IReadOnlyList<OracleOutcome> Outcomes => _outcomes;

    /// <summary>Everybody ever, losers too, by <see cref="OraclePerson.Id"/>.</summary>
    public IReadOnlyList<OraclePerson> Everybody => _people;

    /// <summary>Those that are nobody else by now.</summary>
    public IEnumerable<OraclePerson> People => _people.Where(person => person.MergedInto is null);

    /// <summary>Identifiers left out or dropped, by rule: limit, cap, merge_by, invalid, blocked.</summary>
    public Dictionary<string, int> Refused { get; } = [];

    /// <summary>Who has an identifier (normalised); null: nobody.</summary>
    public OraclePerson? Find(string type, string value) => People.FirstOrDefault(person => person.Identifiers.Contains(new OracleIdentifier(type, value)));

    public OracleOutcome Feed(OracleEvent input)
    {
        OracleOutcome outcome = Take(input);
        _outcomes.Add(outcome);
        return outcome;
    }

    /// <summary>Wall clock only: time is <paramref name="nowMs"/>.</summary>
    public void Tick(long nowMs)
    {
        if (clock == OracleClock.Event)
        {
            throw new InvalidOperationException("The event clock has no ticks of its own.");
        }

        NowMs = Math.Max(NowMs, nowMs);
        PassTimeForAll(nowMs);
    }

    /// <summary>Everything up to now, for everybody: when the log is at its end.</summary>
    public void Settle() => PassTimeForAll(NowMs);

    private OracleOutcome Take(OracleEvent input)
    {
        var reader = new OracleReader(model, value => IsKnown(new OracleIdentifier("user_id", value)), Count);
        (OracleRecord? record, OracleOutcome? deadLetter) = reader.Read(input, _outcomes.Count);
        if (record is null)
        {
            return deadLetter!;
        }

        if (IsRepeat(record))
        {
            return new OracleOutcome(OracleVerdict.Repeat, null, null, null);
        }

        _accepted.Add(record);
        NowMs = Math.Max(NowMs, record.TimeMs);
        List<OraclePerson> reached = Reach(record);
        OraclePerson survivor = Survivor(reached);
        Decide(record, reached, survivor);

        foreach (OraclePerson person in reached)
        {
            PassTime(person, NowMs - 1);
        }

        OracleReason reason = reached.Any(person => person != survivor && person.Id != 0) ? OracleReason.Merge : OracleReason.Event;
        Join(survivor, reached);
        survivor.Events.Add(record);
        survivor.Events.Sort((a, b) => (a.TimeMs, a.Log).CompareTo((b.TimeMs, b.Log)));
        if (survivor.Id == 0)
        {
            _people.Add(survivor);
            survivor.Id = _people.Count;
        }

        Evaluate(survivor, NowMs, record.MessageId, reason);
        survivor.EvaluatedThroughMs = NowMs;
        return new OracleOutcome(OracleVerdict.Applied, null, null, survivor);
    }

    /// <summary>RULES.md §2.</summary>
    private bool IsRepeat(OracleRecord record) =>
        record.MessageId is not null && _accepted.Any(kept =>
            kept.MessageId == record.MessageId && kept.Sender == record.Sender && record.ReceivedAtMs - kept.ReceivedAtMs < (long)dedupWindow.TotalMilliseconds);

    /// <summary>RULES.md §3.1, §3.2, §3.3, §3.7: the people that the event reaches, the first identifier's first.</summary>
    private List<OraclePerson> Reach(OracleRecord record)
    {
        OracleIdentifier first = record.Identifiers[0];
        List<OraclePerson> reached = [PersonOf(first)];
        record.Kept.Add(first);
        bool isPublic = !model.Sources.Any(source => source.Id == record.SourceId && source.Trusted);
        bool isFirstBound = isPublic && IsMergedByServer(first);

        foreach (OracleIdentifier identifier in record.Identifiers.Skip(1))
        {
            if (reached.Any(person => person.Identifiers.Contains(identifier)))
            {
                record.Kept.Add(identifier);
                continue;
            }

            OraclePerson other = PersonOf(identifier);
            if (isFirstBound || (isPublic && IsMergedByServer(identifier)))
            {
                Count("merge_by");
            }
            else if (BreaksLimit(reached, other))
            {
                Count("limit");
            }
            else if (reached.Sum(person => person.Identifiers.Count) + other.Identifiers.Count > maxIdentifiers)
            {
                Count("cap");
            }
            else
            {
                reached.Add(other);
                record.Kept.Add(identifier);
            }
        }

        return reached;
    }

    /// <summary>A type's number grows and is larger than its limit.</summary>
    private bool BreaksLimit(List<OraclePerson> reached, OraclePerson other) => model.Identifiers.Any(type =>
    {
        int before = reached.Sum(person => person.Identifiers.Count(identifier => identifier.Type == type.Type));
        int after = before + other.Identifiers.Count(identifier => identifier.Type == type.Type);
        return after > before && after > type.Limit;
    });

    /// <summary>A known identifier of a type with <c>merge_by: server</c>.</summary>
    private bool IsMergedByServer(OracleIdentifier identifier) =>
        model.Identifiers.Any(type => type.Type == identifier.Type && type.MergeByServer) && IsKnown(identifier);

    /// <summary>A decision names it: its person was decided on.</summary>
    private bool IsKnown(OracleIdentifier identifier) => Find(identifier.Type, identifier.Value)?.Epoch is not null;

    private OraclePerson PersonOf(OracleIdentifier identifier)
    {
        if (Find(identifier.Type, identifier.Value) is { } known)
        {
            return known;
        }

        var person = new OraclePerson();
        person.Identifiers.Add(identifier);
        return person;
    }

    /// <summary>RULES.md §3.5.</summary>
    private static OraclePerson Survivor(List<OraclePerson> reached) =>
        reached.Where(person => person.Epoch is not null).MinBy(person => person.Epoch) ?? reached[0];

    /// <summary>RULES.md §3.4.</summary>
    private void Decide(OracleRecord record, List<OraclePerson> reached, OraclePerson survivor)
    {
        bool isLink = reached.Count > 1;
        bool isFirstUse = reached[0].Epoch is null && record.Identifiers[0].Type != "anonymous_id";
        if (isLink || isFirstUse)
        {
            _decisions++;
            survivor.Epoch ??= _decisions;
        }
    }

    private static void Join(OraclePerson survivor, List<OraclePerson> reached)
    {
        foreach (OraclePerson loser in reached.Where(person => person != survivor))
        {
            survivor.Identifiers.AddRange(loser.Identifiers);
            survivor.Events.AddRange(loser.Events);
            if (loser.Id != 0)
            {
                survivor.MergedFrom.AddRange([.. loser.MergedFrom, loser.Id]);
            }

            loser.MergedInto = survivor;
            loser.Memberships.Clear();
        }
    }

    private void PassTimeForAll(long throughMs)
    {
        foreach (OraclePerson person in People)
        {
            PassTime(person, throughMs);
        }
    }

    /// <summary>RULES.md §7: every instant at which time may change something, at its own instant.</summary>
    private void PassTime(OraclePerson person, long throughMs)
    {
        if (person.Events.Count == 0 || throughMs <= person.EvaluatedThroughMs)
        {
            return;
        }

        foreach (long instant in OracleInstants.Of(model, person, person.EvaluatedThroughMs, throughMs))
        {
            Evaluate(person, instant, null, OracleReason.Time);
        }

        person.EvaluatedThroughMs = throughMs;
    }

    private void Evaluate(OraclePerson person, long atMs, string? cause, OracleReason reason)
    {
        var evaluation = new OracleEvaluation(model, person, atMs);
        foreach (SegmentDefinition segment in model.Segments)
        {
            bool isMember = evaluation.IsTrue(segment.When);
            if (isMember != person.Memberships.ContainsKey(segment.Id))
            {
                person.Changes.Add(new OracleChange(segment.Id, isMember, atMs, cause, reason));
                if (isMember)
                {
                    person.Memberships.Add(segment.Id, atMs);
                }
                else
                {
                    person.Memberships.Remove(segment.Id);
                }
            }
        }
    }

    private void Count(string rule) => Refused[rule] = Refused.GetValueOrDefault(rule) + 1;
}
