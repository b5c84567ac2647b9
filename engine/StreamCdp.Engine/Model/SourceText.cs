namespace StreamCdp.Engine.Model;

/// <summary>A text with its lines, to turn offsets into the places that an editor shows.</summary>
internal sealed class SourceText
{
    private readonly List<int> _lineStarts = [0];

    public SourceText(string text)
    {
        Text = text;
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] == '\n' || (text[i] == '\r' && (i + 1 == text.Length || text[i + 1] != '\n')))
            {
                _lineStarts.Add(i + 1);
            }
        }
    }

    public string Text { get; }

    /// <summary>Line and column of an offset, both from 1; offsets outside are taken to the nearest end.</summary>
    public (int Line, int Column) Place(int offset)
    {
        int inside = Math.Clamp(offset, 0, Text.Length);
        int line = _lineStarts.BinarySearch(inside);
        line = line < 0 ? ~line - 1 : line;
        return (line + 1, inside - _lineStarts[line] + 1);
    }
}
