using System.Globalization;
using System.Text.Json;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp check --against live</c>: what a model would change for the people of a running server.</summary>
internal static class LiveCheck
{
    /// <summary>Prints for each segment that is new, changed or gone how many would enter and leave.</summary>
    public static async Task RunAsync(CdpClient client, CdpModel model, TextWriter output, CancellationToken cancellationToken)
    {
        JsonElement answer = await client.GetAsync("/v1/segments", cancellationToken).ConfigureAwait(false) ?? throw new CliException(client.HasNo("segments"));
        Dictionary<string, JsonElement> live = answer.GetProperty("segments").EnumerateArray().ToDictionary(segment => segment.GetProperty("id").GetString()!, StringComparer.Ordinal);
        int changes = 0;
        foreach (SegmentDefinition segment in model.Segments)
        {
            bool isThere = live.Remove(segment.Id, out JsonElement old);
            if (isThere && old.GetProperty("version").GetString() == segment.Version.ToString("x16", CultureInfo.InvariantCulture))
            {
                continue;
            }

            changes++;
            await output.WriteLineAsync($"{segment.Id} ({(isThere ? "changed" : "new")}): {await TryAsync(client, segment, cancellationToken).ConfigureAwait(false)}").ConfigureAwait(false);
        }

        foreach ((string id, JsonElement segment) in live)
        {
            changes++;
            await output.WriteLineAsync(string.Create(CultureInfo.InvariantCulture, $"{id} (gone): {segment.GetProperty("members").GetInt64():N0} leave")).ConfigureAwait(false);
        }

        if (changes == 0)
        {
            await output.WriteLineAsync($"{client.Address} has the same segments: nobody would enter or leave.").ConfigureAwait(false);
        }
    }

    /// <summary>What the server has seen in events.</summary>
    public static async Task<SeenSchema> SchemaAsync(CdpClient client, CancellationToken cancellationToken) =>
        SeenSchema.Parse(await client.GetAsync("/v1/schema", cancellationToken).ConfigureAwait(false) ?? throw new CliException(client.HasNo("/v1/schema")));

    private static async Task<string> TryAsync(CdpClient client, SegmentDefinition segment, CancellationToken cancellationToken)
    {
        JsonElement preview;
        try
        {
            preview = (await client.PostAsync("/v1/segments/preview?seconds=30", new { when = segment.When.ToString(), segment = segment.Id }, cancellationToken).ConfigureAwait(false))!.Value;
        }
        catch (CliException exception)
        {
            return $"cannot be tried there: {exception.Message}"; // It may use a computed trait that the server does not have.
        }

        string text = string.Create(CultureInfo.InvariantCulture, $"{preview.GetProperty("enter").GetInt64():N0} enter, {preview.GetProperty("leave").GetInt64():N0} leave");
        if (preview.GetProperty("is_sample").GetBoolean())
        {
            text += string.Create(CultureInfo.InvariantCulture, $" of the {preview.GetProperty("scanned").GetInt64():N0} profiles looked at in 30 s, of {preview.GetProperty("profiles").GetInt64():N0}");
        }

        string[] unknown = [.. preview.GetProperty("not_counted").EnumerateArray().Select(function => function.GetString()!)];
        return unknown.Length == 0 ? text : $"{text}, without what nothing counts yet ({string.Join(", ", unknown)}): a backfill would count it";
    }
}
