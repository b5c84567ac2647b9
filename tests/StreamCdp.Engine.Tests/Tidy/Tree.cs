namespace StreamCdp.Engine.Tests.Tidy;

/// <summary>The repository's own files, without what builds and runs leave behind.</summary>
internal static class Tree
{
    private static readonly HashSet<string> NotOurs = [".git", ".vs", ".idea", "artifacts", "bin", "obj", "node_modules", "streamcdp-data", "TestResults", "BenchmarkDotNet.Artifacts"];

    public static string Root { get; } = Repository.Path("");

    /// <summary>Paths with <c>/</c>, from the root.</summary>
    public static IEnumerable<string> Files(string folder, string pattern = "*") =>
        Folders(folder).SelectMany(found => Directory.EnumerateFiles(Path.Combine(Root, found), pattern)).Select(Relative).Where(file => file != ".git"); // A file in a worktree.

    /// <summary>A folder and all below it; paths with <c>/</c>, from the root.</summary>
    public static IEnumerable<string> Folders(string folder)
    {
        yield return folder;
        foreach (string below in Directory.EnumerateDirectories(Path.Combine(Root, folder)).Where(path => !NotOurs.Contains(Path.GetFileName(path))))
        {
            foreach (string found in Folders(Relative(below)))
            {
                yield return found;
            }
        }
    }

    public static string Read(string file) => File.ReadAllText(Path.Combine(Root, file));

    private static string Relative(string path) => Path.GetRelativePath(Root, path).Replace('\\', '/');
}
