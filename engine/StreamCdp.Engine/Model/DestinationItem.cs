using System.Globalization;

namespace StreamCdp.Engine.Model;

/// <summary>A destination that is being read, and the keys that several kinds have.</summary>
/// <param name="Draft">Takes what is wrong.</param>
/// <param name="Sections">For secrets.</param>
/// <param name="Names">What expressions may name.</param>
/// <param name="Node">The item.</param>
/// <param name="Keys">Its known keys; with another mapping of it, such as contacts, the methods read there.</param>
internal sealed record DestinationItem(ModelDraft Draft, ModelSections Sections, ExpressionNames Names, YamlNode Node, IReadOnlyDictionary<string, YamlNode> Keys)
{
    private const int ShortSecret = 16;

    private static readonly string[] Sends = ["memberships", "profiles"];

    public required string Id { get; init; }

    public required int IdOffset { get; init; }

    public required string Kind { get; init; }

    /// <summary>The destinations before it in the file.</summary>
    public required IReadOnlyList<DestinationDefinition> Before { get; init; }

    /// <summary>Adds what the kinds have that the kit's Delivery sends to.</summary>
    public DestinationDefinition Delivered(DestinationDefinition destination)
    {
        List<string> send = Words("send", "memberships and profiles", word => Sends.Contains(word) ? null : $"expected memberships or profiles, found \"{ModelDraft.Short(word)}\"{Suggestion.For(word, Sends)}");
        return destination with
        {
            Segments = Segments("segments", "segments; without the key there are all"),
            StartsPaused = StartsPaused(),
            SendsMemberships = send.Count == 0 || send.Contains("memberships"),
            SendsProfiles = send.Contains("profiles"),
            Fields = Fields(),
            BatchLimit = Number("batch", 100),
            RequestsPerSecond = Number("rate", 50),
            TimeoutMs = Timeout(10_000),
        };
    }

    public bool IsOn(string key) => Draft.OneOf(Keys, key, new Dictionary<string, bool> { ["true"] = true, ["false"] = false }, false);

    public bool StartsPaused() => Draft.OneOf(Keys, "start", new Dictionary<string, bool> { ["paused"] = true, ["running"] = false }, false);

    /// <summary>A text that may be env:NAME; null where the key is missing or wrong.</summary>
    public string? Text(string key) => Keys.TryGetValue(key, out YamlNode? node) && Draft.Text(node, key) is { } scalar ? Sections.FromEnvironment(scalar, key) : null;

    /// <summary>A text that must be there, may be env:NAME, and has to fit; null where it does not, with an error.</summary>
    public string? Required(string key, string of, Func<string, string?> error)
    {
        if (Draft.Required(Keys, Node, key, of) is not { } scalar || Sections.FromEnvironment(scalar, key) is not { } text)
        {
            return null;
        }

        if (error(text) is { } problem)
        {
            Draft.Error(scalar.Offset, problem);
            return null;
        }

        return text;
    }

    public List<string> Segments(string key, string what = "segments") => Words(key, what, word => Names.Error(new ExpressionReference(null, word, 0), isCondition: true));

    public Uri? Url(bool allowsHttp) => Required("url", "a destination", text => DestinationDefinition.UrlError(text, allowsHttp)) is { } text ? new Uri(text) : null;

    /// <summary>A secret that belongs to this destination alone.</summary>
    public string? Secret(string of, bool isSigning)
    {
        if (SecretName(of) is not { } scalar)
        {
            return null;
        }

        string? secret = Sections.Secret(scalar, "secret");
        if (isSigning && secret?.Length is < ShortSecret)
        {
            Draft.Note(scalar.Offset, $"secret has fewer than {ShortSecret} characters; whoever guesses it can sign as this server");
        }

        return secret;
    }

    /// <summary>The password of a user, whom several destinations may share.</summary>
    public string? Password(string of) => SecretName(of) is { } scalar ? Sections.FromEnvironment(scalar, "secret") : null;

    /// <summary>Where the secret stands in the environment; null, and an error, where it does not.</summary>
    private YamlScalar? SecretName(string of)
    {
        if (Draft.Required(Keys, Node, "secret", of) is not { } scalar)
        {
            return null;
        }

        if (!scalar.Value.StartsWith("env:", StringComparison.Ordinal))
        {
            Draft.Error(scalar.Offset, "expected secret to be the name of an environment variable, such as env:HOOK_SECRET: the file is no place for a secret");
            return null;
        }

        return scalar;
    }

    /// <summary>A list of words; what is wrong with one goes to the draft.</summary>
    public List<string> Words(string key, string what, Func<string, string?> error)
    {
        List<string> words = [];
        if (!Keys.TryGetValue(key, out YamlNode? node))
        {
            return words;
        }

        foreach (YamlNode item in Draft.Items(node, key))
        {
            if (Draft.Text(item, key) is not { } scalar)
            {
                continue;
            }

            if (error(scalar.Value) is { } problem)
            {
                Draft.Error(scalar.Offset, problem);
            }
            else if (words.Contains(scalar.Value))
            {
                Draft.Error(scalar.Offset, $"\"{ModelDraft.Short(scalar.Value)}\" is given twice in {key}");
            }
            else
            {
                words.Add(scalar.Value);
            }
        }

        if (node is YamlList { Items.Count: 0 } or YamlScalar { IsNull: true })
        {
            Draft.Error(node.Offset, $"expected {key} to name some of {what}, found nothing");
        }

        return words;
    }

    private List<FieldDefinition> Fields()
    {
        List<FieldDefinition> fields = [];
        foreach ((YamlScalar name, YamlNode value) in Draft.Entries(Keys.GetValueOrDefault("fields"), "fields"))
        {
            if (name.Value.Length is 0 or > 100)
            {
                Draft.Error(name.Offset, "the name of a field has 1 to 100 characters");
            }

            if (Draft.Text(value, "a field") is { } scalar && Path(scalar) is { } path)
            {
                fields.Add(new FieldDefinition(name.Value, path));
            }
        }

        return fields;
    }

    public PathExpression? Path(YamlScalar scalar)
    {
        int[] places = ScalarPlaces.Of(Draft.Source.Text, scalar);
        List<ExpressionError> errors = [];
        ParsedExpression? parsed = ExpressionParser.Parse(scalar.Value, errors);
        foreach (ExpressionError error in errors)
        {
            Draft.Error(places[Math.Min(error.Offset, places.Length - 1)], error.Message);
        }

        if (parsed is null || errors.Count > 0)
        {
            return null;
        }

        if (parsed.Root is not PathExpression { Root: PathRoot.Traits or PathRoot.Computed or PathRoot.Identifiers } path)
        {
            Draft.Error(scalar.Offset, $"expected a path such as traits.plan, computed.revenue or identifiers.email, found {ModelDraft.Short(parsed.Root.ToString()!)}");
            return null;
        }

        foreach (ExpressionReference reference in parsed.References)
        {
            if (Names.Error(reference, isCondition: false) is { } error)
            {
                Draft.Error(places[reference.Offset], error);
            }
        }

        return path;
    }

    public int Number(string key, int fallback)
    {
        if (!Keys.TryGetValue(key, out YamlNode? node))
        {
            return fallback;
        }

        if (node is YamlScalar scalar && int.TryParse(scalar.Value, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number is >= 1 and <= 1000)
        {
            return number;
        }

        Draft.Error(node.Offset, $"expected {key} to be a whole number from 1 to 1000, found {ModelDraft.Kind(node)}");
        return fallback;
    }

    public long Duration(string key, long fallback, long least, long most, string range)
    {
        if (!Keys.TryGetValue(key, out YamlNode? node))
        {
            return fallback;
        }

        if (node is YamlScalar { Value: { } text } && Milliseconds(text) is { } milliseconds && milliseconds >= least && milliseconds <= most)
        {
            return milliseconds;
        }

        Draft.Error(node.Offset, $"expected {key} to be {range}, found {ModelDraft.Kind(node)}");
        return fallback;
    }

    /// <summary>A duration such as 30s, 5m, 1h, 7d; null: it is none.</summary>
    public static long? Milliseconds(string text) =>
        text is [.. string number, 's' or 'm' or 'h' or 'd'] && int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int count)
            ? count * (text[^1] switch { 's' => 1000L, 'm' => 60_000L, 'h' => 3_600_000L, _ => 86_400_000L })
            : null;

    public long Timeout(long fallback) => Duration("timeout", fallback, 1000, 300_000, "1s to 5m");
}
