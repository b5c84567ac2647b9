using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace StreamCdp.Engine.Model;

/// <summary>A segment that the API wrote.</summary>
/// <param name="Id">Its name in the model.</param>
/// <param name="Name">For people.</param>
/// <param name="When">Its rule.</param>
internal sealed record ApiSegment(string Id, string Name, string When);

/// <summary>Segments that the API wrote, behind the text of cdp.yaml: so the log <c>models</c> has one text of both, and a new cdp.yaml keeps them.</summary>
internal static class ApiSegments
{
    /// <summary>The section's name.</summary>
    public const string Section = "api_segments";

    /// <summary>Longest rule and name together, UTF-16 code units.</summary>
    public const int MaxLength = ExpressionWords.MaxLength + 200;

    /// <summary>Segments of the API.</summary>
    public const int Most = 2_000;

    private const string Head = "\n# Written by the API; each on a line of its own.\n" + Section + ":\n";
    private static readonly JsonSerializerOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>One text of both.</summary>
    public static string Join(string file, IReadOnlyList<ApiSegment> segments)
    {
        if (segments.Count == 0)
        {
            return file;
        }

        var text = new StringBuilder(file).Append(Head);
        foreach (ApiSegment segment in segments)
        {
            text.Append("  ").Append(JsonSerializer.Serialize(segment.Id, s_json)).Append(": { name: ").Append(JsonSerializer.Serialize(segment.Name, s_json)).Append(", when: ").Append(JsonSerializer.Serialize(segment.When, s_json)).Append(" }\n");
        }

        return text.ToString();
    }

    /// <summary>The text of cdp.yaml alone.</summary>
    public static string FileOf(string text) => text.LastIndexOf(Head, StringComparison.Ordinal) is >= 0 and int at ? text[..at] : text;
}
