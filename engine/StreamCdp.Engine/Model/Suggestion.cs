namespace StreamCdp.Engine.Model;

/// <summary>"did you mean": the known word nearest to a misspelt one.</summary>
internal static class Suggestion
{
    private const int LongestWord = 64;

    /// <summary>So that a file with thousands of wrong names is still answered at once.</summary>
    private const int MostCandidates = 1000;

    /// <summary><c>; did you mean "count"?</c>, or nothing where no word is near.</summary>
    public static string For(string word, IEnumerable<string> known) => Nearest(word, known) is { } near ? $"; did you mean \"{near}\"?" : "";

    /// <summary>The known word with the fewest edits (insert, delete, change, swap), at most a third of its letters; the earlier one of two alike.</summary>
    public static string? Nearest(string word, IEnumerable<string> known)
    {
        if (word.Length is 0 or > LongestWord)
        {
            return null;
        }

        string? best = null;
        int bestEdits = int.MaxValue;
        foreach (string candidate in known.Take(MostCandidates))
        {
            if (candidate.Length is 0 or > LongestWord || string.Equals(candidate, word, StringComparison.Ordinal))
            {
                continue;
            }

            int edits = string.Equals(candidate, word, StringComparison.OrdinalIgnoreCase) ? 0 : Edits(word, candidate);
            int allowed = Math.Max(1, Math.Min(word.Length, candidate.Length) / 3);
            if (edits <= allowed && edits < Math.Min(word.Length, candidate.Length) && edits < bestEdits)
            {
                (best, bestEdits) = (candidate, edits);
            }
        }

        return best;
    }

    /// <summary>Optimal string alignment distance.</summary>
    private static int Edits(string a, string b)
    {
        int[,] edits = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++)
        {
            for (int j = 0; j <= b.Length; j++)
            {
                if (i == 0 || j == 0)
                {
                    edits[i, j] = i + j;
                    continue;
                }

                int change = edits[i - 1, j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
                int fewest = Math.Min(change, Math.Min(edits[i - 1, j], edits[i, j - 1]) + 1);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                {
                    fewest = Math.Min(fewest, edits[i - 2, j - 2] + 1);
                }

                edits[i, j] = fewest;
            }
        }

        return edits[a.Length, b.Length];
    }
}
