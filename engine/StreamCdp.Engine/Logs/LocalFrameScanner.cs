using System.Diagnostics;
using Microsoft.Win32.SafeHandles;

namespace StreamCdp.Engine.Logs;

/// <summary>What stands at the scanner's position.</summary>
internal enum LocalScan
{
    /// <summary>A whole frame; its entries can be read.</summary>
    Frame,

    /// <summary>Nothing more up to the limit.</summary>
    End,

    /// <summary>Bytes that are not a whole frame.</summary>
    Bad,
}

/// <summary>Walks through the frames of one segment file, and through the entries of each. Allocates only when a frame is larger than any before.</summary>
internal sealed class LocalFrameScanner(int bufferBytes)
{
    private SafeFileHandle? _file;
    private byte[] _buffer = GC.AllocateUninitializedArray<byte>(bufferBytes);
    private long _bufferStart;
    private int _buffered;
    private int _entry;
    private int _entriesLeft;
    private LocalFrameHeader _header;

    /// <summary>Position in the file of the next frame.</summary>
    public long Position { get; private set; }

    /// <summary>Of the frame that the last <see cref="Next"/> found.</summary>
    public ref readonly LocalFrameHeader Header => ref _header;

    /// <summary>Begins at a position in another file, or again.</summary>
    public void Start(SafeFileHandle file, long position)
    {
        _file = file;
        Position = position;
        _bufferStart = position;
        _buffered = 0;
        _entriesLeft = 0;
    }

    /// <summary>Goes to the next frame and checks it.</summary>
    /// <param name="limit">Nothing at or behind this position is read.</param>
    public LocalScan Next(long limit)
    {
        _entriesLeft = 0;
        if (Position >= limit)
        {
            return LocalScan.End;
        }

        if (limit - Position < LocalFrame.HeaderBytes || !Fill(LocalFrame.HeaderBytes, limit))
        {
            return LocalScan.Bad;
        }

        int start = (int)(Position - _bufferStart);
        if (!LocalFrame.TryReadHeader(_buffer.AsSpan(start, LocalFrame.HeaderBytes), out _header)
            || limit - Position < _header.Length
            || !Fill(_header.Length, limit))
        {
            return LocalScan.Bad;
        }

        start = (int)(Position - _bufferStart);
        if (!LocalFrame.IsWhole(_buffer.AsSpan(start, _header.Length)))
        {
            return LocalScan.Bad;
        }

        _entry = start + LocalFrame.HeaderBytes;
        _entriesLeft = _header.Count;
        Position += _header.Length;
        return LocalScan.Frame;
    }

    /// <summary>Takes the next entry of the frame; its spans are valid until the next call.</summary>
    public bool TryEntry(out LogRecord entry)
    {
        if (_entriesLeft == 0)
        {
            entry = default;
            return false;
        }

        _entriesLeft--;
        ReadOnlySpan<byte> buffer = _buffer;
        int at = _entry;
        long offset = _header.FirstOffset + (long)LocalFrame.ReadVarint(buffer, ref at);
        long timestampMs = _header.BaseTimestampMs + LocalFrame.UnZigZag(LocalFrame.ReadVarint(buffer, ref at));
        int keyLength = (int)LocalFrame.ReadVarint(buffer, ref at);
        int key = at;
        at += keyLength;
        int valueLength = (int)LocalFrame.ReadVarint(buffer, ref at);
        entry = new LogRecord
        {
            Offset = offset,
            TimestampMs = timestampMs,
            Key = buffer.Slice(key, keyLength),
            Value = buffer.Slice(at, valueLength),
        };
        _entry = at + valueLength;
        return true;
    }

    /// <summary>Makes sure that the buffer holds this many bytes from <see cref="Position"/>; reads ahead as far as there is room.</summary>
    private bool Fill(int bytes, long limit)
    {
        Debug.Assert(_file is not null, "Start comes first.");

        int start = (int)(Position - _bufferStart);
        int have = _buffered - start;
        if (have >= bytes)
        {
            return true;
        }

        if (_buffer.Length < bytes)
        {
            byte[] larger = GC.AllocateUninitializedArray<byte>((int)Math.Min(Array.MaxLength, System.Numerics.BitOperations.RoundUpToPowerOf2((uint)bytes)));
            _buffer.AsSpan(start, have).CopyTo(larger);
            _buffer = larger;
        }
        else if (start > 0)
        {
            _buffer.AsSpan(start, have).CopyTo(_buffer);
        }

        _bufferStart = Position;
        _buffered = have;
        while (_buffered < bytes)
        {
            int room = (int)Math.Min(_buffer.Length - _buffered, limit - Position - _buffered);
            int read = room <= 0 ? 0 : RandomAccess.Read(_file, _buffer.AsSpan(_buffered, room), Position + _buffered);
            if (read == 0)
            {
                return false;
            }

            _buffered += read;
        }

        return true;
    }
}
