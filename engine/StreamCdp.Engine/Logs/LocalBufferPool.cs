using System.Numerics;

namespace StreamCdp.Engine.Logs;

/// <summary>Append buffers that wait to be used again, at most a given number of bytes in all. Not safe for concurrent use: the log's lock guards it.</summary>
internal sealed class LocalBufferPool(long boundBytes)
{
    private const int SmallestBits = 14;

    private readonly Stack<byte[]>[] _bySize = [.. Enumerable.Range(0, 31 - SmallestBits).Select(_ => new Stack<byte[]>())];
    private long _bytes;

    public byte[] Rent(int bytes)
    {
        int size = Class(bytes);
        if (_bySize[size].TryPop(out byte[]? buffer))
        {
            _bytes -= buffer.Length;
            return buffer;
        }

        return GC.AllocateUninitializedArray<byte>(1 << (size + SmallestBits));
    }

    public void Return(byte[] buffer)
    {
        if (_bytes + buffer.Length <= boundBytes)
        {
            _bytes += buffer.Length;
            _bySize[Class(buffer.Length)].Push(buffer);
        }
    }

    private static int Class(int bytes) => Math.Max(0, BitOperations.Log2((uint)(bytes - 1)) + 1 - SmallestBits);
}
