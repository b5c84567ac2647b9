using System.Text.RegularExpressions;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace StreamCdp.Engine.Model;

/// <summary>A node of a YAML text with its place.</summary>
/// <param name="Offset">Of its first character.</param>
internal abstract record YamlNode(int Offset);

/// <summary>A scalar.</summary>
/// <param name="Offset">Of its first character: the quote, or the | of a block.</param>
/// <param name="End">After its last character.</param>
/// <param name="Value">Without quotes and escapes, folded.</param>
/// <param name="Style">How it is written.</param>
internal sealed record YamlScalar(int Offset, int End, string Value, ScalarStyle Style) : YamlNode(Offset)
{
    /// <summary>Written as nothing, ~ or null.</summary>
    public bool IsNull => Style == ScalarStyle.Plain && Value is "" or "~" or "null" or "Null" or "NULL";
}

/// <summary>A sequence.</summary>
internal sealed record YamlList(int Offset, IReadOnlyList<YamlNode> Items) : YamlNode(Offset);

/// <summary>A mapping, in the text's order.</summary>
internal sealed record YamlMap(int Offset, IReadOnlyList<(YamlScalar Key, YamlNode Value)> Entries) : YamlNode(Offset);

/// <summary>Reads YAML into nodes from the parser's events, with limits that hold for any text.</summary>
/// <remarks>Anchors, aliases, tags and several documents are refused: cdp.yaml needs none, and they make a text mean something far from where it stands.</remarks>
internal static partial class YamlTree
{
    private const int MaxDepth = 32;

    /// <summary>The root; null when the text is empty or, with an error reported, no YAML.</summary>
    public static YamlNode? Read(string text, Action<int, string> report)
    {
        Parser parser = new(new Scanner(new StringReader(text), skipComments: true));
        try
        {
            return ReadDocument(parser, report);
        }
        catch (YamlException exception)
        {
            Report(text, exception, report);
            return null;
        }
        catch (Exception exception) when (exception is InvalidOperationException or ArgumentException or IndexOutOfRangeException or FormatException or OverflowException or NullReferenceException)
        {
            // YamlDotNet 18.1 answers some broken texts ("...\n😀") so instead of by a YamlException; the last good event is the nearest place it knows.
            report((int)Math.Clamp(parser.Current?.End.Index ?? 0, 0, text.Length), "this is not YAML: it cannot be read after here");
            return null;
        }
    }

    private static YamlNode? ReadDocument(Parser parser, Action<int, string> report)
    {
        YamlNode? root = null;
        int documents = 0;
        while (parser.MoveNext())
        {
            switch (parser.Current)
            {
                case StreamStart or DocumentEnd or StreamEnd:
                    break;
                case DocumentStart start:
                    if (++documents == 2)
                    {
                        report((int)start.Start.Index, "expected one YAML document, found a second one");
                        return null;
                    }

                    break;
                default:
                    if (!TryReadNode(parser, report, depth: 0, out root))
                    {
                        return null;
                    }

                    break;
            }
        }

        return root;
    }

    private static bool TryReadNode(Parser parser, Action<int, string> report, int depth, out YamlNode? node)
    {
        node = null;
        ParsingEvent current = parser.Current!;
        int offset = (int)current.Start.Index;
        if (current is AnchorAlias || (current is NodeEvent { Anchor.IsEmpty: false }))
        {
            report(offset, "anchors and aliases are not used in a model; write the value out");
            return false;
        }

        if (current is NodeEvent { Tag.IsEmpty: false, Tag.IsNonSpecific: false })
        {
            report(offset, "YAML tags are not used in a model");
            return false;
        }

        if (depth > MaxDepth)
        {
            report(offset, $"the YAML is nested deeper than {MaxDepth}");
            return false;
        }

        switch (current)
        {
            case Scalar scalar:
                node = new YamlScalar(offset, (int)scalar.End.Index, scalar.Value, scalar.Style);
                return true;
            case SequenceStart:
                return TryReadList(parser, report, depth, offset, out node);
            case MappingStart:
                return TryReadMap(parser, report, depth, offset, out node);
            default:
                report(offset, "expected a value");
                return false;
        }
    }

    private static bool TryReadList(Parser parser, Action<int, string> report, int depth, int offset, out YamlNode? node)
    {
        node = null;
        List<YamlNode> items = [];
        while (parser.MoveNext() && parser.Current is not SequenceEnd)
        {
            if (!TryReadNode(parser, report, depth + 1, out YamlNode? item))
            {
                return false;
            }

            items.Add(item!);
        }

        node = new YamlList(offset, items);
        return true;
    }

    private static bool TryReadMap(Parser parser, Action<int, string> report, int depth, int offset, out YamlNode? node)
    {
        node = null;
        List<(YamlScalar Key, YamlNode Value)> entries = [];
        HashSet<string> keys = [];
        while (parser.MoveNext() && parser.Current is not MappingEnd)
        {
            if (!TryReadNode(parser, report, depth + 1, out YamlNode? key))
            {
                return false;
            }

            if (key is not YamlScalar name)
            {
                report(key!.Offset, "a key is text, not a list or a mapping");
                return false;
            }

            if (!parser.MoveNext() || !TryReadNode(parser, report, depth + 1, out YamlNode? value))
            {
                return false;
            }

            if (keys.Add(name.Value))
            {
                entries.Add((name, value!));
            }
            else
            {
                report(name.Offset, $"the key \"{name.Value}\" is given twice");
            }
        }

        node = new YamlMap(offset, entries);
        return true;
    }

    private static void Report(string text, YamlException exception, Action<int, string> report)
    {
        int offset = (int)Math.Clamp(exception.Start.Index, 0, text.Length);
        int lineStart = offset == 0 ? 0 : text.LastIndexOf('\n', offset - 1) + 1;
        int lineEnd = text.IndexOf('\n', offset) is var end && end < 0 ? text.Length : end;
        if (KeyWithoutSpace().Match(text[lineStart..lineEnd]) is { Success: true } match)
        {
            report(lineStart + match.Length - 1, "expected a space after the colon");
            return;
        }

        string message = exception.Message;
        if (message.Contains("tab", StringComparison.Ordinal) && TabIndent().Match(text, offset) is { Success: true } tab)
        {
            report(tab.Index + tab.Length - 1, "YAML is indented by spaces; here is a tab");
            return;
        }

        int colon = message.StartsWith('(') ? message.IndexOf("): ", StringComparison.Ordinal) : -1;
        message = (colon < 0 ? message : message[(colon + 3)..]).TrimEnd('.', ' ');
        string advice = message.Contains("invalid mapping", StringComparison.Ordinal) ? "; text with \": \" in it, such as an expression, stands in quotes: when: '…'" : "";
        report(offset, $"this is not YAML: {(message.Length == 0 ? "it cannot be read" : message)}{advice}");
    }

    [GeneratedRegex(@"^[ ]*[A-Za-z0-9_.-]{1,100}:[{\['""]", RegexOptions.CultureInvariant)]
    private static partial Regex KeyWithoutSpace();

    [GeneratedRegex(@"^[ ]*\t", RegexOptions.CultureInvariant | RegexOptions.Multiline)]
    private static partial Regex TabIndent();
}
