using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Profiles;

namespace StreamCdp.Engine.Tests.Profiles;

public sealed class TraitLimitTests
{
    private readonly TraitsSkipped _skipped = new();
    private readonly TraitRules _rules;
    private readonly ProfileState _profile = new();
    private long _order;

    public TraitLimitTests()
    {
        var model = new CdpModel { Text = "", Version = 0, Traits = [new TraitDefinition("declared", TraitMerge.Latest, [], null), new TraitDefinition("tags", TraitMerge.Union, [], null)] };
        _rules = new TraitRules(model, 0, new TraitLimits(MaxTraits: 3, MaxBytes: 1_000, MaxListItems: 4), _skipped);
        _profile.Reset(1);
    }

    [Fact]
    public void Beyond_so_many_only_declared_traits_have_a_place()
    {
        Identify("""{"declared":6,"a":1,"b":2,"c":3,"d":4,"e":5}""");
        Identify("""{"a":7}""");

        Assert.Equal(["a=7", "b=2", "c=3", "declared=6"], Traits(_profile));
        Assert.Equal((2, 0, 0), (_skipped.TooMany, _skipped.TooLarge, _skipped.TooManyItems));
        Assert.True(_profile.IsTraitsLimited);
    }

    [Fact]
    public void Beyond_so_many_bytes_the_former_value_stays_and_a_shorter_one_replaces_it()
    {
        Identify($$"""{"a":"{{new string('x', 600)}}","b":"{{new string('y', 300)}}"}""");
        Assert.False(_profile.IsTraitsLimited);
        Identify($$"""{"b":"{{new string('z', 500)}}","declared":"{{new string('z', 500)}}"}"""); // Others do not take the declared ones' room.
        Identify($$"""{"declared":"{{new string('d', 1000)}}"}""");
        Identify("""{"a":"short"}""");

        Assert.Equal(["a=\"short\"", $"b=\"{new string('y', 300)}\"", $"declared=\"{new string('z', 500)}\""], Traits(_profile));
        Assert.Equal((0, 2, 0), (_skipped.TooMany, _skipped.TooLarge, _skipped.TooManyItems));
    }

    [Fact]
    public void What_left_its_place_in_the_record_is_not_counted()
    {
        for (int i = 0; i < 100; i++)
        {
            Identify($$"""{"a":"{{new string((char)('a' + (i % 26)), 500 + i)}}","tags":["{{i % 3}}"]}""");
        }

        Assert.Equal((0, 0, 0), (_skipped.TooMany, _skipped.TooLarge, _skipped.TooManyItems));
        Assert.False(_profile.IsTraitsLimited);
    }

    [Fact]
    public void A_union_has_so_many_elements_also_when_two_become_one()
    {
        Identify("""{"tags":["a","b","c"]}""");
        var other = new ProfileState();
        other.Reset(2);
        Identify("""{"tags":["c","d","e"]}""", other);

        _rules.Merge(_profile, other);

        Assert.Equal(["tags=[\"a\",\"b\",\"c\",\"d\"]"], Traits(_profile));
        Assert.Equal(1, _skipped.TooManyItems);
    }

    [Fact]
    public void A_record_remembers_it_and_a_merge_passes_it_on()
    {
        Identify("""{"a":1,"b":2,"c":3,"d":4}""");
        byte[] buffer = [];
        int length = _profile.Write(ref buffer);
        var read = new ProfileState();
        read.Read(1, buffer.AsSpan(0, length));
        var survivor = new ProfileState();
        survivor.Reset(2);
        _rules.Merge(survivor, read);

        Assert.True(read.IsTraitsLimited);
        Assert.False(read.IsCrmLimited);
        Assert.True(survivor.IsTraitsLimited);
    }

    private static IEnumerable<string> Traits(ProfileState profile)
    {
        var traits = new List<string>();
        foreach (ref TraitEntry entry in profile.Traits)
        {
            traits.Add($"{Encoding.UTF8.GetString(profile.Bytes(entry.Name))}={Encoding.UTF8.GetString(profile.Bytes(entry.Value))}");
        }

        return traits.Order(StringComparer.Ordinal);
    }

    private void Identify(string traits, ProfileState? profile = null)
    {
        JsonDocument.Parse(traits).Dispose();
        _rules.Apply(profile ?? _profile, new EventView { Type = EventType.Identify, Order = new EventOrder(++_order, _order, 0) }, Encoding.UTF8.GetBytes(traits), default, "web"u8);
    }
}
