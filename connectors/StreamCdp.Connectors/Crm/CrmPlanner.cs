using System.Runtime.CompilerServices;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Crm;

/// <summary>Says what <see cref="CrmSync"/> would do, by the same decisions, and changes nothing.</summary>
/// <remarks>
/// One page of the CRM and 100 profiles at a time; what it has seen is noted on disk. What an event would set off in the engine it cannot know: a contact that comes in may move a segment, and with it
/// a list, which the next plan tells.
/// </remarks>
internal sealed class CrmPlanner(CrmSettings settings, ICrm crm, CrmLinks links, IProfiles profiles)
{
    private const int Batch = 100;

    /// <summary>All that a sync would do now.</summary>
    /// <param name="members">Everybody who is in a segment, from the beginning of the log.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async IAsyncEnumerable<PlanLine> AllAsync(ChangeReader members, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        foreach (PlanLine line in await FieldsToMakeAsync(cancellationToken).ConfigureAwait(false))
        {
            yield return line;
        }

        foreach (CrmObject kind in crm.Objects)
        {
            links.BeginListed(kind, isKept: false);
            string? next = null;
            do
            {
                CrmPage page = await crm.ChangesAsync(kind, DateTimeOffset.MinValue, next, cancellationToken).ConfigureAwait(false);
                HashSet<string> isNew = [.. links.AddListed(kind, page.Records.Select(record => record.Id), isKept: false)];
                foreach (CrmRecord record in page.Records.Where(record => isNew.Remove(record.Id)))
                {
                    if (await OfListedAsync(record, cancellationToken).ConfigureAwait(false) is { } line)
                    {
                        yield return line;
                    }
                }

                next = page.Next;
            }
            while (next is not null);

            for (string? after = ""; after is not null;)
            {
                (IReadOnlyList<string> missing, after) = links.Missing(kind, after, isKept: false);
                foreach (CrmRecord record in missing.Count == 0 ? [] : await crm.ReadAsync(kind, missing, cancellationToken).ConfigureAwait(false))
                {
                    if (await OfRecordAsync(record, cancellationToken).ConfigureAwait(false) is { } line)
                    {
                        yield return line;
                    }
                }
            }
        }

        links.BeginListed(CrmObject.Contact, isKept: false); // Now of profiles.
        List<string> ids = [];
        for (bool isMore = true; isMore;)
        {
            isMore = members.TryRead(out LoggedChange? change);
            if (isMore && change!.Change is { Kind: ChangeKind.Entered, Segment: { } segment } && settings.CreateFor.Contains(segment))
            {
                ids.Add(change.Change.ProfileId);
            }

            if (ids.Count == Batch || (!isMore && ids.Count > 0))
            {
                foreach (PlanLine line in await OfProfilesAsync(links.AddListed(CrmObject.Contact, ids.Distinct(), isKept: false), cancellationToken).ConfigureAwait(false))
                {
                    yield return line;
                }

                ids.Clear();
            }
        }
    }

    /// <summary>What would be done because of a record as it is now; null: nothing.</summary>
    public async ValueTask<PlanLine?> OfRecordAsync(CrmRecord record, CancellationToken cancellationToken)
    {
        CrmLink link = links.Find(record.Kind, record.Id) ?? new CrmLink { Kind = record.Kind, Id = record.Id };
        var line = new PlanLine { Object = record.Kind.ToString().ToLowerInvariant(), Id = record.Id };
        if (record.IsDeleted)
        {
            bool isNews = !link.IsDeleted && (link.EmittedMs > 0 || record.MergedInto is not null);
            return isNews ? line with { Change = "gone", Into = record.MergedInto } : null;
        }

        string digest = CrmSync.Hash(record);
        if (record.Kind != CrmObject.Contact)
        {
            return (digest == link.Hash && !link.IsDeleted) || CrmSync.IsOwnActivity(link, record) ? null : line with { Change = "record", Digest = digest };
        }

        CrmLink seen = link with { IsDeleted = false, Seen = new Dictionary<string, JsonElement>(record.Fields), ModifiedAt = record.ModifiedAt, IsOurs = link.IsOurs || record.ExternalId is not null, IsDeleteRefused = link.IsDeleteRefused && digest == link.Hash };
        if (await OwnerAsync(record, cancellationToken).ConfigureAwait(false) is not { } view)
        {
            return line with
            {
                Change = "new_profile",
                Fields = [.. settings.Fields.Where(rule => rule.Direction != SyncDirection.Out && record.Fields.TryGetValue(rule.Field, out JsonElement value) && CanonicalValue.Of(value) is not null).Select(rule => new PlannedField(rule.Field, "profile", Value(record.Fields[rule.Field]), CanonicalValue.Parse(null), "nobody has this contact's identifiers"))],
            };
        }

        if (CrmSync.MustGo(settings, links, seen, view))
        {
            return line with { Change = "delete", Profile = view.Id };
        }

        line = line with { Change = "update", Profile = view.Id, Links = link.Hash.Length == 0 || link.IsDeleted };
        if (settings.MergesOwn && CrmSync.OwnMerge(CrmSync.Values(view, crm.ContactIdType).Select(id => id == record.Id ? seen : links.Find(CrmObject.Contact, id)).OfType<CrmLink>()) is (CrmLink from, CrmLink into) && from.Id == record.Id)
        {
            return line with { Change = "merge", Into = into.Id };
        }

        line = line with
        {
            Fields = [.. CrmSync.Decide(settings, seen, view).Where(field => field.Step is FieldStep.ToCrm or FieldStep.ToProfile).Select(field => new PlannedField(field.Rule.Field, field.Step == FieldStep.ToCrm ? "crm" : "profile", CanonicalValue.Parse(field.Theirs), CanonicalValue.Parse(field.Ours), field.Why, field.IsConflict))],
            On = [.. settings.Lists.Where(list => CrmSync.ListStep(seen, view, list) == true).Order(StringComparer.Ordinal)],
            Off = [.. settings.Lists.Where(list => CrmSync.ListStep(seen, view, list) == false).Order(StringComparer.Ordinal)],
        };
        return line.Links || line.Fields.Count + line.On.Count + line.Off.Count > 0 ? line : null;
    }

    /// <summary>Contacts that would be made for profiles that have none.</summary>
    /// <param name="profileIds">Canonical ids, 100 at most.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public async ValueTask<IReadOnlyList<PlanLine>> OfProfilesAsync(IReadOnlyList<string> profileIds, CancellationToken cancellationToken)
    {
        List<ProfileView> without = [];
        foreach (string id in profileIds)
        {
            if (await profiles.FindAsync("id", id, cancellationToken).ConfigureAwait(false) is { } view && view.Id == id && view.MergedInto is null && view.Segments.Any(settings.CreateFor.Contains)
                && CrmSync.Values(view, crm.ContactIdType).All(contact => links.Find(CrmObject.Contact, contact)?.IsRemoved == true) && links.OfProfile(CrmObject.Contact, view.Id).All(link => link.IsRemoved) && links.Cursor(CrmSync.RefusedCursor(view.Id)) != CrmSync.Digest(CrmSync.OutFields(settings, view), []))
            {
                without.Add(view);
            }
        }

        if (without.Count == 0)
        {
            return [];
        }

        var found = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        foreach (string[] emails in without.SelectMany(view => CrmSync.Values(view, "email")).Chunk(Batch).DefaultIfEmpty([]))
        {
            foreach (CrmRecord record in await crm.FindContactsAsync([.. without.Select(view => view.Id)], emails, cancellationToken).ConfigureAwait(false))
            {
                found.UnionWith(CrmSync.Identifiers(settings, record.Fields).Where(identifier => identifier.Type == "email").Select(identifier => identifier.Value));
                found.Add(record.ExternalId ?? "");
            }
        }

        // One that is found is a record, and stands in the plan as that.
        return [.. without.Where(view => !found.Contains(view.Id) && !CrmSync.Values(view, "email").Any(found.Contains)).Select(view => new PlanLine
        {
            Change = "create",
            Profile = view.Id,
            Fields = [.. CrmSync.OutFields(settings, view).Select(field => new PlannedField(field.Key, "crm", CanonicalValue.Parse(null), Value(field.Value), "a contact is made"))],
            On = [.. settings.Lists.Where(view.Segments.Contains).Order(StringComparer.Ordinal)],
        })];
    }

    /// <summary>A list may be behind: what it shows that is no newer than what was seen is read by its id.</summary>
    private async ValueTask<PlanLine?> OfListedAsync(CrmRecord record, CancellationToken cancellationToken)
    {
        bool isDoubtful = !record.IsDeleted && links.Find(record.Kind, record.Id) is { } link && CrmSync.IsDoubtful(link, record);
        return await OfRecordAsync(isDoubtful ? (await crm.ReadAsync(record.Kind, [record.Id], cancellationToken).ConfigureAwait(false))[0] : record, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whose a contact is, or would be when it is linked; null: somebody new.</summary>
    private async ValueTask<ProfileView?> OwnerAsync(CrmRecord record, CancellationToken cancellationToken)
    {
        foreach (ChangeIdentifier identifier in CrmSync.Identifiers(settings, record.Fields).Prepend(new ChangeIdentifier(crm.ContactIdType, record.Id)))
        {
            if (await profiles.FindAsync(identifier.Type, identifier.Type == "email" ? identifier.Value.Trim().ToLowerInvariant() : identifier.Value, cancellationToken).ConfigureAwait(false) is { } view)
            {
                return view;
            }
        }

        return record.ExternalId is { } id && await profiles.FindAsync("id", id, cancellationToken).ConfigureAwait(false) is { } ours && ours.Segments.Any(settings.CreateFor.Contains) && !CrmSync.Values(ours, crm.ContactIdType).Any() ? ours : null;
    }

    /// <summary>Fields of an object that the sync writes, where the CRM must have them made.</summary>
    public static IReadOnlyList<CrmField> Written(CrmSettings settings, CrmObject kind, ICrmPreparation preparation) => kind == CrmObject.Activity ? [] :
    [
        new CrmField(preparation.IdField, CrmFieldType.Text, IsReadOnly: false),
        .. settings.Fields.Where(rule => kind == CrmObject.Contact && rule.Direction != SyncDirection.In).Select(rule => new CrmField(rule.Field, rule.Type, IsReadOnly: false)),
    ];

    private async ValueTask<IEnumerable<PlanLine>> FieldsToMakeAsync(CancellationToken cancellationToken)
    {
        List<PlanLine> lines = [];
        foreach (CrmObject kind in crm is ICrmPreparation ? crm.Objects : [])
        {
            HashSet<string> known = [.. (await crm.DescribeAsync(kind, cancellationToken).ConfigureAwait(false)).Select(field => field.Name)];
            lines.AddRange(Written(settings, kind, (ICrmPreparation)crm).Where(field => !known.Contains(field.Name)).Select(field => new PlanLine { Change = "make_field", Object = kind.ToString().ToLowerInvariant(), Id = field.Name }));
        }

        return lines;
    }

    private static JsonElement Value(JsonElement value) => CanonicalValue.Parse(CanonicalValue.Of(value));
}
