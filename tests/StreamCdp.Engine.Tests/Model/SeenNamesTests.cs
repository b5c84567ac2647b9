using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

public sealed class SeenNamesTests
{
    private static readonly SeenSchema s_seen = new()
    {
        Events =
        [
            new("track", "Order Completed") { Count = 900, LookedAt = 120, Properties = [new("properties.revenue"), new("properties.currency"), new("properties.to"), new("properties.to.city")] },
            new("track", "Product Viewed") { Count = 900, LookedAt = 110, Properties = [new("properties.category")] },
            new("page", "page:*") { Count = 50, LookedAt = 50, Properties = [new("properties.path")] },
            new("page", "page:Home") { Count = 10 },
        ],
        Traits = [new("traits.country"), new("traits.plan")],
        Context = [new("context.campaign"), new("context.campaign.name")],
    };

    [Theory]
    [InlineData("sum(\"Order Completed\", properties.revenue, where: properties.to.city == \"X\" and context.campaign.name == \"y\") > 1")]
    [InlineData("count(\"*\", where: properties.category == \"a\") > 1 and traits.country == \"DE\"")]
    [InlineData("count(\"page:Home\", where: properties.path == \"/\") > 1")]
    [InlineData("traits.joined exists and exists(deals, stag == \"x\") and identifiers.emai == null")]
    [InlineData("sequence(\"Product Viewed\", \"Order Completed\", within: 1h)")]
    public void Names_that_came_have_no_note(string when) =>
        Assert.Empty(ExpressionReader.ReadCondition(when, seen: s_seen, model: Model("joined")).Notes.Select(note => note.Message));

    [Theory]
    [InlineData("count(\"Order Complete\") > 1", "when:1:1: note: no event \"Order Complete\" has come yet; did you mean \"Order Completed\"?")]
    [InlineData("not happened(\"Refund\")", "when:1:5: note: no event \"Refund\" has come yet")]
    [InlineData("sum(\"Order Completed\", properties.revenu) > 1", "when:1:24: note: no \"Order Completed\" of the 120 looked into had properties.revenu; did you mean properties.revenue?")]
    [InlineData("sum(\"Order Completed\", properties.tax) > 1", "when:1:24: note: no \"Order Completed\" of the 120 looked into had properties.tax")]
    [InlineData("count(\"page:Home\", where: properties.pth == \"/\") > 1", "when:1:27: note: no \"page:Home\" of the 50 looked into had properties.pth; did you mean properties.path?")]
    [InlineData("count(\"Order Completed\", where: context.campain.name == \"x\") > 1", "when:1:33: note: no event of the 120 looked into had context.campain.name; did you mean context.campaign.name?")]
    [InlineData("traits.county == \"DE\"", "when:1:1: note: no identify that was looked into had traits.county; did you mean traits.country?")]
    [InlineData("sequence(\"Product Viewd\", \"Order Completed\")", "when:1:1: note: no event \"Product Viewd\" has come yet; did you mean \"Product Viewed\"?")]
    public void A_name_that_no_event_brought_is_noted_with_what_was_meant(string when, string note) =>
        Assert.Equal([note], ExpressionReader.ReadCondition(when, fileName: "when", seen: s_seen).Notes.Select(n => n.ToString()));

    [Fact]
    public void A_note_has_its_place_in_the_file()
    {
        ModelResult read = ModelReader.Read("cdp.yaml", "identifiers: [ { type: user_id } ]\nsegments:\n  a: { when: 'count(\"Order Completed\", where: properties.curency == \"EUR\") > 1' }\n", _ => null, seen: s_seen);

        Assert.NotNull(read.Model);
        Assert.Contains("cdp.yaml:3:47: note: no \"Order Completed\" of the 120 looked into had properties.curency; did you mean properties.currency?", read.Notes.Select(note => note.ToString()));
    }

    /// <summary>Anybody with a public key may send one; it is never meant (RULES.md §6.5), and must not be in the way.</summary>
    [Fact]
    public void A_track_called_like_a_page_is_not_looked_at()
    {
        SeenSchema seen = s_seen with { Events = [.. s_seen.Events, new("track", "page:*") { LookedAt = 5 }, new("track", "page:Home") { LookedAt = 5 }] };

        Assert.Equal(["when:1:27: note: no \"page:Home\" of the 50 looked into had properties.pth; did you mean properties.path?"], ExpressionReader.ReadCondition("count(\"page:Home\", where: properties.pth == \"/\") > 1", fileName: "when", seen: seen).Notes.Select(note => note.ToString()));
    }

    [Fact]
    public void What_had_no_room_may_have_come() =>
        Assert.Equal(
            ["when:1:31: note: no event \"Refund\" has come yet"],
            ExpressionReader.ReadCondition("traits.county == \"DE\" and not happened(\"Refund\")", fileName: "when", seen: s_seen with { PathsLeftOut = 1 }).Notes.Select(note => note.ToString()));

    [Fact]
    public void A_server_that_saw_nothing_says_nothing() =>
        Assert.Empty(ExpressionReader.ReadCondition("count(\"A\") > 1", seen: SeenSchema.Empty).Notes);

    private static CdpModel Model(string trait) => new() { Text = "", Version = 0, Traits = [new TraitDefinition(trait, TraitMerge.Latest, [], null)], Identifiers = [new IdentifierDefinition { Type = "emai", Limit = 1 }] };
}
