using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using Prometheus;
using StreamCdp.Engine.Model;

namespace StreamCdp.Engine.Pipeline.Collect;

/// <summary>A source of the model as the collector uses it: its key only as a hash.</summary>
internal sealed class CollectSource(SourceDefinition definition, Counter.Child received, TokenBucket? bucket)
{
    private readonly byte[] _keyHash = SHA256.HashData(Encoding.UTF8.GetBytes(definition.WriteKey!));

    /// <summary>Id, UTF-8.</summary>
    public byte[] Id { get; } = Encoding.UTF8.GetBytes(definition.Id);

    /// <summary>May mark events as an import (RULES.md §4.1).</summary>
    public bool Trusted => definition.Trusted;

    /// <summary>Events received.</summary>
    public Counter.Child Received => received;

    /// <summary>Its rate limit, or null.</summary>
    public TokenBucket? Bucket => bucket;

    /// <summary>Compares in constant time.</summary>
    public bool HasKeyHash(ReadOnlySpan<byte> hash) => CryptographicOperations.FixedTimeEquals(hash, _keyHash);
}

/// <summary>Allows a number of events a second, and ten seconds of it at once. A batch larger than what is left passes and is paid for afterwards.</summary>
internal sealed class TokenBucket(int eventsPerSecond, TimeProvider time)
{
    private const int BurstSeconds = 10;

    private readonly Lock _lock = new();
    private double _tokens = (double)eventsPerSecond * BurstSeconds;
    private long _at = time.GetTimestamp();

    /// <summary>Takes tokens.</summary>
    /// <param name="events">How many.</param>
    /// <param name="wait">How long until there are some again.</param>
    /// <returns>False while there are none.</returns>
    public bool TryTake(int events, out TimeSpan wait)
    {
        Debug.Assert(events >= 0, "A batch has no negative size.");
        lock (_lock)
        {
            long now = time.GetTimestamp();
            _tokens = Math.Min((double)eventsPerSecond * BurstSeconds, _tokens + (time.GetElapsedTime(_at, now).TotalSeconds * eventsPerSecond));
            _at = now;
            if (_tokens <= 0)
            {
                wait = TimeSpan.FromSeconds((-_tokens + 1) / eventsPerSecond);
                return false;
            }

            _tokens -= events;
            wait = TimeSpan.Zero;
            return true;
        }
    }
}
