using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace StreamCdp.Connectors.Tests.Webhook;

/// <summary>A receiver of webhooks on 127.0.0.1, written from the README as a stranger would: it checks every signature before it answers.</summary>
internal sealed class HookReceiver : IAsyncDisposable
{
    public const string Secret = "a secret of the tests";

    private readonly WebApplication _app;
    private readonly Lock _lock = new();
    private readonly List<JsonElement> _changes = [];
    private readonly List<string> _problems = [];
    private readonly List<string> _deliveries = [];
    private readonly CancellationTokenSource _stop = new();
    private TaskCompletionSource _arrived = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _requests;

    private HookReceiver(WebApplication app) => _app = app;

    /// <summary>Answers a request that was signed right: gets its number from 1 and its changes; says whether it took them. Null: 200.</summary>
    public Func<HttpContext, int, JsonElement[], Task<bool>>? Behaviour { get; set; }

    public Uri Url => new(_app.Urls.First() + "/hook?tenant=1");

    public int Requests => Volatile.Read(ref _requests);

    public IReadOnlyList<string> Problems
    {
        get
        {
            lock (_lock)
            {
                return [.. _problems];
            }
        }
    }

    public IReadOnlyList<string> Deliveries
    {
        get
        {
            lock (_lock)
            {
                return [.. _deliveries];
            }
        }
    }

    /// <summary>What it took, in the order of arrival.</summary>
    public IReadOnlyList<JsonElement> Changes
    {
        get
        {
            lock (_lock)
            {
                return [.. _changes];
            }
        }
    }

    public static async Task<HookReceiver> StartAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        WebApplication app = builder.Build();
        var receiver = new HookReceiver(app);
        app.Run(receiver.ReceiveAsync);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return receiver;
    }

    /// <summary>Waits until what it took is enough.</summary>
    public async Task<IReadOnlyList<JsonElement>> WaitAsync(Func<IReadOnlyList<JsonElement>, bool> isEnough)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        while (true)
        {
            Task news;
            IReadOnlyList<JsonElement> changes;
            lock (_lock)
            {
                news = _arrived.Task;
                changes = [.. _changes];
            }

            if (isEnough(changes))
            {
                return changes;
            }

            await news.WaitAsync(limit.Token);
        }
    }

    /// <summary>Answers nothing, until the other side or the test gives up.</summary>
    public async Task<bool> HangAsync(HttpContext context)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, _stop.Token);
        await Task.Delay(Timeout.Infinite, either.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return false;
    }

    /// <summary>Closes its port.</summary>
    public Task StopAsync() => _app.StopAsync(TestContext.Current.CancellationToken);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _app.DisposeAsync();
        _stop.Dispose();
    }

    /// <summary>As the README says it.</summary>
    private static bool IsSigned(HttpRequest request, byte[] body)
    {
        string timestamp = request.Headers["StreamCdp-Timestamp"].ToString();
        if (!long.TryParse(timestamp, CultureInfo.InvariantCulture, out long seconds) || Math.Abs(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - seconds) > 300)
        {
            return false;
        }

        byte[] expected = HMACSHA256.HashData(Encoding.UTF8.GetBytes(Secret), (byte[])[.. Encoding.UTF8.GetBytes(timestamp + "."), .. body]);
        return request.Headers["StreamCdp-Signature"].ToString().Split(',').Any(given =>
            given.StartsWith("v1=", StringComparison.Ordinal) && CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(given[3..]), Encoding.ASCII.GetBytes(Convert.ToHexStringLower(expected))));
    }

    private async Task ReceiveAsync(HttpContext context)
    {
        int number = Interlocked.Increment(ref _requests);
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);
        if (!IsSigned(context.Request, body.ToArray()))
        {
            lock (_lock)
            {
                _problems.Add($"Request {number} is not signed.");
            }

            context.Response.StatusCode = 401;
            return;
        }

        JsonElement[] changes = [.. JsonElement.Parse(body.ToArray()).GetProperty("changes").EnumerateArray()];
        lock (_lock)
        {
            _deliveries.Add(context.Request.Headers["StreamCdp-Delivery"].ToString());
        }

        if (Behaviour is not null && !await Behaviour(context, number, changes))
        {
            return;
        }

        lock (_lock)
        {
            _changes.AddRange(changes);
            (TaskCompletionSource before, _arrived) = (_arrived, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
            before.SetResult();
        }
    }
}
