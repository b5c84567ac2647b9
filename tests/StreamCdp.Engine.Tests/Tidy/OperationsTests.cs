using System.Collections;
using System.Globalization;
using System.Reflection;
using StreamCdp.Api;
using StreamCdp.Engine.Runtime;
using StreamCdp.Schemas;

namespace StreamCdp.Engine.Tests.Tidy;

/// <summary>engine/docs/operations.md against the options classes.</summary>
public class OperationsTests
{
    private const string Page = "engine/docs/operations.md";

    [Fact]
    public void Every_setting_is_there_with_its_default()
    {
        string page = Tree.Read(Page);
        List<string> missing = [];
        foreach (Type options in Options())
        {
            string heading = $"### {options.GetField("Section")!.GetRawConstantValue()} ({options.Name})\n";
            int begin = page.IndexOf(heading, StringComparison.Ordinal);
            if (begin < 0)
            {
                missing.Add(heading.TrimEnd());
                continue;
            }

            int end = page.IndexOf("\n##", begin + heading.Length, StringComparison.Ordinal);
            string section = page[begin..(end < 0 ? page.Length : end)];
            object instance = Activator.CreateInstance(options)!;
            missing.AddRange(options.GetProperties(BindingFlags.Public | BindingFlags.Instance)
                .Where(property => property.CanWrite)
                .Select(property => $"| `{property.Name}` | {Default(options, property, instance)} |")
                .Where(row => !section.Contains(row, StringComparison.Ordinal))
                .Select(row => heading.TrimEnd() + ": " + row));
        }

        Assert.Empty(missing);
    }

    [Fact]
    public void Every_alert_is_there()
    {
        string page = Tree.Read(Page);
        IEnumerable<string> alerts = Tree.Read("engine/dashboards/streamcdp-alerts.yaml").Split('\n')
            .Where(line => line.TrimStart().StartsWith("- alert: ", StringComparison.Ordinal))
            .Select(line => line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim());

        Assert.All(alerts, alert => Assert.Contains($"| {alert} |", page, StringComparison.Ordinal));
    }

    private static IEnumerable<Type> Options() =>
        new[] { typeof(EngineOptions), typeof(ApiOptions), typeof(SchemaRegistryOptions) }
            .SelectMany(type => type.Assembly.GetTypes())
            .Where(type => type.Name.EndsWith("Options", StringComparison.Ordinal) && type.GetField("Section") is { IsLiteral: true });

    private static string Default(Type options, PropertyInfo property, object instance) =>
        options == typeof(EngineOptions) && property.Name == nameof(EngineOptions.Shards)
            ? "1 for each 2 cores"
            : property.GetValue(instance) switch
            {
                null or "" => "none",
                string text => text,
                bool yes => yes ? "true" : "false",
                IEnumerable values => values.Cast<object>().Any() ? throw new InvalidOperationException($"{property.Name}: write how a list is shown.") : "none",
                object value => Convert.ToString(value, CultureInfo.InvariantCulture)!,
            };
}
