using StreamCdp.Engine.Model;
using static StreamCdp.Simulation.Tests.Oracle.OracleExample;

namespace StreamCdp.Simulation.Tests.Oracle;

/// <summary>RULES.md §4.3, §6.2 and §7: memberships in time.</summary>
public class OracleSegmentTests
{
    [Fact]
    public void Happened_ends_to_the_millisecond_at_its_own_instant_whenever_the_tick_comes()
    {
        OracleWorld world = World(Model().With("s", Happened("A", Hour)));
        OraclePerson person = world.Track(5, "u:1", "'messageId':'m'").Person!;
        world.Tick(T0 + Hour + 4);
        Assert.Equal("+s@5/m", ChangesOf(person));

        world.Tick(T0 + Hour + 700);
        Assert.Equal($"+s@5/m -s@{Hour + 5}/time", ChangesOf(person));
    }

    [Fact]
    public void Time_passes_before_an_event_changes_something()
    {
        OracleWorld world = World(Model().With("s", Happened("A", Hour)));
        OraclePerson person = world.Track(0, "u:1", "'messageId':'m1'").Person!;
        world.Track(Hour + 1, "u:1", "'messageId':'m2'");

        Assert.Equal($"+s@0/m1 -s@{Hour}/time +s@{Hour + 1}/m2", ChangesOf(person));
    }

    [Fact]
    public void What_falls_on_the_events_instant_is_evaluated_with_it()
    {
        OracleWorld world = World(Model().With("s", Happened("A", Hour)).With("t", Is(Count("A"), CompareOperator.Equal, 2.0)));
        OraclePerson person = world.Track(0, "u:1", "'messageId':'m1'").Person!;
        world.Track(Hour, "u:1", "'messageId':'m2'");

        Assert.Equal($"+s@0/m1 +t@{Hour}/m2", ChangesOf(person));
    }

    [Fact]
    public void What_falls_on_the_events_instant_and_is_no_renewal_ends_by_the_event()
    {
        OracleWorld world = World(Model().With("s", Happened("A", Hour)));
        OraclePerson person = world.Track(0, "u:1", "'messageId':'m1'").Person!;
        world.Send(Hour, "{'type':'page','userId':'1','messageId':'m2'}");

        Assert.Equal($"+s@0/m1 -s@{Hour}/m2", ChangesOf(person));
    }

    [Fact]
    public void Time_can_begin_a_membership_of_people_who_never_act_again()
    {
        OracleWorld world = World(Model().With("s", Is(Count("A", 10 * Second), CompareOperator.Less, 2.0)));
        OraclePerson person = world.Track(1_500, "u:1", "'messageId':'m1'").Person!;
        world.Track(2_500, "u:1", "'messageId':'m2'");
        world.Tick(T0 + Minute);

        Assert.Equal("+s@1500/m1 -s@2500/m2 +s@11000/time", ChangesOf(person));
    }

    [Fact]
    public void A_late_event_is_evaluated_now_and_counts_only_where_it_still_is_in_the_window()
    {
        OracleWorld world = World(Model().With("hour", Happened("A", Hour)).With("ever", Happened("A")));
        OraclePerson person = world.Send(0, "{'type':'page','userId':'1','messageId':'m1'}").Person!;
        world.Tick(T0 + (2 * Hour));
        world.Track((2 * Hour) + 5, "u:1", $"'messageId':'m2','timestamp':{T0 + Hour}");
        world.Track((2 * Hour) + 6, "u:1", $"'messageId':'m3','timestamp':{T0 + Hour + 1}");
        world.Tick(T0 + (3 * Hour));

        // m2 is an hour old to the millisecond; now is the tick, not the time it was received.
        Assert.Equal($"+ever@{2 * Hour}/m2 +hour@{2 * Hour}/m3 -hour@{(2 * Hour) + 1}/time", ChangesOf(person));
    }

    [Fact]
    public void The_event_clock_is_the_latest_event_time_and_others_follow_it_lazily_and_in_order()
    {
        OracleWorld world = World(Model().With("s", Happened("A", Minute)).With("not", new NotExpression(new InSegmentExpression("s"))), OracleClock.Event);
        OraclePerson person = world.Track(0, "u:1", "'messageId':'m1'").Person!;
        world.Track(Minute, "u:2");
        Assert.Equal("+s@0/m1", ChangesOf(person));

        world.Settle();
        Assert.Equal($"+s@0/m1 -s@{Minute}/time +not@{Minute}/time", ChangesOf(person));
    }

    [Theory]
    [InlineData(true, "+s@-3599999/time -s@1/time")]
    [InlineData(false, "+s@0/time -s@3600000/time")]
    public void Dates_within(bool isNext, string expected)
    {
        OracleWorld world = World(Model().With("s", new DateWithinExpression(Trait("d"), isNext, Hour)));
        OraclePerson person = world.Send(-Day, "{'type':'identify','userId':'1','traits':{'d':'2026-01-01'}}").Person!;
        world.Tick(T0 + Day);

        Assert.Equal(expected, ChangesOf(person));
    }

    [Fact]
    public void A_date_passes_now()
    {
        OracleWorld world = World(Model().With("s", new CompareExpression(CompareOperator.Less, Trait("d"), new NowExpression())));
        OraclePerson person = world.Send(-Day, "{'type':'identify','userId':'1','traits':{'d':'2026-01-01T01:00:00+01:00'}}").Person!;
        world.Tick(T0 + Day);

        Assert.Equal("+s@1/time", ChangesOf(person));
    }

    [Fact]
    public void A_sequence_is_strict_in_order_and_all_in_the_window()
    {
        OracleWorld world = World(Model().With("s", new FunctionExpression(EventFunction.Sequence, ["A", "A"], null, Hour, null)));
        OraclePerson person = world.Track(0, "u:1", "'messageId':'m1'").Person!;
        world.Track(0, "u:1", "'messageId':'m2'"); // The same time: the log orders them.
        world.Tick(T0 + Day);

        Assert.Equal($"+s@0/m2 -s@{Hour}/time", ChangesOf(person));
    }

    [Fact]
    public void A_losers_time_passes_before_it_merges()
    {
        OracleWorld world = World(Model().With("s", Happened("A", Minute)));
        OraclePerson device = world.Track(0, "d:x", "'messageId':'m1'").Person!;
        OraclePerson user = world.Send(2 * Minute, "{'type':'identify','userId':'1','anonymousId':'x'}").Person!;

        Assert.Equal($"+s@0/m1 -s@{Minute}/time", ChangesOf(device));
        Assert.Empty(user.Changes);
    }
}
