namespace StreamCdp.Engine.Pipeline.Identity;

/// <summary>Which identifiers of an event the resolver kept, as an outcome says it: 63 of them in a number, as nearly all events have fewer, the others in bytes behind it.</summary>
internal static class KeptMask
{
    /// <summary>Identifiers that the number holds.</summary>
    public const int LowBits = 63;

    /// <summary>Whether an identifier was kept.</summary>
    /// <param name="low">Of the outcome.</param>
    /// <param name="more">Of the outcome.</param>
    /// <param name="place">Of the identifier in the event, from 0.</param>
    public static bool Has(long low, ReadOnlySpan<byte> more, int place)
    {
        if (place < LowBits)
        {
            return ((low >> place) & 1) != 0;
        }

        place -= LowBits;
        return place / 8 < more.Length && ((more[place / 8] >> (place % 8)) & 1) != 0;
    }

    /// <summary>Notes that an identifier was kept.</summary>
    public static void Add(ref long low, ref byte[]? more, int place)
    {
        if (place < LowBits)
        {
            low |= 1L << place;
            return;
        }

        place -= LowBits;
        int length = (place / 8) + 1;
        if (more is null || more.Length < length)
        {
            Array.Resize(ref more, length);
        }

        more[place / 8] |= (byte)(1 << (place % 8));
    }
}
