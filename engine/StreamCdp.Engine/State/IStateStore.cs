namespace StreamCdp.Engine.State;

/// <summary>Working state of one stage: values of any length under 16-byte keys. One thread uses it.</summary>
/// <remarks>It is a restart accelerator, never the authority: the log is (adr/0001). Two implementations: <see cref="FasterStore"/> and <see cref="MemoryStore"/> (simulation).</remarks>
internal interface IStateStore : IDisposable
{
    /// <summary>Copies a value.</summary>
    /// <param name="key">The key.</param>
    /// <param name="buffer">Grown where it is too small.</param>
    /// <returns>Its length; −1 where there is none.</returns>
    int Read(UInt128 key, ref byte[] buffer);

    /// <summary>Sets a value.</summary>
    void Write(UInt128 key, ReadOnlySpan<byte> value);

    /// <summary>Forgets a key.</summary>
    void Delete(UInt128 key);

    /// <summary>Begins to look at all values, in no order.</summary>
    IStoreScan OpenScan();

    /// <summary>Starts to save everything written so far; later writes may or may not be in it, so what is written must be safe to redo.</summary>
    void BeginCheckpoint();

    /// <summary>Where the save is; call it between writes until it is done.</summary>
    /// <param name="checkpoint">When done: what to give to a later restore.</param>
    /// <returns>False while it runs.</returns>
    /// <exception cref="CheckpointFailedException">It could not be saved or does not read back; older ones are still good.</exception>
    bool TryCompleteCheckpoint(out StoreCheckpoint checkpoint);

    /// <summary>Deletes the files of a checkpoint that is no longer wanted.</summary>
    void Remove(StoreCheckpoint checkpoint);

    /// <summary>Deletes the files of all checkpoints but these: what a crash or a failed save left behind. Does nothing while a save is under way.</summary>
    void RemoveAllBut(IReadOnlyCollection<StoreCheckpoint> kept);

    /// <summary>Bytes in memory.</summary>
    long MemoryBytes { get; }

    /// <summary>Bytes on disk, without checkpoints.</summary>
    long DiskBytes { get; }
}

/// <summary>A look at all values of a store, a part at a time; between two parts the store may change.</summary>
internal interface IStoreScan : IDisposable
{
    /// <summary>Visits the next values that are live now. One that is written between two parts may come twice; each that is there all the time comes.</summary>
    /// <param name="records">Records to look at, at most, live or not.</param>
    /// <param name="visitor">Gets the values; it does not write.</param>
    /// <returns>False: there are no more.</returns>
    bool MoveOn(int records, StoreVisitor visitor);
}

/// <summary>What all stores do in the same way.</summary>
internal static class StateStoreExtensions
{
    /// <summary>Visits every live value once, in no order.</summary>
    public static void Scan(this IStateStore store, StoreVisitor visitor)
    {
        using IStoreScan scan = store.OpenScan();
        while (scan.MoveOn(int.MaxValue, visitor))
        {
        }
    }
}

/// <summary>Gets a value of a store.</summary>
internal delegate void StoreVisitor(UInt128 key, ReadOnlySpan<byte> value);

/// <summary>A saved state of a store.</summary>
/// <param name="Token">Names its files.</param>
/// <param name="IndexToken">Names the files of its index.</param>
/// <param name="Bytes">Size of its files, for the check before the next one.</param>
internal sealed record StoreCheckpoint(Guid Token, Guid IndexToken, long Bytes);

/// <summary>A checkpoint was not saved, or does not read back. The state in memory and older checkpoints are untouched.</summary>
internal sealed class CheckpointFailedException(string message, Exception? inner = null) : IOException(message, inner);
