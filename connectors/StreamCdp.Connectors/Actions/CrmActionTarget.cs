using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using StreamCdp.Connectors.Crm;
using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Actions;

/// <summary>Does something for people in a CRM: makes a deal, a note, a task; puts them on a list or takes them off.</summary>
/// <remarks>Each is harmless when it comes again: lists are sets, a deal carries an id made of the call's key, and a note is looked for before it is made.</remarks>
/// <param name="crm">Disposed with this. Another one than the sync's, because calls of one never overlap; both ask the same gate before each request.</param>
internal sealed class CrmActionTarget(ICrm crm) : IActionTarget
{
    private static readonly TimeSpan s_noContact = TimeSpan.FromSeconds(5);

    /// <inheritdoc/>
    public string TargetType => crm.ContactIdType;

    /// <inheritdoc/>
    public bool KnowsRepeats => true;

    /// <inheritdoc/>
    public bool TargetMayCome => true;

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<Outcome>> DoAsync(IReadOnlyList<ActionCall> calls, CancellationToken cancellationToken)
    {
        HashSet<string> living = [];
        foreach (string[] ids in calls.SelectMany(call => call.Targets).Distinct(StringComparer.Ordinal).Chunk(100))
        {
            living.UnionWith((await crm.ReadAsync(CrmObject.Contact, ids, cancellationToken).ConfigureAwait(false)).Where(record => !record.IsDeleted).Select(record => record.Id));
        }

        List<Outcome> outcomes = [];
        foreach (ActionCall call in calls)
        {
            // The oldest one that lives: of contacts of one person that is the one that others are merged into.
            outcomes.Add(call.Targets.LastOrDefault(living.Contains) is { } contact
                ? await DoAsync(call, contact, cancellationToken).ConfigureAwait(false)
                : Outcome.TryAgain("The person's contact was deleted in the CRM.", s_noContact));
        }

        return outcomes;
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => crm.DisposeAsync();

    private async ValueTask<Outcome> DoAsync(ActionCall call, string contact, CancellationToken cancellationToken)
    {
        switch (call.Action)
        {
            case { Verb: ActionVerb.AddTo or ActionVerb.RemoveFrom }:
                bool adds = call.Action.Verb == ActionVerb.AddTo;
                IReadOnlyList<string> gone = await crm.ChangeListAsync(call.Action.What, adds ? [contact] : [], adds ? [] : [contact], cancellationToken).ConfigureAwait(false);
                return gone.Count == 0 || !adds ? Outcome.Taken : Outcome.TryAgain("The person's contact was deleted in the CRM.", s_noContact);
            case { Verb: ActionVerb.Create, What: "deal" }:
                return await DealAsync(call, contact, cancellationToken).ConfigureAwait(false);
            case { Verb: ActionVerb.Create } when crm is ICrmNotes notes && notes.NoteKinds.Contains(call.Action.What):
                return await notes.AddNoteAsync(call.Key, contact, call.Action.What, call.Fields.GetValueOrDefault("subject", ""), call.Fields.GetValueOrDefault("text", ""), call.At, cancellationToken).ConfigureAwait(false);
            default:
                return Outcome.Refused($"This CRM cannot make a {call.Action.What}.");
        }
    }

    private async ValueTask<Outcome> DealAsync(ActionCall call, string contact, CancellationToken cancellationToken)
    {
        var fields = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
        foreach ((string name, string text) in call.Fields)
        {
            if (name == "amount")
            {
                if (!decimal.TryParse(text, NumberStyles.Number, CultureInfo.InvariantCulture, out decimal amount))
                {
                    return Outcome.Refused("The template of amount gave no number.");
                }

                fields[name] = JsonSerializer.SerializeToElement(amount);
            }
            else if (text.Length > 0)
            {
                fields[name] = JsonSerializer.SerializeToElement(text);
            }
        }

        var write = new CrmWrite
        {
            Kind = CrmObject.Deal,
            ExternalId = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(call.Key)).AsSpan(0, 16)),
            OnlyIfNew = true,
            Fields = fields,
            ContactIds = [contact],
        };
        CrmOutcome outcome = (await crm.WriteAsync([write], cancellationToken).ConfigureAwait(false))[0];
        return outcome.Kind switch
        {
            CrmOutcomeKind.Done => Outcome.Taken,
            CrmOutcomeKind.TryAgain or CrmOutcomeKind.Stale => Outcome.TryAgain(outcome.Reason),
            _ => Outcome.Refused(outcome.Reason),
        };
    }
}
