using System.Text;
using System.Text.Json;

namespace StreamCdp.Engine.Pipeline.Segments;

/// <summary>Comparison of values (RULES.md §6.6).</summary>
internal static class Comparison
{
    /// <summary>Same type and same value; null equals null.</summary>
    /// <remarks>Lists are equal with equal elements in the same order; objects as JSON (this one case allocates).</remarks>
    public static bool AreEqual(in Value left, in Value right)
    {
        if (left.Kind != right.Kind)
        {
            return false;
        }

        return left.Kind switch
        {
            ValueKind.Null => true,
            ValueKind.Boolean or ValueKind.Number => left.Number == right.Number,
            ValueKind.Text => left.Bytes.SequenceEqual(right.Bytes),
            ValueKind.Instant => left.InstantMs == right.InstantMs,
            ValueKind.List => AreListsEqual(left, right),
            _ => AreObjectsEqual(left.Bytes, right.Bytes),
        };
    }

    /// <summary>The order of two numbers, texts (code points, which is the order of UTF-8 bytes) or instants; false where they have none.</summary>
    public static bool TryOrder(in Value left, in Value right, out int order)
    {
        order = 0;
        if (left.Kind != right.Kind)
        {
            return false;
        }

        switch (left.Kind)
        {
            case ValueKind.Number:
                order = left.Number.CompareTo(right.Number);
                return true;
            case ValueKind.Text:
                order = left.Bytes.SequenceCompareTo(right.Bytes);
                return true;
            case ValueKind.Instant:
                order = left.InstantMs.CompareTo(right.InstantMs);
                return true;
            default:
                return false;
        }
    }

    /// <summary>Whether a list has an element.</summary>
    /// <param name="list">False where it is no list.</param>
    /// <param name="element">Compared by <see cref="AreEqual"/>.</param>
    /// <param name="buffer">For unescaped text; grows.</param>
    public static bool HasElement(in Value list, in Value element, ref byte[] buffer)
    {
        if (list.Kind != ValueKind.List)
        {
            return false;
        }

        var cursor = new ListCursor(list, buffer);
        bool found = false;
        while (!found && cursor.MoveNext())
        {
            found = AreEqual(cursor.Current, element);
        }

        buffer = cursor.Buffer;
        return found;
    }

    private static bool AreListsEqual(in Value left, in Value right)
    {
        byte[] none = [];
        var leftCursor = new ListCursor(left, none);
        var rightCursor = new ListCursor(right, none);
        while (leftCursor.MoveNext())
        {
            if (!rightCursor.MoveNext() || !AreEqual(leftCursor.Current, rightCursor.Current))
            {
                return false;
            }
        }

        return !rightCursor.MoveNext();
    }

    /// <remarks>Not JsonElement.DeepEquals: it throws on half a surrogate pair, and one text of a browser must not stop a shard.</remarks>
    private static bool AreObjectsEqual(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right)
    {
        if (left.SequenceEqual(right))
        {
            return true;
        }

        Dictionary<string, Range> leftMembers = Members(left);
        Dictionary<string, Range> rightMembers = Members(right);
        if (leftMembers.Count != rightMembers.Count)
        {
            return false;
        }

        byte[] leftBuffer = [];
        byte[] rightBuffer = [];
        foreach ((string name, Range value) in leftMembers)
        {
            if (!rightMembers.TryGetValue(name, out Range other) || !AreEqual(Value.FromJson(left[value], ref leftBuffer), Value.FromJson(right[other], ref rightBuffer)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Where the value of each key stands; of a key that comes twice, the last one.</summary>
    private static Dictionary<string, Range> Members(ReadOnlySpan<byte> json)
    {
        var members = new Dictionary<string, Range>(StringComparer.Ordinal);
        byte[] buffer = [];
        var reader = new Utf8JsonReader(json);
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string name = Encoding.UTF8.GetString(reader.ValueIsEscaped ? JsonText.Unescape(reader.ValueSpan, ref buffer) : reader.ValueSpan);
            reader.Read();
            int start = (int)reader.TokenStartIndex;
            reader.Skip();
            members[name] = start..(int)reader.BytesConsumed;
        }

        return members;
    }
}
