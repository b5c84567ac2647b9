using System.CommandLine;
using System.Text.Json;

namespace StreamCdp.Cli;

/// <summary><c>streamcdp profile TYPE:VALUE</c>.</summary>
internal static class ProfileCommand
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The command.</summary>
    public static Command Create()
    {
        var identifier = new Argument<string>("TYPE:VALUE") { Description = "An identifier of the person, for example user_id:42 or email:a@b.c; id:… for a profile id." };
        identifier.Validators.Add(result =>
        {
            if (!TrySplit(result.GetValueOrDefault<string>(), out _, out _))
            {
                result.AddError($"The identifier is {result.GetValueOrDefault<string>()}; allowed is TYPE:VALUE, for example email:a@b.c.");
            }
        });
        var include = new Option<string?>("--include") { Description = "Parts, with commas: traits, computed, segments, identifiers, events, crm, history. Default: all but events.", HelpName = "PARTS" };
        var server = new ServerOptions();
        var command = new CommandWithExamples(
            "profile",
            "Print one person's profile as JSON, from a running server.",
            "streamcdp profile email:ada@example.com",
            "streamcdp profile user_id:42 --include traits,segments,events --url http://cdp:8080 --key-file ops.key")
        {
            identifier,
            include,
        };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string text = parsed.GetRequiredValue(identifier);
            TrySplit(text, out string type, out string value);
            using CdpClient client = server.Connect(parsed);
            string query = parsed.GetValue(include) is { } parts ? "?include=" + Uri.EscapeDataString(parts) : "";
            JsonElement profile = await client.ProfileAsync(type, value, query, cancellationToken).ConfigureAwait(false) ?? throw new CliException($"Nobody has the identifier {text}.");
            await parsed.InvocationConfiguration.Output.WriteLineAsync(Indented(profile)).ConfigureAwait(false);
            return CommandLine.Ok;
        });
        return command;
    }

    /// <summary>For people, on many lines; on one, as it came, where a trait has half of a surrogate pair (<c>"\ud800"</c>, as browsers send it), which the writer refuses.</summary>
    private static string Indented(JsonElement profile)
    {
        try
        {
            return JsonSerializer.Serialize(profile, s_indented);
        }
        catch (JsonException)
        {
            return profile.GetRawText();
        }
    }

    private static bool TrySplit(string? text, out string type, out string value)
    {
        int colon = text?.IndexOf(':', StringComparison.Ordinal) ?? -1;
        type = colon > 0 ? text![..colon] : "";
        value = colon > 0 ? text![(colon + 1)..] : "";
        return value.Length > 0;
    }
}
