using StreamCdp.Engine.Model;

namespace StreamCdp.Connectors.Webhook;

/// <summary>Where a webhook sends, and how.</summary>
public sealed record WebhookOptions
{
    /// <summary>Where it posts to.</summary>
    public required Uri Url { get; init; }

    /// <summary>What requests are signed with; 16 characters or more, else whoever guesses it can sign, too.</summary>
    public required string Secret { get; init; }

    /// <summary>http is allowed beyond this machine: then anybody on the way reads what is sent.</summary>
    public bool AllowsHttp { get; init; }

    /// <summary>How long a request may take. 1 s to 5 min, default 10 s.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Bytes of an answer that are read at most. 0 to 1 MiB, default 4 KiB: only the reason of a refusal is of use.</summary>
    public int MaxAnswerBytes { get; init; } = 4096;

    /// <summary>Every broken rule, each with its name, its value and what is allowed; the secret is not shown. Empty: the options are good.</summary>
    public IEnumerable<string> Errors()
    {
        if (DestinationDefinition.UrlError(Url.OriginalString, AllowsHttp) is { } error)
        {
            yield return error;
        }

        if (Secret.Length == 0)
        {
            yield return "secret is empty; allowed is any text, best of 16 characters or more";
        }

        if (Timeout < TimeSpan.FromSeconds(1) || Timeout > TimeSpan.FromMinutes(5))
        {
            yield return $"timeout is {Timeout.TotalSeconds:0.###} s; allowed are 1 s to 5 min";
        }

        if (MaxAnswerBytes is < 0 or > 1 << 20)
        {
            yield return $"MaxAnswerBytes is {MaxAnswerBytes}; allowed are 0 to 1048576";
        }
    }
}
