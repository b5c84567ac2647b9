namespace StreamCdp.Engine.Model;

/// <summary>Reads the section privacy.</summary>
internal sealed class PrivacyReader(ModelDraft draft)
{
    private static readonly string[] Known = ["consent", "retain_events"];

    public IReadOnlyList<ConsentDefinition> Read(YamlNode? section)
    {
        if (section is null or YamlScalar { IsNull: true } || draft.Item(section, "privacy", "{ consent: { marketing: traits.consent.marketing } }", Known) is not { } keys)
        {
            return [];
        }

        if (keys.TryGetValue("retain_events", out YamlNode? retain))
        {
            draft.Note(retain.Offset, "retain_events is not yet used by this version; set StreamCdp:Engine:RetainEventsMs");
        }

        List<ConsentDefinition> consents = [];
        foreach ((YamlScalar purpose, YamlNode value) in draft.Entries(keys.GetValueOrDefault("consent"), "consent"))
        {
            if (draft.Name(purpose, "a purpose") is not { } name || draft.Text(value, name) is not { } scalar)
            {
                continue;
            }

            List<ExpressionError> errors = [];
            if (ExpressionParser.Parse(scalar.Value, errors)?.Root is PathExpression { Root: PathRoot.Traits } path && errors.Count == 0)
            {
                consents.Add(new ConsentDefinition(name, path));
            }
            else
            {
                draft.Error(scalar.Offset, $"expected the consent to {name} to be a trait that is true or false, such as traits.consent.{name}, found {ModelDraft.Short(scalar.Value)}");
            }
        }

        return consents;
    }
}
