namespace StreamCdp.Engine.State;

/// <summary>A store in a dictionary: for the simulation, which keeps its checkpoints in memory, too.</summary>
internal sealed class MemoryStore : IStateStore
{
    private readonly Dictionary<Guid, Dictionary<UInt128, byte[]>> _saved;
    private readonly Dictionary<UInt128, byte[]> _values;
    private StoreCheckpoint? _saving;
    private int _next;

    /// <param name="saved">Checkpoints of this store; it outlives a simulated crash.</param>
    /// <param name="restore">Null: empty.</param>
    public MemoryStore(Dictionary<Guid, Dictionary<UInt128, byte[]>> saved, StoreCheckpoint? restore = null)
    {
        _saved = saved;
        _next = saved.Keys.Select(token => BitConverter.ToInt32(token.ToByteArray())).DefaultIfEmpty().Max() + 1;
        _values = restore is null ? [] : new Dictionary<UInt128, byte[]>(saved[restore.Token]);
    }

    /// <inheritdoc/>
    public long MemoryBytes => _values.Sum(value => value.Value.Length + 48L);

    /// <inheritdoc/>
    public long DiskBytes => 0;

    /// <inheritdoc/>
    public int Read(UInt128 key, ref byte[] buffer)
    {
        if (!_values.TryGetValue(key, out byte[]? value))
        {
            return -1;
        }

        if (buffer.Length < value.Length)
        {
            buffer = new byte[value.Length * 2];
        }

        value.CopyTo(buffer, 0);
        return value.Length;
    }

    /// <inheritdoc/>
    public void Write(UInt128 key, ReadOnlySpan<byte> value) => _values[key] = value.ToArray();

    /// <inheritdoc/>
    public void Delete(UInt128 key) => _values.Remove(key);

    /// <inheritdoc/>
    public IStoreScan OpenScan() => new KeyScan(_values);

    /// <inheritdoc/>
    public void BeginCheckpoint() => _saving = new StoreCheckpoint(new Guid(_next++, 0, 0, new byte[8]), Guid.Empty, 0);

    /// <inheritdoc/>
    public bool TryCompleteCheckpoint(out StoreCheckpoint checkpoint)
    {
        checkpoint = _saving!;
        _saved[checkpoint.Token] = new Dictionary<UInt128, byte[]>(_values); // The latest moment allowed: what was written after Begin is in it, too.
        return true;
    }

    /// <inheritdoc/>
    public void Remove(StoreCheckpoint checkpoint) => _saved.Remove(checkpoint.Token);

    /// <inheritdoc/>
    public void RemoveAllBut(IReadOnlyCollection<StoreCheckpoint> kept)
    {
        foreach (Guid token in _saved.Keys.Except(kept.Select(checkpoint => checkpoint.Token)).ToArray())
        {
            _saved.Remove(token);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
    }

    private sealed class KeyScan(Dictionary<UInt128, byte[]> values) : IStoreScan
    {
        private readonly Queue<UInt128> _keys = new(values.Keys);

        public bool MoveOn(int records, StoreVisitor visitor)
        {
            for (int i = 0; i < records && _keys.TryDequeue(out UInt128 key); i++)
            {
                if (values.TryGetValue(key, out byte[]? value))
                {
                    visitor(key, value);
                }
            }

            return _keys.Count > 0;
        }

        public void Dispose()
        {
        }
    }
}
