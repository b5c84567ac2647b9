using StreamCdp.Engine.Model;
using static StreamCdp.Simulation.Tests.Oracle.OracleExample;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>RULES.md §3, sentence by sentence.</summary>
public class OracleLinkingTests
{
    private static readonly IdentifierDefinition s_protectedEmail = Email with { MergeByServer = true };

    [Fact]
    public void Identifiers_of_one_event_become_one_person()
    {
        OracleWorld world = World(Model());
        world.Track(0, "u:1 d:x");

        Assert.Equal("u:1 a:x", world.Who("anonymous_id", "x"));
    }

    [Fact]
    public void One_that_breaks_a_limit_is_left_out_and_keeps_its_profile()
    {
        OracleWorld world = World(Model());
        world.Track(0, "u:1 d:x");
        world.Track(1, "u:2 d:x"); // x brings user 1: two users.

        Assert.Equal("u:1 a:x", world.Who("anonymous_id", "x"));
        Assert.Equal("u:2", world.Who("user_id", "2"));
        Assert.Equal(1, world.Refused["limit"]);
    }

    [Fact]
    public void A_limit_that_is_reached_already_does_not_hinder_others()
    {
        OracleWorld world = World(Model(User, Email with { Limit = 1 }, Device));
        world.Track(0, "u:1 e:a@x.de");
        world.Track(1, "u:1 e:b@x.de d:x"); // b is left out, x joins although emails are full.

        Assert.Equal("u:1 e:a@x.de a:x", world.Who("user_id", "1"));
    }

    [Fact]
    public void Greedy_in_order_and_no_going_back()
    {
        OracleWorld world = World(Model(User, Email with { Limit = 1 }, Device));
        world.Track(0, "e:a@x.de d:x");
        world.Track(1, "u:1 e:b@x.de d:x"); // b joins first, so x with its a is one too many.

        Assert.Equal("u:1 e:b@x.de", world.Who("user_id", "1"));
        Assert.Equal("e:a@x.de a:x", world.Who("anonymous_id", "x"));
    }

    [Fact]
    public void One_left_out_unknown_stays_unknown_until_it_comes_first()
    {
        OracleWorld world = World(Model(User, Email with { Limit = 1 }, Device));
        world.Track(0, "u:1 e:a@x.de");
        world.Track(1, "u:1 e:b@x.de");
        Assert.Equal("nobody", world.Who("email", "b@x.de"));

        world.Track(2, "e:b@x.de");
        Assert.Equal("e:b@x.de", world.Who("email", "b@x.de"));
    }

    [Fact]
    public void Limits_hold_for_alias()
    {
        OracleWorld world = World(Model());
        world.Track(0, "u:1");
        world.Track(1, "u:2");
        world.Send(2, "{'type':'alias','userId':'2','previousId':'1'}");

        Assert.Equal("u:1", world.Who("user_id", "1"));
        Assert.Equal(2, world.Find("user_id", "2")!.Events.Count);
    }

    [Fact]
    public void Alias_joins_a_known_user_where_the_limit_allows()
    {
        OracleWorld world = World(Model(User with { Limit = 2 }, Email, Device));
        world.Track(0, "u:1");
        world.Track(1, "u:2");
        world.Send(2, "{'type':'alias','userId':'2','previousId':'1'}");

        Assert.Equal("u:1 u:2", world.Who("user_id", "2")); // 1 was decided first.
    }

    [Fact]
    public void Alias_takes_an_unknown_previousId_for_an_anonymous_id()
    {
        OracleWorld world = World(Model());
        world.Track(0, "d:x");
        world.Send(1, "{'type':'alias','userId':'2','previousId':'x'}");
        world.Send(2, "{'type':'alias','userId':'3','previousId':'4'}");

        Assert.Equal("u:2 a:x", world.Who("user_id", "2"));
        Assert.Equal("u:3 a:4", world.Who("anonymous_id", "4"));
        Assert.Equal("nobody", world.Who("user_id", "4"));
    }

    [Fact]
    public void The_previousId_comes_last_in_its_type()
    {
        OracleWorld world = World(Model(User, Email, Device with { Limit = 1 }));
        world.Send(0, "{'type':'alias','userId':'1','anonymousId':'new','previousId':'old'}");

        Assert.Equal("u:1 a:new", world.Who("user_id", "1"));
    }

    [Fact]
    public void A_public_event_that_begins_with_a_protected_identifier_links_nothing()
    {
        OracleWorld world = World(Model(s_protectedEmail, User, Device));
        world.Track(0, "e:a@x.de");
        world.Track(1, "e:a@x.de u:1 d:x", source: "web");

        Assert.Equal("e:a@x.de", world.Who("email", "a@x.de"));
        Assert.Equal(2, world.Find("email", "a@x.de")!.Events.Count);
        Assert.Equal("nobody", world.Who("user_id", "1"));
        Assert.Equal(2, world.Refused["merge_by"]);
    }

    [Fact]
    public void A_public_event_leaves_out_a_protected_identifier_of_another_person()
    {
        OracleWorld world = World(Model(User, s_protectedEmail, Device));
        world.Track(0, "e:a@x.de");
        world.Track(1, "u:1 e:a@x.de d:x", source: "web");

        Assert.Equal("u:1 a:x", world.Who("user_id", "1"));
        Assert.Equal("e:a@x.de", world.Who("email", "a@x.de"));
    }

    [Fact]
    public void A_protected_identifier_that_is_unknown_joins_and_a_server_may_link_it()
    {
        OracleWorld world = World(Model(User, s_protectedEmail, Device));
        world.Track(0, "u:1 e:a@x.de", source: "web");
        Assert.Equal("u:1 e:a@x.de", world.Who("email", "a@x.de"));

        world.Track(1, "u:1 e:a@x.de d:x", source: "web"); // Its own person: nothing to forbid.
        Assert.Equal("u:1 e:a@x.de a:x", world.Who("email", "a@x.de"));

        world.Track(2, "e:b@x.de");
        world.Track(3, "u:1 e:b@x.de", source: "crm");
        Assert.Equal("u:1 e:a@x.de a:x e:b@x.de", world.Who("email", "b@x.de"));
    }

    [Fact]
    public void A_lone_anonymous_id_is_never_decided_on()
    {
        OracleWorld world = World(Model());
        world.Track(0, "d:x");
        Assert.Null(world.Find("anonymous_id", "x")!.Epoch);

        world.Track(1, "u:1");
        Assert.Equal(1, world.Find("user_id", "1")!.Epoch);
    }

    [Fact]
    public void An_event_whose_links_are_left_out_decides_only_a_first_use()
    {
        OracleWorld world = World(Model());
        world.Track(0, "u:1 d:x"); // Decision 1.
        world.Track(1, "u:2 d:x"); // Decision 2: user 2, first use.
        world.Track(2, "u:2 d:x"); // None.
        world.Track(3, "u:3"); // Decision 3.

        Assert.Equal(2, world.Find("user_id", "2")!.Epoch);
        Assert.Equal(3, world.Find("user_id", "3")!.Epoch);
    }

    [Fact]
    public void The_survivor_has_the_lowest_epoch()
    {
        OracleWorld world = World(Model());
        OraclePerson mail = world.Track(0, "e:a@x.de").Person!;
        OraclePerson user = world.Track(1, "u:1").Person!;
        world.Track(2, "u:1 e:a@x.de");

        Assert.Same(mail, user.Current);
        Assert.Equal([user.Id], mail.MergedFrom);
        Assert.Equal(3, mail.Events.Count);
        Assert.Equal("e:a@x.de u:1", world.Who("user_id", "1"));
    }

    [Fact]
    public void Decided_people_survive_undecided_ones_that_are_older()
    {
        OracleWorld world = World(Model(Device, User, Email));
        OraclePerson device = world.Track(0, "d:x").Person!;
        OraclePerson user = world.Track(1, "u:1").Person!;
        world.Track(2, "d:x u:1"); // The device comes first, but was never decided on.

        Assert.Same(user, device.Current);
        Assert.Equal("u:1 a:x", world.Who("user_id", "1"));
    }

    [Fact]
    public void Undecided_people_come_in_the_events_order_whether_or_not_they_had_events()
    {
        OracleWorld world = World(Model());
        OraclePerson device = world.Track(0, "d:x").Person!;
        OraclePerson user = world.Track(1, "u:1 d:x").Person!;

        Assert.NotSame(user, device);
        Assert.Same(user, device.Current);
        Assert.Equal([device.Id], user.MergedFrom);
    }

    [Fact]
    public void The_event_counts_once_whatever_its_type()
    {
        OracleWorld world = World(Model());
        world.Track(0, "d:x");
        world.Send(1, "{'type':'alias','userId':'1','previousId':'x'}");
        world.Send(2, "{'type':'group','userId':'1','groupId':'g'}");

        Assert.Equal(3, world.Find("user_id", "1")!.Events.Count);
    }

    [Fact]
    public void Beyond_the_cap_links_are_refused_and_events_count()
    {
        var world = new OracleWorld(Model(), OracleClock.Wall, TimeSpan.FromHours(1), maxIdentifiers: 2);
        world.Track(0, "u:1 d:x");
        world.Track(1, "u:1 d:y");

        Assert.Equal("u:1 a:x", world.Who("user_id", "1"));
        Assert.Equal(2, world.Find("user_id", "1")!.Events.Count);
        Assert.Equal(1, world.Refused["cap"]);
    }

    [Fact]
    public void After_a_merge_values_are_those_of_one_person_with_all_events()
    {
        OracleWorld world = World(Model().Computing("a", Count("A")));
        world.Track(0, "d:x");
        world.Track(5, "u:1");
        world.Track(9, "u:1 d:x");
        OraclePerson person = world.Find("user_id", "1")!;

        Assert.Equal(3, (double?)OracleDocument.Of(world, person)["computed"]!["a"]);
        Assert.Equal(T0, person.CreatedAtMs);
        Assert.Equal((T0, T0 + 9, "crm"), person.Seen(new OracleIdentifier("anonymous_id", "x")));
        Assert.Equal((T0 + 5, T0 + 9, "crm"), person.Seen(new OracleIdentifier("user_id", "1")));
    }

    [Fact]
    public void A_merge_gives_the_survivor_its_changes_and_the_loser_none()
    {
        CdpModel model = Model().With("once", Happened("A")).With("thrice", Is(Count("A"), CompareOperator.GreaterOrEqual, 3.0)).With("few", Is(Count("A"), CompareOperator.Less, 2.0));
        OracleWorld world = World(model);
        OraclePerson loser = world.Track(0, "d:x", "'messageId':'m0'").Person!;
        OraclePerson survivor = world.Track(1, "u:1", "'messageId':'m1'").Person!;
        world.Track(2, "u:1 d:x", "'messageId':'m2'");

        Assert.Equal("+once@0/m0 +few@0/m0", ChangesOf(loser));
        Assert.Equal("+once@1/m1 +few@1/m1 +thrice@2/m2 -few@2/m2", ChangesOf(survivor));
        Assert.Equal(T0 + 1, survivor.Memberships["once"]);
        Assert.Empty(loser.Memberships);
    }

    [Fact]
    public void A_new_survivor_enters_what_the_loser_was_in()
    {
        OracleWorld world = World(Model().With("once", Happened("A")));
        world.Track(0, "d:x", "'messageId':'m0'");
        OraclePerson survivor = world.Track(7, "u:1 d:x", "'messageId':'m1'").Person!;

        Assert.Equal("+once@7/m1", ChangesOf(survivor));
    }
}
