namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>State of <c>sequence</c>: the events that can be a step of it, newest first, because any of them may still become one by an event that comes late or by a merge.</summary>
/// <remarks>
/// Left out is what can never decide: what is out of the window when the newest is in it; of events that can only be the last step all but the latest; without a window also of those that can only be
/// the first step all but the earliest, and everything once the sequence was seen. Of more than <see cref="MaxEvents"/> the latest half stays, with the latest chain of each beginning of the
/// sequence: that is exact as long as events come in order, and the profile's notes say approximate.
/// <para>Layout: time of the newest (0 without a window), flags, number of events, the steps that any of them can be, then for each event its order and a bit for each step that it can be.
/// An event that comes last, as most do, is put before the others, which are walked only now and then.</para>
/// </remarks>
internal sealed class SequenceEvents(int steps, long windowMs)
{
    /// <summary>Events that are kept.</summary>
    public const int MaxEvents = 256;

    /// <summary>Events were left out that may have decided.</summary>
    private const ulong Approximate = 1;

    /// <summary>It was seen; without a window that is for good.</summary>
    private const ulong Seen = 2;

    /// <summary>What left the window is looked for when the number of events is a multiple of this.</summary>
    private const int EventsBetweenCuts = 16;

    private readonly ulong _first = 1;
    private readonly ulong _last = 1UL << (steps - 1);
    private readonly Entry[] _entries = new Entry[MostEntries(steps)];
    private readonly bool[] _isKept = new bool[MostEntries(steps)];

    /// <summary>Two states together: one has the latest half and a chain of each length at most.</summary>
    private static int MostEntries(int steps) => 2 * Math.Max(MaxEvents, (MaxEvents / 2) + (steps * (steps + 1) / 2));

    /// <summary>The state of one event.</summary>
    public void Write(EventOrder order, ulong mask, ref StateWriter writer)
    {
        WriteHead(new Head(windowMs > 0 ? order.TimeMs : 0, 0, 1, mask), ref writer);
        writer.Order(order);
        writer.Unsigned(mask);
    }

    /// <summary>The state of the events of both.</summary>
    public void Combine(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right, ref StateWriter writer)
    {
        var leftReader = new StateReader(left);
        var rightReader = new StateReader(right);
        Head leftHead = ReadHead(ref leftReader);
        Head rightHead = ReadHead(ref rightReader);
        if (windowMs > 0 && rightHead is { Count: 1, Flags: 0 } && rightHead.Steps != _last && leftHead.Count < MaxEvents && leftHead.Count % EventsBetweenCuts != 0 && IsBefore(leftReader, rightReader))
        {
            WriteHead(new Head(rightHead.Newest, leftHead.Flags, leftHead.Count + 1, leftHead.Steps | rightHead.Steps), ref writer);
            writer.Raw(rightReader.Rest);
            writer.Raw(leftReader.Rest);
            return;
        }

        long newest = Math.Max(leftHead.Newest, rightHead.Newest);
        ulong flags = leftHead.Flags | rightHead.Flags;
        int count = (flags & Seen) != 0 ? 0 : Merge(ref leftReader, ref rightReader, newest);
        if (windowMs == 0 && IsChain(steps, count))
        {
            (flags, count) = (Seen, 0);
        }

        if (count > MaxEvents)
        {
            flags |= Approximate;
            count = KeepChains(count);
        }

        ulong all = 0;
        foreach (Entry entry in _entries.AsSpan(0, count))
        {
            all |= entry.Mask;
        }

        WriteHead(new Head(newest, flags, count, all), ref writer);
        foreach (Entry entry in _entries.AsSpan(0, count))
        {
            writer.Order(entry.Order);
            writer.Unsigned(entry.Mask);
        }
    }

    /// <summary>Whether there is such a sequence, and when the latest one began; without a window only whether.</summary>
    /// <param name="state">Not empty.</param>
    /// <param name="beganMs">Time of its first event.</param>
    /// <param name="isApproximate">Events were left out that may have decided.</param>
    public bool TryFind(ReadOnlySpan<byte> state, out long beganMs, out bool isApproximate)
    {
        var reader = new StateReader(state);
        Head head = ReadHead(ref reader);
        isApproximate = (head.Flags & Approximate) != 0;
        beganMs = 0;
        if ((head.Flags & Seen) != 0 || head.Steps != (_last << 1) - 1)
        {
            return (head.Flags & Seen) != 0; // Or a step is missing.
        }

        int step = steps;
        while (step > 0 && TryRead(ref reader, out Entry entry))
        {
            if ((entry.Mask >> (step - 1) & 1) != 0)
            {
                step--;
                beganMs = entry.Order.TimeMs;
            }
        }

        return step == 0;
    }

    /// <summary>Whether more events may make it true; they never make it false. One event that comes last ends a sequence only where it can be the last step.</summary>
    /// <param name="state">Not empty.</param>
    /// <param name="added">The state of other events.</param>
    public bool MayChange(ReadOnlySpan<byte> state, ReadOnlySpan<byte> added)
    {
        var reader = new StateReader(state);
        var addedReader = new StateReader(added);
        Head head = ReadHead(ref reader);
        Head addedHead = ReadHead(ref addedReader);
        return (head.Flags & Seen) == 0
            && ((addedHead.Flags & Seen) != 0 || ((head.Steps | addedHead.Steps) == (_last << 1) - 1 && !(addedHead.Count == 1 && (addedHead.Steps & _last) == 0 && IsBefore(reader, addedReader))));
    }

    private static bool IsBefore(StateReader left, StateReader right) => left.IsAtEnd || left.Order() < right.Order();

    private static Head ReadHead(scoped ref StateReader reader) => new(reader.Signed(), reader.Unsigned(), (int)reader.Unsigned(), reader.Unsigned());

    private static void WriteHead(Head head, ref StateWriter writer)
    {
        writer.Signed(head.Newest);
        writer.Unsigned(head.Flags);
        writer.Unsigned((ulong)head.Count);
        writer.Unsigned(head.Steps);
    }

    /// <summary>Both lists as one in <see cref="_entries"/>, without what can never decide.</summary>
    private int Merge(ref StateReader left, ref StateReader right, long newest)
    {
        int count = 0;
        int earliestFirst = -1;
        bool hasLast = false;
        bool hasLeft = TryRead(ref left, out Entry one);
        bool hasRight = TryRead(ref right, out Entry other);
        while (hasLeft || hasRight)
        {
            bool takeLeft = hasLeft && (!hasRight || other.Order < one.Order);
            Entry entry = takeLeft ? one : other;
            (hasLeft, hasRight) = takeLeft ? (TryRead(ref left, out one), hasRight) : (hasLeft, TryRead(ref right, out other));
            if (windowMs > 0 && entry.Order.TimeMs <= newest - windowMs)
            {
                break; // All that follows is older.
            }

            if (entry.Mask == _last)
            {
                if (hasLast)
                {
                    continue;
                }

                hasLast = true;
            }

            if (windowMs == 0 && entry.Mask == _first)
            {
                if (earliestFirst >= 0)
                {
                    count--;
                    _entries.AsSpan(earliestFirst + 1, count - earliestFirst).CopyTo(_entries.AsSpan(earliestFirst));
                }

                earliestFirst = count;
            }

            _entries[count++] = entry;
        }

        return count;
    }

    /// <summary>Whether there is a chain of the first steps; the events of the latest one are marked.</summary>
    private bool IsChain(int length, int count)
    {
        int step = length;
        for (int i = 0; i < count && step > 0; i++)
        {
            if ((_entries[i].Mask >> (step - 1) & 1) != 0)
            {
                step--;
                _isKept[i] = true;
            }
        }

        return step == 0;
    }

    private int KeepChains(int count)
    {
        Array.Clear(_isKept);
        for (int length = 1; length <= steps; length++)
        {
            IsChain(length, count);
        }

        int kept = 0;
        for (int i = 0; i < count; i++)
        {
            if (i < MaxEvents / 2 || _isKept[i])
            {
                _entries[kept++] = _entries[i];
            }
        }

        return kept;
    }

    private static bool TryRead(ref StateReader reader, out Entry entry)
    {
        if (reader.IsAtEnd)
        {
            entry = default;
            return false;
        }

        entry = new Entry(reader.Order(), reader.Unsigned());
        return true;
    }

    private readonly record struct Head(long Newest, ulong Flags, int Count, ulong Steps);

    private readonly record struct Entry(EventOrder Order, ulong Mask);
}
