using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using FASTER.core;

namespace StreamCdp.Engine.State;

/// <summary>How values of a store change.</summary>
internal enum StoreKind
{
    /// <summary>Updated in place where they fit; saved by snapshots.</summary>
    Updated,

    /// <summary>Never updated in place, so the log of the store is in order of writing and old values can be cut off; saved by fold-over.</summary>
    AppendOnly,
}

/// <summary>Sizes of one store, all in bytes.</summary>
/// <param name="MemoryBytes">Log kept in memory; the rest goes to disk. Rounded down to a power of two, 1 MiB at least.</param>
/// <param name="IndexBytes">Hash index. 1 MiB to 1 GiB: at 2 GiB FASTER 2.6.5 recovers nothing (adr/0004).</param>
/// <param name="PageBytes">Least size of a page, a power of two: a value and a quarter more must fit one. Eight are in memory, however little that is to be.</param>
internal sealed record StoreSizes(long MemoryBytes, long IndexBytes, long PageBytes = 64 << 10);

/// <summary>A store on Microsoft FASTER 2.6.5, with every size set and its traps closed (adr/0004-fasters-limits).</summary>
/// <remarks>
/// One session and one thread, so no concurrency control. A value is stored as its length and its bytes, with a quarter of room to grow in
/// place. Reads that go to disk are waited for: the caller sees one order. Cost: about 0.3 µs a read and 0.4 µs a write of
/// 700 bytes in memory, no allocation.
/// </remarks>
internal sealed unsafe class FasterStore : IStateStore
{
    private const int Rounding = 16;
    private const int SegmentBytes = 128 << 20;

    private readonly string _directory;
    private readonly StoreKind _kind;
    private readonly IDevice _device;
    private readonly FasterKV<StoreKey, SpanByte> _store;
    private readonly Functions _functions;
    private ClientSession<StoreKey, SpanByte, SpanByte, int, Empty, Functions> _session;
    private byte[] _write = GC.AllocateArray<byte>(4096, pinned: true);
    private Task<(bool Success, Guid Token)>? _logSave;
    private Task<(bool Success, Guid Token)>? _indexSave;

    /// <summary>Opens an empty store, or one as it was saved.</summary>
    /// <param name="directory">Its own; without <paramref name="restore"/> it is emptied.</param>
    /// <param name="kind">How values change.</param>
    /// <param name="sizes">Memory and index.</param>
    /// <param name="restore">Null: empty.</param>
    /// <exception cref="CheckpointFailedException">The checkpoint cannot be restored.</exception>
    public FasterStore(string directory, StoreKind kind, StoreSizes sizes, StoreCheckpoint? restore = null)
    {
        _directory = directory;
        _kind = kind;
        if (restore is null && Directory.Exists(directory))
        {
            Directory.Delete(directory, recursive: true);
        }

        Directory.CreateDirectory(directory);
        int leastPageBits = (int)Math.Log2(sizes.PageBytes);
        int memoryBits = Math.Clamp((int)Math.Log2(sizes.MemoryBytes), Math.Max(20, leastPageBits + 3), 40);
        int pageBits = Math.Clamp(memoryBits - 5, leastPageBits, 23);
        _device = Devices.CreateLogDevice(Path.Combine(directory, "store.log"), preallocateFile: false, deleteOnClose: false);
        _functions = new Functions(kind);
        var settings = new FasterKVSettings<StoreKey, SpanByte>(null)
        {
            LogDevice = _device,
            IndexSize = Math.Clamp((long)RoundDown((ulong)sizes.IndexBytes), 1L << 20, 1L << 30),
            MemorySize = 1L << memoryBits,
            PageSize = 1L << pageBits,
            SegmentSize = SegmentBytes,
            MutableFraction = kind == StoreKind.AppendOnly ? 0.5 : 0.9,
            ConcurrencyControlMode = ConcurrencyControlMode.None,
            ReadCacheEnabled = false,
            RemoveOutdatedCheckpoints = false, // Two generations are kept and purged by us, after the new one was read back.
            CheckpointDir = Path.Combine(directory, "checkpoints"),
            TryRecoverLatest = false,
            EqualityComparer = new BoundedHash(),
        };
        _store = new FasterKV<StoreKey, SpanByte>(settings);
        if (restore is not null)
        {
            try
            {
                // FASTER fills up what a cut file lacks with zeros and says nothing.
                long bytes = CheckpointBytes(restore.IndexToken, restore.Token);
                if (bytes != restore.Bytes)
                {
                    throw new IOException($"its files have {bytes} bytes and had {restore.Bytes} when it was saved.");
                }

                _store.Recover(restore.IndexToken, restore.Token);
            }
            catch (Exception error) when (error is FasterException or IOException or InvalidOperationException or ArgumentException)
            {
                _store.Dispose();
                _device.Dispose();
                throw new CheckpointFailedException($"Checkpoint {restore.Token} in {directory} cannot be restored: {error.Message}", error);
            }
        }

        _session = _store.For(_functions).NewSession<Functions>();
    }

    /// <inheritdoc/>
    public long MemoryBytes => (_store.IndexSize * 64) + (_store.OverflowBucketCount * 64) + (_store.Log.TailAddress - _store.Log.HeadAddress);

    /// <inheritdoc/>
    public long DiskBytes => _store.Log.HeadAddress - _store.Log.BeginAddress;

    /// <summary>End of the store's log; with <see cref="ForgetBefore"/>, for stores that only append.</summary>
    public long TailAddress => _store.Log.TailAddress;

    /// <summary>Entries are gone that were written before the tail was here.</summary>
    public void ForgetBefore(long address)
    {
        Debug.Assert(_kind == StoreKind.AppendOnly, "An updated value may stand at an old address.");
        _store.Log.ShiftBeginAddress(address, truncateLog: false);
    }

    /// <inheritdoc/>
    public int Read(UInt128 key, ref byte[] buffer)
    {
        StoreKey storeKey = new(key);
        int length = -1;
        _functions.Target = buffer;
        Status status = _session.Read(ref storeKey, ref length);
        if (status.IsPending)
        {
            length = ReadFromDisk();
        }
        else if (!status.Found)
        {
            length = -1;
        }

        buffer = _functions.Target;
        return length;
    }

    /// <inheritdoc/>
    public void Write(UInt128 key, ReadOnlySpan<byte> value)
    {
        // A quarter of room to grow: a record that outgrows its place leaves the old one behind as dead bytes of the log.
        int room = _kind == StoreKind.AppendOnly ? 0 : value.Length / 4;
        int size = (value.Length + sizeof(int) + room + Rounding - 1) / Rounding * Rounding;
        if (_write.Length < size)
        {
            _write = GC.AllocateArray<byte>(size * 2, pinned: true);
        }

        BinaryPrimitives.WriteInt32LittleEndian(_write, value.Length);
        value.CopyTo(_write.AsSpan(sizeof(int)));
        StoreKey storeKey = new(key);
        SpanByte desired = SpanByte.FromPointer((byte*)Unsafe.AsPointer(ref _write[0]), size);
        Status status = _session.Upsert(ref storeKey, ref desired);
        if (status.IsPending)
        {
            _session.CompletePending(wait: true);
        }
    }

    /// <inheritdoc/>
    public void Delete(UInt128 key)
    {
        StoreKey storeKey = new(key);
        if (_session.Delete(ref storeKey).IsPending)
        {
            _session.CompletePending(wait: true);
        }
    }

    /// <inheritdoc/>
    public IStoreScan OpenScan() => new LogScan(this);

    /// <inheritdoc/>
    public void BeginCheckpoint()
    {
        Debug.Assert(_logSave is null, "A checkpoint is running.");
        _session.CompletePending(wait: true);
        string root = Path.GetPathRoot(Path.GetFullPath(_directory))!;
        long needed = _kind == StoreKind.AppendOnly ? 64L << 20 : (_store.Log.TailAddress - _store.Log.HeadAddress) + (_store.IndexSize * 64);
        long free = new DriveInfo(FindMount(root)).AvailableFreeSpace;
        if (free < needed * 2)
        {
            // On a full disk FASTER 2.6.5 reports success and saves nothing: never start one that may not fit.
            throw new CheckpointFailedException($"A checkpoint in {_directory} needs up to {needed >> 20} MiB, and {free >> 20} MiB are free (twice as much is wanted). Free some disk, or move StreamCdp:State:Path.");
        }

        _indexSave = _store.TakeIndexCheckpointAsync().AsTask();
    }

    /// <inheritdoc/>
    public bool TryCompleteCheckpoint(out StoreCheckpoint checkpoint)
    {
        checkpoint = null!;
        _session.Refresh();
        if (_indexSave is null || !_indexSave.IsCompleted)
        {
            return false;
        }

        _logSave ??= _store.TakeHybridLogCheckpointAsync(_kind == StoreKind.AppendOnly ? CheckpointType.FoldOver : CheckpointType.Snapshot).AsTask();
        if (!_logSave.IsCompleted)
        {
            return false;
        }

        Task<(bool Success, Guid Token)> index = _indexSave;
        Task<(bool Success, Guid Token)> log = _logSave;
        _indexSave = _logSave = null;
        if (!index.IsCompletedSuccessfully || !log.IsCompletedSuccessfully)
        {
            Exception? error = index.Exception?.InnerException ?? log.Exception?.InnerException;
            throw new CheckpointFailedException($"The checkpoint in {_directory} failed: {error?.Message}", error);
        }

        (bool indexSaved, Guid indexToken) = index.GetAwaiter().GetResult();
        (bool logSaved, Guid logToken) = log.GetAwaiter().GetResult();
        if (!indexSaved || !logSaved)
        {
            throw new CheckpointFailedException($"The checkpoint in {_directory} was not started: another one runs.");
        }

        checkpoint = new StoreCheckpoint(logToken, indexToken, Verify(indexToken, logToken));
        return true;
    }

    /// <inheritdoc/>
    public void Remove(StoreCheckpoint checkpoint)
    {
        foreach (string directory in new[] { IndexDirectory(checkpoint.IndexToken), LogDirectory(checkpoint.Token) })
        {
            if (Directory.Exists(directory))
            {
                Directory.Delete(directory, recursive: true);
            }
        }

        if (_kind == StoreKind.AppendOnly)
        {
            _store.Log.Truncate();
        }
    }

    /// <inheritdoc/>
    public void RemoveAllBut(IReadOnlyCollection<StoreCheckpoint> kept)
    {
        if (_indexSave is { IsCompleted: false } || _logSave is { IsCompleted: false })
        {
            return;
        }

        HashSet<string> names = [.. kept.SelectMany(checkpoint => new[] { IndexDirectory(checkpoint.IndexToken), LogDirectory(checkpoint.Token) })];
        foreach (string parent in new[] { IndexDirectory(default), LogDirectory(default) }.Select(directory => Path.GetDirectoryName(directory)!).Where(Directory.Exists))
        {
            foreach (string directory in Directory.EnumerateDirectories(parent).Where(directory => !names.Contains(directory)))
            {
                Directory.Delete(directory, recursive: true);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _session.Dispose();
        _store.Dispose();
        _device.Dispose();
    }

    private string IndexDirectory(Guid token) => Path.Combine(_directory, "checkpoints", "index-checkpoints", token.ToString());

    private string LogDirectory(Guid token) => Path.Combine(_directory, "checkpoints", "cpr-checkpoints", token.ToString());

    /// <summary>Reads the saved files back: what a recovery needs must be there and whole, whatever FASTER reported.</summary>
    private long Verify(Guid indexToken, Guid logToken)
    {
        using var manager = new DeviceLogCommitCheckpointManager(new LocalStorageNamedDeviceFactory(), new DefaultCheckpointNamingScheme(Path.Combine(_directory, "checkpoints")), removeOutdated: false);
        var info = default(HybridLogRecoveryInfo);
        try
        {
            byte[]? log = manager.GetLogCheckpointMetadata(logToken, null, false, -1);
            byte[]? index = manager.GetIndexCheckpointMetadata(indexToken);
            if (log is null || index is null)
            {
                throw new CheckpointFailedException($"The checkpoint in {_directory} has no metadata on disk. The older one stays.");
            }

            using var reader = new StreamReader(new MemoryStream(log));
            info.Initialize(reader); // Checks its own checksum.
            long wanted = _store.IndexSize * 64;
            long found = DirectoryBytes(IndexDirectory(indexToken));
            if (found < wanted)
            {
                throw new CheckpointFailedException($"The index of the checkpoint in {_directory} has {found} bytes of {wanted}: the disk did not take it. The older checkpoint stays.");
            }
        }
        catch (FasterException error)
        {
            throw new CheckpointFailedException($"The checkpoint in {_directory} does not read back: {error.Message}. The older one stays.", error);
        }

        long bytes = DirectoryBytes(LogDirectory(logToken));
        if (_kind == StoreKind.Updated)
        {
            long wanted = info.finalLogicalAddress - info.snapshotStartFlushedLogicalAddress;
            if (info.useSnapshotFile != 0 && bytes < wanted)
            {
                throw new CheckpointFailedException($"The snapshot in {_directory} has {bytes} bytes of {wanted}: the disk did not take it. The older checkpoint stays.");
            }
        }

        return CheckpointBytes(indexToken, logToken);
    }

    private long CheckpointBytes(Guid indexToken, Guid logToken) => DirectoryBytes(IndexDirectory(indexToken)) + DirectoryBytes(LogDirectory(logToken));

    private static long DirectoryBytes(string directory) => Directory.Exists(directory) ? new DirectoryInfo(directory).EnumerateFiles("*", SearchOption.AllDirectories).Sum(file => file.Length) : 0;

    private static ulong RoundDown(ulong value) => 1UL << (63 - (int)ulong.LeadingZeroCount(Math.Max(value, 1)));

    private string FindMount(string fallback)
    {
        string full = Path.GetFullPath(_directory);
        return DriveInfo.GetDrives().Select(drive => drive.Name).Where(name => full.StartsWith(name, StringComparison.Ordinal)).DefaultIfEmpty(fallback).MaxBy(name => name.Length)!;
    }

    private bool IsLive(ref StoreKey key, long address)
    {
        int length = 0;
        SpanByte input = default;
        var options = default(ReadOptions);
        _functions.Target = [];
        _functions.IsProbe = true;
        try
        {
            Status status = _session.Read(ref key, ref input, ref length, ref options, out RecordMetadata metadata);
            if (status.IsPending)
            {
                _session.CompletePendingWithOutputs(out CompletedOutputIterator<StoreKey, SpanByte, SpanByte, int, Empty> outputs, wait: true);
                using (outputs)
                {
                    outputs.Next();
                    metadata = outputs.Current.RecordMetadata;
                    status = outputs.Current.Status;
                }
            }

            return status.Found && metadata.Address == address;
        }
        finally
        {
            _functions.IsProbe = false;
        }
    }

    private int ReadFromDisk()
    {
        _session.CompletePendingWithOutputs(out CompletedOutputIterator<StoreKey, SpanByte, SpanByte, int, Empty> outputs, wait: true);
        using (outputs)
        {
            outputs.Next();
            return outputs.Current.Status.Found ? outputs.Current.Output : -1;
        }
    }

    /// <summary>A 16-byte key that is a hash already.</summary>
    internal readonly struct StoreKey(UInt128 value) : IFasterEqualityComparer<StoreKey>
    {
        /// <summary>The key.</summary>
        public readonly UInt128 Value = value;

        /// <inheritdoc/>
        public long GetHashCode64(ref StoreKey k) => (long)((ulong)k.Value * 0x9E3779B97F4A7C15UL ^ (ulong)(k.Value >> 64));

        /// <inheritdoc/>
        public bool Equals(ref StoreKey k1, ref StoreKey k2) => k1.Value == k2.Value;
    }

    /// <summary>Lets the index grow to a fixed size only: at most 64 entries, 10 cache lines, for each bucket that was asked for.</summary>
    /// <remarks>
    /// FASTER keeps an entry for each bucket and tag, and a tag is the hash's top 14 bits: with all of them the index grows by 9 bytes a key without
    /// end. With 6 of them keys beyond 64 a bucket share chains in the log instead, which may be on disk: slower when there are more, never larger.
    /// </remarks>
    private sealed class BoundedHash : IFasterEqualityComparer<StoreKey>
    {
        private const ulong Kept = ~(0xFFUL << 50);

        public long GetHashCode64(ref StoreKey k) => (long)((ulong)k.GetHashCode64(ref k) & Kept);

        public bool Equals(ref StoreKey k1, ref StoreKey k2) => k1.Value == k2.Value;
    }

    private sealed class Functions(StoreKind kind) : SpanByteFunctions<StoreKey, int, Empty>
    {
        public byte[] Target = [];

        public bool IsProbe;

        public override bool SingleReader(ref StoreKey key, ref SpanByte input, ref SpanByte value, ref int dst, ref ReadInfo readInfo) => Copy(ref value, ref dst);

        public override bool ConcurrentReader(ref StoreKey key, ref SpanByte input, ref SpanByte value, ref int dst, ref ReadInfo readInfo) => Copy(ref value, ref dst);

        public override bool ConcurrentWriter(ref StoreKey key, ref SpanByte input, ref SpanByte src, ref SpanByte dst, ref int output, ref UpsertInfo upsertInfo)
        {
            ReadOnlySpan<byte> value = src.AsReadOnlySpan();
            int length = sizeof(int) + BinaryPrimitives.ReadInt32LittleEndian(value);
            if (kind == StoreKind.AppendOnly || dst.Length < length)
            {
                return false; // Written again at the tail.
            }

            value[..length].CopyTo(dst.AsSpan());
            return true;
        }

        private bool Copy(ref SpanByte value, ref int length)
        {
            ReadOnlySpan<byte> stored = value.AsReadOnlySpan();
            length = BinaryPrimitives.ReadInt32LittleEndian(stored);
            if (IsProbe)
            {
                return true;
            }

            if (Target.Length < length)
            {
                Target = new byte[Math.Max(length * 2, 1024)];
            }

            stored.Slice(sizeof(int), length).CopyTo(Target);
            return true;
        }
    }

    /// <remarks>
    /// Log.Scan, not Iterate: Iterate copies the whole index (adr/0004). A key's older versions are in the log, too: only the one that a read finds is live. One that is written meanwhile moves to the
    /// end of the log: so what came to it since goes on to be looked at until nothing did.
    /// </remarks>
    private sealed class LogScan : IStoreScan
    {
        private readonly FasterStore _owner;
        private IFasterScanIterator<StoreKey, SpanByte> _records;
        private byte[] _value = new byte[4096];

        public LogScan(FasterStore owner)
        {
            _owner = owner;
            _records = Records(owner._store.Log.BeginAddress);
        }

        public bool MoveOn(int records, StoreVisitor visitor)
        {
            for (int i = 0; i < records; i++)
            {
                if (!_records.GetNext(out RecordInfo info))
                {
                    long end = _records.EndAddress;
                    if (_owner._store.Log.TailAddress <= end)
                    {
                        return false;
                    }

                    _records.Dispose();
                    _records = Records(end);
                    continue;
                }

                StoreKey key = _records.GetKey();
                if (info.Tombstone || !_owner.IsLive(ref key, _records.CurrentAddress))
                {
                    continue;
                }

                ReadOnlySpan<byte> stored = _records.GetValue().AsReadOnlySpan();
                int length = BinaryPrimitives.ReadInt32LittleEndian(stored);
                if (_value.Length < length)
                {
                    _value = new byte[length * 2];
                }

                stored.Slice(sizeof(int), length).CopyTo(_value);
                visitor(key.Value, _value.AsSpan(0, length));
            }

            return true;
        }

        public void Dispose() => _records.Dispose();

        private IFasterScanIterator<StoreKey, SpanByte> Records(long begin) => _owner._store.Log.Scan(Math.Max(begin, _owner._store.Log.BeginAddress), _owner._store.Log.TailAddress);
    }
}
