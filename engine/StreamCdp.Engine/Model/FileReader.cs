namespace StreamCdp.Engine.Model;

/// <summary>Reads a destination that writes files.</summary>
internal static class FileReader
{
    public static readonly string[] Keys = ["path", "rotate", "max_mb", "group_readable", "escape_formulas", "segments", "start", "send", "fields", "batch"];

    public static DestinationDefinition Read(DestinationItem item)
    {
        var file = new FileDefinition
        {
            Path = item.Required("path", "a file", FileDefinition.PathError) ?? "",
            RotateMs = item.Duration("rotate", 3_600_000, 60_000, 24L * 3600 * 1000, "1m to 1d"),
            MaxMib = item.Number("max_mb", 100),
            IsGroupReadable = item.IsOn("group_readable"),
            EscapesFormulas = item.IsOn("escape_formulas"),
        };
        DestinationDefinition destination = item.Delivered(new DestinationDefinition { Id = item.Id, Kind = item.Kind, File = file });
        Check(item, file, destination.Fields);
        return destination;
    }

    private static void Check(DestinationItem item, FileDefinition file, IReadOnlyList<FieldDefinition> fields)
    {
        if (file.Path.Length == 0)
        {
            return;
        }

        string path = Path.GetFullPath(file.Path);
        if (item.Before.FirstOrDefault(other => other.File is { Path.Length: > 0 } && Path.GetFullPath(other.File.Path) == path) is { } same)
        {
            item.Draft.Error(item.Keys["path"].Offset, $"{same.Id} writes there already; each destination needs files of its own");
        }

        if (!file.IsCsv && item.Keys.TryGetValue("escape_formulas", out YamlNode? escape))
        {
            item.Draft.Error(escape.Offset, "escape_formulas is of use only in a .csv");
        }

        if (file.IsCsv && !item.Keys.ContainsKey("fields"))
        {
            item.Draft.Error(item.Node.Offset, "a .csv needs fields: they are its columns");
        }
        else if (file.IsCsv && fields.FirstOrDefault(field => FileDefinition.OwnColumns.Contains(field.Name)) is { } taken)
        {
            item.Draft.Error(item.Keys["fields"].Offset, $"a .csv has a column {taken.Name} already; give the field another name than {string.Join(", ", FileDefinition.OwnColumns)}");
        }
    }
}
