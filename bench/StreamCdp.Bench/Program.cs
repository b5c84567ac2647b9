using BenchmarkDotNet.Running;
using StreamCdp.Bench.EndToEnd;
using StreamCdp.Bench.Micro;

return args switch
{
    [] => RunMicro(["--filter", "*"]),
    ["check-budgets"] => Budgets.Check(),
    ["micro", .. string[] rest] => RunMicro(rest is [] ? ["--filter", "*"] : rest),
    ["end-to-end", .. string[] rest] => await PipelineRun.RunAsync(BenchOptions.Parse(rest)),
    ["baseline", .. string[] rest] => await PipelineRun.RunAsync(BenchOptions.Parse(rest) with { BaselineOnly = true }),
    ["latency", .. string[] rest] => await LatencyRun.RunAsync(BenchOptions.Parse(rest)),
    ["profiles", .. string[] rest] => await ProfilesRun.RunAsync(BenchOptions.Parse(rest)),
    ["crm", .. string[] rest] => await CrmRun.RunAsync(BenchOptions.Parse(rest)),
    _ => Usage(),
};

static int RunMicro(string[] rest)
{
    BenchmarkSwitcher.FromAssembly(typeof(BenchOptions).Assembly).Run(rest);
    return 0;
}

static int Usage()
{
    Console.Error.WriteLine("Commands: micro, check-budgets, end-to-end, baseline, latency, profiles, crm (see bench/README.md).");
    return 2;
}
