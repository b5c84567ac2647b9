namespace StreamCdp.Connectors;

/// <summary>A token bucket: so many requests a second over time, and that many at once after a rest.</summary>
/// <remarks>Not System.Threading.RateLimiting: its bucket measures by the machine's clock alone, so no test could drive it without sleeping.</remarks>
internal sealed class RequestBudget
{
    private readonly Lock _lock = new();
    private readonly double _perSecond;
    private readonly double _most;
    private readonly TimeProvider _time;
    private double _tokens;
    private long _at;

    /// <summary>A full bucket.</summary>
    /// <param name="perSecond">Above 0.</param>
    /// <param name="time">Its clock.</param>
    public RequestBudget(double perSecond, TimeProvider time)
    {
        _perSecond = perSecond;
        _most = Math.Max(1, perSecond);
        _time = time;
        _tokens = _most;
        _at = time.GetTimestamp();
    }

    /// <summary>Requests that could be made at once now, before others wait.</summary>
    public double Left
    {
        get
        {
            lock (_lock)
            {
                Refill();
                return Math.Max(0, _tokens);
            }
        }
    }

    /// <summary>How long until there is more than what is kept for requests that somebody waits for: half of the bucket. Zero: work that can wait may make a request now.</summary>
    public TimeSpan SpareIn
    {
        get
        {
            lock (_lock)
            {
                Refill();
                double wanted = Math.Min(_most, 1 + (_most / 2));
                return _tokens >= wanted ? TimeSpan.Zero : TimeSpan.FromSeconds((wanted - _tokens) / _perSecond);
            }
        }
    }

    /// <summary>Takes one request.</summary>
    /// <returns>How long to wait before making it; zero: none.</returns>
    public TimeSpan Take()
    {
        lock (_lock)
        {
            Refill();
            _tokens--;
            return _tokens >= 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(-_tokens / _perSecond);
        }
    }

    private void Refill()
    {
        long now = _time.GetTimestamp();
        _tokens = Math.Min(_most, _tokens + (_time.GetElapsedTime(_at, now).TotalSeconds * _perSecond));
        _at = now;
    }
}
