namespace StreamCdp.Cli.Demo;

/// <summary>The models of the demo.</summary>
internal static class DemoModel
{
    /// <summary>The shop's.</summary>
    public static string Shop() => Resource("StreamCdp.demo.cdp.yaml");

    /// <summary>The shop's with a Tryton.</summary>
    public static string ShopWithTryton() => Join(Shop(), Resource("StreamCdp.demo.tryton.yaml"));

    /// <summary>Puts the entries of each section of <paramref name="addition"/> behind those of the same section of <paramref name="model"/>; both are YAML of whole lines, a section begins at the margin.</summary>
    private static string Join(string model, string addition)
    {
        List<(string Head, List<string> Lines)> sections = Sections(model);
        foreach ((string head, List<string> lines) in Sections(addition).Where(section => section.Head.Length > 0))
        {
            int same = sections.FindIndex(section => Name(section.Head) == Name(head));
            if (same < 0)
            {
                sections.Add((head, lines));
                continue;
            }

            List<string> before = sections[same].Lines;
            before.InsertRange(before.FindLastIndex(line => line.Length > 0) + 1, lines.Where(line => line.Length > 0));
        }

        return string.Join('\n', sections.SelectMany(section => section.Head.Length == 0 ? section.Lines : section.Lines.Prepend(section.Head))) + "\n";

        static string Name(string head) => head.Split(':')[0];
    }

    private static List<(string Head, List<string> Lines)> Sections(string text)
    {
        List<(string Head, List<string> Lines)> sections = [("", [])];
        foreach (string line in text.ReplaceLineEndings("\n").TrimEnd('\n').Split('\n'))
        {
            if (line.Length > 0 && char.IsAsciiLetter(line[0]))
            {
                sections.Add((line, []));
            }
            else
            {
                sections[^1].Lines.Add(line);
            }
        }

        return sections;
    }

    private static string Resource(string name)
    {
        using Stream stream = typeof(DemoModel).Assembly.GetManifestResourceStream(name) ?? throw new InvalidOperationException($"{name} is not in the assembly.");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
