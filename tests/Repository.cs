namespace StreamCdp.Tests;

/// <summary>Files of the repository that tests read or run: samples, docs, schemas, SDKs.</summary>
internal static class Repository
{
    /// <summary>Where something is.</summary>
    /// <param name="relative">From the root of the repository.</param>
    public static string Path(params ReadOnlySpan<string> relative)
    {
        DirectoryInfo? directory = new(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(System.IO.Path.Combine(directory.FullName, "StreamCdp.sln")))
        {
            directory = directory.Parent;
        }

        return System.IO.Path.GetFullPath(System.IO.Path.Combine([directory?.FullName ?? throw new DirectoryNotFoundException("No StreamCdp.sln above the tests."), .. relative]));
    }
}
