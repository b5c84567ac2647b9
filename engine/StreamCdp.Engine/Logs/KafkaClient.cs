using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;

namespace StreamCdp.Engine.Logs;

/// <summary>One librdkafka client and the thread that takes its events: deliveries, errors, log lines.</summary>
internal abstract unsafe class KafkaClient : IDisposable
{
    private const int ErrorBytes = 512;

    private const int RepeatMs = 10_000;

    private readonly Dictionary<string, long> _said = []; // While a broker is away the same comes many times a second.
    private readonly ILogger _logger;
    private readonly nint _events;
    private readonly Thread _thread;
    private volatile bool _stop;
    private volatile string? _trouble;

    protected KafkaClient(int type, Dictionary<string, string> settings, ILogger logger)
    {
        _logger = logger;
        settings["log.queue"] = "true";
        settings["statistics.interval.ms"] = "0";
        byte* error = stackalloc byte[ErrorBytes];
        nint conf = Rdkafka.ConfNew();
        foreach ((string name, string value) in settings)
        {
            if (Rdkafka.ConfSet(conf, name, value, error, ErrorBytes) != 0)
            {
                Rdkafka.ConfDestroy(conf);
                throw KafkaOptions.Refused($"setting {name} is refused: {Rdkafka.Text(error)}");
            }
        }

        Rdkafka.ConfSetEvents(conf, Rdkafka.EventDelivery | Rdkafka.EventError | Rdkafka.EventLog);
        Handle = Rdkafka.New(type, conf, error, ErrorBytes);
        if (Handle == 0)
        {
            Rdkafka.ConfDestroy(conf);
            throw KafkaOptions.Refused(Rdkafka.Text(error));
        }

        _ = Rdkafka.SetLogQueue(Handle, 0);
        _events = Rdkafka.QueueGetMain(Handle);
        _thread = new Thread(TakeEvents) { IsBackground = true, Name = type == Rdkafka.Producer ? "kafka producer" : "kafka consumer" };
    }

    public nint Handle { get; }

    /// <summary>Why the cluster seems away, or null. Kafka clients reconnect for ever; this is for people and health checks.</summary>
    public string? Trouble => _trouble;

    protected ILogger Logger => _logger;

    /// <summary>Something came through: the trouble is over.</summary>
    public void Works()
    {
        if (_trouble is not null)
        {
            _trouble = null;
        }
    }

    public void Dispose()
    {
        _stop = true;
        Rdkafka.QueueYield(_events);
        _thread.Join();
        Rdkafka.QueueDestroy(_events);
        Rdkafka.Destroy(Handle, Rdkafka.DestroyWithoutConsumerClose);
    }

    protected void Start() => _thread.Start();

    protected virtual void Delivered(Rdkafka.Message** messages, int count)
    {
    }

    protected virtual void AfterDeliveries()
    {
    }

    protected virtual void FatallyFailed(string reason)
    {
    }

    private void TakeEvents()
    {
        const int Most = 1024;
        Rdkafka.Message** messages = (Rdkafka.Message**)NativeMemory.Alloc(Most, (nuint)sizeof(nint));
        while (!_stop)
        {
            nint next = Rdkafka.QueuePoll(_events, 500);
            if (next == 0)
            {
                continue;
            }

            switch (Rdkafka.EventType(next))
            {
                case Rdkafka.EventDelivery:
                    nuint count;
                    while ((count = Rdkafka.EventMessages(next, messages, Most)) > 0)
                    {
                        Delivered(messages, (int)count);
                    }

                    AfterDeliveries();
                    break;
                case Rdkafka.EventError:
                    TakeError(next);
                    break;
                case Rdkafka.EventLog:
                    TakeLog(next);
                    break;
            }

            Rdkafka.EventDestroy(next);
        }

        NativeMemory.Free(messages);
    }

    private void TakeError(nint error)
    {
        int code = Rdkafka.EventErrorCode(error);
        if (code == Rdkafka.Fatal)
        {
            byte* text = stackalloc byte[ErrorBytes];
            _ = Rdkafka.FatalError(Handle, text, ErrorBytes);
            FatallyFailed(Rdkafka.Text(text));
            return;
        }

        string trouble = Rdkafka.DescribeEvent(error);
        if (_trouble is null)
        {
            _logger.Trouble(trouble);
        }

        _trouble = trouble;
    }

    private void TakeLog(nint line)
    {
        byte* facility;
        byte* text;
        int level;
        if (Rdkafka.EventLogLine(line, &facility, &text, &level) == 0)
        {
            // Syslog levels. librdkafka calls each lost connection an error; it heals by itself, so nothing is above a warning here.
            string about = Rdkafka.Text(facility);
            long now = Environment.TickCount64;
            bool isRepeat = _said.TryGetValue(about, out long said) && now - said < RepeatMs;
            if (!isRepeat)
            {
                _said[about] = now;
            }

            _logger.ClientSays(isRepeat ? LogLevel.Debug : level <= 4 ? LogLevel.Warning : level <= 6 ? LogLevel.Information : LogLevel.Debug, about, Rdkafka.Text(text));
        }
    }
}
