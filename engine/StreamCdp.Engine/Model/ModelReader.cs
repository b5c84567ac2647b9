using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace StreamCdp.Engine.Model;

/// <summary>Reads cdp.yaml: a checked model, or all errors with their places.</summary>
public static class ModelReader
{
    /// <summary>Longest model, UTF-16 code units: 1 Mi, thousands of segments.</summary>
    public const int MaxLength = 1 << 20;

    private static readonly string[] Sections = ["sources", "api_keys", "identifiers", "traits", "computed", "segments", "destinations", "privacy", "backfill"];

    /// <summary>Reads a model.</summary>
    /// <param name="fileName">Only for messages.</param>
    /// <param name="yamlText">The whole text; a byte order mark is allowed.</param>
    /// <param name="environment">Value of an environment variable, or null: for <c>env:NAME</c>.</param>
    /// <param name="files">Text of a file that the model names, by the path as it is written; it throws as <see cref="File.ReadAllText(string)"/> does. Null: there are none.</param>
    /// <param name="seen">What events have brought so far: other names in expressions get a note.</param>
    /// <returns>Never throws for a text, whatever it holds.</returns>
    public static ModelResult Read(string fileName, string yamlText, Func<string, string?> environment, Func<string, string>? files = null, SeenSchema? seen = null) => Read(fileName, yamlText, environment, files, seen, withDestinations: true);

    /// <summary>Reads a text of the log <c>models</c>, to compute as it says: its keys are not needed, and destinations of a text from before take no part.</summary>
    internal static ModelResult ReadPublished(string yamlText) => Read("models", yamlText, name => $"unused-{name}", files: null, seen: null, withDestinations: false);

    private static ModelResult Read(string fileName, string yamlText, Func<string, string?> environment, Func<string, string>? files, SeenSchema? seen, bool withDestinations)
    {
        ArgumentNullException.ThrowIfNull(yamlText);
        ArgumentNullException.ThrowIfNull(environment);

        ModelDraft draft = new(fileName, new SourceText(yamlText.StartsWith('\uFEFF') ? yamlText[1..] : yamlText));
        if (yamlText.Length > MaxLength)
        {
            draft.Error(0, $"the model has {yamlText.Length} characters; allowed are {MaxLength}");
            return draft.Result(null);
        }

        YamlNode? root = YamlTree.Read(draft.Source.Text, draft.Error);
        if (draft.HasErrors)
        {
            return draft.Result(null);
        }

        if (root is null or YamlScalar { IsNull: true })
        {
            draft.Error(0, "the model is empty; expected sections such as sources, identifiers, segments");
            return draft.Result(null);
        }

        if (root is not YamlMap map)
        {
            draft.Error(root.Offset, "expected a mapping of sections such as sources, identifiers, segments");
            return draft.Result(null);
        }

        return ReadSections(draft, map, ModelSecrets.Redact(draft.Source.Text, map), environment, files, seen, withDestinations);
    }

    private static bool IsAuto(ModelDraft draft, YamlScalar how)
    {
        if (how.Value is not ("auto" or "manual"))
        {
            draft.Error(how.Offset, $"expected backfill: auto or manual, found {ModelDraft.Short(how.Value)}");
        }

        return how.Value == "auto";
    }

    internal static ulong VersionOf(string text) => BinaryPrimitives.ReadUInt64BigEndian(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    private static ModelResult ReadSections(ModelDraft draft, YamlMap map, string text, Func<string, string?> environment, Func<string, string>? files, SeenSchema? seen, bool withDestinations)
    {
        IReadOnlyDictionary<string, YamlNode> sections = draft.Keys(map, "the model", withDestinations ? Sections : [.. Sections, ApiSegments.Section]); // A file has none: what the API wrote is in the log alone.
        ModelSections reader = new(draft, environment, files);
        IReadOnlyList<SourceDefinition> sources = reader.Sources(sections.GetValueOrDefault("sources"));
        IReadOnlyList<ApiKeyDefinition> keys = reader.ApiKeys(sections.GetValueOrDefault("api_keys"));
        IReadOnlyList<IdentifierDefinition> identifiers = reader.Identifiers(sections.GetValueOrDefault("identifiers"));
        IReadOnlyList<TraitDefinition> traits = reader.Traits(sections.GetValueOrDefault("traits"), sources);
        ModelExpressions expressions = new(draft, [.. identifiers.Select(identifier => identifier.Type)]);
        expressions.ReadComputed(sections.GetValueOrDefault("computed"));
        expressions.ReadSegments(sections.GetValueOrDefault("segments"));
        expressions.ReadSegments(sections.GetValueOrDefault(ApiSegments.Section), isOfApi: true);
        (IReadOnlyList<ComputedDefinition> computed, IReadOnlyList<SegmentDefinition> segments) = expressions.Check();
        if (seen is not null)
        {
            expressions.Note(new SeenNames(seen, traits.Select(trait => trait.Name)));
        }

        IReadOnlyList<ConsentDefinition> consents = new PrivacyReader(draft).Read(sections.GetValueOrDefault("privacy"));
        IReadOnlyList<DestinationDefinition> destinations = withDestinations ? new ModelDestinations(draft, reader, expressions.Names, sources, identifiers, traits, consents).Read(sections.GetValueOrDefault("destinations")) : [];
        bool backfillsItself = sections.TryGetValue("backfill", out YamlNode? backfill) && draft.Text(backfill, "backfill") is { } how && IsAuto(draft, how);
        if (draft.HasErrors)
        {
            return draft.Result(null);
        }

        return draft.Result(new CdpModel
        {
            Text = text,
            Version = VersionOf(text),
            Sources = sources,
            ApiKeys = keys,
            Identifiers = identifiers,
            Traits = traits,
            Computed = computed,
            Segments = segments,
            Consents = consents,
            BackfillsItself = backfillsItself,
            Destinations = destinations,
        });
    }
}
