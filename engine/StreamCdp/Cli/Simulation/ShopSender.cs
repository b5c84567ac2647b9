using System.Diagnostics;
using HdrHistogram;

namespace StreamCdp.Cli.Simulation;

/// <summary>Sends the shop's calls at a rate, as SDKs do: again after 429 and after a lost connection, with the same messageId.</summary>
internal sealed class ShopSender : IDisposable
{
    private const int MaxInFlight = 64;
    private const int MaxRememberedBytes = 1 << 30;
    private static readonly TimeSpan s_giveUpAfter = TimeSpan.FromSeconds(60);

    private readonly Shop _shop;
    private readonly IShopTarget _target;
    private readonly int _batchMax;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _inFlight = new(MaxInFlight, MaxInFlight);
    private readonly Lock _lock = new();
    private readonly LongHistogram _acknowledgeUs = new(TimeSpan.TicksPerMinute, 3);
    private readonly List<SentEvent> _sent = [];
    private long _remembered;
    private long _acknowledged;
    private long _retries;
    private long _lost;
    private string? _lastProblem;

    /// <summary>Ready to send.</summary>
    /// <param name="shop">What to send.</param>
    /// <param name="settings">The shop's.</param>
    /// <param name="target">Where to; not disposed here.</param>
    /// <param name="time">Clock.</param>
    public ShopSender(Shop shop, ShopSettings settings, IShopTarget target, TimeProvider time)
    {
        _shop = shop;
        _target = target;
        _batchMax = settings.BatchMax;
        _time = time;
    }

    /// <summary>Events of acknowledged calls.</summary>
    public long Acknowledged => Volatile.Read(ref _acknowledged);

    /// <summary>Calls sent again.</summary>
    public long Retries => Volatile.Read(ref _retries);

    /// <summary>Events of calls that were never acknowledged: nobody knows whether they count.</summary>
    public long Lost => Volatile.Read(ref _lost);

    /// <summary>The latest failure that no success followed, or null.</summary>
    public string? LastProblem => Volatile.Read(ref _lastProblem);

    /// <summary>False: more was sent than is kept in memory, so the truth is not complete.</summary>
    public bool RemembersAll { get; private set; } = true;

    /// <summary>Everything that was sent, in order. Read it after <see cref="RunAsync"/>.</summary>
    public IReadOnlyList<SentEvent> Sent => _sent;

    /// <summary>Time from sending to acknowledgement at a percentile, ms.</summary>
    public double AcknowledgeMs(double percentile)
    {
        lock (_lock)
        {
            return _acknowledgeUs.TotalCount == 0 ? 0 : _acknowledgeUs.GetValueAtPercentile(percentile) / 1000.0;
        }
    }

    /// <summary>Sends until the duration is over or <paramref name="stop"/>, then waits for the calls under way.</summary>
    /// <param name="rate">Events a second.</param>
    /// <param name="duration">How long; null: until <paramref name="stop"/>.</param>
    /// <param name="stop">Ends sending; calls under way still end properly.</param>
    public async Task RunAsync(double rate, TimeSpan? duration, CancellationToken stop)
    {
        long start = Stopwatch.GetTimestamp();
        double dueSeconds = 0;
        try
        {
            while (!stop.IsCancellationRequested && (duration is null || Stopwatch.GetElapsedTime(start) < duration))
            {
                double aheadSeconds = dueSeconds - Stopwatch.GetElapsedTime(start).TotalSeconds;
                if (aheadSeconds > 0.001)
                {
                    await Task.Delay(TimeSpan.FromSeconds(Math.Min(aheadSeconds, 1)), _time, stop).ConfigureAwait(false);
                    continue;
                }

                Household household = _shop.Pick();
                await household.Free.WaitAsync(stop).ConfigureAwait(false);
                ShopCall call = await BuildAsync(household).ConfigureAwait(false);
                dueSeconds += call.Events.Count / rate;
                await _inFlight.WaitAsync(CancellationToken.None).ConfigureAwait(false);
                _ = SendAndReleaseAsync(household, call);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // Asked to stop.
        }

        for (int i = 0; i < MaxInFlight; i++)
        {
            await _inFlight.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        }

        _inFlight.Release(MaxInFlight);
    }

    /// <inheritdoc/>
    public void Dispose() => _inFlight.Dispose();

    private long NowMs() => _time.GetUtcNow().ToUnixTimeMilliseconds();

    private async Task<ShopCall> BuildAsync(Household household)
    {
        while (NowMs() <= household.LastMs + _batchMax)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(_batchMax), _time, CancellationToken.None).ConfigureAwait(false); // Its events get times of their own after the last one.
        }

        ShopCall call = _shop.Build(household, NowMs());
        if (_remembered > MaxRememberedBytes)
        {
            RemembersAll = false;
        }
        else
        {
            foreach (SentEvent sent in call.Events)
            {
                _remembered += sent.Json.Length + 100;
                _sent.Add(sent);
            }
        }

        return call;
    }

    private async Task SendAndReleaseAsync(Household household, ShopCall call)
    {
        try
        {
            long sentMs = NowMs();
            foreach (SentEvent sent in call.Events)
            {
                sent.SentMs = sentMs;
            }

            bool isAcknowledged = await SendAsync(call).ConfigureAwait(false);
            household.LastMs = NowMs();
            if (!isAcknowledged)
            {
                Interlocked.Add(ref _lost, call.Events.Count);
                return;
            }

            foreach (SentEvent sent in call.Events)
            {
                sent.AcknowledgedMs = _target.SetsReceivedAt ? sent.SentMs : household.LastMs;
            }

            Interlocked.Add(ref _acknowledged, call.Events.Count);
        }
        finally
        {
            household.Free.Release();
            _inFlight.Release();
        }
    }

    private async Task<bool> SendAsync(ShopCall call)
    {
        long first = Stopwatch.GetTimestamp();
        for (int attempt = 0; ; attempt++)
        {
            long start = Stopwatch.GetTimestamp();
            CallResult result = await _target.SendAsync(call).ConfigureAwait(false);
            Volatile.Write(ref _lastProblem, result.Problem);
            if (result.Outcome == CallOutcome.Acknowledged)
            {
                lock (_lock)
                {
                    _acknowledgeUs.RecordValue(Math.Clamp((long)Stopwatch.GetElapsedTime(start).TotalMicroseconds, 1, TimeSpan.TicksPerMinute - 1));
                }

                return true;
            }

            TimeSpan wait = result.RetryAfter ?? TimeSpan.FromMilliseconds(Math.Min(5_000, 50 << Math.Min(attempt, 8)));
            if (result.Outcome == CallOutcome.GivenUp)
            {
                return false;
            }

            if (Stopwatch.GetElapsedTime(first) + wait > s_giveUpAfter)
            {
                return false;
            }

            Interlocked.Increment(ref _retries);
            await Task.Delay(wait, _time, CancellationToken.None).ConfigureAwait(false);
        }
    }
}
