using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Crm;

/// <summary>A mapped field of a CRM's object.</summary>
/// <param name="Field">The CRM's name.</param>
/// <param name="Value">What it holds: traits.x, identifiers.x or computed.x; null: the ids of the segments, as one text.</param>
/// <param name="Direction">Which way changes go.</param>
/// <param name="Policy">Who wins where both sides changed.</param>
/// <param name="Type">What the field is made as, where the CRM has none of this name.</param>
internal sealed record FieldRule(string Field, PathExpression? Value, SyncDirection Direction, SyncPolicy Policy, CrmFieldType Type = CrmFieldType.Text);

/// <summary>What both sides had when they last agreed, each in its own form: what a CRM stores need not be what it was sent, and a trait's rules need not take what the CRM has.</summary>
/// <param name="Ours">Canonical text of the profile's value; null: none.</param>
/// <param name="Theirs">Canonical text of the record's value; null: none.</param>
/// <param name="IsRefused">The CRM refused to take ours.</param>
internal sealed record AgreedPair(string? Ours, string? Theirs, bool IsRefused = false);

/// <summary>What is to be done with a field.</summary>
internal enum FieldStep
{
    /// <summary>Nothing: neither side changed.</summary>
    None,

    /// <summary>Both sides are as they may stay: remember it.</summary>
    Agree,

    /// <summary>The CRM's value goes to the profile.</summary>
    ToProfile,

    /// <summary>The profile's value goes to the CRM.</summary>
    ToCrm,
}

/// <summary>What was decided of one field of a record and its profile.</summary>
/// <param name="Rule">Of the mapping.</param>
/// <param name="Step">What is to be done.</param>
/// <param name="IsConflict">Both sides had changed to different values.</param>
/// <param name="Ours">Canonical text of the profile's value; null: none.</param>
/// <param name="Theirs">Canonical text of the record's value; null: none.</param>
/// <param name="IsFirst">These two never met.</param>
internal sealed record FieldDecision(FieldRule Rule, FieldStep Step, bool IsConflict, string? Ours, string? Theirs, bool IsFirst)
{
    /// <summary>Why, for people.</summary>
    public string Why => this switch
    {
        { Rule.Direction: SyncDirection.Out } => "direction out",
        { Rule.Direction: SyncDirection.In } => "direction in",
        { IsConflict: true } => (IsFirst ? "both have a value and never met: " : "both changed: ") + Rule.Policy switch { SyncPolicy.CrmWins => "crm_wins", SyncPolicy.StreamCdpWins => "streamcdp_wins", SyncPolicy.Newest => "newest", _ => "fill_empty" },
        { Step: FieldStep.ToCrm } => IsFirst ? "only the profile has it" : "only the profile changed",
        _ => IsFirst ? "only the CRM has it" : "only the CRM changed",
    };
}

/// <summary>Decides one field: a three-way merge whose base is what both sides last agreed on.</summary>
/// <remarks>
/// By values and never by time, except for <see cref="SyncPolicy.Newest"/>: "timestamps tell you when, not what". So an echo of our own write changes nothing, however late it comes.
/// Source: three-way merge (diff3) with a base for each field; the pair of two forms of the base is ours.
/// </remarks>
internal static class FieldMerge
{
    /// <param name="rule">Direction and policy.</param>
    /// <param name="ours">Canonical text of the profile's value; null: none.</param>
    /// <param name="theirs">Canonical text of the record's value; null: none.</param>
    /// <param name="agreed">The base; null: these two never met.</param>
    /// <param name="oursAt">When ours was written; null: unknown.</param>
    /// <param name="theirsAt">When the record was changed; null: unknown.</param>
    /// <returns>What to do, and whether both sides had changed to different values.</returns>
    public static (FieldStep Step, bool IsConflict) Decide(FieldRule rule, string? ours, string? theirs, AgreedPair? agreed, DateTimeOffset? oursAt, DateTimeOffset? theirsAt)
    {
        bool oursChanged = agreed is null ? ours is not null : ours != agreed.Ours;
        bool theirsChanged = agreed is null ? theirs is not null : theirs != agreed.Theirs;
        if (!oursChanged && !theirsChanged)
        {
            return (agreed is null ? FieldStep.Agree : FieldStep.None, false);
        }

        if (ours == theirs)
        {
            return (FieldStep.Agree, false);
        }

        bool isConflict = oursChanged && theirsChanged && rule.Direction == SyncDirection.Both;
        FieldStep step = rule.Direction switch
        {
            SyncDirection.In => theirsChanged ? FieldStep.ToProfile : FieldStep.Agree,
            SyncDirection.Out when agreed is null && ours is null && rule.Value is not null => FieldStep.Agree, // Nothing known is no reason to empty a field.
            SyncDirection.Out => Out(rule.Policy, ours, theirs, oursChanged, theirsChanged),
            _ when !isConflict => theirsChanged ? FieldStep.ToProfile : FieldStep.ToCrm,
            _ => Winner(rule.Policy, ours, theirs, oursAt, theirsAt),
        };
        return (step, isConflict);
    }

    /// <summary>One way: a person's edit in the CRM stays until ours changes, unless StreamCdp is to win.</summary>
    private static FieldStep Out(SyncPolicy policy, string? ours, string? theirs, bool oursChanged, bool theirsChanged) => policy switch
    {
        SyncPolicy.FillEmpty => theirs is null ? FieldStep.ToCrm : FieldStep.Agree,
        SyncPolicy.StreamCdpWins => FieldStep.ToCrm,
        SyncPolicy.CrmWins when theirsChanged && theirs is not null => FieldStep.Agree,
        _ => oursChanged ? FieldStep.ToCrm : FieldStep.Agree,
    };

    private static FieldStep Winner(SyncPolicy policy, string? ours, string? theirs, DateTimeOffset? oursAt, DateTimeOffset? theirsAt) => policy switch
    {
        SyncPolicy.StreamCdpWins => FieldStep.ToCrm,
        SyncPolicy.Newest when oursAt is not null && theirsAt is not null => oursAt > theirsAt ? FieldStep.ToCrm : FieldStep.ToProfile,
        SyncPolicy.Newest when oursAt is not null => FieldStep.ToCrm,
        SyncPolicy.FillEmpty => theirs is null ? FieldStep.ToCrm : ours is null ? FieldStep.ToProfile : FieldStep.Agree,
        _ => FieldStep.ToProfile,
    };
}
