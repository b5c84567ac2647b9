using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.Tests.Kit;

namespace StreamCdp.Connectors.Tests.Crm;

/// <summary>What the simulations take for a CRM keeps the contract of one.</summary>
public sealed class MemoryCrmConformanceTests : CrmConformance, IAsyncDisposable
{
    private readonly JumpingTime _time = new();
    private readonly MemoryCrm _crm;

    public MemoryCrmConformanceTests() => _crm = new MemoryCrm(_time, new Random(1));

    public ValueTask DisposeAsync() => _crm.DisposeAsync();

    protected override CrmFacts Facts { get; } = new()
    {
        TextField = "name",
        OtherField = "title",
        Refused = ("name", "never!"),
        Typed = new Dictionary<string, JsonElement> { ["orders"] = JsonElement.Parse("12.5") },
        UnknownId = "987654321",
        PageRecords = 3,
        HasRevisions = true,
        TellsOfDeleted = true,
        HasSeveralEmails = false,
        CanMerge = true,
        HasDeals = true,
        HasActivities = true,
        DealToMake = new Dictionary<string, JsonElement> { ["name"] = JsonElement.Parse("\"Engine\""), ["amount"] = JsonElement.Parse("12.5") },
        RetryAfter = TimeSpan.FromSeconds(10),
    };

    protected override ValueTask<ICrm> ConnectAsync(IRequestGate gate, TimeSpan timeout, bool isAllowed) => new(new MemoryCrm(_crm, gate, timeout, isAllowed));

    protected override ValueTask BehaveAsync(CrmAnswering answering)
    {
        _crm.Answering = answering;
        return ValueTask.CompletedTask;
    }

    protected override void Advance(TimeSpan by) => _time.Advance(by);

    protected override ValueTask<IReadOnlyList<string>> MakeAsync(IReadOnlyList<(string Text, string? Email)> contacts) =>
        new([.. contacts.Select(contact => _crm.Make(CrmObject.Contact, ("name", contact.Text), ("email", contact.Email)))]);

    protected override ValueTask EditAsync(string id, string field, string value)
    {
        _crm.Edit(id, field, value);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask DeleteAsync(string id)
    {
        _crm.Delete(id);
        return ValueTask.CompletedTask;
    }

    protected override ValueTask<string?> MergeAsync(string from, string into) => new(_crm.Merge(from, into, mints: true));

    protected override ValueTask<string> MakeDealAsync(string contact) => new(_crm.MakeDeal("new", 12.5, contact));

    protected override ValueTask<string> MakeActivityAsync(string contact) => new(_crm.MakeActivity("call", null, contact));

    protected override ValueTask<IReadOnlyCollection<string>> ListAsync(string list) => new(_crm.Lists.GetValueOrDefault(list) ?? []);
}
