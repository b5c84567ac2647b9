namespace StreamCdp.Connectors;

/// <summary>The other side cannot be reached, or asks to come later: the kit sends the same batch again.</summary>
/// <param name="message">What happened, without personal data: it is shown as the destination's last error.</param>
/// <param name="retryAfter">The other side's wish; null: the kit's back-off.</param>
/// <param name="isRateLimit">It said that there were too many requests.</param>
/// <param name="inner">The cause.</param>
public sealed class DestinationUnavailableException(string message, TimeSpan? retryAfter = null, bool isRateLimit = false, Exception? inner = null) : IOException(message, inner)
{
    /// <summary>How long to wait; null: the kit's back-off.</summary>
    public TimeSpan? RetryAfter => retryAfter;

    /// <summary>Counted in <c>connector_rate_limited_total</c>.</summary>
    public bool IsRateLimit => isRateLimit;
}

/// <summary>The other side refused the request as a whole, because of something in it: the kit sends the halves.</summary>
/// <param name="reason">For the dead letter of the change that is to blame.</param>
public sealed class BatchRefusedException(string reason) : IOException(reason);

/// <summary>Sending again is of no use until a person did something: the kit pauses the destination.</summary>
/// <param name="reason">What happened and what to do, without personal data.</param>
public sealed class DestinationMustPauseException(string reason) : IOException(reason);
