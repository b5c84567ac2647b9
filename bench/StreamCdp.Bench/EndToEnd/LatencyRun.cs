namespace StreamCdp.Bench.EndToEnd;

internal static class LatencyRun
{
    public static Task<int> RunAsync(BenchOptions options) => throw new NotSupportedException(options.Through);
}
