using System.Diagnostics;
using System.Reflection;
using System.Text.Json;
using BenchmarkDotNet.Attributes;

namespace StreamCdp.Bench.Micro;

/// <summary>The gate of CI: runs each micro benchmark shortly and compares its allocations with bench/budgets.json. Time is only shown, as a ratio to walking the JSON.</summary>
internal static class Budgets
{
    private const int WarmUp = 20_000;
    private const int Calls = 1_000;
    private const int Rounds = 21;

    public static int Check()
    {
        Dictionary<string, double> budgets = JsonSerializer.Deserialize<Dictionary<string, double>>(File.ReadAllText(Find()))!;
        int over = 0;
        double baseline = 0;
        Console.WriteLine($"{"benchmark",-46} {"B/op",8} {"budget",8} {"µs/op",8} {"ratio",7}");
        foreach (Type type in typeof(Budgets).Assembly.GetTypes().Where(type => type.IsPublic && type.GetCustomAttribute<MemoryDiagnoserAttribute>() is not null).OrderByDescending(type => type == typeof(ReadBenchmarks)).ThenBy(type => type.Name))
        {
            foreach (MethodInfo method in type.GetMethods().Where(method => method.GetCustomAttribute<BenchmarkAttribute>() is not null).OrderByDescending(method => method.GetCustomAttribute<BenchmarkAttribute>()!.Baseline))
            {
                string name = $"{type.Name}.{method.Name}";
                (double bytes, double micros) = Measure(type, method);
                baseline = baseline == 0 ? micros : baseline;
                bool known = budgets.Remove(name, out double budget);
                bool isOver = !known || bytes > budget;
                over += isOver ? 1 : 0;
                Console.WriteLine($"{name,-46} {bytes,8:F1} {(known ? budget.ToString("F1") : "none"),8} {micros,8:F2} {micros / baseline,7:F2}{(isOver ? "  OVER" : "")}");
            }
        }

        foreach (string name in budgets.Keys)
        {
            Console.WriteLine($"{name} has a budget, but there is no such benchmark.");
            over++;
        }

        return over == 0 ? 0 : 1;
    }

    private static (double Bytes, double Micros) Measure(Type type, MethodInfo method)
    {
        object benchmark = Activator.CreateInstance(type)!;
        Run(type, benchmark, typeof(GlobalSetupAttribute));
        Action call = method.CreateDelegate<Action>(benchmark);
        for (int round = 0; round < 4; round++)
        {
            for (int i = 0; i < WarmUp / 4; i++)
            {
                call();
            }

            Thread.Sleep(200); // The tiered JIT goes one tier on in a pause.
        }

        double[] bytes = new double[Rounds];
        double[] micros = new double[Rounds];
        for (int round = 0; round < Rounds; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < Calls; i++)
            {
                call();
            }

            micros[round] = Stopwatch.GetElapsedTime(start).TotalMicroseconds / Calls;
            bytes[round] = (double)(GC.GetAllocatedBytesForCurrentThread() - before) / Calls;
        }

        Array.Sort(bytes);
        Array.Sort(micros);
        Run(type, benchmark, typeof(GlobalCleanupAttribute));
        return (bytes[Rounds / 2], micros[Rounds / 2]); // The median: a table that doubles once is no cost of an operation.
    }

    private static void Run(Type type, object benchmark, Type attribute)
    {
        foreach (MethodInfo method in type.GetMethods().Where(method => method.IsDefined(attribute)))
        {
            method.Invoke(benchmark, null);
        }
    }

    private static string Find()
    {
        for (DirectoryInfo? above = new(AppContext.BaseDirectory); above is not null; above = above.Parent)
        {
            string candidate = Path.Combine(above.FullName, "bench", "budgets.json");
            if (File.Exists(candidate))
            {
                return candidate;
            }
        }

        throw new FileNotFoundException("bench/budgets.json is not above " + AppContext.BaseDirectory);
    }
}
