using System.Net;
using System.Net.ServerSentEvents;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using StreamCdp.Api;
using StreamCdp.Engine.Logs;
using StreamCdp.Schemas;

namespace StreamCdp.Integration.Tests;

public sealed class ApiStreamTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task An_entry_comes_with_all_that_the_log_says()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var stream = await Listener.OpenAsync(host);

        Append(host, partition: 1, profile: 0xff, "big_spenders", MembershipChange.Entered, version: 17, cause: "message-1");
        SseItem<string> item = await stream.NextAsync();

        Assert.Equal("entered", item.EventType);
        Assert.Equal("""{"profile":"000000000000000000000000000000ff","segment":"big_spenders","segment_version":"00000000000000aa","change":"entered","at":"2023-11-14T22:13:20.123Z","cause":"message-1","reason":"event","version":17}""", item.Data);
        Assert.Equal("m0.1-p0.0", item.EventId);
    }

    [Fact]
    public async Task Exits_and_merges_come_too()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var stream = await Listener.OpenAsync(host);

        Append(host, 0, 1, "big_spenders", MembershipChange.Exited, 3, cause: null, MembershipReason.Time);
        SseItem<string> exited = await stream.NextAsync();
        AppendProfile(host, 0, 5, mergedInto: null);
        AppendProfile(host, 0, 1, mergedInto: 2);
        SseItem<string> merged = await stream.NextAsync();

        Assert.Equal("exited", exited.EventType);
        Assert.Contains("\"cause\":null,\"reason\":\"time\"", exited.Data);
        Assert.Equal("merged", merged.EventType);
        Assert.Equal("""{"profile":"00000000000000000000000000000001","merged_into":"00000000000000000000000000000002","change":"merged","at":"2023-11-14T22:13:20.000Z","reason":"merge","version":9}""", merged.Data);
        Assert.Equal("m1.0-p2.0", merged.EventId);
    }

    [Fact]
    public async Task Records_in_JSON_give_the_same_events()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var stream = await Listener.OpenAsync(host);
        byte[] json = Json(static writer => JsonFormat.WriteMembership(writer, Membership(0xff, "big_spenders", MembershipChange.Entered, 17, "message-1", MembershipReason.Event)));

        Append(host, 0, 0xff, "big_spenders", MembershipChange.Entered, 17, "message-1");
        using (ILogWriter writer = host.Memberships.OpenWriter())
        {
            writer.WaitDurable(writer.Append(0, "k"u8, json, 0));
        }

        Assert.Equal((await stream.NextAsync()).Data, (await stream.NextAsync()).Data);

        AppendProfile(host, 0, 1, mergedInto: 2);
        AppendProfile(host, 0, 3, mergedInto: null, asJson: true);
        AppendProfile(host, 0, 1, mergedInto: 2, asJson: true);

        Assert.Equal((await stream.NextAsync()).Data, (await stream.NextAsync()).Data);
    }

    [Fact]
    public async Task A_thousand_changes_leave_no_timer_behind()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var stream = await Listener.OpenAsync(host);
        long before = Timer.ActiveCount;

        for (int i = 1; i <= 1000; i++)
        {
            Append(host, 0, i, "big_spenders", MembershipChange.Entered, 1);
            await stream.NextAsync(); // So each one wakes the stream on its own.
        }

        Assert.InRange(Timer.ActiveCount - before, long.MinValue, 500); // Other tests beside it have some; each change left one of 15 s.
    }

    [Fact]
    public async Task Without_an_id_it_starts_with_what_comes_next()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        Append(host, 0, 1, "big_spenders", MembershipChange.Entered, 1);
        using var stream = await Listener.OpenAsync(host);

        Append(host, 0, 2, "big_spenders", MembershipChange.Entered, 1);

        Assert.Contains("00000002", (await stream.NextAsync()).Data);
    }

    [Fact]
    public async Task The_filter_leaves_other_segments_out_and_keeps_merges()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var stream = await Listener.OpenAsync(host, "?segment=hot_lead");

        Append(host, 0, 1, "big_spenders", MembershipChange.Entered, 1);
        Append(host, 0, 2, "hot_lead", MembershipChange.Entered, 1);

        Assert.Contains("hot_lead", (await stream.NextAsync()).Data);
        AppendProfile(host, 1, 1, mergedInto: 2);
        Assert.Equal("merged", (await stream.NextAsync()).EventType);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Who_comes_back_misses_nothing_and_sees_nothing_twice(bool byHeader)
    {
        const int count = 1000;
        await using ApiHost host = await ApiHost.StartAsync();
        List<int> seen = [];
        string lastId;
        using (var first = await Listener.OpenAsync(host))
        {
            lastId = first.ConnectedId; // Lost before the first event: the id of the connection counts.
        }

        for (int i = 0; i < count; i++)
        {
            Append(host, i % 2, i, "big_spenders", MembershipChange.Entered, 1, wait: i == count - 1 || i == count - 2);
        }

        var random = new Random(7);
        while (seen.Count < count)
        {
            using var stream = byHeader ? await Listener.OpenAsync(host, lastEventId: lastId) : await Listener.OpenAsync(host, "?last_event_id=" + lastId);
            int take = Math.Min(random.Next(1, 300), count - seen.Count);
            for (int i = 0; i < take; i++)
            {
                SseItem<string> item = await stream.NextAsync();
                using JsonDocument data = JsonDocument.Parse(item.Data);
                seen.Add(Convert.ToInt32(data.RootElement.GetProperty("profile").GetString()![24..], 16));
                lastId = item.EventId!;
            }
        }

        Assert.Equal(Enumerable.Range(0, count), seen.Order());
    }

    [Fact]
    public async Task A_quiet_stream_sends_comments_that_move_the_id()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiOptions { StreamHeartbeatMs = 50 });
        using var stream = await Listener.OpenAsync(host, "?segment=hot_lead");

        Append(host, 0, 1, "big_spenders", MembershipChange.Entered, 1);
        await stream.WaitForAsync(": heartbeat\nid: m1.0-p0.0\n\n");
    }

    [Fact]
    public async Task More_streams_than_allowed_are_refused_until_one_ends()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiOptions { MaxStreams = 1, StreamHeartbeatMs = 20 });
        using (await Listener.OpenAsync(host))
        {
            (HttpStatusCode status, JsonElement body) = await host.GetAsync("v1/stream");
            Assert.Equal(HttpStatusCode.TooManyRequests, status);
            Assert.Equal("too_many_streams", body.GetProperty("code").GetString());
        }

        await UntilAsync(() => host.Hub.Open == 0);
        using var next = await Listener.OpenAsync(host);
    }

    [Fact]
    public async Task A_refused_stream_gives_its_place_back()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiOptions { MaxStreams = 1 });

        await host.GetAsync("v1/stream?last_event_id=shoes");

        using var next = await Listener.OpenAsync(host);
    }

    [Fact]
    public async Task A_process_that_stops_says_so()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var stream = await Listener.OpenAsync(host);

        Task stopping = host.StopAsync();
        SseItem<string> item = await stream.NextAsync();

        Assert.Equal("cut", item.EventType);
        Assert.Contains("\"code\":\"stopping\"", item.Data);
        await stopping.WaitAsync(Patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task A_slow_client_is_cut_with_a_last_event()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiOptions { StreamWriteTimeoutMs = 2500 });
        using var client = new TcpClient { ReceiveBufferSize = 4096 };
        await client.ConnectAsync(host.Address.Host, host.Address.Port, TestContext.Current.CancellationToken);
        await using NetworkStream network = client.GetStream();
        await network.WriteAsync(Encoding.ASCII.GetBytes($"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ApiHost.ReadKey}\r\n\r\n"), TestContext.Current.CancellationToken);
        await UntilAsync(() => host.Hub.Open == 1);

        string cause = new('c', 8000);
        for (int i = 0; i < 2000; i++)
        {
            Append(host, 0, i, "big_spenders", MembershipChange.Entered, 1, cause, wait: i % 100 == 99);
        }

        await UntilAsync(() => host.Hub.Cut == 1); // Nobody read for the whole time limit.
        using var reader = new StreamReader(network);
        string all = await ReadAllAsync(reader);

        Assert.Contains("event: cut\ndata: {\"code\":\"slow_client\"", all);
        Assert.EndsWith("0\r\n\r\n", all);
        await UntilAsync(() => host.Hub.Open == 0);
    }

    [Fact]
    public async Task A_client_that_never_reads_gives_its_place_back()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiOptions { StreamWriteTimeoutMs = 50 });
        using var client = new TcpClient { ReceiveBufferSize = 4096 };
        await client.ConnectAsync(host.Address.Host, host.Address.Port, TestContext.Current.CancellationToken);
        await using NetworkStream network = client.GetStream();
        await network.WriteAsync(Encoding.ASCII.GetBytes($"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ApiHost.ReadKey}\r\n\r\n"), TestContext.Current.CancellationToken);
        await UntilAsync(() => host.Hub.Open == 1);

        string cause = new('c', 8000);
        for (int i = 0; i < 2000; i++)
        {
            Append(host, 0, i, "big_spenders", MembershipChange.Entered, 1, cause, wait: i % 100 == 99);
        }

        await UntilAsync(() => host.Hub.Cut == 1 && host.Hub.Open == 0);
    }

    [Theory]
    [InlineData("no record")]
    [InlineData("{\"segment\":")]
    [InlineData("{\"change\":\"entered\"}")]
    public async Task An_unreadable_record_ends_the_stream_with_its_place(string record)
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var stream = await Listener.OpenAsync(host);

        using ILogWriter writer = host.Memberships.OpenWriter();
        writer.WaitDurable(writer.Append(1, "k"u8, Encoding.UTF8.GetBytes(record), 0));
        SseItem<string> item = await stream.NextAsync();

        Assert.Equal("cut", item.EventType);
        Assert.Contains("unreadable_record", item.Data);
        Assert.Contains("memberships, partition 1, offset 0", item.Data);
    }

    [Fact]
    public async Task A_tombstone_is_passed_over()
    {
        await using ApiHost host = await ApiHost.StartAsync();
        using var stream = await Listener.OpenAsync(host);

        using ILogWriter writer = host.Memberships.OpenWriter();
        writer.WaitDurable(writer.Append(0, "k"u8, default, 0));
        Append(host, 0, 1, "big_spenders", MembershipChange.Entered, 1);

        Assert.Equal("m2.0-p0.0", (await stream.NextAsync()).EventId);
    }

    private static void Append(ApiHost host, int partition, int profile, string segment, MembershipChange change, long version, string? cause = "m", MembershipReason reason = MembershipReason.Event, bool wait = true)
    {
        byte[] buffer = new byte[256];
        int position = WireFormat.WriteHeader(ref buffer, 0, SchemaIds.BuiltIn[RecordType.SegmentMembership]);
        int end = Membership(profile, segment, change, version, cause, reason).WriteTo(ref buffer, position);
        ILogWriter writer = host.MembershipWriter;
        long ticket = writer.Append(partition, Encoding.UTF8.GetBytes($"{profile}/{segment}"), buffer.AsSpan(0, end), 0);
        if (wait)
        {
            writer.WaitDurable(ticket);
        }
    }

    private static SegmentMembership Membership(int profile, string segment, MembershipChange change, long version, string? cause, MembershipReason reason) => new()
    {
        ProfileId = (UInt128)profile,
        Segment = Encoding.UTF8.GetBytes(segment),
        SegmentVersion = "00000000000000aa"u8,
        Change = change,
        At = 1_700_000_000_123,
        Cause = Encoding.UTF8.GetBytes(cause ?? ""),
        Reason = reason,
        Version = version,
    };

    private static void AppendProfile(ApiHost host, int partition, int id, int? mergedInto, bool asJson = false)
    {
        byte[] buffer = new byte[256];
        int position = WireFormat.WriteHeader(ref buffer, 0, SchemaIds.BuiltIn[RecordType.Profile]);
        var profile = new ProfileWriter(ref buffer, position);
        profile.Head((UInt128)id, 9, 0, 1_700_000_000_000, 0, mergedInto is { } survivor ? (UInt128)survivor : null);
        profile.Identifiers(0);
        profile.Json(default, default, default);
        profile.Segments(0);
        profile.Activity(0, 0, 0);
        profile.MergedFrom(0);
        int end = profile.End();
        byte[] value = buffer[..end];
        if (asJson)
        {
            value = Json(writer =>
            {
                Assert.True(Profile.TryRead(buffer.AsSpan(position, end - position), out Profile record));
                JsonFormat.WriteProfile(writer, record);
            });
        }

        using ILogWriter writer = host.Profiles.OpenWriter();
        writer.WaitDurable(writer.Append(partition, Encoding.UTF8.GetBytes($"{id}"), value, 0));
    }

    private static byte[] Json(Action<Utf8JsonWriter> write)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        {
            write(writer);
        }

        return stream.ToArray();
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        using var patience = new CancellationTokenSource(Patience);
        while (!condition())
        {
            await Task.Delay(5, patience.Token);
        }
    }

    private static async Task<string> ReadAllAsync(StreamReader reader)
    {
        using var patience = new CancellationTokenSource(Patience);
        var all = new StringBuilder();
        char[] buffer = new char[64 << 10];
        while (!all.ToString(Math.Max(0, all.Length - 5), Math.Min(5, all.Length)).EndsWith("0\r\n\r\n", StringComparison.Ordinal)) // The last chunk.
        {
            int read = await reader.ReadAsync(buffer, patience.Token);
            if (read == 0)
            {
                break;
            }

            all.Append(buffer, 0, read);
        }

        return all.ToString();
    }

    /// <summary>One client of the stream.</summary>
    private sealed class Listener : IDisposable
    {
        private readonly HttpResponseMessage _response;
        private readonly Stream _body;
        private IAsyncEnumerator<SseItem<string>>? _items;

        private Listener(HttpResponseMessage response, Stream body)
        {
            _response = response;
            _body = body;
        }

        public string ConnectedId { get; private set; } = "";

        public static async Task<Listener> OpenAsync(ApiHost host, string query = "", string? lastEventId = null)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "v1/stream" + query);
            if (lastEventId is not null)
            {
                request.Headers.Add("Last-Event-ID", lastEventId);
            }

            HttpResponseMessage response = await host.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
            var listener = new Listener(response, await response.Content.ReadAsStreamAsync());
            string head = await listener.WaitForAsync("\n\n");
            listener.ConnectedId = head.Split("id: ")[1].Trim();
            return listener;
        }

        /// <summary>Reads until the text has come, byte by byte, so that nothing after it is taken.</summary>
        public async Task<string> WaitForAsync(string end)
        {
            using var patience = new CancellationTokenSource(Patience);
            var text = new StringBuilder();
            byte[] one = new byte[1];
            while (!text.ToString().EndsWith(end, StringComparison.Ordinal))
            {
                Assert.Equal(1, await _body.ReadAsync(one, patience.Token));
                text.Append((char)one[0]);
            }

            return text.ToString();
        }

        public async Task<SseItem<string>> NextAsync()
        {
            _items ??= SseParser.Create(_body).EnumerateAsync().GetAsyncEnumerator();
            Assert.True(await _items.MoveNextAsync().AsTask().WaitAsync(Patience));
            return _items.Current;
        }

        public void Dispose()
        {
            _body.Dispose();
            _response.Dispose();
        }
    }
}
