using CsCheck;

namespace StreamCdp.Connectors.Tests.Kit;

public sealed class RecentVersionsTests
{
    [Fact]
    public void With_room_for_all_it_says_news_exactly_for_a_higher_version() =>
        Gen.Select(Gen.Int[0, 9], Gen.Long[0, 20]).Array[0, 200].Sample(seen =>
        {
            var versions = new RecentVersions(10);
            var simple = new Dictionary<int, long>();
            foreach ((int profile, long version) in seen)
            {
                bool isNews = !simple.TryGetValue(profile, out long last) || version > last;
                Assert.Equal(isNews, versions.IsNews((UInt128)profile, version));
                simple[profile] = Math.Max(version, simple.GetValueOrDefault(profile, long.MinValue));
            }
        });

    [Fact]
    public void A_profile_is_remembered_for_as_many_others_as_the_capacity_and_may_be_forgotten_after_twice_as_many()
    {
        var versions = new RecentVersions(100);
        versions.IsNews(0, 5);
        Others(1, 100);
        Assert.False(versions.IsNews(0, 5));

        Others(1000, 300);
        Assert.True(versions.IsNews(0, 5));

        void Others(int from, int count)
        {
            for (int i = 0; i < count; i++)
            {
                versions.IsNews((UInt128)(from + i), 1);
            }
        }
    }
}
