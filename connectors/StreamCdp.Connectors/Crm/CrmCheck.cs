using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Crm;

/// <summary>Compares the mapped fields of contacts with those that the CRM has.</summary>
internal static class CrmCheck
{
    private const int ShownOptions = 8;

    /// <summary>One finding for each mapped field; nothing is written.</summary>
    /// <param name="crm">Is asked for its fields.</param>
    /// <param name="rules">Mapped fields.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async ValueTask<IReadOnlyList<Finding>> FieldsAsync(ICrm crm, IReadOnlyList<FieldRule> rules, CancellationToken cancellationToken)
    {
        IReadOnlyList<CrmField> described = await crm.DescribeAsync(CrmObject.Contact, cancellationToken).ConfigureAwait(false);
        var fields = described.ToDictionary(field => field.Name, StringComparer.Ordinal);
        return [new Finding("", $"reached; contacts have {fields.Count} fields"), .. rules.Select(rule => Of(rule, fields, crm as ICrmPreparation))];
    }

    private static Finding Of(FieldRule rule, Dictionary<string, CrmField> fields, ICrmPreparation? preparation)
    {
        string key = "contacts.fields." + rule.Field;
        if (!fields.TryGetValue(rule.Field, out CrmField? field))
        {
            string near = Suggestion.For(rule.Field, fields.Keys.Order(StringComparer.Ordinal));
            if (preparation is null)
            {
                return new Finding(key, $"contacts have no field \"{rule.Field}\"{(near.Length > 0 ? near : "; give the name of one that is there, or make it in the CRM")}", IsProblem: true);
            }

            if (rule.Direction == SyncDirection.In)
            {
                return new Finding(key, $"contacts have no field \"{rule.Field}\"{(near.Length > 0 ? near : "; give the name of one that is there")}: a field that only comes in is not made", IsProblem: true);
            }

            string? refusal = preparation.NameError(rule.Field);
            return refusal is not null
                ? new Finding(key, refusal + near, IsProblem: true)
                : new Finding(key, $"{rule.Field}: not there; the server makes it as {Name(rule.Type)} at its start{near}");
        }

        if (field.IsReadOnly && rule.Direction != SyncDirection.In)
        {
            return new Finding(key, $"the field \"{rule.Field}\" can only be read in the CRM; write direction: in, or take another field", IsProblem: true);
        }

        string options = field.Options is { Count: > 0 } some ? $", one of {string.Join(", ", some.Take(ShownOptions))}{(some.Count > ShownOptions ? $" and {some.Count - ShownOptions} more" : "")}" : "";
        return rule.Type == CrmFieldType.Number && field.Type is (CrmFieldType.Boolean or CrmFieldType.Date or CrmFieldType.Instant)
            ? new Finding(key, $"the field \"{rule.Field}\" holds {Name(field.Type)}, and {rule.Value} is a number; take another field", IsProblem: true)
            : new Finding(key, $"{rule.Field}: {Name(field.Type)}{options}{(field.IsReadOnly ? ", can only be read" : "")}");
    }

    private static string Name(CrmFieldType type) => type switch
    {
        CrmFieldType.Text => "text",
        CrmFieldType.Number => "a number",
        CrmFieldType.Boolean => "true or false",
        CrmFieldType.Date => "a day",
        CrmFieldType.Instant => "an instant",
        _ => "a list",
    };
}
