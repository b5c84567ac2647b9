namespace StreamCdp.Bench.EndToEnd;

/// <summary>Random numbers that are the same on every machine and version.</summary>
/// <remarks>Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64).</remarks>
internal sealed class SeededChoice(ulong seed)
{
    private ulong _state = seed;

    public ulong Next()
    {
        ulong z = _state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>0 up to, not including, 1.</summary>
    public double Part() => (Next() >> 11) * (1.0 / (1UL << 53));

    public int Below(int bound) => (int)(Next() % (ulong)bound);

    public bool Chance(double part) => Part() < part;
}

/// <summary>Ranks by Zipf's law.</summary>
/// <remarks>Source: Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994: the formula that YCSB uses, too.</remarks>
internal sealed class Zipf
{
    private readonly int _count;
    private readonly double _theta;
    private readonly double _zeta;
    private readonly double _alpha;
    private readonly double _eta;

    public Zipf(int count, double theta)
    {
        _count = count;
        _theta = theta;
        for (int i = 1; i <= count; i++)
        {
            _zeta += 1 / Math.Pow(i, theta);
        }

        double zeta2 = 1 + Math.Pow(0.5, theta);
        _alpha = 1 / (1 - theta);
        _eta = (1 - Math.Pow(2.0 / count, 1 - theta)) / (1 - (zeta2 / _zeta));
    }

    /// <summary>0 to count − 1; 0 is the most frequent.</summary>
    public int Next(SeededChoice choice)
    {
        double u = choice.Part();
        double uz = u * _zeta;
        return uz < 1 ? 0
            : uz < 1 + Math.Pow(0.5, _theta) ? 1
            : Math.Min(_count - 1, (int)(_count * Math.Pow((_eta * u) - _eta + 1, _alpha)));
    }
}
