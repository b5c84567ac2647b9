using StreamCdp.Connectors;
using StreamCdp.Connectors.Crm;
using StreamCdp.Connectors.Email;
using StreamCdp.Engine.Model;

namespace StreamCdp.Cli;

/// <summary>Connects to each destination of a model and says what is there: <c>check --connect</c>.</summary>
internal static class ConnectCheck
{
    /// <summary>Bound of one destination.</summary>
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    /// <summary>Of one request, so that its own reason comes before the bound.</summary>
    private const long RequestMs = 5_000;

    /// <summary>Checks all at the same time, and writes what is good.</summary>
    /// <returns>What is not, each with its place; empty: all would work.</returns>
    public static async Task<IReadOnlyList<string>> RunAsync(string file, CdpModel model, TextWriter output, CancellationToken cancellationToken)
    {
        if (model.Destinations.Count == 0)
        {
            return [];
        }

        IReadOnlyList<Finding>[] found = await Task.WhenAll(model.Destinations.Select(destination => CheckAsync(destination, model, cancellationToken))).ConfigureAwait(false);
        await output.WriteLineAsync().ConfigureAwait(false);
        await output.WriteLineAsync($"connections ({model.Destinations.Count})").ConfigureAwait(false);
        List<string> problems = [];
        foreach ((DestinationDefinition destination, IReadOnlyList<Finding> findings) in model.Destinations.Zip(found))
        {
            await output.WriteLineAsync($"  {destination.Id}: {destination.Kind}{(findings.Any(finding => finding.IsProblem) ? ", would not work like this" : "")}").ConfigureAwait(false);
            foreach (Finding finding in findings)
            {
                if (finding.IsProblem)
                {
                    (int line, int column) = destination.Places.TryGetValue(finding.Key, out (int, int) place) ? place : destination.Places["id"];
                    problems.Add($"{file}:{line}:{column}: {destination.Id}: {finding.Text.TrimEnd('.')}");
                }
                else
                {
                    await output.WriteLineAsync($"    - {finding.Text}").ConfigureAwait(false);
                }
            }
        }

        return problems;
    }

    private static async Task<IReadOnlyList<Finding>> CheckAsync(DestinationDefinition destination, CdpModel model, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(s_limit);
        try
        {
            return await ConnectAsync(destination with { TimeoutMs = Math.Min(destination.TimeoutMs, RequestMs) }, model, limit.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is DestinationUnavailableException or DestinationMustPauseException or CliException)
        {
            return [new Finding("", exception.Message, IsProblem: true)];
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return [new Finding("", $"no answer within {s_limit.TotalSeconds:0} s; check that it runs and can be reached from here", IsProblem: true)];
        }
    }

    private static async Task<IReadOnlyList<Finding>> ConnectAsync(DestinationDefinition destination, CdpModel model, CancellationToken cancellationToken)
    {
        if (destination.Crm is { } mapping)
        {
            await using ICrm crm = DestinationConnectors.Crm(destination, mapping, new OpenGate());
            return await CrmCheck.FieldsAsync(crm, DestinationConnectors.Rules(mapping, model), cancellationToken).ConfigureAwait(false);
        }

        if (destination.Email is { } email)
        {
            await using EmailTarget target = DestinationConnectors.Email(destination, email);
            return await target.CheckAsync(cancellationToken).ConfigureAwait(false);
        }

        await using IDestination connector = DestinationConnectors.Create(destination);
        return connector is ICheckable checkable ? await checkable.CheckAsync(cancellationToken).ConfigureAwait(false) : [new Finding("", "this kind cannot be checked without sending")];
    }

    /// <summary>A check makes a few requests only.</summary>
    private sealed class OpenGate : IRequestGate
    {
        public ValueTask WaitAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

        public void Made(string outcome)
        {
        }
    }
}
