using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp schema</c>.</summary>
internal static class SchemaCommand
{
    /// <summary>The command.</summary>
    public static Command Create()
    {
        var name = new Argument<string?>("EVENT") { Description = "Name of an event, as functions call it: its properties. Default: all events, traits and context.", Arity = ArgumentArity.ZeroOrOne };
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "schema",
            "What real events looked like, from a running server: names, properties, traits, their types and shapes (a for letters, 9 for digits), never their values.",
            "streamcdp schema",
            "streamcdp schema \"Order Completed\"") { name };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using CdpClient client = server.Connect(parsed);
            TextWriter output = parsed.InvocationConfiguration.Output;
            string? one = parsed.GetValue(name);
            JsonElement answer = await client.GetAsync(one is null ? "/v1/schema" : $"/v1/schema?event={Uri.EscapeDataString(one)}", cancellationToken).ConfigureAwait(false)
                ?? throw new CliException(one is null ? client.HasNo("/v1/schema") : $"No event {one} has come; streamcdp schema lists all that have.");
            var schema = SeenSchema.Parse(answer);
            foreach (SeenEvent seen in schema.Events)
            {
                string text = string.Create(CultureInfo.InvariantCulture, $"{seen.Name ?? seen.Type}: {seen.Count:N0} {(seen.Name is null ? "events" : seen.Type)}, {Day(seen.FirstAt)} to {Day(seen.LastAt)}");
                await output.WriteLineAsync(text).ConfigureAwait(false);
                await WriteAsync(output, seen.Properties, seen.LookedAt).ConfigureAwait(false);
            }

            if (schema.Traits.Count + schema.Context.Count > 0)
            {
                await output.WriteLineAsync("traits").ConfigureAwait(false);
                await WriteAsync(output, schema.Traits, of: 0).ConfigureAwait(false);
                await output.WriteLineAsync("context").ConfigureAwait(false);
                await WriteAsync(output, schema.Context, of: 0).ConfigureAwait(false);
            }

            if (schema.EventsLeftOut + schema.PathsLeftOut > 0)
            {
                await output.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"There was no room for {schema.EventsLeftOut:N0} events of further names, and {schema.PathsLeftOut:N0} times for a further path.")).ConfigureAwait(false);
            }

            return CommandLine.Ok;
        });
        return command;
    }

    private static string Day(long ms) => DateTimeOffset.FromUnixTimeMilliseconds(ms).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    private static async Task WriteAsync(TextWriter output, IReadOnlyList<SeenPath> paths, long of)
    {
        foreach (SeenPath path in paths)
        {
            string share = of > 0 ? string.Create(CultureInfo.InvariantCulture, $", in {100.0 * path.Seen / of:0} %") : "";
            string shapes = path.Shapes.Count == 0 ? "" : $", such as {string.Join("  ", path.Shapes)}";
            await output.WriteLineAsync($"  {path.Path}: {string.Join(" or ", path.Types)}{share}{shapes}").ConfigureAwait(false);
        }
    }
}
