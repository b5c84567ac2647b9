using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

public class ModelFunctionsTests
{
    private const long Minute = 60_000;
    private const long Hour = 60 * Minute;

    private static readonly CdpModel s_model = ModelReader.Read("cdp.yaml", """
        sources: [ { id: web, write_key: w, kind: website } ]
        identifiers: [ { type: user_id, limit: 1 } ]
        computed:
          ever:     { value: 'count("A")' }
          counted:  { value: 'count("A", within: 1h)' }
          happened: { value: 'happened("A", within: 1h)' }
          worth:    { value: 'sum(deals, amount)' }
        segments:
          direct:   { when: 'computed.counted > 1 and happened("B")' }
          indirect: { when: 'in_segment("direct") and computed.worth > 1' }
          buyers:   { when: 'exists(deals, stage == "won") and computed.worth > 1' }
        """, _ => null).Model!;

    [Theory]
    [InlineData("ever", 1_000 * Hour, false)]
    [InlineData("happened", Hour - 1, false)]
    [InlineData("happened", Hour, true)]
    [InlineData("counted", Hour - Minute, false)]
    [InlineData("counted", Hour, true)]
    public void A_function_with_a_window_is_complete_once_nothing_that_it_missed_would_count(string computed, long laterMs, bool isComplete)
    {
        const long Since = 1_700_000_040_000; // The first instant of a minute.
        FunctionExpression function = Assert.Single(ModelFunctions.Of(s_model.Computed.Single(one => one.Name == computed).Value, s_model));

        Assert.Equal(isComplete, ModelFunctions.IsComplete(function, Since, Since + laterMs));
    }

    [Fact]
    public void A_bucket_counts_as_long_as_its_youngest_event()
    {
        const long Since = 1_700_000_040_000 + Minute - 1;
        FunctionExpression function = Assert.Single(ModelFunctions.Of(s_model.Computed.Single(one => one.Name == "counted").Value, s_model));

        Assert.False(ModelFunctions.IsComplete(function, Since, Since + Hour - Minute));
        Assert.True(ModelFunctions.IsComplete(function, Since, Since + Hour - Minute + 1)); // Its bucket left with the minute.
    }

    [Fact]
    public void A_function_of_a_collection_needs_no_backfill() =>
        Assert.Empty(ModelFunctions.Of(s_model.Segments.Single(segment => segment.Id == "buyers").When, s_model));

    [Fact]
    public void A_segment_depends_on_the_functions_of_what_it_uses() =>
        Assert.Equal(
            ["""count("A", within: 1h)""", """happened("B")"""],
            ModelFunctions.Of(s_model.Segments.Single(segment => segment.Id == "indirect").When, s_model).Select(function => function.ToString()));
}
