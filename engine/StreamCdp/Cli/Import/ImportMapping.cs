using System.Globalization;
using System.Text.Json.Nodes;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace StreamCdp.Cli.Import;

/// <summary>How the text of a cell becomes JSON.</summary>
internal enum CellType
{
    /// <summary>As it is.</summary>
    Text,

    /// <summary>A JSON number; the cell holds one with a point for decimals.</summary>
    Number,

    /// <summary>true or false; the cell holds true, false, yes, no, 1 or 0 in any case.</summary>
    Bool,

    /// <summary>A time: ISO 8601, with a space for the T if need be; without an offset it is UTC.</summary>
    Time,
}

/// <summary>One column.</summary>
/// <param name="Column">Its name in the header.</param>
/// <param name="Path">Where it goes in the event.</param>
/// <param name="Type">How it is written.</param>
internal sealed record MappedColumn(string Column, string Path, CellType Type);

/// <summary>What makes an event of a row of CSV: columns and constants.</summary>
/// <param name="Columns">In the order of the mapping.</param>
/// <param name="Constants">The same in every event.</param>
internal sealed record ImportMapping(IReadOnlyList<MappedColumn> Columns, IReadOnlyList<KeyValuePair<string, JsonNode>> Constants)
{
    private static readonly string[] s_fields = ["type", "messageId", "userId", "anonymousId", "groupId", "previousId", "event", "name", "timestamp", "originalTimestamp"];
    private static readonly string[] s_objects = ["properties.", "traits.", "context."];

    /// <summary>What a path may be, for messages.</summary>
    public static string AllowedPaths => $"{string.Join(", ", s_fields)}, and anything below {string.Join(' ', s_objects)}";

    /// <summary>Reads <c>--map</c> and <c>--set</c>.</summary>
    /// <param name="maps">Paths of YAML files and <c>column=path[:type]</c>.</param>
    /// <param name="sets"><c>path=value</c>.</param>
    /// <returns>Null where there are none.</returns>
    /// <exception cref="CliException">Some are wrong; the message has them all.</exception>
    public static ImportMapping? Read(IReadOnlyList<string> maps, IReadOnlyList<string> sets)
    {
        var errors = new List<string>();
        var columns = new List<MappedColumn>();
        var constants = new List<KeyValuePair<string, JsonNode>>();
        foreach (string map in maps)
        {
            int equals = map.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0)
            {
                string target = map[(equals + 1)..];
                int colon = target.LastIndexOf(':');
                AddColumn("--map " + map, map[..equals], colon < 0 ? target : target[..colon], colon < 0 ? null : target[(colon + 1)..], columns, errors);
            }
            else
            {
                ReadFile(map, columns, constants, errors);
            }
        }

        foreach (string set in sets)
        {
            int equals = set.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                errors.Add($"--set {set}: allowed is path=value, for example event=\"Order Completed\".");
            }
            else if (CheckPath("--set " + set, set[..equals], errors))
            {
                constants.Add(KeyValuePair.Create<string, JsonNode>(set[..equals], JsonValue.Create(set[(equals + 1)..])));
            }
        }

        foreach (IGrouping<string, string> twice in columns.Select(column => column.Path).Concat(constants.Select(constant => constant.Key)).GroupBy(path => path).Where(group => group.Count() > 1))
        {
            errors.Add($"{twice.Key} is mapped {twice.Count()} times; allowed is once.");
        }

        return errors.Count > 0 ? throw new CliException(string.Join(Environment.NewLine, errors), CommandLine.WrongUsage)
            : columns.Count + constants.Count == 0 ? null
            : new ImportMapping(columns, constants);
    }

    /// <summary>Fits the mapping to a header; without one, the columns' own names are the paths.</summary>
    /// <exception cref="CliException">Columns are missing, or their names are no paths.</exception>
    public static ImportMapping For(ImportMapping? mapping, IReadOnlyList<string> header)
    {
        var errors = new List<string>();
        if (mapping is null || mapping.Columns.Count == 0)
        {
            var columns = new List<MappedColumn>();
            foreach (string name in header)
            {
                AddColumn($"column {name}", name, name, null, columns, errors);
            }

            mapping = new ImportMapping(columns, mapping?.Constants ?? []);
        }

        errors.AddRange(mapping.Columns.Where(column => !header.Contains(column.Column)).Select(column => $"The file has no column {column.Column}; it has {string.Join(", ", header)}."));
        return errors.Count == 0 ? mapping : throw new CliException(string.Join(Environment.NewLine, errors) + Environment.NewLine + "Give the columns with --map COLUMN=PATH or --map mapping.yaml.", CommandLine.WrongUsage);
    }

    /// <summary>The event of a row.</summary>
    /// <param name="cell">Text of a column; null where the row ends before it.</param>
    /// <param name="problem">Why there is none, or null.</param>
    public JsonObject? Event(Func<string, string?> cell, out string? problem)
    {
        problem = null;
        var json = new JsonObject();
        foreach ((string path, JsonNode value) in Constants)
        {
            Set(json, path, value.DeepClone());
        }

        foreach (MappedColumn column in Columns)
        {
            string? text = cell(column.Column);
            if (string.IsNullOrWhiteSpace(text))
            {
                continue; // An empty cell is an absent value.
            }

            JsonNode? value = Value(column.Type, text.Trim(), text);
            if (value is null)
            {
                problem = $"column {column.Column} is {text}; expected {Expected(column.Type)}";
                return null;
            }

            if (!Set(json, column.Path, value))
            {
                problem = $"column {column.Column}: {column.Path} is below a value that is no object";
                return null;
            }
        }

        if (json["type"] is null)
        {
            json.Insert(0, "type", json["event"] is null ? "identify" : "track");
        }

        return json;
    }

    private static string Expected(CellType type) => type switch
    {
        CellType.Number => "a number such as 12.50",
        CellType.Bool => "true, false, yes, no, 1 or 0",
        _ => "a time such as 2026-11-24T08:00:00Z",
    };

    private static JsonValue? Value(CellType type, string text, string asWritten)
    {
        switch (type)
        {
            case CellType.Number:
                return decimal.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out decimal number) ? JsonValue.Create(number) : null;
            case CellType.Bool:
                return text.ToLowerInvariant() switch { "true" or "yes" or "1" => JsonValue.Create(true), "false" or "no" or "0" => JsonValue.Create(false), _ => null };
            case CellType.Time:
                return text.Length >= 8 && char.IsAsciiDigit(text[0]) && DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out DateTimeOffset time)
                    ? JsonValue.Create(time.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture))
                    : null;
            case CellType.Text:
            default:
                return JsonValue.Create(asWritten);
        }
    }

    private static bool Set(JsonObject json, string path, JsonNode value)
    {
        string[] keys = path.Split('.');
        foreach (string key in keys[..^1])
        {
            if (json[key] is not JsonObject next)
            {
                if (json[key] is not null)
                {
                    return false;
                }

                json[key] = next = [];
            }

            json = next;
        }

        json[keys[^1]] = value;
        return true;
    }

    private static void AddColumn(string where, string column, string path, string? type, List<MappedColumn> columns, List<string> errors)
    {
        if (!CheckPath(where, path, errors))
        {
            return;
        }

        CellType? cellType = type?.ToLowerInvariant() switch
        {
            null => path is "timestamp" or "originalTimestamp" ? CellType.Time : CellType.Text,
            "text" => CellType.Text,
            "number" => CellType.Number,
            "bool" => CellType.Bool,
            "time" => CellType.Time,
            _ => null,
        };
        if (cellType is null)
        {
            errors.Add($"{where}: the type is {type}; allowed are text, number, bool and time.");
            return;
        }

        columns.Add(new MappedColumn(column, path, cellType.Value));
    }

    private static bool CheckPath(string where, string path, List<string> errors)
    {
        bool isGood = s_fields.Contains(path) || (s_objects.Any(start => path.StartsWith(start, StringComparison.Ordinal)) && path.Split('.').All(key => key.Length > 0));
        if (!isGood)
        {
            errors.Add($"{where}: {(path.Length == 0 ? "the path is empty" : $"{path} is no path of an event")}; allowed are {AllowedPaths}.");
        }

        return isGood;
    }

    /// <summary><c>columns: {name: path, name: {to: path, type: number}}</c> and <c>constants: {path: value}</c>.</summary>
    private static void ReadFile(string file, List<MappedColumn> columns, List<KeyValuePair<string, JsonNode>> constants, List<string> errors)
    {
        if (!File.Exists(file))
        {
            errors.Add($"--map {file}: there is no such file; allowed are column=path and the path of a YAML file.");
            return;
        }

        var stream = new YamlStream();
        try
        {
            using var text = new StreamReader(file);
            stream.Load(text);
        }
        catch (YamlException exception)
        {
            errors.Add($"{file}:{exception.Start.Line}:{exception.Start.Column}: {exception.Message}");
            return;
        }

        if (stream.Documents.Count != 1 || stream.Documents[0].RootNode is not YamlMappingNode root)
        {
            errors.Add($"{file}:1:1: expected a mapping with columns and constants.");
            return;
        }

        foreach ((YamlNode key, YamlNode value) in root.Children)
        {
            if (Scalar(key) is not ("columns" or "constants") || value is not YamlMappingNode entries)
            {
                errors.Add($"{At(key)} {key} is not known here; allowed are the mappings columns and constants.");
                continue;
            }

            foreach ((YamlNode name, YamlNode entry) in entries.Children)
            {
                if (Scalar(key) == "columns")
                {
                    ReadColumn(name, entry);
                }
                else if (entry is YamlScalarNode constant && CheckPath(At(name), Scalar(name), errors))
                {
                    constants.Add(KeyValuePair.Create<string, JsonNode>(Scalar(name), Constant(constant)));
                }
                else if (entry is not YamlScalarNode)
                {
                    errors.Add($"{At(name)} a constant is text, a number, true or false.");
                }
            }
        }

        void ReadColumn(YamlNode name, YamlNode entry)
        {
            if (entry is YamlScalarNode path)
            {
                AddColumn(At(name), Scalar(name), path.Value ?? "", null, columns, errors);
            }
            else if (entry is YamlMappingNode details && details.Children.Keys.All(key => Scalar(key) is "to" or "type") && details.Children.TryGetValue(new YamlScalarNode("to"), out YamlNode? to))
            {
                AddColumn(At(name), Scalar(name), Scalar(to), details.Children.TryGetValue(new YamlScalarNode("type"), out YamlNode? type) ? Scalar(type) : null, columns, errors);
            }
            else
            {
                errors.Add($"{At(name)} expected a path, or {{ to: path, type: number }}.");
            }
        }

        string At(YamlNode node) => $"{file}:{node.Start.Line}:{node.Start.Column}:";

        static string Scalar(YamlNode node) => (node as YamlScalarNode)?.Value ?? "";
    }

    private static JsonValue Constant(YamlScalarNode node)
    {
        string text = node.Value ?? "";
        if (node.Style == ScalarStyle.Plain)
        {
            if (text is "true" or "false")
            {
                return JsonValue.Create(text == "true");
            }

            if (decimal.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal number))
            {
                return JsonValue.Create(number);
            }
        }

        return JsonValue.Create(text);
    }
}
