namespace StreamCdp.Connectors;

/// <summary>The newest version that was seen of each of the latest profiles: what is not newer is a repeat.</summary>
/// <remarks>
/// Memory: at most twice the capacity, about 48 bytes each. When one generation is full the one before it is forgotten, so a profile is remembered for at
/// least as many others as the capacity; a repeat beyond that is sent, with its version, for the receiver to drop.
/// </remarks>
/// <param name="capacity">Profiles of a generation, 1 or more.</param>
internal sealed class RecentVersions(int capacity)
{
    private Dictionary<UInt128, long> _new = [];
    private Dictionary<UInt128, long> _old = [];

    /// <summary>True, and remembered, where the version is newer than all seen before.</summary>
    public bool IsNews(UInt128 profile, long version)
    {
        if ((_new.TryGetValue(profile, out long last) || _old.TryGetValue(profile, out last)) && version <= last)
        {
            return false;
        }

        if (_new.Count >= capacity && !_new.ContainsKey(profile))
        {
            (_old, _new) = (_new, _old);
            _new.Clear();
        }

        _new[profile] = version;
        return true;
    }
}
