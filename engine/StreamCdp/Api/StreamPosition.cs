using System.Globalization;
using System.Text;

namespace StreamCdp.Api;

/// <summary>Where a stream is in the logs, as the id of its events: <c>m12.0-p3.4</c> is memberships 12 and 0, profiles 3 and 4, each the next offset wanted.</summary>
internal static class StreamPosition
{
    /// <summary>Writes the id; its characters need no encoding in a header or a query.</summary>
    public static void Write(StringBuilder text, ReadOnlySpan<long> memberships, ReadOnlySpan<long> profiles)
    {
        Append(text.Append('m'), memberships);
        Append(text.Append("-p"), profiles);
    }

    /// <summary>Reads an id; false where it is none of a stream over this many partitions.</summary>
    public static bool TryRead(string text, Span<long> memberships, Span<long> profiles)
    {
        int dash = text.IndexOf("-p", StringComparison.Ordinal);
        return text.StartsWith('m') && dash > 0 && TryReadList(text.AsSpan(1, dash - 1), memberships) && TryReadList(text.AsSpan(dash + 2), profiles);
    }

    private static void Append(StringBuilder text, ReadOnlySpan<long> positions)
    {
        for (int i = 0; i < positions.Length; i++)
        {
            text.Append(i == 0 ? "" : ".").Append(CultureInfo.InvariantCulture, $"{positions[i]}");
        }
    }

    private static bool TryReadList(ReadOnlySpan<char> text, Span<long> positions)
    {
        int count = 0;
        foreach (Range range in text.Split('.'))
        {
            if (count == positions.Length || !long.TryParse(text[range], NumberStyles.None, CultureInfo.InvariantCulture, out positions[count]))
            {
                return false;
            }

            count++;
        }

        return count == positions.Length;
    }
}
