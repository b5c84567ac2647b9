using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

public sealed class ExpressionReaderTests
{
    private static readonly CdpModel Known = ModelReader.Read("cdp.yaml", """
        computed:
          alias: { value: computed.is_customer }
          is_customer: { value: happened("Order Completed") }
          orders: { value: count("Order Completed") }
        segments:
          vip: { when: computed.orders > 3 }
        """, _ => null).Model!;

    [Theory]
    [InlineData("in_segment(\"vip\") and computed.orders > 3")]
    [InlineData("computed.is_customer and not computed.alias")]
    [InlineData("identifiers.email == null")]
    [InlineData("traits.a < null")]
    [InlineData("true")]
    [InlineData("now >= \"2026-01-31T12:00:00+01:00\" and \"2026-01-31\" < now")]
    [InlineData("happened(\"A\") == false")]
    [InlineData("traits.a in [1, \"x\", null] and count(\"A\") in [1, 2]")]
    [InlineData("[\"a\", \"b\"] contains traits.a")]
    [InlineData("first(\"A\", properties.x) exists and last(\"A\", context.ip) exists")]
    public void A_condition_that_can_be_true_is_read(string text) =>
        Assert.Empty(ExpressionReader.ReadCondition(text, Known).Errors);

    [Theory]
    [InlineData("in_segment(\"vpi\")", "segment.txt:1:12: there is no segment with the id \"vpi\"; did you mean \"vip\"?")]
    [InlineData("traits.a exists\nand computed.order > 1", "segment.txt:2:14: there is no computed trait called \"order\"; did you mean \"orders\"?")]
    [InlineData("computed.alias > 1", "segment.txt:1:1: > compares numbers, text or dates, not computed.alias (true or false)")]
    public void Names_are_those_of_the_model(string text, string error) =>
        Assert.Equal(error, Assert.Single(ExpressionReader.ReadCondition(text, Known, "segment.txt").Errors).ToString());

    [Fact]
    public void A_value_may_be_any_function_but_no_segment()
    {
        Assert.Empty(ExpressionReader.ReadValue("avg(\"A\", properties.x, within: 7d)", Known).Errors);
        Assert.Single(ExpressionReader.ReadValue("in_segment(\"vip\")", Known).Errors);
    }

    [Fact]
    public void Each_knot_of_segments_is_named_once() =>
        Assert.Equal(
            ["cdp.yaml:2:25: the segments use each other in a circle: a → b → a", "cdp.yaml:5:25: the segments use each other in a circle: d → e → d"],
            ModelReader.Read("cdp.yaml", """
                segments:
                  a: { when: in_segment("b") }
                  b: { when: in_segment("a") }
                  c: { when: in_segment("a") and in_segment("d") }
                  d: { when: in_segment("e") }
                  e: { when: in_segment("d") or in_segment("b") }
                """, _ => null).Errors.Select(error => error.ToString()));
}
