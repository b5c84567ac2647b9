namespace StreamCdp.Engine.Tests.Model;

/// <summary>Files of the repository that tests read: samples, docs, schemas.</summary>
internal static class Repository
{
    public static string Path(string relative)
    {
        DirectoryInfo? directory = new(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(System.IO.Path.Combine(directory.FullName, "StreamCdp.sln")))
        {
            directory = directory.Parent;
        }

        return System.IO.Path.Combine(directory?.FullName ?? throw new DirectoryNotFoundException("No StreamCdp.sln above the tests."), relative);
    }
}
