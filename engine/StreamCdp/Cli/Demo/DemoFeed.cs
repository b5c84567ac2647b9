using System.Text;
using System.Text.Json;

namespace StreamCdp.Cli.Demo;

/// <summary>The latest membership changes of a server, by its stream of server-sent events.</summary>
internal sealed class DemoFeed(CdpClient client)
{
    private const int Kept = 8;
    private static readonly TimeSpan s_again = TimeSpan.FromSeconds(1);
    private readonly LinkedList<string> _latest = new();
    private readonly Lock _lock = new();
    private long _changes;

    /// <summary>Changes seen.</summary>
    public long Changes => Volatile.Read(ref _changes);

    /// <summary>Told of each: entered or exited, the profile's id, the segment's.</summary>
    public event Action<string, string, string>? Changed;

    /// <summary>Newest first.</summary>
    public IReadOnlyList<string> Latest
    {
        get
        {
            lock (_lock)
            {
                return [.. _latest];
            }
        }
    }

    /// <summary>Listens until asked to stop; a lost connection is made again.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            try
            {
                await using Stream? stream = await client.StreamAsync("/v1/stream", stop).ConfigureAwait(false);
                if (stream is not null)
                {
                    await ReadAsync(stream, stop).ConfigureAwait(false);
                }

                await Task.Delay(s_again, stop).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (Exception exception) when (exception is HttpRequestException or IOException)
            {
                // It comes back, or the demo ends; the numbers do not hang on it.
            }
        }
    }

    private async Task ReadAsync(Stream stream, CancellationToken stop)
    {
        using var reader = new StreamReader(stream, Encoding.UTF8, leaveOpen: true);
        string name = "";
        while (await reader.ReadLineAsync(stop).ConfigureAwait(false) is { } line)
        {
            if (line.StartsWith("event:", StringComparison.Ordinal))
            {
                name = line["event:".Length..].Trim();
            }
            else if (line.StartsWith("data:", StringComparison.Ordinal) && name is ("entered" or "exited") && TryParse(line["data:".Length..], out JsonElement json))
            {
                Interlocked.Increment(ref _changes);
                Changed?.Invoke(name, Text(json, "profile"), Text(json, "segment"));
                lock (_lock)
                {
                    _latest.AddFirst($"{Text(json, "at"),-24} {Text(json, "profile")} {name} {Text(json, "segment")}");
                    if (_latest.Count > Kept)
                    {
                        _latest.RemoveLast();
                    }
                }
            }
        }
    }

    private static bool TryParse(string data, out JsonElement json)
    {
        try
        {
            json = JsonElement.Parse(data);
            return true;
        }
        catch (JsonException)
        {
            json = default;
            return false;
        }
    }

    private static string Text(JsonElement json, string name) => json.TryGetProperty(name, out JsonElement value) ? value.ToString() : "";
}
