namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>State of <c>most_frequent</c>: the different values with a count each, exact up to <see cref="MaxValues"/>, then the rarest are forgotten first (RULES.md §6.1).</summary>
/// <remarks>
/// Values are sorted by their text in code point order, a text before another value of the same text. The count of a value is a state of <c>count</c> with the same window.
/// <para>Layout: newest bucket (0 without a window), flags, then for each value whether it is text, its bytes (unescaped; of other values their JSON) and its count.</para>
/// </remarks>
internal sealed class FrequentValues(CompiledFunction counter)
{
    /// <summary>Values that are counted.</summary>
    public const int MaxValues = 64;

    /// <summary>Longest value, bytes. 64 of them, each with a window's buckets, must fit a page of the store.</summary>
    public const int MaxValueBytes = 512;

    /// <summary>Values were forgotten.</summary>
    private const ulong Approximate = 1;

    private readonly Part[] _parts = new Part[2 * MaxValues];
    private byte[] _scratch = [];

    /// <summary>The state of one event.</summary>
    /// <param name="bucket">0 without a window.</param>
    /// <param name="isText">A text, else JSON.</param>
    /// <param name="value">Its bytes.</param>
    /// <param name="count">The state of the counter for one event.</param>
    /// <param name="writer">Where it goes.</param>
    public static void Write(long bucket, bool isText, scoped ReadOnlySpan<byte> value, scoped ReadOnlySpan<byte> count, ref StateWriter writer)
    {
        writer.Signed(bucket);
        writer.Unsigned(0);
        writer.Unsigned(isText ? 1UL : 0);
        writer.Bytes(value);
        writer.Bytes(count);
    }

    /// <summary>The state of the events of both.</summary>
    public void Combine(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right, ref StateWriter writer)
    {
        int most = left.Length + right.Length + CompiledFunction.MaxCombineBytes;
        if (_scratch.Length < most)
        {
            _scratch = new byte[most * 2];
        }

        var leftReader = new StateReader(left);
        var rightReader = new StateReader(right);
        long newest = Math.Max(leftReader.Signed(), rightReader.Signed());
        ulong flags = leftReader.Unsigned() | rightReader.Unsigned();
        var merged = new StateWriter(_scratch);
        int parts = 0;
        bool hasLeft = TryRead(ref leftReader, out Entry one);
        bool hasRight = TryRead(ref rightReader, out Entry other);
        while (hasLeft || hasRight)
        {
            int order = !hasRight ? -1 : !hasLeft ? 1 : Compare(one, other);
            ref readonly Entry entry = ref order <= 0 ? ref one : ref other;
            int start = merged.Position;
            merged.Unsigned(entry.IsText ? 1UL : 0);
            merged.Bytes(entry.Value);
            int countStart = merged.Position;
            counter.Combine(order <= 0 ? one.Count : default, order >= 0 ? other.Count : default, ref merged);
            ReadOnlySpan<byte> count = _scratch.AsSpan(countStart, merged.Position - countStart);
            if (counter.IsInWindowAt(count, newest, out long total))
            {
                _parts[parts++] = new Part(start, countStart, merged.Position, total);
            }

            if (order <= 0)
            {
                hasLeft = TryRead(ref leftReader, out one);
            }

            if (order >= 0)
            {
                hasRight = TryRead(ref rightReader, out other);
            }
        }

        for (; parts > MaxValues; parts--)
        {
            flags |= Approximate;
            int rarest = 0;
            for (int i = 1; i < parts; i++)
            {
                rarest = _parts[i].Total <= _parts[rarest].Total ? i : rarest; // Of equal ones the last by text.
            }

            _parts.AsSpan(rarest + 1, parts - rarest - 1).CopyTo(_parts.AsSpan(rarest));
        }

        writer.Signed(newest);
        writer.Unsigned(flags);
        foreach (Part part in _parts.AsSpan(0, parts))
        {
            writer.Raw(_scratch.AsSpan(part.Start, part.CountStart - part.Start));
            writer.Bytes(_scratch.AsSpan(part.CountStart, part.End - part.CountStart));
        }
    }

    /// <summary>The value that came most at an instant; of equal ones the smallest. Its offset and length lie in the state.</summary>
    /// <param name="state">Not empty.</param>
    /// <param name="nowMs">The instant.</param>
    /// <param name="window">Of the function that asks.</param>
    /// <param name="value">What is found.</param>
    /// <param name="isApproximate">Values were forgotten.</param>
    public void Find(ReadOnlySpan<byte> state, long nowMs, FunctionWindow window, ref FunctionValue value, out bool isApproximate)
    {
        var reader = new StateReader(state);
        reader.Signed();
        isApproximate = reader.Unsigned() != 0;
        double best = 0;
        while (TryRead(ref reader, out Entry entry))
        {
            counter.Evaluate(entry.Count, nowMs, window, out FunctionValue count);
            value.Deadline = Math.Min(value.Deadline, count.Deadline);
            if (count.Number > best)
            {
                best = count.Number;
                (value.Kind, value.Offset, value.Length) = (entry.IsText ? FunctionValueKind.Text : FunctionValueKind.Json, entry.Offset, entry.Value.Length);
            }
        }
    }

    private static int Compare(in Entry one, in Entry other)
    {
        int order = one.Value.SequenceCompareTo(other.Value);
        return order != 0 ? order : other.IsText.CompareTo(one.IsText);
    }

    private static bool TryRead(scoped ref StateReader reader, out Entry entry)
    {
        if (reader.IsAtEnd)
        {
            entry = default;
            return false;
        }

        bool isText = reader.Unsigned() != 0;
        ReadOnlySpan<byte> value = reader.Bytes();
        entry = new Entry { IsText = isText, Value = value, Offset = reader.Position - value.Length, Count = reader.Bytes() };
        return true;
    }

    private readonly record struct Part(int Start, int CountStart, int End, long Total);

    private ref struct Entry
    {
        public bool IsText;
        public ReadOnlySpan<byte> Value;
        public int Offset;
        public ReadOnlySpan<byte> Count;
    }
}
