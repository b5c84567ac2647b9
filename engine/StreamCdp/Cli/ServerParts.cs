using StreamCdp.Api;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;
using StreamCdp.Engine.Pipeline.Collect;
using StreamCdp.Engine.Pipeline.Identity;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Cli;

/// <summary>The checked model and options of all parts of a server.</summary>
internal sealed record ServerParts
{
    /// <summary>The model.</summary>
    public required CdpModel Model { get; init; }

    /// <summary>Of the query API.</summary>
    public required ApiOptions Http { get; init; }

    /// <summary>Of the collector.</summary>
    public required CollectOptions Collect { get; init; }

    /// <summary>Of the stages.</summary>
    public required EngineOptions Engine { get; init; }

    /// <summary>Of local logs.</summary>
    public required LocalLogOptions Log { get; init; }

    /// <summary>Of Kafka.</summary>
    public required KafkaOptions Kafka { get; init; }

    /// <summary>Of the schema registry.</summary>
    public required SchemaRegistryOptions Registry { get; init; }

    /// <summary>Outputs are JSON, not Avro.</summary>
    public required bool IsJson { get; init; }

    /// <summary>Reads the model and every section.</summary>
    /// <exception cref="CliException">The message has everything that is wrong, a line each.</exception>
    public static ServerParts Read(ServerSettings settings)
    {
        List<string> errors = [.. settings.Errors()];
        bool isKafka = settings.Log.Equals(nameof(LogKind.Kafka), StringComparison.OrdinalIgnoreCase);
        CdpModel? model = ReadModel(settings, errors);
        var http = Section<ApiOptions>(settings, ApiOptions.Section, errors) with { Urls = settings.Urls };
        var collect = Section<CollectOptions>(settings, CollectOptions.Section, errors);
        var engine = Section<EngineOptions>(settings, EngineOptions.Section, errors);
        var log = Section<LocalLogOptions>(settings, LocalLogOptions.Section, errors);
        var kafka = Section<KafkaOptions>(settings, KafkaOptions.Section, errors);
        var registry = Section<SchemaRegistryOptions>(settings, SchemaRegistryOptions.Section, errors);
        string format = settings.Configuration[$"{KafkaOptions.Section}:Format"] ?? "avro";
        if (format is not ("avro" or "json"))
        {
            errors.Add($"{KafkaOptions.Section}:Format is {format}; allowed are avro and json.");
        }

        string urls = ApiOptions.Section + ":Urls";
        bool isSaid = errors.Exists(error => error.StartsWith(urls, StringComparison.Ordinal));
        errors.AddRange([.. http.Errors().Where(error => !isSaid || !error.StartsWith(urls, StringComparison.Ordinal)), .. collect.Errors(), .. engine.Errors(), .. isKafka ? [.. KafkaErrors(kafka), .. registry.Errors()] : log.Errors()]);
        if (settings.Urls.Contains("https:", StringComparison.OrdinalIgnoreCase) && http.CertificatePath.Length == 0 && !settings.Configuration.GetSection("Kestrel:Certificates:Default").Exists())
        {
            errors.Add($"{urls} has https, which needs a certificate; set {ApiOptions.Section}:{nameof(ApiOptions.CertificatePath)} (and {nameof(ApiOptions.CertificateKeyPath)} for PEM files), or Kestrel:Certificates:Default.");
        }

        if (errors.Count > 0)
        {
            throw new CliException(string.Join(Environment.NewLine, errors.Distinct()));
        }

        return new ServerParts
        {
            Model = model!,
            Http = http,
            Collect = collect,
            Engine = engine with { Clock = settings.ClockKind == ClockKind.Event ? ClockMode.Event : ClockMode.Wall },
            Log = log,
            Kafka = kafka,
            Registry = registry,
            IsJson = format == "json",
        };
    }

    /// <summary>Without the line on missing brokers, which <see cref="ServerSettings.Errors"/> has.</summary>
    private static IEnumerable<string> KafkaErrors(KafkaOptions kafka) => kafka.Errors().Skip(string.IsNullOrWhiteSpace(kafka.BootstrapServers) ? 1 : 0);

    private static CdpModel? ReadModel(ServerSettings settings, List<string> errors)
    {
        if (settings.ModelText is null && !File.Exists(settings.ModelPath))
        {
            return null; // The settings say so.
        }

        try
        {
            return settings.ModelText is { } text ? ModelFile.Parse(settings.ModelPath, text, settings.Environment).Model : ModelFile.Read(settings.ModelPath, settings.Environment);
        }
        catch (CliException exception)
        {
            errors.Add(exception.Message);
            return null;
        }
    }

    private static T Section<T>(ServerSettings settings, string section, List<string> errors)
        where T : new()
    {
        try
        {
            return settings.Configuration.GetSection(section).Get<T>() ?? new T();
        }
        catch (InvalidOperationException exception)
        {
            errors.Add(exception.InnerException is { } inner && inner.Message != exception.Message ? $"{exception.Message} {inner.Message}" : exception.Message);
            return new T();
        }
    }
}
