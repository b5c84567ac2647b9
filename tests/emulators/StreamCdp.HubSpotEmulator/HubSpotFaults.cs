namespace StreamCdp.HubSpotEmulator;

/// <summary>What goes wrong with a request.</summary>
public enum HubSpotFault
{
    None,
    SecondlyLimit,
    TenSecondlyLimit,
    DailyLimit,
    InternalError,
    BadGateway,
    Unavailable,
    GatewayTimeout,
    Migrating,
    ExpiredToken,
    MissingScope,

    /// <summary>200 with empty results; nothing was done.</summary>
    NoOp,

    /// <summary>Done, but the answer ends in the middle.</summary>
    CutAnswer,

    /// <summary>Done, but the connection is reset instead of an answer.</summary>
    LostAnswer,

    /// <summary>Done, and answered after <see cref="EmulatedHubSpot.SlowAnswer"/>.</summary>
    SlowAnswer,

    /// <summary>Done, but the answer does not come until the other side gives up.</summary>
    NoAnswer,
}

/// <summary>Which requests go wrong, and how: as a test says, or by chance with a seed.</summary>
public sealed class HubSpotFaults
{
    private readonly Lock _lock = new();
    private readonly List<(string Path, HubSpotFault Fault)> _script = [];
    private Random? _random;
    private double _probability;
    private HubSpotFault[] _kinds = [];

    /// <summary>The next requests whose method and path contain a text go wrong; others do not count.</summary>
    public void Next(HubSpotFault fault, string path = "", int times = 1)
    {
        lock (_lock)
        {
            _script.AddRange(Enumerable.Repeat((path, fault), times));
        }
    }

    /// <summary>From now on some of all requests go wrong; 0: none.</summary>
    public void Randomly(int seed, double probability, params HubSpotFault[] kinds)
    {
        lock (_lock)
        {
#pragma warning disable CA5394 // Faults that come again with the same seed.
            _random = new Random(seed);
#pragma warning restore CA5394
            _probability = probability;
            _kinds = kinds;
        }
    }

    internal HubSpotFault Of(string request)
    {
        lock (_lock)
        {
            int found = _script.FindIndex(entry => request.Contains(entry.Path, StringComparison.Ordinal));
            if (found >= 0)
            {
                HubSpotFault fault = _script[found].Fault;
                _script.RemoveAt(found);
                return fault;
            }

#pragma warning disable CA5394 // As above.
            return _random is not null && _random.NextDouble() < _probability ? _kinds[_random.Next(_kinds.Length)] : HubSpotFault.None;
#pragma warning restore CA5394
        }
    }
}
