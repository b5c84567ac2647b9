namespace StreamCdp.Bench.EndToEnd;

internal static class ProfilesRun
{
    public static Task<int> RunAsync(BenchOptions options) => throw new NotSupportedException(options.Through);
}
