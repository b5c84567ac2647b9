using System.Reflection;
using System.Runtime.InteropServices;

namespace StreamCdp.Engine.Logs;

/// <summary>The part of librdkafka that the hot path calls directly: Confluent.Kafka's Consume costs about 550 B of garbage a message, this none.</summary>
/// <remarks>It is the same file that Confluent.Kafka loaded, so there is one librdkafka in the process. Source: rdkafka.h of librdkafka 2.16.</remarks>
internal static unsafe partial class Rdkafka
{
    public const int Producer = 0;
    public const int Consumer = 1;

    public const int EventDelivery = 0x1;
    public const int EventLog = 0x4;
    public const int EventError = 0x8;

    public const int QueueFull = -184;
    public const int PartitionEof = -191;
    public const int AllBrokersDown = -187;
    public const int Fatal = -150;
    public const int AutoOffsetReset = -140;
    public const int LogTruncation = -139;
    public const int OffsetOutOfRange = 1;
    public const int TopicAuthorizationFailed = 29;

    public const int DestroyWithoutConsumerClose = 0x8;

    private const string Name = "librdkafka";

    static Rdkafka() => NativeLibrary.SetDllImportResolver(typeof(Rdkafka).Assembly, Resolve);

    /// <summary>rd_kafka_message_t.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Message
    {
        public int Error;
        public nint Topic;
        public int Partition;
        public byte* Payload;
        public nuint Length;
        public byte* Key;
        public nuint KeyLength;
        public long Offset;
        public nint Private;
    }

    /// <summary>rd_kafka_vu_t: one field of a record to produce.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 72)]
    public struct Field
    {
        public const int Topic = 2;
        public const int Partition = 3;
        public const int Value = 4;
        public const int Key = 5;
        public const int Opaque = 6;
        public const int Flags = 7;
        public const int Timestamp = 8;

        /// <summary>librdkafka copies the record (RD_KAFKA_MSG_F_COPY).</summary>
        public const int FlagCopy = 0x2;

        [FieldOffset(0)]
        public int Type;
        [FieldOffset(8)]
        public nint Pointer;
        [FieldOffset(8)]
        public int Int;
        [FieldOffset(8)]
        public long Long;
        [FieldOffset(16)]
        public nuint Size;
    }

    [LibraryImport(Name, EntryPoint = "rd_kafka_conf_new")]
    public static partial nint ConfNew();

    [LibraryImport(Name, EntryPoint = "rd_kafka_conf_destroy")]
    public static partial void ConfDestroy(nint conf);

    [LibraryImport(Name, EntryPoint = "rd_kafka_conf_set", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int ConfSet(nint conf, string name, string value, byte* error, nuint errorSize);

    [LibraryImport(Name, EntryPoint = "rd_kafka_conf_set_events")]
    public static partial void ConfSetEvents(nint conf, int events);

    [LibraryImport(Name, EntryPoint = "rd_kafka_new")]
    public static partial nint New(int type, nint conf, byte* error, nuint errorSize);

    [LibraryImport(Name, EntryPoint = "rd_kafka_destroy_flags")]
    public static partial void Destroy(nint client, int flags);

    [LibraryImport(Name, EntryPoint = "rd_kafka_set_log_queue")]
    public static partial int SetLogQueue(nint client, nint queue);

    [LibraryImport(Name, EntryPoint = "rd_kafka_fatal_error")]
    public static partial int FatalError(nint client, byte* error, nuint errorSize);

    [LibraryImport(Name, EntryPoint = "rd_kafka_err2str")]
    private static partial byte* ErrorText(int error);

    [LibraryImport(Name, EntryPoint = "rd_kafka_topic_new", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint TopicNew(nint client, string topic, nint conf);

    [LibraryImport(Name, EntryPoint = "rd_kafka_topic_destroy")]
    public static partial void TopicDestroy(nint topic);

    [LibraryImport(Name, EntryPoint = "rd_kafka_queue_new")]
    public static partial nint QueueNew(nint client);

    [LibraryImport(Name, EntryPoint = "rd_kafka_queue_get_main")]
    public static partial nint QueueGetMain(nint client);

    [LibraryImport(Name, EntryPoint = "rd_kafka_queue_destroy")]
    public static partial void QueueDestroy(nint queue);

    [LibraryImport(Name, EntryPoint = "rd_kafka_queue_yield")]
    public static partial void QueueYield(nint queue);

    [LibraryImport(Name, EntryPoint = "rd_kafka_queue_cb_event_enable")]
    public static partial void QueueCallback(nint queue, delegate* unmanaged<nint, nint, void> callback, nint opaque);

    [LibraryImport(Name, EntryPoint = "rd_kafka_queue_poll")]
    public static partial nint QueuePoll(nint queue, int timeoutMs);

    [LibraryImport(Name, EntryPoint = "rd_kafka_event_type")]
    public static partial int EventType(nint kafkaEvent);

    [LibraryImport(Name, EntryPoint = "rd_kafka_event_destroy")]
    public static partial void EventDestroy(nint kafkaEvent);

    [LibraryImport(Name, EntryPoint = "rd_kafka_event_message_array")]
    public static partial nuint EventMessages(nint kafkaEvent, Message** messages, nuint size);

    [LibraryImport(Name, EntryPoint = "rd_kafka_event_error")]
    public static partial int EventErrorCode(nint kafkaEvent);

    [LibraryImport(Name, EntryPoint = "rd_kafka_event_error_string")]
    private static partial byte* EventErrorString(nint kafkaEvent);

    [LibraryImport(Name, EntryPoint = "rd_kafka_event_log")]
    public static partial int EventLogLine(nint kafkaEvent, byte** facility, byte** text, int* level);

    [LibraryImport(Name, EntryPoint = "rd_kafka_consume_start_queue")]
    public static partial int ConsumeStart(nint topic, int partition, long offset, nint queue);

    [LibraryImport(Name, EntryPoint = "rd_kafka_consume_stop")]
    public static partial int ConsumeStop(nint topic, int partition);

    [LibraryImport(Name, EntryPoint = "rd_kafka_last_error")]
    public static partial int LastError();

    [LibraryImport(Name, EntryPoint = "rd_kafka_consume_batch_queue")]
    public static partial nint ConsumeBatch(nint queue, int timeoutMs, Message** messages, nuint size);

    [LibraryImport(Name, EntryPoint = "rd_kafka_message_destroy")]
    public static partial void MessageDestroy(Message* message);

    [LibraryImport(Name, EntryPoint = "rd_kafka_message_timestamp")]
    [SuppressGCTransition]
    public static partial long MessageTimestamp(Message* message, int* type);

    [LibraryImport(Name, EntryPoint = "rd_kafka_produceva")]
    public static partial nint Produce(nint client, Field* fields, nuint count);

    [LibraryImport(Name, EntryPoint = "rd_kafka_error_code")]
    public static partial int ErrorCode(nint error);

    [LibraryImport(Name, EntryPoint = "rd_kafka_error_destroy")]
    public static partial void ErrorDestroy(nint error);

    [LibraryImport(Name, EntryPoint = "rd_kafka_query_watermark_offsets", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int QueryWatermarks(nint client, string topic, int partition, long* low, long* high, int timeoutMs);

    /// <summary>What the last fetch of this client said; never waits. The end is negative before the first one.</summary>
    [LibraryImport(Name, EntryPoint = "rd_kafka_get_watermark_offsets", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int FetchedWatermarks(nint client, string topic, int partition, long* low, long* high);

    public static string Text(byte* text) => Marshal.PtrToStringUTF8((nint)text) ?? "";

    public static string Describe(int error) => Text(ErrorText(error));

    public static string DescribeEvent(nint kafkaEvent) => Text(EventErrorString(kafkaEvent));

    /// <summary>Finds the file that Confluent.Kafka loaded; it tries several builds until one fits the system's libraries.</summary>
    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? path)
    {
        if (name != Name)
        {
            return 0;
        }

        Confluent.Kafka.Library.Load();
        if (OperatingSystem.IsLinux())
        {
            foreach (string line in File.ReadLines("/proc/self/maps"))
            {
                int at = line.IndexOf('/', StringComparison.Ordinal);
                if (at >= 0
                    && Path.GetFileName(line.AsSpan(at)).Contains(Name, StringComparison.Ordinal)
                    && NativeLibrary.TryLoad(line[at..], out nint mapped))
                {
                    return mapped;
                }
            }
        }

        foreach (string candidate in (string[])["librdkafka", "centos8-librdkafka", "alpine-librdkafka"]) // Confluent.Kafka's order.
        {
            if (NativeLibrary.TryLoad(candidate, typeof(Confluent.Kafka.Library).Assembly, path, out nint library)
                || NativeLibrary.TryLoad(candidate, assembly, path, out library))
            {
                return library;
            }
        }

        return 0;
    }
}
