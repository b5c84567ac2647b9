namespace StreamCdp.Engine.Tests.Schemas;

/// <summary>Measures what a piece of code allocates on this thread.</summary>
internal static class Allocation
{
    /// <summary>Bytes that so many calls allocate: the least of five attempts, because the runtime itself allocates now and then (first use, tiered compilation).</summary>
    public static long Of(int calls, Action action)
    {
        long least = long.MaxValue;
        for (int attempt = 0; attempt < 5 && least > 0; attempt++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < calls; i++)
            {
                action();
            }

            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
