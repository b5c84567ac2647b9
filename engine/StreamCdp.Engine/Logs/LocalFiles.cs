using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace StreamCdp.Engine.Logs;

/// <summary>What .NET does not offer: a directory made durable.</summary>
internal static partial class LocalFiles
{
    private const int DontNeed = 4; // POSIX_FADV_DONTNEED on Linux.
    private const FileShare Shared = FileShare.ReadWrite | FileShare.Delete;

    public static SafeFileHandle OpenForRead(string path) => File.OpenHandle(path, FileMode.Open, FileAccess.Read, Shared);

    public static SafeFileHandle OpenForWrite(string path, FileMode mode) => File.OpenHandle(path, mode, FileAccess.ReadWrite, Shared);

    /// <summary>Makes creations, renames and deletions in a directory durable (fsync of the directory; Windows does it by itself).</summary>
    public static void SyncDirectory(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        int directory = Open(path, flags: 0);
        if (directory < 0)
        {
            throw new IOException($"Opening directory {path} failed with errno {Marshal.GetLastPInvokeError()}.");
        }

        int result = Fsync(directory);
        int error = Marshal.GetLastPInvokeError();
        _ = Close(directory);
        if (result != 0)
        {
            throw new IOException($"fsync of directory {path} failed with errno {error}.");
        }
    }

    /// <summary>Lets the system take a file's pages out of its cache (Linux; elsewhere nothing happens). Pages that are not on the disk yet stay.</summary>
    public static void DropFromCache(SafeFileHandle file)
    {
        if (OperatingSystem.IsLinux())
        {
            _ = Advise(file, 0, 0, DontNeed); // Advice: where it is not taken, nothing is lost.
        }
    }

    /// <summary>Writes a small file so that a crash leaves the old or the new one, never a half.</summary>
    public static void WriteWhole(string path, ReadOnlySpan<byte> bytes)
    {
        string temporary = path + ".tmp";
        using (SafeFileHandle file = OpenForWrite(temporary, FileMode.Create))
        {
            RandomAccess.Write(file, bytes, 0);
            RandomAccess.FlushToDisk(file);
        }

        File.Move(temporary, path, overwrite: true);
        SyncDirectory(Path.GetDirectoryName(path)!);
    }

    /// <summary>For the message of an exception: what to do about a failed file operation.</summary>
    public static string Advice(Exception error) => error is IOException && (error.HResult & 0xFFFF) is 28 or 122 or 112 // ENOSPC, EDQUOT, ERROR_DISK_FULL
        ? "The disk is full: free space, then open the log again (a restart does)."
        : "Check the disk and the directory's permissions, then open the log again (a restart does).";

    [LibraryImport("libc", EntryPoint = "posix_fadvise")]
    private static partial int Advise(SafeFileHandle file, long offset, long length, int advice);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Fsync(int file);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int file);
}
