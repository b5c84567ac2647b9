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
            text.Append("  ").Append(Entry(segment)).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>One cdp.yaml with the segments of both in its section <c>segments</c>, those of the API first. What the file has stays as it is written.</summary>
    /// <param name="model">As published: secrets that stood in it are words such as redacted-1.</param>
    public static string Export(CdpModel model)
    {
        string file = FileOf(model.Text);
        string[] entries = [.. model.Segments.Where(segment => segment.IsOfApi).Select(segment => Entry(new ApiSegment(segment.Id, segment.Name, segment.When.ToString()!)))];
        if (entries.Length == 0)
        {
            return file;
        }

        (YamlScalar? key, YamlNode? section) = YamlTree.Read(file, static (_, _) => { }) is YamlMap root ? root.Entries.FirstOrDefault(entry => entry.Key.Value == "segments") : default;
        string lines = string.Concat(entries.Select(entry => $"\n  {entry}"));
        switch (section)
        {
            case null:
                return $"{file}{(file.EndsWith('\n') ? "" : "\n")}segments:{lines}\n";
            case YamlMap map when file[map.Offset] == '{':
                return file.Insert(map.Offset + 1, $" {string.Join(", ", entries)}{(map.Entries.Count > 0 ? "," : "")}");
            case YamlMap map:
                int line = file.LastIndexOf('\n', map.Offset) + 1;
                string indent = file[line..map.Offset];
                return file.Insert(map.Offset, string.Concat(entries.Select(entry => $"{entry}\n{indent}")));
            default:
                // It is there and empty.
                int colon = file.IndexOf(':', key!.End) + 1;
                int end = section is YamlScalar { End: int after } && after > colon ? after : colon;
                return string.Concat(file.AsSpan(0, colon), lines, file.AsSpan(end));
        }
    }

    private static string Entry(ApiSegment segment) =>
        $"{JsonSerializer.Serialize(segment.Id, s_json)}: {{ name: {JsonSerializer.Serialize(segment.Name, s_json)}, when: {JsonSerializer.Serialize(segment.When, s_json)} }}";

    /// <summary>The text of cdp.yaml alone.</summary>
    public static string FileOf(string text) => text.LastIndexOf(Head, StringComparison.Ordinal) is >= 0 and int at ? text[..at] : text;
}
