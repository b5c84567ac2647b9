using System.Text.Json;

namespace StreamCdp.Integration.Tests.Tryton;

/// <summary>A whole server with a real Tryton: both hold the same, whoever changes something.</summary>
public sealed class TrytonTests : IAsyncLifetime
{
    private static readonly TimeSpan s_deadline = TimeSpan.FromSeconds(40);

    private readonly string _data = Directory.CreateTempSubdirectory("streamcdp-tryton-data-").FullName;
    private TrytonServer _tryton = null!;
    private ServerFixtureHost _server = null!;

    public async ValueTask InitializeAsync()
    {
        _tryton = await TrytonServer.StartAsync();
        _server = await StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        if (_tryton is not null)
        {
            await _tryton.DisposeAsync();
        }

        Directory.Delete(_data, recursive: true);
    }

    [Fact]
    public async Task The_shop_and_the_CRM_are_one_loop()
    {
        // A big spender appears as a party, with name, e-mail and category.
        await _server.SendAsync("identify", """{"userId":"u1","anonymousId":"d1","traits":{"email":"ann@example.com","name":"Ann","phone":"+4943112345"}}""");
        await _server.SendAsync("track", """{"userId":"u1","event":"Order Completed","properties":{"revenue":700},"messageId":"m1"}""");
        long began = Environment.TickCount64;
        long party = await ForAsync(async () => (await Search("party.party", """["contact_mechanisms.value","=","ann@example.com"]""")) is [var id] ? id : 0L, id => id > 0);
        JsonElement made = await ForAsync(() => ReadParty(party), read => read.GetProperty("categories.").GetArrayLength() == 1);
        long appeared = Environment.TickCount64 - began;
        Assert.Equal(("Ann", "big_spenders"), (made.GetProperty("name").GetString(), made.GetProperty("categories.")[0].GetProperty("name").GetString()));
        Assert.Equal("+4943112345", Mechanism(made, "phone"));
        Assert.StartsWith("streamcdp:", made.GetProperty("identifiers.")[0].GetProperty("code").GetString(), StringComparison.Ordinal);

        // What sales types reaches the profile.
        await _tryton.CallAsync("model.party.party.write", $$"""[[{{party}}],{"name":"Ann King"},{}]""");
        await ProfileAsync("user_id:u1", profile => Trait(profile, "name") == "Ann King");

        // An opportunity becomes a deal of the profile, and its stage moves a segment.
        long deal = (await _tryton.CallAsync("model.sale.opportunity.create", $$$"""[[{"party":{{{party}}},"employee":1,"description":"Engine","amount":{"__class__":"Decimal","decimal":"12500.50"},"company":1}],{"company":1}]"""))[0].GetInt64();
        await ProfileAsync("user_id:u1", profile => Segments(profile).Contains("hot_lead"));
        await _tryton.CallAsync("model.sale.opportunity.write", $$"""[[{{deal}}],{"state":"won"},{"company":1}]""");
        began = Environment.TickCount64;
        JsonElement won = await ProfileAsync("user_id:u1", profile => !Segments(profile).Contains("hot_lead"));
        TestContext.Current.SendDiagnosticMessage($"order to party with category: {appeared} ms; stage in Tryton to segment: {Environment.TickCount64 - began} ms, with a poll each second");
        JsonElement kept = won.GetProperty("crm").GetProperty("deals")[0];
        Assert.Equal(("won", 12500.5, "EUR"), (kept.GetProperty("stage").GetString(), kept.GetProperty("amount").GetDouble(), kept.GetProperty("currency").GetString()));
        string[] story = [.. won.GetProperty("events").EnumerateArray().Select(one => one.GetProperty("event")).Where(sent => sent.TryGetProperty("event", out JsonElement name) && name.GetString()!.StartsWith("Deal", StringComparison.Ordinal)).Select(sent => sent.GetProperty("event").GetString()!)];
        Assert.Equal(["Deal Stage Changed", "Deal Created"], story);

        // The profile's change reaches the party; of two changes at once the person's in the CRM stays.
        await _server.SendAsync("identify", """{"userId":"u1","traits":{"phone":"+4940999999"}}""");
        await ForAsync(() => ReadParty(party), read => Mechanism(read, "phone") == "+4940999999");

        // No echo: then there are only the questions of the near reader.
        await QuietAsync();
    }

    [Fact]
    public async Task Parties_that_were_there_become_profiles_and_a_merged_one_makes_one_person()
    {
        JsonElement made = await _tryton.CallAsync("model.party.party.create", """[[{"name":"Bob","contact_mechanisms":[["create",[{"type":"email","value":"bob@example.com"}]]]},{"name":"Bobby","contact_mechanisms":[["create",[{"type":"email","value":"bobby@example.com"}]]]}],{}]""");
        (long bob, long bobby) = (made[0].GetInt64(), made[1].GetInt64());
        await ProfileAsync("email:bob%40example.com", profile => Trait(profile, "name") == "Bob");
        await ProfileAsync("email:bobby%40example.com", _ => true);

        JsonElement wizard = await _tryton.CallAsync("wizard.party.replace.create", "[{}]");
        await _tryton.CallAsync("model.res.user.warning.create", $$"""[[{"user":1,"name":"party.replace name {{bobby}} {{bob}}","always":false}],{}]""");
        await _tryton.CallAsync("wizard.party.replace.execute", $$$"""[{{{wizard[0]}}},{"ask":{"source":{{{bobby}}},"destination":{{{bob}}}}},"replace",{"active_model":"party.party","active_id":{{{bobby}}},"active_ids":[{{{bobby}}}]}]""");
        JsonElement one = await ProfileAsync("email:bobby%40example.com", profile => profile.GetProperty("identifiers").EnumerateArray().Any(identifier => identifier.GetProperty("value").GetString() == "bob@example.com"));
        Assert.Equal(one.GetProperty("id").GetString(), (await ProfileAsync("email:bob%40example.com", _ => true)).GetProperty("id").GetString());
    }

    [Fact]
    public async Task Entering_a_segment_makes_a_note_a_deal_and_a_list_entry_once()
    {
        const string Actions = """
                actions:
                  - { id: tell, on: { entered: big_spenders }, create: note, fields: { text: "{{ traits.name }} is in {{ segment }}" } }
                  - { id: offer, on: { entered: big_spenders }, create: deal, fields: { name: "Offer to {{ traits.name }}", amount: "12345.50" } }
                  - { id: campaign, on: { entered: big_spenders }, after: 1s, add_to: Spring }
            """;
        await _server.DisposeAsync();
        _server = await StartAsync(Actions);
        await _server.SendAsync("identify", """{"userId":"u1","traits":{"email":"ann@example.com","name":"Ann"}}""");
        await _server.SendAsync("track", """{"userId":"u1","event":"Order Completed","properties":{"revenue":700},"messageId":"m1"}""");

        long party = await ForAsync(async () => (await Search("party.party", """["categories.name","=","Spring"]""")) is [var id] ? id : 0L, id => id > 0);
        JsonElement profile = await ProfileAsync("user_id:u1", seen => Segments(seen).Contains("hot_lead")); // The deal comes back as one of the person's.
        Assert.Equal("Offer to Ann", profile.GetProperty("crm").GetProperty("deals")[0].GetProperty("name").GetString());
        IReadOnlyList<long> notes = await ForAsync(() => Search("ir.note", $"""["resource","=","party.party,{party}"]"""), found => found.Count > 0);
        JsonElement note = (await _tryton.CallAsync("model.ir.note.read", $$"""[[{{notes[0]}}],["message"],{}]"""))[0];
        Assert.StartsWith("Ann is in big_spenders\nstreamcdp:", note.GetProperty("message").GetString(), StringComparison.Ordinal);

        await _server.DisposeAsync();
        _server = await StartAsync(Actions);
        await _server.SendAsync("identify", """{"userId":"u1","traits":{"name":"Ann King"}}""");
        await ForAsync(() => ReadParty(party), read => read.GetProperty("name").GetString() == "Ann King");
        Assert.Single(await Search("ir.note", $"""["resource","=","party.party,{party}"]"""));
        Assert.Single(await Search("sale.opportunity", $"""["party","=",{party}]"""));
    }

    [Fact]
    public async Task Whatever_dies_in_between_both_sides_come_to_hold_the_same_and_no_party_is_made_twice()
    {
        var random = new Random(20_261_125);
        const int People = 6;
        for (int i = 0; i < People; i++)
        {
            await _server.SendAsync("identify", $$$"""{"userId":"p{{{i}}}","traits":{"email":"p{{{i}}}@example.com","name":"P{{{i}}}"}}""");
            await _server.SendAsync("track", $$"""{"userId":"p{{i}}","event":"Order Completed","properties":{"revenue":900},"messageId":"o{{i}}"}""");
        }

        for (int round = 0; round < 60; round++)
        {
            int person = random.Next(People);
            switch (random.Next(8))
            {
                case 0 or 1 or 2:
                    await _server.SendAsync("identify", $$$"""{"userId":"p{{{person}}}","traits":{"{{{(random.Next(2) == 0 ? "name" : "phone")}}}":"w{{{round}}}"}}""");
                    break;
                case 3 or 4 or 5 when await Search("party.party", $"""["contact_mechanisms.value","=","p{person}@example.com"]""") is [var party, ..]:
                    await _tryton.CallAsync("model.party.party.write", $$"""[[{{party}}],{"name":"c{{round}}"},{}]""");
                    break;
                case 6 when round % 10 == 3:
                    await _tryton.KillAsync();
                    await _server.SendAsync("identify", $$$"""{"userId":"p{{{person}}}","traits":{"name":"d{{{round}}}"}}""");
                    await _tryton.RunAsync();
                    break;
                case 7:
                    await _server.DisposeAsync();
                    _server = await StartAsync();
                    break;
            }
        }

        for (int i = 0; i < People; i++)
        {
            string mail = $"p{i}@example.com";
            await ForAsync(
                async () =>
                {
                    IReadOnlyList<long> parties = await Search("party.party", $"""["contact_mechanisms.value","=","{mail}"]""");
                    Assert.True(parties.Count <= 1, $"{mail} has parties {string.Join(", ", parties)}");
                    if (parties.Count == 0)
                    {
                        return "no party yet";
                    }

                    JsonElement read = await ReadParty(parties[0]);
                    JsonElement profile = await ProfileAsync($"user_id:p{i}", _ => true);
                    return read.GetProperty("name").GetString() == Trait(profile, "name") && Mechanism(read, "phone") == Trait(profile, "phone") ? "" : $"{mail}: party {read.GetProperty("name")} {Mechanism(read, "phone")}, profile {profile}";
                },
                difference => difference.Length == 0);
        }

        await QuietAsync();
    }

    /// <summary>
    /// Waits until some seconds pass in which nothing is taken and nothing is asked but the polls: two objects and their five tables each second.
    /// What was written last is still read back when it shows, so the first seconds need not be quiet; an echo never is.
    /// </summary>
    private async Task QuietAsync()
    {
        const int WindowMilliseconds = 6_000;
        double Requests(JsonElement status) => status.GetProperty("requests").GetDouble();
        double Taken(JsonElement status) => status.GetProperty("taken").GetDouble();
        JsonElement before = await StatusAsync();
        long end = Environment.TickCount64 + WindowMilliseconds;
        await ForAsync(
            async () =>
            {
                JsonElement now = await StatusAsync();
                if (Taken(now) != Taken(before) || Requests(now) - Requests(before) > 60)
                {
                    (before, end) = (now, Environment.TickCount64 + WindowMilliseconds);
                }

                return now;
            },
            _ => Environment.TickCount64 > end);
    }

    private async Task<JsonElement> StatusAsync() => (await _server.GetAsync("/v1/connectors")).GetProperty("connectors")[0];

    private async Task<ServerFixtureHost> StartAsync(string actions = "")
    {
        string model = $$"""
            sources:  [ { id: web, write_key: web-key, kind: website }, { id: tryton, kind: crm } ]
            api_keys: [ { id: ops, key: ops-key-0123456789, scopes: [read, write, admin] } ]
            identifiers:
              - { type: user_id, limit: 1 }
              - { type: email, limit: 5, from: [traits.email], normalize: email }
              - { type: tryton_contact_id, limit: 100 }
              - { type: anonymous_id, limit: 100 }
            segments:
              big_spenders: { when: 'sum("Order Completed", properties.revenue) >= 500' }
              hot_lead: { when: 'exists(deals, status == "open" and amount > 10000)' }
            destinations:
              - id: tryton
                kind: tryton
                url: {{_tryton.Url}}
                user: {{TrytonServer.Bot}}
                secret: env:TEST_TRYTON_PASSWORD
                poll: 1s
                rate: 100
                contacts:
                  create: [big_spenders]
                  lists: [big_spenders]
                  fields:
                    name: traits.name
                    email: identifiers.email
                    phone: { value: traits.phone, policy: newest }
            {{actions}}
            """;
        Environment.SetEnvironmentVariable("TEST_TRYTON_PASSWORD", _tryton.BotPassword);
        return await ServerFixtureHost.StartAsync(_data, model);
    }

    private async Task<IReadOnlyList<long>> Search(string table, string clause) => [.. (await _tryton.CallAsync($"model.{table}.search", $"[[{clause}],0,null,null,{{}}]")).EnumerateArray().Select(id => id.GetInt64())];

    private async Task<JsonElement> ReadParty(long id) => (await _tryton.CallAsync("model.party.party.read", $"""[[{id}],["name","contact_mechanisms.type","contact_mechanisms.value","categories.name","identifiers.code"],{"{}"}]"""))[0];

    private async Task<JsonElement> ProfileAsync(string identifier, Func<JsonElement, bool> until) => await ForAsync(
        async () =>
        {
            using HttpResponseMessage response = await _server.Client.GetAsync(new Uri($"/v1/profiles/{identifier}?wait=true&timeout=30000&include=traits,segments,identifiers,events,crm", UriKind.Relative), TestContext.Current.CancellationToken);
            return response.IsSuccessStatusCode ? JsonElement.Parse(await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)) : default;
        },
        profile => profile.ValueKind == JsonValueKind.Object && profile.TryGetProperty("traits", out _) && until(profile));

    private static IEnumerable<string> Segments(JsonElement profile) => ServerFixtureHost.Segments(profile);

    private static string? Trait(JsonElement profile, string name) => profile.GetProperty("traits").TryGetProperty(name, out JsonElement value) ? value.GetString() : null;

    private static string? Mechanism(JsonElement party, string type) => party.GetProperty("contact_mechanisms.").EnumerateArray().Where(mechanism => mechanism.GetProperty("type").GetString() == type).Select(mechanism => mechanism.GetProperty("value").GetString()).FirstOrDefault();

    /// <summary>Looks again and again until it is so.</summary>
    private async Task<T> ForAsync<T>(Func<Task<T>> look, Func<T, bool> isSo)
    {
        long deadline = Environment.TickCount64 + (long)s_deadline.TotalMilliseconds;
        while (true)
        {
            T seen = await look();
            if (isSo(seen))
            {
                return seen;
            }

            if (Environment.TickCount64 > deadline)
            {
                JsonElement status = await StatusAsync();
                Assert.Fail($"Not within {s_deadline}; last seen: {seen}\n{status}");
            }

            await Task.Delay(100, TestContext.Current.CancellationToken);
        }
    }
}
