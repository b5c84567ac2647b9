using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using StreamCdp.Connectors;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.Tests.Kit;
using StreamCdp.Connectors.Tryton;

namespace StreamCdp.Integration.Tests.Tryton;

/// <summary>The connector keeps the contract with a real Tryton, behind a door that can be shut.</summary>
public sealed class TrytonConformanceTests(TrytonAccount account) : CrmConformance, IClassFixture<TrytonAccount>
{
    protected override CrmFacts Facts { get; } = new()
    {
        TextField = "name",
        OtherField = "street",
        Refused = ("no_such_field", "x"),
        Typed = new Dictionary<string, JsonElement>(), // A party has text only.
        UnknownId = "987654321",
        PageRecords = 3,
        HasRevisions = true,
        TellsOfDeleted = false, // A row that is deleted leaves nothing.
        HasSeveralEmails = true,
        CanMerge = true,
        HasDeals = true,
        HasActivities = true,
        DealToMake = new Dictionary<string, JsonElement> { ["name"] = JsonElement.Parse("\"Engine\""), ["amount"] = JsonElement.Parse("12.5") },
        RetryAfter = TimeSpan.FromSeconds(7),
    };

    protected override ValueTask<ICrm> ConnectAsync(IRequestGate gate, TimeSpan timeout, bool isAllowed) => new(new TrytonCrm(
        new TrytonOptions { Url = account.Url, User = TrytonServer.Bot, Password = isAllowed ? account.Server.BotPassword : "wrong", PageSize = 3, Timeout = timeout, ReadsNotes = true },
        gate,
        TimeProvider.System));

    protected override ValueTask BehaveAsync(CrmAnswering answering)
    {
        account.Answering = answering;
        return ValueTask.CompletedTask;
    }

    protected override async ValueTask<IReadOnlyList<string>> MakeAsync(IReadOnlyList<(string Text, string? Email)> contacts)
    {
        object parties = contacts.Select(contact => new
        {
            name = contact.Text,
            contact_mechanisms = contact.Email is null ? [] : new object[] { new object[] { "create", new object[] { new { type = "email", value = contact.Email } } } },
        });
        return Ids(await account.Server.CallAsync("model.party.party.create", JsonSerializer.Serialize(new[] { parties, new { } })));
    }

    protected override async ValueTask EditAsync(string id, string field, string value) =>
        await account.Server.CallAsync("model.party.party.write", $$$"""[[{{{id}}}],{"{{{field}}}":{{{JsonSerializer.Serialize(value)}}}},{}]""");

    protected override async ValueTask AddEmailAsync(string id, string email) =>
        await account.Server.CallAsync("model.party.contact_mechanism.create", $$$"""[[{"party":{{{id}}},"type":"email","value":"{{{email}}}"}],{}]""");

    protected override async ValueTask DeleteAsync(string id) => await account.Server.CallAsync("model.party.party.delete", $"[[{id}],{{}}]");

    protected override async ValueTask<string?> MergeAsync(string from, string into)
    {
        JsonElement wizard = await account.Server.CallAsync("wizard.party.replace.create", "[{}]");
        await account.Server.CallAsync("model.res.user.warning.create", $$"""[[{"user":1,"name":"party.replace name {{from}} {{into}}","always":false},{"user":1,"name":"party.replace tax_identifier {{from}} {{into}}","always":false}],{}]""");
        await account.Server.CallAsync("wizard.party.replace.execute", $$$"""[{{{wizard[0]}}},{"ask":{"source":{{{from}}},"destination":{{{into}}}}},"replace",{"active_model":"party.party","active_id":{{{from}}},"active_ids":[{{{from}}}]}]""");
        return into;
    }

    protected override async ValueTask<string> MakeDealAsync(string contact) =>
        Ids(await account.Server.CallAsync("model.sale.opportunity.create", $$$"""[[{"party":{{{contact}}},"employee":1,"description":"Engine","amount":{"__class__":"Decimal","decimal":"12500.50"},"company":1}],{"company":1}]"""))[0];

    protected override async ValueTask<string> MakeActivityAsync(string contact) =>
        Ids(await account.Server.CallAsync("model.ir.note.create", $$$"""[[{"resource":"party.party,{{{contact}}}","message":"secret"}],{}]"""))[0];

    protected override async ValueTask<IReadOnlyCollection<string>> ListAsync(string list) =>
        Ids(await account.Server.CallAsync("model.party.party.search", $$"""[[["categories.name","=",{{JsonSerializer.Serialize(list)}}]],0,null,null,{}]"""));

    [Fact]
    public async Task A_right_that_is_missing_pauses_with_what_to_do()
    {
        JsonElement user = (await account.Server.CallAsync("model.res.user.search_read", $$"""[[["login","=","{{TrytonServer.Bot}}"]],0,1,null,["groups"],{}]"""))[0];
        (JsonElement id, string groups) = (user.GetProperty("id"), user.GetProperty("groups").GetRawText());
        await using ICrm crm = await ConnectAsync(new OpenGate(), TimeSpan.FromSeconds(30), isAllowed: true);
        await account.Server.CallAsync("model.res.user.write", $$$"""[[{{{id}}}],{"groups":[["remove",{{{groups}}}]]},{}]""");
        try
        {
            DestinationMustPauseException pause = await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await crm.ChangeListAsync("nobody's list", [], [], Cancelled));
            Assert.Contains("rights", pause.Message, StringComparison.Ordinal);
            await Assert.ThrowsAsync<DestinationMustPauseException>(async () => await crm.ReadAsync(CrmObject.Deal, ["1"], Cancelled)); // Of parties, everybody may read and write.
        }
        finally
        {
            await account.Server.CallAsync("model.res.user.write", $$$"""[[{{{id}}}],{"groups":[["add",{{{groups}}}]]},{}]""");
        }
    }

    [Fact]
    public async Task A_note_at_an_opportunity_is_its_party_s_one_of_an_action_carries_our_id_and_none_is_read_where_none_is_wanted()
    {
        await using ICrm crm = await ConnectAsync(new OpenGate(), TimeSpan.FromSeconds(30), isAllowed: true);
        string[] parties = [.. await MakeAsync([("Ann", null), ("Bob", null)])];
        string deal = await MakeDealAsync(parties[0]);
        string note = Ids(await account.Server.CallAsync("model.ir.note.create", $$$"""[[{"resource":"sale.opportunity,{{{deal}}}","message":"secret"}],{}]"""))[0];
        string elsewhere = Ids(await account.Server.CallAsync("model.ir.note.create", """[[{"resource":"res.user,1","message":"secret"}],{}]"""))[0];
        await ((TrytonCrm)crm).AddNoteAsync("key", parties[1], "note", "", "Call him", DateTimeOffset.UnixEpoch, Cancelled);

        List<CrmRecord> told = [];
        for (string? page = "0:0"; page is not null;)
        {
            CrmPage answer = await crm.ChangesAsync(CrmObject.Activity, DateTimeOffset.MinValue, page, Cancelled);
            told.AddRange(answer.Records);
            page = answer.Next;
        }

        CrmRecord atDeal = told.Single(record => record.Id == note);
        Assert.Equal([parties[0]], atDeal.ContactIds);
        Assert.DoesNotContain(atDeal.Fields.Values, value => value.ToString().Contains("secret", StringComparison.Ordinal));
        CrmRecord ours = told.Single(record => record.ContactIds.Contains(parties[1]));
        Assert.Equal((null, 12), (atDeal.ExternalId, ours.ExternalId!.Length));
        Assert.DoesNotContain(told, record => record.Id == elsewhere);
        Assert.True(Assert.Single(await crm.ReadAsync(CrmObject.Activity, [elsewhere], Cancelled)).IsDeleted);
        Assert.Empty(await crm.DeleteContactsAsync([parties[1]], Cancelled)); // Nobody's work but ours.

        var counter = new Counter();
        await using var off = new TrytonCrm(new TrytonOptions { Url = account.Url, User = TrytonServer.Bot, Password = account.Server.BotPassword }, counter, TimeProvider.System);
        Assert.Empty((await off.ChangesAsync(CrmObject.Activity, DateTimeOffset.MinValue, null, Cancelled)).Records);
        Assert.Empty((await off.IdsAsync(CrmObject.Activity, null, Cancelled)).Ids);
        Assert.True(Assert.Single(await off.ReadAsync(CrmObject.Activity, [note], Cancelled)).IsDeleted);
        Assert.Equal(0, counter.Requests);
    }

    private static string[] Ids(JsonElement ids) => [.. ids.EnumerateArray().Select(id => id.GetRawText())];
}

/// <summary>Lets everything through.</summary>
internal sealed class OpenGate : IRequestGate
{
    public ValueTask WaitAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    public void Made(string outcome)
    {
    }
}

/// <summary>Counts what goes through.</summary>
internal sealed class Counter : IRequestGate
{
    public int Requests { get; private set; }

    public ValueTask WaitAsync(CancellationToken cancellationToken)
    {
        Requests++;
        return ValueTask.CompletedTask;
    }

    public void Made(string outcome)
    {
    }
}

/// <summary>One Tryton for all tests of the suite, and the door before it.</summary>
public sealed class TrytonAccount : IAsyncLifetime
{
    private readonly HttpClient _http = new() { Timeout = TimeSpan.FromSeconds(60) };
    private readonly CancellationTokenSource _stop = new();
    private WebApplication? _door;

    internal TrytonServer Server { get; private set; } = null!;

    /// <summary>What comes through the door.</summary>
    public CrmAnswering Answering { get; set; }

    public Uri Url => new(_door!.Urls.First() + Server.Url.AbsolutePath);

    public async ValueTask InitializeAsync()
    {
        Server = await TrytonServer.StartAsync();
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        _door = builder.Build();
        _door.Run(PassAsync);
        await _door.StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        if (_door is not null)
        {
            await _door.DisposeAsync();
            await Server.DisposeAsync();
        }

        _http.Dispose();
        _stop.Dispose();
    }

    private async Task PassAsync(HttpContext context)
    {
        byte[] body = await BodyAsync(context);
        switch (Answering)
        {
            case CrmAnswering.IsAway:
                context.Response.StatusCode = 503;
                return;
            case CrmAnswering.IsLimited:
                context.Response.StatusCode = 429;
                context.Response.Headers.RetryAfter = "7";
                return;
            case CrmAnswering.Hangs:
                using (var either = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, _stop.Token))
                {
                    await Task.Delay(Timeout.Infinite, either.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }

                return;
        }

        using var request = new HttpRequestMessage(HttpMethod.Post, Server.Url) { Content = new ByteArrayContent(body) };
        request.Content.Headers.TryAddWithoutValidation("Content-Type", "application/json");
        request.Headers.TryAddWithoutValidation("Authorization", (string?)context.Request.Headers.Authorization);
        using HttpResponseMessage response = await _http.SendAsync(request, context.RequestAborted);
        byte[] answer = await response.Content.ReadAsByteArrayAsync(context.RequestAborted);
        if (Answering == CrmAnswering.LosesAnswers && body.AsSpan().IndexOf("model.party.party.create"u8) >= 0)
        {
            context.Abort();
            return;
        }

        context.Response.StatusCode = (int)response.StatusCode;
        await context.Response.Body.WriteAsync(answer, context.RequestAborted);
    }

    private static async Task<byte[]> BodyAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);
        return body.ToArray();
    }
}
