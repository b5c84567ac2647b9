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

    private static bool AreObjectsEqual(ReadOnlySpan<byte> left, ReadOnlySpan<byte> right)
    {
        if (left.SequenceEqual(right))
        {
            return true;
        }

        var leftReader = new Utf8JsonReader(left);
        var rightReader = new Utf8JsonReader(right);
        return JsonElement.DeepEquals(JsonElement.ParseValue(ref leftReader), JsonElement.ParseValue(ref rightReader));
    }
}
