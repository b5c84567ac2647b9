using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.Tryton;

/// <summary>Parties of Tryton with their contact mechanisms, first address and categories as contacts; opportunities as deals; notes as activities. Tryton 6.0.</summary>
/// <remarks>
/// What Tryton does and this makes up for (each measured, facts on CRM servers §1): a party does not change its date when its e-mail does, so four tables are asked and folded up;
/// <c>write_date</c> is null until the first change; inactive records hide; deleted ones leave nothing; nothing is unique, so our id in <c>party.identifier</c> is looked for before a party is made;
/// the lock <c>_timestamp</c> has whole seconds with SQLite, so a record that was changed in this very second is written a second later.
/// </remarks>
public sealed partial class TrytonCrm : ICrm
{
    private const string Code = "streamcdp:";
    private const int SettleTries = 4;
    private static readonly string[] s_mechanisms = ["email", "phone", "mobile", "website"];
    private static readonly string[] s_address = ["street", "postal_code", "city"];
    private static readonly string[] s_tables = ["party.party", "party.contact_mechanism", "party.address", "party.identifier"];
    private static readonly string[] s_scalars = ["char", "text", "integer", "biginteger", "float", "numeric", "boolean", "selection", "date", "datetime", "timestamp"];
    private static readonly TimeSpan s_settle = TimeSpan.FromMilliseconds(1100);

    private readonly TrytonOptions _options;
    private readonly TrytonClient _client;
    private readonly TimeProvider _time;
    private readonly Dictionary<string, int> _categories = [];
    private Dictionary<string, string>? _partyTypes;
    private List<string> _partyReads = [];

    /// <summary>Makes it; nothing is asked yet.</summary>
    /// <param name="options">Checked: <see cref="TrytonOptions.Errors"/> is empty.</param>
    /// <param name="gate">Asked before each request.</param>
    /// <param name="time">For waits.</param>
    public TrytonCrm(TrytonOptions options, IRequestGate gate, TimeProvider time)
    {
        (_options, _time) = (options, time);
        _client = new TrytonClient(options, gate, time);
    }

    /// <inheritdoc/>
    /// <remarks>Activities also where none is read: then their questions cost no request, and what was read before is gone.</remarks>
    public IReadOnlyList<CrmObject> Objects { get; } = [CrmObject.Contact, CrmObject.Deal, CrmObject.Activity];

    /// <inheritdoc/>
    public string ContactIdType => "tryton_contact_id";

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CrmField>> DescribeAsync(CrmObject kind, CancellationToken cancellationToken)
    {
        if (kind == CrmObject.Activity)
        {
            return [new CrmField("at", CrmFieldType.Instant, IsReadOnly: true), new CrmField("kind", CrmFieldType.Text, IsReadOnly: true, ["note"]), new CrmField("subject", CrmFieldType.Text, IsReadOnly: true)];
        }

        if (kind == CrmObject.Deal)
        {
            return
            [
                .. ((string[])["name", "stage"]).Select(name => new CrmField(name, CrmFieldType.Text, IsReadOnly: false)),
                .. ((string[])["amount", "probability"]).Select(name => new CrmField(name, CrmFieldType.Number, IsReadOnly: false)),
                .. ((string[])["pipeline", "currency", "status", "number", "owner", "start_date", "end_date"]).Select(name => new CrmField(name, CrmFieldType.Text, IsReadOnly: true)),
            ];
        }

        await PreparePartiesAsync(cancellationToken).ConfigureAwait(false);
        return
        [
            .. s_mechanisms.Concat(s_address).Select(name => new CrmField(name, CrmFieldType.Text, IsReadOnly: false)),
            new CrmField("country", CrmFieldType.Text, IsReadOnly: true),
            new CrmField("categories", CrmFieldType.List, IsReadOnly: true),
            .. _partyTypes!.Where(field => !IsOurs(field.Key)).Select(field => new CrmField(field.Key, Type(field.Value), IsReadOnly: false)),
        ];
    }

    /// <inheritdoc/>
    public async ValueTask<CrmPage> ChangesAsync(CrmObject kind, DateTimeOffset since, string? page, CancellationToken cancellationToken)
    {
        if (IsOff(kind))
        {
            return new CrmPage([], null, _time.GetUtcNow());
        }

        string[] tables = kind != CrmObject.Contact ? [Model(kind)] : since == DateTimeOffset.MinValue ? s_tables[..1] : s_tables; // Reading all parties reads their parts.
        (int table, long after) = page is null ? (0, 0) : (int.Parse(page.Split(':')[0], CultureInfo.InvariantCulture), long.Parse(page.Split(':')[1], CultureInfo.InvariantCulture));
        JsonArray domain = [new JsonArray("id", ">", after)];
        if (since > DateTimeOffset.MinValue)
        {
            domain.Add(new JsonArray("OR", new JsonArray(new JsonArray("write_date", ">=", TrytonValues.Wire(since))), new JsonArray(new JsonArray("create_date", ">=", TrytonValues.Wire(since)))));
        }

        if (kind == CrmObject.Activity)
        {
            domain.Add(OfPeople());
        }

        // By id and not by date: so any number of rows with one date are no problem, and the place in between needs no date.
        string[] fields = table == 0 ? ["id"] : ["party"];
        JsonElement rows = await CallUserAsync($"model.{tables[table]}.search_read", [domain, 0, _options.PageSize, new JsonArray(new JsonArray("id", "ASC")), Names(fields)], cancellationToken, WithInactive()).ConfigureAwait(false);
        DateTimeOffset serverTime = _client.ServerTime;
        int count = rows.GetArrayLength();
        string? next = count == _options.PageSize ? string.Create(CultureInfo.InvariantCulture, $"{table}:{rows[count - 1].GetProperty("id"u8).GetInt64()}") : table + 1 < tables.Length ? string.Create(CultureInfo.InvariantCulture, $"{table + 1}:0") : null;
        string[] ids = [.. rows.EnumerateArray().Select(row => row.GetProperty(fields[0])).Where(id => id.ValueKind == JsonValueKind.Number).Select(id => id.GetRawText()).Distinct()];
        return new CrmPage(ids.Length == 0 ? [] : [.. (await ReadAsync(kind, ids, cancellationToken).ConfigureAwait(false)).Where(record => since > DateTimeOffset.MinValue || !record.IsDeleted || record.MergedInto is not null)], next, serverTime);
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CrmRecord>> ReadAsync(CrmObject kind, IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(ids);
        if (IsOff(kind))
        {
            return [.. ids.Select(id => new CrmRecord { Kind = kind, Id = id, IsDeleted = true })];
        }

        JsonArray numbers = [.. ids.Where(id => long.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out _)).Select(id => (JsonNode)long.Parse(id, CultureInfo.InvariantCulture))];
        JsonArray domain = [new JsonArray("id", "in", numbers)];
        if (kind == CrmObject.Contact)
        {
            await PreparePartiesAsync(cancellationToken).ConfigureAwait(false);
        }

        // Searched, not read by id: one that was deleted would cost all of them.
        List<CrmRecord> records;
        if (kind == CrmObject.Activity)
        {
            records = await NotesAsync(domain, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            JsonElement rows = await CallUserAsync($"model.{Model(kind)}.search_read", [domain, 0, null, null, Names(kind == CrmObject.Contact ? _partyReads : s_dealReads)], cancellationToken, WithInactive()).ConfigureAwait(false);
            DateTimeOffset at = _client.ServerTime;
            records = [.. rows.EnumerateArray().Select(row => kind == CrmObject.Contact ? Party(row, at) : Deal(row))];
        }

        records.AddRange(ids.Except(records.Select(record => record.Id)).Select(id => new CrmRecord { Kind = kind, Id = id, IsDeleted = true }));
        return records;
    }

    /// <inheritdoc/>
    public async ValueTask<(IReadOnlyList<string> Ids, string? Next)> IdsAsync(CrmObject kind, string? page, CancellationToken cancellationToken)
    {
        const int Size = 10_000;
        if (IsOff(kind))
        {
            return ([], null);
        }

        JsonArray domain = [new JsonArray("id", ">", page is null ? 0 : long.Parse(page, CultureInfo.InvariantCulture))];
        if (kind == CrmObject.Activity)
        {
            domain.Add(OfPeople());
        }

        JsonElement found = await CallUserAsync($"model.{Model(kind)}.search", [domain, 0, Size, new JsonArray(new JsonArray("id", "ASC"))], cancellationToken).ConfigureAwait(false);
        string[] ids = [.. found.EnumerateArray().Select(id => id.GetRawText())];
        return (ids, ids.Length == Size ? ids[^1] : null);
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CrmRecord>> FindContactsAsync(IReadOnlyList<string> externalIds, IReadOnlyList<string> emails, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(externalIds);
        ArgumentNullException.ThrowIfNull(emails);
        var either = new JsonArray("OR", new JsonArray(new JsonArray("identifiers.code", "in", Names(externalIds.Select(id => Code + id)))));
        foreach (string email in emails)
        {
            // Case does not matter in an e-mail, and Tryton keeps it as typed.
            either.Add(new JsonArray(new JsonArray("contact_mechanisms", "where", new JsonArray(new JsonArray("type", "=", "email"), new JsonArray("value", "ilike", Escaped(email))))));
        }

        JsonElement found = await CallUserAsync("model.party.party.search", [new JsonArray(either), 0, null, null], cancellationToken).ConfigureAwait(false);
        string[] ids = [.. found.EnumerateArray().Select(id => id.GetRawText())];
        return ids.Length == 0 ? [] : [.. (await ReadAsync(CrmObject.Contact, ids, cancellationToken).ConfigureAwait(false)).Where(record => !record.IsDeleted)];
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<CrmOutcome>> WriteAsync(IReadOnlyList<CrmWrite> writes, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(writes);
        if (writes[0].Kind == CrmObject.Deal)
        {
            return await WriteDealsAsync(writes, cancellationToken).ConfigureAwait(false);
        }

        await PreparePartiesAsync(cancellationToken).ConfigureAwait(false);
        CrmOutcome?[] outcomes = new CrmOutcome?[writes.Count];
        string[] externalIds = [.. writes.Where(write => write.Id is null && write.ExternalId is not null).Select(write => write.ExternalId!)];
        Dictionary<string, CrmRecord> existing = externalIds.Length == 0 ? [] : (await FindContactsAsync(externalIds, [], cancellationToken).ConfigureAwait(false)).Where(record => record.ExternalId is not null).GroupBy(record => record.ExternalId!).ToDictionary(same => same.Key, same => same.First());
        string?[] ids = [.. writes.Select(write => write.Id ?? (write.ExternalId is not null ? existing.GetValueOrDefault(write.ExternalId)?.Id : null))];
        Dictionary<string, CrmRecord> current = await SettledAsync([.. ids.Where(id => id is not null).Select(id => id!)], cancellationToken).ConfigureAwait(false);
        List<(int Index, string? Id, JsonObject Values)> ready = [];
        for (int i = 0; i < writes.Count; i++)
        {
            CrmRecord? record = ids[i] is { } id ? current[id] : null;
            if (record?.IsDeleted == true)
            {
                outcomes[i] = new CrmOutcome(CrmOutcomeKind.Gone, record);
            }
            else if (record is not null && writes[i].Revision is { } revision && Part(revision) != Part(record.Revision!))
            {
                outcomes[i] = new CrmOutcome(CrmOutcomeKind.Stale, record);
            }
            else if (record is not null && IsUnsettled(record))
            {
                outcomes[i] = new CrmOutcome(CrmOutcomeKind.TryAgain, record, "somebody changes it just now");
            }
            else if (TryValues(writes[i], record, out JsonObject values, out string field))
            {
                ready.Add((i, ids[i], values));
            }
            else
            {
                outcomes[i] = new CrmOutcome(CrmOutcomeKind.Refused, record, $"{field} does not take such a value, or there is no such field.", field);
            }
        }

        await StoreAsync(ready, writes, current, outcomes, cancellationToken).ConfigureAwait(false);
        string[] stored = [.. outcomes.Where(outcome => outcome is { Kind: CrmOutcomeKind.Done, Record: not null }).Select(outcome => outcome!.Record!.Id)];
        Dictionary<string, CrmRecord> back = stored.Length == 0 ? [] : (await ReadAsync(CrmObject.Contact, stored, cancellationToken).ConfigureAwait(false)).ToDictionary(record => record.Id);
        return [.. outcomes.Select(outcome => outcome is { Kind: CrmOutcomeKind.Done } ? outcome with { Record = back[outcome.Record!.Id] } : outcome!)];
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<string>> ChangeListAsync(string list, IReadOnlyList<string> add, IReadOnlyList<string> remove, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(add);
        ArgumentNullException.ThrowIfNull(remove);
        int category = await CategoryAsync(list, cancellationToken).ConfigureAwait(false);
        string[] living = [.. (await ReadAsync(CrmObject.Contact, [.. add, .. remove], cancellationToken).ConfigureAwait(false)).Where(record => !record.IsDeleted).Select(record => record.Id)];
        JsonArray parameters = [];
        foreach ((IReadOnlyList<string> ids, string operation) in ((IReadOnlyList<string>, string)[])[(add, "add"), (remove, "remove")])
        {
            JsonArray numbers = [.. ids.Intersect(living).Select(id => (JsonNode)long.Parse(id, CultureInfo.InvariantCulture))];
            if (numbers.Count > 0)
            {
                parameters.Add(numbers);
                parameters.Add(new JsonObject { ["categories"] = new JsonArray(new JsonArray(operation, new JsonArray(category))) });
            }
        }

        if (parameters.Count > 0)
        {
            await CallUserAsync("model.party.party.write", parameters, cancellationToken).ConfigureAwait(false);
        }

        return [.. add.Except(living)];
    }

    /// <inheritdoc/>
    public async ValueTask<string?> MergeContactsAsync(string from, string into, CancellationToken cancellationToken)
    {
        (long source, long destination) = (long.Parse(from, CultureInfo.InvariantCulture), long.Parse(into, CultureInfo.InvariantCulture));
        CrmRecord[] both = [.. await ReadAsync(CrmObject.Contact, [from, into], cancellationToken).ConfigureAwait(false)];
        if (both.First(record => record.Id == from) is { IsDeleted: true } gone)
        {
            return gone.MergedInto ?? into; // A repeat after a crash.
        }

        if (both.First(record => record.Id == into).IsDeleted)
        {
            return null; // Tryton would move everything to a party that nobody sees. The reader tells what became of it.
        }

        JsonElement session = await CallUserAsync("wizard.party.replace.create", [], cancellationToken).ConfigureAwait(false);
        for (int warnings = 0; ; warnings++)
        {
            try
            {
                await _client.CallAsync(
                    "wizard.party.replace.execute",
                    [session[0].GetInt64(), new JsonObject { ["ask"] = new JsonObject { ["source"] = source, ["destination"] = destination } }, "replace"],
                    new JsonObject { ["active_model"] = "party.party", ["active_id"] = source, ["active_ids"] = new JsonArray(source) },
                    cancellationToken).ConfigureAwait(false);
                return into;
            }
            catch (TrytonException exception) when (exception.Warning.Length > 0 && warnings < 5)
            {
                // "Parties have different names": that is why they are merged.
                await CallUserAsync("model.res.user.warning.create", [new JsonArray(new JsonObject { ["user"] = await UserIdAsync(cancellationToken).ConfigureAwait(false), ["name"] = exception.Warning, ["always"] = false })], cancellationToken).ConfigureAwait(false);
            }
            catch (TrytonException)
            {
                return null; // This user may not, or the parties cannot be: both stay.
            }
        }
    }

    /// <inheritdoc/>
    /// <remarks>A party that something else of Tryton names cannot be deleted and is made inactive.</remarks>
    public async ValueTask<IReadOnlyDictionary<string, string>> DeleteContactsAsync(IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        var refused = new Dictionary<string, string>(StringComparer.Ordinal);
        string[] living = [.. (await ReadAsync(CrmObject.Contact, ids, cancellationToken).ConfigureAwait(false)).Where(record => !record.IsDeleted).Select(record => record.Id)];
        if (living.Length == 0)
        {
            return refused;
        }

        JsonArray domain = [new JsonArray("party", "in", new JsonArray([.. living.Select(id => (JsonNode)long.Parse(id, CultureInfo.InvariantCulture))]))];
        JsonElement deals = await CallUserAsync("model.sale.opportunity.search_read", [domain, 0, null, null, Names(["party"])], cancellationToken, WithInactive()).ConfigureAwait(false); // With SQLite Tryton would delete the party under them.
        foreach (JsonElement deal in deals.EnumerateArray())
        {
            refused[deal.GetProperty("party"u8).GetRawText()] = $"opportunity {deal.GetProperty("id"u8).GetRawText()} names it.";
        }

        foreach ((string party, string note) in await NotedAsync(living.Where(id => !refused.ContainsKey(id)), cancellationToken).ConfigureAwait(false))
        {
            refused[party] = $"note {note} is about it.";
        }

        foreach (string id in living.Where(id => !refused.ContainsKey(id)))
        {
            if (await DeletePartyAsync(long.Parse(id, CultureInfo.InvariantCulture), cancellationToken).ConfigureAwait(false) is { } why)
            {
                refused[id] = why;
            }
        }

        return refused;
    }

    /// <summary>Why it stays; null: it is gone.</summary>
    private async ValueTask<string?> DeletePartyAsync(long id, CancellationToken cancellationToken)
    {
        string why = "";
        foreach ((string method, JsonArray parameters) in ((string, JsonArray)[])[("delete", [new JsonArray(id)]), ("write", [new JsonArray(id), new JsonObject { ["active"] = false }])])
        {
            try
            {
                await _client.CallAsync("model.party.party." + method, parameters, Context(), cancellationToken).ConfigureAwait(false);
                return null;
            }
            catch (TrytonException exception) when (exception.IsAccess)
            {
                throw Forbidden("to delete parties");
            }
            catch (TrytonException exception) when (exception.IsBusy || exception.IsConcurrency)
            {
                throw new DestinationUnavailableException("Tryton's database is busy, or somebody changes the same parties.", TimeSpan.FromSeconds(1), inner: exception);
            }
            catch (TrytonException exception)
            {
                why = exception.Message;
            }
        }

        return why;
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        _client.Dispose();
        return ValueTask.CompletedTask;
    }

    private bool IsOff(CrmObject kind) => kind == CrmObject.Activity && !_options.ReadsNotes;

    private static string Model(CrmObject kind) => kind switch { CrmObject.Contact => "party.party", CrmObject.Deal => "sale.opportunity", _ => "ir.note" };

    // ---- Reading -------------------------------------------------------------------------------------------------------------------

    private static readonly string[] s_dealReads = ["id", "number", "description", "party", "state", "amount", "currency.code", "conversion_probability", "start_date", "end_date", "employee.rec_name", "create_date", "write_date"];

    private async ValueTask PreparePartiesAsync(CancellationToken cancellationToken)
    {
        if (_partyTypes is not null)
        {
            return;
        }

        JsonElement fields = await CallUserAsync("model.party.party.fields_get", [new JsonArray()], cancellationToken).ConfigureAwait(false);
        Dictionary<string, string> types = [];
        foreach (JsonProperty field in fields.EnumerateObject())
        {
            // Function fields of the party are made of its parts, which are read themselves.
            if (s_scalars.Contains(field.Value.GetProperty("type"u8).GetString()) && !IsOurs(field.Name) && field.Name is not ("id" or "active" or "create_date" or "write_date" or "rec_name" or "full_name" or "party_lang" or "distance" or "fax" or "code_readonly" or "tax_identifier" or "has_code"))
            {
                types[field.Name] = field.Value.GetProperty("type"u8).GetString()!;
            }
        }

        _partyReads =
        [
            "id", "active", "replaced_by", "create_date", "write_date", "_timestamp", .. types.Keys,
            "contact_mechanisms.type", "contact_mechanisms.value", "contact_mechanisms.active", "contact_mechanisms.write_date", "contact_mechanisms.create_date", "contact_mechanisms._timestamp",
            .. s_address.Select(name => "addresses." + name), "addresses.active", "addresses.country.code", "addresses.write_date", "addresses.create_date", "addresses._timestamp",
            "identifiers.code", "identifiers._timestamp", "categories.name",
        ];
        _partyTypes = types;
    }

    private static bool IsOurs(string field) => s_mechanisms.Contains(field) || s_address.Contains(field) || field is "country" or "categories";

    private CrmRecord Party(JsonElement row, DateTimeOffset readAt)
    {
        Dictionary<string, JsonElement> fields = [];
        foreach (string name in _partyTypes!.Keys)
        {
            JsonElement value = row.GetProperty(name);
            fields[name] = _partyTypes[name] == "boolean" && value.ValueKind != JsonValueKind.Null ? JsonSerializer.SerializeToElement(IsTrue(value)) : TrytonValues.Ours(value);
        }

        JsonElement[] mechanisms = Parts(row, "contact_mechanisms.");
        foreach (string type in s_mechanisms)
        {
            fields[type] = TrytonValues.Ours(mechanisms.FirstOrDefault(mechanism => mechanism.GetProperty("type"u8).GetString() == type) is { ValueKind: JsonValueKind.Object } found ? found.GetProperty("value"u8) : default);
        }

        JsonElement[] addresses = Parts(row, "addresses.");
        foreach (string name in s_address)
        {
            fields[name] = TrytonValues.Ours(addresses.Length == 0 ? default : addresses[0].GetProperty(name));
        }

        fields["country"] = TrytonValues.Ours(addresses.Length > 0 && addresses[0].TryGetProperty("country."u8, out JsonElement country) && country.ValueKind == JsonValueKind.Object ? country.GetProperty("code"u8) : default);
        fields["categories"] = JsonSerializer.SerializeToElement(row.GetProperty("categories."u8).EnumerateArray().Select(category => category.GetProperty("name"u8).GetString()).Order(StringComparer.Ordinal));
        JsonElement[] all = [row, .. row.GetProperty("contact_mechanisms."u8).EnumerateArray(), .. row.GetProperty("addresses."u8).EnumerateArray()];
        bool isActive = IsTrue(row.GetProperty("active"u8));
        JsonElement replacedBy = row.GetProperty("replaced_by"u8);
        return new CrmRecord
        {
            Kind = CrmObject.Contact,
            Id = row.GetProperty("id"u8).GetRawText(),
            CreatedAt = TrytonValues.Instant(row.GetProperty("create_date"u8)),
            ModifiedAt = all.Max(part => TrytonValues.Instant(part.GetProperty("write_date"u8)) ?? TrytonValues.Instant(part.GetProperty("create_date"u8))),
            IsDeleted = !isActive,
            MergedInto = !isActive && replacedBy.ValueKind == JsonValueKind.Number ? replacedBy.GetRawText() : null,
            ExternalId = row.GetProperty("identifiers."u8).EnumerateArray().Select(identifier => identifier.GetProperty("code"u8).GetString()!).FirstOrDefault(code => code.StartsWith(Code, StringComparison.Ordinal))?[Code.Length..],
            Fields = fields,
            Revision = Revision(row, all, fields, readAt),
        };
    }

    /// <summary>Active parts; the one that stands first in Tryton comes first.</summary>
    private static JsonElement[] Parts(JsonElement row, string name) => [.. row.GetProperty(name).EnumerateArray().Where(part => IsTrue(part.GetProperty("active"u8)))];

    /// <summary>Boolean columns of SQLite come as 0 and 1.</summary>
    private static bool IsTrue(JsonElement value) => value.ValueKind == JsonValueKind.True || (value.ValueKind == JsonValueKind.Number && value.GetDouble() != 0);

    /// <summary>hash of the values | when it was read | table,id=timestamp of each part | parts by type.</summary>
    private static string Revision(JsonElement row, JsonElement[] all, Dictionary<string, JsonElement> fields, DateTimeOffset readAt)
    {
        string values = string.Join('\n', fields.OrderBy(field => field.Key, StringComparer.Ordinal).Where(field => field.Key != "categories").Select(field => field.Key + "=" + field.Value.GetRawText()));
        int mechanisms = row.GetProperty("contact_mechanisms."u8).GetArrayLength();
        IEnumerable<string> stamps = all.Select((part, i) => $"{(i == 0 ? s_tables[0] : i <= mechanisms ? s_tables[1] : s_tables[2])},{part.GetProperty("id"u8).GetRawText()}={part.GetProperty("_timestamp"u8)}");
        JsonElement[] living = Parts(row, "contact_mechanisms.");
        IEnumerable<string> places = s_mechanisms.Select(type => (type, Mechanism: living.FirstOrDefault(part => part.GetProperty("type"u8).GetString() == type))).Where(pair => pair.Mechanism.ValueKind == JsonValueKind.Object).Select(pair => $"{pair.type}={pair.Mechanism.GetProperty("id"u8).GetRawText()}");
        string address = Parts(row, "addresses.") is [var first, ..] ? first.GetProperty("id"u8).GetRawText() : "";
        return string.Create(CultureInfo.InvariantCulture, $"{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(values)).AsSpan(0, 16))}|{readAt.ToUnixTimeMilliseconds()}|{string.Join(';', stamps)}|{string.Join(';', places)}|{address}");
    }

    private static string Part(string revision) => revision.Split('|')[0];

    /// <summary>It was changed in the second in which it was read, or later: another change of the same second would go unnoticed.</summary>
    private static bool IsUnsettled(CrmRecord record)
    {
        string[] parts = record.Revision!.Split('|');
        double latest = parts[2].Split(';').Max(stamp => double.Parse(stamp.AsSpan(stamp.IndexOf('=', StringComparison.Ordinal) + 1), CultureInfo.InvariantCulture));
        return Math.Floor(latest) >= Math.Floor(long.Parse(parts[1], CultureInfo.InvariantCulture) / 1000.0);
    }

    private async ValueTask<Dictionary<string, CrmRecord>> SettledAsync(IReadOnlyList<string> ids, CancellationToken cancellationToken)
    {
        if (ids.Count == 0)
        {
            return [];
        }

        Dictionary<string, CrmRecord> records = [];
        for (int i = 0; i < SettleTries; i++)
        {
            string[] left = [.. ids.Where(id => !records.TryGetValue(id, out CrmRecord? record) || (!record.IsDeleted && IsUnsettled(record)))];
            if (left.Length == 0)
            {
                break;
            }

            if (i > 0)
            {
                await Task.Delay(s_settle, _time, cancellationToken).ConfigureAwait(false);
            }

            foreach (CrmRecord record in await ReadAsync(CrmObject.Contact, left, cancellationToken).ConfigureAwait(false))
            {
                records[record.Id] = record;
            }
        }

        return records;
    }

    private static CrmRecord Deal(JsonElement row)
    {
        string state = row.GetProperty("state"u8).GetString()!;
        Dictionary<string, JsonElement> fields = new()
        {
            ["name"] = TrytonValues.Ours(row.GetProperty("description"u8)),
            ["stage"] = JsonSerializer.SerializeToElement(state),
            ["pipeline"] = JsonSerializer.SerializeToElement("sales"),
            ["amount"] = TrytonValues.Ours(row.GetProperty("amount"u8)),
            ["currency"] = TrytonValues.Ours(row.TryGetProperty("currency."u8, out JsonElement currency) && currency.ValueKind == JsonValueKind.Object ? currency.GetProperty("code"u8) : default),
            ["status"] = JsonSerializer.SerializeToElement(state switch { "won" or "converted" => "won", "lost" or "cancelled" => "lost", _ => "open" }),
            ["number"] = TrytonValues.Ours(row.GetProperty("number"u8)),
            ["owner"] = TrytonValues.Ours(row.TryGetProperty("employee."u8, out JsonElement employee) && employee.ValueKind == JsonValueKind.Object ? employee.GetProperty("rec_name"u8) : default),
            ["probability"] = TrytonValues.Ours(row.GetProperty("conversion_probability"u8)),
            ["start_date"] = TrytonValues.Ours(row.GetProperty("start_date"u8)),
            ["end_date"] = TrytonValues.Ours(row.GetProperty("end_date"u8)),
        };
        JsonElement party = row.GetProperty("party"u8);
        return new CrmRecord
        {
            Kind = CrmObject.Deal,
            Id = row.GetProperty("id"u8).GetRawText(),
            CreatedAt = TrytonValues.Instant(row.GetProperty("create_date"u8)),
            ModifiedAt = TrytonValues.Instant(row.GetProperty("write_date"u8)) ?? TrytonValues.Instant(row.GetProperty("create_date"u8)),
            Fields = fields,
            ContactIds = party.ValueKind == JsonValueKind.Number ? [party.GetRawText()] : [],
        };
    }

    // ---- Writing -------------------------------------------------------------------------------------------------------------------

    /// <summary>Writes all at once, and one by one where Tryton refuses that: one bad row must not cost the others.</summary>
    private async ValueTask StoreAsync(List<(int Index, string? Id, JsonObject Values)> ready, IReadOnlyList<CrmWrite> writes, Dictionary<string, CrmRecord> current, CrmOutcome?[] outcomes, CancellationToken cancellationToken)
    {
        foreach (bool isNew in (bool[])[false, true])
        {
            List<(int Index, string? Id, JsonObject Values)> part = ready.FindAll(one => one.Id is null == isNew);
            if (part.Count == 0)
            {
                continue;
            }

            try
            {
                await StoreOnceAsync(part, isNew, current, outcomes, cancellationToken).ConfigureAwait(false);
            }
            catch (TrytonException exception) when (part.Count == 1)
            {
                outcomes[part[0].Index] = Outcome(exception, part[0].Id is { } id ? current[id] : null);
            }
            catch (TrytonException)
            {
                foreach ((int Index, string? Id, JsonObject Values) one in part)
                {
                    try
                    {
                        await StoreOnceAsync([one], isNew, current, outcomes, cancellationToken).ConfigureAwait(false);
                    }
                    catch (TrytonException exception)
                    {
                        outcomes[one.Index] = Outcome(exception, one.Id is { } id ? current[id] : null);
                    }
                }
            }
        }

        CrmOutcome Outcome(TrytonException exception, CrmRecord? record) =>
            exception.IsAccess ? throw Forbidden("to write parties")
            : exception.IsConcurrency ? new CrmOutcome(CrmOutcomeKind.Stale) : exception.IsBusy ? new CrmOutcome(CrmOutcomeKind.TryAgain, record, "its database is busy") : exception.IsUser ? new CrmOutcome(CrmOutcomeKind.Refused, record, exception.Message) : new CrmOutcome(CrmOutcomeKind.Refused, record, "Tryton failed: " + exception.Message);
    }

    private async ValueTask StoreOnceAsync(List<(int Index, string? Id, JsonObject Values)> part, bool isNew, Dictionary<string, CrmRecord> current, CrmOutcome?[] outcomes, CancellationToken cancellationToken)
    {
        JsonObject context = Context();
        if (isNew)
        {
            JsonElement made = await _client.CallAsync("model.party.party.create", [new JsonArray([.. part.Select(one => one.Values.DeepClone())])], context, cancellationToken).ConfigureAwait(false);
            for (int i = 0; i < part.Count; i++)
            {
                outcomes[part[i].Index] = new CrmOutcome(CrmOutcomeKind.Done, new CrmRecord { Kind = CrmObject.Contact, Id = made[i].GetRawText() });
            }

            return;
        }

        JsonArray parameters = [];
        JsonObject stamps = [];
        foreach ((int _, string? id, JsonObject values) in part)
        {
            parameters.Add(new JsonArray(long.Parse(id!, CultureInfo.InvariantCulture)));
            parameters.Add(values.DeepClone());
            foreach (string stamp in current[id!].Revision!.Split('|')[2].Split(';'))
            {
                int at = stamp.IndexOf('=', StringComparison.Ordinal);
                stamps[stamp[..at]] = stamp[(at + 1)..];
            }
        }

        context["_timestamp"] = stamps;
        await _client.CallAsync("model.party.party.write", parameters, context, cancellationToken).ConfigureAwait(false);
        foreach ((int index, string? id, JsonObject _) in part)
        {
            outcomes[index] = new CrmOutcome(CrmOutcomeKind.Done, current[id!]);
        }
    }

    private bool TryValues(CrmWrite write, CrmRecord? record, out JsonObject values, out string field)
    {
        values = [];
        field = "";
        string[] parts = record?.Revision?.Split('|') ?? [];
        Dictionary<string, string> places = parts.Length == 0 || parts[3].Length == 0 ? [] : parts[3].Split(';').Select(place => place.Split('=')).ToDictionary(place => place[0], place => place[1]);
        JsonArray mechanisms = [];
        JsonObject address = [];
        foreach ((string name, JsonElement value) in write.Fields)
        {
            field = name;
            try
            {
                if (s_mechanisms.Contains(name))
                {
                    Mechanism(mechanisms, name, places.GetValueOrDefault(name), TrytonValues.Wire(value, "char"));
                }
                else if (s_address.Contains(name))
                {
                    address[name] = TrytonValues.Wire(value, "char");
                }
                else if (_partyTypes!.TryGetValue(name, out string? type) && value.ValueKind is not (JsonValueKind.Object or JsonValueKind.Array))
                {
                    values[name] = TrytonValues.Wire(value, type);
                }
                else
                {
                    return false;
                }
            }
            catch (Exception exception) when (exception is FormatException or OverflowException)
            {
                return false;
            }
        }

        if (mechanisms.Count > 0)
        {
            values["contact_mechanisms"] = mechanisms;
        }

        if (address.Count > 0)
        {
            values["addresses"] = parts.Length > 0 && parts[4].Length > 0 ? new JsonArray(new JsonArray("write", new JsonArray(long.Parse(parts[4], CultureInfo.InvariantCulture)), address)) : new JsonArray(new JsonArray("create", new JsonArray(address)));
        }

        if (write.ExternalId is not null && write.ExternalId != record?.ExternalId)
        {
            values["identifiers"] = new JsonArray(new JsonArray("create", new JsonArray(new JsonObject { ["code"] = Code + write.ExternalId })));
        }

        return true;
    }

    private static void Mechanism(JsonArray operations, string type, string? id, JsonNode? value)
    {
        JsonArray? ids = id is null ? null : [long.Parse(id, CultureInfo.InvariantCulture)];
        if (value is null && ids is not null)
        {
            operations.Add(new JsonArray("delete", ids));
        }
        else if (value is not null)
        {
            operations.Add(ids is not null ? new JsonArray("write", ids, new JsonObject { ["value"] = value }) : new JsonArray("create", new JsonArray(new JsonObject { ["type"] = type, ["value"] = value })));
        }
    }

    /// <summary>Opportunities are made and their stage is moved; each alone, for each may be refused.</summary>
    private async ValueTask<IReadOnlyList<CrmOutcome>> WriteDealsAsync(IReadOnlyList<CrmWrite> writes, CancellationToken cancellationToken)
    {
        List<CrmOutcome> outcomes = [];
        foreach (CrmWrite write in writes)
        {
            JsonObject values = [];
            foreach ((string name, string wire, string type) in ((string, string, string)[])[("name", "description", "char"), ("stage", "state", "char"), ("amount", "amount", "numeric"), ("probability", "conversion_probability", "float")])
            {
                if (write.Fields.TryGetValue(name, out JsonElement value))
                {
                    values[wire] = TrytonValues.Wire(value, type);
                }
            }

            try
            {
                string? id = write.Id ?? (write.ExternalId is { } externalId ? await FindDealAsync(Code + externalId, cancellationToken).ConfigureAwait(false) : null);
                if (id is null)
                {
                    if (write.ExternalId is not null)
                    {
                        values["reference"] = Code + write.ExternalId; // So that a write that comes again finds it.
                    }

                    values["party"] = write.ContactIds.Count > 0 ? long.Parse(write.ContactIds[0], CultureInfo.InvariantCulture) : null;
                    id = (await _client.CallAsync("model.sale.opportunity.create", [new JsonArray(values)], Context(), cancellationToken).ConfigureAwait(false))[0].GetRawText();
                }
                else if (write.Id is not null || !write.OnlyIfNew)
                {
                    await _client.CallAsync("model.sale.opportunity.write", [new JsonArray(long.Parse(id, CultureInfo.InvariantCulture)), values], Context(), cancellationToken).ConfigureAwait(false);
                }

                outcomes.Add(new CrmOutcome(CrmOutcomeKind.Done, (await ReadAsync(CrmObject.Deal, [id], cancellationToken).ConfigureAwait(false))[0]));
            }
            catch (TrytonException exception)
            {
                outcomes.Add(exception.IsAccess ? throw Forbidden("to write opportunities") : new CrmOutcome(CrmOutcomeKind.Refused, Reason: exception.Message));
            }
        }

        return outcomes;
    }

    private async ValueTask<string?> FindDealAsync(string reference, CancellationToken cancellationToken)
    {
        JsonElement found = await _client.CallAsync("model.sale.opportunity.search", [new JsonArray(new JsonArray("reference", "=", reference)), 0, 1, null], Context(), cancellationToken).ConfigureAwait(false);
        return found.GetArrayLength() == 0 ? null : found[0].GetRawText();
    }

    private async ValueTask<int> CategoryAsync(string name, CancellationToken cancellationToken)
    {
        if (!_categories.TryGetValue(name, out int id))
        {
            JsonElement found = await CallUserAsync("model.party.category.search", [new JsonArray(new JsonArray("name", "=", name), new JsonArray("parent", "=", null)), 0, 1, null], cancellationToken).ConfigureAwait(false);
            if (found.GetArrayLength() == 0)
            {
                found = await CallUserAsync("model.party.category.create", [new JsonArray(new JsonObject { ["name"] = name })], cancellationToken).ConfigureAwait(false);
            }

            _categories[name] = id = found[0].GetInt32();
        }

        return id;
    }

    private async ValueTask<long> UserIdAsync(CancellationToken cancellationToken) =>
        (await CallUserAsync("model.res.user.search", [new JsonArray(new JsonArray("login", "=", _options.User)), 0, 1, null], cancellationToken).ConfigureAwait(false))[0].GetInt64();

    /// <summary>A call that only the rights of the user can make fail.</summary>
    private async ValueTask<JsonElement> CallUserAsync(string method, JsonArray parameters, CancellationToken cancellationToken, JsonObject? context = null)
    {
        try
        {
            return await _client.CallAsync(method, parameters, context ?? Context(), cancellationToken).ConfigureAwait(false);
        }
        catch (TrytonException exception) when (exception.IsConcurrency)
        {
            throw new DestinationUnavailableException("Somebody changed the same records.", TimeSpan.FromSeconds(1), inner: exception);
        }
        catch (TrytonException exception) when (exception.IsAccess)
        {
            throw Forbidden(method);
        }
        catch (TrytonException exception)
        {
            _categories.Clear(); // One may have been deleted.
            throw new DestinationUnavailableException($"Tryton refused {method}: check the rights of user {_options.User} (groups Party Administration, Sales, Sale Opportunity).", inner: exception);
        }
    }

    private DestinationMustPauseException Forbidden(string what) => new($"Tryton refused {what}: give user {_options.User} the rights (groups Party Administration, Sales, Sale Opportunity), then resume.");

    private static JsonObject Context() => new() { ["company"] = 1 };

    /// <summary>Also what is not active: merged, archived. In the context and not in the domain: Tryton adds "active" to each branch of an OR that does not name it itself.</summary>
    private static JsonObject WithInactive() => new() { ["company"] = 1, ["active_test"] = false };

    private static JsonArray Names(IEnumerable<string> names) => [.. names.Select(name => (JsonNode)name)];

    private static string Escaped(string text) => text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("%", "\\%", StringComparison.Ordinal).Replace("_", "\\_", StringComparison.Ordinal);

    private static CrmFieldType Type(string type) => type switch
    {
        "integer" or "biginteger" or "float" or "numeric" => CrmFieldType.Number,
        "boolean" => CrmFieldType.Boolean,
        "date" => CrmFieldType.Date,
        "datetime" or "timestamp" => CrmFieldType.Instant,
        _ => CrmFieldType.Text,
    };
}
