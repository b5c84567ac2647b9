using System.Globalization;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using StreamCdp.Connectors.Crm;

namespace StreamCdp.Connectors.Actions;

/// <summary>What waits to be done, shown before it is done, and then exactly that.</summary>
/// <remarks>The decisions are those of the doing (<see cref="LookAsync"/>). Those of a plan know of each other, so a plan keeps to frequency caps; when it is applied, line by line, what was done counts by itself.</remarks>
internal sealed partial class ActionConnection
{
    private const int PlanPage = 100;

    /// <summary>What the plan is made for.</summary>
    public PlanHead PlanHead() => new(_settings.Id, Mapping(), _parts.Time.GetUtcNow());

    /// <summary>All that waits, in the order in which it is due, as it would be decided now; also while it is paused. Nothing is changed.</summary>
    public async IAsyncEnumerable<ActionPlanLine> PlanAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await _parts.Applied(cancellationToken).ConfigureAwait(false); // While the engine recovers, its profiles are those of before.
        var planned = new PlannedActions();
        DateTimeOffset now = _parts.Time.GetUtcNow();
        (long DueMs, string Key) after = (long.MinValue, "");
        while (true)
        {
            IReadOnlyList<ScheduledAction> page = _schedule.Waiting(after.DueMs, after.Key, PlanPage);
            foreach (ScheduledAction action in page)
            {
                ActionDecision decision = await LookAsync(action, planned, cancellationToken).ConfigureAwait(false);
                if (decision.Call is not null && action.Due <= now)
                {
                    planned.Add(decision.Call);
                }

                yield return Line(action, decision);
            }

            if (page.Count < PlanPage)
            {
                yield break;
            }

            after = (page[^1].Due.ToUnixTimeMilliseconds(), page[^1].Key);
        }
    }

    /// <summary>Does what lines of a plan say, and nothing else; also while it is paused.</summary>
    /// <param name="lines">Up to 100.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <returns>For each line why it was not applied, null: it was; and how many were refused, which are dead letters.</returns>
    /// <exception cref="DestinationUnavailableException">The other side is away; what was done before stays done.</exception>
    public async Task<(IReadOnlyList<string?> Why, long Refused)> ApplyAsync(IReadOnlyList<ActionPlanLine> lines, CancellationToken cancellationToken)
    {
        await _parts.Applied(cancellationToken).ConfigureAwait(false);
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            long refused = Interlocked.Read(ref _refused);
            await SettleInterruptedAsync(cancellationToken).ConfigureAwait(false);
            List<string?> why = [];
            string? end = _stopped;
            foreach (ActionPlanLine line in lines)
            {
                // After an answer for which a person is needed no line is tried: a wrong password five thousand times locks the account.
                (string? one, bool isEnd) = end is null ? await ApplyAsync(line, cancellationToken).ConfigureAwait(false) : (end, false);
                why.Add(one);
                end ??= isEnd ? $"Not tried: {one}" : null;
            }

            return (why, Interlocked.Read(ref _refused) - refused);
        }
        catch (Exception exception) when (exception is not (DestinationUnavailableException or OperationCanceledException))
        {
            _isInterrupted = true; // One may be under way, and nobody knows what became of it.
            throw;
        }
        finally
        {
            _turn.Release();
            _news.Writer.TryWrite(true);
        }
    }

    /// <returns>Why it was not applied, null: it was; and whether no other one is to be tried.</returns>
    private async Task<(string? Why, bool IsEnd)> ApplyAsync(ActionPlanLine line, CancellationToken cancellationToken)
    {
        if (_schedule.Find(line.Key) is not { } action)
        {
            return ("It does not wait any more: it was done since, or what it was for has ended.", false);
        }

        // Not when it is due: a try that failed puts that off, and the line says the same.
        if (!(Line(action, await LookAsync(action, null, cancellationToken).ConfigureAwait(false)) with { Due = line.Due }).ToJson().AsSpan().SequenceEqual(line.ToJson()))
        {
            return ("It would be decided otherwise now: the person, or what was done for the person, is another since. Make a new plan.", false);
        }

        if (action.Due > _parts.Time.GetUtcNow())
        {
            return (string.Create(CultureInfo.InvariantCulture, $"It is due at {action.Due:yyyy-MM-ddTHH:mm:ssZ}. Apply it again then."), false);
        }

        if (await DecideAsync(action, [], cancellationToken).ConfigureAwait(false) is not { } call)
        {
            return (null, false); // The decision was that nothing is done, and it is settled.
        }

        await WaitForBudgetAsync(1, cancellationToken).ConfigureAwait(false);
        if (await CallAsync([(action, call)]).ConfigureAwait(false) is { } needsPerson)
        {
            return (needsPerson, true);
        }

        return (_schedule.Find(action.Key) is null ? null : "The other side did not take it now. It waits, and is tried again later.", false);
    }

    private static ActionPlanLine Line(ScheduledAction action, ActionDecision decision) => new()
    {
        Change = decision.Call is not null ? "do" : decision.Not is not null ? "skip" : decision.Later is not null ? "wait" : "refuse",
        Key = action.Key,
        Action = action.Action,
        Segment = action.Change.Segment ?? "",
        Profile = decision.ProfileId,
        Targets = decision.Call?.Targets ?? [],
        Fields = decision.Call?.Fields ?? new Dictionary<string, string>(),
        Due = action.Due,
        Why = decision.Not ?? decision.Later ?? decision.Refused,
    };

    /// <summary>Changes with each key of the model that a plan depends on.</summary>
    private string Mapping()
    {
        IEnumerable<string> actions = _settings.Actions.Select(action => string.Create(CultureInfo.InvariantCulture, $"{action.Id}|{action.Segment}|{action.OnEntered}|{action.AfterMs}|{action.AtMost}|{action.Verb}|{action.What}"));
        string text = string.Join('\n', actions.Prepend($"{_settings.Kind} {_settings.Target} {_settings.AtMost} {_settings.Consent?.Purpose}")); // What the templates say stands in the lines.
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, 8));
    }
}

/// <summary>What is to be done of an action that waits, as its person is now: one of the four.</summary>
/// <param name="ProfileId">The person's profile, after merges.</param>
/// <param name="Call">Do this.</param>
/// <param name="Not">Nothing, for this reason: a label of the metrics.</param>
/// <param name="Later">Not now, for this reason.</param>
/// <param name="Refused">It cannot be done, for this reason.</param>
internal sealed record ActionDecision(string ProfileId, ActionCall? Call = null, string? Not = null, string? Later = null, string? Refused = null);
