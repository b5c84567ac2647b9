namespace StreamCdp.Cli.Simulation;

/// <summary>How the simulated shop behaves. The same settings give the same people, devices and calls; only the instants differ.</summary>
internal sealed record ShopSettings
{
    /// <summary>Start of every random choice.</summary>
    public int Seed { get; init; } = 42;

    /// <summary>People of the shop, 1 or more.</summary>
    public int People { get; init; } = 500;

    /// <summary>Goes into every identifier and messageId, so that two runs against one server do not meet.</summary>
    public string Tag { get; init; } = "demo";

    /// <summary>Source id and write key of the website.</summary>
    public ShopSource Web { get; init; } = new("web", "");

    /// <summary>Source id and write key of the app.</summary>
    public ShopSource App { get; init; } = new("app", "");

    /// <summary>Most events of one batch call, 2 or more.</summary>
    public int BatchMax { get; init; } = 6;
}

/// <summary>A source that the shop sends as.</summary>
/// <param name="Id">Id in the model.</param>
/// <param name="WriteKey">Its secret.</param>
internal sealed record ShopSource(string Id, string WriteKey);
