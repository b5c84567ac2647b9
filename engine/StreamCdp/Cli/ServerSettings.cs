namespace StreamCdp.Cli;

/// <summary>Where the logs are.</summary>
internal enum LogKind
{
    /// <summary>A directory.</summary>
    Local,

    /// <summary>A Kafka cluster.</summary>
    Kafka,
}

/// <summary>What moves the shards' clocks (RULES.md §4.3).</summary>
internal enum ClockKind
{
    /// <summary>Wall time.</summary>
    Wall,

    /// <summary>The latest event time: imports, back-tests, tests.</summary>
    Event,
}

/// <summary>What a server is started with; the settings of each stage are read from <see cref="Configuration"/> by that stage.</summary>
internal sealed record ServerSettings
{
    /// <summary>First part of every key.</summary>
    public const string Section = "StreamCdp";

    /// <summary>Roles in the order of the flow.</summary>
    public static readonly IReadOnlyList<string> AllRoles = ["collect", "route", "resolve", "profile", "connect", "api"];

    /// <summary>Roles that this version runs in one process only.</summary>
    private static readonly string[] s_stages = ["route", "resolve", "profile"];

    /// <summary>Path of cdp.yaml.</summary>
    public string ModelPath { get; init; } = "cdp.yaml";

    /// <summary>The model's text where it comes from no file (demo); null: read <see cref="ModelPath"/>.</summary>
    public string? ModelText { get; init; }

    /// <summary>What <c>env:NAME</c> in the model means.</summary>
    public Func<string, string?> Environment { get; init; } = System.Environment.GetEnvironmentVariable;

    /// <summary>local or kafka.</summary>
    public string Log { get; init; } = "local";

    /// <summary>Roles of this process.</summary>
    public IReadOnlyList<string> Roles { get; init; } = AllRoles;

    /// <summary>wall or event.</summary>
    public string Clock { get; init; } = "wall";

    /// <summary>Directory of local logs and state.</summary>
    public string DataPath { get; init; } = "data";

    /// <summary>Addresses to listen at, separated by semicolons; port 0: a free one.</summary>
    public string Urls { get; init; } = ServerOptions.DefaultUrl;

    /// <summary>No log lines below error on the console: the terminal belongs to a live display.</summary>
    public bool IsQuiet { get; init; }

    /// <summary>All settings, for the options of the stages.</summary>
    public IConfiguration Configuration { get; init; } = new ConfigurationBuilder().Build();

    /// <summary><see cref="Log"/>, once <see cref="Errors"/> is empty.</summary>
    public LogKind LogKind => Enum.Parse<LogKind>(Log, ignoreCase: true);

    /// <summary><see cref="Clock"/>, once <see cref="Errors"/> is empty.</summary>
    public ClockKind ClockKind => Enum.Parse<ClockKind>(Clock, ignoreCase: true);

    /// <summary>Layers appsettings.json, environment and flags; flags win.</summary>
    /// <param name="flags">Keys without <see cref="Section"/>; null values are left out.</param>
    public static ServerSettings Load(IEnumerable<KeyValuePair<string, string?>> flags)
    {
        IConfigurationRoot configuration = new ConfigurationBuilder()
            .SetBasePath(Directory.GetCurrentDirectory())
            .AddJsonFile("appsettings.json", optional: true)
            .AddEnvironmentVariables()
            .AddInMemoryCollection(flags.Where(flag => flag.Value is not null).Select(flag => KeyValuePair.Create($"{Section}:{flag.Key}", flag.Value)))
            .Build();
        return From(configuration);
    }

    /// <summary>Reads the keys of this page.</summary>
    public static ServerSettings From(IConfiguration configuration)
    {
        var defaults = new ServerSettings();
        IConfigurationSection section = configuration.GetSection(Section);
        return defaults with
        {
            Configuration = configuration,
            ModelPath = section["Model"] ?? defaults.ModelPath,
            Log = section["Log:Kind"] ?? defaults.Log,
            Roles = section["Roles"] is { } roles ? roles.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) : defaults.Roles,
            Clock = section["Clock"] ?? defaults.Clock,
            DataPath = section["State:Path"] ?? defaults.DataPath,
            Urls = section["Http:Urls"] ?? defaults.Urls,
        };
    }

    /// <summary>Every broken rule, each with its key, its value and what is allowed. Empty: the settings are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (ModelText is null && !File.Exists(ModelPath))
        {
            yield return $"{Section}:Model is {ModelPath}, which is not there; allowed is the path of a cdp.yaml (--model).";
        }

        if (!Enum.TryParse<LogKind>(Log, ignoreCase: true, out _) || int.TryParse(Log, out _))
        {
            yield return $"{Section}:Log:Kind is {Log}; allowed are local and kafka (--log).";
        }
        else if (LogKind == LogKind.Kafka && string.IsNullOrWhiteSpace(Configuration[$"{Section}:Kafka:BootstrapServers"]))
        {
            yield return $"{Section}:Kafka:BootstrapServers is empty; with Log:Kind kafka it must name the brokers, for example kafka1:9092,kafka2:9092.";
        }
        else if (LogKind == LogKind.Local && Roles.Contains("collect") && !Roles.Any(s_stages.Contains))
        {
            yield return $"{Section}:Roles is {string.Join(',', Roles)}; collect alone needs --log kafka, because a local log belongs to one process, which must run the stages, too.";
        }

        foreach (string role in Roles.Where(role => !AllRoles.Contains(role)))
        {
            yield return $"{Section}:Roles has {role}; allowed are {string.Join(", ", AllRoles)} (--roles).";
        }

        if (Roles.Count == 0)
        {
            yield return $"{Section}:Roles is empty; allowed are {string.Join(", ", AllRoles)} (--roles).";
        }

        foreach (string problem in RoleProblems())
        {
            yield return $"{Section}:Roles is {string.Join(',', Roles)}; {problem} (--roles).";
        }

        if (!Enum.TryParse<ClockKind>(Clock, ignoreCase: true, out _) || int.TryParse(Clock, out _))
        {
            yield return $"{Section}:Clock is {Clock}; allowed are wall and event (--clock).";
        }

        if (string.IsNullOrWhiteSpace(DataPath))
        {
            yield return $"{Section}:State:Path is empty; allowed is a directory, which is made where it is missing (--data).";
        }
        else if (File.Exists(DataPath))
        {
            yield return $"{Section}:State:Path is {DataPath}, which is a file; allowed is a directory (--data).";
        }

        foreach (string url in Urls.Split(';', StringSplitOptions.TrimEntries))
        {
            if (!Uri.TryCreate(url.Replace("//*", "//any", StringComparison.Ordinal).Replace("//+", "//any", StringComparison.Ordinal), UriKind.Absolute, out Uri? uri) || uri.Scheme is not ("http" or "https"))
            {
                yield return $"{Section}:Http:Urls has {url}; allowed are addresses such as {ServerOptions.DefaultUrl}, separated by semicolons (--urls).";
            }
        }
    }

    /// <summary>Sets of roles that cannot work.</summary>
    private IEnumerable<string> RoleProblems()
    {
        string[] missing = [.. s_stages.Except(Roles)];
        if (missing.Length is > 0 and < 3)
        {
            yield return $"this version runs {string.Join(", ", s_stages)} in one process: add {string.Join(", ", missing)}";
        }

        if (Roles.Contains("api") && missing.Length == s_stages.Length)
        {
            yield return $"api answers from the state of the shards, which are in the process that runs {string.Join(", ", s_stages)}: add these, or leave api out";
        }

        if (Roles.Contains("connect") && missing.Length == s_stages.Length)
        {
            yield return $"connect asks the shards what a profile has, and they are in the process that runs {string.Join(", ", s_stages)}: add these, or leave connect out";
        }
    }
}
