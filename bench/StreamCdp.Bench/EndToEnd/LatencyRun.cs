using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using HdrHistogram;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging.Abstractions;
using StreamCdp.Cli;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Observability;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>From an event's scheduled time to its membership change readable in the log memberships, at a constant rate.</summary>
/// <remarks>
/// Open loop: when an event should have been sent is given by the rate alone, and the clock starts there, so a stall of server or sender is counted
/// for every event that it holds up. Each event is the first of a new person, who so enters the segment new_visitors.
/// </remarks>
internal static partial class LatencyRun
{
    private const int WarmUpSeconds = 10;
    private const int Connections = 64;
    private const int IdleSeconds = 5;

    public static async Task<int> RunAsync(BenchOptions options)
    {
        await using Place place = await Place.MakeAsync(options).ConfigureAwait(false);
        int total = options.Rate * (WarmUpSeconds + options.Seconds);
        return options.Through == "http" ? await ThroughHttpAsync(place, options, total).ConfigureAwait(false) : await ThroughLogAsync(place, options, total).ConfigureAwait(false);
    }

    private static async Task<int> ThroughLogAsync(Place place, BenchOptions options, int total)
    {
        await using ILogStore logs = place.OpenLogs();
        var metrics = new EngineMetrics(Prometheus.Metrics.NewCustomRegistry(), TimeProvider.System);
        CdpModel model = Place.Model(options);
        Truth? truth = null;
        if (options.Backfill > 0)
        {
            truth = await LoadAsync(place, options, logs, model).ConfigureAwait(false);
            model = WithLaterRules(model);
        }
        else if (options.Expire > 0)
        {
            model = model with { Version = 2, Segments = [.. model.Segments, Segment("expiring", string.Create(CultureInfo.InvariantCulture, $"happened(\"Burst\", within: {ExpiresAfterSeconds(options)}s)"))] };
        }

        await using CdpEngine engine = CdpEngine.Start(place.Engine, model, logs, place.StatePath, SchemaIds.BuiltIn, metrics, TimeProvider.System, NullLogger.Instance);
        var backfill = Stopwatch.StartNew();
        Task<TimeSpan> filled = truth is null ? Task.FromResult(TimeSpan.Zero) : WhenFilledAsync(engine, backfill);
        using ILogWriter writer = engine.Events.OpenWriter();
        byte[] buffer = new byte[2048];
        if (options.Expire > 0)
        {
            Burst(options.Expire, writer, ref buffer);
            await engine.WaitAppliedAsync(TimeSpan.FromMinutes(2), CancellationToken.None).ConfigureAwait(false);
            Console.WriteLine($"{Members(engine, "expiring"):N0} profiles leave the segment expiring at the same millisecond, {ExpiresAfterSeconds(options)} s after the burst");
        }

        int result = await MeasureLogAsync(options, total, engine, writer, buffer).ConfigureAwait(false);
        if (options.Expire > 0)
        {
            Console.WriteLine($"left since: {metrics.SegmentExited("expiring").Value:N0}");
            return metrics.SegmentExited("expiring").Value == options.Expire ? result : 1;
        }

        return truth is null ? result : await PrintFilledAsync(engine, truth, await filled.ConfigureAwait(false), options.Backfill).ConfigureAwait(false) ? result : 1;
    }

    private static int ExpiresAfterSeconds(BenchOptions options) => 5 + IdleSeconds + WarmUpSeconds + (options.Seconds / 2);

    private static long Members(CdpEngine engine, string segment) => engine.Segments().First(status => status.Id == segment).Members;

    private static SegmentDefinition Segment(string id, string when) => new(id, id, ExpressionReader.ReadCondition(when).Expression!, 1);

    /// <summary>The demo's rules once more, with functions that nothing has counted.</summary>
    private static CdpModel WithLaterRules(CdpModel model) => ModelReader.Read("cdp.yaml", model.Text + """

          mobile_buyers_again: { when: 'count("Order Completed", within: 31d, where: context.device.type in ["ios", "android"] or context.userAgent contains "Mobile") >= 1' }
          big_spenders_again: { when: 'sum("Order Completed", properties.revenue, within: 91d) >= 500 and traits.country in ["DE", "FR", "AT"]' }
          new_visitors_again: { when: 'count("*", where: type != "group") > 0 and not happened("Order Completed", where: type == "track") and not identifiers.user_id exists' }
          funnel: { when: 'sequence("Product Viewed", "Product Added", "Order Completed", within: 2h)' }
          variety: { when: 'unique_count("Product Viewed", properties.product_id, within: 30d) > 20 or most_frequent("Product Viewed", properties.category) == "toys"' }
        backfill: auto
        """, _ => null).Model!;

    private static async Task<Truth> LoadAsync(Place place, BenchOptions options, ILogStore logs, CdpModel model)
    {
        using var workload = new Workload(options.People, options.Seed, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() - (options.Backfill * 4L));
        PipelineRun.Load(logs, place.Engine, workload, options.Backfill);
        await using CdpEngine engine = CdpEngine.Start(place.Engine, model, logs, place.StatePath, SchemaIds.BuiltIn, new EngineMetrics(Prometheus.Metrics.NewCustomRegistry(), TimeProvider.System), TimeProvider.System, NullLogger.Instance);
        await engine.WaitAppliedAsync(TimeSpan.FromMinutes(30), CancellationToken.None).ConfigureAwait(false);
        return workload.Truth();
    }

    private static async Task<TimeSpan> WhenFilledAsync(CdpEngine engine, Stopwatch watch)
    {
        while (engine.Segments().Any(segment => segment.ServedVersion is null || segment.NeedsBackfill))
        {
            await Task.Delay(50).ConfigureAwait(false);
        }

        return watch.Elapsed;
    }

    private static async Task<bool> PrintFilledAsync(CdpEngine engine, Truth truth, TimeSpan took, int events)
    {
        await engine.WaitAppliedAsync(TimeSpan.FromMinutes(2), CancellationToken.None).ConfigureAwait(false);
        Console.WriteLine($"backfill of {events:N0} events for 5 segments, all profiles switched {took.TotalSeconds:F1} s after the start");
        bool isRight = true;
        foreach (string id in (string[])["mobile_buyers", "big_spenders"])
        {
            long found = Members(engine, id + "_again");
            isRight &= found == truth.Members[id] && found == Members(engine, id);
            Console.WriteLine($"{id}_again: {found:N0} members; {id}: {Members(engine, id):N0}; truth: {truth.Members[id]:N0}");
        }

        isRight &= Members(engine, "new_visitors_again") == Members(engine, "new_visitors");
        Console.WriteLine($"new_visitors_again: {Members(engine, "new_visitors_again"):N0} members; new_visitors: {Members(engine, "new_visitors"):N0}; funnel: {Members(engine, "funnel"):N0}; variety: {Members(engine, "variety"):N0}");
        return isRight;
    }

    private static void Burst(int people, ILogWriter writer, ref byte[] buffer)
    {
        long at = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        for (int i = 0; i < people; i++)
        {
            byte[] id = Encoding.UTF8.GetBytes($"burst-{i:x8}");
            int length = new CustomerEvent
            {
                MessageId = id,
                Source = "web"u8,
                ReceivedAt = at,
                Payload = Encoding.UTF8.GetBytes($$$"""{"messageId":"burst-{{{i:x8}}}","type":"track","event":"Burst","anonymousId":"somebody-{{{i:x8}}}"}"""),
            }.WriteTo(ref buffer, WireFormat.WriteHeader(ref buffer, 0, SchemaIds.BuiltIn[RecordType.CustomerEvent]));
            writer.Append(0, id, buffer.AsSpan(0, length), at);
        }
    }

    private static Task<int> MeasureLogAsync(BenchOptions options, int total, CdpEngine engine, ILogWriter writer, byte[] buffer)
    {
        return MeasureAsync(options, total, engine.Memberships, number =>
        {
            long now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
            string id = number.ToString("x8");
            byte[] messageId = Encoding.UTF8.GetBytes(id);
            int length = new CustomerEvent
            {
                MessageId = messageId,
                Source = "web"u8,
                ReceivedAt = now,
                Payload = Encoding.UTF8.GetBytes(Event(id)),
            }.WriteTo(ref buffer, WireFormat.WriteHeader(ref buffer, 0, SchemaIds.BuiltIn[RecordType.CustomerEvent]));
            writer.Append(0, messageId, buffer.AsSpan(0, length), now);
        });
    }

    private static async Task<int> ThroughHttpAsync(Place place, BenchOptions options, int total)
    {
        var settings = new Dictionary<string, string?>
        {
            ["StreamCdp:Log:Kind"] = options.Log,
            ["StreamCdp:Log:Durability"] = options.Durability.ToString(),
            ["StreamCdp:Kafka:BootstrapServers"] = place.Bootstrap,
            ["StreamCdp:State:Path"] = place.DataPath,
            ["StreamCdp:Http:Urls"] = "http://127.0.0.1:0",
        };
        ServerSettings server = ServerSettings.From(new ConfigurationBuilder().AddInMemoryCollection(settings).Build()) with { ModelText = Place.ModelText(), IsQuiet = true };
        await using ServerHost host = await ServerHost.StartAsync(server, CancellationToken.None).ConfigureAwait(false);
        using var sender = new HttpSender(host.Address.Port);
        int result = await MeasureAsync(options, total, host.Engine.Memberships, number => sender.Send(Event(number.ToString("x8")))).ConfigureAwait(false);
        Console.WriteLine($"HTTP connections used {sender.Opened}, answers other than 200: {sender.Refused}");
        return sender.Refused == 0 ? result : 1;
    }

    private static async Task<int> MeasureAsync(BenchOptions options, int total, ILog memberships, Action<int> send)
    {
        TimeSpan idleFrom = Environment.CpuUsage.TotalTime;
        await Task.Delay(TimeSpan.FromSeconds(IdleSeconds)).ConfigureAwait(false);
        double idle = (Environment.CpuUsage.TotalTime - idleFrom).TotalSeconds / IdleSeconds;

        int warm = options.Rate * WarmUpSeconds;
        var histogram = new LongHistogram(TimeSpan.TicksPerMinute, 3); // Unit: 0.1 µs ticks.
        long start = Stopwatch.GetTimestamp() + (Stopwatch.Frequency / 10);
        int found = 0;
        using var stop = new CancellationTokenSource();
        var readers = new List<Thread>();
        for (int shard = 0; shard < memberships.Partitions; shard++)
        {
            int partition = shard;
            var reader = new Thread(() => Read(memberships, partition));
            reader.Start();
            readers.Add(reader);
        }

        TimeSpan cpuFrom = default;
        TimeSpan cpuTo = default;
        var senderThread = new Thread(() =>
        {
            for (int number = 0; number < total; number++)
            {
                if (number == warm)
                {
                    cpuFrom = Environment.CpuUsage.TotalTime;
                }

                SleepUntil(Due(number));
                send(number);
            }

            cpuTo = Environment.CpuUsage.TotalTime;
        });
        senderThread.Start();
        await Task.Run(senderThread.Join).ConfigureAwait(false);
        for (int waited = 0; Volatile.Read(ref found) < total && waited < 300; waited++)
        {
            await Task.Delay(100).ConfigureAwait(false);
        }

        await stop.CancelAsync().ConfigureAwait(false);
        await Task.Run(() => readers.ForEach(reader => reader.Join())).ConfigureAwait(false);
        Console.WriteLine($"""
            latency, {options.Rate:N0} events/s for {options.Seconds} s after {WarmUpSeconds} s of warm-up, through {options.Through}, log {options.Log}{(options.Log == "local" ? $" {options.Durability}" : "")}: scheduled → membership readable
              p50   {Ms(50),8:F2} ms
              p90   {Ms(90),8:F2} ms
              p99   {Ms(99),8:F2} ms
              p99.9 {Ms(99.9),8:F2} ms
              max   {histogram.GetMaxValue() / 10_000.0,8:F2} ms
              measured {histogram.TotalCount:N0} of {total - warm:N0}; seen {found:N0} of {total:N0}
              CPU under load {(cpuTo - cpuFrom).TotalSeconds / options.Seconds * 100:F1} % of a core, with sender and reader; idle {idle * 100:F2} % of a core
            """);
        return found == total && histogram.TotalCount == total - warm ? 0 : 1;

        double Ms(double percentile) => histogram.GetValueAtPercentile(percentile) / 10_000.0;

        long Due(int number) => start + (long)(number * (double)Stopwatch.Frequency / options.Rate);

        void Read(ILog log, int partition)
        {
            using var signal = new WorkSignal();
            using ILogReader reader = log.OpenReader(partition, log.EndOffset(partition), signal);
            while (!stop.IsCancellationRequested)
            {
                if (!reader.TryRead(out LogRecord record))
                {
                    signal.Wait(100);
                    continue;
                }

                if (WireFormat.TryRead(record.Value, out _, out ReadOnlySpan<byte> body) && SegmentMembership.TryRead(body, out SegmentMembership change)
                    && change.Segment.SequenceEqual("new_visitors"u8) && change.Change == MembershipChange.Entered && change.Cause.Length == 8)
                {
                    int number = Convert.ToInt32(Encoding.UTF8.GetString(change.Cause), 16);
                    Interlocked.Increment(ref found);
                    if (number >= warm)
                    {
                        long ticks = Math.Max(0, Stopwatch.GetElapsedTime(Due(number)).Ticks);
                        lock (histogram)
                        {
                            histogram.RecordValue(Math.Min(ticks, TimeSpan.TicksPerMinute));
                        }
                    }
                }
            }
        }
    }

    private static string Event(string id) =>
        $$$$"""{"messageId":"{{{{id}}}}","type":"page","name":"Home","anonymousId":"visitor-{{{{id}}}}-of-the-latency-run","properties":{"url":"https://shop.example/c/17","path":"/c/17","title":"Shop – warm coats for cold days","referrer":"https://search.example/"},"context":{"ip":"203.0.113.7","userAgent":"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0","locale":"de-DE","timezone":"Europe/Berlin","library":{"name":"analytics.js","version":"5.2.1"}}}""";

    /// <summary>Sleeps with the kernel's precision (about 60 µs); Thread.Sleep has a whole millisecond, which would be in every figure.</summary>
    private static void SleepUntil(long due)
    {
        for (long left; (left = due - Stopwatch.GetTimestamp()) > 0;)
        {
            var wait = new Timespec { Nanoseconds = Math.Min(left * (1_000_000_000 / Stopwatch.Frequency), 999_999_999) };
            _ = nanosleep(in wait, IntPtr.Zero);
        }
    }

    [LibraryImport("libc")]
    private static partial int nanosleep(in Timespec wait, IntPtr rest);

    private struct Timespec
    {
        public long Seconds;
        public long Nanoseconds;
    }

    /// <summary>Sends events over keep-alive connections, each answered before it is used again; a new one is opened where all are in use.</summary>
    private sealed class HttpSender : IDisposable
    {
        private readonly int _port;
        private readonly ConcurrentBag<Connection> _free = [];
        private readonly ConcurrentBag<Connection> _all = [];
        private readonly string _authorization = Convert.ToBase64String("demo-web-key:"u8);
        private int _refused;

        public HttpSender(int port)
        {
            _port = port;
            for (int i = 0; i < Connections; i++)
            {
                _free.Add(Open());
            }
        }

        public int Opened => _all.Count;

        public int Refused => _refused;

        public void Send(string json)
        {
            if (!_free.TryTake(out Connection? connection))
            {
                connection = Open();
            }

            byte[] body = Encoding.UTF8.GetBytes(json);
            byte[] request = [.. Encoding.ASCII.GetBytes($"POST /v1/page HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic {_authorization}\r\nContent-Type: application/json\r\nContent-Length: {body.Length}\r\n\r\n"), .. body];
            connection.Socket.Send(request);
            connection.Receive.SetBuffer(connection.Buffer, 0, connection.Buffer.Length);
            if (!connection.Socket.ReceiveAsync(connection.Receive))
            {
                Answered(connection);
            }
        }

        public void Dispose()
        {
            foreach (Connection connection in _all)
            {
                connection.Socket.Dispose();
                connection.Receive.Dispose();
            }
        }

        private Connection Open()
        {
            var connection = new Connection { Socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true } };
            connection.Socket.Connect(IPAddress.Loopback, _port);
            connection.Receive.Completed += (_, _) => Answered(connection);
            _all.Add(connection);
            return connection;
        }

        /// <remarks>The answer is small and comes in one piece; one that does not would be counted as refused.</remarks>
        private void Answered(Connection connection)
        {
            if (!connection.Buffer.AsSpan(0, connection.Receive.BytesTransferred).StartsWith("HTTP/1.1 200"u8))
            {
                Interlocked.Increment(ref _refused);
            }

            _free.Add(connection);
        }

        private sealed class Connection
        {
            public required Socket Socket { get; init; }

            public SocketAsyncEventArgs Receive { get; } = new();

            public byte[] Buffer { get; } = new byte[4096];
        }
    }
}
