using System.Buffers.Binary;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>State of <c>unique_count</c>: the different values, exact up to <see cref="MaxValues"/>, then those seen last (RULES.md §6.1).</summary>
/// <remarks>
/// Of a value only its 128-bit hash is kept (<see cref="Hash128"/>, which nobody can make collide on purpose by the algorithm alone), sorted by it; with a window also the newest bucket that has
/// it: it counts as long as that does. Which values stay when there are too many is decided by (bucket, hash), a property of the set of events: so the state does not depend on the order in which
/// they come or profiles merge. Without a window nothing can leave, so of too many only that is kept.
/// <para>Layout: newest bucket (0 without a window), flags, then for each value 16 bytes and with a window its bucket. At most 5.4 KB.</para>
/// </remarks>
internal static class UniqueValues
{
    /// <summary>Values that are told apart.</summary>
    public const int MaxValues = 256;

    private const int HashBytes = 16;

    /// <summary>There were more values than are kept.</summary>
    private const ulong Saturated = 1;

    /// <summary>The state of one event.</summary>
    public static void Write(long bucket, bool hasWindow, UInt128 value, ref StateWriter writer)
    {
        writer.Signed(bucket);
        writer.Unsigned(0);
        WriteEntry(new Entry(value, bucket), hasWindow, ref writer);
    }

    /// <summary>The state of the events of both.</summary>
    public static void Combine(scoped ReadOnlySpan<byte> left, scoped ReadOnlySpan<byte> right, bool hasWindow, long bucketsInWindow, ref StateWriter writer)
    {
        if (!TryAddOne(left, right, hasWindow, bucketsInWindow, ref writer))
        {
            CombineAll(left, right, hasWindow, bucketsInWindow, ref writer);
        }
    }

    /// <summary>One value more, as of an event, while none leaves the window: what is there is copied around it.</summary>
    private static bool TryAddOne(scoped ReadOnlySpan<byte> left, scoped ReadOnlySpan<byte> right, bool hasWindow, long bucketsInWindow, ref StateWriter writer)
    {
        var reader = new StateReader(left);
        var rightReader = new StateReader(right);
        long newest = Math.Max(reader.Signed(), rightReader.Signed());
        ulong flags = reader.Unsigned();
        if ((flags != 0 && !hasWindow) || rightReader.Unsigned() != 0 || !TryRead(ref rightReader, hasWindow, out Entry added) || !rightReader.IsAtEnd || (hasWindow && newest - added.Bucket >= bucketsInWindow))
        {
            return false;
        }

        ReadOnlySpan<byte> entries = reader.Rest;
        int before = -1; // What is there, up to here, comes before it; from after on behind it.
        int after = -1;
        (int Start, int End) oldest = (0, 0);
        long oldestBucket = long.MaxValue;
        int count = 0;
        for (int at = 0; at < entries.Length; count++)
        {
            UInt128 value = before < 0 ? BinaryPrimitives.ReadUInt128BigEndian(reader.Rest) : default;
            reader.Skip(HashBytes);
            long bucket = hasWindow ? reader.Signed() : 0;
            if (hasWindow && newest - bucket >= bucketsInWindow)
            {
                return false;
            }

            int end = entries.Length - reader.Rest.Length;
            if (before < 0 && value >= added.Value)
            {
                before = at;
                after = value == added.Value ? end : at;
                added = value == added.Value ? added with { Bucket = Math.Max(added.Bucket, bucket) } : added;
            }

            if (bucket <= oldestBucket)
            {
                (oldest, oldestBucket) = ((at, end), bucket); // Of the same bucket the one with the highest hash.
            }

            at = end;
        }

        (before, after) = before < 0 ? (entries.Length, entries.Length) : (before, after);
        bool isFull = count == MaxValues && before == after;
        if (isFull && !hasWindow)
        {
            return false;
        }

        writer.Signed(newest);
        writer.Unsigned(isFull ? Saturated : flags);
        if (isFull && (added.Bucket < oldestBucket || (added.Bucket == oldestBucket && before >= oldest.End)))
        {
            writer.Raw(entries); // It is the one for which there is no room.
            return true;
        }

        (int start, int stop) = isFull ? oldest : (0, 0);
        writer.Raw(entries[..Math.Min(start, before)]);
        writer.Raw(entries[Math.Min(stop, before)..before]);
        WriteEntry(added, hasWindow, ref writer);
        writer.Raw(entries[after..Math.Max(start, after)]);
        writer.Raw(entries[Math.Max(stop, after)..]);
        return true;
    }

    private static void CombineAll(scoped ReadOnlySpan<byte> left, scoped ReadOnlySpan<byte> right, bool hasWindow, long bucketsInWindow, ref StateWriter writer)
    {
        var leftReader = new StateReader(left);
        var rightReader = new StateReader(right);
        long newest = Math.Max(leftReader.Signed(), rightReader.Signed());
        bool isSaturated = (leftReader.Unsigned() | rightReader.Unsigned()) != 0;
        Span<Entry> entries = stackalloc Entry[2 * MaxValues];
        int count = 0;
        bool hasLeft = TryRead(ref leftReader, hasWindow, out Entry one);
        bool hasRight = TryRead(ref rightReader, hasWindow, out Entry other);
        while (hasLeft || hasRight)
        {
            bool takeLeft = hasLeft && (!hasRight || one.Value <= other.Value);
            bool takeRight = hasRight && (!hasLeft || other.Value <= one.Value);
            Entry entry = takeLeft && takeRight ? one with { Bucket = Math.Max(one.Bucket, other.Bucket) } : takeLeft ? one : other;
            if (!hasWindow || newest - entry.Bucket < bucketsInWindow)
            {
                entries[count++] = entry;
            }

            hasLeft = takeLeft ? TryRead(ref leftReader, hasWindow, out one) : hasLeft;
            hasRight = takeRight ? TryRead(ref rightReader, hasWindow, out other) : hasRight;
        }

        if (count > MaxValues)
        {
            isSaturated = true;
            count = KeepLatest(entries, count);
        }

        writer.Signed(newest);
        writer.Unsigned(isSaturated ? Saturated : 0);
        if (isSaturated && !hasWindow)
        {
            return;
        }

        foreach (Entry entry in entries[..count])
        {
            WriteEntry(entry, hasWindow, ref writer);
        }
    }

    /// <summary>How many values count at an instant.</summary>
    /// <param name="state">Not empty.</param>
    /// <param name="hasWindow">Buckets leave.</param>
    /// <param name="nowBucket">The bucket of now.</param>
    /// <param name="bucketsInWindow">A value counts while its bucket is nearer than that.</param>
    /// <param name="oldest">The oldest bucket that counts; <see cref="long.MaxValue"/>: none.</param>
    /// <param name="isSaturated">There may have been more.</param>
    public static int Count(ReadOnlySpan<byte> state, bool hasWindow, long nowBucket, long bucketsInWindow, out long oldest, out bool isSaturated)
    {
        var reader = new StateReader(state);
        reader.Signed();
        isSaturated = reader.Unsigned() != 0;
        oldest = long.MaxValue;
        if (!hasWindow)
        {
            return isSaturated ? MaxValues : reader.Rest.Length / HashBytes;
        }

        int count = 0;
        while (!reader.IsAtEnd)
        {
            reader.Skip(HashBytes);
            long bucket = reader.Signed();
            if (nowBucket - bucket < bucketsInWindow)
            {
                count++;
                oldest = Math.Min(oldest, bucket);
            }
        }

        return count;
    }

    private static int KeepLatest(Span<Entry> entries, int count)
    {
        Span<Entry> byAge = stackalloc Entry[count];
        entries[..count].CopyTo(byAge);
        byAge.Sort(static (one, other) => one.Bucket != other.Bucket ? other.Bucket.CompareTo(one.Bucket) : one.Value.CompareTo(other.Value));
        Entry last = byAge[MaxValues - 1];
        int kept = 0;
        for (int i = 0; i < count; i++)
        {
            if (entries[i].Bucket > last.Bucket || (entries[i].Bucket == last.Bucket && entries[i].Value <= last.Value))
            {
                entries[kept++] = entries[i];
            }
        }

        return kept;
    }

    private static bool TryRead(ref StateReader reader, bool hasWindow, out Entry entry)
    {
        if (reader.IsAtEnd)
        {
            entry = default;
            return false;
        }

        UInt128 value = BinaryPrimitives.ReadUInt128BigEndian(reader.Rest);
        reader.Skip(HashBytes);
        entry = new Entry(value, hasWindow ? reader.Signed() : 0);
        return true;
    }

    private static void WriteEntry(Entry entry, bool hasWindow, ref StateWriter writer)
    {
        Span<byte> hash = stackalloc byte[HashBytes];
        BinaryPrimitives.WriteUInt128BigEndian(hash, entry.Value);
        writer.Raw(hash);
        if (hasWindow)
        {
            writer.Signed(entry.Bucket);
        }
    }

    private readonly record struct Entry(UInt128 Value, long Bucket);
}
