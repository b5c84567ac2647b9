namespace StreamCdp.Connectors.Tests.Kit;

public sealed class RequestBudgetTests
{
    private readonly JumpingTime _time = new();

    [Fact]
    public void A_second_s_requests_may_come_at_once_and_the_next_waits_its_turn()
    {
        var budget = new RequestBudget(4, _time);

        Assert.Equal([0, 0, 0, 0, 0.25, 0.5], Enumerable.Range(0, 6).Select(_ => budget.Take().TotalSeconds));
    }

    [Fact]
    public void A_rest_fills_it_to_one_second_s_requests_and_no_further()
    {
        var budget = new RequestBudget(4, _time);
        budget.Take();
        _time.Advance(TimeSpan.FromHours(1));

        Assert.Equal(4, budget.Left);
    }

    [Fact]
    public void Less_than_one_a_second_is_possible()
    {
        var budget = new RequestBudget(0.1, _time);

        Assert.Equal([0.0, 10.0], Enumerable.Range(0, 2).Select(_ => budget.Take().TotalSeconds));
    }

    [Fact]
    public void What_can_wait_leaves_half_to_what_somebody_waits_for()
    {
        var budget = new RequestBudget(10, _time);
        int background = 0;
        while (budget.SpareIn == TimeSpan.Zero)
        {
            budget.Take();
            background++;
        }

        Assert.Equal((5, 5.0, 0.1), (background, budget.Left, budget.SpareIn.TotalSeconds));
        Assert.Equal([0, 0, 0, 0, 0, 0.1], Enumerable.Range(0, 6).Select(_ => budget.Take().TotalSeconds));
        _time.Advance(TimeSpan.FromSeconds(0.7));
        Assert.Equal(TimeSpan.Zero, budget.SpareIn);
    }

    [Fact]
    public void What_can_wait_has_its_turn_also_with_less_than_one_a_second()
    {
        var budget = new RequestBudget(0.5, _time);

        Assert.Equal(TimeSpan.Zero, budget.SpareIn);
        budget.Take();
        Assert.Equal(2, budget.SpareIn.TotalSeconds);
    }
}
