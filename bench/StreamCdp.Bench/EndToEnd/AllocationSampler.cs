using System.Diagnostics.Tracing;
using System.Globalization;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>Says which types are allocated most, from the runtime's own samples (one about every 100 KB).</summary>
internal sealed class AllocationSampler : EventListener
{
    private const EventKeywords Gc = (EventKeywords)1;
    private readonly Dictionary<string, long> _bytes = [];

    /// <summary>Forgets what came before.</summary>
    public void Clear()
    {
        lock (_bytes)
        {
            _bytes.Clear();
        }
    }

    /// <summary>The largest, as lines for people.</summary>
    public IEnumerable<string> Top(int count, double events)
    {
        lock (_bytes)
        {
            return [.. _bytes.OrderByDescending(type => type.Value).Take(count).Select(type => string.Create(CultureInfo.InvariantCulture, $"{type.Value / events,10:F1} B an event  {type.Key}"))];
        }
    }

    protected override void OnEventSourceCreated(EventSource eventSource)
    {
        if (eventSource.Name == "Microsoft-Windows-DotNETRuntime")
        {
            EnableEvents(eventSource, EventLevel.Verbose, Gc);
        }
    }

    protected override void OnEventWritten(EventWrittenEventArgs eventData)
    {
        if (eventData.EventName?.StartsWith("GCAllocationTick", StringComparison.Ordinal) != true)
        {
            return;
        }

        string type = (string)eventData.Payload![eventData.PayloadNames!.IndexOf("TypeName")]!;
        long bytes = Convert.ToInt64(eventData.Payload[eventData.PayloadNames.IndexOf("AllocationAmount64")], CultureInfo.InvariantCulture);
        lock (_bytes)
        {
            _bytes[type] = _bytes.GetValueOrDefault(type) + bytes;
        }
    }
}
