using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using StreamCdp.Engine.Logs;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli.Simulation;

/// <summary><c>streamcdp simulate</c>.</summary>
internal static class SimulateCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var to = new Option<string>("--to") { Description = "http: to the collector, as SDKs do. kafka: JSON into the topic events, as a program beside the server does.", DefaultValueFactory = _ => "http", HelpName = "WHERE" };
        to.AcceptOnlyFromAmong("http", "kafka");
        var bootstrap = new Option<string?>("--bootstrap") { Description = "Kafka brokers, for --to kafka. Default: StreamCdp__Kafka__BootstrapServers; the other settings of StreamCdp__Kafka count, too.", HelpName = "HOST:PORT" };
        var topicPrefix = new Option<string?>("--topic-prefix") { Description = "What the server's topics begin with, for --to kafka. Default: StreamCdp__Kafka__TopicPrefix, else streamcdp.", HelpName = "TEXT" };
        var webKey = new Option<string?>("--write-key") { Description = "Write key of the source that the shop sends as, for --to http. Default: STREAMCDP_WRITE_KEY.", HelpName = "KEY" };
        var webKeyFile = new Option<string?>("--write-key-file") { Description = "File with that key on its first line; a key on the command line can be read by everybody on the machine.", HelpName = "FILE" };
        var source = new Option<string>("--source") { Description = "Id of that source in the model; its trust and preference count in the truth.", DefaultValueFactory = _ => "web", HelpName = "ID" };
        Option<double> rate = Positive<double>("--rate", "Events a second.", 200, "EV/S");
        Option<int> people = Positive<int>("--people", "People of the shop.", 500, "N");
        Option<TimeSpan?> duration = Durations.Option("--duration", "How long to send, for example 5m. Default: 30s.");
        var seed = new Option<int>("--seed") { Description = "Start of every random choice.", DefaultValueFactory = _ => 42, HelpName = "N" };
        var tag = new Option<string?>("--tag") { Description = "Part of every identifier. Default: seed and start time, so that runs do not meet; give one to send the same people again.", HelpName = "TEXT" };
        var verify = new Option<bool>("--verify") { Description = "Afterwards compare everybody with the truth by the query API; needs --model and a key of the query API. Any difference: exit code 1." };
        var model = new Option<string?>("--model") { Description = "The model that the server runs with, for --verify.", HelpName = "FILE" };
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "simulate",
            "Send a simulated shop's traffic to a running server, by HTTP or into its Kafka topic: log-ins on two devices, shared devices, late, repeated and invalid events, wrong clocks.",
            "STREAMCDP_WRITE_KEY=$WEB_WRITE_KEY streamcdp simulate --url http://127.0.0.1:8080 --rate 1000 --duration 1m",
            "streamcdp simulate --verify --model cdp.yaml   # keys from STREAMCDP_WRITE_KEY and STREAMCDP_API_KEY",
            "streamcdp simulate --to kafka --bootstrap localhost:9092 --verify --model cdp.yaml   # key from STREAMCDP_API_KEY")
        {
            to, bootstrap, topicPrefix, webKey, webKeyFile, source, rate, people, duration, seed, tag, verify, model,
        };
        server.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetValue(verify) && result.GetValue(model) is null)
            {
                result.AddError("--verify needs --model: the truth is worked out with the model that the server runs with.");
            }
        });
        command.SetAction(async (parsed, cancellationToken) =>
        {
            bool isKafka = parsed.GetValue(to) == "kafka";
            string key = ServerOptions.Secret(parsed, webKey, webKeyFile, "STREAMCDP_WRITE_KEY")
                ?? (isKafka ? "" : throw new CliException("There is no write key; give one with --write-key-file or STREAMCDP_WRITE_KEY.", CommandLine.WrongUsage));
            CdpModel? checkedModel = parsed.GetValue(verify) ? ModelFile.Read(parsed.GetValue(model)!, Environment.GetEnvironmentVariable) : null;
            var shopSource = new ShopSource(parsed.GetRequiredValue(source), key);
            double wanted = parsed.GetValue(rate);
            var settings = new ShopSettings
            {
                Seed = parsed.GetValue(seed),
                People = parsed.GetValue(people),
                Tag = parsed.GetValue(tag) ?? $"{parsed.GetValue(seed)}-{TimeProvider.System.GetUtcNow().ToUnixTimeSeconds().ToString("x", CultureInfo.InvariantCulture)}",
                Web = shopSource,
                App = shopSource,
                BatchMax = BatchMax(wanted),
            };
            using CdpClient client = server.Connect(parsed);
            using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(30) };
            using KafkaTarget? kafka = isKafka ? KafkaTarget.Connect(Kafka(parsed.GetValue(bootstrap), parsed.GetValue(topicPrefix))) : null;
            IShopTarget target = kafka is not null ? kafka : new HttpTarget(http, client.Address);
            return await RunAsync(settings, target, wanted, parsed.GetValue(duration) ?? TimeSpan.FromSeconds(30), checkedModel, client, parsed.InvocationConfiguration.Output, cancellationToken).ConfigureAwait(false);
        });
        return command;
    }

    /// <summary>Larger batches for more load, as server SDKs do.</summary>
    internal static int BatchMax(double rate) => (int)Math.Clamp(rate / 100, 6, 50);

    /// <summary>An option that must be above 0.</summary>
    internal static Option<T> Positive<T>(string name, string description, T value, string helpName)
        where T : struct, System.Numerics.INumber<T>
    {
        var option = new Option<T>(name) { Description = description, DefaultValueFactory = _ => value, HelpName = helpName };
        option.Validators.Add(result =>
        {
            if (result.Tokens.Count > 0 && T.TryParse(result.Tokens[0].Value, CultureInfo.InvariantCulture, out T number) && number <= T.Zero)
            {
                result.AddError($"{name} is {number}; allowed is a number above 0.");
            }
        });
        return option;
    }

    /// <summary>The server's own settings of Kafka, with what the command line says instead.</summary>
    private static KafkaOptions Kafka(string? bootstrap, string? topicPrefix)
    {
        ServerSettings settings = ServerSettings.Load([KeyValuePair.Create("Kafka:BootstrapServers", bootstrap), KeyValuePair.Create("Kafka:TopicPrefix", topicPrefix)]);
        KafkaOptions options = settings.Configuration.GetSection(KafkaOptions.Section).Get<KafkaOptions>() ?? new KafkaOptions();
        if (string.IsNullOrWhiteSpace(options.BootstrapServers))
        {
            throw new CliException("--to kafka needs the brokers; name them with --bootstrap or StreamCdp__Kafka__BootstrapServers, for example localhost:9092.", CommandLine.WrongUsage);
        }

        string[] errors = [.. options.Errors()];
        return errors.Length == 0 ? options : throw new CliException(string.Join(Environment.NewLine, errors), CommandLine.WrongUsage);
    }

    private static async Task<int> RunAsync(ShopSettings settings, IShopTarget target, double rate, TimeSpan duration, CdpModel? model, CdpClient client, TextWriter output, CancellationToken cancellationToken)
    {
        using var shop = new Shop(settings);
        using var sender = new ShopSender(shop, settings, target, TimeProvider.System);
        long start = Stopwatch.GetTimestamp();
        Task sending = sender.RunAsync(rate, duration, cancellationToken);
        while (await Task.WhenAny(sending, Task.Delay(1_000, CancellationToken.None)).ConfigureAwait(false) != sending)
        {
            double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            await output.WriteLineAsync($"{seconds,6:F0} s  {sender.Acknowledged,10:N0} events  {sender.Acknowledged / seconds,8:N0}/s  acknowledged p50 {sender.AcknowledgeMs(50):F1} ms p99 {sender.AcknowledgeMs(99):F1} ms{(sender.LastProblem is { } problem ? "  " + problem : "")}").ConfigureAwait(false);
        }

        await sending.ConfigureAwait(false);
        await output.WriteLineAsync($"{sender.Acknowledged:N0} events acknowledged, {sender.Retries:N0} calls sent again, {sender.Lost:N0} events lost.").ConfigureAwait(false);
        if (model is null)
        {
            return sender.Lost == 0 ? CommandLine.Ok : CommandLine.Failed;
        }

        return await TruthReport.VerifyAsync(model, sender, client, ownsServer: false, output, CancellationToken.None).ConfigureAwait(false) ? CommandLine.Ok : CommandLine.Failed;
    }
}
