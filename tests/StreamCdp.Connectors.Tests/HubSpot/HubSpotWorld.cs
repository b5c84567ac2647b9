using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.HubSpot;
using StreamCdp.HubSpotEmulator;

namespace StreamCdp.Connectors.Tests.HubSpot;

/// <summary>The emulator, the connector, and their one clock.</summary>
internal sealed class HubSpotWorld : IAsyncDisposable
{
    private HubSpotWorld(EmulatedHubSpot hubspot, SetTime time)
    {
        HubSpot = hubspot;
        Time = time;
        Options = new HubSpotOptions { BaseUrl = hubspot.Url, AccessToken = EmulatedHubSpot.PrivateAppToken, SearchLag = TimeSpan.Zero };
        Crm = Connect();
    }

    public EmulatedHubSpot HubSpot { get; }

    public HubSpotAccount Account => HubSpot.Account;

    public SetTime Time { get; }

    public CountingGate Gate { get; } = new();

    public HubSpotOptions Options { get; private set; }

    public HubSpotCrm Crm { get; private set; }

    public static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    public static async Task<HubSpotWorld> StartAsync(Func<HubSpotOptions, HubSpotOptions>? options = null, bool isPrepared = true)
    {
        var time = new SetTime();
        var world = new HubSpotWorld(await EmulatedHubSpot.StartAsync(time, cancellationToken: Cancelled), time);
        if (isPrepared)
        {
            foreach (CrmObject kind in world.Crm.Objects)
            {
                await world.Crm.PrepareAsync(kind, [new CrmField(world.Crm.IdField, CrmFieldType.Text, IsReadOnly: false)], Cancelled);
            }
        }

        if (options is not null)
        {
            await world.Crm.DisposeAsync();
            world.Options = options(world.Options);
            world.Crm = world.Connect();
        }

        return world;
    }

    public async ValueTask DisposeAsync()
    {
        await Crm.DisposeAsync();
        await HubSpot.DisposeAsync();
    }

    /// <summary>Whether the connector did nothing but read; counted from a mark.</summary>
    public int Writes() => HubSpot.CountOf("/batch/update") + HubSpot.CountOf("/batch/upsert") + HubSpot.CountOf("/batch/create");

    /// <summary>All pages from an instant on.</summary>
    public async Task<List<CrmRecord>> ChangesAsync(CrmObject kind, DateTimeOffset since)
    {
        var all = new List<CrmRecord>();
        string? next = null;
        do
        {
            CrmPage page = await Crm.ChangesAsync(kind, since, next, Cancelled);
            all.AddRange(page.Records);
            next = page.Next;
        }
        while (next is not null);
        return all;
    }

    public async Task<CrmRecord> ReadAsync(CrmObject kind, string id) => Assert.Single(await Crm.ReadAsync(kind, [id], Cancelled));

    public async Task<CrmOutcome> WriteAsync(CrmWrite write) => Assert.Single(await Crm.WriteAsync([write], Cancelled));

    public static CrmWrite Contact(string? id, string? externalId, params (string Name, object? Value)[] fields) => Write(CrmObject.Contact, id, externalId, fields);

    public static CrmWrite Write(CrmObject kind, string? id, string? externalId, params (string Name, object? Value)[] fields) => new()
    {
        Kind = kind,
        Id = id,
        ExternalId = externalId,
        Fields = fields.ToDictionary(field => field.Name, field => JsonSerializer.SerializeToElement(field.Value), StringComparer.Ordinal),
    };

    private HubSpotCrm Connect()
    {
        Assert.Empty(Options.Errors());
        return new HubSpotCrm(Options, Gate, Time);
    }
}

/// <summary>A clock that stands still until a test moves it; timers go by the machine's.</summary>
internal sealed class SetTime : TimeProvider
{
    public DateTimeOffset Now { get; set; } = new(2026, 11, 25, 12, 0, 0, TimeSpan.Zero);

    public override DateTimeOffset GetUtcNow() => Now;

    public void Advance(TimeSpan by) => Now += by;
}

/// <summary>Lets everything through, and counts.</summary>
internal sealed class CountingGate : IRequestGate
{
    private readonly List<string> _outcomes = [];

    public int Waits { get; private set; }

    public IReadOnlyList<string> Outcomes => _outcomes;

    public ValueTask WaitAsync(CancellationToken cancellationToken)
    {
        Waits++;
        return ValueTask.CompletedTask;
    }

    public void Made(string outcome) => _outcomes.Add(outcome);
}
