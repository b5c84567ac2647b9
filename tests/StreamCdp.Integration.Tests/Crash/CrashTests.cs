using StreamCdp.Engine.Runtime;

namespace StreamCdp.Integration.Tests.Crash;

/// <summary>kill -9 of the real server under load, again and again: nothing is lost, nothing counts twice, every output comes (DESIGN §3: P1, P2, P3, P5, P7).</summary>
/// <remarks>
/// <c>STREAMCDP_CRASHES</c> says how often the server is killed in the random tests, 20 times where it is not set. <c>STREAMCDP_CRASH_SEED</c> repeats a seed: the
/// same events and moments, though never exactly the same run. <c>STREAMCDP_CRASH_KEEP</c> keeps the data.
/// </remarks>
[Collection("crash")]
public sealed class CrashTests(KafkaFixture kafka)
{
    private const int UsualCrashes = 20;

    /// <summary>A crash point, and which passage of it: late enough that there is something to lose.</summary>
    public static TheoryData<string, int> Points => new()
    {
        { CrashPoint.ProfileChanged, 150 },
        { CrashPoint.ProfileWritten, 150 },
        { CrashPoint.ProfileMergedAway, 15 },
        { CrashPoint.ResolverCommandsDurable, 15 },
        { CrashPoint.RouterAsked, 60 },
        { CrashPoint.RouterAnswered, 60 },
        { CrashPoint.CheckpointStoresSaved, 7 },
        { CrashPoint.CheckpointManifestWritten, 3 },
        { CrashPoint.CheckpointOldManifestRemoved, 3 },
    };

    /// <summary>On Kafka, where each start takes longer: between state and output, and where two logs must agree.</summary>
    public static TheoryData<string, int> PointsOnKafka => new()
    {
        { CrashPoint.ProfileChanged, 150 },
        { CrashPoint.ProfileMergedAway, 15 },
        { CrashPoint.ResolverCommandsDurable, 15 },
        { CrashPoint.RouterAsked, 60 },
        { CrashPoint.CheckpointStoresSaved, 7 },
    };

    private static int Crashes => int.TryParse(Environment.GetEnvironmentVariable("STREAMCDP_CRASHES"), out int crashes) ? crashes : UsualCrashes;

    private static ulong Seed => ulong.TryParse(Environment.GetEnvironmentVariable("STREAMCDP_CRASH_SEED"), out ulong seed) ? seed : 20_261_124;

    [Fact]
    public async Task A_server_killed_again_and_again_loses_nothing_and_doubles_nothing()
    {
        await using CrashRun run = CrashRun.Local(Seed);
        await KillAgainAndAgainAsync(run);
    }

    [Fact]
    public async Task On_Kafka_a_server_killed_again_and_again_loses_nothing_and_doubles_nothing()
    {
        await using CrashRun run = CrashRun.Kafka(Seed + 1, (await kafka.SharedAsync()).BootstrapServers);
        await KillAgainAndAgainAsync(run);
    }

    [Theory]
    [MemberData(nameof(Points))]
    public async Task A_server_that_dies_at_the_worst_moment_goes_on_where_it_was(string point, int passage)
    {
        await using CrashRun run = CrashRun.Local(Seed + (ulong)passage);
        await DieAtAsync(run, point, passage);
    }

    [Theory]
    [MemberData(nameof(PointsOnKafka))]
    public async Task On_Kafka_a_server_that_dies_at_the_worst_moment_goes_on_where_it_was(string point, int passage)
    {
        await using CrashRun run = CrashRun.Kafka(Seed + (ulong)passage, (await kafka.SharedAsync()).BootstrapServers);
        await DieAtAsync(run, point, passage);
    }

    [Fact]
    public async Task A_damaged_newest_checkpoint_is_told_and_the_one_before_it_and_the_logs_do()
    {
        await using CrashRun run = CrashRun.Local(Seed + 2);
        Assert.True(await run.StartAsync());
        await run.CheckpointsAsync(3);
        await run.KillAsync();

        int damaged = run.DamageNewestCheckpoints();
        Assert.True(await run.StartAsync());

        Assert.Equal(4, damaged); // Router, resolver, two shards.
        Assert.Contains("is not usable", run.Server.Output, StringComparison.Ordinal);
        await run.AcknowledgedAsync(5);
        await run.CompareAsync();
    }

    /// <param name="leaveKib">How much is left: it decides which log is the first that cannot write. Where that is <c>events</c>, the stages have nothing to write and do not notice.</param>
    [Theory]
    [InlineData(256)]
    [InlineData(32)]
    [InlineData(0)]
    public async Task A_full_disk_stops_the_server_with_the_reason_and_costs_nothing_that_was_acknowledged(int leaveKib)
    {
        using SmallDisk disk = SmallDisk.Mount(megabytes: 96);
        await using CrashRun run = CrashRun.Local(Seed + 3, disk.Directory);
        Assert.True(await run.StartAsync());
        await run.AcknowledgedAsync(20);
        disk.Fill(leaveBytes: leaveKib << 10);
        await run.EndedByItselfAsync();

        Assert.NotEqual(0, run.Server.ExitCode);
        Assert.Contains("The disk is full", run.Server.Output, StringComparison.Ordinal);
        disk.Free();
        Assert.True(await run.StartAsync());
        await run.AcknowledgedAsync(20);
        await run.CompareAsync();
    }

    private static async Task KillAgainAndAgainAsync(CrashRun run)
    {
        for (int i = 0; i < Crashes; i++)
        {
            Assert.True(await run.StartAsync());
            await run.KillAtRandomAsync();
        }

        Assert.True(await run.StartAsync());
        await run.CompareAsync();
    }

    private static async Task DieAtAsync(CrashRun run, string point, int passage)
    {
        Assert.True(await run.StartAsync($"{point}:{passage}"));
        await run.EndedByItselfAsync();

        // And once more: now after a restart, with what that left behind.
        if (await run.StartAsync($"{point}:{Math.Max(1, passage / 3)}"))
        {
            await run.EndedByItselfAsync();
        }

        Assert.True(await run.StartAsync());
        await run.AcknowledgedAsync(20);
        await run.CompareAsync();
    }
}
