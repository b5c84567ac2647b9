using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Runtime;
using StreamCdp.HubSpotEmulator;
using StreamCdp.Schemas;

namespace StreamCdp.Integration.Tests.Crash;

/// <summary>kill -9 of a <c>streamcdp run</c> in the middle of its sync with a CRM, while people edit and merge on both sides: in the end both hold the same, and nobody lost what he typed.</summary>
/// <remarks><c>STREAMCDP_CRM_KILLS</c> says how often it is killed, <c>STREAMCDP_CRM_SEED</c> which seed is used. What a process does between two requests is not in the seed's hands, only what is done to it.</remarks>
public sealed class CrmKillTests : IAsyncLifetime
{
    private static readonly TimeSpan s_deadline = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan s_window = TimeSpan.FromMilliseconds(250);
    private static readonly string[] s_users = ["u1", "u2", "u3", "u4", "u5"];
    private static readonly (string Field, string Trait)[] s_fields = [("firstname", "name"), ("jobtitle", "title"), ("city", "city")];

    private readonly int _seed = Setting("STREAMCDP_CRM_SEED", 20_261_125);
    private readonly int _kills = Setting("STREAMCDP_CRM_KILLS", 5);
    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-crm-kill-").FullName;
    private EmulatedHubSpot _hubspot = null!;
    private CrashServer _server = null!;

    public async ValueTask InitializeAsync()
    {
        _hubspot = await EmulatedHubSpot.StartAsync(TimeProvider.System, _seed, cancellationToken: TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(_directory, "cdp.yaml"), $$"""
            sources:  [ { id: web, write_key: web-key, kind: website }, { id: hubspot, kind: crm } ]
            api_keys: [ { id: ops, key: {{CrashHistory.ApiKey}}, scopes: [read, write, admin] } ]
            identifiers:
              - { type: user_id, limit: 1 }
              - { type: email, limit: 5, from: [traits.email], normalize: email }
              - { type: hubspot_contact_id, limit: 100 }
              - { type: anonymous_id, limit: 100 }
            computed: { orders: { value: 'count("Order Completed")' } }
            segments:
              buyers: { when: 'count("Order Completed") >= 1' }
              fans: { when: 'traits.fan == true' }
            destinations:
              - id: hubspot
                kind: hubspot
                url: {{_hubspot.Url}}
                secret: env:HUBSPOT_TOKEN
                poll: 1s
                rate: 1000
                contacts:
                  create: [buyers]
                  lists: [fans]
                  fields:
                    firstname: { value: traits.name, policy: crm_wins }
                    jobtitle: { value: traits.title, policy: streamcdp_wins }
                    city: { value: traits.city, policy: newest }
                    email: identifiers.email
                    streamcdp_orders: { value: computed.orders, direction: out }
                    streamcdp_segments: segments
            """, TestContext.Current.CancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        _server?.Dispose();
        await _hubspot.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task Killed_in_the_middle_of_a_sync_again_and_again_both_sides_come_to_hold_the_same()
    {
        var random = new Random(_seed);
        _hubspot.SlowAnswer = TimeSpan.FromMilliseconds(20); // So a kill falls into requests, too.
        _hubspot.Faults.Randomly(_seed, 0.3, HubSpotFault.SlowAnswer);
        await StartAsync();
        for (int kill = 0; kill < _kills; kill++)
        {
            for (int edit = 0; edit < 12; edit++)
            {
                await EditAsync(random, $"{kill}x{edit}");
                if (random.Next(3) == 0)
                {
                    await AskedAsync(random.Next(6)); // So that both sides also hear of each other in between.
                }
            }

            await AskedAsync(random.Next(25));
            await _server.KillAsync();
            for (int edit = 0; edit < 3; edit++)
            {
                TypeInCrm(random, $"{kill}k{edit}"); // Sales goes on working.
            }

            await StartAsync();
        }

        foreach (string user in s_users)
        {
            // Each has something to say, so that contacts that were merged away are noticed before the whole reader is due.
            await SendAsync("track", $$"""{"userId":"{{user}}","event":"Order Completed","messageId":"last-{{user}}"}""");
        }

        string difference = "";
        for (long deadline = Environment.TickCount64 + (long)s_deadline.TotalMilliseconds; (difference = await DifferenceAsync()).Length > 0; await Task.Delay(100, TestContext.Current.CancellationToken))
        {
            Assert.True(Environment.TickCount64 < deadline, $"seed {_seed}: {difference}\n{_server.Output}");
        }

        await QuietAsync();
        Assert.Equal("", await DifferenceAsync());
        await ReplaceAsync();
        Assert.Equal(0, await _server.TerminateAsync());
        await NoEditIsLostAsync();
    }

    /// <summary>Both sides hold the same, everybody has a contact and none is made twice; else what differs.</summary>
    private async Task<string> DifferenceAsync()
    {
        var holders = new Dictionary<string, List<string>>(StringComparer.Ordinal);
        foreach (HubSpotRecord contact in _hubspot.Account.Living(HubSpotAccount.Contacts))
        {
            if (await ProfileAsync($"hubspot_contact_id:{contact.IdText}") is not { } profile)
            {
                return $"contact {contact.IdText} belongs to nobody";
            }

            foreach ((string field, string trait) in s_fields)
            {
                if ((contact[field] ?? "") != ((string?)profile["traits"]![trait] ?? ""))
                {
                    return $"contact {contact.IdText}, {field}: HubSpot {contact[field]}, profile {profile["traits"]![trait]}";
                }
            }

            string segments = string.Join(", ", profile["segments"]!.AsArray().Select(segment => (string)segment!["id"]!).Order(StringComparer.Ordinal));
            string orders = profile["computed"]!["orders"]!.ToJsonString();
            if ((contact["streamcdp_segments"] ?? "") != segments || (contact["streamcdp_orders"] ?? "0") != orders)
            {
                return $"contact {contact.IdText}: HubSpot {contact["streamcdp_segments"]} {contact["streamcdp_orders"]}, profile {segments} {orders}";
            }

            bool isOn = _hubspot.Account.Members("fans")?.Contains(contact.IdText) == true;
            if (isOn != segments.Contains("fans", StringComparison.Ordinal))
            {
                return $"contact {contact.IdText} is {(isOn ? "" : "not ")}on the list, segments {segments}";
            }

            if (contact["streamcdp_id"] is { Length: > 0 })
            {
                string id = (string)profile["id"]!;
                (holders.TryGetValue(id, out List<string>? of) ? of : holders[id] = []).Add(contact.IdText);
            }
        }

        foreach (string user in s_users)
        {
            JsonNode? profile = await ProfileAsync($"user_id:{user}");
            if (profile is null || !profile["identifiers"]!.AsArray().Any(identifier => (string)identifier!["type"]! == "hubspot_contact_id" && IsThere((string)identifier["value"]!)))
            {
                return $"{user} has no contact";
            }
        }

        // Somebody may have merged a user's contact into another user's: then that one is there.
        bool IsThere(string contact)
        {
            HubSpotRecord? record = _hubspot.Account.Find(HubSpotAccount.Contacts, contact);
            while (record?.MergedInto is { } into)
            {
                record = into;
            }

            return record is { ArchivedAt: null };
        }

        return holders.FirstOrDefault(one => one.Value.Count > 1) is { Key: not null } twice ? $"profile {twice.Key} has contacts {string.Join(", ", twice.Value)}, made more than once" : "";
    }

    /// <summary>crm_wins: what a person typed is only replaced by what came to the profile after it had taken the person's value.</summary>
    private async Task NoEditIsLostAsync()
    {
        await using var store = new LocalLogs(Path.Combine(_directory, "data", "logs"), new LocalLogOptions(), TimeProvider.System);
        ILog events = new EngineLogs(store, new EngineOptions { Shards = 2, EventPartitions = 1 }).Events;
        List<string> payloads = [];
        using (ILogReader reader = events.OpenReader(0, 0))
        {
            while (reader.TryRead(out LogRecord record))
            {
                if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && CustomerEvent.TryRead(body, out CustomerEvent e) && e.Source.SequenceEqual("hubspot"u8))
                {
                    payloads.Add(Encoding.UTF8.GetString(e.Payload));
                }
            }
        }

        // HubSpot has no conditional write: what is typed between the connector's reading and its writing is lost, and nobody can help it.
        (string Id, string Was, string Now, TimeSpan After)[] replaced = [.. _hubspot.Account.Replaced(HubSpotAccount.Contacts, "firstname").Where(one => one.Was.StartsWith('c') && one.After > s_window)];
        TestContext.Current.SendDiagnosticMessage($"{_kills} kills, {payloads.Count} events of HubSpot, {replaced.Length} names that people typed replaced later");
        Assert.Contains(replaced, one => one is { Was: "cLast", Now: "wLast" });
        Assert.All(replaced, one => Assert.True(payloads.Exists(payload => payload.Contains($"\"name\":\"{one.Was}\"", StringComparison.Ordinal)), $"seed {_seed}: contact {one.Id}: {one.Now} was written over {one.Was} {one.After.TotalMilliseconds} ms after it was typed, and no profile ever had that"));
    }

    /// <summary>A name that a person typed, and that the website replaces after the profile has it: so the check of lost edits has something to look at with every seed.</summary>
    private async Task ReplaceAsync()
    {
        HubSpotRecord contact = _hubspot.Account.Living(HubSpotAccount.Contacts)[0];
        _hubspot.Account.Set(HubSpotAccount.Contacts, contact.IdText, "firstname", "cLast");
        long typed = Environment.TickCount64;
        await ForAsync(() => Task.FromResult(Environment.TickCount64 > typed + (2 * s_window.TotalMilliseconds))); // Else it may be replaced within what the check looks past.
        await ForAsync(async () => (string?)(await ProfileAsync($"hubspot_contact_id:{contact.IdText}"))?["traits"]!["name"] == "cLast");
        await SendAsync("identify", $$$"""{"traits":{"name":"wLast"},"context":{"externalIds":[{"id":"{{{contact.IdText}}}","type":"hubspot_contact_id"}]},"messageId":"replace"}""");
        await ForAsync(() => Task.FromResult(contact["firstname"] == "wLast"));
    }

    private async Task ForAsync(Func<Task<bool>> condition)
    {
        for (long deadline = Environment.TickCount64 + (long)s_deadline.TotalMilliseconds; !await condition(); await Task.Delay(50, TestContext.Current.CancellationToken))
        {
            Assert.True(Environment.TickCount64 < deadline, $"seed {_seed}: a change does not reach the other side.\n{_server.Output}");
        }
    }

    private async Task EditAsync(Random random, string number)
    {
        string user = s_users[random.Next(s_users.Length)];
        (_, string trait) = s_fields[random.Next(s_fields.Length)];
        switch (random.Next(9))
        {
            case 0 or 1:
                await SendAsync("identify", $$$"""{"userId":"{{{user}}}","traits":{"email":"{{{user}}}@b.co","{{{trait}}}":"w{{{number}}}"},"messageId":"{{{number}}}"}""");
                break;
            case 2 or 3:
                await SendAsync("track", $$"""{"userId":"{{user}}","event":"Order Completed","messageId":"{{number}}"}""");
                break;
            case 4:
                await SendAsync("track", $$"""{"anonymousId":"d{{random.Next(6)}}","event":"Order Completed","messageId":"{{number}}"}""");
                break;
            case 5:
                await SendAsync("identify", $$$"""{"userId":"{{{user}}}","anonymousId":"d{{{random.Next(6)}}}","traits":{"fan":{{{(random.Next(2) == 0 ? "true" : "false")}}}},"messageId":"{{{number}}}"}""");
                break;
            default:
                TypeInCrm(random, number);
                break;
        }
    }

    private void TypeInCrm(Random random, string number)
    {
        string[] contacts = [.. _hubspot.Account.Living(HubSpotAccount.Contacts).Select(contact => contact.IdText)];
        if (contacts.Length == 0 || random.Next(12) == 0)
        {
            _hubspot.Account.Create(HubSpotAccount.Contacts, ("firstname", $"c{number}"), ("email", $"{s_users[random.Next(s_users.Length)]}{number}@b.co"));
            return;
        }

        string contact = contacts[random.Next(contacts.Length)];
        if (contacts.Length > 6 && random.Next(3) == 0)
        {
            _hubspot.Account.Merge(HubSpotAccount.Contacts, contact, contacts.First(one => one != contact), mintsNewId: random.Next(2) == 0);
            return;
        }

        _hubspot.Account.Set(HubSpotAccount.Contacts, contact, s_fields[random.Next(s_fields.Length)].Field, $"c{number}");
    }

    private async Task StartAsync()
    {
        _server?.Dispose();
        _server = CrashServer.Start(_directory, new Dictionary<string, string> { ["HUBSPOT_TOKEN"] = EmulatedHubSpot.PrivateAppToken });
        Assert.True(await _server.ListensAsync(), _server.Output);
    }

    /// <summary>Waits until HubSpot was asked a number of times more, or nothing is left to ask.</summary>
    private async Task AskedAsync(int times)
    {
        int wanted = Requests() + times;
        for (long deadline = Environment.TickCount64 + 2_000; Requests() < wanted && Environment.TickCount64 < deadline; await Task.Delay(1, TestContext.Current.CancellationToken))
        {
        }
    }

    /// <summary>Waits until three seconds pass in which nothing is written: an echo would be.</summary>
    private async Task QuietAsync()
    {
        (int writes, long since) = (Writes(), Environment.TickCount64);
        for (long deadline = Environment.TickCount64 + (long)s_deadline.TotalMilliseconds; Environment.TickCount64 < since + 3_000; await Task.Delay(50, TestContext.Current.CancellationToken))
        {
            Assert.True(Environment.TickCount64 < deadline, $"seed {_seed}: both sides never come to rest.");
            if (Writes() is var now && now != writes)
            {
                (writes, since) = (now, Environment.TickCount64);
            }
        }
    }

    private int Requests() => _hubspot.Requests.Values.Sum();

    private int Writes() => _hubspot.CountOf("/batch/update") + _hubspot.CountOf("/batch/upsert") + _hubspot.CountOf("/batch/create") + _hubspot.CountOf("/merge");

    private async Task SendAsync(string type, string json)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/" + type) { Content = new StringContent(json, Encoding.UTF8, "application/json") };
        request.Headers.Authorization = new AuthenticationHeaderValue("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes("web-key:")));
        using HttpResponseMessage response = await _server.Client.SendAsync(request, TestContext.Current.CancellationToken);
        response.EnsureSuccessStatusCode();
    }

    private async Task<JsonNode?> ProfileAsync(string identifier)
    {
        using HttpResponseMessage response = await _server.Client.GetAsync(new Uri($"/v1/profiles/{identifier}?include=traits,computed,segments,identifiers", UriKind.Relative), TestContext.Current.CancellationToken);
        return response.IsSuccessStatusCode ? JsonNode.Parse(await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)) : null;
    }

    private static int Setting(string name, int otherwise) => int.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out int number) ? number : otherwise;
}
