using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Crm;

/// <summary>Keeps the records of a CRM and the profiles of the engine equal, as far as the fields' policies say so.</summary>
/// <remarks>
/// It never asks when something changed, but what each side has now and what both last agreed on (<see cref="FieldMerge"/>); so an echo is no change, a step that a crash
/// cut off is made again without harm, and where both sides are quiet it comes to an end. Order of a round: observe (records become events), decide with the profiles that have applied
/// them, write to the profile, write to the CRM, observe what was stored, save links and cursors in one transaction. Not safe for concurrent use.
/// </remarks>
internal sealed class CrmSync
{
    private const int MaxRounds = 6; // What is not settled then is settled by the next pass: both sides are changing.
    private const int MaxWrites = 100;
    private const int MaxIdentifier = 500; // Characters. A longer one names nobody, and would make the event too long.
    private const int MaxTrait = 8_000; // Characters of JSON. Longer texts stay in the CRM.
    private const int MaxTraits = 16_000; // Of one event, which may have 32 KiB in all.
    private const string DeletesCursor = "deletes";

    private static readonly JsonElement s_null = JsonElement.Parse("null"u8);

    private readonly CrmSettings _settings;
    private readonly ICrm _crm;
    private readonly CrmLinks _links;
    private readonly IProfiles _profiles;
    private readonly TimeProvider _time;
    private readonly CrmEvents _events;
    private readonly Func<ProfileChange, string, CancellationToken, ValueTask> _refuse;

    private volatile DeletesOfDay _deletes;

    /// <param name="settings">What it does.</param>
    /// <param name="crm">The CRM.</param>
    /// <param name="links">What is known of it.</param>
    /// <param name="profiles">The engine.</param>
    /// <param name="time">Clock.</param>
    /// <param name="refuse">Takes what the CRM refused for good, with the reason; returns when it is durable.</param>
    public CrmSync(CrmSettings settings, ICrm crm, CrmLinks links, IProfiles profiles, TimeProvider time, Func<ProfileChange, string, CancellationToken, ValueTask> refuse)
    {
        (_settings, _crm, _links, _profiles, _time, _refuse) = (settings, crm, links, profiles, time, refuse);
        _events = new CrmEvents(settings, crm.ContactIdType, profiles, time);
        _deletes = links.Cursor(DeletesCursor) is { Length: > 0 } saved ? new DeletesOfDay(saved.Split(' ')[0], int.Parse(saved.Split(' ')[1], CultureInfo.InvariantCulture)) : new DeletesOfDay("", 0);
    }

    /// <summary>Writes that the CRM took, since the start.</summary>
    public long Written { get; private set; }

    /// <summary>Writes that the CRM refused, since the start.</summary>
    public long Refused { get; private set; }

    /// <summary>Conflicts that came about, since the start.</summary>
    public long Conflicts { get; private set; }

    /// <summary>Contacts that were deleted in the CRM, since the start.</summary>
    public long Deleted { get; private set; }

    /// <summary>Deletions begun today (UTC), over restarts; may be asked by any thread.</summary>
    public DeletesOfDay Deletes => _deletes is var deletes && string.CompareOrdinal(Today, deletes.Day) > 0 ? new DeletesOfDay(Today, 0) : deletes; // A clock that is set back gives no second allowance.

    /// <summary>Contacts that may be deleted now: others that are to go wait until it is known what the CRM did with them meanwhile.</summary>
    public HashSet<string> MayDelete { get; set; } = [];

    /// <summary>How many contacts may be deleted today still.</summary>
    public int DeletesLeft => _settings.DeletesAtMost is { } most ? Math.Max(0, most - Deletes.Count) : 0;

    private string Today => _time.GetUtcNow().ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    /// <summary>Brings both sides together for some records and some profiles.</summary>
    /// <param name="records">As the CRM has them now.</param>
    /// <param name="profileIds">Canonical ids of profiles that may have changed.</param>
    /// <param name="cursors">Saved with the links.</param>
    /// <param name="cancellationToken">Gives up; what was done is done again.</param>
    /// <param name="only">Nothing else is changed on either side, and what is left out is settled by the next look at it; null: all.</param>
    public async ValueTask ProcessAsync(IReadOnlyList<CrmRecord> records, IReadOnlyCollection<string> profileIds, IReadOnlyList<(string Name, string Value)> cursors, CancellationToken cancellationToken, PlannedChanges? only = null)
    {
        var round = new Round(_links) { Only = only };
        await ObserveAsync(round, records, cancellationToken).ConfigureAwait(false);
        if (profileIds.Count > 0)
        {
            await AddProfilesAsync(round, profileIds, cancellationToken).ConfigureAwait(false);
        }

        for (int i = 0; i < MaxRounds && (round.Unsettled.Count > 0 || round.HasEvents); i++)
        {
            await ApplyAsync(round, cancellationToken).ConfigureAwait(false);
            await SettleAsync(round, cancellationToken).ConfigureAwait(false);
        }

        await ThrowIfFailedAsync(round, cancellationToken).ConfigureAwait(false);
        await ApplyAsync(round, cancellationToken).ConfigureAwait(false);
        foreach (CrmLink link in round.Links.Values)
        {
            link.IsOpen = (round.Unsettled.ContainsKey(link.Id) || round.Held.Contains(link.Id)) && link.Kind == CrmObject.Contact; // The next look at it settles it.
        }

        Conflicts += _links.Save(round.Links.Values, cursors, round.Conflicts);
    }

    /// <summary>Lets a refused write be tried again.</summary>
    public ValueTask ReplayAsync(string profileId, CancellationToken cancellationToken)
    {
        List<CrmLink> links = [.. _links.OfProfile(CrmObject.Contact, profileId)];
        foreach (CrmLink link in links)
        {
            foreach ((string field, AgreedPair pair) in link.Agreed.Where(agreed => agreed.Value.IsRefused).ToList())
            {
                link.Agreed[field] = pair with { Ours = null, IsRefused = false };
            }
        }

        links.ForEach(link => link.IsDeleteRefused = false);
        _links.Save(links, [(RefusedCursor(profileId), "")]);
        return ProcessAsync([], [profileId], [], cancellationToken);
    }

    // ---- The CRM's side ------------------------------------------------------------------------------------------------------------

    /// <summary>Writes an event for each record that is not as it was last seen.</summary>
    /// <remarks>
    /// A list may be behind: what it shows that is not newer than what was seen already, or no longer deleted, is read by its id before it is believed. Else an old value from a
    /// search that lags would be taken for somebody's edit, and two records of one person would pass it to each other for ever (found by the simulation).
    /// </remarks>
    private async ValueTask ObserveAsync(Round round, IReadOnlyList<CrmRecord> records, CancellationToken cancellationToken, bool isSure = false)
    {
        if (!isSure)
        {
            HashSet<(CrmObject Kind, string Id)> doubtful = [.. records.Where(record => !record.IsDeleted && IsDoubtful(round.Link(record.Kind, record.Id), record)).Select(record => (record.Kind, record.Id))];
            if (doubtful.Count > 0)
            {
                records = [.. records.Where(record => !doubtful.Contains((record.Kind, record.Id)))];
                foreach (IGrouping<CrmObject, (CrmObject Kind, string Id)> same in doubtful.GroupBy(one => one.Kind))
                {
                    foreach (string[] ids in same.Select(one => one.Id).Chunk(MaxWrites))
                    {
                        await ObserveAsync(round, await _crm.ReadAsync(same.Key, ids, cancellationToken).ConfigureAwait(false), cancellationToken, isSure: true).ConfigureAwait(false);
                    }
                }
            }
        }

        var again = new HashSet<string>(StringComparer.Ordinal);
        foreach (CrmRecord record in records.GroupBy(record => (record.Kind, record.Id)).Select(same => same.Last()))
        {
            CrmLink link = round.Link(record.Kind, record.Id);
            if (record.IsDeleted)
            {
                ObserveGone(round, link, record.MergedInto);
                if (record.MergedInto is { } into && record.Kind == CrmObject.Contact)
                {
                    again.Add(into); // A merge may change the survivor without telling.
                }

                continue;
            }

            string hash = Hash(record);
            link.Revision = record.Revision;
            link.ModifiedAt = record.ModifiedAt;
            link.IsOurs |= record.ExternalId is not null; // Also one whose answer was lost when it was made.
            if (hash == link.Hash && !link.IsDeleted)
            {
                if (link.IsOpen || link.AwaitsDelete || (_settings.DeletesAtMost is not null && link.IsDeletable)) // Its person's consent may have been taken back while nothing was deleted.
                {
                    round.Unsettled[link.Id] = link;
                }

                continue;
            }

            link.IsDeleteRefused = false;
            Unsettle(round, link.ContactIds.Except(record.ContactIds));
            if (record.Kind == CrmObject.Contact)
            {
                _events.Contact(link, record, [.. Identifiers(_settings, record.Fields), .. round.Extra(record.Id)]);
                round.Unsettled[link.Id] = link;
            }
            else if (IsOwnActivity(link, record))
            {
                // Nobody did anything. What somebody changes of it later is told, and so is whose it is.
                (link.Hash, link.IsDeleted, link.Seen) = (hash, false, new Dictionary<string, JsonElement>(record.Fields));
                continue;
            }
            else
            {
                _events.Record(link, record);
            }

            round.HasEvents = true;
            (link.Hash, link.IsDeleted, link.Seen, link.ContactIds) = (hash, false, new Dictionary<string, JsonElement>(record.Fields), [.. record.ContactIds]);
        }

        again.ExceptWith(records.Where(record => record.Kind == CrmObject.Contact && !record.IsDeleted).Select(record => record.Id));
        if (again.Count > 0)
        {
            await ObserveAsync(round, await _crm.ReadAsync(CrmObject.Contact, [.. again], cancellationToken).ConfigureAwait(false), cancellationToken, isSure: true).ConfigureAwait(false);
        }
    }

    /// <summary>A list shows it otherwise than it was seen, and no newer.</summary>
    internal static bool IsDoubtful(CrmLink link, CrmRecord record) =>
        link.IsDeleted || ((link.EmittedMs > 0 || link.Hash.Length > 0) && record.ModifiedAt is not null && record.ModifiedAt <= link.ModifiedAt && Hash(record) != link.Hash);

    /// <summary>A note or task that an action made, as it is seen for the first time, or as it was then: that its contact is another one since, as after a merge, is nobody's work.</summary>
    internal static bool IsOwnActivity(CrmLink link, CrmRecord record) =>
        record is { Kind: CrmObject.Activity, ExternalId: not null } && link.Sequence == 0 && (link.Hash.Length == 0 || Digest(link.Seen, []) == Digest(record.Fields, []));

    /// <summary>Contacts that a deal named and names no more: one that was to be deleted may be now.</summary>
    private void Unsettle(Round round, IEnumerable<string> contactIds)
    {
        foreach (string id in _settings.DeletesAtMost is null ? [] : contactIds)
        {
            if (round.Link(CrmObject.Contact, id) is { IsDeletable: true, Hash.Length: > 0 } contact)
            {
                round.Unsettled[id] = contact;
            }
        }
    }

    private void ObserveGone(Round round, CrmLink link, string? mergedInto)
    {
        link.AwaitsDelete = false;
        bool wasThere = link.EmittedMs > 0;
        if (link.IsDeleted && (mergedInto is null || !wasThere))
        {
            return;
        }

        bool isNews = !link.IsDeleted && (wasThere || mergedInto is not null);
        link.IsDeleted = true;
        round.Unsettled.Remove(link.Id);
        if (!isNews)
        {
            return;
        }

        if (link.Kind == CrmObject.Contact)
        {
            _events.ContactGone(link, mergedInto);
            if (mergedInto is not null)
            {
                CrmLink survivor = round.Link(CrmObject.Contact, mergedInto);
                survivor.IsShared = true; // Somebody merged them; where it was the sync, it knows better.
                survivor.UnsureLists = [.. _settings.Lists]; // CRMs give the survivor the loser's place on lists.
                if (survivor is { IsDeleted: false, Hash.Length: > 0 })
                {
                    round.Unsettled[mergedInto] = survivor;
                }
            }
        }
        else
        {
            _events.Record(link, new CrmRecord { Kind = link.Kind, Id = link.Id, IsDeleted = true });
            Unsettle(round, link.ContactIds);
        }

        round.HasEvents = true;
        (link.Seen, link.ContactIds, link.Hash) = ([], [], "");
    }

    /// <summary>Identifiers of a contact's person that its fields hold.</summary>
    internal static IEnumerable<ChangeIdentifier> Identifiers(CrmSettings settings, IReadOnlyDictionary<string, JsonElement> fields)
    {
        foreach (FieldRule rule in settings.Fields.Where(rule => rule.Direction != SyncDirection.Out && rule.Value?.Root == PathRoot.Identifiers))
        {
            if (fields.TryGetValue(rule.Field, out JsonElement value) && value.ValueKind == JsonValueKind.String && value.GetString() is { Length: > 0 and <= MaxIdentifier } text)
            {
                yield return new ChangeIdentifier(rule.Value!.Path[0], text);
            }
        }
    }

    // ---- The profiles' side --------------------------------------------------------------------------------------------------------

    /// <summary>Adds the contacts of profiles, and makes those that are missing.</summary>
    private async ValueTask AddProfilesAsync(Round round, IReadOnlyCollection<string> profileIds, CancellationToken cancellationToken)
    {
        List<ProfileView> without = [];
        var unknown = new HashSet<string>(StringComparer.Ordinal);
        foreach (ProfileView? found in await FindAllAsync("id", profileIds, cancellationToken).ConfigureAwait(false))
        {
            if (found is not { MergedInto: null } view)
            {
                continue; // Merged away: the survivor has a change of its own.
            }

            bool hasContact = false;
            foreach (string contact in ContactsOf(view))
            {
                CrmLink link = round.Link(CrmObject.Contact, contact);
                hasContact |= !link.IsRemoved;
                if (link.IsDeleted)
                {
                    continue;
                }

                if (link.Hash.Length == 0)
                {
                    unknown.Add(contact); // Somebody named it before the CRM told us.
                }
                else
                {
                    round.Unsettled[contact] = link;
                }
            }

            if (!hasContact && view.Segments.Any(_settings.CreateFor.Contains) && _links.OfProfile(CrmObject.Contact, view.Id).All(link => link.IsRemoved) && round.Only?.AllowsNew(view.Id, OutFields(_settings, view)) != false)
            {
                without.Add(view);
            }
        }

        foreach (string[] ids in unknown.Chunk(MaxWrites))
        {
            await ObserveAsync(round, await _crm.ReadAsync(CrmObject.Contact, ids, cancellationToken).ConfigureAwait(false), cancellationToken, isSure: true).ConfigureAwait(false);
        }

        foreach (ProfileView[] views in without.DistinctBy(view => view.Id).Chunk(MaxWrites))
        {
            await CreateAsync(round, views, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Makes contacts, unless the CRM has them under our id or their e-mail.</summary>
    private async ValueTask CreateAsync(Round round, IReadOnlyList<ProfileView> views, CancellationToken cancellationToken)
    {
        views = [.. views.Where(view => _links.Cursor(RefusedCursor(view.Id)) != Digest(OutFields(_settings, view), []))];
        List<CrmRecord> found = [];
        foreach (string[] emails in views.SelectMany(view => Values(view, "email")).Chunk(MaxWrites).DefaultIfEmpty([]))
        {
            found.AddRange(await _crm.FindContactsAsync([.. views.Select(view => view.Id)], emails, cancellationToken).ConfigureAwait(false));
        }

        var byExternalId = found.Where(record => record.ExternalId is not null).GroupBy(record => record.ExternalId!).ToDictionary(same => same.Key, same => same.First());
        List<CrmRecord> observed = [];
        List<(ProfileView View, CrmWrite Write)> writes = [];
        foreach (ProfileView view in views)
        {
            string[] own = [.. Values(view, "email")];
            CrmRecord? record = byExternalId.GetValueOrDefault(view.Id) ?? found.FirstOrDefault(one => Identifiers(_settings, one.Fields).Any(identifier => identifier.Type == "email" && own.Contains(identifier.Value, StringComparer.OrdinalIgnoreCase)));
            if (record is null)
            {
                writes.Add((view, new CrmWrite { Kind = CrmObject.Contact, ExternalId = view.Id, Fields = OutFields(_settings, view).Where(field => round.Only?.Missing.Contains(field.Key) != true).ToDictionary() }));
            }
            else if (round.Link(CrmObject.Contact, record.Id) is var link && link.Profile != view.Id)
            {
                (link.Profile, link.Hash, link.IsOurs) = (view.Id, "", link.IsOurs || record.ExternalId == view.Id); // Observed anew, with what makes it this person's.
                round.AddExtra(record.Id, Best(view));
                observed.Add(record);
            }
        }

        bool isLater = false;
        while (writes.Count > 0)
        {
            List<(ProfileView View, CrmWrite Write)> again = [];
            foreach (((ProfileView view, CrmWrite write), CrmOutcome outcome) in writes.Zip(await WriteAsync(writes.ConvertAll(one => one.Write), cancellationToken).ConfigureAwait(false)))
            {
                switch (outcome)
                {
                    case { Kind: CrmOutcomeKind.Done, Record: { } record }:
                        CrmLink link = round.Link(CrmObject.Contact, record.Id);
                        round.Only?.Made(record.Id, view.Id);
                        (link.Profile, link.IsOurs) = (view.Id, link.IsOurs || record.ExternalId == view.Id); // Else somebody was faster: it is his.
                        foreach (FieldRule rule in _settings.Fields.Where(rule => write.Fields.ContainsKey(rule.Field)))
                        {
                            link.Agreed[rule.Field] = new AgreedPair(CanonicalValue.Of(write.Fields[rule.Field]), Theirs(record.Fields, rule.Field));
                        }

                        round.AddExtra(record.Id, Best(view));
                        observed.Add(record);
                        break;
                    case { Kind: CrmOutcomeKind.Refused, Field: { } field } when write.Fields.ContainsKey(field):
                        again.Add((view, write with { Fields = write.Fields.Where(pair => pair.Key != field).ToDictionary() })); // Its own letter is written when it is to be set in what was made.
                        break;
                    case { Kind: CrmOutcomeKind.Refused }:
                        await RefuseAsync(view, write.Fields, outcome.Reason, cancellationToken).ConfigureAwait(false);
                        _links.Save([], [(RefusedCursor(view.Id), Digest(OutFields(_settings, view), []))]); // Not again until there is something else to say.
                        break;
                    default:
                        isLater = true;
                        break;
                }
            }

            writes = again;
        }

        await ObserveAsync(round, observed, cancellationToken).ConfigureAwait(false);
        if (isLater)
        {
            round.Fail(new DestinationUnavailableException($"{_settings.Target} did not make a contact now."));
        }
    }

    // ---- Both sides together -------------------------------------------------------------------------------------------------------

    private async ValueTask SettleAsync(Round round, CancellationToken cancellationToken)
    {
        List<Meeting> meetings = [];
        List<CrmLink> unknown = [];
        foreach ((CrmLink link, ProfileView? view) in round.Unsettled.Values.Zip(await FindAllAsync(_crm.ContactIdType, round.Unsettled.Keys, cancellationToken).ConfigureAwait(false)))
        {
            if (view is null)
            {
                unknown.Add(link);
                continue;
            }

            link.Profile = view.Id;
            meetings.Add(new Meeting(link, view));
        }

        if (unknown.Count > 0)
        {
            // A limit left the record's id out of its person: then it is a person of its own, rather than nobody's.
            unknown.ForEach(link => _events.Contact(link, new CrmRecord { Kind = link.Kind, Id = link.Id, Fields = link.Seen, ModifiedAt = link.ModifiedAt }, []));
            await _profiles.AppliedAsync(cancellationToken).ConfigureAwait(false);
            foreach (CrmLink link in unknown)
            {
                if (await _profiles.FindAsync(_crm.ContactIdType, link.Id, cancellationToken).ConfigureAwait(false) is { } view)
                {
                    link.Profile = view.Id;
                    meetings.Add(new Meeting(link, view));
                }
            }
        }

        round.Unsettled.Clear();
        await DeleteAsync(round, meetings, cancellationToken).ConfigureAwait(false);
        foreach (Meeting meeting in meetings)
        {
            Decide(round, meeting);
        }

        await ToProfilesAsync(round, meetings, cancellationToken).ConfigureAwait(false);
        await MergeOwnAsync(round, meetings, cancellationToken).ConfigureAwait(false);
        await ToCrmAsync(round, meetings, cancellationToken).ConfigureAwait(false);
        await ToListsAsync(round, meetings, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whether a contact is to be deleted: StreamCdp made it, its person does not consent, and nothing of the CRM names it.</summary>
    internal static bool MustGo(CrmSettings settings, CrmLinks links, CrmLink link, ProfileView view) => settings.DeletesAtMost is not null && !view.HasConsent && link.IsDeletable && !links.IsNamed(link.Id);

    /// <summary>Deletes contacts of people who do not consent, as many as today allows; those leave the meetings, and the others wait for another day.</summary>
    /// <remarks>Counted and marked before the call: a crash can only make it fewer, and one that is tried again on the same day counts once.</remarks>
    private async ValueTask DeleteAsync(Round round, List<Meeting> meetings, CancellationToken cancellationToken)
    {
        if (_settings.DeletesAtMost is not { } most)
        {
            return;
        }

        List<Meeting> due = [];
        DeletesOfDay deletes = Deletes;
        int count = deletes.Count;
        foreach (Meeting meeting in meetings)
        {
            CrmLink link = meeting.Link;
            link.AwaitsDelete = MustGo(_settings, _links, link, meeting.View);
            bool isAllowed = link.AwaitsDelete && MayDelete.Contains(link.Id) && (link.DeleteDay == deletes.Day || count < most);
            if (isAllowed && round.Only?.AllowsDelete(link.Id) == false)
            {
                (isAllowed, link.AwaitsDelete) = (false, false);
                round.Held.Add(link.Id);
            }

            if (isAllowed)
            {
                count += link.DeleteDay == deletes.Day ? 0 : 1;
                link.DeleteDay = deletes.Day;
                due.Add(meeting);
            }
            else if (!link.AwaitsDelete)
            {
                link.DeleteDay = null;
            }
        }

        if (due.Count == 0)
        {
            return;
        }

        await ApplyAsync(round, cancellationToken).ConfigureAwait(false);
        deletes = deletes with { Count = count };
        SaveProgress(round, (DeletesCursor, string.Create(CultureInfo.InvariantCulture, $"{deletes.Day} {deletes.Count}")));
        _deletes = deletes;
        foreach (Meeting[] part in due.Chunk(MaxWrites))
        {
            string[] ids = [.. part.Select(meeting => meeting.Link.Id)];
            IReadOnlyDictionary<string, string> refused = await _crm.DeleteContactsAsync(ids, cancellationToken).ConfigureAwait(false);
            foreach (Meeting meeting in part.Where(meeting => refused.ContainsKey(meeting.Link.Id)))
            {
                (meeting.Link.IsDeleteRefused, meeting.Link.AwaitsDelete, meeting.Link.DeleteDay) = (true, false, null);
                await RefuseAsync(meeting.View, new Dictionary<string, JsonElement>(), $"The contact {meeting.Link.Id} was not deleted: {refused[meeting.Link.Id]}", cancellationToken).ConfigureAwait(false);
            }

            string[] deleted = [.. ids.Where(id => !refused.ContainsKey(id))];
            IReadOnlyList<CrmRecord> read = deleted.Length == 0 ? [] : await _crm.ReadAsync(CrmObject.Contact, deleted, cancellationToken).ConfigureAwait(false);
            await ObserveAsync(round, read, cancellationToken, isSure: true).ConfigureAwait(false);
            Deleted += read.Count(record => record.IsDeleted);
            meetings.RemoveAll(meeting => deleted.Contains(meeting.Link.Id));
            if (read.Any(record => !record.IsDeleted))
            {
                round.Fail(new DestinationUnavailableException($"{_settings.Target} did not delete a contact now."));
            }
        }

        await ThrowIfFailedAsync(round, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>What is to be done with each mapped field of a contact and its profile: the one place where that is decided, for the sync and for a plan.</summary>
    /// <param name="settings">The mapping.</param>
    /// <param name="link">The contact as last seen, and what was agreed on.</param>
    /// <param name="view">The profile.</param>
    internal static IEnumerable<FieldDecision> Decide(CrmSettings settings, CrmLink link, ProfileView view)
    {
        foreach (FieldRule rule in settings.Fields)
        {
            if (!link.Seen.ContainsKey(rule.Field) && rule.Direction == SyncDirection.In)
            {
                continue; // This account has no such field.
            }

            string? theirs = Theirs(link.Seen, rule.Field);
            string? ours = CanonicalValue.Of(Ours(view, rule, theirs));
            AgreedPair? agreed = link.Agreed.GetValueOrDefault(rule.Field);
            DateTimeOffset? oursAt = rule.Value?.Root == PathRoot.Traits ? view.TraitTime(rule.Value.Path[0]) : view.UpdatedAt;
            (FieldStep step, bool isConflict) = FieldMerge.Decide(rule, ours, theirs, agreed, oursAt, link.ModifiedAt);
            if (step == FieldStep.ToProfile && (rule.Value?.Root == PathRoot.Identifiers || theirs?.Length > MaxTrait))
            {
                step = FieldStep.Agree; // The observation brought the identifier, and a limit may have left it out; a text that is too long stays in the CRM.
            }

            if (!view.HasConsent && rule.Direction == SyncDirection.Out && step == FieldStep.Agree && ours is null && theirs is not null && agreed?.Ours is not null && theirs == agreed.Theirs)
            {
                step = FieldStep.ToCrm; // It is still what went out, and is taken back whatever the policy; a person's own value stays.
            }

            if (!view.HasConsent && step == FieldStep.ToCrm && rule.Direction == SyncDirection.Both)
            {
                continue; // Nothing goes out; the base stays, so what is ours goes out with the consent.
            }

            yield return new FieldDecision(rule, step, isConflict, ours, theirs, agreed is null);
        }
    }

    private void Decide(Round round, Meeting meeting)
    {
        CrmLink link = meeting.Link;
        foreach (FieldDecision field in Decide(_settings, link, meeting.View))
        {
            bool toCrm = field.Step == FieldStep.ToCrm;
            if (field.Step is FieldStep.ToCrm or FieldStep.ToProfile && round.Only?.Allows(link.Id, field) == false)
            {
                round.Held.Add(link.Id);
                continue;
            }

            if (field.IsConflict)
            {
                round.Conflicts.Add(new CrmConflict(_time.GetUtcNow(), link.Kind, link.Id, field.Rule.Field, toCrm ? field.Ours : field.Theirs, toCrm ? field.Theirs : field.Ours));
            }

            switch (field.Step)
            {
                case FieldStep.Agree:
                    link.Agreed[field.Rule.Field] = new AgreedPair(field.Ours, field.Theirs);
                    break;
                case FieldStep.ToProfile:
                    meeting.In[field.Rule] = CanonicalValue.Parse(field.Theirs);
                    break;
                case FieldStep.ToCrm:
                    meeting.Out[field.Rule] = CanonicalValue.Parse(field.Ours);
                    break;
            }
        }
    }

    private async ValueTask ToProfilesAsync(Round round, List<Meeting> meetings, CancellationToken cancellationToken)
    {
        List<(Meeting Meeting, DateTimeOffset At)> sent = [];
        foreach (Meeting meeting in meetings.Where(meeting => meeting.In.Count > 0))
        {
            DateTimeOffset at = default;
            foreach (Dictionary<string, JsonElement> traits in Parts(meeting.In))
            {
                at = _events.Traits(meeting.Link, traits, traits.Keys.Max(meeting.View.TraitTime));
            }

            sent.Add((meeting, at));
            round.HasEvents = true;
        }

        if (sent.Count == 0)
        {
            return;
        }

        await ApplyAsync(round, cancellationToken).ConfigureAwait(false);
        foreach (((Meeting meeting, DateTimeOffset at), ProfileView? found) in sent.Zip(await FindAllAsync(_crm.ContactIdType, sent.Select(one => one.Meeting.Link.Id), cancellationToken).ConfigureAwait(false)))
        {
            if (found is not { } view)
            {
                continue;
            }

            foreach ((FieldRule rule, JsonElement value) in meeting.In)
            {
                string? theirs = CanonicalValue.Of(value);
                string? ours = CanonicalValue.Of(Ours(view, rule, theirs));
                bool isLater = view.TraitTime(rule.Value!.Path[0]) is { } written && written > at;
                // Refused by the trait's own rule (prefer, first, min): both stay as they are. Written meanwhile by somebody else: ours changed since, which is the next decision.
                meeting.Link.Agreed[rule.Field] = new AgreedPair(ours == theirs || isLater ? theirs : ours, theirs);
                if (ours != theirs && isLater)
                {
                    round.Unsettled[meeting.Link.Id] = meeting.Link;
                }
            }
        }
    }

    /// <summary>Traits for one event or more, none of them too long.</summary>
    private static IEnumerable<Dictionary<string, JsonElement>> Parts(Dictionary<FieldRule, JsonElement> fields)
    {
        Dictionary<string, JsonElement> part = [];
        int length = 0;
        foreach ((FieldRule rule, JsonElement value) in fields)
        {
            int own = rule.Value!.Path[0].Length + value.GetRawText().Length;
            if (part.Count > 0 && length + own > MaxTraits)
            {
                yield return part;
                (part, length) = ([], 0);
            }

            part[rule.Value.Path[0]] = value;
            length += own;
        }

        yield return part;
    }

    private async ValueTask ToCrmAsync(Round round, List<Meeting> meetings, CancellationToken cancellationToken)
    {
        List<Meeting> outs = [.. meetings.Where(meeting => meeting.Out.Count > 0 && !meeting.Link.IsDeleted)];
        foreach (Meeting[] part in outs.Chunk(MaxWrites))
        {
            CrmWrite[] writes = [.. part.Select(meeting => new CrmWrite
            {
                Kind = CrmObject.Contact,
                Id = meeting.Link.Id,
                Fields = meeting.Out.ToDictionary(pair => pair.Key.Field, pair => pair.Value),
                Revision = meeting.Link.Revision,
            })];
            List<CrmRecord> stored = [];
            List<string> again = [];
            string? later = null;
            foreach ((Meeting meeting, CrmOutcome outcome) in part.Zip(await WriteAsync(writes, cancellationToken).ConfigureAwait(false)))
            {
                switch (outcome.Kind)
                {
                    case CrmOutcomeKind.Done:
                        foreach ((FieldRule rule, JsonElement value) in meeting.Out)
                        {
                            meeting.Link.Agreed[rule.Field] = new AgreedPair(CanonicalValue.Of(value), Theirs(outcome.Record!.Fields, rule.Field));
                        }

                        stored.Add(outcome.Record!);
                        break;
                    case CrmOutcomeKind.Refused:
                        foreach ((FieldRule rule, JsonElement value) in meeting.Out.Where(pair => outcome.Field is null || pair.Key.Field == outcome.Field))
                        {
                            meeting.Link.Agreed[rule.Field] = new AgreedPair(CanonicalValue.Of(value), Theirs(meeting.Link.Seen, rule.Field), IsRefused: true);
                        }

                        await RefuseAsync(meeting.View, meeting.Out.Where(pair => outcome.Field is null || pair.Key.Field == outcome.Field).ToDictionary(pair => pair.Key.Field, pair => pair.Value), outcome.Reason, cancellationToken).ConfigureAwait(false);
                        round.Unsettled[meeting.Link.Id] = meeting.Link; // The other fields, without this one.
                        break;
                    case CrmOutcomeKind.Stale or CrmOutcomeKind.Gone when outcome.Record is { } current:
                        stored.Add(current);
                        round.Unsettled[meeting.Link.Id] = meeting.Link;
                        break;
                    case CrmOutcomeKind.Stale or CrmOutcomeKind.Gone:
                        again.Add(meeting.Link.Id);
                        round.Unsettled[meeting.Link.Id] = meeting.Link;
                        break;
                    default:
                        later = outcome.Reason;
                        round.Unsettled[meeting.Link.Id] = meeting.Link;
                        break;
                }
            }

            if (again.Count > 0)
            {
                stored.AddRange(await _crm.ReadAsync(CrmObject.Contact, again, cancellationToken).ConfigureAwait(false));
            }

            await ObserveAsync(round, stored, cancellationToken, isSure: true).ConfigureAwait(false);
            if (later is not null)
            {
                round.Fail(new DestinationUnavailableException($"{_settings.Target} did not take a write now."));
            }
        }

        await ThrowIfFailedAsync(round, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Contacts that StreamCdp made for persons who turned out to be one become one.</summary>
    private async ValueTask MergeOwnAsync(Round round, List<Meeting> meetings, CancellationToken cancellationToken)
    {
        if (!_settings.MergesOwn)
        {
            return;
        }

        foreach (ProfileView view in meetings.Select(meeting => meeting.View).DistinctBy(view => view.Id).ToList())
        {
            if (OwnMerge(ContactsOf(view).Select(id => round.Link(CrmObject.Contact, id))) is (CrmLink from, CrmLink into) && round.Only?.AllowsMerge(from.Id, into.Id) != false)
            {
                if (await _crm.MergeContactsAsync(from.Id, into.Id, cancellationToken).ConfigureAwait(false) is { } stays)
                {
                    List<CrmRecord> records = [new CrmRecord { Kind = CrmObject.Contact, Id = from.Id, IsDeleted = true, MergedInto = stays }];
                    if (stays != into.Id)
                    {
                        records.Add(new CrmRecord { Kind = CrmObject.Contact, Id = into.Id, IsDeleted = true, MergedInto = stays });
                        round.Link(CrmObject.Contact, stays).IsOurs = into.IsOurs;
                    }

                    // The survivor has now what the merge brought it, perhaps an edit that nobody had seen yet: what was decided before is not written over it (found by the simulation).
                    meetings.RemoveAll(meeting => meeting.Link == from || meeting.Link == into);
                    bool isShared = from.IsShared || into.IsShared || !into.IsOurs;
                    await ObserveAsync(round, records, cancellationToken).ConfigureAwait(false); // The next round sees what is left.
                    if (round.Link(CrmObject.Contact, stays) is { IsDeleted: false, Hash.Length: > 0 } survivor)
                    {
                        round.Unsettled[stays] = survivor;
                    }

                    round.Link(CrmObject.Contact, stays).IsShared = isShared;
                }
            }
        }
    }

    /// <summary>Of the contacts of one person, one that StreamCdp made and the one that it is to become part of; null: there is none to merge.</summary>
    internal static (CrmLink From, CrmLink Into)? OwnMerge(IEnumerable<CrmLink> ofPerson)
    {
        CrmLink[] links = [.. ofPerson.Where(link => !link.IsDeleted && link.Hash.Length > 0)];
        CrmLink? into = links.FirstOrDefault(link => !link.IsOurs) ?? links.FirstOrDefault();
        return links.FirstOrDefault(link => link.IsOurs && link != into) is { } from ? (from, into!) : null;
    }

    /// <remarks>What is begun is remembered before: an answer that is lost leaves the contact on a list that its person may have left meanwhile (found by killing the process).</remarks>
    private async ValueTask ToListsAsync(Round round, List<Meeting> meetings, CancellationToken cancellationToken)
    {
        foreach (string list in _settings.Lists.Order(StringComparer.Ordinal))
        {
            List<CrmLink> add = [];
            List<CrmLink> remove = [];
            foreach (Meeting meeting in meetings)
            {
                if (ListStep(meeting.Link, meeting.View, list) is bool isOn)
                {
                    if (round.Only?.AllowsList(meeting.Link.Id, list, isOn) == false)
                    {
                        round.Held.Add(meeting.Link.Id);
                    }
                    else
                    {
                        (isOn ? add : remove).Add(meeting.Link);
                    }
                }
            }

            if (add.Count + remove.Count > 0)
            {
                await ApplyAsync(round, cancellationToken).ConfigureAwait(false);
                foreach (CrmLink link in add.Concat(remove).Where(link => !link.UnsureLists.Contains(list)))
                {
                    link.UnsureLists.Add(list);
                }

                SaveProgress(round);
            }

            for (int i = 0; i < Math.Max(add.Count, remove.Count); i += MaxWrites)
            {
                CrmLink[] on = [.. add.Skip(i).Take(MaxWrites)];
                CrmLink[] off = [.. remove.Skip(i).Take(MaxWrites)];
                IReadOnlyList<string> gone = await _crm.ChangeListAsync(list, [.. on.Select(link => link.Id)], [.. off.Select(link => link.Id)], cancellationToken).ConfigureAwait(false);
                foreach (CrmLink link in on.Concat(off))
                {
                    link.UnsureLists.Remove(list);
                    link.Lists.Remove(list);
                }

                foreach (CrmLink link in on)
                {
                    link.Lists.Add(list);
                }

                if (gone.Count > 0)
                {
                    await ObserveAsync(round, await _crm.ReadAsync(CrmObject.Contact, [.. gone], cancellationToken).ConfigureAwait(false), cancellationToken, isSure: true).ConfigureAwait(false);
                }
            }
        }
    }

    /// <summary>Whether a contact is to be put on a list; false: taken off; null: it is where it belongs.</summary>
    internal static bool? ListStep(CrmLink link, ProfileView view, string list)
    {
        bool belongs = view.Segments.Contains(list);
        return !link.IsDeleted && (link.Lists.Contains(list) != belongs || link.UnsureLists.Contains(list)) ? belongs : null;
    }

    /// <summary>Asks for all at once, in their order: each is a question to the thread of a shard, which answers many in one turn.</summary>
    private Task<ProfileView?[]> FindAllAsync(string type, IEnumerable<string> values, CancellationToken cancellationToken) =>
        Task.WhenAll(values.Select(value => _profiles.FindAsync(type, value, cancellationToken).AsTask()));

    // ---- Parts ---------------------------------------------------------------------------------------------------------------------

    private async ValueTask ApplyAsync(Round round, CancellationToken cancellationToken)
    {
        if (round.HasEvents)
        {
            await _profiles.AppliedAsync(cancellationToken).ConfigureAwait(false);
            round.HasEvents = false;
            SaveProgress(round);
        }
    }

    private async ValueTask ThrowIfFailedAsync(Round round, CancellationToken cancellationToken)
    {
        if (round.Failure is { } failure)
        {
            await ApplyAsync(round, cancellationToken).ConfigureAwait(false);
            SaveProgress(round);
            throw failure;
        }
    }

    /// <summary>What the engine has heard is remembered at once, so that a round that is cut off does not compare with what was before; the cursors stay, and so all of it is looked at again.</summary>
    private void SaveProgress(Round round, params IReadOnlyList<(string Name, string Value)> cursors)
    {
        foreach (CrmLink link in round.Links.Values)
        {
            link.IsOpen = link.Kind == CrmObject.Contact && !link.IsDeleted;
        }

        Conflicts += _links.Save(round.Links.Values, cursors, round.Conflicts); // Too: when the round comes again, both sides may hold the same and nobody would know what was lost.
        round.Conflicts.Clear();
    }

    private async ValueTask<IReadOnlyList<CrmOutcome>> WriteAsync(IReadOnlyList<CrmWrite> writes, CancellationToken cancellationToken)
    {
        if (writes.Count == 0)
        {
            return [];
        }

        IReadOnlyList<CrmOutcome> outcomes = await _crm.WriteAsync(writes, cancellationToken).ConfigureAwait(false);
        if (outcomes.Count != writes.Count || outcomes.Any(outcome => outcome.Kind == CrmOutcomeKind.Done && outcome.Record is null))
        {
            throw new InvalidOperationException($"The connector answered {outcomes.Count} outcomes for {writes.Count} writes, or one without its record; needed is one for each.");
        }

        Written += outcomes.Count(outcome => outcome.Kind == CrmOutcomeKind.Done);
        return outcomes;
    }

    private async ValueTask RefuseAsync(ProfileView view, IReadOnlyDictionary<string, JsonElement> fields, string reason, CancellationToken cancellationToken)
    {
        Refused++;
        var change = new ProfileChange { Kind = ChangeKind.Profile, ProfileId = view.Id, Version = view.Version, At = view.UpdatedAt, Identifiers = view.Identifiers, Segments = view.Segments, Fields = fields };
        await _refuse(change, reason, cancellationToken).ConfigureAwait(false);
    }

    private IEnumerable<string> ContactsOf(ProfileView view) => Values(view, _crm.ContactIdType);

    internal static IEnumerable<string> Values(ProfileView view, string type) => view.Identifiers.Where(identifier => identifier.Type == type).Select(identifier => identifier.Value);

    /// <summary>An identifier that names a profile for good: one of a device only where there is no other.</summary>
    private static IEnumerable<ChangeIdentifier> Best(ProfileView view) =>
        view.Identifiers.OrderBy(identifier => identifier.Type switch { "user_id" => 0, "anonymous_id" => 2, _ => 1 }).Take(1);

    /// <summary>What a contact that is made gets.</summary>
    internal static Dictionary<string, JsonElement> OutFields(CrmSettings settings, ProfileView view) => settings.Fields
        .Where(rule => rule.Direction != SyncDirection.In)
        .Select(rule => (rule.Field, Value: Ours(view, rule, theirs: null)))
        .Where(field => CanonicalValue.Of(field.Value) is not null)
        .ToDictionary(field => field.Field, field => field.Value);

    /// <summary>What the profile has for a field. Of several identifiers the one that the CRM has, else the first.</summary>
    private static JsonElement Ours(ProfileView view, FieldRule rule, string? theirs)
    {
        if (rule.Value is null)
        {
            return JsonSerializer.SerializeToElement(string.Join(", ", view.Segments.Order(StringComparer.Ordinal)));
        }

        if (!view.HasConsent && rule.Direction == SyncDirection.Out)
        {
            return s_null;
        }

        if (rule.Value.Root != PathRoot.Identifiers)
        {
            return view.Value(rule.Value);
        }

        string[] values = [.. Values(view, rule.Value.Path[0])];
        string? same = theirs is null ? null : values.FirstOrDefault(value => CanonicalValue.Of(JsonSerializer.SerializeToElement(value)) == theirs);
        string? ours = same ?? (theirs is null ? values.FirstOrDefault() : null);
        return theirs is not null && same is null ? CanonicalValue.Parse(theirs) : JsonSerializer.SerializeToElement(ours); // An identifier is never replaced: only an empty field is filled.
    }

    private static string? Theirs(IReadOnlyDictionary<string, JsonElement> fields, string name) => fields.TryGetValue(name, out JsonElement value) ? CanonicalValue.Of(value) : null;

    /// <summary>Holds what a contact was refused with.</summary>
    internal static string RefusedCursor(string profileId) => "refused:" + profileId;

    /// <summary>The same for the same record, as far as the sync looks at it.</summary>
    internal static string Hash(CrmRecord record) => Digest(record.Fields, record.ContactIds);

    /// <summary>The same for the same values, whatever their order.</summary>
    internal static string Digest(IReadOnlyDictionary<string, JsonElement> fields, IReadOnlyList<string> contactIds)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((string name, JsonElement value) in fields.OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            hash.AppendData(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{name.Length}:{name}={CanonicalValue.Of(value)}\n")));
        }

        foreach (string contact in contactIds)
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"contact={contact}\n"));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, 16));
    }

    /// <summary>A record and its profile.</summary>
    private sealed record Meeting(CrmLink Link, ProfileView View)
    {
        public Dictionary<FieldRule, JsonElement> In { get; } = [];

        public Dictionary<FieldRule, JsonElement> Out { get; } = [];
    }

    /// <summary>What one call works on.</summary>
    private sealed class Round(CrmLinks links)
    {
        private readonly Dictionary<string, List<ChangeIdentifier>> _extra = [];

        /// <summary>The first thing that is to be tried again later.</summary>
        public Exception? Failure { get; private set; }

        public Dictionary<(CrmObject Kind, string Id), CrmLink> Links { get; } = [];

        /// <summary>Contacts to decide on, by id.</summary>
        public Dictionary<string, CrmLink> Unsettled { get; } = new(StringComparer.Ordinal);

        public List<CrmConflict> Conflicts { get; } = [];

        /// <summary>All that may be changed; null: everything.</summary>
        public PlannedChanges? Only { get; init; }

        /// <summary>Contacts of which <see cref="Only"/> left something out.</summary>
        public HashSet<string> Held { get; } = new(StringComparer.Ordinal);

        /// <summary>Something was appended that is not applied yet.</summary>
        public bool HasEvents { get; set; }

        public CrmLink Link(CrmObject kind, string id)
        {
            if (!Links.TryGetValue((kind, id), out CrmLink? link))
            {
                link = links.Find(kind, id) ?? new CrmLink { Kind = kind, Id = id };
                Links.Add((kind, id), link);
            }

            return link;
        }

        /// <summary>Identifiers that make a record this person's.</summary>
        public void AddExtra(string id, IEnumerable<ChangeIdentifier> identifiers) => _extra[id] = [.. identifiers];

        public List<ChangeIdentifier> Extra(string id) => _extra.GetValueOrDefault(id) ?? [];

        public void Fail(Exception failure) => Failure ??= failure;
    }
}

/// <summary>Contacts that were deleted on a day.</summary>
/// <param name="Day">UTC: 2026-11-25.</param>
/// <param name="Count">So many were begun.</param>
internal sealed record DeletesOfDay(string Day, int Count);
