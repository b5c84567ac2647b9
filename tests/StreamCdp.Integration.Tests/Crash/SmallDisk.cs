using System.Diagnostics;

namespace StreamCdp.Integration.Tests.Crash;

/// <summary>A small file system in memory, to be full at will; only root of Linux may mount one.</summary>
internal sealed class SmallDisk : IDisposable
{
    private readonly string _ballast;

    private SmallDisk(string directory)
    {
        Directory = directory;
        _ballast = Path.Combine(directory, "ballast");
    }

    public string Directory { get; }

    /// <summary>Mounts one; the test is skipped where that is not allowed.</summary>
    public static SmallDisk Mount(int megabytes)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess, "Only root of Linux may mount a small disk.");
        string directory = System.IO.Directory.CreateTempSubdirectory("streamcdp-disk-").FullName;
        bool mounted = Run("mount", "-t", "tmpfs", "-o", $"size={megabytes}m", "streamcdp-test", directory) == 0;
        if (!mounted)
        {
            System.IO.Directory.Delete(directory);
        }

        Assert.SkipUnless(mounted, "This container may not mount a small disk.");
        return new SmallDisk(directory);
    }

    /// <summary>Takes all free space but so much.</summary>
    public void Fill(long leaveBytes)
    {
        using var file = new FileStream(_ballast, FileMode.Create, FileAccess.Write);
        byte[] block = new byte[64 << 10];
        try
        {
            while (new DriveInfo(Directory).AvailableFreeSpace > leaveBytes)
            {
                file.Write(block);
                file.Flush();
            }
        }
        catch (IOException)
        {
            // The server wrote at the same time: it is full.
        }
    }

    /// <summary>Gives it back.</summary>
    public void Free() => File.Delete(_ballast);

    public void Dispose()
    {
        _ = Run("umount", "--lazy", Directory);
        System.IO.Directory.Delete(Directory);
    }

    private static int Run(string command, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(command, arguments) { RedirectStandardError = true })!;
        process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode;
    }
}
