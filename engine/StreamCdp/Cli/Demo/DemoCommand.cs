using System.CommandLine;
using System.Net;
using System.Net.Sockets;
using StreamCdp.Cli.Simulation;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli.Demo;

/// <summary><c>streamcdp demo</c>.</summary>
internal static class DemoCommand
{
    private const string TrytonUrl = "STREAMCDP_DEMO_TRYTON_URL";
    private const string TrytonPassword = "STREAMCDP_DEMO_TRYTON_PASSWORD";
    private const int PeopleWithCrm = 100; // So that some of them spend much within the first minute.
    private static readonly TimeSpan s_stopSlack = TimeSpan.FromMilliseconds(200);

    /// <summary>The command.</summary>
    public static Command Create()
    {
        Option<TimeSpan?> duration = Durations.Option("--duration", "Send for this long, then compare and end. Default: until Ctrl-C.");
        Option<double> rate = SimulateCommand.Positive<double>("--rate", "Events a second.", 200, "EV/S");
        Option<int> people = SimulateCommand.Positive<int>("--people", $"People of the shop; {PeopleWithCrm} with --crm.", 500, "N");
        var seed = new Option<int>("--seed") { Description = "Start of every random choice.", DefaultValueFactory = _ => 42, HelpName = "N" };
        var urls = new Option<string?>("--urls") { Description = $"Address to listen at. Default: {ServerOptions.DefaultUrl}, or a free port where that one is taken.", HelpName = "URLS" };
        var crm = new Option<string?>("--crm") { Description = "With a real CRM in it: tryton. Makes one in a temporary directory (about 20 s), where sales people then work with the big spenders; at the end both sides are compared, too.", HelpName = "CRM" };
        crm.AcceptOnlyFromAmong("tryton");
        var command = new CommandWithExamples(
            "demo",
            "A whole CDP in this process with a simulated shop: shows people, segments and latency live, and at the end compares every person with the known truth (exit code 1 on any difference).",
            "streamcdp demo",
            "streamcdp demo --duration 30s --rate 500",
            "streamcdp demo --crm tryton")
        {
            duration, rate, people, seed, urls, crm,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string data = Directory.CreateTempSubdirectory("streamcdp-demo-").FullName;
            TrytonServer? tryton = null;
            try
            {
                TextWriter output = parsed.InvocationConfiguration.Output;
                if (parsed.GetValue(crm) is not null)
                {
                    await output.WriteLineAsync("Making a Tryton (about 20 s).").ConfigureAwait(false);
                    tryton = await TrytonServer.StartAsync(cancellationToken).ConfigureAwait(false);
                    Environment.SetEnvironmentVariable(TrytonUrl, tryton.Url.AbsoluteUri);
                    Environment.SetEnvironmentVariable(TrytonPassword, tryton.BotPassword);
                }

                ServerSettings settings = ServerSettings.Load([KeyValuePair.Create("State:Path", (string?)data), KeyValuePair.Create("Http:Urls", (string?)(parsed.GetValue(urls) ?? FreeUrl()))]) with
                {
                    ModelText = tryton is null ? DemoModel.Shop() : DemoModel.ShopWithTryton(),
                    ModelPath = "demo/cdp.yaml",
                    Log = "local",
                    Clock = "wall",
                    Roles = ServerSettings.AllRoles,
                    IsQuiet = true,
                };
                RunCommand.ThrowIfWrong(settings);
                await using ServerHost server = await ServerHost.StartAsync(settings, cancellationToken).ConfigureAwait(false);
                double wanted = parsed.GetValue(rate);
                var shop = new ShopSettings { Seed = parsed.GetValue(seed), People = tryton is not null && parsed.GetResult(people) is not { Implicit: false } ? PeopleWithCrm : parsed.GetValue(people), BatchMax = SimulateCommand.BatchMax(wanted) };
                return await RunAsync(server.Address, server.Model, shop, wanted, parsed.GetValue(duration), output, cancellationToken, tryton).ConfigureAwait(false);
            }
            finally
            {
                if (tryton is not null)
                {
                    await tryton.DisposeAsync().ConfigureAwait(false);
                }

                Directory.Delete(data, recursive: true);
            }
        });
        return command;
    }

    /// <summary>Sends, shows, stops, compares.</summary>
    /// <param name="address">A server that nobody else sends to.</param>
    /// <param name="model">What it runs with.</param>
    /// <param name="shop">The shop; its sources are taken from the model.</param>
    /// <param name="rate">Events a second.</param>
    /// <param name="duration">How long; null: until <paramref name="stop"/>.</param>
    /// <param name="output">Where to print.</param>
    /// <param name="stop">Ends sending; the comparison still comes.</param>
    /// <param name="tryton">The CRM of the model's destination; null: it has none.</param>
    internal static async Task<int> RunAsync(Uri address, CdpModel model, ShopSettings shop, double rate, TimeSpan? duration, TextWriter output, CancellationToken stop, TrytonServer? tryton = null)
    {
        shop = shop with { Web = Source(model, "website"), App = Source(model, "app") };
        string key = model.ApiKeys[0].Key;
        await output.WriteLineAsync(Welcome(address, key, shop)).ConfigureAwait(false);
        if (tryton is not null)
        {
            await output.WriteLineAsync($"Tryton runs at {tryton.Url} (any Tryton 6.0 client; user admin, password {tryton.AdminPassword}).{Environment.NewLine}").ConfigureAwait(false);
        }

        using var http = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = 64 }) { Timeout = TimeSpan.FromSeconds(30) };
        using var client = new CdpClient(address, key);
        using var simulated = new Shop(shop);
        using var sender = new ShopSender(simulated, shop, new HttpTarget(http, address), TimeProvider.System);
        using var listening = new CancellationTokenSource();
        var feed = new DemoFeed(client);
        Task feeding = feed.RunAsync(listening.Token);
        DemoSales? sales = tryton is null ? null : new DemoSales(tryton, client, feed, shop.Seed);
        using var selling = new CancellationTokenSource();
        Task sold = sales?.RunAsync(selling.Token) ?? Task.CompletedTask;
        Task sending = sender.RunAsync(rate, duration, stop);
        bool isTerminal = ReferenceEquals(output, Console.Out) && !Console.IsOutputRedirected;
        await new DemoScreen(sender, client, feed, sales).RunAsync(sending, output, isTerminal).ConfigureAwait(false);
        await sending.ConfigureAwait(false);
        await selling.CancelAsync().ConfigureAwait(false);
        await sold.ConfigureAwait(false);
        await listening.CancelAsync().ConfigureAwait(false);
        await feeding.ConfigureAwait(false);

        await output.WriteLineAsync($"{sender.Acknowledged:N0} events acknowledged. Comparing everybody with the truth.").ConfigureAwait(false);
        await Task.Delay(s_stopSlack, CancellationToken.None).ConfigureAwait(false);
        bool isRight = await TruthReport.VerifyAsync(model, sender, client, ownsServer: sales is null, output, CancellationToken.None).ConfigureAwait(false);
        isRight &= sales is null || await sales.CompareAsync(output, CancellationToken.None).ConfigureAwait(false);
        return isRight ? CommandLine.Ok : CommandLine.Failed;
    }

    private static ShopSource Source(CdpModel model, string kind)
    {
        SourceDefinition source = model.Sources.First(candidate => candidate.Kind == kind);
        return new ShopSource(source.Id, source.WriteKey!);
    }

    private static string Welcome(Uri address, string key, ShopSettings shop)
    {
        string root = address.ToString().TrimEnd('/');
        return $$"""
            StreamCdp runs at {{root}} with a simulated shop. Secret key of the query API: {{key}}

              curl -H 'Authorization: Bearer {{key}}' '{{root}}/v1/profiles/email:person0%40{{shop.Tag}}.example'
              curl -H 'Authorization: Bearer {{key}}' {{root}}/v1/segments
              curl -H 'Authorization: Bearer {{key}}' {{root}}/v1/segments/cart_abandoners/members
              curl -N -H 'Authorization: Bearer {{key}}' {{root}}/v1/stream
              curl {{root}}/metrics
              curl -u {{shop.Web.WriteKey}}: -d '{"type":"track","userId":"me","event":"Product Added"}' {{root}}/v1/track
              streamcdp profile email:person0@{{shop.Tag}}.example --url {{root}} --key {{key}}

            """;
    }

    private static string FreeUrl()
    {
        try
        {
            using var probe = new TcpListener(IPAddress.Loopback, new Uri(ServerOptions.DefaultUrl).Port);
            probe.Start();
            return ServerOptions.DefaultUrl;
        }
        catch (SocketException)
        {
            return "http://127.0.0.1:0";
        }
    }
}
