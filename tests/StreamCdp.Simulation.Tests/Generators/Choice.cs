namespace StreamCdp.Simulation.Tests.Generators;

/// <summary>Seeded random choices: SplitMix64, so that a seed means the same on every runtime.</summary>
internal sealed class Choice(ulong seed)
{
    private ulong _state = seed;

    /// <summary>0 to <paramref name="end"/> − 1.</summary>
    public int Below(int end)
    {
        _state += 0x9E37_79B9_7F4A_7C15;
        ulong z = _state;
        z = (z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9;
        z = (z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB;
        return (int)((z ^ (z >> 31)) % (ulong)end);
    }

    public bool Percent(int percent) => Below(100) < percent;

    public T Of<T>(params ReadOnlySpan<T> items) => items[Below(items.Length)];

    public T Of<T>(IReadOnlyList<T> items) => items[Below(items.Count)];

    public List<T> Shuffled<T>(IEnumerable<T> items) => [.. items.Select(item => (Below(1 << 30), item)).OrderBy(pair => pair.Item1).Select(pair => pair.item)];
}
