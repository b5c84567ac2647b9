using System.IO.Compression;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using StreamCdp.Engine.Pipeline;
using StreamCdp.Engine.Pipeline.Collect;

namespace StreamCdp.Engine.Tests.Collect;

/// <summary>facts/tracking-clients.md §1 and §2, on a real Kestrel.</summary>
public class CollectorTests
{
    private const string Success = """{"success":true}""";
    private const string Page = """{"type":"page","name":"Home","userId":"u","messageId":"m1"}""";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("/v1/track", "track")]
    [InlineData("/v1/t", "track")]
    [InlineData("/v1/identify", "identify")]
    [InlineData("/v1/i", "identify")]
    [InlineData("/v1/page", "page")]
    [InlineData("/v1/p", "page")]
    [InlineData("/v1/screen", "screen")]
    [InlineData("/v1/s", "screen")]
    [InlineData("/v1/group", "group")]
    [InlineData("/v1/g/", "group")]
    [InlineData("//v1/alias/", "alias")]
    [InlineData("/v1//a", "alias")]
    [InlineData("/api/s/track", "track")]
    [InlineData("/api/s/s2s/page", "page")]
    public async Task A_single_event_takes_its_type_from_the_path(string path, string type)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal((200, Success), await host.PostAsync(path, """ {"event":"E","userId":"u"} """));

        SentEvent sent = Assert.Single(host.Events.Records).Event();
        Assert.Equal((type, "web", """{"event":"E","userId":"u"}"""), (sent.Type, sent.Source, sent.Payload));
        Assert.True(Guid.TryParse(sent.MessageId, out _));
    }

    [Fact]
    public async Task The_type_in_the_body_wins_over_the_path()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        await host.PostAsync("/v1/track", Page);

        SentEvent sent = Assert.Single(host.Events.Records).Event();
        Assert.Equal(("page", "m1", Page), (sent.Type, sent.MessageId, sent.Payload));
    }

    [Theory]
    [InlineData("/v1/batch")]
    [InlineData("/v1/b")]
    [InlineData("/v1/import")]
    [InlineData("//v1/import/")]
    [InlineData("/beacon/v1/batch")]
    public async Task A_batch_gives_its_context_and_sentAt_to_its_events(string path)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal((200, Success), await host.PostAsync(path, """{"batch":[{"type":"page","userId":"u"},{"type":"page","userId":"v","context":{}}],"sentAt":"2026-01-02T03:04:05.678Z","context":{"a":1},"extra":[]}"""));

        SentEvent[] sent = [.. host.Events.Records.Select(record => record.Event())];
        Assert.Equal(["""{"a":1}""", ""], sent.Select(e => e.Context));
        Assert.All(sent, e => Assert.Equal(1_767_323_045_678, e.SentAt));
        Assert.All(sent, e => Assert.False(e.Import));
    }

    [Fact]
    public async Task An_event_goes_to_the_partition_of_its_sender_with_the_sender_as_key()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        await host.PostAsync("/v1/batch", """{"batch":[{"type":"page","userId":"u","anonymousId":" a "},{"type":"page","userId":"u"}]}""");

        Assert.Equal(["anonymous_id:a", "user_id:u"], host.Events.Records.Select(record => record.Key));
        Assert.All(host.Events.Records, record => Assert.Equal(EventPartition.Of(Hash128.Of(Encoding.UTF8.GetBytes(record.Key)), 4), record.Partition));
    }

    [Theory]
    [InlineData("", null, """{"userId":"u","writeKey":"web-key"}""", 200)]
    [InlineData("?writeKey=web-key", null, """{"userId":"u"}""", 200)]
    [InlineData("?writeKey=wrong", null, """{"userId":"u","writeKey":"web-key"}""", 200)]
    [InlineData("", "web-key", """{"userId":"u","writeKey":"web:***"}""", 200)]
    [InlineData("?writeKey=web-key", "wrong", """{"userId":"u","writeKey":"web-key"}""", 401)]
    [InlineData("", null, """{"userId":"u","writeKey":"wrong"}""", 401)]
    [InlineData("?writeKey=web-key", null, """{"userId":"u","writeKey":"wrong"}""", 401)]
    [InlineData("", null, """{"userId":"u","writeKey":7}""", 401)]
    [InlineData("", null, """{"userId":"u"}""", 401)]
    [InlineData("", null, """{"userId":"u","writeKey":"web-ke\u0079"}""", 200)]
    [InlineData("", null, """{"userId":"u","writeKey":""}""", 401)]
    public async Task The_key_is_in_header_body_or_query_in_this_order(string query, string? header, string body, int status)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using HttpRequestMessage request = host.Request("/v1/page" + query, new StringContent(body), key: null);
        if (header is not null)
        {
            request.Headers.Add("X-Write-Key", header);
        }

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal(status == 200 ? 1 : 0, host.Events.Appended + host.DeadLetters.Appended);
    }

    [Theory]
    [InlineData("Basic d2ViLWtleTo=", 200)] // web-key:
    [InlineData("basic  d2ViLWtleQ==", 200)] // web-key
    [InlineData("Basic d2ViLWtleTpwYXNz", 200)] // web-key:pass
    [InlineData("Basic d3Jvbmc6", 401)] // wrong:
    [InlineData("Basic Og==", 401)] // :
    [InlineData("Basic ///", 401)]
    [InlineData("Basic /v8=", 401)]
    [InlineData("Bearer web-key", 401)]
    public async Task Basic_authorization_has_the_key_as_user_name(string authorization, int status)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using HttpRequestMessage request = host.Request("/v1/page", new StringContent("""{"userId":"u"}"""), key: null);
        request.Headers.TryAddWithoutValidation("Authorization", authorization);

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(status, (int)response.StatusCode);
    }

    [Fact]
    public async Task Java_sends_its_key_only_in_the_body_of_a_doubled_path()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal((200, Success), await host.PostAsync("//v1/import/", $$"""{"batch":[{{Page}}],"sentAt":"2026-01-02T03:04:05.678Z","writeKey":"web-key","sequence":1}""", key: null));
        Assert.Single(host.Events.Records);
    }

    [Theory]
    [InlineData("text/plain")]
    [InlineData("application/x-www-form-urlencoded")]
    [InlineData("application/json; charset=utf-8")]
    [InlineData(null)]
    public async Task The_content_type_does_not_matter(string? contentType)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        var content = new ByteArrayContent(Gzip(Encoding.UTF8.GetBytes($$"""{"batch":[{{Page}}]}""")));
        content.Headers.TryAddWithoutValidation("Content-Type", contentType);
        content.Headers.Add("Content-Encoding", "gzip");
        using HttpRequestMessage request = host.Request("/v1/batch", content);

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(Page, Assert.Single(host.Events.Records).Event().Payload);
    }

    [Theory]
    [InlineData("")]
    [InlineData("x")]
    [InlineData("[]")]
    [InlineData("7")]
    [InlineData("null")]
    [InlineData("{\"batch\":[{}]")]
    [InlineData("{\"batch\":[{]}")]
    [InlineData("{\"batch\":[]}x")]
    [InlineData("{'batch':[]}")]
    public async Task Unreadable_json_is_400(string body)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        (int status, string answer) = await host.PostAsync("/v1/batch", body);

        AssertProblem(400, "invalid_json", status, answer);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("{\"batch\":{}}")]
    [InlineData("{\"batch\":null}")]
    [InlineData("{\"batch\":[],\"batch\":1}")]
    public async Task A_batch_without_events_in_an_array_is_400(string body)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        (int status, string answer) = await host.PostAsync("/v1/batch", body);

        AssertProblem(400, "no_batch", status, answer);
    }

    [Fact]
    public async Task An_empty_batch_is_taken()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal((200, Success), await host.PostAsync("/v1/batch", """{"batch":[]}"""));
    }

    [Fact]
    public async Task Text_that_is_not_utf8_is_400()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using HttpRequestMessage request = host.Request("/v1/page", new ByteArrayContent([.. """{"userId":"u"""u8, 0xc3, .. "\"}"u8]));

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
    }

    [Fact]
    public async Task A_byte_order_mark_does_no_harm()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal((200, Success), await host.PostAsync("/v1/page", "\uFEFF" + Page));
        Assert.Equal(Page, Assert.Single(host.Events.Records).Event().Payload);
    }

    [Fact]
    public async Task One_bad_event_never_costs_the_others()
    {
        string[] bad =
        [
            "7", "null", "\"text\"", "[[]]", "{}", """{"type":"page"}""", """{"type":"track","userId":"u"}""", """{"type":"Page","userId":"u"}""",
            """{"type":"page","userId":"u","properties":[1]}""", """{"type":"page","userId":"u","timestamp":1e400}""", """{"type":"page","userId":"null"}""",
            $$$"""{"type":"page","userId":"u","properties":{"x":{{{new string('[', 3000)}}}{{{new string(']', 3000)}}}}}""",
            $$$"""{"type":"page","userId":"u","properties":{"x":"{{{new string('x', 40_000)}}}"}}""",
        ];
        string[] good =
        [
            Page, """{"type":"page","userId":"\ud800\u0000","messageId":"\udc00"}""", """{"type":"page","userId":"u","timestamp":"0001-01-01"}""",
            """{"type":"page","userId":"u","timestamp":"9999-12-31T23:59:59.999Z"}""", """{"type":"page","userId":"u","properties":{"x":1e400}}""",
        ];
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal((200, Success), await host.PostAsync("/v1/batch", $$"""{"batch":[{{string.Join(',', bad.Zip(good.Concat(Enumerable.Repeat(Page, 99)), (b, g) => b + "," + g))}}]}"""));

        Assert.Equal(bad.Length, host.Events.Appended);
        RefusedEvent[] refused = [.. host.DeadLetters.Records.Select(record => record.DeadLetter())];
        Assert.Equal(bad, refused.Select(e => e.Payload));
        Assert.Equal(
            ["invalid_json", "invalid_json", "invalid_json", "invalid_json", "unknown_type", "no_identifier", "missing_event", "unknown_type", "not_an_object", "bad_timestamp", "no_identifier", "invalid_json", "too_large"],
            refused.Select(e => e.Reason));
        Assert.Contains("streamcdp_dead_letters_total{reason=\"invalid_json\"} 5", await host.MetricsTextAsync());
        Assert.Contains($"streamcdp_events_received_total{{source=\"web\"}} {bad.Length * 2}", await host.MetricsTextAsync());
    }

    [Fact]
    public async Task An_event_that_is_not_utf8_costs_only_itself()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using HttpRequestMessage request = host.Request("/v1/batch", new ByteArrayContent([.. "{\"batch\":["u8, .. Encoding.UTF8.GetBytes(Page), .. ",{\"type\":\"page\",\"userId\":\"M"u8, 0xfc, .. "ller\"},"u8, .. Encoding.UTF8.GetBytes(Page), .. "]}"u8]));

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal(2, host.Events.Appended);
        Assert.Equal("invalid_json", Assert.Single(host.DeadLetters.Records).DeadLetter().Reason);
    }

    [Fact]
    public async Task A_single_event_that_is_too_large_or_too_deep_is_a_dead_letter()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal(200, (await host.PostAsync("/v1/page", $$"""{"userId":"u","x":"{{new string('x', 40_000)}}"}""")).Status);
        Assert.Equal(200, (await host.PostAsync("/v1/page", $$"""{"userId":"u","x":{{new string('[', 100)}}{{new string(']', 100)}}}""")).Status);
        Assert.Equal(["too_large", "invalid_json"], host.DeadLetters.Records.Select(record => record.DeadLetter().Reason));
    }

    [Fact]
    public async Task Two_million_brackets_cost_only_their_event()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal(200, (await host.PostAsync("/v1/batch", $$"""{"batch":[{{new string('[', 2_000_000)}}{{new string(']', 2_000_000)}},{{Page}}]}""")).Status);
        Assert.Single(host.Events.Records);
        Assert.Equal("too_large", Assert.Single(host.DeadLetters.Records).DeadLetter().Reason);
    }

    [Fact]
    public async Task A_dead_letter_keeps_at_most_its_limit()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        await host.PostAsync("/v1/page", $$"""{"userId":"u","x":"{{new string('ä', 200_000)}}"}""");

        RefusedEvent refused = Assert.Single(host.DeadLetters.Records).DeadLetter();
        Assert.InRange(Encoding.UTF8.GetByteCount(refused.Payload), 262_140, 262_144);
        Assert.Contains("It has 400021;", refused.Detail);
    }

    [Fact]
    public async Task A_body_above_what_Kestrel_takes_by_itself_is_taken_where_the_option_allows_it()
    {
        await using CollectorHost host = await CollectorHost.StartAsync(new CollectOptions { MaxRequestBytes = 40 << 20 });
        string spaces = new(' ', 31 << 20);

        Assert.Equal((200, Success), await host.PostAsync("/v1/batch", $$"""{"batch":[{{Page}}]{{spaces}}}"""));

        Assert.Single(host.Events.Records);
    }

    [Fact]
    public async Task A_body_over_the_limit_is_413()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        (int status, string answer) = await host.PostAsync("/v1/batch", new string(' ', 5_000_000));

        AssertProblem(413, "request_too_large", status, answer);
    }

    [Fact]
    public async Task A_chunked_body_over_the_limit_is_413()
    {
        await using CollectorHost host = await CollectorHost.StartAsync(new CollectOptions { MaxRequestBytes = 64 << 10 });
        using HttpRequestMessage request = host.Request("/v1/batch", new StreamContent(new MemoryStream(new byte[100_000])));
        request.Headers.TransferEncodingChunked = true;

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);
    }

    [Fact]
    public async Task A_zip_bomb_is_413_and_gives_its_memory_back()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        var content = new ByteArrayContent(Gzip(new byte[100_000_000]));
        content.Headers.Add("Content-Encoding", "gzip");
        using HttpRequestMessage request = host.Request("/v1/batch", content);

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);

        // The answer is on its way before the request gives its buffers back.
        await WaitUntilAsync(async () => (await host.MetricsTextAsync()).Contains("streamcdp_collect_bytes_in_flight 0\n", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_body_that_only_says_it_is_gzip_is_400()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        var content = new StringContent(Page);
        content.Headers.Add("Content-Encoding", "gzip");
        using HttpRequestMessage request = host.Request("/v1/page", content);

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
    }

    [Fact]
    public async Task A_gzip_that_was_cut_off_is_400()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        var content = new ByteArrayContent(Gzip(Encoding.UTF8.GetBytes(Page))[..^20]);
        content.Headers.Add("Content-Encoding", "gzip");
        using HttpRequestMessage request = host.Request("/v1/page", content);

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
    }

    [Fact]
    public async Task Other_encodings_are_415()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        var content = new StringContent(Page);
        content.Headers.Add("Content-Encoding", "br");
        using HttpRequestMessage request = host.Request("/v1/page", content);

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.UnsupportedMediaType, response.StatusCode);
    }

    [Fact]
    public async Task Too_many_events_in_one_request_are_413()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        (int status, string answer) = await host.PostAsync("/v1/batch", $$"""{"batch":[{{string.Join(',', Enumerable.Repeat("0", 10_001))}}]}""");

        AssertProblem(413, "too_many_events", status, answer);
        Assert.Equal(0, host.DeadLetters.Appended);
    }

    [Fact]
    public async Task A_context_of_the_batch_over_its_limit_costs_only_the_events_that_would_use_it()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal(200, (await host.PostAsync("/v1/batch", $$$"""{"batch":[{{{Page}}},{"type":"page","userId":"u","context":{}},{"type":"page"}],"context":{"x":"{{{new string('x', 9000)}}}"}}""")).Status);

        Assert.Equal("""{"type":"page","userId":"u","context":{}}""", Assert.Single(host.Events.Records).Event().Payload);
        Assert.Equal([("bad_batch_context", "context", ""), ("bad_batch_context", "context", "")], host.DeadLetters.Records.Select(record => record.DeadLetter()).Select(letter => (letter.Reason, letter.Field, letter.Context)));
    }

    [Fact]
    public async Task A_context_of_the_batch_that_is_not_utf8_costs_only_the_events_that_would_use_it()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using HttpRequestMessage request = host.Request("/v1/batch", new ByteArrayContent([.. "{\"batch\":["u8, .. Encoding.UTF8.GetBytes(Page), .. ",{\"type\":\"page\",\"userId\":\"u\",\"context\":null}],\"context\":{\"x\":\""u8, 0xfc, .. "\"}}"u8]));

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Single(host.Events.Records);
        Assert.Equal("bad_batch_context", Assert.Single(host.DeadLetters.Records).DeadLetter().Reason);
    }

    [Fact]
    public async Task A_small_request_does_not_store_its_context_ten_thousand_times()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        string context = $$"""{"x":"{{new string('x', 8000)}}"}""";

        (int status, string answer) = await host.PostAsync("/v1/batch", $$"""{"batch":[{{string.Join(',', Enumerable.Repeat("{}", 10_000))}}],"context":{{context}}}""");
        AssertProblem(413, "context_too_large", status, answer);
        Assert.Equal(0, host.DeadLetters.Appended);

        Assert.Equal(200, (await host.PostAsync("/v1/batch", $$"""{"batch":[{{string.Join(',', Enumerable.Repeat("""{"type":"page","userId":"u","context":{}}""", 10_000))}}],"context":{{context}}}""")).Status);
        Assert.Equal(10_000, host.Events.Appended);
    }

    [Fact]
    public async Task A_wrong_key_is_401_without_its_text()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        (int status, string answer) = await host.PostAsync("/v1/page", Page, "some-secret");

        AssertProblem(401, "invalid_write_key", status, answer);
        Assert.DoesNotContain("some-secret", answer);
    }

    [Fact]
    public async Task The_answer_waits_for_both_logs()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        host.Events.Hold();
        host.DeadLetters.Hold();

        Task<(int, string)> answer = host.PostAsync("/v1/batch", $$"""{"batch":[{{Page}},7]}""");
        await WaitUntil(() => host.DeadLetters.Appended == 1);
        Assert.False(answer.IsCompleted);
        host.Events.Release();
        Assert.False(answer.IsCompleted);
        host.DeadLetters.Release();

        Assert.Equal((200, Success), await answer);
    }

    [Fact]
    public async Task A_log_that_does_not_get_durable_in_time_is_429_with_retry_after()
    {
        await using CollectorHost host = await CollectorHost.StartAsync(new CollectOptions { DurableTimeout = TimeSpan.FromSeconds(1), RetryAfterMin = TimeSpan.FromSeconds(11), RetryAfterMax = TimeSpan.FromSeconds(13) });
        host.Events.Hold();
        using HttpRequestMessage request = host.Request("/v1/page", new StringContent(Page));

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.TooManyRequests, response.StatusCode);
        Assert.InRange(response.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 11, 13);
    }

    [Fact]
    public async Task A_full_buffer_is_429_with_retry_after_and_every_wait_of_a_request_ends_at_one_deadline()
    {
        await using CollectorHost host = await CollectorHost.StartAsync(new CollectOptions { DurableTimeout = TimeSpan.FromSeconds(1) });
        host.Events.IsFull = true;
        using HttpRequestMessage request = host.Request("/v1/batch", new StringContent($$"""{"batch":[7,{{Page}}]}"""));

        long start = Environment.TickCount64;
        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);
        long end = Environment.TickCount64;

        Assert.Equal(HttpStatusCode.TooManyRequests, response.StatusCode);
        Assert.NotNull(response.Headers.RetryAfter);
        long deadline = Assert.Single(host.Events.Deadlines);
        Assert.Equal(deadline, Assert.Single(host.DeadLetters.Deadlines));
        Assert.InRange(deadline, start + 1000, end + 1000);
        host.Events.IsFull = false;
        Assert.Equal(200, (await host.PostAsync("/v1/page", Page)).Status);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_log_that_is_away_is_429_until_it_is_back(bool events)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        MemoryWriter broken = events ? host.Events : host.DeadLetters;
        broken.Break();

        (int status, string answer) = await host.PostAsync("/v1/page", Page);
        AssertProblem(429, "log_unavailable", status, answer);

        broken.Repair();
        Assert.Equal(200, (await host.PostAsync("/v1/page", Page)).Status);
    }

    [Fact]
    public async Task A_log_that_breaks_while_a_request_waits_is_429()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        host.Events.Hold();

        Task<(int Status, string)> answer = host.PostAsync("/v1/page", Page);
        await WaitUntil(() => host.Events.Appended == 1);
        host.Events.Break();

        Assert.Equal(429, (await answer).Status);
    }

    [Fact]
    public async Task Too_many_waiting_requests_are_429()
    {
        await using CollectorHost host = await CollectorHost.StartAsync(new CollectOptions { MaxWaitingRequests = 1 });
        host.Events.Hold();

        Task<(int Status, string)> first = host.PostAsync("/v1/page", Page);
        await WaitUntil(() => host.Events.Appended == 1);
        (int status, string answer) = await host.PostAsync("/v1/page", Page);
        host.Events.Release();

        AssertProblem(429, "busy", status, answer);
        Assert.Equal(200, (await first).Status);
    }

    [Fact]
    public async Task A_source_over_its_rate_is_429_until_time_has_passed()
    {
        var time = new ManualTime();
        await using CollectorHost host = await CollectorHost.StartAsync(new CollectOptions { MaxEventsPerSecondOfSource = 1 }, time);
        string batch = $$"""{"batch":[{{string.Join(',', Enumerable.Repeat(Page, 11))}}]}""";

        Assert.Equal(200, (await host.PostAsync("/v1/batch", batch)).Status);
        (int status, string answer) = await host.PostAsync("/v1/page", Page);
        AssertProblem(429, "rate_limited", status, answer);
        Assert.Equal(200, (await host.PostAsync("/v1/page", Page, CollectorHost.ServerKey)).Status);
        time.Advance(TimeSpan.FromSeconds(2));

        Assert.Equal(200, (await host.PostAsync("/v1/page", Page)).Status);
    }

    [Theory]
    [InlineData("/v1/import?clock=as_is", null, CollectorHost.ServerKey, true)]
    [InlineData("/v1/batch", "true", CollectorHost.ServerKey, true)]
    [InlineData("/v1/batch", "false", CollectorHost.ServerKey, false)]
    [InlineData("/v1/batch", "true", CollectorHost.Key, false)]
    [InlineData("/v1/import?clock=as_is", null, CollectorHost.Key, false)]
    public async Task Only_a_trusted_source_may_import(string path, string? header, string key, bool import)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using HttpRequestMessage request = host.Request(path, new StringContent($$"""{"batch":[{{Page}}]}"""), key);
        request.Headers.TryAddWithoutValidation("X-Import", header);

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(import, Assert.Single(host.Events.Records).Event().Import);
    }

    [Fact]
    public async Task The_received_time_is_the_collectors_clock()
    {
        var time = new ManualTime();
        await using CollectorHost host = await CollectorHost.StartAsync(time: time);

        await host.PostAsync("/v1/page", Page);

        MemoryRecord record = Assert.Single(host.Events.Records);
        Assert.Equal(time.GetUtcNow().ToUnixTimeMilliseconds(), record.Event().ReceivedAt);
        Assert.Equal(record.Event().ReceivedAt, record.TimestampMs);
    }

    [Fact]
    public async Task A_preflight_allows_the_headers_of_all_sdks()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using var request = new HttpRequestMessage(HttpMethod.Options, new Uri(host.Address, "/v1/b"));
        request.Headers.Add("Origin", "https://shop.example.com");
        request.Headers.Add("Access-Control-Request-Method", "POST");

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
        Assert.Equal("https://shop.example.com", Header(response, "Access-Control-Allow-Origin"));
        Assert.Equal("GET, POST, OPTIONS", Header(response, "Access-Control-Allow-Methods"));
        Assert.Equal("86400", Header(response, "Access-Control-Max-Age"));
        Assert.Null(Header(response, "Access-Control-Allow-Credentials"));
        string[] allowed = Header(response, "Access-Control-Allow-Headers")!.Split(", ");
        Assert.Empty(new[] { "authorization", "content-type", "x-retry-count", "x-write-key", "anonymousid", "sentat" }.Except(allowed));
    }

    [Theory]
    [InlineData(CollectorHost.Key, 200)]
    [InlineData("wrong", 401)]
    public async Task A_browser_may_read_every_answer_and_its_retry_after(string key, int status)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using HttpRequestMessage request = host.Request("/v1/page", new StringContent(Page), key);
        request.Headers.Add("Origin", "https://shop.example.com");

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal("https://shop.example.com", Header(response, "Access-Control-Allow-Origin"));
        Assert.Equal("Retry-After", Header(response, "Access-Control-Expose-Headers"));
        Assert.Equal("Origin", Header(response, "Vary"));
    }

    [Fact]
    public async Task Only_allowed_origins_may_read_where_the_options_name_some()
    {
        await using CollectorHost host = await CollectorHost.StartAsync(new CollectOptions { AllowedOrigins = ["https://a.example"] });
        using HttpRequestMessage request = host.Request("/v1/page", new StringContent(Page));
        request.Headers.Add("Origin", "https://b.example");

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Null(Header(response, "Access-Control-Allow-Origin"));
    }

    [Fact]
    public async Task The_settings_document_sends_analytics_next_here()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        string json = await host.Http.GetStringAsync(new Uri(host.Address, "/v1/projects/web-key/settings"), Cancel);

        Assert.Equal(
            $$$$$"""{"integrations":{"Segment.io":{"apiKey":"web-key","apiHost":"{{{{{host.Address.Authority}}}}}/v1","protocol":"http","deliveryStrategy":{"strategy":"batching","config":{"size":10,"timeout":5000}}}},"metrics":{"sampleRate":0}}""",
            json);
    }

    [Fact]
    public async Task The_settings_document_names_the_public_address()
    {
        await using CollectorHost host = await CollectorHost.StartAsync(new CollectOptions { PublicUrl = "https://cdp.example.com/in/", BrowserBatchSize = 0 });

        string json = await host.Http.GetStringAsync(new Uri(host.Address + "/v1/projects/web-key/settings/"), Cancel);

        Assert.Equal("""{"integrations":{"Segment.io":{"apiKey":"web-key","apiHost":"cdp.example.com/in/v1","protocol":"https"}},"metrics":{"sampleRate":0}}""", json);
    }

    [Theory]
    [InlineData("/v1/projects/wrong/settings", 404)]
    [InlineData("/v1/projects//settings", 404)]
    [InlineData("/sourceConfig/?writeKey=wrong", 401)]
    [InlineData("/sourceConfig/", 401)]
    public async Task Settings_need_a_known_key(string path, int status)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        using HttpResponseMessage response = await host.Http.GetAsync(new Uri(host.Address, path), Cancel);

        Assert.Equal(status, (int)response.StatusCode);
    }

    [Theory]
    [InlineData("/sourceConfig/?p=npm&writeKey=web-key")]
    [InlineData("/sourceConfig?writeKey=web-key")]
    public async Task The_source_config_lets_rudder_start(string path)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        using JsonDocument json = JsonDocument.Parse(await host.Http.GetStringAsync(new Uri(host.Address, path), Cancel));

        JsonElement source = json.RootElement.GetProperty("source");
        Assert.Equal("web", source.GetProperty("id").GetString());
        Assert.True(source.GetProperty("enabled").GetBoolean());
        Assert.Equal(0, source.GetProperty("destinations").GetArrayLength());
        Assert.False(source.GetProperty("config").GetProperty("statsCollection").GetProperty("errors").GetProperty("enabled").GetBoolean());
    }

    [Fact]
    public async Task Metrics_of_sdks_are_taken_and_dropped()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal((200, Success), await host.PostAsync("/v1/m", "anything", key: null));
        Assert.Equal(0, host.Events.Appended);
    }

    [Fact]
    public async Task A_wrong_method_is_405()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        using HttpResponseMessage response = await host.Http.GetAsync(new Uri(host.Address, "/v1/track"), Cancel);

        Assert.Equal(HttpStatusCode.MethodNotAllowed, response.StatusCode);
        Assert.Equal(["POST", "OPTIONS"], response.Content.Headers.Allow);
    }

    [Theory]
    [InlineData("/batch/")]
    [InlineData("/capture/")]
    [InlineData("/e/")]
    [InlineData("/i/v0/e/")]
    public async Task Paths_of_PostHog_are_not_the_collectors(string path)
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal(404, (await host.PostAsync(path, $$"""{"api_key":"{{CollectorHost.Key}}","batch":[{"event":"E","distinct_id":"u"}]}""", key: null)).Status);
    }

    [Fact]
    public async Task Other_paths_go_on_to_the_api()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        Assert.Equal("api x", await host.Http.GetStringAsync(new Uri(host.Address, "/v1/profiles/x"), Cancel));
        Assert.Equal(404, (await host.PostAsync("/v1/trackx", Page)).Status);
    }

    [Fact]
    public async Task Retries_are_counted()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using HttpRequestMessage request = host.Request("/v1/page", new StringContent(Page));
        request.Headers.Add("X-Retry-Count", "2");

        using HttpResponseMessage response = await host.Http.SendAsync(request, Cancel);

        Assert.Contains("streamcdp_collect_retries_total 1", await host.MetricsTextAsync());
    }

    [Fact]
    public async Task A_half_sent_body_leaves_nothing()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using (var client = new TcpClient())
        {
            await client.ConnectAsync(IPAddress.Loopback, host.Address.Port, Cancel);
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes($"POST /v1/page HTTP/1.1\r\nHost: x\r\nX-Write-Key: web-key\r\nContent-Length: 1000\r\n\r\n{Page}"), Cancel);
            await WaitUntilAsync(async () => !(await host.MetricsTextAsync()).Contains("streamcdp_collect_bytes_in_flight 0", StringComparison.Ordinal));
        }

        await WaitUntilAsync(async () => (await host.MetricsTextAsync()).Contains("streamcdp_collect_requests_total{outcome=\"aborted\"} 1", StringComparison.Ordinal));
        Assert.Equal(0, host.Events.Appended + host.DeadLetters.Appended);
        Assert.Contains("streamcdp_collect_bytes_in_flight 0", await host.MetricsTextAsync());
        Assert.Equal(200, (await host.PostAsync("/v1/page", Page)).Status);
    }

    [Fact]
    public async Task A_promised_length_takes_no_memory()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, host.Address.Port, Cancel);
        await client.GetStream().WriteAsync("POST /v1/page HTTP/1.1\r\nHost: x\r\nX-Write-Key: web-key\r\nContent-Length: 4000000\r\n\r\n{"u8.ToArray(), Cancel);

        await WaitUntilAsync(async () => (await host.MetricsTextAsync()).Contains("streamcdp_collect_bytes_in_flight 16384", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_million_names_make_no_metric()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();
        await host.PostAsync("/v1/batch", Names(0));
        string before = await host.MetricsTextAsync();

        await host.PostAsync("/v1/batch", Names(5000));

        Assert.Equal(before.Count(c => c == '\n'), (await host.MetricsTextAsync()).Count(c => c == '\n'));

        static string Names(int first) =>
            $$"""{"batch":[{{string.Join(',', Enumerable.Range(first, 5000).Select(i => $$"""{"type":"track","event":"E{{i}}","userId":"u{{i}}"}"""))}}]}""";
    }

    [Fact]
    public async Task Another_model_holds_from_the_next_request_on()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        host.Collector.UseModel(CollectorHost.Model with { Sources = [new("app", "app-key", "app", false)] });

        Assert.Equal(401, (await host.PostAsync("/v1/page", Page)).Status);
        Assert.Equal(200, (await host.PostAsync("/v1/page", Page, "app-key")).Status);
    }

    [Fact]
    public async Task Many_clients_at_once_lose_nothing_and_mix_nothing_up()
    {
        await using CollectorHost host = await CollectorHost.StartAsync();

        await Parallel.ForEachAsync(Enumerable.Range(0, 400), Cancel, async (i, _) =>
            Assert.Equal(200, (await host.PostAsync("/v1/batch", $$"""{"batch":[{"type":"page","userId":"u{{i}}","messageId":"m{{i}}"},{"type":"track","userId":"u{{i}}"}]}""")).Status));

        Assert.Equal(Enumerable.Range(0, 400).Select(i => $"user_id:u{i} m{i} page").Order(StringComparer.Ordinal), host.Events.Records.Select(record => $"{record.Key} {record.Event().MessageId} {record.Event().Type}").Order(StringComparer.Ordinal));
        Assert.Equal(400, host.DeadLetters.Appended);
    }

    [Fact]
    public void All_broken_options_are_named()
    {
        string[] errors = [.. new CollectOptions { MaxRequestBytes = 1, RetryAfterMax = TimeSpan.FromHours(1), PublicUrl = "cdp" }.Errors()];

        Assert.Equal(3, errors.Length);
        Assert.Contains("StreamCdp:Collect:MaxRequestBytes is 1; allowed are 65536 to 67108864.", errors);
    }

    private static void AssertProblem(int expectedStatus, string code, int status, string answer)
    {
        Assert.Equal(expectedStatus, status);
        using JsonDocument json = JsonDocument.Parse(answer);
        Assert.Equal(expectedStatus, json.RootElement.GetProperty("status").GetInt32());
        Assert.Equal(code, json.RootElement.GetProperty("code").GetString());
        Assert.NotEmpty(json.RootElement.GetProperty("message").GetString()!);
        Assert.NotEmpty(json.RootElement.GetProperty("title").GetString()!);
    }

    private static string? Header(HttpResponseMessage response, string name) => response.Headers.TryGetValues(name, out IEnumerable<string>? values) ? string.Join(", ", values) : null;

    private static byte[] Gzip(byte[] bytes)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest))
        {
            gzip.Write(bytes);
        }

        return packed.ToArray();
    }

    private static Task WaitUntil(Func<bool> condition) => WaitUntilAsync(() => Task.FromResult(condition()));

    private static async Task WaitUntilAsync(Func<Task<bool>> condition)
    {
        for (int i = 0; !await condition(); i++)
        {
            Assert.True(i < 1000, "Waited 10 s.");
            await Task.Delay(10, Cancel);
        }
    }

    private sealed class ManualTime : TimeProvider
    {
        private long _ms = 1_767_323_045_678;

        public override DateTimeOffset GetUtcNow() => DateTimeOffset.FromUnixTimeMilliseconds(_ms);

        public override long GetTimestamp() => _ms;

        public override long TimestampFrequency => 1000;

        public void Advance(TimeSpan by) => _ms += (long)by.TotalMilliseconds;
    }
}
