using System.Globalization;
using System.Text.RegularExpressions;

namespace StreamCdp.HubSpotEmulator;

/// <summary>One HubSpot account: its records, and the rules that HubSpot applies to them. Tests edit it as people do in HubSpot's own pages.</summary>
public sealed partial class HubSpotAccount
{
    public const string Contacts = "contacts";
    public const string Companies = "companies";
    public const string Deals = "deals";
    public const string Calls = "calls";
    public const string Emails = "emails";
    public const string Meetings = "meetings";
    public const string Notes = "notes";
    public const string Tasks = "tasks";
    public const int PortalId = 62515;

    /// <summary>A contact only moves forward in these; HubSpot keeps the old one, and says nothing.</summary>
    private static readonly string[] s_lifecycle = ["subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead", "opportunity", "customer", "evangelist", "other"];

    private readonly Dictionary<string, SortedDictionary<long, HubSpotRecord>> _records = new(StringComparer.Ordinal) { [Contacts] = [], [Companies] = [], [Deals] = [], [Calls] = [], [Emails] = [], [Meetings] = [], [Notes] = [], [Tasks] = [] };
    private readonly Dictionary<string, SortedDictionary<string, HubSpotProperty>> _properties = new(StringComparer.Ordinal);
    private readonly SortedSet<(string From, long FromId, string To, long ToId)> _associations = [];
    private readonly List<HubSpotList> _lists = [];
    private readonly TimeProvider _time;
    private readonly Random _random;
    private long _nextId = 100;
    private long _nextListId = 1;
    private long _version;

    internal HubSpotAccount(TimeProvider time, int seed)
    {
        _time = time;
#pragma warning disable CA5394 // A fault that comes again with the same seed is what this is for.
        _random = new Random(seed);
#pragma warning restore CA5394
        Index = new SearchIndex(time);
        DefineStandardProperties();
    }

    /// <summary>Everything below holds it.</summary>
    internal Lock Lock { get; } = new();

    internal SearchIndex Index { get; }

    internal WebhookOutbox Webhooks { get; } = new();

    /// <summary>A change is found by search only after a time between these, so near now changes are found out of order.</summary>
    public (TimeSpan Least, TimeSpan Most) SearchLag { get; set; }

    /// <summary>Results that one query gives at most; beyond, 400.</summary>
    public int SearchCap { get; set; } = 10_000;

    /// <summary>batch/read of an id that was merged away answers the winner, as GET does; else it is an error of the row.</summary>
    public bool BatchReadFollowsMerges { get; set; } = true;

    public IReadOnlyList<HubSpotPipeline> Pipelines { get; set; } =
    [
        new("default", "Sales Pipeline",
        [
            new("appointmentscheduled", "Appointment scheduled", 0.2, false),
            new("contractsent", "Contract sent", 0.9, false),
            new("closedwon", "Closed won", 1, true),
            new("closedlost", "Closed lost", 0, true),
        ]),
        new("renewals", "Renewals", [new("900", "Due", 0.5, false), new("901", "Closed won", 1, true), new("902", "Closed lost", 0, true)]),
    ];

    /// <summary>A person makes a record.</summary>
    /// <returns>Its id.</returns>
    public string Create(string kind, params (string Name, string Value)[] values)
    {
        lock (Lock)
        {
            HubSpotRecord record = Create(kind, values.ToDictionary(value => value.Name, value => value.Value, StringComparer.Ordinal), "CRM_UI");
            return record.IdText;
        }
    }

    /// <summary>A person changes a property.</summary>
    /// <param name="kind">contacts, companies, deals.</param>
    /// <param name="id">Of the record.</param>
    /// <param name="name">Of the property.</param>
    /// <param name="value">Empty: no value.</param>
    /// <param name="at">When, where not now: several changes of one instant, or one of before.</param>
    /// <param name="visibleAfter">From now until search finds it: a change that commits late.</param>
    public void Set(string kind, string id, string name, string value, DateTimeOffset? at = null, TimeSpan? visibleAfter = null)
    {
        lock (Lock)
        {
            HubSpotRecord record = Live(kind, id) ?? throw new InvalidOperationException($"There is no {kind} {id}.");
            Apply(record, new Dictionary<string, string> { [name] = value }, "CRM_UI", at, visibleAfter);
        }
    }

    /// <summary>A person archives a record, which HubSpot's pages call delete.</summary>
    public void Delete(string kind, string id)
    {
        lock (Lock)
        {
            Archive(Live(kind, id) ?? throw new InvalidOperationException($"There is no {kind} {id}."));
        }
    }

    /// <summary>A person merges two records.</summary>
    /// <param name="kind">contacts, companies, deals.</param>
    /// <param name="winner">Its values win.</param>
    /// <param name="loser">Its values fill gaps.</param>
    /// <param name="mintsNewId">What stays gets an id of its own, and both are gone.</param>
    /// <returns>The id of what stays.</returns>
    public string Merge(string kind, string winner, string loser, bool mintsNewId = false)
    {
        lock (Lock)
        {
            return MergeRecords(kind, winner, loser, mintsNewId).IdText;
        }
    }

    /// <summary>A person moves a deal.</summary>
    public void MoveDeal(string id, string stage, string pipeline = "default")
    {
        lock (Lock)
        {
            HubSpotRecord deal = Live(Deals, id) ?? throw new InvalidOperationException($"There is no deal {id}.");
            Apply(deal, new Dictionary<string, string> { ["pipeline"] = pipeline, ["dealstage"] = stage }, "CRM_UI");
        }
    }

    /// <summary>A person gives a contact a second address.</summary>
    public void AddEmail(string id, string email)
    {
        lock (Lock)
        {
            HubSpotRecord contact = Live(Contacts, id) ?? throw new InvalidOperationException($"There is no contact {id}.");
            string more = contact["hs_additional_emails"] is { Length: > 0 } has ? has + ";" + email : email;
            Apply(contact, new Dictionary<string, string> { ["hs_additional_emails"] = more }, "CRM_UI");
        }
    }

    /// <summary>Calls, mails, meetings, notes, tasks.</summary>
    internal static bool IsActivity(string kind) => kind is Calls or Emails or Meetings or Notes or Tasks;

    /// <summary>HubSpot's number of an object.</summary>
    internal static string TypeOf(string kind) => kind switch
    {
        Contacts => "0-1",
        Companies => "0-2",
        Deals => "0-3",
        Tasks => "0-27",
        Notes => "0-46",
        Meetings => "0-47",
        Calls => "0-48",
        _ => "0-49",
    };

    /// <summary>A person takes a deal, company or activity away from a contact.</summary>
    public void Dissociate(string kind, string id, string contact)
    {
        lock (Lock)
        {
            Unlink(kind, Live(kind, id)!.Id, Contacts, Live(Contacts, contact)!.Id);
        }
    }

    /// <summary>A person links a deal, company or activity with a contact.</summary>
    public void Associate(string kind, string id, string contact)
    {
        lock (Lock)
        {
            Link(kind, Live(kind, id)!.Id, Contacts, Live(Contacts, contact)!.Id);
        }
    }

    /// <summary>A deal, company or activity is linked with a contact.</summary>
    public bool IsAssociated(string kind, string id, string contact)
    {
        lock (Lock)
        {
            return Live(kind, id) is { } a && Live(Contacts, contact) is { } b && _associations.Contains((kind, a.Id, Contacts, b.Id));
        }
    }

    /// <summary>An administrator makes a property.</summary>
    public void Define(string kind, HubSpotProperty property)
    {
        lock (Lock)
        {
            _properties[kind][property.Name] = property;
        }
    }

    /// <summary>An administrator deletes a property.</summary>
    public void Undefine(string kind, string name)
    {
        lock (Lock)
        {
            _properties[kind].Remove(name);
        }
    }

    /// <summary>A record as HubSpot has it, also an archived one; null: there never was one.</summary>
    public HubSpotRecord? Find(string kind, string id)
    {
        lock (Lock)
        {
            return long.TryParse(id, CultureInfo.InvariantCulture, out long number) ? _records[kind].GetValueOrDefault(number) : null;
        }
    }

    /// <summary>All records that are not archived, by id.</summary>
    public IReadOnlyList<HubSpotRecord> Living(string kind)
    {
        lock (Lock)
        {
            return [.. _records[kind].Values.Where(record => record.ArchivedAt is null).OrderBy(record => record.Id)];
        }
    }

    /// <summary>Values that people typed and a program wrote over, with the time between; of archived records, too.</summary>
    public IReadOnlyList<(string Id, string Was, string Now, TimeSpan After)> Replaced(string kind, string property)
    {
        lock (Lock)
        {
            return
            [
                .. _records[kind].Values.SelectMany(record =>
                {
                    List<HistoricValue> history = record.History.GetValueOrDefault(property, []);
                    return history.Zip(history.Skip(1)).Where(pair => pair is { First.SourceType: "INTEGRATION", Second.SourceType: "CRM_UI" } && pair.First.Value != pair.Second.Value)
                        .Select(pair => (record.IdText, pair.Second.Value, pair.First.Value, pair.First.At - pair.Second.At));
                }),
            ];
        }
    }

    /// <summary>Records that are not archived.</summary>
    public int Count(string kind)
    {
        lock (Lock)
        {
            return _records[kind].Values.Count(record => record.ArchivedAt is null);
        }
    }

    /// <summary>Ids of the contacts of a list; null: there is no such list.</summary>
    public IReadOnlyList<string>? Members(string list)
    {
        lock (Lock)
        {
            return ListOf(list)?.Members.Keys.Select(id => id.ToString(CultureInfo.InvariantCulture)).ToList();
        }
    }

    /// <summary>A person makes a list.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="processingType">MANUAL, DYNAMIC.</param>
    public void CreateList(string name, string processingType = "MANUAL")
    {
        lock (Lock)
        {
            AddList(name, processingType);
        }
    }

    /// <summary>A person deletes a list.</summary>
    public void DeleteList(string name)
    {
        lock (Lock)
        {
            _lists.RemoveAll(list => list.Name == name);
        }
    }

    internal IReadOnlyDictionary<string, HubSpotProperty> PropertiesOf(string kind) => _properties.GetValueOrDefault(kind) ?? throw new HubSpotErrorException(400, "VALIDATION_ERROR", $"Unable to infer object type from: {kind}");

    internal IEnumerable<HubSpotRecord> All(string kind) => _records.GetValueOrDefault(kind)?.Values ?? throw new HubSpotErrorException(400, "VALIDATION_ERROR", $"Unable to infer object type from: {kind}");

    internal static string ModifiedProperty(string kind) => kind == Contacts ? "lastmodifieddate" : "hs_lastmodifieddate";

    /// <summary>What an id leads to now; null: nothing. Follows merges.</summary>
    internal HubSpotRecord? Live(string kind, string id)
    {
        if (!long.TryParse(id, CultureInfo.InvariantCulture, out long number) || !_records[kind].TryGetValue(number, out HubSpotRecord? record))
        {
            return null;
        }

        while (record.MergedInto is not null)
        {
            record = record.MergedInto;
        }

        return record.ArchivedAt is null ? record : null;
    }

    /// <summary>The record with a value in a property that identifies. By e-mail this finds the main one alone.</summary>
    internal HubSpotRecord? By(string kind, string property, string value)
    {
        if (property == "hs_object_id")
        {
            return Live(kind, value);
        }

        if (!(property == "email" && kind == Contacts) && !(PropertiesOf(kind).TryGetValue(property, out HubSpotProperty? definition) && definition.HasUniqueValue))
        {
            throw new HubSpotErrorException(400, "VALIDATION_ERROR", $"Property {property} is not a unique identifier property for {kind}");
        }

        string wanted = property == "email" ? value.ToLowerInvariant() : value;
        return All(kind).FirstOrDefault(record => record.ArchivedAt is null && record[property] == wanted);
    }

    /// <summary>Refuses an address that another contact has.</summary>
    internal void MustBeFree(IReadOnlyDictionary<string, string> values, HubSpotRecord? record)
    {
        if (values.TryGetValue("email", out string? email) && email.Length > 0 && HolderOf(email) is { } holder && holder != record)
        {
            throw new HubSpotErrorException(409, "CONFLICT", $"Contact already exists. Existing ID: {holder.Id}");
        }
    }

    internal HubSpotRecord Create(string kind, IReadOnlyDictionary<string, string> values, string source)
    {
        Dictionary<string, string> clean = Validated(kind, values, null);
        MustBeFree(clean, null);
        var record = new HubSpotRecord(kind, _nextId++, Now());
        _records[kind].Add(record.Id, record);
        record.Values["hs_object_id"] = record.IdText;
        record.Values["createdate"] = Instant(record.CreatedAt);
        if (kind == Deals)
        {
            record.Values["pipeline"] = Pipelines[0].Id;
            record.Values["dealstage"] = Pipelines[0].Stages[0].Id;
        }

        Webhooks.Add(kind, "creation", record.Id, record.CreatedAt, source);
        Apply(record, clean, source);
        return record;
    }

    /// <summary>Refuses what HubSpot refuses before anything of a batch is written.</summary>
    /// <param name="kind">Of the record.</param>
    /// <param name="values">As they came.</param>
    /// <param name="record">The one that they are for; null: a new one.</param>
    /// <returns>Values as they are stored.</returns>
    internal Dictionary<string, string> Validated(string kind, IReadOnlyDictionary<string, string> values, HubSpotRecord? record)
    {
        var clean = new Dictionary<string, string>(StringComparer.Ordinal);
        var wrong = new List<(string, string, string)>();
        foreach ((string name, string value) in values)
        {
            if (!PropertiesOf(kind).TryGetValue(name, out HubSpotProperty? property))
            {
                wrong.Add((name, "PROPERTY_DOESNT_EXIST", $"Property \"{name}\" does not exist"));
            }
            else if (property.IsReadOnly)
            {
                wrong.Add((name, "READ_ONLY_VALUE", $"\"{name}\" is a read only property; its value cannot be set."));
            }
            else if (value.Length == 0)
            {
                clean[name] = "";
            }
            else if (Refusal(property, value) is { } error)
            {
                wrong.Add((name, error.Error, error.Message));
            }
            else if (property.HasUniqueValue && All(kind).Any(other => other != record && other.ArchivedAt is null && other[name] == value))
            {
                wrong.Add((name, "CONFLICTING_UNIQUE_VALUE", $"Another record already has that value for {name}."));
            }
            else
            {
                clean[name] = Stored(property, value);
            }
        }

        if (kind == Deals && clean.TryGetValue("dealstage", out string? stage))
        {
            string pipeline = clean.GetValueOrDefault("pipeline") ?? record?["pipeline"] ?? Pipelines[0].Id;
            if (Pipelines.FirstOrDefault(found => found.Id == pipeline)?.Stages.Any(found => found.Id == stage) != true)
            {
                wrong.Add(("dealstage", "INVALID_OPTION", $"{stage} is not a stage of the pipeline."));
            }
        }

        return wrong.Count == 0 ? clean : throw HubSpotErrorException.BadValues(wrong);
    }

    /// <summary>Stores values that are valid.</summary>
    internal void Apply(HubSpotRecord record, IReadOnlyDictionary<string, string> values, string source, DateTimeOffset? at = null, TimeSpan? visibleAfter = null)
    {
        DateTimeOffset now = at is null ? Now() : Milliseconds(at.Value);
        foreach ((string name, string value) in values)
        {
            if (name == "lifecyclestage" && value.Length > 0 && Array.IndexOf(s_lifecycle, value) < Array.IndexOf(s_lifecycle, record[name]))
            {
                continue; // HubSpot keeps the old one and answers as if it had not.
            }

            Store(record, name, value, now, source);
        }

        Touch(record, now, visibleAfter);
    }

    internal void Archive(HubSpotRecord record)
    {
        record.ArchivedAt = Now();
        Webhooks.Add(record.Kind, "deletion", record.Id, record.ArchivedAt.Value, "CRM_UI");
        foreach (HubSpotList list in _lists)
        {
            list.Members.Remove(record.Id);
        }

        Reindex(record, null);
    }

    internal HubSpotRecord MergeRecords(string kind, string winnerId, string loserId, bool mintsNewId)
    {
        HubSpotRecord? winner = Live(kind, winnerId);
        HubSpotRecord? loser = Live(kind, loserId);
        if (winner is null || loser is null)
        {
            throw HubSpotErrorException.NotFound($"No {kind} found to merge.");
        }

        if (winner == loser)
        {
            throw new HubSpotErrorException(400, "VALIDATION_ERROR", "Cannot merge a record with itself.");
        }

        DateTimeOffset now = Now();
        HubSpotRecord survivor = winner;
        if (mintsNewId)
        {
            survivor = new HubSpotRecord(kind, _nextId++, now);
            _records[kind].Add(survivor.Id, survivor);
            survivor.Values["createdate"] = winner["createdate"]!;
            survivor.Values["hs_object_id"] = survivor.IdText;
        }

        HubSpotRecord[] losers = mintsNewId ? [winner, loser] : [loser];
        var emails = new List<string>();
        var ids = new List<string>();
        foreach (HubSpotRecord gone in losers)
        {
            foreach ((string name, string value) in gone.Values)
            {
                if (!survivor.Values.ContainsKey(name) && !PropertiesOf(kind)[name].IsReadOnly && name != "hs_additional_emails")
                {
                    Store(survivor, name, value, now, "MERGE_OBJECTS", tells: false); // A merge tells of no propertyChange.
                }
            }

            emails.AddRange(Split(gone["hs_additional_emails"]).Prepend(gone["email"] ?? ""));
            ids.AddRange(Split(gone["hs_merged_object_ids"]).Append(gone.IdText));
            gone.MergedInto = survivor;
            gone.ArchivedAt = now;
            foreach ((string from, long fromId, string to, long toId) in _associations.Where(link => (link.From == kind && link.FromId == gone.Id) || (link.To == kind && link.ToId == gone.Id)).ToList())
            {
                _associations.Remove((from, fromId, to, toId));
                _associations.Add((from, from == kind && fromId == gone.Id ? survivor.Id : fromId, to, to == kind && toId == gone.Id ? survivor.Id : toId));
            }

            foreach (HubSpotList list in _lists.Where(list => list.Members.Remove(gone.Id)))
            {
                list.Members.TryAdd(survivor.Id, now);
            }

            Webhooks.Add(kind, "deletion", gone.Id, now, "MERGE_OBJECTS");
            Reindex(gone, null);
        }

        if (kind == Contacts)
        {
            string more = string.Join(';', Split(survivor["hs_additional_emails"]).Concat(emails).Where(email => email.Length > 0 && email != survivor["email"]).Distinct(StringComparer.Ordinal));
            Store(survivor, "hs_additional_emails", more, now, "MERGE_OBJECTS", tells: false);
            Store(survivor, "hs_calculated_merged_vids", string.Join(';', ids.Select(id => $"{id}:{now.ToUnixTimeMilliseconds()}")), now, "MERGE_OBJECTS", tells: false);
        }

        Store(survivor, "hs_merged_object_ids", string.Join(';', Split(survivor["hs_merged_object_ids"]).Concat(ids).Distinct(StringComparer.Ordinal)), now, "MERGE_OBJECTS", tells: false);
        Webhooks.AddMerge(kind, winner.Id, losers.Select(gone => gone.Id), survivor.Id, now);
        Touch(survivor, now, null);
        return survivor;
    }

    internal void Link(string from, long fromId, string to, long toId)
    {
        _associations.Add((from, fromId, to, toId));
        _associations.Add((to, toId, from, fromId));
        Webhooks.AddAssociation(from, fromId, to, toId, Now());
    }

    internal void Unlink(string from, long fromId, string to, long toId)
    {
        _associations.Remove((from, fromId, to, toId));
        _associations.Remove((to, toId, from, fromId));
    }

    internal IReadOnlyList<long> Linked(string from, long fromId, string to) => [.. _associations.Where(link => link.From == from && link.FromId == fromId && link.To == to).Select(link => link.ToId)];

    internal HubSpotList? ListOf(string name) => _lists.FirstOrDefault(list => list.Name == name);

    internal HubSpotList? ListById(string id) => _lists.FirstOrDefault(list => list.Id == id);

    internal HubSpotList AddList(string name, string processingType)
    {
        if (ListOf(name) is not null)
        {
            throw new HubSpotErrorException(400, "VALIDATION_ERROR", "A List already exists with the given name.", subCategory: "ILS.DUPLICATE_LIST_NAMES");
        }

        var list = new HubSpotList(_nextListId++, name, processingType);
        _lists.Add(list);
        return list;
    }

    internal DateTimeOffset Now() => Milliseconds(_time.GetUtcNow());

    internal static string Instant(DateTimeOffset at) => at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    internal static string[] Split(string? value) => string.IsNullOrEmpty(value) ? [] : value.Split(';', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Whose address it is: as the main one or besides.</summary>
    private HubSpotRecord? HolderOf(string email) =>
        All(Contacts).FirstOrDefault(record => record.ArchivedAt is null && (record["email"] == email || Split(record["hs_additional_emails"]).Contains(email, StringComparer.Ordinal)));

    private void Store(HubSpotRecord record, string name, string value, DateTimeOffset at, string source, bool tells = true)
    {
        if (value.Length == 0)
        {
            record.Values.Remove(name);
        }
        else
        {
            record.Values[name] = value;
        }

        if (!record.History.TryGetValue(name, out List<HistoricValue>? history))
        {
            record.History.Add(name, history = []);
        }

        history.Insert(0, new HistoricValue(value, at, source));
        if (tells)
        {
            Webhooks.AddProperty(record.Kind, record.Id, name, value, at, source);
        }
    }

    private void Touch(HubSpotRecord record, DateTimeOffset at, TimeSpan? visibleAfter)
    {
        record.UpdatedAt = at;
        record.Values[ModifiedProperty(record.Kind)] = Instant(at);
        Reindex(record, visibleAfter);
    }

    private void Reindex(HubSpotRecord record, TimeSpan? visibleAfter)
    {
        record.Version = ++_version;
#pragma warning disable CA5394 // As above.
        TimeSpan lag = visibleAfter ?? SearchLag.Least + ((SearchLag.Most - SearchLag.Least) * _random.NextDouble());
#pragma warning restore CA5394
        Index.Add(new IndexedRecord(record, record.Version, record.ArchivedAt is not null, new Dictionary<string, string>(record.Values, StringComparer.Ordinal), record.UpdatedAt), lag);
    }

    private static (string Error, string Message)? Refusal(HubSpotProperty property, string value) => property switch
    {
        { Name: "email" } when !Email().IsMatch(value) => ("INVALID_EMAIL", $"Email address {value} is invalid"),
        { Type: "number" } when !double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out _) => ("INVALID_LONG", $"{value} was not a valid number."),
        { Type: "bool" } when value is not ("true" or "false") => ("INVALID_OPTION", $"{value} was not one of the allowed options: [true, false]"),
        { Type: "date" } when Day(value) is null => ("INVALID_DATE", $"{value} was not a valid date."),
        { Type: "datetime" } when At(value) is null => ("INVALID_DATE", $"{value} was not a valid long."),
        { FieldType: "select", Options: { } options } when !options.Contains(value, StringComparer.Ordinal) => ("INVALID_OPTION", $"{value} was not one of the allowed options"),
        { FieldType: "checkbox", Options: { } options } when Split(value).Any(part => !options.Contains(part, StringComparer.Ordinal)) => ("INVALID_OPTION", $"{value} was not one of the allowed options"),
        _ => null,
    };

    private static string Stored(HubSpotProperty property, string value) => property.Type switch
    {
        _ when property.Name is "email" or "hs_additional_emails" => value.ToLowerInvariant(),
        "date" => Day(value)!.Value.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
        "datetime" => Instant(At(value)!.Value),
        _ => value,
    };

    /// <summary>Of midnight in UTC in milliseconds, or of ISO 8601.</summary>
    private static DateOnly? Day(string value)
    {
        if (long.TryParse(value, CultureInfo.InvariantCulture, out long milliseconds))
        {
            DateTimeOffset at = DateTimeOffset.FromUnixTimeMilliseconds(milliseconds);
            return at.TimeOfDay == TimeSpan.Zero ? DateOnly.FromDateTime(at.UtcDateTime) : null;
        }

        return DateOnly.TryParseExact(value, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out DateOnly day) ? day : null;
    }

    internal static DateTimeOffset? At(string value) =>
        long.TryParse(value, CultureInfo.InvariantCulture, out long milliseconds) ? DateTimeOffset.FromUnixTimeMilliseconds(milliseconds)
        : DateTimeOffset.TryParse(value, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out DateTimeOffset at) ? Milliseconds(at)
        : null;

    private static DateTimeOffset Milliseconds(DateTimeOffset at) => DateTimeOffset.FromUnixTimeMilliseconds(at.ToUnixTimeMilliseconds());

    private void DefineStandardProperties()
    {
        HubSpotProperty[] all =
        [
            new("hs_object_id", "number", "number", IsReadOnly: true),
            new("createdate", "datetime", "date", IsReadOnly: true),
            new("hs_merged_object_ids", "enumeration", "checkbox", IsReadOnly: true),
        ];
        HubSpotProperty[] contacts =
        [
            new("lastmodifieddate", "datetime", "date", IsReadOnly: true), new("email", "string", "text"), new("hs_additional_emails", "enumeration", "checkbox"), new("firstname", "string", "text"),
            new("lastname", "string", "text"), new("phone", "string", "phonenumber"), new("city", "string", "text"), new("jobtitle", "string", "text"),
            new("lifecyclestage", "enumeration", "select", Options: s_lifecycle), new("hs_calculated_merged_vids", "string", "text", IsReadOnly: true), new("num_employees_of_mine", "number", "number"),
            new("date_of_birth_day", "date", "date"), new("last_order_at", "datetime", "date"), new("is_vip", "bool", "booleancheckbox", Options: ["true", "false"]),
            new("interests", "enumeration", "checkbox", Options: ["music", "sport", "travel"]), new("hs_analytics_num_visits", "number", "number", IsReadOnly: true),
        ];
        HubSpotProperty[] companies =
        [
            new("hs_lastmodifieddate", "datetime", "date", IsReadOnly: true), new("name", "string", "text"), new("domain", "string", "text"), new("city", "string", "text"), new("numberofemployees", "number", "number"),
        ];
        HubSpotProperty[] deals =
        [
            new("hs_lastmodifieddate", "datetime", "date", IsReadOnly: true), new("dealname", "string", "text"), new("dealstage", "enumeration", "radio"), new("pipeline", "enumeration", "select"), new("amount", "number", "number"),
            new("closedate", "datetime", "date"), new("deal_currency_code", "enumeration", "select", Options: ["EUR", "USD"]),
        ];
        HubSpotProperty[] calls =
        [
            new("hs_lastmodifieddate", "datetime", "date", IsReadOnly: true), new("hs_timestamp", "datetime", "date"), new("hs_call_title", "string", "text"), new("hs_call_body", "string", "html"),
            new("hs_call_direction", "enumeration", "select", Options: ["INBOUND", "OUTBOUND"]), new("hs_call_duration", "number", "number"),
            new("hs_call_status", "enumeration", "select", Options: ["COMPLETED", "NO_ANSWER", "CANCELED"]),
            new("hs_call_disposition", "enumeration", "select", Options: ["f240bbac-87c9-4f6e-bf70-924b57d47db7", "73a0d17f-1163-4015-bdd5-ec830791da20"], OptionLabels: ["Connected", "No answer"]),
        ];
        HubSpotProperty[] emails =
        [
            new("hs_lastmodifieddate", "datetime", "date", IsReadOnly: true), new("hs_timestamp", "datetime", "date"), new("hs_email_subject", "string", "text"), new("hs_email_text", "string", "textarea"), new("hs_email_html", "string", "html"),
            new("hs_email_direction", "enumeration", "select", Options: ["EMAIL", "INCOMING_EMAIL", "FORWARDED_EMAIL"]), new("hs_email_status", "enumeration", "select", Options: ["BOUNCED", "FAILED", "SCHEDULED", "SENDING", "SENT"]),
        ];
        HubSpotProperty[] meetings =
        [
            new("hs_lastmodifieddate", "datetime", "date", IsReadOnly: true), new("hs_timestamp", "datetime", "date"), new("hs_meeting_title", "string", "text"), new("hs_meeting_body", "string", "html"),
            new("hs_meeting_start_time", "datetime", "date"), new("hs_meeting_end_time", "datetime", "date"), new("hs_meeting_outcome", "enumeration", "select", Options: ["SCHEDULED", "COMPLETED", "RESCHEDULED", "NO_SHOW", "CANCELED"]),
        ];
        HubSpotProperty[] notes = [new("hs_lastmodifieddate", "datetime", "date", IsReadOnly: true), new("hs_timestamp", "datetime", "date"), new("hs_note_body", "string", "html")];
        HubSpotProperty[] tasks =
        [
            new("hs_lastmodifieddate", "datetime", "date", IsReadOnly: true), new("hs_timestamp", "datetime", "date"), new("hs_task_subject", "string", "text"), new("hs_task_body", "string", "html"),
            new("hs_task_status", "enumeration", "select", Options: ["NOT_STARTED", "IN_PROGRESS", "COMPLETED", "WAITING", "DEFERRED"]),
        ];
        foreach ((string kind, HubSpotProperty[] own) in new[] { (Contacts, contacts), (Companies, companies), (Deals, deals), (Calls, calls), (Emails, emails), (Meetings, meetings), (Notes, notes), (Tasks, tasks) })
        {
            _properties[kind] = new SortedDictionary<string, HubSpotProperty>(all.Concat(own).ToDictionary(property => property.Name), StringComparer.Ordinal);
        }
    }

    [GeneratedRegex(@"^[^@\s]+@[^@\s]+\.[^@\s.]+$")]
    private static partial Regex Email();
}
