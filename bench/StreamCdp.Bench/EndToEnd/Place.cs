using System.Diagnostics;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Runtime;

namespace StreamCdp.Bench.EndToEnd;

/// <summary>Where a run has its logs and state: a directory, and a broker where it wants Kafka.</summary>
internal sealed class Place : IAsyncDisposable
{
    private readonly BenchOptions _options;
    private readonly string _directory;
    private readonly string? _broker;

    private Place(BenchOptions options, string directory, string? broker, string bootstrap)
    {
        (_options, _directory, _broker, Bootstrap) = (options, directory, broker, bootstrap);
    }

    /// <summary>Address of the broker.</summary>
    public string Bootstrap { get; }

    /// <summary>Of the topics of this run: a broker of somebody else may hold those of other runs.</summary>
    private string TopicPrefix { get; } = $"bench{Guid.NewGuid():N}.";

    /// <summary>Root of logs and state.</summary>
    public string DataPath => _directory;

    /// <summary>Of stores and checkpoints.</summary>
    public string StatePath => Path.Combine(_directory, "state");

    /// <summary>What a run is made with.</summary>
    public EngineOptions Engine
    {
        get
        {
            var engine = new EngineOptions();
            engine = _options.Shards > 0 ? engine with { Shards = _options.Shards } : engine;
            return _options.MemoryMib > 0 ? engine with { MemoryBytes = (long)_options.MemoryMib << 20 } : engine;
        }
    }

    public static async Task<Place> MakeAsync(BenchOptions options)
    {
        string directory = options.Data.Length > 0 ? Directory.CreateDirectory(options.Data).FullName : Directory.CreateTempSubdirectory("streamcdp-bench-").FullName;
        if (options.Log == "local" || options.Bootstrap.Length > 0)
        {
            return new Place(options, directory, null, options.Bootstrap);
        }

        string broker = Directory.CreateTempSubdirectory("streamcdp-bench-kafka-").FullName;
        return new Place(options, directory, broker, await KafkaAsync("kafka-up", broker).ConfigureAwait(false));
    }

    /// <summary>A shop's model: 8 computed traits, 10 segments. A file of its own, so that figures stay comparable when the demo changes.</summary>
    public static CdpModel Model() => ModelReader.Read("cdp.yaml", ModelText(), _ => null).Model!;

    /// <summary>The same with as many segments as the run has.</summary>
    public static CdpModel Model(BenchOptions options) => ManySegments.Of(Model(), options.Segments);

    public static string ModelText()
    {
        using var text = new StreamReader(typeof(Place).Assembly.GetManifestResourceStream("StreamCdp.Bench.shop.yaml")!);
        return text.ReadToEnd();
    }

    /// <param name="forLoading">Page cache is enough: what is loaded is not measured.</param>
    public ILogStore OpenLogs(bool forLoading = false) => _options.Log == "kafka"
        ? new KafkaLogs(new KafkaOptions { BootstrapServers = Bootstrap, TopicPrefix = TopicPrefix })
        : new LocalLogs(Path.Combine(_directory, "logs"), new LocalLogOptions { Durability = forLoading ? LocalDurability.PageCache : _options.Durability }, TimeProvider.System);

    public async ValueTask DisposeAsync()
    {
        if (_broker is not null)
        {
            await KafkaAsync("kafka-down", _broker).ConfigureAwait(false);
            Directory.Delete(_broker, recursive: true);
        }

        if (_options.Data.Length == 0)
        {
            Directory.Delete(_directory, recursive: true);
        }
    }

    private static async Task<string> KafkaAsync(string command, string directory)
    {
        string? home = Environment.GetEnvironmentVariable("KAFKA_HOME");
        for (DirectoryInfo? above = new(AppContext.BaseDirectory); home is null && above is not null; above = above.Parent)
        {
            string candidate = Path.Combine(above.FullName, "..", "shared", "kafka");
            home = File.Exists(Path.Combine(candidate, "bin", command)) ? Path.GetFullPath(candidate) : null;
        }

        if (home is null)
        {
            throw new InvalidOperationException("There is no Kafka: give --bootstrap, set KAFKA_HOME, or put one beside the repository as ../shared/kafka.");
        }

        var start = new ProcessStartInfo(Path.Combine(home, "bin", command), [directory]) { RedirectStandardOutput = true };
        using Process process = Process.Start(start)!;
        string[] lines = (await process.StandardOutput.ReadToEndAsync().ConfigureAwait(false)).Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        await process.WaitForExitAsync().ConfigureAwait(false);
        return process.ExitCode == 0 ? lines.LastOrDefault() ?? "" : throw new InvalidOperationException($"{command} {directory} ended with {process.ExitCode}.");
    }
}
