namespace StreamCdp.Engine.Logs;

/// <summary>Blocks for the frames of appends: each frame has its own, so nothing is copied to grow. The log's lock guards it.</summary>
internal sealed class LocalBufferPool(int boundBlocks)
{
    /// <summary>A frame's usual bound: large enough for its header not to count, small enough for one per partition.</summary>
    public const int BlockBytes = 64 << 10;

    private readonly Stack<byte[]> _blocks = [];

    /// <summary>A block of at least this size; only records over 64 KiB make a new array each time.</summary>
    public byte[] Rent(int bytes) =>
        bytes <= BlockBytes && _blocks.TryPop(out byte[]? block) ? block : GC.AllocateUninitializedArray<byte>(Math.Max(bytes, BlockBytes));

    public void Return(byte[] block)
    {
        if (block.Length == BlockBytes && _blocks.Count < boundBlocks)
        {
            _blocks.Push(block);
        }
    }
}
