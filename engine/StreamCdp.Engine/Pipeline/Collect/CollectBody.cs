using System.Text.Json;
using System.Text.Unicode;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>Finds the events and the envelope of a request body in one walk. One for each request at a time; reused.</summary>
/// <remarks>Nesting is not limited here: it costs one bit a level, and a deep event must not cost the others of its batch (the reader refuses it alone).</remarks>
internal sealed class CollectBody
{
    private static readonly JsonReaderOptions s_json = new() { MaxDepth = int.MaxValue };

    private (int Offset, int Length)[] _events = new (int, int)[16];
    private JsonSlice _writeKey;
    private JsonSlice _context;
    private JsonSlice _sentAt;
    private bool _hasBatch;
    private byte[] _text = new byte[256];

    /// <summary>Events in the body; may be more than were kept.</summary>
    public int EventCount { get; private set; }

    /// <summary>Walks a body.</summary>
    /// <param name="body">UTF-8. Of a single event that is checked here; of a batch only its structure, because text that is no UTF-8 must cost only the event that has it.</param>
    /// <param name="isBatch">The events are in <c>batch</c>; else the body is the event.</param>
    /// <param name="maxEvents">Events kept.</param>
    /// <returns>Null, or the field that is wrong ("" for the whole).</returns>
    public string? Read(ReadOnlySpan<byte> body, bool isBatch, int maxEvents)
    {
        EventCount = 0;
        _writeKey = default;
        _context = default;
        _sentAt = default;
        _hasBatch = false;
        if (!isBatch && !Utf8.IsValid(body))
        {
            return "";
        }

        var reader = new Utf8JsonReader(body, s_json);
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return "";
            }

            int start = (int)reader.TokenStartIndex;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                ReadProperty(ref reader, isBatch, maxEvents);
            }

            if (!isBatch)
            {
                _events[0] = (start, (int)reader.BytesConsumed - start);
                EventCount = 1;
            }

            return reader.Read() ? "" : isBatch && !_hasBatch ? "batch" : null;
        }
        catch (JsonException)
        {
            return "";
        }
    }

    /// <summary>The bytes of an event.</summary>
    public ReadOnlySpan<byte> Event(ReadOnlySpan<byte> body, int index) => body.Slice(_events[index].Offset, _events[index].Length);

    /// <summary>Context of the batch; empty where it has none, or one that is no object.</summary>
    public ReadOnlySpan<byte> Context(ReadOnlySpan<byte> body) => _context.Kind == JsonTokenType.StartObject ? _context.In(body) : default;

    /// <summary>sentAt of the batch; null where it is missing or unreadable.</summary>
    public long? SentAt(ReadOnlySpan<byte> body) => !_sentAt.IsAbsent && EventTimestamp.TryRead(Text(body, _sentAt), _sentAt.Kind, out long unixMs) ? unixMs : null;

    /// <summary>writeKey of the body; empty where it is missing or no text.</summary>
    public ReadOnlySpan<byte> WriteKey(ReadOnlySpan<byte> body) => _writeKey.Kind == JsonTokenType.String ? Text(body, _writeKey) : default;

    private void ReadProperty(ref Utf8JsonReader reader, bool isBatch, int maxEvents)
    {
        int field =
            JsonText.Is(ref reader, "writeKey"u8) ? 0 :
            !isBatch ? -1 :
            JsonText.Is(ref reader, "batch"u8) ? 1 :
            JsonText.Is(ref reader, "context"u8) ? 2 :
            JsonText.Is(ref reader, "sentAt"u8) ? 3 : -1;
        reader.Read();
        if (field == 1)
        {
            ReadBatch(ref reader, maxEvents);
            return;
        }

        int start = (int)reader.TokenStartIndex;
        JsonTokenType kind = reader.TokenType;
        bool escaped = kind == JsonTokenType.String && reader.ValueIsEscaped;
        reader.Skip();
        int length = (int)reader.BytesConsumed - start;
        JsonSlice slice = kind == JsonTokenType.String ? new JsonSlice(start + 1, length - 2, kind, escaped) : new JsonSlice(start, length, kind, false);
        switch (field)
        {
            case 0:
                _writeKey = slice;
                break;
            case 2:
                _context = slice;
                break;
            case 3:
                _sentAt = slice;
                break;
        }
    }

    private void ReadBatch(ref Utf8JsonReader reader, int maxEvents)
    {
        EventCount = 0; // The last of two equal keys counts.
        _hasBatch = reader.TokenType == JsonTokenType.StartArray;
        if (!_hasBatch)
        {
            reader.Skip();
            return;
        }

        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            int start = (int)reader.TokenStartIndex;
            reader.Skip();
            if (EventCount < maxEvents)
            {
                if (EventCount == _events.Length)
                {
                    Array.Resize(ref _events, _events.Length * 2);
                }

                _events[EventCount] = (start, (int)reader.BytesConsumed - start);
            }

            EventCount++;
        }
    }

    private ReadOnlySpan<byte> Text(ReadOnlySpan<byte> body, JsonSlice slice)
    {
        ReadOnlySpan<byte> raw = slice.In(body);
        if (!slice.IsEscaped)
        {
            return raw;
        }

        if (_text.Length < raw.Length)
        {
            _text = new byte[raw.Length];
        }

        return _text.AsSpan(0, JsonText.Unescape(raw, _text));
    }
}
