using System.Globalization;
using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.Tests.Kit;

namespace StreamCdp.Connectors.Tests.Crm;

/// <summary>The smallest CRM that does everything which a real one does to a sync: late commits, lost answers, people who edit at the same time, merges with new ids, texts that are trimmed.</summary>
internal sealed class MemoryCrm : ICrm
{
    private static readonly (string Name, CrmFieldType Type)[] s_fields = [("name", CrmFieldType.Text), ("title", CrmFieldType.Text), ("email", CrmFieldType.Text), ("orders", CrmFieldType.Number)];
    private static readonly string[] s_dealFields = ["name", "stage", "pipeline", "amount", "currency"];
    private static readonly string[] s_activityFields = ["kind", "subject", "at"];

    private readonly TimeProvider _time;
    private readonly Random _random;
    private readonly MemoryCrm? _account;
    private readonly TimeSpan _timeout;
    private readonly bool _isAllowed = true;
    private readonly SortedDictionary<long, Row> _rows = [];
    private long _ids;

    /// <summary>An account, and a connector to it.</summary>
    public MemoryCrm(TimeProvider time, Random random) => (_time, _random) = (time, random);

    /// <summary>Another connector to an account.</summary>
    public MemoryCrm(MemoryCrm account, IRequestGate gate, TimeSpan timeout, bool isAllowed)
    {
        (_time, _random, _account, _timeout, _isAllowed, _rows, Lists) = (account._time, account._random, account, timeout, isAllowed, account._rows, account.Lists);
        Gate = gate;
    }

    /// <summary>What it does with requests.</summary>
    public CrmAnswering Answering { get; set; }

    /// <summary>Asked before each request; set by the connection.</summary>
    public IRequestGate? Gate { get; set; }

    /// <summary>How many of a thousand requests fail, before or after they were done.</summary>
    public int Faults { get; set; }

    /// <summary>Tells before each write: somebody may be faster.</summary>
    public Action BeforeWrite { get; set; } = () => { };

    /// <summary>Tells before each delete.</summary>
    public Action BeforeDelete { get; set; } = () => { };

    /// <summary>Its fields, as it tells them.</summary>
    public IReadOnlyList<CrmField>? Described { get; init; }

    /// <summary>After a list was changed, before the answer.</summary>
    public Action AfterListChange { get; set; } = () => { };

    /// <summary>Before a page of ids.</summary>
    public Action BeforeIds { get; set; } = () => { };

    /// <summary>Pages of ids that were asked for.</summary>
    public int IdPages { get; private set; }

    public int Requests { get; private set; }

    public int Writes { get; private set; }

    /// <summary>It refuses texts with this character.</summary>
    public char Forbidden { get; set; } = '!';

    /// <summary>It refuses to make records, and does not say why.</summary>
    public bool RefusesNew { get; set; }

    /// <summary>It refuses to delete contacts.</summary>
    public bool RefusesDeletes { get; set; }

    /// <summary>Contacts that the connector deleted, and when.</summary>
    public List<(string Id, DateTimeOffset At)> Deleted { get; } = [];

    /// <summary>All that the connector wrote and the CRM took.</summary>
    public List<CrmWrite> Written { get; } = [];

    /// <summary>Values that the connector put over another one: what a person lost by it.</summary>
    public List<(string Id, string Field, string? Was, string? Now)> Overwritten { get; } = [];

    public IReadOnlyList<CrmObject> Objects { get; } = [CrmObject.Contact, CrmObject.Deal, CrmObject.Activity];

    public string ContactIdType => "crm_contact_id";

    public IEnumerable<CrmRecord> Living(CrmObject kind) => _rows.Values.Where(row => row.Record.Kind == kind && !row.Record.IsDeleted).Select(row => row.Record);

    public IEnumerable<CrmRecord> All => _rows.Values.Select(row => row.Record);

    /// <summary>Deals and activities.</summary>
    public IEnumerable<CrmRecord> Others => Living(CrmObject.Deal).Concat(Living(CrmObject.Activity));

    public CrmRecord? Find(string id) => long.TryParse(id, CultureInfo.InvariantCulture, out long number) ? _rows.GetValueOrDefault(number)?.Record : null;

    // ---- People -----------------------------------------------------------------------------------------------------------------

    public string Make(CrmObject kind, params (string Field, object? Value)[] fields) => Put(new CrmRecord { Kind = kind, Id = "", Fields = fields.ToDictionary(field => field.Field, field => JsonSerializer.SerializeToElement(field.Value)), CreatedAt = _time.GetUtcNow() }, late: TimeSpan.Zero).Id;

    public string MakeDeal(string stage, double amount, params string[] contacts) =>
        Put(new CrmRecord { Kind = CrmObject.Deal, Id = "", Fields = new Dictionary<string, JsonElement> { ["name"] = Text("D"), ["stage"] = Text(stage), ["amount"] = JsonSerializer.SerializeToElement(amount), ["currency"] = Text("EUR"), ["pipeline"] = Text("P"), ["status"] = Text("open") }, ContactIds = contacts, CreatedAt = _time.GetUtcNow() }, TimeSpan.Zero).Id;

    /// <param name="kind">call, note, …</param>
    /// <param name="externalId">An action of StreamCdp made it; null: a person did.</param>
    /// <param name="contacts">Whose it is.</param>
    public string MakeActivity(string kind, string? externalId, params string[] contacts) =>
        Put(new CrmRecord { Kind = CrmObject.Activity, Id = "", Fields = new Dictionary<string, JsonElement> { ["kind"] = Text(kind), ["subject"] = Text("S"), ["at"] = Text("2026-11-25T10:00:00.000Z") }, ExternalId = externalId, ContactIds = contacts, CreatedAt = _time.GetUtcNow() }, TimeSpan.Zero).Id;

    /// <summary>Somebody types; with <paramref name="late"/> it is committed so long after its time.</summary>
    public void Edit(string id, string field, object? value, TimeSpan late = default)
    {
        CrmRecord record = Find(id)!;
        Put(record with { Fields = new Dictionary<string, JsonElement>(record.Fields) { [field] = JsonSerializer.SerializeToElement(value) } }, late);
    }

    public void Assign(string deal, params string[] contacts) => Put(Find(deal)! with { ContactIds = contacts }, TimeSpan.Zero);

    public void Delete(string id) => Put(Find(id)! with { IsDeleted = true }, TimeSpan.Zero);

    /// <summary>Deleted, and nothing is left of it.</summary>
    public void Vanish(string id) => _rows.Remove(long.Parse(id, CultureInfo.InvariantCulture));

    public string Merge(string from, string into, bool mints)
    {
        CrmRecord loser = Find(from)!;
        CrmRecord winner = Find(into)!;
        var fields = new Dictionary<string, JsonElement>(winner.Fields);
        foreach ((string name, JsonElement value) in loser.Fields.Where(field => CanonicalValue.Of(fields.GetValueOrDefault(field.Key)) is null))
        {
            fields[name] = value;
        }

        string stays = Put(winner with { Id = mints ? "" : into, Fields = fields }, TimeSpan.Zero).Id;
        foreach (string gone in mints ? (string[])[from, into] : [from])
        {
            Put(Find(gone)! with { IsDeleted = true, MergedInto = stays }, TimeSpan.Zero);
        }

        foreach (HashSet<string> list in Lists.Values)
        {
            if (list.Remove(from) | (mints && list.Remove(into)))
            {
                list.Add(stays);
            }
        }

        foreach (CrmRecord other in Others.Where(other => other.ContactIds.Any(contact => contact == from || (mints && contact == into))).ToList())
        {
            Put(other with { ContactIds = [.. other.ContactIds.Select(contact => contact == from || (mints && contact == into) ? stays : contact).Distinct()] }, TimeSpan.Zero);
        }

        return stays;
    }

    // ---- The connector ----------------------------------------------------------------------------------------------------------

    public ValueTask<IReadOnlyList<CrmField>> DescribeAsync(CrmObject kind, CancellationToken cancellationToken) => Described is not null ? ValueTask.FromResult(Described) : RequestAsync<IReadOnlyList<CrmField>>(
        () => kind == CrmObject.Activity ? [.. s_activityFields.Select(name => new CrmField(name, CrmFieldType.Text, IsReadOnly: true))]
            : kind == CrmObject.Deal
            ? [.. s_dealFields.Select(name => new CrmField(name, name == "amount" ? CrmFieldType.Number : CrmFieldType.Text, IsReadOnly: false)), new CrmField("status", CrmFieldType.Text, IsReadOnly: true)]
            : [.. s_fields.Select(field => new CrmField(field.Name, field.Type, IsReadOnly: false))],
        cancellationToken);

    public async ValueTask<CrmPage> ChangesAsync(CrmObject kind, DateTimeOffset since, string? page, CancellationToken cancellationToken)
    {
        DateTimeOffset now = _time.GetUtcNow();
        return await RequestAsync(
            () =>
            {
                long after = page is null ? 0 : long.Parse(page, CultureInfo.InvariantCulture);
                CrmRecord[] records = [.. _rows.Where(pair => pair.Key > after && pair.Value.Record.Kind == kind && pair.Value.VisibleAt <= now && pair.Value.Record.ModifiedAt >= since).Take(3).Select(pair => pair.Value.Record)];
                return new CrmPage(records, records.Length == 3 ? records[^1].Id : null, now);
            },
            cancellationToken);
    }

    public ValueTask<IReadOnlyList<CrmRecord>> ReadAsync(CrmObject kind, IReadOnlyList<string> ids, CancellationToken cancellationToken) =>
        RequestAsync<IReadOnlyList<CrmRecord>>(() => [.. ids.Select(id => Find(id) is { } record && record.Kind == kind ? record : new CrmRecord { Kind = kind, Id = id, IsDeleted = true })], cancellationToken);

    public ValueTask<(IReadOnlyList<string> Ids, string? Next)> IdsAsync(CrmObject kind, string? page, CancellationToken cancellationToken) =>
        RequestAsync<(IReadOnlyList<string>, string?)>(
            () =>
            {
                BeforeIds();
                IdPages++;
                string[] ids = [.. Living(kind).Where(record => page is null || long.Parse(record.Id, CultureInfo.InvariantCulture) > long.Parse(page, CultureInfo.InvariantCulture)).Take(3).Select(record => record.Id)];
                return (ids, ids.Length == 3 ? ids[^1] : null);
            },
            cancellationToken);

    public ValueTask<IReadOnlyList<CrmRecord>> FindContactsAsync(IReadOnlyList<string> externalIds, IReadOnlyList<string> emails, CancellationToken cancellationToken) =>
        RequestAsync<IReadOnlyList<CrmRecord>>(
            () => [.. Living(CrmObject.Contact).Where(record => (record.ExternalId is not null && externalIds.Contains(record.ExternalId)) || (record.Fields.TryGetValue("email", out JsonElement email) && email.ValueKind == JsonValueKind.String && emails.Contains(email.GetString()!, StringComparer.OrdinalIgnoreCase)))],
            cancellationToken);

    public ValueTask<IReadOnlyList<CrmOutcome>> WriteAsync(IReadOnlyList<CrmWrite> writes, CancellationToken cancellationToken)
    {
        BeforeWrite();
        return RequestAsync<IReadOnlyList<CrmOutcome>>(() => [.. writes.Select(Write)], cancellationToken);
    }

    public ValueTask<IReadOnlyList<string>> ChangeListAsync(string list, IReadOnlyList<string> add, IReadOnlyList<string> remove, CancellationToken cancellationToken) =>
        RequestAsync<IReadOnlyList<string>>(
            () =>
            {
                HashSet<string> members = Lists.TryGetValue(list, out HashSet<string>? found) ? found : Lists[list] = [];
                string[] gone = [.. add.Where(id => Find(id)?.IsDeleted != false)];
                members.UnionWith(add.Except(gone));
                members.ExceptWith(remove);
                AfterListChange();
                return gone;
            },
            cancellationToken);

    public Dictionary<string, HashSet<string>> Lists { get; } = [];

    public ValueTask<string?> MergeContactsAsync(string from, string into, CancellationToken cancellationToken) =>
        RequestAsync(() => Find(from) is { IsDeleted: false } && Find(into) is { IsDeleted: false } ? Merge(from, into, mints: false) : Find(from)?.MergedInto ?? into, cancellationToken)!;

    public ValueTask<IReadOnlyDictionary<string, string>> DeleteContactsAsync(IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        BeforeDelete();
        return RequestAsync<IReadOnlyDictionary<string, string>>(
            () =>
            {
                Dictionary<string, string> refused = [];
                foreach (CrmRecord contact in Living(CrmObject.Contact).Where(contact => ids.Contains(contact.Id)).ToList())
                {
                    if (RefusesDeletes || Others.Any(other => other.ExternalId is null && other.ContactIds.Contains(contact.Id)))
                    {
                        refused[contact.Id] = "not this one";
                    }
                    else
                    {
                        Delete(contact.Id);
                        Deleted.Add((contact.Id, _time.GetUtcNow()));
                    }
                }

                return refused;
            },
            cancellationToken);
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private CrmOutcome Write(CrmWrite write)
    {
        CrmRecord? record = write.Id is not null ? Find(write.Id) : Living(write.Kind).FirstOrDefault(one => write.ExternalId is not null && one.ExternalId == write.ExternalId);
        if (write.Id is not null && record?.IsDeleted != false)
        {
            return new CrmOutcome(CrmOutcomeKind.Gone, record);
        }

        if (write is { Id: null, OnlyIfNew: true } && record is not null)
        {
            return new CrmOutcome(CrmOutcomeKind.Done, record);
        }

        if (write.Revision is not null && record!.Revision != write.Revision)
        {
            return new CrmOutcome(CrmOutcomeKind.Stale);
        }

        if (record is null && RefusesNew)
        {
            return new CrmOutcome(CrmOutcomeKind.Refused, Reason: "not this one");
        }

        if (write.Fields.Any(field => field.Value.ValueKind == JsonValueKind.String && field.Value.GetString()!.Contains(Forbidden, StringComparison.Ordinal)))
        {
            return new CrmOutcome(CrmOutcomeKind.Refused, Reason: "no such marks", Field: write.Fields.First(field => field.Value.ToString().Contains(Forbidden, StringComparison.Ordinal)).Key);
        }

        var fields = new Dictionary<string, JsonElement>(record?.Fields ?? new Dictionary<string, JsonElement>());
        foreach ((string name, JsonElement value) in write.Fields)
        {
            if (record is not null && CanonicalValue.Of(fields.GetValueOrDefault(name)) is { } was && was != CanonicalValue.Of(value))
            {
                Overwritten.Add((record.Id, name, was, CanonicalValue.Of(value)));
            }

            fields[name] = value.ValueKind == JsonValueKind.String ? Text(value.GetString()!.Trim()) : value;
        }

        Writes++;
        Written.Add(write);
        return new CrmOutcome(CrmOutcomeKind.Done, Put((record ?? new CrmRecord { Kind = write.Kind, Id = "", CreatedAt = _time.GetUtcNow(), ContactIds = write.ContactIds }) with { Fields = fields, ExternalId = write.ExternalId ?? record?.ExternalId }, TimeSpan.Zero));
    }

    private CrmRecord Put(CrmRecord record, TimeSpan late)
    {
        long id = record.Id.Length == 0 ? ++(_account ?? this)._ids : long.Parse(record.Id, CultureInfo.InvariantCulture);
        long revision = (_rows.GetValueOrDefault(id)?.Number ?? 0) + 1;
        CrmRecord stored = record with { Id = id.ToString(CultureInfo.InvariantCulture), ModifiedAt = _time.GetUtcNow() - late, Revision = revision.ToString(CultureInfo.InvariantCulture) };
        _rows[id] = new Row(stored, revision, _time.GetUtcNow());
        return stored;
    }

    private async ValueTask<T> RequestAsync<T>(Func<T> work, CancellationToken cancellationToken)
    {
        await Gate!.WaitAsync(cancellationToken);
        Requests++;
        string outcome = "unavailable";
        try
        {
            CrmAnswering answering = (_account ?? this).Answering;
            if (answering == CrmAnswering.Hangs)
            {
                await Task.Delay(_timeout, cancellationToken);
                throw new DestinationUnavailableException("no answer in time");
            }

            int fate = _random.Next(1000);
            if (answering is CrmAnswering.IsAway or CrmAnswering.IsLimited || fate < Faults / 2)
            {
                bool isLimited = answering == CrmAnswering.IsLimited || (answering == CrmAnswering.Answers && fate % 3 == 0);
                outcome = isLimited ? "limited" : outcome;
                throw new DestinationUnavailableException("away", isLimited ? TimeSpan.FromSeconds(10) : null, isLimited);
            }

            T answer = _isAllowed ? work() : throw new DestinationMustPauseException("not allowed");
            outcome = "ok";
            return answering == CrmAnswering.LosesAnswers || fate < Faults ? throw new DestinationUnavailableException("the answer was lost") : answer;
        }
        finally
        {
            Gate.Made(outcome);
        }
    }

    private static JsonElement Text(string text) => JsonSerializer.SerializeToElement(text);

    private sealed record Row(CrmRecord Record, long Number, DateTimeOffset VisibleAt);
}
