using Microsoft.Extensions.Logging.Abstractions;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Runtime;

/// <summary>What <c>?wait=true</c> rests on, with the real stages on local logs.</summary>
public sealed class WaitAppliedTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("streamcdp-wait-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task A_wait_ends_at_its_time_though_a_log_is_stuck_and_holds_no_stage_up()
    {
        using ManualResetEventSlim free = new(initialState: true);
        LocalLogOptions stuck = new() { BeforeWrite = (path, _) => free.Wait(path.Contains("profile-events", StringComparison.Ordinal) ? Timeout.Infinite : 0) };
        await using LocalLogs logs = new(Path.Combine(_directory, "logs"), stuck, TimeProvider.System);
        CdpModel model = ModelReader.Read("cdp.yaml", "sources: [ { id: web, write_key: k, kind: website } ]", _ => null).Model!;
        EngineOptions options = new() { Shards = 1, MemoryBytes = 64 << 20, CheckpointMs = 3_600_000 };
        await using CdpEngine engine = CdpEngine.Start(options, model, logs, Path.Combine(_directory, "state"), SchemaIds.BuiltIn, new EngineMetrics(Prometheus.Metrics.NewCustomRegistry(), TimeProvider.System), TimeProvider.System, NullLogger.Instance);
        await engine.WaitAppliedAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        free.Reset();
        using ILogWriter events = engine.Events.OpenWriter();
        events.WaitDurable(events.Append(0, default, """{"type":"track","userId":"u","event":"E"}"""u8, 1_767_323_045_678));

        Task wait = engine.WaitAppliedAsync(TimeSpan.FromMilliseconds(200), TestContext.Current.CancellationToken);
        TimeoutException late = await Assert.ThrowsAsync<TimeoutException>(() => wait.WaitAsync(TimeSpan.FromSeconds(20), TestContext.Current.CancellationToken));
        Assert.Contains("is behind", late.Message, StringComparison.Ordinal); // The wait's own word, not that of the 20 s.
        free.Set();

        await engine.WaitAppliedAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.NotNull(await engine.ProfileAsync("user_id", "u", ProfileParts.Default, TestContext.Current.CancellationToken));
    }
}
