using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Engine.Tests.Runtime;

/// <summary>What a stage does with questions.</summary>
public class StageRunnerTests
{
    [Fact]
    public async Task Whatever_a_question_throws_goes_to_who_asked_and_the_stage_goes_on()
    {
        using var stage = new IdleStage();
        Task<int> broken = stage.AskAsync<int>(() => throw new ArgumentOutOfRangeException(nameof(stage)));
        Task<int> next = stage.AskAsync(() => 7);

        Assert.True(stage.Step(0));

        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => broken);
        Assert.Equal(7, await next);
    }

    private sealed class IdleStage() : StageRunner("idle", new WorkSignal())
    {
        public override bool IsSaving => false;

        public override bool Step(long nowMs) => Answer();

        protected override void Begin()
        {
        }

        protected override bool Poll() => true;
    }
}
