using System.Buffers;
using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace StreamCdp.Engine.Pipeline;

/// <summary>Where a wanted value stands in a JSON text.</summary>
/// <param name="Offset">First byte of the value; for text, the byte after the opening quote.</param>
/// <param name="Length">Bytes; for text without the quotes; for an object or array all of it.</param>
/// <param name="Kind"><see cref="JsonTokenType.None"/>: the path is missing. Objects and arrays have their Start token.</param>
/// <param name="IsEscaped">Text with backslashes: unescape before use.</param>
internal readonly record struct JsonSlice(int Offset, int Length, JsonTokenType Kind, bool IsEscaped)
{
    /// <summary>The path is missing, or null.</summary>
    public bool IsAbsent => Kind is JsonTokenType.None or JsonTokenType.Null;

    /// <summary>The bytes in the text that was scanned.</summary>
    public ReadOnlySpan<byte> In(ReadOnlySpan<byte> json) => json.Slice(Offset, Length);
}

/// <summary>Finds the values of many paths in one pass over a JSON object, without allocating.</summary>
/// <remarks>Where a key comes twice the last one counts, as in JSON.parse. Cost: one walk of Utf8JsonReader plus one comparison for each key at a depth that some path reaches.</remarks>
internal sealed class JsonPathScanner
{
    private static readonly SearchValues<byte> _structure = SearchValues.Create("\"{}[]"u8);
    private static readonly SearchValues<byte> _scalarEnds = SearchValues.Create(",}] \n\r\t"u8);

    private readonly Node _root;

    /// <param name="paths">Each a list of object keys from the root. The slot of a path is its index here; equal paths may repeat.</param>
    public JsonPathScanner(IReadOnlyList<IReadOnlyList<string>> paths)
    {
        SlotCount = paths.Count;
        var root = new Builder();
        for (int slot = 0; slot < paths.Count; slot++)
        {
            Builder node = root;
            foreach (string key in paths[slot])
            {
                if (!node.Children.TryGetValue(key, out Builder? child))
                {
                    node.Children.Add(key, child = new Builder());
                }

                node = child;
            }

            node.Slots.Add(slot);
        }

        _root = root.Build();
    }

    /// <summary>Slots that <see cref="Scan"/> fills.</summary>
    public int SlotCount { get; }

    /// <summary>Deepest nesting that is read; deeper text is refused as unreadable.</summary>
    public const int MaxDepth = 64;

    /// <summary>Scans one JSON value that must be an object.</summary>
    /// <param name="json">UTF-8.</param>
    /// <param name="slots">At least <see cref="SlotCount"/> long; all are written.</param>
    /// <returns>False where the text is not one JSON object.</returns>
    public bool Scan(ReadOnlySpan<byte> json, Span<JsonSlice> slots)
    {
        Debug.Assert(slots.Length >= SlotCount, "Too few slots.");
        slots[..SlotCount].Clear();
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return false;
            }

            ScanObject(ref reader, _root, slots);
            return !reader.Read();
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>Scans a JSON object that <see cref="Scan"/> (of any scanner) has accepted before: about three times as fast, because nothing is checked again.</summary>
    /// <param name="json">UTF-8; the same bytes that were accepted.</param>
    /// <param name="slots">At least <see cref="SlotCount"/> long; all are written, with the same result as of <see cref="Scan"/>.</param>
    public void ScanAccepted(ReadOnlySpan<byte> json, Span<JsonSlice> slots)
    {
        slots[..SlotCount].Clear();
        int position = AfterSpace(json, 0);
        ScanAccepted(json, ref position, _root, slots);
    }

    private static void ScanAccepted(ReadOnlySpan<byte> json, ref int position, Node node, Span<JsonSlice> slots)
    {
        position = AfterSpace(json, position + 1);
        while (json[position] != (byte)'}')
        {
            int keyStart = position + 1;
            int keyEnd = StringEnd(json, keyStart, out bool keyIsEscaped);
            Node? child = node.Find(json[keyStart..keyEnd], keyIsEscaped);
            int start = AfterSpace(json, AfterSpace(json, keyEnd + 1) + 1);
            byte first = json[start];
            JsonTokenType kind = Kind(first);
            bool escaped = false;
            position = start;
            if (child is null)
            {
                position = ValueEnd(json, start, first);
            }
            else
            {
                child.Clear(slots);
                if (first == (byte)'{' && child.Children.Length > 0)
                {
                    ScanAccepted(json, ref position, child, slots);
                }
                else if (first == (byte)'"')
                {
                    position = StringEnd(json, start + 1, out escaped) + 1;
                }
                else
                {
                    position = ValueEnd(json, start, first);
                }

                JsonSlice slice = kind == JsonTokenType.String
                    ? new JsonSlice(start + 1, position - start - 2, kind, escaped)
                    : new JsonSlice(start, position - start, kind, false);
                foreach (int slot in child.Slots)
                {
                    slots[slot] = slice;
                }
            }

            position = AfterSpace(json, position);
            if (json[position] == (byte)',')
            {
                position = AfterSpace(json, position + 1);
            }
        }

        position++;
    }

    /// <summary>Position behind a value.</summary>
    private static int ValueEnd(ReadOnlySpan<byte> json, int start, byte first)
    {
        if (first == (byte)'"')
        {
            return StringEnd(json, start + 1, out _) + 1;
        }

        if (first is not ((byte)'{' or (byte)'['))
        {
            return start + json[start..].IndexOfAny(_scalarEnds);
        }

        int depth = 1;
        for (int position = start + 1; ;)
        {
            position += json[position..].IndexOfAny(_structure);
            switch (json[position])
            {
                case (byte)'"':
                    position = StringEnd(json, position + 1, out _) + 1;
                    break;
                case (byte)'{' or (byte)'[':
                    depth++;
                    position++;
                    break;
                default:
                    position++;
                    if (--depth == 0)
                    {
                        return position;
                    }

                    break;
            }
        }
    }

    /// <summary>Position of the quote that ends a text.</summary>
    private static int StringEnd(ReadOnlySpan<byte> json, int start, out bool isEscaped)
    {
        isEscaped = false;
        for (int position = start; ;)
        {
            position += json[position..].IndexOfAny((byte)'"', (byte)'\\');
            if (json[position] == (byte)'"')
            {
                return position;
            }

            isEscaped = true;
            position += 2;
        }
    }

    private static int AfterSpace(ReadOnlySpan<byte> json, int position)
    {
        while (json[position] is (byte)' ' or (byte)'\n' or (byte)'\r' or (byte)'\t')
        {
            position++;
        }

        return position;
    }

    private static JsonTokenType Kind(byte first) => first switch
    {
        (byte)'"' => JsonTokenType.String,
        (byte)'{' => JsonTokenType.StartObject,
        (byte)'[' => JsonTokenType.StartArray,
        (byte)'t' => JsonTokenType.True,
        (byte)'f' => JsonTokenType.False,
        (byte)'n' => JsonTokenType.Null,
        _ => JsonTokenType.Number,
    };

    private static void ScanObject(ref Utf8JsonReader reader, Node node, Span<JsonSlice> slots)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            Node? child = node.Find(ref reader);
            reader.Read();
            if (child is null)
            {
                reader.Skip();
                continue;
            }

            int start = (int)reader.TokenStartIndex;
            JsonTokenType kind = reader.TokenType;
            bool escaped = kind == JsonTokenType.String && reader.ValueIsEscaped;
            child.Clear(slots); // The last of two equal keys counts, with all that is below it.
            if (kind == JsonTokenType.StartObject && child.Children.Length > 0)
            {
                ScanObject(ref reader, child, slots);
            }
            else
            {
                reader.Skip();
            }

            int end = (int)reader.BytesConsumed;
            JsonSlice slice = kind == JsonTokenType.String
                ? new JsonSlice(start + 1, end - start - 2, kind, escaped)
                : new JsonSlice(start, end - start, kind, false);
            foreach (int slot in child.Slots)
            {
                slots[slot] = slice;
            }
        }
    }

    private sealed class Builder
    {
        public Dictionary<string, Builder> Children { get; } = [];

        public List<int> Slots { get; } = [];

        public Node Build() => new([.. Children.Select(child => (Encoding.UTF8.GetBytes(child.Key), child.Value.Build()))], [.. Slots]);
    }

    private sealed class Node((byte[] Key, Node Node)[] children, int[] slots)
    {
        public (byte[] Key, Node Node)[] Children => children;

        public int[] Slots => slots;

        public Node? Find(ref Utf8JsonReader reader)
        {
            if (reader.ValueIsEscaped)
            {
                return FindEscaped(ref reader);
            }

            ReadOnlySpan<byte> name = reader.ValueSpan;
            foreach ((byte[] key, Node node) in children)
            {
                if (name.SequenceEqual(key))
                {
                    return node;
                }
            }

            return null;
        }

        public Node? Find(ReadOnlySpan<byte> name, bool isEscaped)
        {
            foreach ((byte[] key, Node node) in children)
            {
                if (isEscaped ? JsonText.EscapedIs(name, key) : name.SequenceEqual(key))
                {
                    return node;
                }
            }

            return null;
        }

        public void Clear(Span<JsonSlice> all)
        {
            if (children.Length == 0)
            {
                return; // The caller overwrites its own slots.
            }

            foreach ((_, Node node) in children)
            {
                foreach (int slot in node.Slots)
                {
                    all[slot] = default;
                }

                node.Clear(all);
            }
        }

        private Node? FindEscaped(ref Utf8JsonReader reader)
        {
            foreach ((byte[] key, Node node) in children)
            {
                if (JsonText.Is(ref reader, key)) // Not ValueTextEquals: it throws on half a surrogate pair.
                {
                    return node;
                }
            }

            return null;
        }
    }
}
