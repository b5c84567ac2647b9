using System.Text;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>32-bit keys of texts: the same in every process and for every order of the texts.</summary>
/// <remarks>
/// Of two texts with the same hash, the one later in ordinal order is hashed again with the next salt. That may give a text another key when a colliding one is added to
/// the model; with 1,000 texts the chance that there is any collision is 1 in 8,600.
/// </remarks>
internal static class StableKeys
{
    /// <summary>A key for each of the texts.</summary>
    public static Dictionary<string, uint> For(IEnumerable<string> texts)
    {
        var keys = new Dictionary<string, uint>(StringComparer.Ordinal);
        var taken = new HashSet<uint>();
        foreach (string text in texts.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            uint salt = 0;
            uint key;
            do
            {
                key = Hash(text, salt++);
            }
            while (!taken.Add(key));

            keys.Add(text, key);
        }

        return keys;
    }

    /// <summary>FNV-1a of salt and UTF-8 text, with the final mix of MurmurHash3.</summary>
    private static uint Hash(string text, uint salt)
    {
        uint hash = 2166136261 ^ salt;
        foreach (byte next in Encoding.UTF8.GetBytes(text))
        {
            hash = (hash ^ next) * 16777619;
        }

        hash = (hash ^ (hash >> 16)) * 0x85EBCA6B;
        hash = (hash ^ (hash >> 13)) * 0xC2B2AE35;
        return hash ^ (hash >> 16);
    }
}
