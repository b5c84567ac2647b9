using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Tests.Model;

public sealed class ModelReportTests
{
    [Fact]
    public void The_report_says_what_was_understood()
    {
        ModelResult result = ModelReader.Read("cdp.yaml", """
            sources: [ { id: web, kind: website, write_key: s3cret }, { id: crm, kind: crm } ]
            api_keys: [ { id: ops, key: hidden, scopes: [read, admin] } ]
            identifiers:
              - { type: user_id }
              - { type: email, from: [traits.email, 'context["e mail"]'], normalize: email, merge_by: server, blocked: [a@b.c] }
              - { type: anonymous_id, blocked_defaults: false }
            traits: { plan: { prefer: [crm, web] }, campaign: { merge: first, from: context.campaign.name } }
            computed:
              orders: { value: 'count("Order Completed", within: 90d)' }
              won: { value: 'sum(deals, amount, stage == "won")' }
            segments:
              big: { name: Big ones, when: 'in_segment("known") and computed.orders > 3 and exists(leads) and exists(leads)' }
              known: { when: 'happened("Login", within: 36h) or sum("Paid", properties.amount) > 1 or count("Paid", within: 90m) > 1' }
            privacy: { retain_events: 400d }
            """, _ => null);
        StringWriter writer = new();

        ModelReport.Write(writer, result.Model!, result.Notes);

        Assert.Equal($"""
            model {result.Model!.Version:x16}

            sources (2)
              web: website, public
              crm: crm, trusted, no write key: no HTTP client can write to it

            API keys (1)
              ops: read, admin

            identifiers (3), in order of priority
              1. user_id, limit 1
              2. email, limit 5, from traits.email, context["e mail"], normalize email, merge by server, 1 blocked and the defaults
              3. anonymous_id, limit 100, nothing blocked

            declared traits (2)
              plan: latest, prefer crm over web
              campaign: first, from context.campaign.name of every event

            computed traits (2)
              orders = count("Order Completed", within: 90d)
                - count("Order Completed", within: 90d): buckets of 1d; needs history: complete 90d after the model knows it, or by a backfill
              won = sum(deals, amount, where: stage == "won")
                - sum(deals, amount, where: stage == "won"): CRM records of now; needs no history

            segments (2), in the order of evaluation
              known, version {result.Model.Segments[0].Version:x16}
                when happened("Login", within: 36h) or sum("Paid", properties.amount) > 1 or count("Paid", within: 90m) > 1
                - happened("Login", within: 36h): exact to the millisecond; needs history: complete 36h after the model knows it, or by a backfill
                - sum("Paid", properties.amount): ever; needs history: events before the model knew it count only after a backfill
                - count("Paid", within: 90m): buckets of 1m; needs history: complete 90m after the model knows it, or by a backfill
              big (Big ones), version {result.Model.Segments[1].Version:x16}
                when in_segment("known") and computed.orders > 3 and exists(leads) and exists(leads)
                - exists(leads): CRM records of now; needs no history
                - uses segment known, computed orders

            notes (1)
              cdp.yaml:14:27: note: retain_events is not yet used by this version; set StreamCdp:Engine:RetainEventsMs

            """.ReplaceLineEndings(), writer.ToString());
    }

    [Theory]
    [InlineData(1_000, 1_000)]
    [InlineData(120_000, 1_000)]
    [InlineData(121_000, 60_000)]
    [InlineData(7_200_000, 60_000)]
    [InlineData(7_201_000, 3_600_000)]
    [InlineData(1_209_600_000, 3_600_000)]
    [InlineData(1_209_601_000, 86_400_000)]
    public void The_width_of_a_bucket_follows_the_window(long windowMs, long widthMs) =>
        Assert.Equal(widthMs, ModelReport.BucketWidthMs(windowMs));
}
