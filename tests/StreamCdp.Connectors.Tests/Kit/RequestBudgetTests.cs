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
}
