using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using StreamCdp.Engine.State;

namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>The profiles that a shard changed last, decoded: a person's next event mostly comes soon, and then costs no decoding, encoding and store.</summary>
/// <remarks>
/// Direct-mapped by id, written back when another profile needs the place and before anything looks at the store as a whole (checkpoint, scan).
/// A crash loses what was not written back, as it loses the store's own memory: the log has it.
/// Memory: mostly 7 KiB a place, and at most <see cref="MostBytes"/> in all; a profile for which there is no room is written through and not kept.
/// </remarks>
/// <param name="store">Where profiles are without it.</param>
/// <param name="places">Profiles that it holds at most; a power of two.</param>
internal sealed class ProfileCache(IStateStore store, int places)
{
    /// <summary>Where nothing else is said: mostly 30 MB a shard, and about three quarters of the events of a site with 100,000 visitors.</summary>
    public const int DefaultPlaces = 4096;

    private const int SmallBytes = 16 << 10;
    private const int LargestBytes = 512 << 10;
    private const int MostBytes = 96 << 20;
    private const int WasteBytes = 4 << 10;

    private readonly Place[] _places = new Place[places];
    private readonly ProfileState _large = new();
    private long _heldBytes;
    private byte[] _record = new byte[4096];

    /// <summary>Finds a profile that is held.</summary>
    public bool TryGet(UInt128 id, [NotNullWhen(true)] out ProfileState? profile)
    {
        ref Place place = ref _places[Index(id)];
        profile = place.Profile;
        return place.IsLive && profile!.Id == id;
    }

    /// <summary>Makes place for a profile. It counts as held only from <see cref="Keep"/> on.</summary>
    /// <param name="id">Whose.</param>
    /// <param name="recordBytes">What is to be read into it.</param>
    /// <returns>To be filled, and good until the next call.</returns>
    public ProfileState Claim(UInt128 id, int recordBytes)
    {
        ref Place place = ref _places[Index(id)];
        WriteBack(ref place);
        place.IsLive = place.IsQueued = false;
        place.EncodedBytes = 0;
        if (!HasRoom(place, recordBytes * 3L / 2))
        {
            return _large;
        }

        if (place.HeldBytes > SmallBytes && recordBytes < SmallBytes / 4 && _heldBytes > MostBytes * 3L / 4)
        {
            place.Profile = null; // A small one does not need the arena of a large one.
        }

        return place.Profile ??= new ProfileState();
    }

    /// <summary>The claimed profile was read from the store.</summary>
    public void Keep(ProfileState profile)
    {
        ref Place place = ref Of(profile);
        if (!ReferenceEquals(place.Profile, profile))
        {
            return;
        }

        place.IsLive = HasRoom(place, profile.HeldBytes);
        place.EncodedBytes = profile.ArenaUsed;
        _heldBytes -= place.HeldBytes;
        place.HeldBytes = place.IsLive ? profile.HeldBytes : 0;
        _heldBytes += place.HeldBytes;
        if (!place.IsLive)
        {
            place.Profile = null; // The caller still has it; a large arena is not kept.
        }
    }

    /// <summary>A profile changed: it is held, or where it is large or not of the cache, written.</summary>
    /// <returns>True at the first change since <see cref="ClearQueued"/> that the cache knows of.</returns>
    public bool Changed(ProfileState profile)
    {
        ref Place place = ref Of(profile);
        if (!ReferenceEquals(place.Profile, profile))
        {
            Debug.Assert(!place.IsLive || place.Profile!.Id != profile.Id, "The cache has another state of this profile.");
            Write(profile);
            return true;
        }

        if (profile.ArenaUsed > (2 * place.EncodedBytes) + WasteBytes || profile.HeldBytes > Math.Max(place.HeldBytes, SmallBytes))
        {
            // Values that grew left their old bytes behind: encoding leaves those out.
            int length = Write(profile);
            place.IsDirty = false;
            profile.Read(profile.Id, _record.AsSpan(0, length));
            Keep(profile);
        }
        else
        {
            place.IsLive = place.IsDirty = true;
        }

        bool isFirst = !place.IsQueued;
        place.IsQueued = true;
        return isFirst;
    }

    /// <summary>The profile is no more.</summary>
    public void Forget(UInt128 id)
    {
        ref Place place = ref _places[Index(id)];
        if (place.Profile?.Id == id)
        {
            place.IsLive = place.IsDirty = place.IsQueued = false;
        }
    }

    /// <summary>Brings the store up to date.</summary>
    public void WriteBack()
    {
        foreach (ref Place place in _places.AsSpan())
        {
            WriteBack(ref place);
        }
    }

    /// <summary>From here on the next change of each profile is a first one again.</summary>
    public void ClearQueued()
    {
        foreach (ref Place place in _places.AsSpan())
        {
            place.IsQueued = false;
        }
    }

    private bool HasRoom(in Place place, long bytes) => bytes <= SmallBytes || (bytes <= LargestBytes && _heldBytes - place.HeldBytes + bytes <= MostBytes);

    private int Index(UInt128 id) => (int)((ulong)id & (ulong)(_places.Length - 1));

    private ref Place Of(ProfileState profile) => ref _places[Index(profile.Id)];

    private void WriteBack(ref Place place)
    {
        if (place.IsDirty)
        {
            Write(place.Profile!);
            place.IsDirty = false;
        }
    }

    private int Write(ProfileState profile)
    {
        int length = profile.Write(ref _record);
        store.Write(profile.Id, _record.AsSpan(0, length));
        return length;
    }

    private struct Place
    {
        public ProfileState? Profile;
        public int EncodedBytes;
        public int HeldBytes;
        public bool IsLive;
        public bool IsDirty;
        public bool IsQueued;
    }
}
