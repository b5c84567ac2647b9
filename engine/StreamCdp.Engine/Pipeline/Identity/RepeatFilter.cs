using System.Buffers.Binary;
using StreamCdp.Engine.State;

namespace StreamCdp.Engine.Pipeline.Identity;

/// <summary>Knows the messageIds of kept events within the dedup window, exactly (RULES.md §2).</summary>
/// <remarks>
/// An entry is written once and never changed, so the store's log is in order of arrival, and what is older than the window is cut off at its
/// end: memory is the store's sizes, the rest is on disk. An entry holds where its event stands, which makes a redo after a crash harmless and
/// lets a trace find the event. Cost: one read and one write of the store an event, 0 B (bench: RepeatFilterBenchmarks).
/// </remarks>
internal sealed class RepeatFilter(IStateStore store, long windowMs)
{
    private const int EntryBytes = 28;

    /// <summary>Receive times are nearly in order; entries stay this much longer than the window, so that a straggler finds its original.</summary>
    private const long SlackMs = 600_000;

    private const int MarkEvery = 4096;

    private readonly Queue<(long Address, long LatestMs)> _marks = [];
    private readonly Dictionary<UInt128, Entry> _unsaved = [];
    private bool _isSaving;
    private byte[] _read = new byte[64];
    private long _latestMs = long.MinValue;
    private int _sinceMark;

    /// <summary>Receive time of the latest event that shares its messageId with another sender's; looked for only as long as it can matter.</summary>
    public long LatestSharedMs { get; set; } = long.MinValue;

    /// <summary>Says whether an event repeats a kept one; else keeps it.</summary>
    /// <param name="messageId">Hash of the messageId.</param>
    /// <param name="sender">Hash of the sender.</param>
    /// <param name="receivedAt">Unix ms.</param>
    /// <param name="partition">Of the event.</param>
    /// <param name="offset">Of the event.</param>
    public bool IsRepeat(UInt128 messageId, UInt128 sender, long receivedAt, int partition, long offset)
    {
        UInt128 shared = Shared(messageId, sender);
        bool sharedMayExist = LatestSharedMs > long.MinValue;
        if (TryRead(messageId, out Entry entry) && IsInWindow(entry, receivedAt))
        {
            if (entry.Sender == (ulong)sender)
            {
                return !entry.IsAt(partition, offset);
            }

            if (sharedMayExist && TryRead(shared, out entry) && IsInWindow(entry, receivedAt))
            {
                return !entry.IsAt(partition, offset);
            }

            LatestSharedMs = Math.Max(LatestSharedMs, receivedAt);
            Keep(shared, sender, receivedAt, partition, offset);
            return false;
        }

        if (sharedMayExist && TryRead(shared, out entry) && IsInWindow(entry, receivedAt))
        {
            return !entry.IsAt(partition, offset);
        }

        Keep(messageId, sender, receivedAt, partition, offset);
        return false;

        // Less than the window after it: also one received before it, because the log's order says which of the two is the repeat.
        bool IsInWindow(in Entry found, long now) => now - found.ReceivedAt < windowMs;
    }

    /// <summary>Where the event with a messageId stands.</summary>
    public bool TryFind(UInt128 messageId, out int partition, out long offset)
    {
        bool found = TryRead(messageId, out Entry entry);
        partition = entry.Partition;
        offset = entry.Offset;
        return found;
    }

    /// <summary>From here on, until <see cref="EndSave"/>, the store does not change: its checkpoint is exactly as of this moment.</summary>
    /// <remarks>A redo must not find what came later: an entry that replaced an expired one would hide that a repeat between them was one.</remarks>
    public void BeginSave() => _isSaving = true;

    /// <summary>Writes what came meanwhile to the store.</summary>
    public void EndSave()
    {
        _isSaving = false;
        foreach ((UInt128 key, Entry entry) in _unsaved)
        {
            Write(key, entry);
        }

        _unsaved.Clear();
    }

    private static UInt128 Shared(UInt128 messageId, UInt128 sender) => messageId ^ UInt128.RotateLeft(sender, 1) ^ UInt128.One;

    private bool TryRead(UInt128 key, out Entry entry)
    {
        if (_unsaved.Count > 0 && _unsaved.TryGetValue(key, out entry))
        {
            return true;
        }

        if (store.Read(key, ref _read) < 0)
        {
            entry = default;
            return false;
        }

        entry = new Entry(
            BinaryPrimitives.ReadInt64LittleEndian(_read),
            BinaryPrimitives.ReadInt64LittleEndian(_read.AsSpan(8)),
            BinaryPrimitives.ReadInt32LittleEndian(_read.AsSpan(16)),
            BinaryPrimitives.ReadUInt64LittleEndian(_read.AsSpan(20)));
        return true;
    }

    private void Keep(UInt128 key, UInt128 sender, long receivedAt, int partition, long offset)
    {
        var entry = new Entry(receivedAt, offset, partition, (ulong)sender);
        if (_isSaving)
        {
            _unsaved[key] = entry;
        }
        else
        {
            Write(key, entry);
        }
    }

    private void Write(UInt128 key, in Entry entry)
    {
        Span<byte> bytes = stackalloc byte[EntryBytes];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, entry.ReceivedAt);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[8..], entry.Offset);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[16..], entry.Partition);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[20..], entry.Sender);
        store.Write(key, bytes);
        _latestMs = Math.Max(_latestMs, entry.ReceivedAt);
        if (++_sinceMark == MarkEvery)
        {
            _sinceMark = 0;
            Forget();
        }
    }

    private void Forget()
    {
        if (store is not FasterStore faster)
        {
            return;
        }

        _marks.Enqueue((faster.TailAddress, _latestMs));
        long address = -1;
        while (_marks.TryPeek(out (long Address, long LatestMs) mark) && mark.LatestMs < _latestMs - windowMs - SlackMs)
        {
            address = _marks.Dequeue().Address;
        }

        if (address >= 0)
        {
            faster.ForgetBefore(address);
        }

        if (LatestSharedMs < _latestMs - windowMs - SlackMs)
        {
            LatestSharedMs = long.MinValue;
        }
    }

    private readonly record struct Entry(long ReceivedAt, long Offset, int Partition, ulong Sender)
    {
        public bool IsAt(int partition, long offset) => Offset == offset && Partition == partition;
    }
}
