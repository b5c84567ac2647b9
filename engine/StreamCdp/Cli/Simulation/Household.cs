namespace StreamCdp.Cli.Simulation;

/// <summary>People who may share a device. Its calls follow one another: the next one starts when the one before is acknowledged, so the order of its events is known.</summary>
internal sealed class Household(int index, Random random, Shopper[] people, ShopDevice[] devices) : IDisposable
{
    /// <summary>Number of the household.</summary>
    public int Index { get; } = index;

    /// <summary>All choices of this household come from here, so they do not depend on what others do.</summary>
    public Random Random { get; } = random;

    /// <summary>One, or two who share the first device.</summary>
    public Shopper[] People { get; } = people;

    /// <summary>All devices.</summary>
    public ShopDevice[] Devices { get; } = devices;

    /// <summary>Held by the call under way.</summary>
    public SemaphoreSlim Free { get; } = new(1, 1);

    /// <summary>No event of this household is later, Unix ms, but those without a time of their own in the call under way.</summary>
    public long LastMs { get; set; }

    /// <summary>Number of the next message.</summary>
    public int NextMessage { get; set; }

    /// <inheritdoc/>
    public void Dispose() => Free.Dispose();
}

/// <summary>A person of the shop.</summary>
internal sealed class Shopper
{
    /// <summary>As sent in <c>userId</c>.</summary>
    public required string UserId { get; init; }

    /// <summary><see cref="UserId"/> is digits alone, and some clients send it as a JSON number.</summary>
    public bool HasNumericId { get; init; }

    /// <summary>Address as it is normalised.</summary>
    public required string Email { get; init; }

    /// <summary>Country of <c>traits.country</c>.</summary>
    public required string Country { get; init; }

    /// <summary>Plan now; it changes.</summary>
    public required string Plan { get; set; }

    /// <summary>Name.</summary>
    public required string Name { get; init; }

    /// <summary>Anonymous ids that this person had; bounded, so that no limit of the model is met.</summary>
    public int AnonymousIds { get; set; }
}

/// <summary>A browser or a phone.</summary>
internal sealed class ShopDevice
{
    /// <summary>A browser; else an app.</summary>
    public required bool IsWeb { get; init; }

    /// <summary>Source it sends as.</summary>
    public required ShopSource Source { get; init; }

    /// <summary>Where its SDK puts the write key.</summary>
    public required KeyPlace KeyPlace { get; init; }

    /// <summary>How its SDK gives the time.</summary>
    public required ClockStyle Clock { get; init; }

    /// <summary>Its clock minus the true time, ms.</summary>
    public required long SkewMs { get; init; }

    /// <summary>Who may use it.</summary>
    public required Shopper[] Users { get; init; }

    /// <summary>Id now.</summary>
    public required string AnonymousId { get; set; }

    /// <summary>Id before the last log-out, for <c>alias</c>; null: none.</summary>
    public string? FormerAnonymousId { get; set; }

    /// <summary>Logged in, or null.</summary>
    public Shopper? User { get; set; }

    /// <summary>Product looked at last.</summary>
    public ShopProduct? Viewed { get; set; }

    /// <summary>Products in the cart.</summary>
    public List<ShopProduct> Cart { get; } = [];

    /// <summary>An event that may be sent again, with its batch's sentAt; null: none yet.</summary>
    public ReadOnlyMemory<byte>? Repeatable { get; set; }
}

/// <summary>How an SDK gives the time of an event (facts/tracking-clients.md §2).</summary>
internal enum ClockStyle
{
    /// <summary><c>timestamp</c> alone.</summary>
    Timestamp,

    /// <summary><c>timestamp</c> and <c>sentAt</c> of the batch or event.</summary>
    TimestampAndSentAt,

    /// <summary><c>originalTimestamp</c>, <c>timestamp</c> and <c>sentAt</c>: already corrected by its sender.</summary>
    Corrected,

    /// <summary><c>originalTimestamp</c> and <c>sentAt</c>.</summary>
    OriginalAndSentAt,

    /// <summary>No time at all.</summary>
    None,
}

/// <summary>A product of the shop.</summary>
/// <param name="Id">Stock number.</param>
/// <param name="Name">Name.</param>
/// <param name="Category">Category.</param>
/// <param name="Price">Price, two decimals.</param>
internal sealed record ShopProduct(string Id, string Name, string Category, decimal Price);
