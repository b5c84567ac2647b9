namespace StreamCdp.Engine.Pipeline.Profiles;

/// <summary>Who is in one segment, for counts and pages of members. Written by the shards, read by the query API.</summary>
/// <remarks>
/// The truth is in the profile records; this is an index over them, rebuilt at a start. 256 buckets by the first byte of the id keep pages in
/// the order of ids and locks short. Cost: about 50 B a member.
/// </remarks>
internal sealed class SegmentMembers
{
    private readonly Dictionary<UInt128, long>?[] _buckets = new Dictionary<UInt128, long>?[256]; // Of thousands of segments many have few members.
    private long _count;

    /// <summary>Members now.</summary>
    public long Count => Interlocked.Read(ref _count);

    /// <summary>Adds or updates a member.</summary>
    public void Set(UInt128 id, long since)
    {
        Dictionary<UInt128, long>? bucket = _buckets[Bucket(id)];
        if (bucket is null)
        {
            Volatile.Write(ref _buckets[Bucket(id)], bucket = []); // One shard alone adds.
        }

        lock (bucket)
        {
            if (bucket.TryAdd(id, since))
            {
                Interlocked.Increment(ref _count);
            }
            else
            {
                bucket[id] = since;
            }
        }
    }

    /// <summary>Removes a member.</summary>
    public void Remove(UInt128 id)
    {
        Dictionary<UInt128, long>? bucket = _buckets[Bucket(id)];
        if (bucket is null)
        {
            return;
        }

        lock (bucket)
        {
            if (bucket.Remove(id))
            {
                Interlocked.Decrement(ref _count);
            }
        }
    }

    /// <summary>The next members in order of id.</summary>
    /// <param name="after">The last id of the page before; null for the first page.</param>
    /// <param name="limit">Most members to return.</param>
    public List<(UInt128 Id, long Since)> Page(UInt128? after, int limit)
    {
        var page = new List<(UInt128 Id, long Since)>();
        for (int i = after is UInt128 last ? Bucket(last) : 0; i < _buckets.Length && page.Count < limit; i++)
        {
            int start = page.Count;
            if (Volatile.Read(ref _buckets[i]) is not { } bucket)
            {
                continue;
            }

            lock (bucket)
            {
                foreach ((UInt128 id, long since) in bucket)
                {
                    if (after is null || id > after)
                    {
                        page.Add((id, since));
                    }
                }
            }

            page.Sort(start, page.Count - start, Comparer<(UInt128 Id, long Since)>.Create((left, right) => left.Id.CompareTo(right.Id)));
        }

        if (page.Count > limit)
        {
            page.RemoveRange(limit, page.Count - limit);
        }

        return page;
    }

    private static int Bucket(UInt128 id) => (int)(id >> 120);
}
