using System.Text;
using CsCheck;
using StreamCdp.Engine.Pipeline;

namespace StreamCdp.Engine.Tests.Collect;

public class JsonPathScannerTests
{
    private static readonly string[][] _paths = [["a"], ["b"], ["a", "b"], ["a", "b", "c"], ["b", "a"], ["c d"], ["é"]];

    private static readonly string[] _keys = ["\"a\"", "\"b\"", "\"c\"", "\"c d\"", "\"é\"", "\"\\u0061\"", "\"\\u00e9\"", "\"x\\\"y\"", "\"{\"", "\"\\\\\"", "\"\\ud800\""];

    private static readonly string[] _scalars = ["1", "-2.5e3", "true", "false", "null", "\"\"", "\"text\"", "\"}]{[\"", "\"a\\\"b\\\\\"", "\"\\ud800\"", "\"é€\""];

    private static readonly string[] _spaces = ["", "", "", "", " ", "\n\t "];

    [Fact]
    public void Scanning_accepted_text_finds_what_the_careful_scan_found() =>
        Gen.Int.Sample(seed =>
        {
            var scanner = new JsonPathScanner(_paths);
            byte[] text = Encoding.UTF8.GetBytes(Object(new Random(seed), 0));
            var careful = new JsonSlice[_paths.Length];
            var quick = new JsonSlice[_paths.Length];

            Assert.True(scanner.Scan(text, careful));
            scanner.ScanAccepted(text, quick);

            Assert.Equal(careful, quick);
        }, iter: 20_000);

    private static string Object(Random random, int depth) => $"{Space(random)}{{{string.Join(',', Enumerable.Range(0, random.Next(6)).Select(_ =>
        $"{Space(random)}{_keys[random.Next(_keys.Length)]}{Space(random)}:{Space(random)}{Value(random, depth + 1)}{Space(random)}"))}{Space(random)}}}{Space(random)}";

    private static string Value(Random random, int depth) => depth > 4 || random.Next(2) == 0 ? _scalars[random.Next(_scalars.Length)]
        : random.Next(3) > 0 ? Object(random, depth)
        : $"[{string.Join(", ", Enumerable.Range(0, random.Next(4)).Select(_ => Value(random, depth + 1)))}]";

    private static string Space(Random random) => _spaces[random.Next(_spaces.Length)];
}
