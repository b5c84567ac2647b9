using System.Collections;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace StreamCdp.Engine.Model;

/// <summary>An immutable list that is equal to another with equal items, so that records holding one compare by value.</summary>
[CollectionBuilder(typeof(EquatableList), nameof(EquatableList.Create))]
[SuppressMessage("Naming", "CA1710", Justification = "It is a list; the name says so.")]
public sealed class EquatableList<T>(T[] items) : IReadOnlyList<T>, IEquatable<EquatableList<T>>
{
    /// <inheritdoc/>
    public int Count => items.Length;

    /// <inheritdoc/>
    public T this[int index] => items[index];

    /// <inheritdoc/>
    public bool Equals(EquatableList<T>? other) => other is not null && items.AsSpan().SequenceEqual(other.ToArray(), EqualityComparer<T>.Default);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as EquatableList<T>);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        HashCode hash = default;
        foreach (T item in items)
        {
            hash.Add(item);
        }

        return hash.ToHashCode();
    }

    /// <inheritdoc/>
    public IEnumerator<T> GetEnumerator() => ((IEnumerable<T>)items).GetEnumerator();

    /// <inheritdoc/>
    IEnumerator IEnumerable.GetEnumerator() => items.GetEnumerator();

    private T[] ToArray() => items;
}

/// <summary>Builder of <see cref="EquatableList{T}"/> for collection expressions.</summary>
public static class EquatableList
{
    /// <summary>Copies the items.</summary>
    public static EquatableList<T> Create<T>(ReadOnlySpan<T> items) => new(items.ToArray());
}
